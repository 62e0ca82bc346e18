"""Whatever array the caller has becomes native contiguous float64 in nanomaggies, or a boolean map."""

import astropy.units as u
import numpy as np

from celestepy.images.errors import ImageError

__all__ = ["AB_ZERO_POINT", "bool_map", "in_unit", "native_pixels", "native_sky"]

AB_ZERO_POINT = u.zero_point_flux(1 * u.AB)  # one maggy is the flux of AB magnitude 0


def native_pixels(pixels):
    """Copy pixels to native float64, and find those that hold no number.

    Parameters
    ----------
    pixels : array_like (ny, nx) or Quantity
        Any real dtype, byte order and layout; masked arrays too.

    Returns
    -------
    values : (ny, nx) array
        A fresh C-contiguous array in nanomaggies.
    unusable : (ny, nx) array of bool
        True where masked, NaN or infinite.
    """
    masked = np.ma.asarray(in_unit("pixels", pixels, u.nmgy))
    if masked.ndim != 2 or masked.size == 0:
        raise ImageError(f"pixels: shape {masked.shape}, expected a two-dimensional image (ny, nx)")
    if masked.dtype.kind not in "fiub":
        raise ImageError(f"pixels: dtype {masked.dtype}, expected real numbers (nanomaggies per pixel)")
    values = np.array(masked.data, dtype=np.float64, order="C")
    unusable = np.array(np.broadcast_to(np.ma.getmaskarray(masked), values.shape))
    unusable |= ~np.isfinite(values)
    return values, unusable


def native_sky(sky, shape):
    """Copy a sky level to native float64 of the image's shape.

    Parameters
    ----------
    sky : float, array_like (ny, nx) or Quantity
        Sky, nmgy/pixel; NaN or masked where unknown.
    shape : (int, int)
        (ny, nx) of the image.

    Returns
    -------
    (ny, nx) array
        Read-only; a single number is broadcast.
    """
    values = np.ma.filled(np.ma.asarray(in_unit("sky", sky, u.nmgy)).astype(np.float64), np.nan)
    if values.ndim == 0:
        if not np.isfinite(values):
            raise ImageError(f"sky: {values}, expected a finite level in nmgy/pixel")
        return np.broadcast_to(values, shape)
    if values.shape != tuple(shape):
        raise ImageError(
            f"sky: shape {values.shape}, expected one number or the shape of the pixels {tuple(shape)}"
        )
    values = np.array(values, order="C")
    values.setflags(write=False)
    return values


def bool_map(argument, values, shape):
    """Copy a map of flags to bool.

    Parameters
    ----------
    argument : str
        Its name, for messages.
    values : array_like (ny, nx)
        Flags; not 0 is True, and so is a masked entry.
    shape : (int, int)
        (ny, nx) of the image.

    Returns
    -------
    (ny, nx) array of bool
        A fresh copy.
    """
    values = np.ma.filled(np.ma.asarray(values), True)
    if values.shape != tuple(shape):
        raise ImageError(f"{argument}: shape {values.shape}, expected the shape of the pixels {tuple(shape)}")
    return np.array(values != 0, dtype=bool, order="C")


def in_unit(argument, values, unit):
    """Strip the unit of a Quantity after converting it; anything else passes.

    Parameters
    ----------
    argument : str
        Its name, for messages.
    values : Quantity or array_like
        Fluxes; AB magnitude zero is one maggy.
    unit : astropy.units.UnitBase
        Unit that is wanted.

    Returns
    -------
    array_like
        Numbers in `unit`.
    """
    if not isinstance(values, u.Quantity):
        return values
    try:
        return values.to_value(unit, AB_ZERO_POINT)
    except u.UnitConversionError:
        raise ImageError(
            f"{argument}: unit {values.unit}, expected flux units (nanomaggies, Jy); calibrate with the zero"
            " point first"
        ) from None
