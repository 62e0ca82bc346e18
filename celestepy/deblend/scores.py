"""How well sources were taken apart, where the truth is known (Sampson et al. 2024, equations 14 to 16).

All scores compare images of single sources as an observation sees them, (K, B, h, w), true and modelled, so that
methods with different models of the sky can be compared. The *morphology* of such an image is its sum over bands, its
*SED* the sum over pixels.
"""

import numpy as np

from celestepy.deblend.errors import DeblendError

__all__ = ["blendedness", "chi2_per_pixel", "flux_error", "morphology_correlation", "sed_correlation"]


def flux_error(images, truth):
    """Relative error of the flux summed over bands and pixels: (f - f_true) / f_true (equation 14).

    Parameters
    ----------
    images, truth : (K, B, h, w) array_like
        Images of each source.

    Returns
    -------
    (K,) array
        Signed; NaN where the true flux is 0.

    Raises
    ------
    DeblendError
        If shapes do not agree.
    """
    images, truth = _pair(images, truth)
    found, true = images.sum(axis=(1, 2, 3)), truth.sum(axis=(1, 2, 3))
    return np.divide(found - true, true, out=np.full(len(true), np.nan), where=true != 0)


def morphology_correlation(images, truth):
    """Correlation of the images summed over bands (equation 15 with nu = S).

    Parameters
    ----------
    images, truth : (K, B, h, w) array_like
        Images of each source.

    Returns
    -------
    (K,) array
        1 for the same shape at any brightness; 0 where the model has no light.
    """
    images, truth = _pair(images, truth)
    return _correlation(images.sum(axis=1), truth.sum(axis=1))


def sed_correlation(images, truth):
    """Correlation of the fluxes in all bands (equation 15 with nu = A).

    Parameters
    ----------
    images, truth : (K, B, h, w) array_like
        Images of each source.

    Returns
    -------
    (K,) array
        1 for the same colours at any brightness; 0 where the model has no light.
    """
    images, truth = _pair(images, truth)
    return _correlation(images.sum(axis=(2, 3)), truth.sum(axis=(2, 3)))


def blendedness(truth):
    """1 - S_k.S_k / (S.S_k), with S the sum of the sources' images over sources and bands (equation 16).

    Parameters
    ----------
    truth : (K, B, h, w) array_like
        Images of each source.

    Returns
    -------
    (K,) array
        0 for an isolated source, towards 1 for one that is lost in its neighbours; NaN for one without light.
    """
    morphologies = _images(truth, "truth").sum(axis=1)
    own = np.einsum("khw,khw->k", morphologies, morphologies)
    shared = np.einsum("hw,khw->k", morphologies.sum(axis=0), morphologies)
    return 1 - np.divide(own, shared, out=np.full(len(own), np.nan), where=shared > 0)


def chi2_per_pixel(images, observation):
    """Chi^2 of the sum of the sources' images, per used pixel.

    Parameters
    ----------
    images : (K, B, h, w) array_like
        Images of each source.
    observation : Observation
        The data.

    Returns
    -------
    float
        1 on average for the truth.
    """
    model = _images(images, "images").sum(axis=0)
    if model.shape != observation.shape:
        raise DeblendError(f"images: of shape {model.shape}, expected the observation's, {observation.shape}")
    used = observation.weights > 0
    return float((observation.weights * (observation.images - model) ** 2)[used].sum() / np.count_nonzero(used))


def _correlation(a, b):
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0)


def _images(images, name):
    images = np.asarray(images, dtype=float)
    if images.ndim != 4:
        raise DeblendError(f"{name}: shape {images.shape}, expected (sources, bands, h, w)")
    return images


def _pair(images, truth):
    images, truth = _images(images, "images"), _images(truth, "truth")
    if images.shape != truth.shape:
        raise DeblendError(f"images: shape {images.shape}, expected that of the truth, {truth.shape}")
    return images, truth
