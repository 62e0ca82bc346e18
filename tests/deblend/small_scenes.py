"""Scenes small enough for tests, drawn by the package's own model."""

import numpy as np

from celestepy.deblend.grid import Grid
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.images.psf_mixture import PSFMixture

SCALE = 0.2  # arcsec


def gaussian(sigma, xy=0.0):
    return PSFMixture([0.8, 0.2], [[0, 0], [0, 0]], [[sigma**2, xy, sigma**2], [4 * sigma**2, 0, 4 * sigma**2]])


def blank(shape=(3, 31, 35), sigmas=(1.6, 1.8, 2.1), weight=100.0, grid=None, bands="gri"):
    grid = Grid.of_scale(shape[1:], SCALE) if grid is None else grid
    psfs = [gaussian(sigma, 0.3) for sigma in sigmas]
    return Observation.from_arrays(np.zeros(shape), weight, psfs=psfs, bands=tuple(bands), grid=grid)


def coarse(shape=(2, 12, 13), angle=0.4, bands="rJ"):
    """Pixels 2.3 times as large, turned and shifted, partly beyond the fine ones; the r band is in both."""
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = Grid(shape[1:], 2.3 * SCALE * rotation, (2.0, 0.3))
    return blank(shape, (1.1, 1.3)[: shape[0]], 30.0, grid, bands)


def weighted(observation, rng):
    """Random images and weights, some of them zero."""
    weights = rng.uniform(10, 100, observation.shape) * (rng.random(observation.shape) > 0.1)
    return Observation.from_arrays(
        rng.normal(size=observation.shape),
        weights,
        psfs=observation.psfs,
        bands=observation.bands,
        grid=observation.grid,
    )


def three_sources(frame, rng=None):
    """A free source that stands out of the grid, a star and a galaxy."""
    rng = np.random.default_rng(3) if rng is None else rng
    jacobian = np.linalg.inv(frame.grid.jacobian)
    return [
        FreeSource(8, 5, rng.random((13, 15))),
        PointSource([20.3, 14.6], frame.model_psf),
        GalaxySource([14.2, 19.7, -0.6, 0.3, -0.2, -1.0], frame.model_psf, jacobian),
    ]


def random_scene(observations, seed=0):
    """Random data, and sources with random fluxes."""
    rng = np.random.default_rng(seed)
    frame = Frame([weighted(observation, rng) for observation in observations])
    sources = [s.replace(sed=rng.uniform(0.5, 5, frame.n_bands)) for s in three_sources(frame, rng)]
    return Scene(frame, sources)


def observed(scene, rng):
    """The scene's own image with noise, as observations."""
    return [
        o.replace_images(image + rng.normal(size=o.shape) / np.sqrt(np.where(o.weights > 0, o.weights, 1)))
        for o, image in zip(scene.frame.observations, scene.render(), strict=True)
    ]
