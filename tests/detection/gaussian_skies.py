"""Skies of Gaussian sources, drawn with NumPy alone."""

from dataclasses import dataclass

import numpy as np

from celestepy.images import AffineAstrometry, GaussianNoise, GaussianPSF, Image

RA, DEC = 150.0, 2.0  # middle of every sky here, degrees
FWHM = 3.2  # pixels
NOISE = 0.05  # nmgy per pixel


@dataclass
class Sky:
    """Gaussian sources: offsets East and North of (RA, DEC) and sigma [arcsec], fluxes [nmgy]."""

    east: np.ndarray
    north: np.ndarray
    flux: np.ndarray
    size: np.ndarray

    @property
    def radec(self):
        return AffineAstrometry(RA, DEC, 0, 0, np.eye(2)).pixel_to_sky(self.east, self.north)

    @classmethod
    def of(cls, *sources):
        """From rows (east, north, flux[, size])."""
        rows = np.array([(*source, 0.0)[:4] for source in sources], float).reshape(-1, 4)
        return cls(*rows.T)

    @classmethod
    def lattice(cls, rng, half, step, flux):
        """Sources on a jittered lattice, far enough apart not to blend."""
        axis = np.arange(-half, half + 0.5 * step, step)
        places = np.array(np.meshgrid(axis, axis)).reshape(2, -1)
        east, north = places + rng.uniform(-0.5, 0.5, places.shape)
        return cls(east, north, np.broadcast_to(flux, east.shape).copy(), np.zeros(east.size))


def astrometry(shape=(201, 201), scale=0.4, angle=0.0, shift=(0.0, 0.0), flip=True):
    """North up and East left at angle 0; the middle of the image is `shift` pixels off (RA, DEC)."""
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = (shape[1] - 1) / 2 + shift[0], (shape[0] - 1) / 2 + shift[1]
    return AffineAstrometry(RA, DEC, *middle, rotation @ np.diag([-1.0 if flip else 1.0, 1.0]) / scale)


def draw(sky, wcs, shape, fwhm=FWHM):
    """Pixels [nmgy] of the sources, at pixel centres."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    scale = np.abs(np.linalg.det(wcs.jacobian)) ** -0.5
    pixels = np.zeros(shape)
    for x, y, flux, size in zip(*wcs.sky_to_pixel(*sky.radec), sky.flux, sky.size, strict=True):
        variance = (fwhm / 2.3548) ** 2 + (size / scale) ** 2
        distance2 = (columns - x) ** 2 + (rows - y) ** 2
        pixels += flux / (2 * np.pi * variance) * np.exp(-0.5 * distance2 / variance)
    return pixels


def observe(sky, rng=None, *, wcs=None, shape=(201, 201), fwhm=FWHM, noise=NOISE, level=0.0, **more):
    """An Image of a sky; without `rng` free of noise, its variance still stated."""
    wcs = astrometry(shape) if wcs is None else wcs
    pixels = draw(sky, wcs, shape, fwhm) + level
    if rng is not None:
        pixels += rng.normal(0.0, noise, shape)
    given = {"band": "r", "psf": GaussianPSF(fwhm=fwhm), "wcs": wcs, "noise": GaussianNoise(noise**2)}
    return Image(pixels, **given | more)


def point_error(fwhm=FWHM, noise=NOISE):
    """Error of a point source's flux: noise * sqrt(4 pi) sigma, nmgy."""
    return noise * np.sqrt(4 * np.pi) * fwhm / 2.3548


def separations(seeds, sky):
    """(n_seeds, n_sources) distances, arcsec."""
    ra, dec = sky.radec
    d_ra = (seeds.ra[:, None] - ra) * np.cos(np.radians(DEC))
    return 3600 * np.hypot(d_ra, seeds.dec[:, None] - dec)
