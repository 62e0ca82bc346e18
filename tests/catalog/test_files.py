"""Every format gives back what was written, whole or not at all."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

from celestepy.catalog import Catalog, CatalogError
from celestepy.catalog.files import check_output

META = {
    "method": "laplace",
    "seed": 7,
    "inputs": ["frame-r-000094-1-0012.fits.bz2", "été/ü.fits", "x" * 300],
    "settings": {
        "nested": {"deep": [1, 2.5, None, True, "a: b # c"], "tiny": 1e-300},
        "third": 1 / 3,
        "empty": {},
    },
    "note": "two\nlines, 'quotes' and \"more\"",
    "created": None,
}


@pytest.fixture(params=[".fits", ".ecsv", ".h5", ".parquet"])
def extension(request):
    needs = {".h5": "h5py", ".parquet": "pyarrow"}.get(request.param)
    if needs:
        pytest.importorskip(needs)
    return request.param


@pytest.fixture
def catalog(make_catalog):
    n = 12
    diagnostics = {
        "message": ["", "plain", 'with "quotes", commas', " spaces  within ", "größer", *[""] * (n - 5)],
        "flags": np.arange(n),
        "n_pixels": np.full(n, 2**40),
        "snr": np.geomspace(1e-300, 1e300, n),
    }
    made = make_catalog(n, diagnostics=diagnostics, meta=META)
    made.catalog.table["mag_r"][3] = np.nan
    return made.catalog


def assert_identical(one, other):
    assert other.meta == one.meta
    assert other.colnames == one.colnames
    for name in one.colnames:
        a, b = one[name], other[name]
        assert type(a) is type(b), name
        assert b.dtype == a.dtype, name
        assert getattr(b, "unit", None) == getattr(a, "unit", None), name
        assert b.info.description == a.info.description, name
        np.testing.assert_array_equal(np.asarray(b), np.asarray(a), err_msg=name)  # NaN equals NaN here


def test_round_trip(catalog, tmp_path, extension):
    catalog.write(tmp_path / f"c{extension}")
    assert_identical(catalog, Catalog.read(tmp_path / f"c{extension}"))


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(5, 9)])
def test_round_trip_of_few_rows_and_empty_text(catalog, tmp_path, extension, rows):
    catalog[rows].write(tmp_path / f"c{extension}")
    assert_identical(catalog[rows], Catalog.read(tmp_path / f"c{extension}"))


def test_round_trip_of_one_band_and_extra_columns(make_catalog, tmp_path, extension):
    catalog = make_catalog(4, bands="r").catalog
    catalog.table["redshift"] = np.array([0.1, np.nan, 0.3, 4.0])
    catalog.table["name"] = np.array(["a", "", "ccc", "d"])
    catalog = Catalog(catalog.table)
    catalog.write(tmp_path / f"c{extension}")
    assert_identical(catalog, Catalog.read(tmp_path / f"c{extension}"))


def test_the_posterior_survives(catalog, tmp_path, extension):
    catalog.write(tmp_path / f"c{extension}")
    ours, theirs = catalog.sample(5, 3), Catalog.read(tmp_path / f"c{extension}").sample(5, 3)
    for name in ours.colnames:
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(theirs[name]))


def test_same_content_gives_the_same_bytes(make_catalog, tmp_path, extension):
    for name in ("one", "two"):
        make_catalog(20, meta=META).catalog.write(tmp_path / f"{name}{extension}")
    assert (tmp_path / f"one{extension}").read_bytes() == (tmp_path / f"two{extension}").read_bytes()


@pytest.mark.parametrize("extension", [".fits", ".ecsv"])
def test_astropy_reads_units_without_warnings(catalog, tmp_path, extension):
    catalog.write(tmp_path / f"c{extension}")
    table = QTable.read(tmp_path / f"c{extension}")
    assert table["flux_r"].unit == catalog["flux_r"].unit
    np.testing.assert_array_equal(
        np.asarray(Table.read(tmp_path / f"c{extension}")["mag_g"]), catalog["mag_g"].value
    )


def test_fits_headers_say_what_it_is(catalog, tmp_path):
    catalog.write(tmp_path / "c.fits")
    header = fits.getheader(tmp_path / "c.fits")
    assert header["SEED"] == 7
    assert header["BANDS"] == "u,g,r,i,z"
    assert "DATE" not in header
    columns = fits.getheader(tmp_path / "c.fits", "CATALOG")
    assert columns.comments["TTYPE2"].startswith("[deg] right ascension")


def test_symbolic_link_is_followed(catalog, tmp_path):
    (tmp_path / "real.fits").write_text("old")
    (tmp_path / "link.fits").symlink_to(tmp_path / "real.fits")
    catalog.write(tmp_path / "link.fits", overwrite=True)
    assert (tmp_path / "link.fits").is_symlink()
    assert len(Catalog.read(tmp_path / "real.fits")) == len(catalog)


def test_existing_file_is_kept_unless_told(catalog, tmp_path, extension):
    path = tmp_path / f"c{extension}"
    path.write_text("old")
    with pytest.raises(CatalogError, match=r"exists already.*overwrite=True"):
        catalog.write(path)
    assert path.read_text() == "old"
    catalog.write(path, overwrite=True)
    assert len(Catalog.read(path)) == len(catalog)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.txt", r"unknown extension '.txt'; use one of .fits"),
        ("c", r"unknown extension ''"),
        ("missing/c.fits", r"directory does not exist; create"),
        ("file/c.fits", r"directory does not exist"),
        ("folder.fits", r"is a directory"),
    ],
)
def test_impossible_outputs(catalog, tmp_path, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(CatalogError, match=message):
        catalog.write(tmp_path / name)
    with pytest.raises(CatalogError, match=message):
        check_output(tmp_path / name)


def test_directory_without_permission(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the superuser may write anywhere
    with pytest.raises(CatalogError, match="no permission to write"):
        catalog.write(tmp_path / "c.fits")


def test_full_disk_leaves_the_old_file(catalog, tmp_path, extension):
    pytest.importorskip("resource", reason="only Unix can limit the size of files")
    catalog.write(tmp_path / f"old{extension}")
    before = (tmp_path / f"old{extension}").read_bytes()
    program = (
        "import resource, sys\n"
        "from celestepy.catalog import Catalog, CatalogError\n"
        "catalog = Catalog.read(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"  # further writes fail as on a full disk
        "try:\n    catalog.write(sys.argv[1], overwrite=True)\n"
        "except CatalogError as error:\n    print(error)\n"
    )
    path = str(tmp_path / f"old{extension}")
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout
    assert (tmp_path / f"old{extension}").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [f"old{extension}"]


def test_interruption_leaves_nothing_behind(catalog, tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        catalog.write(tmp_path / "c.fits")
    assert not list(tmp_path.iterdir())


def test_damaged_files(catalog, tmp_path, extension):
    path = tmp_path / f"c{extension}"
    catalog.write(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"nonsense"):
        path.write_bytes(damaged)
        with pytest.raises(CatalogError, match=rf"c\{extension}.*"):
            Catalog.read(path)


def test_other_tables_are_refused(tmp_path, extension):
    if extension in (".fits", ".ecsv"):
        QTable({"ra": [1.0]}).write(tmp_path / f"c{extension}")
        with pytest.raises(CatalogError, match=rf"c\{extension}"):
            Catalog.read(tmp_path / f"c{extension}")


def test_missing_file(tmp_path):
    with pytest.raises(CatalogError, match="no such file"):
        Catalog.read(tmp_path / "c.fits")


@pytest.mark.parametrize(
    ("extension", "module", "extra"), [(".h5", "h5py", "hdf5"), (".parquet", "pyarrow", "parquet")]
)
def test_missing_extra_is_named(catalog, tmp_path, monkeypatch, extension, module, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(ImportError, match=rf"needs {module}.*extra '{extra}'"):
        catalog.write(tmp_path / f"c{extension}")
    with pytest.raises(ImportError, match=extra):
        Catalog.read(tmp_path / f"c{extension}")


@pytest.mark.parametrize(("name", "other"), [("a.fit", "b.fits"), ("a.hdf5", "b.h5"), ("a.FITS", "b.fits")])
def test_extensions_with_two_spellings(catalog, tmp_path, name, other):
    if other.endswith("h5"):
        pytest.importorskip("h5py")
    catalog.write(tmp_path / name)
    catalog.write(tmp_path / other)
    assert (tmp_path / name).read_bytes() == (tmp_path / other).read_bytes()
    assert_identical(catalog, Catalog.read(tmp_path / name))
