"""Astrometry: where the sky falls on the pixels, and its local linear form.

Pixel coordinates are 0-based with centres at integers; sky coordinates are ICRS degrees. Offsets (u, v) about
a position are arcseconds to the East and North in the tangent plane there (gnomonic projection).
"""

import threading
from abc import ABC, abstractmethod

import astropy.units as units
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from celestepy.images.errors import ImageError, one_line

__all__ = [
    "AffineAstrometry",
    "Astrometry",
    "FITSAstrometry",
    "as_astrometry",
    "sky_coordinates",
    "tangent_offsets",
]

ARCSEC = 3600.0 * 180.0 / np.pi  # arcsec per radian
STEP = (
    0.5  # pixels; half the distance over which the WCS is differenced: errors of distortions enter as STEP^2
)


class Astrometry(ABC):
    """Maps ICRS ra, dec [deg] to pixels and back; subclasses give the two directions."""

    @abstractmethod
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

    @abstractmethod
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

    def local_affine(self, ra, dec):
        """Pixel position and d(x, y)/d(u, v) [pixel/arcsec] at ra, dec [deg].

        Parameters
        ----------
        ra, dec : float or array_like
            ICRS, degrees.

        Returns
        -------
        x, y : float or (n,)
            Pixel coordinates, 0-based.
        jacobian : (2, 2) or (n, 2, 2)
            The inverse of the central difference of the tangent-plane offsets over one pixel.
        """
        ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
        x, y = (np.asarray(value, float) for value in self.sky_to_pixel(ra, dec))
        columns = []
        for dx, dy in ((STEP, 0.0), (0.0, STEP)):
            ahead = tangent_offsets(*self.pixel_to_sky(x + dx, y + dy), ra, dec)
            behind = tangent_offsets(*self.pixel_to_sky(x - dx, y - dy), ra, dec)
            columns.append(np.stack(ahead, axis=-1) - np.stack(behind, axis=-1))
        jacobian = np.linalg.inv(np.stack(columns, axis=-1) / (2 * STEP))
        return (float(x), float(y), jacobian) if x.ndim == 0 else (x, y, jacobian)

    def pixel_scale(self, x, y):
        """Side of a pixel at x, y [arcsec]: the square root of its area.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        float or array
            Arcsec.
        """
        _, _, jacobian = self.local_affine(*self.pixel_to_sky(x, y))
        return np.abs(np.linalg.det(jacobian)) ** -0.5


class FITSAstrometry(Astrometry):
    """Any celestial WCS that astropy reads: TAN, TPV, SIP, rotated, flipped, in any of its frames.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        With two celestial axes; others are dropped.

    Notes
    -----
    Calls are serialised by a lock, because wcslib changes the WCS structure while it transforms.
    """

    def __init__(self, wcs):
        self.wcs = _celestial(wcs)
        self._frame = wcs_to_celestial_frame(self.wcs)
        self._lock = threading.Lock()

    def __getstate__(self):
        return {"wcs": self.wcs}

    def __setstate__(self, state):
        self.__init__(state["wcs"])

    @property
    def _is_icrs(self):
        return self._frame.name == "icrs"

    def _ordered(self, first, second):
        """Longitude and latitude in the header's order of axes, or back."""
        return (first, second) if self.wcs.wcs.lng == 0 else (second, first)

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
        if not self._is_icrs:
            coord = SkyCoord(ra, dec, unit="deg").transform_to(self._frame).spherical
            ra, dec = coord.lon.deg, coord.lat.deg
        with self._lock:
            x, y = self.wcs.all_world2pix(*self._ordered(ra, dec), 0)
        return x, y

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
        with self._lock:
            lon, lat = self._ordered(*self.wcs.all_pix2world(x, y, 0))
        if not self._is_icrs:
            coord = SkyCoord(lon, lat, unit="deg", frame=self._frame).icrs
            lon, lat = coord.ra.deg, coord.dec.deg
        return lon, lat


class AffineAstrometry(Astrometry):
    """Exactly linear astrometry in the tangent plane of one position; for cut-outs and simulations.

    Parameters
    ----------
    ra, dec : float
        Tangent point, degrees ICRS.
    x, y : float
        Its pixel coordinates.
    jacobian : array_like (2, 2)
        The derivative d(x, y) / d(u, v) in pixels per arcsec, u to the East and v to the North. For North up
        and East left at 0.396 arcsec per pixel: ``[[-1 / 0.396, 0], [0, 1 / 0.396]]``.
    """

    def __init__(self, ra, dec, x, y, jacobian):
        self.ra, self.dec, self.x, self.y = (float(value) for value in (ra, dec, x, y))
        self.jacobian = np.array(jacobian, dtype=float)
        numbers = np.append(self.jacobian, (self.ra, self.dec, self.x, self.y))
        if (
            self.jacobian.shape != (2, 2)
            or not np.isfinite(numbers).all()
            or not np.linalg.det(self.jacobian)
        ):
            raise ImageError(
                f"jacobian: {np.array2string(self.jacobian).replace(chr(10), '')}, expected an invertible 2"
                " x 2 matrix"
                " of d(x, y)/d(u, v) in pixels per arcsec, and a finite tangent point"
            )
        self._inverse = np.linalg.inv(self.jacobian)

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
        east, north = tangent_offsets(ra, dec, self.ra, self.dec)
        (xu, xv), (yu, yv) = self.jacobian
        return self.x + xu * east + xv * north, self.y + yu * east + yv * north

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
        dx, dy = np.asarray(x, float) - self.x, np.asarray(y, float) - self.y
        (ux, uy), (vx, vy) = self._inverse
        return from_tangent_offsets(ux * dx + uy * dy, vx * dx + vy * dy, self.ra, self.dec)


def tangent_offsets(ra, dec, ra0, dec0):
    """Gnomonic offsets (u East, v North) [arcsec] of ra, dec about ra0, dec0 [all deg].

    Parameters
    ----------
    ra, dec : float or array_like
        ICRS, degrees.
    ra0, dec0 : float or array_like
        Tangent point, degrees.

    Returns
    -------
    east, north : float or array
        Offsets, arcsec.
    """
    ra, dec, ra0, dec0 = (np.radians(value) for value in (ra, dec, ra0, dec0))
    cos_distance = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    east = np.cos(dec) * np.sin(ra - ra0) / cos_distance
    # sin(dec - dec0) plus a second-order term: a difference of two products would lose digits near the point
    lift = 2 * np.cos(dec) * np.sin(dec0) * np.sin((ra - ra0) / 2) ** 2
    north = (np.sin(dec - dec0) + lift) / cos_distance
    return ARCSEC * east, ARCSEC * north


def from_tangent_offsets(east, north, ra0, dec0):
    """Ra, dec [deg] of gnomonic offsets [arcsec] about ra0, dec0 [deg]; inverse of `tangent_offsets`.

    Parameters
    ----------
    east, north : float or array_like
        Offsets, arcsec.
    ra0, dec0 : float or array_like
        Tangent point, degrees.

    Returns
    -------
    ra, dec : float or array
        Degrees; ra from 0 to 360.
    """
    east, north = np.asarray(east) / ARCSEC, np.asarray(north) / ARCSEC
    ra0, dec0 = np.radians(ra0), np.radians(dec0)
    along = np.cos(dec0) - north * np.sin(dec0)
    ra = ra0 + np.arctan2(east, along)
    dec = np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, along))
    return np.degrees(ra) % 360.0, np.degrees(dec)


def sky_coordinates(coord):
    """(ra, dec) in ICRS degrees from a SkyCoord or a pair of numbers or arrays.

    Parameters
    ----------
    coord : SkyCoord or (ra, dec)
        Positions; numbers are degrees ICRS, Quantities are angles.

    Returns
    -------
    ra, dec : float or array
        Degrees.
    """
    if isinstance(coord, SkyCoord):
        return coord.icrs.ra.deg, coord.icrs.dec.deg
    try:
        ra, dec = coord
    except (TypeError, ValueError):
        raise ImageError(f"coord: {coord!r}, expected a SkyCoord or a pair (ra, dec) in degrees") from None
    if isinstance(ra, units.Quantity):
        ra, dec = ra.to_value("deg"), units.Quantity(dec).to_value("deg")
    return np.asarray(ra, float), np.asarray(dec, float)


def as_astrometry(wcs):
    """An `Astrometry` from an astropy WCS, or from anything that already has its three methods.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or Astrometry
        Any celestial WCS.

    Returns
    -------
    Astrometry
        What maps sky and pixels.
    """
    if isinstance(wcs, WCS):
        return FITSAstrometry(wcs)
    methods = ("sky_to_pixel", "pixel_to_sky", "local_affine")
    if all(callable(getattr(wcs, method, None)) for method in methods):
        return wcs
    raise ImageError(
        f"wcs: {type(wcs).__name__}, expected an astropy.wcs.WCS or an object with {', '.join(methods)};"
        " read one with WCS(header)"
    )


def _celestial(wcs):
    """The two celestial axes of a WCS, checked to be there."""
    if not wcs.has_celestial:
        names = ", ".join(filter(None, wcs.wcs.ctype)) or "none"
        raise ImageError(
            f"wcs: axes {names}, expected two celestial axes such as RA---TAN, DEC--TAN; give the WCS of the header"
            " that has them, or solve the field for one first"
        )
    try:
        axes = sorted((wcs.wcs.lng + 1, wcs.wcs.lat + 1))
        celestial = (
            wcs if wcs.naxis == 2 else wcs.sub(axes)
        )  # `wcs.celestial` would swap pixel axes with the sky's
        wcs_to_celestial_frame(celestial)
        sky = celestial.wcs_pix2world(*(celestial.wcs.crpix - 1.0), 0)
        invertible = np.isfinite([sky, celestial.wcs_world2pix(*sky, 0)]).all()
    except Exception as error:  # wcslib raises many kinds, all of which mean the same to the caller
        raise ImageError(f"wcs: unusable ({one_line(error)}); check the header") from None
    if not invertible:
        raise ImageError(
            "wcs: its matrix cannot be inverted, expected one pixel per position; check the header"
        )
    return celestial
