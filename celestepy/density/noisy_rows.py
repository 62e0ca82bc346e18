"""Rows of noisy, incomplete data x_i = R_i v_i + noise: the one place where they are checked."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from celestepy.density import _noisy_rows

__all__ = ["DensityError", "NoisyRows"]

_FAULTS = {
    1: "has elements that are not finite",
    2: "has a negative variance",
    3: "is not symmetric",
    4: "is not positive semi-definite",
}
# Values beyond this have squares that overflow; nobody measures them.
_LARGEST = 1e100


class DensityError(ValueError):
    """Data or parameters of a density that make no sense; the message says which, and what to do."""


@dataclass(frozen=True, eq=False)
class NoisyRows:
    """N rows of data ``x_i = R_i v_i + e_i`` with Gaussian noise ``e_i`` of known covariance.

    Made by `from_input`; the constructor itself checks nothing. Arrays that all rows share are kept once, as
    views whose first axis repeats them.

    Parameters
    ----------
    values : `~numpy.ndarray`, shape (N, d)
        The data, 0 where ``observed`` is False.
    dim : int
        D, the dimension of the values v without noise.
    observed : `~numpy.ndarray` of bool, shape (N, d), or None
        Which values were observed; None if all were.
    noise : `~numpy.ndarray`, shape (N, d) or (N, d, d), or None
        Variances or covariances of the noise; None if there is none. Elements of values that were not observed
        mean nothing and are never read.
    projection : `~numpy.ndarray`, shape (N, d, D), or None
        R_i; None for the identity.
    weights : `~numpy.ndarray`, shape (N,), or None
        How often each row counts; None for once.
    """

    values: np.ndarray
    dim: int
    observed: np.ndarray | None = None
    noise: np.ndarray | None = None
    projection: np.ndarray | None = None
    weights: np.ndarray | None = None

    @classmethod
    def from_input(cls, X, covariance=None, projection=None, weights=None, *, check=True, per_row=None):
        """Rows from what a user has; the user's arrays are never changed, and not copied where they fit.

        Parameters
        ----------
        X : array_like, shape (N, d)
            The data; NaN or masked where a value is missing.
        covariance : array_like, optional
            Of the noise: (N, d, d) full, (N, d) variances, or (d, d) or (d,) for all rows alike; None or 0
            for none. A variance that is infinite or masked makes its value missing, too.
        projection : array_like, shape (N, d, D) or (d, D), optional
            The matrices R, by default the identity.
        weights : array_like, shape (N,), optional
            Not negative.
        check : bool, optional
            False spares the checks of elements, not those of shapes, for data that were checked before.
        per_row : bool, optional
            What a covariance of shape (d, d) beside N = d > 1 rows is: variances of each row (True) or a matrix for
            all of them (False); without it that is an error. A piece of something longer knows it from the whole.

        Returns
        -------
        NoisyRows

        Raises
        ------
        DensityError
            If an array has a wrong type or shape, values or projections that are infinite, or noise that is no
            covariance; the message names the argument and the first row at fault.

        Notes
        -----
        Rows with nothing observed are allowed: their log density is 0, and a fit leaves them out.
        """
        values, observed = _values(X, check)
        noise = _noise(covariance, values.shape, per_row)
        if check and noise is not None:
            observed = _without_infinite(noise, observed)
            _check_noise(noise, observed)
        if observed is not None and not observed.all():
            values = np.where(observed, values, 0.0)
        elif observed is not None:
            observed = None
        matrices = _projection(projection, values.shape)
        dim = values.shape[1] if matrices is None else matrices.shape[2]
        rows = cls(values, dim, observed, noise, matrices, _weights(weights, len(values)))
        if check:
            rows._check_projection()
        return rows

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        """Some of the rows, by a slice, or an array of indices or of bool."""
        if isinstance(index, int | np.integer):
            raise TypeError(f"index {index} is one row; ask for a slice of one: [{index}:{index + 1}]")
        chosen = {field.name: _rows_of(getattr(self, field.name), index) for field in fields(self)}
        return NoisyRows(**(chosen | {"dim": self.dim}))

    @cached_property
    def has_values(self):
        """Which rows have at least one value (`~numpy.ndarray` of bool, shape (N,))."""
        return np.ones(len(self), bool) if self.observed is None else self.observed.any(axis=1)

    @property
    def weight(self):
        """Sum of the weights of the rows with a value (float)."""
        if self.weights is None:
            return float(np.count_nonzero(self.has_values))
        return float(np.sum(self.weights, where=self.has_values))

    def _check_projection(self):
        """Raise an error where a projection loses a column that has no noise: its density has no finite value."""
        if self.projection is None:
            return
        empty = ~self.projection.any(axis=2) & _noiseless(self.noise, self.values.shape)
        if self.observed is not None:
            empty = empty & self.observed
        row = _first(empty)
        if row is not None:
            raise DensityError(
                f"projection of row {row} is zero for a column without noise, which then has no density; "
                "give it a variance or mask it"
            )


def _first(faults):
    """The first row of an array that holds a true value, or None."""
    at_fault = faults.any(axis=tuple(range(1, faults.ndim)))
    return int(np.argmax(at_fault)) if at_fault.any() else None


def _rows_of(array, index):
    """The chosen rows; an array that all rows share stays shared."""
    if not isinstance(array, np.ndarray):
        return array
    if array.ndim > 1 and array.strides[0] == 0 and len(array) > 0:
        n = len(np.empty(len(array), bool)[index])
        return np.broadcast_to(array[0], (n, *array.shape[1:]))
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu":
        return np.take(array, index, axis=0)  # twice as fast as brackets for rows of matrices
    return array[index] if array.ndim == 1 or isinstance(index, slice) else np.ascontiguousarray(array[index])


def _numbers(name, array):
    """The argument in float64 and in C order."""
    if np.ma.is_masked(array):
        raise DensityError(f"{name} has masked elements; mask the values of X that they belong to instead")
    try:
        result = np.asarray(array)
        if result.dtype.kind not in "biufO":
            raise TypeError(f"it has the type {result.dtype}")
        return np.asarray(result, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DensityError(f"{name} is not an array of real numbers; convert it before: {error}") from error


def _unmasked(X):
    """What is under the mask, and the mask, of the masked arrays of NumPy and astropy; the argument and None."""
    if hasattr(X, "unmasked"):
        return X.unmasked, X.mask
    if np.ma.isMaskedArray(X):
        plain = np.ma.asarray(X)
        return plain.data, np.ma.getmaskarray(plain)
    return X, None


def _values(X, check):
    """Values and which are observed (or None) of the first argument."""
    values, mask = _unmasked(X)
    values = _numbers("X", values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise DensityError(
            f"X has shape {values.shape}; expected (N, d), a row for each object: X[:, None] for a single column"
        )
    observed = ~np.isnan(values)
    if mask is not None:
        observed &= ~np.broadcast_to(np.asarray(mask), values.shape)
    if check and (row := _first(observed & ~(np.abs(values) <= _LARGEST))) is not None:
        raise DensityError(
            f"X is infinite or beyond {_LARGEST:g} in row {row}: {values[row]}; "
            "use NaN for missing values and sensible units"
        )
    return values, None if observed.all() else observed


def _noise(covariance, shape, per_row):
    """Variances (N, d) or covariances (N, d, d), as views where all rows share them, or None."""
    n, d = shape
    if covariance is None or (np.isscalar(covariance) and covariance == 0):
        return None
    if np.ma.isMaskedArray(covariance):
        covariance = covariance.astype(float).filled(np.inf)
    noise = _numbers("covariance", covariance)
    either = noise.shape == (n, d) and n == d > 1
    if noise.shape == (n, d, d) or (noise.shape == (n, d) and (per_row or not either)):
        return noise
    if either and per_row is None:
        raise DensityError(
            f"covariance of shape {noise.shape} may be variances of {n} rows or one matrix for all of them; "
            "give matrices of shape (N, d, d)"
        )
    if noise.shape in ((d,), (d, d)):
        return np.broadcast_to(noise, (n, *noise.shape))
    raise DensityError(
        f"covariance has shape {noise.shape}; expected ({n}, {d}, {d}), ({n}, {d}), ({d}, {d}) or ({d},) to "
        f"go with X of shape {shape}"
    )


def _variances(noise):
    return noise if noise.ndim == 2 else np.einsum("...ii->...i", noise)


def _noiseless(noise, shape):
    """Which values have a variance of zero (bool, shape (N, d))."""
    return np.ones(shape, bool) if noise is None else _variances(noise) == 0.0


def _without_infinite(noise, observed):
    """Which values are observed, those of an infinite variance aside."""
    infinite = np.isposinf(_variances(noise))
    if not infinite.any():
        return observed
    return ~infinite if observed is None else observed & ~infinite


def _check_noise(noise, observed):
    """Raise an error that names the first row whose noise is no covariance."""
    shared = noise.strides[0] == 0 and observed is None
    row, fault = _faulty_row(noise[:1] if shared else noise, observed)
    if fault:
        of = "all rows" if shared else f"row {row}"
        raise DensityError(
            f"covariance of {of} {_FAULTS[fault]}: {noise[row].tolist()}; correct it, or mask the values"
        )


def _faulty_row(noise, observed):
    """Index of the first row with a fault, and the key of the fault; -1, 0 if there is none."""
    if noise.ndim == 3:
        mask = None if observed is None else observed.view(np.uint8)
        return _noisy_rows.first_bad(noise, mask)
    for fault, bad in ((1, ~np.isfinite(noise)), (2, noise < 0.0)):
        row = _first(bad if observed is None else bad & observed)
        if row is not None:
            return row, fault
    return -1, 0


def _projection(projection, shape):
    """Matrices (N, d, D), as a view where all rows share one, or None."""
    if projection is None:
        return None
    matrices = _numbers("projection", projection)
    n, d = shape
    if matrices.ndim == 2 and len(matrices) == d:
        matrices = np.broadcast_to(matrices, (n, *matrices.shape))
    if matrices.ndim != 3 or matrices.shape[:2] != shape or matrices.shape[2] == 0:
        raise DensityError(
            f"projection has shape {matrices.shape}; expected ({n}, {d}, D) or ({d}, D) to go with X of shape {shape}"
        )
    row = _first(~(np.abs(matrices) <= _LARGEST))
    if row is not None:
        raise DensityError(f"projection of row {row} is not finite: {matrices[row].tolist()}; mask values instead")
    return matrices


def _weights(weights, n):
    if weights is None:
        return None
    weights = _numbers("weights", weights)
    if weights.shape != (n,):
        raise DensityError(f"weights have shape {weights.shape}; expected one for each of the {n} rows")
    row = _first(~((weights >= 0.0) & (weights <= _LARGEST)))
    if row is not None:
        raise DensityError(f"weights[{row}] is {weights[row]}; expected a finite number that is not negative")
    return weights
