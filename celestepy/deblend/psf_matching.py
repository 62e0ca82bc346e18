"""The PSF of the model, and the kernels that widen it to the PSF of each band.

A scene is modelled as seen through a narrow Gaussian, the model PSF, which every pixel grid can represent. The
difference kernel D of a band satisfies D * model = PSF; it is found by division in Fourier space, damped where the
model PSF has no power left. Without a model PSF the scene is fully deconvolved: D is the PSF itself.
"""

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from celestepy.deblend.errors import DeblendError
from celestepy.images.psf_mixture import PSFMixture

__all__ = [
    "centred", "check_centre", "check_sampling", "difference_kernel", "gaussian_sigma", "model_psf_for", "odd_stamp"
]

NARROW = 0.8  # pixels: the widest model PSF chosen by default; its power at the Nyquist frequency is 4%
SHARE = 0.6  # of the sharpest PSF's width that the default model PSF has at most
NARROWEST = 0.4  # pixels: below this a Gaussian is not sampled at all
UNDERSAMPLED = 0.55  # pixels, Gaussian sigma: FWHM 1.3; pixels cannot hold what the PSF lets through
OFF_CENTRE = 1.0  # pixels from the middle of a stamp to that of its PSF; an even stamp may be off by 0.7
DAMPING = 1e-3  # relative to the model PSF's power at frequency 0


def odd_stamp(stamp, name="psf"):
    """Check a PSF stamp and bring it to an odd square, its middle pixel the source position.

    Parameters
    ----------
    stamp : array_like (ny, nx) or PSFMixture
        Stamp with the source on the pixel ``(ny // 2, nx // 2)``, of any normalisation; a mixture is rendered to
        5 standard deviations.
    name : str, optional
        For messages.

    Returns
    -------
    (n, n) array
        Of unit sum.

    Raises
    ------
    DeblendError
        If it is not two-dimensional, or its sum is not finite and positive.
    """
    if isinstance(stamp, PSFMixture):
        half = int(np.ceil(5 * np.sqrt(stamp.covariances[:, [0, 2]].max()) + np.abs(stamp.means).max()))
        stamp = stamp.render((2 * half + 1, 2 * half + 1), half, half)
    pixels = np.ma.filled(np.ma.asarray(stamp).astype(float), np.nan)
    if pixels.ndim != 2 or pixels.size == 0:
        raise DeblendError(f"{name}: shape {pixels.shape}, expected a two-dimensional stamp or a PSFMixture")
    total = pixels.sum()
    if not (np.isfinite(total) and total > 0):
        raise DeblendError(f"{name}: sum {total}, expected finite pixels with a positive sum; replace NaN by 0")
    return centred(pixels / total, 2 * (max(pixels.shape) // 2) + 1)


def check_centre(stamp, name="psf"):
    """Refuse a PSF whose peak is not in the middle of its stamp: it would move every source.

    Parameters
    ----------
    stamp : (n, n) array
        Of `odd_stamp`.
    name : str, optional
        For messages.

    Raises
    ------
    DeblendError
        If the pixels above half of the peak are centred more than a pixel away from the middle one.
    """
    bright = np.argwhere(stamp >= 0.5 * stamp.max())
    off_y, off_x = bright.mean(axis=0) - len(stamp) // 2
    if np.hypot(off_y, off_x) > OFF_CENTRE:
        raise DeblendError(
            f"{name}: its peak lies {off_y:+.1f}, {off_x:+.1f} pixels (y, x) off the middle of its stamp, expected at"
            f" most {OFF_CENTRE:g}; shift it there, or cut the stamp about the peak"
        )


def check_sampling(stamps):
    """Refuse PSFs that pixels are too large for.

    Parameters
    ----------
    stamps : sequence of (n, n) arrays
        PSFs in their own pixels, of unit sum.

    Raises
    ------
    DeblendError
        If one is undersampled.
    """
    sharpest = min(gaussian_sigma(stamp) for stamp in stamps)
    if sharpest < UNDERSAMPLED:
        raise DeblendError(
            f"psfs: the sharpest is {sharpest:.2f} pixels wide (Gaussian sigma), expected at least {UNDERSAMPLED}: the"
            " images are undersampled; combine dithered exposures on smaller pixels, or give model_psf=None for a"
            " deconvolved model of free sources at your own risk"
        )


def centred(stamp, side):
    """Cut or zero-pad a stamp about its middle pixel.

    Parameters
    ----------
    stamp : (ny, nx) array
        The middle pixel is ``(ny // 2, nx // 2)``.
    side : int
        Odd side wanted.

    Returns
    -------
    (side, side) array
        A copy.
    """
    new = np.zeros((side, side))
    slices = []
    for n in stamp.shape:
        shift = side // 2 - n // 2  # of the old stamp in the new one
        first, last = max(shift, 0), min(shift + n, side)
        slices.append((slice(first, last), slice(first - shift, last - shift)))
    new[slices[0][0], slices[1][0]] = stamp[slices[0][1], slices[1][1]]
    return new


def gaussian_sigma(stamp):
    """Width of the Gaussian with the peak of a stamp of unit sum, pixels.

    Parameters
    ----------
    stamp : (n, n) array
        Of unit sum.

    Returns
    -------
    float
        Standard deviation; a measure of sharpness that wings do not disturb.
    """
    return float(np.sqrt(1 / (2 * np.pi * stamp.max())))


def model_psf_for(stamps):
    """The default model PSF: a Gaussian narrower than every band's PSF.

    Parameters
    ----------
    stamps : sequence of (n, n) arrays
        PSFs at the model's pixel scale, of unit sum.

    Returns
    -------
    PSFMixture
        One round Gaussian of flux 1.

    Raises
    ------
    DeblendError
        If a PSF is undersampled.
    """
    check_sampling(stamps)
    sharpest = min(gaussian_sigma(stamp) for stamp in stamps)
    sigma = min(NARROW, SHARE * sharpest)
    variance = max(sigma, NARROWEST) ** 2
    return PSFMixture([1.0], [[0.0, 0.0]], [[variance, 0.0, variance]])


def difference_kernel(stamp, model_psf):
    """The kernel that turns the model PSF into a band's PSF.

    Parameters
    ----------
    stamp : (n, n) array
        The band's PSF at the model's pixel scale: odd n, unit sum.
    model_psf : PSFMixture or None
        The model's PSF; None for a deconvolved model.

    Returns
    -------
    kernel : (n, n) array
        Unit sum.
    residual : float
        sqrt(sum (kernel * model - stamp)^2 / sum stamp^2): 0 for a perfect kernel.

    Raises
    ------
    DeblendError
        If the model PSF is wider than the band's.
    """
    if model_psf is None:
        return stamp, 0.0
    narrow = odd_stamp(model_psf)
    if gaussian_sigma(narrow) > gaussian_sigma(stamp):
        raise DeblendError(
            f"model_psf: {gaussian_sigma(narrow):.2f} pixels wide (Gaussian sigma), expected at most that of each"
            f" band's PSF, {gaussian_sigma(stamp):.2f}; give a narrower one, or none for the default"
        )
    side = len(stamp)
    size = next_fast_len(2 * max(side, len(narrow)) + 1, real=True)
    wanted, model = (rfft2(_wrapped(psf, size)) for psf in (stamp, narrow))
    power = np.abs(model) ** 2
    ratio = wanted * model.conj() / (power + DAMPING**2 * power.max())
    kernel = centred(np.fft.fftshift(irfft2(ratio, s=(size, size))), side)
    kernel /= kernel.sum()
    misfit = irfft2(rfft2(_wrapped(kernel, size)) * model - wanted, s=(size, size))
    return kernel, float(np.sqrt((misfit**2).sum() / (stamp**2).sum()))


def _wrapped(stamp, size):
    """The stamp on a periodic square with its middle pixel at the origin."""
    half = len(stamp) // 2
    square = np.zeros((size, size))
    square[: len(stamp), : len(stamp)] = stamp
    return np.roll(square, (-half, -half), axis=(0, 1))
