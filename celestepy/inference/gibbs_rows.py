"""Rows of the catalogue from conditional draws of a source, one set for each pass of a Gibbs sampler."""

from dataclasses import dataclass, replace

import numpy as np

from celestepy.catalog.draws import Draws
from celestepy.catalog.flags import Flag, Status
from celestepy.inference.assignments import TypePosterior
from celestepy.inference.group_fit import GroupFit
from celestepy.inference.laplace import Hypothesis
from celestepy.inference.markov import judge, judge_evidence
from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.newton import Minimum
from celestepy.inference.rows import blank_row, source_rows
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, KINDS, STAR, parameter_names

__all__ = ["gibbs_row"]

# Types less probable than this (log) need no reliable draws.
_RELEVANT = -7.0


@dataclass(frozen=True)
class _Pooled:
    """Draws of one type over all passes in which it was drawn.

    Attributes
    ----------
    chains : `~celestepy.inference.mcmc.Chains`
        The chains of all passes side by side.
    log_weights : `~numpy.ndarray`
        Log probability of the type in each pass, shape (P,).
    log_probability : float
        Log of its mean over all passes.
    error : float
        Error of the log evidence, by the annealing alone.
    n_evaluations : int
        Evaluations of the posterior.
    """

    chains: Chains
    log_weights: np.ndarray
    log_probability: float
    error: float
    n_evaluations: int

    @property
    def each(self):
        """Draws, log weights and numbers of chains."""
        n_chains, n_draws, _ = self.chains.draws.shape
        log_weight = np.repeat(self.log_weights, n_chains * n_draws // len(self.log_weights))
        return self.chains.pooled, log_weight, np.repeat(np.arange(n_chains), n_draws)

    @property
    def best(self):
        """The draw of most density in the pass in which the type is most probable."""
        per_pass = len(self.chains.draws) // len(self.log_weights)
        first = int(np.argmax(self.log_weights)) * per_pass
        log_density = self.chains.log_density[first : first + per_pass]
        chain, draw = np.unravel_index(np.argmax(log_density), log_density.shape)
        return self.chains.draws[first + chain, draw]


def gibbs_row(k, passes, data, n_evaluations, label, fitter, limits):
    """Row of one source.

    Parameters
    ----------
    k : int
        The source.
    passes : list of `~celestepy.inference.conditional_draws.Conditional`
        Its draws in the passes that count; empty if none could be made.
    data : `~celestepy.inference.placement.GroupData` or None
        Its pixels, with its neighbours as they were last; None if there are none.
    n_evaluations : int
        Evaluations of the posterior over all passes.
    label : int
        Number of its group of overlapping sources; -1 if it is alone.
    fitter : `~celestepy.inference.group_fit.GroupFitter`
        With the images and the prior.
    limits : object
        With ``max_r_hat``, ``least_effective`` and ``max_error``.

    Returns
    -------
    `~celestepy.inference.rows.Row`
    """
    if data is None:
        return source_rows(None, [k], label, fitter)[k]
    if not passes:
        return blank_row(
            Status.FAILED,
            "no draw of the prior lies where the posterior has any density; look at the pixels for artefacts, or give a"
            " prior that allows for this source",
            Flag.FAILED,
        )
    pooled = {kind: _pool(passes, kind) for kind in KINDS if any(kind in each.by_kind for each in passes)}
    types = _type_posterior(passes, pooled, len(data.images))
    row = source_rows(GroupFit((k,), {}, types, {k: np.nan}, data), [k], label, fitter)[k]
    columns = row.columns | _columns(pooled, limits, n_evaluations, row.columns["message"], fitter.bands)
    columns["flags"] |= row.columns["flags"] | (int(Flag.BLENDED) if label >= 0 else 0)
    columns["group_id"] = label
    return replace(row, columns=columns, draws=_draws(pooled, len(fitter.bands)))


def _pool(passes, kind):
    """Draws of one type; every pass has the same number of chains."""
    drawn = [(each.by_kind[kind], each.log_weights[kind]) for each in passes if kind in each.by_kind]
    parts, log_weights = [part for part, _ in drawn], np.array([log_weight for _, log_weight in drawn])
    errors = [part.annealed.log_evidence_err for part in parts]
    n_evaluations = sum(part.n_evaluations for part in parts)
    chains = Chains(
        np.concatenate([part.chains.draws for part in parts]),
        np.concatenate([part.chains.log_density for part in parts]),
        n_evaluations,
    )
    log_probability = float(np.logaddexp.reduce(log_weights)) - np.log(len(passes))
    return _Pooled(chains, log_weights, log_probability, float(np.hypot.reduce(errors)) / len(errors), n_evaluations)


def _type_posterior(passes, pooled, n_images):
    """What `~celestepy.inference.rows.source_rows` makes columns of: each type with its mean and covariance."""
    log_evidence = float(np.mean([each.log_evidence for each in passes]))
    hypotheses = [_hypothesis(kind, part, n_images) for kind, part in pooled.items()]
    return TypePosterior(hypotheses, np.array([part.log_probability for part in pooled.values()]), log_evidence)


def _hypothesis(kind, part, n_images):
    draws, log_weight, _ = part.each
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    mean = weights @ draws
    covariance = (draws - mean).T @ ((draws - mean) * weights[:, None])
    source = SourcePosterior(kind, np.ones(1), mean[None], covariance[None])
    # Nothing is minimised: the columns take from it how often the posterior was evaluated.
    end = Minimum(part.best, -float(part.chains.log_density.max()), None, None, part.n_evaluations, True, "")
    return Hypothesis((kind,), end, np.nan, (source,), (part.best,), np.zeros(n_images))


def _draws(pooled, n_bands):
    given = {kind: part.each for kind, part in pooled.items()}
    odds = pooled[STAR].log_probability - pooled[GALAXY].log_probability if len(pooled) == 2 else None
    return Draws.from_types(n_bands, **given, log_odds=odds)


def _columns(pooled, limits, n_evaluations, message, bands):
    """What the chains say of themselves."""
    columns, squares, advice = {"flags": 0, "n_iterations": n_evaluations}, 0.0, []
    for kind, part in pooled.items():
        names = parameter_names(kind, bands)
        effective, said = judge(part.chains, slice(0, len(names)), limits, names)
        columns[f"log_evidence_{kind}_err"] = part.error
        squares += np.exp(2 * part.log_probability) / effective
        said = [said, judge_evidence(part.error, limits)] if part.log_probability > _RELEVANT else []
        # What the diagnostics advise is for samplers with better axes and starts than this one may have.
        advice += [f"{kind} draws: {text.partition(':')[0]}" for text in said if text]
    columns["effective_draws"] = float(1 / squares)
    if advice:
        columns["flags"] = int(Flag.DRAWS_UNRELIABLE)
        advice.append("use --method mcmc or calibrated, or raise n_temperatures and n_draws")
    return columns | {"message": message or "; ".join(advice)}
