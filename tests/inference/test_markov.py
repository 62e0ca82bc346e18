"""The calibrated mode by Markov chains."""

import re

import numpy as np
import pytest
from inference.small_fields import field, galaxy, same_bytes, seeds, star

from celestepy.catalog.flags import Flag
from celestepy.inference.calibrated import ImportanceSampler
from celestepy.inference.fast import LaplaceFit
from celestepy.inference.markov import ChainSettings, MarkovSampler, judge, judge_evidence
from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.posterior import GroupPosterior

FAST = LaplaceFit(drop_doubtful=False, search=False)
SHORT = ChainSettings(
    n_chains=8, n_draws=40, moves=5, n_temperatures=10, n_runs=25, least_effective=20.0, max_r_hat=1.2
)


def fit(sources, engine, rng=1, **run):
    return engine.fit(field(*sources, bands="ri").images, seeds(*sources), rng=rng, **run)


def pair():
    return [star(20.5, bands="ri"), galaxy(20.5, x=4, bands="ri")]


def standard_error(result, name):
    """Monte Carlo error of a median; 1.25 times that of a mean."""
    return 1.25 * np.asarray(result.catalog[f"{name}_err"]) / np.sqrt(result.catalog["effective_draws"])


def assert_agree(one, other):
    """Two engines within five Monte Carlo errors; a fiftieth of the posterior's own where that error is tiny."""
    for name in ("mag_r", "color_ri"):
        apart = np.abs(np.asarray(one.catalog[name]) - np.asarray(other.catalog[name]))
        assert np.all(apart < 5 * np.hypot(standard_error(one, name), standard_error(other, name)))
    for kind in ("star", "galaxy"):
        values = [np.asarray(each.catalog[f"log_evidence_{kind}"]) for each in (one, other)]
        errors = [np.asarray(each.catalog[f"log_evidence_{kind}_err"]) for each in (one, other)]
        # The stated errors are themselves known to some tens of per cent only.
        assert np.all(np.abs(values[0] - values[1]) < 5 * np.hypot(*errors) + 0.05)


@pytest.mark.parametrize("kernel", ["elliptical", "slice"])
def test_agrees_with_importance_sampling(kernel):
    sources = [galaxy(20.5, bands="ri")]
    settings = ChainSettings(n_chains=8, n_draws=40, moves=5, kernel=kernel, least_effective=20.0, max_r_hat=1.2)
    assert_agree(fit(sources, MarkovSampler(settings, FAST)), fit(sources, ImportanceSampler(fast=FAST)))


def test_blends_agree_with_importance_sampling():
    one, other = fit(pair(), MarkovSampler(SHORT, FAST)), fit(pair(), ImportanceSampler(fast=FAST))
    assert_agree(one, other)
    # the draws of the two belong together: their fluxes are anticorrelated, as importance sampling has it
    correlations = [_flux_correlation(each) for each in (one, other)]
    assert correlations[1] < -0.1
    # of 100 effective draws and more, the error of a correlation is .1
    assert abs(correlations[0] - correlations[1]) < 0.3


def _flux_correlation(result):
    _, theta = result.draws.draw(4000, np.random.default_rng(2))
    return np.corrcoef(theta[:, :, 2])[0, 1]


def test_draws_carry_their_chains():
    result = fit([star(20.5, bands="ri")], MarkovSampler(SHORT, FAST))
    _, _, chain = result.draws.of_type(0, "star")
    assert np.array_equal(np.unique(chain, return_counts=True)[1], [40] * 8)
    _, _, others = result.draws.of_type(0, "galaxy")
    assert not set(chain) & set(others)
    row = result.catalog[0]
    assert row["n_iterations"] > 1000
    assert 20 < row["effective_draws"] < 3 * 320
    assert np.isnan(row["pareto_k_star"])
    assert not row["flags"] & Flag.DRAWS_UNRELIABLE


def test_is_the_same_for_any_executor_and_another_for_another_seed():
    sources = [star(20.5, x=-12, bands="ri"), galaxy(20.5, x=12, bands="ri")]
    settings = ChainSettings(n_chains=4, n_draws=8, burn_in=0, moves=1, n_temperatures=3, n_runs=8)
    one, two, other = (
        fit(sources, MarkovSampler(settings, FAST), rng, executor=n) for rng, n in ((1, None), (1, 2), (2, None))
    )
    assert same_bytes(one.catalog.table, two.catalog.table)
    assert np.array_equal(one.draws.theta, two.draws.theta, equal_nan=True)
    assert not np.array_equal(one.catalog["mag_r"], other.catalog["mag_r"])


def test_chains_that_are_too_short_are_flagged_with_advice():
    settings = ChainSettings(n_chains=4, n_draws=8, burn_in=0, moves=1, n_temperatures=3, n_runs=8)
    row = fit([galaxy(20.5, bands="ri")], MarkovSampler(settings, FAST)).catalog[0]
    assert row["flags"] & Flag.DRAWS_UNRELIABLE
    assert re.search("galaxy draws: .*raise .*n_draws", row["message"])


def test_a_posterior_without_density_is_flagged(monkeypatch):
    monkeypatch.setattr(GroupPosterior, "values", lambda self, kinds, x: np.full(len(x), -np.inf))
    result = fit([star(20.5, bands="ri")], MarkovSampler(SHORT, FAST))
    row = result.catalog[0]
    assert row["flags"] & Flag.DRAWS_UNRELIABLE
    assert "no draws" in row["message"]
    assert np.isfinite(row["mag_r"].value)  # by the fast mode


def test_chains_in_different_places_are_found_out():
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((4, 200, 3))
    limits = ChainSettings()
    good = judge(Chains(draws, np.zeros((4, 200)), 800), slice(0, 3), limits, ["u", "v", "w"])
    assert 400 < good[0] < 1000  # of 800 independent draws; the estimate of the poorest of three is low
    assert good[1] == ""
    draws[0, :, 2] += 5.0
    chains = Chains(draws, np.zeros((4, 200)), 800)
    assert judge(chains, slice(0, 2), limits, ["u", "v"])[1] == ""  # the other source is none the worse
    effective, advice = judge(chains, slice(1, 3), limits, ["v", "w"])
    assert effective < 20
    assert re.search(r"R-hat [\d.]+ of w,", advice)


def test_an_uncertain_evidence_is_found_out():
    assert judge_evidence(0.1, ChainSettings()) == ""
    assert "n_temperatures" in judge_evidence(0.9, ChainSettings())
    assert "n_temperatures" in judge_evidence(np.nan, ChainSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_chains", 0),
        ("n_draws", 7),
        ("n_draws", 10.5),
        ("burn_in", -1),
        ("moves", 0),
        ("kernel", "hmc"),
        ("n_temperatures", 0),
        ("n_runs", 1),
        ("df", 0.0),
        ("max_r_hat", 1.0),
        ("least_effective", np.nan),
        ("max_error", -1.0),
    ],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name} = .*expected"):
        ChainSettings(**{name: value})
