"""The evidence lower bound as a function of the factors of one source, all other sources held fixed."""

import numpy as np

from celestepy.inference.vi.factors import Geometry, Light, factor_layout, type_weights
from celestepy.model.parameters import KINDS

__all__ = ["SourceBound"]

# A natural unit of each parameter: how far a first Newton step may be trusted.
_SCALES = dict(type_logit=2.0, position=0.25, radius=0.4, ellipticity=0.5, dev_fraction=1.5, mean=0.5, log_variance=1.0)
# Beyond these a trial step is turned down: axis ratios below .01, as in the paper's code, and what would overflow.
_LIMITS = dict(type_logit=60.0, position=30.0, radius=40.0, ellipticity=4.6, dev_fraction=40.0, mean=25.0)
_LOG_VARIANCES = (-25.0, 4.0)
# Curvature in nats per squared unit that is added to the Hessian of the iteration. It moves no optimum, but says that
# directions of which the bound does not depend, such as the angle of what is surely a star, need not be followed.
_DAMPING = 1e-3


class SourceBound:
    """Evidence lower bound of one source with exact derivatives.

    Parameters
    ----------
    pixels : `~celestepy.model.pixel_rate.MeanFieldPixels`
        Pixel term of the N patches.
    band_index : array_like of int
        Band of each patch, shape (N,).
    prior_bound : `~celestepy.inference.vi.divergence.PriorBound`
        The other terms.
    position_sd : float
        Prior standard deviation of the position about the seed (arcsec).
    """

    def __init__(self, pixels, band_index, prior_bound, position_sd):
        self.pixels, self.prior_bound, self.position_sd = pixels, prior_bound, float(position_sd)
        self.band_index = np.asarray(band_index, dtype=int)
        self.matrix = prior_bound.prior.bands.log_flux_matrix
        self.at = factor_layout(len(self.matrix))
        self._in_band = np.equal.outer(np.arange(len(self.matrix)), self.band_index).astype(float)
        self._sky = np.zeros(pixels.n_images)
        self.scale, self._low, self._high = _template(self.at)

    def evaluate(self, x):
        """The bound.

        Parameters
        ----------
        x : (n,) array
            Parameters of q (see `~celestepy.inference.vi.factors.factor_layout`).

        Returns
        -------
        value : float
            Nats; in the pixels relative to a perfect model (see `~celestepy.model.pixel_rate.SceneLikelihood`).
        gradient : (n,) array
        hessian : (n, n) array
        """
        light, geometry = self._light(x), Geometry(x[self.at.geometry])
        weights = type_weights(x[self.at.type_logit])
        amplitudes = _amplitudes(light, {kind: weights[kind][0] for kind in KINDS})
        values, first, second = self.pixels.evaluate(amplitudes[self.band_index], geometry.values, self._sky)
        # in one band all exposures have the same ten numbers
        first = self._in_band @ first
        second = (self._in_band @ second.reshape(len(values), 100)).reshape(-1, 10, 10)
        value, gradient, hessian = self.prior_bound.evaluate(x, self.position_sd)
        jacobian = self._jacobian(light, geometry, weights)
        gradient += np.einsum("bi,bip->p", first, jacobian)
        hessian += np.matmul(jacobian.transpose(0, 2, 1), np.matmul(second, jacobian)).sum(axis=0)
        hessian[self.at.geometry, self.at.geometry] += geometry.curvature(first[:, 4:].sum(axis=0))
        self._add_light_curvature(hessian, light, weights, first)
        return value + float(values.sum()), gradient, hessian

    def objective(self, x):
        """Minus the bound, for `~celestepy.inference.newton.TrustRegion.minimise`; the Hessian is damped a little."""
        if not ((x > self._low) & (x < self._high)).all():
            return np.inf, None, None
        value, gradient, hessian = self.evaluate(x)
        hessian = -hessian
        hessian.flat[:: len(x) + 1] += _DAMPING / self.scale**2
        return -value, -gradient, hessian

    def given_type(self, x):
        """The bound if the type were certain, everything else as q has it: a bound of each type's log evidence.

        Parameters
        ----------
        x : (n,) array
            Parameters of q.

        Returns
        -------
        dict of float
            By type; the prior probability of the type is left out.
        """
        light, geometry = self._light(x), Geometry(x[self.at.geometry])
        result = self.prior_bound.given_type(x, self.position_sd)
        for kind in KINDS:
            amplitudes = _amplitudes(light, {other: float(other == kind) for other in KINDS})
            values, _, _ = self.pixels.evaluate(amplitudes[self.band_index], geometry.values, self._sky, order=0)
            result[kind] += float(values.sum())
        return result

    def _light(self, x):
        return {kind: Light(x[self.at.means[kind]], x[self.at.log_variances[kind]], self.matrix) for kind in KINDS}

    def _jacobian(self, light, geometry, weights):
        """Derivatives of the ten numbers of each band by the parameters, (B, 10, n)."""
        jacobian = np.zeros((len(self.matrix), 10, self.at.size))
        for i, kind in enumerate(KINDS):
            weight, first, _ = weights[kind]
            moments = light[kind].moments
            jacobian[:, i:4:2, self.at.type_logit] = first * moments.T
            slopes = (weight * moments)[:, :, None] * light[kind].slopes
            jacobian[:, i:4:2, self.at.brightness(kind)] = slopes.transpose(1, 0, 2)
        jacobian[:, 4:, self.at.geometry] = geometry.jacobian
        return jacobian

    def _add_light_curvature(self, hessian, light, weights, gradient):
        """Second derivatives of A and B, contracted with the gradient (B, 10) by them."""
        t = self.at.type_logit
        for i, kind in enumerate(KINDS):
            weight, first, second = weights[kind]
            pull, at = gradient[:, i:4:2].T, self.at.brightness(kind)
            weighted = pull * light[kind].moments
            mixed = first * np.einsum("ab,abp->p", weighted, light[kind].slopes)
            hessian[t, t] += second * weighted.sum()
            hessian[t, at] += mixed
            hessian[at, t] += mixed
            hessian[at, at] += weight * light[kind].curvature(pull)


def _amplitudes(light, weights):
    """A1, A2, B1, B2 of each band, (B, 4), for given probabilities of the types."""
    moments = np.array([weights[kind] * light[kind].moments for kind in KINDS])
    return moments.transpose(2, 1, 0).reshape(-1, 4)


def _template(at):
    """Scale of each parameter, and the open interval that it must stay in."""
    scale, high = np.ones(at.size), np.full(at.size, np.inf)
    for name, limit in _LIMITS.items():
        for where in at.means.values() if name == "mean" else [getattr(at, name)]:
            scale[where], high[where] = _SCALES[name], limit
    low = -high
    for where in at.log_variances.values():
        scale[where], low[where], high[where] = _SCALES["log_variance"], *_LOG_VARIANCES
    return scale, low, high
