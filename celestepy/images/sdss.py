"""Reading an SDSS imaging field: frame, psField, photoField and fpM files into images.

The frame is undone to what the detector saw: sky-subtracted nanomaggies plus the sky of HDU 2 times the
calibration vector of HDU 1; photons per nanomaggy are gain / calibration by column (gain and dark variance
from photoField).
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from celestepy.images.alignment import aligned
from celestepy.images.calibration import calibrated
from celestepy.images.errors import ImageError, one_line
from celestepy.images.hdus import read_hdus, read_many
from celestepy.images.image import Image
from celestepy.images.noise import PoissonNoise
from celestepy.images.psf_calibration import isolated_stars
from celestepy.images.sdss_astrometry import SDSSAstrometry
from celestepy.images.sdss_masks import read_planes
from celestepy.images.sdss_psf import SDSSPSF
from celestepy.images.sky import interpolate_grid

__all__ = ["read_sdss_field", "read_sdss_frame"]

BANDS = "ugriz"
N_AMPLIFIERS = 2  # some CCDs are read through two, each of which reads half of the columns
MASK_PLANES = ("INTERP", "SATUR", "CR", "GHOST")
# Relative photometric calibration of SDSS imaging, Padmanabhan et al. (2008, ApJ 674, 1217).
CALIBRATION_ERROR = {"u": 0.02, "g": 0.01, "r": 0.01, "i": 0.01, "z": 0.01}
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

    def files(self, bands):
        names = [self.photometry, self.psf]
        return names + [name for band in bands for name in (self.frame(band), self.masks(band))]


def read_sdss_field(directory, bands=BANDS, *, field=None, calibrate=True, n_threads=None):
    """Read the images of one SDSS field from a directory of its files.

    Parameters
    ----------
    directory : path-like
        Folder with ``frame-*``, ``psField-*``, ``photoField-*`` and ``fpM-*`` files, plain or compressed (.gz, .bz2).
    bands : str or sequence of str, optional
        Bands to read, out of "ugriz", in the order wanted.
    field : (int, int, int), optional
        Run, camcol and field number; needed only where the folder holds frames of several fields.
    calibrate : bool, optional
        Measure the noise of each half of the columns, the noise scale, the aperture correction and the PSF
        error on each image, see `calibrated`, and align the images' astrometry, see `aligned`.
    n_threads : int, optional
        Threads that decompress and measure; by default as many as there are processors, at most one for each
        band. The result does not depend on it.

    Returns
    -------
    list of Image
        One image for each band. Pixels that Photo interpolated, or that are saturated, hit by cosmic rays or
        ghosts, are masked.

    Raises
    ------
    ImageError
        If a file is missing or broken; the message names it.
    """
    directory = Path(directory)
    numbers = _only_field(directory) if field is None else _Field(*field)
    bands = _checked_bands(bands)
    n_threads = min(len(bands), os.cpu_count() or 1) if n_threads is None else max(1, int(n_threads))
    images = _field_images(directory, numbers, bands, n_threads)
    if not calibrate:
        return images
    with ThreadPoolExecutor(n_threads) as executor:
        stars = list(executor.map(isolated_stars, images))
        images = list(executor.map(partial(calibrated, n_amplifiers=N_AMPLIFIERS), images, stars))
    return aligned(images, stars)


def _field_images(directory, numbers, bands, n_threads):
    """The images of a field as its files have them."""
    paths = {name: _find(directory, name) for name in numbers.files(bands)}
    contents = read_many(list(paths.values()), n_threads)
    files = {name: (hdus, path) for (name, path), hdus in zip(paths.items(), contents, strict=True)}
    gain, dark = _gain_and_dark_variance(*files[numbers.photometry], numbers.field)
    return [_band_image(files, numbers, band, gain, dark) for band in bands]


def _band_image(files, numbers, band, gain, dark):
    index = BANDS.index(band)
    frame, masks = files[numbers.frame(band)], files[numbers.masks(band)]
    psf = _psf(*files[numbers.psf], index, frame[0][0].shape)
    return _build(frame, masks, psf, gain[index], dark[index])


def read_sdss_frame(path, *, psf, gain, dark_variance, masks=None):
    """Read one SDSS frame file.

    Parameters
    ----------
    path : path-like
        The ``frame-*.fits`` file, plain or compressed.
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
    return _build(
        (read_hdus(path), path),
        None if masks is None else (read_hdus(masks), masks),
        psf,
        gain,
        dark_variance,
    )


def _build(frame, masks, psf, gain, dark_variance):
    """The image of a frame: `frame` and `masks` are (HDUs, path)."""
    hdus, path = frame
    for argument, value in (("gain", gain), ("dark_variance", dark_variance)):
        if not (np.isfinite(value) and value > 0):
            raise ImageError(
                f"{path}: {argument} {value}, expected a finite number > 0; check the photoField file"
            )
    pixels, calibration, sky, astrometry, band = _frame_parts(hdus, path)
    pixels += sky
    planes = {} if masks is None else read_planes(masks[0], MASK_PLANES, masks[1])
    for plane in planes.values():
        if plane.shape != pixels.shape:
            raise ImageError(
                f"{masks[1]}: mask of {plane.shape} pixels, expected {pixels.shape} as in {path}"
            )
    return Image(
        pixels,
        band=band,
        psf=psf,
        wcs=astrometry,
        noise=PoissonNoise(gain / calibration, dark_variance * gain**2),
        sky=sky,
        mask=np.logical_or.reduce(list(planes.values())) if planes else None,
        saturated=planes.get("SATUR"),
        name=Path(path).name.split(".")[0],
        calibration_error=CALIBRATION_ERROR[band],
    )


def _psf(hdus, path, index, shape):
    """The PSF of band number `index` in a psField file."""
    if len(hdus) < len(BANDS) + 1:
        raise ImageError(f"{path}: {len(hdus)} HDUs, expected at least {len(BANDS) + 1}; fetch it again")
    if len(shape) != 2:  # the frame is broken, which is said where it is read
        shape = (1489, 2048)
    return SDSSPSF.from_hdu(hdus[index + 1], shape, f"{path} band {BANDS[index]}")


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
        raise ImageError(
            f"{path}: image of shape {frame.shape} with a sky of shape {sky.shape}, expected the same"
        )
    return frame, calibration, sky, astrometry, band


def _gain_and_dark_variance(hdus, path, field):
    """(5,) gain [electron/DN] and dark variance [DN^2], ugriz, of one field in a photoField file."""
    try:
        table = hdus[1].data
        row = np.flatnonzero(np.asarray(table["FIELD"]) == field)
        columns = [np.asarray(table[name], dtype=float) for name in ("GAIN", "DARK_VARIANCE")]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: not a photoField table ({one_line(error)}); fetch the file again"
        ) from error
    if row.size == 0:
        raise ImageError(
            f"{path}: no row with FIELD == {field}; expected the photoField file of the same run and camcol"
        )
    return tuple(column[row[0]] for column in columns)


def _checked_bands(bands):
    bands = tuple(bands)
    unknown = [band for band in bands if band not in tuple(BANDS)]
    if unknown or not bands or len(set(bands)) < len(bands):
        raise ImageError(f"bands: {bands!r}, expected different letters out of 'ugriz'")
    return bands


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
        raise ImageError(
            f"{directory}: no such directory; expected a folder of SDSS frame, psField, photoField and fpM"
            " files"
        )
    matches = filter(None, (FRAME_NAME.match(path.name) for path in directory.iterdir()))
    found = sorted({tuple(int(number) for number in match.groups()[1:]) for match in matches})
    if not found:
        raise ImageError(f"{directory}: no frame-BAND-RUN-CAMCOL-FIELD.fits file; {SOURCE}")
    if len(found) > 1:
        raise ImageError(
            f"{directory}: frames of {len(found)} fields, {found[0]} ...; choose one with field=(run,"
            " camcol, field)"
        )
    return _Field(*found[0])
