"""One image of the sky: the only place where pixels enter celestepy.

Whatever the caller's array is (any dtype, byte order or layout, masked, with NaN), an `Image` holds native
contiguous float64 in nanomaggies and one mask. Everything downstream can rely on that.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.images.errors import ImageError
from celestepy.images.native import bool_map, native_pixels, native_sky
from celestepy.images.noise import GaussianNoise, PoissonNoise
from celestepy.images.psf import PSF
from celestepy.images.wcs import as_astrometry, sky_coordinates

__all__ = ["Image", "Patch"]


@dataclass(frozen=True, eq=False)
class Patch:
    """A box of an image as the pixel kernel sees it.

    Attributes
    ----------
    data, weight, background : (h, w) float64, C-contiguous
        Pixel values and background in nanomaggies, and weights: photons per nanomaggy / noise_scale^2 for
        Poisson noise, 1 / (variance noise_scale^2) for Gaussian noise, 0 where the pixel is not used (there
        data = background). For Poisson noise a read and dark variance v [electron^2] is added to both data
        and background as v / photons_per_nanomaggy (the shifted Poisson approximation: mean and variance both
        right).
    x0, y0 : int
        Image pixel coordinates of ``data[0, 0]``.
    poisson : bool
        Which of the two noise models the weights belong to.
    """

    data: np.ndarray
    weight: np.ndarray
    background: np.ndarray
    x0: int
    y0: int
    poisson: bool

    @property
    def shape(self):
        """(h, w) of the box.

        Returns
        -------
        (int, int)
            Rows and columns.
        """
        return self.data.shape

    @property
    def n_pixels(self):
        """Number of pixels that are used.

        Returns
        -------
        int
            Pixels with a weight.
        """
        return int(np.count_nonzero(self.weight))


class Image:
    """One exposure or coadd in one band: pixels and all that is needed to predict them.

    Parameters
    ----------
    pixels : array_like (ny, nx) or Quantity
        Nanomaggies per pixel (or a Quantity convertible to Jy or nanomaggies), sky included. Any real or
        integer dtype, byte order and layout; it is copied, never changed. NaN, infinite and masked entries
        become masked.
    band : str
        Name of the band; images of the same band share one flux per source.
    psf : PSF
        Point spread function, see `celestepy.images.psf`.
    wcs : astropy.wcs.WCS or Astrometry
        Any celestial WCS, or an object with the methods of `celestepy.images.wcs.Astrometry`.
    noise : PoissonNoise or GaussianNoise
        Noise model; for Poisson noise the sky must be included in the pixels.
    sky : float or array_like (ny, nx), optional
        Sky level, nmgy/pixel. Its level is fitted again with the sources.
    mask : array_like (ny, nx) of bool, optional
        True where the pixel is not to be used.
    saturated : array_like (ny, nx) of bool, optional
        True where the detector was saturated; such pixels are masked too, and the sources there are flagged.
    name : str, optional
        Name for messages and metadata; the band by default.
    noise_scale : float, optional
        Factor >= 1 by which correlated noise widens fluxes, see `measure_noise_scale`.
    psf_error : float, optional
        Fractional rms error of the PSF model, see `measure_psf_error`; 0 means a perfect model.
    calibration_error : float, optional
        Fractional error of the flux calibration, common to all sources of the image; 0 means exact.

    Raises
    ------
    ImageError
        One line that names the argument, its value, what was expected and the remedy.

    Notes
    -----
    Instances are immutable (their arrays are read-only); `replace` makes a changed copy. Pixel values are 0
    where masked.
    """

    def __init__(
        self,
        pixels,
        *,
        band,
        psf,
        wcs,
        noise,
        sky=0.0,
        mask=None,
        saturated=None,
        name=None,
        noise_scale=1.0,
        psf_error=0.0,
        calibration_error=0.0,
    ):
        set_ = object.__setattr__
        set_(self, "band", _checked_name("band", band))
        set_(self, "name", _checked_name("name", self.band if name is None else name))
        set_(self, "psf", _checked_psf(psf))
        set_(self, "wcs", wcs)
        set_(self, "_astrometry", as_astrometry(wcs))
        values, unusable = native_pixels(pixels)
        set_(self, "noise", _checked_noise(noise).fit_to(values.shape))
        set_(self, "sky", native_sky(sky, values.shape))
        set_(self, "saturated", None if saturated is None else bool_map("saturated", saturated, values.shape))
        set_(self, "mask", self._joined_mask(mask, unusable))
        values[self.mask] = 0.0
        set_(self, "pixels", values)
        set_(self, "noise_scale", _checked_number("noise_scale", noise_scale, 1.0))
        set_(self, "psf_error", _checked_number("psf_error", psf_error, 0.0))
        set_(self, "calibration_error", _checked_number("calibration_error", calibration_error, 0.0))
        self._check_variance()
        for array in (self.pixels, self.mask):
            array.setflags(write=False)

    def __setattr__(self, name, value):
        raise AttributeError(f"an Image is immutable: use image.replace({name}=...) to make a changed copy")

    def __repr__(self):
        ny, nx = self.shape
        return (
            f"<Image {self.name!r} band {self.band!r}, {nx} x {ny} pixels, {self.mask.mean():.1%} masked,"
            f" {type(self.noise).__name__}, {type(self.psf).__name__}>"
        )

    def _joined_mask(self, mask, unusable):
        joined = unusable
        if mask is not None:
            joined |= bool_map("mask", mask, unusable.shape)
        if self.saturated is not None:
            joined |= self.saturated
        if isinstance(self.noise, GaussianNoise):
            joined |= ~np.isfinite(self.noise.variance)
        joined |= ~np.isfinite(self.sky)
        if joined.all():
            raise ImageError(
                f"image {self.name!r}: all {joined.size} pixels are masked, NaN or of zero weight, expected"
                " at least one"
                " usable pixel; leave this image out or check its mask, weight map and units"
            )
        return joined

    def _check_variance(self):
        if isinstance(self.noise, GaussianNoise):
            return
        smallest = self.variance()[~self.mask].min()
        if not smallest > 0:
            raise ImageError(
                f"image {self.name!r}: the smallest noise variance is {smallest:.3g} nmgy^2, expected > 0;"
                " Poisson noise needs the sky in both pixels and sky=..., or a read variance, or use"
                " GaussianNoise"
            )

    @property
    def astrometry(self):
        """The `Astrometry` behind `wcs`.

        Returns
        -------
        Astrometry
            What maps sky and pixels.
        """
        return self._astrometry

    @property
    def shape(self):
        """(ny, nx) of the pixels.

        Returns
        -------
        (int, int)
            Rows and columns.
        """
        return self.pixels.shape

    def variance(self):
        """Noise variance of the sky, (ny, nx) nmgy^2, without the sources' photons; inf at zero weight.

        Returns
        -------
        (ny, nx) array
            Variance, nmgy^2.
        """
        return self.noise.variance_of(self.sky)

    def replace(self, **changes):
        """A copy with some of the constructor's arguments changed.

        Masked pixels hold no value any more, so a new `mask` without new `pixels` is added to the present
        one.

        Parameters
        ----------
        **changes
            Arguments of the constructor and their new values.

        Returns
        -------
        Image
            The changed copy.
        """
        names = (
            "pixels",
            "band",
            "psf",
            "wcs",
            "noise",
            "sky",
            "mask",
            "saturated",
            "name",
            "noise_scale",
            "psf_error",
            "calibration_error",
        )
        unknown = set(changes) - set(names)
        if unknown:
            raise TypeError(
                f"replace: unknown argument {sorted(unknown)[0]!r}, expected one of {', '.join(names)}"
            )
        arguments = {name: getattr(self, name) for name in names} | changes
        if "mask" in changes and "pixels" not in changes:
            new = np.zeros(self.shape, bool) if changes["mask"] is None else changes["mask"]
            arguments["mask"] = self.mask | bool_map("mask", new, self.shape)
        return Image(arguments.pop("pixels"), **arguments)

    def patch(self, x0, x1, y0, y1):
        """The box of pixels x0 <= x < x1, y0 <= y < y1, clipped to the image.

        Parameters
        ----------
        x0, x1 : int
            First column, and the column after the last.
        y0, y1 : int
            First row, and the row after the last.

        Returns
        -------
        Patch
            What the pixel kernel needs.

        Raises
        ------
        ValueError
            If no pixel is left.
        """
        ny, nx = self.shape
        box = (max(int(y0), 0), min(int(y1), ny)), (max(int(x0), 0), min(int(x1), nx))
        if box[0][0] >= box[0][1] or box[1][0] >= box[1][1]:
            raise ImageError(
                f"patch: box x [{x0}, {x1}), y [{y0}, {y1}) holds no pixel of image {self.name!r} ({nx} x"
                f" {ny})"
            )
        rows, columns = (slice(*edges) for edges in box)
        poisson = isinstance(self.noise, PoissonNoise)
        parts = self._poisson_patch(rows, columns) if poisson else self._gaussian_patch(rows, columns)
        return Patch(
            *(np.ascontiguousarray(part) for part in parts), x0=columns.start, y0=rows.start, poisson=poisson
        )

    def _poisson_patch(self, rows, columns):
        photons = self.noise.photons_per_nanomaggy[columns]
        used = ~self.mask[rows, columns]
        shift = self.noise.shift(columns)
        background = np.where(used, self.sky[rows, columns], 1.0) + shift
        data = np.where(used, self.pixels[rows, columns] + shift, background)
        weight = np.where(used, photons / self.noise_scale**2, 0.0)
        data = np.maximum(data, 0.0)  # a count below zero is read noise: the Poisson form ends at 0
        return data, weight, background

    def _gaussian_patch(self, rows, columns):
        used = ~self.mask[rows, columns]
        background = np.where(used, self.sky[rows, columns], 0.0)
        data = np.where(used, self.pixels[rows, columns], background)
        weight = np.where(used, 1.0 / self.noise.variance[rows, columns] / self.noise_scale**2, 0.0)
        return data, weight, background

    def sky_to_pixel(self, ra, dec):
        """Pixel x, y (0-based, centres at integers) of ICRS ra, dec in degrees; arrays allowed.

        Parameters
        ----------
        ra, dec : float or array_like
            ICRS, degrees.

        Returns
        -------
        x, y : float or array
            Pixel coordinates, 0-based.
        """
        return self._astrometry.sky_to_pixel(ra, dec)

    def pixel_to_sky(self, x, y):
        """ICRS ra, dec in degrees of pixel coordinates x, y; arrays allowed.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        ra, dec : float or array
            ICRS, degrees.
        """
        return self._astrometry.pixel_to_sky(x, y)

    def local_affine(self, coord):
        """The WCS linearised about a position.

        Parameters
        ----------
        coord : SkyCoord or (ra, dec)
            Position(s), degrees ICRS; scalars or arrays (n,).

        Returns
        -------
        x, y : float or (n,)
            Pixel position.
        jacobian : (2, 2) or (n, 2, 2)
            The derivative d(x, y) / d(u, v) in pixels per arcsec, u to the East and v to the North.
        """
        return self._astrometry.local_affine(*sky_coordinates(coord))


def _checked_name(argument, value):
    if not isinstance(value, str) or not value.strip():
        raise ImageError(f"{argument}: {value!r}, expected a non-empty string such as 'r'")
    return value


def _checked_psf(psf):
    if not isinstance(psf, PSF):
        raise ImageError(
            f"psf: {type(psf).__name__}, expected a PSF such as GaussianPSF(fwhm=...), StampPSF(array) or"
            " read_psfex(path)"
        )
    return psf


def _checked_noise(noise):
    if not isinstance(noise, (PoissonNoise, GaussianNoise)):
        raise ImageError(
            f"noise: {type(noise).__name__}, expected PoissonNoise(photons_per_nanomaggy) or"
            " GaussianNoise(variance)"
        )
    return noise


def _checked_number(argument, value, smallest):
    number = float(value)
    if not (np.isfinite(number) and number >= smallest):
        raise ImageError(f"{argument}: {number}, expected a finite number >= {smallest:g}")
    return number
