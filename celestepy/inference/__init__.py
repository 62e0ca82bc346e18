"""From images and seeds to posteriors."""

from celestepy.inference.calibrated import ImportanceSampler
from celestepy.inference.fast import LaplaceFit
from celestepy.inference.markov import MarkovSampler
from celestepy.inference.newton import TrustRegion
from celestepy.inference.paper_mcmc import PaperSampler
from celestepy.inference.result import Result

__all__ = ["ImportanceSampler", "LaplaceFit", "MarkovSampler", "PaperSampler", "Result", "TrustRegion"]
