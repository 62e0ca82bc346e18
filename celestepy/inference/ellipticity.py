"""The posterior of a galaxy's ellipticity under its cusped prior, from a Gaussian fit.

Galaxies are nearly round often enough that the prior of (eta1, eta2) peaks sharply at zero, and Laplace's approximation
of a faint galaxy, whose mode sits on that peak, takes it for certainly round. The prior is well described as a mixture
of round Gaussians of different widths, though, and a Gaussian likelihood times each of them is a Gaussian again.
"""

from functools import lru_cache

import numpy as np

from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, layout

__all__ = ["refine_ellipticity", "scale_mixture"]

_WIDTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
_NEGLIGIBLE = 1e-3
# The likelihood is taken to peak no farther from the mode than this: its second derivatives there know no better.
_REACH = 0.75


@lru_cache(maxsize=16)
def scale_mixture(law):
    """A law of (eta1, eta2) as a mixture of round Gaussians about zero.

    Parameters
    ----------
    law : `~celestepy.model.prior_laws.AxisRatioLaw`
        The law.

    Returns
    -------
    weights, widths : `~numpy.ndarray`
        Shape (K,): the mixture of fixed widths closest to the law in relative entropy.
    """
    e = np.linspace(0.005, 5.0, 1000)
    target = np.array([np.exp(law.evaluate(float(value), 0.0)[0]) for value in e]) * e
    target /= target.sum()
    widths = np.array(_WIDTHS)
    parts = e[:, None] / widths**2 * np.exp(-0.5 * (e[:, None] / widths) ** 2)
    weights = np.full(len(widths), 1 / len(widths))
    for _ in range(500):  # expectation maximisation of the weights
        joint = parts * weights
        weights = target @ (joint / joint.sum(axis=1, keepdims=True))
    keep = weights > _NEGLIGIBLE
    return weights[keep] / weights[keep].sum(), widths[keep]


def refine_ellipticity(source, vector, law):
    """Replace the local Gaussian of the ellipticity's prior by the whole of it.

    Parameters
    ----------
    source : `~celestepy.inference.sources.SourcePosterior`
        A galaxy's components, in which the prior of (eta1, eta2) is expanded to second order about `vector`.
    vector : `~numpy.ndarray`
        Free vector at the mode.
    law : `~celestepy.model.prior_laws.AxisRatioLaw`
        The prior.

    Returns
    -------
    source : SourcePosterior
        The components under the whole prior.
    correction : float
        What to add to the log evidence.
    """
    where = layout(GALAXY, vector.size - 6).ellipticity
    centre = vector[where]
    value, gradient, (h11, h12, h22) = law.evaluate(*centre.tolist())
    expansion = value, np.array(gradient), np.array([[h11, h12], [h12, h22]])
    weights, widths = scale_mixture(law)
    parts = [
        _reweighted(source, where, centre, expansion, weight, width)
        for weight, width in zip(weights, widths, strict=True)
    ]
    log_weights = np.array([part[0] for part in parts])  # (K, J)
    total = np.logaddexp.reduce(log_weights, axis=None)
    if not np.isfinite(total):
        return source, 0.0
    shares = np.exp(log_weights - total)
    keep = shares > _NEGLIGIBLE
    means = np.array([part[1] for part in parts])[keep]
    covariances = np.array([part[2] for part in parts])[keep]
    return SourcePosterior(GALAXY, shares[keep] / shares[keep].sum(), means, covariances), float(total)


def _reweighted(source, where, centre, expansion, weight, width):
    """Log weight, means and covariances after dividing by the expanded prior and multiplying by one Gaussian.

    The quotient is exp(c + b.t + t'A t / 2) in t = eta - centre, so that each component N(m, C) becomes another one.
    """
    value, gradient, hessian = expansion
    covariance = source.covariances[:, where, where]
    offset = source.means[:, where] - centre
    precision = np.linalg.inv(covariance)
    shift = np.einsum("jab,jb->ja", precision, offset)
    likelihood = _trusted(precision + hessian, shift - gradient)
    c = np.log(weight) - np.log(2 * np.pi * width**2) - 0.5 * centre @ centre / width**2 - value
    new_covariance = np.linalg.inv(likelihood + np.eye(2) / width**2)
    new_shift = shift - gradient - centre / width**2
    new_offset = np.einsum("jab,jb->ja", new_covariance, new_shift)
    exponent = (
        c
        + 0.5 * np.einsum("ja,ja->j", new_shift, new_offset)
        - 0.5 * np.einsum("ja,ja->j", shift, offset)
        + 0.5 * np.linalg.slogdet(new_covariance)[1]
        - 0.5 * np.linalg.slogdet(covariance)[1]
    )
    log_weights = np.log(source.weights) + exponent
    # Everything else follows the ellipticity by its regression on it.
    regression = source.covariances[:, :, where] @ precision
    means = source.means + np.einsum("jna,ja->jn", regression, new_offset - offset)
    covariances = source.covariances + regression @ (new_covariance - covariance) @ regression.transpose(0, 2, 1)
    return log_weights, means, covariances


def _trusted(precision, score):
    """Precision of the likelihood, (J, 2, 2), raised where it would put the peak out of reach."""
    values, vectors = np.linalg.eigh(precision)
    along = np.abs(np.einsum("jab,ja->jb", vectors, score))
    values = np.maximum(values, along / _REACH)
    return np.einsum("jab,jb,jcb->jac", vectors, values, vectors)
