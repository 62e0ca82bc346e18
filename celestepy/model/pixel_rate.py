"""Log likelihood of a scene of stars and galaxies in the pixels of several images, with exact derivatives.

The work is done by a compiled kernel that exists in variants for different processors; the fastest that this
machine runs is chosen at import. The environment variable ``CELESTEPY_KERNEL`` (``avx512``, ``avx2`` or
``generic``) overrides the choice.
"""

import threading

import numpy as np

from celestepy.kernel_variants import KernelVariants
from celestepy.model import _pixel_rate_generic
from celestepy.model.kernel_inputs import checked_neighbours, checked_scene, finite, kernel_inputs, possible_scenes

__all__ = ["MeanFieldPixels", "SceneLikelihood", "available_kernels", "kernel_name"]

_KERNELS = KernelVariants(_pixel_rate_generic)


def available_kernels():
    """Names of the kernel variants that work on this machine, the fastest first.

    Returns
    -------
    tuple of str
        Among ``"avx512"``, ``"avx2"`` and ``"generic"``; the last is always there.
    """
    return _KERNELS.names


#: Name of the kernel variant in use.
kernel_name = _KERNELS.in_use


def _checked_order(order):
    if order not in (0, 1, 2):
        raise ValueError(f"order is {order!r}; expected 0, 1 or 2")
    return order


class _Turn:
    """Keeps a second thread from an object whose scratch memory is in use."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("another thread is using this object; give each thread one of its own")

    def __exit__(self, *_):
        self._lock.release()


def _extent(inputs):
    """Half the longest side of the patches (arcsec), by the scale of the pixels at the first source."""
    scales = np.abs(np.linalg.det(inputs.jacobians[:, 0].reshape(-1, 2, 2))) ** -0.5
    sides = [max(image.data.shape) for image in inputs.images]
    return float(np.max(0.5 * scales * sides))


class SceneLikelihood:
    """Log likelihood of patches of pixels given all sources that shine into them.

    The expected flux in a pixel is ``m = background + sky + sum_k f_k g_k``, with ``g_k`` the profile of
    source k convolved with the PSF. The log likelihood compares it with the data ``n``,

    * for counts: ``l = sum w (n ln(m / n) - m + n)``, the Poisson log likelihood above its maximum, data below zero
      counting as zero. Where m falls below 1 % of the background (below 1e-6 counts where there is none) it
      is continued by its second-order Taylor expansion, so that it is finite and smooth for any m;
    * for Gaussian noise: ``l = -1/2 sum w (n - m)^2``.

    Parameters
    ----------
    patches : sequence of `~celestepy.images.Patch`
        N patches: ``data``, ``weight`` and ``background`` of shape (h, w) in nanomaggies per pixel (weights
        in counts per nanomaggy for Poisson noise, in inverse squared nanomaggies otherwise; 0 = pixel not
        used), the image position ``x0, y0`` of the first pixel, and ``poisson``. What is not finite at
        weight zero is ignored.
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
    extent : float
        Half the longest side of the patches in arcsec: light that is spread wider than this looks like sky.

    Notes
    -----
    Parameters of a source are its row of the scene, ``f_1 .. f_B`` (nanomaggies), ``u, v`` (arcsec),
    ``dev_fraction``, ``Suu, Suv, Svv`` (arcsec^2, the squared half-light ellipse); the vector of all
    parameters is the rows one after the other, then the sky level of each patch. For stars the entries of
    the shape are without effect, their derivatives zero.

    An object keeps scratch memory and serves one thread at a time, else it raises RuntimeError.
    `evaluate` and `values` release the GIL.
    """

    def __init__(
        self, patches, bands, psfs, positions, jacobians, visible=None, *, n_bands=None, kernel=None
    ):
        inputs = kernel_inputs(patches, bands, psfs, positions, jacobians, visible, n_bands)
        self.n_images, self.n_sources, self.n_bands = len(inputs.images), inputs.n_sources, inputs.n_bands
        self.size = self.n_sources * (self.n_bands + 6) + self.n_images
        self.extent = _extent(inputs)
        self._inputs = inputs
        self._turn = _Turn()
        self._kernel = inputs.kernel(_KERNELS.module(kernel).PixelKernel)

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
        order = _checked_order(order)
        is_galaxy, scene = self._checked_scene(is_galaxy, scene)
        sky = finite("sky", sky, (self.n_images,))
        gradient = np.zeros(self.size) if order > 0 else None
        hessian = np.zeros((self.size, self.size)) if order > 1 else None
        with self._turn:
            value = self._kernel.evaluate(is_galaxy, scene, sky, order, gradient, hessian)
        return value, gradient, hessian

    def values(self, is_galaxy, scenes, sky):
        """Log likelihoods of many scenes of the same types, in one call.

        Parameters
        ----------
        is_galaxy : array_like of bool, shape (K,)
            Which sources are galaxies.
        scenes : array_like, shape (M, K, B + 6)
            Parameters of the sources in each of M draws.
        sky : array_like, shape (M, N)
            Level added to the background of each patch, nanomaggies per pixel.

        Returns
        -------
        `~numpy.ndarray`, shape (M,)
            The values of `evaluate`; -inf for a draw that is not finite, or in which the shape of a galaxy is not
            that of an ellipse.

        Raises
        ------
        ValueError
            If an argument has the wrong shape.
        """
        is_galaxy = np.ascontiguousarray(is_galaxy, dtype=bool)
        scenes, sky = (np.ascontiguousarray(part, dtype=float) for part in (scenes, sky))
        shapes = (self.n_sources,), (len(scenes), self.n_sources, self.n_bands + 6), (len(scenes), self.n_images)
        if (is_galaxy.shape, scenes.shape, sky.shape) != shapes:
            raise ValueError(
                f"is_galaxy, scenes and sky have shapes {is_galaxy.shape}, {scenes.shape} and {sky.shape}; expected "
                f"{shapes[0]}, (M, {self.n_sources}, {self.n_bands + 6}) and (M, {self.n_images})"
            )
        usable = possible_scenes(is_galaxy, scenes) & np.isfinite(sky).all(axis=1)
        if not usable.all():
            result = np.full(len(scenes), -np.inf)
            result[usable] = self.values(is_galaxy, scenes[usable], sky[usable]) if usable.any() else 0.0
            return result
        result = np.zeros(len(scenes))
        with self._turn:
            self._kernel.values(is_galaxy.view(np.uint8), scenes, sky, result)
        return result

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
        sky = finite("sky", sky, (self.n_images,))
        profiles = self.profiles(is_galaxy, scene)
        fluxes = np.asarray(scene, dtype=float)[:, self._inputs.bands]
        return [
            image.background + sky[n] + np.tensordot(fluxes[:, n], profiles[n], axes=1)
            for n, image in enumerate(self._inputs.images)
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
        images = [np.zeros((self.n_sources, *image.data.shape)) for image in self._inputs.images]
        with self._turn:
            for n, image in enumerate(images):
                self._kernel.render(n, is_galaxy, scene, image)
        return images

    def _checked_scene(self, is_galaxy, scene):
        return checked_scene(is_galaxy, scene, (self.n_sources, self.n_bands + 6))


class MeanFieldPixels:
    """Expected log likelihood of patches when types and fluxes are uncertain, by the delta method.

    This is the pixel term of the evidence lower bound of [1]_ as a function of one active source, all others
    fixed. Its star profile s and its galaxy profile g have the uncertain factor l; with ``A_i = a_i E[l|i]``,
    ``B_i = a_i E[l^2|i]`` and ``a_i`` the probability of the type, the mean and the variance of a
    pixel are

        E = background + sky + neighbours' mean + A1 s + A2 g
        V = neighbours' variance + B1 s^2 + B2 g^2 - (A1 s + A2 g)^2

    and the term is ``sum w (n ln(E / n) - E + n - n V / (2 E^2))`` for counts (eqs. 34, 35, 37; the same
    constants as in `SceneLikelihood`) and ``-1/2 sum w ((n - E)^2 + V)`` for Gaussian noise, for which it is
    exact.

    Parameters
    ----------
    patches, bands, psfs, positions, jacobians
        As in `SceneLikelihood`, with K = 1.
    n_bands, kernel : optional
        As in `SceneLikelihood`.

    Attributes
    ----------
    n_images : int
        Number of patches N.

    Notes
    -----
    The ten parameters of a patch, in this order: ``A1, A2, B1, B2`` (nanomaggies and their squares),
    ``u, v`` (arcsec), ``dev_fraction``, ``Suu, Suv, Svv`` (arcsec^2). An object serves
    one thread at a time.

    References
    ----------
    .. [1] Regier et al. 2019, "Approximate inference for constructing astronomical catalogs from images",
       Annals of Applied Statistics 13, 1884.
    """

    def __init__(self, patches, bands, psfs, positions, jacobians, *, n_bands=None, kernel=None):
        if np.ndim(positions) != 3 or np.shape(positions)[1] != 1:
            raise ValueError(
                f"positions has shape {np.shape(positions)}; expected (N, 1, 2), one active source"
            )
        # to the kernel the two types are two sources at the same place
        positions, jacobians = np.repeat(positions, 2, axis=1), np.repeat(jacobians, 2, axis=1)
        psfs = [[*row, *row] for row in psfs]
        self._inputs = kernel_inputs(patches, bands, psfs, positions, jacobians, None, n_bands)
        self.n_images = len(self._inputs.images)
        self._turn = _Turn()
        self._kernel = self._inputs.kernel(_KERNELS.module(kernel).MeanFieldKernel)

    def set_neighbours(self, means, variances):
        """Set what all other sources add to the pixels; at first nothing.

        Parameters
        ----------
        means, variances : sequences of N array_like, shapes (h, w)
            Mean (nanomaggies per pixel) and variance of the neighbours' light in each patch.

        Raises
        ------
        ValueError
            If a map has the wrong shape or is not finite in a pixel that is used.
        """
        means = checked_neighbours("means", means, self._inputs.images)
        variances = checked_neighbours("variances", variances, self._inputs.images)
        with self._turn:
            for n, (mean, variance) in enumerate(zip(means, variances, strict=True)):
                self._kernel.set_neighbours(n, mean, variance)

    def evaluate(self, amplitudes, geometry, sky, order=2):
        """The term of each patch and its derivatives.

        Parameters
        ----------
        amplitudes : array_like, shape (N, 4)
            A1, A2, B1, B2 in the band of each patch; index 1 is the star, 2 the galaxy.
        geometry : array_like, shape (6,)
            u, v, dev_fraction, Suu, Suv, Svv.
        sky : array_like, shape (N,)
            Level added to the background of each patch, nanomaggies per pixel.
        order : {2, 1, 0}
            Highest derivative wanted.

        Returns
        -------
        values : `~numpy.ndarray`, shape (N,)
        gradients : `~numpy.ndarray`, shape (N, 10), or None if ``order`` is 0
        hessians : `~numpy.ndarray`, shape (N, 10, 10), or None if ``order`` < 2

        Raises
        ------
        ValueError
            If an argument has the wrong shape, is not finite, or the shape is not that of an ellipse.
        """
        order = _checked_order(order)
        amplitudes = finite("amplitudes", amplitudes, (self.n_images, 4))
        sky = finite("sky", sky, (self.n_images,))
        values = np.zeros(self.n_images)
        gradients = np.zeros((self.n_images, 10)) if order > 0 else None
        hessians = np.zeros((self.n_images, 10, 10)) if order > 1 else None
        scene = self._scene(geometry)
        with self._turn:
            self._kernel.evaluate(amplitudes, scene, sky, order, values, gradients, hessians)
        return values, gradients, hessians

    def profiles(self, geometry):
        """Profiles of the source as a star and as a galaxy, of unit flux, convolved with the PSF.

        Parameters
        ----------
        geometry : array_like, shape (6,)
            As in `evaluate`.

        Returns
        -------
        list of N `~numpy.ndarray`, shapes (2, h, w)
            From these follow the maps that the source contributes as a neighbour of others.
        """
        scene = self._scene(geometry)
        images = [np.zeros((2, *image.data.shape)) for image in self._inputs.images]
        with self._turn:
            for n, image in enumerate(images):
                self._kernel.render(n, scene, image)
        return images

    def _scene(self, geometry):
        """Rows of a star and a galaxy of unit flux in all bands."""
        scene = np.ones((2, self._inputs.n_bands + 6))
        scene[:, -6:] = finite("geometry", geometry, (6,))
        return checked_scene([False, True], scene, scene.shape)[1]
