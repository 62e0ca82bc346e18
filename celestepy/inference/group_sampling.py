"""Posterior draws of a group of sources under every assignment of types that matters, with evidences.

Each hypothesis of the fast mode is a proposal. Importance sampling from it gives weighted draws, an evidence and Pareto
k-hat, which tells whether they can be relied on (Vehtari et al. 2024, J. Mach. Learn. Res. 25, 72). Where they cannot,
more draws are made, and then the way from the proposal to the posterior is taken in steps
(`celestepy.inference.tempering`). In blends of three sources where that fails, and in larger ones, the draws are those
of the fast mode's joint posterior over modes and assignments, flagged.
"""

from dataclasses import dataclass, replace

import numpy as np

from celestepy.catalog.draws import Draws
from celestepy.inference.assignments import TypePosterior
from celestepy.inference.importance import weigh
from celestepy.inference.mcmc.density import SamplingError
from celestepy.inference.proposals import draw_fit, group_proposal
from celestepy.inference.tempering import temper
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout

__all__ = ["GroupDraws", "HypothesisDraws", "SamplingSettings", "sample_group"]

# Assignments less probable than this (log) are drawn from only where nothing else describes a source as that type.
_NEGLIGIBLE = -8.0
# Larger blends are not drawn from: the weights of four sources are useless.
_MOST_SOURCES = 3
# The draws of assignments more probable than this (log) have to be reliable.
_MATTERS = np.log(0.01)
# Stages of the ladder, as they are counted in the trace.
DRAWN, EXTENDED, TEMPERED, FAILED = range(4)


@dataclass(frozen=True)
class SamplingSettings:
    """How many draws are made, and when they are enough.

    Parameters
    ----------
    n_draws : int
        Draws of the hypothesis that a single source is a galaxy; blends take this for each galaxy in them, shared
        out over the assignments of types by their probability.
    star_draws : int
        The same for a star, whose pixels cost a fifth of a galaxy's.
    least_draws : int
        Draws of a hypothesis that hardly matters.
    most_draws : int
        Largest number of draws where k-hat asks for more; twice as many of pairs.
    n_tempered : int
        Draws of each of the two runs in steps.
    df : float
        Degrees of freedom of the proposals' tails.
    pareto_k : float
        Largest k-hat at which weights are relied on.
    least_effective : float
        Smallest effective number of draws of a hypothesis that matters.
    pair_effective : float
        Effective number of draws that pairs are given, if `most_draws` allows: of a correlation of -0.5 the error
        is then 0.04.
    """

    n_draws: int = 400
    star_draws: int = 700
    least_draws: int = 200
    most_draws: int = 2000
    n_tempered: int = 200
    df: float = 5.0
    pareto_k: float = 0.7
    least_effective: float = 40.0
    pair_effective: float = 350.0

    def __post_init__(self):
        for name in ("n_draws", "star_draws", "least_draws", "most_draws", "n_tempered"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 50:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 50 draws")
        if self.most_draws < max(self.n_draws, self.star_draws, self.least_draws):
            raise ValueError(f"most_draws is {self.most_draws}; expected at least n_draws, star_draws and least_draws")
        for name in ("df", "pareto_k", "least_effective", "pair_effective"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a positive number")


@dataclass(frozen=True)
class HypothesisDraws:
    """Weighted draws of all parameters of a group under one assignment of types.

    Attributes
    ----------
    draws : `~numpy.ndarray`
        Shape (n, D).
    log_weights : `~numpy.ndarray`
        Normalised, shape (n,).
    log_evidence, log_evidence_err : float
        Evidence, the prior probabilities of the types not included, and its Monte Carlo error.
    pareto_k : float
        k-hat of the importance weights; NaN where the draws come from the run in steps.
    stage : int
        Rung of the ladder that gave the result.
    n_evaluations : int
        Evaluations of the posterior.
    chain : `~numpy.ndarray` or None
        Number of the Markov chain of each draw, shape (n,); None for independent draws.
    """

    draws: np.ndarray
    log_weights: np.ndarray
    log_evidence: float
    log_evidence_err: float
    pareto_k: float
    stage: int
    n_evaluations: int
    chain: np.ndarray | None = None

    @property
    def effective_draws(self):
        """Effective number of draws."""
        return float(np.exp(-np.logaddexp.reduce(2 * self.log_weights)))

    @property
    def advice(self):
        """What to do about draws that cannot be relied on; empty if they can."""
        if self.stage != FAILED:
            return ""
        return "the draws do not describe the posterior well (see pareto_k); try --method mcmc on this source or blend"

    def of_source(self, i):
        """The same as far as source i of the group is concerned."""
        return self


@dataclass(frozen=True)
class GroupDraws:
    """Draws of a group.

    Attributes
    ----------
    types : `~celestepy.inference.assignments.TypePosterior`
        The fits, with the evidences of the draws in place of their own.
    hypotheses : list of HypothesisDraws or None
        One for each fit; None where none were made, or none could be.
    blocks : list of list of slice
        Where the sources' free vectors lie in the draws of each hypothesis.
    """

    types: TypePosterior
    hypotheses: list
    blocks: list

    def draws(self, n_bands):
        """Draws of all sources together, over all hypotheses.

        Parameters
        ----------
        n_bands : int
            Number of bands B.

        Returns
        -------
        `~celestepy.catalog.draws.Draws` or None
            Of the sources of the group, in their order; None if there are no draws.
        """
        parts, n_chains = [], 0
        for fit, log_weight, drawn, blocks in zip(
            self.types.hypotheses, self.types.log_weights, self.hypotheses, self.blocks, strict=True
        ):
            if drawn is None or not np.isfinite(log_weight):
                continue
            theta = np.full((len(drawn.draws), len(blocks), layout(GALAXY, n_bands).size), np.nan)
            for i, block in enumerate(blocks):
                theta[:, i, : block.stop - block.start] = drawn.draws[:, block]
            is_galaxy = np.tile([kind == GALAXY for kind in fit.kinds], (len(theta), 1))
            chain = np.zeros(len(theta), dtype=int) if drawn.chain is None else drawn.chain + n_chains
            n_chains = chain.max() + 1
            parts.append((is_galaxy, theta, log_weight + drawn.log_weights, chain))
        if not parts:
            return None
        *given, chain = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Draws.from_group(*given, chain=chain if chain.any() else None)

    def diagnostics(self, i, kind):
        """What the most probable hypothesis with source i of a type says of its draws; None if it has none."""
        chosen = [
            (log_weight, drawn)
            for fit, log_weight, drawn in zip(
                self.types.hypotheses, self.types.log_weights, self.hypotheses, strict=True
            )
            if fit.kinds[i] == kind and drawn is not None
        ]
        return max(chosen, key=lambda part: part[0])[1].of_source(i) if chosen else None


def sample_group(posterior, types, settings, rng, sample=None):
    """Draw from the posterior of a group.

    Parameters
    ----------
    posterior : `~celestepy.inference.posterior.GroupPosterior`
        Log posterior of the group.
    types : `~celestepy.inference.assignments.TypePosterior`
        The fast mode's fits.
    settings : SamplingSettings
        How many draws.
    rng : `numpy.random.Generator`
        Source of randomness.
    sample : callable, optional
        Draws from one hypothesis: posterior, fit, number of draws, settings, rng -> HypothesisDraws or None. By
        default importance sampling.

    Returns
    -------
    GroupDraws
        The draws and the fits with new evidences.
    """
    sample = sample or _sample_hypothesis
    numbers = _numbers(types, settings)
    drawn, fits = [], []
    for fit, number in zip(types.hypotheses, numbers, strict=True):
        own = sample(posterior, fit, number, settings, rng) if number else None
        drawn.append(own)
        fits.append(fit if own is None else replace(fit, log_evidence=own.log_evidence))
    prior = posterior.prior.log_type_probability
    values = np.array([fit.log_evidence + sum(prior(kind) for kind in fit.kinds) for fit in fits])
    total = float(np.logaddexp.reduce(values))
    log_weights = values - total if np.isfinite(total) else types.log_weights
    return GroupDraws(
        TypePosterior(fits, log_weights, total), drawn, [posterior.blocks(fit.kinds)[0] for fit in fits]
    )


def _numbers(types, settings):
    """Draws of each hypothesis: all of those that matter, and the best for each type of each source."""
    log_weights, n_sources = types.log_weights, len(types.best.kinds)
    usable = np.array([np.isfinite(fit.log_evidence) for fit in types.hypotheses])
    if not usable.any():
        return [0] * len(usable)
    wanted = usable & (log_weights > _NEGLIGIBLE)
    for i in range(n_sources):
        for kind in KINDS:
            own = np.array([fit.kinds[i] == kind for fit in types.hypotheses]) & usable
            if own.any():
                wanted[np.argmax(np.where(own, log_weights, -np.inf))] = True
    share = np.sqrt(np.exp(np.minimum(log_weights, 0.0)))
    each = {GALAXY: settings.n_draws, STAR: settings.star_draws}
    full = np.array([sum(each[kind] for kind in fit.kinds) for fit in types.hypotheses])
    # One draw more tells what matters, and is worth the ladder, from what does not.
    least = settings.least_draws + (log_weights > _MATTERS)
    numbers = np.maximum(least, np.ceil(full * share)).astype(int)
    return np.where(wanted, np.minimum(numbers, settings.most_draws), 0).tolist()


def _sample_hypothesis(posterior, fit, number, settings, rng):
    """Climb the ladder until the draws can be relied on; None where that is never so."""
    try:
        proposal = group_proposal(fit, posterior.blocks(fit.kinds)[0], settings.df, posterior.reach(fit.kinds))
    except (np.linalg.LinAlgError, SamplingError):
        return None

    if posterior.n_sources > _MOST_SOURCES:
        return _fitted_draws(posterior, fit, number, rng)

    def log_density(x):
        return posterior.values(fit.kinds, x)

    matters = number > settings.least_draws
    drawn, stage = _draw(_Pool(log_density, proposal, rng), number, matters, settings, posterior.n_sources)
    reliable = _is_reliable(drawn, settings)
    if matters and not reliable and posterior.n_sources <= 2:
        tempered = _temper(log_density, proposal, settings, rng)
        if tempered is not None:
            return replace(tempered, n_evaluations=tempered.n_evaluations + drawn.n_evaluations)
    if matters and not reliable and posterior.n_sources > 2:
        return _fitted_draws(posterior, fit, number, rng, drawn)
    if not np.isfinite(drawn.log_evidence):
        return None
    return HypothesisDraws(
        drawn.draws,
        drawn.log_weights,
        drawn.log_evidence,
        drawn.log_evidence_err,
        drawn.pareto_k,
        stage if reliable or not matters else FAILED,
        drawn.n_evaluations,
    )


def _draw(pool, number, matters, settings, n_sources):
    """Draws of a proposal, made more until they are enough if the hypothesis matters, and the rung reached."""
    most, wanted = settings.most_draws, settings.least_effective
    if n_sources == 2:
        most, wanted = 2 * most, settings.pair_effective
    drawn, stage = pool.more(number), DRAWN
    while matters and len(drawn.draws) < most:
        if _is_reliable(drawn, settings) and drawn.effective_draws >= wanted:
            break
        drawn, stage = pool.more(min(len(drawn.draws), most - len(drawn.draws))), EXTENDED
    return drawn, stage


def _fitted_draws(posterior, fit, number, rng, drawn=None):
    """Draws of the fast mode's own posterior, and its evidence, for blends that importance sampling does not describe.

    Weights of a few large draws would make the errors of such a blend too small: of groups of five, .53 of the colours
    lay within one of them, of the fast mode's .62.
    """
    return HypothesisDraws(
        draw_fit(fit, posterior.blocks(fit.kinds)[0], number, rng),
        np.full(number, -np.log(number)),
        fit.log_evidence,
        np.nan,
        np.nan if drawn is None else drawn.pareto_k,
        FAILED,
        0 if drawn is None else drawn.n_evaluations,
    )


class _Pool:
    """Draws of one proposal, weighed together however many times more are made."""

    def __init__(self, log_density, proposal, rng):
        self.log_density, self.proposal, self.rng = log_density, proposal, rng
        self.draws, self.log_ratios = [], []

    def more(self, n):
        draws = self.proposal.draw(n, self.rng)
        self.draws.append(draws)
        log_density = np.asarray(self.log_density(draws), dtype=float)
        self.log_ratios.append(np.where(np.isnan(log_density), -np.inf, log_density) - self.proposal.log_density(draws))
        draws = np.concatenate(self.draws)
        return weigh(draws, np.concatenate(self.log_ratios), len(draws))


def _is_reliable(drawn, settings):
    return drawn.pareto_k <= settings.pareto_k and drawn.effective_draws >= settings.least_effective


def _temper(log_density, proposal, settings, rng):
    """Two independent runs in steps, weighted by their evidences; their difference tells of the error."""
    runs = [temper(log_density, proposal, settings.n_tempered, rng, n_moves=5) for _ in range(2)]
    reached = [run for run in runs if run.n_steps > 0]
    if not reached:
        return None
    evidences = np.array([run.log_evidence for run in reached])
    total = float(np.logaddexp.reduce(evidences))
    spread = float(np.ptp(evidences)) / 2 if len(reached) == 2 else np.inf
    stated = float(np.hypot.reduce([run.log_evidence_err for run in reached])) / len(reached)
    log_weights = np.concatenate(
        [np.full(len(run.draws), run.log_evidence - total - np.log(len(run.draws))) for run in reached]
    )
    return HypothesisDraws(
        np.concatenate([run.draws for run in reached]),
        log_weights,
        total - np.log(len(reached)),
        max(spread, stated),
        np.nan,
        TEMPERED,
        sum(run.n_evaluations for run in runs),
    )
