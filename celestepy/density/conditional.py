"""Mixtures that differ from row to row: those of dimensions given others, and of true values given noisy ones."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from celestepy.density.arguments import known_numbers, number_of_draws, random_generator, refuse_units, sequence
from celestepy.density.noisy_rows import DensityError

__all__ = ["RowMixtures", "condition", "split_dimensions"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class RowMixtures:
    """A mixture of K Gaussians in D dimensions for each of n rows.

    The arrays are kept as views that cannot be written to, without copies where they are of float64.

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

    Raises
    ------
    DensityError
        If shapes or the number of names disagree, or something is no array of numbers.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    names: tuple | None = None

    def __post_init__(self):
        for name in ("weights", "means", "covariances"):
            object.__setattr__(self, name, _view(name, getattr(self, name)))
        _check_shapes(self.weights.shape, self.means.shape, self.covariances.shape)
        if self.names is not None:
            names = sequence("names", self.names, "names")
            if len(names) != self.n_dims:
                raise DensityError(f"names: expected {self.n_dims}, one for each dimension, got {list(names)}")
            object.__setattr__(self, "names", names)

    def __len__(self):
        return len(self.weights)

    def __getitem__(self, row):
        """Mixture of one row, as `GaussianMixture`; of a slice, an index array or a mask, those of these rows."""
        if np.ndim(row) == 0 and not isinstance(row, slice):
            return self._mixture_of(row)
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

        Raises
        ------
        DensityError
            If the number is no number of draws, or the source none of random numbers.
        """
        n_draws, rng = number_of_draws("n_draws", n_draws), random_generator(rng)
        rows, edges = np.arange(len(self))[:, None], np.cumsum(self.weights, axis=1)
        places = rng.random((len(self), n_draws)) * edges[:, -1:]
        which = [np.searchsorted(edge, place, side="right") for edge, place in zip(edges, places)]
        which = np.minimum(np.array(which, dtype=int).reshape(places.shape), self.weights.shape[1] - 1)
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
            If the shape is another, a value is not finite, or a covariance is singular, so that there is no density.
        """
        values = known_numbers("values", values)
        if values.shape != (len(self), self.n_dims):
            raise DensityError(f"values: expected shape {(len(self), self.n_dims)}, one value for each row, got "
                               f"{values.shape}")
        try:
            factors = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise DensityError("values: some dimensions are known exactly and have no density; keep the others "
                               "alone first, by marginalize(dims)") from None
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

    def _mixture_of(self, row):
        from celestepy.density.mixture import GaussianMixture

        weights, means, covariances = self.weights[row], self.means[row], self._covariances_of(row)
        if not weights.any():
            raise DensityError(f"row {row}: its density is zero, and so are the weights of all components; look for "
                               "a value far from all of them, or in other units")
        exact = np.flatnonzero((np.diagonal(covariances, axis1=1, axis2=2) == 0).any(axis=0))
        if exact.size:
            exact = [k if self.names is None else self.names[k] for k in exact.tolist()]
            raise DensityError(f"row {row}: known exactly in the dimensions {exact}, where a mixture has no density; "
                               "keep the others alone first, by marginalize(dims), or take mean and covariance")
        try:
            return GaussianMixture(weights, means, covariances, self.names)
        except DensityError as error:
            raise DensityError(f"row {row}: no mixture with a density, as where a combination of dimensions is known "
                               "exactly; keep fewer of them first, by marginalize(dims), or take mean and covariance "
                               f"({error})") from None

    def _covariances_of(self, rows):
        return self.covariances if self.covariances.ndim == 3 else self.covariances[rows]


def _view(name, value):
    """An array of numbers that cannot be written to; its owner may go on writing to the original."""
    refuse_units(**{name: value})
    try:
        array = np.asarray(value, dtype=np.float64).view()
    except (TypeError, ValueError) as error:
        raise DensityError(f"{name}: expected an array of numbers, got {type(value).__name__} ({error})") from None
    array.setflags(write=False)
    return array


def _check_shapes(weights, means, covariances):
    if len(means) != 3 or means[:2] != weights or covariances not in ((*means, means[2]), (*means[1:], means[2])):
        raise DensityError("weights, means, covariances: expected shapes (n, K), (n, K, D) and (n, K, D, D) or "
                           f"(K, D, D), got {weights}, {means} and {covariances}")


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
    dims = sequence("dims", dims, "dimensions")
    for dim in dims:
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
        If the values are of different lengths, or so far from all components that no weight is a number.
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
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # weights of zero, and values out of reach
        scaled = np.linalg.solve(lower, (values - mixture.means[:, None, given]).transpose(0, 2, 1))  # (K, given, n)
        means = mixture.means[:, None, free] + (cross @ scaled).transpose(0, 2, 1)
        logs = np.log(mixture.weights) - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        logs = logs - 0.5 * np.sum(scaled**2, axis=1).T
    reached = np.isfinite(logs).any(axis=1)
    if not reached.all():
        row = int(np.argmin(reached))
        raise DensityError(f"values: {values[row].tolist()} of row {row} are so far from every component that the "
                           "density is zero by any number; give them in the units of the mixture")
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return weights, np.ascontiguousarray(means.transpose(1, 0, 2)), rest @ rest.transpose(0, 2, 1)


def _roots(covariances):
    """Matrices A with A A' = covariance, also where it is singular."""
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariances)
        return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
