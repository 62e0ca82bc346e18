"""Chunks of a stream as rows."""

import numpy as np

from celestepy.density.noisy_rows import DensityError, NoisyRows

__all__ = ["converted"]


def converted(chunks):
    """Chunks of a stream as rows; an error says which chunk it is.

    Parameters
    ----------
    chunks : iterable
        Of arrays X, tuples (X, covariance, projection, weights) of which the last may be left out, or rows.

    Yields
    ------
    `~celestepy.density.NoisyRows`
        Rows of a chunk.

    Raises
    ------
    DensityError
        If a chunk cannot be used, or these are no chunks at all.
    """
    if not hasattr(chunks, "__iter__"):
        raise DensityError(f"the function X returned {type(chunks).__name__}; expected an iterator of chunks of rows")
    per_row = None
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, NoisyRows):
            yield chunk
            continue
        arrays = chunk if isinstance(chunk, tuple) else (chunk,)
        if not 1 <= len(arrays) <= 4:
            raise DensityError(
                f"chunk {number} is a tuple of {len(arrays)}; expected (X, covariance, projection, weights) or fewer"
            )
        try:
            rows = NoisyRows.from_input(*arrays, per_row=per_row)
        except DensityError as error:
            hint = "; arrays that belong together go in a tuple" if isinstance(chunk, list) else ""
            raise DensityError(f"chunk {number}: {error}{hint}") from None
        if len(arrays) > 1 and np.ndim(arrays[1]) == 2 and len(rows) != rows.values.shape[1]:
            # Of a later chunk, of as many rows as columns, the shape would not tell.
            per_row = np.shape(arrays[1]) == rows.values.shape
        yield rows
