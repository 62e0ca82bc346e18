"""Mixtures that differ from row to row: those of dimensions given others, and of true values given noisy ones."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from celestepy.density.noisy_rows import DensityError

__all__ = ["RowMixtures", "condition", "split_dimensions"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class RowMixtures:
    """A mixture of K Gaussians in D dimensions for each of n rows.

    Attributes
    ----------
    weights : (n, K) array
        Weights, of sum one for each row.
    means : (n, K, D) array
        Means of the components.
    covariances : (n, K, D, D) or (K, D, D) array
        Covariances; of three axes where they are those of all rows. What is known exactly has the variance zero.
    names : tuple of str or None
        Names of the dimensions.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    names: tuple | None = None

    def __post_init__(self):
        for name in ("weights", "means", "covariances"):
            getattr(self, name).setflags(write=False)
        object.__setattr__(self, "names", None if self.names is None else tuple(self.names))

    def __len__(self):
        return len(self.weights)

    def __getitem__(self, row):
        """Mixture of one row, as `GaussianMixture`; of a slice, an index array or a mask, those of these rows."""
        if np.ndim(row) == 0 and not isinstance(row, slice):
            from celestepy.density.mixture import GaussianMixture

            return GaussianMixture(self.weights[row], self.means[row], self._covariances_of(row), self.names)
        return RowMixtures(self.weights[row], self.means[row], self._covariances_of(row), self.names)

    @property
    def n_dims(self):
        """Number of dimensions D."""
        return self.means.shape[2]

    @property
    def mean(self):
        """Mean of each row, shape (n, D)."""
        return np.einsum("nk,nkd->nd", self.weights, self.means)

    @property
    def covariance(self):
        """Covariance of each row, shape (n, D, D)."""
        offsets = self.means - self.mean[:, None, :]
        within = np.einsum("nk,nkab->nab" if self.covariances.ndim == 4 else "nk,kab->nab",
                           self.weights, self.covariances)
        return within + np.einsum("nk,nka,nkb->nab", self.weights, offsets, offsets)

    def sample(self, n_draws, rng=None):
        """Draw from the mixture of each row.

        Parameters
        ----------
        n_draws : int
            Draws for each row.
        rng : `numpy.random.Generator` or int, optional
            Source of randomness, or a seed.

        Returns
        -------
        (n, n_draws, D) array
            Draws.
        """
        rng = np.random.default_rng(rng)
        rows, edges = np.arange(len(self))[:, None], np.cumsum(self.weights, axis=1)
        places = rng.random((len(self), n_draws)) * edges[:, -1:]
        which = np.stack([np.searchsorted(edge, place, side="right") for edge, place in zip(edges, places)])
        which = np.minimum(which, self.weights.shape[1] - 1)
        roots = _roots(self.covariances)
        chosen = roots[which] if roots.ndim == 3 else roots[rows, which]
        noise = rng.standard_normal((len(self), n_draws, self.n_dims))
        return self.means[rows, which] + np.einsum("ndab,ndb->nda", chosen, noise)

    def log_density(self, values):
        """Log density of one value for each row under its own mixture.

        Parameters
        ----------
        values : (n, D) array_like
            Values, all known and without noise.

        Returns
        -------
        (n,) array
            Natural logarithms.

        Raises
        ------
        DensityError
            If the shape is another, or a covariance is singular, so that there is no density.
        """
        values = np.asarray(values, dtype=float)
        if values.shape != (len(self), self.n_dims):
            raise DensityError(f"values: expected shape {(len(self), self.n_dims)}, one value for each row, got "
                               f"{values.shape}")
        try:
            factors = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise DensityError("values: some dimensions are known exactly and have no density; marginalize over "
                               "them first") from None
        scaled = np.linalg.solve(factors, (values[:, None, :] - self.means)[..., None])[..., 0]
        log_det = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
        logs = -0.5 * (np.sum(scaled**2, axis=-1) + self.n_dims * _LOG_2PI) - log_det
        return logsumexp(logs, b=self.weights, axis=1)

    def marginalize(self, dims):
        """Laws of some dimensions, whatever the others are.

        Parameters
        ----------
        dims : sequence of int or str
            Dimensions that remain, in this order.

        Returns
        -------
        RowMixtures
            Marginal laws.
        """
        kept, _ = split_dimensions(self, dims, everything=True)
        covariances = self.covariances[..., kept, :][..., kept]
        names = None if self.names is None else [self.names[k] for k in kept]
        return RowMixtures(self.weights, self.means[:, :, kept], covariances, names)

    def _covariances_of(self, rows):
        return self.covariances if self.covariances.ndim == 3 else self.covariances[rows]


def split_dimensions(mixture, dims, everything=False):
    """Numbers of the dimensions that are named, and of the others.

    Parameters
    ----------
    mixture : GaussianMixture or RowMixtures
        What has dimensions, and perhaps names for them.
    dims : iterable of int or str
        Numbers, from zero, or names.
    everything : bool
        Whether all dimensions may be named, so that no other remains.

    Returns
    -------
    chosen, others : list of int
        Numbers of dimensions.

    Raises
    ------
    DensityError
        If there is no such dimension, one is named twice, or none is named or remains.
    """
    names, n = mixture.names or (), mixture.n_dims
    chosen = []
    for dim in [dims] if isinstance(dims, str) else dims:
        known = dim in names if isinstance(dim, str) else _is_number(dim) and -n <= dim < n
        if not known:
            offered = f"one of {', '.join(names)}, or " if names else ""
            raise DensityError(f"dimension {dim!r}: no such dimension; give {offered}a number from 0 to {n - 1}")
        chosen.append(names.index(dim) if isinstance(dim, str) else int(dim) % n)
    others = [k for k in range(n) if k not in chosen]
    if len(set(chosen)) != len(chosen):
        raise DensityError(f"dimensions {list(dims)}: one of them is named twice")
    if not chosen or not (others or everything):
        raise DensityError(f"dimensions {list(dims)}: name at least one of {n}"
                           + ("" if everything else ", and leave at least one"))
    return chosen, others


def _is_number(dim):
    return isinstance(dim, (int, np.integer)) and not isinstance(dim, bool)


def condition(mixture, given, free, values):
    """Law of the free dimensions given the values of the others.

    With the Cholesky factor [[L, 0], [C, F]] of a covariance whose dimensions are ordered (given, free), the
    conditional covariance is F F' and the mean moves by C L^-1 (x - mean): nothing is subtracted from a covariance.

    Parameters
    ----------
    mixture : GaussianMixture
        Joint law.
    given, free : list of int
        Dimensions.
    values : list of array
        Values of the given dimensions, numbers or arrays of n.

    Returns
    -------
    weights : (n, K) array
        Weights of the components.
    means : (n, K, F) array
        Their means.
    covariances : (K, F, F) array
        Their covariances, the same for all rows.

    Raises
    ------
    DensityError
        If the values are of different lengths.
    """
    try:
        values = np.stack(np.broadcast_arrays(*[np.atleast_1d(value) for value in values]), axis=-1)
    except ValueError:
        values = None
    if values is None or values.ndim != 2:
        raise DensityError("values: expected numbers, or arrays of one length with a value for each row")
    order, n_given = [*given, *free], len(given)
    factors = np.linalg.cholesky(mixture.covariances[:, order][:, :, order])
    lower, cross, rest = factors[:, :n_given, :n_given], factors[:, n_given:, :n_given], factors[:, n_given:, n_given:]
    scaled = np.linalg.solve(lower, (values - mixture.means[:, None, given]).transpose(0, 2, 1))  # (K, given, n)
    means = mixture.means[:, None, free] + (cross @ scaled).transpose(0, 2, 1)
    with np.errstate(divide="ignore"):  # the logarithm of a weight of zero
        logs = np.log(mixture.weights) - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    logs = logs - 0.5 * np.sum(scaled**2, axis=1).T
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return weights, np.ascontiguousarray(means.transpose(1, 0, 2)), rest @ rest.transpose(0, 2, 1)


def _roots(covariances):
    """Matrices A with A A' = covariance, also where it is singular."""
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariances)
        return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
