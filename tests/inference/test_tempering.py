"""Sequential Monte Carlo between a proposal and targets whose evidence is known."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal, norm

from celestepy.inference.importance import StudentMixture
from celestepy.inference.tempering import temper

SIZE = 6


def proposal(shift=0.0, scale=1.0):
    return StudentMixture([1.0], np.full((1, SIZE), shift), scale**2 * np.eye(SIZE)[None], df=8.0)


def gaussian(mean, scale):
    """Target of evidence e^3."""
    law = multivariate_normal(np.full(SIZE, mean), scale**2 * np.eye(SIZE))
    return lambda x: law.logpdf(x) + 3.0


class TestTemper:
    @pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1.5, 0.7), (0.0, 0.3)])
    def test_evidence(self, mean, scale):
        runs = [temper(gaussian(mean, scale), proposal(), 300, np.random.default_rng(seed)) for seed in range(4)]
        values = np.array([run.log_evidence for run in runs])
        # The stated errors are .1; moves do not make the draws of a step quite independent of one another.
        assert np.mean(values) == pytest.approx(3.0, abs=0.25)
        assert np.std(values) < 4 * np.mean([run.log_evidence_err for run in runs])

    def test_draws_follow_the_target(self):
        run = temper(gaussian(1.5, 0.7), proposal(), 400, np.random.default_rng(1), n_moves=15)
        # 400 draws that share ancestors: the test is made as if there were 100 of them.
        assert kstest(run.draws[::4, 0], norm(1.5, 0.7).cdf).pvalue > 0.01
        np.testing.assert_allclose(run.log_density, gaussian(1.5, 0.7)(run.draws))
        assert run.n_steps > 1
        assert 100 < run.n_distinct <= 400

    def test_two_modes_keep_their_weights(self):
        places = np.array([[-2.0] * SIZE, [2.0] * SIZE])
        narrow = [multivariate_normal(place, 0.25 * np.eye(SIZE)) for place in places]

        def target(x):
            return np.logaddexp(np.log(0.2) + narrow[0].logpdf(x), np.log(0.8) + narrow[1].logpdf(x))

        wide = StudentMixture([0.5, 0.5], places, np.array([np.eye(SIZE)] * 2), df=8.0)
        shares = [
            np.mean(temper(target, wide, 300, np.random.default_rng(seed)).draws[:, 0] < 0) for seed in range(4)
        ]
        assert np.mean(shares) == pytest.approx(0.2, abs=0.06)  # binomial, 1200 draws of which about half are alike

    def test_part_of_the_proposal_outside_the_support(self):
        def half(x):
            return np.where(x[:, 0] > 0, gaussian(0.0, 1.0)(x), -np.inf)

        run = temper(half, proposal(), 400, np.random.default_rng(2))
        assert run.log_evidence == pytest.approx(3.0 - np.log(2), abs=0.3)
        assert run.draws[:, 0].min() > 0

    def test_nan_is_no_density(self):
        def broken(x):
            return np.where(x[:, 0] > 0, gaussian(0.0, 1.0)(x), np.nan)

        assert temper(broken, proposal(), 400, np.random.default_rng(2)).draws[:, 0].min() > 0

    def test_nothing_to_be_found(self):
        run = temper(lambda x: np.full(len(x), -np.inf), proposal(), 100, np.random.default_rng(0))
        assert run.n_steps == -1
        assert run.log_evidence == -np.inf

    def test_same_seed_same_draws(self):
        first, second = (temper(gaussian(1.0, 0.5), proposal(), 100, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(first.draws, second.draws)

    def test_too_few_draws(self):
        with pytest.raises(ValueError, match="n is 1; expected at least 2 draws"):
            temper(gaussian(0.0, 1.0), proposal(), 1, np.random.default_rng(0))
