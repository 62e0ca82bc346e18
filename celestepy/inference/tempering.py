"""Sequential Monte Carlo from a proposal to a density that it describes badly.

Where importance weights are too uneven, the way from the proposal q to the target p is taken in steps: densities
``q^(1 - b) p^b`` with b from 0 to 1, each reached from the one before by importance weights that are even enough,
resampling, and Metropolis moves (Del Moral, Doucet & Jasra 2006, J. R. Statist. Soc. B 68, 411). The evidence is the
product of the mean weights of the steps.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Tempered", "temper"]

# Share of the draws that a step may lose (in effective size), and the most steps there are.
_EVENNESS, _MOST_STEPS = 0.5, 30
# Scale of random-walk steps: 2.38 / sqrt(D) of the standard deviation (Gelman, Roberts & Gilks 1996).
_WALK = 2.38
# Acceptance that the random walk is tuned towards.
_ACCEPTANCE = 0.25


@dataclass(frozen=True)
class Tempered:
    """Draws from the target, and its evidence.

    Attributes
    ----------
    draws : `~numpy.ndarray`
        Shape (n, D), of equal weight.
    log_density : `~numpy.ndarray`
        Log density of the target at them, shape (n,).
    log_evidence, log_evidence_err : float
        Log of the integral of the target, and its standard error as far as the weights of the steps tell.
    n_evaluations : int
        Evaluations of the target.
    n_steps : int
        Densities on the way, the target included; -1 if the target was not reached.
    n_distinct : int
        Different draws that the last step was made of, before its moves.
    """

    draws: np.ndarray
    log_density: np.ndarray
    log_evidence: float
    log_evidence_err: float
    n_evaluations: int
    n_steps: int
    n_distinct: int


def temper(log_density, proposal, n, rng, n_moves=8):
    """Draw from a density by way of densities between it and a proposal.

    Parameters
    ----------
    log_density : callable
        Log density of the target up to a constant, of (n, D) points -> (n,); -inf and NaN mean no density.
    proposal : object
        With ``draw(n, rng)`` and ``log_density(x)``, normalised.
    n : int
        Number of draws.
    rng : `numpy.random.Generator`
        Source of randomness.
    n_moves : int
        Pairs of Metropolis moves of every draw at each step: one to a fresh draw of the proposal, one random walk.

    Returns
    -------
    Tempered
        The draws; ``n_steps`` is -1 where the target was out of reach.

    Raises
    ------
    ValueError
        If fewer than two draws are asked for.
    """
    if n < 2:
        raise ValueError(f"n is {n}; expected at least 2 draws")
    particles = _Particles(log_density, proposal, n, rng)
    log_evidence = variance = 0.0
    share, n_steps, n_distinct = 0.0, 0, 0
    while share < 1.0:
        step = particles.next_step(share)
        if step is None or n_steps == _MOST_STEPS:
            return particles.result(-np.inf, np.inf, -1, n_distinct)
        weights, log_mean = particles.weights(step)
        log_evidence += log_mean
        variance += max(n * float(np.sum(weights**2)) - 1.0, 0.0) / n
        share, n_steps = (1.0 if share + step > 1 - 1e-9 else share + step), n_steps + 1
        n_distinct = particles.resample(weights)
        particles.move(share, n_moves)
    return particles.result(log_evidence, float(np.sqrt(variance)), n_steps, n_distinct)


class _Particles:
    """The draws on their way, with the log densities of proposal and target."""

    def __init__(self, log_density, proposal, n, rng):
        self.target, self.proposal, self.n, self.rng = log_density, proposal, n, rng
        self.n_evaluations = 0
        self.x, self.log_q, self.log_p = self._fresh()
        self.walk = 1.0

    def _fresh(self):
        x = self.proposal.draw(self.n, self.rng)
        return x, self.proposal.log_density(x), self._density(x)

    def _density(self, x):
        self.n_evaluations += len(x)
        value = np.asarray(self.target(x), dtype=float)
        return np.where(np.isnan(value), -np.inf, value)

    def next_step(self, share):
        """The largest step that leaves the weights even enough; None if no draw has any density."""
        if not np.isfinite(self.log_p).any():
            return None
        rest = 1.0 - share
        if self._evenness(rest) >= _EVENNESS:
            return rest
        low, high = 0.0, rest
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._evenness(middle) >= _EVENNESS else (low, middle)
        # Draws outside the support of the target are lost however small the step.
        return low if low > 1e-6 * rest else max(1e-3 * rest, low)

    def _evenness(self, step):
        weights, _ = self.weights(step)
        return 1.0 / (self.n * float(np.sum(weights**2)))

    def weights(self, step):
        """Normalised weights of a step, and the log of their mean before."""
        with np.errstate(invalid="ignore"):
            log_ratio = np.where(np.isfinite(self.log_p), step * (self.log_p - self.log_q), -np.inf)
        total = np.logaddexp.reduce(log_ratio)
        return np.exp(log_ratio - total), float(total - np.log(self.n))

    def resample(self, weights):
        """Systematic resampling; how many draws survive. The walk is scaled to the weighted draws."""
        mean = weights @ self.x
        offset = self.x - mean
        covariance = offset.T @ (offset * weights[:, None])
        self.factor = _factor(covariance)
        edges = np.cumsum(weights)
        places = (np.arange(self.n) + self.rng.random()) / self.n
        chosen = np.minimum(np.searchsorted(edges, places * edges[-1]), self.n - 1)
        self.x, self.log_q, self.log_p = self.x[chosen], self.log_q[chosen], self.log_p[chosen]
        return len(np.unique(chosen))

    def move(self, share, n_moves):
        """Metropolis moves that leave ``q^(1 - b) p^b`` as it is."""
        size = self.x.shape[1]
        for _ in range(n_moves):
            x, log_q, log_p = self._fresh()
            # An independence move: the proposal's own density cancels but for the exponent.
            self._accept(x, log_q, log_p, share * ((log_p - log_q) - (self.log_p - self.log_q)))
            step = self.walk * _WALK / np.sqrt(size) * self.rng.standard_normal((self.n, size))
            x = self.x + step @ self.factor.T
            log_q, log_p = self.proposal.log_density(x), self._density(x)
            ratio = (1 - share) * (log_q - self.log_q) + share * (log_p - self.log_p)
            accepted = self._accept(x, log_q, log_p, ratio)
            self.walk = float(np.clip(self.walk * np.exp(accepted - _ACCEPTANCE), 0.05, 2.0))

    def _accept(self, x, log_q, log_p, log_ratio):
        """Share of the moves that were made."""
        accept = np.log(self.rng.random(self.n)) < np.where(np.isnan(log_ratio), -np.inf, log_ratio)
        self.x[accept], self.log_q[accept], self.log_p[accept] = x[accept], log_q[accept], log_p[accept]
        return float(np.mean(accept))

    def result(self, log_evidence, error, n_steps, n_distinct):
        return Tempered(self.x, self.log_p, log_evidence, error, self.n_evaluations, n_steps, n_distinct)


def _factor(covariance):
    """A with A A' = covariance, whatever its rank."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 1e-12 * max(values[-1], 1e-300)))
