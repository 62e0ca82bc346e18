"""Least-squares fit of the PSF to one bright star: flux, position, local sky, and what is left over."""

from dataclasses import dataclass

import numpy as np

__all__ = ["StarFit", "fit_star"]

HALF = (
    10  # pixels; the box reaches where the PSF is 1e-3 of its peak, the aperture correction covers the rest
)
ITERATIONS = 10
TOLERANCE = 1e-4  # pixels
MAX_STEP = 1.0  # pixels


@dataclass(frozen=True, eq=False)
class StarFit:
    """A fitted star.

    Attributes
    ----------
    x, y : float
        Position, pixels.
    flux : float
        In units of the PSF at that place, nmgy.
    position_error : float
        Standard deviation of x and of y by the noise, pixels.
    sky : float
        Local level above the image's sky, nmgy/pixel.
    model, residual, variance : (n, n) array
        Star without sky; data - model - sky; noise variance with the star's own photons. nmgy, nmgy^2.
    radius : (n, n) array
        Distance of each pixel from the star, pixels.
    """

    x: float
    y: float
    flux: float
    position_error: float
    sky: float
    model: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    radius: np.ndarray

    def error_squared(self, radius):
        """Squared misfit beyond the noise within a radius over the squared model, and its noise error.

        Parameters
        ----------
        radius : float
            Radius of the core, pixels.

        Returns
        -------
        value, error : float
            The fraction and its standard deviation by the noise.
        """
        core = self.radius < radius
        power = np.sum(self.model[core] ** 2)
        excess = np.sum(self.residual[core] ** 2 - self.variance[core])
        return excess / power, np.sqrt(2 * np.sum(self.variance[core] ** 2)) / power


def fit_star(image, x, y, mixture):
    """Fit one star with the PSF `mixture`, starting at x, y.

    Parameters
    ----------
    image : Image
        The image.
    x, y : float
        Pixel coordinates to start from, 0-based.
    mixture : PSFMixture
        PSF at that place.

    Returns
    -------
    StarFit or None
        None where the box leaves the image, holds a masked pixel, or the fit walks away or finds no flux.
    """
    x0, y0 = int(np.rint(x)) - HALF, int(np.rint(y)) - HALF
    box = (slice(y0, y0 + 2 * HALF + 1), slice(x0, x0 + 2 * HALF + 1))
    if (
        x0 < 0
        or y0 < 0
        or box[0].stop > image.shape[0]
        or box[1].stop > image.shape[1]
        or image.mask[box].any()
    ):
        return None
    data = image.pixels[box] - image.sky[box]
    columns, rows = np.arange(x0, box[1].stop), np.arange(y0, box[0].stop)[:, None]
    solution = _gauss_newton(data, columns, rows, x, y, mixture)
    if solution is None:
        return None
    x, y, flux, sky = solution
    density, slope_x, slope_y = mixture.density_and_slopes(columns - x, rows - y)
    model = flux * density
    variance = image.noise.variance_of(image.sky[box] + model, box)
    error = 1 / (flux * np.sqrt(np.sum(0.5 * (slope_x**2 + slope_y**2) / variance)))
    return StarFit(
        x, y, flux, float(error), sky, model, data - model - sky, variance, np.hypot(columns - x, rows - y)
    )


def _gauss_newton(data, columns, rows, x, y, mixture):
    """(x, y, flux, sky) by linear least squares in flux, sky and flux times small shifts, repeated."""
    start = x, y
    for _ in range(ITERATIONS):
        value, slope_x, slope_y = mixture.density_and_slopes(columns - x, rows - y)
        design = np.stack([value.ravel(), np.ones(value.size), -slope_x.ravel(), -slope_y.ravel()])
        flux, sky, shift_x, shift_y = np.linalg.solve(design @ design.T, design @ data.ravel())
        if not flux > 0:
            return None
        dx, dy = np.clip([shift_x / flux, shift_y / flux], -MAX_STEP, MAX_STEP)
        x, y = x + dx, y + dy
        if np.hypot(x - start[0], y - start[1]) > 3:
            return None
        if abs(dx) + abs(dy) < TOLERANCE:
            return x, y, flux, sky
    return None
