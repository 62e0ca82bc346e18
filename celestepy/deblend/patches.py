"""Patches of sky from celestepy images: `observe`."""

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.grid import Grid
from celestepy.deblend.observation import Observation
from celestepy.images.noise import PoissonNoise

__all__ = ["observe"]


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
    cuts = [cut for image in images if (cut := _cut(image, ra, dec, size)) is not None]
    if not cuts:
        raise DeblendError(f"patch: {size} arcsec about ra={ra}, dec={dec} lie outside of every image")
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
    grids, bands, pixels, variances, psfs = zip(*group, strict=True)
    return Observation.from_arrays(
        np.stack(pixels), variance=np.stack(variances), psfs=psfs, bands=bands, grid=grids[0]
    )


def _cut(image, ra, dec, size):
    """Grid, band, pixels, variance and PSF of the patch of one image; None if it is outside."""
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
    return grid, image.band, np.where(image.mask[box], 0.0, excess), variance, image.psf.stamp(x, y)
