"""What is known of one source of one type: a mixture of Gaussians in its free vector."""

from dataclasses import dataclass

import numpy as np

__all__ = ["SourcePosterior"]


@dataclass(frozen=True)
class SourcePosterior:
    """Mixture of Gaussians in the free vector of one source of one type.

    Attributes
    ----------
    kind : str
        Type.
    weights, means, covariances : `~numpy.ndarray`
        Shapes (J,), (J, n) and (J, n, n).
    """

    kind: str
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
