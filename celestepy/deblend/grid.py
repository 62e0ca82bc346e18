"""Where pixels lie: grids on the tangent plane of a patch of sky, and the maps between them."""

from dataclasses import dataclass

import numpy as np
from astropy.units import Quantity, UnitConversionError

from celestepy.deblend.errors import DeblendError

__all__ = ["Grid"]

_SAME = 1e-6  # pixels: grids that agree to this at all corners are one grid


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixels of one size and orientation, on the tangent plane.

    Parameters
    ----------
    shape : (int, int)
        (h, w): rows and columns.
    jacobian : (2, 2) array_like
        d(u, v) / d(x, y), arcsec per pixel, u and v any two perpendicular axes that all grids of a scene share.
    origin : (2,) array_like
        u, v of the centre of pixel (0, 0), arcsec.

    Raises
    ------
    DeblendError
        If the shape is empty or the jacobian is singular.
    """

    shape: tuple
    jacobian: np.ndarray
    origin: np.ndarray = (0.0, 0.0)

    def __post_init__(self):
        shape = tuple(int(side) for side in self.shape)
        jacobian, origin = np.array(self.jacobian, dtype=float), np.array(self.origin, dtype=float)
        if len(shape) != 2 or min(shape) < 1:
            raise DeblendError(f"grid: shape {shape}, expected (h, w) with at least one pixel")
        if jacobian.shape != (2, 2) or not np.isfinite(jacobian).all() or np.linalg.det(jacobian) == 0:
            raise DeblendError(f"grid: jacobian {jacobian.tolist()}, expected a regular (2, 2) matrix, arcsec/pixel")
        if origin.shape != (2,) or not np.isfinite(origin).all():
            raise DeblendError(f"grid: origin {origin.tolist()}, expected finite (u, v) in arcsec")
        for name, value in (("shape", shape), ("jacobian", jacobian), ("origin", origin)):
            if name != "shape":
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def of_scale(cls, shape, pixel_scale, origin=(0.0, 0.0)):
        """A grid along the axes.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        pixel_scale : float or Quantity
            Side of a pixel, arcsec where it has no unit.
        origin : (float, float), optional
            u, v of the centre of pixel (0, 0), arcsec.

        Returns
        -------
        Grid
            With the jacobian ``pixel_scale * I``.
        """
        try:
            scale = float(Quantity(pixel_scale, "arcsec").value)
        except (TypeError, UnitConversionError):
            scale = np.nan
        if not (np.isfinite(scale) and scale > 0):
            raise DeblendError(f"pixel_scale: {pixel_scale!r}, expected one number of arcsec > 0, or an angle")
        return cls(shape, scale * np.eye(2), origin)

    @property
    def pixel_area(self):
        """Area of a pixel, arcsec^2."""
        return float(abs(np.linalg.det(self.jacobian)))

    @property
    def pixel_scale(self):
        """Side of a square of a pixel's area, arcsec."""
        return float(np.sqrt(self.pixel_area))

    def to_plane(self, x, y):
        """Tangent-plane positions of pixel positions.

        Parameters
        ----------
        x, y : float or array
            Pixels, 0-based.

        Returns
        -------
        u, v : float or array
            Arcsec.
        """
        (a, b), (c, d) = self.jacobian
        return self.origin[0] + a * x + b * y, self.origin[1] + c * x + d * y

    def from_plane(self, u, v):
        """Pixel positions of tangent-plane positions: the inverse of `to_plane`.

        Parameters
        ----------
        u, v : float or array
            Arcsec.

        Returns
        -------
        x, y : float or array
            Pixels, 0-based.
        """
        (a, b), (c, d) = np.linalg.inv(self.jacobian)
        u, v = u - self.origin[0], v - self.origin[1]
        return a * u + b * v, c * u + d * v

    def positions_in(self, other):
        """Where this grid's pixels lie in another grid.

        Parameters
        ----------
        other : Grid
            The other.

        Returns
        -------
        x, y : (h, w) arrays
            Pixel positions in `other`.
        """
        y, x = np.mgrid[: self.shape[0], : self.shape[1]].astype(float)
        return other.from_plane(*self.to_plane(x, y))

    def is_same(self, other):
        """Whether two grids have the same pixels.

        Parameters
        ----------
        other : Grid
            The other.

        Returns
        -------
        bool
            True if shapes agree, and corners to 1e-6 pixels.
        """
        if self.shape != other.shape:
            return False
        corner_y, corner_x = np.array([0.0, 0.0, 1.0]) * self.shape[0], np.array([0.0, 1.0, 0.0]) * self.shape[1]
        x, y = other.from_plane(*self.to_plane(corner_x, corner_y))
        return bool(np.abs(np.concatenate([x - corner_x, y - corner_y])).max() < _SAME)
