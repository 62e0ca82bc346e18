"""Scenes and fields that several files of tests take apart."""

import numpy as np
import pytest
from deblend.field_models import QUICK
from deblend.small_scenes import blank, observed
from deblend.two_discs import PEAKS, true_scene

from celestepy.deblend import Frame, deblend_field, start_scene
from celestepy.simulate import simulate_field


@pytest.fixture(scope="module")
def truth():
    return true_scene([blank(weight=1e4)])


@pytest.fixture(scope="module")
def frame(truth):
    return Frame(observed(truth, np.random.default_rng(4)))


@pytest.fixture
def start(frame):
    return start_scene(frame, PEAKS, largest_half=12)


@pytest.fixture(scope="package")
def sky():
    """Nine sources, two of which overlap."""
    return simulate_field(9, "gri", (150, 140), min_snr=20, rng=4)


@pytest.fixture(scope="package")
def models(sky):
    return deblend_field(sky.images, sky.truth, method=QUICK, rng=3)
