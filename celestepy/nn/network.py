"""Networks put together from a description and from named arrays."""

import numpy as np

from celestepy.nn.convolution import MASKS, Conv2d, TransposedConv2d
from celestepy.nn.layers import (
    ELU,
    ConcatELU,
    Dense,
    Gate,
    GroupNorm,
    Layer,
    Modulation,
    PixelShuffle,
    PixelUnshuffle,
    SiLU,
    TimeEmbedding,
    Upsample,
)

__all__ = ["Network", "Residual", "Sequential", "Sum", "build_network"]

_PLAIN = {"silu": SiLU, "elu": ELU, "concat_elu": ConcatELU, "gate": Gate}
_RESIZING = {"pixel_shuffle": PixelShuffle, "pixel_unshuffle": PixelUnshuffle, "upsample": Upsample}


class Sequential(Layer):
    """Layers one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        The first sees the input.
    """

    def __init__(self, layers):
        self.layers = tuple(layers)

    def forward(self, x, context=None):
        tapes = []
        for layer in self.layers:
            x, tape = layer.forward(x, context)
            tapes.append(tape)
        return x, tapes

    def vjp(self, tape, cotangent):
        for layer, own in zip(reversed(self.layers), reversed(tape)):
            cotangent = layer.vjp(own, cotangent)
        return cotangent

    def jvp(self, tape, tangent):
        for layer, own in zip(self.layers, tape):
            tangent = layer.jvp(own, tangent)
        return tangent


class Residual(Layer):
    """The input plus what a layer makes of it.

    Parameters
    ----------
    body : Layer
        Its output has the shape of its input.
    """

    def __init__(self, body):
        self.body = body

    def forward(self, x, context=None):
        y, tape = self.body.forward(x, context)
        return x + y, tape

    def vjp(self, tape, cotangent):
        return cotangent + self.body.vjp(tape, cotangent)

    def jvp(self, tape, tangent):
        return tangent + self.body.jvp(tape, tangent)


class Sum(Layer):
    """The sum of what several layers make of the same input.

    Parameters
    ----------
    branches : sequence of Layer
        Their outputs have one shape.
    """

    def __init__(self, branches):
        self.branches = tuple(branches)

    def forward(self, x, context=None):
        outputs, tapes = zip(*(branch.forward(x, context) for branch in self.branches))
        return sum(outputs[1:], outputs[0]), tapes

    def vjp(self, tape, cotangent):
        parts = [branch.vjp(own, cotangent) for branch, own in zip(self.branches, tape)]
        return sum(parts[1:], parts[0])

    def jvp(self, tape, tangent):
        parts = [branch.jvp(own, tangent) for branch, own in zip(self.branches, tape)]
        return sum(parts[1:], parts[0])


class Network:
    """A network of one image and, if it has an embedding, of one temperature per image.

    Parameters
    ----------
    body : Layer
        From images (n, h, w, channels) to the output.
    embedding : TimeEmbedding or None
        From ln sigma to the context of the layers.
    dtype : dtype
        Precision of its numbers, in which everything is computed.
    """

    def __init__(self, body, embedding, dtype):
        self.body, self.embedding, self.dtype = body, embedding, np.dtype(dtype)

    def forward(self, x, sigma=None):
        """Evaluate the network.

        Parameters
        ----------
        x : array, (n, h, w, channels)
            Images.
        sigma : float or array, (n,), optional
            Temperatures, positive; needed if the network has an embedding.

        Returns
        -------
        output : array, (n, h', w', channels')
        tape : object
            For `vjp` and `jvp` at ``x``.
        """
        context = None
        if self.embedding is not None:
            context = self.embedding(np.log(np.atleast_1d(np.asarray(sigma, float))))
        return self.body.forward(np.asarray(x, self.dtype), context)

    def vjp(self, tape, cotangent):
        """Transposed Jacobian at the point of ``tape``, times ``cotangent`` (of the shape of the output)."""
        return self.body.vjp(tape, np.asarray(cotangent, self.dtype))

    def jvp(self, tape, tangent):
        """Jacobian at the point of ``tape``, times ``tangent`` (of the shape of the input)."""
        return self.body.jvp(tape, np.asarray(tangent, self.dtype))


class _Builder:
    """Make the layers of a description; every array is taken once, and its shape checked."""

    def __init__(self, arrays, dtype):
        self.left, self.dtype = dict(arrays), dtype

    def array(self, name, *shape):
        if name not in self.left:
            raise ValueError(f"the network has no array {name!r}, which its description asks for")
        found = np.asarray(self.left.pop(name))
        if found.shape != shape:
            raise ValueError(f"array {name!r} of the network has shape {found.shape}; its description asks for {shape}")
        return np.ascontiguousarray(found, self.dtype)

    def sequence(self, body):
        return Sequential([self.layer(entry) for entry in body])

    def layer(self, entry):
        kind = entry["layer"]
        if kind in _PLAIN:
            return _PLAIN[kind]()
        if kind in _RESIZING:
            return _RESIZING[kind](entry["factor"])
        make = getattr(self, f"_{kind}", None)
        if make is None:
            raise ValueError(f"unknown layer {kind!r} in the description of a network")
        return make(entry)

    def _residual(self, entry):
        return Residual(self.sequence(entry["body"]))

    def _sum(self, entry):
        return Sum([self.sequence(branch) for branch in entry["branches"]])

    def _conv2d(self, entry):
        name, outputs = entry["name"], entry["outputs"]
        if entry["mask"] not in MASKS:
            raise ValueError(f"layer {name!r}: unknown mask {entry['mask']!r}; expected one of {', '.join(MASKS)}")
        weight = self.array(f"{name}.weight", *entry["kernel"], entry["inputs"], outputs)
        bias = self.array(f"{name}.bias", outputs)
        return Conv2d(weight, bias, entry["stride"], entry["dilation"], entry["mask"])

    def _transposed_conv2d(self, entry):
        name, outputs = entry["name"], entry["outputs"]
        weight = self.array(f"{name}.weight", *entry["kernel"], outputs, entry["inputs"])
        return TransposedConv2d(weight, self.array(f"{name}.bias", outputs), entry["stride"])

    def _group_norm(self, entry):
        name, channels = entry["name"], entry["channels"]
        weight, bias = self.array(f"{name}.weight", channels), self.array(f"{name}.bias", channels)
        return GroupNorm(weight, bias, entry["groups"])

    def _dense(self, entry):
        return self.matrix(entry["name"], entry["inputs"], entry["outputs"])

    def _modulation(self, entry):
        dense = self.matrix(entry["name"], entry["inputs"], 2 * entry["channels"])
        return Modulation(dense.weight, dense.bias)

    def matrix(self, name, inputs, outputs):
        return Dense(self.array(f"{name}.weight", inputs, outputs), self.array(f"{name}.bias", outputs))

    def embedding(self, entry):
        if entry is None:
            return None
        name, features, length = entry["name"], entry["features"], entry["outputs"]
        frequencies = np.geomspace(*entry["frequencies"], features // 2).astype(self.dtype)
        first = self.matrix(f"{name}.first", features, length)
        return TimeEmbedding(frequencies, first, self.matrix(f"{name}.second", length, length))


def build_network(description, arrays, dtype=np.float32):
    """Build a network.

    Parameters
    ----------
    description : dict
        Keys ``body``, a list of layers, and ``context``, the embedding of the temperature or None; see
        `~celestepy.nn.score_unet` for examples.
    arrays : dict of str to array
        Its numbers by name, of any float type.
    dtype : dtype, optional
        Precision to compute in: float32 for speed, float64 for tests of derivatives.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If the description has an unknown layer or lacks a key, or if an array is missing, left over or of another
        shape.
    """
    builder = _Builder(arrays, dtype)
    try:
        body, embedding = builder.sequence(description["body"]), builder.embedding(description.get("context"))
    except KeyError as error:
        raise ValueError(f"the description of a network lacks the key {error}") from None
    if builder.left:
        raise ValueError(f"the network has arrays that its description does not mention: {', '.join(builder.left)}")
    return Network(body, embedding, dtype)
