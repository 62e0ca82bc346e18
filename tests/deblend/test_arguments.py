"""What `deblend_field` and `deblend_patch` refuse before any work, and the forms in which they take it."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from celestepy.deblend import AdaProx, DeblendError, Observation, StopRule, deblend_field, deblend_patch
from celestepy.simulate import simulate_field

QUICK = AdaProx(solve_fluxes=True, stop=StopRule(max_iterations=5))


@pytest.fixture(scope="module")
def sky():
    return simulate_field(4, "gr", (90, 90), min_snr=20, rng=4)


@pytest.fixture(scope="module")
def observation():
    y, x = np.mgrid[-9:10, -9:10]
    images = np.random.default_rng(1).normal(size=(2, 19, 19)) + 30 * np.exp(-(x**2 + y**2) / 9)
    return Observation.from_arrays(images, variance=1.0, psfs=np.exp(-(x**2 + y**2) / 4), bands="gr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": 30.0}, "position, size: 30.0, None; expected"),
        ({"position": (30.0, 10.0, 1.0)}, "expected .ra, dec. in degrees and arcsec"),
        ({"position": (30.0 * u.nmgy, 10.0)}, "or in units of angles"),
        ({"position": (30.0, 10.0), "size": "wide"}, "position, size: .30.0, 10.0., wide"),
        ({"threshold": "high"}, "threshold: 'high', expected a signal to noise"),
        ({"largest_blend": 0}, "largest_blend: 0, expected a whole number"),
        ({"largest_blend": 2.5}, "largest_blend: 2.5, expected a whole number"),
        ({"method": AdaProx}, "expected a name, or settings such as AdaProx"),
        ({"method": "score", "prior": 3}, "prior: 3, expected the name or the file"),
    ],
)
def test_refusals(sky, options, message):
    with pytest.raises(DeblendError, match=message):
        deblend_field(sky.images, None if "threshold" in options else sky.truth, **({"method": QUICK} | options))


@pytest.mark.parametrize("catalog", ["truth.fits", 5])
def test_catalogues_that_are_no_tables(sky, catalog):
    with pytest.raises(DeblendError, match="catalog: (str|int) .*expected a table with ra and dec; read a file"):
        deblend_field(sky.images, catalog, method=QUICK)


def test_places_with_units(sky):
    """The same square in degrees and arcsec, in angles, and as a coordinate."""
    ra, dec = sky.truth["ra"][2], sky.truth["dec"][2]
    squares = [((ra.value, dec.value), 4.0), ((ra.to(u.rad), dec.to(u.arcmin)), 4 / 60 * u.arcmin),
               (SkyCoord(ra, dec), 4 * u.arcsec)]
    rows = [deblend_field(sky.images, sky.truth, method=QUICK, position=position, size=size).table["row"].tolist()
            for position, size in squares]
    assert 2 in rows[0]
    assert rows[0] == rows[1] == rows[2]


def test_a_data_frame(sky):
    pytest.importorskip("pandas")
    frame = Table({"ra": sky.truth["ra"].value[:2], "dec": sky.truth["dec"].value[:2]}).to_pandas()
    assert deblend_field(sky.images, frame, method=QUICK).table["row"].tolist() == [0, 1]


@pytest.fixture(scope="module")
def shapes(sky):
    """A catalogue with all that celestepy's say of a source."""
    table = QTable({name: sky.truth[name] for name in ("ra", "dec", "axis_ratio", "dev_fraction")})
    table["half_light_radius"], table["position_angle"] = 1.3 * u.arcsec, 40 * u.deg
    table["star_probability"] = 0.1
    return table


def test_units_of_catalogues(sky, shapes):
    """A catalogue in other units starts the same fit, to the rounding of the conversion."""
    other = shapes.copy()
    for name, unit in {"ra": u.rad, "dec": u.arcmin, "half_light_radius": u.arcmin, "position_angle": u.rad}.items():
        other[name] = shapes[name].to(unit)
    first, second = (deblend_field(sky.images, table, method=QUICK).table for table in (shapes, other))
    np.testing.assert_allclose(second["flux_r"].value, first["flux_r"].value, rtol=1e-6)
    assert second["blend"].tolist() == first["blend"].tolist()


@pytest.mark.parametrize(("name", "values"), [("half_light_radius", ["x"] * 4), ("half_light_radius", np.ones(4) * u.s),
                                              ("star_probability", ["yes"] * 4)])
def test_columns_that_are_no_shapes(sky, shapes, name, values):
    table = shapes.copy()
    table[name] = values
    with pytest.raises(DeblendError, match=f"catalog: column {name} of .*expected numbers"):
        deblend_field(sky.images, table, method=QUICK)


def test_masked_shapes_are_not_known(sky, shapes):
    table = Table(shapes, masked=True)
    table["half_light_radius"].mask[1] = True
    known = shapes.copy()
    known["half_light_radius"][1] = np.nan
    first, second = (deblend_field(sky.images, one, method=QUICK).table for one in (table, known))
    np.testing.assert_array_equal(first["flux_r"].value, second["flux_r"].value)


@pytest.mark.parametrize(
    ("peaks", "message"),
    [
        ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "peaks: shape .2, 3., expected"),
        ([1.0, 2.0, 3.0], "peaks: shape .3,., expected"),
        ([], "one source at least"),
        ([["a", "b"]], "expected numbers .sources, 2.: y, x in pixels"),
    ],
)
def test_peaks_that_are_no_pairs(observation, peaks, message):
    with pytest.raises(DeblendError, match=message):
        deblend_patch(observation, peaks, method=QUICK)


def test_arrays_that_are_no_observation(observation):
    with pytest.raises(DeblendError, match=r"observation: ndarray, expected one Observation; .*from_arrays"):
        deblend_patch(observation.images, [[9, 9]], method=QUICK)
