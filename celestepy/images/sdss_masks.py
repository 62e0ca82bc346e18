"""SDSS fpM files: one table of objects per mask plane, each object a list of row spans.

HDU k holds the plane whose `Value` in the attribute table (the last HDU) is k - 1. A span is three big-endian
16-bit integers: row, first column, last column (inclusive).
"""

import numpy as np

from celestepy.images.errors import ImageError

__all__ = ["read_planes"]


def read_planes(hdus, planes, path):
    """Boolean map of each of the named mask planes.

    Parameters
    ----------
    hdus : list of HDU
        All HDUs of an fpM file.
    planes : sequence of str
        Names such as "INTERP", "SATUR", "CR", "GHOST".
    path : path-like
        The file, for messages.

    Returns
    -------
    dict of (ny, nx) bool arrays
        By name of the plane.
    """
    try:
        shape = (int(hdus[0].header["MASKROWS"]), int(hdus[0].header["MASKCOLS"]))
        attributes = hdus[-1].data
        numbers = {str(row["attributeName"]).strip(): int(row["Value"]) for row in attributes}
        return {plane: _plane_map(hdus[numbers[f"S_MASK_{plane}"] + 1].data, shape) for plane in planes}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: not an fpM mask file ({error}); expected planes {', '.join(planes)}, fetch the file"
            " again"
        ) from error


def _plane_map(table, shape):
    plane = np.zeros(shape, dtype=bool)
    for spans in table["s"] if table is not None else ():
        for row, first, last in np.frombuffer(bytes(bytearray(spans)), dtype=">i2").reshape(-1, 3):
            if 0 <= row < shape[0]:
                plane[row, max(first, 0) : last + 1] = True
    return plane
