"""The laws that sources were drawn from are found from their posteriors under another prior."""

from dataclasses import replace

import numpy as np
import pytest
from priors.simulated_catalogs import TRUTH, interim_prior, simulated_catalog

from celestepy.catalog import Catalog, CatalogError, Draws, Flag
from celestepy.model.color_fit import ColorFit
from celestepy.model.parameters import GALAXY, STAR
from celestepy.model.prior_fit import fit_dev_fraction, fit_radius
from celestepy.model.prior_laws import LogisticBeta, Normal
from celestepy.model.priors import Prior
from celestepy.priors import PriorFit, iterate
from celestepy.priors.selection import usable

LN_PER_MAG = np.log(10) / 2.5


def in_order(mixture, log_flux):
    """Components by their first colour: weights, means at a flux, standard deviations."""
    means = mixture.centres([log_flux])[0]
    order = np.argsort(means[:, 0])
    sds = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    return mixture.weights[order], means[order], sds[order]


def above(prior, kind, log_limit):
    """Share of a type among all sources above a limit."""
    number = {each: np.exp(prior.log_type_probability(each)) * getattr(prior, each).log_flux.share_above(log_limit)
              for each in (STAR, GALAXY)}
    return number[kind] / sum(number.values())


class TestRecovery:
    """400 stars and 450 galaxies above the limit: tolerances are about three standard errors of such samples.

    They scatter between simulated catalogues by 0.03 (a mean colour), 0.015 (a width), 0.04 (a weight), 0.025 (the mean
    radius), 0.03 (its slope), 0.02 (its width), and 15% (the exponents of a Beta law).
    """

    def test_star_fraction(self, fitted):
        # Of all sources it depends on how the counts are continued; above the limit it is measured.
        limit = (22.5 - fitted.faint_limit) * LN_PER_MAG
        assert above(fitted.prior, STAR, limit) == pytest.approx(above(TRUTH, STAR, limit), abs=0.06)

    @pytest.mark.parametrize("kind", [STAR, GALAXY])
    def test_counts(self, fitted, kind):
        law, truth = getattr(fitted.prior, kind).log_flux, getattr(TRUTH, kind).log_flux
        assert isinstance(law, LogisticBeta)
        assert law.b / law.scale == pytest.approx(truth.b / truth.scale, rel=0.2)

    @pytest.mark.parametrize("kind", [STAR, GALAXY])
    def test_colours(self, fitted, kind):
        found, true = (in_order(getattr(prior, kind).colors, 1.2) for prior in (fitted.prior, TRUTH))
        for value, expected, tolerance in zip(found, true, (0.12, 0.08, 0.05), strict=True):
            np.testing.assert_allclose(value, expected, atol=tolerance)

    def test_radius(self, fitted):
        law = fitted.prior.galaxy.log_radius
        assert (law.mean, law.slope, law.sd) == pytest.approx((-0.6, 0.3, 0.35), abs=0.08)

    def test_axis_ratio_and_profile(self, fitted):
        ratio, dev = fitted.prior.galaxy.axis_ratio, fitted.prior.galaxy.dev_fraction
        assert (ratio.a, ratio.b) == pytest.approx((2.5, 1.3), rel=0.4)
        assert (dev.a, dev.b) == pytest.approx((0.6, 0.9), rel=0.3)

    def test_point_estimates_would_not_do(self, catalog, fitted):
        """The same laws from medians of likely galaxies: drawn to the interim prior, and widened by the errors."""
        flux = catalog["galaxy_flux_r"].value
        rows = (catalog["star_probability"] < 0.5) & (flux > 10 ** (0.4 * (22.5 - fitted.faint_limit)))
        dev = fit_dev_fraction(np.asarray(catalog["dev_fraction"][rows]))
        assert (dev.a, dev.b) > (1.25 * 0.6, 1.15 * 0.9)
        circular = catalog["half_light_radius"].value * np.sqrt(catalog["axis_ratio"])
        radius = fit_radius(np.log(circular[rows]), np.log(flux[rows]), 1.0)
        assert radius.mean > -0.6 + 0.1
        assert radius.slope < 0.3 - 0.15
        assert radius.sd > 0.35 + 0.06
        naive, true = LN_PER_MAG * catalog["color_ri"].value[rows].std(), TRUTH.galaxy.colors.covariance[1, 1] ** 0.5
        assert naive > 1.15 * true
        assert fitted.prior.galaxy.colors.covariance[1, 1] ** 0.5 < 1.06 * true

    def test_what_it_reports(self, fitted, catalog):
        assert fitted.n_sources == len(catalog)
        assert fitted.trace[-1] > fitted.trace[0] + 500
        assert np.all((fitted.effective_draws >= 1) & (fitted.effective_draws <= 240 * (1 + 1e-9)))
        assert not fitted.is_far_from_interim
        assert fitted.prior.name == "learned"
        method = fitted.prior.provenance["method"]
        assert "1200 sources of a simulated catalogue made with the prior 'interim'" in method
        first, second, third = str(fitted).splitlines()
        assert first.startswith("learned: from 1200 sources, of which ")
        assert "galaxy counts: power, held-out log likelihood +" in second
        assert "effective draws" in third


def test_a_prior_that_holds_is_found_again(settings):
    """Posteriors under the truth itself: what is divided out comes back."""
    catalog = simulated_catalog(600, TRUTH, seed=3)
    found = settings.fit(catalog, TRUTH, rng=1).prior
    assert found.galaxy.log_radius.mean == pytest.approx(-0.6, abs=0.1)
    assert (found.galaxy.dev_fraction.a, found.galaxy.dev_fraction.b) == pytest.approx((0.6, 0.9), rel=0.4)


def test_galaxy_counts_are_chosen_by_held_out_sources(interim, settings):
    """Galaxies whose fluxes are log-normal, with a peak above the limit."""
    galaxy = replace(TRUTH.galaxy, log_flux=Normal(1.5, 0.7))
    catalog = simulated_catalog(500, interim, seed=4, truth=replace(TRUTH, galaxy=galaxy))
    fitted = settings.fit(catalog, interim, rng=1)
    law = fitted.prior.galaxy.log_flux
    assert isinstance(law, Normal)
    assert (law.mean, law.sd) == pytest.approx((1.5, 0.7), abs=0.2)
    asked = replace(settings, galaxy_counts="power").fit(catalog, interim, rng=1)
    assert isinstance(asked.prior.galaxy.log_flux, LogisticBeta)
    assert asked.count_scores == {}


def test_nothing_by_magnitude(catalog, interim, settings):
    prior = replace(settings, by_magnitude=False, n_iterations=10).fit(catalog, interim, rng=1).prior
    assert prior.galaxy.log_radius.slope == 0
    assert not prior.galaxy.colors.slopes.any()


def test_one_band_has_no_colours():
    """Well-measured sources of a single band: counts and shapes alone are fitted."""
    interim, rng = Prior.default().for_bands("r"), np.random.default_rng(7)
    draws = []
    for kind in (STAR,) * 60 + (GALAXY,) * 60:
        theta = interim.sample_theta(kind, 1, rng)
        theta[0, 2] = 1.0 + rng.exponential(1.0)
        around = theta + 0.05 * rng.standard_normal((40, theta.shape[1]))
        draws.append(Draws.from_types(1, **{kind: (around, None)}))
    catalog = Catalog.from_draws(Draws.join(draws), ra=np.linspace(1, 2, 120), dec=np.zeros(120), bands=interim.bands,
                                 meta={"settings": {"prior": "sdss-deep"}})
    fitted = PriorFit(faint_limit=21.5).fit(catalog, rng=1)
    assert fitted.prior.galaxy.colors == interim.galaxy.colors
    assert fitted.prior.star.log_flux.b / fitted.prior.star.log_flux.scale == pytest.approx(1.0, rel=0.4)


def test_the_seed_decides(catalog, interim, settings):
    part = catalog[:300]
    one, same, other = (replace(settings, n_iterations=10).fit(part, interim, rng=seed).prior for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_second_round_moves_the_draws():
    """From a prior far from the population: more effective draws, and a higher likelihood, in the second round."""
    far = interim_prior()
    colors = replace(far.galaxy.log_radius, mean=0.6)
    far = replace(far, galaxy=replace(far.galaxy, log_radius=colors), star_fraction=0.05)
    settings = PriorFit(star_colors=ColorFit(2), galaxy_colors=ColorFit(2), n_iterations=20)
    first, second = iterate(lambda prior: simulated_catalog(300, prior, seed=6), far, 2, settings=settings, rng=1)
    assert second.interim == first.prior
    assert np.median(second.effective_draws) > 1.2 * np.median(first.effective_draws)
    assert abs(second.prior.galaxy.log_radius.mean + 0.6) < 0.2


class TestTrouble:
    def test_another_prior(self, catalog):
        with pytest.raises(CatalogError, match="made with the prior 'interim', and not with 'sdss-deep'"):
            PriorFit().fit(catalog, Prior.default())

    def test_an_unknown_prior(self, catalog):
        with pytest.raises(CatalogError, match="'interim', which has to be divided out .* give it"):
            PriorFit().fit(catalog)

    def test_too_few_sources(self, catalog, interim):
        with pytest.raises(CatalogError, match="20 of the 20 sources can be learned from .* expected 30 at least"):
            PriorFit().fit(catalog[:20], interim)

    def test_all_fainter_than_the_limit(self, catalog, interim):
        with pytest.raises(CatalogError, match="are expected above the limit of completeness, expected 30 of a type"):
            PriorFit(faint_limit=15.0).fit(catalog[:100], interim, rng=1)

    def test_a_limit_beyond_the_catalogue(self, catalog, interim, settings, caplog):
        beyond = replace(settings, faint_limit=30.0, n_iterations=1)
        with caplog.at_level("WARNING"):
            beyond.fit(catalog[:300], interim, rng=1)
        assert "faint_limit is 30.00, but the catalogue seems complete to r = " in caplog.text

    def test_no_signal_to_noise(self, catalog, interim):
        blind = catalog[:100]
        blind.table["snr"] = np.nan
        with pytest.raises(CatalogError, match="cannot be read off its column snr: .* give the magnitude"):
            PriorFit().fit(blind, interim)

    def test_few_of_a_type_keep_their_laws(self, catalog, interim, settings):
        galaxies = catalog[np.asarray(catalog["star_probability"]) < 0.1]
        fitted = replace(settings, n_iterations=10, galaxy_counts="power").fit(galaxies, interim, rng=1)
        assert fitted.kept == (STAR,)
        assert fitted.prior.star == interim.star
        assert fitted.prior.galaxy != interim.galaxy
        assert fitted.prior.star_fraction < 0.1
        assert "stars: too few, their laws are those of interim" in str(fitted)

    def test_flagged_sources_are_left_out(self, catalog):
        part = catalog[:5]
        part.table["flags"] = [0, int(Flag.BLENDED), int(Flag.SATURATED), int(Flag.EDGE), 0]
        part.table["status"] = [0, 0, 0, 0, 1]
        np.testing.assert_array_equal(usable(part), [True, True, False, False, False])

    def test_damaged_sources_are_left_out(self, catalog, interim, settings, caplog):
        """A posterior that is not finite, and a probability that is none."""
        table = catalog[:150].table.copy()
        table["posterior_mean"][3] = np.nan
        table["star_probability"][5] = 7.0
        fitted = replace(settings, n_iterations=3, galaxy_counts="power").fit(Catalog(table), interim, rng=1)
        assert fitted.n_sources == 148
        assert np.isfinite(fitted.trace).all()
        assert "1 sources are left out: their posteriors are not finite" in caplog.text

    def test_more_components_than_a_prior_can_have(self):
        with pytest.raises(ValueError, match="star_colors: 64 components, expected fewer than 64"):
            PriorFit(star_colors=ColorFit(64))

    @pytest.mark.parametrize(("name", "value"), [("galaxy_counts", "gamma"), ("n_draws", 0), ("depth", -1.0)])
    def test_settings(self, name, value):
        with pytest.raises(ValueError, match=f"{name}: {value!r}, expected"):
            PriorFit(**{name: value})
