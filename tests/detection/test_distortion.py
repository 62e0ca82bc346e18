"""Distorted astrometry, also where it cannot be inverted."""

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS, NoConvergence
from detection.gaussian_skies import DEC, FWHM, RA, Sky, separations

from celestepy.detection import Seeds, SeedWarning, detect
from celestepy.detection.positions import FAR, image_positions
from celestepy.images import FITSAstrometry, GaussianNoise, GaussianPSF, Image

SHAPE = (600, 600)
NOISE = 0.05


def distorted(angle, strength):
    """A TAN-SIP system turned by `angle`, with quadratic terms of `strength` per pixel."""
    scale, turn = 0.4 / 3600, np.radians(angle)
    header = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": RA, "CRVAL2": DEC}
    header |= {"CRPIX1": 300.5, "CRPIX2": 300.5, "NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    header |= {"CD1_1": -scale * np.cos(turn), "CD1_2": scale * np.sin(turn)}
    header |= {"CD2_1": scale * np.sin(turn), "CD2_2": scale * np.cos(turn)}
    header |= {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": strength, "B_0_2": -strength, "B_1_1": strength}
    return WCS(Header(header))


def observe(sky, rng, band, wcs):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    variance = (FWHM / 2.3548) ** 2
    pixels = rng.normal(0.0, NOISE, SHAPE)
    for x, y, flux in zip(*FITSAstrometry(wcs).sky_to_pixel(*sky.radec), sky.flux, strict=True):
        distance2 = (columns - x) ** 2 + (rows - y) ** 2
        pixels += flux / (2 * np.pi * variance) * np.exp(-0.5 * distance2 / variance)
    return Image(pixels, band=band, psf=GaussianPSF(fwhm=FWHM), wcs=wcs, noise=GaussianNoise(NOISE**2))


@pytest.mark.parametrize("strength", [2e-5, 6e-4])
def test_positions_follow_the_distortion(rng, strength):
    """Terms of 2 and of 54 pixels at the edge; the second have no inverse outside the turned image."""
    sky = Sky.lattice(rng, 60.0, 15.0, 6.0)
    systems = {"g": distorted(0.0, strength), "r": distorted(45.0, strength)}
    images = [observe(sky, rng, band, wcs) for band, wcs in systems.items()]
    distance = separations(detect(images), sky).min(axis=0)
    assert np.median(distance) < 0.05  # S/N 35: errors of 0.02 arcsec in each coordinate
    assert distance.max() < 0.3


def test_positions_without_an_answer_are_far_off(rng):
    image = observe(Sky.of(), rng, "g", distorted(0.0, 6e-4))
    ra, dec = np.array([RA, RA + 3.0]), np.array([DEC, DEC])
    with pytest.raises(NoConvergence):
        image.sky_to_pixel(ra, dec)
    x, y = image_positions(image, ra, dec)
    assert (x[0], y[0]) == pytest.approx((299.5, 299.5), abs=1e-3)
    assert abs(x[1]) == abs(y[1]) == FAR
    with pytest.warns(SeedWarning, match="dropped 1 outside"):
        assert len(Seeds.from_table({"ra": ra, "dec": dec}, image)) == 1
