"""The calibrated mode by Markov chains: slow, and right wherever chains can get.

The fast mode's fits are where the chains begin, the axes that they move along, and the reference that annealed
importance sampling leads to the posterior, which gives the evidences. Nothing else is taken from the fits, so that this
checks what importance sampling of the same posterior says.
"""

import re
from dataclasses import dataclass, field, replace

import numpy as np

from celestepy.inference.calibrated import ImportanceSampler
from celestepy.inference.group_sampling import DRAWN, FAILED, HypothesisDraws, SamplingSettings, sample_group
from celestepy.inference.mcmc.annealed import AnnealedImportanceSampler
from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.mcmc.density import SamplingError, checked_count
from celestepy.inference.mcmc.diagnostics import verdict
from celestepy.inference.mcmc.elliptical import EllipticalSliceSampler
from celestepy.inference.mcmc.slice import SliceSampler
from celestepy.inference.proposals import group_proposal
from celestepy.model.parameters import parameter_names

__all__ = ["ChainDraws", "ChainSettings", "MarkovSampler", "judge", "judge_evidence"]

_KERNELS = ("elliptical", "slice")
# Which hypotheses are drawn from at all is decided as for importance sampling.
_NUMBERS = SamplingSettings()
# Those less probable than this (log) hardly matter: their chains are short, and are not judged.
_RELEVANT = -7.0
# The diagnostics need so many draws of a chain.
_FEWEST_DRAWS = 8


@dataclass(frozen=True)
class ChainSettings:
    """How long chains are, and when they are enough.

    Parameters
    ----------
    n_chains : int
        Chains of each hypothesis, advanced together.
    n_draws, burn_in : int
        Draws of each chain after its burn-in, and before.
    kernel : {"elliptical", "slice"}
        What one draw takes: `moves` ellipses about the fit, each of which moves all parameters at once and may lead
        from one mode to another; or a slice along every whitened axis of the fit, which costs several times as much
        and relies less on the fit.
    moves : int
        Ellipses for each draw.
    n_temperatures, n_runs : int
        Steps from the fit to the posterior, and number of independent ways, that give the evidence.
    df : float
        Degrees of freedom of the tails of the fit.
    max_r_hat, least_effective, max_error : float
        Chains with a larger R-hat, fewer effective draws or a larger error of the log evidence are flagged.
    """

    n_chains: int = 32
    n_draws: int = 40
    burn_in: int = 4
    kernel: str = "elliptical"
    moves: int = 10
    n_temperatures: int = 40
    n_runs: int = 50
    df: float = 5.0
    max_r_hat: float = 1.05
    least_effective: float = 100.0
    max_error: float = 0.5

    def __post_init__(self):
        least = dict(n_chains=1, n_draws=_FEWEST_DRAWS, burn_in=0, moves=1, n_temperatures=1, n_runs=2)
        for name, number in least.items():
            checked_count(name, getattr(self, name), number)
        if self.kernel not in _KERNELS:
            raise SamplingError(f"kernel = {self.kernel!r}: expected one of {', '.join(_KERNELS)}")
        if not self.max_r_hat > 1:
            raise SamplingError(f"max_r_hat = {self.max_r_hat!r}: expected a number above 1, such as 1.05")
        for name in ("df", "least_effective", "max_error"):
            if not getattr(self, name) > 0:
                raise SamplingError(f"{name} = {getattr(self, name)!r}: expected a positive number")

    def sampler(self, reference):
        """The sampler of one hypothesis, given the fit as a distribution."""
        numbers = dict(n_draws=self.n_draws, burn_in=self.burn_in)
        if self.kernel == "elliptical":
            return EllipticalSliceSampler(reference, **numbers, moves=self.moves)
        return SliceSampler(**numbers, whitening=np.linalg.cholesky(reference.covariance), max_steps=5)

    @property
    def minor(self):
        """The settings for hypotheses that hardly matter."""
        n_draws = max(self.n_draws // 4, _FEWEST_DRAWS)
        return replace(self, n_chains=max(self.n_chains // 2, 1), n_draws=n_draws, n_runs=max(self.n_runs // 2, 2))


@dataclass(frozen=True)
class MarkovSampler(ImportanceSampler):
    """Settings of the calibrated mode by Markov chains, and its engine.

    Its `fit` is that of `~celestepy.inference.ImportanceSampler`.

    Parameters
    ----------
    sampling : ChainSettings
        The chains.
    fast : `~celestepy.inference.LaplaceFit`
        The fast mode, whose fits the chains begin from.
    """

    sampling: ChainSettings = field(default_factory=ChainSettings)

    name = "mcmc"

    def sample_group(self, posterior, types, rng):
        """Draw from the posterior of a fitted group, see `~celestepy.inference.group_sampling.sample_group`."""
        log_weights = dict(zip(map(id, types.hypotheses), types.log_weights, strict=True))

        def sample(posterior, fit, number, numbers, rng):
            return sample_chains(posterior, fit, log_weights[id(fit)] > _RELEVANT, self.sampling, rng)

        return sample_group(posterior, types, _NUMBERS, rng, sample)


@dataclass(frozen=True)
class ChainDraws(HypothesisDraws):
    """Draws of Markov chains under one assignment of types.

    Attributes
    ----------
    verdicts : tuple
        For each source of the group, the effective number of draws of its poorest parameter, and what is to be
        done about chains that failed ("" if they did not).
    source : int
        The source that it is asked about.
    """

    verdicts: tuple = ()
    source: int = 0

    @property
    def effective_draws(self):
        """Effective number of draws of the source's poorest parameter."""
        return self.verdicts[self.source][0]

    @property
    def advice(self):
        """What to do about chains that failed; empty if they did not."""
        return self.verdicts[self.source][1]

    def of_source(self, i):
        """The same as far as source i of the group is concerned."""
        return replace(self, source=i)


def sample_chains(posterior, fit, matters, settings, rng):
    """Draw from one hypothesis about a group by Markov chains.

    Parameters
    ----------
    posterior : `~celestepy.inference.posterior.GroupPosterior`
        Log posterior of the group.
    fit : `~celestepy.inference.laplace.Hypothesis`
        The fit under the types.
    matters : bool
        Whether the hypothesis is probable enough for its chains to be judged.
    settings : ChainSettings
        The chains.
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    ChainDraws or None
        None where no chain can begin.
    """
    blocks, _ = posterior.blocks(fit.kinds)

    def log_density(x):
        return posterior.values(fit.kinds, x)

    settings = settings if matters else settings.minor
    annealing = AnnealedImportanceSampler(settings.n_temperatures, settings.n_runs)
    try:
        reference = group_proposal(fit, blocks, settings.df, posterior.reach(fit.kinds))
        annealed = annealing.sample(log_density, reference, rng)
        chains = settings.sampler(reference).sample(log_density, annealed.resample(settings.n_chains, rng), rng)
    except (np.linalg.LinAlgError, SamplingError):
        return None
    doubt = judge_evidence(annealed.log_evidence_err, settings)
    verdicts = []
    for kind, block in zip(fit.kinds, blocks, strict=True):
        effective, said = judge(chains, block, settings, parameter_names(kind, posterior.bands))
        advice = "; ".join(f"{kind} draws: {text}" for text in (said, doubt) if text and matters)
        verdicts.append((effective, advice))
    return chain_draws(chains, annealed, verdicts)


def chain_draws(chains, annealed, verdicts):
    """What is to be handed on of chains and the evidence that belongs to them.

    Parameters
    ----------
    chains : `~celestepy.inference.mcmc.Chains`
        The chains.
    annealed : `~celestepy.inference.mcmc.AnnealedDraws`
        The evidence.
    verdicts : list
        Of each source, see `judge`.

    Returns
    -------
    ChainDraws
    """
    n_chains, n_draws, _ = chains.draws.shape
    n = n_chains * n_draws
    return ChainDraws(
        draws=chains.pooled,
        log_weights=np.full(n, -np.log(n)),
        log_evidence=annealed.log_evidence,
        log_evidence_err=annealed.log_evidence_err,
        pareto_k=np.nan,
        stage=FAILED if any(advice for _, advice in verdicts) else DRAWN,
        n_evaluations=chains.n_evaluations + annealed.n_evaluations,
        chain=np.repeat(np.arange(n_chains), n_draws),
        verdicts=tuple(verdicts),
    )


def judge(chains, block, limits, names):
    """Judge the chains of one source.

    Parameters
    ----------
    chains : `~celestepy.inference.mcmc.Chains`
        The chains.
    block : slice
        Where the source's parameters lie.
    limits : object
        With ``max_r_hat`` and ``least_effective``.
    names : sequence of str
        Names of the source's parameters.

    Returns
    -------
    effective_draws : float
        Of the poorest parameter, for its centre.
    advice : str
        What is wrong and what to do; "" if nothing is.
    """
    own = Chains(chains.draws[:, :, block], chains.log_density, chains.n_evaluations)
    found = verdict(own, max_r_hat=limits.max_r_hat, min_effective_draws=limits.least_effective)
    effective = np.nan_to_num(found.ess_bulk, nan=1.0).min()
    named = re.sub(r"parameter (\d+)", lambda match: names[int(match[1])], found.message)
    return float(max(effective, 1.0)), "" if found.converged else named


def judge_evidence(error, limits):
    """Judge an annealed evidence: what to do about it, or "".

    Parameters
    ----------
    error : float
        Error of the log evidence.
    limits : object
        With ``max_error``.

    Returns
    -------
    str
    """
    if error <= limits.max_error:
        return ""
    return f"the log evidence has an error of {error:.2g} (limit {limits.max_error}): raise n_temperatures and n_runs"
