r"""The Kullback-Leibler terms of the evidence lower bound, negated: ``E_q[log p] - E_q[log q]`` of one source.

The equations are those of Regier et al. (2019), section 4.2.3 and supplement A, with the misprints of the
supplement put right. Point masses have the density of the prior instead of a divergence, and this density depends on
the coordinate: here, as in the paper, on the half-light radius (circularised, arcsec), the axis ratio, the position
angle (degrees) and dev_fraction, so that this is a MAP estimate in those. The shape's law does not depend on the type
(equation 40). Where a prior has drifts with the brightness, which the paper's does not, their expectation
under q is taken.
"""

import math

import numpy as np

from celestepy.inference.vi.factors import DEV_FRACTION, LOG_RADIUS, factor_layout, type_weights
from celestepy.model.parameters import KINDS
from celestepy.model.prior_laws import Normal

__all__ = ["PriorBound", "color_bound", "flux_bound"]

_LOG_2PI = math.log(2 * math.pi)
# Gauss-Hermite nodes for the expectation of a smooth law. The law's logarithm has poles at pi times its scale from the
# real axis, which makes the error fall exponentially: it is 1e-5 at a standard deviation of three scales.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def flux_bound(law, mean, log_variance):
    """Expected log density of the log flux.

    Parameters
    ----------
    law : `~celestepy.model.prior_laws.Normal` or `~celestepy.model.prior_laws.LogisticBeta`
        Prior of the log flux.
    mean, log_variance : float
        Of the log flux under q.

    Returns
    -------
    value : float
    gradient : (2,) array
        By mean and log variance.
    hessian : (2, 2) array
    """
    variance = math.exp(log_variance)
    if isinstance(law, Normal):
        precision, offset = 1 / law.sd**2, mean - law.mean
        value = -0.5 * (_LOG_2PI + precision * (offset**2 + variance)) - math.log(law.sd)
        spread = -0.5 * precision * variance
        return value, np.array([-precision * offset, spread]), np.array([[-precision, 0.0], [0.0, spread]])
    step = math.sqrt(variance) * _NODES
    density, slope, curvature = _logistic_beta(law, mean + step)
    by_spread = 0.5 * step * slope
    gradient = np.array([_WEIGHTS @ slope, _WEIGHTS @ by_spread])
    mixed = _WEIGHTS @ (0.5 * step * curvature)
    second = _WEIGHTS @ (0.25 * step**2 * curvature + 0.5 * by_spread)
    return float(_WEIGHTS @ density), gradient, np.array([[_WEIGHTS @ curvature, mixed], [mixed, second]])


def _logistic_beta(law, x):
    """Log density of a `LogisticBeta` at an array, and its first and second derivative."""
    a, b, location, scale, normalisation = law.constants
    t = (x - location) / scale
    fraction = 0.5 * (1 + np.tanh(0.5 * t))
    value = normalisation + a * t - (a + b) * np.logaddexp(0.0, t)
    return value, (a - (a + b) * fraction) / scale, -(a + b) * fraction * (1 - fraction) / scale**2


def color_bound(mixture, mean, variance):
    r"""Lower bound of the expected log density of the colours, given the log flux.

    Equations 41 and 42: by Jensen's inequality, for any weights :math:`\xi`,

    .. math:: E_q[\log \sum_j w_j N_j(c)] \ge \sum_j \xi_j (\log w_j - \log \xi_j + E_q[\log N_j(c)]) ,

    whose maximum over :math:`\xi` is :math:`\log \sum_j w_j \exp E_q[\log N_j(c)]`.

    Parameters
    ----------
    mixture : `~celestepy.model.color_mixture.ColorMixture`
        Prior of the colours.
    mean, variance : (B,) arrays
        Of the log flux and the colours under q.

    Returns
    -------
    value : float
    gradient : (2 B,) array
        By the means and the log variances.
    hessian : (2 B, 2 B) array
    """
    centres, precisions, constants = mixture.joint
    offsets = mean - centres
    offsets[:, 0] -= mixture.pivot
    pulls = np.matmul(precisions, offsets[:, :, None])[:, :, 0]
    traces = np.diagonal(precisions, axis1=1, axis2=2) * variance
    logs = constants - 0.5 * (np.einsum("jb,jb->j", offsets, pulls) + traces.sum(axis=1))
    top = float(logs.max())
    shares = np.exp(logs - top)
    total = float(shares.sum())
    shares /= total
    slopes = -np.hstack([pulls, 0.5 * traces])
    gradient = shares @ slopes
    hessian = (slopes.T * shares) @ slopes - np.outer(gradient, gradient)
    n_bands = len(mean)
    hessian[:n_bands, :n_bands] -= (shares @ precisions.reshape(len(shares), -1)).reshape(n_bands, n_bands)
    tail = np.arange(n_bands, 2 * n_bands)
    hessian[tail, tail] -= 0.5 * (shares @ traces)
    return top + math.log(total), gradient, hessian


class PriorBound:
    """The part of the evidence lower bound that does not depend on pixels, for sources of one prior.

    Parameters
    ----------
    prior : `~celestepy.model.priors.Prior`
        Prior, in the bands of the fit.
    """

    def __init__(self, prior):
        self.prior, self.at = prior, factor_layout(len(prior.bands))
        n_bands, radius = len(prior.bands), self.at.radius
        # brightness of a type and the radius within x; among these the log flux, and the log flux with the radius
        index = {kind: np.r_[self.at.brightness(kind), radius] for kind in KINDS}
        self._index = {kind: (rows, np.ix_(rows, rows)) for kind, rows in index.items()}
        flux, flux_radius = np.array([0, n_bands]), np.array([0, n_bands, 2 * n_bands])
        self._flux, self._flux_radius = (flux, np.ix_(flux, flux)), (flux_radius, np.ix_(flux_radius, flux_radius))

    def evaluate(self, x, position_sd):
        """Value, gradient (n,) and Hessian (n, n) at the parameters x of q; position_sd in arcsec."""
        gradient, hessian = np.zeros(self.at.size), np.zeros((self.at.size, self.at.size))
        value = self._add_type(x, gradient, hessian)
        value += self._add_position(x, position_sd, gradient, hessian)
        value += self._add_shape(x, gradient, hessian)
        for kind, weight in type_weights(x[self.at.type_logit]).items():
            value += weight[0] * self._add_given_type(x, kind, weight, gradient, hessian)
        return value, gradient, hessian

    def given_type(self, x, position_sd):
        """Values under the certainty of either type: {kind: float}, the probability of the type left out."""
        scratch = np.zeros(self.at.size), np.zeros((self.at.size, self.at.size))
        shared = self._add_position(x, position_sd, *scratch) + self._add_shape(x, *scratch)
        return {kind: shared + self._add_given_type(x, kind, (1.0, 0.0, 0.0), *scratch) for kind in KINDS}

    def _add_type(self, x, gradient, hessian):
        """Equation 43: minus the divergence of two Bernoulli laws."""
        t = self.at.type_logit
        weights = type_weights(x[t])
        odds = x[t] - self.prior.log_odds
        _, first, second = weights[KINDS[0]]
        gradient[t] -= first * odds
        hessian[t, t] -= second * odds + first
        logs = dict(zip(KINDS, (-np.logaddexp(0.0, -x[t]), -np.logaddexp(0.0, x[t])), strict=True))
        return float(sum(weights[kind][0] * (self.prior.log_type_probability(kind) - logs[kind]) for kind in KINDS))

    def _add_position(self, x, sd, gradient, hessian):
        """A local law instead of the uniform sphere of equation 44: normal about the seed."""
        at, precision = self.at.position, 1 / sd**2
        gradient[at] -= precision * x[at]
        hessian[at, at] -= precision * np.eye(2)
        return math.log(precision) - _LOG_2PI - 0.5 * precision * float(x[at] @ x[at])

    def _add_shape(self, x, gradient, hessian):
        """Equations 45, 47 and 48, and the coordinate of 46; the radius itself goes with the flux."""
        radius = self.at.radius
        log_radius, first, second = LOG_RADIUS.value(x[radius])
        gradient[radius] -= first  # per arcsec, not per ln(arcsec)
        hessian[radius, radius] -= second
        value = self._add_axis_ratio(x, self.at.ellipticity, gradient, hessian)
        return value + self._add_dev_fraction(x, self.at.dev_fraction, gradient, hessian) - log_radius

    def _add_axis_ratio(self, x, at, gradient, hessian):
        """Density by axis ratio and degrees: that by eta times h exp(h) pi / 90, h = hypot(eta1, eta2, softening)."""
        law, eta = self.prior.galaxy.axis_ratio, x[at]
        value, first, (h11, h12, h22) = law.evaluate(*eta.tolist())
        h = math.sqrt(float(eta @ eta) + law.softening**2)
        radial = (1 / h + 1) / h
        twist = -(1 / h**2 + radial) / h**2
        gradient[at] += np.array(first) + radial * eta
        hessian[at, at] += np.array([[h11, h12], [h12, h22]]) + radial * np.eye(2) + twist * np.outer(eta, eta)
        return value + math.log(h) + h + math.log(math.pi / 90)

    def _add_dev_fraction(self, x, at, gradient, hessian):
        """Beta law of dev_fraction itself, within its box."""
        a, b, location, scale, normalisation = self.prior.galaxy.dev_fraction.constants
        d, first, second = DEV_FRACTION.value(x[at])
        # ln p(d) = ln p(logit d) - ln d - ln(1 - d), the logit shifted and stretched by the law
        logit = math.log(d / (1 - d))
        t, per_d = (logit - location) / scale, 1 / (d * (1 - d))
        share = 0.5 * (1 + math.tanh(0.5 * t))
        by_logit = (a - (a + b) * share) / scale
        slope = (by_logit - 1 + 2 * d) * per_d
        curve = (2 - (a + b) * share * (1 - share) / scale**2 * per_d) * per_d
        curve -= (by_logit - 1 + 2 * d) * (1 - 2 * d) * per_d**2
        gradient[at] += slope * first
        hessian[at, at] += curve * first**2 + slope * second
        softplus = max(t, 0.0) + math.log1p(math.exp(-abs(t)))
        return normalisation + a * t - (a + b) * softplus + math.log(per_d)

    def _add_given_type(self, x, kind, weight, gradient, hessian):
        """Flux, colours and radius of one type, weighted by its probability; returned without the weight."""
        value, first, second = self._brightness(x, kind)
        (index, block), t = self._index[kind], self.at.type_logit
        gradient[t] += weight[1] * value
        gradient[index] += weight[0] * first
        hessian[t, t] += weight[2] * value
        hessian[t, index] += weight[1] * first
        hessian[index, t] += weight[1] * first
        hessian[block] += weight[0] * second
        return value

    def _brightness(self, x, kind):
        """Negated divergence of flux and colours and the density of the radius, over (means, log variances, radius)."""
        laws, n_bands = getattr(self.prior, kind), self.at.n_bands
        mean, log_variance = x[self.at.means[kind]], x[self.at.log_variances[kind]]
        variance = np.exp(log_variance)
        gradient, hessian = np.zeros(2 * n_bands + 1), np.zeros((2 * n_bands + 1, 2 * n_bands + 1))
        value, gradient[:-1], hessian[:-1, :-1] = color_bound(laws.colors, mean, variance)
        (index, block), (radius_index, radius_block) = self._flux, self._flux_radius
        flux_value, first, second = flux_bound(laws.log_flux, float(mean[0]), float(log_variance[0]))
        gradient[index] += first
        hessian[block] += second
        # the entropy of a normal law
        gradient[n_bands:-1] += 0.5
        value += flux_value + 0.5 * float(np.sum(log_variance)) + 0.5 * n_bands * (1 + _LOG_2PI)
        radius = self._radius(x[self.at.radius], float(mean[0]), float(variance[0]))
        gradient[radius_index] += radius[1]
        hessian[radius_block] += radius[2]
        return value + radius[0], gradient, hessian

    def _radius(self, logit, mean, variance):
        """Equation 46: expected log density of log_radius, over (mean, log variance of the log flux, its logit)."""
        law = self.prior.galaxy.log_radius
        log_radius, first, second = LOG_RADIUS.value(logit)
        precision, slope = 1 / law.sd**2, law.slope
        offset = log_radius - law.mean - slope * (mean - law.pivot)
        spread = -0.5 * precision * slope**2 * variance
        value = -0.5 * (_LOG_2PI + precision * offset**2) - math.log(law.sd) + spread
        by_offset = np.array([-slope, 0.0, first])
        gradient = -precision * offset * by_offset
        gradient[1] += spread
        hessian = -precision * np.outer(by_offset, by_offset)
        hessian[1, 1] += spread
        hessian[2, 2] -= precision * offset * second
        return value, gradient, hessian
