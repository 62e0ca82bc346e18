"""Draws of one source given its neighbours, type by type: annealing from the prior, then slice sampling.

This is the inner loop of the paper's sampler (Regier et al. 2019, sections 3.1 and 3.2). For each type, N' runs of
annealed importance sampling lead from the prior to the posterior in T steps (equations 21 to 23) and give the evidence;
their end states, chosen by weight, are where N' chains of slice sampling begin, which gives the draws.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.annealed import AnnealedImportanceSampler
from celestepy.inference.mcmc.chains import AnnealedDraws, Chains
from celestepy.inference.mcmc.density import SamplingError
from celestepy.inference.mcmc.slice import SliceSampler
from celestepy.inference.posterior import GroupPosterior
from celestepy.model.parameters import KINDS, layout

__all__ = ["Conditional", "SeedPrior", "TypeDraws", "draw_conditional", "known_sky_posterior"]


class SeedPrior:
    """The prior of one source of one type about its seed, as a distribution to begin from.

    Parameters
    ----------
    prior : `~celestepy.model.priors.Prior`
        Laws of fluxes and shapes.
    kind : str
        Type.
    position_sd : float
        Standard deviation of the position about the seed in each coordinate (arcsec).
    """

    def __init__(self, prior, kind, position_sd):
        self.prior, self.kind, self.position_sd = prior, kind, float(position_sd)

    def draw(self, n, rng):
        """Draw n free vectors, shape (n, D)."""
        theta = self.prior.sample_theta(self.kind, n, rng)
        theta[:, layout(self.kind, len(self.prior.bands)).position] = self.position_sd * rng.standard_normal((n, 2))
        return theta

    def log_density(self, x):
        """Normalised log densities of free vectors (n, D), shape (n,)."""
        return self.prior.log_densities(self.kind, x, self.position_sd)


@dataclass(frozen=True)
class TypeDraws:
    """Draws of one source under one type.

    Attributes
    ----------
    annealed : `~celestepy.inference.mcmc.AnnealedDraws`
        The runs from the prior, with the evidence.
    chains : `~celestepy.inference.mcmc.Chains`
        The chains from their end states.
    """

    annealed: AnnealedDraws
    chains: Chains

    @property
    def n_evaluations(self):
        """Evaluations of the posterior."""
        return self.annealed.n_evaluations + self.chains.n_evaluations


@dataclass(frozen=True)
class Conditional:
    """The posterior of one source given its neighbours.

    Attributes
    ----------
    by_kind : dict
        Type -> TypeDraws; without a type that no run could begin with.
    log_weights : dict
        Type -> log of its posterior probability.
    log_evidence : float
        Log evidence, summed over types with their prior probabilities.
    """

    by_kind: dict
    log_weights: dict
    log_evidence: float

    def choose(self, rng):
        """A type by its probability, and one of the draws of that type."""
        kinds = list(self.log_weights)
        probabilities = np.exp([self.log_weights[kind] for kind in kinds])
        kind = kinds[rng.choice(len(kinds), p=probabilities / probabilities.sum())]
        pooled = self.by_kind[kind].chains.pooled
        return kind, pooled[rng.integers(len(pooled))]


def draw_conditional(posterior, settings, rng):
    """Draw from the posterior of one source given everything else.

    Parameters
    ----------
    posterior : `~celestepy.inference.posterior.GroupPosterior`
        Of one source, with a known sky (see `known_sky_posterior`).
    settings : `~celestepy.inference.paper_mcmc.PaperSampler`
        Numbers of temperatures, runs and draws.
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    Conditional or None
        None where no run of either type began within the support of the posterior.
    """
    by_kind = {}
    for kind in KINDS:
        drawn = _draw_type(posterior, kind, settings, rng)
        if drawn is not None:
            by_kind[kind] = drawn
    if not by_kind:
        return None
    prior = posterior.prior.log_type_probability
    values = {kind: drawn.annealed.log_evidence + prior(kind) for kind, drawn in by_kind.items()}
    total = float(np.logaddexp.reduce(list(values.values())))
    return Conditional(by_kind, {kind: value - total for kind, value in values.items()}, total)


def known_sky_posterior(data, prior, position_sd):
    """Log posterior of a group in which the sky levels are no parameters.

    Parameters
    ----------
    data : `~celestepy.inference.placement.GroupData`
        The pixels.
    prior : `~celestepy.model.priors.Prior`
        The prior.
    position_sd : array_like
        Standard deviation of each source's position (arcsec), shape (K,).

    Returns
    -------
    `~celestepy.inference.posterior.GroupPosterior`
        Whose normal law of the sky levels has a density of one at no shift, so that it drops out there.
    """
    sky_sd = np.full(len(data.sky_sd), 1 / np.sqrt(2 * np.pi))
    return GroupPosterior(data.likelihood, prior, prior.bands, position_sd, sky_sd)


def _draw_type(posterior, kind, settings, rng):
    """Anneal, and run chains from the end states; None where no run has a weight."""
    sky = np.zeros(posterior.n_images)

    def log_density(theta):
        return posterior.values((kind,), np.hstack([theta, np.broadcast_to(sky, (len(theta), len(sky)))]))

    slices = SliceSampler(n_draws=settings.n_draws, burn_in=0, widths=settings.width, max_steps=settings.max_steps)
    annealing = AnnealedImportanceSampler(
        settings.n_temperatures, settings.n_runs, schedule=settings.schedule, transition=slices
    )
    try:
        annealed = annealing.sample(log_density, SeedPrior(posterior.prior, kind, posterior.position_sd[0]), rng)
        chains = slices.sample(log_density, annealed.resample(settings.n_runs, rng), rng)
    except SamplingError:
        return None
    return TypeDraws(annealed, chains)
