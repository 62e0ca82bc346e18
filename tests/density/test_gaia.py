"""Rows of Gaia: the covariances of its columns, and simulated rows whose density is what it is said to be."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from scipy.stats import kstest

from celestepy.density.gaia import COLUMNS, gaia_rows, simulate_gaia
from celestepy.density.milky_way import milky_way
from celestepy.density.noisy_rows import DensityError


@pytest.fixture(scope="module")
def truth():
    return milky_way(64, 6400)


@pytest.fixture(scope="module")
def simulated(truth):
    return simulate_gaia(20_000, 3, truth)


def test_noise_has_the_covariance_that_is_stated(simulated):
    table, true_values, _ = simulated
    values, covariance = gaia_rows(table)
    whole = np.isfinite(values).all(axis=1)
    offsets = (values - true_values)[whole]
    scaled = np.einsum("na,na->n", offsets, np.linalg.solve(covariance[whole], offsets[..., None])[..., 0])
    # chi2 with 7 degrees of freedom; its mean over 15 000 rows is known to .03
    assert scaled.mean() == pytest.approx(7, abs=0.15)
    assert kstest(scaled, "chi2", args=(7,)).pvalue > 1e-3


def test_what_is_missing(simulated):
    table, _, _ = simulated
    missing = np.isnan(gaia_rows(table)[0]).mean(axis=0)
    assert missing[[0, 1, 6]] == pytest.approx([0, 0, 0])
    assert missing[2:5] == pytest.approx([0.18] * 3, abs=0.02)
    assert 0.05 < missing[5] < 0.12
    faint = table["phot_g_mean_mag"] > 20.5
    assert np.isnan(table["parallax"][faint]).mean() > 2 * missing[2]


def test_the_posterior_of_true_values_is_calibrated(simulated):
    """Errors and gaps depend on the observed magnitude: only thus is the convolved density that of the rows."""
    table, true_values, truth = simulated
    values, covariance = (array[:1500] for array in gaia_rows(table))
    draws = truth.posterior(values, covariance).marginalize(["parallax", "pmra", "bp_rp"]).sample(200, 1)
    ranks = (draws < true_values[:1500, None, [2, 3, 5]]).mean(axis=1)
    for rank in ranks.T:
        assert kstest(rank, "uniform").pvalue > 1e-3


def test_the_same_seed_gives_the_same_rows(truth):
    one, other = (simulate_gaia(50, 5, truth)[0] for _ in range(2))
    assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one.colnames)


def test_the_default_galaxy():
    galaxy = milky_way(256, 12_800)
    assert len(galaxy) == 256
    assert galaxy.names == COLUMNS
    assert milky_way(256, 12_800) == galaxy
    parallax, magnitude = galaxy.mean[2], galaxy.mean[6]
    assert 0.2 < parallax < 1.0
    assert 18 < magnitude < 20.5
    with pytest.raises(ValueError, match="power of two"):
        milky_way(100)


@pytest.mark.parametrize("error", [np.nan, -1.0, np.inf])
def test_values_of_no_valid_error_are_missing(simulated, error):
    table = simulated[0][:20].copy()
    table["dec_error"][3] = error
    table["phot_bp_mean_flux_over_error"][4] = -5.0
    table["phot_g_mean_flux_over_error"][5] = 0.0
    values, covariance = gaia_rows(table)
    assert np.isnan(values[[3, 4, 5], [1, 5, 6]]).all()
    assert np.isfinite(covariance).all()
    assert np.isfinite(values[[4, 5, 3], [1, 1, 0]]).all()


def test_a_missing_correlation_is_named(simulated):
    table = simulated[0][:20].copy()
    table["ra_dec_corr"][7] = np.nan
    with pytest.raises(DensityError, match="ra_dec_corr of row 7 is missing"):
        gaia_rows(table)


def test_a_seed_that_is_none(truth):
    with pytest.raises(DensityError, match="rng: 'a', expected a seed"):
        simulate_gaia(5, rng="a", truth=truth)


def test_units_and_missing_columns():
    names = ("ra", "dec", "parallax", "pmra", "pmdec")
    table = Table({name: [value] for name, value in zip(names, (10.0, 60.0, 2.0, 3.0, 4.0), strict=True)})
    for name in names:
        table[f"{name}_error"] = [0.36]
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    for a, b in pairs:
        table[f"{a}_{b}_corr"] = np.float32([0.5 if (a, b) == ("parallax", "pmra") else 0.0])
    table["bp_rp"], table["phot_g_mean_mag"] = MaskedColumn([1.0], mask=[True]), [15.0]
    for band in ("g", "bp", "rp"):
        table[f"phot_{band}_mean_flux_over_error"] = [108.57]
    values, covariance = gaia_rows(table)
    assert np.isnan(values[0, 5])
    deviations = np.sqrt(np.diagonal(covariance[0]))
    # 0.36 mas are 1e-7 degrees, and twice as many of right ascension at a declination of 60 degrees
    assert deviations == pytest.approx([2e-7, 1e-7, 0.36, 0.36, 0.36, 0.01 * np.sqrt(2), 0.01], rel=1e-4)
    assert covariance[0, 2, 3] == pytest.approx(0.5 * 0.36**2)
    del table["pmra_pmdec_corr"]
    with pytest.raises(DensityError, match="no column pmra_pmdec_corr"):
        gaia_rows(table)


def test_real_rows(data_dir):
    table = fits.getdata(data_dir / "catalogs" / "gaia_gdr3_sm.fits")
    values, covariance = gaia_rows(table)
    assert values.shape == (1000, 7)
    assert np.isnan(values[:, 5]).sum() == np.isnan(table["bp_rp"]).sum() > 0
    assert np.linalg.eigvalsh(covariance[:, 2:5, 2:5]).min() > 0
