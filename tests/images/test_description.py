import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from celestepy.images import (
    GaussianNoise,
    GaussianPSF,
    ImageError,
    MixturePSF,
    MoffatPSF,
    PoissonNoise,
    ScaledPSF,
    StampPSF,
    read_images,
    read_toml,
)

SHAPE = (40, 60)
WHOLE = {
    "file": '"sci.fits"',
    "band": '"g"',
    "zero_point": '"25.0 ABmag"',
    "gain": "2.0",
    "sky": "300.0",
    "psf": '{ type = "gaussian", fwhm = 3.0 }',
}


@pytest.fixture
def folder(tmp_path):
    """Files of one exposure: counts, weight, flags and sky, beside a PSF stamp."""
    header = WCS(naxis=2)
    header.wcs.ctype, header.wcs.crval, header.wcs.crpix = ["RA---TAN", "DEC--TAN"], [30, 60], [30.5, 20.5]
    header.wcs.cd = np.diag([-1e-4, 1e-4])
    counts = np.random.default_rng(1).poisson(300.0, SHAPE).astype(">i4")
    flags = np.zeros(SHAPE, ">i2")
    flags[0, :4] = 0, 1, 4, 6
    weight = np.full(SHAPE, 0.01, ">f4")
    weight[5, 5] = 0.0
    hdus = [fits.PrimaryHDU()]
    for name, data in (("SCI", counts), ("WHT", weight), ("DQ", flags), ("SKY", np.full(SHAPE, 299.0))):
        hdus.append(fits.ImageHDU(data, header.to_header(), name=name))
    fits.HDUList(hdus).writeto(tmp_path / "sci.fits")
    y, x = np.mgrid[-10:11, -10:11]
    fits.writeto(tmp_path / "psf.fits", np.exp(-0.5 * (x**2 + y**2) / 4))
    return tmp_path


def write(folder, *tables, **changes):
    """A TOML file of one or more images; a value of None leaves a key out."""
    text = ""
    for table in tables or ({},):
        entries = {key: value for key, value in (WHOLE | table | changes).items() if value is not None}
        text += "[[image]]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    path = folder / "images.toml"
    path.write_text(text)
    return path


def test_a_plain_description(folder):
    (image,) = read_toml(write(folder))
    assert (image.band, image.name, image.shape) == ("g", "sci", SHAPE)
    assert isinstance(image.noise, PoissonNoise)
    np.testing.assert_allclose(image.noise.photons_per_nanomaggy, 20.0)
    np.testing.assert_allclose(image.sky, 30.0)
    assert image.psf.at(0, 0).fwhm == pytest.approx(3.0)
    np.testing.assert_allclose(image.sky_to_pixel(30.0, 60.0), (29.5, 19.5), atol=1e-8)
    assert read_images(folder / "images.toml")[0].name == "sci"


def test_files_are_relative_to_the_description(folder, monkeypatch):
    monkeypatch.chdir("/")
    assert len(read_toml(write(folder))) == 1


def test_several_images_and_bands(folder):
    path = write(folder, {}, {"band": '"r"', "name": '"second"'}, {})
    assert [image.band for image in read_toml(path)] == ["g", "r", "g"]
    assert [image.name for image in read_toml(path, bands="r")] == ["second"]
    with pytest.raises(ImageError, match=r"no image of the bands z, expected one at least; it has g, r"):
        read_toml(path, bands="z")


def test_weight_mask_and_sky_maps(folder):
    path = write(
        folder, gain=None, weight='{ file = "sci.fits", extension = "WHT" }', extension='"SCI"',
        mask='{ file = "sci.fits", extension = "DQ" }', sky='{ file = "sci.fits", extension = "SKY" }',
    )  # fmt: skip
    (image,) = read_toml(path)
    assert isinstance(image.noise, GaussianNoise)
    np.testing.assert_allclose(image.variance()[1, 1], 100 * 0.01, rtol=1e-6)
    np.testing.assert_allclose(image.sky, 29.9)
    np.testing.assert_array_equal(np.argwhere(image.mask), [[0, 1], [0, 2], [0, 3], [5, 5]])


@pytest.mark.parametrize(
    ("choice", "columns"),
    [("", [1, 2, 3]), (", bits = [0]", [1]), (", bits = [1, 2]", [2, 3]), (", values = [1, 6]", [1, 3])],
)
def test_mask_bits_and_values(folder, choice, columns):
    (image,) = read_toml(write(folder, mask=f'{{ file = "sci.fits", extension = "DQ"{choice} }}'))
    np.testing.assert_array_equal(np.flatnonzero(image.mask), columns)


@pytest.mark.parametrize(
    ("psf", "kind"),
    [
        ('{ type = "gaussian", sigma = 1.5 }', GaussianPSF),
        ('{ type = "moffat", fwhm = 3.0, beta = 2.5 }', MoffatPSF),
        ('{ type = "stamp", file = "psf.fits" }', StampPSF),
        (
            '{ type = "stamp", file = "psf.fits", extension = 0, oversampling = 2, center = [10.0, 10.5] }',
            StampPSF,
        ),
        (
            '{ type = "mixture", amplitudes = [1.0], means = [[0.0, 0.0]], covariances = [[2.0, 0.0, 2.0]] }',
            MixturePSF,
        ),
    ],
)
def test_psfs(folder, psf, kind):
    (image,) = read_toml(write(folder, psf=psf))
    assert type(image.psf) is kind


def test_given_quality_numbers(folder):
    (image,) = read_toml(write(folder, noise_scale="1.1", psf_error="0.02", aperture_correction="1.04"))
    assert (image.noise_scale, image.psf_error) == (1.1, 0.02)
    assert isinstance(image.psf, ScaledPSF)
    assert image.psf.at(0, 0).flux == pytest.approx(1 / 1.04)


def test_the_astrometric_offset_moves_positions_on_the_sky(folder):
    (plain,) = read_toml(write(folder))
    (moved,) = read_toml(write(folder, wcs_offset="[0.36, -0.72]"))
    x, y = moved.sky_to_pixel(30.0, 60.0)
    x0, y0 = plain.sky_to_pixel(30.0, 60.0)
    # a pixel is 0.36 arcsec, East is left: the sky moved East by that puts a position one pixel to the right
    np.testing.assert_allclose((x - x0, y - y0), (1.0, 2.0), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": None}, "no 'file'"),
        ({"band": None}, "no 'band'"),
        ({"psf": None}, "no 'psf'"),
        ({"zero_point": None}, "no 'zero_point'"),
        ({"gian": "2.0"}, "unknown key 'gian', expected one of aperture_correction, band"),
        ({"zero_point": "25.0"}, "zero_point: 25.0 has no unit"),
        ({"zero_point": '"nan ABmag"'}, "zero_point: nan ABmag"),
        ({"gain": "0.0"}, "gain: 0.0"),
        ({"gain": "-2"}, "gain: -2"),
        ({"gain": "nan"}, "gain: nan"),
        ({"gain": None}, "noise: nothing given"),
        ({"file": '"none.fits"'}, r"none\.fits: no such file"),
        ({"file": "3"}, "file: 3"),
        ({"extension": '"ERR"'}, r"sci\.fits: no data in extension 'ERR', expected one of: 0 PRIMARY, 1 SCI"),
        ({"extension": "0"}, "no data in extension 0"),
        ({"mask": '{ file = "psf.fits" }'}, r"mask: shape \(21, 21\)"),
        ({"mask": "3"}, "mask: 3"),
        ({"mask": '{ file = "sci.fits", bit = 3 }'}, "mask: unknown key 'bit'"),
        ({"weight": '{ extension = 1 }', "gain": None}, "weight: no 'file'"),
        ({"psf": "3.0"}, "psf: 3.0, expected a table with type one of psfex, stamp"),
        ({"psf": '{ type = "gaussian" }'}, "psf of type 'gaussian'"),
        ({"psf": '{ type = "gaussian", fwhm = "wide" }'}, "psf of type 'gaussian'"),
        ({"psf": '{ type = "stamp" }'}, "no 'file'"),
        ({"psf": '{ type = "psfex", file = "psf.fits" }'}, r"psf\.fits: not a PSFEx model"),
        ({"psf": '{ type = "moffat", fwhm = 3.0, alpha = 2 }'}, "unknown key 'alpha'"),
        ({"sky": "true"}, "sky: True"),
        ({"sky": '{ type = "spline", file = "psf.fits" }'}, "not a spline sky table"),
        ({"sky": '"guess"'}, "sky: 'guess'"),
        ({"noise_scale": '"guess"'}, "noise_scale: 'guess', expected a number or 'measure'"),
        ({"noise_scale": "0.5"}, "noise_scale: 0.5"),
        ({"aperture_correction": "0"}, "aperture_correction: 0.0"),
        ({"psf": '{ type = "gaussian", fwhm = "2" }'}, "fwhm = '2', expected a number without quotes"),
        ({"wcs_offset": "[1.0]"}, "wcs_offset"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_image(folder, changes, message):
    path = write(folder, {}, changes)
    with pytest.raises(ImageError, match=message) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}: image 2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "image = 3", "[image]\nband = 1", "[[image]\n", "[[picture]]\nband = 1", "\xff\xfe"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "images.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ImageError, match=r"images\.toml: (no \[\[image\]\] table|not a TOML file)") as caught:
        read_toml(path)
    assert "\n" not in str(caught.value)


def test_an_image_without_celestial_wcs_is_refused(folder):
    fits.writeto(folder / "plain.fits", np.ones(SHAPE))
    with pytest.raises(ImageError, match=r"image 1: wcs: .*expected two celestial axes"):
        read_toml(write(folder, file='"plain.fits"'))


def test_a_truncated_file_is_named(folder):
    whole = (folder / "sci.fits").read_bytes()
    (folder / "sci.fits").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(ImageError, match=r"image 1: .*sci\.fits: not a whole FITS file"):
        read_toml(write(folder))


def message_of(path):
    """What reading a description complains of; nothing where it can be read."""
    try:
        read_toml(path)
    except ImageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "value", ['"word"', "[1, 2]", '["a", "b"]', "true", "{ a = 1 }", "-1e400", "1979-05-27", "[[]]"]
)
@pytest.mark.parametrize(
    "key",
    [
        "file",
        "extension",
        "band",
        "name",
        "zero_point",
        "exposure_time",
        "gain",
        "read_noise",
        "weight",
        "variance",
        "sky",
    ]
    + [
        "sky_subtracted",
        "psf",
        "mask",
        "saturation",
        "wcs_offset",
        "noise_scale",
        "psf_error",
        "aperture_correction",
    ]
    + ["calibration_error"],
)
def test_values_of_any_other_type_are_named_or_read(folder, key, value):
    """Whatever stands there: an image, or one line."""
    changes = {key: value} | ({"gain": None} if key in ("weight", "variance") else {})
    assert "\n" not in message_of(write(folder, **changes))


@pytest.mark.parametrize(
    "choice", ["bits = 3", 'bits = ["a"]', "bits = [-1]", "bits = [99]", 'values = "a"', "values = [[1]]"]
)
def test_odd_lists_of_bits_are_named_or_read(folder, choice):
    path = write(folder, mask=f'{{ file = "sci.fits", extension = "DQ", {choice} }}')
    assert "\n" not in message_of(path)


@pytest.mark.parametrize(
    "psf",
    [
        "type = 3",
        'type = "gaussian", fwhm = [1]',
        'type = "moffat"',
        'type = "moffat", fwhm = "a"',
        'type = "psfex", file = 3',
        'type = "stamp", file = "psf.fits", oversampling = "a"',
        'type = "stamp", file = "psf.fits", center = 3',
        'type = "stamp", file = "psf.fits", center = ["a", "b"]',
        'type = "stamp", file = "sci.fits", extension = "SKY", center = [900, 3]',
        'type = "mixture"',
        'type = "mixture", amplitudes = 1, means = 2, covariances = "a"',
    ],
)
def test_odd_psfs_are_named(folder, psf):
    with pytest.raises(ImageError, match="psf") as caught:
        read_toml(write(folder, psf=f"{{ {psf} }}"))
    assert "\n" not in str(caught.value)
