"""Model images of a field against simulated images without noise."""

import numpy as np
import pytest
from inference.small_fields import RA, field, galaxy, star

from celestepy.inference.group_fit import contribution
from celestepy.inference.placement import Contribution, Placement
from celestepy.inference.rendering import model_images
from celestepy.model.parameters import GALAXY, STAR, Bands

BANDS = Bands.of("gri")


def located(images, *sources):
    return Placement(images, [each.ra for each in sources], [each.dec for each in sources], BANDS)


def light(source, weight=1.0):
    return contribution([(source.kind, source.theta, weight)], BANDS)


@pytest.mark.parametrize("options", [{}, dict(rotation=50.0, n_exposures=2)])
def test_is_the_simulation(options):
    """Crowded, at the edge and beyond it."""
    sources = [star(17, 5, 5), galaxy(18, -20, 8), galaxy(20, 7, 8), star(19, 39, -39), star(18, -44, 0)]
    images = field(*sources, size=81, noise=False, **options).images
    models = model_images(located(images, *sources), {k: light(each) for k, each in enumerate(sources)})
    for image, model in zip(images, models, strict=True):
        # Sources are drawn within eight FWHM and five radii: what lies outside is a thousandth of the noise.
        np.testing.assert_allclose(model, image.pixels, atol=1e-3 * np.sqrt(image.variance().mean()))


def test_without_sources_it_is_the_sky():
    images = field().images
    for image, model in zip(images, model_images(located(images, star(20)), {}), strict=True):
        np.testing.assert_array_equal(model, image.sky)
        assert model is not image.sky


def test_sources_add_up_with_their_weights():
    one, other = star(18, -6), galaxy(18, 6)
    images = field(one, other).images
    here = located(images, one, other)
    sky = model_images(here, {})
    alone = [model_images(here, {k: light(each)}) for k, each in enumerate((one, other))]
    both = model_images(here, {0: light(one, 0.3), 1: light(other, 0.6)})
    for n, model in enumerate(both):
        expected = sky[n] + 0.3 * (alone[0][n] - sky[n]) + 0.6 * (alone[1][n] - sky[n])
        np.testing.assert_allclose(model, expected, rtol=1e-12)


def test_a_source_that_is_nowhere_is_left_out():
    """Far outside, on the other side of the sky, and without any light."""
    images = field().images
    here = Placement(images, [RA + 180, RA + 5, RA], [-10.0, 10.0, 10.0], BANDS)
    nothing = Contribution(np.array([False]), np.zeros((1, 9)))
    models = model_images(here, {0: light(star(15)), 1: light(star(15)), 2: nothing})
    for image, model in zip(images, models, strict=True):
        np.testing.assert_array_equal(model, image.sky)


def test_contribution_of_both_types():
    parts = [(STAR, star(18).theta, 0.2), (GALAXY, galaxy(19).theta, 0.8)]
    both = contribution(parts, BANDS)
    np.testing.assert_array_equal(both.is_galaxy, [False, True])
    np.testing.assert_allclose(both.scenes[0, :3], 0.2 * star(18).scene[:3])
    np.testing.assert_allclose(both.scenes[1, :3], 0.8 * galaxy(19).scene[:3])
    np.testing.assert_allclose(both.scenes[1, 3:], galaxy(19).scene[3:])
