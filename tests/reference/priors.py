"""The log prior density as the plain sum of its laws: what the kernel must equal."""

import math

import numpy as np

from celestepy.model.parameters import GALAXY, layout


def log_density(prior, kind, theta, position_sd, component=None):
    """Value, gradient and Hessian, as `celestepy.model.priors.Prior.log_density`."""
    laws = getattr(prior, kind)
    at = layout(kind, len(prior.bands))
    gradient, hessian = np.zeros(at.size), np.zeros((at.size, at.size))
    log_flux = float(theta[at.log_flux])
    value = _add_position(theta, position_sd, gradient, hessian)
    value += _add_fluxes(laws, theta, log_flux, at, component, gradient, hessian)
    if kind == GALAXY:
        value += _add_shape(laws, theta, log_flux, at, gradient, hessian)
    return value, gradient, hessian


def _add_position(theta, sd, gradient, hessian):
    """Log density of the isotropic Gaussian of the position; fills its part of the derivatives."""
    precision = 1.0 / (sd * sd)
    u, v = float(theta[0]), float(theta[1])
    gradient[:2] = -precision * u, -precision * v
    hessian[0, 0] = hessian[1, 1] = -precision
    return -0.5 * precision * (u * u + v * v) + math.log(precision / (2 * math.pi))


def _add_fluxes(laws, theta, log_flux, at, component, gradient, hessian):
    """Log density of the log flux and the colours; fills their part of the derivatives."""
    value, first, second = laws.log_flux.evaluate(log_flux)
    color_value, gradient[at.log_fluxes], hessian[at.log_fluxes, at.log_fluxes] = laws.colors.evaluate(
        theta[at.colors], log_flux, component)
    gradient[at.log_flux] += first
    hessian[at.log_flux, at.log_flux] += second
    return value + color_value


def _add_shape(laws, theta, log_flux, at, gradient, hessian):
    """Log density of the shape of a galaxy; fills and adds its part of the derivatives."""
    radius, eta, dev = at.log_radius, at.ellipticity, at.logit_dev
    value, first, second = laws.log_radius.evaluate(float(theta[radius]), log_flux)
    slope = laws.log_radius.slope
    gradient[radius] = first
    gradient[at.log_flux] -= slope * first
    hessian[radius, radius] = second
    hessian[radius, at.log_flux] = hessian[at.log_flux, radius] = -slope * second
    hessian[at.log_flux, at.log_flux] += slope * slope * second
    eta_value, gradient[eta], (h11, h12, h22) = laws.axis_ratio.evaluate(*theta[eta].tolist())
    hessian[eta, eta] = ((h11, h12), (h12, h22))
    dev_value, gradient[dev], hessian[dev, dev] = laws.dev_fraction.evaluate(float(theta[dev]))
    return value + eta_value + dev_value
