"""The methods of fitting, each a sequence of phases."""

from dataclasses import dataclass
from numbers import Real

import numpy as np

from celestepy.density.em import fit_batch_em
from celestepy.density.minibatch import MinibatchSchedule, fit_minibatch_em
from celestepy.density.noisy_rows import DensityError
from celestepy.density.sgd import SgdSchedule, fit_sgd
from celestepy.density.split_merge import SplitMergeSettings, split_and_merge

__all__ = ["METHODS", "Plan"]

_INITS = ("kmeans", "k-means++")
_PASSES = {"em": 500, "minibatch": 20, "sgd": 40, "hybrid": 16}
# Part of the passes of the hybrid method that are over all rows at once.
_LAST_PASSES = 0.3
# Rows per component for split-and-merge, enough to fit three components and see a gain of 0.001 nats per row.
_SUBSAMPLE_PER_COMPONENT, _LEAST_SUBSAMPLE = 500, 20_000


@dataclass(frozen=True)
class Plan:
    """Settings of a fit.

    Parameters
    ----------
    n_passes : int
        Most passes over the rows.
    batch_size : int
        Rows in a minibatch.
    learning_rate : float
        Of stochastic gradients.
    n_trials : int
        Trials of split-and-merge.
    """

    n_passes: int
    batch_size: int
    learning_rate: float
    n_trials: int

    @classmethod
    def of(cls, parameters):
        """The plan of an estimator.

        Parameters
        ----------
        parameters : `~celestepy.density.ExtremeDeconvolution`
            With the parameters of its constructor.

        Returns
        -------
        Plan
            With the defaults of its method.

        Raises
        ------
        DensityError
            If a parameter cannot be used.
        """
        _check(parameters)
        trials = parameters.split_merge
        if trials is None:
            trials = parameters.n_components // 2 if parameters.method == "hybrid" else 0
        return cls(
            parameters.max_iter or _PASSES[parameters.method],
            parameters.batch_size or (500 if parameters.method == "sgd" else 1000),
            parameters.learning_rate,
            trials,
        )


def _check(parameters):
    """Raise an error for parameters whose value alone shows that they cannot be used."""
    method, init, share = parameters.method, parameters.init, parameters.validation_fraction
    if method not in METHODS:
        raise DensityError(f"method = {method!r}; expected one of {', '.join(METHODS)}")
    if isinstance(init, str) and init not in _INITS:
        raise DensityError(f"init = {init!r}; expected {' or '.join(_INITS)}, or a mixture")
    for name, least in (("n_components", 1), ("patience", 1), ("max_iter", 1), ("batch_size", 1), ("split_merge", 0)):
        value = getattr(parameters, name)
        if value is None and name not in ("n_components", "patience"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise DensityError(f"{name} = {value!r}; expected an integer of at least {least}")
    for name in ("tol", "regularization", "learning_rate"):
        value = getattr(parameters, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < np.inf:
            raise DensityError(f"{name} = {value!r}; expected a finite number, not negative")
    if not isinstance(share, Real) or not 0 <= share < 1:
        raise DensityError(f"validation_fraction = {share!r}; expected a number in [0, 1)")


def _em(components, objective, monitor, plan, rng):
    components = fit_batch_em(components, objective, monitor, plan.n_passes)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _minibatch(components, objective, monitor, plan, rng):
    schedule = MinibatchSchedule(plan.batch_size, plan.n_passes)
    components = fit_minibatch_em(components, objective, monitor, schedule, rng)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _sgd(components, objective, monitor, plan, rng):
    schedule = SgdSchedule(plan.batch_size, plan.n_passes, plan.learning_rate)
    components = fit_sgd(components, objective, monitor, schedule, rng)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _hybrid(components, objective, monitor, plan, rng):
    n_last = max(1, round(_LAST_PASSES * plan.n_passes))
    schedule = MinibatchSchedule(plan.batch_size, plan.n_passes - n_last)
    components = fit_minibatch_em(components, objective, monitor, schedule, rng)
    components, _ = split_and_merge(components, objective, _settings(components, plan, monitor), rng)
    return fit_batch_em(components, objective, monitor, n_last)


METHODS = {"hybrid": _hybrid, "em": _em, "minibatch": _minibatch, "sgd": _sgd}


def _settings(components, plan, monitor):
    n_rows = max(_LEAST_SUBSAMPLE, _SUBSAMPLE_PER_COMPONENT * len(components))
    return SplitMergeSettings(plan.n_trials, n_rows, tol=monitor.tol)


def _split_and_merged(components, objective, monitor, plan, rng):
    if not plan.n_trials:
        return components
    components, n_moves = split_and_merge(components, objective, _settings(components, plan, monitor), rng)
    return fit_batch_em(components, objective, monitor, n_moves and plan.n_passes, phase="em after split-merge")
