"""Deblending: every source of a patch of sky, apart from its neighbours.

A `Frame` is made of every `Observation` of one patch, of any bands and resolutions; a `Scene` of sources on a frame,
each an SED times a morphology that is free in every pixel, or a star or galaxy of the catalogue's model. Methods are
records of settings with ``fit(scene)``; they differ in how they step, and share constraints, priors, the stop test and
the result.
"""

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.asinh_adam import AsinhAdam
from celestepy.deblend.blend_files import read_blend
from celestepy.deblend.comparison import Blend, binned_scores, compare_deblenders
from celestepy.deblend.constraints import Monotonic, NonNegative, Sparse, Symmetric
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.field import deblend_field, deblend_patch
from celestepy.deblend.field_models import FieldModels, ModelImage, ResidualImage, read_models
from celestepy.deblend.forward_backward import ForwardBackward
from celestepy.deblend.grid import Grid
from celestepy.deblend.growth import Growth
from celestepy.deblend.hallucination import HallucinationMap
from celestepy.deblend.methods import METHODS, frame_for, method_for, method_named
from celestepy.deblend.observation import Observation
from celestepy.deblend.patches import observe
from celestepy.deblend.priors import MorphologyPrior, Normalisation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.result import DeblendResult
from celestepy.deblend.scene import Scene
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.deblend.starts import start_from_catalog, start_scene
from celestepy.deblend.stopping import StopRule

__all__ = [
    "METHODS",
    "AdaProx",
    "AsinhAdam",
    "Blend",
    "DeblendError",
    "DeblendResult",
    "FieldModels",
    "ForwardBackward",
    "Frame",
    "FreeSource",
    "GalaxySource",
    "Grid",
    "Growth",
    "HallucinationMap",
    "ModelImage",
    "Monotonic",
    "MorphologyPrior",
    "NonNegative",
    "Normalisation",
    "Observation",
    "PointSource",
    "ResidualImage",
    "Scene",
    "ScoreDescent",
    "Sparse",
    "StopRule",
    "Symmetric",
    "binned_scores",
    "compare_deblenders",
    "deblend_field",
    "deblend_patch",
    "frame_for",
    "method_for",
    "method_named",
    "observe",
    "read_blend",
    "read_models",
    "start_from_catalog",
    "start_scene",
]
