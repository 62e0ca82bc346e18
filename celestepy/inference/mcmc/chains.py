"""What samplers return."""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.weights import effective_draws, resample

__all__ = ["AnnealedDraws", "Chains"]


@dataclass(frozen=True, eq=False)
class Chains:
    """Markov chains after their burn-in.

    Attributes
    ----------
    draws : `~numpy.ndarray`
        States, shape (C, n, D): chain, draw, parameter.
    log_density : `~numpy.ndarray`
        Unnormalised log density of each state, shape (C, n).
    n_evaluations : int
        Points at which the density was evaluated, those of the burn-in among them.
    """

    draws: np.ndarray
    log_density: np.ndarray
    n_evaluations: int

    @property
    def pooled(self):
        """Draws of all chains, one chain after the other, shape (C n, D)."""
        return self.draws.reshape(-1, self.draws.shape[-1])


@dataclass(frozen=True, eq=False)
class AnnealedDraws:
    """End states of annealed importance sampling and what they weigh.

    Attributes
    ----------
    draws : `~numpy.ndarray`
        State in which each run ended, shape (R, D).
    log_weights : `~numpy.ndarray`
        Log weight of each run, shape (R,); the mean weight is an unbiased estimate of the ratio of the target's
        normalising constant to the reference's. A run that began outside the target's support weighs nothing.
    log_evidence, log_evidence_err : float
        Log of the mean weight, and its standard error by the spread over runs. An error near 1, or fewer than about
        five effective draws, says that few runs hold all the weight: the evidence is then likely to be larger.
    n_evaluations : int
        Points at which the target was evaluated.
    """

    draws: np.ndarray
    log_weights: np.ndarray
    log_evidence: float
    log_evidence_err: float
    n_evaluations: int

    @property
    def effective_draws(self):
        """Number of equally weighted draws that are worth as much."""
        return effective_draws(self.log_weights)

    def resample(self, n, rng):
        """Choose end states by weight.

        Parameters
        ----------
        n : int
            Draws wanted.
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        `~numpy.ndarray`
            Equally weighted draws of the target, shape (n, D).

        Raises
        ------
        SamplingError
            If no run has a positive weight.
        """
        return self.draws[resample(self.log_weights, n, rng)]
