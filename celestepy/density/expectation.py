"""Log densities of noisy rows under a mixture of Gaussians, and what fits of the mixture need of them.

The work is done by a compiled kernel that exists in variants for different processors; the fastest that this
machine runs is chosen at import. The environment variable ``CELESTEPY_KERNEL`` (``avx512``, ``avx2`` or
``generic``) overrides the choice.

A mixture has K components of weights ``a_j``, means ``m_j`` (D,) and covariances ``V_j`` (D, D); rows
``x_i = R_i v_i + e_i`` with noise of covariance ``S_i`` are `~celestepy.density.noisy_rows.NoisyRows`. Columns that
are missing in a row are left out of its ``x_i``, ``R_i`` and ``S_i``, which marginalises them exactly.
"""

import numpy as np
from joblib import Parallel, delayed

from celestepy.density import _expectation_generic
from celestepy.density.arguments import check_dimensions, check_jobs
from celestepy.density.noisy_rows import DensityError
from celestepy.density.sums import Expectation, Gradient, KernelSums
from celestepy.kernel_variants import KernelVariants

__all__ = [
    "Expectation",
    "Gradient",
    "available_kernels",
    "expectation",
    "gradient",
    "kernel_name",
    "log_densities",
    "posterior",
    "responsibilities",
]

_KERNELS = KernelVariants(_expectation_generic)
# Rows that a thread takes at a time, so that there are at most MOST_CHUNKS: never by the number of threads, on which
# the rounding of the sums would then depend.
_FEWEST_ROWS = 2048
_MOST_CHUNKS = 64


def available_kernels():
    """Names of the kernel variants that work on this machine, the fastest first.

    Returns
    -------
    tuple of str
        Among ``"avx512"``, ``"avx2"`` and ``"generic"``; the last is always there.
    """
    return _KERNELS.names


#: Name of the kernel variant in use.
kernel_name = _KERNELS.in_use


def log_densities(rows, weights, means, covariances, n_jobs=1, *, kernel=None):
    """Log density of each row, ``log sum_j a_j N(x_i | R_i m_j, R_i V_j R_i' + S_i)``.

    Parameters
    ----------
    rows : `~celestepy.density.noisy_rows.NoisyRows`
        N rows.
    weights : array_like, shape (K,)
        Not negative, with a sum of 1.
    means : array_like, shape (K, D)
        Of the components.
    covariances : array_like, shape (K, D, D)
        Symmetric and positive definite; their lower triangles are read.
    n_jobs : int, optional
        Threads; -1 for all processors. Results do not depend on it.
    kernel : str, optional
        One of `available_kernels`, instead of the one in use.

    Returns
    -------
    `~numpy.ndarray`, shape (N,)
        0 where a row has nothing observed, -inf where the density is below the smallest number.

    Raises
    ------
    ~celestepy.density.noisy_rows.DensityError
        If the mixture's arrays do not go together or with the rows.
    """
    components = _components(rows, weights, means, covariances, kernel)
    out = np.empty(len(rows))

    def evaluate(part):
        components.log_densities(*_arrays(rows[part]), out[part])

    for _ in _in_order(evaluate, len(rows), n_jobs):
        pass
    return _without_rounding(out, rows)


def responsibilities(rows, weights, means, covariances, n_jobs=1, *, kernel=None):
    """Probability of each component for each row.

    Parameters
    ----------
    rows, weights, means, covariances, n_jobs, kernel
        As for `log_densities`.

    Returns
    -------
    `~numpy.ndarray`, shape (N, K)
        Rows sum to 1, but to 0 where the density is below the smallest number.

    Raises
    ------
    ~celestepy.density.noisy_rows.DensityError
        As for `log_densities`.
    """
    components = _components(rows, weights, means, covariances, kernel)
    out = np.empty((len(rows), len(np.atleast_1d(weights))))

    def evaluate(part):
        components.responsibilities(*_arrays(rows[part]), out[part])

    for _ in _in_order(evaluate, len(rows), n_jobs):
        pass
    return out


def expectation(rows, weights, means, covariances, n_jobs=1, *, kernel=None):
    """The expectation step over all rows, without keeping responsibilities.

    Parameters
    ----------
    rows, weights, means, covariances, n_jobs, kernel
        As for `log_densities`.

    Returns
    -------
    Expectation
        Sums over the rows. Rows with nothing observed or of zero density do not count, nor do responsibilities
        below 1e-16.

    Raises
    ------
    ~celestepy.density.noisy_rows.DensityError
        As for `log_densities`.

    Notes
    -----
    With z_ij and Q_ij the derivatives of a row's log density under component j by the component's mean and
    (twice) by its covariance, ``b_ij - m_j = V_j z_ij`` and
    ``(b_ij - m_j) (b_ij - m_j)' + B_ij = V_j + V_j Q_ij V_j``: the kernel sums derivatives alone.
    """
    likelihood, sums = _derivatives(rows, weights, means, covariances, n_jobs, kernel)
    covariances = _symmetric(np.asarray(covariances, float))
    scatter = sums.counts[:, None, None] * covariances + covariances @ sums.curvatures @ covariances
    return Expectation(
        log_likelihood=likelihood,
        weight=rows.weight,
        counts=sums.counts,
        offsets=np.einsum("kab,kb->ka", covariances, sums.slopes),
        scatter=_averaged(scatter),
        log_densities=sums.log_densities,
    )


def gradient(rows, weights, means, factors, n_jobs=1, *, kernel=None):
    """The log likelihood of rows and its gradient by logits, means and Cholesky factors.

    Parameters
    ----------
    rows, weights, means, n_jobs, kernel
        As for `log_densities`.
    factors : array_like, shape (K, D, D)
        Lower triangular L with ``V = L L'``.

    Returns
    -------
    Gradient
        Sums over the rows.

    Raises
    ------
    ~celestepy.density.noisy_rows.DensityError
        As for `log_densities`.
    """
    factors = np.tril(np.asarray(factors, float))
    covariances = factors @ np.swapaxes(factors, -1, -2)
    likelihood, sums = _derivatives(rows, weights, means, covariances, n_jobs, kernel)
    return Gradient(
        log_likelihood=likelihood,
        weight=rows.weight,
        logits=sums.counts - np.asarray(weights, float) * np.sum(sums.counts),
        means=sums.slopes,
        # dl = 1/2 tr(Q dV) and dV = dL L' + L dL'
        factors=np.tril(sums.curvatures @ factors),
        counts=sums.counts,
    )


def posterior(rows, weights, means, covariances, n_jobs=1, *, kernel=None):
    """The mixture of the values v_i without noise that each row leaves possible.

    Parameters
    ----------
    rows, weights, means, covariances, n_jobs, kernel
        As for `log_densities`.

    Returns
    -------
    weights : `~numpy.ndarray`, shape (N, K)
        The responsibilities.
    means : `~numpy.ndarray`, shape (N, K, D)
        ``b_ij``.
    covariances : `~numpy.ndarray`, shape (N, K, D, D)
        ``B_ij``, positive semi-definite.

    Raises
    ------
    ~celestepy.density.noisy_rows.DensityError
        As for `log_densities`.

    Notes
    -----
    With the gain ``G = V R' T^-1`` the covariance is taken as ``(1 - G R) V (1 - G R)' + G S G'``, a sum of two
    squares, because ``V - G R V`` keeps no digits where the noise is small.
    """
    probabilities = responsibilities(rows, weights, means, covariances, n_jobs, kernel=kernel)
    means, covariances = np.asarray(means, float), _symmetric(np.asarray(covariances, float))
    shape = (len(rows), *means.shape)
    centres, spreads = np.empty(shape), np.empty((*shape, shape[-1]))
    for part in _parts(len(rows), 256):
        centres[part], spreads[part] = _conditionals(rows[part], means, covariances)
    return probabilities, centres, spreads


def _conditionals(rows, means, covariances):
    """``b_ij`` and ``B_ij`` of a few rows. A missing column is one that shows nothing but noise of variance one."""
    d = rows.values.shape[1]
    projection = np.broadcast_to(np.eye(d), (len(rows), d, d)) if rows.projection is None else rows.projection
    noise = np.zeros((len(rows), d, d)) if rows.noise is None else np.array(rows.noise)
    if noise.ndim == 2:
        if rows.observed is not None:
            noise = np.where(rows.observed, noise, 0.0)  # that of missing values may be infinite
        noise = noise[:, :, None] * np.eye(d)
    if rows.observed is not None:
        hidden = ~rows.observed
        projection = np.where(hidden[:, :, None], 0.0, projection)
        noise = np.where(hidden[:, :, None] | hidden[:, None, :], np.eye(d), noise)
    r, s = projection[:, None], noise[:, None]
    crossed = r @ covariances
    total = crossed @ np.swapaxes(r, -1, -2) + s
    gain = np.swapaxes(np.linalg.solve(total, crossed), -1, -2)
    residual = rows.values[:, None, :, None] - r @ means[..., None]
    rest = np.eye(means.shape[1]) - gain @ r
    spread = rest @ covariances @ np.swapaxes(rest, -1, -2) + gain @ s @ np.swapaxes(gain, -1, -2)
    centre, spread = means + (gain @ residual)[..., 0], _averaged(spread)
    exact = (np.einsum("nii->ni", noise) == 0)[:, None, :]
    if rows.projection is None and exact.any():  # it is known but for rounding, which would pass for a width
        centre = np.where(exact, rows.values[:, None, :], centre)
        spread = np.where(exact[..., None, :] | exact[..., None], 0.0, spread)
    return centre, spread


def _derivatives(rows, weights, means, covariances, n_jobs, kernel):
    """The log likelihood and the kernel's sums over all rows."""
    components = _components(rows, weights, means, covariances, kernel)
    k, dim = np.shape(means)
    total = KernelSums.zeros(len(rows), k, dim)

    def evaluate(part):
        some, sums = rows[part], KernelSums.zeros(0, k, dim)
        components.add_derivatives(
            *_arrays(some), some.weights, total.log_densities[part], sums.counts, sums.slopes, sums.curvatures
        )
        return sums

    for sums in _in_order(evaluate, len(rows), n_jobs):
        total.add(sums)
    values = _without_rounding(total.log_densities, rows)
    return float(np.sum(values) if rows.weights is None else _weighted_sum(rows.weights, values)), total


def _without_rounding(values, rows):
    """Log densities with those of nothing exactly 0, not the logarithm of weights of sum 1 - 1e-16; in place."""
    if rows.observed is not None:
        values[~rows.has_values] = 0.0
    return values


def _weighted_sum(weights, values):
    """Sum of the products; a row without weight adds nothing even where its density is zero."""
    return np.sum(weights * np.where(weights > 0, values, 0.0))


def _parts(n, size):
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _in_order(function, n, n_jobs):
    """Results of the function for parts of the rows, in their order."""
    check_jobs(n_jobs)
    parts = _parts(n, max(_FEWEST_ROWS, -(-n // _MOST_CHUNKS)))
    if n_jobs == 1 or len(parts) == 1:
        yield from map(function, parts)
    else:
        # threads whatever backend the caller may have set: the function writes into arrays
        threads = Parallel(n_jobs, require="sharedmem", return_as="generator")
        yield from threads(delayed(function)(part) for part in parts)


def _arrays(rows):
    """The arrays of rows as the kernel takes them."""
    noise, observed = rows.noise, rows.observed
    return (
        rows.values,
        None if observed is None else observed.view(np.uint8),
        noise if noise is not None and noise.ndim == 2 else None,
        noise if noise is not None and noise.ndim == 3 else None,
        rows.projection,
    )


def _symmetric(covariances):
    """The matrices that the lower triangles stand for: what the kernel reads."""
    lower = np.tril(covariances)
    return lower + np.swapaxes(np.tril(covariances, -1), -1, -2)


def _averaged(matrices):
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def _components(rows, weights, means, covariances, kernel):
    """The kernel's mixture, checked."""
    weights, means, covariances = (
        np.ascontiguousarray(array, dtype=np.float64) for array in (weights, means, covariances)
    )
    expected = (len(weights), means.shape[-1])
    if means.shape != expected or covariances.shape != (*expected, means.shape[-1]) or len(weights) == 0:
        raise DensityError(
            f"weights, means and covariances have shapes {weights.shape}, {means.shape} and {covariances.shape}; "
            "expected (K,), (K, D) and (K, D, D)"
        )
    check_dimensions(rows, means.shape[1])
    if not (np.all(weights >= 0) and np.sum(weights) > 0 and np.isfinite(means).all()):
        raise DensityError("weights must not be negative or all zero, nor means infinite or NaN")
    if not (np.isfinite(covariances).all() and np.all(np.einsum("kaa->ka", covariances) > 0)):
        raise DensityError("covariances must be finite with variances above zero; regularise those that collapse")
    with np.errstate(divide="ignore"):
        return _KERNELS.module(kernel).Components(np.log(weights), means, covariances)
