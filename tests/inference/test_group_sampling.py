"""Draws of groups: evidences and moments against long runs, allocation, the ladder, and what cannot be drawn."""

from dataclasses import replace

import numpy as np
import pytest
from inference.small_fields import field, fitter, galaxy, seeds, star

from celestepy.inference.group_sampling import (
    DRAWN,
    EXTENDED,
    FAILED,
    TEMPERED,
    SamplingSettings,
    sample_group,
)
from celestepy.model.parameters import GALAXY, STAR, layout

AT = layout(GALAXY, 3)


def fitted(*sources, rng=0):
    engine = fitter(field(*sources, rng=rng).images, seeds(*sources))
    fit = engine.full(tuple(range(len(sources))), {}, {}, {})
    return engine.posterior(fit.data), fit.types


@pytest.fixture(scope="module")
def faint():
    """A source of which neither type is sure."""
    return fitted(star(21.8))


@pytest.fixture(scope="module")
def pair():
    return fitted(star(20.5), galaxy(20.5, 6))


class TestSingle:
    def test_evidence_and_moments_settle(self, faint):
        posterior, types = faint
        many = replace(SamplingSettings(), n_draws=8000, least_draws=8000, most_draws=8000)
        reference = sample_group(posterior, types, many, np.random.default_rng(1))
        short = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(2))
        for ours, theirs in zip(short.hypotheses, reference.hypotheses, strict=True):
            assert abs(ours.log_evidence - theirs.log_evidence) < 4 * ours.log_evidence_err
            assert ours.log_evidence_err < 0.15
            mean, expected = (np.exp(each.log_weights) @ each.draws for each in (ours, theirs))
            spread = np.sqrt(np.exp(theirs.log_weights) @ (theirs.draws - expected) ** 2)
            # Standard errors of means of `effective_draws` draws, 16 parameters.
            assert np.all(np.abs(mean - expected) < 4.5 * spread / np.sqrt(ours.effective_draws))

    def test_type_probability_follows_the_evidences(self, faint):
        posterior, types = faint
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(0))
        evidence = {fit.kinds[0]: each.log_evidence for fit, each in zip(types.hypotheses, drawn.hypotheses)}
        prior = posterior.prior.log_type_probability
        odds = evidence[STAR] + prior(STAR) - evidence[GALAXY] - prior(GALAXY)
        assert drawn.draws(3).star_probability[0] == pytest.approx(1 / (1 + np.exp(-odds)))

    def test_draws_in_the_catalogue_are_those_of_both_types(self, faint):
        posterior, types = faint
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(0))
        draws = drawn.draws(3)
        assert draws.n_draws[0] == sum(np.isfinite(each.log_weights).sum() for each in drawn.hypotheses)
        assert np.isnan(draws.theta[~draws.is_galaxy, AT.log_radius]).all()
        assert np.isfinite(draws.theta[draws.is_galaxy]).all()
        for kind in (draws.is_galaxy, ~draws.is_galaxy):
            assert draws.weight[kind].sum() == pytest.approx(1)

    def test_hypotheses_that_hardly_matter_get_few_draws(self):
        posterior, types = fitted(star(18.0))
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(0))
        numbers = {fit.kinds[0]: len(each.draws) for fit, each in zip(types.hypotheses, drawn.hypotheses)}
        assert numbers[STAR] == 700
        assert numbers[GALAXY] == 200

    def test_same_stream_same_draws(self, faint):
        first, second = (sample_group(*faint, SamplingSettings(), np.random.default_rng(7)) for _ in range(2))
        for one, other in zip(first.hypotheses, second.hypotheses, strict=True):
            np.testing.assert_array_equal(one.draws, other.draws)
            np.testing.assert_array_equal(one.log_weights, other.log_weights)


class TestLadder:
    def stages(self, settings, faint):
        drawn = sample_group(*faint, settings, np.random.default_rng(0))
        return {each.stage for each in drawn.hypotheses}, drawn

    def test_usually_the_first_draws_do(self, faint):
        assert self.stages(SamplingSettings(), faint)[0] == {DRAWN}

    def test_more_draws(self, faint):
        stages, drawn = self.stages(replace(SamplingSettings(), least_effective=500.0), faint)
        assert EXTENDED in stages
        assert max(each.effective_draws for each in drawn.hypotheses) >= 500

    def test_steps(self, faint):
        """Weights that are never good enough: in steps the same evidence comes out."""
        plain = sample_group(*faint, replace(SamplingSettings(), n_draws=2000), np.random.default_rng(1))
        stages, drawn = self.stages(replace(SamplingSettings(), least_effective=1e6, most_draws=700), faint)
        assert TEMPERED in stages
        for ours, theirs in zip(drawn.hypotheses, plain.hypotheses, strict=True):
            if ours.stage == TEMPERED:
                assert np.isnan(ours.pareto_k)
                assert ours.log_evidence == pytest.approx(theirs.log_evidence, abs=0.4)

    def test_large_groups_fall_back_on_gaussians(self):
        posterior, types = fitted(star(20.5), star(20.5, 6), star(20.5, 0, 6))
        settings = replace(SamplingSettings(), least_effective=1e6, most_draws=1500)
        drawn = sample_group(posterior, types, settings, np.random.default_rng(0))
        best = int(np.argmax(types.log_weights))
        own, fit = drawn.hypotheses[best], types.hypotheses[best]
        assert own.stage == FAILED
        assert own.advice
        assert own.log_evidence == fit.log_evidence
        assert np.ptp(own.log_weights) == 0
        error = np.sqrt(np.diagonal(np.linalg.inv(fit.minimum.hessian)))
        # Means of a thousand draws, for parameters that are nearly Gaussian (the position of the first star).
        np.testing.assert_allclose(own.draws[:, :2].mean(axis=0), fit.minimum.x[:2], atol=0.25 * error[:2].max())

    def test_blends_of_four_are_not_drawn_from(self):
        posterior, types = fitted(star(20.5), star(20.5, 6), star(20.5, 0, 6), star(20.5, 6, 6))
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(0))
        stages = {each.stage for each in drawn.hypotheses if each is not None}
        assert stages == {FAILED}
        assert all(each.n_evaluations == 0 for each in drawn.hypotheses if each is not None)
        assert len(drawn.draws(3)) == 4


class TestPair:
    def test_neighbours_share_their_draws(self, pair):
        posterior, types = pair
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(3))
        draws = drawn.draws(3)
        assert len(draws) == 2
        weights = np.split(draws.total_weight, [draws.start[1]])
        np.testing.assert_allclose(weights[0], weights[1])
        flux = np.exp(np.split(draws.theta[:, AT.log_flux], [draws.start[1]]))
        mean = flux @ weights[0]
        covariance = (flux - mean[:, None]) * weights[0] @ (flux - mean[:, None]).T
        # Six pixels, 1.8 FWHM, apart: what one gets the other loses.
        assert -0.95 < covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) < -0.05

    def test_every_source_has_draws_of_both_types(self, pair):
        drawn = sample_group(*pair, SamplingSettings(), np.random.default_rng(3))
        for i in range(2):
            assert all(drawn.diagnostics(i, kind) is not None for kind in (STAR, GALAXY))


class TestFailures:
    def test_nothing_but_failed_fits(self, faint):
        posterior, types = faint
        broken = replace(types, hypotheses=[replace(fit, log_evidence=-np.inf) for fit in types.hypotheses])
        drawn = sample_group(posterior, broken, SamplingSettings(), np.random.default_rng(0))
        assert drawn.hypotheses == [None, None]
        assert drawn.draws(3) is None

    def test_a_posterior_without_density(self, faint, monkeypatch):
        posterior, types = faint
        monkeypatch.setattr(type(posterior), "values", lambda _, kinds, x: np.full(len(x), np.nan))
        drawn = sample_group(posterior, types, SamplingSettings(), np.random.default_rng(0))
        assert drawn.hypotheses == [None, None]

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"n_draws": 0}, "n_draws is 0; expected a whole number of at least 50"),
            ({"least_draws": 60.5}, "least_draws is 60.5"),
            ({"most_draws": 200}, "most_draws is 200; expected at least n_draws"),
            ({"df": 0.0}, "df is 0.0; expected a positive number"),
        ],
    )
    def test_settings(self, setting, message):
        with pytest.raises(ValueError, match=message):
            SamplingSettings(**setting)
