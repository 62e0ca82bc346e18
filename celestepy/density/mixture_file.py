"""Mixtures on disk, as FITS or ASDF by extension: plain arrays, written whole or not at all."""

import errno
import io
import json
import os
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from celestepy.density.noisy_rows import DensityError
from celestepy.whole_files import checked_destination, write_or_say_why

__all__ = ["EXTENSIONS", "read_mixture", "write_mixture"]

_TABLE = "MIXTURE"
_COLUMNS = {"weights": "WEIGHT", "means": "MEAN", "covariances": "COVARIANCE"}


def write_mixture(path, weights, means, covariances, names=None, overwrite=False):
    """Write a mixture under a temporary name, and rename it.

    Parameters
    ----------
    path : path-like
        The file; its extension chooses the format.
    weights : (K,) array
        Weights.
    means : (K, D) array
        Means.
    covariances : (K, D, D) array
        Covariances.
    names : sequence of str, optional
        Names of the dimensions.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    DensityError
        If the extension is unknown, the file exists, or it cannot be written. An existing file is then unchanged.
    ImportError
        If the format needs an extra that is not installed; the message names it.
    """
    path = Path(os.path.realpath(_possible(path)))
    encode = _format(path).encode
    checked_destination(path, overwrite, DensityError)
    arrays = {"weights": weights, "means": means, "covariances": covariances}
    content = encode(arrays, None if names is None else list(names))
    write_or_say_why(path, content, "mixture", DensityError)


def read_mixture(path):
    """Read what `write_mixture` wrote.

    Parameters
    ----------
    path : path-like
        The file; its extension tells the format.

    Returns
    -------
    dict
        ``weights, means, covariances`` as native float64 arrays, and ``names``, a list or None.

    Raises
    ------
    DensityError
        If the file does not exist, is damaged, or holds no mixture.
    ImportError
        If the format needs an extra that is not installed; the message names it.
    """
    path = _possible(path)
    decode = _format(path).decode
    if not path.is_file():
        raise DensityError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # so a truncated file is an error
            arrays, names = decode(path)
            found = {name: np.array(arrays[name], dtype=np.float64) for name in _COLUMNS}
    except Exception as error:  # each library has its own errors for a damaged file; here they all mean one thing
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DensityError(f"{path}: holds no readable mixture ({reason}); it may be cut short or be something "
                           "else") from error
    return found | {"names": names}


class _FITS:
    """A binary table of one row for each component; the names are JSON in its header."""

    @staticmethod
    def encode(arrays, names):
        columns = [
            fits.Column(column, f"{arrays[name][0].size}D", array=arrays[name],
                        dim=str(arrays[name].shape[:0:-1]) if arrays[name].ndim > 2 else None)
            for name, column in _COLUMNS.items()
        ]
        table = fits.BinTableHDU.from_columns(columns, name=_TABLE)
        table.header["NAMES"] = (json.dumps(names), "names of the dimensions, as JSON")
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Card is too long, comment will be truncated")
            fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
        return buffer.getvalue()

    @staticmethod
    def decode(path):
        with fits.open(path, memmap=False) as hdus:
            table = hdus[_TABLE]
            arrays = {name: np.array(table.data[column]) for name, column in _COLUMNS.items()}
            names = json.loads(table.header["NAMES"])
        n = len(arrays["weights"])
        arrays["means"] = arrays["means"].reshape(n, -1)  # one dimension alone is read without its axis
        arrays["covariances"] = arrays["covariances"].reshape(n, *2 * arrays["means"].shape[1:])
        return arrays, names


class _ASDF:
    """A tree with the arrays and the names under ``gaussian_mixture``."""

    @staticmethod
    def encode(arrays, names):
        asdf = _import_asdf()
        tree = {"gaussian_mixture": {name: np.array(value) for name, value in arrays.items()} | {"names": names}}
        buffer = io.BytesIO()
        asdf.AsdfFile(tree).write_to(buffer)
        return buffer.getvalue()

    @staticmethod
    def decode(path):
        asdf = _import_asdf()
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            tree = file["gaussian_mixture"]
            names = tree["names"]
            return {name: np.array(tree[name]) for name in _COLUMNS}, None if names is None else list(names)


def _import_asdf():
    try:
        import asdf
    except ImportError:
        raise ImportError("files of the type .asdf need asdf: install the extra 'asdf', python -m pip install "
                          "\".[asdf]\" in the source tree") from None
    return asdf


_FORMATS = {".fits": _FITS, ".fit": _FITS, ".asdf": _ASDF}
EXTENSIONS = tuple(_FORMATS)


def _possible(path):
    """The path, where there can be such a file."""
    try:
        path = Path(os.fsdecode(path))
        path.lstat()
    except TypeError:
        raise DensityError(f"path: {path!r}, expected the name of a file") from None
    except ValueError as error:
        raise DensityError(f"path: {path}, expected the name of a file ({error})") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DensityError(f"path: {path}, a name that is too long for a file; shorten it") from None
    return path


def _format(path):
    extension = path.suffix.lower()
    if extension not in _FORMATS:
        raise DensityError(f"{path}: unknown extension {extension!r}; use one of {', '.join(EXTENSIONS)}")
    if _FORMATS[extension] is _ASDF:
        _import_asdf()
    return _FORMATS[extension]
