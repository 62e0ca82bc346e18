"""The common pixel grid on which the maps of all images meet.

Images differ in pixel scale, orientation, distortion and pointing. Their S/N maps, smooth on the scale of the
PSF, are sampled on one tangent-plane grid: oriented as the reference image, centred on all of them, as fine
as the sharpest needs.
"""

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import angular_separation
from scipy.ndimage import map_coordinates

from celestepy.detection.positions import image_positions
from celestepy.images.errors import ImageError
from celestepy.images.wcs import AffineAstrometry, tangent_offsets

__all__ = ["DetectionGrid"]

LATTICE = 32  # grid pixels between the points at which the astrometry is evaluated; linear in between
SAMPLES = 4.0  # grid pixels per FWHM that are fine enough, however small the pixels of the images
FWHM = 2.3548  # of a Gaussian of unit sigma
WIDEST = 20.0  # degrees from the reference image: the grid is flat
MOST_PIXELS = 4e8  # and has to fit into memory
EDGE_POINTS = 9  # points along each side of an image that outline it on the sky


@dataclass(frozen=True)
class DetectionGrid:
    """A tangent-plane grid.

    Attributes
    ----------
    astrometry : AffineAstrometry
    shape : (int, int)
        (ny, nx).
    scale : float
        Side of a pixel, arcsec.
    """

    astrometry: AffineAstrometry
    shape: tuple
    scale: float

    @classmethod
    def covering(cls, filtered, reference):
        """The grid that covers all images.

        Parameters
        ----------
        filtered : sequence of FilteredImage
        reference : FilteredImage
            The one whose orientation is taken over.

        Raises
        ------
        ImageError
            If the images are so far apart that the grid would not fit into memory.
        """
        outline = np.hstack([_outline(one.image) for one in filtered])
        ra, dec = reference.image.pixel_to_sky(*_middle(reference.image))
        away = np.degrees(angular_separation(*np.radians(outline), *np.radians([ra, dec]))).max()
        _check_span(away, away < WIDEST)
        scale, turn = _scale(filtered), _orientation(reference.image)
        corners = turn @ tangent_offsets(*outline, ra, dec) / scale
        low, high = np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1))
        nx, ny = (high - low + 1).astype(int)
        _check_span(away, nx * ny < MOST_PIXELS)
        astrometry = AffineAstrometry(ra, dec, -low[0], -low[1], turn / scale)
        return cls(astrometry, (int(ny), int(nx)), float(scale))

    def pixel_to_sky(self, x, y):
        """Ra, dec [deg] of grid pixels."""
        return self.astrometry.pixel_to_sky(x, y)

    def sky_to_pixel(self, ra, dec):
        """Grid pixels x, y of ra, dec [deg]."""
        return self.astrometry.sky_to_pixel(ra, dec)

    def resample(self, filtered):
        """The matched-filter maps of one image on the grid.

        Returns
        -------
        box : (slice, slice)
            Rows and columns of the grid that the image covers.
        numerator, denominator : (h, w) float32
            0 outside the image. Linear interpolation averages noise between pixels; the numerator is scaled
            up so that the S/N keeps its unit width.
        """
        box = self._box(filtered.image)
        x, y = self._image_positions(filtered.image, box)
        where = (y, x)
        denominator = map_coordinates(filtered.denominator, where, order=0, output=np.float32)
        numerator = map_coordinates(filtered.numerator, where, order=1, output=np.float32)
        for position, correlation in zip((x, y), filtered.neighbour_correlation(), strict=True):
            numerator /= _averaging(position, correlation)
        return box, numerator, denominator

    def _box(self, image):
        x, y = self.sky_to_pixel(*_outline(image))
        ny, nx = self.shape
        rows = slice(max(int(np.floor(y.min())), 0), min(int(np.ceil(y.max())) + 1, ny))
        return rows, slice(max(int(np.floor(x.min())), 0), min(int(np.ceil(x.max())) + 1, nx))

    def _image_positions(self, image, box):
        """Image pixel x and y of every grid pixel of a box, (h, w) float32 each."""
        lattice = [np.arange(edges.start, edges.stop + LATTICE, LATTICE, dtype=float) for edges in box]
        rows, columns = np.meshgrid(*lattice, indexing="ij")
        position = image_positions(image, *self.pixel_to_sky(columns.ravel(), rows.ravel()))
        fill_rows, fill_columns = (_linear_weights(along, len(n)) for along, n in zip(box, lattice))
        maps = [fill_rows @ values.reshape(rows.shape) @ fill_columns.T for values in position]
        return [values.astype(np.float32) for values in maps]


def _check_span(degrees, holds):
    if not holds:
        raise ImageError(
            f"images: they reach {degrees:.3g} degrees from the largest, expected one field;"
            " detect in images that overlap, one group at a time"
        )


def _middle(image):
    ny, nx = image.shape
    return (nx - 1) / 2, (ny - 1) / 2


def _outline(image):
    """Ra, dec [deg] of points along the edges of an image."""
    ny, nx = image.shape
    along = np.linspace(-0.5, 0.5, EDGE_POINTS)
    side = np.full(EDGE_POINTS, 0.5)
    x = np.concatenate([along, along, side, -side]) * nx + (nx - 1) / 2
    y = np.concatenate([side, -side, along, along]) * ny + (ny - 1) / 2
    return image.pixel_to_sky(x, y)


def _pixel_side(image):
    """Side of the image's pixels at its middle [arcsec], and the direction d(x, y)/d(u, v) there."""
    _, _, jacobian = image.local_affine(image.pixel_to_sky(*_middle(image)))
    return np.abs(np.linalg.det(jacobian)) ** -0.5, jacobian


def _scale(filtered):
    """Grid pixel [arcsec]: the smallest image pixel, or a quarter of the smallest FWHM if that is larger."""
    sides = np.array([_pixel_side(one.image)[0] for one in filtered])
    fwhm = sides * [FWHM * one.sigma for one in filtered]
    return max(sides.min(), fwhm.min() / SAMPLES)


def _orientation(image):
    """The rotation (and flip) nearest to the image's own d(x, y)/d(u, v)."""
    left, _, right = np.linalg.svd(_pixel_side(image)[1])
    return left @ right


def _linear_weights(along, n_lattice):
    """(n, n_lattice) matrix of linear interpolation from every LATTICE-th to every pixel of a slice."""
    n = along.stop - along.start
    position = np.arange(n) / LATTICE
    below = np.minimum(position.astype(int), n_lattice - 2)
    weights = np.zeros((n, n_lattice))
    weights[np.arange(n), below] = 1 - (position - below)
    weights[np.arange(n), below + 1] = position - below
    return weights


def _averaging(position, correlation):
    """Width of unit noise after linear interpolation at a fractional position along one axis."""
    share = position - np.floor(position)
    return np.sqrt(1 - 2 * (1 - np.float32(correlation)) * share * (1 - share))
