"""Fits of prior laws recover the laws that data were drawn from, in spite of their errors."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from celestepy.model.prior_fit import (
    fit_axis_ratio,
    fit_dev_fraction,
    fit_logit_dev,
    fit_normal_counts,
    fit_power_counts,
    fit_radius,
)
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw


def test_radius_law_is_deconvolved():
    rng, truth = np.random.default_rng(10), RadiusLaw(-0.7, 0.4, 0.3, 1.0)
    log_flux = rng.normal(1.5, 1.0, 3000)
    errors = rng.uniform(0.1, 0.5, 3000)
    law = fit_radius(truth.sample(log_flux, rng) + errors * rng.standard_normal(3000), log_flux, 1.0, errors)
    # 3000 objects: means to 0.01, the width to 0.01; errors left in would make it 0.5.
    assert (law.mean, law.slope, law.sd) == pytest.approx((-0.7, 0.3, 0.4), abs=0.03)


@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_axis_ratio_law_is_recovered(lowest):
    truth = AxisRatioLaw(2.0, 1.5, 0.2)
    ratio = np.exp(-np.hypot(*truth.sample(4000, np.random.default_rng(11)).T))
    law = fit_axis_ratio(ratio, 0.2, lowest)
    # The exponents of a Beta law are known to 5% from 4000 draws, to 10% with a part of them censored.
    assert (law.a, law.b) == pytest.approx((2.0, 1.5), rel=0.15)


def test_dev_fraction_law_is_recovered_from_clipped_fractions():
    draws = stats.beta(0.4, 0.7).rvs(4000, random_state=np.random.default_rng(12))
    clipped = np.where(draws < 0.08, 0.0, np.where(draws > 0.95, 1.0, draws))
    law = fit_dev_fraction(clipped, margin=0.1)
    assert isinstance(law, LogisticBeta)
    assert (law.a, law.b) == pytest.approx((0.4, 0.7), rel=0.1)


def test_a_fixed_slope_stays():
    rng, truth = np.random.default_rng(13), RadiusLaw(-0.7, 0.4, 0.3, 1.0)
    log_flux = rng.normal(1.5, 1.0, 500)
    for errors in (0.0, 0.1):
        assert fit_radius(truth.sample(log_flux, rng), log_flux, 1.0, errors, slope=0.0).slope == 0.0


@pytest.mark.parametrize("errors", [0.0, 0.2])
def test_weights_count_sources(errors):
    """A value of weight two is two values, one of weight zero is none, for every law."""
    rng = np.random.default_rng(14)
    weights = (np.arange(600) % 3).astype(float)
    twice = np.repeat(np.arange(600), weights.astype(int))
    flux, radius, ratio, dev = rng.normal(1.5, 1.0, 600), rng.normal(-0.5, 0.4, 600), *rng.beta(2, 1.5, (2, 600))
    fits = (
        lambda rows, w: fit_radius(radius[rows], flux[rows], 1.0, errors, w),
        lambda rows, w: fit_axis_ratio(ratio[rows], 0.2, errors, w),
        lambda rows, w: fit_dev_fraction(dev[rows], 0.1, w),
        lambda rows, w: fit_power_counts(flux[rows], w, faint_limit=0.5, turnover=-0.4),
        lambda rows, w: fit_normal_counts(flux[rows], w, faint_limit=0.5, lowest_mean=-0.4),
    )
    everything = slice(None)
    for fit in fits:
        # Minimisers stop at 1e-4; histograms put their edges elsewhere where other values are the outermost.
        assert astuple(fit(everything, weights)) == pytest.approx(astuple(fit(twice, None)), rel=0.02, abs=2e-3)


def test_logits_of_draws_give_the_law_of_the_fraction():
    fraction = stats.beta(0.6, 1.4).rvs(4000, random_state=np.random.default_rng(15))
    law = fit_logit_dev(np.log(fraction) - np.log1p(-fraction), np.ones(4000))
    assert (law.a, law.b) == pytest.approx((0.6, 1.4), rel=0.08)  # known to 3%


class TestCounts:
    @pytest.mark.parametrize("limit", [-0.5, 0.5, 1.5])
    def test_steepness_does_not_depend_on_the_limit(self, limit):
        truth = LogisticBeta(1.0, 0.2, -2.0, 0.25)
        flux = truth.sample(6000, np.random.default_rng(16))
        law = fit_power_counts(flux, faint_limit=limit, turnover=limit - 1.0)
        above = (flux > limit).sum()
        assert law.b / law.scale == pytest.approx(0.8, abs=4 * 0.8 / above**0.5)  # four standard errors

    def test_a_normal_law_is_recovered_from_its_bright_part(self):
        truth = Normal(1.0, 1.2)
        flux = truth.sample(8000, np.random.default_rng(17))
        law = fit_normal_counts(flux, faint_limit=0.5, lowest_mean=-1.0)
        assert (law.mean, law.sd) == pytest.approx((1.0, 1.2), abs=0.15)  # errors of about 0.04

    def test_nothing_above_the_limit(self):
        with pytest.raises(ValueError, match="log_flux has no value above the faint limit of 3; give a fainter limit"):
            fit_power_counts(np.array([1.0, 2.0]), faint_limit=3.0, turnover=2.0)
