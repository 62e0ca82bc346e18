"""Values of many scenes in one call against those of each, for every variant of the kernel."""

import numpy as np
import pytest
from model.test_pixel_rate import SCENES, kernel, scene_named
from reference.scenes import make_scene

__all__ = ["kernel"]


@pytest.mark.parametrize("name", SCENES)
def test_values_of_many_scenes_are_those_of_each(name, kernel):
    scene = scene_named(name)
    likelihood = scene.likelihood(kernel)
    scenes = np.array([scene.scene, 1.01 * scene.scene, scene.scene, scene.scene])
    sky = np.array([scene.sky, scene.sky, np.asarray(scene.sky) + 0.1, scene.sky])
    scenes[3, 0, 0] = np.nan
    values = likelihood.values(scene.is_galaxy, scenes, sky)
    expected = [likelihood.evaluate(scene.is_galaxy, *each, order=0)[0] for each in zip(scenes[:3], sky, strict=False)]
    # other order of operations only; the fewer the pixels, the more their terms cancel
    np.testing.assert_allclose(values[:3], expected, rtol=1e-12)
    assert values[3] == -np.inf


def test_values_refuse_what_is_no_ellipse(kernel):
    name = next(name for name in SCENES if np.any(scene_named(name).is_galaxy))
    scene = scene_named(name)
    galaxy = int(np.flatnonzero(scene.is_galaxy)[0])
    scenes = np.array([scene.scene, scene.scene])
    scenes[1, galaxy, -2] = 1e3
    values = scene.likelihood(kernel).values(scene.is_galaxy, scenes, [scene.sky] * 2)
    assert values[1] == -np.inf < values[0]
    with pytest.raises(ValueError, match="is_galaxy, scenes and sky have shapes"):
        scene.likelihood(kernel).values(scene.is_galaxy, scenes[0], [scene.sky])


def test_counts_from_none_to_many(kernel):
    """Ratios of data and model from 0 through 1 to 1e8: every power of two between them."""
    for flux in np.geomspace(1e-8, 1e8, 9):
        scene = make_scene("s", flux=flux, shapes=((9, 11),))
        for patch in scene.patches:
            patch.data[::2, ::2] = 0.0
        scenes, sky = scene.scene * np.geomspace(1e-8, 1e8, 65)[:, None, None], np.tile(scene.sky, (65, 1))
        scenes[..., -6:] = scene.scene[:, -6:]
        values = scene.likelihood(kernel).values(scene.is_galaxy, scenes, sky)
        expected = [scene.reference().value(scene.is_galaxy, s, scene.sky) for s in scenes]
        # as a single evaluation in NumPy, whose n ln(m / n) - m + n cancels where the data are bright and fitted
        np.testing.assert_allclose(values, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["star", "star and galaxy", "taller than a tile"])
def test_values_below_the_floor(name, kernel):
    """Negative fluxes take the expected pixels below zero, where the likelihood is continued."""
    scene = scene_named(name)
    likelihood = scene.likelihood(kernel)
    scenes, sky = np.repeat(scene.scene[None], 5, axis=0), np.repeat(scene.sky[None], 5, axis=0)
    scenes[:, :, :-6] *= np.linspace(-1, 1, 5)[:, None, None]
    assert min(pixels.min() for pixels in likelihood.model(scene.is_galaxy, scenes[0], sky[0])) < 0
    expected = [likelihood.evaluate(scene.is_galaxy, *each, order=0)[0] for each in zip(scenes, sky, strict=True)]
    np.testing.assert_allclose(likelihood.values(scene.is_galaxy, scenes, sky), expected, rtol=1e-12)


def test_values_refuse_what_would_overflow(kernel):
    scene = scene_named("star and galaxy")
    scenes = np.repeat(scene.scene[None], 3, axis=0)
    scenes[1, 1, -3:] = 1e200, 0.0, 1e200
    scenes[2, 0, 2] = 1e300
    values = scene.likelihood(kernel).values(scene.is_galaxy, scenes, [scene.sky] * 3)
    np.testing.assert_array_equal(values[1:], -np.inf)
    assert np.isfinite(values[0])
