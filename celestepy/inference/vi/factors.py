r"""The variational distribution of one source: its factors, their parameters, and the light they predict.

As in equations 24 to 29 of Regier et al. (2019), [1]_,

.. math:: q(a)\, q(u)\, q(e) \prod_i q(r \mid a = i)\, q(c \mid a = i) ,

with a Bernoulli type a, for each type a log-normal flux r and independent normal colours c, and point masses for the
position u and the shape e. Here the flux and the colours of a type are one vector, normal with a diagonal
covariance: log flux in the reference band, then the colours, as in `celestepy.model.parameters.layout`.

References
----------
.. [1] Regier et al. 2019, Annals of Applied Statistics 13, 1884.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit

from celestepy.model.parameters import GALAXY, KINDS, Bands, layout
from celestepy.model.transforms import curvature, to_scene

__all__ = ["DEV_FRACTION", "LOG_RADIUS", "Box", "FactorLayout", "Geometry", "expected_light", "factor_layout",
           "free_vector", "type_weights"]

_ONE_BAND = Bands.of("x")
_WITHOUT_FLUX = np.array([0, 1, 3, 4, 5, 6])  # of a galaxy's free vector in one band
_BLOCK_WITHOUT_FLUX = np.ix_(_WITHOUT_FLUX, _WITHOUT_FLUX)


@dataclass(frozen=True)
class Box:
    """Bounds that a parameter is kept within by a scaled logit, as in the paper's code.

    Attributes
    ----------
    low, high : float
        The bounds.
    """

    low: float
    high: float

    def value(self, logit):
        """The parameter, and its first and second derivative by the logit."""
        share = float(expit(logit))
        first = (self.high - self.low) * share * (1 - share)
        return self.low + (self.high - self.low) * share, first, first * (1 - 2 * share)

    def logit(self, value):
        """Inverse of `value`, for the middle 96% of the box; beyond, that of the nearer end."""
        share = np.clip((value - self.low) / (self.high - self.low), 0.02, 0.98)
        return float(np.log(share / (1 - share)))


# Half-light radii up to 70 pixels of SDSS: a galaxy that explains an error of the sky grows without limit.
LOG_RADIUS = Box(float(np.log(0.04)), float(np.log(28.0)))
# Beta laws may have poles at 0 and 1.
DEV_FRACTION = Box(0.01, 0.99)


@dataclass(frozen=True)
class FactorLayout:
    """Where each parameter of q sits in the vector of one source (see `factor_layout`).

    Attributes
    ----------
    n_bands, size : int
        Number of bands B, and of parameters, 4 B + 7.
    type_logit : int
        Logit of the probability of a star.
    position : slice
        u, v of the point mass (arcsec about the seed).
    radius, ellipticity, dev_fraction : int, slice, int
        Of the point mass: the logit of log_radius in its `Box`, eta1, eta2, and that of dev_fraction.
    geometry : slice
        Position and shape together.
    means, log_variances : dict of slice
        By type: means and log variances of the log flux and the colours.
    """

    n_bands: int
    size: int
    type_logit: int
    position: slice
    radius: int
    ellipticity: slice
    dev_fraction: int
    geometry: slice
    means: dict
    log_variances: dict

    def brightness(self, kind):
        """Means and log variances of one type together, 2 B entries."""
        return slice(self.means[kind].start, self.log_variances[kind].stop)


@lru_cache(maxsize=64)
def factor_layout(n_bands):
    """Layout of the parameters of q for a source in `n_bands` bands.

    Parameters
    ----------
    n_bands : int
        Number of bands B.

    Returns
    -------
    FactorLayout
    """
    starts = {kind: 7 + 2 * n_bands * i for i, kind in enumerate(KINDS)}
    return FactorLayout(
        n_bands, 7 + 4 * n_bands, 0, slice(1, 3), 3, slice(4, 6), 6, slice(1, 7),
        means={kind: slice(start, start + n_bands) for kind, start in starts.items()},
        log_variances={kind: slice(start + n_bands, start + 2 * n_bands) for kind, start in starts.items()},
    )


def type_weights(logit):
    """Probability of each type with its first and second derivative by the logit.

    Parameters
    ----------
    logit : float
        Logit of the probability of a star.

    Returns
    -------
    dict of (float, float, float)
        By type: value, first and second derivative.
    """
    star, galaxy = float(expit(logit)), float(expit(-logit))
    first = star * galaxy
    second = first * (galaxy - star)
    return dict(zip(KINDS, ((star, first, second), (galaxy, -first, -second)), strict=True))


class Light:
    """Moments of the flux of one type in every band, with their derivatives.

    For a normal law of (log flux, colours) with mean m and variances v, the log flux of band b is normal with the mean
    ``M_b m`` and the variance ``M_b^2 v``, so that (equations 33 and 38)

        E[l_b] = exp(M_b m + M_b^2 v / 2),   E[l_b^2] = exp(2 M_b m + 2 M_b^2 v).

    Parameters
    ----------
    mean, log_variance : (B,) arrays
        Parameters of the law.
    matrix : (B, B) array
        `~celestepy.model.parameters.Bands.log_flux_matrix`.

    Attributes
    ----------
    moments : (2, B) array
        E[l_b] and E[l_b^2] (nmgy, nmgy^2).
    slopes : (2, B, 2 B) array
        Derivatives of their logarithms by the means and log variances.
    """

    def __init__(self, mean, log_variance, matrix):
        spread = matrix**2 * np.exp(log_variance)
        total = spread.sum(axis=1)
        center = matrix @ mean
        self.moments = np.exp([center + 0.5 * total, 2 * center + 2 * total])
        self.slopes = np.array([np.hstack([matrix, 0.5 * spread]), np.hstack([2 * matrix, 2 * spread])])

    def curvature(self, weights):
        """Sum over both moments and all bands of weight (2, B) times the second derivatives, shape (2 B, 2 B)."""
        n_bands = self.moments.shape[1]
        scaled = (weights * self.moments).reshape(-1)
        slopes = self.slopes.reshape(2 * n_bands, 2 * n_bands)
        result = (slopes.T * scaled) @ slopes
        variances = np.arange(n_bands, 2 * n_bands)
        result[variances, variances] += scaled @ slopes[:, n_bands:]
        return result


class Geometry:
    """Position and shape as the pixels see them, with derivatives.

    Parameters
    ----------
    parameters : (6,) array
        u, v, the logit of log_radius in its box, eta1, eta2, and that of dev_fraction.

    Attributes
    ----------
    values : (6,) array
        u, v, dev_fraction, Suu, Suv, Svv (see `~celestepy.model.parameters.scene_layout`).
    jacobian : (6, 6) array
        Their derivatives by the parameters.
    """

    def __init__(self, parameters):
        self._radius, self._dev = LOG_RADIUS.value(parameters[2]), DEV_FRACTION.value(parameters[5])
        self._theta = np.zeros(7)  # of a flux of one, which does not matter
        self._theta[_WITHOUT_FLUX] = parameters
        self._theta[3] = self.log_radius = self._radius[0]
        scene, jacobian = to_scene(GALAXY, self._theta, _ONE_BAND)
        self.values, self.jacobian = scene[1:], jacobian[1:, _WITHOUT_FLUX]
        self.jacobian[:, 2] *= self._radius[1]
        self.values[2], self.jacobian[2, 5], _ = self._dev

    def curvature(self, gradient):
        """Second derivatives contracted with a gradient (6,) by the values, shape (6, 6)."""
        shape_only = np.zeros(7)
        shape_only[4:] = gradient[3:]
        result = curvature(GALAXY, self._theta, shape_only, _ONE_BAND)[_BLOCK_WITHOUT_FLUX]
        _, first, second = self._radius
        result[2] *= first
        result[:, 2] *= first
        # d S / d log_radius = 2 S
        result[2, 2] += 2 * float(gradient[3:] @ self.values[3:]) * second
        result[5, 5] += gradient[2] * self._dev[2]
        return result


def expected_light(x, matrix):
    """What a source adds to the pixels, as far as q knows.

    Parameters
    ----------
    x : (4 B + 7,) array
        Parameters of q.
    matrix : (B, B) array
        `~celestepy.model.parameters.Bands.log_flux_matrix`.

    Returns
    -------
    amplitudes : (B, 4) array
        A1, A2, B1, B2 of each band (see `~celestepy.model.pixel_rate.MeanFieldPixels`).
    geometry : (6,) array
        u, v, dev_fraction, Suu, Suv, Svv.
    """
    at = factor_layout(len(matrix))
    weights = type_weights(x[at.type_logit])
    moments = [weights[kind][0] * Light(x[at.means[kind]], x[at.log_variances[kind]], matrix).moments for kind in KINDS]
    return np.array(moments).transpose(2, 1, 0).reshape(len(matrix), 4), Geometry(x[at.geometry]).values


def free_vector(x, kind, n_bands):
    """Mean of q for one type in the free vector of that type.

    Parameters
    ----------
    x : (4 B + 7,) array
        Parameters of q.
    kind : {"star", "galaxy"}
        Type.
    n_bands : int
        Number of bands B.

    Returns
    -------
    (n,) array
        See `~celestepy.model.parameters.layout`; dev_fraction as a plain logit.
    """
    at, free = factor_layout(n_bands), layout(kind, n_bands)
    theta = np.empty(free.size)
    theta[free.position] = x[at.position]
    theta[free.log_fluxes] = x[at.means[kind]]
    if kind == GALAXY:
        fraction, _, _ = DEV_FRACTION.value(x[at.dev_fraction])
        theta[free.log_radius], _, _ = LOG_RADIUS.value(x[at.radius])
        theta[free.ellipticity] = x[at.ellipticity]
        theta[free.logit_dev] = np.log(fraction / (1 - fraction))
    return theta
