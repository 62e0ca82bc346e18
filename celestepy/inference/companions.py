"""Looking for sources that the seeds miss: peaks of the residuals, and blends that a galaxy model has swallowed."""

from dataclasses import dataclass

import numpy as np

from celestepy.detection import residual_peaks
from celestepy.images.wcs import from_tangent_offsets
from celestepy.inference.laplace import fit_hypothesis
from celestepy.inference.posterior import GroupPosterior
from celestepy.inference.rendering import model_images
from celestepy.model.parameters import GALAXY, STAR, layout

__all__ = ["Split", "missing_peaks", "try_split"]

# Half separations tried, in FWHM of the PSF: .9 and 1.6 pixels of SDSS.
_HALF_SEPARATIONS = (0.26, 0.46)
# A close pair of stars looks like an elongated galaxy no larger than the PSF, but larger along its major axis than
# what an imperfect PSF makes of a star.
_LEAST_ELONGATION, _LEAST_MAJOR_AXIS, _MOST_RADIUS = 0.25, 0.25, 1.2
# A bright star's PSF error is no companion: the fainter of a pair has at least this share of the light.
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """Two stars in the place of one galaxy.

    Attributes
    ----------
    source : int
        The source that was split.
    offsets : `~numpy.ndarray`
        Positions of the two about the source's seed, East and North (arcsec), shape (2, 2).
    fluxes : `~numpy.ndarray`
        Their fluxes (nmgy), shape (2, B).
    gain : float
        Log Bayes factor of the pair against the single source.
    """

    source: int
    offsets: np.ndarray
    fluxes: np.ndarray
    gain: float


def may_be_pair(vector, n_bands, fwhm):
    """Whether a galaxy is elongated and small enough to be two stars."""
    at = layout(GALAXY, n_bands)
    elongation, radius = np.hypot(*vector[at.ellipticity]), np.exp(vector[at.log_radius])
    return (
        elongation > _LEAST_ELONGATION
        and radius < _MOST_RADIUS * fwhm
        and radius * np.exp(0.5 * elongation) > _LEAST_MAJOR_AXIS * fwhm
    )


def try_split(fitter, k, vector, contributions, own):
    """Compare a source with a pair of stars along its major axis.

    Parameters
    ----------
    fitter : `~celestepy.inference.group_fit.GroupFitter`
        The engine.
    k : int
        The source.
    vector : `~numpy.ndarray`
        Its free vector as a galaxy.
    contributions, own : dict
        Neighbours, and the source itself, as in `GroupFitter.full`.

    Returns
    -------
    Split or None
        None where the pair is not clearly better.
    """
    data = fitter.placement.gather([k], contributions, own)
    if data is None:
        return None
    single = fit_hypothesis(fitter.posterior(data), [GALAXY], [vector], fitter.newton, refine=False)
    alone = single.log_evidence + fitter.prior.log_type_probability(GALAXY)
    best = None
    for half in _HALF_SEPARATIONS:
        offsets = _along_major_axis(vector, half * fitter.fwhm, len(fitter.bands))
        pair = _fit_pair(fitter, data, k, vector, offsets)
        gain = pair.log_evidence + 2 * fitter.prior.log_type_probability(STAR) - alone
        if pair.minimum.converged and gain > (best.gain if best else fitter.doubt_threshold):
            at = layout(STAR, len(fitter.bands))
            moved = offsets + np.array([star[at.position] for star in pair.vectors])
            fluxes = np.exp([fitter.bands.log_flux_matrix @ star[at.log_fluxes] for star in pair.vectors])
            if fluxes.sum(axis=1).min() > _LEAST_SHARE * fluxes.sum():
                best = Split(k, moved, fluxes, gain)
    return best


def _along_major_axis(vector, half, n_bands):
    at = layout(GALAXY, n_bands)
    eta1, eta2 = vector[at.ellipticity]
    angle = 0.5 * np.arctan2(eta2, eta1)
    step = half * np.array([np.sin(angle), np.cos(angle)])
    return vector[at.position] + np.array([step, -step])


def _fit_pair(fitter, data, k, vector, offsets):
    ra, dec = from_tangent_offsets(offsets[:, 0], offsets[:, 1], fitter.placement.ra[k], fitter.placement.dec[k])
    placement = fitter.placement.at(ra, dec)
    likelihood = placement.scene_likelihood(data.patches, list(data.images), [0, 1])
    posterior = GroupPosterior(likelihood, fitter.prior, fitter.bands, np.full(2, fitter.position_sd[k]), data.sky_sd)
    star = np.zeros(layout(STAR, len(fitter.bands)).size)
    star[2:] = vector[2 : star.size]
    star[2] -= np.log(2)
    return fit_hypothesis(posterior, [STAR, STAR], [star, star.copy()], fitter.newton, refine=False)


def missing_peaks(placement, contributions, groups, threshold, radius):
    """The highest peak of the residuals near each group of sources.

    Parameters
    ----------
    placement : `~celestepy.inference.placement.Placement`
        Sources on images.
    contributions : dict
        Source -> `~celestepy.inference.placement.Contribution`.
    groups : array_like of int
        Group of each source.
    threshold : float
        Smallest signal to noise.
    radius : float
        Largest distance from a source (arcsec).

    Returns
    -------
    `~celestepy.detection.Seeds`
        The peaks.
    """
    models = model_images(placement, contributions)
    return residual_peaks(
        placement.images, models, placement.ra, placement.dec, groups, radius=radius, threshold=threshold
    )
