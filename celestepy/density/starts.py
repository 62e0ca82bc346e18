"""Where a fit begins: k-means of the rows, or a mixture that is given, after the components that are fixed.

Missing values, and projections, are filled in by the expectation under a single Gaussian, so that k-means has points.
"""

import numpy as np

from celestepy.density.kmeans import kmeans, nearest_centre, seeds_plus_plus
from celestepy.density.noisy_rows import DensityError
from celestepy.density.objective import Components, firm, symmetric
from celestepy.density.scales import filled_points

__all__ = ["fixed_components", "free_components", "given_components", "kmeans_components", "together"]

# Points further than this many scales are drawn in, lest k-means spend its centres on outliers.
_FAR = 3.0
# Covariances at the start have no direction narrower than this part of a cluster's, squared, once noise is taken off.
_LEAST_OF_CLUSTER = 0.1


def _drawn_in(points, centre, scales):
    """Points in columns of unit scale, logarithmic far from the centre."""
    unit = (points - centre) / scales
    size = np.abs(unit)
    return np.sign(unit) * np.where(size > _FAR, _FAR + np.log1p(np.maximum(size - _FAR, 0)), size)


def kmeans_components(rows, n, scaling, rng, *, refine=True):
    """Weights, means and covariances of clusters of a sample.

    Parameters
    ----------
    rows : `~celestepy.density.NoisyRows`
        A sample.
    n : int
        Number of components.
    scaling : tuple of `~numpy.ndarray`
        Centre and scale of the columns.
    rng : `numpy.random.Generator`
        Of seeds and order.
    refine : bool
        Whether minibatch k-means follows on k-means++.

    Returns
    -------
    Components
        Shares, means and covariances of the clusters, the latter without the mean noise.
    """
    points, unknown = filled_points(rows)
    near = _drawn_in(points, *scaling)
    some = rng.permutation(len(near))[: max(20 * n, 10_000)]
    centres = seeds_plus_plus(near[some], n, rng)
    if refine:
        centres = kmeans(near, centres, rng)
    labels = nearest_centre(near, centres)
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    counts = np.bincount(labels, weights, n)
    typical = np.diag((scaling[1] * n ** (-1.0 / rows.dim)) ** 2)
    least = rows.dim + 1.0
    means, covariances = np.empty((n, rows.dim)), np.empty((n, rows.dim, rows.dim))
    for j in range(n):
        here = np.flatnonzero((labels == j) & (weights > 0))
        if not here.size:
            means[j], covariances[j] = points[rng.integers(len(points))], typical
            continue
        w = weights[here] / weights[here].sum()
        means[j] = w @ points[here]
        offsets = points[here] - means[j]
        cluster = (offsets * w[:, None]).T @ offsets + np.diag(w @ unknown[here])
        cluster = firm((here.size * cluster + least * typical) / (here.size + least))
        covariances[j] = _without_noise(cluster, w, rows[here])
    # No component starts empty, or it would stay so.
    shares = np.maximum(counts / counts.sum(), 0.1 / n)
    return Components(shares / shares.sum(), means, covariances)


def _without_noise(cluster, weights, rows):
    """Covariance of a cluster less the mean noise, or a part of itself in directions that are noise alone."""
    if rows.noise is None or rows.projection is not None:
        return cluster
    noise = np.diag(weights @ rows.noise) if rows.noise.ndim == 2 else np.tensordot(weights, rows.noise, 1)
    if not np.isfinite(noise).all():
        return cluster
    factor = np.linalg.cholesky(cluster)
    whitened = np.linalg.solve(factor, np.linalg.solve(factor, noise).T)
    values, vectors = np.linalg.eigh(np.eye(len(noise)) - symmetric(whitened))
    rotated = factor @ vectors
    return symmetric((rotated * np.maximum(values, _LEAST_OF_CLUSTER)) @ rotated.T)


def given_components(name, mixture, dim):
    """Components that a user gives, checked.

    Parameters
    ----------
    name : str
        Of the argument.
    mixture : `~celestepy.density.GaussianMixture` or tuple
        Anything with ``weights``, ``means`` and ``covariances``, or the three arrays.
    dim : int
        Dimension of the noiseless quantities.

    Returns
    -------
    Components
        Copies; the weights are as given.

    Raises
    ------
    DensityError
        If shapes disagree, weights are negative, or a covariance is not positive definite.
    """
    try:
        fields = tuple(getattr(mixture, field) for field in ("weights", "means", "covariances"))
    except AttributeError:
        fields = mixture
    try:
        weights, means, covariances = (np.array(field, dtype=float) for field in fields)
    except (TypeError, ValueError):
        raise DensityError(
            f"{name} is no mixture but a {type(mixture).__name__}; expected a GaussianMixture or numeric arrays"
            " (weights, means, covariances)"
        ) from None
    k = weights.shape[0] if weights.ndim == 1 else -1
    if means.shape != (k, dim) or covariances.shape != (k, dim, dim):
        raise DensityError(
            f"{name} has shapes {weights.shape}, {means.shape}, {covariances.shape}; expected (K,), (K, {dim}) and"
            f" (K, {dim}, {dim})"
        )
    if not all(np.isfinite(field).all() for field in (weights, means, covariances)) or (weights < 0).any():
        raise DensityError(f"{name} has values that are not finite, or negative weights")
    sizes = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), np.finfo(float).tiny))
    unit = covariances / (sizes[:, :, None] * sizes[:, None, :])
    if not np.allclose(unit, np.swapaxes(unit, 1, 2), atol=1e-8) or (np.linalg.eigvalsh(unit)[:, 0] <= 0).any():
        raise DensityError(f"{name} has a covariance that is not symmetric and positive definite")
    return Components(weights, means, symmetric(covariances))


def fixed_components(fixed, n_components, dim):
    """Components that a fit leaves as they are, checked.

    Parameters
    ----------
    fixed : `~celestepy.density.GaussianMixture`, tuple or None
        As `given_components`.
    n_components : int
        Of the whole mixture.
    dim : int
        Dimension of the noiseless quantities.

    Returns
    -------
    Components
        None, one or more.

    Raises
    ------
    DensityError
        If they cannot be used, or there are too many.
    """
    if fixed is None:
        return Components(np.empty(0), np.empty((0, dim)), np.empty((0, dim, dim)))
    components = given_components("fixed", fixed, dim)
    if len(components) > n_components:
        raise DensityError(f"fixed has {len(components)} components; n_components = {n_components} is fewer")
    return components


def free_components(init, sample, n, scaling, rng):
    """The start of the components that are fitted.

    Parameters
    ----------
    init : str, `~celestepy.density.GaussianMixture` or tuple
        "kmeans", "k-means++", or what `given_components` takes.
    sample : `~celestepy.density.NoisyRows`
        A sample of the rows.
    n : int
        How many.
    scaling : tuple of `~numpy.ndarray`
        Centre and scale of the columns.
    rng : `numpy.random.Generator`
        Of k-means.

    Returns
    -------
    Components
        n of them.

    Raises
    ------
    DensityError
        If a mixture is given that has another number of components, or no weight.
    """
    if n == 0 and isinstance(init, str):
        return Components(np.empty(0), np.empty((0, sample.dim)), np.empty((0, sample.dim, sample.dim)))
    if isinstance(init, str):
        return kmeans_components(sample, n, scaling, rng, refine=init == "kmeans")
    free = given_components("init", init, sample.dim)
    if len(free) != n:
        raise DensityError(f"init has {len(free)} components; expected {n}, n_components less those fixed")
    if n and free.weights.sum() <= 0:
        raise DensityError("init has weights that are all zero; give at least one that is not")
    return free


def together(fixed, free, *, fixed_weights):
    """Fixed components first, and weights that sum to one.

    Parameters
    ----------
    fixed, free : Components
        Either may be empty.
    fixed_weights : bool
        Whether the weights of the fixed components stay as given. Otherwise they begin with a share by number.

    Returns
    -------
    Components
        All of them.

    Raises
    ------
    DensityError
        If fixed weights leave nothing for the others.
    """
    first, share = fixed.weights, fixed.weights.sum()
    if not len(free):
        return Components(first / share, fixed.means, fixed.covariances)
    if fixed_weights and share >= 1:
        raise DensityError(
            f"fixed has weights that sum to {share:g}, which leaves none for the others; make them smaller, or set"
            " fixed_weights=False"
        )
    if not fixed_weights and len(fixed):
        first = first / share if share > 0 else np.full(len(fixed), 1 / len(fixed))
        share = len(fixed) / (len(fixed) + len(free))
        first = share * first
    weights = np.concatenate([first, (1 - share) * free.weights / free.weights.sum()])
    return Components(weights, *(np.concatenate(both) for both in zip(fixed.arrays[1:], free.arrays[1:])))
