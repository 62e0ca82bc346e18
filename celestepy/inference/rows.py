"""One row of the catalogue from the fit of a group."""

from dataclasses import dataclass

import numpy as np

from celestepy.catalog.flags import Flag, Status
from celestepy.inference.group_fit import contribution
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.transforms import to_scene

__all__ = ["Row", "blank_row", "source_rows"]

_LOW_SNR = 5.0
# Hypotheses less probable than this (log) need not have converged.
_RELEVANT = -7.0


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
    """

    components: list
    scene: object
    columns: dict


def blank_row(status, message, flags=0):
    """Row of a source without a fit."""
    return Row([], None, dict(status=int(status), flags=int(flags), message=message))


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
        return {k: blank_row(Status.NO_PIXELS, "no usable pixel here in any image; check the seed and the masks",
                             Flag.FAILED) for k in centres}
    return {k: None if k in fit.dropped else _fitted_row(k, fit.members.index(k), fit, label, fitter) for k in centres}


def _fitted_row(k, i, fit, label, fitter):
    types, placement, prior = fit.types, fitter.placement, fitter.prior
    evidence = {kind: types.type_evidence(i, kind) - prior.log_type_probability(kind) for kind in KINDS}
    components = []
    calibration = _calibration_covariance(fit.data.images, placement, prior.bands)
    for kind in KINDS:
        source = types.source(i, kind)
        if source is not None and np.isfinite(evidence[kind]):
            log_weight = evidence[kind] + prior.log_type_probability(kind)
            size = source.means.shape[1]
            components += [(log_weight + np.log(weight), kind, mean, covariance + calibration[:size, :size])
                           for weight, mean, covariance
                           in zip(source.weights, source.means, source.covariances, strict=True)]
    if not components:
        return blank_row(Status.FAILED, "neither type could be fitted: the Hessian is not positive definite at the "
                         "optimum; look at the pixels for artefacts", Flag.FAILED)
    scene = contribution([(types.best.kinds[i], types.best.vectors[i], 1.0)], prior.bands)
    snr, blendedness, bands_seen = _shares(fit, i, placement, prior.bands)
    relevant = [hypothesis.minimum for hypothesis, log_weight in zip(types.hypotheses, types.log_weights, strict=True)
                if log_weight > _RELEVANT]
    stopped = [minimum for minimum in relevant if not minimum.converged]
    doubtful = fit.existence[k] < fitter.doubt_threshold
    columns = dict(
        log_evidence_star=evidence[STAR], log_evidence_galaxy=evidence[GALAXY], log_evidence_existence=fit.existence[k],
        snr=snr, status=int(Status.NOT_CONVERGED if stopped else Status.CONVERGED),
        flags=int(_flags(fit, evidence, not stopped, snr, bands_seen, doubtful, prior)),
        message=stopped[0].message if stopped else "",
        n_iterations=sum(hypothesis.minimum.n_iterations for hypothesis in types.hypotheses),
        n_pixels=fit.data.n_pixels, masked_fraction=fit.data.masked_fraction, blendedness=blendedness,
        group_id=label if len(fit.members) > 1 else -1)
    return Row(components, scene, columns)


def _calibration_covariance(images, placement, bands):
    """What the errors of the flux calibration add to the covariance of the free vector of a galaxy.

    Exposures of a band are calibrated independently, and bands are too.
    """
    at = layout(GALAXY, len(bands))
    error = np.array([placement.images[n].calibration_error for n in images])
    band = placement.band_index[list(images)]
    variance = [np.mean(error[band == b] ** 2) / np.sum(band == b) if np.any(band == b) else 0.0
                for b in range(len(bands))]
    inverse = np.linalg.inv(bands.log_flux_matrix)
    covariance = np.zeros((at.size, at.size))
    covariance[at.log_fluxes, at.log_fluxes] = inverse * variance @ inverse.T
    return covariance


def _shares(fit, i, placement, bands):
    """Signal to noise, blendedness, and the number of bands with pixels, from the best model."""
    data, best = fit.data, fit.types.best
    scenes = np.array([to_scene(kind, vector, bands)[0] for kind, vector in zip(best.kinds, best.vectors, strict=True)])
    profiles = data.likelihood.profiles(np.array([kind == GALAXY for kind in best.kinds]), scenes)
    signal = alone = together = 0.0
    seen = set()
    for n, patch, profile in zip(data.images, data.patches, profiles, strict=True):
        band = placement.band_index[n]
        models = profile * scenes[:, band, None, None]
        weight = patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
        square = float(np.sum(weight * models[i] ** 2))
        signal += square
        alone += square
        together += float(np.sum(weight * models[i] * models.sum(axis=0)))
        if square > 0:
            seen.add(int(band))
    return np.sqrt(signal), 1 - alone / together if together > 0 else 0.0, len(seen)


def _flags(fit, evidence, converged, snr, bands_seen, doubtful, prior):
    flags = Flag(0)
    conditions = {Flag.BLENDED: len(fit.members) > 1, Flag.NOT_CONVERGED: not converged, Flag.LOW_SNR: snr < _LOW_SNR,
                  Flag.EXISTENCE_DOUBTFUL: doubtful, Flag.BAND_MISSING: bands_seen < len(prior.bands),
                  Flag.STAR_FAILED: not np.isfinite(evidence[STAR]),
                  Flag.GALAXY_FAILED: not np.isfinite(evidence[GALAXY])}
    for flag, holds in conditions.items():
        if holds:
            flags |= flag
    return flags
