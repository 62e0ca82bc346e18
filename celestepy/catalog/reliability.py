"""How well a probability of being a star tells stars from galaxies, and whether it means what it says."""

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

__all__ = ["StarScore", "auc", "reliability", "score_types"]

_SUREST = 1e-10  # probabilities are kept this far from 0 and 1, lest one wrong answer make the loss infinite


@dataclass(frozen=True)
class StarScore:
    """How well ``star_probability`` tells stars from galaxies.

    Attributes
    ----------
    n : int
        Matched sources with a true type.
    auc : float
        Area under the ROC curve: the chance that a star has a higher probability than a galaxy, ties counted
        half.
    accuracy : float
        Share typed right at a threshold of one half.
    log_loss : float
        Mean of -ln of the probability of the true type; ln 2 for a guess.
    reliability : list of dict
        See `reliability`.
    other_auc, other_accuracy : float or None
        Those of the other catalogue on those of the sources that it has too.
    """

    n: int
    auc: float
    accuracy: float
    log_loss: float
    reliability: list
    other_auc: float | None = None
    other_accuracy: float | None = None


def score_types(probability, is_star):
    """Score probabilities of being a star.

    Parameters
    ----------
    probability : (n,) array
        Probability of being a star, NaN where there is none.
    is_star : (n,) array
        1 for stars, 0 for galaxies, NaN where not known.

    Returns
    -------
    StarScore or None
        None if no source has both.
    """
    known = np.isfinite(is_star) & np.isfinite(probability)
    if not known.any():
        return None
    star, probability = is_star[known] > 0.5, probability[known]
    bounded = np.clip(probability, _SUREST, 1 - _SUREST)
    loss = -np.mean(xlogy(star, bounded) + xlogy(~star, 1 - bounded))
    right = (probability > 0.5) == star
    bins = reliability(np.clip(probability, 0.0, 1.0), star)
    return StarScore(int(known.sum()), auc(probability, star), float(right.mean()), float(loss), bins)


def auc(probability, is_star):
    """Area under the ROC curve, ties counted half.

    Parameters
    ----------
    probability : (n,) array_like
        Any score that is higher for stars.
    is_star : (n,) array_like of bool
        The truth.

    Returns
    -------
    float
        NaN unless there are both stars and galaxies.

    Examples
    --------
    >>> from celestepy.catalog.reliability import auc
    >>> auc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
    0.875
    """
    is_star = np.asarray(is_star, dtype=bool)
    n_star, n_galaxy = int(is_star.sum()), int((~is_star).sum())
    if not (n_star and n_galaxy):
        return float("nan")
    from scipy.stats import rankdata  # here: its import takes half a second

    ranks = rankdata(probability)
    return float((ranks[is_star].sum() - n_star * (n_star + 1) / 2) / (n_star * n_galaxy))


def reliability(probability, is_star, n_bins=10):
    """Compare predicted probabilities with how often they come true.

    Parameters
    ----------
    probability : (n,) array_like
        Predicted probability of being a star, between 0 and 1.
    is_star : (n,) array_like of bool
        The truth.
    n_bins : int
        Bins of equal width between 0 and 1.

    Returns
    -------
    list of dict
        For each bin ``low, high, n, probability`` (mean predicted) and ``fraction`` (of stars), NaN in empty
        bins.
    """
    probability, is_star = np.asarray(probability, dtype=float), np.asarray(is_star, dtype=bool)
    index = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    rows = []
    for k in range(n_bins):
        inside = index == k
        n = int(inside.sum())
        mean, fraction = (float(v[inside].mean()) if n else float("nan") for v in (probability, is_star))
        edges = {"low": k / n_bins, "high": (k + 1) / n_bins}
        rows.append(edges | {"n": n, "probability": mean, "fraction": fraction})
    return rows
