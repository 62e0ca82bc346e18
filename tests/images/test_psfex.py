import numpy as np
import pytest
from astropy.io import fits

from celestepy.images import ImageError, PSFExPSF, read_psfex

SIDE = 25


def basis(sampling=1.0):
    """Planes of degree 2 in the order 1, x, x^2, y, xy, y^2: width and tilt change over the image."""
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE // 2) * sampling
    core = np.exp(-0.5 * (x**2 + y**2) / 1.5**2)
    wide = np.exp(-0.5 * (x**2 + y**2) / 3.0**2)
    planes = [core, 0.3 * wide, 0.02 * core, 0.05 * x * wide, 0.0 * core, 0.01 * y * wide]
    return np.array(planes)


HEADER = {
    "POLNAXIS": 2, "POLNGRP": 1, "POLNAME1": "X_IMAGE", "POLZERO1": 501.0, "POLSCAL1": 1000.0,
    "POLNAME2": "Y_IMAGE", "POLZERO2": 301.0, "POLSCAL2": 600.0, "POLDEG1": 2, "PSF_SAMP": 0.7,
}  # fmt: skip


def write_psf(path, **changes):
    """A .psf file as PSFEx writes it: numbers in the header."""
    planes = basis(HEADER["PSF_SAMP"])
    column = fits.Column(
        "PSF_MASK", f"{planes.size}E", dim=f"({SIDE},{SIDE},6)", array=planes[None].astype("f4")
    )
    hdu = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    for key, value in (HEADER | changes).items():
        if value is not None:
            hdu.header[key] = value
    hdu.writeto(path)
    return path


def write_table(path):
    """The same model as Legacy Surveys stores it: numbers in columns with names in lower case."""
    planes = basis(HEADER["PSF_SAMP"])[None].astype("f4")
    columns = [fits.Column("psf_mask", f"{planes.size}E", dim=f"({SIDE},{SIDE},6)", array=planes)]
    for key, value in HEADER.items():
        kind = "7A" if isinstance(value, str) else "D" if isinstance(value, float) else "K"
        columns.append(fits.Column(key.lower(), kind, array=[value]))
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


@pytest.mark.parametrize("write", [write_psf, write_table])
def test_both_formats_are_read(tmp_path, write):
    psf = read_psfex(write(tmp_path / "model.psf"))
    assert psf.sampling == 0.7
    np.testing.assert_array_equal(psf.zero, [501, 301])
    np.testing.assert_allclose(psf.basis, basis(0.7), rtol=1e-6)


def test_positions_are_one_based_and_scaled():
    """At x = 700, y = 450 (0-based): x' = (701 - 501) / 1000 = 0.2 and y' = (451 - 301) / 600 = 0.25."""
    psf = PSFExPSF(basis(), 2, (501, 301), (1000, 600))
    stamp, center, oversampling = psf.pixel_model(700, 450)
    one, x, xx, y, xy, yy = basis()
    expected = one + 0.2 * x + 0.04 * xx + 0.25 * y + 0.05 * xy + 0.0625 * yy
    np.testing.assert_allclose(stamp, expected / expected.sum(), rtol=1e-12)
    assert center == (12, 12)
    assert oversampling == 1


@pytest.mark.parametrize("sampling", [0.5, 0.7, 1.0, 1.25])
def test_the_sampling_does_not_change_the_width(sampling):
    psf = PSFExPSF(basis(sampling)[:1], 0, sampling=sampling)
    # the residual of fitting three Gaussians to one; cubic interpolation, and the edge of the stamp
    assert psf.at(0, 0).fwhm == pytest.approx(2.3548 * 1.5, rel=2e-3)
    assert psf.stamp(0, 0).sum() == pytest.approx(1.0, rel=0.01)


def test_far_beyond_the_stars_the_polynomial_is_held():
    psf = PSFExPSF(basis(), 2, (501, 301), (1000, 600))
    np.testing.assert_array_equal(psf.pixel_model(1e5, 300)[0], psf.pixel_model(1500, 300)[0])


def test_a_constant_model(tmp_path):
    psf = read_psfex(write_psf(tmp_path / "a.psf", POLNAXIS=0))
    np.testing.assert_array_equal(psf.at(0, 0).array, psf.at(1000, 900).array)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"POLDEG1": 3}, "expected 10 planes for degree 3"),
        ({"POLNAXIS": 1}, "varies with 1 quantities"),
        ({"POLNAME2": "SEEING"}, "X_IMAGE and Y_IMAGE"),
        ({"PSF_SAMP": 0.0}, "PSF_SAMP 0.0"),
        ({"POLSCAL1": 0.0}, "POLSCAL"),
        ({"PSF_SAMP": None}, "not a PSFEx model"),
    ],
)
def test_broken_models_are_named(tmp_path, changes, message):
    path = write_psf(tmp_path / "broken.psf", **changes)
    with pytest.raises(ImageError, match=message) as caught:
        read_psfex(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "image.fits"
    fits.writeto(path, np.ones((5, 5)))
    with pytest.raises(ImageError, match="not a PSFEx model"):
        read_psfex(path)
