"""Where the truth lies among the draws of the posterior: simulation-based calibration.

If sources are drawn from the prior that a fit assumes, the rank of the truth among independent draws of the exact
posterior is uniform, whatever the shape of the posterior (Cook, Gelman & Rubin 2006; Talts et al. 2018,
arXiv:1804.06788). This holds for every quantity that can be computed from the parameters and the pixels, as long as it
is not decided by the truth, or by the noise, which sources are looked at.
"""

import numpy as np
from scipy.special import erf

from celestepy.catalog.differences import SHAPES, common_bands, plain_column, quantity

__all__ = ["CENTRAL", "central_coverage", "coverage_of_draws", "truth_ranks", "uniformity"]

# Probability of the central intervals that reach 1/2, 1, 2 and 3 standard deviations of a Gaussian.
CENTRAL = tuple(float(erf(k / np.sqrt(2))) for k in (0.5, 1.0, 2.0, 3.0))


def truth_ranks(catalog, truth, rows, true_rows, *, n=1000, rng=None):
    """Rank of each true value among draws of its posterior, as a fraction.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        Whose draws are judged.
    truth : table
        In the catalogue's columns, with ``is_star`` where the types are known.
    rows, true_rows : (m,) int arrays
        Paired rows of the two; pairs that depend on how well a source was found spoil the uniformity.
    n : int
        Draws of each source.
    rng : `numpy.random.Generator` or int, optional
        Of the draws, and of the place of the truth among equal draws.

    Returns
    -------
    dict of str to (m,) array
        Ranks between 0 and 1 of the magnitude in the reference band, the colours, ``ra`` and ``dec``, and of
        the shapes of true galaxies, whose draws are those of the galaxy hypothesis. NaN where there is no truth or no
        draw. The angle is counted from that of the catalogue, over 90 degrees to each side.

    Raises
    ------
    CatalogError
        If truth and catalogue have no band in common.
    ValueError
        If `n` is less than one.
    """
    rng, bands = np.random.default_rng(rng), common_bands(catalog, truth)
    draws = catalog.sample(n, rng)
    galaxy = plain_column(truth, "is_star", true_rows) < 0.5
    ranks = {}
    for name in [f"mag_{bands.reference}", *(f"color_{color}" for color in bands.color_names), "ra", "dec", *SHAPES]:
        if name not in draws.colnames:
            continue
        drawn, true = _values(draws, name)[rows], _true_values(truth, name, true_rows)
        if name == "position_angle":
            origin = plain_column(catalog, name, rows, "deg")
            drawn, true = _turn(drawn - origin[:, None]), _turn(true - origin)
        ranks[name] = np.where(galaxy | (name not in SHAPES), _ranks(drawn, true, rng), np.nan)
    return ranks


def _values(draws, name):
    column = draws[name]
    return np.asarray(getattr(column, "value", column), dtype=float)


def _true_values(truth, name, rows):
    return plain_column(truth, name, rows, "deg") if name in ("ra", "dec") else quantity(truth, name, rows)


def _turn(angle):
    """Angles of axes, between -90 and 90 degrees."""
    return (angle + 90.0) % 180.0 - 90.0


def _ranks(drawn, true, rng):
    """Ranks of (m,) values among (m, n) draws, NaN being none; the truth takes a random place among its equals."""
    known = np.isfinite(drawn)
    below, equal = (np.sum(known & compare, axis=1) for compare in (drawn < true[:, None], drawn == true[:, None]))
    number = known.sum(axis=1)
    rank = (below + rng.uniform(size=len(true)) * (equal + 1)) / (number + 1)
    return np.where((number > 0) & np.isfinite(true), rank, np.nan)


def central_coverage(ranks):
    """Shares of the truths within the central intervals of `CENTRAL`.

    Unlike that of intervals about an estimate, it is nominal for an exact posterior of any shape, such as that of a
    fraction which cannot leave 0 to 1.

    Parameters
    ----------
    ranks : (m,) array_like
        As `truth_ranks` gives them; NaN are left out.

    Returns
    -------
    share : (4,) array
        NaN if there are no ranks.
    error : (4,) array
        Standard error of a nominal share of so many truths.
    """
    ranks, nominal = np.asarray(ranks, dtype=float), np.array(CENTRAL)
    away = 2 * np.abs(ranks[np.isfinite(ranks)] - 0.5)
    if not len(away):
        return np.full(4, np.nan), np.full(4, np.nan)
    return np.mean(away[:, None] < nominal, axis=0), np.sqrt(nominal * (1 - nominal) / len(away))


def coverage_of_draws(effective):
    """Shares of the truths within the central intervals of an exact posterior that is known by a few draws only.

    The truth is as likely to lie in any of the k + 1 gaps between and about k independent draws, so that it lies
    outside all of them with a probability of 2 / (k + 1), which is more than the 0.0027 that the interval of three
    standard deviations leaves out unless there are 740 draws.

    Parameters
    ----------
    effective : (m,) array_like
        Effective draws of each posterior, NaN where they are as many as one likes.

    Returns
    -------
    (4,) array
        Means over the posteriors, for the intervals of `CENTRAL`; NaN if there are none.
    """
    draws = np.round(np.nan_to_num(np.asarray(effective, dtype=float), nan=1e5)).clip(1, 1e5)[:, None]
    outside = np.floor((1 - np.array(CENTRAL)) / 2 * draws) + 1
    return np.mean(np.maximum(1 - 2 * outside / (draws + 1), 0.0), axis=0) if len(draws) else np.full(4, np.nan)


def uniformity(ranks):
    """Probability that uniform ranks would look less uniform than these, by Kolmogorov and Smirnov.

    Parameters
    ----------
    ranks : (m,) array_like
        As `truth_ranks` gives them; NaN are left out.

    Returns
    -------
    float
        The p value, NaN if there are no ranks.
    """
    from scipy.stats import kstest  # here: its import takes half a second

    ranks = np.asarray(ranks, dtype=float)
    ranks = ranks[np.isfinite(ranks)]
    return float(kstest(ranks, "uniform").pvalue) if len(ranks) else float("nan")
