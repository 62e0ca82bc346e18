"""Mixtures of Student t distributions and importance sampling from them."""

import numpy as np
import pytest
from reference.densities import Gaussian, TwoModes
from reference.samplers import student_density
from scipy.stats import kstest, multivariate_t

from celestepy.inference.importance import StudentMixture, importance_sample, weigh
from celestepy.inference.mcmc import SamplingError

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 0.0], [3.0, -1.0], [-2.0, 5.0]])
COVARIANCES = np.array([[[1.0, 0.8], [0.8, 1.0]], [[0.04, 0.0], [0.0, 9.0]], [[2.0, -1.0], [-1.0, 3.0]]])
DF = np.array([3.0, np.inf, 7.0])
MIXTURE = StudentMixture(WEIGHTS, MEANS, COVARIANCES, DF)


def test_density_equals_scipy():
    x = np.random.default_rng(1).normal(0, 4, (50, 2))
    expected = sum(
        weight * np.array([student_density(row, mean, covariance, df) for row in x])
        for weight, mean, covariance, df in zip(WEIGHTS, MEANS, COVARIANCES, DF)
    )
    np.testing.assert_allclose(MIXTURE.log_density(x), np.log(expected), rtol=1e-11, atol=1e-11)


def test_density_far_away_does_not_underflow():
    gaussian = StudentMixture([1.0], [[0.0]], [[[1.0]]], np.inf)
    assert gaussian.log_density([[1e4]])[0] == pytest.approx(-0.5e8 - 0.5 * np.log(2 * np.pi))


def test_draws_have_the_density():
    """Marginals of 20 000 draws, component by component; p-values below 1e-3 have no business here."""
    for weight, mean, covariance, df in zip(WEIGHTS, MEANS, COVARIANCES, DF):
        x = StudentMixture([weight], [mean], [covariance], df).draw(20_000, np.random.default_rng(2))
        # The same draws along the principal axes catch a wrong correlation.
        values, vectors = np.linalg.eigh(covariance)
        for z in ((x - mean) @ vectors / np.sqrt(values)).T:
            law = "norm" if np.isinf(df) else "t"
            assert kstest(z, law, () if np.isinf(df) else (df,)).pvalue > 1e-3


def test_student_draws_share_one_chi_square():
    """Coordinates of a multivariate t are uncorrelated and yet dependent: the radius tells."""
    x = StudentMixture([1.0], [[0.0] * 3], [np.eye(3)], 4.0).draw(20_000, np.random.default_rng(3))
    exact = multivariate_t(np.zeros(3), np.eye(3), 4).rvs(200_000, random_state=1)
    assert kstest(np.linalg.norm(x, axis=1), np.linalg.norm(exact, axis=1)).pvalue > 1e-3


def test_components_are_shared_out_evenly_and_without_bias():
    """In 101 draws each component has the floor or the ceiling of its share, and its share on average."""
    narrow = StudentMixture(WEIGHTS, MEANS, [1e-6 * np.eye(2)] * 3, np.inf)
    rng = np.random.default_rng(4)
    counts = np.array(
        [
            np.bincount(np.argmin(np.linalg.norm(narrow.draw(101, rng)[:, None] - MEANS, axis=2), axis=1))
            for _ in range(1000)
        ]
    )
    assert (np.abs(counts - 101 * WEIGHTS) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), 101 * WEIGHTS, atol=4 * 0.5 / np.sqrt(1000))


def test_covariance_of_the_gaussian_mixture():
    gaussians = StudentMixture(WEIGHTS, MEANS, COVARIANCES, np.inf)
    x = gaussians.draw(200_000, np.random.default_rng(5))
    np.testing.assert_allclose(MIXTURE.covariance, gaussians.covariance)
    np.testing.assert_allclose(np.cov(x.T), gaussians.covariance, rtol=0.02)


def test_units_may_differ():
    """Only the shape of a covariance decides on its rank: scales of 1e-9 and 1e9 do not."""
    scale = np.array([1e-9, 1e9])
    mixture = StudentMixture([1.0], [[0.0, 0.0]], [COVARIANCES[0] * np.outer(scale, scale)])
    plain = StudentMixture([1.0], [[0.0, 0.0]], [COVARIANCES[0]])
    x = plain.draw(20, np.random.default_rng(1))
    np.testing.assert_allclose(mixture.log_density(x * scale), plain.log_density(x), rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariances": [np.ones((2, 2))] * 3}, r"covariances\[0\] is not positive definite"),
        ({"covariances": [np.eye(2), np.eye(2), -np.eye(2)]}, r"covariances\[2\] is not positive definite"),
        ({"covariances": [np.eye(2), np.full((2, 2), np.nan), np.eye(2)]}, r"covariances\[1\]"),
        ({"covariances": [np.eye(2), np.zeros((2, 2)), np.eye(2)]}, r"covariances\[1\]"),
        ({"covariances": [np.eye(2)] * 2}, "have shapes"),
        ({"covariances": np.eye(2)}, "have shapes"),
        ({"means": MEANS[0]}, "have shapes"),
        ({"means": np.full((3, 2), np.nan)}, "means are not finite"),
        ({"weights": [1.0, 1.0]}, "have shapes"),
        ({"weights": [1.0, 0.0, 1.0]}, "weights"),
        ({"weights": [1.0, np.nan, 1.0]}, "weights"),
        ({"df": 0.0}, "df = 0"),
        ({"df": [1.0, 2.0]}, "df"),
    ],
)
def test_bad_mixtures(change, message):
    arguments = {"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES, "df": DF} | change
    with pytest.raises(SamplingError, match=message):
        StudentMixture(**arguments)


def test_no_components():
    with pytest.raises(SamplingError, match="weights"):
        StudentMixture([], np.empty((0, 2)), np.empty((0, 2, 2)))


@pytest.mark.parametrize("x", [[1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_points_of_a_wrong_shape(x):
    with pytest.raises(SamplingError, match="x has shape"):
        MIXTURE.log_density(x)


class TestImportanceSample:
    target = Gaussian(size=3)
    proposal = StudentMixture([1.0], [target.mean + 0.02], [1.1 * target.covariance], 5.0)

    def test_result_hangs_together(self):
        calls = []

        def density(x):
            calls.append(len(x))
            return self.target.log_density(x)

        result = importance_sample(density, self.proposal, 500, np.random.default_rng(1))
        assert calls == [500]
        assert result.n_evaluations == 500
        assert result.draws.shape == (500, 3)
        assert np.exp(result.log_weights).sum() == pytest.approx(1.0)
        assert result.effective_draws == pytest.approx(1 / np.sum(np.exp(2 * result.log_weights)))
        assert 250 < result.effective_draws < 500
        assert result.pareto_k < 0.5
        assert result.resample(40, np.random.default_rng(2)).shape == (40, 3)

    def test_evidence_and_error(self):
        """The error's own scatter makes z a little wider than a Gaussian; stratified components make it narrower."""
        rng = np.random.default_rng(2)
        results = [importance_sample(self.target.log_density, self.proposal, 300, rng) for _ in range(300)]
        z = [(r.log_evidence - self.target.log_evidence) / r.log_evidence_err for r in results]
        assert abs(np.mean(z)) < 4 / np.sqrt(300)
        assert 0.8 < np.std(z) < 1.2

    def test_the_proposal_itself_has_no_error(self):
        rng, proposal = np.random.default_rng(1), self.proposal
        result = importance_sample(lambda x: proposal.log_density(x) + 4, proposal, 100, rng)
        assert result.log_evidence == pytest.approx(4.0)
        assert result.log_evidence_err < 1e-12
        assert result.effective_draws == pytest.approx(100)
        assert result.pareto_k == 0

    def test_a_narrow_proposal_is_found_out(self):
        narrow = StudentMixture([1.0], [self.target.mean], [self.target.covariance / 9], np.inf)
        rng = np.random.default_rng(1)
        k = [importance_sample(self.target.log_density, narrow, 1000, rng).pareto_k for _ in range(20)]
        assert np.mean(np.array(k) > 0.7) > 0.8

    def test_a_missed_mode_gives_part_of_the_evidence(self):
        """What no diagnosis can see: draws never reach the mode, so that k is fine. Mixtures are for this."""
        target = TwoModes()
        one = StudentMixture([1.0], target.centres[:1], [0.3 * np.eye(2)], 30.0)
        both = StudentMixture([0.5, 0.5], target.centres, [0.3 * np.eye(2), np.eye(2)], 30.0)
        rng = np.random.default_rng(3)
        missed, found = (importance_sample(target.log_density, proposal, 500, rng) for proposal in (one, both))
        assert missed.log_evidence - target.log_evidence < -0.5
        assert abs(found.log_evidence - target.log_evidence) < 4 * found.log_evidence_err

    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_a_target_that_is_nowhere_is_flagged(self, bad):
        result = importance_sample(lambda x: np.full(len(x), bad), self.proposal, 100, np.random.default_rng(1))
        assert result.log_evidence == -np.inf
        assert result.log_evidence_err == np.inf
        assert result.pareto_k == np.inf
        assert result.effective_draws == 0
        np.testing.assert_array_equal(result.log_weights, -np.inf)
        with pytest.raises(SamplingError, match="every weight is zero"):
            result.resample(5, np.random.default_rng(1))

    @pytest.mark.parametrize("n", [0, 24, 30.5])
    def test_too_few_draws(self, n):
        with pytest.raises(SamplingError, match="n = "):
            importance_sample(self.target.log_density, self.proposal, n, np.random.default_rng(1))

    def test_density_of_a_wrong_shape(self):
        with pytest.raises(SamplingError, match="returned shape"):
            importance_sample(lambda x: 0.0, self.proposal, 50, np.random.default_rng(1))

    def test_draws_of_several_calls_are_weighed_together(self):
        """As one call of the same size: smoothing sees all the weights."""
        rng = np.random.default_rng(6)
        parts = [importance_sample(self.target.log_density, self.proposal, n, rng).draws for n in (100, 300)]
        draws = np.concatenate(parts)
        ratios = self.target.log_density(draws) - self.proposal.log_density(draws)
        together = weigh(draws, ratios, 400)
        assert together.n_evaluations == 400
        assert np.exp(together.log_weights).sum() == pytest.approx(1.0)
        assert abs(together.log_evidence - self.target.log_evidence) < 4 * together.log_evidence_err
        shuffled = np.random.default_rng(7).permutation(400)
        again = weigh(draws[shuffled], ratios[shuffled])
        np.testing.assert_allclose(again.log_weights, together.log_weights[shuffled], rtol=1e-10)
        assert again.pareto_k == pytest.approx(together.pareto_k)

    def test_weighing_needs_a_ratio_for_each_draw(self):
        with pytest.raises(SamplingError, match="draws and log_ratios have shapes"):
            weigh(np.zeros((40, 2)), np.zeros(39))


class TestCompanions:
    def test_density_comes_along(self):
        x = MIXTURE.draw(50, np.random.default_rng(1))
        centres, offsets, log_density = MIXTURE.companions(x, np.random.default_rng(2))
        np.testing.assert_allclose(log_density, MIXTURE.log_density(x), rtol=1e-13)
        assert centres.shape == offsets.shape == (50, 2)

    def test_components_follow_their_responsibilities(self):
        x = np.repeat([[1.0, 0.0]], 20_000, axis=0)
        parts = WEIGHTS * [student_density(x[0], *rest) for rest in zip(MEANS, COVARIANCES, DF)]
        centres, _, _ = MIXTURE.companions(x, np.random.default_rng(3))
        shares = np.array([np.mean(np.all(centres == mean, axis=1)) for mean in MEANS])
        np.testing.assert_allclose(shares, parts / parts.sum(), atol=4 * 0.5 / np.sqrt(20_000))

    def test_second_points_make_the_pair_exchangeable(self):
        """Second points of the draws of a Student t are draws of it too, and know how far out the first ones are."""
        heavy = StudentMixture([1.0], [[0.0] * 3], [np.eye(3)], 3.0)
        x = heavy.draw(20_000, np.random.default_rng(4))
        _, offsets, _ = heavy.companions(x, np.random.default_rng(5))
        first, second = (np.linalg.norm(points, axis=1) for points in (x, offsets))
        assert kstest(first, second).pvalue > 1e-3
        far = first > np.quantile(first, 0.9)
        assert np.median(second[far]) > 1.5 * np.median(second[~far])
