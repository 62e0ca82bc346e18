"""Fitting the laws of a prior to a catalogue: deep photometry in, `celestepy.model.prior_laws` out.

Colours are fitted by extreme deconvolution (Bovy, Hogg & Roweis 2011): an expectation-maximisation in which
each object has its own error covariance, so that the mixture describes the true colours and not the
photometry. A missing band is an error far larger than any colour.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln

from celestepy.model.color_mixture import ColorMixture
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, RadiusLaw

__all__ = ["ColorFit", "color_errors", "fit_axis_ratio", "fit_dev_fraction", "fit_radius", "log_likelihood"]


def color_errors(fractional_errors):
    """Covariances of adjacent-band colours from the fractional flux errors of the bands.

    Parameters
    ----------
    fractional_errors : (n, B) array
        Flux error over flux; large (10, say) where a band was not measured.

    Returns
    -------
    (n, B - 1, B - 1) array
        Covariances of ``ln(f_{b+1} / f_b)``: neighbouring colours share a band with opposite signs.
    """
    variance = np.asarray(fractional_errors, dtype=float)**2
    n_colors = variance.shape[1] - 1
    difference = np.eye(n_colors, n_colors + 1, k=1) - np.eye(n_colors, n_colors + 1)
    return np.einsum("ab,nb,cb->nac", difference, variance, difference)


def log_likelihood(mixture, colors, errors, log_flux):
    """Log density of each noisy colour vector under a mixture of true colours, shape (n,).

    Parameters
    ----------
    mixture : ColorMixture
        Law of the true colours.
    colors, errors, log_flux : (n, C), (n, C, C), (n,) arrays
        Measured colours, their error covariances, and log fluxes.

    Returns
    -------
    (n,) array
        Log densities.
    """
    return np.logaddexp.reduce(_component_logs(mixture, colors, errors, log_flux)[0], axis=1)


def _component_logs(mixture, colors, errors, log_flux):
    """Weighted log densities (n, J), precisions (n, J, C, C) and offsets (n, J, C) of the noisy data."""
    offsets = colors[:, None, :] - mixture.centres(log_flux)
    total = errors[:, None] + mixture.covariances
    precisions = np.linalg.inv(total)
    log_det = np.linalg.slogdet(total)[1]
    chi2 = np.einsum("nja,njab,njb->nj", offsets, precisions, offsets)
    logs = np.log(mixture.weights) - 0.5 * (chi2 + log_det + colors.shape[1] * np.log(2 * np.pi))
    return logs, precisions, offsets


@dataclass(frozen=True)
class ColorFit:
    """Settings of a fit of a colour mixture by extreme deconvolution.

    Parameters
    ----------
    n_components : int
        Number of Gaussians, beside the outlier component.
    slope : float
        Standard deviation expected of the changes of colour per unit log flux, which holds them near zero; 0
        for no change.
    width : float
        Intrinsic scatter towards which covariances are regularised (natural-log units).
    strength : float
        Weight of that regularisation, in objects for each component.
    n_starts, n_iterations : int
        Random starts, of which the best is kept, and iterations of each.
    outlier_weight, outlier_scale : float
        Weight of one fixed broad Gaussian, which keeps rare objects possible; 0 for none. It has the mean of
        the whole mixture, and its covariance times the square of `outlier_scale`.
    """

    n_components: int
    slope: float = 0.0
    width: float = 0.05
    strength: float = 3.0
    n_starts: int = 8
    n_iterations: int = 200
    outlier_weight: float = 0.0
    outlier_scale: float = 2.0

    def fit(self, colors, errors, log_flux, *, pivot=0.0, rng):
        """Fit a mixture of the true colours.

        Parameters
        ----------
        colors : (n, C) array
            Measured natural-log flux ratios.
        errors : (n, C, C) array
            Their error covariances, such as `color_errors` gives.
        log_flux : (n,) array
            Log flux of each object in the reference band.
        pivot : float
            Log flux at which the means are stated.
        rng : numpy.random.Generator
            Source of the random starts.

        Returns
        -------
        ColorMixture
            The mixture of highest penalised likelihood among the starts.
        """
        best, best_score = None, -np.inf
        for _ in range(self.n_starts):
            mixture = self._start(colors, errors, pivot, rng)
            for _ in range(self.n_iterations):
                mixture = self._step(mixture, colors, errors, log_flux)
            score = log_likelihood(mixture, colors, errors, log_flux).sum()
            if score > best_score:
                best, best_score = mixture, score
        return self._with_outliers(best)

    def _start(self, colors, errors, pivot, rng):
        typical = np.trace(errors, axis1=1, axis2=2)
        seen = np.flatnonzero(typical <= np.median(typical))
        means = colors[rng.choice(seen, self.n_components, replace=False)]
        spread = np.cov(colors[seen], rowvar=False) / self.n_components
        spread += self.width**2 * np.eye(colors.shape[1])
        weights = np.full(self.n_components, 1 / self.n_components)
        return ColorMixture(weights, means, np.tile(spread, (self.n_components, 1, 1)), pivot=pivot)

    def _step(self, mixture, colors, errors, log_flux):
        """One expectation-maximisation step."""
        logs, precisions, offsets = _component_logs(mixture, colors, errors, log_flux)
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        gain = np.einsum("jab,njbc->njac", mixture.covariances, precisions)
        expected = mixture.centres(log_flux) + np.einsum("njab,njb->nja", gain, offsets)
        spread = mixture.covariances - np.einsum("njab,jbc->njac", gain, mixture.covariances)
        counts = shares.sum(axis=0) + 1e-6
        means, slopes = self._lines(mixture, shares, expected, log_flux - mixture.pivot)
        rest = expected - means - np.multiply.outer(log_flux - mixture.pivot, slopes)
        scatter = np.einsum("nj,njab->jab", shares, spread + rest[..., :, None] * rest[..., None, :])
        scatter += self.strength * self.width**2 * np.eye(colors.shape[1])
        covariances = scatter / (counts + self.strength)[:, None, None]
        weights = (counts + 1.0) / (counts + 1.0).sum()
        return ColorMixture(weights, means, covariances, slopes, mixture.pivot)

    def _lines(self, mixture, shares, expected, x):
        """Weighted least-squares lines of the colours over the log flux: means and slopes, (J, C) each."""
        counts = shares.sum(axis=0) + 1e-6
        centre = np.einsum("nj,nja->ja", shares, expected) / counts[:, None]
        if self.slope == 0:
            return centre, np.zeros_like(centre)
        x_centre = (shares.T @ x / counts)[:, None]
        dx = x[:, None] - x_centre.T
        variance = np.diagonal(mixture.covariances, axis1=1, axis2=2)
        slopes = np.einsum("nj,nj,nja->ja", shares, dx, expected - centre)
        slopes /= np.einsum("nj,nj->j", shares, dx**2)[:, None] + variance / self.slope**2
        return centre - slopes * x_centre, slopes

    def _with_outliers(self, mixture):
        if self.outlier_weight == 0:
            return mixture
        weights = np.append(mixture.weights * (1 - self.outlier_weight), self.outlier_weight)
        means = np.vstack([mixture.means, mixture.mean])
        broad = self.outlier_scale**2 * mixture.covariance
        slopes = np.vstack([mixture.slopes, mixture.slope])
        covariances = np.concatenate([mixture.covariances, broad[None]])
        return ColorMixture(weights, means, covariances, slopes, mixture.pivot)


def fit_radius(log_radius, log_flux, pivot, errors=0.0):
    """Normal law of log radii about a line in the log flux, by maximum likelihood with known errors.

    Parameters
    ----------
    log_radius, log_flux : (n,) arrays
        ln(circularised half-light radius / arcsec) and ln(flux / nmgy).
    pivot : float
        Log flux at which the mean is stated.
    errors : float or (n,) array
        Standard errors of log_radius.

    Returns
    -------
    RadiusLaw
        The intrinsic law.
    """
    x = log_flux - pivot

    def loss(values):
        variance = np.exp(2 * values[2]) + np.asarray(errors)**2
        return np.sum((log_radius - values[0] - values[1] * x)**2 / variance + np.log(variance))

    slope, mean = np.polyfit(x, log_radius, 1)
    start = [mean, slope, np.log(np.std(log_radius - mean - slope * x))]
    mean, slope, log_sd = minimize(loss, start, method="Nelder-Mead").x
    return RadiusLaw(mean=float(mean), sd=float(np.exp(log_sd)), slope=float(slope), pivot=float(pivot))


def fit_axis_ratio(axis_ratio, softening=0.2, lowest=0.0):
    """Axis-ratio law of highest likelihood.

    Parameters
    ----------
    axis_ratio : (n,) array
        Axis ratios, in (0, 1].
    softening : float
        Smoothing length of `AxisRatioLaw`.
    lowest : float
        Axis ratios below this, which faint photometry invents, are only counted as being below.

    Returns
    -------
    AxisRatioLaw
        The law.
    """
    censored = axis_ratio <= lowest
    h = np.hypot(np.log(np.maximum(axis_ratio, lowest)), softening)
    floor = np.exp(-h.max())

    def loss(values):
        a, b = np.exp(values)
        normalisation = betaln(a, b) + np.log(betainc(a, b, np.exp(-softening)))
        seen = np.sum((-a * h + (b - 1) * np.log(-np.expm1(-h)))[~censored])
        below = np.log(betainc(a, b, floor)) + betaln(a, b) if censored.any() else 0.0
        return len(h) * normalisation - seen - censored.sum() * below

    a, b = np.exp(minimize(loss, [0.7, 0.5], method="Nelder-Mead").x)
    return AxisRatioLaw(float(a), float(b), softening)


def fit_dev_fraction(dev_fraction, margin=0.05):
    """Beta law of the de Vaucouleurs fraction of highest likelihood.

    Parameters
    ----------
    dev_fraction : (n,) array
        Fractions in [0, 1]; many pipelines clip them, so those within `margin` of an end are only counted.
    margin : float
        Width of the censored ends.

    Returns
    -------
    LogisticBeta
        The law of the logit.
    """
    low, high = (dev_fraction <= margin).sum(), (dev_fraction >= 1 - margin).sum()
    inside = dev_fraction[(dev_fraction > margin) & (dev_fraction < 1 - margin)]

    def loss(values):
        a, b = np.exp(values)
        seen = np.sum((a - 1) * np.log(inside) + (b - 1) * np.log1p(-inside)) - inside.size * betaln(a, b)
        return -seen - low * np.log(betainc(a, b, margin)) - high * np.log(betainc(b, a, margin))

    a, b = np.exp(minimize(loss, [-0.5, -0.5], method="Nelder-Mead").x)
    return LogisticBeta(float(a), float(b))
