"""Opening FITS files so that whatever is wrong with them becomes one line naming the file."""

import bz2
import gzip
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning

from celestepy.images.errors import ImageError, one_line

__all__ = ["header_wcs", "read_hdus", "read_many", "select_hdu"]

DECOMPRESS = {".bz2": bz2.decompress, ".gz": gzip.decompress}


def read_hdus(path):
    """All HDUs of a FITS file (plain, .gz, .bz2 or .fz), fully in memory.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    list of HDU
        With their data.

    Raises
    ------
    ImageError
        If the file is missing, is not FITS, or ends early.
    """
    return _parsed(path, _content(path))


def read_many(paths, n_threads):
    """The HDUs of several files, in their order.

    Threads decompress: bz2 takes most of the time of reading SDSS frames.

    Parameters
    ----------
    paths : sequence of path-like
        The files.
    n_threads : int
        Threads that decompress.

    Returns
    -------
    list of list of HDU
        For each file.
    """
    with ThreadPoolExecutor(n_threads) as executor:
        contents = executor.map(_content, paths)
        return [_parsed(path, content) for path, content in zip(paths, contents, strict=True)]


def _content(path):
    """The bytes of a file, decompressed according to its suffix."""
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the name")
    try:
        content = path.read_bytes()
        return DECOMPRESS.get(path.suffix, bytes)(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ImageError(f"{path}: cannot be read ({one_line(error)}); fetch it again") from error


def _parsed(path, content):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", ".*truncated.*", AstropyUserWarning)
            with fits.open(BytesIO(content), lazy_load_hdus=False) as hdus:
                for hdu in hdus:
                    hdu.data  # noqa: B018 - reading it now is what finds a file that ends early
                return list(hdus)
    except (OSError, EOFError, ValueError, TypeError, AstropyUserWarning, fits.VerifyError) as error:
        raise ImageError(f"{path}: not a whole FITS file ({one_line(error)}); fetch it again") from error


def select_hdu(hdus, extension, path):
    """The HDU of an extension number or name; without one, the first that holds an image.

    Parameters
    ----------
    hdus : list of HDU
        All HDUs of the file.
    extension : int, str or None
        Number or name of the extension; None for the first image.
    path : path-like
        The file.

    Returns
    -------
    HDU
        The extension, with data.
    """
    if extension is None:
        found = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
    elif isinstance(extension, int):
        found = hdus[extension : extension + 1] if extension >= 0 else []
    else:
        found = [hdu for hdu in hdus if hdu.name == str(extension).upper()]
    if not found or found[0].data is None:
        names = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(hdus))
        raise ImageError(f"{path}: no data in extension {extension!r}, expected one of: {names}")
    return found[0]


def header_wcs(header, path):
    """The WCS of a header, without the warnings about keywords that astropy repairs by itself.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of the image.
    path : path-like
        The file.

    Returns
    -------
    astropy.wcs.WCS
        The WCS, celestial or not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            return WCS(header)
    except Exception as error:  # wcslib raises many kinds, all of which mean the same to the caller
        raise ImageError(f"{path}: unusable WCS ({one_line(error)}); repair the header") from error
