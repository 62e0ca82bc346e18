"""A small field of stars with known truth, and the arguments of a plain image."""

import numpy as np
import pytest

from celestepy.images import AffineAstrometry, GaussianPSF, Image, PoissonNoise

SCALE = 0.396  # arcsec per pixel
NORTH_UP = [[-1 / SCALE, 0.0], [0.0, 1 / SCALE]]


@pytest.fixture
def astrometry():
    """North up, East to the left; the tangent point is pixel (20, 10)."""
    return AffineAstrometry(150.0, 2.0, 20.0, 10.0, NORTH_UP)


@pytest.fixture
def arguments(astrometry):
    """Keyword arguments of an image of any shape."""
    return {
        "band": "r",
        "psf": GaussianPSF(fwhm=3.0),
        "wcs": astrometry,
        "noise": PoissonNoise(1000.0),
        "sky": 1.0,
    }


def star_positions(rng, shape, spacing=60, margin=40):
    """One star in each cell of a grid, well apart, with random subpixel positions."""
    y, x = np.mgrid[margin : shape[0] - margin : spacing, margin : shape[1] - margin : spacing]
    return x.ravel() + rng.uniform(-5, 5, x.size), y.ravel() + rng.uniform(-5, 5, y.size)


@pytest.fixture
def star_field(arguments):
    """Function that draws an image of bright isolated stars: (image, x, y, fluxes)."""

    def draw(psf, model_psf=None, flux=100.0, shape=(600, 600), seed=5, sky=1.0, noise_kernel=None):
        rng = np.random.default_rng(seed)
        x, y = star_positions(rng, shape)
        fluxes = flux * rng.uniform(0.5, 2.0, x.size)
        expected = np.full(shape, sky)
        for x0, y0, f in zip(x, y, fluxes, strict=True):
            expected += f * psf.at(x0, y0).render(shape, x0, y0)
        pixels = rng.poisson(1000.0 * expected) / 1000.0
        if noise_kernel is not None:
            pixels = expected + noise_kernel(pixels - expected)
        image = Image(pixels, **arguments | {"psf": psf if model_psf is None else model_psf, "sky": sky})
        return image, x, y, fluxes

    return draw
