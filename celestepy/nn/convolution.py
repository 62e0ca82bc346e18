"""Convolutions by one matrix product each: the neighbourhoods of the pixels are copied into the rows of a matrix.

Kernels are stored as in most frameworks' channels-last layout, (height, width, inputs, outputs), and applied as
correlations: ``y[i, j] = sum_ab x[s i + d (a - H // 2), s j + d (b - W // 2)] kernel[a, b]`` with stride s and
dilation d, zeros outside the image. The output has ``ceil(h / s)`` x ``ceil(w / s)`` pixels.
"""

import threading
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from celestepy.nn.layers import Linear

__all__ = ["MASKS", "Conv2d", "TransposedConv2d"]

# Which taps of a kernel see only pixels that come before in raster order, by offsets (row, column) from the centre
MASKS = {
    "none": lambda row, column: np.full(row.shape, True),
    "above": lambda row, column: row < 0,
    "rows": lambda row, column: row <= 0,
    "left": lambda row, column: (row == 0) & (column < 0),
    "row": lambda row, column: (row == 0) & (column <= 0),
    "before": lambda row, column: (row < 0) | ((row == 0) & (column < 0)),
    "here": lambda row, column: (row < 0) | ((row == 0) & (column <= 0)),
}


# Bytes of neighbourhoods that are copied at a time: what stays in the cache of one core
CHUNK = 2**20


class _Scratch(threading.local):
    """Memory that a thread uses again and again: fresh memory costs more than the arithmetic done in it."""

    def __init__(self):
        self.buffers = {}

    def array(self, purpose, shape, dtype):
        """An array with whatever the last user left in it."""
        size, key = prod(shape), (purpose, np.dtype(dtype))
        if self.buffers.get(key, np.empty(0)).size < size:
            self.buffers[key] = np.empty(size, dtype)
        return self.buffers[key][:size].reshape(shape)


_scratch = _Scratch()


def _padded(x, before, after):
    """Images with rows and columns of zeros around them, or fewer of their own where ``before`` or ``after`` < 0."""
    if not any((*before, *after)):
        return np.ascontiguousarray(x)
    n, *sides, c = x.shape
    wide = [side + b + a for side, b, a in zip(sides, before, after)]
    image = _scratch.array("image", (n, *wide, c), x.dtype)
    image[...] = 0
    into = tuple(slice(max(b, 0), side + b + min(a, 0)) for side, b, a in zip(sides, before, after))
    kept = tuple(slice(max(-b, 0), side + min(a, 0)) for side, b, a in zip(sides, before, after))
    image[:, *into] = x[:, *kept]
    return image


def correlate(x, matrix, kernel, before, after, stride, dilation):
    """Multiply the neighbourhood of each pixel with a matrix.

    Parameters
    ----------
    x : array, (n, h, w, c)
        Images.
    matrix : array, (taps * c, outputs)
        The kernel, taps row by row.
    kernel : tuple of int
        Height and width of a neighbourhood, in taps.
    before, after : tuple of int
        Rows and columns of zeros added before and after the image; negative ones cut pixels off.
    stride, dilation : int
        Steps from one neighbourhood to the next, and from tap to tap.

    Returns
    -------
    array, (n, h', w', outputs)
        In new memory.
    """
    sides = [
        (side + b + a - dilation * (taps - 1) - 1) // stride + 1
        for side, b, a, taps in zip(x.shape[1:3], before, after, kernel)
    ]
    y = np.empty((len(x), *sides, matrix.shape[1]), x.dtype)
    at_once = max(1, CHUNK // (prod(sides) * matrix.shape[0] * x.itemsize))
    for start in range(0, len(x), at_once):
        part = slice(start, start + at_once)
        image = _padded(x[part], before, after)
        s = image.strides
        windows = as_strided(
            image,
            (len(image), *sides, *kernel, x.shape[3]),
            (s[0], stride * s[1], stride * s[2], dilation * s[1], dilation * s[2], s[3]),
            writeable=False,
        )
        rows = _scratch.array("rows", windows.shape, x.dtype)
        rows[...] = windows
        np.matmul(rows.reshape(-1, matrix.shape[0]), matrix, out=y[part].reshape(-1, matrix.shape[1]))
    return y


def spread(x, stride, shape):
    """Put the pixels of ``x`` every ``stride`` pixels into images of zeros with ``shape`` (height, width)."""
    if stride == 1:
        return x
    wide = np.zeros((len(x), *shape, x.shape[-1]), x.dtype)
    wide[:, ::stride, ::stride] = x
    return wide


class Conv2d(Linear):
    """Convolution with zeros beyond the edges; see the module for the formula.

    Parameters
    ----------
    weight : array, (height, width, inputs, outputs)
        The kernel, odd in height and width.
    bias : array, (outputs,)
        Added to each output channel.
    stride, dilation : int, optional
        Steps between the pixels of the output, and between the taps of the kernel.
    mask : str, optional
        Name of the taps that are used, a key of `MASKS`; the numbers of the others are ignored.

    Raises
    ------
    ValueError
        If the mask leaves no tap.

    Notes
    -----
    Taps that a mask leaves out at the edges of the kernel are cut off, so that they cost nothing.
    """

    def __init__(self, weight, bias, stride=1, dilation=1, mask="none"):
        half = np.array(weight.shape[:2]) // 2
        live = MASKS[mask](*(np.indices(weight.shape[:2]) - half[:, None, None]))
        if not live.any():
            raise ValueError(f"mask {mask!r} leaves nothing of a kernel of {weight.shape[0]} x {weight.shape[1]} taps")
        rows, columns = np.flatnonzero(live.any(axis=1)), np.flatnonzero(live.any(axis=0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        weight = np.where(live[..., None, None], weight, 0)[box].astype(weight.dtype)
        self.kernel, self.stride, self.dilation, self.bias = weight.shape[:2], stride, dilation, bias
        first = np.array([rows[0], columns[0]]) - half
        last = first + weight.shape[:2] - 1
        self.before = tuple(int(pad) for pad in -dilation * first)
        self.after = tuple(int(pad) for pad in dilation * last)
        self.matrix = np.ascontiguousarray(weight.reshape(-1, weight.shape[3]))
        flipped = weight[::-1, ::-1].swapaxes(2, 3)
        self.transposed = np.ascontiguousarray(flipped.reshape(-1, weight.shape[2]))

    def _apply(self, x):
        if self.kernel == (1, 1) and self.stride == 1 and self.before == (0, 0):
            return x @ self.matrix
        return correlate(x, self.matrix, self.kernel, self.before, self.after, self.stride, self.dilation)

    def _transpose(self, y, shape):
        if self.kernel == (1, 1) and self.stride == 1 and self.before == (0, 0):
            return y @ self.transposed
        reach = [self.dilation * (taps - 1) for taps in self.kernel]
        before = [r - pad for r, pad in zip(reach, self.before)]
        after = [r - pad for r, pad in zip(reach, self.after)]
        wide = spread(y, self.stride, shape)
        return correlate(wide, self.transposed, self.kernel, before, after, 1, self.dilation)


class TransposedConv2d(Linear):
    """Transpose of a strided `Conv2d`: (n, h, w, inputs) -> (n, stride h, stride w, outputs).

    Parameters
    ----------
    weight : array, (height, width, outputs, inputs)
        The kernel of the convolution whose transpose this is.
    bias : array, (outputs,)
        Added to each output channel.
    stride : int, optional
        Pixels of the output per pixel of the input, along each axis.
    """

    def __init__(self, weight, bias, stride=2):
        self.convolution = Conv2d(weight, np.zeros(weight.shape[3], weight.dtype), stride=stride)
        self.bias, self.stride = bias, stride

    def _apply(self, x):
        return self.convolution._transpose(x, tuple(self.stride * side for side in x.shape[1:3]))

    def _transpose(self, y, shape):
        return self.convolution._apply(y)
