"""Reading an SDSS imaging field: frame, psField, photoField and fpM files into images.

The frame is undone to what the detector saw: sky-subtracted nanomaggies plus the sky of HDU 2 times the calibration vector
of HDU 1; photons per nanomaggy are gain / calibration by column (gain and dark variance from photoField).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celestepy.images.errors import ImageError
from celestepy.images.hdus import read_hdus
from celestepy.images.image import Image
from celestepy.images.noise import PoissonNoise
from celestepy.images.psf import PSF
from celestepy.images.sdss_astrometry import SDSSAstrometry
from celestepy.images.sdss_masks import read_planes
from celestepy.images.sdss_psf import SDSSPSF
from celestepy.images.sky import interpolate_grid

__all__ = ["read_sdss_field", "read_sdss_frame"]

BANDS = "ugriz"
MASK_PLANES = ("INTERP", "SATUR", "CR", "GHOST")
FRAME_NAME = re.compile(r"frame-([ugriz])-(\d{6})-(\d)-(\d{4})\.fits")
SOURCE = "fetch it from https://data.sdss.org/sas/dr17/eboss"


@dataclass(frozen=True)
class _Field:
    """Run, camcol and field number, and the names of the field's files."""

    run: int
    camcol: int
    field: int

    def frame(self, band):
        return f"frame-{band}-{self.run:06d}-{self.camcol}-{self.field:04d}.fits"

    def masks(self, band):
        return f"fpM-{self.run:06d}-{band}{self.camcol}-{self.field:04d}.fit"

    @property
    def psf(self):
        return f"psField-{self.run:06d}-{self.camcol}-{self.field:04d}.fit"

    @property
    def photometry(self):
        return f"photoField-{self.run:06d}-{self.camcol}.fits"


def read_sdss_field(directory, bands=BANDS, *, field=None):
    """Read the images of one SDSS field from a directory of its files.

    Parameters
    ----------
    directory : path-like
        Folder with frame-*, psField-*, photoField-* and fpM-* files, plain or compressed (.gz, .bz2).
    bands : str or sequence of str, optional
        Bands to read, out of "ugriz", in the order wanted.
    field : (int, int, int), optional
        Run, camcol and field number; needed only where the folder holds frames of several fields.

    Returns
    -------
    list of Image
        One image for each band. Pixels that Photo interpolated, or that are saturated, hit by cosmic rays or ghosts, are masked.

    Raises
    ------
    ImageError
        If a file is missing or broken; the message names it.
    """
    directory = Path(directory)
    numbers = _only_field(directory) if field is None else _Field(*field)
    for band in bands:
        if band not in BANDS or len(band) != 1:
            raise ImageError(f"bands: {band!r}, expected letters out of 'ugriz'")
    gain, dark = _gain_and_dark_variance(_find(directory, numbers.photometry), numbers.field)
    psf_path = _find(directory, numbers.psf)
    psf_hdus = read_hdus(psf_path)
    images = []
    for band in bands:
        index = BANDS.index(band)
        images.append(
            read_sdss_frame(
                _find(directory, numbers.frame(band)),
                psf=SDSSPSF.from_hdu(psf_hdus[index + 1], name=f"{psf_path} band {band}"),
                gain=gain[index],
                dark_variance=dark[index],
                masks=_find(directory, numbers.masks(band)),
            )
        )
    return images


def read_sdss_frame(path, *, psf, gain, dark_variance, masks=None):
    """Read one SDSS frame file.

    Parameters
    ----------
    path : path-like
        frame-*.fits, plain or compressed.
    psf : PSF
        Its point spread function, such as `SDSSPSF.from_hdu` of the field's psField file.
    gain : float
        Electrons per DN.
    dark_variance : float
        Variance of dark current and read noise, DN^2 (as in photoField).
    masks : path-like, optional
        The fpM file of the same frame.

    Returns
    -------
    Image
        Pixels with the sky added back, noise scale and PSF error not yet measured.
    """
    if not isinstance(psf, PSF):
        raise ImageError(f"psf: {type(psf).__name__}, expected a PSF such as SDSSPSF.from_hdu(psField HDU)")
    for argument, value in (("gain", gain), ("dark_variance", dark_variance)):
        if not (np.isfinite(value) and value > 0):
            raise ImageError(f"{path}: {argument} {value}, expected a finite number > 0; check the photoField file")
    hdus = read_hdus(path)
    frame, calibration, sky, astrometry, band = _frame_parts(hdus, path)
    frame += sky
    planes = {} if masks is None else read_planes(read_hdus(masks), MASK_PLANES, masks)
    for plane in planes.values():
        if plane.shape != frame.shape:
            raise ImageError(f"{masks}: mask of {plane.shape} pixels, expected {frame.shape} as in {path}")
    return Image(
        frame,
        band=band,
        psf=psf,
        wcs=astrometry,
        noise=PoissonNoise(gain / calibration, dark_variance * gain**2),
        sky=sky,
        mask=np.logical_or.reduce(list(planes.values())) if planes else None,
        saturated=planes.get("SATUR"),
        name=Path(path).name.split(".")[0],
    )


def _frame_parts(hdus, path):
    """Pixels, calibration vector [nmgy/DN], sky [nmgy], astrometry and band of a frame."""
    try:
        frame = np.array(hdus[0].data, dtype=np.float64)
        calibration = np.array(hdus[1].data, dtype=np.float64)
        grid = hdus[2].data[0]
        sky = interpolate_grid(grid["ALLSKY"], grid["XINTERP"], grid["YINTERP"]) * calibration
        astrometry = SDSSAstrometry.from_table_row(hdus[3].data[0])
        band = hdus[0].header["FILTER"].strip()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: not an SDSS frame ({error}); expected image, calibration, sky and asTrans in HDU 0 to 3"
        ) from error
    if frame.ndim != 2 or sky.shape != frame.shape:
        raise ImageError(f"{path}: image of shape {frame.shape} with a sky of shape {sky.shape}, expected the same")
    return frame, calibration, sky, astrometry, band


def _gain_and_dark_variance(path, field):
    """(5,) gain [electron/DN] and dark variance [DN^2], ugriz, of one field in a photoField file."""
    table = read_hdus(path)[1].data
    row = np.flatnonzero(np.asarray(table["FIELD"]) == field)
    if row.size == 0:
        raise ImageError(f"{path}: no row with FIELD == {field}; expected the photoField file of the same run and camcol")
    return tuple(np.asarray(table[name][row[0]], dtype=float) for name in ("GAIN", "DARK_VARIANCE"))


def _find(directory, name):
    """The file of that name, plain or compressed."""
    for suffix in ("", ".bz2", ".gz"):
        path = directory / (name + suffix)
        if path.is_file():
            return path
    raise ImageError(f"{directory / name}: no such file, nor with .bz2 or .gz; {SOURCE}")


def _only_field(directory):
    """Run, camcol and field of the frames in a directory."""
    if not directory.is_dir():
        raise ImageError(f"{directory}: no such directory; expected a folder of SDSS frame, psField, photoField and fpM files")
    matches = filter(None, (FRAME_NAME.match(path.name) for path in directory.iterdir()))
    found = sorted({tuple(int(number) for number in match.groups()[1:]) for match in matches})
    if not found:
        raise ImageError(f"{directory}: no frame-BAND-RUN-CAMCOL-FIELD.fits file; {SOURCE}")
    if len(found) > 1:
        raise ImageError(f"{directory}: frames of {len(found)} fields, {found[0]} ...; choose one with field=(run, camcol, field)")
    return _Field(*found[0])
