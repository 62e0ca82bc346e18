"""Log densities as samplers see them: checked, counted, and never NaN."""

import numpy as np

__all__ = ["CheckedDensity", "SamplingError", "checked_count", "checked_starts"]


class SamplingError(ValueError):
    """A sampler cannot begin, or was given something that is no density."""


class CheckedDensity:
    """A log density whose answers are checked and whose evaluations are counted.

    Parameters
    ----------
    log_density : callable
        Points, shape (n, D), to log densities, shape (n,). NaN counts as -inf: outside the support.

    Attributes
    ----------
    n_evaluations : int
        Points evaluated so far.
    """

    def __init__(self, log_density):
        self._log_density = log_density
        self.n_evaluations = 0

    def __call__(self, x):
        """Evaluate the density.

        Parameters
        ----------
        x : `~numpy.ndarray`
            Points, shape (n, D).

        Returns
        -------
        `~numpy.ndarray`
            Log densities, shape (n,), finite or -inf.

        Raises
        ------
        SamplingError
            If the answer has another shape, or is infinite where it should be finite.
        """
        self.n_evaluations += len(x)
        values = np.asarray(self._log_density(x), dtype=float)
        if values.shape != (len(x),):
            raise SamplingError(
                f"log_density returned shape {values.shape} for points of shape {x.shape}; expected one value for each"
                f" point, shape ({len(x)},)"
            )
        # The largest value is NaN if any is, and so one look serves both faults.
        if values.size and not values.max() < np.inf:
            values = np.where(np.isnan(values), -np.inf, values)
            if np.any(values == np.inf):
                raise SamplingError(
                    f"log_density is +inf at {x[np.argmax(values)]}: a density with a pole cannot be sampled; bound the"
                    " parameters away from it"
                )
        return values


def checked_count(name, value, least=1):
    """Return `value` as an int, if it is a whole number and at least `least`.

    Raises
    ------
    SamplingError
        If it is not; the message names the setting.
    """
    if isinstance(value, bool) or not np.isscalar(value) or value != int(value) or value < least:
        raise SamplingError(f"{name} = {value!r}: expected a whole number of at least {least}")
    return int(value)


def checked_starts(density, start):
    """Evaluate the points that chains start from.

    Parameters
    ----------
    density : CheckedDensity
        The density to sample.
    start : array_like
        One point per chain, shape (C, D).

    Returns
    -------
    x : `~numpy.ndarray`
        The points as an array of its own, shape (C, D).
    values : `~numpy.ndarray`
        Their log densities, shape (C,), all finite.

    Raises
    ------
    SamplingError
        If the shape is wrong or a point is not in the support.
    """
    x = np.array(start, dtype=float)
    if x.ndim != 2 or 0 in x.shape:
        raise SamplingError(f"start has shape {x.shape}; expected one row per chain, shape (C, D)")
    if not np.isfinite(x).all():
        raise SamplingError("start is not finite; expected parameter vectors within the support")
    values = density(x)
    outside = np.flatnonzero(values == -np.inf)
    if outside.size:
        raise SamplingError(
            f"log_density is -inf or NaN at {outside.size} of {len(x)} starts (the first is number {outside[0]},"
            f" {x[outside[0]]}): start from points of positive density, for example about a fitted mode"
        )
    return x, values
