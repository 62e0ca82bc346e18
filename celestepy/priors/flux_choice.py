"""The law of the log flux: fitted above the limit, and chosen between families by held-out sources."""

import numpy as np

from celestepy.model.prior_fit import fit_normal_counts, fit_power_counts
from celestepy.priors.likelihood_draws import log_terms, posterior_weights

__all__ = ["LAWS", "choose_counts", "fit_counts"]

LAWS = ("power", "normal")
_FOLDS, _STEPS = 5, 15
_TINY = 1e-300


def fit_counts(law, log_flux, weights, log_limit, turnover):
    """Law of the log flux of one family, of highest likelihood above the limit.

    Parameters
    ----------
    law : {"power", "normal"}
        Family.
    log_flux, weights : (M,) arrays
        Draws, and the sources that they stand for.
    log_limit, turnover : float
        Limit of completeness, and where the counts are to fall off: there the power law turns over, and there lies the
        mean of a normal law at its faintest (ln nmgy).

    Returns
    -------
    LogisticBeta or Normal
    """
    if law == "power":
        return fit_power_counts(log_flux, weights, faint_limit=log_limit, turnover=turnover)
    return fit_normal_counts(log_flux, weights, faint_limit=log_limit, lowest_mean=turnover)


def choose_counts(prior, kind, draws, n_sources, log_limit, turnover, rng):
    """The family that predicts held-out sources above the limit best, everything else being as fitted to all.

    Parameters
    ----------
    prior : `~celestepy.model.priors.Prior`
        As fitted.
    kind : {"star", "galaxy"}
        Type whose law is to be chosen.
    draws : dict of str to `~celestepy.priors.likelihood_draws.TypeDraws`
        Draws of the likelihoods, by type.
    n_sources : int
        Number of sources.
    log_limit, turnover : float
        As for `fit_counts`.
    rng : `numpy.random.Generator`
        Deals the sources to five folds.

    Returns
    -------
    law : str
        Its name.
    scores : dict of str to (n_sources,) array
        Held-out log likelihood by family of each source above the limit, times the probability that it lies there,
        up to a constant that they share.
    """
    terms = log_terms(draws, prior)
    weights, log_likelihood = posterior_weights(draws, terms, n_sources)
    above = {each: part.log_flux > log_limit for each, part in draws.items()}
    shares = {each: np.bincount(part.source, weights[each] * above[each], n_sources) for each, part in draws.items()}
    own, law = draws[kind], getattr(prior, kind).log_flux
    without = np.exp(terms[kind] - log_likelihood[own.source] - _intensity(law, own.log_flux, log_limit))
    rest = 1 - np.bincount(own.source, weights[kind], n_sources), sum(shares.values()) - shares[kind]
    fold, scores = rng.permutation(n_sources) % _FOLDS, {}
    for family in LAWS:
        held_out = np.empty(n_sources)
        for k in range(_FOLDS):
            marginal = _marginals(family, own, without, rest, fold != k, log_limit, turnover)
            held_out[fold == k] = marginal[fold == k]
        scores[family] = held_out * sum(shares.values())
    return max(scores, key=lambda family: scores[family].sum()), scores


def _intensity(law, log_flux, log_limit):
    """Log density of sources, in units of their number above the limit."""
    return law.log_density(log_flux) - np.log(law.share_above(log_limit))


def _marginals(family, own, without, rest, training, log_limit, turnover):
    """Log likelihood, above the limit, of every source under the law fitted to some of them by EM.

    `rest` are the shares of all other draws in the likelihood, on both sides of the limit and above it.
    """
    of_training, weights = training[own.source], without
    for _ in range(_STEPS):
        law = fit_counts(family, own.log_flux[of_training], weights[of_training], log_limit, turnover)
        terms = without * np.exp(_intensity(law, own.log_flux, log_limit))
        weights = terms / (np.maximum(rest[0], 0.0) + np.bincount(own.source, terms, len(training)))[own.source]
    above = np.bincount(own.source, terms * (own.log_flux > log_limit), len(training))
    return np.log(np.maximum(rest[1] + above, _TINY))
