"""Matching against astropy's, with the cases that go wrong."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from celestepy.catalog import CatalogError
from celestepy.catalog.crossmatch import crossmatch


def sky(n, seed, ra=359.95, dec=-60.0, size=0.1):
    rng = np.random.default_rng(seed)
    return {"ra": (ra + size * rng.random(n)) % 360, "dec": dec + size * rng.random(n)}


@pytest.mark.parametrize("dec", [-60.0, 0.0, 89.9])
def test_agrees_with_astropy(dec):
    left, right = sky(800, 0, dec=dec), sky(900, 1, dec=dec)
    match = crossmatch(left, right, 5.0)
    a, b = SkyCoord(**left, unit="deg"), SkyCoord(**right, unit="deg")
    index, separation, _ = a.match_to_catalog_sky(b)
    back, _, _ = b.match_to_catalog_sky(a)
    mutual = (back[index] == np.arange(800)) & (separation.arcsec <= 5.0)
    assert mutual.sum() > 20
    np.testing.assert_array_equal(match.left, np.flatnonzero(mutual))
    np.testing.assert_array_equal(match.right, index[mutual])
    np.testing.assert_allclose(match.separation, separation.arcsec[mutual], rtol=1e-6, atol=1e-9)


def test_each_row_is_used_once():
    match = crossmatch(sky(3000, 2), sky(3000, 3), 30.0)
    assert len(set(match.left)) == len(match.left) == len(set(match.right))


def test_the_nearest_of_two_wins():
    left = {"ra": [10.0, 10.0], "dec": [0.0, 0.3 / 3600]}
    match = crossmatch(left, {"ra": [10.0], "dec": [0.2 / 3600]}, 1.0)
    assert match.left.tolist() == [1]
    assert match.separation[0] == pytest.approx(0.1, rel=1e-6)


def test_identical_positions_match_once():
    match = crossmatch({"ra": [5.0, 5.0], "dec": [1.0, 1.0]}, {"ra": [5.0, 5.0], "dec": [1.0, 1.0]})
    assert 1 <= len(match.left) <= 2
    assert len(set(match.right)) == len(match.right)
    assert (match.separation == 0).all()


def test_units_and_containers(make_catalog):
    catalog = make_catalog(5).catalog
    ra, dec = catalog["ra"], catalog["dec"]
    others = [
        QTable({"ra": ra.to("rad"), "dec": dec.to("arcsec")}),
        SkyCoord(ra, dec).galactic,
        Table({"ra": ra.value, "dec": dec.value}),
    ]
    for other in others:
        assert crossmatch(catalog, other, 0.01 * units.arcsec).right.tolist() == list(range(5))


def test_positions_that_are_not_finite_match_nothing():
    left = {"ra": [np.nan, 1.0], "dec": [0.0, 1.0]}
    assert crossmatch(left, {"ra": [1.0, np.inf], "dec": [1.0, 0.0]}).left.tolist() == [1]
    masked = Table({"ra": np.ma.array([1.0, 1.0], mask=[True, False]), "dec": [1.0, 1.0]})
    assert crossmatch(masked, {"ra": [1.0], "dec": [1.0]}).left.tolist() == [1]


def test_empty_tables():
    empty = {"ra": np.empty(0), "dec": np.empty(0)}
    assert len(crossmatch(empty, sky(3, 0)).left) == 0
    assert len(crossmatch(sky(3, 0), empty).left) == 0


def test_wrong_arguments():
    with pytest.raises(CatalogError, match="radius is 0.0 arcsec"):
        crossmatch(sky(1, 0), sky(1, 0), 0)
    with pytest.raises(CatalogError, match="no columns 'ra' and 'dec'"):
        crossmatch(Table({"x": [1]}), sky(1, 0))
    with pytest.raises(units.UnitConversionError):
        crossmatch(sky(1, 0), sky(1, 0), 3 * units.mag)
