"""Verdicts on chains and weights whose quality is known."""

import numpy as np
import pytest
from reference.samplers import ranked_r_hat

from celestepy.inference.mcmc import Chains, SamplingError, pareto_smooth, verdict


def chains(draws):
    draws = np.asarray(draws)
    return Chains(draws, np.zeros(draws.shape[:2]), 0)


def autoregressive(rho, shape, rng):
    """Stationary chains with unit variance whose effective draws are ``n (1 - rho) / (1 + rho)``."""
    x = np.empty(shape)
    x[:, 0] = rng.standard_normal(x[:, 0].shape)
    for i in range(1, shape[1]):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(x[:, 0].shape)
    return x


def test_independent_draws_pass():
    draws = np.random.default_rng(1).standard_normal((4, 1000, 3))
    result = verdict(chains(draws))
    assert result.converged
    assert result.message == "converged"
    assert result.r_hat.shape == result.ess_bulk.shape == result.ess_tail.shape == (3,)
    # Ranks are normal scores already: only the folded variant, which may be larger, differs.
    for j in range(3):
        assert abs(result.r_hat[j] - ranked_r_hat(draws[:, :, j])) < 0.004
    # The estimate scatters by some per cent.
    np.testing.assert_allclose(result.ess_bulk, 4000, rtol=0.2)


def test_effective_draws_of_an_autoregression():
    result = verdict(chains(autoregressive(0.9, (8, 4000, 2), np.random.default_rng(2))))
    np.testing.assert_allclose(result.ess_bulk, 8 * 4000 * 0.1 / 1.9, rtol=0.2)


def test_too_few_effective_draws_says_how_many():
    draws = autoregressive(0.5, (4, 250, 2), np.random.default_rng(2))
    result = verdict(chains(draws), max_r_hat=1.05)
    assert not result.converged
    assert "raise n_draws to" in result.message
    assert int(result.message.rsplit(" ", 1)[1]) == 500


def test_chains_apart():
    draws = np.random.default_rng(3).standard_normal((4, 1000, 2))
    draws[0, :, 1] += 1.0
    result = verdict(chains(draws))
    assert not result.converged
    assert "chains disagree" in result.message
    assert "parameter 1" in result.message


def test_different_spread_is_seen():
    """Same means: only the folded R-hat tells."""
    draws = np.random.default_rng(3).standard_normal((4, 1000, 1))
    draws[0] *= 3.0
    assert "chains disagree" in verdict(chains(draws)).message


def test_one_chain_is_compared_with_itself():
    rng = np.random.default_rng(4)
    assert verdict(chains(rng.standard_normal((1, 4001, 1)))).converged
    drift = rng.standard_normal((1, 4000, 1)) + np.linspace(0, 2, 4000)[:, None]
    assert "chains disagree" in verdict(chains(drift)).message


def test_a_parameter_that_never_moved():
    draws = np.random.default_rng(5).standard_normal((4, 500, 3))
    draws[:, :, 2] = 1.5
    result = verdict(chains(draws))
    assert not result.converged
    assert "[2] never moved" in result.message


def test_few_draws():
    result = verdict(chains(np.zeros((4, 5, 2))))
    assert not result.converged
    assert "only 5 draws" in result.message
    assert np.isnan(result.r_hat).all()


class TestParetoSmooth:
    @pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
    def test_finds_the_shape_of_a_pareto_law(self, k):
        """With 4000 draws the tail has 190; the fit is good to .1, and its prior pulls towards .5 by 5 %."""
        rng = np.random.default_rng(6)
        fits = [pareto_smooth(k * rng.standard_exponential(4000))[1] for _ in range(20)]
        assert abs(np.mean(fits) - (190 * k + 10 * 0.5) / 200) < 0.06

    def test_keeps_the_scale_and_the_body(self):
        rng = np.random.default_rng(7)
        ratios = -1e4 + 0.4 * rng.standard_normal(1000)
        smoothed, _ = pareto_smooth(ratios)
        body = np.argsort(ratios)[: 1000 - 3 * 32]
        np.testing.assert_allclose(smoothed[body], ratios[body], rtol=1e-13)
        assert smoothed.max() <= ratios.max() + 1e-9
        assert not np.array_equal(smoothed, ratios)
        # The order of the draws stays, but for ties at the largest weight, which none may exceed.
        assert (np.diff(smoothed[np.argsort(ratios)]) >= 0).all()

    def test_draws_of_absurdly_small_weight_change_nothing(self):
        """A funnel's neck gives log ratios of -1e17, beside which those that count have no digits."""
        rng = np.random.default_rng(7)
        ratios = 0.4 * rng.standard_normal(1000)
        ratios[np.argmin(ratios)] = -1e17
        smoothed, _ = pareto_smooth(ratios)
        body = np.argsort(ratios)[1 : 1000 - 3 * 32]
        np.testing.assert_allclose(smoothed[body], ratios[body], atol=1e-13)

    def test_ties_at_the_cut(self):
        """Which of the draws that tie are taken for the tail does not change the scale of the others."""
        ratios = np.random.default_rng(7).permutation(np.r_[np.linspace(-2, -1, 60), np.full(25, 0.0), np.ones(15)])
        ratios += 0.01 * np.arange(100) * (ratios == 1)
        smoothed, _ = pareto_smooth(ratios)
        np.testing.assert_allclose(smoothed[ratios < 0], ratios[ratios < 0], atol=1e-13)

    def test_calms_heavy_tails(self):
        """The mean of weights with k = .6 scatters less when they are smoothed."""
        rng = np.random.default_rng(8)
        raw, smooth = [], []
        for _ in range(300):
            ratios = 0.6 * rng.standard_exponential(300)
            raw.append(np.mean(np.exp(ratios)))
            smooth.append(np.mean(np.exp(pareto_smooth(ratios)[0])))
        assert np.std(smooth) < 0.7 * np.std(raw)

    def test_equal_weights(self):
        smoothed, k = pareto_smooth(np.full(100, -5e5))
        assert k == 0
        np.testing.assert_array_equal(smoothed, -5e5)

    def test_a_plateau_over_a_body(self):
        ratios = np.concatenate([np.linspace(-3, -1, 60), np.zeros(40)])
        assert pareto_smooth(ratios)[1] == 0

    @pytest.mark.parametrize(
        "ratios",
        [
            np.full(100, -np.inf),
            np.r_[np.full(99, -np.inf), 0.0],
            np.r_[np.full(80, -np.inf), np.linspace(0, 1, 20)],
            np.r_[np.full(99, -1e4), 0.0],
            np.r_[np.zeros(99), 1.0],
            1e5 * np.random.default_rng(1).standard_normal(100),
        ],
        ids=["none", "one", "just the tail", "one far above", "ties", "spread over kilonats"],
    )
    def test_what_cannot_be_fitted_is_returned_with_infinite_k(self, ratios):
        smoothed, k = pareto_smooth(ratios)
        assert k == np.inf
        np.testing.assert_array_equal(smoothed, ratios)

    @pytest.mark.parametrize("n", [25, 224, 226, 1000])
    def test_strange_ratios_give_no_nan_and_no_warning(self, n):
        """Scales from 1e-12 to 1e5, ties, zeros and offsets; warnings are errors here."""
        rng = np.random.default_rng(n)
        for scale in 10.0 ** np.arange(-12, 6):
            ratios = scale * rng.standard_cauchy(n)
            for strange in (ratios, np.round(ratios), 1e8 + ratios, np.where(rng.random(n) < 0.5, -np.inf, ratios)):
                smoothed, k = pareto_smooth(strange)
                assert k > -np.inf
                assert not np.isnan(smoothed).any()
                # To the last digits of the largest, which is subtracted and added again.
                finite = np.abs(strange[np.isfinite(strange)]).max()
                assert smoothed.max() <= strange.max() + 1e-13 * max(1.0, finite)

    def test_zero_weights_in_the_body(self):
        ratios = np.r_[np.full(70, -np.inf), 0.3 * np.random.default_rng(1).standard_normal(30)]
        smoothed, k = pareto_smooth(ratios)
        assert np.isfinite(k)
        np.testing.assert_array_equal(smoothed[:70], -np.inf)

    @pytest.mark.parametrize(
        "ratios", [np.zeros(24), np.zeros((30, 2)), np.r_[np.zeros(30), np.nan], np.r_[np.zeros(30), np.inf]]
    )
    def test_what_is_refused(self, ratios):
        with pytest.raises(SamplingError, match="log_ratios has"):
            pareto_smooth(ratios)
