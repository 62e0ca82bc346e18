"""Slow, obvious layers: loops over pixels and taps."""

import numpy as np


def pixel(x, image, row, column):
    """A pixel's channels, zeros outside the image."""
    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
        return x[image, row, column]
    return np.zeros(x.shape[3])


def convolution(x, weight, bias, stride=1, dilation=1, live=None):
    """Correlate images (n, h, w, c) with a kernel (a, b, c, d); taps where ``live`` is False count as zero."""
    n, h, w, _ = x.shape
    high, wide = weight.shape[:2]
    y = np.zeros((n, -(-h // stride), -(-w // stride), weight.shape[3]))
    for image, i, j in np.ndindex(y.shape[:3]):
        y[image, i, j] = bias
        for a, b in np.ndindex(high, wide):
            if live is None or live[a][b]:
                row, column = stride * i + dilation * (a - high // 2), stride * j + dilation * (b - wide // 2)
                y[image, i, j] += pixel(x, image, row, column) @ weight[a, b]
    return y


def transposed_convolution(x, weight, bias, stride):
    """Each pixel paints its kernel (a, b, outputs, inputs) into an image ``stride`` times larger."""
    n, h, w, _ = x.shape
    high, wide = weight.shape[:2]
    y = np.zeros((n, stride * h, stride * w, weight.shape[2])) + bias
    for image, i, j in np.ndindex(x.shape[:3]):
        for a, b in np.ndindex(high, wide):
            row, column = stride * i + a - high // 2, stride * j + b - wide // 2
            if 0 <= row < y.shape[1] and 0 <= column < y.shape[2]:
                y[image, row, column] += weight[a, b] @ x[image, i, j]
    return y


def group_norm(x, weight, bias, groups, epsilon=1e-5):
    """Normalise each group of channels of each image."""
    y = np.empty_like(x)
    size = x.shape[3] // groups
    for image in range(len(x)):
        for group in range(groups):
            channels = slice(group * size, (group + 1) * size)
            values = x[image, ..., channels]
            y[image, ..., channels] = (values - values.mean()) / np.sqrt(values.var() + epsilon)
    return y * weight + bias


def unshuffle(x, factor):
    """Pixels of each block one after the other, row by row."""
    n, h, w, c = x.shape
    y = np.empty((n, h // factor, w // factor, factor * factor * c))
    for image, i, j in np.ndindex(y.shape[:3]):
        block = x[image, factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
        y[image, i, j] = block.ravel()
    return y
