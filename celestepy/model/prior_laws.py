"""The laws of brightness and shape that a prior is made of.

Every law is a frozen record of its hyperparameters with two verbs: ``evaluate(..)``, the log density with its
exact first and second derivatives in the coordinates of the free vector, and ``sample(.., rng)``. All
densities are normalised and smooth on the whole real line (or plane), so that Newton's method and Laplace
evidences apply to them, and so that evidences of stars and galaxies can be compared.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import betainc, betaincinv, betaln, expit, ndtr, polygamma, psi

from celestepy.model.color_mixture import ColorMixture

__all__ = ["AxisRatioLaw", "ColorMixture", "LogisticBeta", "Normal", "RadiusLaw"]

_LOG_2PI = math.log(2 * math.pi)


def _require_positive(record, *names):
    for name in names:
        value = getattr(record, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{type(record).__name__}: {name} must be positive and finite, got {value!r}")


@dataclass(frozen=True)
class Normal:
    """Normal law of a scalar coordinate.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation.
    """

    mean: float
    sd: float

    def __post_init__(self):
        _require_positive(self, "sd")

    @property
    def constants(self):
        """What the kernel needs: (mean, sd)."""
        return float(self.mean), float(self.sd)

    def evaluate(self, x):
        """Log density at a number, and its first and second derivative.

        Parameters
        ----------
        x : float
            Where; of the variable that the law is one of.

        Returns
        -------
        value, first, second : float
            Log density and its derivatives.
        """
        z = (x - self.mean) / self.sd
        return -0.5 * (z * z + _LOG_2PI) - math.log(self.sd), -z / self.sd, -1.0 / self.sd**2

    def log_density(self, x):
        """Log density at many numbers.

        Parameters
        ----------
        x : (n,) array_like
            Where.

        Returns
        -------
        (n,) array
        """
        z = (np.asarray(x, dtype=float) - self.mean) / self.sd
        return -0.5 * (z * z + _LOG_2PI) - math.log(self.sd)

    def share_above(self, x):
        """Probability of a value above a number.

        Parameters
        ----------
        x : float
            The number.

        Returns
        -------
        float
        """
        return float(ndtr((self.mean - x) / self.sd))

    def sample(self, n, rng):
        """Draw from the law.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n,) array
            Draws.
        """
        return rng.normal(self.mean, self.sd, n)


@dataclass(frozen=True)
class LogisticBeta:
    """Law of ``x = location + scale logit(t)`` where t follows Beta(a, b).

    With ``location = 0, scale = 1`` it is the law of the logit of a Beta-distributed fraction, Jacobian
    included. With a log flux it is a population with power-law counts ``n(> f) ~ f^(-b / scale)`` at the
    bright end, which turns over smoothly at the faint end like ``f^(a / scale)``. It is log-concave.

    Parameters
    ----------
    a, b : float
        Exponents of the Beta law, which set the slopes at the low and the high end.
    location, scale : float
        Shift and stretch of the logit.
    """

    a: float
    b: float
    location: float = 0.0
    scale: float = 1.0

    def __post_init__(self):
        _require_positive(self, "a", "b", "scale")

    @cached_property
    def constants(self):
        """What the kernel needs: (a, b, location, scale) and the logarithm of the normalisation."""
        normalisation = -float(betaln(self.a, self.b)) - math.log(self.scale)
        return float(self.a), float(self.b), float(self.location), float(self.scale), normalisation

    @property
    def mean(self):
        """Mean of x."""
        return self.location + self.scale * float(psi(self.a) - psi(self.b))

    @property
    def sd(self):
        """Standard deviation of x."""
        return self.scale * math.sqrt(polygamma(1, self.a) + polygamma(1, self.b))

    def evaluate(self, x):
        """Log density at a number, and its first and second derivative.

        Parameters
        ----------
        x : float
            Where; of the variable that the law is one of.

        Returns
        -------
        value, first, second : float
            Log density and its derivatives.
        """
        t = (x - self.location) / self.scale
        fraction = 0.5 * (1 + math.tanh(0.5 * t))
        both = self.a + self.b
        softplus = max(t, 0.0) + math.log1p(math.exp(-abs(t)))
        value = self.constants[-1] + self.a * t - both * softplus
        second = -both * fraction * (1 - fraction) / self.scale**2
        return value, (self.a - both * fraction) / self.scale, second

    def log_density(self, x):
        """Log density at many numbers.

        Parameters
        ----------
        x : (n,) array_like
            Where.

        Returns
        -------
        (n,) array
        """
        t = (np.asarray(x, dtype=float) - self.location) / self.scale
        return self.constants[-1] + self.a * t - (self.a + self.b) * np.logaddexp(0.0, t)

    def share_above(self, x):
        """Probability of a value above a number.

        Parameters
        ----------
        x : float
            The number.

        Returns
        -------
        float
        """
        return float(betainc(self.b, self.a, expit((self.location - x) / self.scale)))

    def sample(self, n, rng):
        """Draw from the law.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n,) array
            Draws.
        """
        low, high = rng.standard_gamma(self.a, n), rng.standard_gamma(self.b, n)
        tiny = np.finfo(float).tiny
        return self.location + self.scale * (np.log(np.maximum(low, tiny)) - np.log(np.maximum(high, tiny)))


@dataclass(frozen=True)
class RadiusLaw:
    """Normal law of the log circularised half-light radius (arcsec), given the log flux (nmgy).

    Its mean is ``mean + slope (log_flux - pivot)``: brighter galaxies are larger.

    Parameters
    ----------
    mean, sd : float
        Mean at the pivot, and the standard deviation about the mean relation.
    slope, pivot : float
        The relation with the log flux of the reference band.
    """

    mean: float
    sd: float
    slope: float = 0.0
    pivot: float = 0.0

    def __post_init__(self):
        _require_positive(self, "sd")

    @property
    def constants(self):
        """What the kernel needs: (mean, sd, slope, pivot)."""
        return float(self.mean), float(self.sd), float(self.slope), float(self.pivot)

    def evaluate(self, log_radius, log_flux):
        """Log density, its derivative and its second derivative with respect to log_radius.

        The derivatives with respect to log_flux are ``-slope`` and ``slope^2`` times these, the mixed one
        ``-slope`` times the second.

        Parameters
        ----------
        log_radius, log_flux : float
            Log circularised half-light radius (arcsec) and log flux (nmgy).

        Returns
        -------
        value, first, second : float
            Log density and its derivatives.
        """
        z = (log_radius - self.mean - self.slope * (log_flux - self.pivot)) / self.sd
        return -0.5 * (z * z + _LOG_2PI) - math.log(self.sd), -z / self.sd, -1.0 / self.sd**2

    def sample(self, log_flux, rng):
        """Draw one radius for each flux.

        Parameters
        ----------
        log_flux : (n,) array_like
            Log fluxes, of nmgy.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n,) array
            Log radii, of arcsec.
        """
        return rng.normal(self.mean + self.slope * (np.asarray(log_flux) - self.pivot), self.sd)


@dataclass(frozen=True)
class AxisRatioLaw:
    r"""Law of (eta1, eta2) of galaxies of random orientation whose axis ratio follows Beta(a, b), smoothed.

    A Beta law of q has in the plane of eta the density ``Beta(q; a, b) q / (2 pi e)`` at
    ``e = |eta| = -ln q``, which has a cone or a pole at round galaxies. Here e is replaced with
    ``h = sqrt(e^2 + softening^2)``, which makes it smooth there; since e de = h dh, the normalisation stays
    closed:

    .. math::

        p(\eta) = \frac{e^{-a h} (1 - e^{-h})^{b - 1}}{2 \pi h \, B(a, b) \, I_{\exp(-\delta)}(a, b)} ,

    so exp(-h) follows Beta(a, b) cut at ``exp(-softening)``, which is also how it is sampled.

    Parameters
    ----------
    a, b : float
        Exponents of the Beta law.
    softening : float
        Smoothing length in ``-ln q``, positive.
    """

    a: float
    b: float
    softening: float = 0.2

    def __post_init__(self):
        _require_positive(self, "a", "b", "softening")

    @cached_property
    def constants(self):
        """What the kernel needs: (a, b, softening) and the logarithm of the normalisation."""
        cut = betainc(self.a, self.b, math.exp(-self.softening))
        normalisation = -_LOG_2PI - float(betaln(self.a, self.b)) - math.log(cut)
        return float(self.a), float(self.b), float(self.softening), normalisation

    def evaluate(self, eta1, eta2):
        """Log density, its gradient and its Hessian.

        Parameters
        ----------
        eta1, eta2 : float
            Components of the logarithmic ellipticity.

        Returns
        -------
        value : float
            Log density.
        gradient : tuple of float
            ``(g1, g2)``.
        hessian : tuple of float
            ``(h11, h12, h22)``.
        """
        h = math.sqrt(eta1 * eta1 + eta2 * eta2 + self.softening**2)
        q = math.exp(-h)
        rest = -math.expm1(-h)
        value = self.constants[-1] - self.a * h + (self.b - 1) * math.log(rest) - math.log(h)
        odds = q / rest
        first = -self.a + (self.b - 1) * odds - 1 / h
        second = -(self.b - 1) * odds / rest + 1 / (h * h)
        radial = first / h
        twist = (second - radial) / (h * h)
        hessian = (radial + twist * eta1 * eta1, twist * eta1 * eta2, radial + twist * eta2 * eta2)
        return value, (radial * eta1, radial * eta2), hessian

    def sample(self, n, rng):
        """Draw from the law.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n, 2) array
            Draws of (eta1, eta2).
        """
        cut = betainc(self.a, self.b, math.exp(-self.softening))
        h = -np.log(betaincinv(self.a, self.b, cut * rng.uniform(size=n)))
        e = np.sqrt(np.maximum(h * h - self.softening**2, 0.0))
        angle = rng.uniform(0, 2 * np.pi, n)
        return e[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
