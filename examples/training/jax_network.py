"""The networks of ``celestepy.nn.architectures`` in JAX, for training: the same descriptions, the same names."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from celestepy.nn import load_network_file


def layers_of(body):
    """Every layer of a description, the nested ones too."""
    for layer in body:
        yield layer
        if layer["layer"] == "residual":
            yield from layers_of(layer["body"])
        elif layer["layer"] == "sum":
            for branch in layer["branches"]:
                yield from layers_of(branch)


def live_taps(kernel, mask):
    """1 where a tap of a masked kernel is used, (height, width, 1, 1)."""
    rows, columns = np.mgrid[: kernel[0], : kernel[1]] - (np.array(kernel) // 2)[:, None, None]
    live = {
        "none": np.ones(kernel, bool),
        "above": rows < 0,
        "rows": rows <= 0,
        "left": (rows == 0) & (columns < 0),
        "row": (rows == 0) & (columns <= 0),
    }[mask]
    return live[:, :, None, None].astype(np.float32)


def initial(layer, key):
    """Starting numbers of one layer: every residual branch begins at zero."""
    kind, name = layer["layer"], layer["name"]
    if kind == "conv2d":
        shape = (*layer["kernel"], layer["inputs"], layer["outputs"])
        live = live_taps(layer["kernel"], layer["mask"])
        width = (2.0 / (live.sum() * layer["inputs"])) ** 0.5
        zero = name.endswith(".second") or name == "head" or name.endswith(".expand")
        weight = jnp.zeros(shape) if zero else width * jax.random.normal(key, shape) * live
        return {f"{name}.weight": weight, f"{name}.bias": jnp.zeros(layer["outputs"])}
    if kind == "modulation":
        shape = (layer["inputs"], 2 * layer["channels"])
        return {f"{name}.weight": jnp.zeros(shape), f"{name}.bias": jnp.zeros(shape[1])}
    shapes = {"first": (layer["features"], layer["outputs"]), "second": (layer["outputs"], layer["outputs"])}
    return {
        f"{name}.{part}.{what}": value
        for part, shape, k in zip(shapes, shapes.values(), jax.random.split(key))
        for what, value in (
            ("weight", jax.random.normal(k, shape) * (2.0 / shape[0]) ** 0.5), ("bias", jnp.zeros(shape[1])),
        )
    }  # fmt: skip


class Network(eqx.Module):
    """A described network; ``numbers`` is a flat dictionary of arrays, the names those of the weight file."""

    numbers: dict
    text: str = eqx.field(static=True)  # the description as JSON, because what is static must have a hash

    @property
    def description(self):
        """The layers."""
        return json.loads(self.text)

    @classmethod
    def start(cls, description, key):
        """A network with random numbers."""
        named = [layer for layer in [description["context"], *layers_of(description["body"])] if "name" in layer]
        numbers = {}
        for layer, k in zip(named, jax.random.split(key, len(named))):
            numbers |= initial(layer, k)
        return cls(numbers, json.dumps(description))

    def continued(self, path):
        """Begin with the numbers of a weight file: a network, and the file's ``scale``.

        Parameters
        ----------
        path : str or path-like
            A weight file of the same layers; convolutions do not mind another size of the stamps.

        Returns
        -------
        network : Network
        scale : float
            What the network of the file calls 1.
        """
        file = load_network_file(path)
        if file.description != self.description:
            raise SystemExit(f"--start-from {path}: its layers differ from those of the network to be trained")
        numbers = {name: jnp.asarray(array, jnp.float32) for name, array in file.arrays.items()}
        return Network(numbers, self.text), float(file.metadata["scale"])

    def __call__(self, x, log_sigma):
        """Images (n, h, w, channels) at temperatures (n,) -> output channels."""
        description = self.description
        return self._run(description["body"], x, self._embed(description["context"], log_sigma))

    def _embed(self, layer, log_sigma):
        name, half = layer["name"], layer["features"] // 2
        angles = log_sigma[:, None] * jnp.asarray(np.geomspace(*layer["frequencies"], half), x32())
        h = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
        for part in ("first", "second"):
            h = jax.nn.silu(h @ self.numbers[f"{name}.{part}.weight"] + self.numbers[f"{name}.{part}.bias"])
        return h

    def _run(self, body, x, context):
        for layer in body:
            x = getattr(self, f"_{layer['layer']}")(layer, x, context)
        return x

    def _residual(self, layer, x, context):
        return x + self._run(layer["body"], x, context)

    def _sum(self, layer, x, context):
        return sum(self._run(branch, x, context) for branch in layer["branches"])

    def _conv2d(self, layer, x, context):
        dilation, live = layer["dilation"], live_taps(layer["kernel"], layer["mask"])[:, :, 0, 0]
        # every mask leaves a rectangle; cut to it, the convolution takes half the time
        used = [np.flatnonzero(live.any(axis=axis)) for axis in (1, 0)]
        weight = self.numbers[f"{layer['name']}.weight"][used[0][0] : used[0][-1] + 1, used[1][0] : used[1][-1] + 1]
        around = [
            (int(dilation * (side // 2 - at[0])), int(dilation * (at[-1] - side // 2)))
            for at, side in zip(used, layer["kernel"])
        ]
        y = jax.lax.conv_general_dilated(
            x, weight, (layer["stride"],) * 2, around, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return y + self.numbers[f"{layer['name']}.bias"]

    def _modulation(self, layer, x, context):
        name = layer["name"]
        both = context @ self.numbers[f"{name}.weight"] + self.numbers[f"{name}.bias"]
        scale, shift = jnp.split(both[:, None, None, :], 2, -1)
        return x * (1.0 + scale) + shift

    def _silu(self, layer, x, context):
        return jax.nn.silu(x)

    def _gate(self, layer, x, context):
        value, gate = jnp.split(x, 2, -1)
        return value * jax.nn.sigmoid(gate)

    def _pixel_unshuffle(self, layer, x, context):
        n, h, w, c = x.shape
        f = layer["factor"]
        return x.reshape(n, h // f, f, w // f, f, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // f, w // f, -1)

    def _pixel_shuffle(self, layer, x, context):
        n, h, w, c = x.shape
        f = layer["factor"]
        return x.reshape(n, h, w, f, f, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * f, w * f, -1)


def load_score(path):
    """The score of a trained network as a function of JAX, to compare with ``ScorePrior`` or for use in other packages.

    Parameters
    ----------
    path : str or path-like
        A weight file that `train_score.py` wrote.

    Returns
    -------
    callable
        ``score(u, sigma)``: stamps (n, h, w) and one temperature -> gradient of the log density of u.
    """
    file = load_network_file(path)
    numbers = {name: jnp.asarray(array, x32()) for name, array in file.arrays.items()}
    network = Network(numbers, json.dumps(file.description))
    mean, scale = jnp.asarray(file.constants["mean"], x32()), file.metadata["scale"]

    def score(u, sigma):
        total = scale**2 + sigma**2
        change = u - mean
        log_sigma = jnp.full(len(u), jnp.log(sigma))
        output = network((change / total**0.5)[..., None], log_sigma)[..., 0]
        return (scale * output / (sigma * total**0.5)) - change / total

    return score


def x32():
    """The precision of the training: float32 unless JAX was told to use float64."""
    return jnp.result_type(float)
