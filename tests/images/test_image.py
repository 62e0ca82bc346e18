import copy
import pickle

import astropy.units as u
import numpy as np
import pytest

from celestepy.images import GaussianNoise, Image, ImageError, PoissonNoise

SHAPE = (30, 50)


@pytest.fixture
def pixels():
    return np.random.default_rng(1).poisson(1000.0, SHAPE) / 1000.0


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.astype(">f8"),
        lambda a: a.astype("<f8"),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        lambda a: _read_only(a),
        lambda a: np.ma.array(a),
        lambda a: a.tolist(),
        lambda a: a * u.nmgy,
        lambda a: (a * u.nmgy).to(u.Jy, u.zero_point_flux(1 * u.AB)),
    ],
    ids="big little fortran strided negative-strides read-only masked-array list nmgy Jy".split(),
)
def test_layouts_and_units_give_the_same_image(pixels, arguments, convert):
    image = Image(convert(pixels), **arguments)
    assert image.pixels.dtype == np.float64
    assert image.pixels.dtype.isnative
    assert image.pixels.flags.c_contiguous
    # converting to Jy and back rounds in the last digits
    np.testing.assert_allclose(image.pixels, pixels, rtol=1e-14)
    assert not image.mask.any()


@pytest.mark.parametrize("dtype", ["f4", ">f4", "i2", ">i2", "u1", "i8", "f2"])
def test_other_dtypes_keep_their_values(arguments, dtype):
    values = np.random.default_rng(1).integers(1, 100, SHAPE).astype(dtype)
    np.testing.assert_array_equal(Image(values, **arguments).pixels, values.astype(float))


def _read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def test_nan_infinity_masked_entries_and_flags_become_one_mask(pixels, arguments):
    values = np.ma.array(pixels)
    values[0, 0] = np.nan
    values[1, 1] = np.inf
    values[2, 2] = -np.inf
    values[3, 3] = np.ma.masked
    mask = np.zeros(SHAPE, int)
    mask[4, 4] = 7
    saturated = np.zeros(SHAPE, bool)
    saturated[5, 5] = True
    image = Image(values, **arguments, mask=mask, saturated=saturated)
    expected = np.zeros(SHAPE, bool)
    expected[range(6), range(6)] = True
    np.testing.assert_array_equal(image.mask, expected)
    assert (image.pixels[expected] == 0).all()
    np.testing.assert_array_equal(image.saturated, saturated)


def test_zero_weight_is_masked(pixels, arguments):
    variance = np.full(SHAPE, 0.1)
    variance[0, :5] = np.inf, np.nan, 0.0, -1.0, 0.2
    image = Image(pixels, **arguments | {"noise": GaussianNoise(variance)})
    np.testing.assert_array_equal(np.flatnonzero(image.mask), [0, 1, 2, 3])
    assert np.isinf(image.variance()[0, 0])


def test_the_callers_arrays_are_neither_changed_nor_kept(pixels, arguments):
    pixels[3, 4] = np.nan
    mask, sky = np.zeros(SHAPE, bool), np.ones(SHAPE)
    mask[5, 6] = True
    before = [copy.deepcopy(array) for array in (pixels, mask, sky)]
    image = Image(pixels, **arguments | {"sky": sky}, mask=mask)
    for array, old in zip((pixels, mask, sky), before, strict=True):
        np.testing.assert_array_equal(array, old)
        assert array.flags.writeable
    pixels[:], mask[:], sky[:] = 9, True, 9
    assert image.pixels.max() < 9
    assert image.mask.sum() == 2
    assert image.sky.max() == 1


def test_images_are_immutable(pixels, arguments):
    image = Image(pixels, **arguments)
    with pytest.raises(AttributeError, match="replace"):
        image.band = "g"
    for array in (image.pixels, image.mask, image.sky):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_replace_changes_only_what_is_named(pixels, arguments):
    image = Image(pixels, **arguments, noise_scale=1.2, psf_error=0.03, name="one")
    other = image.replace(band="g", noise_scale=1.5)
    assert (other.band, other.noise_scale, other.psf_error, other.name) == ("g", 1.5, 0.03, "one")
    np.testing.assert_array_equal(other.pixels, image.pixels)
    assert (image.band, image.noise_scale) == ("r", 1.2)
    with pytest.raises(TypeError, match="gain"):
        image.replace(gain=2.0)


def test_replacing_the_mask_adds_to_it(pixels, arguments):
    pixels[0, 0] = np.nan
    new = np.zeros(SHAPE, bool)
    new[1, 1] = True
    image = Image(pixels, **arguments)
    np.testing.assert_array_equal(np.flatnonzero(image.replace(mask=new).mask), [0, SHAPE[1] + 1])
    np.testing.assert_array_equal(np.flatnonzero(image.replace(mask=None).mask), [0])


def test_copies_and_pickles_are_equal(pixels, arguments):
    image = Image(pixels, **arguments)
    for other in (pickle.loads(pickle.dumps(image)), copy.copy(image), copy.deepcopy(image)):
        np.testing.assert_array_equal(other.pixels, image.pixels)
        assert other.local_affine((150.0, 2.0))[0] == image.local_affine((150.0, 2.0))[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros((3, 3))}, r"mask: shape \(3, 3\), expected the shape of the pixels \(30, 50\)"),
        ({"saturated": np.zeros((50, 30))}, "saturated: shape"),
        ({"sky": np.zeros((50, 30))}, "sky: shape"),
        ({"sky": np.nan}, "sky: nan"),
        ({"mask": np.ones(SHAPE)}, "all 1500 pixels are masked"),
        ({"band": ""}, "band: ''"),
        ({"band": 3}, "band: 3"),
        ({"psf": 2.5}, "psf: float"),
        ({"wcs": None}, "wcs: NoneType"),
        ({"noise": 0.1}, "noise: float"),
        ({"noise_scale": 0.5}, "noise_scale: 0.5, expected a finite number >= 1"),
        ({"noise_scale": np.nan}, "noise_scale: nan"),
        ({"psf_error": -0.1}, "psf_error: -0.1"),
        ({"sky": 0.0}, "smallest noise variance is 0 nmgy"),
        ({"noise": PoissonNoise(np.ones(49))}, "photons_per_nanomaggy: 49 values, expected 50"),
        ({"noise": GaussianNoise(np.ones((50, 30)))}, r"variance: shape \(50, 30\)"),
    ],
)
def test_bad_arguments_are_named_in_one_line(pixels, arguments, change, message):
    with pytest.raises(ImageError, match=message) as caught:
        Image(pixels, **arguments | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(5), r"shape \(5,\), expected a two-dimensional"),
        (np.zeros((2, 3, 4)), "two-dimensional"),
        (np.zeros((0, 4)), "two-dimensional"),
        (np.full(SHAPE, 1j), "dtype complex128"),
        (np.full(SHAPE, "a"), "dtype"),
        (np.full(SHAPE, np.nan), "all 1500 pixels are masked"),
        (np.ones(SHAPE) * u.electron, "unit electron"),
    ],
)
def test_bad_pixels_are_named_in_one_line(arguments, values, message):
    with pytest.raises(ImageError, match=message) as caught:
        Image(values, **arguments)
    assert "\n" not in str(caught.value)


def test_a_poisson_patch_has_the_mean_and_variance_of_the_noise(arguments):
    # the shifted Poisson of the kernel: variance = (data + shift) / photons must be that of the noise model
    photons = np.linspace(500, 1500, SHAPE[1])
    noise = PoissonNoise(photons, variance=30.0)
    image = Image(np.full(SHAPE, 1.2), **arguments | {"noise": noise, "sky": 1.1}, noise_scale=1.25)
    patch = image.patch(10, 20, 5, 12)
    assert patch.poisson
    assert (patch.x0, patch.y0, patch.shape) == (10, 5, (7, 10))
    np.testing.assert_allclose(patch.data - patch.background, 0.1, rtol=1e-12)
    np.testing.assert_allclose(patch.weight * 1.25**2, np.tile(photons[10:20], (7, 1)), rtol=1e-14)
    np.testing.assert_allclose(
        patch.background / (patch.weight * 1.25**2), image.variance()[5:12, 10:20], rtol=1e-14
    )


def test_a_gaussian_patch_has_inverse_variances(arguments):
    variance = np.random.default_rng(2).uniform(0.1, 0.2, SHAPE)
    image = Image(np.full(SHAPE, 1.2), **arguments | {"noise": GaussianNoise(variance)}, noise_scale=2.0)
    patch = image.patch(0, 5, 0, 5)
    assert not patch.poisson
    np.testing.assert_allclose(patch.weight, 0.25 / variance[:5, :5], rtol=1e-14)


@pytest.mark.parametrize(
    "noise", [PoissonNoise(1000.0, 25.0), GaussianNoise(0.1)], ids=["poisson", "gaussian"]
)
def test_masked_pixels_have_no_weight_and_no_residual(pixels, arguments, noise):
    pixels[2, 3] = np.nan
    sky = np.ones(SHAPE)
    sky[4, 4] = np.nan
    image = Image(pixels, **arguments | {"noise": noise, "sky": sky})
    patch = image.patch(0, 10, 0, 10)
    for place in ((2, 3), (4, 4)):
        assert patch.weight[place] == 0
        assert patch.data[place] == patch.background[place] > -1
    assert patch.n_pixels == 98
    for array in (patch.data, patch.weight, patch.background):
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


def test_patches_are_clipped_and_never_empty(pixels, arguments):
    image = Image(pixels, **arguments)
    patch = image.patch(-5, 3, 28, 99)
    assert (patch.x0, patch.y0, patch.shape) == (0, 28, (2, 3))
    for box in ((50, 60, 0, 5), (-9, 0, 0, 5), (5, 5, 0, 5), (0, 5, 30, 31)):
        with pytest.raises(ValueError, match="holds no pixel"):
            image.patch(*box)


def test_counts_below_zero_do_not_reach_the_poisson_kernel(arguments):
    values = np.full(SHAPE, 0.1)
    values[3, 3] = -0.5
    image = Image(values, **arguments | {"noise": PoissonNoise(100.0, 4.0), "sky": 0.1})
    assert image.patch(0, 9, 0, 9).data.min() == 0.0


def test_x_is_the_second_index(arguments):
    values = np.ones(SHAPE)
    values[7, 41] = 5.0
    patch = Image(values, **arguments).patch(40, 43, 6, 9)
    assert patch.data[7 - patch.y0, 41 - patch.x0] == 5.0


def test_a_sky_may_carry_a_unit_and_a_mask(pixels, arguments):
    plain = Image(pixels, **arguments | {"sky": 1.0})
    jansky = (1.0 * u.nmgy).to(u.Jy, u.zero_point_flux(1 * u.AB))
    np.testing.assert_allclose(Image(pixels, **arguments | {"sky": jansky}).sky, plain.sky, rtol=1e-12)
    sky = np.ma.array(np.ones(SHAPE))
    sky[3, 4] = np.ma.masked
    np.testing.assert_array_equal(np.argwhere(Image(pixels, **arguments | {"sky": sky}).mask), [[3, 4]])
    with pytest.raises(ImageError, match="sky: unit electron"):
        Image(pixels, **arguments | {"sky": 3 * u.electron})
