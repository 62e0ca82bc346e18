"""Split-and-merge: moments kept, local maxima left, and nothing accepted that is chance."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample, random_covariances

from celestepy.density.chunks import as_source
from celestepy.density.collapse import split_in_two
from celestepy.density.em import maximization
from celestepy.density.expectation import expectation, log_densities
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective
from celestepy.density.split_merge import SplitMergeSettings, merged, split_and_merge

SETTINGS = SplitMergeSettings(n_trials=4, n_rows=4000)


def moments(some):
    """Total weight, mean and covariance of components together."""
    shares = some.weights / some.weights.sum()
    mean = shares @ some.means
    offsets = some.means - mean
    return some.weights.sum(), mean, np.einsum("k,kab->ab", shares, some.covariances) + (offsets.T * shares) @ offsets


def objective_of(rows, kept=None, n_all=None):
    weight = float(n_all or len(rows))
    prior = CovariancePrior(1e-3, np.ones(rows.dim))
    return Objective(as_source(rows), len(rows), weight, weight, None, prior, kept or Kept())


def passes(rows, components, n, kept=None):
    for _ in range(n):
        statistics = expectation(rows, *components.arrays)
        components = maximization(components, statistics, CovariancePrior(1e-3, np.ones(rows.dim)), kept or Kept())
    return components


@pytest.fixture(scope="module")
def trapped():
    """Three groups of points, with two components in the first of them and one for the other two: a local maximum."""
    rng = np.random.default_rng(21)
    centres = np.array([[-20.0, 0.0], [20.0, 5.0], [20.0, -5.0]])
    X = np.repeat(centres, 1000, axis=0) + rng.normal(size=(3000, 2))
    rows = NoisyRows.from_input(X + rng.normal(0, 0.3, X.shape), np.full(X.shape, 0.09))
    means, sizes = np.array([[-20.0, 1], [-20, -1], [20, 0]]), np.array([1, 1, 9])
    start = Components(np.array([1, 1, 2]) / 4, means, sizes[:, None, None] * np.eye(2))
    return rows, passes(rows, start, 50), centres


class TestMoments:
    def test_a_merged_pair_has_those_of_the_pair(self):
        rng = np.random.default_rng(22)
        pair = Components(np.array([0.1, 0.3]), rng.normal(size=(2, 3)), random_covariances(rng, 2, 3))
        for one, other in zip(moments(merged(pair)), moments(pair)):
            np.testing.assert_allclose(one, other, atol=1e-14)

    @pytest.mark.parametrize("unit", [1.0, 1e-9])
    def test_halves_have_those_of_the_whole(self, unit):
        rng = np.random.default_rng(23)
        units = np.array([1.0, unit, 1e3])
        whole = Components(
            np.array([0.4]), rng.normal(size=(1, 3)) * units, random_covariances(rng, 1, 3) * np.outer(units, units)
        )
        pair = split_in_two(whole, units)
        scale = np.outer(units, units)
        for one, other, size in zip(moments(pair), moments(whole), (1.0, units, scale)):
            np.testing.assert_allclose(one / size, other / size, atol=1e-14)
        assert (np.linalg.eigvalsh(pair.covariances / scale) > 0).all()
        # the axis does not depend on units
        step = (pair.means[0] - pair.means[1]) / units
        longest = np.linalg.eigh(whole.covariances[0] / scale)[1][:, -1]
        assert abs(step @ longest) / np.linalg.norm(step) == pytest.approx(1.0, abs=1e-9)


class TestMoves:
    def test_leaves_a_local_maximum(self, trapped):
        rows, stuck, centres = trapped
        before = log_densities(rows, *stuck.arrays).mean()
        assert np.abs(passes(rows, stuck, 20).means - stuck.means).max() < 0.2  # EM alone does not move
        moved, n_moves = split_and_merge(stuck, objective_of(rows), SETTINGS, np.random.default_rng(0))
        after = passes(rows, moved, 10)
        assert n_moves == 1
        # three clusters of a third each: log 3 less the entropy of (1/3, 2/3) and of what one component missed
        assert log_densities(rows, *after.arrays).mean() > before + 0.3
        found = after.means[np.argsort(after.means @ [10.0, -1.0])]
        # standard errors are 0.033
        np.testing.assert_allclose(found, centres, atol=0.15)

    def test_accepted_moves_raise_the_likelihood(self, trapped):
        rows, stuck, _ = trapped
        moved, _ = split_and_merge(stuck, objective_of(rows), SETTINGS, np.random.default_rng(0))
        assert log_densities(rows, *moved.arrays).sum() > log_densities(rows, *stuck.arrays).sum()
        assert moved.weights.sum() == pytest.approx(1.0, abs=1e-12)

    def test_leaves_the_truth_alone(self):
        """Chance gains on a part of the rows are not taken for real ones, for any of five subsamples."""
        sample = noisy_sample(seed=24, n=8000, k=5, separation=1.0)
        rows = NoisyRows.from_input(*sample.rows)
        truth = passes(rows, Components(*sample.truth), 20)
        settings = SplitMergeSettings(n_trials=5, n_rows=1000)
        n_moves = [
            split_and_merge(truth, objective_of(rows), settings, np.random.default_rng(seed))[1] for seed in range(5)
        ]
        assert sum(n_moves) == 0

    def test_kept_components_are_not_touched(self, trapped):
        rows, stuck, _ = trapped
        extra = Components(*(np.concatenate(both) for both in zip(stuck.subset([2]).arrays, stuck.arrays)))
        extra.weights[:] /= extra.weights.sum()
        moved, n_moves = split_and_merge(extra, objective_of(rows, Kept(1)), SETTINGS, np.random.default_rng(0))
        assert n_moves == 1
        for one, other in zip(moved.arrays, extra.arrays):
            np.testing.assert_array_equal(one[0], other[0])

    def test_two_components_have_no_third(self, trapped):
        rows, stuck, _ = trapped
        two = stuck.subset([0, 2])
        assert split_and_merge(two, objective_of(rows), SETTINGS, np.random.default_rng(0)) == (two, 0)

    def test_rows_without_weight_do_not_count(self, trapped):
        rows, stuck, _ = trapped
        weighted = NoisyRows(rows.values, rows.dim, noise=rows.noise, weights=np.repeat([1.0, 1.0, 0.0], 1000))
        objective = Objective(
            as_source(weighted), 3000, 2000.0, 2000.0, None, CovariancePrior(1e-3, np.ones(2)), Kept()
        )
        first, n_first = split_and_merge(stuck, objective, SETTINGS, np.random.default_rng(0))
        other, n_other = split_and_merge(stuck, objective_of(rows[:2000]), SETTINGS, np.random.default_rng(0))
        assert n_first == n_other == 1
        # the same sums in another order
        np.testing.assert_allclose(first.means, other.means, atol=1e-9)
