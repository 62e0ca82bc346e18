"""Gauss-Newton steps of the parameters of stars and model galaxies."""

import numpy as np

__all__ = ["ParametricSteps"]

_LARGEST_MOVE = np.array([0.5, 0.5, 0.3, 0.3, 0.3, 1.0])  # of x, y, log_radius, eta1, eta2, logit_dev in one step
_KEPT = 10  # steps for which derivatives are used again
_DAMPING = 1e-6  # relative to the diagonal


class ParametricSteps:
    """Derivatives of stars and galaxies with respect to their parameters, kept for a few steps.

    The second derivatives are those of half chi^2 with the source's own fluxes solved for: with the images t_i of the
    derivatives and c of the source in a band, sum over bands of A^2 (t_i w t_j - (t_i w c)(c w t_j) / (c w c)).

    Parameters
    ----------
    problem : Problem
        Half chi^2.
    """

    def __init__(self, problem):
        self.problem = problem
        self._kept = {}

    def moved(self, variables, k, gradient, sed, share=1.0):
        """A source after a step.

        Parameters
        ----------
        variables : Variables
            All sources.
        k : int
            Which active source.
        gradient : (h, w) array
            Derivative of half chi^2 with respect to the pixels of its morphology.
        sed : (B,) array
            Its fluxes.
        share : float, optional
            Share of the whole step.

        Returns
        -------
        PointSource or GalaxySource
            The moved source; the same one where nothing pulls it.
        """
        source = variables.sources[k]
        tangent, curvatures = self._derivatives(variables, k)
        normal = np.tensordot(sed**2, curvatures, 1)
        scale = np.sqrt(np.diag(normal))
        if not scale.min() > 0:
            return source
        normal = normal / np.outer(scale, scale) + _DAMPING * np.eye(len(scale))
        move = -share * np.linalg.solve(normal, tangent @ gradient.ravel() / scale) / scale
        limit = _LARGEST_MOVE[: len(move)]
        return source.replace(parameters=source.parameters + np.clip(move, -limit, limit))

    def _derivatives(self, variables, k):
        """Tangent (n, pixels of the box) and curvatures (B, n, n) for unit fluxes."""
        kept = self._kept.get(k)
        if kept is not None and kept[0] == variables.boxes[k] and kept[3] < _KEPT:
            kept[3] += 1
            return kept[1], kept[2]
        source = variables.sources[k]
        tangent = source.tangent()
        images = np.concatenate([tangent, source.morphology[None]])
        stack = np.zeros((len(images), *variables.grid_shape))
        on_grid, in_box = source.box.overlap(variables.grid_shape)
        stack[:, *on_grid] = images[:, *in_box]
        gram = self.problem.gram(self.problem.frame.columns(stack))
        across, own = gram[:, :-1, -1], gram[:, -1, -1]
        share = np.divide(1.0, own, out=np.zeros_like(own), where=own > 0)
        curvatures = gram[:, :-1, :-1] - share[:, None, None] * across[:, :, None] * across[:, None, :]
        self._kept[k] = [source.box, tangent.reshape(len(tangent), -1), curvatures, 0]
        return self._kept[k][1], curvatures
