"""What every method maximises: the likelihood of noisy rows under a mixture, and the prior on its covariances.

Regularisation has one meaning for all methods: every covariance is estimated as if `w` more rows had been seen, of
unit covariance about the mean of the component, in columns divided by their scale. That is the maximum of

    sum_i u_i log p(x_i) - w / 2 sum_j (log |W_j| + tr W_j^-1),    W_j = s^-1 V_j s^-1,

with u the row weights and s the diagonal matrix of scales: an inverse Wishart prior in covariances. Bovy, Hogg &
Roweis (2011, Annals of Applied Statistics 5, 1657, equation 23) add ``w I`` to the scatter too, but one to the count
whatever w is; here w = 0 is maximum likelihood and w to infinity makes every covariance that of the scales.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from celestepy.density.chunks import RowSource
from celestepy.density.expectation import expectation, log_densities
from celestepy.density.noisy_rows import NoisyRows

__all__ = ["Components", "CovariancePrior", "Kept", "Objective", "firm", "summed", "symmetric"]

# Part of every variance that rounding may take from a covariance and that is given back: some hundred times the last
# bit, so that the Cholesky factors of a few dozen columns exist, and far below what any fit resolves.
_ROUNDING = 1e-13


def symmetric(matrices):
    """Symmetric parts of a stack of matrices, shape (..., D, D)."""
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def firm(covariances):
    """Covariances that stay positive definite when a narrow axis is lost in the rounding of a very long one.

    Parameters
    ----------
    covariances : `~numpy.ndarray`
        Positive semi-definite but for rounding, shape (..., D, D).

    Returns
    -------
    `~numpy.ndarray`
        The same with variances larger by one part in 10^13.
    """
    return covariances * (1.0 + _ROUNDING * np.eye(covariances.shape[-1]))


@dataclass(frozen=True, eq=False)
class Components:
    """Parameters of a mixture.

    Parameters
    ----------
    weights : `~numpy.ndarray`
        Mixture weights, shape (K,), which sum to one.
    means : `~numpy.ndarray`
        Shape (K, D).
    covariances : `~numpy.ndarray`
        Shape (K, D, D).
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __len__(self):
        return len(self.weights)

    @property
    def arrays(self):
        """Weights, means and covariances, in the order functions take them."""
        return self.weights, self.means, self.covariances

    def subset(self, numbers):
        """Some components, in the order given; the weights are as they were.

        Parameters
        ----------
        numbers : array_like
            Which.

        Returns
        -------
        Components
            Copies.
        """
        numbers = np.asarray(numbers, dtype=int)
        return Components(*(array[numbers] for array in self.arrays))

    def replaced(self, numbers, others):
        """The mixture with some components exchanged.

        Parameters
        ----------
        numbers : array_like
            Which.
        others : Components
            Their successors, weights included.

        Returns
        -------
        Components
            Copies.
        """
        arrays = [array.copy() for array in self.arrays]
        for array, new in zip(arrays, others.arrays):
            array[numbers] = new
        return Components(*arrays)


@dataclass(frozen=True, eq=False)
class CovariancePrior:
    """Prior of the covariances, see the head of this module.

    Parameters
    ----------
    strength : float
        The number w of pseudo-rows.
    scales : `~numpy.ndarray`
        Scale s of each axis of the noiseless quantities, shape (D,).
    """

    strength: float
    scales: np.ndarray

    def estimate(self, scatter, counts, otherwise):
        """Covariances that maximise the expected log likelihood of the rows and the prior.

        Parameters
        ----------
        scatter : `~numpy.ndarray`
            Expected sum of squares about the new means, shape (K, D, D).
        counts : `~numpy.ndarray`
            Expected number of rows, shape (K,).
        otherwise : `~numpy.ndarray`
            Covariances for components without rows, if there is no regularisation, and for those whose sums are
            nothing but rounding, shape (K, D, D).

        Returns
        -------
        `~numpy.ndarray`
            Shape (K, D, D).
        """
        total = (counts + self.strength)[:, None, None]
        pseudo = self.strength * np.diag(self.scales**2)
        estimates = firm((scatter + pseudo) / np.where(total > 0, total, 1.0))
        # Very far from all rows of a component rounding may leave no variance at all.
        sound = (total > 0) & (np.einsum("kaa->ka", estimates) > 0).all(axis=1)[:, None, None]
        return symmetric(np.where(sound, estimates, otherwise))

    def log_density(self, covariances):
        """Log density of covariances, up to a constant, summed over components.

        Parameters
        ----------
        covariances : `~numpy.ndarray`
            Shape (K, D, D).

        Returns
        -------
        float
            The penalty to the log likelihood, zero without regularisation.
        """
        if self.strength == 0:
            return 0.0
        unit = covariances / np.outer(self.scales, self.scales)
        traces = np.trace(np.linalg.inv(unit), axis1=1, axis2=2)
        return float(-0.5 * self.strength * np.sum(np.linalg.slogdet(unit)[1] + traces))


@dataclass(frozen=True)
class Kept:
    """Components that a fit leaves as they are: the first ones of the mixture.

    Parameters
    ----------
    n : int
        How many.
    weights : bool
        Whether their weights are kept too, or fitted.
    """

    n: int = 0
    weights: bool = True

    @property
    def weight_slice(self):
        """The components whose weights are fitted."""
        return slice(self.n if self.weights else 0, None)

    def restore(self, new, old):
        """A mixture after a step, with the kept components as before it.

        Parameters
        ----------
        new, old : Components
            After and before the step.

        Returns
        -------
        Components
            With weights that sum to one.
        """
        if self.n == 0:
            return new
        new = new.replaced(np.arange(self.n), Components(new.weights[: self.n], *old.subset(range(self.n)).arrays[1:]))
        if self.weights:
            new.weights[: self.n] = old.weights[: self.n]
            free = new.weights[self.n :]
            share = 1.0 - old.weights[: self.n].sum()
            # Without any row of their own the others stay as they are.
            new.weights[self.n :] = share * free / free.sum() if free.sum() > 0 else old.weights[self.n :]
        return new


@dataclass(frozen=True, eq=False)
class Objective:
    """The penalised likelihood of training rows.

    Parameters
    ----------
    source : RowSource
        Training rows.
    n_rows : int
        How many.
    weight : float
        Sum of their weights.
    effective_rows : float
        See `~celestepy.density.chunks.Survey`.
    held_out : `~celestepy.density.NoisyRows` or None
        Rows to judge the mixture by.
    prior : CovariancePrior
        Of the covariances.
    kept : Kept
        Components that are not fitted.
    n_jobs : int
        Threads.
    """

    source: RowSource
    n_rows: int
    weight: float
    effective_rows: float
    held_out: NoisyRows | None
    prior: CovariancePrior
    kept: Kept = field(default_factory=Kept)
    n_jobs: int = 1

    def expectation(self, components):
        """Expected sufficient statistics of all training rows.

        Parameters
        ----------
        components : Components
            The present mixture.

        Returns
        -------
        `~celestepy.density.expectation.Expectation`
            Sums over the chunks, in their order.
        """
        total = None
        for rows in self.source.chunks():
            part = expectation(rows, *components.arrays, n_jobs=self.n_jobs)
            total = part if total is None else summed(total, part)
        return total

    def value(self, log_likelihood, components):
        """Penalised log likelihood per unit of weight.

        Parameters
        ----------
        log_likelihood : float
            Mean over the rows.
        components : Components
            The mixture that has it.

        Returns
        -------
        float
            In nats.
        """
        return log_likelihood + self.prior.log_density(components.covariances[self.kept.n :]) / self.weight

    def held_out_score(self, components):
        """Mean log density of the held-out rows, or NaN if there are none.

        Parameters
        ----------
        components : Components
            The mixture.

        Returns
        -------
        float
            In nats per unit of weight.
        """
        if self.held_out is None:
            return np.nan
        values = log_densities(self.held_out, *components.arrays, n_jobs=self.n_jobs)
        return float(np.average(values, weights=self.held_out.weights))


def summed(first, second):
    """Sums of the statistics of two sets of rows, about the same means.

    Parameters
    ----------
    first, second : `~celestepy.density.expectation.Expectation`
        Statistics.

    Returns
    -------
    `~celestepy.density.expectation.Expectation`
        Their sum, without the densities of single rows.
    """
    names = ("log_likelihood", "weight", "counts", "offsets", "scatter")
    sums = {name: getattr(first, name) + getattr(second, name) for name in names}
    return replace(first, **sums, log_densities=np.empty(0))
