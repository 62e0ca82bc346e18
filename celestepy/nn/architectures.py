"""Descriptions of the networks: plain nested lists and dictionaries, which go into the weight files as JSON.

A description says everything about a network but its numbers, so one text builds the NumPy network that is used
(`~celestepy.nn.build_network`) and the network that is trained, in another framework, by a script. Each entry has
the key ``layer``; entries with numbers have a ``name`` under which these are stored. Arrays are
(n, height, width, channels).
"""

__all__ = ["pixelcnn", "score_unet"]

# Frequencies of the embedding of ln sigma, per unit of ln sigma: from a period of 30, longer than the whole range
# of temperatures, to one of 1.5
FREQUENCIES = (0.2, 4.0)


def _convolution(name, inputs, outputs, kernel, *, dilation=1, mask="none"):
    return {
        "layer": "conv2d", "name": name, "inputs": inputs, "outputs": outputs, "kernel": list(kernel),
        "stride": 1, "dilation": dilation, "mask": mask,
    }  # fmt: skip


def _modulation(name, context, channels):
    return {"layer": "modulation", "name": name, "inputs": context, "channels": channels}


def _embedding(features, context):
    return {
        "layer": "time_embedding", "name": "time", "features": features, "outputs": context,
        "frequencies": list(FREQUENCIES),
    }  # fmt: skip


def _block(name, channels, context):
    """Activation and 3x3 convolution, twice, added to the input; the temperature scales and shifts between them."""
    return {
        "layer": "residual",
        "body": [
            {"layer": "silu"},
            _convolution(f"{name}.first", channels, channels, (3, 3)),
            _modulation(f"{name}.modulation", context, channels),
            {"layer": "silu"},
            _convolution(f"{name}.second", channels, channels, (3, 3)),
        ],
    }


def _level(depth, channels, context):
    """One resolution of the U-Net and everything below it; what is below is added, not appended."""
    here, *below = channels
    if not below:
        return [_block(f"level{depth}.middle", here, context)]
    inside = [
        {"layer": "pixel_unshuffle", "factor": 2},
        _convolution(f"level{depth}.reduce", 4 * here, below[0], (1, 1)),
        *_level(depth + 1, below, context),
        _convolution(f"level{depth}.expand", below[0], 4 * here, (1, 1)),
        {"layer": "pixel_shuffle", "factor": 2},
    ]
    return [
        _block(f"level{depth}.down", here, context),
        {"layer": "residual", "body": inside},
        _block(f"level{depth}.up", here, context),
    ]


def score_unet(channels=(32, 64, 64), *, context=64, features=32):
    """Describe a small U-Net that denoises images of one channel at a given temperature.

    The image enters as blocks of 2x2 pixels, so the first level works at half the resolution without losing any
    detail; each further entry of ``channels`` halves it again. There are no norms: the input is scaled to unit
    variance at every temperature, and each block begins as the identity.

    Parameters
    ----------
    channels : sequence of int, optional
        Channels of each resolution, the finest first. Heights and widths must divide by ``2 ** len(channels)``.
    context, features : int, optional
        Lengths of the embedding of the temperature, and of its sines and cosines.

    Returns
    -------
    dict
        Keys ``context``, the layer that embeds ln sigma, and ``body``, the layers in order.
    """
    return {
        "context": _embedding(features, context),
        "body": [
            {"layer": "pixel_unshuffle", "factor": 2},
            _convolution("stem", 4, channels[0], (3, 3)),
            *_level(0, list(channels), context),
            {"layer": "silu"},
            _convolution("head", channels[0], 4, (3, 3)),
            {"layer": "pixel_shuffle", "factor": 2},
        ],
    }


def _gated_block(name, channels, kernel, dilation, mask, context):
    return {
        "layer": "residual",
        "body": [
            {"layer": "silu"},
            _convolution(f"{name}.first", channels, channels, kernel, dilation=dilation, mask=mask),
            _modulation(f"{name}.modulation", context, channels),
            {"layer": "silu"},
            _convolution(f"{name}.second", channels, 2 * channels, kernel, dilation=dilation, mask=mask),
            {"layer": "gate"},
        ],
    }


def pixelcnn(channels=24, *, components=3, rows=(1, 2, 4, 8), columns=(1, 2, 4), context=32, features=16):
    """Describe a PixelCNN: parameters of the conditional density of each pixel, given those before it in raster order.

    A first stack of masked convolutions looks at all rows above a pixel; a second one, along the row, adds the
    pixels to the left of it. So no pixel that comes before is hidden in a blind spot, as it is for one stack of
    masked convolutions (van den Oord et al. 2016, NeurIPS 29, 4790).

    Parameters
    ----------
    channels : int, optional
        Channels of both stacks.
    components : int, optional
        Gaussians of each conditional density.
    rows, columns : sequence of int, optional
        Dilations of the blocks of the first and of the second stack. The first sees ``2 sum(rows)`` rows beyond
        the one above the pixel, the second ``4 sum(columns)`` pixels beyond the one to the left.
    context, features : int, optional
        Lengths of the embedding of the temperature, and of its sines and cosines.

    Returns
    -------
    dict
        Keys ``context``, the layer that embeds ln sigma, and ``body``, the layers in order; the network has
        ``3 components`` channels of output: log weights (not normalised), means, log standard deviations.
    """
    above = [
        _convolution("above", 1, channels, (3, 3), mask="above"),
        *(_gated_block(f"rows{i}", channels, (3, 3), d, "rows", context) for i, d in enumerate(rows)),
    ]
    left = [_convolution("left", 1, channels, (1, 3), mask="left")]
    along = [_gated_block(f"columns{i}", channels, (1, 5), d, "row", context) for i, d in enumerate(columns)]
    return {
        "context": _embedding(features, context),
        "body": [
            {"layer": "sum", "branches": [above, left]},
            *along,
            {"layer": "silu"},
            _convolution("head", channels, 3 * components, (1, 1)),
        ],
    }
