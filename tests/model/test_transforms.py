"""The transform to scene vectors against geometry, its reference and central differences."""

import numpy as np
import pytest
from reference import transforms as reference
from scipy.linalg import expm

from celestepy.model.parameters import GALAXY, KINDS, STAR, Bands, layout, scene_layout
from celestepy.model.transforms import curvature, from_catalog, to_catalog, to_scene, to_scenes

BANDS = Bands("ugriz")
STEP = 1e-5


def draw(kind, seed, roundness=1.0):
    at = layout(kind, len(BANDS))
    theta = np.random.default_rng(seed).normal(size=at.size)
    if kind == GALAXY:
        theta[at.ellipticity] *= roundness
    return theta


def differences(function, theta):
    """Central differences of an array-valued function, derivatives along the last axis."""
    steps = STEP * np.eye(len(theta))
    return np.stack([(function(theta + h) - function(theta - h)) / (2 * STEP) for h in steps], axis=-1)


# The ellipticities pass through the series (e < 1), its end and the closed forms beyond.
@pytest.mark.parametrize("roundness", [0.0, 1e-9, 1e-3, 0.3, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_equals_reference(kind, roundness):
    theta, gradient = draw(kind, 1, roundness), np.random.default_rng(2).normal(size=11)
    expected = reference.to_scene(kind, theta, BANDS)
    for ours, theirs in zip(to_scene(kind, theta, BANDS), expected, strict=True):
        # The same formulas, in another order of operations.
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(curvature(kind, theta, gradient, BANDS),
                               reference.curvature(kind, theta, gradient, BANDS), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("roundness", [0.0, 1e-3, 0.7, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_central_differences(kind, roundness):
    theta, gradient = draw(kind, 3, roundness), np.random.default_rng(4).normal(size=11)
    _, jacobian = to_scene(kind, theta, BANDS)
    # Central differences at 1e-5: truncation 1e-10 of the third derivative, rounding 1e-11 of the value.
    scale = np.abs(jacobian).max()
    np.testing.assert_allclose(jacobian, differences(lambda t: to_scene(kind, t, BANDS)[0], theta),
                               atol=1e-8 * scale)
    contracted = differences(lambda t: to_scene(kind, t, BANDS)[1].T @ gradient, theta)
    bend = curvature(kind, theta, gradient, BANDS)
    np.testing.assert_allclose(bend, contracted, atol=1e-8 * np.abs(bend).max())
    np.testing.assert_array_equal(bend, bend.T)


def test_shape_is_the_rotated_ellipse():
    """S = R diag(a^2, b^2) R' with the major axis along (sin t, cos t) in (East, North)."""
    a, q, t = 1.7, 0.4, np.radians(25.0)
    values = {f"flux_{band}": 1.0 for band in BANDS}
    theta = from_catalog(GALAXY, BANDS, half_light_radius=a, axis_ratio=q, position_angle=25.0,
                         dev_fraction=0.5, **values)
    suu, suv, svv = to_scene(GALAXY, theta, BANDS)[0][scene_layout(5).shape]
    major, minor = np.array([np.sin(t), np.cos(t)]), np.array([np.cos(t), -np.sin(t)])
    expected = a**2 * np.outer(major, major) + (q * a) ** 2 * np.outer(minor, minor)
    np.testing.assert_allclose([[suu, suv], [suv, svv]], expected, rtol=1e-13)


def test_shape_is_a_matrix_exponential():
    theta = draw(GALAXY, 5)
    at = layout(GALAXY, 5)
    eta1, eta2 = theta[at.ellipticity]
    suu, suv, svv = to_scene(GALAXY, theta, BANDS)[0][scene_layout(5).shape]
    expected = np.exp(2 * theta[at.log_radius]) * expm([[-eta1, eta2], [eta2, eta1]])
    np.testing.assert_allclose([[suu, suv], [suv, svv]], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_catalogue_round_trip(kind):
    theta = np.stack([draw(kind, seed) for seed in range(20)])
    values = to_catalog(kind, theta, BANDS)
    again = from_catalog(kind, BANDS, u=theta[:, 0], v=theta[:, 1], **values)
    np.testing.assert_allclose(again, theta, atol=1e-12)


def test_catalogue_colours_are_magnitudes():
    values = to_catalog(STAR, draw(STAR, 6), BANDS)
    for blue, red in ("ug", "gr", "ri", "iz"):
        assert values[f"color_{blue}{red}"] == pytest.approx(values[f"mag_{blue}"] - values[f"mag_{red}"])
    assert values["mag_r"] == pytest.approx(22.5 - 2.5 * np.log10(values["flux_r"]))


def test_scene_of_a_star_has_no_shape():
    at = scene_layout(5)
    scene, jacobian = to_scene(STAR, draw(STAR, 7), BANDS)
    assert not scene[at.dev_fraction:].any()
    assert not jacobian[at.dev_fraction:].any()


def test_any_float_input_is_accepted():
    theta = draw(GALAXY, 8)
    expected = to_scene(GALAXY, theta, BANDS)[0]
    strided = np.repeat(theta, 2)[::2]
    frozen = theta.copy()
    frozen.setflags(write=False)
    for given in (theta.tolist(), strided, frozen, theta.astype(">f8")):
        np.testing.assert_array_equal(to_scene(GALAXY, given, BANDS)[0], expected)


def test_bad_input():
    with pytest.raises(ValueError, match=r"theta must have shape \(7,\), got \(11,\)"):
        to_scene(STAR, np.zeros(11), BANDS)
    with pytest.raises(ValueError, match=r"g_scene must have shape \(11,\)"):
        curvature(STAR, np.zeros(7), np.zeros(7), BANDS)
    with pytest.raises(ValueError, match=r"flux_g must be positive, got -1\.0"):
        from_catalog(STAR, "gr", flux_g=-1.0, flux_r=1.0)
    with pytest.raises(ValueError, match="axis_ratio must be positive and at most 1, got 1.2"):
        from_catalog(GALAXY, "r", flux_r=1.0, half_light_radius=1.0, axis_ratio=1.2, position_angle=0.0,
                     dev_fraction=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once(kind):
    theta = np.array([draw(kind, seed) for seed in range(5)])
    np.testing.assert_array_equal(to_scenes(kind, theta, BANDS), [to_scene(kind, each, BANDS)[0] for each in theta])
    with pytest.raises(ValueError, match=r"theta must have shape \(m, "):
        to_scenes(kind, theta[0], BANDS)
