"""Rows of sampled sources kept on disk as they are finished, so that an interrupted run can be continued."""

import hashlib
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np

from celestepy.catalog.draws import Draws
from celestepy.catalog.draws_file import DrawsFile
from celestepy.catalog.errors import CatalogError
from celestepy.inference.placement import Contribution
from celestepy.inference.rows import Row

__all__ = ["KeptRows", "entropy_of", "fingerprint", "keep_rows"]


def entropy_of(rng, path=None):
    """The number that all streams of random numbers of a run are made from.

    Parameters
    ----------
    rng : `numpy.random.Generator`, int or None
        Generator or seed; None takes that of the file if there is one, and a new one otherwise.
    path : path-like, optional
        File of draws that is to be continued.

    Returns
    -------
    int
        Non-negative.
    """
    if rng is None and path is not None:
        with suppress(CatalogError):  # there is no such file yet; one that is damaged is told of when it is opened
            return int(DrawsFile(path).meta["entropy"])
    return int(np.random.default_rng(rng).integers(2**63))


def keep_rows(path, engine, entropy, images, seeds, prior):
    """Open the kept rows of a fit.

    Parameters
    ----------
    path : path-like
        The file.
    engine : object
        With ``name`` and ``settings()``.
    entropy : int
        See `entropy_of`.
    images, seeds, prior
        See `fingerprint`.

    Returns
    -------
    KeptRows
        A context manager.
    """
    meta = {
        "method": engine.name,
        "settings": engine.settings(),
        "entropy": entropy,
        "inputs": [image.name for image in images],
        "fingerprint": fingerprint(images, seeds, prior),
    }
    return KeptRows(path, prior.bands, meta)


def fingerprint(images, seeds, prior):
    """A digest of what a fit depends on beside its settings: the same for the same pixels, seeds and prior.

    Parameters
    ----------
    images : sequence of `~celestepy.images.Image`
        The images.
    seeds : `~celestepy.inference.seed_table.SeedArrays`
        The seeds.
    prior : `~celestepy.model.priors.Prior`
        The prior.

    Returns
    -------
    str
        Hexadecimal.
    """
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.name} {image.band} {image.shape}".encode())
        digest.update(np.ascontiguousarray(image.pixels))
        digest.update(np.packbits(image.mask))
    for array in (seeds.ids, seeds.ra, seeds.dec):
        digest.update(np.ascontiguousarray(array))
    digest.update(repr(prior).encode())
    return digest.hexdigest()


class KeptRows:
    """Rows in a file of draws, written group by group and found again when the run is continued.

    Parameters
    ----------
    path : path-like
        The file, see `~celestepy.catalog.draws_file.DrawsFile`; it is continued if it exists.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.
    meta : dict
        Everything that decides the draws; a file that was made with something else is refused.

    Raises
    ------
    CatalogError
        If the file cannot be continued or written.
    """

    def __init__(self, path, bands, meta):
        self._bands = bands
        self._file = DrawsFile(path, "a", bands=bands, meta=meta)
        self._lock = threading.Lock()
        ids = sorted(self._file.finished())
        draws = self._file.read(ids) if ids else None
        texts = self._file.rows(ids) if ids else []
        found = zip(ids, texts, range(len(ids)), strict=True)
        self._found = {k: _row(text, draws.sources([place])) for k, text, place in found}

    def recall(self, ids):
        """Rows of some sources.

        Parameters
        ----------
        ids : sequence of int
            Ids of the sources of one group.

        Returns
        -------
        list or None
            Their rows, None for a source without support; None instead of the list if any is missing.
        """
        if not all(int(k) in self._found for k in ids):
            return None
        return [self._found[int(k)] for k in ids]

    def keep(self, ids, ra, dec, rows):
        """Write the rows of one group; they are safe when this returns.

        Parameters
        ----------
        ids : sequence of int
            Ids of the sources.
        ra, dec : sequence of float
            Their seeds (degrees), which the draws are about.
        rows : sequence of `~celestepy.inference.rows.Row` or None
            Their rows.
        """
        nothing = Draws.empty(len(self._bands))
        draws = Draws.join(
            [nothing if row is None or row.draws is None else row.draws for row in rows], len(self._bands)
        )
        draws = replace(draws, group=np.array([-1 if row is None else row.group for row in rows]))
        with self._lock:
            new = [place for place, k in enumerate(ids) if int(k) not in self._file.finished()]
            if new:
                self._file.write(
                    [int(ids[place]) for place in new],
                    draws.sources(new),
                    ra=[ra[place] for place in new],
                    dec=[dec[place] for place in new],
                    rows=[_text(rows[place]) for place in new],
                )

    def __enter__(self):
        self._file.__enter__()
        return self

    def __exit__(self, *error):
        self._file.__exit__(*error)


def _text(row):
    """What a row has beside its draws, as plain values."""
    if row is None:
        return {"dropped": True}
    scene = None
    if row.scene is not None:
        scene = {"is_galaxy": row.scene.is_galaxy.tolist(), "scenes": row.scene.scenes.tolist()}
    return {"columns": row.columns, "scene": scene, "group": row.group}


def _row(text, draws):
    if text.get("dropped"):
        return None
    scene = text["scene"]
    if scene is not None:
        scene = Contribution(np.array(scene["is_galaxy"], dtype=bool), np.array(scene["scenes"], dtype=float))
    return Row([], scene, text["columns"], draws if draws.n_draws.all() else None, text["group"])
