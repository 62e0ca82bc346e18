"""The trust region's subproblem, slow and obvious: by eigenvectors and a root finder."""

import numpy as np
from scipy.optimize import brentq


def depth(gradient, hessian, radius):
    """How far ``g.s + s.H s / 2`` falls below zero at the best within the radius."""
    values, vectors = np.linalg.eigh(hessian)
    rotated = vectors.T @ gradient

    def step(shift):
        return -rotated / (values + shift)

    if values[0] > 0 and np.linalg.norm(step(0.0)) <= radius:
        best = step(0.0)
    else:
        least = max(0.0, -values[0]) + 1e-11 * np.abs(values).max()
        if np.linalg.norm(step(least)) > radius:
            most = least + np.linalg.norm(gradient) / radius
            best = step(brentq(lambda shift: np.linalg.norm(step(shift)) - radius, least, most, xtol=1e-14))
        else:  # the gradient has no part along the most negative curvature
            best = step(least)
            best[0] += np.copysign(np.sqrt(radius**2 - best @ best), best[0])
    return -(rotated @ best + 0.5 * values @ best**2)
