"""Scores against brute force, against calibrated catalogues, and of what must not count."""

import json

import numpy as np
import pytest
from astropy.table import QTable, Table

from celestepy.catalog import CatalogError
from celestepy.catalog.reliability import auc, reliability
from celestepy.catalog.score import score


def brute_force_auc(probability, star):
    wins = [1.0 if p > q else 0.5 if p == q else 0.0 for p in probability[star] for q in probability[~star]]
    return np.mean(wins)


def test_auc_with_ties():
    rng = np.random.default_rng(0)
    probability, star = np.round(rng.random(60), 1), rng.random(60) < 0.4
    assert auc(probability, star) == pytest.approx(brute_force_auc(probability, star), rel=1e-12)
    assert auc(np.full(60, 0.5), star) == 0.5
    assert auc(star, star) == 1.0
    assert np.isnan(auc(probability, np.ones(60, dtype=bool)))


def test_reliability_counts_every_source_once():
    probability = np.array([0.0, 0.05, 0.1, 0.95, 1.0, 1.0])
    rows = reliability(probability, [False, True, True, True, True, False])
    assert sum(row["n"] for row in rows) == 6
    assert rows[0] == {"low": 0.0, "high": 0.1, "n": 2, "probability": 0.025, "fraction": 0.5}
    assert rows[9]["fraction"] == pytest.approx(2 / 3)
    assert np.isnan(rows[5]["fraction"])


def test_calibrated_catalogue_scores_as_calibrated(make_catalog):
    made = make_catalog(1500, seed=11)
    result = made.catalog.score(made.truth)
    assert result.n_matched > 1400  # some sources of this dense field lie closer together than their errors
    for name in ("mag_r", "color_ug", "ra", "dec", "half_light_radius"):
        coverage = np.array(result.errors[name].coverage)
        nominal = np.array([0.3829, 0.6827, 0.9545, 0.9973])
        allowed = (
            4 * np.sqrt(nominal * (1 - nominal) / result.errors[name].n) + 0.01
        )  # and a few wrong matches
        np.testing.assert_array_less(np.abs(coverage - nominal), allowed, err_msg=name)
        assert abs(result.errors[name].bias) < result.errors[name].median / 2
    for row in result.star.reliability:
        sd = np.sqrt(row["probability"] * (1 - row["probability"]) / row["n"])
        assert abs(row["fraction"] - row["probability"]) < 4 * sd + 0.01
    expected = brute_force_auc(np.asarray(made.catalog["star_probability"]), made.truth["is_star"])
    assert result.star.auc == pytest.approx(expected, abs=0.01)


def test_errors_are_those_of_the_matched_rows(make_catalog):
    made = make_catalog(30)
    shuffled = made.catalog[np.random.default_rng(0).permutation(30)]
    result = shuffled.score(made.truth, radius=0.5)
    size = np.abs(made.catalog["mag_r"].value - made.truth["mag_r"])
    assert result.n_matched == 30
    assert result.errors["mag_r"].mean == pytest.approx(size.mean())
    assert result.errors["mag_r"].median == pytest.approx(np.median(size))
    assert result.errors["mag_r"].unit == "mag"
    assert result.errors["position"].coverage == ()
    assert result.errors["dev_fraction"].n == (~made.truth["is_star"]).sum()
    elongated = (made.truth["axis_ratio"] < 0.6).sum()
    assert result.errors["position_angle"].n == elongated
    assert result.errors["position_angle"].mean <= 90


def test_completeness_and_purity(make_catalog):
    made = make_catalog(30)
    truth = Table({name: value[:20] for name, value in made.truth.items()})
    result = made.catalog[5:].score(truth, radius=0.5)
    east = (made.catalog["ra"].value + 180) % 360  # the field lies across 0h
    true_east = (np.asarray(truth["ra"]) + 180) % 360
    inside = (east >= true_east.min()) & (east <= true_east.max())
    dec = made.catalog["dec"].value
    inside &= (dec >= truth["dec"].min()) & (dec <= truth["dec"].max())
    assert 15 < inside[5:].sum() < 25  # some lie outside, where the truth says nothing
    assert (result.n_truth, result.n_rows, result.n_matched) == (20, inside[5:].sum(), 15)
    assert result.completeness == 15 / 20
    assert result.purity == inside[5:20].sum() / inside[5:].sum()


def test_range_of_magnitudes(make_catalog):
    made = make_catalog(60)
    low, high = np.quantile(made.truth["mag_r"], [0.3, 0.7])
    result = made.catalog.score(made.truth, mag_range=(low, high), radius=0.5)
    inside = (made.truth["mag_r"] > low) & (made.truth["mag_r"] < high)
    assert result.n_truth == inside.sum()
    assert result.purity == 1.0  # the neighbours over the edge still count as true
    assert result.errors["mag_r"].n == inside.sum()


def test_failed_rows_count_as_not_found(make_catalog):
    made = make_catalog(10)
    made.catalog.table["star_probability"][:3] = np.nan
    result = made.catalog.score(made.truth, radius=0.5)
    assert result.n_matched == 7
    assert result.n_rows <= 7


def test_truth_in_other_units_with_gaps(make_catalog):
    made = make_catalog(30)
    expected = made.catalog.score(made.truth, radius=0.5)
    names = ("is_star", "axis_ratio")
    truth = QTable({name: made.truth[name] for name in names})
    truth["ra"], truth["dec"] = np.radians(made.truth["ra"]), np.radians(made.truth["dec"])
    truth["ra"].unit = truth["dec"].unit = "rad"
    for band in "ugriz":  # magnitudes and colours follow from fluxes in other units
        truth[f"flux_{band}"] = made.truth[f"flux_{band}"] * 1e-9
        truth[f"flux_{band}"].unit = "mgy"
    truth["half_light_radius"] = np.ma.masked_less(made.truth["half_light_radius"] / 60, 1 / 60)
    truth["half_light_radius"].unit = "arcmin"
    result = made.catalog.score(QTable(truth), radius=0.5)
    for name in ("mag_u", "color_gr", "axis_ratio"):
        assert result.errors[name].mean == pytest.approx(expected.errors[name].mean, rel=1e-9)
    assert result.errors["position"].mean == pytest.approx(expected.errors["position"].mean, rel=1e-6)
    assert 0 < result.errors["half_light_radius"].n < expected.errors["half_light_radius"].n
    assert "dev_fraction" not in result.errors


def test_comparison_with_another_catalogue(make_catalog):
    made = make_catalog(200)
    rng = np.random.default_rng(1)
    other = {name: np.asarray(value, dtype=float) for name, value in made.truth.items()}
    error = rng.normal(0, 0.5, 200)
    other["mag_r"] = other["mag_r"] + error
    other["star_probability"] = np.where(rng.random(200) < 0.2, 1 - other["is_star"], other["is_star"])
    other = {name: value[20:] for name, value in other.items()}
    result = made.catalog.score(made.truth, other, radius=0.3)
    ours = np.abs(made.catalog["mag_r"].value - made.truth["mag_r"])[20:]
    assert result.errors["mag_r"].other == pytest.approx(np.abs(error[20:]).mean(), rel=0.05)
    assert result.errors["mag_r"].ratio == pytest.approx(ours.mean() / np.abs(error[20:]).mean(), rel=0.05)
    assert result.star.other_accuracy == pytest.approx(0.8, abs=0.12)
    assert result.errors["mag_u"].other == 0
    assert result.errors["mag_u"].ratio is None
    assert "other  ratio" in str(result)
    assert "other catalogue: AUC" in str(result)


def test_printed_table_and_json(make_catalog):
    made = make_catalog(40)
    result = made.catalog.score(made.truth, radius=0.5)
    text = str(result)
    assert text.startswith("40 true sources: 40 found (1.000), scored below; ")
    assert " rows within the same limits: 1.000 of them true\n" in text
    assert "color_gr [mag]" in text
    assert "nan" not in text
    content = json.loads(result.to_json())
    assert content["errors"]["mag_r"]["coverage"] == list(result.errors["mag_r"].coverage)
    assert content["star"]["auc"] == result.star.auc
    json.loads(result.to_json(indent=1), parse_constant=pytest.fail)  # NaN is not JSON


def test_truth_without_types(make_catalog):
    made = make_catalog(10)
    del made.truth["is_star"]
    result = made.catalog.score(made.truth, radius=0.5)
    assert result.star is None
    assert "stars and galaxies" not in str(result)


def test_wrong_tables_are_named(make_catalog):
    made = make_catalog(5)
    with pytest.raises(CatalogError, match="no column mag_b or flux_b for any band b of the catalogue"):
        made.catalog.score({"ra": made.ra, "dec": made.dec})
    with pytest.raises(CatalogError, match="no columns 'ra' and 'dec'"):
        made.catalog.score({"mag_r": made.truth["mag_r"]})
    far = made.truth | {"dec": made.truth["dec"] + 1}
    with pytest.raises(CatalogError, match="no row of the catalogue lies within"):
        score(made.catalog, far)
