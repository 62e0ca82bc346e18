"""The paper's own inference: joint, mean-field and variational; kept as the baseline."""

from celestepy.inference.vi.mean_field import MeanFieldVI

__all__ = ["MeanFieldVI"]
