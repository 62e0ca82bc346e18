"""Seeds of every kind as arrays: positions, errors, first fluxes, and seeds given twice."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table

from celestepy.detection import Seeds
from celestepy.inference.seed_table import read_seeds
from celestepy.model.parameters import Bands

POSITIONS = {"ra": [30.0, 30.01, 30.02], "dec": [10.0, 10.01, 9.99]}


@pytest.mark.parametrize("make", [
    dict, Table, QTable, lambda columns: Seeds(QTable(columns), "r"),
    lambda columns: Table({name: np.asarray(value, ">f4") for name, value in columns.items()}),
    lambda columns: QTable({name: value * u.deg.to("arcmin") * u.arcmin for name, value in
                            ((name, np.array(value)) for name, value in columns.items())}),
])
def test_any_table_is_read(make):
    seeds = read_seeds(make(POSITIONS))
    # Single precision of 30 degrees is 1e-6.
    np.testing.assert_allclose(seeds.ra, POSITIONS["ra"], atol=2e-6)
    np.testing.assert_allclose(seeds.dec, POSITIONS["dec"], atol=2e-6)
    assert seeds.ra.dtype == np.dtype(float)
    np.testing.assert_array_equal(seeds.ids, [0, 1, 2])
    assert not seeds.found.any()
    assert len(seeds) == 3


@pytest.mark.parametrize(("change", "text"), [
    (lambda table: table.remove_column("dec"), r"column\(s\) dec are missing"),
    (lambda table: table["ra"].__setitem__(1, np.nan), "a position is not finite, that of row 1 "),
    (lambda table: table["dec"].__setitem__(2, np.inf), "a position is not finite, that of row 2 "),
    (lambda table: table.replace_column("ra", MaskedColumn([1.0, 2.0, 3.0], mask=[True, False, False])), "row 0 "),
])
def test_positions_have_to_be_there(change, text):
    table = Table(POSITIONS)
    change(table)
    with pytest.raises(ValueError, match=text):
        read_seeds(table)


@pytest.mark.parametrize("seeds", [None, [(30.0, 10.0)], np.ones((3, 2)), 5])
def test_seeds_have_to_be_a_table(seeds):
    with pytest.raises(TypeError, match=f"seeds: {type(seeds).__name__}, expected Seeds"):
        read_seeds(seeds)


def test_no_seeds():
    seeds = read_seeds(Table({"ra": np.zeros(0), "dec": np.zeros(0)}))
    assert len(seeds) == 0
    assert seeds.tangent_plane().shape == (0, 2)
    assert seeds.first_of_each().shape == seeds.brightness.shape == (0,)


def test_position_errors_have_a_floor():
    """No detection is better than its systematic errors, and an error of zero or NaN is none."""
    seeds = read_seeds(POSITIONS | {"position_err": [0.01, 0.4, np.nan]})
    floor, given, usual = seeds.position_sd
    assert 0.01 < floor < given == 0.4
    assert usual == read_seeds(POSITIONS).position_sd[0]
    in_degrees = read_seeds(QTable(POSITIONS | {"position_err": ([1, 2, 3] * u.arcsec).to(u.deg)}))
    np.testing.assert_allclose(in_degrees.position_sd, [1, 2, 3])


def test_first_fluxes():
    """Those that are known and positive; what others call a flux may be none."""
    fluxes = {"flux_g": [1.0, np.nan, -2.0], "flux_r": [3.0, 4.0, 5.0], "flux_r_err": [9.0] * 3}
    seeds = read_seeds(POSITIONS | fluxes)
    assert set(seeds.fluxes) == {"g", "r"}
    bands = Bands("gri")
    np.testing.assert_array_equal(seeds.flux_of(0, bands), [1.0, 3.0, 0.0])
    np.testing.assert_array_equal(seeds.flux_of(1, bands), [0.0, 4.0, 0.0])
    np.testing.assert_array_equal(seeds.flux_of(2, bands), [0.0, 5.0, 0.0])
    np.testing.assert_array_equal(seeds.brightness, [3.0, 4.0, 5.0])
    others = {"flux_r": [1, 2, 3] * u.count, "flux_g": [1e-9, 1, 1] * u.mgy, "flux_type": ["a"] * 3}
    others = read_seeds(QTable(POSITIONS | others))
    assert list(others.fluxes) == ["g"]
    assert others.fluxes["g"][0] == pytest.approx(1.0)


def test_seeds_given_twice():
    """Within a fifth of an arcsecond; of a chain, every second one stays."""
    step = 0.15 / 3600
    seeds = read_seeds({"ra": [30.0, 30.0, 31.0, 30.0, 31.0], "dec": [10.0, 10 + step, 10.0, 10 + 2 * step, 10.0]})
    np.testing.assert_array_equal(seeds.first_of_each(), [True, False, True, True, False])


def test_offsets_across_zero_and_at_high_declination():
    """Differences on the sky in arcsec, cos(dec) included."""
    seeds = read_seeds({"ra": [359.9999, 0.0001], "dec": [60.0, 60.0]})
    assert np.linalg.norm(np.diff(seeds.tangent_plane(), axis=0)) == pytest.approx(0.0002 * 3600 / 2, rel=1e-6)
    np.testing.assert_array_equal(seeds.first_of_each(), [True, True])


def test_more_seeds():
    """Sources that the fit finds come behind, with numbers that follow on."""
    seeds = read_seeds(POSITIONS | {"flux_r": [3.0, 4.0, 5.0]}).rows(np.array([True, False, True]))
    np.testing.assert_array_equal(seeds.ids, [0, 2])
    more = seeds.with_more(np.array([30.5]), np.array([10.5]), {"g": np.array([7.0])})
    np.testing.assert_array_equal(more.ids, [0, 2, 3])
    np.testing.assert_array_equal(more.found, [False, False, True])
    np.testing.assert_array_equal(more.flux_of(2, Bands("gr")), [7.0, 0.0])
    np.testing.assert_array_equal(more.flux_of(1, Bands("gr")), [0.0, 5.0])
    assert len(seeds) == 2
