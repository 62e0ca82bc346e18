"""Measuring sources on the matched-filter maps of every image: position, flux, S/N and size.

The grid serves to find sources; here each image is sampled on its own pixels, at the place where its own
astrometry puts the source, by a cubic spline.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.detection.bright import log_parabola
from celestepy.detection.positions import image_positions, on_image

__all__ = ["Measurement", "Sampler", "measure", "refine"]

RING_POINTS = 8
RING_RADIUS = 2.0  # PSF sigmas, for the size
CROSS = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], dtype=float)
GAUSSIAN_HALF_LIGHT = np.sqrt(2 * np.log(2))  # half-light radius of a Gaussian of unit sigma
SYSTEMATIC_ERROR = 0.02  # share of the PSF's sigma below which no position error is believed


@dataclass(frozen=True, eq=False)
class Measurement:
    """What the matched filter says about sources at given places.

    Attributes
    ----------
    snr : (n,) float64
        Largest combined S/N over templates.
    flux, flux_err : (n, n_bands) float64
        Point-source flux and its error, nmgy; NaN where a band has no usable pixel.
    position_err : (n,) float64
        Per coordinate, arcsec.
    half_light_radius : (n,) float64
        Hint at the size, PSF taken out, arcsec.
    visible : (n, n_bands) float64
        Share of the PSF-weighted information of the exposures that touch the source that masks and edges
        leave.
    """

    snr: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    position_err: np.ndarray
    half_light_radius: np.ndarray
    visible: np.ndarray


class Sampler:
    """Samples the matched-filter maps of all images near positions on the grid.

    Parameters
    ----------
    maps : CombinedMaps
    """

    def __init__(self, maps):
        self.maps = maps
        self._splines = [one.spline() for one in maps.filtered]
        self._grid_to_sky = np.linalg.inv(maps.grid.astrometry.jacobian)

    def __call__(self, x, y, offsets):
        """Band sums at x + dx, y + dy for each of the offsets.

        Parameters
        ----------
        x, y : (n,) float
            Grid pixels.
        offsets : (m, 2) or (n, m, 2) float
            dx, dy, grid pixels.

        Returns
        -------
        numerators, denominators : (n_bands, n, m) float64
        visible : (n_bands, n) float64
            Share of the information that masks and edges leave, over the images in which the centre lies.
        """
        maps = self.maps
        offsets = np.broadcast_to(offsets, (len(x), *np.shape(offsets)[-2:]))
        sums = np.zeros((2, len(maps.bands), *offsets.shape[:2]))
        visible, full = np.zeros((2, len(maps.bands), len(x)))
        ra, dec = maps.grid.pixel_to_sky(x, y)
        for one, spline in zip(maps.filtered, self._splines, strict=True):
            band = maps.bands.index(one.image.band)
            near = np.flatnonzero(on_image(one.image, *image_positions(one.image, ra, dec)))
            if near.size == 0:
                continue
            x0, y0, jacobian = one.image.local_affine((ra[near], dec[near]))
            moves = np.einsum("nij,jk,nmk->inm", jacobian, self._grid_to_sky, offsets[near])
            sums[:, band, near] += one.sample(x0[:, None] + moves[0], y0[:, None] + moves[1], spline)
            full[band, near] += one.full
            visible[band, near] += one.full * one.visible(x0, y0)
        return *sums, np.divide(visible, full, out=np.zeros(full.shape), where=full > 0)


def refine(sampler, x, y):
    """Maxima of the combined S/N near x, y (grid pixels), from the parabola through its logarithm."""
    x, y = np.array(x, float), np.array(y, float)
    for _ in range(2):
        middle, left, right, below, above = sampler.maps.best(*sampler(x, y, CROSS)[:2]).T
        x += log_parabola(left, middle, right)
        y += log_parabola(below, middle, above)
    return x, y


def measure(sampler, x, y):
    """Measure sources at grid positions.

    Parameters
    ----------
    sampler : Sampler
    x, y : (n,) float
        Grid pixels.

    Returns
    -------
    Measurement
    """
    maps = sampler.maps
    angle = 2 * np.pi * np.arange(RING_POINTS) / RING_POINTS
    radius = RING_RADIUS * maps.sigma
    offsets = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    numerators, denominators, visible = sampler(x, y, np.vstack([np.zeros((1, 2)), offsets]))
    values = maps.best(numerators, denominators)
    centre, weight = numerators[:, :, 0].T, denominators[:, :, 0].T
    usable = weight > 0
    flux = np.divide(centre, weight, out=np.full(weight.shape, np.nan), where=usable)
    error = np.divide(1.0, np.sqrt(weight), out=np.full(weight.shape, np.nan), where=usable)
    size = _intrinsic_sigma(values, radius, maps.sigma)
    return Measurement(
        snr=values[:, 0],
        flux=flux,
        flux_err=error,
        position_err=_position_error(values[:, 0], maps.sigma, size) * maps.grid.scale,
        half_light_radius=GAUSSIAN_HALF_LIGHT * size * maps.grid.scale,
        visible=visible.T,
    )


def _intrinsic_sigma(values, radius, sigma):
    """Gaussian width of the sources [grid pixel] from the S/N at the centre and on a ring.

    A Gaussian source of width g is a Gaussian of variance 2 sigma^2 + g^2 in the map:
    ring / centre = exp(-radius^2 / (2 (2 sigma^2 + g^2))).
    """
    ratio = np.clip(values[:, 1:].mean(axis=1) / np.maximum(values[:, 0], 1e-6), 1e-3, 0.98)
    variance = radius**2 / (2 * -np.log(ratio)) - 2 * sigma**2
    return np.sqrt(np.maximum(variance, 0.0))


def _position_error(snr, sigma, size):
    """Error of a position per coordinate: width of the map's peak / S/N (Fisher: sqrt(2) sigma / S/N)."""
    width = np.sqrt(2 * sigma**2 + size**2)
    return np.maximum(np.minimum(width / np.maximum(snr, 1.0), width), SYSTEMATIC_ERROR * sigma)
