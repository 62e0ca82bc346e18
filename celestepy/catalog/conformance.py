"""Any table of the right columns made into one that follows the schema to the letter."""

import numpy as np
from astropy import units
from astropy.table import Column as TableColumn
from astropy.table import QTable

from celestepy.catalog.columns import SCHEMA_VERSION, schema
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.metadata import bands_of, plain

__all__ = ["conform"]


def conform(table):
    """Return a QTable whose columns have the order, dtypes, units and descriptions of the schema.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns of `~celestepy.catalog.columns.schema`; columns that are newer than the table get
        their defaults.

    Returns
    -------
    `~astropy.table.QTable`
        A copy, with columns of other names behind these.

    Raises
    ------
    CatalogError
        If columns are missing or the metadata do not name the bands.
    """
    meta = plain(table.meta)
    columns = schema(bands_of(meta))
    table = _brought_up_to_date(table, columns, meta)
    missing = [column.name for column in columns if column.name not in table.colnames]
    if missing:
        raise CatalogError(
            f"column{'s' * (len(missing) > 1)} missing from the catalogue: {', '.join(missing)}"
        )
    result = QTable(meta=meta)
    for column in columns:
        result[column.name] = _conform_column(table[column.name], column)
        result[column.name].info.description = column.description
    for name in table.colnames:
        if name not in result.colnames:
            result[name] = _native_text(table[name])
    return result


def _brought_up_to_date(table, columns, meta):
    """The table with defaults for the columns that are newer than it is; the version in `meta` follows."""
    version = meta.get("schema_version", SCHEMA_VERSION)
    newer = [c for c in columns if c.since > version and c.name not in table.colnames]
    if newer:
        table = table.copy(copy_data=False)
        for column in newer:
            table[column.name] = np.full(len(table), column.default, dtype=column.dtype)
    if version < SCHEMA_VERSION:
        meta["schema_version"] = SCHEMA_VERSION
    return table


def _conform_column(values, column):
    if column.dtype is str:
        return _native_text(values if len(values) else np.array([], dtype=str))
    if hasattr(values, "filled"):
        values = values.filled(column.default)
    if column.unit:
        return units.Quantity(values, column.unit, dtype=column.dtype, copy=True)
    return TableColumn(np.array(getattr(values, "value", values), dtype=column.dtype))


def _native_text(values):
    """Text as unmasked unicode of the width it needs; anything else in native byte order."""
    if values.dtype.kind not in "SUO":
        return values.copy() if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    values = values.filled("") if hasattr(values, "filled") else values
    text = (
        np.char.decode(np.asarray(values, "S"), "utf-8")
        if values.dtype.kind == "S"
        else np.asarray(values, str)
    )
    return TableColumn(text.astype(f"U{max(1, np.char.str_len(text).max(initial=1))}"))
