"""Densities of quantities without noise from noisy, incomplete data: extreme deconvolution."""

from celestepy.density.collapse import ComponentCollapseWarning
from celestepy.density.conditional import RowMixtures
from celestepy.density.extreme_deconvolution import ExtremeDeconvolution
from celestepy.density.fits_rows import FitsRows
from celestepy.density.mixture import GaussianMixture
from celestepy.density.monitor import TraceEntry
from celestepy.density.noisy_rows import DensityError, NoisyRows

__all__ = [
    "ComponentCollapseWarning",
    "DensityError",
    "ExtremeDeconvolution",
    "FitsRows",
    "GaussianMixture",
    "NoisyRows",
    "RowMixtures",
    "TraceEntry",
]
