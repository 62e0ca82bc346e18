import astropy.units as u
import numpy as np
import pytest

from celestepy.images import GaussianNoise, ImageError, PoissonNoise, from_counts, nanomaggies_per_count

SHAPE = (40, 60)


@pytest.fixture
def keywords(arguments):
    return {key: arguments[key] for key in ("band", "psf", "wcs")} | {"zero_point": 25.0 * u.ABmag}


@pytest.mark.parametrize(
    ("zero_point", "expected"),
    [
        (22.5 * u.ABmag, 1.0),
        ("22.5 ABmag", 1.0),
        ("22.5 mag(AB)", 1.0),
        ("22.5ABmag", 1.0),
        (25.0 * u.ABmag, 0.1),
        (u.Magnitude(20.0, u.mag(u.AB)), 10.0),
        ("0.02 nmgy", 0.02),
        (3.6307805 * u.uJy, 1.0),
        ("3630.7805 nJy", 1.0),
    ],
)
def test_zero_points_with_units(zero_point, expected):
    # the flux of AB magnitude 0 is given to 8 digits
    assert nanomaggies_per_count(zero_point) == pytest.approx(expected, rel=1e-7)


def test_zero_points_of_count_rates():
    assert nanomaggies_per_count("25.0 ABmag", exposure_time=50.0) == pytest.approx(0.002)


@pytest.mark.parametrize(
    "zero_point",
    [None, 25.0, "25.0", "", "bright", 25.0 * u.mag, 25.0 * u.dimensionless_unscaled, "25 s", "25 parrots"]
    + ["nan ABmag", np.nan * u.ABmag, np.inf * u.ABmag, -1 * u.nmgy, 0 * u.nmgy, "inf nmgy"],
)
def test_bad_zero_points_are_named_in_one_line(zero_point):
    with pytest.raises(ImageError, match="zero_point: ") as caught:
        nanomaggies_per_count(zero_point)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0.0, -5.0, np.nan])
def test_bad_exposure_times_are_named(seconds):
    with pytest.raises(ImageError, match="exposure_time"):
        nanomaggies_per_count("25 ABmag", seconds)


def test_gain_gives_poisson_noise_in_electrons(keywords):
    """A gain of 2 e/count and 0.1 nmgy/count make 20 photons per nanomaggy."""
    image = from_counts(np.full(SHAPE, 300.0), gain=2.0, read_noise=5.0, sky=290.0, **keywords)
    assert isinstance(image.noise, PoissonNoise)
    np.testing.assert_allclose(image.noise.photons_per_nanomaggy, 20.0)
    np.testing.assert_allclose(image.pixels, 30.0)
    np.testing.assert_allclose(image.sky, 29.0)
    electrons = 290.0 * 2.0 + 25.0
    np.testing.assert_allclose(image.variance(), electrons / 20.0**2)


@pytest.mark.parametrize("as_weight", [True, False])
def test_weights_and_variances_are_in_counts(keywords, as_weight):
    variance = np.random.default_rng(1).uniform(4, 9, SHAPE)
    given = {"weight": 1 / variance} if as_weight else {"variance": variance}
    image = from_counts(np.full(SHAPE, 300.0), **given, **keywords)
    assert isinstance(image.noise, GaussianNoise)
    np.testing.assert_allclose(image.variance(), variance * 0.01)


def test_zero_weights_are_masked(keywords):
    weight = np.ones(SHAPE)
    weight[2, :3] = 0.0, -1.0, np.nan
    image = from_counts(np.zeros(SHAPE), weight=weight, **keywords)
    np.testing.assert_array_equal(np.argwhere(image.mask), [[2, 0], [2, 1], [2, 2]])


def test_saturation_is_masked_and_kept(keywords):
    counts = np.full(SHAPE, 300, dtype=np.uint16)
    counts[5, 6] = 65535
    image = from_counts(counts, gain=1.0, sky=300.0, saturation=60000, **keywords)
    np.testing.assert_array_equal(np.argwhere(image.saturated), [[5, 6]])
    assert image.mask[5, 6]


def test_a_subtracted_sky_is_put_back(keywords):
    plain = from_counts(np.full(SHAPE, 300.0), gain=2.0, sky=290.0, **keywords)
    back = from_counts(np.full(SHAPE, 10.0), gain=2.0, sky=290.0, sky_subtracted=True, **keywords)
    np.testing.assert_allclose(back.pixels, plain.pixels)
    np.testing.assert_allclose(back.sky, plain.sky)


def test_the_sky_is_measured_where_asked(keywords):
    counts = np.random.default_rng(2).poisson(400.0, SHAPE)
    image = from_counts(counts, gain=1.0, sky="measure", **keywords)
    # noise of 20 counts and 2400 pixels
    np.testing.assert_allclose(image.sky / 0.1, 400.0, atol=2.0)
    with pytest.raises(ImageError, match="with the sky in the pixels"):
        from_counts(counts, gain=1.0, sky="measure", sky_subtracted=True, **keywords)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "noise: nothing given, expected exactly one of gain"),
        ({"gain": 1.0, "weight": 1.0}, "noise: gain, weight given"),
        ({"gain": 0.0}, "gain: 0.0"),
        ({"gain": -1.0}, "gain: -1.0"),
        ({"gain": np.nan}, "gain: nan"),
        ({"gain": "high"}, "gain: 'high', expected a number"),
        ({"gain": 1.0, "read_noise": -1}, "read_noise: -1"),
        ({"gain": 1.0, "sky": "guess"}, "sky: 'guess'"),
        ({"weight": 0.0}, "no entry is finite and > 0"),
        ({"weight": np.ones((3, 3))}, r"variance: shape \(3, 3\)"),
        ({"gain": 1.0, "mask": np.zeros((3, 3))}, r"mask: shape \(3, 3\)"),
    ],
)
def test_bad_arguments_are_named_in_one_line(keywords, change, message):
    with pytest.raises(ImageError, match=message) as caught:
        from_counts(np.full(SHAPE, 300.0), **{"sky": 10.0} | change, **keywords)
    assert "\n" not in str(caught.value)


def test_the_callers_counts_are_not_changed(keywords):
    counts = np.ma.array(np.full(SHAPE, 300.0))
    counts[1, 1] = np.nan
    from_counts(counts, gain=1.0, sky=290.0, **keywords)
    assert not np.ma.getmaskarray(counts).any()
