"""The types of the sources of a group: which assignments of star and galaxy to fit, and how they are weighed."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from celestepy.inference.laplace import fit_hypothesis
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, STAR

__all__ = ["TypePosterior", "weigh_types"]


@dataclass(frozen=True)
class TypePosterior:
    """Hypotheses about the types of a group, and what they say of each source.

    Attributes
    ----------
    hypotheses : list of `~celestepy.inference.laplace.Hypothesis`
        The fits.
    log_weights : `~numpy.ndarray`
        Log posterior weights with the prior probabilities of the types, normalised.
    log_evidence : float
        Log evidence of the group, summed over types.
    """

    hypotheses: list
    log_weights: np.ndarray
    log_evidence: float

    @property
    def best(self):
        """The most probable hypothesis."""
        return self.hypotheses[int(np.argmax(self.log_weights))]

    def vectors(self, k):
        """Free vector of source k at the most probable mode of each type."""
        order = np.argsort(self.log_weights, kind="stable")
        return {self.hypotheses[h].kinds[k]: self.hypotheses[h].vectors[k] for h in order.tolist()}

    def type_evidence(self, k, kind):
        """Log of the share of the group's evidence in which source k is of a type, its own type's prior left out."""
        chosen = [
            log_weight
            for hypothesis, log_weight in zip(self.hypotheses, self.log_weights, strict=True)
            if hypothesis.kinds[k] == kind
        ]
        return self.log_evidence + float(np.logaddexp.reduce(chosen)) if chosen else -np.inf

    def source(self, k, kind):
        """Marginal posterior of source k of a type, over the types of the others; None if never fitted so."""
        chosen = [
            (hypothesis.sources[k], log_weight)
            for hypothesis, log_weight in zip(self.hypotheses, self.log_weights, strict=True)
            if hypothesis.kinds[k] == kind
        ]
        if not chosen:
            return None
        logs = np.array([log_weight for _, log_weight in chosen])
        if not np.isfinite(logs.max()):
            return None
        shares = np.exp(logs - logs.max())
        parts = [(part, share) for (part, _), share in zip(chosen, shares / shares.sum(), strict=True) if share > 1e-4]
        weights = np.concatenate([share * part.weights for part, share in parts])
        return SourcePosterior(
            kind,
            weights / weights.sum(),
            np.concatenate([part.means for part, _ in parts]),
            np.concatenate([part.covariances for part, _ in parts]),
        )


def weigh_types(posterior, starts, settings, *, first=None, enumerate_up_to=3, window=5.0):
    """Fit a group under the assignments of types that matter.

    All are enumerated for small groups. For larger ones a first assignment is improved by single flips until none
    helps; then all combinations of the sources whose flip costs less than `window` nats are added.

    Parameters
    ----------
    posterior : `~celestepy.inference.posterior.GroupPosterior`
        Log posterior of the group.
    starts : dict of list
        Type -> free vector to start from, for each source.
    settings : `~celestepy.inference.newton.TrustRegion`
        Of the iteration.
    first : sequence of str, optional
        Assignment to begin with in a large group; all galaxies by default.
    enumerate_up_to : int
        Largest group of which every assignment is fitted.
    window : float
        Cost in nats up to which flips are combined.

    Returns
    -------
    TypePosterior
        The fits and their weights.
    """
    search = _Search(posterior, starts, settings)
    n_sources = posterior.n_sources
    if n_sources <= enumerate_up_to:
        for kinds in product((GALAXY, STAR), repeat=n_sources):
            search.fit(kinds)
    else:
        search.climb(tuple(first or [GALAXY] * n_sources))
        search.combine(window)
    return search.result()


class _Search:
    def __init__(self, posterior, starts, settings):
        self.posterior, self.settings = posterior, settings
        self.vectors = {kind: list(each) for kind, each in starts.items()}
        self.fits = {}

    def fit(self, kinds):
        """Log posterior weight of an assignment, not normalised."""
        if kinds not in self.fits:
            vectors = [self.vectors[kind][k] for k, kind in enumerate(kinds)]
            hypothesis = fit_hypothesis(self.posterior, kinds, vectors, self.settings)
            if hypothesis.minimum.converged:
                for k, kind in enumerate(kinds):
                    self.vectors[kind][k] = hypothesis.vectors[k]
            prior = sum(self.posterior.prior.log_type_probability(kind) for kind in kinds)
            self.fits[kinds] = (hypothesis, hypothesis.log_evidence + prior)
        return self.fits[kinds][1]

    def flips(self, kinds):
        return [(*kinds[:k], STAR if kinds[k] == GALAXY else GALAXY, *kinds[k + 1 :]) for k in range(len(kinds))]

    def climb(self, kinds):
        value = self.fit(kinds)
        while True:
            values = [self.fit(flip) for flip in self.flips(kinds)]
            if max(values) <= value:
                break
            value = max(values)
            kinds = self.flips(kinds)[int(np.argmax(values))]
        self.top = kinds

    def combine(self, window, max_free=4):
        top = self.fit(self.top)
        costs = np.array([top - self.fit(flip) for flip in self.flips(self.top)])
        free = np.argsort(costs, kind="stable")[:max_free]
        free = [k for k in free if costs[k] < window]
        for choice in product((GALAXY, STAR), repeat=len(free)):
            kinds = list(self.top)
            for k, kind in zip(free, choice, strict=True):
                kinds[k] = kind
            self.fit(tuple(kinds))

    def result(self):
        hypotheses = [hypothesis for hypothesis, _ in self.fits.values()]
        values = np.array([value for _, value in self.fits.values()])
        total = float(np.logaddexp.reduce(values))
        log_weights = values - total if np.isfinite(total) else np.full(len(values), -np.log(len(values)))
        return TypePosterior(hypotheses, log_weights, total)
