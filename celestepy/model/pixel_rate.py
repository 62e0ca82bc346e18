"""Log likelihood of a scene of stars and galaxies in the pixels of several images, with exact derivatives.

The work is done by a compiled kernel that exists in variants for different processors; the fastest that this
machine runs is chosen at import. The environment variable ``CELESTEPY_KERNEL`` (``avx512``, ``avx2`` or ``generic``)
overrides the choice.
"""

import importlib
import math
import os

import numpy as np

from celestepy.model import _pixel_rate_generic
from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL

__all__ = ["SceneLikelihood", "available_kernels", "kernel_name"]

# width of the vectors in doubles, the fastest variant first
_WIDTHS = {"avx512": 8, "avx2": 4}


def _import_kernels():
    """Variants that were compiled and that this processor runs, the fastest first."""
    kernels = {}
    for name, width in _WIDTHS.items():
        # asked before the import: even a module's start-up code may use instructions the processor lacks
        if _pixel_rate_generic.processor_runs(width):
            try:
                kernels[name] = importlib.import_module(f"celestepy.model._pixel_rate_{name}")
            except ImportError:  # this variant was not compiled
                continue
    kernels["generic"] = _pixel_rate_generic
    return kernels


_KERNELS = _import_kernels()


def available_kernels():
    """Names of the kernel variants that work on this machine, the fastest first.

    Returns
    -------
    tuple of str
        Among ``"avx512"``, ``"avx2"`` and ``"generic"``; the last is always there.
    """
    return tuple(_KERNELS)


def _chosen_kernel():
    name = os.environ.get("CELESTEPY_KERNEL", available_kernels()[0])
    if name not in _KERNELS:
        raise ImportError(
            f"CELESTEPY_KERNEL is {name!r}, but the kernels that work here are "
            f"{', '.join(available_kernels())}; set it to one of these or unset it"
        )
    return name


#: Name of the kernel variant in use.
kernel_name = _chosen_kernel()

_PROFILE_TABLE = np.array(
    [
        (amplitude, variance, is_dev)
        for is_dev, mixture in enumerate((EXPONENTIAL, DE_VAUCOULEURS))
        for amplitude, variance in zip(mixture.amplitudes, mixture.variances, strict=True)
    ],
    dtype=float,
)


# below this variance, pixels^2, the kernel may have to treat a component row by row
_NARROW = 0.09


class SceneLikelihood:
    """Log likelihood of patches of pixels given all sources that shine into them.

    The expected flux in a pixel is ``m = background + sky + sum_k f_k g_k``, with ``g_k`` the profile of source k
    convolved with the PSF. The log likelihood compares it with the data ``n``,

    * for counts: ``l = sum w (n ln(m / n) - m + n)``, the Poisson log likelihood above its maximum, data below zero
      counting as zero. Where m falls below 1 % of the background (below 1e-6 counts where there is none) it is
      continued by its second-order Taylor expansion, so that it is finite and smooth for any m;
    * for Gaussian noise: ``l = -1/2 sum w (n - m)^2``.

    Parameters
    ----------
    patches : sequence of `~celestepy.images.Patch`
        N patches: ``data``, ``weight`` and ``background`` of shape (h, w) in nanomaggies per pixel (weights in counts
        per nanomaggy for Poisson noise, in inverse squared nanomaggies otherwise; 0 = pixel not used), the image
        position ``x0, y0`` of the first pixel, and ``poisson``. They are copied.
    bands : array_like of int, shape (N,)
        Index of each patch's band, 0 to ``n_bands`` - 1.
    psfs : sequence of N sequences of K `~celestepy.images.PSFMixture`
        PSF of each source in each patch; may be None where the source is not visible.
    positions : array_like, shape (N, K, 2)
        Image position x, y in pixels of each source at u = v = 0.
    jacobians : array_like, shape (N, K, 2, 2)
        Derivatives d(x, y) / d(u, v) there, in pixels per arcsec.
    visible : array_like of bool, shape (N, K), optional
        Whether the source contributes to the patch; all do by default.
    n_bands : int, optional
        Number of bands B; by default the largest of ``bands`` + 1.
    kernel : str, optional
        One of `available_kernels`, instead of the one in use.

    Attributes
    ----------
    n_images, n_sources, n_bands, size : int
        N, K, B, and the number of parameters P = K (B + 6) + N.

    Notes
    -----
    Parameters of a source are its row of the scene, ``f_1 .. f_B`` (nanomaggies), ``u, v`` (arcsec), ``dev_fraction``,
    ``Suu, Suv, Svv`` (arcsec^2, the squared half-light ellipse); the vector of all parameters is the rows one after the other,
    then the sky level of each patch. For stars the entries of the shape are without effect, their derivatives zero.

    An object keeps scratch memory: use it in one thread at a time. `evaluate` releases the GIL.
    """

    def __init__(
        self, patches, bands, psfs, positions, jacobians, visible=None, *, n_bands=None, kernel=None
    ):
        patches = list(patches)
        if not patches:
            raise ValueError("patches is empty; give at least one patch of pixels")
        self.n_images = len(patches)
        bands = _integers("bands", bands, (self.n_images,))
        self.n_bands = int(bands.max()) + 1 if n_bands is None else int(n_bands)
        if bands.min() < 0 or bands.max() >= self.n_bands:
            raise ValueError(f"bands has values {bands.min()} to {bands.max()}; expected 0 to {self.n_bands - 1}")
        positions = np.array(positions, dtype=float, order="C")
        if positions.ndim != 3 or positions.shape[::2] != (self.n_images, 2) or not positions.shape[1]:
            raise ValueError(f"positions has shape {positions.shape}; expected ({self.n_images}, sources, 2)")
        self.n_sources = positions.shape[1]
        self.size = self.n_sources * (self.n_bands + 6) + self.n_images
        by_source = (self.n_images, self.n_sources)
        jacobians = _finite("jacobians", jacobians, (*by_source, 2, 2))
        visible = np.ones(by_source, bool) if visible is None else np.array(visible, dtype=bool, order="C")
        if visible.shape != by_source:
            raise ValueError(f"visible has shape {visible.shape}; expected {by_source}")
        components, first = _psf_table(psfs, visible)
        origins = np.array([(patch.x0, patch.y0) for patch in patches], dtype=float)
        self._bands = bands
        self._backgrounds = [np.asarray(patch.background, dtype=float) for patch in patches]
        self._kernel = _KERNELS[_known_kernel(kernel)].PixelKernel(
            [(*_pixels(n, patch), bands[n], bool(patch.poisson)) for n, patch in enumerate(patches)],
            self.n_bands,
            components,
            first,
            _finite("positions", positions, (*by_source, 2)) - origins[:, None],
            jacobians.reshape(*by_source, 4),
            visible.view(np.uint8),
            _PROFILE_TABLE,
            _narrowest(components) < _NARROW,
        )

    def evaluate(self, is_galaxy, scene, sky, order=2):
        """Log likelihood and its derivatives by the scene and the sky levels.

        Parameters
        ----------
        is_galaxy : array_like of bool, shape (K,)
            Which sources are galaxies; the others are stars.
        scene : array_like, shape (K, B + 6)
            Fluxes (nanomaggies), u, v (arcsec), dev_fraction, Suu, Suv, Svv (arcsec^2) of each source.
        sky : array_like, shape (N,)
            Level added to the background of each patch, nanomaggies per pixel.
        order : {2, 1, 0}
            Highest derivative wanted.

        Returns
        -------
        value : float
        gradient : `~numpy.ndarray`, shape (P,), or None if ``order`` is 0
        hessian : `~numpy.ndarray`, shape (P, P), or None if ``order`` < 2

        Raises
        ------
        ValueError
            If an argument has the wrong shape, is not finite, or a galaxy's shape is not that of an ellipse.
        """
        if order not in (0, 1, 2):
            raise ValueError(f"order is {order!r}; expected 0, 1 or 2")
        is_galaxy, scene = self._checked_scene(is_galaxy, scene)
        sky = _finite("sky", sky, (self.n_images,))
        gradient = np.zeros(self.size) if order > 0 else None
        hessian = np.zeros((self.size, self.size)) if order > 1 else None
        value = self._kernel.evaluate(is_galaxy, scene, sky, order, gradient, hessian)
        return value, gradient, hessian

    def model(self, is_galaxy, scene, sky):
        """Expected pixels.

        Parameters
        ----------
        is_galaxy, scene, sky
            As in `evaluate`.

        Returns
        -------
        list of `~numpy.ndarray`, shapes (h, w)
            Background, sky level and sources of each patch, nanomaggies per pixel.
        """
        sky = _finite("sky", sky, (self.n_images,))
        return [
            background + level + np.tensordot(fluxes, profiles, axes=1)
            for background, level, fluxes, profiles in zip(
                self._backgrounds, sky, self._fluxes(scene), self.profiles(is_galaxy, scene), strict=True
            )
        ]

    def profiles(self, is_galaxy, scene):
        """Profiles of the sources, convolved with the PSF, for unit flux.

        Parameters
        ----------
        is_galaxy, scene
            As in `evaluate`; the fluxes do not matter.

        Returns
        -------
        list of `~numpy.ndarray`, shapes (K, h, w)
            One per patch; zero for sources that are not visible there.
        """
        is_galaxy, scene = self._checked_scene(is_galaxy, scene)
        images = [np.zeros((self.n_sources, *background.shape)) for background in self._backgrounds]
        for n, image in enumerate(images):
            self._kernel.render(n, is_galaxy, scene, image)
        return images

    def _fluxes(self, scene):
        """Fluxes of the K sources in the band of each patch, (N, K)."""
        return np.asarray(scene, dtype=float)[:, self._bands].T

    def _checked_scene(self, is_galaxy, scene):
        """The two arguments as the kernel takes them."""
        is_galaxy = np.ascontiguousarray(is_galaxy, dtype=bool)
        if is_galaxy.shape != (self.n_sources,):
            raise ValueError(f"is_galaxy has shape {is_galaxy.shape}; expected ({self.n_sources},)")
        scene = _finite("scene", scene, (self.n_sources, self.n_bands + 6))
        for k in np.flatnonzero(is_galaxy):
            suu, suv, svv = scene[k, -3:].tolist()
            if not (suu >= 0 and svv >= 0 and suv * suv <= suu * svv * (1 + 1e-9)):
                raise ValueError(
                    f"scene[{k}] has the shape Suu, Suv, Svv = {suu}, {suv}, {svv}; "
                    "expected Suu >= 0, Svv >= 0 and Suv^2 <= Suu Svv"
                )
        return is_galaxy.view(np.uint8), scene


def _known_kernel(name):
    """The name of a kernel, by default that of the one in use."""
    if name is None:
        return kernel_name
    if name not in _KERNELS:
        raise ValueError(f"kernel is {name!r}; those that work here are {', '.join(available_kernels())}")
    return name


def _integers(name, values, shape):
    """C-contiguous int32 array of the given shape."""
    values = np.asarray(values)
    if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} has shape {values.shape} and type {values.dtype}; expected integers, {shape}")
    return np.ascontiguousarray(values, dtype=np.int32)


def _finite(name, values, shape):
    """C-contiguous float64 array of the given shape without NaN or infinity."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {shape}")
    # the sum of finite numbers of any sensible size is finite, and one sum is faster than a test of each
    if not math.isfinite(values.sum()) and not np.isfinite(values).all():
        raise ValueError(f"{name} has entries that are not finite: {values[~np.isfinite(values)][:3].tolist()}")
    return values


def _pixels(n, patch):
    """Data, weight and background of a patch, finite wherever the weight is not zero."""
    shape = np.shape(patch.data)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"patches[{n}].data has shape {shape}; expected (h, w), not empty")
    weight = _finite(f"patches[{n}].weight", patch.weight, shape)
    if weight.min() < 0:
        raise ValueError(f"patches[{n}].weight has the negative value {weight.min()}; expected >= 0")
    used = []
    for name in ("data", "background"):
        values = np.ascontiguousarray(getattr(patch, name), dtype=np.float64)
        if values.shape == shape and not math.isfinite(values.sum()):
            values = np.where(weight > 0, values, 0.0)
        used.append(_finite(f"patches[{n}].{name}", values, shape))
    return used[0], weight, used[1]


def _psf_table(psfs, visible):
    """Components of all PSFs below one another (n, 6), and where those of each source begin (N, K + 1).

    Columns: amplitude, mean x, y, covariance xx, xy, yy.
    """
    n_images, n_sources = visible.shape
    if len(psfs) != n_images or any(len(row) != n_sources for row in psfs):
        raise ValueError(f"psfs has rows of lengths {[len(row) for row in psfs]}; expected {n_images} of {n_sources}")
    tables, first, total = [np.empty((0, 6))], np.zeros((n_images, n_sources + 1), dtype=np.int32), 0
    for n, k in np.ndindex(n_images, n_sources):
        if k == 0:
            first[n, 0] = total
        if visible[n, k]:
            tables.append(np.asarray(psfs[n][k].array, dtype=float))
            if tables[-1].ndim != 2 or tables[-1].shape[1] != 6:
                raise ValueError(f"psfs[{n}][{k}].array has shape {tables[-1].shape}; expected (components, 6)")
            total += len(tables[-1])
        first[n, k + 1] = total
    return _checked_components(np.concatenate(tables)), first


def _checked_components(table):
    """The table of all PSF components, if they are Gaussians."""
    xx, xy, yy = table[:, 3:].T
    if not (np.isfinite(table).all() and (xx > 0).all() and (xx * yy > xy * xy).all()):
        wrong = ~(np.isfinite(table).all(axis=1) & (xx > 0) & (xx * yy > xy * xy))
        raise ValueError(
            f"psfs has the component (amplitude, x, y, xx, xy, yy) = {table[wrong][0].tolist()}; "
            "expected finite numbers and a positive definite covariance"
        )
    return table


def _narrowest(components):
    """Smallest variance of any component along any direction."""
    xx, xy, yy = components[:, 3:].T
    return np.min((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy), initial=np.inf)
