"""Values of many scenes in one call against those of each, for every variant of the kernel."""

import numpy as np
import pytest
from model.test_pixel_rate import SCENES, kernel, scene_named

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
    np.testing.assert_array_equal(values[:3], expected)
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
