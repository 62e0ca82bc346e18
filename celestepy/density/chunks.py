"""Rows that need not fit in memory: read in order, or in random order, a chunk at a time.

Three kinds of input become one: arrays in memory, anything that can be read in pieces by row number (memory-mapped
arrays, tables on disk), and a function that returns an iterator of chunks. Held-out rows are chosen by a hash of
their number, so that every pass leaves out the same ones and none need be listed.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.density.arguments import refuse_units
from celestepy.density.noisy_rows import DensityError, NoisyRows
from celestepy.density.streams import converted

__all__ = ["RowSource", "Survey", "as_source", "joined", "rows_of_slices", "survey"]

# Rows that are in memory at a time, beside the data themselves.
CHUNK_ROWS = 65536
# Rows read together where rows are wanted in random order from a disk: single rows would cost a seek each.
_BLOCK_ROWS = 256
_FIELDS = ("values", "observed", "noise", "projection", "weights")


def joined(parts):
    """Rows one after another.

    Parameters
    ----------
    parts : sequence of `~celestepy.density.NoisyRows`
        Not empty.

    Returns
    -------
    `~celestepy.density.NoisyRows`
        All of them.

    Raises
    ------
    DensityError
        If some parts have noise, a projection or weights, and others none, or of another shape.
    """
    if len(parts) == 1:
        return parts[0]
    columns = {"dim": parts[0].dim}
    for name in _FIELDS:
        arrays = [getattr(rows, name) for rows in parts]
        if name == "observed" and any(array is not None for array in arrays):
            arrays = [np.ones(rows.values.shape, bool) if rows.observed is None else rows.observed for rows in parts]
        shapes = {None if array is None else array.shape[1:] for array in arrays}
        if len(shapes) > 1:
            raise DensityError(f"chunks differ in the shape of {name} ({shapes}): give every chunk the same arrays")
        columns[name] = None if arrays[0] is None else np.concatenate(arrays)
    return NoisyRows(**columns)


class RowSource:
    """Rows that can be gone through more than once.

    Parameters
    ----------
    read : callable, optional
        Slices to the rows of all of them, joined. Without it rows come from `stream` alone.
    n_rows : int, optional
        Number of rows, with `read`; of a stream it is known after a pass.
    stream : callable, optional
        Returns an iterator of chunks of rows.
    in_memory : bool
        Whether single rows are as quick to read as neighbouring ones.
    chunk_rows : int
        Rows to have in memory at a time.
    """

    def __init__(self, read=None, n_rows=None, stream=None, *, in_memory=False, chunk_rows=CHUNK_ROWS):
        self._read, self.n_rows, self._stream = read, n_rows, stream
        self._in_memory, self._chunk_rows = in_memory, chunk_rows
        self._fraction, self._key = 0.0, np.uint64(0)

    def without(self, fraction, key):
        """The same rows with some held out.

        Parameters
        ----------
        fraction : float
            Expected fraction of the rows to hold out.
        key : int
            Which.

        Returns
        -------
        RowSource
            A view: nothing is copied.
        """
        other = RowSource(
            self._read, self.n_rows, self._stream, in_memory=self._in_memory, chunk_rows=self._chunk_rows
        )
        other._fraction, other._key = fraction, np.uint64(key)
        return other

    def chunks(self):
        """Rows in their order, without those held out.

        Yields
        ------
        `~celestepy.density.NoisyRows`
            At most a chunk.
        """
        for rows, held_out in self.chunks_with_held_out():
            yield rows[np.flatnonzero(~held_out)] if held_out.any() else rows

    def chunks_with_held_out(self):
        """Rows in their order, with a mask of those held out.

        Yields
        ------
        rows : `~celestepy.density.NoisyRows`
            At most a chunk.
        held_out : `~numpy.ndarray`
            Boolean, one for each row.
        """
        first = 0
        for rows in self._ordered():
            yield rows, self._held_out(np.arange(first, first + len(rows)))
            first += len(rows)

    def minibatches(self, size, rng):
        """Rows in random order, in batches, without those held out.

        From a disk, blocks of neighbouring rows in random order are pooled and shuffled. A stream is shuffled within
        as many chunks as fit in memory: its chunks should be in no particular order themselves.

        Parameters
        ----------
        size : int
            Rows in a batch; the last may have fewer.
        rng : `numpy.random.Generator`
            Of the order.

        Yields
        ------
        `~celestepy.density.NoisyRows`
            A batch.
        """
        if self._in_memory:
            kept = np.flatnonzero(~self._held_out(np.arange(self.n_rows)))
            order = rng.permutation(kept)
            whole = self._read([slice(None)])
            yield from (whole[order[k : k + size]] for k in range(0, len(order), size))
            return
        for pool in self._pools(rng):
            order = rng.permutation(len(pool))
            yield from (pool[order[k : k + size]] for k in range(0, len(order), size))

    def _held_out(self, numbers):
        if self._fraction == 0:
            return np.zeros(len(numbers), bool)
        return _uniform_hash(numbers, self._key) < self._fraction

    def _ordered(self):
        if self._stream is not None:
            yield from self._streamed()
            return
        for first in range(0, self.n_rows, self._chunk_rows):
            yield self._read([slice(first, min(first + self._chunk_rows, self.n_rows))])

    def _streamed(self):
        """Chunks of a new stream, which must have as many rows as the first."""
        n_rows = 0
        for rows in self._stream():
            yield rows
            n_rows += len(rows)
        self.n_rows = n_rows if self.n_rows is None else self.n_rows
        if n_rows != self.n_rows:
            raise DensityError(
                f"the function X gave {self.n_rows} rows at first, and {n_rows} in a later pass; it must return a new "
                "iterator of the same rows each time"
            )

    def _pools(self, rng):
        """Chunks of rows from all over the data, or of as many chunks of a stream as make one."""
        if self._stream is None:
            starts = rng.permutation(np.arange(0, self.n_rows, _BLOCK_ROWS))
            n_blocks = max(1, self._chunk_rows // _BLOCK_ROWS)
            for k in range(0, len(starts), n_blocks):
                yield self._block_rows(np.sort(starts[k : k + n_blocks]))
            return
        waiting = []
        for rows in self.chunks():
            waiting.append(rows)
            if sum(map(len, waiting)) >= self._chunk_rows:
                yield joined(waiting)
                waiting = []
        if waiting:
            yield joined(waiting)

    def _block_rows(self, starts):
        stops = np.minimum(starts + _BLOCK_ROWS, self.n_rows)
        rows = self._read([slice(a, b) for a, b in zip(starts, stops)])
        held_out = self._held_out(np.concatenate([np.arange(a, b) for a, b in zip(starts, stops)]))
        return rows[np.flatnonzero(~held_out)] if held_out.any() else rows


def _uniform_hash(numbers, key):
    """Uniform variates in [0, 1) that depend on a row's number alone: the finaliser of SplitMix64 (Steele+ 2014)."""
    z = numbers.astype(np.uint64) + key
    z *= np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


def as_source(X, covariance=None, projection=None, weights=None):
    """A source of rows from whatever `fit` may be given.

    Parameters
    ----------
    X : array_like, `~celestepy.density.NoisyRows`, callable, or object with ``n_rows`` and ``read``
        Arrays, which are read piece by piece if any is a `numpy.memmap`; a function that returns an iterator of
        chunks, each an array, a tuple of arrays in the order of these parameters, or rows; or
        `~celestepy.density.FitsRows`.
    covariance, projection, weights : array_like, optional
        As `~celestepy.density.NoisyRows.from_input`; with arrays only.

    Returns
    -------
    RowSource
        Nothing has been read yet, except arrays in memory, which have been checked.

    Raises
    ------
    DensityError
        If the input cannot be used, or is an iterator, which could be read once only.
    """
    extras = {"covariance": covariance, "projection": projection, "weights": weights}
    refuse_units(X=X, **extras)
    readable = callable(getattr(X, "read", None)) and hasattr(X, "n_rows")
    if readable or callable(X) or isinstance(X, NoisyRows):
        given = [name for name, value in extras.items() if value is not None]
        if given:
            raise DensityError(f"{given[0]} cannot be given beside {type(X).__name__}: put it with the rows themselves")
    if readable:
        return RowSource(X.read, X.n_rows, chunk_rows=getattr(X, "chunk_size", CHUNK_ROWS))
    if callable(X):
        return RowSource(stream=lambda: converted(X()))
    if isinstance(X, NoisyRows):
        return _whole(X)
    if hasattr(X, "__next__"):
        raise DensityError("X is an iterator, and can be read once only; give a function that returns a new one")
    if any(isinstance(array, np.memmap) for array in (X, *extras.values())):
        return RowSource(_mapped_reader(np.asanyarray(X), extras), len(X))
    return _whole(NoisyRows.from_input(X, covariance, projection, weights))


def _whole(rows):
    return RowSource(lambda slices: rows[rows_of_slices(slices)], len(rows), in_memory=True)


def _mapped_reader(X, extras):
    """A function that reads slices of memory-mapped arrays; what is shared by all rows is handed on as it is."""
    if np.ndim(X) != 2:
        raise DensityError(f"X has shape {np.shape(X)}; expected (n, d)")
    n, d = X.shape
    extras = {name: v if v is None or np.isscalar(v) else np.asanyarray(v) for name, v in extras.items()}
    shared = {"covariance": ((), (d,), (d, d)), "projection": (), "weights": ()}
    for name, value in extras.items():
        if value is not None and np.shape(value) not in shared[name] and np.shape(value)[:1] not in ((n,), ()):
            if name != "projection" or np.ndim(value) != 2:
                raise DensityError(f"{name} has shape {np.shape(value)}; expected {n} rows, as X has")

    # Of as many rows as columns the arrays would not say what they are; the whole does.
    per_row = None if n == d else np.shape(extras["covariance"]) == (n, d)

    def piece(name, value, part):
        if value is None or np.shape(value) in shared[name] or (name == "projection" and np.ndim(value) == 2):
            return value
        return value[part]

    def read(slices):
        part = rows_of_slices(slices)
        arrays = {name: piece(name, value, part) for name, value in extras.items()}
        try:
            return NoisyRows.from_input(X[part], **arrays, per_row=per_row)
        except DensityError as error:
            raise DensityError(f"in the rows from {slices[0].start}: {error}") from None

    return read


def rows_of_slices(slices):
    """Index of the rows of some slices: a slice if there is one, or an array.

    Parameters
    ----------
    slices : sequence of slice
        With start and stop.

    Returns
    -------
    slice or `~numpy.ndarray`
        What an array or a table takes between brackets, so that many small pieces are converted and checked at once.
    """
    return slices[0] if len(slices) == 1 else np.concatenate([np.arange(part.start, part.stop) for part in slices])


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over the rows tells.

    Parameters
    ----------
    n_rows : int
        Training rows, those without any observed value included.
    weight : float
        Sum of the weights of the rows that have one.
    effective_rows : float
        Number of rows of equal weight that say as much, ``sum(w)^2 / sum(w^2)``.
    sample : `~celestepy.density.NoisyRows`
        Random rows of those that have a value.
    held_out : `~celestepy.density.NoisyRows` or None
        Random rows of those held out.
    """

    n_rows: int
    weight: float
    effective_rows: float
    sample: NoisyRows
    held_out: NoisyRows | None


def survey(source, rng, *, sample_rows, held_out_rows):
    """Read all rows once, which checks them, and keep a random sample.

    Parameters
    ----------
    source : RowSource
        The rows.
    rng : `numpy.random.Generator`
        Of the sample.
    sample_rows, held_out_rows : int
        Most rows to keep of the training rows and of those held out.

    Returns
    -------
    Survey
        Counts and samples.

    Raises
    ------
    DensityError
        If there are no rows with a value, or the number of columns changes.
    """
    sample, held_out = _Reservoir(sample_rows, rng), _Reservoir(held_out_rows, rng)
    n_rows, weight, square, shape = 0, 0.0, 0.0, None
    for rows, out in source.chunks_with_held_out():
        if shape not in (None, (rows.values.shape[1], rows.dim)):
            raise DensityError(f"a chunk has {rows.values.shape[1]} columns, and those before it {shape[0]}")
        shape = (rows.values.shape[1], rows.dim)
        counting = _weights(rows) * ~out
        n_rows, weight, square = n_rows + int((~out).sum()), weight + counting.sum(), square + (counting**2).sum()
        sample.add(rows, np.flatnonzero(counting > 0))
        held_out.add(rows, np.flatnonzero(out & (_weights(rows) > 0)))
    if weight == 0:
        raise DensityError("X has no row with an observed value and a positive weight: there is nothing to fit")
    return Survey(n_rows, float(weight), float(weight**2 / square), sample.rows(), held_out.rows())


def _weights(rows):
    """Weights of rows; those without an observed value count for nothing."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    return weights if rows.observed is None else weights * rows.observed.any(axis=1)


class _Reservoir:
    """A uniform sample of a stream of unknown length: the rows with the smallest of independent random keys."""

    def __init__(self, size, rng):
        self._size, self._rng, self._parts, self._keys = size, rng, [], np.empty(0)

    def add(self, rows, numbers):
        if not numbers.size or not self._size:
            return
        keys = self._rng.random(numbers.size)
        if self._keys.size == self._size:  # a chunk of a long stream adds few rows: copy those only
            chosen = keys < self._keys.max()
            numbers, keys = numbers[chosen], keys[chosen]
        if not numbers.size:
            return
        self._parts, self._keys = [joined([*self._parts, rows[numbers]])], np.concatenate([self._keys, keys])
        if self._keys.size > self._size:
            smallest = np.sort(np.argpartition(self._keys, self._size)[: self._size])
            self._parts, self._keys = [self._parts[0][smallest]], self._keys[smallest]

    def rows(self):
        return self._parts[0] if self._parts else None
