"""Convolutions by one matrix product each: the neighbourhoods of the pixels are copied into the rows of a matrix.

Kernels are stored as in most frameworks' channels-last layout, (height, width, inputs, outputs), and applied as
correlations: ``y[i, j] = sum_ab x[s i + d (a - H // 2), s j + d (b - W // 2)] kernel[a, b]`` with stride s and
dilation d, zeros outside the image. The output has ``ceil(h / s)`` x ``ceil(w / s)`` pixels.
"""

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


def gather(x, kernel, before, after, stride, dilation):
    """Copy neighbourhoods into rows.

    Parameters
    ----------
    x : array, (n, h, w, c)
        Images.
    kernel : tuple of int
        Height and width of a neighbourhood, in taps.
    before, after : tuple of int
        Rows and columns of zeros added before and after the image; negative ones cut pixels off.
    stride, dilation : int
        Steps from one neighbourhood to the next, and from tap to tap.

    Returns
    -------
    rows : array, (n * h' * w', taps * c)
        One row per pixel of the output.
    shape : tuple of int
        (n, h', w').
    """
    n, h, w, c = x.shape
    (top, left), (bottom, right) = before, after
    if (top, left, bottom, right) != (0, 0, 0, 0):
        padded = np.zeros((n, h + top + bottom, w + left + right, c), x.dtype)
        into = padded[:, max(top, 0) : top + h, max(left, 0) : left + w]
        into = into[:, : h + min(top, 0) + min(bottom, 0), : w + min(left, 0) + min(right, 0)]
        into[...] = x[:, max(-top, 0) :, max(-left, 0) :][:, : into.shape[1], : into.shape[2]]
        x = padded
    high, wide = (
        (full - dilation * (taps - 1) - 1) // stride + 1 for full, taps in zip(x.shape[1:3], kernel)
    )
    x = np.ascontiguousarray(x)
    s = x.strides
    windows = as_strided(
        x,
        (n, high, wide, *kernel, c),
        (s[0], stride * s[1], stride * s[2], dilation * s[1], dilation * s[2], s[3]),
        writeable=False,
    )
    return windows.reshape(n * high * wide, kernel[0] * kernel[1] * c), (n, high, wide)


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
        rows, shape = gather(x, self.kernel, self.before, self.after, self.stride, self.dilation)
        return (rows @ self.matrix).reshape(*shape, self.matrix.shape[1])

    def _transpose(self, y, shape):
        if self.kernel == (1, 1) and self.stride == 1 and self.before == (0, 0):
            return y @ self.transposed
        reach = [self.dilation * (taps - 1) for taps in self.kernel]
        before = [r - pad for r, pad in zip(reach, self.before)]
        after = [r - pad for r, pad in zip(reach, self.after)]
        wide = spread(y, self.stride, shape)
        rows, _ = gather(wide, self.kernel, before, after, 1, self.dilation)
        return (rows @ self.transposed).reshape(len(y), *shape, self.transposed.shape[1])


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
