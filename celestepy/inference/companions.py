"""Looking for sources that the seeds miss: peaks of the residuals, and blends that a galaxy model has swallowed."""

from dataclasses import dataclass

import numpy as np

from celestepy.detection import residual_peaks
from celestepy.images.wcs import from_tangent_offsets
from celestepy.inference.laplace import fit_hypothesis
from celestepy.inference.posterior import GroupPosterior
from celestepy.inference.rendering import model_images
from celestepy.inference.starts import LinearFluxes
from celestepy.model.parameters import GALAXY, STAR, layout, scene_layout
from celestepy.model.transforms import to_scene

__all__ = [
    "Split",
    "apart",
    "best_of_each_source",
    "may_be_pair",
    "missing_peaks",
    "separation",
    "try_companion",
    "try_parts",
    "try_split",
]

# Half separations tried, in FWHM of the PSF: .9 and 1.6 pixels of SDSS.
_HALF_SEPARATIONS = (0.26, 0.46)
# A close pair of stars looks like an elongated galaxy no larger than the PSF, but larger along its major axis than
# what an imperfect PSF makes of a star.
_LEAST_ELONGATION, _LEAST_MAJOR_AXIS, _MOST_RADIUS = 0.25, 0.25, 1.2
# A bright star's PSF error is no companion: the fainter of a pair has at least this share of the light.
_LEAST_SHARE = 0.1
# Half separations of two galaxies in units of what the ellipse of the one that swallowed them says, if they are equal.
_PART_SEPARATIONS = (0.7, 1.0)
# A real galaxy differs from the model by this share of its light, which no second galaxy is to explain; and two
# galaxies are two where neither half-light ellipse reaches into the other, and they are so many FWHM apart.
_MODEL_ERROR, _LEAST_SEPARATION = 0.1, 0.5


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
    kinds : tuple of str
        Their types.
    vectors : tuple of `~numpy.ndarray`
        Their free vectors about their own positions.
    """

    source: int
    offsets: np.ndarray
    fluxes: np.ndarray
    gain: float
    kinds: tuple
    vectors: tuple

    @property
    def least_share(self):
        """Share of the fainter of the two, over all bands."""
        totals = self.fluxes.sum(axis=1)
        return totals.min() / totals.sum()


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
            if split.least_share > _LEAST_SHARE:
                best = split
    return best


def try_companion(fitter, k, vector, offset, fluxes, contributions, own):
    """Compare a galaxy with a galaxy and a star at a peak of its residuals.

    A galaxy that has swallowed a star leaves little of it in the residuals: what counts is how bright the star becomes
    when it is fitted with the galaxy.

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


def try_parts(fitter, k, vector, offset, contributions, own):
    """Compare a galaxy with two galaxies.

    Real galaxies have parts that look like a second one, so two have to be apart, and to explain more than a model as
    smooth as this may be wrong by.

    Parameters
    ----------
    fitter, k, vector, contributions, own
        As in `try_companion`.
    offset : array_like
        Place of a peak of the residuals about the galaxy's seed, East and North (arcsec).

    Returns
    -------
    Split or None
        The two; None where they are not clearly better.
    """
    places = _places_of_parts(vector, np.asarray(offset), len(fitter.bands))
    comparison = _Comparison.of(fitter, k, vector, contributions, own)
    if comparison is None:
        return None
    part, at = vector.copy(), layout(GALAXY, len(fitter.bands))
    part[at.position], part[at.ellipticity] = 0.0, (0.05, 0.05)
    part[at.log_flux] -= np.log(2)
    part[at.log_radius] = max(part[at.log_radius] - 0.5 * np.hypot(*vector[at.ellipticity]), np.log(0.25 * fitter.fwhm))
    splits = [comparison.with_pair(offsets, [GALAXY, GALAXY], [part, part]) for offsets in places]
    best = max(filter(None, splits), key=lambda split: split.gain, default=None)
    if best is None or best.gain < fitter.doubt_threshold + comparison.misfit(_MODEL_ERROR):
        return None
    return best if best.least_share > _LEAST_SHARE and _are_apart(best, fitter) else None


def _places_of_parts(vector, peak, n_bands):
    """Where two galaxies may be that one was fitted to: along its major axis, or at a peak and opposite to it."""
    at = layout(GALAXY, n_bands)
    elongation, radius = np.hypot(*vector[at.ellipticity]), np.exp(vector[at.log_radius])
    half = radius * np.sqrt(1.44 * np.sinh(elongation))  # exponential: variance .72 of the half-light radius squared
    along = [_along_major_axis(vector, share * half, n_bands) for share in _PART_SEPARATIONS]
    return [*along, np.array([peak, 2 * vector[at.position] - peak])]


def _are_apart(split, fitter):
    """Whether neither of two galaxies' half-light ellipses reaches into the other."""
    at = scene_layout(len(fitter.bands))
    difference = split.offsets[0] - split.offsets[1]
    distance = np.hypot(*difference)
    reach = 0.0
    for kind, vector in zip(split.kinds, split.vectors, strict=True):
        uu, uv, vv = to_scene(kind, vector, fitter.bands)[0][at.shape]
        reach += distance / np.sqrt(difference @ np.linalg.solve([[uu, uv], [uv, vv]], difference))
    return bool(distance > max(reach, _LEAST_SEPARATION * fitter.fwhm))


@dataclass(frozen=True)
class _Comparison:
    """A source as one galaxy, to compare with two sources on the same pixels."""

    fitter: object
    source: int
    data: object
    alone: float
    vector: np.ndarray

    @classmethod
    def of(cls, fitter, k, vector, contributions, own):
        data = fitter.placement.gather([k], contributions, own)
        if data is None:
            return None
        single = fit_hypothesis(fitter.posterior(data), [GALAXY], [vector], fitter.newton, refine=False)
        alone = single.log_evidence + fitter.prior.log_type_probability(GALAXY)
        return cls(fitter, k, data, alone, single.vectors[0])

    def misfit(self, share):
        """Log likelihood lost where a galaxy's light differs from the model by a share."""
        data, scene = self.data, to_scene(GALAXY, self.vector, self.fitter.bands)[0]
        band_index = self.fitter.placement.band_index[list(data.images)]
        linear = LinearFluxes(data.likelihood, data.patches, band_index, data.sky_sd)
        information, _ = linear.solve([True], scene[None])
        fluxes = scene[: len(self.fitter.bands)]
        return 0.5 * share**2 * float(fluxes @ information @ fluxes)

    def with_pair(self, offsets, kinds, vectors):
        """Two sources of given types at offsets from the seed; None if their fit did not converge."""
        fitter, placement = self.fitter, self.fitter.placement
        ra, dec = from_tangent_offsets(*offsets.T, placement.ra[self.source], placement.dec[self.source])
        likelihood = placement.at(ra, dec).scene_likelihood(self.data.patches, list(self.data.images), [0, 1])
        # Places of two galaxies are guesses: they may lie anywhere in the image of the one they were taken for.
        least = 0.5 * fitter.fwhm if STAR not in kinds else 0.0  # a star may be an error of a PSF anywhere
        position_sd = np.full(2, max(fitter.position_sd[self.source], least))
        posterior = GroupPosterior(likelihood, fitter.prior, fitter.bands, position_sd, self.data.sky_sd)
        pair = fit_hypothesis(posterior, kinds, vectors, fitter.newton, refine=False)
        if not pair.minimum.converged:
            return None
        at = layout(STAR, len(fitter.bands))
        fluxes = np.exp([fitter.bands.log_flux_matrix @ vector[at.log_fluxes] for vector in pair.vectors])
        gain = pair.log_evidence + sum(fitter.prior.log_type_probability(kind) for kind in kinds) - self.alone
        moved = offsets + np.array([vector[at.position] for vector in pair.vectors])
        for vector in pair.vectors:
            vector[at.position] = 0.0
        return Split(self.source, moved, fluxes, gain, tuple(kinds), pair.vectors)


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


def best_of_each_source(candidates, splits):
    """For every source that has a split, that of most evidence.

    Parameters
    ----------
    candidates : sequence of (int, int or None)
        Source and number of the peak beside it.
    splits : sequence of Split or None
        What was found for each candidate.

    Returns
    -------
    list of (int or None, Split)
        Number of the peak, and the split.
    """
    best = {}
    for (k, peak), split in zip(candidates, splits, strict=True):
        if split is not None and (k not in best or split.gain > best[k][1].gain):
            best[k] = peak, split
    return list(best.values())


def separation(ra, dec, other_ra, other_dec):
    """Distance between places near each other on the sky (arcsec; arguments in degrees)."""
    east = ((ra - other_ra + 180) % 360 - 180) * np.cos(np.radians(other_dec))
    return 3600 * np.hypot(east, dec - other_dec)


def apart(places, worth, distance):
    """Which findings are not too near any better one.

    Parameters
    ----------
    places : sequence of array_like
        Right ascensions and declinations (deg) of the sources of each finding, shapes (n, 2).
    worth : sequence of float
        How good each is.
    distance : float
        Smallest distance between sources of two findings (arcsec).

    Returns
    -------
    `~numpy.ndarray`
        True for those chosen, one after the other from the best.
    """
    taken, chosen = [], np.zeros(len(places), dtype=bool)
    for i in np.argsort(worth, kind="stable")[::-1].tolist():
        if all(separation(*one, *other) > distance for one in places[i] for other in taken):
            taken += list(places[i])
            chosen[i] = True
    return chosen
