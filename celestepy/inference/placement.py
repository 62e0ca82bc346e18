"""Where every source falls on every image, and the patches that a group of sources is fitted to."""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from celestepy.images.sky_level import measure_sky_error
from celestepy.model.pixel_rate import SceneLikelihood

__all__ = ["Contribution", "GroupData", "Placement"]


@dataclass(frozen=True)
class Contribution:
    """What one source adds to the images, as far as is known: scene vectors of one or both types, flux-weighted.

    Attributes
    ----------
    is_galaxy : `~numpy.ndarray`
        Type of each part, shape (n,).
    scenes : `~numpy.ndarray`
        Scene vectors whose fluxes carry the probability of the type, shape (n, B + 6).
    """

    is_galaxy: np.ndarray
    scenes: np.ndarray


@dataclass(frozen=True)
class GroupData:
    """The pixels of a group of sources.

    Attributes
    ----------
    members : tuple of int
        Indices of the sources.
    images : tuple of int
        Indices of the images that see the group.
    likelihood : `~celestepy.model.pixel_rate.SceneLikelihood`
        Of the patches.
    patches : list of `~celestepy.images.Patch`
        With the neighbours in the background, and weights that allow for the error of the PSF model.
    sky_sd : `~numpy.ndarray`
        Prior standard deviation of the sky level of each patch (nmgy per pixel).
    n_pixels, masked_fraction : int, float
        Pixels used, over all images, and the share of pixels within the patches that are masked.
    """

    members: tuple
    images: tuple
    likelihood: SceneLikelihood
    patches: list
    sky_sd: np.ndarray
    n_pixels: int
    masked_fraction: float


class Placement:
    """Pixel positions, local WCS and PSFs of sources on images.

    Its ``fwhm`` (pixels) and ``pixel_scale`` (arcsec) are those of the middle of each image.

    Parameters
    ----------
    images : sequence of `~celestepy.images.Image`
        The images.
    ra, dec : array_like
        Seed positions in degrees, shape (S,).
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.
    radius : float
        Half width of a source's patch in units of the PSF's full width at half maximum.
    sky_factor : float
        Prior standard deviation of a patch's sky level, in units of the scatter measured on the image.
    """

    def __init__(self, images, ra, dec, bands, radius=8.0, sky_factor=1.0):
        self.images, self.bands = list(images), bands
        self.ra, self.dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        self.x, self.y, self.jacobian = self._locate(self.ra, self.dec)
        self.band_index = np.array([bands.names.index(image.band) for image in self.images])
        centres = [((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2) for image in self.images]
        self.fwhm = np.array([image.psf.at(*xy).fwhm for image, xy in zip(self.images, centres, strict=True)])
        self.pixel_scale = np.array(
            [image.astrometry.pixel_scale(*xy) for image, xy in zip(self.images, centres, strict=True)]
        )
        self.half_width = np.maximum(np.ceil(radius * self.fwhm), 8).astype(int)
        self.sky_sd = sky_factor * np.array([measure_sky_error(image) for image in self.images])

    def _locate(self, ra, dec):
        located = [image.local_affine((ra, dec)) for image in self.images]
        return tuple(np.array([part[i] for part in located]) for i in range(3))

    def at(self, ra, dec):
        """The same images with sources at other positions (degrees, shape (S,))."""
        other = copy(self)
        other.ra, other.dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        other.x, other.y, other.jacobian = self._locate(other.ra, other.dec)
        return other

    def with_more(self, ra, dec):
        """The same images and sources, and more sources behind them."""
        other = copy(self)
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        new = self._locate(ra, dec)
        other.ra, other.dec = np.concatenate([self.ra, ra]), np.concatenate([self.dec, dec])
        other.x, other.y, other.jacobian = (
            np.concatenate([getattr(self, name), part], axis=1)
            for name, part in zip(("x", "y", "jacobian"), new, strict=True)
        )
        return other

    def psf(self, image, source):
        """PSF of an image at a source."""
        return self.images[image].psf.at(self.x[image, source], self.y[image, source])

    def box(self, image, members):
        """The half-open box (x0, x1, y0, y1) around some sources in one image, clipped; None where it is empty."""
        ny, nx = self.images[image].shape
        half = self.half_width[image]
        members = list(members)
        inside = (
            (self.x[image, members] > -half)
            & (self.x[image, members] < nx - 1 + half)
            & (self.y[image, members] > -half)
            & (self.y[image, members] < ny - 1 + half)
        )
        if not inside.any():
            return None
        x, y = np.rint(self.x[image, members][inside]), np.rint(self.y[image, members][inside])
        x0, x1 = max(int(x.min()) - half, 0), min(int(x.max()) + half + 1, nx)
        y0, y1 = max(int(y.min()) - half, 0), min(int(y.max()) + half + 1, ny)
        return (x0, x1, y0, y1) if x1 > x0 and y1 > y0 else None

    def gather(self, members, contributions, own=None):
        """Cut out the patches of a group.

        Parameters
        ----------
        members : sequence of int
            The group.
        contributions : dict
            Source index -> `Contribution` of the neighbours to put into the background.
        own : dict, optional
            Source index -> `Contribution` of the members themselves; with it, the weights allow for the PSF
            error of each image.

        Returns
        -------
        GroupData or None
            None if no image has a usable pixel there.
        """
        patches, used, used_pixels, all_pixels = [], [], 0, 0
        for n in range(len(self.images)):
            box = self.box(n, members)
            if box is None:
                continue
            patch = self.images[n].patch(*box)
            inside = self._outline(n, members, patch)
            patch = replace(patch, weight=patch.weight * inside)
            all_pixels += int(np.count_nonzero(inside))
            if patch.n_pixels:
                used_pixels += patch.n_pixels
                patches.append(patch)
                used.append(n)
        if not used:
            return None
        patches = self._with_neighbours(patches, used, contributions)
        if own:
            patches = self._with_psf_error(patches, used, own)
        return GroupData(
            tuple(members),
            tuple(used),
            self.scene_likelihood(patches, used, members),
            patches,
            self.sky_sd[used],
            used_pixels,
            1 - used_pixels / all_pixels,
        )

    def scene_likelihood(self, patches, used, members):
        """Likelihood of some sources on some patches of the images `used`."""
        members = list(members)
        psfs = [[self.psf(n, k) for k in members] for n in used]
        positions = np.stack([self.x[np.ix_(used, members)], self.y[np.ix_(used, members)]], axis=-1)
        return SceneLikelihood(
            patches,
            self.band_index[used],
            psfs,
            positions,
            self.jacobian[np.ix_(used, members)],
            n_bands=len(self.bands),
        )

    def _outline(self, n, members, patch):
        """Where the patch is some member's own square, without the corners of the box around them all."""
        if len(members) == 1:
            return np.ones(patch.shape, dtype=bool)
        height, width = patch.shape
        column, row = np.arange(width) + patch.x0, np.arange(height) + patch.y0
        inside = np.zeros(patch.shape, dtype=bool)
        for k in members:
            inside |= (np.abs(row - np.rint(self.y[n, k])) <= self.half_width[n])[:, None] & (
                np.abs(column - np.rint(self.x[n, k])) <= self.half_width[n]
            )
        return inside

    def _render(self, patches, used, contributions):
        """Model of some sources on some patches, without background."""
        sources = [k for k, part in contributions.items() for _ in part.is_galaxy]
        is_galaxy = np.concatenate([part.is_galaxy for part in contributions.values()])
        scenes = np.concatenate([part.scenes for part in contributions.values()])
        models = self.scene_likelihood(patches, used, sources).model(is_galaxy, scenes, np.zeros(len(used)))
        return [model - patch.background for model, patch in zip(models, patches, strict=True)]

    def _with_neighbours(self, patches, used, contributions):
        if not contributions:
            return patches
        models = self._render(patches, used, contributions)
        return [
            replace(patch, background=patch.background + model) for patch, model in zip(patches, models, strict=True)
        ]

    def _with_psf_error(self, patches, used, own):
        """Weights that count the model's error, a fixed share of the source's own light, as noise.

        The variance of a pixel grows from ``b/w`` (Poisson, expectation b) or ``1/w`` (Gaussian) by
        ``(error * source)^2``; both hypotheses are given the same weights, so their evidences stay comparable.
        """
        models = self._render(patches, used, own)
        result = []
        for n, patch, model in zip(used, patches, models, strict=True):
            error = self.images[n].psf_error
            expected = np.maximum(patch.background + model, 1e-12) if patch.poisson else 1.0
            result.append(replace(patch, weight=patch.weight / (1 + patch.weight * (error * model) ** 2 / expected)))
        return result
