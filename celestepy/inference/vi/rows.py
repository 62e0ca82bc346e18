"""Rows of the catalogue from the factors of sources."""

import numpy as np

from celestepy.catalog.flags import Flag, Status
from celestepy.inference.placement import Contribution
from celestepy.inference.rows import Row, blank_row
from celestepy.inference.vi.factors import LOG_RADIUS, factor_layout, free_vector
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout

__all__ = ["POINT_MASS_SD", "source_row"]

#: Width that stands for a point mass in the catalogue: arcsec for positions, and for the coordinates of the shape.
POINT_MASS_SD = 1e-3
_LOW_SNR = 5.0
_NEAR = 0.1  # in ln(radius): less is no distance from the bound


def source_row(fit, group, prior):
    """What the catalogue is told of one source.

    Parameters
    ----------
    fit : `~celestepy.inference.vi.source_fit.SourceFit`, exception or None
        Its factors, why there are none, or None if no pixel sees it.
    group : int
        Number of the group of overlapping sources; -1 if it is alone.
    prior : `~celestepy.model.priors.Prior`
        Prior, in the bands of the fit.

    Returns
    -------
    `~celestepy.inference.rows.Row` or exception
    """
    if isinstance(fit, Exception):
        return fit
    if fit is None:
        return blank_row(Status.NO_PIXELS, "no usable pixel here in any image; check the seed and the masks",
                         Flag.FAILED)
    columns = dict(fit.diagnostics)
    bands_seen, converged = columns.pop("bands_seen"), fit.minimum.converged
    conditions = {Flag.BLENDED: group >= 0, Flag.NOT_CONVERGED: not converged,
                  Flag.RADIUS_AT_BOUND: np.log(fit.radius) > LOG_RADIUS.high - _NEAR,
                  Flag.LOW_SNR: columns["snr"] < _LOW_SNR, Flag.BAND_MISSING: bands_seen < len(prior.bands)}
    columns |= dict(
        log_evidence_star=fit.given_type[STAR], log_evidence_galaxy=fit.given_type[GALAXY], group_id=group,
        status=int(Status.CONVERGED if converged else Status.NOT_CONVERGED),
        flags=sum(int(flag) for flag, holds in conditions.items() if holds),
        message="" if converged else fit.minimum.message, n_iterations=fit.n_iterations)
    return Row(_components(fit.x, len(prior.bands)), _contribution(fit.light), columns)


def _components(x, n_bands):
    """One normal law for each type, with the variances of q."""
    at, components = factor_layout(n_bands), []
    for kind, sign in zip(KINDS, (1, -1), strict=True):
        free = layout(kind, n_bands)
        variance = np.full(free.size, POINT_MASS_SD**2)
        variance[free.log_fluxes] = np.exp(x[at.log_variances[kind]])
        log_weight = -float(np.logaddexp(0.0, -sign * x[at.type_logit]))
        components.append((log_weight, kind, free_vector(x, kind, n_bands), np.diag(variance)))
    return components


def _contribution(light):
    is_galaxy = light.is_galaxy
    return Contribution(np.array(is_galaxy), light.scenes(is_galaxy))
