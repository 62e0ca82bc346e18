"""PSFEx models: a stamp that is a polynomial of the position on the image.

PSF(x, y) = sum_k p_k(x', y') B_k with x' = (x - POLZERO1) / POLSCAL1 and likewise y', in FITS pixel
coordinates (1-based), and the monomials ordered 1, x', x'^2, .., y', x' y', .., y'^2, .. up to total degree
POLDEG1. A stamp pixel is PSF_SAMP image pixels wide (Bertin 2011; https://psfex.readthedocs.io). The model
includes the pixel response.
"""

import numpy as np

from celestepy.images.errors import ImageError, one_line
from celestepy.images.hdus import read_hdus
from celestepy.images.psf import VaryingPSF

__all__ = ["PSFExPSF", "read_psfex"]


class PSFExPSF(VaryingPSF):
    """A PSFEx model of one image.

    Parameters
    ----------
    basis : (k, ny, nx) array_like
        The PSF_MASK planes, in PSFEx's order of monomials.
    degree : int
        POLDEG1; 0 for a constant PSF.
    zero, scale : (float, float)
        POLZERO and POLSCAL of x and y, in FITS (1-based) pixel coordinates of this image.
    sampling : float
        PSF_SAMP, image pixels per stamp pixel.
    name : str, optional
        Name for messages.

    Raises
    ------
    ImageError
        If the number of planes does not belong to the degree, or a number is not usable.
    """

    def __init__(self, basis, degree, zero=(0.0, 0.0), scale=(1.0, 1.0), sampling=1.0, name="PSFEx model"):
        self.basis = np.array(basis, dtype=float)
        self.powers = [(i, j) for j in range(int(degree) + 1) for i in range(int(degree) + 1 - j)]
        self.zero, self.scale = np.array(zero, dtype=float), np.array(scale, dtype=float)
        self.sampling = float(sampling)
        numbers = np.concatenate([self.zero, self.scale, [self.sampling]])
        if self.basis.ndim != 3 or len(self.basis) != len(self.powers):
            raise ImageError(
                f"{name}: PSF_MASK of shape {self.basis.shape}, expected {len(self.powers)} planes for"
                f" degree {degree};"
                " only models of x and y are read"
            )
        if not (
            np.isfinite(numbers).all()
            and np.isfinite(self.basis).all()
            and self.sampling > 0
            and (self.scale > 0).all()
        ):
            raise ImageError(
                f"{name}: POLZERO {zero}, POLSCAL {scale}, PSF_SAMP {sampling}, expected finite numbers,"
                " the last three > 0"
            )
        super().__init__(tuple(self.zero - 1), name)  # PSFEx puts POLZERO at the middle of its stars
        ny, nx = self.basis.shape[1:]
        self._center = ((nx - 1) / 2, (ny - 1) / 2)
        self.reference_mixture()

    def pixel_model(self, x, y):
        """(stamp, centre, oversampling) at x, y (0-based).

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        stamp : (ny, nx) array
            Of unit sum.
        center : (float, float)
            Stamp pixel coordinates x, y of the source position.
        oversampling : float
            Stamp pixels per image pixel.
        """
        # POLSCAL is the full range of the stars: one half on either side, and no extrapolation far beyond
        s, t = np.clip((np.array([x, y], dtype=float) + 1 - self.zero) / self.scale, -1.0, 1.0)
        stamp = np.tensordot([s**i * t**j for i, j in self.powers], self.basis, axes=1)
        return stamp / stamp.sum(), self._center, 1 / self.sampling


def read_psfex(path):
    """Read a PSFEx model: a .psf file, or a table with the same entries as columns (Legacy Surveys).

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    PSFExPSF
        The model, for positions on its own image.

    Raises
    ------
    ImageError
        If the file is not a PSFEx model of image position.
    """
    hdus = read_hdus(path)
    try:
        table = next(
            hdu for hdu in hdus if hdu.data is not None and "psf_mask" in map(str.lower, _names(hdu))
        )
        entry = _entries(table)
        basis = np.asarray(table.data["PSF_MASK"][0], dtype=float)
        n_axes = int(entry("POLNAXIS"))
        if n_axes not in (0, 2):
            raise ImageError(
                f"{path}: PSF varies with {n_axes} quantities, expected x and y (POLNAXIS 2) or none"
            )
        sampling = float(entry("PSF_SAMP"))
        if n_axes == 0:
            return PSFExPSF(basis.reshape(-1, *basis.shape[-2:])[:1], 0, sampling=sampling, name=str(path))
        _check_axes(entry, path)
        zero, scale = ([float(entry(f"{key}{axis}")) for axis in (1, 2)] for key in ("POLZERO", "POLSCAL"))
        return PSFExPSF(basis, int(entry("POLDEG1")), zero, scale, sampling, str(path))
    except (StopIteration, KeyError, IndexError, TypeError) as error:
        raise ImageError(
            f"{path}: not a PSFEx model ({one_line(error)}); expected a table with PSF_MASK"
        ) from error


def _names(hdu):
    return hdu.columns.names if hasattr(hdu, "columns") else []


def _entries(table):
    """Access to a model's numbers: header keywords in .psf files, columns in Legacy Surveys tables."""
    columns = {name.upper() for name in table.columns.names}

    def entry(key):
        if key in columns:
            return table.data[key][0]
        return table.header[key]

    return entry


def _check_axes(entry, path):
    names = [str(entry(f"POLNAME{axis}")).strip() for axis in (1, 2)]
    for name, letter in zip(names, "XY", strict=True):
        if not (name.startswith(letter) and name.endswith("_IMAGE")):
            raise ImageError(
                f"{path}: PSF varies with {names}, expected X_IMAGE and Y_IMAGE; run PSFEx with those"
            )
