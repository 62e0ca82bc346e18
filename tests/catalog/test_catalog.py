"""The columns against closed forms, slow draws and coverage of truths drawn from the posterior."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from celestepy.catalog import Catalog, CatalogError, Flag, Posterior, Status
from celestepy.catalog.columns import SCHEMA_VERSION
from celestepy.catalog.files import write_table
from celestepy.model.parameters import GALAXY, STAR, Bands, layout
from celestepy.model.transforms import to_catalog

MAG = 2.5 / np.log(10)


def one_source(components, bands="ugriz", ra=10.0, dec=20.0):
    posterior = Posterior.stack([components], n_bands=len(bands))
    return Catalog.from_posterior(posterior, ra=[ra], dec=[dec], bands=bands, meta={"created": None})


def gaussian(kind, mean, sd, bands="ugriz"):
    """A component with independent parameters of one standard deviation."""
    size = layout(kind, len(bands)).size
    return kind, np.resize(np.asarray(mean, dtype=float), size), np.diag(np.broadcast_to(sd, size) ** 2)


def test_one_gaussian_has_the_closed_form():
    mean = [0.0, 0.0, 2.0, 0.9, 0.6, 0.3, 0.2]
    row = one_source([(0.0, *gaussian(STAR, mean, 0.1))])[0]
    assert row["star_probability"] == 1
    assert row["mag_r"].value == pytest.approx(22.5 - MAG * 2.0, rel=1e-12)
    assert row["mag_r_err"].value == pytest.approx(MAG * 0.1, rel=1e-12)
    assert row["mag_g_err"].value == pytest.approx(MAG * 0.1 * np.sqrt(2), rel=1e-12)
    assert row["mag_z"].value == pytest.approx(22.5 - MAG * (2.0 + 0.3 + 0.2), rel=1e-12)
    assert row["flux_u"].value == pytest.approx(np.exp(2.0 - 0.6 - 0.9), rel=1e-12)
    assert row["flux_r_err"].value == pytest.approx(np.exp(2) * np.sinh(0.1), rel=1e-12)
    assert row["color_ug"].value == pytest.approx(MAG * 0.9, rel=1e-12)
    assert row["color_ug_err"].value == pytest.approx(MAG * 0.1, rel=1e-12)
    assert row["star_flux_r"] == row["flux_r"]
    assert np.isnan(row["galaxy_flux_r"])
    assert np.isnan(row["half_light_radius"])
    assert row["ra_err"].value == pytest.approx(0.1, rel=1e-12)


def test_shape_of_a_narrow_galaxy_posterior():
    e, angle = -np.log(0.4), np.radians(150.0)
    shape = [np.log(1.5 * np.sqrt(0.4)), e * np.cos(2 * angle), e * np.sin(2 * angle), np.log(0.8 / 0.2)]
    row = one_source([(0.0, *gaussian(GALAXY, [0, 0, 2, 0.9, 0.6, 0.3, 0.2, *shape], 1e-5))])[0]
    # draws are quasi-random: their median is within some percent of the sd of 1e-5
    assert row["half_light_radius"].value == pytest.approx(1.5, rel=1e-6)
    assert row["axis_ratio"] == pytest.approx(0.4, rel=1e-6)
    assert row["position_angle"].value == pytest.approx(150.0, rel=1e-6)
    assert row["dev_fraction"] == pytest.approx(0.8, rel=1e-9)
    assert row["dev_fraction_err"] == pytest.approx(0.8 * 0.2 * 1e-5, rel=1e-4)
    assert row["axis_ratio_err"] == pytest.approx(0.4e-5, rel=0.03)
    assert row["half_light_radius_err"].value == pytest.approx(1.5e-5 * np.hypot(1, 0.5), rel=0.03)
    assert row["position_angle_err"].value == pytest.approx(np.degrees(0.5e-5 / e), rel=0.03)


@pytest.mark.parametrize("angle", [0.0, 0.01, 45.0, 90.0, 179.99])
def test_position_angle_near_the_fold(angle):
    doubled = np.radians(2 * angle)
    shape = [0.0, np.cos(doubled), np.sin(doubled), 0.0]
    row = one_source([(0.0, *gaussian(GALAXY, [0, 0, 2, 0.9, 0.6, 0.3, 0.2, *shape], 0.1))])[0]
    difference = (row["position_angle"].value - angle + 90) % 180 - 90
    assert abs(difference) < 0.15  # quasi-random draws: 5% of the error of 2.9 deg
    assert 0 <= row["position_angle"].value < 180
    assert row["position_angle_err"].value == pytest.approx(np.degrees(0.5 * 0.1), rel=0.05)


def test_round_galaxy_has_no_position_angle():
    row = one_source([(0.0, *gaussian(GALAXY, np.zeros(11), 0.1))])[0]
    # half of the central 68.3% of a uniform angle is 61.4 deg
    assert row["position_angle_err"].value == pytest.approx(61.4, abs=2)


def test_quantiles_of_a_mixture_against_slow_draws(make_catalog):
    made = make_catalog(3, seed=5, width=4.0)
    rng, at = np.random.default_rng(9), layout(STAR, 5)
    log_weight, _, mean, covariance = made.components
    mean[:, 0, at.log_flux] += 1.0  # stars and galaxies disagree
    catalog = Catalog.from_posterior(
        Posterior.from_components(*made.components), ra=made.ra, dec=made.dec, bands="ugriz"
    )
    n = 40_000
    for i in range(3):
        star = rng.random(n) < catalog["star_probability"][i]
        draws = [rng.multivariate_normal(mean[i, k, :7], covariance[i, k, :7, :7], n) for k in (0, 1)]
        values = to_catalog(STAR, np.where(star[:, None], *draws), "ugriz")
        for name in ("flux_u", "mag_r", "color_gr"):
            low, middle, high = np.quantile(values[name], [0.158655, 0.5, 0.841345])
            tolerance = 0.04 * (high - low)  # of a quantile of 40000 draws, even where a mixture is sparse
            assert catalog[name].value[i] == pytest.approx(middle, abs=tolerance)
            assert catalog[f"{name}_err"].value[i] == pytest.approx((high - low) / 2, abs=tolerance)


def coverage(estimate, error, truth):
    return np.mean(np.abs(estimate - truth) < error), np.mean(np.abs(estimate - truth) < 2 * error)


def test_errors_cover_truths_drawn_from_the_posterior(make_catalog):
    n = 2000
    made = make_catalog(n, seed=3)
    catalog, truth = made.catalog, made.truth
    names = [f"{stem}_{band}" for stem in ("flux", "mag") for band in "ugriz"] + ["color_ug", "color_iz"]
    for name in names:
        one, two = coverage(catalog[name].value, catalog[f"{name}_err"].value, truth[name])
        # four binomial standard deviations: sqrt(.683 .317 / 2000) = .0104 and sqrt(.954 .046 / 2000) = .0047
        assert one == pytest.approx(0.683, abs=0.042), name
        assert two == pytest.approx(0.954, abs=0.019), name
    east = (catalog["ra"].value - truth["ra"] + 180) % 360 - 180
    east *= 3600 * np.cos(np.radians(truth["dec"]))
    assert coverage(east, catalog["ra_err"].value, 0.0)[0] == pytest.approx(0.683, abs=0.042)
    north = 3600 * (catalog["dec"].value - truth["dec"])
    assert coverage(north, catalog["dec_err"].value, 0.0)[0] == pytest.approx(0.683, abs=0.042)


@pytest.mark.parametrize("width", [1.0, 9.0])
def test_errors_of_shapes_cover_true_galaxies(make_catalog, width):
    made = make_catalog(1500, seed=4, width=width)
    galaxy = ~made.truth["is_star"]
    for name in ("half_light_radius", "axis_ratio", "dev_fraction", "position_angle"):
        difference = np.asarray(made.catalog[name])[galaxy] - made.truth[name][galaxy]
        if name == "position_angle":
            difference = (difference + 90) % 180 - 90
        one, two = coverage(difference, np.asarray(made.catalog[f"{name}_err"])[galaxy], 0.0)
        # four standard deviations for 750 galaxies are .068 and .031; bounded quantities lie within 2 errors
        assert one == pytest.approx(0.683, abs=0.068), name
        assert two > 0.92, name


def test_rows_do_not_depend_on_their_neighbours(make_catalog):
    made = make_catalog(300)  # more than are worked on at once
    part = Catalog.from_posterior(
        Posterior.from_components(*(c[200:] for c in made.components)),
        ra=made.ra[200:],
        dec=made.dec[200:],
        bands="ugriz",
    )
    for name in part.colnames[1:]:
        if part[name].dtype.kind == "f":
            np.testing.assert_allclose(part[name], made.catalog[name][200:], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dec", [-89.9999, 0.0, 60.0, 89.9999])
def test_positions_move_on_the_sky(dec):
    mean = [0.3, -0.4, 2, 0, 0, 0, 0]
    catalog = one_source([(0.0, *gaussian(STAR, mean, 0.01))], ra=359.99999, dec=dec)
    seed = SkyCoord(359.99999, dec, unit="deg")
    found = SkyCoord(catalog["ra"], catalog["dec"])[0]
    assert seed.separation(found).arcsec == pytest.approx(0.5, rel=1e-6)
    east, north = seed.spherical_offsets_to(found)
    assert (east.arcsec, north.arcsec) == pytest.approx((0.3, -0.4), rel=1e-3)
    assert (
        np.nanmax(np.abs(catalog.posterior.mean[0, 0, :2])) < 1e-12
    )  # offsets are about the row's own position


def test_failed_source_stays_in_the_catalogue(make_catalog):
    made = make_catalog(4)
    made.components[0][[1, 2]] = -np.inf
    posterior = Posterior.from_components(*made.components)
    diagnostics = {
        "status": [0, 0, Status.NO_PIXELS, Status.NOT_CONVERGED],
        "message": ["", "", "all masked", ""],
    }
    catalog = Catalog.from_posterior(
        posterior, ra=made.ra, dec=made.dec, bands="ugriz", diagnostics=diagnostics
    )
    assert list(catalog["status"]) == [
        Status.CONVERGED,
        Status.FAILED,
        Status.NO_PIXELS,
        Status.NOT_CONVERGED,
    ]
    assert list(catalog["flags"]) == [0, Flag.FAILED, Flag.FAILED, Flag.NOT_CONVERGED]
    assert "no finite fit" in catalog["message"][1]
    assert catalog["message"][2] == "all masked"
    assert catalog["ra"][1].value == pytest.approx(made.ra[1])
    assert np.isnan(catalog["mag_r"][1])
    assert np.isnan(catalog["star_probability"][1])
    assert np.isfinite(catalog["mag_r"][3])


def test_diagnostics_are_kept(make_catalog):
    diagnostics = {
        "id": [7, 8],
        "snr": [3.0, 4.0],
        "flags": [1, 2],
        "message": ["two\nlines", "b"],
        "group_id": [0, 0],
    }
    catalog = make_catalog(2, diagnostics=diagnostics).catalog
    assert list(catalog["id"]) == [7, 8]
    assert list(catalog["snr"]) == [3.0, 4.0]
    assert list(catalog["message"]) == ["two lines", "b"]
    assert np.isnan(catalog["log_evidence_star"]).all()


def test_wrong_arguments_are_named(make_catalog):
    with pytest.raises(CatalogError, match=r"unknown column 'sn', expected some of id"):
        make_catalog(2, diagnostics={"sn": [1, 2]})
    with pytest.raises(CatalogError, match=r"snr has shape \(3,\), expected one value for each of 2"):
        make_catalog(2, diagnostics={"snr": [1, 2, 3]})
    with pytest.raises(CatalogError, match=r"metadata 'settings' cannot be written"):
        make_catalog(2, meta={"settings": object()})
    posterior = make_catalog(2).catalog.posterior
    with pytest.raises(CatalogError, match="posterior has 5 bands and bands names 2"):
        Catalog.from_posterior(posterior, ra=[1, 2], dec=[1, 2], bands="gr")
    with pytest.raises(CatalogError, match=r"dec has shape \(1,\)"):
        Catalog.from_posterior(posterior, ra=[1, 2], dec=[1], bands="ugriz")


def test_other_tables_are_refused(make_catalog):
    with pytest.raises(CatalogError, match="do not name its bands"):
        Catalog(QTable({"ra": [1.0]}))
    table = make_catalog(2).catalog.table
    table.remove_columns(["mag_u", "snr"])
    with pytest.raises(CatalogError, match="columns missing from the catalogue: mag_u, snr"):
        Catalog(table)


def test_metadata(make_catalog):
    catalog = make_catalog(
        2, bands="gri", meta={"seed": 3, "settings": {"path": np.float64(2.0), "tuple": (1, 2)}}
    ).catalog
    assert catalog.meta["bands"] == ["g", "r", "i"]
    assert catalog.meta["settings"] == {"path": 2.0, "tuple": [1, 2]}
    assert catalog.meta["created"].startswith("20")
    assert catalog.bands == Bands("gri")


def test_reference_band_is_kept(make_catalog):
    made = make_catalog(3, bands=Bands("gri", "i"))
    assert made.catalog.bands.reference == "i"
    np.testing.assert_allclose(
        made.catalog["mag_i"].value, 22.5 - MAG * made.components[2][:, 0, 2], atol=1.5
    )


def test_indexing(make_catalog):
    catalog = make_catalog(6).catalog
    some = catalog[np.arange(6) % 2 == 0]
    assert isinstance(some, Catalog)
    assert list(some["id"]) == [0, 2, 4]
    assert len(catalog[1:3]) == 2
    assert list(catalog[[5, 0]]["id"]) == [5, 0]
    assert catalog[2]["id"] == 2
    assert [row["id"] for row in catalog] == list(range(6))
    some.table["mag_r"][0] = np.nan
    assert np.isfinite(catalog["mag_r"][0])


def test_shown_as_text_and_html(make_catalog):
    catalog = make_catalog(3).catalog
    assert repr(catalog).startswith("<Catalog of 3 sources in u, g, r, i, z; 12 of")
    assert "star_probability" in catalog._repr_html_()


def test_empty_catalogue():
    catalog = Catalog.from_posterior(Posterior.stack([], 5), ra=[], dec=[], bands="ugriz")
    assert len(catalog) == 0
    assert len(catalog.sample(3)) == 0
    assert "0 sources" in repr(catalog)


def test_sample_follows_the_columns(make_catalog):
    catalog = make_catalog(20, seed=8).catalog
    n = 4000
    draws = catalog.sample(n, 1)
    assert draws["flux_r"].shape == (20, n)
    assert draws["flux_r"].unit == "nmgy"
    for name in ("flux_g", "mag_z", "color_gr"):
        assert draws[name].unit == catalog[name].unit
        error = catalog[f"{name}_err"].value
        # the error of a median of 4000 draws is .02 of theirs; a mixture may be sparse at its median
        np.testing.assert_array_less(
            np.abs(np.median(draws[name].value, axis=1) - catalog[name].value), 0.15 * error
        )
    share = draws["is_star"].mean(axis=1)
    np.testing.assert_allclose(share, catalog["star_probability"], atol=4 * 0.5 / np.sqrt(n))
    radius = np.ma.median(np.ma.masked_invalid(draws["half_light_radius"].value), axis=1)
    many = (~draws["is_star"]).sum(axis=1) > 1000
    error = catalog["half_light_radius_err"].value
    assert (np.abs(radius - catalog["half_light_radius"].value) < 0.15 * error)[many].all()
    assert np.isnan(draws["axis_ratio"][draws["is_star"]]).all()
    offset = (draws["dec"].mean(axis=1) - catalog["dec"]).to_value("arcsec")
    np.testing.assert_array_less(np.abs(offset), 4 / np.sqrt(n) * catalog["dec_err"].value)


def test_sample_is_reproducible(make_catalog):
    catalog = make_catalog(5).catalog
    one, two = catalog.sample(3, 7), catalog.sample(3, np.random.default_rng(7))
    np.testing.assert_array_equal(one["mag_r"], two["mag_r"])
    assert not np.array_equal(one["mag_r"], catalog.sample(3, 8)["mag_r"])
    with pytest.raises(ValueError, match="n is 0"):
        catalog.sample(0)


def test_catalogues_of_the_first_schema_are_read(make_catalog, tmp_path):
    catalog = make_catalog(3).catalog
    old = catalog.table.copy()
    newer = ["pareto_k_star", "pareto_k_galaxy", "effective_draws", "log_evidence_star_err", "log_evidence_galaxy_err"]
    old.remove_columns(newer)
    old.meta["schema_version"] = 1
    write_table(old, tmp_path / "old.fits")
    read = Catalog.read(tmp_path / "old.fits")
    assert read.colnames == catalog.colnames
    assert all(np.isnan(read[name]).all() for name in newer)
    assert read.meta["schema_version"] == SCHEMA_VERSION
    assert "pareto_k_star" not in old.colnames
    old.meta["schema_version"] = 2  # of this version it ought to have them
    with pytest.raises(CatalogError, match="columns missing"):
        Catalog(old)
