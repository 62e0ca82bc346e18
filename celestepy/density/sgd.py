"""Stochastic gradient ascent on the penalised likelihood (Ritchie & Murray 2019, section 3.2 and appendix B.3).

The unconstrained parameters are the logits of the fitted weights, the means in columns shifted and divided by their
scale, and Cholesky factors of the covariances in the same columns, with the logarithm of the diagonal (equation 8).
The step is Adam's (Kingma & Ba 2014). The penalty is the prior that EM has, not the paper's ``w / trace(V)``.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.density.collapse import repaired
from celestepy.density.expectation import gradient
from celestepy.density.noisy_rows import DensityError
from celestepy.density.objective import Components, symmetric

__all__ = ["Adam", "SgdSchedule", "Unconstrained", "fit_sgd"]

# Logarithms of widths, in units of the scales: what is beyond comes of steps that diverge.
_LOG_WIDTHS = -100.0, 300.0


@dataclass(frozen=True)
class SgdSchedule:
    """Sizes of batches and steps.

    Parameters
    ----------
    batch_size : int
        Rows in a minibatch.
    n_epochs : int
        Most passes over the rows.
    learning_rate : float
        Of Adam, at first.
    drop : float
        What the rate is divided by once: after half of the epochs, or before if the score has stopped rising.
    """

    batch_size: int
    n_epochs: int
    learning_rate: float = 1e-2
    drop: float = 10.0


class Adam:
    """Adam (Kingma & Ba 2014, algorithm 1), upwards.

    Parameters
    ----------
    size : int
        Number of parameters.
    decay : tuple of float
        Of the running means of the gradient and of its square.
    """

    def __init__(self, size, decay=(0.9, 0.999)):
        self._first, self._second, self._decay, self._n = np.zeros(size), np.zeros(size), decay, 0

    def step(self, gradient, rate):
        """Change of the parameters.

        Parameters
        ----------
        gradient : `~numpy.ndarray`
            Shape (size,).
        rate : float
            Learning rate.

        Returns
        -------
        `~numpy.ndarray`
            Shape (size,).
        """
        one, two = self._decay
        self._n += 1
        self._first += (1 - one) * (gradient - self._first)
        self._second += (1 - two) * (gradient**2 - self._second)
        first, second = self._first / (1 - one**self._n), self._second / (1 - two**self._n)
        return rate * first / (np.sqrt(second) + 1e-8)


class Unconstrained:
    """The map between a mixture and a vector of parameters without constraints.

    Parameters
    ----------
    components : Components
        A mixture; the components that are kept stay as they are here.
    objective : `~celestepy.density.objective.Objective`
        Its scales, prior and kept components.
    """

    def __init__(self, components, objective):
        self._origin, self._objective = components, objective
        self._scales, self._free = objective.prior.scales, objective.kept.n
        self._weighted = objective.kept.weight_slice
        k, d = components.means.shape
        self._centre = components.means.mean(axis=0)
        self._lower = np.tril_indices(d)
        self._diagonal = np.flatnonzero(self._lower[0] == self._lower[1])
        n_logits, n_free = len(components.weights[self._weighted]), k - self._free
        self._ends = np.cumsum([n_logits, n_free * d])

    def pack(self, components):
        """Vector of a mixture.

        Parameters
        ----------
        components : Components
            With positive definite covariances.

        Returns
        -------
        `~numpy.ndarray`
            Logits, means and factors, one after another.
        """
        logits = np.log(np.maximum(components.weights[self._weighted], 1e-300))
        means = (components.means[self._free :] - self._centre) / self._scales
        unit = components.covariances[self._free :] / np.outer(self._scales, self._scales)
        factors = np.linalg.cholesky(unit)[:, *self._lower]
        factors[:, self._diagonal] = np.log(factors[:, self._diagonal])
        return np.concatenate([logits, means.ravel(), factors.ravel()])

    def unpack(self, vector):
        """Mixture of a vector, with the Cholesky factors of its covariances.

        Parameters
        ----------
        vector : `~numpy.ndarray`
            As from `pack`.

        Returns
        -------
        weights, means, factors : `~numpy.ndarray`
            Of all components, the kept ones too, in the units of the rows.
        """
        logits, means, lower = np.split(vector, self._ends)
        k, d = self._origin.means.shape
        weights = self._origin.weights.copy()
        exponentials = np.exp(logits - logits.max(initial=-np.inf))
        share = 1.0 - weights[: self._weighted.start].sum()
        weights[self._weighted] = share * exponentials / exponentials.sum()
        all_means = self._origin.means.copy()
        all_means[self._free :] = self._centre + means.reshape(-1, d) * self._scales
        factors = np.zeros((k, d, d))
        if self._free:
            factors[: self._free] = np.linalg.cholesky(self._origin.covariances[: self._free])
        factors[self._free :] = self._scales[:, None] * self._unit_factors(lower)
        return weights, all_means, factors

    def components(self, vector):
        """The mixture of a vector as `Components`."""
        weights, means, factors = self.unpack(vector)
        covariances = symmetric(factors @ np.swapaxes(factors, 1, 2))
        covariances[: self._free] = self._origin.covariances[: self._free]
        return Components(weights, means, covariances)

    def out_of_range(self, vector):
        """Whether a vector has numbers, or widths, that no mixture can have.

        Parameters
        ----------
        vector : `~numpy.ndarray`
            As from `pack`.

        Returns
        -------
        bool
            Before anything overflows.
        """
        widths = np.split(vector, self._ends)[2].reshape(-1, self._lower[0].size)[:, self._diagonal]
        return not (np.isfinite(vector).all() and (_LOG_WIDTHS[0] < widths).all() and (widths < _LOG_WIDTHS[1]).all())

    def gradient(self, vector, result, weights):
        """Gradient of the penalised likelihood per unit weight, estimated from a minibatch.

        Parameters
        ----------
        vector : `~numpy.ndarray`
            Where.
        result : `~celestepy.density.expectation.Gradient`
            Of the minibatch, with respect to the softmax's logits, the means and the Cholesky factors.
        weights : `~numpy.ndarray`
            Mixture weights there, shape (K,).

        Returns
        -------
        `~numpy.ndarray`
            Shape of `vector`.
        """
        # The kernel's logits are of all weights; a softmax over some shares out what the others leave.
        counts = (result.logits + weights * result.weight)[self._weighted]
        shares = weights[self._weighted]
        logits = counts - counts.sum() * shares / max(shares.sum(), 1e-300)
        means = result.means[self._free :] * self._scales
        unit = self._unit_factors(np.split(vector, self._ends)[2])
        factors = result.factors[self._free :] * self._scales[:, None] / result.weight
        factors = factors + self._prior_gradient(unit) / self._objective.weight
        lower = factors[:, *self._lower]
        lower[:, self._diagonal] *= unit[:, *self._lower][:, self._diagonal]
        return np.concatenate([logits / result.weight, means.ravel() / result.weight, lower.ravel()])

    def _unit_factors(self, lower):
        d = len(self._scales)
        lower = lower.reshape(-1, self._lower[0].size).copy()
        lower[:, self._diagonal] = np.exp(lower[:, self._diagonal])
        factors = np.zeros((len(lower), d, d))
        factors[:, *self._lower] = lower
        return factors

    def _prior_gradient(self, unit):
        """Gradient of the log prior with respect to the factors L of W: of ``-w/2 (log |W| + tr W^-1)``."""
        strength = self._objective.prior.strength
        if strength == 0:
            return 0.0
        inverse = np.linalg.inv(unit)
        precision = np.swapaxes(inverse, 1, 2) @ inverse
        return strength * (precision @ np.swapaxes(inverse, 1, 2) - np.swapaxes(inverse, 1, 2))


def fit_sgd(components, objective, monitor, schedule, rng, *, phase="sgd"):
    """Stochastic gradient ascent on shuffled rows.

    Parameters
    ----------
    components : Components
        The start.
    objective : `~celestepy.density.objective.Objective`
        What to maximise.
    monitor : `~celestepy.density.monitor.Monitor`
        Told of every epoch; says when to stop.
    schedule : SgdSchedule
        Sizes of batches and steps.
    rng : `numpy.random.Generator`
        Of the order of the rows.
    phase : str
        Name in the trace.

    Returns
    -------
    Components
        The mixture after the last epoch.
    """
    transform = Unconstrained(components, objective)
    vector = transform.pack(components)
    adam, rate, dropped = Adam(len(vector)), schedule.learning_rate, False
    for epoch in range(schedule.n_epochs):
        if not dropped and 2 * epoch >= schedule.n_epochs:
            rate, dropped = rate / schedule.drop, True
        log_likelihood, weight = 0.0, 0.0
        for rows in objective.source.minibatches(schedule.batch_size, rng):
            weights, means, factors = transform.unpack(vector)
            result = gradient(rows, weights, means, factors, n_jobs=objective.n_jobs)
            if result.weight == 0:
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # the next lines tell
                vector = vector + adam.step(transform.gradient(vector, result, weights), rate)
            if transform.out_of_range(vector):
                raise DensityError(f"learning_rate = {schedule.learning_rate:g}: the steps diverge; take a tenth of it")
            log_likelihood, weight = log_likelihood + result.log_likelihood, weight + result.weight
        components, n_repaired = repaired(transform.components(vector), objective)
        if n_repaired:  # moments of the gradient that belong to other components are no use
            vector, adam = transform.pack(components), Adam(len(vector))
        if monitor.record(phase, components, log_likelihood / weight, n_repaired=n_repaired, running=True):
            if dropped:
                break
            rate, dropped = rate / schedule.drop, True
    return components
