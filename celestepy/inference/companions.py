"""Looking for sources that the seeds miss: peaks of the residuals, and blends that a galaxy model has swallowed."""

from dataclasses import dataclass

import numpy as np

from celestepy.detection import residual_peaks
from celestepy.images.wcs import from_tangent_offsets
from celestepy.inference.laplace import fit_hypothesis
from celestepy.inference.posterior import GroupPosterior
from celestepy.inference.rendering import model_images
from celestepy.model.parameters import GALAXY, STAR, layout

__all__ = ["Split", "missing_peaks", "try_companion", "try_split"]

# Half separations tried, in FWHM of the PSF: .9 and 1.6 pixels of SDSS.
_HALF_SEPARATIONS = (0.26, 0.46)
# A close pair of stars looks like an elongated galaxy no larger than the PSF, but larger along its major axis than
# what an imperfect PSF makes of a star.
_LEAST_ELONGATION, _LEAST_MAJOR_AXIS, _MOST_RADIUS = 0.25, 0.25, 1.2
# A bright star's PSF error is no companion: the fainter of a pair has at least this share of the light.
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """Two sources in the place of one galaxy.

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
    comparison = _Comparison.of(fitter, k, vector, contributions, own)
    if comparison is None:
        return None
    star = vector[: layout(STAR, len(fitter.bands)).size].copy()
    star[:2], star[2] = 0.0, star[2] - np.log(2)
    best = None
    for half in _HALF_SEPARATIONS:
        offsets = _along_major_axis(vector, half * fitter.fwhm, len(fitter.bands))
        split = comparison.with_pair(offsets, [STAR, STAR], [star, star])
        if split is not None and split.gain > (best.gain if best else fitter.doubt_threshold):
            if split.fluxes.sum(axis=1).min() > _LEAST_SHARE * split.fluxes.sum():
                best = split
    return best


def try_companion(fitter, k, vector, offset, fluxes, contributions, own):
    """Compare a galaxy with a galaxy and a star at a peak of its residuals.

    A galaxy that has swallowed a star leaves little of it in the residuals: what counts is how bright the star becomes
    when it is fitted with the galaxy. A second galaxy is not tried, since real galaxies have parts that look like one.

    Parameters
    ----------
    fitter : `~celestepy.inference.group_fit.GroupFitter`
        The engine.
    k : int
        The galaxy.
    vector : `~numpy.ndarray`
        Its free vector.
    offset : array_like
        Place of the peak about the galaxy's seed, East and North (arcsec).
    fluxes : array_like
        Fluxes of the peak (nmgy), shape (B,).
    contributions, own : dict
        Neighbours, and the galaxy itself, as in `GroupFitter.full`.

    Returns
    -------
    Split or None
        Galaxy and star; None where that is not clearly better, or the star may be an error of the galaxy's model.
    """
    comparison = _Comparison.of(fitter, k, vector, contributions, own)
    if comparison is None:
        return None
    at = layout(STAR, len(fitter.bands))
    star, alone = np.zeros(at.size), vector.copy()
    star[at.log_fluxes] = np.linalg.solve(fitter.bands.log_flux_matrix, np.log(np.maximum(fluxes, 0.1)))
    alone[at.position] = 0.0
    offsets = np.array([vector[at.position], offset])
    split = comparison.with_pair(offsets, [GALAXY, STAR], [alone, star])
    if split is None or split.gain < fitter.doubt_threshold:
        return None
    return split if np.max(split.fluxes[1] / split.fluxes[0]) > _LEAST_SHARE else None


@dataclass(frozen=True)
class _Comparison:
    """A source as one galaxy, to compare with two sources on the same pixels."""

    fitter: object
    source: int
    data: object
    alone: float

    @classmethod
    def of(cls, fitter, k, vector, contributions, own):
        data = fitter.placement.gather([k], contributions, own)
        if data is None:
            return None
        single = fit_hypothesis(fitter.posterior(data), [GALAXY], [vector], fitter.newton, refine=False)
        return cls(fitter, k, data, single.log_evidence + fitter.prior.log_type_probability(GALAXY))

    def with_pair(self, offsets, kinds, vectors):
        """Two sources of given types at offsets from the seed; None if their fit did not converge."""
        fitter, placement = self.fitter, self.fitter.placement
        ra, dec = from_tangent_offsets(*offsets.T, placement.ra[self.source], placement.dec[self.source])
        likelihood = placement.at(ra, dec).scene_likelihood(self.data.patches, list(self.data.images), [0, 1])
        position_sd = np.full(2, fitter.position_sd[self.source])
        posterior = GroupPosterior(likelihood, fitter.prior, fitter.bands, position_sd, self.data.sky_sd)
        pair = fit_hypothesis(posterior, kinds, vectors, fitter.newton, refine=False)
        if not pair.minimum.converged:
            return None
        at = layout(STAR, len(fitter.bands))
        fluxes = np.exp([fitter.bands.log_flux_matrix @ vector[at.log_fluxes] for vector in pair.vectors])
        gain = pair.log_evidence + sum(fitter.prior.log_type_probability(kind) for kind in kinds) - self.alone
        moved = offsets + np.array([vector[at.position] for vector in pair.vectors])
        return Split(self.source, moved, fluxes, gain)


def _along_major_axis(vector, half, n_bands):
    at = layout(GALAXY, n_bands)
    eta1, eta2 = vector[at.ellipticity]
    angle = 0.5 * np.arctan2(eta2, eta1)
    step = half * np.array([np.sin(angle), np.cos(angle)])
    return vector[at.position] + np.array([step, -step])


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
