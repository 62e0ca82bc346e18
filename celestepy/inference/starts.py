"""First guesses for a group of sources: linear fluxes at fixed positions and a few trial shapes."""

import numpy as np

from celestepy.inference.fluxes import flux_posterior, log_flux_mixture
from celestepy.model.parameters import GALAXY, layout, scene_layout

__all__ = ["LinearFluxes", "start_vector", "unit_scene"]

# Trial circularised half-light radii of galaxies, in units of the PSF's FWHM.
TRIAL_RADII = (0.25, 0.7, 2.0)


def unit_scene(n_bands, radius=None, dev_fraction=0.3):
    """Scene vector of a source of unit flux in every band: a star, or a round galaxy of a given radius (arcsec)."""
    at = scene_layout(n_bands)
    scene = np.zeros(at.size)
    scene[at.fluxes] = 1.0
    if radius is not None:
        scene[at.dev_fraction] = dev_fraction
        scene[at.shape] = radius**2, 0.0, radius**2
    return scene


class LinearFluxes:
    """Weighted linear least squares of all fluxes of a group, and the sky levels, at fixed positions and shapes.

    Parameters
    ----------
    likelihood : `~celestepy.model.pixel_rate.SceneLikelihood`
        Of the patches.
    patches : list of `~celestepy.images.Patch`
        The same patches.
    band_index : array_like
        Band of each patch, shape (N,).
    sky_sd : array_like
        Prior standard deviation of the sky levels, shape (N,).
    """

    def __init__(self, likelihood, patches, band_index, sky_sd):
        self.likelihood, self.band_index, self.sky_sd = likelihood, np.asarray(band_index), sky_sd
        self.n_sources, self.n_bands = likelihood.n_sources, likelihood.n_bands
        self._data = []
        for patch in patches:
            weight = patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
            self._data.append((weight.ravel(), (patch.data - patch.background).ravel()))

    def solve(self, is_galaxy, scenes):
        """Fluxes, information and the gain in log likelihood for some shapes.

        Parameters
        ----------
        is_galaxy : array_like
            Types, shape (K,).
        scenes : array_like
            Scene vectors, shape (K, B + 6); their fluxes are ignored.

        Returns
        -------
        information : `~numpy.ndarray`
            Minus the Hessian of the log likelihood in the fluxes, the sky levels marginalised; shape
            (K B, K B), source by source.
        right_side : `~numpy.ndarray`
            Gradient of the log likelihood in the fluxes at zero flux, shape (K B,).
        """
        size = self.n_sources * self.n_bands
        information, right_side = np.zeros((size, size)), np.zeros(size)
        profiles = self.likelihood.profiles(np.asarray(is_galaxy), np.asarray(scenes))
        for n, (profile, (weight, data)) in enumerate(zip(profiles, self._data, strict=True)):
            design = np.concatenate([profile.reshape(self.n_sources, -1), np.ones((1, weight.size))])
            weighted = design * weight
            normal, moment = weighted @ design.T, weighted @ data
            normal[-1, -1] += 1 / self.sky_sd[n] ** 2
            where = np.arange(self.n_sources) * self.n_bands + self.band_index[n]
            information[np.ix_(where, where)] += normal[:-1, :-1] - np.outer(normal[:-1, -1], normal[-1, :-1]) / normal[-1, -1]
            right_side[where] += moment[:-1] - normal[:-1, -1] * moment[-1] / normal[-1, -1]
        return information, right_side


def _solve(information, right_side):
    """Least squares that leaves unmeasured combinations at zero."""
    ridge = 1e-9 * np.maximum(np.diagonal(information), 1e-300)
    return np.linalg.solve(information + np.diag(ridge + 1e-12), right_side)


def start_vector(kinds, linear, prior, bands, fwhm):
    """Free vectors to start a fit of a group from, all sources at their seeds.

    Parameters
    ----------
    kinds : sequence of str
        Types.
    linear : LinearFluxes
        The group's data.
    prior : `~celestepy.model.priors.Prior`
        Its mixtures of log fluxes regularise bands that are hardly measured.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.
    fwhm : float
        Width of the PSF in arcsec, the scale of the trial shapes.

    Returns
    -------
    list of `~numpy.ndarray`
        Free vector of each source.
    """
    is_galaxy = np.array([kind == GALAXY for kind in kinds])
    radii = _radii(is_galaxy, linear, fwhm)
    scenes = np.array([unit_scene(len(bands), radius if galaxy else None)
                       for galaxy, radius in zip(is_galaxy, radii, strict=True)])
    information, right_side = linear.solve(is_galaxy, scenes)
    fluxes = _solve(information, right_side)
    return [_free_vector(kind, k, fluxes, information, prior, bands, radius)
            for k, (kind, radius) in enumerate(zip(kinds, radii, strict=True))]


def _radii(is_galaxy, linear, fwhm):
    """The trial radius that explains most, the same for all galaxies of the group."""
    if not is_galaxy.any():
        return np.full(len(is_galaxy), fwhm)
    gains = []
    for trial in TRIAL_RADII:
        scenes = np.array([unit_scene(linear.n_bands, trial * fwhm if galaxy else None) for galaxy in is_galaxy])
        information, right_side = linear.solve(is_galaxy, scenes)
        gains.append(right_side @ _solve(information, right_side))
    return np.full(len(is_galaxy), TRIAL_RADII[int(np.argmax(gains))] * fwhm)


def _free_vector(kind, k, fluxes, information, prior, bands, radius):
    n_bands = len(bands)
    own = slice(k * n_bands, (k + 1) * n_bands)
    mixture = log_flux_mixture(getattr(prior, kind), _guess(fluxes[own], bands), bands)
    posterior = flux_posterior(fluxes[own], information[own, own], mixture, n_draws=2)
    at = layout(kind, n_bands)
    theta = np.zeros(at.size)
    theta[at.log_fluxes] = np.linalg.solve(bands.log_flux_matrix, posterior.mode)
    if kind == GALAXY:
        theta[at.log_radius] = np.log(radius)
        theta[at.ellipticity] = 0.05, 0.05
        theta[at.logit_dev] = -0.5
    return theta


def _guess(fluxes, bands):
    """Log flux of the reference band, or of the typical band where that one is not detected."""
    flux = max(fluxes[bands.reference_index], 0.3 * float(np.median(np.abs(fluxes))), 1e-2)
    return float(np.log(flux))
