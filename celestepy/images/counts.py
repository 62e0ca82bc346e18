"""From counts to nanomaggies: zero points with units, gains, weights, saturation."""

import re

import astropy.units as u
import numpy as np

from celestepy.images.errors import ImageError, one_line
from celestepy.images.image import Image
from celestepy.images.native import AB_ZERO_POINT
from celestepy.images.noise import GaussianNoise, PoissonNoise
from celestepy.images.sky import measure_sky

__all__ = ["from_counts", "nanomaggies_per_count"]

WRITTEN = re.compile(r"\s*([-+0-9.eEinfa]+)\s*(\S.*)?$")
# A hundredth of a second with a camera of 1 cm, and a year with a telescope of 100 m, leave room between these.
FEWEST_PHOTONS, MOST_PHOTONS = 1e-9, 1e15  # electrons per nanomaggy
MOST_READ_NOISE = 1e6  # electrons
AB_NAMES = ("ABmag", "mag(AB)", "AB mag", "AB")


def nanomaggies_per_count(zero_point, exposure_time=None):
    """Flux of one count in nanomaggies.

    Parameters
    ----------
    zero_point : Quantity, Magnitude or str
        AB magnitude of a source of one count (``25.1 * u.ABmag``, "25.1 ABmag"), or the flux of one count
        (``0.02 * u.nmgy``, "3.6e-3 uJy").
    exposure_time : float, optional
        Seconds; give it where the zero point belongs to one count per second.

    Returns
    -------
    float
        Nanomaggies.

    Raises
    ------
    ImageError
        If the zero point has no unit, is not finite or not a flux.
    """
    if zero_point is None:
        raise ImageError(
            "zero_point: missing, expected the AB magnitude of one count such as '25.1 ABmag', or its flux"
        )
    quantity = _with_unit(zero_point)
    try:
        flux = float(quantity.to(u.nmgy, AB_ZERO_POINT).value)
    except (u.UnitConversionError, TypeError, ValueError):
        raise ImageError(
            f"zero_point: unit {quantity.unit}, expected ABmag or a flux unit such as nmgy or Jy (of one"
            " count)"
        ) from None
    seconds = 1.0 if exposure_time is None else float(exposure_time)
    if not (np.isfinite(flux) and flux > 0 and np.isfinite(seconds) and seconds > 0):
        raise ImageError(
            f"zero_point: {zero_point} with exposure_time {exposure_time}, expected a finite zero point and"
            " a time > 0"
        )
    return flux / seconds


def from_counts(
    counts,
    *,
    band,
    psf,
    wcs,
    zero_point,
    exposure_time=None,
    gain=None,
    read_noise=0.0,
    weight=None,
    variance=None,
    sky=0.0,
    sky_subtracted=False,
    mask=None,
    saturation=None,
    **image_arguments,
):
    """An `Image` from pixels in counts (DN, ADU, electrons ...).

    Parameters
    ----------
    counts : array_like (ny, nx)
        Pixel values.
    band : str
        Name of the band.
    psf : PSF
        Point spread function.
    wcs : astropy.wcs.WCS or Astrometry
        Any celestial WCS.
    zero_point : Quantity, Magnitude or str
        With its unit, see `nanomaggies_per_count`.
    exposure_time : float, optional
        Seconds, where the zero point is that of a count rate.
    gain : float, optional
        Electrons per count: Poisson noise. Give exactly one of `gain`, `weight` and `variance`.
    read_noise : float, optional
        Electrons rms per pixel, with `gain`.
    weight, variance : float or array_like (ny, nx), optional
        Inverse variance [count^-2] or variance [count^2] of the pixels: Gaussian noise. Weight 0 masks a
        pixel.
    sky : float, array_like (ny, nx) or "measure", optional
        Sky level in counts; "measure" takes `measure_sky`.
    sky_subtracted : bool, optional
        Whether the sky has been taken out of `counts`; it is put back for Poisson noise.
    mask : array_like (ny, nx), optional
        True where not to be used.
    saturation : float, optional
        Level in counts at and above which a pixel is saturated.
    **image_arguments
        Arguments of `Image`: name, noise_scale, psf_error, calibration_error.

    Returns
    -------
    Image
        In nanomaggies.
    """
    scale = nanomaggies_per_count(zero_point, exposure_time)
    noise = _noise(scale, gain, read_noise, weight, variance)
    counts = np.ma.array(counts, dtype=float, copy=True)
    counts.mask = np.ma.getmaskarray(counts) | ~np.isfinite(counts.data)
    saturated = None if saturation is None else np.ma.filled(counts >= float(saturation), False)
    if isinstance(sky, str):
        if sky != "measure" or sky_subtracted:
            raise ImageError(
                f"sky: {sky!r}, expected a level in counts, an array, or 'measure' (with the sky in the"
                " pixels)"
            )
        sky = measure_sky(counts, mask)
    sky = np.asarray(sky, dtype=float)
    if sky_subtracted:
        counts = counts + sky
    return Image(
        counts * scale,
        band=band,
        psf=psf,
        wcs=wcs,
        noise=noise,
        sky=sky * scale,
        mask=mask,
        saturated=saturated,
        **image_arguments,
    )


def _noise(scale, gain, read_noise, weight, variance):
    given = [
        name
        for name, value in (("gain", gain), ("weight", weight), ("variance", variance))
        if value is not None
    ]
    if len(given) != 1:
        raise ImageError(
            f"noise: {', '.join(given) or 'nothing'} given, expected exactly one of gain [electron/count],"
            " weight [1/count^2] or variance [count^2]"
        )
    if gain is not None:
        gain, read_noise = _number("gain", gain), _number("read_noise", read_noise)
        if not (np.isfinite(gain) and gain > 0):
            raise ImageError(f"gain: {gain}, expected a finite number > 0 in electrons per count")
        if not (np.isfinite(read_noise) and read_noise >= 0):
            raise ImageError(f"read_noise: {read_noise}, expected a finite number >= 0 in electrons")
        photons = gain / scale
        if not FEWEST_PHOTONS <= photons <= MOST_PHOTONS:
            raise ImageError(
                f"gain: {gain:g} electrons per count is {photons:.3g} electrons for a source of one nanomaggy"
                f" (AB magnitude 22.5), expected {FEWEST_PHOTONS:g} to {MOST_PHOTONS:g}; check it and the zero point"
            )
        if read_noise > MOST_READ_NOISE:
            raise ImageError(f"read_noise: {read_noise:g}, expected at most {MOST_READ_NOISE:g} electrons")
        return PoissonNoise(photons, read_noise**2)
    if weight is not None:
        weight = np.ma.filled(np.ma.asarray(weight).astype(float), 0.0)
        usable = np.isfinite(weight) & (weight > 0)
        variance = np.full(weight.shape, np.inf)
        variance[usable] = 1 / weight[usable]
    return GaussianNoise(np.ma.asarray(variance).astype(float) * scale**2)


def _number(argument, value):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ImageError(f"{argument}: {value!r}, expected a number") from None


def _with_unit(zero_point):
    """A Quantity or Magnitude from what the user gave; a bare number is refused."""
    if isinstance(zero_point, (u.Quantity, u.Magnitude)) and zero_point.unit != u.dimensionless_unscaled:
        return zero_point
    text = WRITTEN.match(zero_point) if isinstance(zero_point, str) else None
    if text is None or text[2] is None:
        raise ImageError(
            f"zero_point: {zero_point} has no unit, expected for example '25.1 ABmag' (AB magnitude of one"
            " count) or '0.02 nmgy'"
        )
    value = _number("zero_point", text[1])
    if text[2].strip() in AB_NAMES:
        return value * u.ABmag
    try:
        return value * u.Unit(text[2].strip())
    except ValueError as error:
        raise ImageError(f"zero_point: {zero_point!r}: {one_line(error)}") from None
