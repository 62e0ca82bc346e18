"""The methods of fitting, each a sequence of phases."""

import logging
from dataclasses import dataclass
from numbers import Real

import numpy as np

from celestepy.density.arguments import check_jobs
from celestepy.density.em import fit_batch_em
from celestepy.density.minibatch import MinibatchSchedule, fit_minibatch_em
from celestepy.density.noisy_rows import DensityError
from celestepy.density.sgd import SgdSchedule, fit_sgd
from celestepy.density.split_merge import SplitMergeSettings, split_and_merge

__all__ = ["METHODS", "Plan"]

log = logging.getLogger(__name__)

_INITS = ("kmeans", "k-means++")
_PASSES = {"em": 500, "minibatch": 20, "sgd": 40}
# Passes of batch EM that the hybrid method's minibatches are to be worth, and the passes it may make for that.
_WORTH, _FEWEST_PASSES, _MOST_PASSES = 420, 10, 28
# How the hybrid method shares out its passes between minibatches before split-and-merge, and full passes at the end;
# and the parts of the way from short to long memory (see MinibatchSchedule) before and after split-and-merge. Chosen
# on Gaia-like rows (N = 100,000, K = 32 and 64, several starts) for the held-out score that a given time buys.
_BEFORE, _LAST = 0.4, 0.1
_PARTS = (0.0, 0.6), (0.2, 1.0)
# Rows in a minibatch per component: as many as the running sums remember at least. More would be no faster; fewer leave
# the time to what is done once a step.
_BATCH_PER_COMPONENT, _SMALLEST_BATCH, _LARGEST_BATCH = 25, 100, 8192
_SGD_BATCH_ROWS = 500
# Batches in a pass over few rows.
_FEWEST_BATCHES = 20
# Rows of the subsample for split-and-merge, per component and at least.
_SUBSAMPLE_PER_COMPONENT, _LEAST_SUBSAMPLE = 200, 10_000


@dataclass(frozen=True)
class Plan:
    """Settings of a fit.

    Parameters
    ----------
    method : str
        Which.
    max_iter, batch_size : int or None
        As the user gave them, see `n_passes` and `batch_rows`.
    learning_rate : float
        Of stochastic gradients.
    n_trials : int
        Most components that split-and-merge splits.
    """

    method: str
    max_iter: int | None
    batch_size: int | None
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
            trials = max(2, parameters.n_components // 8) if parameters.method == "hybrid" else 0
        return cls(parameters.method, parameters.max_iter, parameters.batch_size, parameters.learning_rate, trials)

    def n_passes(self, n_rows, n_components):
        """Most passes over the rows.

        Parameters
        ----------
        n_rows : int
            Rows to fit.
        n_components : int
            Of the mixture.

        Returns
        -------
        int
            As given, or the default; for "hybrid" that depends on how many steps of EM a pass is worth.
        """
        if self.max_iter is not None:
            return self.max_iter
        if self.method != "hybrid":
            return _PASSES[self.method]
        schedule = MinibatchSchedule(self.batch_rows(n_rows, n_components), 1)
        passes = np.ceil(_WORTH / schedule.worth(n_rows, n_components))
        return int(np.clip(passes, _FEWEST_PASSES, _MOST_PASSES))

    def batch_rows(self, n_rows, n_components):
        """Rows in a minibatch.

        Parameters
        ----------
        n_rows : int
            Rows to fit.
        n_components : int
            Of the mixture.

        Returns
        -------
        int
            As given, or the default, which is less for few rows.
        """
        if self.batch_size is not None:
            return self.batch_size
        wanted = int(np.clip(_BATCH_PER_COMPONENT * n_components, _SMALLEST_BATCH, _LARGEST_BATCH))
        return max(1, min(_SGD_BATCH_ROWS if self.method == "sgd" else wanted, n_rows // _FEWEST_BATCHES))


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
    check_jobs(parameters.n_jobs)
    for name in ("tol", "regularization", "learning_rate"):
        value = getattr(parameters, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < np.inf:
            raise DensityError(f"{name} = {value!r}; expected a finite number, not negative")
    if not isinstance(share, Real) or not 0 <= share < 1:
        raise DensityError(f"validation_fraction = {share!r}; expected a number in [0, 1)")


def _em(components, objective, monitor, plan, rng):
    components = fit_batch_em(components, objective, monitor, monitor.total)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _minibatch(components, objective, monitor, plan, rng):
    schedule = MinibatchSchedule(plan.batch_rows(objective.n_rows, len(components)), monitor.total)
    components = fit_minibatch_em(components, objective, monitor, schedule, rng)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _sgd(components, objective, monitor, plan, rng):
    schedule = SgdSchedule(plan.batch_rows(objective.n_rows, len(components)), monitor.total, plan.learning_rate)
    components = fit_sgd(components, objective, monitor, schedule, rng)
    return _split_and_merged(components, objective, monitor, plan, rng)


def _hybrid(components, objective, monitor, plan, rng):
    """Minibatch EM, split-and-merge, minibatch EM again, and passes over all rows."""
    n_last = max(1, round(_LAST * monitor.total))
    n_before = min(max(1, round(_BEFORE * monitor.total)), monitor.total - n_last) if plan.n_trials else 0
    parts = _PARTS if plan.n_trials else ((0.0, 0.0), (0.0, 1.0))
    for n_epochs, part in zip((n_before, monitor.total - n_before - n_last), parts):
        if not n_epochs:
            continue
        schedule = MinibatchSchedule(plan.batch_rows(objective.n_rows, len(components)), n_epochs, part)
        components = fit_minibatch_em(components, objective, monitor, schedule, rng)
        if plan.n_trials and part == parts[0]:
            components, _ = _moved(components, objective, monitor, plan, rng)
    return fit_batch_em(components, objective, monitor, n_last)


METHODS = {"hybrid": _hybrid, "em": _em, "minibatch": _minibatch, "sgd": _sgd}


def _moved(components, objective, monitor, plan, rng):
    n_rows = max(_LEAST_SUBSAMPLE, _SUBSAMPLE_PER_COMPONENT * len(components))
    settings = SplitMergeSettings(plan.n_trials, n_rows, tol=monitor.tol)
    components, n_moves = split_and_merge(components, objective, settings, rng)
    log.info("split-merge: %d pairs merged, and as many components split", n_moves)
    monitor.restart()
    return components, n_moves


def _split_and_merged(components, objective, monitor, plan, rng):
    """For the methods that do without: once at the end, if wanted, and passes over all rows where it changed much."""
    if not plan.n_trials:
        return components
    components, n_moves = _moved(components, objective, monitor, plan, rng)
    return fit_batch_em(components, objective, monitor, n_moves and monitor.total, phase="em after split-merge")
