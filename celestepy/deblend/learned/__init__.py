"""Priors on morphologies learned from simulated galaxies, used without any deep-learning framework."""

from celestepy.deblend.learned.pixelcnn_prior import PixelCNNPrior
from celestepy.deblend.learned.score_function import ScoreFunctionPrior
from celestepy.deblend.learned.score_prior import ScorePrior
from celestepy.deblend.learned.sized_prior import SizedPrior
from celestepy.deblend.learned.stamps import LearnedPrior, trained_priors
from celestepy.deblend.learned.temperature_ladder import TemperatureLadder

__all__ = [
    "LearnedPrior",
    "PixelCNNPrior",
    "ScoreFunctionPrior",
    "ScorePrior",
    "SizedPrior",
    "TemperatureLadder",
    "trained_priors",
]
