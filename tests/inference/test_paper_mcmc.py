"""The sampler of the paper."""

import numpy as np
import pytest
from inference.small_fields import field, galaxy, same_bytes, seeds, star
from inference.small_fields import fitter as group_fitter

from celestepy.catalog.flags import Flag, Status
from celestepy.inference import conditional_draws, paper_mcmc
from celestepy.inference.calibrated import ImportanceSampler
from celestepy.inference.conditional_draws import SeedPrior, known_sky_posterior
from celestepy.inference.fast import LaplaceFit
from celestepy.inference.paper_mcmc import PaperSampler
from celestepy.inference.placement import Placement
from celestepy.inference.posterior import GroupPosterior
from celestepy.model.priors import Prior

SHORT = PaperSampler(n_temperatures=6, n_runs=4, n_draws=8, n_passes=3)


def fit(sources, engine, rng=1, size=61, **run):
    return engine.fit(field(*sources, bands="r", size=size).images, seeds(*sources), rng=rng, **run)


def faint():
    return [star(22.0, bands="r")]


def apart():
    return [star(21.0, x=-12, bands="r"), galaxy(21.0, x=12, bands="r")]


def blend():
    return [star(21.0, bands="r"), galaxy(21.0, x=3, bands="r")]


def assert_agrees_with_calibrated(sources, engine, bands):
    """Within five Monte Carlo errors of importance sampling under a sky that is as good as known."""
    images = field(*sources, bands=bands).images
    fast = LaplaceFit(drop_doubtful=False, search=False, sky_factor=1e-3)
    result = engine.fit(images, seeds(*sources), rng=1)
    other = ImportanceSampler(fast=fast).fit(images, seeds(*sources), rng=1).catalog[0]
    row = result.catalog[0]
    errors = [each["mag_r_err"].value / np.sqrt(each["effective_draws"]) for each in (row, other)]
    # medians have errors 1.25 times those of means
    assert abs(row["mag_r"].value - other["mag_r"].value) < 5 * 1.25 * np.hypot(*errors)
    # the error of an error is 1 / sqrt(2 n) of it
    spread = np.log(row["mag_r_err"].value / other["mag_r_err"].value)
    assert abs(spread) < 5 * np.sqrt(0.5 / row["effective_draws"] + 0.5 / other["effective_draws"])
    for kind in ("star", "galaxy"):
        name = f"log_evidence_{kind}"
        apart = row[name] - other[name]
        # few runs carry most of the weight, so that the stated error is a rough one; and sky_factor is not nought
        assert abs(apart) < 5 * np.hypot(row[f"{name}_err"], other[f"{name}_err"]) + 0.1
    return result


def test_agrees_with_importance_sampling():
    assert_agrees_with_calibrated(faint(), PaperSampler(n_temperatures=60, n_runs=15, n_draws=25), "r")


@pytest.mark.slow
@pytest.mark.parametrize("source", [star, galaxy])
def test_agrees_with_importance_sampling_at_the_settings_of_the_paper(source):
    result = assert_agrees_with_calibrated([source(22.0)], PaperSampler(), "gri")
    row = result.catalog[0]
    # rates are for reports, not for tests; that they can be had is
    assert row["effective_draws"] / result.seconds[0] > 0
    assert row["n_iterations"] > 25 * 200 * (5 + 9)


@pytest.mark.slow
def test_blends_agree_with_joint_draws():
    stars = [star(21.0, bands="r"), star(20.5, x=4, bands="r")]
    images = field(*stars, bands="r").images
    fast = LaplaceFit(drop_doubtful=False, search=False, sky_factor=1e-3)
    joint = ImportanceSampler(fast=fast).fit(images, seeds(*stars), rng=1).catalog
    gibbs = PaperSampler(n_temperatures=60).fit(images, seeds(*stars), rng=1).catalog
    # four passes hardly depend on one another at this distance: half an error is the error of their mean
    assert np.all(np.abs(gibbs["mag_r"] - joint["mag_r"]) < 0.5 * joint["mag_r_err"])
    assert np.asarray(gibbs["mag_r_err"] / joint["mag_r_err"]) == pytest.approx(1, abs=0.2)


def test_is_the_same_for_any_executor_and_another_for_another_seed():
    one, two, other = (fit(apart(), SHORT, rng, executor=n) for rng, n in ((1, None), (1, 2), (2, None)))
    assert same_bytes(one.catalog.table, two.catalog.table)
    assert np.array_equal(one.draws.theta, two.draws.theta, equal_nan=True)
    assert not np.array_equal(one.catalog["mag_r"], other.catalog["mag_r"])


def test_a_run_that_was_stopped_is_continued_from_its_file(tmp_path, monkeypatch):
    path, whole = tmp_path / "draws.hdf5", fit(apart(), SHORT)

    def stop(self, members, *arguments):
        if members == [1]:
            raise KeyboardInterrupt
        return gibbs(self, members, *arguments)

    gibbs = paper_mcmc._GibbsField._gibbs
    monkeypatch.setattr(paper_mcmc._GibbsField, "_gibbs", stop)
    assert fit(apart(), SHORT, draws=path).interrupted
    monkeypatch.setattr(paper_mcmc._GibbsField, "_gibbs", lambda self, *given: gibbs(self, *given))
    continued = fit(apart(), SHORT, draws=path)
    assert same_bytes(whole.catalog.table, continued.catalog.table)
    assert np.array_equal(whole.draws.theta, continued.draws.theta, equal_nan=True)
    assert np.isnan(continued.seconds).tolist() == [True, False]


@pytest.mark.parametrize(("sources", "n_drawn"), [(apart, 2), (blend, 6)])
def test_only_neighbours_take_more_than_one_pass(sources, n_drawn, monkeypatch):
    calls = []

    def draw(*arguments):
        calls.append(arguments)
        return conditional_draws.draw_conditional(*arguments)

    monkeypatch.setattr(paper_mcmc, "draw_conditional", draw)
    result = fit(sources(), SHORT)
    assert len(calls) == n_drawn
    is_blend = n_drawn > 2
    assert np.all((result.catalog["flags"] & Flag.BLENDED > 0) == is_blend)
    assert np.all((result.catalog["group_id"] >= 0) == is_blend)
    # of two passes that count, or one, with four chains each
    chains = [len(np.unique(result.draws.of_type(k, "galaxy")[2])) for k in (0, 1)]
    assert chains == [8, 8] if is_blend else chains == [4, 4]


def test_neighbours_are_seen_as_they_are_drawn(monkeypatch):
    seen, unwatched = [], Placement.gather

    def gather(placement, members, contributions, own=None):
        seen.append((members[0], {k: each.scenes.copy() for k, each in contributions.items()}))
        return unwatched(placement, members, contributions, own)

    monkeypatch.setattr(Placement, "gather", gather)
    fit(blend(), SHORT)
    last = [others for k, others in seen if k == 0][-3:]
    states = [others[1] for others in last]
    # one type at a time, with all its flux, and another state in each pass
    assert [len(state) for state in states] == [1, 1, 1]
    assert len({state.tobytes() for state in states}) == 3


def test_probability_of_the_type_follows_from_the_evidences():
    prior = Prior.default("r")
    for sources in (faint(), blend()):
        for row in fit(sources, SHORT).catalog:
            odds = row["log_evidence_star"] - row["log_evidence_galaxy"] + prior.log_odds
            assert row["star_probability"] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-9, abs=1e-12)


def test_annealing_that_is_too_fast_is_flagged():
    row = fit([star(18.0, bands="r")], SHORT).catalog[0]
    assert row["flags"] & Flag.DRAWS_UNRELIABLE
    assert "--method mcmc" in row["message"]
    assert row["status"] == Status.CONVERGED


def test_a_posterior_without_density_gives_a_failed_row(monkeypatch):
    monkeypatch.setattr(GroupPosterior, "values", lambda self, kinds, x: np.full(len(x), -np.inf))
    row = fit(faint(), SHORT).catalog[0]
    assert row["status"] == Status.FAILED
    assert row["flags"] & Flag.FAILED
    assert "prior" in row["message"]
    assert np.isnan(row["mag_r"].value)


def test_one_type_without_density_leaves_the_other(monkeypatch):
    values = GroupPosterior.values

    def of_stars(self, kinds, x):
        return values(self, kinds, x) if kinds[0] == "star" else np.full(len(x), np.nan)

    monkeypatch.setattr(GroupPosterior, "values", of_stars)
    result = fit(faint(), SHORT)
    row = result.catalog[0]
    assert row["flags"] & Flag.GALAXY_FAILED
    assert row["star_probability"] == 1
    assert np.isfinite(row["mag_r"].value)


def test_seeds_off_the_images_have_rows():
    result = SHORT.fit(field(*faint(), bands="r").images, seeds(*faint(), also=[(500, 500)]), rng=1)
    assert result.catalog["status"].tolist() == [Status.CONVERGED, Status.NO_PIXELS]


@pytest.mark.parametrize("kind", ["star", "galaxy"])
def test_the_prior_about_the_seed_is_that_of_the_fits(kind):
    prior, rng = Prior.default("gri"), np.random.default_rng(1)
    reference = SeedPrior(prior, kind, 0.3)
    draws = reference.draw(4000, rng)
    # of 8000 numbers the standard deviation is known to .8 per cent
    assert draws[:, :2].std() == pytest.approx(0.3, rel=0.04)
    single = [prior.log_density(kind, x, 0.3, order=0)[0] for x in draws[:5]]
    assert reference.log_density(draws[:5]) == pytest.approx(single, rel=1e-12)


def test_a_known_sky_drops_out():
    sources = faint()
    engine = group_fitter(field(*sources, bands="r").images, seeds(*sources))
    data = engine.placement.gather([0], {})
    posterior = known_sky_posterior(data, engine.prior, [0.28])
    x = SeedPrior(engine.prior, "star", 0.28).draw(3, np.random.default_rng(1))
    expected = engine.prior.log_densities("star", x, 0.28)
    for i in range(3):
        scenes, sky = posterior.scenes(("star",), np.append(x[i], 0.0))
        expected[i] += data.likelihood.evaluate(np.array([False]), scenes, sky, order=0)[0]
    assert posterior.values(("star",), np.column_stack([x, np.zeros(3)])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_temperatures", 0),
        ("n_runs", 1),
        ("n_draws", 7),
        ("n_passes", 0),
        ("burn_in", 5),
        ("schedule", "slow"),
        ("width", 0.0),
        ("max_steps", 0),
        ("link_threshold", 1.0),
        ("patch_radius", 1.0),
        ("max_r_hat", 1.0),
        ("least_effective", 0.0),
        ("max_error", np.nan),
    ],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name} = .*: expected"):
        PaperSampler(**{name: value})
