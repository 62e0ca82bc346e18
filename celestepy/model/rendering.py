"""Plain rendering of a source, one Gaussian at a time in NumPy.

It shares nothing with the compiled kernel of `celestepy.model.pixel_rate` but the definition of the model, so
that simulations made with it test the kernel.
"""

import numpy as np

from celestepy.model.parameters import scene_layout
from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL

__all__ = ["add_image", "filter_power", "source_mixture"]

_REACH = 6.0  # standard deviations to which a component is rendered: it loses exp(-18) of its flux


def source_mixture(source, psf, jacobian):
    """The image of a source of unit flux as a sum of Gaussians.

    Parameters
    ----------
    source : Source
        The source.
    psf : PSFMixture
        PSF at its place.
    jacobian : (2, 2) array
        d(x, y) / d(u, v) in pixels per arcsec.

    Returns
    -------
    amplitudes : (n,) array
        Fluxes of the components.
    means : (n, 2) array
        Their centres about the source (pixels, x first).
    covariances : (n, 2, 2) array
        Their covariances (pixels^2).
    """
    seeing = psf.covariances[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    if not source.is_galaxy:
        return psf.amplitudes, psf.means, seeing
    at, scene = scene_layout(len(source.bands)), source.scene
    suu, suv, svv = scene[at.shape]
    dev = scene[at.dev_fraction]
    shares = np.concatenate([dev * DE_VAUCOULEURS.amplitudes, (1 - dev) * EXPONENTIAL.amplitudes])
    variances = np.concatenate([DE_VAUCOULEURS.variances, EXPONENTIAL.variances])
    ellipse = jacobian @ np.array([[suu, suv], [suv, svv]]) @ jacobian.T
    covariances = variances[:, None, None, None] * ellipse + seeing
    means = np.broadcast_to(psf.means, (len(shares), *psf.means.shape))
    return np.outer(shares, psf.amplitudes).ravel(), means.reshape(-1, 2), covariances.reshape(-1, 2, 2)


def filter_power(amplitudes, means, covariances):
    """Sum over pixels of the square of a mixture.

    The matched filter of a source of flux f has the squared signal to noise ``f^2 power / variance``.

    Parameters
    ----------
    amplitudes, means, covariances
        Of `source_mixture`.

    Returns
    -------
    float
        The integral that the sum over pixels stands for.
    """
    offsets = means[:, None] - means
    widths = covariances[:, None] + covariances
    chi2 = np.einsum("ija,ijab,ijb->ij", offsets, np.linalg.inv(widths), offsets)
    overlaps = np.exp(-0.5 * chi2) / (2 * np.pi * np.sqrt(np.linalg.det(widths)))
    return float(amplitudes @ overlaps @ amplitudes)


def add_image(pixels, flux, x, y, amplitudes, means, covariances):
    """Add the image of a source to pixels, in place, each component within a box of its own.

    Parameters
    ----------
    pixels : (ny, nx) array of float
        Pixels to add to.
    flux : float
        Flux of the source.
    x, y : float
        Its pixel position.
    amplitudes, means, covariances
        Of `source_mixture`.
    """
    ny, nx = pixels.shape
    precisions = np.linalg.inv(covariances)
    norms = flux * amplitudes / (2 * np.pi * np.sqrt(np.linalg.det(covariances)))
    reaches = _REACH * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    for norm, mean, (dx, dy), precision in zip(norms, means, reaches, precisions, strict=True):
        cx, cy = x + mean[0], y + mean[1]
        columns = np.arange(max(int(cx - dx), 0), min(int(cx + dx) + 2, nx))
        rows = np.arange(max(int(cy - dy), 0), min(int(cy + dy) + 2, ny))
        if not (columns.size and rows.size):
            continue
        h, v = columns - cx, (rows - cy)[:, None]
        chi2 = precision[0, 0] * h * h + 2 * precision[0, 1] * h * v + precision[1, 1] * v * v
        pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += norm * np.exp(-0.5 * chi2)
