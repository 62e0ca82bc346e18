"""The course of a fit: trace, progress bar, held-out early stopping, and the verdict on convergence."""

import logging
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from tqdm import tqdm

__all__ = ["Monitor", "TraceEntry"]

# Passes of a phase after each of which repairs may put convergence off: more often than that they undo each other.
_MOST_REPAIRS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TraceEntry:
    """One pass over the rows.

    Parameters
    ----------
    phase : str
        What made it: "em", "minibatch", "sgd", or "em after split-merge".
    score : float
        Mean log density per training row, in nats; of passes with many steps, averaged over the steps.
    objective : float
        The same with the regularisation.
    held_out_score : float
        Mean log density of the held-out rows after the pass, NaN without them.
    n_repaired : int
        Collapsed components that were repaired in the pass.
    seconds : float
        Since the fit began.
    """

    phase: str
    score: float
    objective: float
    held_out_score: float
    n_repaired: int
    seconds: float


class Monitor:
    """Keeps the trace, and says when to stop.

    Parameters
    ----------
    objective : `~celestepy.density.objective.Objective`
        What is maximised.
    tol : float
        Gain per pass, in nats per row, below which a phase has converged.
    patience : int
        Passes in a row without such a gain of the held-out score after which the fit stops.
    progress : bool
        Whether to show a progress bar.
    total : int
        Most passes.

    Attributes
    ----------
    repairing : bool
        Whether the last phase ended because repairs of collapsed components had been undone again and again.
    """

    def __init__(self, objective, tol, patience, total, *, progress=False):
        self.trace, self.converged, self.total = [], False, total
        self._objective, self.tol, self._patience = objective, tol, patience
        self._start, self._best, self._best_score = perf_counter(), None, -np.inf
        self._recent, self._waited = -np.inf, 0
        self._phase, self._highest, self._small_gains, self._n_repairs = None, -np.inf, 0, 0
        self.repairing = False
        self._bar = tqdm(total=total, desc="extreme deconvolution", unit="pass", disable=not progress, leave=False)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._bar.close()

    @property
    def overfitting(self):
        """Whether the held-out score has stopped rising."""
        return self._objective.held_out is not None and self._waited >= self._patience

    def restart(self):
        """Take up patience anew: the mixture was changed in a way that costs held-out score before it pays."""
        self._recent, self._waited = -np.inf, 0

    def record(self, phase, components, score, *, n_repaired=0, running=False):
        """Note a pass.

        Parameters
        ----------
        phase : str
            What made it.
        components : `~celestepy.density.objective.Components`
            The mixture that has the score, or, of a pass with many steps, the last.
        score : float
            Mean log density of the training rows.
        n_repaired : int
            Components repaired.
        running : bool
            Whether the score is an average over many steps, which is noisy: only as many small gains in a row as
            `patience` are convergence then.

        Returns
        -------
        bool
            Whether to stop this phase.
        """
        value = self._objective.value(score, components)
        held_out = self._objective.held_out_score(components)
        self.trace.append(TraceEntry(phase, score, value, held_out, n_repaired, perf_counter() - self._start))
        self._bar.set_postfix_str(f"{phase}: {score:.4f}")
        self._bar.update()
        log.info("%s: pass %d: mean log density %.6f, held out %.6f", phase, len(self.trace), score, held_out)
        self._note_best(components, held_out)
        stalled = self._stalled(phase, value, n_repaired, self._patience if running else 1)
        self.repairing = stalled and n_repaired > 0
        self.converged = stalled and not self.repairing
        return self.overfitting or stalled

    def _stalled(self, phase, value, n_repaired, most):
        """Whether so many passes of a phase in a row have gained too little."""
        if phase != self._phase:
            self._phase, self._n_repairs = phase, 0
            self._highest, self._small_gains = -np.inf, 0
        self._n_repairs += n_repaired > 0
        if n_repaired and self._n_repairs <= _MOST_REPAIRS:
            self._highest, self._small_gains = value, 0
            return False
        self._small_gains = 0 if value > self._highest + self.tol else self._small_gains + 1
        self._highest = max(value, self._highest)
        return self._small_gains >= most

    def best(self, components):
        """The mixture to return.

        Parameters
        ----------
        components : `~celestepy.density.objective.Components`
            The last one.

        Returns
        -------
        `~celestepy.density.objective.Components`
            The one with the best held-out score, or the last without held-out rows.
        """
        if self._objective.held_out is None:
            return components
        self._note_best(components, self._objective.held_out_score(components))
        return self._best

    def _note_best(self, components, held_out):
        if np.isnan(held_out):
            return
        self._waited = 0 if held_out > self._recent + self.tol else self._waited + 1
        self._recent = max(held_out, self._recent)
        if held_out > self._best_score:
            self._best, self._best_score = components, held_out
