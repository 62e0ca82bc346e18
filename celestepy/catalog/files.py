"""Catalogues on disk: FITS, ECSV, HDF5 and parquet by extension, written whole or not at all.

A table is turned into bytes in memory, written under a temporary name beside its destination, and renamed: a
failure at any point leaves an older file as it was. The same table gives the same bytes.
"""

import io
import json
import os
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning

from celestepy.catalog.errors import CatalogError
from celestepy.whole_files import checked_destination, write_or_say_why

__all__ = ["EXTENSIONS", "check_output", "read_table", "require", "write_table"]

_TABLE, _METADATA = "CATALOG", "METADATA"


def check_output(path, overwrite=False):
    """Make sure that a catalogue can be written to a path, before hours are spent on its contents.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The path with symbolic links resolved.

    Raises
    ------
    CatalogError
        If the extension is unknown, the directory is missing or not writable, or the file exists.
    ImportError
        If the format needs an extra that is not installed; the message names it.
    """
    path = Path(os.path.realpath(path))
    _FORMATS[_extension(path)].requirement()
    return checked_destination(path, overwrite, CatalogError)


def write_table(table, path, overwrite=False):
    """Write a table whose metadata are plain (see `~celestepy.catalog.metadata.plain`).

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table.
    path : path-like
        The file; its extension chooses the format.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    CatalogError, ImportError
        As `check_output`, or if the disk is full or fails. An existing file is then unchanged.
    """
    path = check_output(path, overwrite)
    content = _FORMATS[_extension(path)].encode(table)
    write_or_say_why(path, content, "catalogue", CatalogError)


def read_table(path):
    """Read a table written by `write_table`.

    Parameters
    ----------
    path : path-like
        The file; its extension tells the format.

    Returns
    -------
    `~astropy.table.QTable`
        With the metadata; text columns may be bytes or masked, as the format has them.

    Raises
    ------
    CatalogError
        If the file does not exist, is damaged, or is not a catalogue.
    ImportError
        If the format needs an extra that is not installed.
    """
    path = Path(path)
    file_format = _FORMATS[_extension(path)]
    file_format.requirement()
    if not path.is_file():
        raise CatalogError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # so a truncated file is an error
            return file_format.decode(path)
    except (
        Exception
    ) as error:  # each library has its own errors for a damaged file; here they all mean one thing
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CatalogError(
            f"{path}: not a readable catalogue of celestepy ({reason}); it may be cut short or be "
            "something else"
        ) from error


def _extension(path):
    extension = path.suffix.lower()
    if extension not in _FORMATS:
        raise CatalogError(f"{path}: unknown extension {extension!r}; use one of {', '.join(_FORMATS)}")
    return extension


class _FITS:
    """A binary table with the units and descriptions where astropy keeps them, and the metadata as JSON."""

    @staticmethod
    def requirement():
        """Nothing beyond astropy."""

    @staticmethod
    def encode(table):
        buffer, bare = io.BytesIO(), table.copy(copy_data=False)
        bare.meta.clear()
        for name in [name for name in bare.colnames if bare[name].dtype.kind == "U"]:
            bare[name] = np.char.encode(np.asarray(bare[name]), "utf-8")
        with warnings.catch_warnings():
            # FITS has no nanomaggy; astropy keeps the unit in comments of the header, and warns other readers
            warnings.filterwarnings("ignore", "The unit .* could not be saved", AstropyUserWarning)
            bare.write(buffer, format="fits")
        with fits.HDUList.fromstring(buffer.getvalue()) as hdus:
            hdus[1].name = _TABLE
            _annotate(hdus[1].header, table)
            _summary_cards(hdus[0].header, table.meta)
            text = json.dumps(table.meta).encode()
            metadata = fits.ImageHDU(np.frombuffer(text, dtype=np.uint8), name=_METADATA)
            metadata.header["COMMENT"] = "The catalogue's metadata: JSON text, one character for each pixel."
            hdus.append(metadata)
            whole = io.BytesIO()
            hdus.writeto(whole)
        return whole.getvalue()

    @staticmethod
    def decode(path):
        with fits.open(path, memmap=False) as hdus:
            table = QTable.read(hdus[_TABLE], mask_invalid=False)
            table.meta = json.loads(hdus[_METADATA].data.tobytes().decode())
        return table


def _annotate(header, table):
    """Write unit and description of each column into the comment of its name, as far as there is room."""
    for i, name in enumerate(table.colnames, start=1):
        info = table[name].info
        header.comments[f"TTYPE{i}"] = _fitting(f"[{info.unit or ''}] {info.description or ''}", name)


def _summary_cards(header, meta):
    """Write the metadata that a reader of headers looks for; all are in the METADATA extension."""
    cards = {
        "CREATOR": (f"celestepy {meta.get('celestepy_version', '')}", "program that wrote this file"),
        "BANDS": (",".join(meta.get("bands", [])), "bands in order of wavelength"),
        "REFBAND": (meta.get("reference_band"), "reference band"),
        "METHOD": (meta.get("method"), "method of inference"),
        "SEED": (meta.get("seed"), "seed of the random numbers"),
        "DATE": (meta.get("created"), "when the catalogue was made (UTC)"),
    }
    for key, (value, comment) in cards.items():
        if isinstance(value, (str, int)) and len(str(value)) <= 60:
            text = value if isinstance(value, int) or value.isascii() else ascii(value)[1:-1]
            header[key] = (text, _fitting(comment, str(text)))


def _fitting(comment, value):
    """Cut a comment to the room that its value leaves on a card of 80 characters."""
    return comment[: max(0, 80 - max(30, len(value) + 12) - 3)]


class _ECSV:
    """Text, with the metadata as one JSON string in its header: text of several lines would not survive."""

    @staticmethod
    def requirement():
        """Nothing beyond astropy."""

    @staticmethod
    def encode(table):
        buffer, written = io.StringIO(), table.copy(copy_data=False)
        written.meta = {"celestepy": json.dumps(table.meta)}
        if not len(table):  # astropy does not read arrays of no rows back
            arrays = {name: table[name].shape for name in table.colnames if table[name].ndim > 1}
            written.remove_columns(list(arrays))
            written.meta["empty_arrays"] = json.dumps(arrays)
        written.write(buffer, format="ascii.ecsv")
        return buffer.getvalue().encode()

    @staticmethod
    def decode(path):
        table = QTable.read(path, format="ascii.ecsv")
        for name, shape in json.loads(table.meta.get("empty_arrays", "{}")).items():
            table[name] = np.zeros(shape)
        table.meta = json.loads(table.meta["celestepy"])
        return table


class _HDF5:
    """The group ``catalog`` in astropy's layout."""

    @staticmethod
    def requirement():
        require("h5py", "hdf5")

    @staticmethod
    def encode(table):
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            table.write(file, format="hdf5", path="catalog", serialize_meta=True)
        return buffer.getvalue()

    @staticmethod
    def decode(path):
        return QTable.read(path, format="hdf5", path="catalog", character_as_bytes=False)


class _Parquet:
    """Arrow columns; arrays within a row are lists of fixed size, whose shape the column's metadata keep."""

    @staticmethod
    def requirement():
        require("pyarrow", "parquet")

    @staticmethod
    def encode(table):
        import pyarrow
        import pyarrow.parquet

        arrays = [_to_arrow(np.asarray(table[name])) for name in table.colnames]
        fields = [
            pyarrow.field(name, array.type, metadata=_field_metadata(table[name]))
            for name, array in zip(table.colnames, arrays, strict=True)
        ]
        schema = pyarrow.schema(fields, metadata={"celestepy": json.dumps(table.meta)})
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(arrays, schema=schema), sink)
        return sink.getvalue().to_pybytes()

    @staticmethod
    def decode(path):
        import pyarrow.parquet

        arrow = pyarrow.parquet.read_table(path)
        table = QTable()
        for field in arrow.schema:
            notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
            values = _from_arrow(arrow[field.name].combine_chunks(), json.loads(notes["shape"]))
            table[field.name] = (
                values if values.dtype.kind == "U" or not notes["unit"] else values * _unit(notes["unit"])
            )
            table[field.name].info.description = notes["description"] or None
        table.meta = json.loads(arrow.schema.metadata[b"celestepy"])
        return table


def _to_arrow(values):
    import pyarrow

    if values.ndim == 1:
        return pyarrow.array(values.tolist() if values.dtype.kind in "US" else values)
    size = int(np.prod(values.shape[1:]))
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), size)


def _from_arrow(array, shape):
    import pyarrow

    if pyarrow.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
    if pyarrow.types.is_string(array.type) or pyarrow.types.is_null(array.type):
        return np.array(array.to_pylist(), dtype=str)
    return array.to_numpy(zero_copy_only=False)


def _field_metadata(column):
    return {
        "unit": str(column.info.unit or ""),
        "description": column.info.description or "",
        "shape": json.dumps(list(column.shape[1:])),
    }


def _unit(text):
    from astropy.units import Unit

    return Unit(text)


def require(module, extra):
    """Raise an ImportError that names the extra where an optional module is missing.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        Extra of this package that brings it.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ImportError(f"this file format needs {module}: install the extra {extra!r}, "
                          f"python -m pip install \".[{extra}]\" in the source tree")


_FORMATS = {".fits": _FITS, ".fit": _FITS, ".ecsv": _ECSV, ".hdf5": _HDF5, ".h5": _HDF5, ".parquet": _Parquet}
EXTENSIONS = tuple(_FORMATS)
