"""Fitting the laws of flux and shape of a prior: `celestepy.model.prior_laws` from measurements or posterior draws.

Every fit takes weights, the numbers of sources that the rows stand for: draws from the posterior of a source share
its one source among them. Colours are fitted in `celestepy.model.color_fit`.
"""

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import betainc, betaln

from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw

__all__ = ["fit_axis_ratio", "fit_dev_fraction", "fit_logit_dev", "fit_normal_counts", "fit_power_counts", "fit_radius"]

_CELLS = 600  # of the histograms that stand for the values where a likelihood is maximised again and again
_STEEPNESS = (0.02, 4.0)  # of the counts per unit log flux; 0.6 per magnitude, the Euclidean value, is 1.5
_WIDTH = (0.2, 4.0)  # of a normal law of the log flux
_EXPONENTS = (-3.0, 3.0)  # logarithms of those of a Beta law


def fit_power_counts(log_flux, weights=None, *, faint_limit, turnover, softness=0.25):
    """Power law of the counts, of highest likelihood for the sources above a limit.

    Parameters
    ----------
    log_flux : (n,) array
        ln(flux / nmgy); values below the limit are not looked at.
    weights : (n,) array, optional
        Sources that each value stands for; one by default.
    faint_limit : float
        Log flux down to which all sources are present.
    turnover : float
        Log flux, below the limit, at which the counts are to fall off. The data do not tell it: it only keeps the law
        proper.
    softness : float
        Width of the turnover.

    Returns
    -------
    LogisticBeta
        Counts go as exp(-b / scale log_flux) above the turnover and as a power 1 / scale of the flux below.
    """
    values, counts = _above(log_flux, weights, faint_limit)

    def law(steepness):
        return LogisticBeta(1.0, float(steepness) * softness, float(turnover), softness)

    def loss(steepness):
        trial = law(steepness)
        return counts.sum() * np.log(trial.share_above(faint_limit)) - counts @ trial.log_density(values)

    return law(minimize_scalar(loss, bounds=_STEEPNESS, method="bounded").x)


def fit_normal_counts(log_flux, weights=None, *, faint_limit, lowest_mean):
    """Log-normal law of the fluxes, of highest likelihood for the sources above a limit.

    Parameters
    ----------
    log_flux, weights, faint_limit
        As for `fit_power_counts`.
    lowest_mean : float
        Log flux below which the mean is not looked for: of a law that is seen in its tail alone, the data tell
        neither the mean nor how many sources there are in all.

    Returns
    -------
    Normal
        The whole law, of which the sources above the limit are the bright part.
    """
    values, counts = _above(log_flux, weights, faint_limit)

    def law(parameters):
        mean = lowest_mean + np.exp(np.clip(parameters[0], -5.0, 3.0))
        return Normal(float(mean), float(np.clip(np.exp(parameters[1]), *_WIDTH)))

    def loss(parameters):
        trial = law(parameters)
        return counts.sum() * np.log(trial.share_above(faint_limit)) - counts @ trial.log_density(values)

    mean = np.average(values, weights=counts)
    start = [np.log(max(mean - lowest_mean, 0.1)), 0.0]
    return law(minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4}).x)


def _above(log_flux, weights, faint_limit):
    log_flux = np.asarray(log_flux, dtype=float)
    above = log_flux > faint_limit
    if not above.any():
        raise ValueError(f"log_flux has no value above the faint limit of {faint_limit:.3g}; give a fainter limit")
    return _histogram(log_flux[above], None if weights is None else np.asarray(weights)[above])


def _histogram(values, weights):
    """Middles and weights of fine bins, those of weight zero left out."""
    counts, edges = np.histogram(values, _CELLS, weights=weights)
    used = counts > 0
    return (0.5 * (edges[:-1] + edges[1:]))[used], counts[used].astype(float)


def fit_radius(log_radius, log_flux, pivot, errors=0.0, weights=None, *, slope=None):
    """Normal law of log radii about a line in the log flux, by maximum likelihood with known errors.

    Parameters
    ----------
    log_radius, log_flux : (n,) arrays
        ln(circularised half-light radius / arcsec) and ln(flux / nmgy).
    pivot : float
        Log flux at which the mean is stated.
    errors : float or (n,) array
        Standard errors of log_radius.
    weights : (n,) array, optional
        Sources that each value stands for; one by default.
    slope : float, optional
        The slope, where it is not to be fitted.

    Returns
    -------
    RadiusLaw
        The intrinsic law.
    """
    x = log_flux - pivot
    weights = np.ones(len(x)) if weights is None else weights
    if not np.any(errors):
        return _radius_without_errors(log_radius, x, pivot, weights, slope)

    def loss(values):
        variance = np.exp(2 * values[2]) + np.asarray(errors)**2
        line = values[0] + (values[1] if slope is None else slope) * x
        return np.sum(weights * ((log_radius - line)**2 / variance + np.log(variance)))

    without = _radius_without_errors(log_radius, x, pivot, weights, slope)
    start = [without.mean, without.slope, np.log(without.sd)]
    mean, fitted, log_sd = minimize(loss, start, method="Nelder-Mead").x
    return RadiusLaw(float(mean), float(np.exp(log_sd)), float(fitted if slope is None else slope), float(pivot))


def _radius_without_errors(log_radius, x, pivot, weights, slope):
    total = weights.sum()
    x_mean, y_mean = weights @ x / total, weights @ log_radius / total
    if slope is None:
        slope = weights @ ((x - x_mean) * (log_radius - y_mean)) / (weights @ (x - x_mean)**2)
    sd = np.sqrt(weights @ (log_radius - y_mean - slope * (x - x_mean))**2 / total)
    return RadiusLaw(float(y_mean - slope * x_mean), float(sd), float(slope), float(pivot))


def fit_axis_ratio(axis_ratio, softening=0.2, lowest=0.0, weights=None):
    """Axis-ratio law of highest likelihood.

    Parameters
    ----------
    axis_ratio : (n,) array
        Axis ratios, in (0, 1].
    softening : float
        Smoothing length of `AxisRatioLaw`.
    lowest : float
        Axis ratios below this, which faint photometry invents, are only counted as being below.
    weights : (n,) array, optional
        Sources that each value stands for; one by default.

    Returns
    -------
    AxisRatioLaw
        The law.
    """
    weights = np.ones(len(axis_ratio)) if weights is None else weights
    censored = axis_ratio <= lowest
    n_below = weights[censored].sum()
    floor = np.exp(-np.hypot(np.log(lowest), softening)) if lowest > 0 else 0.0
    h, counts = _histogram(np.hypot(np.log(axis_ratio[~censored]), softening), weights[~censored])

    def loss(values):
        a, b = np.exp(np.clip(values, *_EXPONENTS))
        normalisation = betaln(a, b) + np.log(betainc(a, b, np.exp(-softening)))
        seen = counts @ (-a * h + (b - 1) * np.log(-np.expm1(-h)))
        below = np.log(betainc(a, b, floor)) + betaln(a, b) if n_below > 0 else 0.0
        return (counts.sum() + n_below) * normalisation - seen - n_below * below

    a, b = np.exp(np.clip(minimize(loss, [0.7, 0.5], method="Nelder-Mead").x, *_EXPONENTS))
    return AxisRatioLaw(float(a), float(b), softening)


def fit_dev_fraction(dev_fraction, margin=0.05, weights=None):
    """Beta law of the de Vaucouleurs fraction of highest likelihood.

    Parameters
    ----------
    dev_fraction : (n,) array
        Fractions in [0, 1]; many pipelines clip them, so those within `margin` of an end are only counted.
    margin : float
        Width of the censored ends.
    weights : (n,) array, optional
        Sources that each value stands for; one by default.

    Returns
    -------
    LogisticBeta
        The law of the logit.
    """
    weights = np.ones(len(dev_fraction)) if weights is None else weights
    low, high = weights[dev_fraction <= margin].sum(), weights[dev_fraction >= 1 - margin].sum()
    inside = (dev_fraction > margin) & (dev_fraction < 1 - margin)
    sums = (weights[inside] @ part(dev_fraction[inside]) for part in (np.log, lambda t: np.log1p(-t)))
    return _beta_law(*sums, weights[inside].sum(), low, high, margin)


def fit_logit_dev(logit_dev, weights):
    """Beta law of the de Vaucouleurs fraction of highest likelihood, from posterior draws of its logit.

    Parameters
    ----------
    logit_dev : (n,) array
        ln(t / (1 - t)), any real number.
    weights : (n,) array
        Sources that each value stands for.

    Returns
    -------
    LogisticBeta
        The law of the logit.
    """
    sums = (-(weights @ np.logaddexp(0.0, sign * logit_dev)) for sign in (-1, 1))
    return _beta_law(*sums, weights.sum())


def _beta_law(sum_log, sum_log_rest, inside, low=0.0, high=0.0, margin=0.0):
    """Beta law from the sums of ln t and ln(1 - t), and the numbers within the margins at either end."""
    def loss(values):
        a, b = np.exp(np.clip(values, *_EXPONENTS))
        seen = (a - 1) * sum_log + (b - 1) * sum_log_rest - inside * betaln(a, b)
        ends = (low * np.log(betainc(a, b, margin)) + high * np.log(betainc(b, a, margin))) if low + high > 0 else 0.0
        return -seen - ends

    a, b = np.exp(np.clip(minimize(loss, [-0.5, -0.5], method="Nelder-Mead").x, *_EXPONENTS))
    return LogisticBeta(float(a), float(b))
