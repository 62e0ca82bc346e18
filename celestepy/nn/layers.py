"""Layers without geometry: activations, gates, dense layers, modulation, the embedding of the temperature, shuffles.

A layer maps images (n, height, width, channels) to images. ``forward`` returns the output and a tape, whatever the
derivatives at that point need; ``vjp`` takes a tape and a cotangent (of the shape of the output) to a cotangent of
the input, ``jvp`` a tape and a tangent of the input to a tangent of the output. Numbers are never differentiated:
networks are trained elsewhere. ``context`` is the embedded temperature, (n, length) or (1, length).
"""

from abc import ABC, abstractmethod

import numpy as np

__all__ = [
    "ELU", "ConcatELU", "Dense", "Gate", "GroupNorm", "Layer", "Modulation", "PixelShuffle", "PixelUnshuffle", "SiLU",
    "TimeEmbedding", "Upsample",
]  # fmt: skip


class Layer(ABC):
    """What a network is made of."""

    @abstractmethod
    def forward(self, x, context=None):
        """Return the output for ``x`` and the tape that `vjp` and `jvp` need."""

    @abstractmethod
    def vjp(self, tape, cotangent):
        """Return the transposed Jacobian times ``cotangent``, of the shape of the input."""

    @abstractmethod
    def jvp(self, tape, tangent):
        """Return the Jacobian times ``tangent``, of the shape of the output."""


def sigmoid(x):
    """Logistic function, by way of tanh, which cannot overflow."""
    half = np.tanh(0.5 * x)
    half += 1.0
    half *= 0.5
    return half


class Linear(Layer):
    """A linear map, perhaps with a shift: subclasses say how to apply it and its transpose."""

    bias = None

    @abstractmethod
    def _apply(self, x):
        """The map without its shift."""

    @abstractmethod
    def _transpose(self, y, shape):
        """The transposed map; ``shape`` is (height, width) of its output."""

    def forward(self, x, context=None):
        y = self._apply(x)
        return y if self.bias is None else np.add(y, self.bias, out=y), x.shape[1:3]

    def vjp(self, tape, cotangent):
        return self._transpose(cotangent, tape)

    def jvp(self, tape, tangent):
        return self._apply(tangent)


class SiLU(Layer):
    """``x sigmoid(x)`` (Hendrycks & Gimpel 2016).

    The tape is the input: most forward passes are not followed by a derivative, whose slopes would be wasted.
    """

    def forward(self, x, context=None):
        half = 0.5 * x
        y = np.tanh(half)
        y += 1.0
        y *= half
        return y, x

    def _slope(self, x):
        share = sigmoid(x)
        return share * (1.0 + x * (1.0 - share))

    def vjp(self, tape, cotangent):
        return self._slope(tape) * cotangent

    def jvp(self, tape, tangent):
        return self._slope(tape) * tangent


class ELU(Layer):
    """``x`` above zero, ``exp(x) - 1`` below (Clevert et al. 2015); the tape is its slope."""

    def forward(self, x, context=None):
        below = np.expm1(np.minimum(x, 0.0))
        return np.maximum(x, 0.0) + below, below + 1.0

    def vjp(self, tape, cotangent):
        return tape * cotangent

    def jvp(self, tape, tangent):
        return tape * tangent


class ConcatELU(Layer):
    """`ELU` of ``x`` and of ``-x``, channels one after the other (Salimans et al. 2017, PixelCNN++)."""

    _elu = ELU()

    def forward(self, x, context=None):
        return self._elu.forward(np.concatenate([x, -x], axis=-1))

    def vjp(self, tape, cotangent):
        plus, minus = np.split(tape * cotangent, 2, axis=-1)
        return plus - minus

    def jvp(self, tape, tangent):
        return tape * np.concatenate([tangent, -tangent], axis=-1)


class Gate(Layer):
    """First half of the channels times the logistic function of the second half."""

    def forward(self, x, context=None):
        value, gate = np.split(x, 2, axis=-1)
        share = sigmoid(gate)
        return value * share, (value, share)

    def vjp(self, tape, cotangent):
        value, share = tape
        return np.concatenate([share * cotangent, value * share * (1.0 - share) * cotangent], axis=-1)

    def jvp(self, tape, tangent):
        value, share = tape
        of_value, of_gate = np.split(tangent, 2, axis=-1)
        return share * of_value + value * share * (1.0 - share) * of_gate


class GroupNorm(Layer):
    """Zero mean and unit variance of each group of channels of each image, then a scale and a shift by channel.

    Parameters
    ----------
    weight, bias : array, (channels,)
        Scale and shift.
    groups : int
        Number of groups, a divisor of the number of channels; 1 is a layer norm over the image.
    epsilon : float, optional
        Added to the variance.
    """

    def __init__(self, weight, bias, groups, epsilon=1e-5):
        self.weight, self.bias, self.groups, self.epsilon = weight, bias, groups, epsilon

    def _grouped(self, x):
        return x.reshape(len(x), x.shape[1] * x.shape[2], self.groups, x.shape[3] // self.groups)

    def _derivative(self, normal, scale, change):
        """Of the normalisation, which is symmetric: remove mean and the part along ``normal``, divide by the width."""
        along = np.mean(change * normal, axis=(1, 3), keepdims=True)
        return (change - change.mean(axis=(1, 3), keepdims=True) - normal * along) * scale

    def forward(self, x, context=None):
        grouped = self._grouped(x)
        centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
        scale = 1.0 / np.sqrt(np.mean(centred**2, axis=(1, 3), keepdims=True) + self.epsilon)
        normal = centred * scale
        return normal.reshape(x.shape) * self.weight + self.bias, (normal, scale)

    def vjp(self, tape, cotangent):
        return self._derivative(*tape, self._grouped(cotangent * self.weight)).reshape(cotangent.shape)

    def jvp(self, tape, tangent):
        return self._derivative(*tape, self._grouped(tangent)).reshape(tangent.shape) * self.weight


class Dense(Linear):
    """``x @ weight + bias`` along the last axis.

    Parameters
    ----------
    weight : array, (inputs, outputs)
        The matrix.
    bias : array, (outputs,)
        The shift.
    """

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def _apply(self, x):
        return x @ self.weight

    def _transpose(self, y, shape):
        return y @ self.weight.T


class Modulation(Layer):
    """Each channel times ``1 + a`` plus ``b``, where (a, b) are linear in the context (Perez et al. 2018).

    Parameters
    ----------
    weight : array, (length of the context, 2 channels)
        Matrix from the context to (a, b).
    bias : array, (2 channels,)
        Their values for a context of zero.
    """

    def __init__(self, weight, bias):
        self.dense = Dense(weight, bias)

    def forward(self, x, context=None):
        scale, shift = np.split(self.dense.forward(context)[0][:, None, None, :], 2, axis=-1)
        scale = 1.0 + scale
        return x * scale + shift, scale

    def vjp(self, tape, cotangent):
        return tape * cotangent

    def jvp(self, tape, tangent):
        return tape * tangent


class TimeEmbedding:
    """The context: sines and cosines of ln sigma, through two dense layers with `SiLU`.

    Parameters
    ----------
    frequencies : array, (m,)
        Radians per unit of ln sigma.
    first, second : Dense
        From 2 m values to the length of the context, and from there to the same length.
    """

    def __init__(self, frequencies, first, second):
        self.frequencies, self.layers = frequencies, (first, SiLU(), second, SiLU())

    def __call__(self, log_sigma):
        """Embed temperatures: (n,) -> (n, length)."""
        angles = np.asarray(log_sigma, self.frequencies.dtype)[:, None] * self.frequencies
        h = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        for layer in self.layers:
            h, _ = layer.forward(h)
        return h


class PixelUnshuffle(Linear):
    """Blocks of ``factor`` x ``factor`` pixels to channels: (n, h, w, c) -> (n, h/f, w/f, f f c)."""

    def __init__(self, factor):
        self.factor = factor

    def _apply(self, x):
        return _blocks_to_channels(x, self.factor)

    def _transpose(self, y, shape):
        return _channels_to_blocks(y, self.factor)


class PixelShuffle(Linear):
    """Channels to blocks of ``factor`` x ``factor`` pixels, the inverse of `PixelUnshuffle` (Shi et al. 2016)."""

    def __init__(self, factor):
        self.factor = factor

    def _apply(self, x):
        return _channels_to_blocks(x, self.factor)

    def _transpose(self, y, shape):
        return _blocks_to_channels(y, self.factor)


class Upsample(Linear):
    """Each pixel repeated ``factor`` times along both axes."""

    def __init__(self, factor):
        self.factor = factor

    def _apply(self, x):
        return x.repeat(self.factor, axis=1).repeat(self.factor, axis=2)

    def _transpose(self, y, shape):
        n, h, w, c = y.shape
        f = self.factor
        return y.reshape(n, h // f, f, w // f, f, c).sum(axis=(2, 4))


def _blocks_to_channels(x, f):
    n, h, w, c = x.shape
    return x.reshape(n, h // f, f, w // f, f, c).swapaxes(2, 3).reshape(n, h // f, w // f, f * f * c)


def _channels_to_blocks(x, f):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, f, f, c // f**2).swapaxes(2, 3).reshape(n, h * f, w * f, c // f**2)
