"""What a catalogue says about its own making, as plain values that every file format keeps unchanged."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import PurePath

import numpy as np

from celestepy import __version__
from celestepy.catalog.columns import SCHEMA_VERSION
from celestepy.catalog.errors import CatalogError
from celestepy.model.parameters import Bands

__all__ = ["bands_of", "plain", "provenance"]


def provenance(bands, meta=None):
    """Collect the metadata of a new catalogue.

    Parameters
    ----------
    bands : `~celestepy.model.parameters.Bands`
        Its bands.
    meta : mapping, optional
        What the engine adds, such as ``method, settings, seed, inputs``. Values may be numbers, text, None,
        sequences, mappings, dataclasses, paths and NumPy arrays; they become plain numbers, text, lists and
        dictionaries. ``created`` is the time of day in UTC if it is not given, and left out if it is None.

    Returns
    -------
    dict
        ``celestepy_version, schema_version, bands, reference_band`` and what `meta` holds.

    Raises
    ------
    CatalogError
        If a value cannot be written to a file.
    """
    own = {
        "celestepy_version": __version__,
        "schema_version": SCHEMA_VERSION,
        "bands": list(bands),
        "reference_band": bands.reference,
    }
    given = {"created": datetime.now(UTC).isoformat(timespec="seconds")} | dict(meta or {})
    if given["created"] is None:
        del given["created"]
    return plain(own | given)


def plain(meta):
    """Copy a mapping so that every value is a number, text, a boolean, None, a list or a dictionary.

    Parameters
    ----------
    meta : mapping
        See `provenance`.

    Returns
    -------
    dict

    Raises
    ------
    CatalogError
        If a value is of any other kind; the message names its key.
    """
    result = {}
    for key, value in meta.items():
        try:
            result[str(key)] = json.loads(json.dumps(value, default=_plain_value))
        except (TypeError, ValueError) as error:
            raise CatalogError(
                f"metadata {key!r} cannot be written to a file ({error}); give it as numbers, text, lists "
                "or dictionaries"
            ) from error
    return result


def _plain_value(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no plain form")


def bands_of(meta):
    """Return the bands that a catalogue's metadata name.

    Raises
    ------
    CatalogError
        If it has none: the table is not a catalogue of celestepy.
    """
    if "bands" not in meta:
        raise CatalogError(
            "the table's metadata do not name its bands, so it is no catalogue of celestepy; build one with "
            "Catalog.from_posterior, or read other tables with astropy.table.Table.read"
        )
    return Bands.of(meta["bands"], meta.get("reference_band"))
