"""The real SDSS field against the deep coadd of the same sky, beside SDSS Photo on the same exposure."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from celestepy.detection import SeedFlag, detect
from celestepy.images import read_sdss_field

PIXEL = 0.396  # arcsec

pytestmark = pytest.mark.validation


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "sdss_94_1_12"


@pytest.fixture(scope="module")
def images(folder):
    return read_sdss_field(folder)


@pytest.fixture(scope="module")
def seeds(images):
    return detect(images, threshold=5.0)


@pytest.fixture(scope="module")
def truth(folder):
    """Sources of the coadd, those within the frame, and those to be found (unsaturated, 16 < r < 22.5)."""
    table = Table.read(folder / "coadd_truth_west.fits")
    dev_share = np.clip(table["fracdev_r"], 0, 1)
    galaxy = dev_share * 10 ** (-0.4 * table["devmag_r"]) + (1 - dev_share) * 10 ** (-0.4 * table["expmag_r"])
    magnitude = np.where(table["probpsf"] > 0.5, table["psfmag_r"], -2.5 * np.log10(galaxy))
    x, y = table["x"], table["y"]
    table["inside"] = (x > 10) & (x < 2038) & (y > 10) & (y < 1479)
    table["wanted"] = table["inside"] & (table["is_saturated"] == 0) & (magnitude > 16) & (magnitude < 22.5)
    return table


def sky(table, rows=slice(None)):
    return SkyCoord(np.asarray(table["ra"])[rows], np.asarray(table["dec"])[rows], unit="deg")


def magnitude(seeds):
    return 22.5 - 2.5 * np.log10(np.maximum(seeds.flux[:, seeds.bands.index("r")], 1e-3))


@pytest.mark.parametrize(("threshold", "completeness", "purity"), [(5.0, 0.89, 0.85), (6.5, 0.86, 0.87)])
def test_more_complete_than_photo_and_as_pure(seeds, truth, threshold, completeness, purity):
    """Photo finds 0.79 within a pixel, and 0.852 of what it calls brighter than r = 22.5 is in the coadd."""
    seeds = seeds[seeds.snr > threshold]
    index, distance, _ = sky(truth).match_to_catalog_sky(seeds.coord)
    back, _, _ = seeds.coord.match_to_catalog_sky(sky(truth))
    found = (distance.arcsec < PIXEL) & (back[index] == np.arange(len(truth)))
    inside = sky(truth, np.asarray(truth["inside"]))
    box = (seeds.ra > inside.ra.deg.min()) & (seeds.ra < inside.ra.deg.max())
    box &= (seeds.dec > inside.dec.deg.min()) & (seeds.dec < inside.dec.deg.max())
    bright = box & (magnitude(seeds) < 22.5)
    pure = seeds.coord.match_to_catalog_sky(sky(truth))[1].arcsec < 2 * PIXEL
    assert found[truth["wanted"]].mean() >= completeness
    assert pure[bright].mean() >= purity


def test_saturated_star_makes_no_swarm(images, seeds):
    """The brightest star of the field: one seed in its core, none on its four spikes within 80 pixels."""
    r = next(image for image in images if image.band == "r")
    x, y = r.sky_to_pixel(seeds.ra, seeds.dec)
    distance = np.hypot(x - 1817.5, y - 1269.0)
    nearest = np.argmin(distance)
    assert distance[nearest] < 4
    assert seeds.has(SeedFlag.SATURATED)[nearest]
    angle = np.degrees(np.arctan2(y - 1269.0, x - 1817.5)) % 90
    on_spikes = (distance > 4) & (distance < 80) & (np.abs(angle - 45) < 6)
    assert not on_spikes.any()


def test_magnitudes_of_stars(seeds, truth):
    """Point-source fluxes of isolated stars need no aperture correction beyond 4%."""
    stars = np.asarray(truth["wanted"] & (truth["probpsf"] > 0.5) & (truth["psfmag_r"] < 20.5))
    index, distance, _ = sky(truth, stars).match_to_catalog_sky(seeds.coord)
    close = distance.arcsec < PIXEL
    difference = magnitude(seeds)[index[close]] - np.asarray(truth["psfmag_r"])[stars][close]
    assert abs(np.median(difference)) < 0.04


def test_backends_agree(images, seeds):
    """The plain maxima of photutils are what sep's deblending finds, and a few bumps more."""
    pytest.importorskip("photutils")
    other = detect(images, threshold=5.0, backend="photutils")
    distance = seeds.coord.match_to_catalog_sky(other.coord)[1].arcsec
    assert (distance < 0.5 * PIXEL).mean() > 0.97
    assert len(other) < 1.1 * len(seeds)
