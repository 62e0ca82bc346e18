"""First guesses for a group of sources: linear fluxes at fixed positions and a few trial shapes."""

import math

import numpy as np

from celestepy.inference.fluxes import flux_mode, log_flux_mixture
from celestepy.model.parameters import GALAXY, layout, scene_layout

__all__ = ["LinearFluxes", "start_vector", "unit_scene"]

# Trial circularised half-light radii of galaxies, in units of the PSF's FWHM.
TRIAL_RADII = (0.25, 0.7, 2.0)


def unit_scene(n_bands, radius=None, dev_fraction=0.3):
    """Scene vector with unit flux in every band: a star, or a round galaxy of a given radius (arcsec)."""
    at = scene_layout(n_bands)
    scene = np.zeros(at.size)
    scene[at.fluxes] = 1.0
    if radius is not None:
        scene[at.dev_fraction] = dev_fraction
        scene[at.shape] = radius**2, 0.0, radius**2
    return scene


class LinearFluxes:
    """Linear least squares of the fluxes of a group and the sky levels, at fixed positions and shapes.

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
        self.likelihood = likelihood
        self.n_sources, self.n_bands = likelihood.n_sources, likelihood.n_bands
        self._images = [_WeightedImage(patch, sd) for patch, sd in zip(patches, sky_sd, strict=True)]
        self._entries = [slice(band, None, self.n_bands) for band in band_index]

    def solve(self, is_galaxy, scenes):
        """Normal equations of the fluxes for some shapes.

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
        profiles = self.likelihood.profiles(is_galaxy, scenes)
        for profile, image, entries in zip(profiles, self._images, self._entries, strict=True):
            normal, moment = image.normal_equations(profile.reshape(self.n_sources, -1))
            information[entries, entries] += normal
            right_side[entries] += moment
        return information, right_side


class _WeightedImage:
    """The data of a patch as least squares needs them."""

    def __init__(self, patch, sky_sd):
        weight = patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
        self._moments = np.empty((2, weight.size))
        self._moments[0] = weight.ravel()
        np.multiply(weight, patch.data - patch.background, out=self._moments[1].reshape(weight.shape))
        total, self._sky_moment = self._moments.sum(axis=1)
        self._sky_information = total + 1 / sky_sd**2

    def normal_equations(self, profiles):
        """Information (K, K) and right side (K,) for profiles (K, pixels), the sky level marginalised."""
        with_sky, moment = self._moments @ profiles.T
        normal = (profiles * self._moments[0]) @ profiles.T
        share = with_sky / self._sky_information
        return normal - np.multiply.outer(with_sky, share), moment - share * self._sky_moment


def _solve(information, right_side):
    """Least squares that leaves unmeasured combinations at zero."""
    ridged = information.copy()
    ridged.flat[:: len(right_side) + 1] += 1e-9 * np.diagonal(information) + 1e-12
    return np.linalg.solve(ridged, right_side)


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
    radius, fluxes, information = _best_radius(is_galaxy, linear, fwhm)
    return [_free_vector(kind, k, fluxes, information, prior, bands, radius) for k, kind in enumerate(kinds)]


def _best_radius(is_galaxy, linear, fwhm):
    """The trial radius that explains most, for all galaxies together; the fluxes and their information."""
    best = None
    for trial in TRIAL_RADII if is_galaxy.any() else TRIAL_RADII[:1]:
        radii = [trial * fwhm if galaxy else None for galaxy in is_galaxy]
        scenes = np.array([unit_scene(linear.n_bands, radius) for radius in radii])
        information, right_side = linear.solve(is_galaxy, scenes)
        fluxes = _solve(information, right_side)
        gain = float(right_side @ fluxes)
        if best is None or gain > best[0]:
            best = gain, trial * fwhm, fluxes, information
    return best[1:]


def _free_vector(kind, k, fluxes, information, prior, bands, radius):
    n_bands = len(bands)
    own = slice(k * n_bands, (k + 1) * n_bands)
    mixture = log_flux_mixture(getattr(prior, kind), _guess(fluxes[own], bands), bands)
    at = layout(kind, n_bands)
    theta = np.zeros(at.size)
    mode = flux_mode(fluxes[own], information[own, own], mixture)
    theta[at.log_flux], theta[at.colors] = mode[bands.reference_index], np.diff(mode)
    if kind == GALAXY:
        theta[at.log_radius] = np.log(radius)
        theta[at.ellipticity] = 0.05, 0.05
        theta[at.logit_dev] = -0.5
    return theta


def _guess(fluxes, bands):
    """Log flux of the reference band, or of a typical band where that one is not detected."""
    typical = sorted(np.abs(fluxes).tolist())[len(fluxes) // 2]
    return math.log(max(fluxes[bands.reference_index], 0.3 * typical, 1e-2))
