"""The posterior of a galaxy's profile, the share of de Vaucouleurs in it, from a Gaussian fit.

The prior prefers pure profiles, and its logit has no end: where the data say little, or say that a galaxy is pure, the
posterior of logit_dev is far from Gaussian. The image is linear in the share itself, however, so that the likelihood is
nearly Gaussian in that, and a sum over one dimension gives the posterior under the exact prior.
"""

import numpy as np
from scipy.special import expit

from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, layout

__all__ = ["refine_profile"]

_N_NODES = 129
# The nodes reach this many standard deviations of the prior beyond the fit.
_REACH = 10.0
_ONE_SIGMA = (0.15866, 0.84134)  # probability below a Gaussian's mean less and plus one standard deviation


def refine_profile(source, vector, law):
    """Replace the local Gaussian of logit_dev by its posterior with a likelihood that is Gaussian in dev_fraction.

    With x = logit_dev, d = dev_fraction and primes for derivatives at the mode, a component N(m, v) of the fit
    stands for a likelihood of slope ``b = (m - x) / v - p'`` and curvature ``A = -1 / v - p''``, where p is the log
    prior. In d these are ``b / d'`` and ``(A - b (1 - 2 d)) / d'^2``, with ``d' = d (1 - d)``.

    Parameters
    ----------
    source : `~celestepy.inference.sources.SourcePosterior`
        A galaxy's components, in which the prior of logit_dev is expanded to second order about `vector`.
    vector : `~numpy.ndarray`
        Free vector at the mode.
    law : `~celestepy.model.prior_laws.LogisticBeta`
        The prior.

    Returns
    -------
    source : SourcePosterior
        The components with the middle and the width of logit_dev, and what follows of all other parameters, which are
        linear in dev_fraction.
    correction : float
        What to add to the log evidence.
    """
    at = layout(GALAXY, vector.size - 6).logit_dev
    mode, mean, variance = vector[at], source.means[:, at], source.covariances[:, at, at]
    x, width = _nodes(mean, np.sqrt(variance), law)
    log_likelihood, prior_at_mode = _log_likelihood(x, mode, mean, variance, law)
    logs = log_likelihood + _log_density(law, x) - prior_at_mode + np.log(width)
    height = -0.5 * (mean - mode) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    total = np.logaddexp.reduce(logs, axis=1)
    log_weights = np.log(source.weights) + total + height
    correction = float(np.logaddexp.reduce(log_weights))
    if not np.isfinite(correction):
        return source, 0.0
    means, covariances = _moments(source, at, mode, x, np.exp(logs - total[:, None]))
    return SourcePosterior(GALAXY, np.exp(log_weights - correction), means, covariances), correction


def _nodes(mean, sd, law):
    """Nodes (J, N) in logit_dev, dense within the fit's own width and reaching over the prior, and their widths."""
    reach = (_REACH * law.sd + np.abs(mean - law.mean)) / sd
    end = np.arcsinh(reach)[:, None]
    t = np.linspace(-1.0, 1.0, _N_NODES)
    x = mean[:, None] + sd[:, None] * np.sinh(end * t)
    return x, sd[:, None] * np.cosh(end * t) * end * (t[1] - t[0])


def _log_likelihood(x, mode, mean, variance, law):
    """Log likelihood at the nodes over that at the mode, and the log prior at the mode."""
    value, slope, curvature = law.evaluate(float(mode))
    fraction = expit(mode)
    rate = fraction * expit(-mode)
    pull = (mean - mode) / variance - slope
    first = pull / rate
    second = np.minimum((-1 / variance - curvature - pull * (1 - 2 * fraction)) / rate**2, 0.0)
    step = expit(x) - fraction
    return first[:, None] * step + 0.5 * second[:, None] * step**2, value


def _log_density(law, x):
    a, b, location, scale, normalisation = law.constants
    t = (x - location) / scale
    return normalisation + a * t - (a + b) * np.logaddexp(0.0, t)


def _moments(source, at, mode, x, weights):
    """Means and covariances of the whole vector, all but logit_dev being linear in dev_fraction about the mode.

    The Gaussian of logit_dev itself has the central 68.3% of the posterior within one standard deviation: its tails
    towards pure profiles, all of which look the same, would otherwise make that too wide.
    """
    step = expit(x) - expit(mode)
    mean_x, mean_step = (np.einsum("jn,jn->j", weights, part) for part in (x, step))
    off_x, off_step = x - mean_x[:, None], step - mean_step[:, None]
    var_x, var_step, cross = (
        np.einsum("jn,jn,jn->j", weights, one, other)
        for one, other in ((off_x, off_x), (off_step, off_step), (off_x, off_step))
    )
    low, high = _quantiles(x, weights)
    width = (high - low) / 2
    cross *= width / np.sqrt(var_x)
    variance = source.covariances[:, at, at]
    regression = source.covariances[:, at] / variance[:, None]
    slope = regression / (expit(mode) * expit(-mode))
    means = source.means + regression * (mode - source.means[:, at])[:, None] + slope * mean_step[:, None]
    outer = np.einsum("ja,jb->jab", regression, regression) * variance[:, None, None]
    covariances = source.covariances - outer + np.einsum("ja,jb->jab", slope, slope) * var_step[:, None, None]
    means[:, at] = (low + high) / 2
    covariances[:, at] = covariances[:, :, at] = slope * cross[:, None]
    covariances[:, at, at] = width**2
    return means, covariances


def _quantiles(x, weights):
    """Where a Gaussian would be one standard deviation below and above its mean, for each row."""
    below = np.cumsum(weights, axis=1) - 0.5 * weights
    return np.array([np.interp(_ONE_SIGMA, *row) for row in zip(below, x, strict=True)]).T
