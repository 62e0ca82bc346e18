"""Two discs that overlap, and a quick stop."""

import numpy as np

from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import FreeSource
from celestepy.deblend.stopping import StopRule

SHORT = StopRule(30, tolerance=0.0)
SEDS = np.array([[4.0, 6.0, 8.0], [9.0, 6.0, 3.0]])
PEAKS = np.array([[14.0, 12.0], [17.0, 22.0]])


def disc(half, width, ratio):
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.exp(-np.hypot(y / ratio, x) / width)


def true_scene(observations, n_bands=3):
    frame = Frame(observations)
    seds = np.pad(SEDS, ((0, 0), (0, n_bands - 3)), constant_values=5.0)
    sources = [
        FreeSource(*peak, disc(9, *shape), sed)
        for peak, shape, sed in zip(PEAKS, ((2.5, 0.6), (1.5, 1.0)), seds, strict=True)
    ]
    return Scene(frame, sources)
