"""Split and merge: out of local maxima, two components that describe the same rows for one more elsewhere.

The criteria are those of Ueda, Nakano, Ghahramani & Hinton (2000, Neural Computation 12, 2109) in the form that Bovy,
Hogg & Roweis (2011, section 3) give them for noisy rows. They are estimated on a random subsample, and so are the
three new components: by EM of these three alone, with every row weighted by what the old three had of it ("partial
EM"). A trial costs a small part of a pass therefore, and all that it needs to be judged is at hand.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from celestepy.density.collapse import split_in_two
from celestepy.density.em import maximization
from celestepy.density.expectation import expectation, log_densities, responsibilities
from celestepy.density.objective import Components, Kept

__all__ = ["SplitMergeSettings", "merged", "split_and_merge", "split_scores"]

# Responsibilities below this are left out of the table: of hundreds of components a row needs about ten.
_NEGLIGIBLE = 1e-4
_PART_ROWS = 4096
# Pairs that are worth merging are few: overlaps fall off quickly.
_PAIRS_PER_COMPONENT = 4
# Standard errors by which a gain that is estimated on a subsample has to be above zero.
_SIGNIFICANCE = 2.0


@dataclass(frozen=True)
class SplitMergeSettings:
    """Settings of a round of trials.

    Parameters
    ----------
    n_trials : int
        Most trials.
    n_rows : int
        Rows of the subsample.
    n_passes : int
        Passes of partial EM.
    tol : float
        Least gain, in nats per row.
    """

    n_trials: int
    n_rows: int
    n_passes: int = 20
    tol: float = 1e-5


def merged(pair):
    """One component with the weight, mean and covariance of two together.

    Parameters
    ----------
    pair : Components
        Two components.

    Returns
    -------
    Components
        One.
    """
    weight = pair.weights.sum()
    shares = pair.weights / weight if weight > 0 else np.full(2, 0.5)
    mean = shares @ pair.means
    offsets = pair.means - mean
    spread = pair.covariances + offsets[:, :, None] * offsets[:, None, :]
    return Components(np.array([weight]), mean[None], np.tensordot(shares, spread, 1)[None])


def split_scores(table, logs, row_weights, weights):
    """How badly each component fits the rows it has: equation 30 of Bovy et al. (2011).

    The Kullback-Leibler divergence of a component's density of a row from its empirical one is, as the responsibility
    is the ratio of ``alpha_j N(x_i)`` to the density, the mean of minus the log density over its rows, plus
    ``log(alpha_j / q_j)``.

    Parameters
    ----------
    table : `~scipy.sparse.csc_array`
        Responsibilities, shape (n, K).
    logs, row_weights : `~numpy.ndarray`
        Log densities and weights of the rows, shape (n,).
    weights : `~numpy.ndarray`
        Mixture weights, shape (K,).

    Returns
    -------
    `~numpy.ndarray`
        Shape (K,); larger is worse.
    """
    counts = table.T @ row_weights
    seen = np.where(counts > 0, counts, 1.0)
    scores = -(table.T @ (row_weights * logs)) / seen + np.log(np.maximum(weights, 1e-300) / seen)
    return np.where(counts > 0, scores, -np.inf)


def split_and_merge(components, objective, settings, rng):
    """Try to merge two components and split a third, again and again, and keep what raises the likelihood.

    Parameters
    ----------
    components : Components
        The mixture.
    objective : `~celestepy.density.objective.Objective`
        Rows, prior and kept components.
    settings : SplitMergeSettings
        How many trials, on how many rows.
    rng : `numpy.random.Generator`
        Of the subsample.

    Returns
    -------
    components : Components
        The mixture after the moves.
    n_accepted : int
        How many there were.
    """
    if len(components) - objective.kept.n < 3:
        return components, 0
    rows = next(iter(objective.source.minibatches(settings.n_rows, rng)))
    state = _Subsample(rows, components, objective)
    tried, n_accepted = set(), 0
    candidates = state.candidates()
    for _ in range(settings.n_trials):
        triple = next((triple for triple in candidates if triple not in tried), None)
        if triple is None:
            break
        tried.add(triple)
        if state.attempt(triple, settings):
            n_accepted, candidates = n_accepted + 1, state.candidates()
    return state.components, n_accepted


class _Subsample:
    """Rows with their densities and responsibilities, which follow the mixture move by move."""

    def __init__(self, rows, components, objective):
        self._rows, self.components, self._objective = rows, components, objective
        weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        self._weights = weights if rows.observed is None else weights * rows.observed.any(axis=1)
        self._logs = log_densities(rows, *components.arrays, n_jobs=objective.n_jobs)
        self._table = self._responsibilities()

    def _responsibilities(self):
        parts = []
        for first in range(0, len(self._rows), _PART_ROWS):
            part = responsibilities(
                self._rows[first : first + _PART_ROWS], *self.components.arrays, n_jobs=self._objective.n_jobs
            )
            parts.append(sparse.csr_array(np.where(part > _NEGLIGIBLE, part, 0.0)))
        return sparse.csc_array(sparse.vstack(parts))

    def candidates(self):
        """Triples (two to merge, one to split): the best pairs, each with the worst component not yet used."""
        first = self._objective.kept.n
        overlap = (self._table.T @ (self._table * self._weights[:, None])).toarray()
        overlap[:first] = overlap[:, :first] = 0
        pairs = np.stack(np.triu_indices(len(self.components), 1), axis=1)
        values = overlap[pairs[:, 0], pairs[:, 1]]
        best = np.argsort(-values, kind="stable")[: np.count_nonzero(values)]
        pairs = pairs[best[: _PAIRS_PER_COMPONENT * len(self.components)]]
        scores = split_scores(self._table, self._logs, self._weights, self.components.weights)
        worst = [int(k) for k in np.argsort(-scores, kind="stable") if k >= first]
        return _triples(pairs.tolist(), worst)

    def attempt(self, triple, settings):
        """Refit three components, and keep the result if it is better."""
        numbers = np.array(triple)
        old = self.components.subset(numbers)
        share = self._table[:, numbers].sum(axis=1)
        concerned = np.flatnonzero((share > 0) & (self._weights > 0))
        if concerned.size <= 3:
            return False
        rows, before = self._rows[concerned], self._logs[concerned]
        share = np.minimum(np.exp(_log_density(rows, old) - before), 1.0)
        new = self._partial_em(rows, self._weights[concerned] * share, old, settings.n_passes)
        if new is None:
            return False
        # The densities of the new three, in place of what the old three gave of each row's density.
        after = np.logaddexp(before + np.log1p(-np.minimum(share, 1 - 1e-12)), _log_density(rows, new))
        if not self._accepts(concerned, after - before, old, new, settings.tol):
            return False
        self.components = self.components.replaced(numbers, new)
        self._follow(concerned, numbers, before, after)
        return True

    def _partial_em(self, rows, row_weights, old, n_passes):
        """EM of three components on rows weighted by what the old three had of them; None if it breaks down."""
        one, (pair_weight,) = merged(old.subset([0, 1])), old.weights[2:]
        pair = split_in_two(old.subset([2]), pair_weight)
        total = old.weights.sum()
        arrays = (np.concatenate(both) for both in zip(one.arrays, pair.arrays))
        three = Components(*arrays)
        three.weights[:] /= total
        weighted = replace(rows, weights=row_weights)
        # The subsample stands for all rows: its prior counts for as much less.
        prior = self._scaled_prior()
        for _ in range(n_passes):
            statistics = expectation(weighted, *three.arrays, n_jobs=self._objective.n_jobs)
            if not np.isfinite(statistics.log_likelihood) or statistics.counts.min() <= 0:
                return None
            three = maximization(three, statistics, prior, Kept())
        three.weights[:] *= total
        return three

    def _scaled_prior(self):
        prior = self._objective.prior
        return type(prior)(prior.strength * self._weights.sum() / self._objective.weight, prior.scales)

    def _accepts(self, concerned, gains, old, new, tol):
        """Whether a move raises the penalised likelihood of all rows, as far as the subsample can tell.

        Three components fitted to n of N rows gain half a nat for each parameter without being better, less what
        those fitted to all rows have of that; and a mean over n of N rows has an error. Both vanish for n = N, where
        the condition is that of Bovy et al.
        """
        weights = self._weights[concerned]
        total = self._weights.sum()
        gain = weights @ gains
        before, after = (self._scaled_prior().log_density(three.covariances) for three in (old, new))
        absent = max(0.0, 1.0 - total / self._objective.weight)
        d = new.means.shape[1]
        n_parameters = 3 * (1 + d + d * (d + 1) // 2)
        error = np.sqrt(max(0.0, (weights**2 @ gains**2) - gain**2 / len(self._weights)) * absent)
        unit = self._objective.weight / self._objective.effective_rows
        return gain + after - before > 0.5 * n_parameters * absent * unit + _SIGNIFICANCE * error + tol * total

    def _follow(self, concerned, numbers, before, after):
        """Densities and responsibilities after a move: the others' shrink as the density grows."""
        self._logs[concerned] = after
        factors = np.ones(len(self._rows))
        factors[concerned] = np.exp(before - after)
        table = sparse.csc_array(sparse.diags_array(factors) @ self._table)
        rows = self._rows[concerned]
        columns = [_log_density(rows, self.components.subset([k])) for k in numbers]
        new = np.exp(np.stack(columns, axis=1) - after[:, None])
        dense = np.zeros((len(self._rows), len(numbers)))
        dense[concerned] = np.where(new > _NEGLIGIBLE, new, 0.0)
        others = np.setdiff1d(np.arange(len(self.components)), numbers)
        order = np.argsort(np.concatenate([others, numbers]))
        self._table = sparse.csc_array(sparse.hstack([table[:, others], sparse.csc_array(dense)]))[:, order]


def _log_density(rows, some):
    """Log of the summed densities of some components, weights included."""
    total = some.weights.sum()
    if total <= 0:
        return np.full(len(rows), -np.inf)
    return np.log(total) + log_densities(rows, some.weights / total, some.means, some.covariances)


def _triples(pairs, worst):
    """Every pair in turn with the next of the worst components, so that each has its chance early."""
    for lap in range(len(worst)):
        for rank, pair in enumerate(pairs):
            k = worst[(rank + lap) % len(worst)]
            if k not in pair:
                yield (*pair, k)
