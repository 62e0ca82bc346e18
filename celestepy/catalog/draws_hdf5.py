"""The HDF5 form of draws, written at once and read in parts.

There is one entry per source in ``id, ra, dec, star_probability, group, row``, ordered by id, and one per draw in
``is_galaxy, theta, weight, chain``; ``start`` says where the draws of each source begin, and has one entry more.
They are the fields of `~celestepy.catalog.draws.Draws`, but that ``group`` is the lowest id of the sources that
were drawn together; ``row`` is JSON text. The metadata are attributes, all of them in ``meta`` as JSON text.
"""

import json
import os

import numpy as np

from celestepy.catalog.errors import CatalogError

__all__ = ["read_meta", "read_records", "write_records"]

PER_SOURCE = {"id": np.int64, "ra": float, "dec": float, "star_probability": float, "group": np.int64, "row": object}
PER_DRAW = {"is_galaxy": bool, "theta": float, "weight": float, "chain": np.int32}
_AT_ONCE = 256  # sources whose draws are held in memory while a file is copied


def read_meta(path):
    """Read the metadata of a file of draws.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    CatalogError
        If it is damaged or something else.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in (*PER_SOURCE, *PER_DRAW, "start") if name not in file]
            if missing:
                raise KeyError(missing[0])
            return json.loads(file.attrs["meta"])
    except (OSError, KeyError, ValueError) as error:
        raise CatalogError(f"{path}: not a readable file of draws ({error}); give the name of one, or delete it "
                           "to begin anew") from error


def read_records(path, wanted=None):
    """Yield the sources of a file as records, dicts of arrays by name of dataset.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    wanted : sequence of int, optional
        Ids of the sources to read; for none of them, one record of all without the arrays of draws. By default
        all, some at a time.

    Yields
    ------
    dict of arrays
        With ``known``, the ids of all sources of the file.
    """
    import h5py

    with h5py.File(path, "r") as file:
        small = {name: file[name][:] for name in PER_SOURCE if name != "row"}
        small |= {"row": file["row"].asstr()[:]}
        start, known = file["start"][:], {"known": small["id"]}
        if wanted is not None and not len(wanted):
            yield small | known | {"start": start}
            return
        places = np.arange(len(small["id"])) if wanted is None else np.flatnonzero(np.isin(small["id"], wanted))
        for first in range(0, len(places), _AT_ONCE if wanted is None else max(len(places), 1)):
            some = places[first : first + _AT_ONCE] if wanted is None else places
            record = {name: values[some] for name, values in small.items()} | known
            yield record | _read_draws(file, start, some)


def _read_draws(file, start, places):
    """Arrays of draws of the sources at some places, those that lie side by side in one reading."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    spans = [slice(start[run[0]], start[run[-1] + 1]) for run in np.split(places, breaks)]
    counts = start[places + 1] - start[places]
    record = {name: np.concatenate([file[name][span] for span in spans]) for name in PER_DRAW}
    return record | {"start": np.concatenate([[0], np.cumsum(counts)])}


def write_records(path, meta, records):
    """Write all records, ordered by id, to a file of another name, and rename it.

    Parameters
    ----------
    path : pathlib.Path
        The file to be; one that exists is replaced, and stays as it is if anything goes wrong.
    meta : dict
        Plain metadata with ``bands``.
    records : callable
        Given None it yields all records, and given () all without the arrays of draws, in the same order.

    Raises
    ------
    CatalogError
        If the disk is full or fails.
    """
    import h5py

    partial = path.with_name(f".{path.name}.partial")
    try:
        with h5py.File(partial, "w") as file:
            _fill(file, meta, records)
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise CatalogError(f"{path}: could not be written ({error}); the draws are safe in the journal beside it: make "
                           "room, and the same command or program goes on from there") from error
    finally:
        partial.unlink(missing_ok=True)


def _fill(file, meta, records):
    import h5py

    file.attrs["meta"] = json.dumps(meta)
    file.attrs["bands"] = ",".join(meta["bands"])
    for key in ("method", "seed", "celestepy_version", "format_version"):
        if isinstance(meta.get(key), (str, int)):
            file.attrs[key] = meta[key]
    known = list(records(()))
    columns = {
        name: np.concatenate([np.zeros(0, dtype=kind), *(record[name].astype(kind) for record in known)])
        for name, kind in PER_SOURCE.items()
    }
    counts = np.concatenate([np.zeros(0, dtype=int), *(np.diff(record["start"]) for record in known)])
    order = np.argsort(columns["id"], kind="stable")
    for name, values in columns.items():
        file.create_dataset(name, data=values[order], dtype=h5py.string_dtype() if name == "row" else None)
    file["start"] = start = np.concatenate([[0], np.cumsum(counts[order])])
    _fill_draws(file, len(meta["bands"]) + 6, start, np.argsort(order), records)


def _fill_draws(file, size, start, place, records):
    """Write the draws of one source after the other, each to its place among those ordered by id."""
    shapes = {name: (start[-1],) for name in PER_DRAW} | {"theta": (start[-1], size)}
    data = {name: file.create_dataset(name, shapes[name], kind) for name, kind in PER_DRAW.items()}
    number = 0
    for record in records(None):
        for first, last in zip(record["start"][:-1], record["start"][1:], strict=True):
            target = slice(*start[place[number] : place[number] + 2])
            for name in PER_DRAW if last > first else ():
                data[name][target] = record[name][first:last]
            number += 1
