"""Detection: where in the images sources may be, the seeds of every fit."""

from celestepy.detection.finder import detect, expected_false_peaks
from celestepy.detection.residuals import residual_peaks
from celestepy.detection.seeds import SeedFlag, Seeds, SeedWarning

__all__ = ["SeedFlag", "SeedWarning", "Seeds", "detect", "expected_false_peaks", "residual_peaks"]
