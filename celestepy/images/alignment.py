"""Aligning the astrometry of images of one field with each other, by their own stars.

Drift-scan images of different bands are taken minutes apart, and their astrometry differs by about 0.05
pixel, smoothly over the image. That is nothing for a catalogue, but a star of signal-to-noise 300 is located
to 0.005 pixel: fitted at one position in all bands it would leave residuals that look like an error of the
PSF. Here each image's pixel coordinates get a quadratic polynomial of position, such that stars agree in all
images; the mean over the images stays where it was.
"""

import numpy as np

from celestepy.images.wcs import Astrometry, tangent_offsets

__all__ = ["ShiftedAstrometry", "aligned"]

MATCH = 1.0  # arcsec
FLOOR = 0.02  # pixels; scatter of star positions that is not photon noise
# Prior standard deviation of the constant, linear and quadratic terms (pixels over half the image): what few
# stars cannot tell stays small.
PRIOR = np.array([0.2, 0.05, 0.05, 0.05, 0.05, 0.05])
ROUNDS = 10
FEWEST = 3


class ShiftedAstrometry(Astrometry):
    """Another astrometry whose pixel coordinates are moved by a quadratic polynomial.

    Parameters
    ----------
    astrometry : Astrometry
        What is moved.
    coefficients : (6, 2) array_like
        Of 1, s, t, s^2, s t, t^2 for x and y in pixels, where s and t run from -1 to 1 over the image.
    shape : (int, int)
        (ny, nx) of the image.
    """

    def __init__(self, astrometry, coefficients, shape):
        self.astrometry, self.shape = astrometry, tuple(shape)
        self.coefficients = np.array(coefficients, dtype=float)

    def shift(self, x, y):
        """Shift (dx, dy) in pixels at x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        dx, dy : float or array
            Shift, pixels.
        """
        terms = np.moveaxis(monomials(x, y, self.shape), -1, 0)
        return np.tensordot(self.coefficients.T, terms, axes=1)

    def sky_to_pixel(self, ra, dec):
        """Pixel coordinates x, y of ra, dec [deg].

        Parameters
        ----------
        ra, dec : float or array_like
            ICRS, degrees.

        Returns
        -------
        x, y : float or array
            Pixel coordinates, 0-based.
        """
        x, y = self.astrometry.sky_to_pixel(ra, dec)
        dx, dy = self.shift(x, y)
        return x + dx, y + dy

    def pixel_to_sky(self, x, y):
        """Ra, dec [deg] of pixel coordinates x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        ra, dec : float or array
            ICRS, degrees.
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        x0, y0 = x, y
        for _ in range(3):  # the shift changes by 1e-4 per pixel: each pass gains four digits
            dx, dy = self.shift(x0, y0)
            x0, y0 = x - dx, y - dy
        return self.astrometry.pixel_to_sky(x0, y0)


def monomials(x, y, shape):
    """(..., 6) values of 1, s, t, s^2, s t, t^2, held constant beyond the image.

    Parameters
    ----------
    x, y : float or array_like
        Pixel coordinates, 0-based.
    shape : (int, int)
        (ny, nx) of the image.

    Returns
    -------
    (..., 6) array
        Their values.
    """
    s = np.clip(2 * np.asarray(x, dtype=float) / (shape[1] - 1) - 1, -1.0, 1.0)
    t = np.clip(2 * np.asarray(y, dtype=float) / (shape[0] - 1) - 1, -1.0, 1.0)
    s, t = np.broadcast_arrays(s, t)
    return np.stack([np.ones_like(s), s, t, s * s, s * t, t * t], axis=-1)


def aligned(images, stars):
    """Align the astrometry of images with each other.

    Parameters
    ----------
    images : list of Image
        Images of one field.
    stars : list of list of CalibrationStar
        The isolated stars of each image.

    Returns
    -------
    list of Image
        With a `ShiftedAstrometry` each; the same images where fewer than three stars are common to two of
        them.
    """
    table = _common_stars(images, stars)
    if table is None:
        return list(images)
    coefficients = _solve(images, *table)
    return [
        image.replace(wcs=ShiftedAstrometry(image.astrometry, c, image.shape))
        for image, c in zip(images, coefficients, strict=True)
    ]


def _common_stars(images, stars):
    """Pixel positions (stars, images, 2) and their errors (stars, images), and sky positions (stars, 2)."""
    places, errors, sky = [], [], []
    for n, (image, own) in enumerate(zip(images, stars, strict=True)):
        for star in own:
            position = np.array(image.pixel_to_sky(star.fit.x, star.fit.y), dtype=float)
            index = _nearest(sky, position)
            if index is None:
                index = len(sky)
                sky.append(position)
                places.append(np.full((len(images), 2), np.nan))
                errors.append(np.full(len(images), np.inf))
            places[index][n] = star.fit.x, star.fit.y
            errors[index][n] = np.hypot(FLOOR, star.fit.position_error)
    several = [k for k, error in enumerate(errors) if np.isfinite(error).sum() > 1]
    if len(several) < FEWEST:
        return None
    return tuple(np.array([values[k] for k in several]) for values in (places, errors, sky))


def _nearest(sky, position):
    if not sky:
        return None
    distance = np.hypot(*tangent_offsets(*np.transpose(sky), *position))
    index = int(np.argmin(distance))
    return index if distance[index] < MATCH else None


def _solve(images, places, errors, sky):
    """Polynomial coefficients (images, 6, 2), by turns with the stars' mean positions."""
    weight = errors**-2.0
    coefficients = np.zeros((len(images), 6, 2))
    affine = [image.local_affine((sky[:, 0], sky[:, 1])) for image in images]
    offset = np.zeros_like(sky)  # of each star from its first position: east, north in arcsec
    for turn in range(ROUNDS):
        residual = np.zeros((len(sky), len(images), 2))
        for n, (image, (x, y, jacobian)) in enumerate(zip(images, affine, strict=True)):
            predicted = np.stack([x, y], axis=-1) + np.einsum("kij,kj->ki", jacobian, offset)
            seen = np.isfinite(places[:, n, 0])
            terms = monomials(*places[:, n].T, image.shape)
            difference = np.where(seen[:, None], places[:, n] - predicted, 0.0)
            if turn > 0:  # the first turn puts the stars at the mean of the images, which stays where it is
                robust = _robust(weight[seen, n], difference[seen])
                coefficients[n] = _ridge(terms[seen], difference[seen], robust)
            left = difference[seen] - terms[seen] @ coefficients[n]
            residual[seen, n] = np.einsum("kij,kj->ki", np.linalg.inv(jacobian[seen]), left)
        offset += np.einsum("kn,knj->kj", weight, residual) / weight.sum(axis=1)[:, None]
    return coefficients


def _robust(weight, difference):
    """Weights cut down where a star is more than three of its errors off the median."""
    if len(difference) == 0:
        return weight
    distance = np.hypot(*(difference - np.median(difference, axis=0)).T) * np.sqrt(weight)
    return weight * np.minimum(1.0, 3.0 / np.maximum(distance, 1e-9))


def _ridge(terms, values, weight):
    normal = terms.T * weight @ terms + np.diag(PRIOR**-2.0)
    return np.linalg.solve(normal, terms.T * weight @ values)
