"""Scenes rendered by direct convolution."""

import numpy as np
from scipy.signal import convolve2d

from celestepy.deblend.psf_matching import difference_kernel


def direct_render(scene):
    """Image of the scene in its one observation, (B, h, w)."""
    (observation,) = scene.frame.observations
    cube = np.zeros((scene.frame.n_bands, *scene.frame.grid.shape))
    for source in scene.sources:
        on_grid, in_box = source.box.overlap(cube.shape[1:])
        for b, flux in enumerate(source.sed):
            cube[b][on_grid] += flux * source.morphology[in_box]
    kernels = [difference_kernel(psf, scene.frame.model_psf)[0] for psf in observation.psfs]
    return np.array([_same(image, kernel) for image, kernel in zip(cube, kernels, strict=True)])


def _same(image, kernel):
    """Convolution on the image's own pixels, whichever of the two is the larger."""
    half = len(kernel) // 2
    return convolve2d(image, kernel)[half : half + image.shape[0], half : half + image.shape[1]]


def direct_chi2(scene):
    """Chi^2 of the scene in its one observation."""
    (observation,) = scene.frame.observations
    return float((observation.weights * (observation.images - direct_render(scene)) ** 2).sum())
