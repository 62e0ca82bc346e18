"""Extreme deconvolution as it is written: one row, one component at a time (Bovy, Hogg & Roweis 2011).

Missing values are dropped from the row's x, R and S. Nothing is shared with the package.
"""

import numpy as np


def log_normal(x, covariance):
    """Log density of N(x | 0, covariance)."""
    _, log_determinant = np.linalg.slogdet(covariance)
    return -0.5 * (len(x) * np.log(2 * np.pi) + log_determinant + x @ np.linalg.solve(covariance, x))


def as_matrix(noise, d):
    """A row's noise as a matrix: from None, variances or a matrix."""
    if noise is None:
        return np.zeros((d, d))
    return np.diag(noise) if np.ndim(noise) == 1 else np.asarray(noise, float)


def each_row(x, noise=None, projection=None):
    """Observed part of each row, its projection and its noise matrix."""
    x = np.asarray(x, float)
    d = x.shape[1]
    for i, row in enumerate(x):
        seen = ~np.isnan(row)
        r = np.eye(d) if projection is None else np.asarray(projection[i], float)
        s = as_matrix(None if noise is None else noise[i], d)
        yield row[seen], r[seen], s[np.ix_(seen, seen)]


def log_joint(x, r, s, weights, means, covariances):
    """``log a_j N(x | R m_j, R V_j R' + S)`` of one row, for all components."""
    with np.errstate(divide="ignore"):
        return np.array([
            np.log(a) + log_normal(x - r @ m, r @ v @ r.T + s)
            for a, m, v in zip(weights, means, covariances, strict=True)
        ])


def log_sum(values):
    """``log sum exp(values)``."""
    top = np.max(values)
    return top + np.log(np.sum(np.exp(values - top)))


def log_densities(rows, weights, means, covariances):
    """Of each of the rows of `each_row`."""
    return np.array([log_sum(log_joint(*row, weights, means, covariances)) for row in rows])


def conditional(x, r, s, mean, covariance):
    """``b`` and ``B``: mean and covariance of v given x under one component (eq. 8)."""
    gain = covariance @ r.T @ np.linalg.inv(r @ covariance @ r.T + s)
    return mean + gain @ (x - r @ mean), covariance - gain @ r @ covariance


def responsibilities(row, weights, means, covariances):
    """Of the components, for one row."""
    joint = log_joint(*row, weights, means, covariances)
    return np.exp(joint - log_sum(joint))


def expectation(rows, row_weights, weights, means, covariances):
    """Log likelihood, counts, offsets and scatter about the given means."""
    k, dim = means.shape
    total, counts, offsets, scatter = 0.0, np.zeros(k), np.zeros((k, dim)), np.zeros((k, dim, dim))
    for row, row_weight in zip(rows, row_weights, strict=True):
        if len(row[0]) == 0:
            continue
        joint = log_joint(*row, weights, means, covariances)
        total += row_weight * log_sum(joint)
        for j, r in enumerate(row_weight * np.exp(joint - log_sum(joint))):
            b, spread = conditional(*row, means[j], covariances[j])
            counts[j] += r
            offsets[j] += r * (b - means[j])
            scatter[j] += r * (np.outer(b - means[j], b - means[j]) + spread)
    return total, counts, offsets, scatter


def maximisation(weight, means, counts, offsets, scatter):
    """Weights, means and covariances from the sums, without regularisation."""
    shift = offsets / counts[:, None]
    spread = scatter / counts[:, None, None] - shift[:, :, None] * shift[:, None, :]
    return counts / weight, means + shift, spread


def batch_step(x, s, weights, means, covariances):
    """One whole step for complete rows without projection, all at once; also the mean log likelihood before it.

    The same formulas over (N, K) arrays, for data too large for loops. ``s`` has shape (N, d, d).
    """
    n, d = x.shape
    k = len(weights)
    joint = np.empty((n, k))
    for j in range(k):
        total = covariances[j] + s
        y = x - means[j]
        _, log_determinant = np.linalg.slogdet(total)
        quadratic = np.einsum("na,na->n", y, np.linalg.solve(total, y[..., None])[..., 0])
        joint[:, j] = np.log(weights[j]) - 0.5 * (d * np.log(2 * np.pi) + log_determinant + quadratic)
    top = joint.max(axis=1)
    log_density = top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
    r = np.exp(joint - log_density[:, None])
    new_means, new_covariances = np.empty_like(means), np.empty_like(covariances)
    for j in range(k):
        gain = covariances[j] @ np.linalg.inv(covariances[j] + s)
        b = means[j] + np.einsum("nab,nb->na", gain, x - means[j])
        new_means[j] = r[:, j] @ b / r[:, j].sum()
        y = b - new_means[j]
        spread = y[:, :, None] * y[:, None, :] + covariances[j] - gain @ covariances[j]
        new_covariances[j] = np.einsum("n,nab->ab", r[:, j], spread) / r[:, j].sum()
    return np.mean(log_density), (r.sum(axis=0) / n, new_means, new_covariances)
