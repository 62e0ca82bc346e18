"""From the posterior of each source to the columns that people read: medians, errors, probabilities.

Point estimates are posterior medians, because they have the smallest expected absolute error and because the
median of a magnitude is the magnitude of the median flux; errors are half the width of the central 68.3% of
the posterior. Fluxes, magnitudes and colours are those of the mixture over both types; shapes are those of
the galaxy hypothesis.
"""

from functools import lru_cache

import numpy as np
from scipy.special import expit, ndtri

from celestepy.catalog.posterior import pick, root
from celestepy.catalog.quantiles import CENTRAL, half_width, mixture_quantile
from celestepy.images.wcs import from_tangent_offsets
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import MAGNITUDE, to_catalog

__all__ = ["moved_positions", "position_columns", "summarise"]

_ROWS_AT_ONCE = 256  # keeps the working arrays of a large catalogue within the processor's cache
_N_DRAWS = 512  # leaves medians of shapes uncertain by about 1% of their errors
_PROBABILITIES = (CENTRAL[0], 0.5, CENTRAL[1])


def summarise(posterior, bands):
    """Every column that follows from the posterior, but for the position.

    Parameters
    ----------
    posterior : `~celestepy.catalog.posterior.Posterior`
        Of n sources.
    bands : `~celestepy.model.parameters.Bands`
        The B bands.

    Returns
    -------
    dict of (n,) float arrays
        By name of column, without units; NaN where the source, or the hypothesis asked for, has no posterior.
    """
    starts = range(0, max(len(posterior), 1), _ROWS_AT_ONCE)
    parts = [_summarise_some(posterior.rows(slice(start, start + _ROWS_AT_ONCE)), bands) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summarise_some(posterior, bands):
    total = posterior.total_weight
    log_flux, colors = _flux_marginals(posterior, bands)
    columns = {"star_probability": posterior.star_probability}
    both = _quantiles(total, *log_flux)
    for b, band in enumerate(bands):
        columns |= _estimate(f"flux_{band}", *np.exp(both[:, :, b]))
        columns |= _estimate(f"mag_{band}", *(22.5 - MAGNITUDE * both[::-1, :, b]))
    color = MAGNITUDE * _quantiles(total, *colors)
    for k, name in enumerate(bands.color_names):
        columns |= _estimate(f"color_{name}", *color[:, :, k])
    for kind in (STAR, GALAXY):
        flux = np.exp(_quantiles(posterior.weight_of(kind), *log_flux))
        for b, band in enumerate(bands):
            columns |= _estimate(f"{kind}_flux_{band}", *flux[:, :, b])
    return columns | _shape_columns(posterior, bands)


def _estimate(name, lower, median, upper):
    return {name: median, f"{name}_err": half_width(lower, upper)}


def _quantiles(weight, mean, sd):
    """Lower, median and upper quantile: weight (n, M), mean and sd (n, M, Q) -> (3, n, Q)."""
    mean, sd = np.swapaxes(mean, 1, 2), np.swapaxes(sd, 1, 2)
    return np.array([mixture_quantile(p, weight[:, None], mean, sd) for p in _PROBABILITIES])


def _flux_marginals(posterior, bands):
    """Return means and sds of the log fluxes, (n, M, B), and of the colours, (n, M, B - 1), before units."""
    at = layout(STAR, len(bands))
    matrix = bands.log_flux_matrix
    block = posterior.covariance[..., at.log_fluxes, at.log_fluxes]
    variance = np.einsum("bi,nmij,bj->nmb", matrix, block, matrix)
    log_flux = posterior.mean[..., at.log_fluxes] @ matrix.T, np.sqrt(np.maximum(variance, 0.0))
    color_variance = np.einsum("...ii->...i", posterior.covariance[..., at.colors, at.colors])
    return log_flux, (posterior.mean[..., at.colors], np.sqrt(color_variance))


def _shape_columns(posterior, bands):
    """Median and error of the shape under the galaxy hypothesis.

    dev_fraction is a monotonic function of one parameter, so that its quantiles are exact; the radius, axis
    ratio and angle mix three parameters, and their quantiles are taken over quasi-random draws, the same for
    every source.
    """
    weight, at = posterior.weight_of(GALAXY), layout(GALAXY, len(bands))
    sd = np.sqrt(posterior.covariance[..., at.logit_dev, at.logit_dev])
    logit = _quantiles(weight, posterior.mean[..., at.logit_dev, None], sd[..., None])[..., 0]
    columns = _estimate("dev_fraction", *expit(logit))
    draws = to_catalog(GALAXY, _shape_draws(posterior, weight, at), bands)
    for name in ("half_light_radius", "axis_ratio"):
        columns |= _estimate(name, *np.quantile(draws[name], _PROBABILITIES, axis=1))
    angle, error = _circular_median(draws["position_angle"], draws["axis_ratio"])
    return columns | {"position_angle": angle, "position_angle_err": error}


def _shape_draws(posterior, weight, at):
    """Free vectors (n, draws, B + 6) of which only the radius and the ellipticity vary; the rest is zero."""
    shape = slice(at.log_radius, at.ellipticity.stop)
    points = _quasi_random(1 + shape.stop - shape.start)
    uniform = np.broadcast_to(points[:, 0], (len(posterior), len(points)))
    picked, row = pick(weight, uniform), np.arange(len(posterior))[:, None]
    factor = root(np.nan_to_num(posterior.covariance[..., shape, shape]))
    mean = np.where(weight[..., None] > 0, posterior.mean[..., shape], np.nan)
    theta = np.zeros((len(posterior), len(points), at.size))
    theta[..., shape] = mean[row, picked] + np.einsum(
        "nkij,kj->nki", factor[row, picked], ndtri(points[:, 1:])
    )
    return theta


@lru_cache(maxsize=4)
def _quasi_random(n_dimensions):
    """Return points that fill the unit cube evenly, (draws, d): multiples of g^-k modulo 1, g^(d+1) = g + 1.

    The additive recurrence R_d of M. Roberts (2018), which needs no state and no seed.
    """
    g = 2.0
    for _ in range(64):
        g = (1 + g) ** (1 / (n_dimensions + 1))
    step = g ** -np.arange(1.0, n_dimensions + 1)
    return (0.5 + np.arange(1, _N_DRAWS + 1)[:, None] * step) % 1.0


def _circular_median(angle, axis_ratio):
    """Median and error of angles that repeat every 180 deg, over the last axis.

    The median is that of the deviations from the mean direction, in which each draw counts by its
    ellipticity: the direction of a nearly round draw says little, and the mean of the ellipticity vectors is
    well defined.
    """
    doubled, length = np.radians(2 * angle), -np.log(axis_ratio)
    centre = 0.5 * np.degrees(
        np.arctan2((length * np.sin(doubled)).mean(axis=1), (length * np.cos(doubled)).mean(axis=1))
    )
    deviation = (angle - centre[:, None] + 90.0) % 180.0 - 90.0
    lower, median, upper = np.quantile(deviation, _PROBABILITIES, axis=1)
    folded = (centre + median) % 180.0
    return np.where(folded == 180.0, 0.0, folded), half_width(lower, upper)


def position_columns(posterior, ra, dec):
    """Mean position of each source, its errors, and the posterior about it.

    Parameters
    ----------
    posterior : `~celestepy.catalog.posterior.Posterior`
        About the positions `ra`, `dec`.
    ra, dec : (n,) arrays
        Positions in degrees, ICRS: those of the seeds.

    Returns
    -------
    columns : dict of (n,) arrays
        ``ra, dec`` in degrees and ``ra_err, dec_err`` in arcsec on the sky. A source without a posterior
        stays at its seed, with errors of NaN.
    posterior : `~celestepy.catalog.posterior.Posterior`
        About the new positions.
    """
    mean, covariance = posterior.moments(posterior.total_weight, 2)
    columns, offsets = moved_positions(mean.T, np.sqrt(np.einsum("nii->in", covariance)), ra, dec)
    return columns, posterior.moved(*offsets)


def moved_positions(mean, error, ra, dec):
    """Positions on the sky from mean offsets.

    Parameters
    ----------
    mean, error : (2, n) arrays
        Means and standard deviations of u and v, arcsec; NaN where there is no posterior.
    ra, dec : (n,) arrays
        Positions in degrees that they are offsets from.

    Returns
    -------
    columns : dict of (n,) arrays
        As `position_columns` returns them.
    offsets : (2, n) array
        The means, zero where there is none.
    """
    u, v = offsets = np.nan_to_num(mean)
    moved_ra, moved_dec = from_tangent_offsets(u, v, ra, dec)
    return {"ra": moved_ra, "dec": moved_dec, "ra_err": error[0], "dec_err": error[1]}, offsets
