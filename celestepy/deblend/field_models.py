"""The sources of a field taken apart: a row and model images for each, and what is left of the data."""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.model_files import read_hdus, write_hdus
from celestepy.deblend.statuses import OK

__all__ = ["FieldModels", "ModelImage", "ResidualImage", "read_models"]


@dataclass(frozen=True, eq=False)
class ModelImage:
    """One source alone, as images with the same pixels see it.

    Attributes
    ----------
    images : tuple of int
        Which of the field's images: one for each plane.
    x0, y0 : int
        Pixel of these images that is the first of the box.
    pixels : (n, h, w) float32 array
        Flux per pixel, without sky and neighbours.
    header : `astropy.io.fits.Header`
        The WCS of the box.
    """

    images: tuple
    x0: int
    y0: int
    pixels: np.ndarray
    header: fits.Header


@dataclass(frozen=True, eq=False)
class ResidualImage:
    """What is left of an image when sky and all models are taken away.

    Attributes
    ----------
    name, band : str
        Of the image.
    x0, y0 : int
        Pixel of the image that is the first here: a part of a large image may have been asked for.
    pixels : (h, w) float32 array
        Data minus models; NaN where masked.
    header : `astropy.io.fits.Header`
        The WCS of these pixels.
    """

    name: str
    band: str
    x0: int
    y0: int
    pixels: np.ndarray
    header: fits.Header


class FieldModels:
    """A deblended field; made by `deblend_field`, `deblend_patch` and `read_models`.

    Parameters
    ----------
    table : QTable
        A row for each source, see `table`.
    models : sequence of tuples of ModelImage
        For each source, one for each group of images with the same pixels; empty where it could not be fitted.
    residuals : sequence of ResidualImage
        One for each image.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        ``row`` in the catalogue, ``ra``, ``dec`` (where the sky is known), ``x``, ``y`` in the first image, ``kind``,
        ``blend`` (its number), ``n_blend`` (sources in it), for each band b ``flux_b`` and ``flux_b_err``,
        ``blendedness``, ``data_share`` (of its light, that the data have decided rather than the prior; only where
        there is one), ``chi2`` (per pixel, of the patch of the blend), ``status`` and ``message``, and what else the
        method says of a source. Its ``meta`` tell how the field was made.
    models, residuals
        As given.
    interrupted : bool
        Whether the run was stopped before its end.
    """

    def __init__(self, table, models, residuals, interrupted=False):
        self.table, self.models, self.residuals = QTable(table, copy=False), tuple(models), tuple(residuals)
        self.interrupted = interrupted

    def __len__(self):
        return len(self.table)

    def __repr__(self):
        bands = ", ".join(dict.fromkeys(image.band for image in self.residuals))
        return f"<FieldModels of {len(self)} sources in the bands {bands}, {self._flagged} flagged>"

    @property
    def _flagged(self):
        return int(sum(status != OK for status in self.table["status"]))

    @property
    def summary(self):
        """One line on what came out."""
        n_blends = len(set(self.table["blend"]) - {-1})
        n_shared = int(np.count_nonzero(self.table["n_blend"] > 1))
        method = self.table.meta.get("method", "?")
        return (f"{len(self)} sources, {n_shared} of them blended, {self._flagged} flagged; "
                f"{n_blends} fit{'s' * (n_blends != 1)} by the method {method}")

    def image(self, name):
        """Number of an image.

        Parameters
        ----------
        name : int or str
            The number itself, or a band or the name of an image; of a band, the first.

        Returns
        -------
        int

        Raises
        ------
        DeblendError
            If there is no such image.
        """
        for number, image in enumerate(self.residuals):
            if name in (number, image.name, image.band):
                return number
        known = ", ".join(dict.fromkeys(image.band for image in self.residuals))
        raise DeblendError(f"image: {name!r}, expected a band ({known}), the name of an image or its number, below "
                           f"{len(self.residuals)}")

    def model(self, source, image):
        """One source alone in one image.

        Parameters
        ----------
        source : int
            Row of the table.
        image : int or str
            See `image`.

        Returns
        -------
        pixels : (h, w) array
            Flux per pixel.
        x0, y0 : int
            Pixel of the image that is the first of these.

        Raises
        ------
        DeblendError
            If the source has no model in this image; the message says why.
        """
        found, plane = self._found(source, image)
        return found.pixels[plane], found.x0, found.y0

    def wcs(self, source, image):
        """WCS of the pixels of `model`.

        Parameters
        ----------
        source, image
            As for `model`.

        Returns
        -------
        `astropy.wcs.WCS`
            Of two axes.

        Raises
        ------
        DeblendError
            As for `model`.
        """
        return WCS(self._found(source, image)[0].header, naxis=2)

    def cleaned(self, source, image):
        """The data in the box of a source, with the sky and all other sources taken away.

        Parameters
        ----------
        source, image
            As for `model`.

        Returns
        -------
        (h, w) array
            Flux per pixel, noise and all; NaN where masked.

        Raises
        ------
        DeblendError
            As for `model`.
        """
        pixels, x0, y0 = self.model(source, image)
        residual = self.residuals[self.image(image)]
        rows, columns = y0 - residual.y0, x0 - residual.x0
        return pixels + residual.pixels[rows : rows + pixels.shape[0], columns : columns + pixels.shape[1]]

    def _found(self, source, image):
        number = self.image(image)
        for found in self.models[source]:
            if number in found.images:
                return found, found.images.index(number)
        status, message = (str(self.table[name][source]) for name in ("status", "message"))
        reason = "it has no light there" if status == OK else f"status {status!r}: {message}"
        raise DeblendError(f"source {source} has no model in image {image!r} ({reason}); choose another of them")

    def write(self, path, overwrite=False):
        """Write everything to one FITS file, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file, ending in ``.fits``.
        overwrite : bool, optional
            Whether it may be replaced.

        Raises
        ------
        DeblendError
            If it exists and may not be replaced, has another extension, or cannot be written.

        Notes
        -----
        The extension ``SOURCES`` is the table, ``METADATA`` its metadata as JSON text; ``RESIDUAL, n`` is what is left
        of image n (from 1 on), and each ``MODEL`` one source (``ROW``, its row in the table from 0 on) as the images
        ``IMAGES`` see it, a plane for each. All have a WCS.
        """
        write_hdus(path, self, overwrite)


def read_models(path):
    """Read what `FieldModels.write` has written.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    FieldModels
        With the same values.

    Raises
    ------
    DeblendError
        If there is no such file, or it is damaged or something else.
    """
    table, models, residuals = read_hdus(path)
    models = [tuple(ModelImage(**fields) for fields in own) for own in models]
    return FieldModels(table, models, [ResidualImage(**fields) for fields in residuals],
                       bool(table.meta.get("interrupted", False)))
