"""The SDSS reader, on a small field of known contents."""

import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits
from images import sdss_files as files

from celestepy.images import (
    SDSSPSF,
    CalibrationWarning,
    GaussianPSF,
    ImageError,
    read_images,
    read_sdss_field,
    read_sdss_frame,
)

NAMES = [
    "frame-r-000094-1-0012.fits",
    "psField-000094-1-0012.fit",
    "photoField-000094-1.fits",
    "fpM-000094-r1-0012.fit",
]


@pytest.fixture
def field(tmp_path):
    frames = files.write_field(tmp_path, np.random.default_rng(1))
    return tmp_path, frames


def read(folder, bands="ugriz", **arguments):
    return read_sdss_field(folder, bands, calibrate=False, **arguments)


def test_pixels_are_the_frame_with_its_sky(field):
    folder, frames = field
    for image in read(folder):
        grid = np.arange(files.SHAPE[1] / 8)
        columns = np.clip((np.arange(files.SHAPE[1]) + 0.5) / 8 - 0.5, 0, grid[-1])
        sky = (files.SKY_DN + columns) * files.calibration()
        np.testing.assert_allclose(image.sky, np.tile(sky, (files.SHAPE[0], 1)), rtol=1e-6)
        expected = np.where(image.mask, 0.0, frames[image.band] + sky)
        np.testing.assert_allclose(image.pixels, expected, rtol=1e-6)


def test_photons_by_column_and_dark_variance_in_electrons(field):
    folder, _ = field
    for band, image in zip("ugriz", read(folder), strict=True):
        k = "ugriz".index(band)
        assert image.band == band
        np.testing.assert_allclose(
            image.noise.photons_per_nanomaggy, files.GAIN[k] / files.calibration(), rtol=1e-6
        )
        assert image.noise.variance == pytest.approx(files.DARK_VARIANCE[k] * files.GAIN[k] ** 2, rel=1e-6)


def test_mask_planes(field):
    folder, _ = field
    (image,) = read(folder, "r")
    expected = np.zeros(files.SHAPE, bool)
    expected[10, 20:25] = expected[30, 40:43] = expected[31, 40:42] = expected[60, 5] = True
    np.testing.assert_array_equal(image.mask, expected)
    saturated = np.zeros(files.SHAPE, bool)
    saturated[30, 40:43] = saturated[31, 40:42] = True
    np.testing.assert_array_equal(image.saturated, saturated)


def test_the_psf_is_the_polynomial_of_eigenimages(field):
    """Row and column powers are told apart: the width grows with the row and not with the column."""
    folder, _ = field
    (image,) = read(folder, "g")
    core, wider = files.eigenimages()
    expected = core + 0.09 * wider
    np.testing.assert_allclose(
        image.psf.stamp(10, 90), expected[10:41, 10:41] / expected.sum(), atol=1e-6 * expected.max()
    )
    np.testing.assert_array_equal(image.psf.stamp(10, 90), image.psf.stamp(120, 90))
    assert image.psf.at(10, 90).residual < 0.02
    assert image.psf.at(10, 90).flux == pytest.approx(1.0)


def test_an_off_centre_psf_is_referred_to_its_centroid():
    images = np.roll(files.eigenimages()[:1], 1, axis=2)
    coefficients = np.zeros((1, 5, 5))
    coefficients[0, 0, 0] = 1.0
    shifted = SDSSPSF(images, coefficients)
    # the light within 10 pixels of the middle defines the centroid, and loses a little on one side here
    np.testing.assert_allclose(shifted.at(0, 0).centroid, 0.0, atol=0.01)
    centred = SDSSPSF(files.eigenimages()[:1], coefficients)
    x, y = np.random.default_rng(1).uniform(-4, 4, (2, 50))
    np.testing.assert_allclose(shifted.at(0, 0).density(x, y), centred.at(0, 0).density(x, y), atol=1e-3)


def test_astrometry_is_that_of_astrans(field):
    folder, _ = field
    (image,) = read(folder, "i")
    x, y = image.sky_to_pixel(*image.pixel_to_sky(np.array([3.0, 120.0]), np.array([90.0, 7.0])))
    np.testing.assert_allclose([x, y], [[3, 120], [90, 7]], atol=1e-6)
    ra, dec = image.pixel_to_sky(0.0, 0.0)
    a = files.ASTRANS
    # a great circle inclined by 0.0095 degrees: mu and nu are ra and dec to 0.01 degrees
    np.testing.assert_allclose((ra, dec), (a["A"], a["D"]), atol=0.01)


@pytest.mark.parametrize(("suffix", "compress"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_compressed_files_give_the_same(field, suffix, compress):
    folder, _ = field
    plain = read(folder, "gr")
    for path in list(folder.iterdir()):
        path.with_name(path.name + suffix).write_bytes(compress(path.read_bytes()))
        path.unlink()
    for image, other in zip(plain, read(folder, "gr", n_threads=1), strict=True):
        np.testing.assert_array_equal(image.pixels, other.pixels)
        np.testing.assert_array_equal(image.psf.at(50, 50).array, other.psf.at(50, 50).array)


def test_bands_in_the_order_wanted(field):
    folder, _ = field
    assert [image.band for image in read(folder, "ri")] == ["r", "i"]
    assert [image.band for image in read(folder, ["z", "g"])] == ["z", "g"]
    for bands in ("", "rx", "rr", ["gr"], [1]):
        with pytest.raises(ImageError, match="expected different letters out of 'ugriz'"):
            read(folder, bands)


def test_read_images_takes_a_directory(field):
    folder, _ = field
    with pytest.warns(CalibrationWarning):  # no star in these frames
        assert [image.band for image in read_images(folder, "r")] == ["r"]


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_named_with_a_remedy(field, name):
    folder, _ = field
    (folder / name).unlink()
    with pytest.raises(
        ImageError, match=rf"{name}: no such file, nor with \.bz2 or \.gz; fetch it"
    ) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    if "-r" in name:  # the other bands can still be read
        assert len(read(folder, "ugiz")) == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_truncated_files_are_named(field, name, share):
    folder, _ = field
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match=name) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_other_fits_files_are_named(field, name):
    folder, _ = field
    fits.writeto(folder / name, np.ones((5, 5)), overwrite=True)
    with pytest.raises(ImageError, match=name) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_masks_of_another_shape_are_named(field):
    folder, _ = field
    path = folder / "fpM-000094-r1-0012.fit"
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["MASKROWS"] = 50
    with pytest.raises(
        ImageError, match=r"fpM-000094-r1-0012\.fit: mask of \(50, 128\) pixels, expected \(96, 128\)"
    ):
        read(folder)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_bad_gains_are_named(field, value):
    folder, _ = field
    with fits.open(folder / "photoField-000094-1.fits", mode="update") as hdus:
        hdus[1].data["GAIN"][1, 2] = value
    with pytest.raises(ImageError, match="frame-r-000094-1-0012.*gain"):
        read(folder)


def test_a_field_that_photofield_does_not_have(field):
    folder, _ = field
    with fits.open(folder / "photoField-000094-1.fits", mode="update") as hdus:
        hdus[1].data["FIELD"] = 99
    with pytest.raises(ImageError, match="no row with FIELD == 12"):
        read(folder)


def test_several_fields_in_one_folder(field):
    folder, _ = field
    (folder / "frame-r-000094-1-0013.fits").write_bytes((folder / "frame-r-000094-1-0012.fits").read_bytes())
    with pytest.raises(ImageError, match=r"frames of 2 fields, .* choose one with field="):
        read(folder)
    assert len(read(folder, field=(94, 1, 12))) == 5


def test_a_frame_alone(field):
    folder, frames = field
    image = read_sdss_frame(
        folder / "frame-z-000094-1-0012.fits", psf=GaussianPSF(fwhm=3.5), gain=4.7, dark_variance=0.8
    )
    assert image.band == "z"
    assert not image.mask.any()
    assert image.saturated is None
    np.testing.assert_allclose(image.pixels - image.sky, frames["z"], atol=1e-6)


def test_no_directory(tmp_path):
    with pytest.raises(ImageError, match="no such directory"):
        read(tmp_path / "nothing")
