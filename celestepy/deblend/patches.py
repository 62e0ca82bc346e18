"""Patches of sky from celestepy images: `observe`, and `cut_out` where it matters which pixels they were."""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.grid import Grid
from celestepy.deblend.observation import Observation
from celestepy.images.noise import PoissonNoise

__all__ = ["Cutout", "cut_out", "observe"]


@dataclass(frozen=True, eq=False)
class Cutout:
    """A patch with the place of its pixels in the images that it was cut from.

    Attributes
    ----------
    observation : Observation
        The patch.
    images : tuple of int
        For each of its bands, which of the images.
    corners : tuple of (int, int)
        For each of its bands, the pixel x, y of the image that is the patch's first.
    """

    observation: Observation
    images: tuple
    corners: tuple


def observe(images, ra, dec, size):
    """Cut the same patch of sky from every image.

    Images whose patches have the same pixels become the bands of one observation; the others observations of their
    own, which one scene renders together.

    Parameters
    ----------
    images : sequence of Image
        Of any bands and pixel scales.
    ra, dec : float
        Centre of the patch, ICRS degrees.
    size : float
        Its side, arcsec.

    Returns
    -------
    list of Observation
        In nanomaggies, sky subtracted; u and v of their grids are East and North of (ra, dec).

    Raises
    ------
    DeblendError
        If the patch lies outside of every image.

    Notes
    -----
    The variance of a pixel with counting noise is that of the sky plus that of the counts above it, as observed.
    """
    return [cutout.observation for cutout in cut_out(images, ra, dec, size)]


def cut_out(images, ra, dec, size):
    """Cut the same patch of sky from every image, and remember where it was.

    Parameters
    ----------
    images, ra, dec, size
        As for `observe`.

    Returns
    -------
    list of Cutout
        One for each observation.

    Raises
    ------
    DeblendError
        If the patch lies outside of every image.
    """
    cuts = [(*cut, k) for k, image in enumerate(images) if (cut := _cut(image, ra, dec, size)) is not None]
    if not cuts:
        raise DeblendError(f"patch: {size:.4g} arcsec about ra {ra:.5f}, dec {dec:.5f} lie outside of every image, or"
                           " are masked in all; choose a place within the images, ra and dec in degrees")
    groups = []
    for cut in cuts:
        for group in groups:
            if group[0][0].is_same(cut[0]) and cut[1] not in [other[1] for other in group]:
                group.append(cut)
                break
        else:
            groups.append([cut])
    return [_joined(group) for group in groups]


def _joined(group):
    grids, bands, pixels, variances, psfs, corners, images = zip(*group, strict=True)
    observation = Observation.from_arrays(
        np.stack(pixels), variance=np.stack(variances), psfs=psfs, bands=bands, grid=grids[0]
    )
    return Cutout(observation, images, corners)


def _cut(image, ra, dec, size):
    """Grid, band, pixels, variance, PSF and corner of the patch of one image; None if it is outside."""
    x, y, jacobian = image.local_affine((ra, dec))
    half = 0.5 * size / np.sqrt(abs(np.linalg.det(np.linalg.inv(jacobian))))
    (y0, y1), (x0, x1) = (
        (max(int(np.rint(centre - half)), 0), min(int(np.rint(centre + half)) + 1, side))
        for centre, side in zip((y, x), image.shape, strict=True)
    )
    if x0 >= x1 or y0 >= y1 or image.mask[y0:y1, x0:x1].all():
        return None
    box = np.s_[y0:y1, x0:x1]
    to_plane = np.linalg.inv(jacobian)
    grid = Grid((y1 - y0, x1 - x0), to_plane, to_plane @ [x0 - x, y0 - y])
    excess = image.pixels[box] - image.sky[box]
    variance = np.array(image.variance()[box])
    if isinstance(image.noise, PoissonNoise):
        variance += np.maximum(excess, 0.0) / image.noise.photons_per_nanomaggy[x0:x1]
    variance = np.where(image.mask[box], np.inf, variance * image.noise_scale**2)
    pixels = np.where(image.mask[box], 0.0, excess)
    return grid, image.band, pixels, variance, image.psf.stamp(x, y), (x0, y0)
