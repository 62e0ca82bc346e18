"""The general doors: CCDData, and any description by path."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS

from celestepy.images import GaussianNoise, GaussianPSF, ImageError, PoissonNoise, from_ccddata, read_images

SHAPE = (20, 30)
PSF = GaussianPSF(fwhm=3.0)


def tan():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [30, 60], [15, 10]
    wcs.wcs.cd = np.diag([-1e-4, 1e-4])
    return wcs


def ccd(unit="adu", uncertainty=None, **changes):
    mask = np.zeros(SHAPE, bool)
    mask[2, 3] = True
    return CCDData(
        np.full(SHAPE, 310.0),
        **{"unit": unit, "uncertainty": uncertainty, "mask": mask, "wcs": tan()} | changes,
    )


@pytest.mark.parametrize(
    "uncertainty",
    [
        StdDevUncertainty(np.full(SHAPE, 4.0)),
        VarianceUncertainty(np.full(SHAPE, 16.0)),
        InverseVariance(np.full(SHAPE, 1 / 16)),
    ],
    ids=["std", "var", "ivar"],
)
def test_uncertainties_give_variances(uncertainty):
    image = from_ccddata(
        ccd(uncertainty=uncertainty), band="r", psf=PSF, zero_point=25.0 * u.ABmag, sky=300.0
    )
    assert isinstance(image.noise, GaussianNoise)
    np.testing.assert_allclose(image.variance(), 0.16)
    np.testing.assert_array_equal(np.argwhere(image.mask), [[2, 3]])
    np.testing.assert_allclose(image.pixels[0, 0], 31.0)
    np.testing.assert_allclose(image.sky, 30.0)


def test_zero_inverse_variances_are_masked():
    weight = np.full(SHAPE, 0.1)
    weight[0, 0] = 0.0
    image = from_ccddata(ccd(uncertainty=InverseVariance(weight)), band="r", psf=PSF, zero_point="25 ABmag")
    assert image.mask[0, 0]


@pytest.mark.parametrize("unit", ["nmgy", "Jy", "uJy"])
def test_fluxes_need_no_zero_point(unit):
    fluxes = ccd(unit=unit, uncertainty=StdDevUncertainty(np.full(SHAPE, 4.0)))
    image = from_ccddata(fluxes, band="r", psf=PSF)
    expected = (310.0 * u.Unit(unit)).to_value(u.nmgy, u.zero_point_flux(1 * u.AB))
    np.testing.assert_allclose(image.pixels[0, 0], expected)
    with pytest.raises(ImageError, match="expected none"):
        from_ccddata(fluxes, band="r", psf=PSF, zero_point="25 ABmag")


def test_a_gain_gives_poisson_noise():
    image = from_ccddata(ccd(), band="r", psf=PSF, zero_point="22.5 ABmag", gain=2.0, sky=300.0, name="ccd 3")
    assert isinstance(image.noise, PoissonNoise)
    assert image.name == "ccd 3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "uncertainty: NoneType"),
        ({"uncertainty": UnknownUncertainty(np.ones(SHAPE))}, "uncertainty: UnknownUncertainty"),
        ({"uncertainty": StdDevUncertainty(np.ones(SHAPE)), "wcs": None}, "wcs: the CCDData has none"),
    ],
)
def test_what_is_missing_is_named(change, message):
    with pytest.raises(ImageError, match=message):
        from_ccddata(ccd(**change), band="r", psf=PSF, zero_point="25 ABmag")


def test_counts_without_zero_point_are_refused():
    with pytest.raises(ImageError, match="zero_point: missing"):
        from_ccddata(ccd(uncertainty=StdDevUncertainty(np.ones(SHAPE))), band="r", psf=PSF)


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file or directory"):
        read_images(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        ImageError, match=r"notes\.txt: expected an SDSS field directory or a \.toml description"
    ):
        read_images(tmp_path / "notes.txt")
    with pytest.raises(ImageError, match="no frame-BAND-RUN-CAMCOL-FIELD.fits file"):
        read_images(tmp_path)
