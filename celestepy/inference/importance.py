"""Importance sampling from mixtures of Student t distributions, with Pareto-smoothed weights.

A proposal that covers the target gives independent draws, the evidence with its error, and in Pareto k a diagnosis
of itself (Vehtari et al. 2024, JMLR 25, 72). Tails heavier than the target's keep the weights bounded.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from celestepy.inference.mcmc.density import CheckedDensity, SamplingError, checked_count
from celestepy.inference.mcmc.diagnostics import pareto_smooth
from celestepy.inference.mcmc.weights import effective_draws, log_mean_weight, resample, systematic

__all__ = ["StudentMixture", "WeightedDraws", "importance_sample", "weigh"]


class StudentMixture:
    """A mixture of multivariate Student t distributions.

    Parameters
    ----------
    weights : array_like
        Weights of the components, shape (J,), positive; they are normalised.
    means : array_like
        Centres, shape (J, D).
    covariances : array_like
        Scale matrices, shape (J, D, D): the covariances of the Gaussians that the components are for infinite `df`.
        Otherwise their own covariances are ``df / (df - 2)`` times as large.
    df : float or array_like
        Degrees of freedom, one or one for each component, shape (J,); inf for Gaussians.

    Raises
    ------
    SamplingError
        If shapes disagree, a weight or `df` is not positive, or a covariance is not positive definite.
    """

    def __init__(self, weights, means, covariances, df=5.0):
        weights, means, covariances = (np.array(a, dtype=float) for a in (weights, means, covariances))
        _check_shapes(weights, means, covariances)
        self.weights, self.means, self.covariances = weights / weights.sum(), means, covariances
        self.df = _checked_df(df, len(weights))
        self._factors = np.stack([_cholesky(j, covariance) for j, covariance in enumerate(covariances)])
        self._whitenings = np.linalg.inv(self._factors)
        self._centres = np.einsum("jab,jb->ja", self._whitenings, means)
        self._log_amplitudes = np.log(self.weights) + _log_peak(self.df, self._factors)

    @property
    def covariance(self):
        """Covariance of the Gaussian mixture with the same scale matrices, shape (D, D): finite for every `df`."""
        offsets = self.means - self.weights @ self.means
        spread = np.einsum("j,ja,jb->ab", self.weights, offsets, offsets)
        return np.einsum("j,jab->ab", self.weights, self.covariances) + spread

    def draw(self, n, rng):
        """Draw points.

        Components are shared out as evenly as whole numbers allow (systematic sampling): each point still has the
        mixture's density, and estimates do not vary with the number of points per component.

        Parameters
        ----------
        n : int
            Number of points.
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        `~numpy.ndarray`
            Points in random order, shape (n, D).
        """
        components = rng.permutation(systematic(self.weights, checked_count("n", n), rng))
        df = self.df[components]
        return self.means[components] + self._offsets(components, df, df, rng)

    def companions(self, x, rng):
        """Draw, for each point, a Gaussian that it may have come from, and a second point of that Gaussian.

        A Student t is a mixture of Gaussians whose precisions are scaled by chi-square variates: component and
        scale are drawn from their distribution given the point (Nishihara et al. 2014, equation 9).

        Parameters
        ----------
        x : array_like
            Points, shape (n, D).
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        centres : `~numpy.ndarray`
            Centres of the Gaussians, shape (n, D).
        offsets : `~numpy.ndarray`
            The second points, relative to the centres, shape (n, D).
        log_density : `~numpy.ndarray`
            Log density of the mixture at `x`, shape (n,), which comes along for nothing.

        Raises
        ------
        SamplingError
            If the shape is wrong.
        """
        distances, terms = self._terms(x)
        largest = terms.max(axis=0)
        cumulative = np.cumsum(np.exp(terms - largest), axis=0)
        components = np.sum(cumulative < rng.random(terms.shape[1]) * cumulative[-1], axis=0)
        df = self.df[components]
        scale = df + distances[components, np.arange(len(components))]
        offsets = self._offsets(components, scale, df + self.means.shape[1], rng)
        return self.means[components], offsets, largest + np.log(cumulative[-1])

    def log_density(self, x):
        """Evaluate the normalised log density.

        Parameters
        ----------
        x : array_like
            Points, shape (n, D).

        Returns
        -------
        `~numpy.ndarray`
            Log densities, shape (n,).

        Raises
        ------
        SamplingError
            If the shape is wrong.
        """
        _, terms = self._terms(x)
        largest = terms.max(axis=0)
        return largest + np.log(np.exp(terms - largest).sum(axis=0))

    def _terms(self, x):
        """Squared distances in units of each scale matrix, and log densities times weights, both (J, n)."""
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise SamplingError(f"x has shape {x.shape}; expected (n, {self.means.shape[1]})")
        z = np.matmul(x, self._whitenings.transpose(0, 2, 1)) - self._centres[:, None]
        distances = np.einsum("jna,jna->jn", z, z)
        return distances, self._log_amplitudes[:, None] + _log_shape(distances, self.df[:, None], x.shape[1])

    def _offsets(self, components, scale, df, rng):
        """Draws about the centres: Gaussian, and scaled by ``scale / chi-square(df)`` where `df` is finite."""
        z = rng.standard_normal((len(components), self.means.shape[1]))
        heavy = np.isfinite(df)
        z[heavy] *= np.sqrt(scale[heavy] / rng.chisquare(df[heavy]))[:, None]
        return np.einsum("nab,nb->na", self._factors[components], z)


@dataclass(frozen=True, eq=False)
class WeightedDraws:
    """Draws of a proposal, weighted so that they stand for the target.

    Attributes
    ----------
    draws : `~numpy.ndarray`
        Points, shape (n, D).
    log_weights : `~numpy.ndarray`
        Log weights after Pareto smoothing, shape (n,), normalised: their exponentials sum to one. All -inf where
        every draw lies outside the target's support.
    log_evidence, log_evidence_err : float
        Log of the target's normalising constant by the mean smoothed weight, and its standard error by their spread;
        -inf and inf where every weight is zero. The error is to be trusted as far as `pareto_k` allows.
    pareto_k : float
        Shape of the tail of the weights; over .7 the result should not be used. inf where too few draws have a
        weight at all.
    effective_draws : float
        Number of equally weighted draws that are worth as much.
    n_evaluations : int
        Points at which the target was evaluated.
    """

    draws: np.ndarray
    log_weights: np.ndarray
    log_evidence: float
    log_evidence_err: float
    pareto_k: float
    effective_draws: float
    n_evaluations: int

    def resample(self, n, rng):
        """Choose draws by weight.

        Parameters
        ----------
        n : int
            Draws wanted.
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        `~numpy.ndarray`
            Equally weighted draws of the target, shape (n, D); those of large weight occur more than once.

        Raises
        ------
        SamplingError
            If every weight is zero.
        """
        return self.draws[resample(self.log_weights, n, rng)]


def importance_sample(log_density, proposal, n, rng):
    """Sample a density by weighted draws of another, in one call of each.

    Parameters
    ----------
    log_density : callable
        The target: points, shape (n, D), to unnormalised log densities, shape (n,).
    proposal : object
        A normalised distribution that covers the target, with ``draw(n, rng)``, shape (n, D), and
        ``log_density(x)``, shape (n,), such as `StudentMixture`.
    n : int
        Number of draws, 25 or more.
    rng : `~numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    WeightedDraws
        The draws with smoothed weights, the evidence and the diagnostics. A target that is -inf or NaN at every draw
        is no error: it gives a log evidence of -inf and a Pareto k of inf.

    Raises
    ------
    SamplingError
        If `n` is too small, or the target is infinite or has a wrong shape.
    """
    target = CheckedDensity(log_density)
    draws = proposal.draw(checked_count("n", n, least=25), rng)
    log_ratios = target(draws) - proposal.log_density(draws)
    return weigh(draws, log_ratios, target.n_evaluations)


def weigh(draws, log_ratios, n_evaluations=0):
    """Weigh draws of a proposal by their log ratios of target to proposal.

    Draws of the same proposal that were made at different times are weighed together.

    Parameters
    ----------
    draws : `~numpy.ndarray`
        Points, shape (n, D).
    log_ratios : `~numpy.ndarray`
        Log density of the target less that of the proposal, shape (n,).
    n_evaluations : int
        What is to be said of the evaluations.

    Returns
    -------
    WeightedDraws
        As of `importance_sample`.

    Raises
    ------
    SamplingError
        If there are fewer than 25 draws, a ratio is NaN or +inf, or the shapes disagree.
    """
    if np.shape(log_ratios) != np.shape(draws)[:1]:
        raise SamplingError(
            f"draws and log_ratios have shapes {np.shape(draws)} and {np.shape(log_ratios)}; expected (n, D) and (n,)"
        )
    smoothed, pareto_k = pareto_smooth(log_ratios)
    log_evidence, error = log_mean_weight(smoothed)
    # Where every weight is zero there is nothing to normalise.
    log_sum = log_evidence + np.log(len(draws)) if log_evidence > -np.inf else 0.0
    return WeightedDraws(
        draws, smoothed - log_sum, log_evidence, error, pareto_k, effective_draws(smoothed), n_evaluations
    )


def _check_shapes(weights, means, covariances):
    if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape != (*means.shape, means.shape[1]):
        raise SamplingError(
            f"weights, means and covariances have shapes {weights.shape}, {means.shape} and {covariances.shape};"
            " expected (J,), (J, D) and (J, D, D)"
        )
    if not (np.isfinite(weights) & (weights > 0)).all() or not weights.size:
        raise SamplingError(f"weights = {weights}: expected positive numbers; leave out components that have none")
    if not np.isfinite(means).all():
        raise SamplingError("means are not finite; leave out fits that failed")


def _checked_df(df, n):
    df = np.asarray(df, dtype=float)
    if df.shape not in ((), (n,)) or not (df > 0).all():
        raise SamplingError(f"df = {df}: expected positive degrees of freedom, one or {n}")
    return np.full(n, df)


def _cholesky(j, covariance):
    """Lower factor of a covariance; its rank is judged in units of its own standard deviations."""
    scale = np.sqrt(np.diag(covariance).clip(0))
    try:
        if not (np.isfinite(covariance).all() and (scale > 0).all()):
            raise np.linalg.LinAlgError
        correlation = np.linalg.cholesky(covariance / np.outer(scale, scale))
        if np.diag(correlation).min() < 1e-7:
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise SamplingError(
            f"covariances[{j}] is not positive definite: add a small diagonal, or leave the component out"
        ) from None
    return scale[:, None] * correlation


def _log_peak(df, factors):
    """Log density of each component at its centre, shape (J,)."""
    size = factors.shape[-1]
    heavy = np.where(np.isfinite(df), df, 1.0)
    student = gammaln((heavy + size) / 2) - gammaln(heavy / 2) - size / 2 * np.log(heavy * np.pi)
    peak = np.where(np.isfinite(df), student, -size / 2 * np.log(2 * np.pi))
    return peak - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)


def _log_shape(distances, df, size):
    """Log densities relative to the centre at squared distances in units of the scale, shape (J, n)."""
    heavy = np.where(np.isfinite(df), df, 1.0)
    student = -(heavy + size) / 2 * np.log1p(distances / heavy)
    return np.where(np.isfinite(df), student, -distances / 2)
