"""The pixel term of mean-field inference: its value, its derivatives, the error of the delta method."""

import numpy as np
import pytest
from reference.pixel_rate import log_likelihood, profile
from reference.scenes import galaxy_shape, make_scene

from celestepy.model.pixel_rate import MeanFieldPixels, available_kernels

AMPLITUDES = np.array([[7.0, 12.0, 120.0, 240.0], [3.0, 9.0, 60.0, 130.0]])
GEOMETRY = np.array([0.05, -0.1, 0.4, *galaxy_shape()])


@pytest.fixture(params=available_kernels())
def kernel(request):
    """Every variant that runs on this machine."""
    return request.param


def mean_field_scene(poisson=True, shapes=((17, 19), (15, 22))):
    """A scene of one source with the maps of its neighbours."""
    scene = make_scene("g", shapes=shapes, poisson=poisson, seed=4)
    rng = np.random.default_rng(5)
    means = [rng.uniform(0, 0.02, patch.data.shape) for patch in scene.patches]
    variances = [rng.uniform(0, 1e-4, patch.data.shape) for patch in scene.patches]
    return scene, means, variances


def mean_field(scene, means, variances, kernel=None):
    """The compiled objective."""
    arguments = scene.arguments()
    del arguments["visible"]
    pixels = MeanFieldPixels(**arguments, n_bands=2, kernel=kernel)
    pixels.set_neighbours(means, variances)
    return pixels


def reference(scene, means, variances, amplitudes, geometry, sky):
    """The objective of each patch, in NumPy."""
    values = []
    for n, patch in enumerate(scene.patches):
        star, galaxy = (
            profile(
                patch, scene.psfs[n][0], scene.positions[n, 0], scene.jacobians[n, 0], is_galaxy, geometry
            )
            for is_galaxy in (False, True)
        )
        a1, a2, b1, b2 = amplitudes[n]
        flux = a1 * star + a2 * galaxy
        mean = patch.background + sky[n] + means[n] + flux
        variance = variances[n] + b1 * star**2 + b2 * galaxy**2 - flux**2
        curvature = patch.data / mean**2 if patch.poisson else 1
        values.append(log_likelihood(patch, mean) - np.sum(patch.weight * curvature * variance) / 2)
    return np.array(values)


@pytest.mark.parametrize("poisson", [True, False])
def test_value_equals_the_reference(poisson, kernel):
    scene, means, variances = mean_field_scene(poisson)
    values = mean_field(scene, means, variances, kernel).evaluate(AMPLITUDES, GEOMETRY, scene.sky, order=0)[0]
    expected = reference(scene, means, variances, AMPLITUDES, GEOMETRY, scene.sky)
    np.testing.assert_allclose(values, expected, rtol=1e-11)


@pytest.mark.parametrize("poisson", [True, False])
def test_derivatives_equal_differences(poisson, kernel):
    scene, means, variances = mean_field_scene(poisson, ((17, 19), (66, 9)))
    pixels = mean_field(scene, means, variances, kernel)
    value, gradient, hessian = pixels.evaluate(AMPLITUDES, GEOMETRY, scene.sky)
    steps = np.array([0.03, 0.03, 0.5, 0.5, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3])
    moved = [
        [
            pixels.evaluate(AMPLITUDES + (i * move)[:4], GEOMETRY + (i * move)[4:], scene.sky, order=1)
            for i in (-2, -1, 1, 2)
        ]
        for move in np.diag(steps)
    ]

    def differences(of):
        """D / d parameter, fourth order, as the last axis."""
        return np.stack(
            [
                (8 * (f[2][of] - f[1][of]) - (f[3][of] - f[0][of])) / (12 * h)
                for f, h in zip(moved, steps, strict=True)
            ],
            axis=-1,
        )

    scale = np.sqrt(np.abs(np.einsum("nii->ni", hessian)) + 1e-3 / steps**2)
    # rounding of a value of 1e3 over the steps, and the fourth power of the steps, both near 1e-9
    np.testing.assert_allclose(gradient / scale, differences(0) / scale, rtol=1e-6, atol=1e-6)
    scale = scale[:, :, None] * scale[:, None, :]
    np.testing.assert_allclose(hessian / scale, differences(1) / scale, rtol=1e-6, atol=1e-6)
    for order in (0, 1):
        found = pixels.evaluate(AMPLITUDES, GEOMETRY, scene.sky, order=order)
        np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())
    np.testing.assert_allclose(hessian, hessian.transpose(0, 2, 1), rtol=1e-12)


def test_a_certain_source_has_the_plain_likelihood():
    """Without variance the objective is the likelihood of the scene, for a galaxy of the same flux."""
    scene = make_scene("g")
    pixels = mean_field(scene, [0 * p.data for p in scene.patches], [0 * p.data for p in scene.patches])
    fluxes = scene.scene[0, scene.bands]
    amplitudes = np.column_stack([0 * fluxes, fluxes, 0 * fluxes, fluxes**2])
    values = pixels.evaluate(amplitudes, scene.scene[0, -6:], scene.sky, order=0)[0]
    expected = scene.likelihood().evaluate(scene.is_galaxy, scene.scene, scene.sky, order=0)[0]
    assert values.sum() == pytest.approx(expected, rel=1e-12)


def test_the_delta_method_is_near_the_expectation():
    """The average of the likelihood over the distribution of the flux, up to third-order terms."""
    scene = make_scene("s")
    pixels = mean_field(scene, [0 * p.data for p in scene.patches], [0 * p.data for p in scene.patches])
    likelihood = scene.likelihood()
    # a normal distribution of the flux in the first band, 3% wide, at Gauss-Hermite points; the second band
    # certain
    points, weights = np.polynomial.hermite_e.hermegauss(9)
    fluxes = scene.scene[0, :2].copy()
    width = 0.03 * fluxes[0]
    average = 0.0
    for point, weight in zip(points, weights / weights.sum(), strict=True):
        drawn = scene.scene.copy()
        drawn[0, 0] += width * point
        average += weight * likelihood.evaluate(scene.is_galaxy, drawn, scene.sky, order=0)[0]
    amplitudes = np.array([[f, 0, f**2 + v, 0] for f, v in zip(fluxes, [width**2, 0], strict=True)])
    geometry = [*scene.scene[0, 2:4], 0.5, *galaxy_shape()]
    found = pixels.evaluate(amplitudes, geometry, scene.sky, order=0)[0].sum()
    plain = likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky, order=0)[0]
    # the variance costs about 0.9 nats; the next terms are (3%)^2 of that
    assert abs(average - plain) > 0.1
    assert found - plain == pytest.approx(average - plain, rel=5e-3)


def test_profiles_are_those_of_the_two_types(kernel):
    scene, means, variances = mean_field_scene()
    for n, both in enumerate(mean_field(scene, means, variances, kernel).profiles(GEOMETRY)):
        place = scene.patches[n], scene.psfs[n][0], scene.positions[n, 0], scene.jacobians[n, 0]
        for found, is_galaxy in zip(both, (False, True), strict=True):
            expected = profile(*place, is_galaxy, GEOMETRY)
            np.testing.assert_allclose(found, expected, atol=1e-10 * expected.max())


def test_arguments_that_are_wrong_are_named():
    scene, means, variances = mean_field_scene()
    pixels = mean_field(scene, means, variances)
    with pytest.raises(ValueError, match=r"amplitudes has shape \(2, 2\); expected \(2, 4\)"):
        pixels.evaluate(np.ones((2, 2)), GEOMETRY, scene.sky)
    with pytest.raises(ValueError, match="geometry has shape"):
        pixels.evaluate(AMPLITUDES, GEOMETRY[:5], scene.sky)
    with pytest.raises(ValueError, match="expected Suu >= 0"):
        pixels.evaluate(AMPLITUDES, -GEOMETRY, scene.sky)
    with pytest.raises(ValueError, match="means has 1 maps; expected 2"):
        pixels.set_neighbours(means[:1], variances)
    with pytest.raises(ValueError, match=r"variances\[1\] has shape"):
        pixels.set_neighbours(means, variances[:1] * 2)
    two = make_scene("sg")
    with pytest.raises(ValueError, match="one active source"):
        mean_field(two, means, variances)
