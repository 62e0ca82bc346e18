"""Deblended fields on disk: one FITS file, written whole or not at all."""

import io
import json
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import FITSFixedWarning

from celestepy.deblend.errors import DeblendError
from celestepy.whole_files import checked_destination, write_or_say_why

__all__ = ["check_path", "read_hdus", "write_hdus"]

EXTENSIONS = (".fits", ".fit")
_FORMAT = "celestepy deblended field 1"
_OF_THE_LAYOUT = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "EXTNAME", "EXTVER",
                  "SIMPLE", "EXTEND", "ROW", "IMAGES", "NAME", "BAND", "BANDS", "BOX_X0", "BOX_Y0", "BUNIT")


def check_path(path, overwrite=False):
    """Make sure that a file can be written.

    Parameters
    ----------
    path : path-like
        The file.
    overwrite : bool, optional
        Whether it may be replaced.

    Returns
    -------
    pathlib.Path
        With symbolic links resolved.

    Raises
    ------
    DeblendError
        If not.
    """
    path = Path(os.path.realpath(path))
    if path.suffix.lower() not in EXTENSIONS:
        raise DeblendError(f"{path}: has the extension {path.suffix!r}, expected {' or '.join(EXTENSIONS)}")
    return checked_destination(path, overwrite, DeblendError)


def write_hdus(path, field, overwrite):
    """See `celestepy.deblend.FieldModels.write`."""
    path = check_path(path, overwrite)
    buffer = io.BytesIO()
    try:
        _hdus(field).writeto(buffer)
    except ValueError as error:  # names of bands, which are in those of columns
        raise DeblendError(f"{path}: FITS cannot hold it ({error}); give the bands names of plain letters") from error
    write_or_say_why(path, buffer.getvalue(), "models", DeblendError)


def _hdus(field):
    first = fits.PrimaryHDU()
    meta = field.table.meta
    first.header["FORMAT"] = _FORMAT
    for key, name, comment in (("CREATOR", "celestepy_version", "version of celestepy"), ("METHOD", "method", "method"),
                               ("SEED", "seed", "seed of the random numbers"), ("DATE", "created", "when (UTC)")):
        value = meta.get(name)
        if isinstance(value, (str, int)) and len(str(value)) <= 60:
            first.header[key] = (value, comment)
    names = [[image.name, image.band] for image in field.residuals]
    hdus = fits.HDUList([first, _table_hdu(field.table), _text_hdu({"about": meta, "images": names})])
    units = _units(field.table)
    for number, image in enumerate(field.residuals):
        cards = units | {"NAME": _ascii(image.name), "BAND": _ascii(image.band), "BOX_X0": image.x0, "BOX_Y0": image.y0}
        hdus.append(_image_hdu("RESIDUAL", number + 1, image, cards))
    version = 0
    for row, own in enumerate(field.models):
        for model in own:
            version += 1
            bands = _ascii(",".join(field.residuals[number].band for number in model.images))
            cards = units | {"ROW": row, "IMAGES": ",".join(str(number + 1) for number in model.images), "BANDS": bands,
                     "BOX_X0": model.x0, "BOX_Y0": model.y0}
            hdus.append(_image_hdu("MODEL", version, model, cards))
    return hdus


def _units(table):
    """Card with the unit of the pixels, by the name that SDSS gives it; none where nothing is known of it."""
    known = {column.unit for name, column in table.items() if name.startswith("flux_")}
    return {"BUNIT": "nanomaggy"} if known == {u.nmgy} else {}


def _ascii(text):
    """What a card can hold; the metadata have the name as it is."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


_COMMENTS = {
    "ROW": "row of the table SOURCES, from 0",
    "IMAGES": "EXTVER of the RESIDUAL of each plane",
    "BOX_X0": "first pixel of the box in the image, from 0",
    "BOX_Y0": "first pixel of the box in the image, from 0",
}


def _image_hdu(name, version, image, cards):
    header = fits.Header([("EXTNAME", name), ("EXTVER", version)])
    for key, value in cards.items():
        header[key] = (value, _COMMENTS.get(key, "")) if len(str(value)) < 30 else value
    header.update(image.header)
    return fits.ImageHDU(np.asarray(image.pixels, dtype=np.float32), header)


def _table_hdu(table):
    bare = table.copy(copy_data=False)
    bare.meta.clear()
    for name in [name for name in bare.colnames if bare[name].dtype.kind == "U"]:
        bare[name] = np.char.encode(np.asarray(bare[name]), "utf-8")
    with warnings.catch_warnings():
        # FITS has no nanomaggy; astropy keeps the unit in comments of the header, and warns other readers
        warnings.filterwarnings("ignore", "The unit .* could not be saved", AstropyUserWarning)
        buffer = io.BytesIO()
        bare.write(buffer, format="fits")
    hdu = fits.HDUList.fromstring(buffer.getvalue())[1]
    hdu.name = "SOURCES"
    return hdu


def _text_hdu(meta):
    hdu = fits.ImageHDU(np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), name="METADATA")
    hdu.header["COMMENT"] = "How the models were made: JSON text, one character for each pixel."
    return hdu


def read_hdus(path):
    """Contents of a file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    table : QTable
        The sources.
    models : list of list of dict
        For each source the fields of its ModelImages.
    residuals : list of dict
        The fields of ResidualImages.

    Raises
    ------
    DeblendError
        If it is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise DeblendError(f"{path}: no such file; expected one written by celestepy deblend")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # so a truncated file is an error
            warnings.simplefilter("ignore", FITSFixedWarning)
            with fits.open(path, memmap=False) as hdus:
                return _contents(hdus)
    except Exception as error:  # astropy has many errors for damaged files; here they all mean one thing
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DeblendError(f"{path}: not a readable file of celestepy deblend ({reason}); it may be cut short or be "
                           "something else") from error


def _contents(hdus):
    if hdus[0].header.get("FORMAT") != _FORMAT:
        raise DeblendError(f"no card FORMAT = {_FORMAT!r}")
    table = QTable.read(hdus["SOURCES"], mask_invalid=False)
    stored = json.loads(hdus["METADATA"].data.tobytes().decode())
    table.meta, names = stored["about"], iter(stored["images"])
    for name in [name for name in table.colnames if table[name].dtype.kind == "S"]:
        table[name] = np.char.decode(np.asarray(table[name]), "utf-8")
    residuals, models = [], [[] for _ in range(len(table))]
    for hdu in hdus:
        header = hdu.header
        if hdu.name in ("RESIDUAL", "MODEL"):
            image = {"x0": header["BOX_X0"], "y0": header["BOX_Y0"], "pixels": np.asarray(hdu.data, np.float32),
                     "header": _wcs_cards(header)}
        if hdu.name == "RESIDUAL":
            residuals.append(dict(zip(("name", "band"), next(names), strict=True)) | image)
        elif hdu.name == "MODEL":
            images = tuple(int(number) - 1 for number in str(header["IMAGES"]).split(","))
            models[header["ROW"]].append({"images": images} | image)
    return table, models, residuals


def _wcs_cards(header):
    return fits.Header([card for card in header.cards if card.keyword not in _OF_THE_LAYOUT])
