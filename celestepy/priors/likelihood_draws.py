r"""The likelihood of every source of a catalogue, as weighted draws: its posterior with the prior divided out.

A catalogue made with the prior p0 holds draws theta_k from posteriors, likelihood times p0. For any function f of the
parameters of one type t, with P_t the posterior and pi_t the prior probability of the type,

.. math::

    \int L(\theta, t) f(\theta) \, d\theta \propto
        \frac{P_t}{\pi_t} \sum_k w_k \frac{f(\theta_k)}{p_0(\theta_k \mid t)} ,

with weights w_k of sum one within the type, and the same constant for both types. That is all that a hierarchical
model needs to know of the pixels (Hogg, Myers & Bovy 2010, ApJ 725, 2166).
"""

from dataclasses import dataclass, replace

import numpy as np

from celestepy.model.parameters import GALAXY, KINDS, STAR, layout

__all__ = ["TypeDraws", "likelihood_draws", "log_terms", "posterior_weights"]

_LEAST_TYPE = 1e-6  # posterior probability of a type below which it is left out
_POSITION_SD = 1.0  # arcsec; the law of the position is no part of the fit, and cancels


@dataclass(frozen=True)
class TypeDraws:
    """Likelihoods under one type, as M weighted draws of all the sources.

    Attributes
    ----------
    source : (M,) int array
        Row of the source of each draw.
    theta : (M, D) array
        Free vectors, with u = v = 0.
    log_weight : (M,) array
        ln(P_t w / (pi_t p0)), see the module.
    """

    source: np.ndarray
    theta: np.ndarray
    log_weight: np.ndarray

    @property
    def log_flux(self):
        """Log fluxes in the reference band, shape (M,)."""
        return self.theta[:, 2]


def likelihood_draws(catalog, interim, n_draws, most, rng):
    """Likelihoods of the sources of a catalogue.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        The sources; all have estimates. Its posterior draws are used where it has them, otherwise the Gaussians of its
        posterior columns.
    interim : `~celestepy.model.priors.Prior`
        The prior that the catalogue was made with, in its bands.
    n_draws : int
        Draws of each source and type from the Gaussians, or from the catalogue's draws where these are more than
        `most`.
    most : int
        Most of the catalogue's draws to take as they are, with their weights.
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    dict of str to TypeDraws
        By type. A type that a source has with a probability below 1e-6 is left out for it.
    """
    draws = catalog.draws
    if draws is not None and len(draws.weight) <= most:
        return {kind: _given(kind, draws, interim) for kind in KINDS}
    posterior = catalog.posterior if draws is None else draws
    return {kind: _drawn(kind, posterior, interim, n_draws, rng) for kind in KINDS}


def _given(kind, draws, interim):
    """The draws of a type with their weights."""
    rows = (draws.is_galaxy == (kind == GALAXY)) & (draws.weight > 0)
    return _type_draws(kind, draws.owner[rows], draws.theta[rows], np.log(draws.weight[rows]), draws, interim)


def _drawn(kind, posterior, interim, n_draws, rng):
    """As many new draws for each source, of equal weights."""
    alone = replace(posterior, star_probability=np.full(len(posterior), float(kind == STAR)))
    is_galaxy, theta = alone.draw(n_draws, rng)
    source, number = np.nonzero(is_galaxy == (kind == GALAXY))
    return _type_draws(kind, source, theta[source, number], np.full(len(source), -np.log(n_draws)), posterior, interim)


def _type_draws(kind, source, theta, log_share, posterior, interim):
    """The record of draws, with the interim prior divided out."""
    probability = posterior.star_probability if kind == STAR else 1 - posterior.star_probability
    theta = theta[:, :layout(kind, len(interim.bands)).size].copy()
    theta[:, :2] = 0.0
    known = (probability > _LEAST_TYPE)[source] & np.isfinite(theta).all(axis=1)
    source, theta = source[known], theta[known]
    log_type = np.log(probability[source]) - interim.log_type_probability(kind)
    log_prior = interim.log_densities(kind, theta, _POSITION_SD)
    return TypeDraws(source, theta, log_share[known] + log_type - log_prior)


def log_terms(draws, prior):
    """Log of likelihood times prior, one term for each draw.

    Parameters
    ----------
    draws : dict of str to TypeDraws
        By type.
    prior : `~celestepy.model.priors.Prior`
        Another prior than the interim one.

    Returns
    -------
    dict of str to (M,) array
        By type. Their sum (of the exponentials) over all draws of a source is its marginal likelihood.
    """
    return {kind: part.log_weight + prior.log_type_probability(kind)
            + prior.log_densities(kind, part.theta, _POSITION_SD) for kind, part in draws.items()}


def posterior_weights(draws, terms, n_sources):
    """Weights of the draws as draws from the posterior.

    Parameters
    ----------
    draws : dict of str to TypeDraws
        By type.
    terms : dict of str to (M,) array
        From `log_terms`.
    n_sources : int
        Number of sources.

    Returns
    -------
    weights : dict of str to (M,) array
        By type; they sum to one for each source over both types.
    log_likelihood : (n_sources,) array
        Log marginal likelihood of each source, up to a constant of its own.
    """
    top = np.full(n_sources, -np.inf)
    for kind, part in draws.items():
        np.maximum.at(top, part.source, terms[kind])
    weights = {kind: np.exp(terms[kind] - top[part.source]) for kind, part in draws.items()}
    total = sum(np.bincount(part.source, weights[kind], n_sources) for kind, part in draws.items())
    return {kind: weights[kind] / total[part.source] for kind, part in draws.items()}, top + np.log(total)
