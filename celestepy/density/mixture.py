"""A mixture of Gaussians: density, draws, conditional and marginal laws, and what noisy rows say of true values."""

from dataclasses import dataclass

import numpy as np

from celestepy.density import arguments, expectation
from celestepy.density.conditional import RowMixtures, condition, split_dimensions
from celestepy.density.conversions import from_astroml, from_sklearn, to_astroml, to_sklearn
from celestepy.density.mixture_file import read_mixture, write_mixture
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.parameters import checked_parameters

__all__ = ["GaussianMixture"]

_NUMBERS_AT_A_TIME = 2**22  # of the posteriors of some rows: 32 MB


@dataclass(frozen=True, eq=False, init=False)
class GaussianMixture:
    """Mixture of K Gaussians in D dimensions. Immutable.

    Parameters
    ----------
    weights : (K,) array_like
        Weights, none negative; they are normalised to sum to one.
    means : (K, D) array_like
        Means of the components.
    covariances : (K, D, D) array_like
        Covariances, symmetric and positive definite.
    names : sequence of str, optional
        Names of the dimensions, by which they may be referred to instead of by their numbers.

    Raises
    ------
    DensityError
        If shapes disagree, a number is masked, not finite or has a unit, a weight is negative, a covariance is not
        symmetric and positive definite, or names are not D different strings.

    Examples
    --------
    >>> from celestepy.density import GaussianMixture
    >>> mixture = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [3.0, 1.0]], [[[1, 0.5], [0.5, 1]]] * 2, names=["x", "y"])
    >>> mixture.log_density([[0.0, 0.0]], covariance=[[0.1, 0.1]])
    array([-2.49522835])
    >>> mixture.condition({"x": 3.0}).mean
    array([1.00549347])
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    names: tuple | None

    def __init__(self, weights, means, covariances, names=None):
        arrays = {"weights": weights, "means": means, "covariances": covariances}
        arrays = {name: arguments.known_numbers(name, value) for name, value in arrays.items()}
        arrays["names"] = None if names is None else arguments.sequence("names", names, "names")
        for name, value in checked_parameters(**arrays).items():
            object.__setattr__(self, name, value)

    def __len__(self):
        return self.weights.size

    def __eq__(self, other):
        if not isinstance(other, GaussianMixture):
            return NotImplemented
        arrays = ("weights", "means", "covariances")
        return self.names == other.names and all(np.array_equal(getattr(self, name), getattr(other, name))
                                                 for name in arrays)

    __hash__ = None

    def __repr__(self):
        named = f": {', '.join(self.names)}" if self.names else ""
        return f"<GaussianMixture of {len(self)} components in {self.n_dims} dimensions{named}>"

    @property
    def n_dims(self):
        """Number of dimensions D."""
        return self.means.shape[1]

    @property
    def mean(self):
        """Mean of the whole mixture, shape (D,)."""
        return self.weights @ self.means

    @property
    def covariance(self):
        """Covariance of the whole mixture, shape (D, D)."""
        offsets = self.means - self.mean
        return np.tensordot(self.weights, self.covariances + offsets[:, :, None] * offsets[:, None, :], 1)

    def log_density(self, X, covariance=None, projection=None, n_jobs=1):
        """Log density of rows, of which each may be noisy, incomplete and a projection.

        A row is ``x = R v + noise`` where v is drawn from the mixture (Bovy et al. 2011, eq. 1). What is missing
        is marginalised: the density is that of the values that are there.

        Parameters
        ----------
        X : (n, d) array_like
            Values; NaN and masked ones are missing. A row of nothing but missing values has log density 0.
        covariance : array_like, optional
            Covariance of the noise: (n, d, d), or (n, d) for variances alone; a single (d, d) or (d,) is that of
            all rows. None by default.
        projection : (n, d, D) array_like, optional
            Matrices R; by default the identity, with d = D.
        n_jobs : int
            Threads.

        Returns
        -------
        (n,) array
            Natural logarithms.

        Raises
        ------
        DensityError
            If the input cannot be used; the message names the argument and the row.
        """
        rows = self._rows(X, covariance, projection)
        return expectation.log_densities(rows, self.weights, self.means, self.covariances, n_jobs=n_jobs)

    def responsibilities(self, X, covariance=None, projection=None):
        """Probability that each component made each row.

        Parameters
        ----------
        X, covariance, projection
            Rows, as in `log_density`.

        Returns
        -------
        (n, K) array
            Probabilities, of sum one for each row; the weights where nothing was observed.
        """
        rows = self._rows(X, covariance, projection)
        return expectation.responsibilities(rows, self.weights, self.means, self.covariances)

    def posterior(self, X, covariance=None, projection=None):
        """What is known of the true values of noisy rows: a mixture for each (Bovy et al. 2011, section 2).

        Parameters
        ----------
        X, covariance, projection
            Rows, as in `log_density`. The result takes n K D^2 numbers: for millions of rows see
            `posterior_moments`.

        Returns
        -------
        RowMixtures
            Law of all D true values of each row, also of those that are missing.
        """
        return self._posterior(self._rows(X, covariance, projection))

    def posterior_moments(self, X, covariance=None, projection=None):
        """Means and covariances of the true values of noisy rows, of any number of them.

        Parameters
        ----------
        X, covariance, projection
            Rows, as in `log_density`.

        Returns
        -------
        means : (n, D) array
            Posterior means.
        covariances : (n, D, D) array
            Posterior covariances.
        """
        rows = self._rows(X, covariance, projection)
        step = max(1, _NUMBERS_AT_A_TIME // (len(self) * self.n_dims**2))
        means, covariances = np.empty((len(rows), self.n_dims)), np.empty((len(rows), self.n_dims, self.n_dims))
        for part in (slice(start, start + step) for start in range(0, len(rows), step)):
            known = self._posterior(rows[part])
            means[part], covariances[part] = known.mean, known.covariance
        return means, covariances

    def sample(self, n, rng=None):
        """Draw from the mixture.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `numpy.random.Generator` or int, optional
            Source of randomness, or a seed.

        Returns
        -------
        (n, D) array
            Draws.

        Raises
        ------
        DensityError
            If it cannot be drawn so often, or from such a source.
        """
        n, rng = arguments.number_of_draws("n", n), arguments.random_generator(rng)
        which = rng.choice(len(self), size=n, p=self.weights)
        draws, factors = rng.standard_normal((n, self.n_dims)), np.linalg.cholesky(self.covariances)
        for j in np.unique(which):  # one product for each component: no (n, D, D) array
            rows = which == j
            draws[rows] = draws[rows] @ factors[j].T + self.means[j]
        return draws

    def condition(self, values):
        """Law of the other dimensions where some are known exactly.

        For values with errors, or for errors that are correlated with others, use `posterior`, with NaN for what
        is unknown.

        Parameters
        ----------
        values : mapping
            From the number or name of a dimension to its value: a number, or an array of n for n rows.

        Returns
        -------
        GaussianMixture or RowMixtures
            Law of the remaining dimensions, in their order: one if all values are numbers, otherwise one for
            each row.

        Raises
        ------
        DensityError
            If a dimension does not exist, none remains, or a value is not finite.
        """
        values = arguments.mapping("values", values)
        given, free = split_dimensions(self, values)
        fixed = [arguments.known_numbers(f"values[{key!r}]", value) for key, value in values.items()]
        weights, means, covariances = condition(self, given, free, fixed)
        names = self._names_of(free)
        if all(value.ndim == 0 for value in fixed):
            return GaussianMixture(weights[0], means[0], covariances, names)
        return RowMixtures(weights, means, covariances, names)

    def marginalize(self, dims):
        """Law of some dimensions, whatever the others are.

        Parameters
        ----------
        dims : sequence of int or str
            Dimensions that remain, in this order.

        Returns
        -------
        GaussianMixture
            Marginal law.
        """
        kept, _ = split_dimensions(self, dims, everything=True)
        covariances = self.covariances[:, kept][:, :, kept]
        return GaussianMixture(self.weights, self.means[:, kept], covariances, self._names_of(kept))

    def transform(self, matrix, offset=0.0, names=None):
        """Law of linear combinations ``matrix @ v + offset``.

        Parameters
        ----------
        matrix : (C, D) array_like
            Coefficients, of full row rank.
        offset : (C,) array_like or float
            What is added.
        names : sequence of str, optional
            Names of the combinations.

        Returns
        -------
        GaussianMixture
            Law of the combinations.

        Raises
        ------
        DensityError
            If a shape is wrong, or the combinations depend on one another.
        """
        matrix, offset = arguments.combination(self, matrix, offset)
        means, covariances = self.means @ matrix.T + offset, matrix @ self.covariances @ matrix.T
        return GaussianMixture(self.weights, means, covariances, names)

    def save(self, path, overwrite=False):
        """Write the mixture to a file, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file: ``.fits``, or ``.asdf`` with the extra 'asdf'.
        overwrite : bool
            Whether an existing file may be replaced.

        Raises
        ------
        DensityError
            If the path or its extension is impossible, the file exists, or it cannot be written.
        ImportError
            If the format needs an extra that is not installed; the message names it.
        """
        write_mixture(path, self.weights, self.means, self.covariances, self.names, overwrite)

    @classmethod
    def load(cls, path):
        """Read a mixture that `save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        GaussianMixture
            Identical to the one that was saved.

        Raises
        ------
        DensityError
            If there is no such file, or it holds no mixture.
        """
        return cls(**read_mixture(path))

    def to_sklearn(self):
        """Convert to scikit-learn.

        Returns
        -------
        `sklearn.mixture.GaussianMixture`
            Fitted, with full covariances.

        Raises
        ------
        ImportError
            If scikit-learn is not installed.
        """
        return to_sklearn(self.weights, self.means, self.covariances)

    @classmethod
    def from_sklearn(cls, model, names=None):
        """Take over a fitted mixture of scikit-learn.

        Parameters
        ----------
        model : `sklearn.mixture.GaussianMixture` or `sklearn.mixture.BayesianGaussianMixture`
            Fitted, with covariances of any type.
        names : sequence of str, optional
            Names of the dimensions.

        Returns
        -------
        GaussianMixture
            The same density.
        """
        return cls(*from_sklearn(model), names)

    def to_astroml(self):
        """Convert to astroML.

        Returns
        -------
        `astroML.density_estimation.XDGMM`
            As if fitted.

        Raises
        ------
        ImportError
            If astroML is not installed.
        """
        return to_astroml(self.weights, self.means, self.covariances)

    @classmethod
    def from_astroml(cls, model, names=None):
        """Take over a fitted mixture of astroML, or any object with its attributes ``alpha``, ``mu`` and ``V``.

        Parameters
        ----------
        model : `astroML.density_estimation.XDGMM`
            Fitted.
        names : sequence of str, optional
            Names of the dimensions.

        Returns
        -------
        GaussianMixture
            The same density.
        """
        return cls(*from_astroml(model), names)

    def _posterior(self, rows):
        return RowMixtures(*expectation.posterior(rows, self.weights, self.means, self.covariances), names=self.names)

    def _rows(self, X, covariance, projection):
        arguments.refuse_units(X=X, covariance=covariance, projection=projection)
        rows = NoisyRows.from_input(X, covariance, projection)
        arguments.check_dimensions(rows, self.n_dims)
        return rows

    def _names_of(self, dims):
        return None if self.names is None else [self.names[k] for k in dims]
