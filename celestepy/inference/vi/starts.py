"""Where the ascent of one source begins."""

from dataclasses import replace

import numpy as np
from scipy.special import expit

from celestepy.inference.starts import LinearFluxes, start_vector
from celestepy.inference.vi.factors import DEV_FRACTION, LOG_RADIUS, factor_layout
from celestepy.model.parameters import GALAXY, KINDS, layout
from celestepy.model.transforms import to_scene

__all__ = ["first_factors"]

# The sky is known: its level has no freedom in the least squares (nmgy per pixel).
_NO_SKY = 1e-9
# Widest start of a log flux or colour: about the prior's own width.
_PRIOR_PRECISION = 1.0


def first_factors(data, neighbours, placement, prior, fwhm):
    """Parameters of q to start from: even odds of the types, least-squares fluxes, and the variances of these.

    Parameters
    ----------
    data : `~celestepy.inference.placement.GroupData`
        Pixels of the source.
    neighbours : list of (h, w) arrays
        Light of all other sources in each patch (nmgy per pixel).
    placement : `~celestepy.inference.placement.Placement`
        Sources on images.
    prior : `~celestepy.model.priors.Prior`
        Prior, in the bands of the fit.
    fwhm : float
        Width of the PSF (arcsec).

    Returns
    -------
    (n,) array
        See `~celestepy.inference.vi.factors.factor_layout`.
    """
    bands, at = prior.bands, factor_layout(len(prior.bands))
    patches = [replace(patch, background=patch.background + light)
               for patch, light in zip(data.patches, neighbours, strict=True)]
    linear = LinearFluxes(data.likelihood, patches, placement.band_index[list(data.images)],
                          np.full(len(patches), _NO_SKY))
    x = np.zeros(at.size)
    for kind in KINDS:
        theta = start_vector([kind], linear, prior, bands, fwhm)[0]
        free = layout(kind, len(bands))
        x[at.means[kind]] = theta[free.log_fluxes]
        x[at.log_variances[kind]] = _log_variances(linear, kind, theta, bands)
    # the last one is the galaxy's
    x[at.radius], x[at.ellipticity] = LOG_RADIUS.logit(theta[free.log_radius]), theta[free.ellipticity]
    x[at.dev_fraction] = DEV_FRACTION.logit(expit(theta[free.logit_dev]))
    return x


def _log_variances(linear, kind, theta, bands):
    """Of the log flux and the colours: a diagonal normal law has the inverse of the precision's diagonal."""
    scene, _ = to_scene(kind, theta, bands)
    information, _ = linear.solve(np.array([kind == GALAXY]), scene[None])
    by_brightness = scene[: len(bands), None] * bands.log_flux_matrix
    precision = np.einsum("bi,bc,ci->i", by_brightness, information, by_brightness)
    return -np.log(np.maximum(precision, 0.0) + _PRIOR_PRECISION)
