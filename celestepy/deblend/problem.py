"""Half chi^2 as a function of morphologies alone: the fluxes are solved for at every point (variable projection).

Its gradient is that at fixed fluxes, because the fluxes are at their minimum. The function does not depend on the
scales of the morphologies.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.seds import normal_equations, solve_fluxes

__all__ = ["Evaluation", "Problem"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The function at one point.

    Attributes
    ----------
    half_chi2 : float
        Value.
    seds : (K, B) array
        Fluxes there.
    columns : list of (B_o, K, pixels) arrays
        Each source alone with unit fluxes, in each observation.
    weighted : list of (B_o, pixels) arrays
        Weights times (model minus data).
    """

    half_chi2: float
    seds: np.ndarray
    columns: list
    weighted: list


class Problem:
    """The data of a frame, ready for many evaluations.

    Parameters
    ----------
    frame : Frame
        Observations, and pixels of the model.
    nonnegative : bool, optional
        Whether fluxes must not be negative.
    flux_cost : float, optional
        Cost of a unit of flux, in each band alike.
    observations : sequence of Observation, optional
        The frame's with other weights; curvatures stay those of the frame's own.
    """

    def __init__(self, frame, *, nonnegative=True, flux_cost=0.0, observations=None):
        self.frame, self.nonnegative, self.flux_cost = frame, nonnegative, flux_cost
        self.observations = frame.observations if observations is None else tuple(observations)
        self._data = [o.images.reshape(len(o.images), -1) for o in self.observations]
        self._weights = [o.weights.reshape(len(o.images), -1) for o in self.observations]
        self.curvatures = frame.curvatures()

    def evaluate(self, stack, seds=None):
        """The function at morphologies.

        Parameters
        ----------
        stack : (K, H, W) array
            Morphologies on the frame's grid.
        seds : (K, B) array, optional
            Fluxes; solved for by default.

        Returns
        -------
        Evaluation
            Value and fluxes.
        """
        return self.evaluate_columns(self.frame.columns(stack), seds)

    def evaluate_columns(self, columns, seds=None):
        """The function at morphologies whose images are known, for instance as sums of others.

        Parameters
        ----------
        columns : list of (B_o, K, pixels) arrays
            Images of the morphologies.
        seds : (K, B) array, optional
            Fluxes; solved for by default.

        Returns
        -------
        Evaluation
            Value and fluxes.
        """
        if seds is None:
            seds = self.solve(columns)
        half_chi2, weighted = 0.0, []
        channels = zip(columns, self._data, self._weights, self.frame.band_indices, strict=True)
        for own, data, weights, bands in channels:
            residual = np.matmul(seds[:, bands].T[:, None, :], own)[:, 0] - data
            weighted.append(weights * residual)
            half_chi2 += 0.5 * float(np.vdot(weighted[-1], residual))
        return Evaluation(half_chi2, seds, columns, weighted)

    def solve(self, columns):
        """Fluxes that fit best.

        Parameters
        ----------
        columns : list of (B_o, K, pixels) arrays
            Images of the morphologies.

        Returns
        -------
        (K, B) array
            0 where nothing is known.
        """
        gram, rhs = normal_equations(columns, self.observations, self.frame.band_indices, self.frame.n_bands)
        penalty = np.full(rhs.shape[1], self.flux_cost) if self.flux_cost else None
        return solve_fluxes(gram, rhs, nonnegative=self.nonnegative, penalty=penalty).seds

    def slopes(self, stack, seds):
        """Value and derivatives at given fluxes, without the images of single sources.

        Parameters
        ----------
        stack : (K, H, W) array
            Morphologies on the frame's grid.
        seds : (K, B) array
            Fluxes.

        Returns
        -------
        half_chi2 : float
            Value.
        morphologies : (K, H, W) array
            Derivative with respect to them.
        fluxes : (K, B) array
            Derivative with respect to them.
        """
        flat, grid = stack.reshape(len(stack), -1), stack.shape[1:]
        images = self.frame.render((seds.T @ flat).reshape(-1, *grid))
        half_chi2 = 0.0
        for model, data, weights in zip(images, self._data, self._weights, strict=True):
            residual = model.reshape(data.shape) - data
            weighted = weights * residual
            half_chi2 += 0.5 * float(np.vdot(weighted, residual))
            model[...] = weighted.reshape(model.shape)
        back = self.frame.adjoint(images).reshape(self.frame.n_bands, -1)
        return half_chi2, (seds @ back).reshape(stack.shape), flat @ back.T

    def gram(self, columns):
        """Products of images with the weights.

        Parameters
        ----------
        columns : list of (B_o, K, pixels) arrays
            Images of any morphologies.

        Returns
        -------
        (B, K, K) array
            Summed over observations of the same band.
        """
        return normal_equations(columns, self.observations, self.frame.band_indices, self.frame.n_bands)[0]

    def gradient(self, evaluation):
        """Derivative with respect to morphologies.

        Parameters
        ----------
        evaluation : Evaluation
            Of this problem.

        Returns
        -------
        (K, H, W) array
            On the frame's grid.
        """
        pairs = zip(evaluation.weighted, self.frame.observations, strict=True)
        images = [weighted.reshape(o.shape) for weighted, o in pairs]
        return self.frame.pull_back(images, evaluation.seds)

    def lipschitz(self, seds):
        """Bounds on the curvature of half chi^2 in the pixels of each morphology alone.

        Parameters
        ----------
        seds : (K, B) array
            Fluxes.

        Returns
        -------
        (K,) array
            sum_b A_kb^2 c_b with the frame's curvatures c_b.
        """
        return seds**2 @ self.curvatures
