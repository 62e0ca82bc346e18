"""The parameters of a mixture, checked: weights, means, covariances, and the names of the dimensions."""

import numpy as np

from celestepy.density.noisy_rows import DensityError

__all__ = ["checked_parameters", "finite_numbers"]

_ASYMMETRY = 1e-6  # of covariances, in units of the standard deviations


def checked_parameters(weights, means, covariances, names=None):
    """Copy the parameters of a mixture into read-only arrays that can be relied upon.

    Parameters
    ----------
    weights : (K,) array_like
        Weights, none negative.
    means : (K, D) array_like
        Means.
    covariances : (K, D, D) array_like
        Covariances, symmetric and positive definite.
    names : sequence of str, optional
        Names of the dimensions.

    Returns
    -------
    dict
        The four, with weights of sum one, covariances symmetric to the last bit, and names as a tuple or None.

    Raises
    ------
    DensityError
        If shapes disagree, a number is not finite, a weight is negative, a covariance is not symmetric and
        positive definite, or names are not D different strings.
    """
    fields = {"weights": weights, "means": means, "covariances": covariances}
    fields = {name: finite_numbers(name, value) for name, value in fields.items()}
    _check_shapes(**fields)
    weights, covariances = fields["weights"], fields["covariances"]
    _check_weights(weights)
    _check_covariances(covariances)
    fields["weights"] = _normalised(weights)
    fields["covariances"] = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
    for value in fields.values():
        value.setflags(write=False)
    return fields | {"names": _checked_names(names, fields["means"].shape[1])}


def finite_numbers(name, value):
    """Copy numbers into a float64 array.

    Parameters
    ----------
    name : str
        What the errors call it.
    value : array_like
        Numbers.

    Returns
    -------
    array
        A copy, C-contiguous.

    Raises
    ------
    DensityError
        If it is something else, or a number is not finite.
    """
    try:
        array = np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DensityError(f"{name}: expected an array of numbers, got {type(value).__name__} ({error})") from None
    if not np.all(np.isfinite(array)):
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise DensityError(f"{name}: every number must be finite, got {array[at]}" + (f" at {list(at)}" if at else ""))
    return array


def _check_shapes(weights, means, covariances):
    n = weights.size
    if weights.ndim != 1 or n == 0:
        raise DensityError(f"weights: expected one weight for each component, got an array of shape {weights.shape}")
    if means.ndim != 2 or means.shape[0] != n or means.shape[1] == 0:
        raise DensityError(f"means: {n} weights need means of shape ({n}, D), got {means.shape}")
    if covariances.shape != (*means.shape, means.shape[1]):
        expected = (*means.shape, means.shape[1])
        raise DensityError(f"covariances: means of shape {means.shape} need covariances of shape {expected}, got "
                           f"{covariances.shape}")


def _normalised(weights):
    """Weights of sum one; those that have it stay as they are, so that a saved mixture is read back to the last bit."""
    scaled = weights / weights.max()  # whose sum cannot overflow
    if abs(weights.max() - 1 / scaled.sum()) < 1e-12 * weights.max():
        return weights
    return scaled / scaled.sum()


def _check_weights(weights):
    if np.any(weights < 0) or not np.any(weights > 0):
        j = int(np.argmin(weights))
        raise DensityError(f"weights: none may be negative and one must be positive, got {weights[j]:g} for "
                           f"component {j}")


def _check_covariances(covariances):
    """Symmetric and positive definite, in units of the standard deviations: scales may differ by any factor."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    remedy = "widen degenerate components with a floor"
    if np.any(variances <= 0):
        j, k = (int(i) for i in np.argwhere(variances <= 0)[0])
        raise DensityError(f"covariances: component {j} has the variance {variances[j, k]:g} in dimension {k}; "
                           f"variances must be positive: {remedy}")
    deviations = np.sqrt(variances)
    correlations = covariances / (deviations[:, :, None] * deviations[:, None, :])
    excess = np.abs(correlations - np.swapaxes(correlations, 1, 2)).max(axis=(1, 2))
    if np.any(excess > _ASYMMETRY):
        raise DensityError(f"covariances: that of component {int(np.argmax(excess))} is not symmetric")
    for j, matrix in enumerate(correlations):
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            raise DensityError(f"covariances: that of component {j} is not positive definite; {remedy}") from None


def _checked_names(names, n):
    if names is None:
        return None
    names = (names,) if isinstance(names, str) else tuple(names)
    if len(names) != n or len(set(names)) != n or not all(isinstance(name, str) and name for name in names):
        raise DensityError(f"names: expected {n} different names, one for each dimension, got {list(names)}")
    return tuple(str(name) for name in names)
