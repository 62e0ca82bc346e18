"""Arguments of the pixel kernels: checked, and in the form in which a kernel takes them.

A kernel checks nothing and cannot raise. Whatever can be wrong with its arguments is found and named here.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL

__all__ = ["KernelInputs", "checked_neighbours", "checked_scene", "finite", "kernel_inputs", "possible_scenes"]

# Below this variance, pixels^2, the kernel may have to begin a component anew in every row.
NARROW = 0.09

# Numbers beyond this may overflow in the kernel; nothing in the sky comes near.
LARGEST = 1e60

# Components of the galaxy profiles: amplitude, variance in half-light radii squared, 1 if de Vaucouleurs.
PROFILE_TABLE = np.array(
    [
        (amplitude, variance, is_dev)
        for is_dev, mixture in enumerate((EXPONENTIAL, DE_VAUCOULEURS))
        for amplitude, variance in zip(mixture.amplitudes, mixture.variances, strict=True)
    ]
)


class PatchPixels(NamedTuple):
    """The pixels of one patch, in the order in which a kernel takes them."""

    data: np.ndarray
    weight: np.ndarray
    background: np.ndarray
    band: int
    poisson: bool


@dataclass(frozen=True)
class KernelInputs:
    """What a kernel object is constructed from; N patches, K sources.

    Attributes
    ----------
    images : list of N PatchPixels
    bands : `~numpy.ndarray` of int32, shape (N,)
    n_bands : int
    components : `~numpy.ndarray`, shape (n, 6)
        PSF components below one another: amplitude, mean x, y, covariance xx, xy, yy.
    first : `~numpy.ndarray` of int32, shape (N, K + 1)
        Row of ``components`` at which those of each source begin.
    positions : `~numpy.ndarray`, shape (N, K, 2)
        x, y of each source in the pixels of the patch.
    jacobians : `~numpy.ndarray`, shape (N, K, 4)
    visible : `~numpy.ndarray` of uint8, shape (N, K)
    """

    images: list
    bands: np.ndarray
    n_bands: int
    components: np.ndarray
    first: np.ndarray
    positions: np.ndarray
    jacobians: np.ndarray
    visible: np.ndarray

    @property
    def n_sources(self):
        """Number of sources K."""
        return self.positions.shape[1]

    def kernel(self, kernel_class):
        """Construct a kernel object."""
        return kernel_class(
            self.images,
            self.n_bands,
            self.components,
            self.first,
            self.positions,
            self.jacobians,
            self.visible,
            PROFILE_TABLE,
            _narrowest(self.components) < NARROW,
        )


def kernel_inputs(patches, bands, psfs, positions, jacobians, visible, n_bands):
    """Check what describes a set of patches and the sources in them.

    Parameters
    ----------
    patches, bands, psfs, positions, jacobians, visible, n_bands
        As in `~celestepy.model.pixel_rate.SceneLikelihood`.

    Returns
    -------
    KernelInputs

    Raises
    ------
    ValueError
        Naming the argument that is wrong, its value, and what was expected.
    """
    patches = list(patches)
    if not patches:
        raise ValueError("patches is empty; give at least one patch of pixels")
    bands, n_bands = _checked_bands(bands, len(patches), n_bands)
    positions = np.asarray(positions, dtype=float)
    if positions.ndim != 3 or positions.shape[::2] != (len(patches), 2) or not positions.shape[1]:
        raise ValueError(f"positions has shape {positions.shape}; expected ({len(patches)}, sources, 2)")
    by_source = positions.shape[:2]
    jacobians = finite("jacobians", jacobians, (*by_source, 2, 2)).reshape(*by_source, 4).copy()
    visible = np.ones(by_source, bool) if visible is None else np.array(visible, dtype=bool, order="C")
    if visible.shape != by_source:
        raise ValueError(f"visible has shape {visible.shape}; expected {by_source}")
    components, first = _psf_table(psfs, visible)
    origins = np.array([(patch.x0, patch.y0) for patch in patches], dtype=float)
    positions = finite("positions", positions, (*by_source, 2)) - origins[:, None]
    images = [
        _pixels(n, patch, band) for n, (patch, band) in enumerate(zip(patches, bands.tolist(), strict=True))
    ]
    return KernelInputs(
        images, bands, n_bands, components, first, positions, jacobians, visible.view(np.uint8)
    )


def finite(name, values, shape):
    """Array of the given shape without NaN or infinity, C-contiguous float64.

    Raises
    ------
    ValueError
        If it has another shape or entries that are not finite.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {shape}")
    # the sum of finite numbers of any sensible size is finite, and one sum is faster than a test of each
    if not math.isfinite(values.sum()) and not np.isfinite(values).all():
        raise ValueError(
            f"{name} has entries that are not finite: {values[~np.isfinite(values)][:3].tolist()}"
        )
    return values


def checked_scene(is_galaxy, scene, shape):
    """Types and parameters of the sources as a kernel takes them: (K,) uint8 and (K, B + 6) float64.

    Raises
    ------
    ValueError
        If a shape is wrong, an entry is not finite, or the shape matrix of a galaxy is not that of an
        ellipse.
    """
    is_galaxy = np.ascontiguousarray(is_galaxy, dtype=bool)
    if is_galaxy.shape != shape[:1]:
        raise ValueError(f"is_galaxy has shape {is_galaxy.shape}; expected {shape[:1]}")
    scene = finite("scene", scene, shape)
    for k in is_galaxy.nonzero()[0].tolist():
        suu, suv, svv = scene[k, -3:].tolist()
        if suu < 0 or svv < 0 or suv * suv > suu * svv * (1 + 1e-9):
            raise ValueError(
                f"scene[{k}] has the shape Suu, Suv, Svv = {suu}, {suv}, {svv}; "
                "expected Suu >= 0, Svv >= 0 and Suv^2 <= Suu Svv"
            )
    return is_galaxy.view(np.uint8), scene


def possible_scenes(is_galaxy, scenes):
    """Which of many scenes a kernel can take: finite, within `LARGEST`, and with galaxies shaped like ellipses.

    Parameters
    ----------
    is_galaxy : array of bool, shape (K,)
        Types.
    scenes : array, shape (M, K, B + 6)
        Parameters.

    Returns
    -------
    array of bool, shape (M,)
    """
    possible = (np.abs(scenes) < LARGEST).all(axis=(1, 2))  # False for NaN too
    suu, suv, svv = np.moveaxis(scenes[:, is_galaxy, -3:], -1, 0)
    with np.errstate(invalid="ignore", over="ignore"):
        ellipse = (suu >= 0) & (svv >= 0) & (suv * suv <= suu * svv * (1 + 1e-9))
    return possible & ellipse.all(axis=1)


def checked_neighbours(name, maps, images):
    """One finite map (h, w) per patch.

    Raises
    ------
    ValueError
        If their number or a shape is wrong, or a pixel in use is not finite.
    """
    if len(maps) != len(images):
        raise ValueError(f"{name} has {len(maps)} maps; expected {len(images)}, one per patch")
    return [
        _finite_where_used(f"{name}[{n}]", values, image.weight)
        for n, (values, image) in enumerate(zip(maps, images, strict=True))
    ]


def _checked_bands(bands, n_patches, n_bands):
    bands = np.asarray(bands)
    if bands.shape != (n_patches,) or not np.issubdtype(bands.dtype, np.integer):
        raise ValueError(
            f"bands has shape {bands.shape} and type {bands.dtype}; expected ({n_patches},) integers"
        )
    n_bands = int(bands.max()) + 1 if n_bands is None else int(n_bands)
    if bands.min() < 0 or bands.max() >= n_bands:
        raise ValueError(f"bands has values from {bands.min()} to {bands.max()}; expected 0 to {n_bands - 1}")
    return np.ascontiguousarray(bands, dtype=np.int32), n_bands


def _pixels(n, patch, band):
    """The pixels of a patch, finite also where the weight is zero."""
    shape = np.shape(patch.data)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"patches[{n}].data has shape {shape}; expected (h, w), not empty")
    weight = finite(f"patches[{n}].weight", patch.weight, shape)
    if weight.min() < 0:
        raise ValueError(f"patches[{n}].weight has the negative value {weight.min()}; expected >= 0")
    data = _finite_where_used(f"patches[{n}].data", patch.data, weight)
    background = _finite_where_used(f"patches[{n}].background", patch.background, weight)
    return PatchPixels(data, weight, background, band, bool(patch.poisson))


def _finite_where_used(name, values, weight):
    """The array with zeros for what is not finite at weight zero."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.shape == weight.shape and not math.isfinite(values.sum()):
        values = np.where((weight > 0) | np.isfinite(values), values, 0.0)
    return finite(name, values, weight.shape)


def _psf_table(psfs, visible):
    """Components of all PSFs below one another, and where those of each source begin."""
    n_images, n_sources = visible.shape
    if len(psfs) != n_images or any(len(row) != n_sources for row in psfs):
        raise ValueError(
            f"psfs has rows of lengths {[len(row) for row in psfs]}; expected {n_images} of {n_sources}"
        )
    tables, first, total = [np.empty((0, 6))], np.zeros((n_images, n_sources + 1), dtype=np.int32), 0
    for n, k in np.ndindex(n_images, n_sources):
        if k == 0:
            first[n, 0] = total
        if visible[n, k]:
            tables.append(np.asarray(psfs[n][k].array, dtype=float))
            if tables[-1].ndim != 2 or tables[-1].shape[1] != 6:
                raise ValueError(
                    f"psfs[{n}][{k}].array has shape {tables[-1].shape}; expected (components, 6)"
                )
            total += len(tables[-1])
        first[n, k + 1] = total
    return _checked_components(np.concatenate(tables)), first


def _checked_components(table):
    """The table of all PSF components, if they are Gaussians."""
    xx, xy, yy = table[:, 3:].T
    good = np.isfinite(table).all(axis=1) & (xx > 0) & (xx * yy > xy * xy)
    if not good.all():
        raise ValueError(
            f"psfs has the component (amplitude, x, y, xx, xy, yy) = {table[~good][0].tolist()}; "
            "expected finite numbers and a positive definite covariance"
        )
    return table


def _narrowest(components):
    """Smallest variance of any component along any direction."""
    xx, xy, yy = components[:, 3:].T
    return np.min((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy), initial=np.inf)
