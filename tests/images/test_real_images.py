"""The readers on real survey data, against what the surveys' own pipelines say of the same stars."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from celestepy.images import isolated_stars, read_sdss_field, read_toml
from celestepy.images.star_fit import fit_star

pytestmark = pytest.mark.validation
EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    """A script of the examples folder as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sdss(data_dir):
    return {image.band: image for image in read_sdss_field(data_dir / "sdss_94_1_12")}


@pytest.fixture(scope="module")
def photo(data_dir):
    """Photo's unblended stars of the field."""
    table = fits.getdata(data_dir / "sdss_94_1_12" / "photoObj-000094-1-0012.fits", 1)
    return table[(table["OBJC_TYPE"] == 6) & (table["NCHILD"] == 0)]


def fitted_stars(image, photo, index):
    """Fits of Photo's bright isolated stars in one band, and the rows they belong to."""
    x, y = (
        photo["COLC"][:, index] - 0.5,
        photo["ROWC"][:, index] - 0.5,
    )  # its pixel centres are at half integers
    fits_and_rows = []
    for star in isolated_stars(image):
        distance = np.hypot(x - star.fit.x, y - star.fit.y)
        row = int(np.argmin(distance))
        if distance[row] < 1 and photo["PSFFLUX"][row, index] > 0:
            fit = fit_star(image, star.fit.x, star.fit.y, image.psf.at(star.fit.x, star.fit.y))
            fits_and_rows.append((fit, row))
    return fits_and_rows


@pytest.mark.parametrize("band", "ugriz")
def test_fluxes_of_stars_are_photos(sdss, photo, band):
    """Photo's own aperture corrections are good to 1.4% in these bands, as psField says."""
    index = "ugriz".index(band)
    ratios = [fit.flux / photo["PSFFLUX"][row, index] for fit, row in fitted_stars(sdss[band], photo, index)]
    assert len(ratios) > 5
    assert np.median(ratios) == pytest.approx(1.0, abs=0.014)


@pytest.mark.parametrize("band", "ugriz")
def test_positions_of_stars_are_photos(sdss, photo, band):
    index = "ugriz".index(band)
    offsets = [
        (fit.x + 0.5 - photo["COLC"][row, index], fit.y + 0.5 - photo["ROWC"][row, index])
        for fit, row in fitted_stars(sdss[band], photo, index)
    ]
    # centroids of asymmetric PSFs depend on how they are taken; half a pixel would be an error of convention
    np.testing.assert_allclose(np.median(offsets, axis=0), 0.0, atol=0.08)


def test_bands_agree_on_the_sky(sdss, photo):
    places = {}
    for band in "griz":
        for fit, row in fitted_stars(sdss[band], photo, "ugriz".index(band)):
            places.setdefault(row, {})[band] = sdss[band].pixel_to_sky(fit.x, fit.y)
    common = np.array([[place[band] for band in "griz"] for place in places.values() if len(place) == 4])
    assert len(common) > 15
    pixels = (common - common[:, 1:2]) * 3600 / 0.396  # relative to r; the field is on the equator
    # the bands' astrometry is good to 35 milli-arcsec, 0.09 pixel
    assert np.abs(np.median(pixels, axis=0)).max() < 0.09


def test_measured_quality_of_the_sdss_field(sdss):
    for band, image in sdss.items():
        assert 1.0 <= image.noise_scale < 1.15
        assert 0.01 < image.psf_error < 0.04
        assert 1.01 < 1 / image.psf.flux < 1.06
        residuals = [image.psf.at(x, y).residual for x in (100, 1000, 1900) for y in (100, 700, 1400)]
        assert max(residuals) < (0.07 if band == "u" else 0.04)  # the u eigenimages are noisy


def test_the_noise_model_of_the_sdss_field(sdss):
    """Pixels away from sources scatter as the noise says, on either side of the two amplifiers."""
    for image in sdss.values():
        chi = np.where(image.mask, np.nan, (image.pixels - image.sky) / np.sqrt(image.variance()))
        for half in (chi[:, :1024], chi[:, 1024:]):
            values = half[np.isfinite(half)]
            for _ in range(5):
                values = values[np.abs(values - values.mean()) < 3 * values.std()]
            # a Gaussian clipped at three sigma has 0.987 of its width; faint sources that stay widen it
            assert values.std() / 0.987 == pytest.approx(1.01, abs=0.03)


@pytest.fixture(scope="module")
def decam(data_dir, tmp_path_factory):
    description = tmp_path_factory.mktemp("decam") / "decam.toml"
    example("decam_tc3").describe(data_dir / "decam_tc3", description)
    return read_toml(description)


def test_decam_exposures_agree_with_each_other(decam, data_dir):
    """All eight exposures see one field: the same flux in a band, whatever sky, zero point and seeing."""
    survey = fits.getdata(data_dir / "decam_tc3" / "survey-ccds-1.fits.gz", 1)
    assert len(decam) == 8
    for band in "grz":
        totals = np.array([(image.pixels - image.sky).sum() for image in decam if image.band == band])
        # 2000 pixels of the sky's error, 1e-3 nmgy each, and 2% of calibration
        np.testing.assert_allclose(totals, totals.mean(), rtol=0.02)
    for image, row in zip(decam, survey, strict=True):
        assert image.psf.at(20, 25).fwhm == pytest.approx(row["fwhm"], rel=0.1)  # of the whole CCD
        assert image.psf.at(20, 25).residual < 0.03
        assert np.sqrt(np.median(image.variance())) == pytest.approx(row["sig1"], rel=0.1)


def test_decam_positions_agree_with_each_other(decam):
    """The light's centroid on the sky; blended wings and noise leave a tenth of an arcsec."""
    centroids = []
    for image in decam:
        light = np.clip(image.pixels - image.sky, 0, None) ** 2
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        centroids.append(image.pixel_to_sky((light * x).sum() / light.sum(), (light * y).sum() / light.sum()))
    for band in "grz":
        same = np.array([c for c, image in zip(centroids, decam, strict=True) if image.band == band]) * 3600
        assert np.ptp(same, axis=0).max() < 0.3


def test_stripe82_stamps(data_dir):
    images = example("stripe82_stamps").read_stamps(data_dir / "stripe82_stamps", bands="gr")
    assert len(images) == 28
    for image in images:
        assert image.shape == (51, 51)
        x, y = image.sky_to_pixel(5.00732921867273, 0.073940885179479)
        np.testing.assert_allclose((x, y), (25, 25), atol=1e-6)
        assert image.psf.at(25, 25).flux == pytest.approx(1.0)
        assert 1.8 < image.psf.at(25, 25).fwhm < 6
