"""Samplers of any log density, their diagnostics, and nothing about images.

A density is a function of points, shape (n, D), that returns their log densities, shape (n,), up to a constant.
Every sampler hands it many points at a time.
"""

from celestepy.inference.mcmc.annealed import AnnealedImportanceSampler
from celestepy.inference.mcmc.chains import AnnealedDraws, Chains
from celestepy.inference.mcmc.density import CheckedDensity, SamplingError
from celestepy.inference.mcmc.diagnostics import Verdict, pareto_smooth, verdict
from celestepy.inference.mcmc.elliptical import EllipticalSliceSampler
from celestepy.inference.mcmc.ensemble import EnsembleSampler
from celestepy.inference.mcmc.slice import SliceSampler
from celestepy.inference.mcmc.weights import effective_draws, log_mean_weight, resample

__all__ = [
    "AnnealedDraws",
    "AnnealedImportanceSampler",
    "Chains",
    "CheckedDensity",
    "EllipticalSliceSampler",
    "EnsembleSampler",
    "SamplingError",
    "SliceSampler",
    "Verdict",
    "effective_draws",
    "log_mean_weight",
    "pareto_smooth",
    "resample",
    "verdict",
]
