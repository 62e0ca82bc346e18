"""Prior files in FITS: the same document as the JSON file, its mixtures as tables that any reader of FITS opens.

The file holds three tables. ``PRIOR`` has a row for every entry of the document that is not of a colour mixture:
``ENTRY``, its path with dots, such as ``galaxy.log_radius.mean``, and ``VALUE``, the value as JSON. The tables
``STAR_COLORS`` and ``GALAXY_COLORS`` have a row for every Gaussian: ``WEIGHT``, ``MEAN``, ``COVARIANCE`` and ``SLOPE``
(natural-log flux ratios of adjacent bands), and the header card ``PIVOT``.
"""

import io
import json

import numpy as np
from astropy.io import fits
from astropy.table import Table

__all__ = ["from_fits", "is_fits", "to_fits"]

_KINDS = ("star", "galaxy")
_COLUMNS = {"weights": "WEIGHT", "means": "MEAN", "covariances": "COVARIANCE", "slopes": "SLOPE"}


def is_fits(content):
    """Whether bytes are those of a FITS file.

    Parameters
    ----------
    content : bytes
        A file's.

    Returns
    -------
    bool
    """
    return content.startswith(b"SIMPLE  =")


def to_fits(document):
    """Encode the document of a prior.

    Parameters
    ----------
    document : dict
        As `celestepy.model.prior_file.to_document` gives it.

    Returns
    -------
    bytes
        A FITS file, from which `from_fits` restores the document to the last bit.
    """
    entries = dict(_flat({kind: _without_colors(document[kind]) for kind in _KINDS} |
                         {name: value for name, value in document.items() if name not in _KINDS}))
    names, values = list(entries), [json.dumps(value) for value in entries.values()]
    hdus = [fits.PrimaryHDU(), fits.table_to_hdu(Table({"ENTRY": names, "VALUE": values}))]
    hdus[1].name = "PRIOR"
    hdus += [_colors_hdu(kind, document[kind]["colors"]) for kind in _KINDS]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


def from_fits(content):
    """Decode the document of a prior.

    Parameters
    ----------
    content : bytes
        A FITS file.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is not such a file; the message tells what is missing.
    """
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        tables = {hdu.name: hdu for hdu in hdus[1:]}
        missing = [name for name in ("PRIOR", "STAR_COLORS", "GALAXY_COLORS") if name not in tables]
        if missing:
            raise ValueError(f"it is FITS, but has no table {missing[0]}, as Prior.save writes it")
        document = {}
        for row in tables["PRIOR"].data:
            _set(document, str(row["ENTRY"]).split("."), json.loads(str(row["VALUE"])))
        for kind in _KINDS:
            document.setdefault(kind, {})["colors"] = _colors(tables[f"{kind.upper()}_COLORS"])
    return document


def _without_colors(laws):
    return {name: value for name, value in laws.items() if name != "colors"}


def _flat(document, path=()):
    """Paths and values of everything that is not a dictionary."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, name))
        else:
            yield ".".join((*path, name)), value


def _set(document, path, value):
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value


def _colors_hdu(kind, colors):
    columns = {column: np.asarray(colors[name], dtype=float) for name, column in _COLUMNS.items()}
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = f"{kind.upper()}_COLORS"
    hdu.header["PIVOT"] = colors["pivot"], "ln(flux / nmgy) at which MEAN is stated"
    return hdu


def _colors(hdu):
    columns = {name: np.asarray(hdu.data[column], dtype=float).tolist() for name, column in _COLUMNS.items()}
    return columns | {"pivot": hdu.header["PIVOT"]}
