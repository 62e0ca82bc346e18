"""The affine-invariant ensemble of emcee (Foreman-Mackey et al. 2013, PASP 125, 306), as an independent check.

It shares no code with the other samplers, so that an agreement of both says something.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.mcmc.density import CheckedDensity, SamplingError, checked_count, checked_starts

__all__ = ["EnsembleSampler"]


@dataclass(frozen=True)
class EnsembleSampler:
    """Settings of ensemble sampling.

    Parameters
    ----------
    n_draws : int
        Steps of the ensemble after the burn-in.
    burn_in : int
        Steps before that.

    Raises
    ------
    SamplingError
        If a setting is out of its range.
    """

    n_draws: int = 1000
    burn_in: int = 500

    def __post_init__(self):
        checked_count("n_draws", self.n_draws)
        checked_count("burn_in", self.burn_in, least=0)

    def sample(self, log_density, start, rng):
        """Run the ensemble.

        Parameters
        ----------
        log_density : callable
            Points, shape (n, D), to log densities, shape (n,).
        start : array_like
            One point of positive density per walker, shape (C, D): twice as many walkers as parameters or more,
            spread over the posterior.
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        Chains
            ``n_draws`` states of each walker. Walkers steer by one another and so are not independent chains.

        Raises
        ------
        ImportError
            If emcee is not installed; the message says how to install it.
        SamplingError
            If the starts are too few, linearly dependent or outside the support, or the density is infinite.
        """
        emcee = _emcee()
        density = CheckedDensity(log_density)
        x, values = checked_starts(density, start)
        _check_spread(x)
        sampler = emcee.EnsembleSampler(*x.shape, density, vectorize=True)
        sampler.random_state = np.random.RandomState(rng.integers(2**32)).get_state()
        state = emcee.State(x, log_prob=values)
        if self.burn_in:
            state = sampler.run_mcmc(state, self.burn_in, store=False, skip_initial_state_check=True)
        sampler.run_mcmc(state, self.n_draws, skip_initial_state_check=True)
        draws = np.ascontiguousarray(sampler.get_chain().swapaxes(0, 1))
        return Chains(draws, np.ascontiguousarray(sampler.get_log_prob().T), density.n_evaluations)


def _emcee():
    try:
        import emcee
    except ImportError as error:
        raise ImportError(
            "EnsembleSampler needs emcee: install the extra 'mcmc', python -m pip install \".[mcmc]\" in the source "
            "tree"
        ) from error
    return emcee


def _check_spread(x):
    """Walkers in a subspace would never leave it."""
    n, size = x.shape
    if n < 2 * size:
        raise SamplingError(f"start has {n} walkers for {size} parameters; expected {2 * size} or more")
    offsets = x - x.mean(axis=0)
    scale = np.abs(offsets).max(axis=0)
    if not (scale > 0).all() or np.linalg.matrix_rank(offsets / scale) < size:
        raise SamplingError("start is linearly dependent: walkers must spread in every direction; add some scatter")
