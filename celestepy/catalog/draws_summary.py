"""From weighted draws of each source to the columns that people read, and to a few Gaussians.

The estimates are those of `celestepy.catalog.summary`: medians, and half the width of the central 68.3%.
"""

import numpy as np
from scipy.special import expit

from celestepy.catalog.posterior import MAX_COMPONENTS, Posterior
from celestepy.catalog.quantiles import CENTRAL, half_width, weighted_quantile
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import MAGNITUDE, to_catalog

__all__ = ["as_mixtures", "draws_positions", "summarise_draws"]

_PROBABILITIES = np.array([CENTRAL[0], 0.5, CENTRAL[1]])
_PER_COMPONENT = 6  # effective draws for each parameter that a component describes
_LEAST_VARIANCE = 1e-12  # of a type with a single draw
_STEPS = 10  # of k-means: the groups need not be the best


def summarise_draws(draws, bands):
    """Every column that follows from the draws, but for the position.

    Parameters
    ----------
    draws : `~celestepy.catalog.draws.Draws`
        Of n sources.
    bands : `~celestepy.model.parameters.Bands`
        The B bands.

    Returns
    -------
    dict of (n,) float arrays
        By name of column, without units; NaN where the source, or the hypothesis asked for, has no draws.
    """
    rows = [_summarise_one(*draws.of(source), draws, source, bands) for source in range(len(draws))]
    names = rows[0] if rows else _summarise_one(*_nothing(draws), draws, None, bands)
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    return {"star_probability": draws.star_probability} | columns


def _nothing(draws):
    return draws.is_galaxy[:0], draws.theta[:0], draws.weight[:0]


def _summarise_one(is_galaxy, theta, total, draws, source, bands):
    at = layout(GALAXY, len(bands))
    log_flux = theta[:, at.log_fluxes] @ bands.log_flux_matrix.T
    lower, median, upper = weighted_quantile(_PROBABILITIES, log_flux, total)
    columns = {}
    for b, band in enumerate(bands):
        columns |= _estimate(f"flux_{band}", *np.exp([lower[b], median[b], upper[b]]))
        columns |= _estimate(f"mag_{band}", *(22.5 - MAGNITUDE * np.array([upper[b], median[b], lower[b]])))
    color = MAGNITUDE * weighted_quantile(_PROBABILITIES, theta[:, at.colors], total)
    for k, name in enumerate(bands.color_names):
        columns |= _estimate(f"color_{name}", *color[:, k])
    within = np.zeros(0) if source is None else draws.weight[draws.start[source] : draws.start[source + 1]]
    for kind in (STAR, GALAXY):
        of_type = is_galaxy == (kind == GALAXY)
        flux = np.exp(weighted_quantile(_PROBABILITIES, log_flux[of_type], within[of_type]))
        for b, band in enumerate(bands):
            columns |= _estimate(f"{kind}_flux_{band}", *flux[:, b])
    return columns | _shape(theta[is_galaxy], within[is_galaxy], at, bands)


def _estimate(name, lower, median, upper):
    return {name: median, f"{name}_err": half_width(lower, upper)}


def _shape(theta, weight, at, bands):
    """Medians and errors of the shape under the galaxy hypothesis."""
    values = to_catalog(GALAXY, theta, bands)
    stacked = np.stack([theta[:, at.logit_dev], values["half_light_radius"], values["axis_ratio"]], axis=1)
    logit, radius, ratio = weighted_quantile(_PROBABILITIES, stacked, weight).T
    columns = _estimate("half_light_radius", *radius) | _estimate("axis_ratio", *ratio)
    angle, error = _circular_median(values["position_angle"], values["axis_ratio"], weight)
    columns |= {"position_angle": angle, "position_angle_err": error}
    return columns | _estimate("dev_fraction", *expit(logit))


def _circular_median(angle, axis_ratio, weight):
    """Median and error of angles that repeat every 180 deg, about their mean direction (see `summary`)."""
    doubled, length = np.radians(2 * angle), -np.log(axis_ratio) * weight
    centre = 0.5 * np.degrees(np.arctan2((length * np.sin(doubled)).sum(), (length * np.cos(doubled)).sum()))
    deviation = (angle - centre + 90.0) % 180.0 - 90.0
    lower, median, upper = weighted_quantile(_PROBABILITIES, deviation[:, None], weight)[:, 0]
    folded = (centre + median) % 180.0
    return (0.0 if folded == 180.0 else folded), half_width(lower, upper)


def draws_positions(draws):
    """Mean and standard deviation of u and v over both types.

    Parameters
    ----------
    draws : `~celestepy.catalog.draws.Draws`
        Of n sources.

    Returns
    -------
    mean, sd : (2, n) arrays
        In arcsec; NaN for a source without draws.
    """
    total, position = draws.total_weight, draws.theta[:, layout(GALAXY, draws.n_bands).position].T
    owner, n = draws.owner, len(draws)
    nothing = np.where(draws.n_draws > 0, 0.0, np.nan)
    mean = np.array([np.bincount(owner, total * part, minlength=n) for part in position]) + nothing
    square = [np.bincount(owner, total * (part - own[owner]) ** 2, minlength=n)
              for part, own in zip(position, mean, strict=True)]
    return mean, np.sqrt(square) + nothing


def as_mixtures(draws, max_components=MAX_COMPONENTS):
    """Describe the draws of each source by a few Gaussians.

    The draws of each type are divided into groups of similar brightness, colour and shape (k-means on the
    whitened vectors), and each group becomes a Gaussian of its weight, mean and covariance: together they
    have the mean and covariance of the draws. There are as many groups as the effective number of draws
    can support, and at most half of `max_components`.

    Parameters
    ----------
    draws : `~celestepy.catalog.draws.Draws`
        Of n sources.
    max_components : int
        Most Gaussians of a source, both types together.

    Returns
    -------
    `~celestepy.catalog.posterior.Posterior`
        Of n sources, with the star_probability of the draws.
    """
    sources = []
    for source in range(len(draws)):
        components = []
        for kind in (STAR, GALAXY):
            theta, weight, _ = draws.of_type(source, kind)
            theta = theta[:, : layout(kind, draws.n_bands).size]
            components += [(share, kind, *rest) for share, *rest in _gaussians(theta, weight, max_components // 2)]
        sources.append(components)
    mixture = Posterior.stack(sources, draws.n_bands)
    return Posterior(draws.star_probability, mixture.weight, mixture.is_galaxy, mixture.mean, mixture.covariance)


def _gaussians(theta, weight, most):
    """Log weight, mean and covariance of each group of draws of one type."""
    if not weight.sum() > 0:
        return []
    size = theta.shape[1]
    n_groups = int(np.clip(1 / np.sum(weight**2) / (_PER_COMPONENT * size), 1, most))
    group = _divide(theta, weight, n_groups)
    least = _LEAST_VARIANCE * np.eye(size)
    parts = []
    for number in np.unique(group[weight > 0]):
        own = np.where(group == number, weight, 0.0)
        share = own.sum()
        mean = own @ theta / share
        offset = theta - mean
        parts.append((np.log(share), mean, (own * offset.T) @ offset / share + least))
    return parts


def _divide(theta, weight, n_groups):
    """Number of the group of each draw: weighted k-means, begun with slices along the most skewed axis."""
    if n_groups == 1:
        return np.zeros(len(theta), dtype=int)
    offset = theta - weight @ theta
    variance, axes = np.linalg.eigh((weight * offset.T) @ offset)
    white = offset @ axes / np.sqrt(np.maximum(variance, 1e-12 * variance[-1] + _LEAST_VARIANCE))
    along = np.argsort(white[:, np.argmax(np.abs(weight @ white**3))])
    group = np.empty(len(theta), dtype=int)
    group[along] = np.minimum(n_groups * (np.cumsum(weight[along]) - 0.5 * weight[along]), n_groups - 1)
    for _ in range(_STEPS):
        member = (group == np.arange(n_groups)[:, None]) * weight
        share = member.sum(axis=1)
        centres = member @ white / np.maximum(share, np.finfo(float).tiny)[:, None]
        # the squared distance to each centre, but for a term that all have in common
        distance = np.where(share > 0, (centres**2).sum(axis=1), np.inf) - 2 * white @ centres.T
        group = np.argmin(distance, axis=1)
    return group
