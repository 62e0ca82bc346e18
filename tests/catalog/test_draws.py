"""Draws: weights, groups, choosing; and the columns and Gaussians made from them against closed forms."""

import numpy as np
import pytest

from celestepy.catalog import Catalog, CatalogError, Draws, Flag, Posterior, Status
from celestepy.catalog.columns import schema
from celestepy.catalog.quantiles import weighted_quantile
from celestepy.catalog.summary import summarise
from celestepy.model.parameters import GALAXY, STAR, Bands, layout


def draws_of(posterior, n, rng):
    """Draws of a Posterior as an engine hands them in: n of each type, with the log odds apart."""
    parts = []
    for row in range(len(posterior)):
        given = {}
        for kind in (STAR, GALAXY):
            size = layout(kind, posterior.n_bands).size
            weight = posterior.weight_of(kind)[row]
            numbers = rng.multinomial(n, weight)
            theta = [rng.multivariate_normal(posterior.mean[row, k, :size], posterior.covariance[row, k, :size, :size],
                                             numbers[k]) for k in np.flatnonzero(numbers)]
            given[kind] = (np.concatenate(theta), None)
        star = posterior.star_probability[row]
        parts.append(Draws.from_types(posterior.n_bands, **given, log_odds=np.log(star) - np.log1p(-star)))
    return Draws.join(parts)


def test_weighted_quantile():
    x = np.random.default_rng(1).standard_normal((50, 3))
    at = [0.1, 0.5, 0.9]
    equal = weighted_quantile(at, x, np.ones(50))
    np.testing.assert_allclose(equal, np.quantile(x, at, axis=0, method="hazen"), rtol=1e-12)
    # a draw of weight zero is no draw, and an unknown distribution has no quantiles
    more = weighted_quantile(at, np.concatenate([x, x + 100]), np.repeat([2.0, 0.0], 50))
    np.testing.assert_allclose(more, equal, rtol=1e-12)
    assert np.isnan(weighted_quantile(at, x[:0], [])).all()


def test_weighted_quantile_is_that_of_the_weighted_law():
    rng = np.random.default_rng(2)
    x = rng.uniform(-5, 5, (200_000, 1))
    found = weighted_quantile([0.1587, 0.5, 0.8413], x, np.exp(-0.5 * (x[:, 0] - 1) ** 2))[:, 0]
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0], atol=0.02)  # 2e5 draws, 1/4 of them of use: sd .006


def test_weights_over_both_types():
    is_galaxy = [False, True, True, False]
    draws = Draws.from_weights(is_galaxy, np.ones((4, 8)), np.log([1.0, 2.0, 4.0, 3.0]) - 5000)
    assert draws.star_probability[0] == pytest.approx(0.4, rel=1e-12)
    np.testing.assert_allclose(draws.weight, [0.25, 1 / 3, 2 / 3, 0.75])
    np.testing.assert_allclose(draws.total_weight, [0.1, 0.2, 0.4, 0.3])
    assert draws.effective_draws[0] == pytest.approx(1 / 0.30)
    assert np.isnan(draws.theta[0, 4:]).all()
    assert np.isfinite(draws.theta[1]).all()


def test_a_type_is_described_even_where_its_probability_underflows():
    rng = np.random.default_rng(3)
    draws = Draws.from_types(
        2, star=(rng.normal(1, 0.1, (400, 4)), None), galaxy=(rng.normal(3, 0.1, (400, 8)), None), log_odds=-2000.0
    )
    catalog = Catalog.from_draws(draws, ra=[1.0], dec=[2.0], bands="gr")
    assert catalog["star_probability"][0] == 0
    assert catalog["star_flux_r"].value[0] == pytest.approx(np.e, rel=0.02)  # .1 / sqrt(400) of the median's error
    assert catalog["flux_r"][0] == catalog["galaxy_flux_r"][0]
    assert catalog.posterior.weight_of(STAR).sum() == pytest.approx(1, rel=1e-12)


def test_draws_that_are_not_finite_are_left_out():
    theta = np.ones((4, 8))
    theta[1, 2] = np.nan
    draws = Draws.from_weights([True] * 4, theta, [0.0, 0.0, -np.inf, np.nan])
    assert draws.n_draws.tolist() == [1]
    assert np.isnan(Draws.from_weights([True], theta[1:2]).star_probability[0])
    assert len(Draws.from_types(2, star=(theta[:, :4][1:2], None))) == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (([True], np.zeros((2, 1, 8))), "a type for each free vector"),
    (([[True]], np.zeros((1, 1, 6))), "number of bands plus 6"),
    (([[True]], np.zeros((1, 1, 8)), [0.0, 0.0]), "log_weight has shape"),
])
def test_shapes_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Draws.from_group(*arguments)


def test_types_are_checked():
    with pytest.raises(ValueError, match="theta of the star draws"):
        Draws.from_types(2, star=(np.zeros((3, 8)), None))
    with pytest.raises(ValueError, match="log_odds is nan"):
        Draws.from_types(2, star=(np.zeros((3, 4)), None), galaxy=(np.zeros((3, 8)), None), log_odds=np.nan)


def test_join_and_choose_sources():
    one = Draws.from_weights([True, False], np.full((2, 8), 1.0))
    two = Draws.from_group(np.ones((3, 2), bool), np.full((3, 2, 8), 2.0))
    joined = Draws.join([two, one, Draws.empty(2), two])
    assert joined.n_draws.tolist() == [3, 3, 2, 0, 3, 3]
    assert joined.group.tolist() == [0, 0, -1, -1, 1, 1]
    some = joined.sources([3, 2, 0])
    assert some.n_draws.tolist() == [0, 2, 3]
    assert some.theta[0, 0] == 1
    assert np.isnan(some.star_probability[0])
    assert joined.sources(slice(0, 0)).n_bands == 2
    with pytest.raises(ValueError, match="expected one number of bands"):
        Draws.join([one, Draws.empty(5)])


def test_draws_are_chosen_by_weight():
    rng, n = np.random.default_rng(4), 20_000
    theta = np.arange(4.0)[:, None] * np.ones(8)
    draws = Draws.from_weights([True, True, False, True], theta, np.log([0.1, 0.2, 0.3, 0.4]))
    is_galaxy, chosen = Draws.join([draws, Draws.empty(2)]).draw(n, rng)
    share = np.bincount(chosen[0, :, 0].astype(int), minlength=4) / n
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4], atol=4 * 0.5 / np.sqrt(n))
    assert is_galaxy[0].mean() == pytest.approx(0.7, abs=0.015)
    assert np.isnan(chosen[1]).all()


def test_sources_of_a_group_are_drawn_together():
    rng = np.random.default_rng(5)
    theta = rng.standard_normal((300, 2, 8))
    theta[:, 1, 2] = -theta[:, 0, 2]  # flux that one has the other lacks
    is_galaxy = rng.random((300, 2)) < 0.5
    group = Draws.from_group(is_galaxy, theta, rng.standard_normal(300))
    _, chosen = Draws.join([Draws.empty(2), group]).draw(500, rng)
    np.testing.assert_array_equal(chosen[1, :, 2], -chosen[2, :, 2])
    # of catalogues too, in any order of the rows
    catalog = Catalog.from_draws(group, ra=[10.0, 10.001], dec=[0.0, 0.0], bands="gr")[[1, 0]]
    mag = catalog.sample(500, 1)["mag_r"].value
    assert np.corrcoef(mag)[0, 1] == pytest.approx(-1, abs=1e-9)


def test_columns_agree_with_those_of_the_mixture(make_catalog):
    made = make_catalog(12, seed=6)
    posterior, n = Posterior.from_components(*made.components), 3000
    draws = draws_of(posterior, n, np.random.default_rng(7))
    catalog = Catalog.from_draws(draws, ra=made.ra, dec=made.dec, bands="ugriz", meta={"created": None})
    assert catalog.colnames == made.catalog.colnames
    np.testing.assert_allclose(catalog["star_probability"], made.catalog["star_probability"], rtol=1e-9)
    for name in made.catalog.colnames:
        if f"{name}_err" not in made.catalog.colnames or name.startswith("log_evidence"):
            continue
        value, expected = (np.asarray(part[name]) for part in (catalog, made.catalog))
        error = np.asarray(made.catalog[f"{name}_err"])
        if name in ("ra", "dec"):
            error = error / 3600 / (np.cos(np.radians(made.dec)) if name == "ra" else 1)
        # median of 3000 draws: 1.25 / sqrt(3000) = .023 of an error, more where a mixture is sparse at its median
        assert (np.abs(value - expected) < 0.25 * error).all(), name
        assert np.median(np.abs(value - expected) / error) < 0.03, name
        ratio = np.asarray(catalog[f"{name}_err"]) / np.asarray(made.catalog[f"{name}_err"])
        assert np.abs(np.median(ratio) - 1) < 0.03, name


def test_gaussians_have_the_moments_of_the_draws():
    rng = np.random.default_rng(8)
    theta = rng.standard_normal((2000, 8))
    theta[:, 2] = np.exp(0.5 * theta[:, 2])  # skewed, as faint fluxes are
    weight = rng.exponential(size=2000)
    draws = Draws.from_types(2, galaxy=(theta, np.log(weight)))
    catalog = Catalog.from_draws(draws, ra=[5.0], dec=[0.0], bands="gr")
    mean, covariance = catalog.posterior.moments(catalog.posterior.total_weight, 8)
    true_mean = np.average(theta, axis=0, weights=weight)
    np.testing.assert_allclose(mean[0, 2:], true_mean[2:], rtol=1e-9)
    np.testing.assert_allclose(mean[0, :2], 0, atol=1e-9)  # about the row's position
    np.testing.assert_allclose(covariance[0], np.cov(theta.T, aweights=weight, ddof=0), atol=1e-8)
    assert 1 < (catalog.posterior.weight > 0).sum() <= 4
    # and nearly their quantiles, though the law is skewed: one Gaussian is off by .31 and .21 of the error
    columns, error = summarise(catalog.posterior, Bands("gr")), catalog["mag_r_err"].value[0]
    for name in ("mag_r", "mag_r_err"):
        assert columns[name][0] == pytest.approx(float(catalog[name].value[0]), abs=0.15 * error)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_draws(n):
    theta = np.random.default_rng(9).standard_normal((n, 11))
    catalog = Catalog.from_draws(Draws.from_types(5, galaxy=(theta, None)), ra=[1.0], dec=[1.0], bands="ugriz")
    assert catalog["star_probability"][0] == 0
    assert np.isfinite(catalog["mag_r"].value).all()
    assert catalog["effective_draws"][0] == pytest.approx(n)
    assert np.isfinite(catalog.posterior.draw(3, np.random.default_rng(1))[1]).all()


def test_a_source_without_draws_stays_in_the_catalogue():
    draws = Draws.join([Draws.empty(2), Draws.from_weights([True] * 30, np.random.default_rng(1).random((30, 8)))])
    catalog = Catalog.from_draws(draws, ra=[1.0, 2.0], dec=[3.0, 4.0], bands="gr", diagnostics={"id": [7, 5]})
    assert catalog["status"].tolist() == [Status.FAILED, Status.CONVERGED]
    assert catalog["flags"][0] & Flag.FAILED
    assert (catalog["ra"][0].value, catalog["dec"][0].value) == pytest.approx((1.0, 3.0), rel=1e-14)
    derived = [c.name for c in schema("gr") if c.derived and c.dtype is float and not c.name.startswith(("ra", "dec"))]
    assert all(np.isnan(np.asarray(catalog[name])[0]).all() for name in derived if "weight" not in name)
    sample = catalog.sample(4, 1)
    assert np.isnan(sample["mag_r"].value[0]).all()
    assert np.isfinite(sample["mag_r"].value[1]).all()


def test_empty_catalogue_of_draws():
    catalog = Catalog.from_draws(Draws.join([], 2), ra=[], dec=[], bands="gr")
    assert len(catalog) == 0
    assert len(catalog.sample(2)) == 0


def test_ids_must_differ():
    draws = Draws.join([Draws.empty(2)] * 2)
    with pytest.raises(CatalogError, match="id 4 is given twice"):
        Catalog.from_draws(draws, ra=[1, 2], dec=[1, 2], bands="gr", diagnostics={"id": [4, 4]})


def test_sample_takes_the_draws_themselves():
    rng = np.random.default_rng(10)
    theta = np.concatenate([rng.normal(1, 0.01, (200, 8)), rng.normal(3, 0.01, (200, 8))])
    theta[:, :2] = rng.normal([0.5, -0.3], 0.1, (400, 2))
    catalog = Catalog.from_draws(Draws.from_types(2, galaxy=(theta, None)), ra=[40.0], dec=[60.0], bands="gr")
    sample = catalog.sample(1000, 3)
    drawn = (22.5 - sample["mag_r"].value[0]) / (2.5 / np.log(10))
    assert np.isin(np.round(drawn, 9), np.round(theta[:, 2], 9)).all()
    # positions are those of the seed's offsets, though the row has moved to their mean
    east = (sample["ra"].value[0] - 40) * 3600 * np.cos(np.radians(60))
    nearest = np.abs(east[:, None] - theta[:, 0]).min(axis=1)
    assert nearest.max() < 1e-5  # arcsec: the tangent planes of the seed and of the row differ by less
    assert east.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(sample["mag_r"], catalog.sample(1000, 3)["mag_r"])
    parts = list(catalog.sample_in_parts([600, 400], np.random.default_rng(3)))
    assert [part["mag_r"].shape[1] for part in parts] == [600, 400]


def test_errors_of_draws_cover_truths_drawn_from_the_posterior(make_catalog):
    made = make_catalog(400, seed=11)
    draws = draws_of(Posterior.from_components(*made.components), 300, np.random.default_rng(12))
    catalog = Catalog.from_draws(draws, ra=made.ra, dec=made.dec, bands="ugriz")
    for name in ("flux_u", "mag_r", "color_gr"):
        pull = np.abs(catalog[name].value - made.truth[name]) / catalog[f"{name}_err"].value
        # four binomial standard deviations of 400: .093 and .042
        assert np.mean(pull < 1) == pytest.approx(0.683, abs=0.093), name
        assert np.mean(pull < 2) == pytest.approx(0.954, abs=0.042), name
