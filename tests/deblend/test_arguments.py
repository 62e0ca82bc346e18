"""What `deblend_field` and `deblend_patch` refuse before any work, and the forms in which they take it."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

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
