"""The SDSS PSF: psField eigenimages with coefficients that are polynomials of row and column.

PSF(row, col) = sum_k w_k(row, col) E_k,   w_k = sum_ij c_k[i, j] (0.001 row)^i (0.001 col)^j,   row, col
0-based (https://www.sdss.org/dr7/products/images/read_psf.html).

The eigenimages are asymmetric and their light is off the middle pixel by up to 0.2 pixels, differently in
each band, while the astrometry refers to the centroid of the light. So the source position is put at the
centroid of the PSF: fitted stars then agree between the bands, and with Photo's positions, to about 0.05
pixels instead of 0.2.
"""

import numpy as np

from celestepy.images.errors import ImageError
from celestepy.images.psf import VaryingPSF

__all__ = ["SDSSPSF"]

SCALE = 0.001
CENTROID_RADIUS = 10.0  # pixels; beyond it the eigenimages are noise


class SDSSPSF(VaryingPSF):
    """PSF of one band of one SDSS field.

    Parameters
    ----------
    eigenimages : (k, n, n) array_like
        Eigenimages, odd n, centred on the middle pixel.
    coefficients : (k, p, p) array_like
        Polynomial coefficients c[k, row power, column power].
    shape : (int, int), optional
        (ny, nx) of the frame: positions beyond it take the PSF of its edge.
    name : str, optional
        Name for messages.
    """

    def __init__(self, eigenimages, coefficients, shape=(1489, 2048), name="SDSS PSF"):
        images = np.asarray(eigenimages, dtype=float)
        self.coefficients = np.asarray(coefficients, dtype=float)
        self.shape = tuple(shape)
        super().__init__(((shape[1] - 1) / 2, (shape[0] - 1) / 2), name)
        self.eigenimages = _trimmed(images)
        self._axis = np.arange(self.eigenimages.shape[-1]) - (self.eigenimages.shape[-1] - 1) / 2
        self._core = np.hypot(self._axis, self._axis[:, None]) < CENTROID_RADIUS
        self.reference_mixture()

    @classmethod
    def from_hdu(cls, hdu, shape=(1489, 2048), name="psField"):
        """From HDU 1 to 5 (u to z) of a psField file.

        Parameters
        ----------
        hdu : astropy.io.fits.BinTableHDU
            HDU 1 to 5 (u to z) of a psField file.
        shape : (int, int)
            (ny, nx) of the image.
        name : str, optional
            Name for messages.

        Returns
        -------
        SDSSPSF
            Of that band.
        """
        table = hdu.data
        try:
            sides = (int(table["RNROW"][0]), int(table["RNCOL"][0]))
            images = [np.asarray(row, float).reshape(sides) for row in table["RROWS"]]
            coefficients = np.zeros((len(table), 5, 5))
            for k, row in enumerate(table):
                rows, columns = int(row["nrow_b"]), int(row["ncol_b"])
                coefficients[k, :rows, :columns] = np.asarray(row["c"], float).reshape(5, 5)[:rows, :columns]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise ImageError(
                f"{name}: not a psField eigenimage table ({error}); fetch the file again"
            ) from error
        return cls(images, coefficients, shape, name)

    def pixel_model(self, x, y):
        """(stamp, centroid, oversampling 1) at x, y.

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
        row = SCALE * np.clip(y, 0, self.shape[0] - 1)
        col = SCALE * np.clip(x, 0, self.shape[1] - 1)
        powers = self.coefficients.shape[1]
        weights = self.coefficients @ col ** np.arange(powers) @ row ** np.arange(powers)
        stamp = np.tensordot(weights, self.eigenimages, axes=1)
        return stamp / stamp.sum(), self._centroid(stamp), 1

    def _centroid(self, stamp):
        core = np.where(self._core, stamp, 0.0)
        middle = -self._axis[0]
        return tuple(middle + core.sum(axis=axis) @ self._axis / core.sum() for axis in (0, 1))


def _trimmed(images):
    """The eigenimages without their empty border, still odd and centred."""
    middle = images.shape[-1] // 2
    rows, columns = np.nonzero(np.any(images != 0, axis=0))
    half = max(np.abs(rows - middle).max(), np.abs(columns - middle).max())
    box = slice(middle - half, middle + half + 1)
    return np.ascontiguousarray(images[:, box, box])
