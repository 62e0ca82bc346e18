"""The compiled likelihood against the NumPy one: values, derivatives, edges, every variant that runs here."""

import functools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from reference.scenes import PSF, galaxy_shape, make_scene

from celestepy.model import pixel_rate
from celestepy.model.pixel_rate import available_kernels

# variance 0.1 is the smallest the PSF fits give
NARROW_PSF = np.array([[1.0, 0.1, -0.2, 0.1, 0.0, 0.1]])
# so thin and tilted that across a strip the recurrence would start below the smallest double
NEEDLE_PSF = np.array([[1.0, 0.0, 0.0, 0.53, 0.52, 0.53]])
ROTATED = np.array([[1.6, -1.9], [1.9, 1.6]])

SCENES = {
    "star": {"kinds": "s"},
    "galaxy": {"kinds": "g"},
    "star and galaxy": {"kinds": "sg"},
    "gaussian noise": {"kinds": "gs", "poisson": False},
    "five sources": {"kinds": "sgsgs", "seed": 3},
    "one pixel": {"kinds": "sg", "shapes": ((1, 1),)},
    "one column": {"kinds": "gs", "shapes": ((21, 1), (1, 21))},
    "odd widths": {"kinds": "gs", "shapes": ((9, 7), (8, 8), (3, 17), (11, 33))},
    "taller than a tile": {"kinds": "sg", "shapes": ((131, 10),), "offset": (0.0, 1.7)},
    "outside": {"kinds": "sg", "offset": (-14.0, 9.5)},
    "far outside": {"kinds": "sg", "offset": (400.0, -4000.0)},
    "narrow psf": {"kinds": "sg", "psf": NARROW_PSF, "shape": galaxy_shape(0.2)},
    "needle psf": {"kinds": "sg", "psf": NEEDLE_PSF, "shape": galaxy_shape(0.05)},
    "very narrow psf": {"kinds": "s", "psf": NARROW_PSF * [1, 1, 1, 0.05, 1, 0.05]},
    "huge galaxy": {"kinds": "g", "shape": galaxy_shape(30.0), "flux": 5000.0},
    "tiny galaxy": {"kinds": "g", "shape": galaxy_shape(1e-3)},
    "point galaxy": {"kinds": "g", "shape": np.zeros(3)},
    "edge-on galaxy": {"kinds": "g", "shape": galaxy_shape(2.5, 0.05, 2.2)},
    "exponential": {"kinds": "g", "dev_fraction": 0.0},
    "de Vaucouleurs": {"kinds": "g", "dev_fraction": 1.0},
    "rotated": {"kinds": "sg", "jacobian": ROTATED},
    "flipped": {"kinds": "sg", "jacobian": ROTATED * [[-1], [1]]},
    "bright": {"kinds": "sg", "flux": 2e5},
}


@pytest.fixture(params=available_kernels())
def kernel(request):
    """Every variant that runs on this machine."""
    return request.param


@functools.cache
def scene_named(name):
    return make_scene(**SCENES[name])


@functools.cache
def reference_profiles(name):
    scene = scene_named(name)
    return scene.reference().profiles(scene.is_galaxy, scene.scene)


def widths(scene, hessian):
    """How far each parameter can move until the likelihood changes by about one or it makes no sense."""
    return np.minimum(1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-12)), scene.steps)


# The directions depend on the Hessian only through its scale, so one variant serves for all of them.
@functools.cache
def reference_differences(name):
    """First and second central differences of the NumPy likelihood along three directions, fourth order."""
    scene = scene_named(name)
    reference = scene.reference()
    hessian = scene.likelihood("generic").evaluate(scene.is_galaxy, scene.scene, scene.sky)[2]
    rng = np.random.default_rng(7)
    step, results = 0.1, []
    for _ in range(3):
        direction = rng.normal(size=scene.vector.size) * widths(scene, hessian) / np.sqrt(scene.vector.size)
        f = [reference.value(*scene.split(scene.vector + i * step * direction)) for i in range(-2, 3)]
        first = (8 * (f[3] - f[1]) - (f[4] - f[0])) / (12 * step)
        second = (16 * (f[3] + f[1]) - (f[4] + f[0]) - 30 * f[2]) / (12 * step**2)
        results.append((direction, first, second))
    return results


@pytest.mark.parametrize("name", SCENES)
def test_profiles_equal_the_reference(name, kernel):
    scene = scene_named(name)
    for ours, theirs in zip(
        scene.likelihood(kernel).profiles(scene.is_galaxy, scene.scene), reference_profiles(name), strict=True
    ):
        # 1e-10 of the profile's peak; where that lies far outside the patch, of a thousandth of a point
        # source's
        scale = np.maximum(theirs.max(axis=(1, 2), keepdims=True), 1e-3)
        np.testing.assert_array_less(np.abs(ours - theirs) / scale, 1e-10)


@pytest.mark.parametrize("name", SCENES)
def test_value_equals_the_reference(name, kernel):
    scene = scene_named(name)
    value = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky, order=0)[0]
    expected = scene.reference().value(scene.is_galaxy, scene.scene, scene.sky)
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", SCENES)
def test_derivatives_equal_differences_of_the_reference(name, kernel):
    scene = scene_named(name)
    _, gradient, hessian = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky)
    for direction, first, second in reference_differences(name):
        # relative to slope and curvature without the cancellation between parameters; the bright scene's 1e8
        # counts have rounding errors of 1e-9, which the squared step makes 1e-7
        slope, curvature = (
            np.abs(gradient * direction).sum(),
            np.abs(direction) @ np.abs(hessian) @ np.abs(direction),
        )
        assert abs(gradient @ direction - first) < 1e-6 * max(slope, 1)
        assert abs(direction @ hessian @ direction - second) < 1e-6 * max(curvature, 1)


@pytest.mark.parametrize("name", SCENES)
def test_hessian_equals_differences_of_the_gradient(name, kernel):
    scene = scene_named(name)
    likelihood = scene.likelihood(kernel)
    hessian = likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky)[2]
    unit = widths(scene, hessian)
    step = 0.03 * unit
    for i in np.flatnonzero(step):
        move = np.where(np.arange(step.size) == i, step, 0)
        g = [likelihood.evaluate(*scene.split(scene.vector + j * move), order=1)[1] for j in (-2, -1, 1, 2)]
        column = (8 * (g[2] - g[1]) - (g[3] - g[0])) / (12 * step[i])
        # in units of the parameters' own widths; the differences have an error of 1e-9 in these
        np.testing.assert_allclose(hessian[i] * unit * unit[i], column * unit * unit[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCENES)
def test_orders_agree(name, kernel):
    scene = scene_named(name)
    likelihood = scene.likelihood(kernel)
    arguments = scene.is_galaxy, scene.scene, scene.sky
    value, gradient, hessian = likelihood.evaluate(*arguments)
    first = likelihood.evaluate(*arguments, order=1)
    none = likelihood.evaluate(*arguments, order=0)
    assert none[1:] == (None, None)
    assert first[2] is None
    assert value == pytest.approx(none[0], rel=1e-12)
    assert value == pytest.approx(first[0], rel=1e-12)
    unit = widths(scene, hessian)
    np.testing.assert_allclose(gradient * unit, first[1] * unit, rtol=1e-10, atol=1e-10)
    # sums of a row and of its mirror run over the same numbers in the same order, but for the sources' own
    # blocks
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-12 * np.abs(hessian).max())
    assert not gradient[~scene.free].any()
    assert not hessian[~scene.free].any()


def test_variants_agree():
    scene = scene_named("five sources")
    results = [
        scene.likelihood(name).evaluate(scene.is_galaxy, scene.scene, scene.sky)
        for name in available_kernels()
    ]
    for value, gradient, hessian in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-12)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-9, atol=1e-9 * np.abs(gradient).max())
        np.testing.assert_allclose(hessian, results[0][2], rtol=1e-9, atol=1e-9 * np.abs(hessian).max())


def test_model_is_the_sum_of_background_sky_and_sources(kernel):
    scene = scene_named("five sources")
    models = scene.likelihood(kernel).model(scene.is_galaxy, scene.scene, scene.sky)
    for ours, theirs in zip(
        models, scene.reference().model(scene.is_galaxy, scene.scene, scene.sky), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_sources_invisible_in_a_patch_do_not_contribute(kernel):
    scene = make_scene("sgg")
    scene.visible = np.array([[True, False, True], [False, True, False]])
    scene.psfs[0][1] = scene.psfs[1][0] = scene.psfs[1][2] = None
    value, gradient, hessian = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky)
    assert value == pytest.approx(scene.reference().value(scene.is_galaxy, scene.scene, scene.sky), rel=1e-10)
    stars_in_second_band = np.zeros(scene.scene.shape, bool)
    stars_in_second_band[[0, 1, 2], [1, 0, 1]] = True
    unseen = np.append(stars_in_second_band.ravel(), [False, False])
    assert not gradient[unseen].any()
    assert not hessian[unseen].any()
    assert not hessian[
        np.ix_(range(8), range(8, 16))
    ].any()  # the star and the first galaxy are never together


def test_pixels_of_weight_zero_do_not_count(kernel):
    scene = make_scene("sg", shapes=((17, 19),))
    patch = scene.patches[0]
    masked = np.zeros(patch.data.shape, bool)
    masked[3:9, 4:11] = masked[:, 15] = True
    patch.weight[masked] = 0
    expected = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky)
    patch.data[masked] = np.nan
    patch.background[masked] = np.inf
    found = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[0] == pytest.approx(
        scene.reference().value(scene.is_galaxy, scene.scene, scene.sky), rel=1e-10
    )


@pytest.mark.parametrize("sky", [-0.09, -0.2, -30.0])
def test_expectations_below_the_floor_are_continued_smoothly(sky, kernel):
    scene = make_scene("s", shapes=((17, 19),))
    scene.sky[:] = sky
    likelihood, reference = scene.likelihood(kernel), scene.reference()
    value, gradient, hessian = likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky)
    assert np.isfinite(value)
    assert np.isfinite(hessian).all()
    assert value == pytest.approx(reference.value(scene.is_galaxy, scene.scene, scene.sky), rel=1e-10)
    step = np.zeros(scene.vector.size)
    step[-1] = 1e-6
    f = [reference.value(*scene.split(scene.vector + i * step)) for i in (-1, 1)]
    # two points, because the third derivative jumps at the floor
    assert gradient[-1] == pytest.approx((f[1] - f[0]) / 2e-6, rel=1e-6)
    assert gradient[-1] > 0  # leads back up
    assert hessian[-1, -1] < 0


def test_counts_of_zero_and_below(kernel):
    scene = make_scene("s", shapes=((9, 11),))
    scene.patches[0].data[:5] = 0
    scene.patches[0].data[7:] = -0.3
    found = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky)
    assert found[0] == pytest.approx(
        scene.reference().value(scene.is_galaxy, scene.scene, scene.sky), rel=1e-10
    )
    assert all(np.isfinite(part).all() for part in found)


def test_a_perfect_model_has_the_value_zero(kernel):
    """The deviance form: the sum of w (n log(m / n) - m + n), without the loss of digits of its terms."""
    scene = make_scene("sg", flux=1e5)
    likelihood = scene.likelihood(kernel)
    for patch, model in zip(
        scene.patches, likelihood.model(scene.is_galaxy, scene.scene, scene.sky), strict=True
    ):
        patch.data = model
    value = scene.likelihood(kernel).evaluate(scene.is_galaxy, scene.scene, scene.sky, order=0)[0]
    # a relative error of 1e-13 of the expectation of some 1e7 counts costs 1e7 * 1e-26 / 2 per pixel
    assert -1e-15 < value <= 0


def test_the_curvature_has_no_spikes(kernel):
    """The row and column limits of the components move with the source; nothing of it may be seen."""
    scene = make_scene("s", shapes=((40, 40),), psf=PSF[:1], flux=1e4)
    likelihood = scene.likelihood(kernel)
    shifts = np.linspace(-1, 1, 401)
    curvatures = []
    for shift in shifts:
        moved = scene.scene.copy()
        moved[0, -6] += shift / 2.5
        curvatures.append(likelihood.evaluate(scene.is_galaxy, moved, scene.sky)[2][2, 2])
    smooth = np.polynomial.Chebyshev.fit(shifts, curvatures, 40)(shifts)
    # smooth to the accuracy with which the recurrence gives it
    np.testing.assert_allclose(curvatures, smooth, rtol=1e-10)


def test_inputs_of_any_layout_and_read_only(kernel):
    scene = make_scene("sg")
    arguments = scene.is_galaxy, scene.scene, scene.sky
    expected = scene.likelihood(kernel).evaluate(*arguments)
    for patch in scene.patches:
        patch.data = np.asfortranarray(patch.data)
        patch.weight = np.repeat(patch.weight, 2, axis=1)[:, ::2].astype(">f8")
        patch.data.flags.writeable = patch.weight.flags.writeable = patch.background.flags.writeable = False
    for array in arguments:
        array.flags.writeable = False
    found = scene.likelihood(kernel).evaluate(*arguments)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
    lists = [array.tolist() for array in arguments]
    assert scene.likelihood(kernel).evaluate(*lists)[0] == expected[0]


def test_threads_with_an_object_each(kernel):
    scenes = [make_scene("sg", seed=seed) for seed in range(4)]
    likelihoods = [scene.likelihood(kernel) for scene in scenes]

    def work(i):
        scene = scenes[i]
        return [likelihoods[i].evaluate(scene.is_galaxy, scene.scene, scene.sky) for _ in range(30)]

    alone = [work(i)[0] for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(4)))
    for expected, results in zip(alone, together, strict=True):
        for result in results:
            for a, b in zip(expected, result, strict=True):
                np.testing.assert_array_equal(a, b)


def test_two_threads_cannot_share_an_object():
    scene = make_scene("s")
    likelihood = scene.likelihood()
    with likelihood._turn, pytest.raises(RuntimeError, match="give each thread one of its own"):
        likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky)
    likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky)


def run_python(code, kernel):
    environment = os.environ | {"CELESTEPY_KERNEL": kernel}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_the_environment_chooses_the_kernel():
    code = "from celestepy.model import pixel_rate; print(pixel_rate.kernel_name)"
    for name in available_kernels():
        assert run_python(code, name).stdout.strip() == name
    failed = run_python(code, "abacus")
    assert failed.returncode != 0
    assert "CELESTEPY_KERNEL is 'abacus'" in failed.stderr


def test_the_fastest_kernel_is_the_default(monkeypatch):
    monkeypatch.delenv("CELESTEPY_KERNEL", raising=False)
    assert pixel_rate._KERNELS.chosen() == available_kernels()[0]
    assert available_kernels()[-1] == "generic"


def galsim_image(profile, shape, x, y):
    """Draw a GalSim profile at a 0-based pixel position, sampled at pixel centres."""
    galsim = pytest.importorskip("galsim")
    image = galsim.ImageD(shape[1], shape[0], scale=1.0)
    centre = galsim.PositionD(x + 1, y + 1)
    return profile.drawImage(image, method="no_pixel", center=centre).array


def gaussians(components):
    """A GalSim profile from rows amplitude, x, y, xx, xy, yy."""
    galsim = pytest.importorskip("galsim")
    parts = []
    for amplitude, x, y, xx, xy, yy in components:
        sigma = (xx * yy - xy**2) ** 0.25
        e1, e2 = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
        parts.append((galsim.Gaussian(sigma=sigma, flux=amplitude).shear(e1=e1, e2=e2)).shift(x, y))
    return galsim.Sum(parts)


@pytest.mark.validation
def test_galsim_draws_the_same_star():
    scene = make_scene("s", shapes=((31, 33),), jacobian=np.eye(2))
    profile = scene.likelihood().profiles(scene.is_galaxy, scene.scene)[0][0]
    patch = scene.patches[0]
    x, y = scene.positions[0, 0] - [patch.x0, patch.y0] + scene.scene[0, 2:4]
    drawn = galsim_image(gaussians(PSF), profile.shape, x, y)
    # GalSim sums the same Gaussians, cut off where they are below its own accuracy of 1e-6
    np.testing.assert_allclose(profile, drawn, atol=1e-6 * drawn.max())


@pytest.mark.validation
@pytest.mark.parametrize(("dev_fraction", "index", "tolerance"), [(0.0, 1, 0.005), (1.0, 4, 0.03)])
def test_galsim_draws_nearly_the_same_galaxy(dev_fraction, index, tolerance):
    galsim = pytest.importorskip("galsim")
    radius, axis_ratio, angle = 4.0, 0.6, 0.5
    # u = x and v = y: the angle from v towards u is 90 degrees minus that from x towards y
    shape = galaxy_shape(radius, axis_ratio, np.pi / 2 - angle)
    scene = make_scene("g", shapes=((81, 83),), jacobian=np.eye(2), shape=shape, dev_fraction=dev_fraction)
    profile = scene.likelihood().profiles(scene.is_galaxy, scene.scene)[0][0]
    patch = scene.patches[0]
    x, y = scene.positions[0, 0] - [patch.x0, patch.y0] + scene.scene[0, 2:4]
    # GalSim's radius is that of the circle of the same area
    galaxy = galsim.Sersic(n=index, half_light_radius=radius * np.sqrt(axis_ratio))
    galaxy = galaxy.shear(q=axis_ratio, beta=angle * galsim.radians)
    psf = gaussians(PSF)
    drawn = galsim_image(galsim.Convolve(galaxy, psf), profile.shape, x, y)
    # how well the mixtures represent the profiles: in fractions of the peak, worst in the core; and in all,
    # because the wings of the mixtures end where those of a Sersic profile go on
    np.testing.assert_allclose(profile, drawn, atol=tolerance * drawn.max())
    assert profile.sum() == pytest.approx(drawn.sum(), rel=tolerance)


def test_arguments_that_are_wrong_are_named():
    scene = make_scene("sg")
    likelihood = scene.likelihood()
    arguments = {"is_galaxy": scene.is_galaxy, "scene": scene.scene, "sky": scene.sky}
    for wrong, message in [
        ({"order": 3}, "order is 3; expected 0, 1 or 2"),
        ({"sky": np.zeros(3)}, r"sky has shape \(3,\); expected \(2,\)"),
        ({"scene": np.zeros((2, 7))}, r"scene has shape \(2, 7\); expected \(2, 8\)"),
        ({"scene": np.full((2, 8), np.nan)}, "scene has entries that are not finite"),
        ({"is_galaxy": [True]}, r"is_galaxy has shape \(1,\)"),
        ({"scene": np.where(np.arange(8) == 6, 9.0, scene.scene)}, "expected Suu >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            likelihood.evaluate(**(arguments | wrong))
    with pytest.raises(ValueError, match="kernel is 'abacus'"):
        scene.likelihood("abacus")


def test_descriptions_that_are_wrong_are_named():
    scene = make_scene("sg")
    good = scene.arguments()
    flat = [SimpleNamespace(**(vars(patch) | {"data": patch.data.ravel()})) for patch in scene.patches]
    holes = [SimpleNamespace(**(vars(patch) | {"data": patch.data * np.nan})) for patch in scene.patches]
    negative = [SimpleNamespace(**(vars(patch) | {"weight": -patch.weight})) for patch in scene.patches]
    flat_psf = [[SimpleNamespace(array=np.array([[1.0, 0, 0, 1, 1, 1]]))] * 2] * 2
    for wrong, message in [
        ({"patches": []}, "patches is empty"),
        ({"patches": flat}, r"patches\[0\].data has shape \(323,\)"),
        ({"patches": holes}, r"patches\[0\].data has entries that are not finite"),
        ({"patches": negative}, r"patches\[0\].weight has the negative value"),
        ({"bands": [0, 5]}, "bands has values from 0 to 5; expected 0 to 1"),
        ({"bands": [0.0, 1.0]}, "expected .* integers"),
        ({"psfs": good["psfs"][:1]}, "psfs has rows"),
        ({"psfs": flat_psf}, "positive definite"),
        ({"positions": np.zeros((2, 2))}, "positions has shape"),
        ({"jacobians": np.zeros((2, 2, 2))}, "jacobians has shape"),
        ({"visible": np.ones((2, 3))}, "visible has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            pixel_rate.SceneLikelihood(**(good | wrong), n_bands=2)
