"""One row of the catalogue from the fit of a group."""

from dataclasses import dataclass

import numpy as np

from celestepy.catalog.flags import Flag, Status
from celestepy.inference.group_fit import contribution
from celestepy.inference.posterior import position_bound
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.transforms import to_scene

__all__ = ["Row", "blank_row", "calibration_covariance", "first_row", "remark", "source_rows"]

_LOW_SNR = 5.0
# A model is poor where chi^2 over the source's profile exceeds one by this much, and its scatter by so many times.
_MISFIT, _CERTAIN = 0.5, 5.0
# Hypotheses less probable than this (log) need not have converged.
_RELEVANT = -7.0
# Hypotheses whose positions differ by more than this (FWHM) are about different objects.
_APART = 0.5
# What the user has to know of a row beyond its flags, the gravest first.
_REMARKS = {
    Flag.POSITION_AT_BOUND: "drawn away from its seed, probably by a brighter source beside it that has no seed: "
    "its estimates are of that light; add that source to the seeds, or give none to have all detected",
    Flag.RADIUS_AT_BOUND: "the galaxy is larger than its patch: do not use its radius and fluxes if it is one",
    Flag.SATURATED: "saturated pixels: fluxes and shapes come from the wings, and the type is not to be trusted",
}


@dataclass(frozen=True)
class Row:
    """What the catalogue is told of one source.

    Attributes
    ----------
    components : list of tuple
        ``(log weight, type, mean, covariance)`` of the posterior; empty without a fit.
    scene : `~celestepy.inference.placement.Contribution` or None
        What the source adds to the images under its best hypothesis.
    columns : dict
        The columns that do not follow from the posterior.
    draws : `~celestepy.catalog.draws.Draws` or None
        Draws of the source, where the engine makes them.
    group : int
        Rows of the same number were drawn together; -1 for a row by itself.
    """

    components: list
    scene: object
    columns: dict
    draws: object = None
    group: int = -1


def blank_row(status, message, flags=0):
    """Row of a source without a fit."""
    return Row([], None, dict(status=int(status), flags=int(flags), message=message))


def remark(message, flags):
    """Message of a row: what the fit said, else what its gravest flag asks the user to do."""
    said = [text for flag, text in _REMARKS.items() if flags & flag]
    return message or "; ".join(said[:1])


def first_row(source, scene, prior):
    """Row of a source that was fitted as a galaxy only, by a run that was stopped before it weighed the types.

    Parameters
    ----------
    source : `~celestepy.inference.sources.SourcePosterior`
        The fit as a galaxy, which a star is a limit of: its position and fluxes stand for both types.
    scene : `~celestepy.inference.placement.Contribution`
        What the source adds to the images.
    prior : `~celestepy.model.priors.Prior`
        Its probabilities of the types are all that is known of them.

    Returns
    -------
    Row
        Flagged as not converged.
    """
    components = []
    for kind in KINDS:
        size = layout(kind, len(prior.bands)).size
        mean, covariance = source.means[0, :size], source.covariances[0, :size, :size]
        components.append((prior.log_type_probability(kind), kind, mean, covariance))
    message = (
        "the run was interrupted after a first fit as a galaxy: type (star_probability is the prior's) and existence "
    )
    columns = dict(
        status=int(Status.FIRST_FIT), flags=int(Flag.NOT_CONVERGED), message=message + "are unknown; run it again"
    )
    return Row(components, scene, columns)


def source_rows(fit, centres, label, fitter):
    """Rows of the sources of one group.

    Parameters
    ----------
    fit : `~celestepy.inference.group_fit.GroupFit` or None
        The fit; None if no pixel sees the group.
    centres : sequence of int
        The sources whose rows are wanted.
    label : int
        Number of the group.
    fitter : `~celestepy.inference.group_fit.GroupFitter`
        With the images, the prior and the threshold of existence.

    Returns
    -------
    dict
        Source -> Row, None for a source that the pixels do not support.
    """
    if fit is None:
        return {
            k: blank_row(
                Status.NO_PIXELS, "no usable pixel here in any image; check the seed and the masks", Flag.FAILED
            )
            for k in centres
        }
    light = _Light(fit, fitter.placement, fitter.bands) if fit.members else None
    rows = {
        k: None if k in fit.dropped else _fitted_row(k, fit.members.index(k), fit, light, label, fitter)
        for k in centres
    }
    if len(centres) < len(fit.members) + len(fit.dropped):
        for row in filter(None, rows.values()):
            row.columns["flags"] |= int(Flag.GROUP_WINDOWED)
    return rows


def _fitted_row(k, i, fit, light, label, fitter):
    types, placement, prior = fit.types, fitter.placement, fitter.prior
    evidence = {kind: types.type_evidence(i, kind) - prior.log_type_probability(kind) for kind in KINDS}
    components = []
    calibration = calibration_covariance(fit.data.images, placement, prior.bands)
    for kind in KINDS:
        source = types.source(i, kind)
        if source is not None and np.isfinite(evidence[kind]):
            log_weight = evidence[kind] + prior.log_type_probability(kind)
            size = source.means.shape[1]
            components += [
                (log_weight + np.log(weight), kind, mean, covariance + calibration[:size, :size])
                for weight, mean, covariance in zip(source.weights, source.means, source.covariances, strict=True)
            ]
    if not components:
        return blank_row(
            Status.FAILED,
            "neither type could be fitted: the Hessian is not positive definite at the "
            "optimum; look at the pixels for artefacts",
            Flag.FAILED,
        )
    scene = contribution([(types.best.kinds[i], types.best.vectors[i], 1.0)], prior.bands)
    snr = light.signal_to_noise(i)
    relevant = [
        hypothesis.minimum
        for hypothesis, log_weight in zip(types.hypotheses, types.log_weights, strict=True)
        if log_weight > _RELEVANT
    ]
    stopped = [minimum for minimum in relevant if not minimum.converged]
    at_bound = _is_drawn_away(types, i, position_bound(fitter.position_sd[k]), _APART * fitter.fwhm)
    conditions = {
        Flag.POSITION_AT_BOUND: at_bound,
        Flag.BLENDED: len(fit.members) > 1,
        Flag.NOT_CONVERGED: bool(stopped or at_bound),
        Flag.RADIUS_AT_BOUND: _is_larger_than_patch(types.source(i, GALAXY), placement, prior.bands),
        Flag.LOW_SNR: snr < _LOW_SNR,
        Flag.EXISTENCE_DOUBTFUL: fit.existence[k] < fitter.doubt_threshold,
        Flag.STAR_FAILED: not np.isfinite(evidence[STAR]),
        Flag.GALAXY_FAILED: not np.isfinite(evidence[GALAXY]),
        Flag.BAND_MISSING: light.n_bands_seen(i) < len(prior.bands),
        Flag.POOR_MODEL: light.is_misfit(i),
    }
    columns = dict(
        log_evidence_star=evidence[STAR],
        log_evidence_galaxy=evidence[GALAXY],
        log_evidence_existence=fit.existence[k],
        snr=snr,
        status=int(Status.NOT_CONVERGED if stopped or at_bound else Status.CONVERGED),
        flags=sum(int(flag) for flag, holds in conditions.items() if holds),
        message=stopped[0].message if stopped and not at_bound else "",
        n_iterations=sum(hypothesis.minimum.n_iterations for hypothesis in types.hypotheses),
        n_pixels=fit.data.n_pixels,
        masked_fraction=fit.data.masked_fraction,
        blendedness=light.blendedness(i),
        group_id=label if len(fit.members) > 1 else -1,
    )
    return Row(components, scene, columns)


def calibration_covariance(images, placement, bands):
    """What the errors of the flux calibration add to the covariance of the free vector of a galaxy.

    Exposures of a band are calibrated independently, and bands are too.

    Parameters
    ----------
    images : sequence of int
        The images that see the source.
    placement : `~celestepy.inference.placement.Placement`
        With all images.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.

    Returns
    -------
    `~numpy.ndarray`
        Shape (B + 6, B + 6), zero but for the log fluxes.
    """
    at = layout(GALAXY, len(bands))
    error = np.array([placement.images[n].calibration_error for n in images])
    band = placement.band_index[list(images)]
    variance = [
        np.mean(error[band == b] ** 2) / np.sum(band == b) if np.any(band == b) else 0.0 for b in range(len(bands))
    ]
    inverse = np.linalg.inv(bands.log_flux_matrix)
    covariance = np.zeros((at.size, at.size))
    covariance[at.log_fluxes, at.log_fluxes] = inverse * variance @ inverse.T
    return covariance


def _is_drawn_away(types, i, bound, apart):
    """Whether a source has been found at the bound of its position, or at different places by type."""
    relevant = [
        hypothesis.vectors[i][:2]
        for hypothesis, log_weight in zip(types.hypotheses, types.log_weights, strict=True)
        if log_weight > _RELEVANT
    ]
    places = np.array(relevant).reshape(-1, 2)
    farthest = np.linalg.norm(places[:, None] - places, axis=-1).max(initial=0.0)
    return bool(farthest > apart or np.linalg.norm(places, axis=1).max(initial=0.0) > 0.999 * bound)


def _is_larger_than_patch(galaxy, placement, bands):
    """Whether half of a galaxy's light lies where its patch hardly reaches, so that its flux is extrapolated."""
    if galaxy is None:
        return False
    at = layout(GALAXY, len(bands))
    mean = galaxy.weights @ galaxy.means
    major_axis = np.exp(mean[at.log_radius] + 0.5 * np.hypot(*mean[at.ellipticity]))
    return bool(major_axis > 0.5 * np.min(placement.half_width * placement.pixel_scale))


class _Light:
    """The pixels of a group under its best hypothesis, and each source's part in them."""

    def __init__(self, fit, placement, bands):
        data, best = fit.data, fit.types.best
        self.bands = placement.band_index[list(data.images)]
        is_galaxy = np.array([kind == GALAXY for kind in best.kinds])
        scenes = np.array(
            [to_scene(kind, vector, bands)[0] for kind, vector in zip(best.kinds, best.vectors, strict=True)]
        )
        self.profiles = data.likelihood.profiles(is_galaxy, scenes)
        self.models = [
            profile * scenes[:, band, None, None] for profile, band in zip(self.profiles, self.bands, strict=True)
        ]
        self.weights = [
            patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
            for patch in data.patches
        ]
        self.squares = [
            _chi_square(patch, model)
            for patch, model in zip(data.patches, data.likelihood.model(is_galaxy, scenes, best.sky), strict=True)
        ]

    def _products(self, i):
        """Sums over the pixels of each image of this source's model with itself and with all, over the variance."""
        own = np.array(
            [np.sum(weight * models[i] ** 2) for weight, models in zip(self.weights, self.models, strict=True)]
        )
        total = np.array(
            [
                np.sum(weight * models[i] * models.sum(axis=0))
                for weight, models in zip(self.weights, self.models, strict=True)
            ]
        )
        return own, total

    def signal_to_noise(self, i):
        return float(np.sqrt(self._products(i)[0].sum()))

    def blendedness(self, i):
        own, total = (part.sum() for part in self._products(i))
        return max(float(1 - own / total), 0.0) if total > 0 else 0.0

    def n_bands_seen(self, i):
        return len(set(self.bands[self._products(i)[0] > 0].tolist()))

    def is_misfit(self, i):
        """Whether chi^2, averaged over the source's profile, is above one by much and beyond doubt."""
        used = [weight > 0 for weight in self.weights]
        excess = sum(
            float(np.sum((profile[i] * (square - 1))[use]))
            for profile, square, use in zip(self.profiles, self.squares, used, strict=True)
        )
        total = sum(float(profile[i][use].sum()) for profile, use in zip(self.profiles, used, strict=True))
        power = sum(float(np.sum(profile[i][use] ** 2)) for profile, use in zip(self.profiles, used, strict=True))
        return excess > _MISFIT * total and excess > _CERTAIN * np.sqrt(2 * power)


def _chi_square(patch, model):
    """Squared residuals over their variance, pixel by pixel."""
    variance_weight = patch.weight / np.maximum(model, 1e-12) if patch.poisson else patch.weight
    return variance_weight * (patch.data - model) ** 2
