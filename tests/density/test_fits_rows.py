"""FITS tables read in pieces."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from celestepy.density import DensityError, ExtremeDeconvolution, FitsRows

NAMES = ("ra", "pmra", "mag")


@pytest.fixture
def table():
    rng = np.random.default_rng(50)
    n = 1000
    columns = {name: rng.normal(size=n) for name in NAMES}
    columns["pmra"][::7] = np.nan
    columns |= {f"{name}_error": rng.uniform(0.1, 0.3, n).astype(">f4") for name in NAMES[:2]}
    columns["pmra_error"][::7] = np.nan
    columns["ra_pmra_corr"] = rng.uniform(-0.5, 0.5, n)
    columns["ra_pmra_corr"][::7] = np.nan
    columns["weight"] = rng.uniform(0, 2, n)
    columns["name"] = ["star"] * n
    return Table(columns)


@pytest.fixture
def path(table, tmp_path):
    table.write(tmp_path / "stars.fits")
    return tmp_path / "stars.fits"


def covariance_of(table):
    covariance = np.zeros((len(table), 3, 3))
    a, b = (np.nan_to_num(np.array(table[f"{name}_error"], float)) for name in NAMES[:2])
    covariance[:, 0, 0], covariance[:, 1, 1] = a**2, b**2
    covariance[:, 0, 1] = covariance[:, 1, 0] = np.nan_to_num(table["ra_pmra_corr"]) * a * b
    return covariance


def full(path, **settings):
    return FitsRows(
        path, NAMES, errors=["ra_error", "pmra_error", None], correlations={("ra", "pmra"): "ra_pmra_corr"}, **settings
    )


def test_rows_are_those_of_the_table(table, path):
    rows = full(path, weights="weight")
    assert rows.n_rows == len(rows) == 1000
    found = rows.read([slice(10, 20), slice(500, 503)])
    chosen = np.r_[10:20, 500:503]
    expected = np.stack([table[name] for name in NAMES], axis=1)[chosen]
    np.testing.assert_array_equal(found.observed, ~np.isnan(expected))
    np.testing.assert_array_equal(found.values, np.nan_to_num(expected))
    np.testing.assert_allclose(found.noise, covariance_of(table)[chosen], atol=1e-15)
    np.testing.assert_array_equal(found.weights, table["weight"][chosen])


def test_variances_alone(table, path):
    found = FitsRows(path, NAMES[:2], errors=["ra_error", "pmra_error"]).read([slice(0, 50)])
    assert found.noise.shape == (50, 2)
    np.testing.assert_allclose(found.noise[:, 0], np.array(table["ra_error"][:50], float) ** 2)


def test_a_piece_with_as_many_rows_as_columns(table, path):
    found = FitsRows(path, NAMES[:2], errors=["ra_error", "pmra_error"]).read([slice(1, 3)])
    np.testing.assert_allclose(found.noise[:, 0], np.array(table["ra_error"][1:3], float) ** 2)


@pytest.mark.parametrize("error", [-9999.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("correlations", [None, {("ra", "pmra"): "ra_pmra_corr"}])
def test_a_value_of_no_valid_error_is_missing(table, tmp_path, error, correlations):
    table["ra_error"][4] = error
    table.write(tmp_path / "flagged.fits")
    rows = FitsRows(tmp_path / "flagged.fits", NAMES[:2], errors=["ra_error", "pmra_error"], correlations=correlations)
    assert not rows.read([slice(0, 9)]).observed[4, 0]
    assert rows.read([slice(0, 9)]).observed[3, 0]


def test_a_column_of_matrices(table, tmp_path):
    table["matrix"] = covariance_of(table)
    table.write(tmp_path / "matrix.fits")
    found = FitsRows(tmp_path / "matrix.fits", NAMES, covariance="matrix").read([slice(0, 9)])
    np.testing.assert_allclose(found.noise, table["matrix"][:9])


def test_the_null_value_of_integers_is_missing(tmp_path):
    column = fits.Column("count", "J", array=np.array([1, -99, 3, 7]), null=-99)
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "null.fits")
    found = FitsRows(tmp_path / "null.fits", ["count"]).read([slice(0, 4)])
    np.testing.assert_array_equal(found.observed[:, 0], [True, False, True, True])


def test_the_fit_is_that_of_the_arrays(table, path):
    """In order, chunk by chunk: batch EM from the same start adds the same numbers in another order."""
    X = np.stack([table[name] for name in NAMES], axis=1)
    start = (np.array([0.4, 0.6]), np.array([[-0.5] * 3, [0.5] * 3]), np.stack([np.eye(3)] * 2))
    settings = {"method": "em", "max_iter": 10, "init": start}
    arrays = ExtremeDeconvolution(2, **settings).fit(X, covariance_of(table))
    pieces = ExtremeDeconvolution(2, **settings).fit(full(path, chunk_size=300))
    # scales, which the regularisation refers to, are of all rows here, and the sample is the same
    np.testing.assert_allclose(pieces.means_, arrays.means_, atol=1e-10)
    np.testing.assert_allclose(pieces.covariances_, arrays.covariances_, atol=1e-10)
    assert pieces.score(full(path)) == pytest.approx(arrays.score(X, covariance_of(table)), abs=1e-10)


def test_minibatches_from_disk(path):
    fitted = ExtremeDeconvolution(2, max_iter=6, rng=4).fit(full(path, chunk_size=300))
    again = ExtremeDeconvolution(2, max_iter=6, rng=4).fit(full(path, chunk_size=300))
    assert np.isfinite(fitted.trace_[-1].score)
    np.testing.assert_array_equal(fitted.means_, again.means_)


class TestRefusals:
    def test_no_file(self, tmp_path):
        with pytest.raises(DensityError, match=r"none\.fits: cannot be read \(no such file\)"):
            FitsRows(tmp_path / "none.fits", ["ra"])

    def test_no_table(self, tmp_path):
        fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
        with pytest.raises(DensityError, match="no extension 1"):
            FitsRows(tmp_path / "image.fits", ["ra"])
        with pytest.raises(DensityError, match="no binary table"):
            FitsRows(tmp_path / "image.fits", ["ra"], hdu=0)

    def test_not_fits(self, tmp_path):
        (tmp_path / "text.fits").write_text("ra dec\n1 2\n")
        with pytest.raises(DensityError, match=r"text\.fits: cannot be read"):
            FitsRows(tmp_path / "text.fits", ["ra"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"columns": ["dec"]}, "no column 'dec'; it has ra"),
            ({"columns": []}, "columns is empty"),
            ({"errors": ["ra_error"]}, "errors has 1 names; expected 3"),
            ({"errors": [None] * 3, "covariance": "weight"}, "both given"),
            ({"errors": [None] * 3, "correlations": {("ra", "dec"): "weight"}}, "correlations has the key"),
            ({"correlations": {("ra", "mag"): "weight"}}, "correlations has the key"),
            ({"weights": "w"}, "no column 'w'"),
            ({"columns": "weights"}, "no column 'weights'"),
            ({"chunk_size": 0}, "chunk_size = 0"),
            ({"chunk_size": "a"}, "chunk_size = 'a'"),
        ],
    )
    def test_arguments(self, path, arguments, message):
        with pytest.raises(DensityError, match=message):
            FitsRows(path, **({"columns": NAMES} | arguments))

    def test_a_file_that_is_cut_short(self, path):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DensityError, match=r"stars\.fits: its table cannot be read .*is the file whole"):
            FitsRows(path, NAMES)

    def test_text(self, path):
        with pytest.raises(DensityError, match="'name' is not numeric"):
            FitsRows(path, ["name"]).read([slice(0, 2)])

    def test_bad_values_name_file_and_rows(self, table, tmp_path):
        table["ra"][600] = np.inf
        table.write(tmp_path / "inf.fits")
        with pytest.raises(DensityError, match=r"inf\.fits: in the rows from 512"):
            FitsRows(tmp_path / "inf.fits", NAMES).read([slice(512, 768)])
