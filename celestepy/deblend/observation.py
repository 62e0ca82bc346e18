"""What was observed of one patch of sky on one grid of pixels: `Observation`.

Several bands may share the grid; other resolutions of the same patch are observations of their own.
"""

from dataclasses import dataclass

import numpy as np
from astropy.units import UnitConversionError

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.grid import Grid
from celestepy.deblend.psf_matching import check_centre, odd_stamp

__all__ = ["Observation"]

PIXEL_SCALE = 1.0  # arcsec, where none is given
# beyond these, squares of squares leave the range of float64 while a scene is fitted
_LARGEST_PIXEL, _LARGEST_WEIGHT, _SMALLEST_WEIGHT, _LARGEST_SNR = 1e75, 1e150, 1e-150, 1e50


@dataclass(frozen=True, eq=False)
class Observation:
    """Images of one or more bands on the same pixels. Immutable; made by `from_arrays` or from images.

    Attributes
    ----------
    images : (B, h, w) array
        Sky-subtracted flux per pixel in any one unit of flux (nanomaggies where made from images); 0 where not used.
    weights : (B, h, w) array
        Inverse variances; 0 where not used (masked, NaN, infinite or of weight 0).
    psfs : tuple of (n, n) arrays
        PSF of each band on these pixels, pixel response included, of unit sum, n odd.
    bands : tuple of str
        Name of each band.
    grid : Grid
        Where the pixels lie.
    """

    images: np.ndarray
    weights: np.ndarray
    psfs: tuple
    bands: tuple
    grid: Grid

    @classmethod
    def from_arrays(
        cls, images, weights=None, *, psfs, bands=None, variance=None, mask=None, pixel_scale=PIXEL_SCALE, grid=None
    ):
        """Make an observation from arrays.

        Parameters
        ----------
        images : array_like (B, h, w) or (h, w)
            Sky-subtracted pixels; any real dtype, byte order and layout; masked entries and NaN are not used. A
            Quantity is taken in its own unit, to which weights or variances, quantities then too, are brought.
        weights : array_like, optional
            Inverse variances, of the images' shape, one for each band or one number; 0 or NaN where not used.
        psfs : sequence of B stamps or PSFMixture, or one for all
            Pixel response included; the source on the middle pixel.
        bands : sequence of str, optional
            Names; "0", "1", ... by default.
        variance : array_like, optional
            In place of `weights`: variances; infinite, NaN or <= 0 where not used.
        mask : array_like, optional
            Not 0 where a pixel is not to be used.
        pixel_scale : float or Quantity, optional
            Arcsec; 1 where it does not matter.
        grid : Grid, optional
            In place of `pixel_scale`, for patches seen at several resolutions.

        Returns
        -------
        Observation
            Native float64 copies.

        Raises
        ------
        DeblendError
            If shapes or units do not agree, no pixel can be used, numbers are out of range, or PSFs are missing or
            off their stamps' centres.
        """
        images, weights, variance = _without_units(images, weights, variance)
        pixels = np.ma.asarray(images)
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or pixels.size == 0 or pixels.dtype.kind not in "fiub":
            raise DeblendError(f"images: {pixels.dtype} of shape {pixels.shape}, expected real numbers (bands, h, w)")
        weights = _weights(weights, variance, pixels.shape)
        used = np.isfinite(np.ma.filled(pixels.astype(float), np.nan)) & (weights > 0)
        if mask is not None:
            used &= ~_flags(mask, pixels.shape)
        if not used.any():
            raise DeblendError(
                f"images: none of {used.size} pixels is usable (all masked, NaN or of zero weight), expected at least"
                " one; check the mask, the weights and their units"
            )
        names = tuple(str(k) for k in range(len(pixels))) if bands is None else tuple(str(band) for band in bands)
        if len(names) != len(pixels) or len(set(names)) != len(names):
            raise DeblendError(f"bands: {names}, expected {len(pixels)} different names, one for each image")
        grid = Grid.of_scale(pixels.shape[1:], pixel_scale) if grid is None else grid
        if grid.shape != pixels.shape[1:]:
            raise DeblendError(f"grid: shape {grid.shape}, expected that of the images, {pixels.shape[1:]}")
        values = np.where(used, np.ma.filled(pixels.astype(float), 0.0), 0.0)
        _check_range(values, weights[used])
        return cls(_frozen(values), _frozen(np.where(used, weights, 0.0)), _stamps(psfs, names), names, grid)

    @property
    def shape(self):
        """(B, h, w)."""
        return self.images.shape

    @property
    def n_used(self):
        """(B,) number of pixels used in each band."""
        return np.count_nonzero(self.weights, axis=(1, 2))

    def replace_images(self, images):
        """The same observation with other pixel values, for instance of another realisation of the noise.

        Parameters
        ----------
        images : (B, h, w) array
            New values; those of unused pixels are ignored.

        Returns
        -------
        Observation
            The changed copy.
        """
        return Observation.from_arrays(images, self.weights, psfs=self.psfs, bands=self.bands, grid=self.grid)


def _without_units(images, weights, variance):
    """The numbers of all three, in the images' unit and in powers of it; arrays with and without units do not mix."""
    unit, numbers = getattr(images, "unit", None), []
    for name, values, power in (("weights", weights, -2), ("variance", variance, 2)):
        own = getattr(values, "unit", None)
        if values is not None and (own is None) != (unit is None):
            raise DeblendError(
                f"{name}: in {own or 'plain numbers'} while the images are in {unit or 'plain numbers'}, expected"
                f" {'plain numbers' if unit is None else unit**power}; give both with units or both without"
            )
        try:
            numbers.append(values if own is None else values.to_value(unit**power))
        except UnitConversionError:
            raise DeblendError(f"{name}: unit {own}, expected {unit**power}, for images in {unit}") from None
    return images if unit is None else images.value, *numbers


def _check_range(values, weights):
    """Refuse numbers whose powers float64 cannot hold: they come from a strange unit or a damaged file."""
    pixel, weight = float(np.abs(values).max()), float(weights.max())
    if pixel > _LARGEST_PIXEL or not _SMALLEST_WEIGHT <= weight <= _LARGEST_WEIGHT:
        raise DeblendError(
            f"images: largest pixel {pixel:.3g} and largest weight {weight:.3g}, expected pixels below"
            f" {_LARGEST_PIXEL:g} and weights of {_SMALLEST_WEIGHT:g} to {_LARGEST_WEIGHT:g}; choose another unit"
        )
    if pixel * np.sqrt(weight) > _LARGEST_SNR:
        raise DeblendError(
            f"images: signal to noise of up to {pixel * np.sqrt(weight):.3g}, expected below {_LARGEST_SNR:g}; mask"
            " damaged pixels and check the unit of the weights"
        )


def _weights(weights, variance, shape):
    """(B, h, w) finite weights, 0 where not known."""
    if (weights is None) == (variance is None):
        given = "neither" if weights is None else "both"
        raise DeblendError(f"weights, variance: {given} given, expected one of them (inverse variances, or variances)")
    name, values = ("weights", weights) if variance is None else ("variance", variance)
    values = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if values.ndim == 1:
        values = values[:, None, None]
    try:
        values = np.broadcast_to(values, shape)
    except ValueError:
        raise DeblendError(
            f"{name}: shape {values.shape}, expected one number, one for each band, or the shape of the images {shape}"
        ) from None
    if variance is not None:
        values = np.divide(1.0, values, out=np.zeros(shape), where=(values > 0) & np.isfinite(values))
    known = np.isfinite(values)
    if (values[known] < 0).any():
        raise DeblendError(f"{name}: {values[known].min():.4g}, expected inverse variances >= 0; 0 where not used")
    return np.where(known, values, 0.0)


def _flags(mask, shape):
    flags = np.ma.filled(np.ma.asarray(mask) != 0, True)
    if flags.shape not in (shape, shape[1:]):
        raise DeblendError(f"mask: shape {flags.shape}, expected that of the images, {shape}")
    return np.broadcast_to(flags, shape)


def _stamps(psfs, names):
    """PSFs of all bands, checked, one copied for all if only one is given."""
    single = hasattr(psfs, "covariances") or (isinstance(psfs, np.ndarray) and psfs.ndim == 2)
    psfs = [psfs] * len(names) if single else list(psfs)
    if len(psfs) != len(names):
        raise DeblendError(f"psfs: {len(psfs)} given, expected one for all or one for each band {', '.join(names)}")
    stamps = [odd_stamp(psf, f"psf of band {name}") for psf, name in zip(psfs, names, strict=True)]
    for stamp, name in zip(stamps, names, strict=True):
        check_centre(stamp, f"psf of band {name}")
    return tuple(_frozen(stamp) for stamp in stamps)


def _frozen(array):
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
