"""The general doors: any description of images by path, and astropy's CCDData."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from celestepy.images.counts import from_counts
from celestepy.images.description import read_toml
from celestepy.images.errors import ImageError
from celestepy.images.native import AB_ZERO_POINT
from celestepy.images.sdss import BANDS, read_sdss_field

__all__ = ["from_ccddata", "read_images"]

TO_VARIANCE = {
    StdDevUncertainty: np.square,
    VarianceUncertainty: np.asarray,
    InverseVariance: lambda values: np.divide(
        1.0, values, out=np.full(np.shape(values), np.inf), where=np.asarray(values) > 0
    ),
}


def read_images(path, bands=None):
    """Read the images of a field, whatever describes it.

    Parameters
    ----------
    path : path-like
        A directory of SDSS field files, or a TOML description.
    bands : str or sequence of str, optional
        Only these bands.

    Returns
    -------
    list of Image
        In the order of the bands or of the description.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "description.toml").is_file():
            raise ImageError(f"{path}: holds images that a file describes; give {path / 'description.toml'}")
        return read_sdss_field(path, BANDS if bands is None else bands)
    if path.suffix.lower() == ".toml":
        return read_toml(path, bands)
    if not path.exists():
        raise ImageError(
            f"{path}: no such file or directory; expected an SDSS field directory or a TOML description"
        )
    raise ImageError(
        f"{path}: expected an SDSS field directory or a .toml description; the user guide shows how to"
        " write one"
    )


def from_ccddata(ccd, *, band, psf, zero_point=None, gain=None, wcs=None, **arguments):
    """An `Image` from astropy's `~astropy.nddata.CCDData`.

    Parameters
    ----------
    ccd : CCDData
        Pixels with unit; its mask, WCS and uncertainty are used.
    band : str
        Name of the band.
    psf : PSF
        Point spread function.
    zero_point : Quantity or str, optional
        As for `nanomaggies_per_count`; not needed where the unit of `ccd` is a flux (nmgy, Jy).
    gain : float, optional
        Electrons per count, for Poisson noise; without it the uncertainty gives the variance.
    wcs : optional
        Instead of the WCS of `ccd`.
    **arguments
        Arguments of `from_counts`: sky, sky_subtracted, read_noise, saturation, name, noise_scale, psf_error;
        levels in the unit of `ccd`.

    Returns
    -------
    Image
        In nanomaggies.

    Raises
    ------
    ImageError
        If the unit, the uncertainty or the WCS does not say what is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData, StdDevUncertainty
    >>> from celestepy.images import AffineAstrometry, GaussianPSF, from_ccddata
    >>> wcs = AffineAstrometry(150.0, 2.0, 15.5, 15.5, [[-2.5, 0.0], [0.0, 2.5]])
    >>> ccd = CCDData(np.full((32, 32), 0.4), unit="nJy", uncertainty=StdDevUncertainty(np.full((32, 32), 0.01)))
    >>> image = from_ccddata(ccd, band="r", psf=GaussianPSF(fwhm=3.2), wcs=wcs, sky=0.4)
    >>> image.shape
    (32, 32)
    """
    if ccd.unit.is_equivalent(u.Jy) or ccd.unit.is_equivalent(u.nmgy):
        if zero_point is not None:
            raise ImageError(
                f"zero_point: {zero_point} given for pixels in {ccd.unit}, expected none: they are fluxes"
                " already"
            )
        zero_point = (1 * ccd.unit).to(u.nmgy, AB_ZERO_POINT)
    if gain is None:
        arguments["variance"] = _variance(ccd)
    wcs = ccd.wcs if wcs is None else wcs
    if wcs is None:
        raise ImageError("wcs: the CCDData has none, expected a celestial WCS; give it with wcs=...")
    return from_counts(
        ccd.data, band=band, psf=psf, wcs=wcs, zero_point=zero_point, gain=gain, mask=ccd.mask, **arguments
    )


def _variance(ccd):
    convert = TO_VARIANCE.get(type(ccd.uncertainty))
    if convert is None:
        raise ImageError(
            f"uncertainty: {type(ccd.uncertainty).__name__}, expected StdDevUncertainty,"
            " VarianceUncertainty or InverseVariance;"
            " or give gain=..."
        )
    return convert(np.asarray(ccd.uncertainty.array, dtype=float))
