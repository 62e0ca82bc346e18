"""Small neural networks for inference, in NumPy: layers with their derivatives, descriptions and weight files.

No deep-learning framework is needed to use a network; scripts that train them are in ``examples/training``.
Arrays are (n, height, width, channels).
"""

from celestepy.nn.architectures import pixelcnn, score_unet
from celestepy.nn.convolution import Conv2d, TransposedConv2d
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
from celestepy.nn.network import Network, Residual, Sequential, Sum, build_network
from celestepy.nn.weights import NetworkFile, WeightFileError, load_network_file, save_network_file

__all__ = [
    "ELU",
    "ConcatELU",
    "Conv2d",
    "Dense",
    "Gate",
    "GroupNorm",
    "Layer",
    "Modulation",
    "Network",
    "NetworkFile",
    "PixelShuffle",
    "PixelUnshuffle",
    "Residual",
    "Sequential",
    "SiLU",
    "Sum",
    "TimeEmbedding",
    "TransposedConv2d",
    "Upsample",
    "WeightFileError",
    "build_network",
    "load_network_file",
    "pixelcnn",
    "save_network_file",
    "score_unet",
]
