"""The algebra of minibatch EM: the stable update, and where the forms printed by Ritchie & Murray (2019) fail."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample, random_covariances

from celestepy.density.chunks import as_source, survey
from celestepy.density.em import maximization
from celestepy.density.expectation import expectation
from celestepy.density.minibatch import MinibatchSchedule, RunningMoments, adjust
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective


def adjust_as_printed(covariance, s, c, d):
    """Equation 9 as the paper prints it."""
    product = np.outer(c - d, c + d)
    return s * covariance + 0.5 * (product + product.T)


def adjust_expected(covariance, s, c, d):
    """Equation 10, which equation 9 is meant to be."""
    return s * (covariance + np.outer(c, c)) - np.outer(d, d)


def objective_of(sample, strength=0.0):
    source = as_source(*sample.rows)
    prior = CovariancePrior(strength, np.ones(sample.X.shape[1]))
    seen = survey(source, np.random.default_rng(0), sample_rows=1, held_out_rows=0)
    return Objective(source, seen.n_rows, seen.weight, seen.effective_rows, None, prior)


class TestAdjust:
    def test_equals_equation_10(self):
        rng = np.random.default_rng(1)
        covariance = random_covariances(rng, 5, 4)
        s, c, d = rng.uniform(0.5, 2, 5), rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
        expected = [adjust_expected(*one) for one in zip(covariance, s, c, d)]
        # numbers of order one: rounding alone
        np.testing.assert_allclose(adjust(covariance, s, c, d), expected, atol=1e-14)

    def test_keeps_digits_far_from_the_origin(self):
        """A component of width 1e-3 at 1e4: equation 10 squares 1e4 and loses twelve digits of the variance 1e-6."""
        covariance, s, c = np.array([[1e-6]]), 1.0, np.array([1e4])
        d = c + 1e-4
        exact = 1e-6 - 2e4 * (d[0] - c[0]) - (d[0] - c[0]) ** 2
        stable = adjust(covariance, np.array(s), c, d)[0, 0]
        assert abs(stable - exact) < 1e-13
        assert abs(adjust_expected(covariance, s, c, d)[0, 0] - exact) > 1e-9

    def test_printed_equation_9_fails_unless_the_scale_is_one(self):
        rng = np.random.default_rng(2)
        covariance, c, d = np.eye(2), rng.normal(0, 10, 2), rng.normal(0, 10, 2)
        np.testing.assert_allclose(
            adjust_as_printed(covariance, 1.0, c, d), adjust_expected(covariance, 1.0, c, d), atol=1e-10
        )
        error = adjust_as_printed(covariance, 1.1, c, d) - adjust_expected(covariance, 1.1, c, d)
        # what is missing is (s - 1) c c^T, whatever the new mean
        np.testing.assert_allclose(error, -0.1 * np.outer(c, c), atol=1e-10)

    def test_printed_equation_9_makes_variances_negative(self):
        """Equation 12 for a component of variance 1 at 180 degrees, whose weight falls from 1 to 0.95 in a step of 0.1.

        The rows of the batch lie a degree lower. Shares times scales sum to one, so that of the errors (1 - s) c c^T
        the difference of two squares remains: 0.05 * (179^2 - 180^2) = -18.
        """
        before, after, step, old, batch = 1.0, 0.95, 0.1, np.array([180.0]), np.array([179.0])
        in_batch = (after - (1 - step) * before) / step
        terms = [(1 - step, before / after, old), (step, in_batch / after, batch)]
        new = sum(share * s * c for share, s, c in terms)
        exact = sum(share * s * (1 + (c - new) ** 2) for share, s, c in terms)[0]
        stable = sum(share * adjust(np.eye(1), np.array(s), c, new)[0, 0] for share, s, c in terms)
        printed = sum(share * adjust_as_printed(np.eye(1), s, c, new)[0, 0] for share, s, c in terms)
        # squares of 180 have rounding errors of 1e-11
        assert stable == pytest.approx(exact, abs=1e-10)
        assert printed < -10


class TestRunningMoments:
    def test_a_step_of_one_on_all_rows_is_batch_em(self):
        sample = noisy_sample(seed=3, missing=0.1)
        rows, objective = NoisyRows.from_input(*sample.rows), objective_of(sample, strength=2.0)
        start = Components(*sample.truth)
        statistics = expectation(rows, *start.arrays)
        online = RunningMoments(*start.arrays).updated(statistics, 1.0).components(objective, start)
        batch = maximization(start, statistics, objective.prior, Kept())
        for one, other in zip(online.arrays, batch.arrays):
            np.testing.assert_allclose(one, other, atol=1e-12)  # the same sums in another order

    def test_equals_the_sums_of_equation_6(self):
        """Against the raw sums q, s and S of equations 5 to 7, over several minibatches."""
        sample = noisy_sample(seed=4, n=600)
        objective = objective_of(sample)
        components, steps = Components(*sample.truth), (0.5, 0.3, 0.2)
        moments = RunningMoments(*components.arrays)
        weights, means, covariances = components.arrays
        raw = [weights, weights[:, None] * means, weights[:, None, None] * second_moments(means, covariances)]
        for number, step in enumerate(steps):
            part = slice(200 * number, 200 * (number + 1))
            batch = NoisyRows.from_input(sample.X[part], sample.covariance[part])
            statistics = expectation(batch, *components.arrays)
            sums = raw_sums(statistics, components.means)
            raw = [(1 - step) * old + step * new / 200 for old, new in zip(raw, sums)]
            moments = moments.updated(statistics, step)
            components = moments.components(objective, components)
        q, s, square = raw
        mean = s / q[:, None]
        covariance = square / q[:, None, None] - mean[:, :, None] * mean[:, None, :]
        # second moments of about 10^2: twelve digits remain
        np.testing.assert_allclose(moments.fractions, q, atol=1e-12)
        np.testing.assert_allclose(moments.means, mean, atol=1e-12)
        np.testing.assert_allclose(moments.covariances, covariance, atol=1e-11)

    def test_printed_equation_11_gives_the_noise_for_the_density(self):
        """One component of variance 1 under noise of variance 4: the moments of a batch at the truth are the truth."""
        rng = np.random.default_rng(5)
        n = 20_000
        x = rng.normal(0, 1, n) + rng.normal(0, 2, n)
        truth = Components(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
        statistics = expectation(NoisyRows.from_input(x[:, None], np.full((n, 1), 4.0)), *truth.arrays)
        moments = RunningMoments(*truth.arrays).updated(statistics, 1.0)
        b, remaining = x / 5, 0.8
        printed = np.mean((x - b) ** 2) + remaining
        # Var(b) = 0.2, whose sample value has a relative error of sqrt(2 / n) = 0.01: 0.2 * 0.01 * 5 sigma
        assert moments.covariances[0, 0, 0] == pytest.approx(1.0, abs=0.01)
        assert printed == pytest.approx(4.0, abs=0.2)

    def test_a_component_without_rows_keeps_its_shape(self):
        sample = noisy_sample(seed=6, n=100)
        far = Components(*sample.truth)
        far.means[0] += 1e4
        statistics = expectation(NoisyRows.from_input(*sample.rows), *far.arrays)
        moments = RunningMoments(*far.arrays).updated(statistics, 0.1)
        assert moments.fractions[0] == pytest.approx(0.9 * far.weights[0])
        np.testing.assert_allclose(moments.means[0], far.means[0], rtol=1e-12)
        np.testing.assert_allclose(moments.covariances[0], far.covariances[0], rtol=1e-12)


def second_moments(means, covariances):
    return covariances + means[:, :, None] * means[:, None, :]


def raw_sums(statistics, means):
    """Sums of r, r b and r (b b^T + B), from those about the means."""
    q, offsets = statistics.counts, statistics.offsets
    cross = offsets[:, :, None] * means[:, None, :]
    square = statistics.scatter + cross + np.swapaxes(cross, 1, 2)
    square = square + q[:, None, None] * means[:, :, None] * means[:, None, :]
    return q, offsets + q[:, None] * means, square


class TestSchedule:
    def test_memory_grows_from_a_few_rows_per_component_to_all(self):
        rates = MinibatchSchedule(batch_size=100, n_epochs=10).rates(n_rows=50_000, n_components=20)
        assert len(rates) == 5000
        remembered = 100 / rates
        np.testing.assert_allclose([remembered[0], remembered[-1]], [25 * 20, 50_000])
        np.testing.assert_allclose(remembered[1:] / remembered[:-1], 100 ** (1 / 4999))

    def test_no_batch_counts_for_more_than_half(self):
        rates = MinibatchSchedule(batch_size=500, n_epochs=10).rates(n_rows=50_000, n_components=20)
        assert rates.max() == 0.5

    def test_parts_follow_on_each_other(self):
        whole = MinibatchSchedule(500, 10).rates(50_000, 20)
        first = MinibatchSchedule(500, 5, (0.0, 499 / 999)).rates(50_000, 20)
        np.testing.assert_allclose(first, whole[:500])

    def test_few_rows_are_all_remembered(self):
        rates = MinibatchSchedule(batch_size=10, n_epochs=3).rates(n_rows=100, n_components=20)
        np.testing.assert_allclose(rates, 0.1)

    def test_worth(self):
        """Mean of rows / remembered rows, along the geometric way between them."""
        worth = MinibatchSchedule(batch_size=100, n_epochs=4).worth(100_000, 20)
        assert worth == pytest.approx(199 / np.log(200), rel=0.01)
