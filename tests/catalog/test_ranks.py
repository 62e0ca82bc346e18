"""Ranks of the truth among draws: uniform for an exact posterior, and not for a wrong one."""

import numpy as np
import pytest

from celestepy.catalog.ranks import CENTRAL, central_coverage, coverage_of_draws, truth_ranks, uniformity


class Posterior:
    """Stands in for a catalogue: posteriors of all quantities are normal, of a stated bias and width."""

    colnames = ("ra", "dec", "mag_r", "color_gr", "axis_ratio", "position_angle")
    meta = {"bands": ["g", "r"], "reference_band": "r"}

    def __init__(self, estimate, width=1.0, bias=0.0, star_draws=0.0):
        self.estimate, self.width, self.bias, self.star_draws = estimate, width, bias, star_draws

    def __getitem__(self, name):
        return self.estimate[name]

    def keys(self):
        return self.colnames

    def sample(self, n, rng):
        from astropy.table import QTable

        drawn = QTable()
        for name, value in self.estimate.items():
            drawn[name] = value[:, None] + self.bias + self.width * rng.normal(size=(len(value), n))
        star = rng.uniform(size=drawn["mag_r"].shape) < self.star_draws
        drawn["position_angle"] = drawn["position_angle"] % 180
        for name in ("axis_ratio", "position_angle"):
            drawn[name][star] = np.nan
        return drawn


def example(m=1000, **options):
    """Estimates that scatter about the truth with a standard deviation of one."""
    rng = np.random.default_rng(5)
    truth = {name: rng.uniform(0, 1e5, m) for name in (*Posterior.colnames, "mag_g")}  # flat, as the posterior assumes
    truth["position_angle"] %= 180
    truth["color_gr"] = truth["mag_g"] - truth["mag_r"]
    truth["is_star"] = np.arange(m) % 4 == 0
    estimate = {name: truth[name] + rng.normal(size=m) for name in Posterior.colnames}
    estimate["position_angle"] %= 180
    rows = np.arange(m)
    return truth_ranks(Posterior(estimate, **options), truth, rows, rows, n=200, rng=1)


def test_ranks_of_an_exact_posterior_are_uniform():
    for name, ranks in example().items():
        assert uniformity(ranks) > 0.01, name  # seeded: fails of itself for one quantity in a hundred
        share, error = central_coverage(ranks)
        assert np.all(np.abs(share - CENTRAL) < 3.5 * error), name  # 24 shares: one in 90 fails of itself


@pytest.mark.parametrize("wrong", [{"width": 0.7}, {"width": 1.5}, {"bias": 0.3}])
def test_wrong_errors_are_found(wrong):
    ranks = example(**wrong)
    assert all(uniformity(ranks[name]) < 1e-3 for name in ("mag_r", "color_gr", "ra", "dec"))


def test_too_small_errors_show_in_the_coverage():
    share, error = central_coverage(example(width=0.5)["mag_r"])
    assert np.all(share[:3] < np.array(CENTRAL[:3]) - 3 * error[:3])


def test_shapes_are_those_of_galaxies_among_the_draws_of_galaxies():
    ranks = example(star_draws=0.6)
    assert np.array_equal(np.isfinite(ranks["axis_ratio"]), np.arange(1000) % 4 != 0)
    assert np.isfinite(ranks["mag_r"]).all()
    assert uniformity(ranks["axis_ratio"]) > 0.01  # seeded, as above


def test_no_draws_no_rank():
    ranks = example(star_draws=1.1)
    assert np.isnan(ranks["axis_ratio"]).all()
    assert np.isnan(uniformity(ranks["axis_ratio"]))
    assert np.isnan(central_coverage(ranks["axis_ratio"])).all()


def test_angles_go_round():
    """A posterior about 0 degrees has draws at 179: the truth at 1 degree is not below all of them."""
    turned = {name: np.zeros(2000) for name in Posterior.colnames}
    truth = {name: value.copy() for name, value in turned.items()} | {"is_star": np.zeros(2000, bool)}
    truth["position_angle"] = np.random.default_rng(2).normal(size=2000) % 180
    rows = np.arange(2000)
    ranks = truth_ranks(Posterior(turned), truth, rows, rows, n=100, rng=3)["position_angle"]
    assert uniformity(ranks) > 0.01  # seeded, as above


@pytest.mark.parametrize("k", [9, 120, 740])
def test_few_draws_cover_less(k):
    """A truth among k draws of its own law, repeated as often as those of a sample of weighted draws are."""
    values = np.random.default_rng(4).normal(size=(20_000, k + 1))
    rank = np.mean(values[:, 1:] < values[:, :1], axis=1)
    share, expected = central_coverage(rank)[0], coverage_of_draws([k])
    error = np.sqrt(expected * (1 - expected) / len(rank))
    assert np.all(np.abs(share - expected) < 4 * error)  # four binomial errors: fails of itself once in 10^4


def test_many_draws_cover_what_they_should():
    assert coverage_of_draws([np.nan, 1e7]) == pytest.approx(CENTRAL, abs=1e-4)  # the number is cut off at 10^5
    assert np.isnan(coverage_of_draws([])).all()
