"""Draws on disk: written source by source during a run, whole or not at all, and continued after a crash.

An HDF5 file in which something is being changed does not survive every way of killing its program. So the
sources of a running program are appended to a journal beside it (``NAME.journal``, see
`celestepy.catalog.draws_journal`), and the HDF5 file is made from that at the end, under another name, and
renamed. Readers look into both.
"""

import json
from pathlib import Path

import numpy as np

from celestepy import __version__
from celestepy.catalog.draws import Draws
from celestepy.catalog.draws_hdf5 import read_meta, read_records, write_records
from celestepy.catalog.draws_journal import Journal, pack, unpack
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.files import check_output, require
from celestepy.catalog.metadata import bands_of, plain
from celestepy.model.parameters import Bands

__all__ = ["DrawsFile"]

FORMAT_VERSION = 1
_FIELDS = ("start", "is_galaxy", "theta", "weight", "star_probability", "group", "chain")  # of Draws
_UNREADABLE = {"entropy": "another seed of the random numbers", "fingerprint": "other images, seeds or another prior"}
_NOT_COMPARED = ("celestepy_version", "format_version")


class DrawsFile:
    """Draws of many sources in an HDF5 file.

    Use it as a context manager. After an exception, an interrupt too, the journal is left as it is; otherwise
    it is made into the HDF5 file at the end.

    Parameters
    ----------
    path : path-like
        The file, with the extension .hdf5 or .h5.
    mode : {"r", "a", "w"}
        Read; continue the file if it exists and begin it otherwise; begin anew.
    bands : `~celestepy.model.parameters.Bands` or sequence of str, optional
        The bands, for writing.
    meta : mapping, optional
        Whatever decides the draws, such as ``method, settings, seed, inputs``, for writing. A file is
        continued only with the same.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    meta : dict
        As given, with ``bands``, ``reference_band`` and the versions.

    Raises
    ------
    CatalogError
        If the file does not exist or is damaged, was begun with other bands or metadata, or cannot be written.
    ImportError
        If h5py is missing; the message names the extra.
    """

    def __init__(self, path, mode="r", *, bands=None, meta=None):
        require("h5py", "hdf5")
        self.path = Path(path)
        if mode not in ("r", "a", "w"):
            raise ValueError(f"mode is {mode!r}, expected 'r', 'a' or 'w'")
        if self.path.suffix.lower() not in (".hdf5", ".h5"):
            raise CatalogError(f"{path}: unknown extension {self.path.suffix!r}; draws are kept in .hdf5 or .h5")
        self._writing = mode != "r"
        self._journal = Journal(self.path.with_name(self.path.name + ".journal"))
        if self._writing:
            check_output(self.path, overwrite=True)
        if mode == "w":
            self.path.unlink(missing_ok=True)
            self._journal.remove()
        found = self._stored_meta()
        self.meta = _begin(self.path, found, bands, meta) if self._writing else found
        if self.meta is None:
            raise CatalogError(f"{self.path}: no such file of draws, nor a journal of one")
        if self._writing and found is None:
            self._journal.append(pack(meta=np.array(json.dumps(self.meta))))
        self._finished = {int(i) for record in self._records(()) for i in record["id"]}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.close()
        else:
            self._journal.sync()

    @property
    def bands(self):
        """The bands, a `~celestepy.model.parameters.Bands`."""
        return bands_of(self.meta)

    def finished(self):
        """Tell which sources are in the file.

        Returns
        -------
        frozenset of int
            The ids.
        """
        return frozenset(self._finished)

    def write(self, ids, draws, *, ra, dec, rows=None):
        """Add sources that were finished together; they are in the file when this returns.

        Parameters
        ----------
        ids : int or sequence of int
            Their ids, none of which is in the file.
        draws : `~celestepy.catalog.draws.Draws`
            Their draws.
        ra, dec : float or (n,) array_like
            The positions in degrees that u and v of the draws are offsets from.
        rows : sequence of mappings, optional
            For each source whatever else is to be found again when a run is continued: evidences, flags,
            messages. Numbers, text, lists and dictionaries.

        Raises
        ------
        CatalogError
            If an id is in the file already, the lengths or bands do not agree, or the disk is full.
        """
        if not self._writing:
            raise CatalogError(f"{self.path}: open for reading; open it with mode 'a' to add sources")
        ids, ra, dec = (np.atleast_1d(value) for value in (ids, ra, dec))
        rows = [{}] * len(ids) if rows is None else list(rows)
        self._check(ids, draws, ra, dec, rows)
        group = [min(ids[draws.group == number], default=-1) if number >= 0 else -1 for number in draws.group]
        text = np.array([json.dumps(plain(row)) for row in rows])
        columns = dict(id=ids.astype(np.int64), ra=ra.astype(float), dec=dec.astype(float), row=text,
                       group=np.array(group, dtype=np.int64))
        columns |= {name: getattr(draws, name) for name in _FIELDS if name != "group"}
        self._journal.append(pack(**columns))
        self._finished |= {int(i) for i in ids}

    def _check(self, ids, draws, ra, dec, rows):
        if not len(ids) == len(draws) == len(ra) == len(dec) == len(rows):
            raise CatalogError(f"{len(ids)} ids, draws of {len(draws)} sources, {len(ra)} and {len(dec)} positions and "
                               f"{len(rows)} rows were given, expected equal numbers")
        if draws.n_bands != len(self.bands):
            raise CatalogError(f"the draws have {draws.n_bands} bands, expected {len(self.bands)}: "
                               f"{', '.join(self.bands)}")
        again = sorted({int(i) for i in ids} & self._finished)
        if again or len(set(ids.tolist())) < len(ids):
            raise CatalogError(f"{self.path}: source {again[0] if again else ids[0]} is given twice; ask finished() "
                               "which sources are there")

    def read(self, ids=None):
        """Draws of some of the sources.

        Parameters
        ----------
        ids : (n,) array_like of int, optional
            Which, in which order; by default all, in increasing order.

        Returns
        -------
        `~celestepy.catalog.draws.Draws`
            About the positions that `positions` gives.

        Raises
        ------
        CatalogError
            If an id is not in the file.
        """
        ids = self._checked(ids)
        if not len(ids):
            return Draws.join([], len(self.bands))
        parts = [(record["id"], Draws(*(record[name] for name in _FIELDS))) for record in self._records(ids)]
        found = np.concatenate([own for own, _ in parts])
        joined = Draws.join([draws for _, draws in parts])
        group = np.concatenate([draws.group for _, draws in parts])  # by lowest id, and so unique in the file
        joined = Draws(*(group if name == "group" else getattr(joined, name) for name in _FIELDS))
        return joined.sources(_places(found, ids))

    def positions(self, ids=None):
        """Positions that u and v of the draws are offsets from.

        Parameters
        ----------
        ids : sequence of int, optional
            Which sources; all by default.

        Returns
        -------
        ra, dec : (n,) array
            Degrees, in the order in which `read` has the sources.
        """
        ids = self._checked(ids)
        found, ra, dec = self._columns("id", "ra", "dec")
        places = _places(found, ids)
        return ra[places], dec[places]

    def rows(self, ids=None):
        """The mappings that `write` was given.

        Parameters
        ----------
        ids : sequence of int, optional
            Which sources; all by default.

        Returns
        -------
        list of dict
            In the order in which `read` has the sources.
        """
        ids = self._checked(ids)
        found, text = self._columns("id", "row")
        return [json.loads(text[place]) for place in _places(found, ids)]

    def close(self):
        """Make the HDF5 file of all that was written."""
        if self._writing:
            if next(self._journal.records(), None) is not None:
                write_records(self.path, self.meta, self._records)
            self._journal.remove()
        self._writing = False

    def _checked(self, ids):
        ids = np.array(sorted(self._finished)) if ids is None else np.atleast_1d(np.asarray(ids, dtype=np.int64))
        missing = sorted({int(i) for i in ids} - self._finished)
        if missing:
            raise CatalogError(f"{self.path}: has no draws of source {missing[0]}"
                               f"{f' and {len(missing) - 1} others' if len(missing) > 1 else ''}")
        return ids

    def _columns(self, *names):
        records = list(self._records(()))
        return [np.concatenate([record[name] for record in records]) if records else np.zeros(0) for name in names]

    def _stored_meta(self):
        """What the HDF5 file, or else the journal, says of its making; None if there is neither."""
        if self.path.exists():
            return read_meta(self.path)
        first = next(self._journal.records(), None)
        return None if first is None else json.loads(str(unpack(first)["meta"]))

    def _records(self, wanted=None):
        """Yield what is stored as records, dicts of arrays, some sources at a time.

        With `wanted`, ids, the arrays of draws are read for these sources; for none of them, not at all.
        """
        known = set()
        if self.path.exists():
            for record in read_records(self.path, wanted):
                known |= {int(i) for i in record["known"]}
                yield record
        for payload in self._journal.records():
            record = unpack(payload)
            # a program killed after the file was renamed leaves a journal whose sources are in the file
            if "id" not in record or int(record["id"][0]) in known:
                continue
            if wanted is None or not len(wanted) or np.isin(record["id"], wanted).any():
                yield record


def _begin(path, found, bands, meta):
    """Metadata of a file that is begun or continued, `found` being what it has."""
    if bands is None:
        raise CatalogError(f"{path}: bands are needed to write draws; give bands=")
    bands = Bands.of(bands)
    own = {"bands": list(bands), "reference_band": bands.reference,
           "celestepy_version": __version__, "format_version": FORMAT_VERSION}
    given = plain(own | dict(meta or {}))
    for key in sorted((found or {}).keys() | given.keys()) if found else ():
        before, now = (json.dumps(part.get(key), sort_keys=True) for part in (found, given))
        if before != now and key not in _NOT_COMPARED:
            other = f"{key} {before} and cannot be continued with {now}"
            other = f"{_UNREADABLE[key]} and cannot be continued like this" if key in _UNREADABLE else other
            raise CatalogError(f"{path}: was begun with {other}; give the same, another name, or delete it to begin "
                               "anew")
    return found or given


def _places(found, ids):
    """Where each of `ids` stands in `found`."""
    order = np.argsort(found, kind="stable")
    return order[np.searchsorted(found, ids, sorter=order)]
