"""Whether draws can be trusted, and what to do if not: R-hat, effective sample size and Pareto k by arviz-stats."""

import math
from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.density import SamplingError

__all__ = ["Verdict", "pareto_smooth", "verdict"]

# Fewest draws per chain, and fewest weights, for which the diagnostics are defined.
_FEWEST_DRAWS = 8
_FEWEST_WEIGHTS = 25

# Weights further below the largest than this, in nats, are zero: their exponentials are near the smallest number.
_WIDEST_TAIL = 600.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether chains have converged.

    Attributes
    ----------
    converged : bool
        Whether every parameter passed.
    message : str
        What is wrong and what to do, or "converged".
    r_hat : `~numpy.ndarray`
        Rank-normalised split R-hat of each parameter, shape (D,); NaN for one that never moved.
    ess_bulk, ess_tail : `~numpy.ndarray`
        Effective number of draws for the centre, and for the 5 % and 95 % quantiles, shape (D,).
    """

    converged: bool
    message: str
    r_hat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def verdict(chains, *, max_r_hat=1.01, min_effective_draws=400.0):
    """Judge a set of chains by the recommendations of Vehtari et al. (2021, Bayesian Analysis 16, 667).

    Parameters
    ----------
    chains : Chains
        The chains; a single one is compared with itself, in halves.
    max_r_hat : float
        Largest R-hat that passes.
    min_effective_draws : float
        Fewest effective draws that pass, in the bulk and in the tails.

    Returns
    -------
    Verdict
        The diagnostics, and what follows from them.
    """
    draws = np.asarray(chains.draws)
    n = draws.shape[1]
    if draws.shape[0] == 1:
        draws = np.concatenate([draws[:, : n // 2], draws[:, n - n // 2 :]])
    if draws.shape[1] < _FEWEST_DRAWS:
        nothing = np.full(draws.shape[2], math.nan)
        return Verdict(False, f"only {n} draws per chain: raise n_draws", nothing, nothing, nothing)
    options = {"chain_axis": 0, "draw_axis": 1}
    # A parameter that never moved has no variance to divide by.
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = _array_stats().rhat(draws, **options)
        bulk = _array_stats().ess(draws, method="bulk", **options)
        tail = _array_stats().ess(draws, method="tail", prob=(0.05, 0.95), **options)
    message = _judgement(r_hat, np.fmin(bulk, tail), n, max_r_hat, min_effective_draws)
    return Verdict(message == "converged", message, r_hat, bulk, tail)


def _judgement(r_hat, ess, n, max_r_hat, min_effective_draws):
    still = np.flatnonzero(~np.isfinite(r_hat))
    if still.size:
        return f"parameters {still.tolist()} never moved: check that the density depends on them, and the widths"
    worst, poorest = int(np.argmax(r_hat)), int(np.argmin(ess))
    if r_hat[worst] > max_r_hat:
        return (
            f"chains disagree (R-hat {r_hat[worst]:.3f} of parameter {worst}, limit {max_r_hat}): raise burn_in and"
            " n_draws, or whiten; if they stay apart there are several modes"
        )
    if ess[poorest] < min_effective_draws:
        factor = math.ceil(min_effective_draws / ess[poorest])
        return (
            f"too few effective draws ({ess[poorest]:.0f} of parameter {poorest}, {min_effective_draws:.0f} wanted):"
            f" raise n_draws to {factor * n}"
        )
    return "converged"


def pareto_smooth(log_ratios):
    """Smooth the largest importance weights by a generalised Pareto law (Vehtari et al. 2024, JMLR 25, algorithm 1).

    Parameters
    ----------
    log_ratios : array_like
        Log ratios of target to proposal, shape (n,); -inf is a weight of zero.

    Returns
    -------
    log_weights : `~numpy.ndarray`
        Smoothed log ratios on the scale of the given ones, shape (n,).
    pareto_k : float
        Shape of the tail. Below .5 the weights have a variance, up to .7 the estimates can be relied on; 0 where the
        largest weights are all equal, and inf where no tail can be fitted, as too few draws have a weight: those
        ratios are returned as they are.

    Raises
    ------
    SamplingError
        If there are fewer than 25 ratios, or one is NaN or +inf.
    """
    ratios = np.array(log_ratios, dtype=float)
    if ratios.ndim != 1 or len(ratios) < _FEWEST_WEIGHTS:
        raise SamplingError(f"log_ratios has shape {ratios.shape}; expected a vector of {_FEWEST_WEIGHTS} or more")
    if not (ratios < np.inf).all():
        raise SamplingError("log_ratios has values that are NaN or +inf; expected finite ones or -inf")
    n_tail = _tail_length(len(ratios))
    # The same numbers in the same order as in psislw, so that ties fall on the same side of the cut.
    order = np.argsort(ratios - ratios.max() if ratios.max() > -np.inf else ratios)
    cutoff, *tail = ratios[order[-n_tail - 1 :]]
    if not cutoff > tail[-1] - _WIDEST_TAIL:
        return ratios, math.inf
    if tail[-1] - tail[0] <= 1e-14 * max(1.0, abs(tail[-1])):
        return ratios, 0.0
    # The fit takes its scale from the first quartile of the tail.
    if tail[int(n_tail / 4 + 0.5) - 1] - cutoff <= 1e-14 * max(1.0, abs(cutoff)):
        return ratios, math.inf
    # psislw is written for leave-one-out: it takes the negative of the ratios, and returns normalised weights.
    smoothed, pareto_k = _array_stats().psislw(-ratios)
    # The largest weight that is no part of the tail has kept its value, and gives back the scale.
    kept = order[-n_tail - 1]
    return smoothed + (ratios[kept] - smoothed[kept]), float(pareto_k)


def _array_stats():
    """ArviZ's statistics of arrays, loaded on first use: xarray and matplotlib come with them where installed."""
    from arviz_stats.base import array_stats

    return array_stats


def _tail_length(n):
    """Number of weights that count as the tail: ``min(n / 5, 3 sqrt(n))``."""
    return int(min(n / 5, 3 * math.sqrt(n)))
