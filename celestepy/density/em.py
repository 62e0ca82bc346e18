"""Batch expectation-maximisation (Bovy, Hogg & Roweis 2011, Annals of Applied Statistics 5, 1657, section 2.1)."""

import numpy as np

from celestepy.density.collapse import repaired
from celestepy.density.objective import Components

__all__ = ["fit_batch_em", "maximization"]


def maximization(components, statistics, prior, kept):
    """The M-step, with the statistics about the present means so that nothing large cancels.

    Parameters
    ----------
    components : Components
        The mixture at which the statistics were taken.
    statistics : `~celestepy.density.expectation.Expectation`
        Of all rows.
    prior : CovariancePrior
        Of the covariances.
    kept : Kept
        Components that stay.

    Returns
    -------
    Components
        The mixture that maximises the expected log likelihood and the prior.
    """
    counts = statistics.counts
    shift = statistics.offsets / np.where(counts > 0, counts, 1.0)[:, None]
    scatter = statistics.scatter - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    covariances = prior.estimate(scatter, counts, components.covariances)
    return kept.restore(Components(counts / statistics.weight, components.means + shift, covariances), components)


def fit_batch_em(components, objective, monitor, n_passes, *, phase="em"):
    """Passes over all rows, each of which raises the penalised likelihood.

    Parameters
    ----------
    components : Components
        The start.
    objective : Objective
        What to maximise.
    monitor : `~celestepy.density.monitor.Monitor`
        Told of every pass; says when to stop.
    n_passes : int
        Most passes.
    phase : str
        Name in the trace.

    Returns
    -------
    Components
        The mixture after the last pass.
    """
    for _ in range(n_passes):
        statistics = objective.expectation(components)
        mean = statistics.log_likelihood / statistics.weight
        fitted, n_repaired = repaired(
            maximization(components, statistics, objective.prior, objective.kept), objective
        )
        if monitor.record(phase, components, mean, n_repaired=n_repaired):
            return fitted
        components = fitted
    return components
