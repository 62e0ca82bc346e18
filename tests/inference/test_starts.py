"""First guesses: normal equations against a dense least-squares fit, and starts against the truth."""

import numpy as np
import pytest

from celestepy.images import Patch, PSFMixture
from celestepy.inference.starts import TRIAL_RADII, LinearFluxes, start_vector, unit_scene
from celestepy.model.parameters import GALAXY, STAR, Bands, layout
from celestepy.model.pixel_rate import SceneLikelihood
from celestepy.model.priors import Prior

PSF = PSFMixture(np.array([0.7, 0.3]), np.zeros((2, 2)), np.array([[1.2, 0.0, 1.2], [4.0, 0.0, 4.0]]))
PIXEL = 0.396  # arcsec
FWHM = 1.2  # arcsec
BANDS = Bands.of("gri")
SKY_SD = np.array([0.02, 0.05, 0.01, 0.03])
IMAGES = np.array([1, 0, 2, 1])  # band of each image: one band has two


def patches(shape=(31, 33), poisson=True):
    weight = np.full(shape, 40.0 if poisson else 13.0)
    weight[4, 5:9] = 0.0
    return [Patch(data=np.full(shape, 3.0), weight=weight, background=np.full(shape, 3.0), x0=0, y0=0,
                  poisson=poisson) for _ in IMAGES]


def likelihood(patches, positions):
    positions = np.tile(np.asarray(positions, dtype=float), (len(IMAGES), 1, 1))
    jacobians = np.tile(np.eye(2) / PIXEL, (*positions.shape[:2], 1, 1))
    psfs = [[PSF] * positions.shape[1]] * len(IMAGES)
    return SceneLikelihood(patches, IMAGES, psfs, positions, jacobians, n_bands=len(BANDS))


def with_sources(empty, model, is_galaxy, scenes, rng=None):
    """The patches with some sources put in, and noise."""
    result = []
    for patch, expected in zip(empty, model.model(is_galaxy, scenes, np.zeros(len(IMAGES)))):
        data = expected if rng is None else rng.poisson(40 * expected) / 40
        result.append(Patch(data=data, weight=patch.weight, background=patch.background, x0=0, y0=0,
                            poisson=patch.poisson))
    return result


@pytest.mark.parametrize("poisson", [True, False])
def test_normal_equations(poisson):
    rng = np.random.default_rng(2)
    positions = [[12.0, 14.0], [16.0, 15.5]]
    model = likelihood(patches(poisson=poisson), positions)
    is_galaxy = np.array([True, False])
    scenes = np.array([unit_scene(3, 0.8), unit_scene(3)])
    data = with_sources(patches(poisson=poisson), model, is_galaxy, 5 * scenes, rng)
    information, right_side = LinearFluxes(model, data, IMAGES, SKY_SD).solve(is_galaxy, scenes)
    # All fluxes and sky levels at once: columns are sources and bands, then images.
    n_fluxes = 6
    normal, moment = np.zeros((n_fluxes + 4, n_fluxes + 4)), np.zeros(n_fluxes + 4)
    for n, (patch, profile) in enumerate(zip(data, model.profiles(is_galaxy, scenes))):
        design = np.zeros((n_fluxes + 4, patch.data.size))
        design[IMAGES[n]], design[3 + IMAGES[n]] = profile.reshape(2, -1)
        design[n_fluxes + n] = 1
        weight = (patch.weight / patch.background if poisson else patch.weight).ravel()
        normal += (design * weight) @ design.T
        moment += design @ (weight * (patch.data - patch.background).ravel())
    sky = np.arange(n_fluxes, n_fluxes + 4)
    normal[sky, sky] += 1 / SKY_SD**2
    rest = normal[:n_fluxes, n_fluxes:] @ np.linalg.inv(normal[n_fluxes:, n_fluxes:])
    expected = normal[:n_fluxes, :n_fluxes] - rest @ normal[n_fluxes:, :n_fluxes]
    np.testing.assert_allclose(information, expected, rtol=1e-9, atol=1e-9 * expected.max())
    expected = moment[:n_fluxes] - rest @ moment[n_fluxes:]
    np.testing.assert_allclose(right_side, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("kinds", [(STAR,), (GALAXY,), (STAR, GALAXY)])
@pytest.mark.parametrize("trial", TRIAL_RADII)
def test_starts_near_the_truth(kinds, trial):
    """Bright sources with a trial shape, without noise: the fit begins where it will end."""
    positions = [[10.0, 14.0], [20.0, 17.0]][:len(kinds)]
    model = likelihood(patches(), positions)
    is_galaxy = np.array([kind == GALAXY for kind in kinds])
    scenes = np.array([unit_scene(3, trial * FWHM if kind == GALAXY else None) for kind in kinds])
    scenes[:, :3] = [40.0, 70.0, 90.0]
    data = with_sources(patches(), model, is_galaxy, scenes)
    linear = LinearFluxes(model, data, IMAGES, SKY_SD)
    vectors = start_vector(kinds, linear, Prior.default("gri"), BANDS, FWHM)
    for kind, vector in zip(kinds, vectors, strict=True):
        at = layout(kind, 3)
        assert vector.shape == (at.size,)
        # The prior draws the fluxes by a small part of their errors of 1 to 3 %.
        np.testing.assert_allclose(vector[at.log_fluxes], np.log([70.0, 70 / 40, 90 / 70]), atol=0.03)
        if kind == GALAXY:
            assert vector[at.log_radius] == pytest.approx(np.log(trial * FWHM))


def test_nothing_there():
    """A source without any flux starts finite, at what the prior thinks faint."""
    data = patches()
    model = likelihood(data, [[15.0, 15.0]])
    linear = LinearFluxes(model, data, IMAGES, SKY_SD)
    for kind in (STAR, GALAXY):
        (vector,) = start_vector((kind,), linear, Prior.default("gri"), BANDS, FWHM)
        assert np.all(np.isfinite(vector))
        assert vector[layout(kind, 3).log_flux] < 1.0
