"""Fitting the colour law of a prior to noisy colours, by extreme deconvolution with means linear in the log flux.

`celestepy.density` fits Gaussian mixtures; what is particular here is that a component of a
`~celestepy.model.color_mixture.ColorMixture` is a law of the colours c *given* the log flux x, with the mean
``m_j + b_j x``. In the plane of z = (x, c) such a component, times any law N(0, s^2) of x that all components share, is
the Gaussian

    mean (0, m_j),    covariance [[s^2, s^2 b_j'], [s^2 b_j, V_j + s^2 b_j b_j']],

and since x is known, responsibilities and conditional moments do not depend on s. So the expectation step is that of
`celestepy.density.expectation` in 1 + C dimensions; the maximisation step turns its moments into a regression of the
colours on x for each component (`_regression`), rather than into a Gaussian of x and c together.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from celestepy.density.collapse import ComponentCollapseWarning
from celestepy.density.expectation import expectation, log_densities
from celestepy.density.extreme_deconvolution import ExtremeDeconvolution
from celestepy.density.noisy_rows import NoisyRows
from celestepy.model.color_mixture import ColorMixture

__all__ = ["ColorFit", "color_errors", "color_rows", "draw_shares", "log_likelihood"]

_START_REGULARIZATION = 0.1  # pseudo-rows
_START_PASSES = 10  # of extreme deconvolution without slopes, before the means may follow the flux
_NEGLIGIBLE = 1e-7  # share of a source's draws below which one is left out of a step
_STILL = 1e-7  # gain of log likelihood per source and step below which a fit has converged


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


def color_rows(colors, log_flux, errors=None, weights=None):
    """Rows for `celestepy.density`: the log flux, taken as known, and the noisy colours.

    Parameters
    ----------
    colors : (n, C) array
        Natural-log flux ratios.
    log_flux : (n,) array
        Log fluxes less the pivot.
    errors : (n, C, C) array, optional
        Covariances of the errors of the colours; none by default, as for draws from a posterior.
    weights : (n,) array, optional
        Sources that each row stands for; one by default.

    Returns
    -------
    `~celestepy.density.noisy_rows.NoisyRows`
        In 1 + C dimensions.
    """
    values = np.column_stack([log_flux, colors])
    if errors is None:
        return NoisyRows.from_input(values, weights=weights)
    noise = np.zeros((len(values), values.shape[1], values.shape[1]))
    noise[:, 1:, 1:] = errors
    return NoisyRows.from_input(values, noise, weights=weights)


def log_likelihood(mixture, colors, errors, log_flux):
    """Log density of each noisy colour vector under a mixture of true colours, shape (n,).

    Parameters
    ----------
    mixture : ColorMixture
        Law of the true colours.
    colors, errors, log_flux : (n, C), (n, C, C), (n,) arrays
        Measured colours, their error covariances (None if there are none), and log fluxes.

    Returns
    -------
    (n,) array
        Log densities.
    """
    x = np.asarray(log_flux, dtype=float) - mixture.pivot
    rows = color_rows(np.asarray(colors, dtype=float), x, errors)
    return log_densities(rows, *_joint(mixture, 1.0)) + 0.5 * (x**2 + np.log(2 * np.pi))


def draw_shares(mixture, draws):
    """What a mixture makes of likelihoods that are given by draws.

    Parameters
    ----------
    mixture : ColorMixture
        Law of the true colours.
    draws : `~celestepy.model.flux_draws.ColorDraws`
        Likelihoods of n sources, K draws each.

    Returns
    -------
    shares : (n, K) array
        Weights of the draws as draws from the posterior under the mixture; they sum to one.
    log_likelihood : (n,) array
        Log density of each source's data, given its log flux, up to a constant that does not depend on the mixture.
    """
    n, size = draws.log_flux.shape
    flat = log_likelihood(mixture, draws.colors.reshape(n * size, -1), None, draws.log_flux.ravel())
    terms = draws.log_weight + flat.reshape(n, size)
    total = np.logaddexp.reduce(terms, axis=1)
    return np.exp(terms - total[:, None]), total


def _draw_rows(draws, shares, pivot):
    used = shares > _NEGLIGIBLE
    return color_rows(draws.colors[used], draws.log_flux[used] - pivot, weights=shares[used])


def _joint(mixture, spread):
    """The mixture over (log flux - pivot, colours), the log flux being normal about 0 with a standard deviation."""
    means = np.column_stack([np.zeros(len(mixture)), mixture.means])
    covariances = np.empty((*means.shape, means.shape[1]))
    covariances[:, 0, 0] = spread**2
    covariances[:, 0, 1:] = covariances[:, 1:, 0] = spread**2 * mixture.slopes
    products = mixture.slopes[:, :, None] * mixture.slopes[:, None, :]
    covariances[:, 1:, 1:] = mixture.covariances + spread**2 * products
    return mixture.weights, means, covariances


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
        Random starts, of which the best is kept, and most iterations of each.
    outlier_weight, outlier_scale : float
        Weight of one broad Gaussian that is held fixed and keeps rare objects possible; 0 for none. It has the mean
        of a single Gaussian fitted to everything, and its covariance times the square of `outlier_scale`.
    """

    n_components: int
    slope: float = 0.0
    width: float = 0.05
    strength: float = 3.0
    n_starts: int = 8
    n_iterations: int = 200
    outlier_weight: float = 0.0
    outlier_scale: float = 2.0

    def fit(self, colors, errors, log_flux, *, pivot=0.0, rng, weights=None):
        """Fit a mixture of the true colours.

        Parameters
        ----------
        colors : (n, C) array
            Measured natural-log flux ratios.
        errors : (n, C, C) array or None
            Their error covariances, such as `color_errors` gives. A missing band is an error far larger than any
            colour.
        log_flux : (n,) array
            Log flux of each object in the reference band.
        pivot : float
            Log flux at which the means are stated.
        rng : numpy.random.Generator
            Source of the random starts.
        weights : (n,) array, optional
            Sources that each row stands for, such as the probability of being of this type; one by default.

        Returns
        -------
        ColorMixture
            The mixture of highest likelihood among the starts.
        """
        rows = color_rows(colors, np.asarray(log_flux) - pivot, errors, weights)
        best, best_score = None, -np.inf
        for _ in range(self.n_starts):
            mixture, score = self._climb(self.start(rows, pivot, rng), rows)
            if score > best_score:
                best, best_score = mixture, score
        return best

    def fit_draws(self, draws, *, pivot=0.0, rng):
        """Fit a mixture of the true colours to likelihoods of any form.

        Each step weighs the draws of every source by the mixture, and improves the mixture on the weighted draws.

        Parameters
        ----------
        draws : `~celestepy.model.flux_draws.ColorDraws`
            Likelihoods as weighted draws, such as those of faint fluxes.
        pivot, rng
            As for `fit`.

        Returns
        -------
        ColorMixture
            The mixture of highest likelihood among the starts.
        """
        best, best_score = None, -np.inf
        for _ in range(self.n_starts):
            shares = np.exp(draws.log_weight - np.logaddexp.reduce(draws.log_weight, axis=1, keepdims=True))
            mixture, score = self.start(_draw_rows(draws, shares, pivot), pivot, rng), -np.inf
            for _ in range(self.n_iterations):
                before, (shares, marginal) = score, draw_shares(mixture, draws)
                score = marginal.sum()
                if score - before < _STILL * len(draws):
                    break
                mixture, _ = self.step(mixture, _draw_rows(draws, shares, pivot))
            if score > best_score:
                best, best_score = mixture, score
        return best

    def start(self, rows, pivot, rng):
        """A mixture to begin with: some passes of extreme deconvolution without slopes, and the outliers.

        Parameters
        ----------
        rows : `~celestepy.density.noisy_rows.NoisyRows`
            From `color_rows`, of fluxes less the pivot.
        pivot : float
            The pivot.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ColorMixture
        """
        arguments = rows.values[:, 1:], None if rows.noise is None else rows.noise[:, 1:, 1:], None, rows.weights
        if self.outlier_weight == 0:
            return _mixture(_deconvolved(self.n_components, arguments, rng), pivot)
        single = _deconvolved(1, arguments, rng)
        broad = [self.outlier_weight], single.means_, self.outlier_scale**2 * single.covariances_
        model = _deconvolved(self.n_components + 1, arguments, rng, fixed=broad)
        return _mixture(model, pivot, np.roll(np.arange(self.n_components + 1), -1))  # fixed come first there

    def _climb(self, mixture, rows):
        """Steps until the likelihood stands still: the mixture, and its log likelihood."""
        before = -np.inf
        for _ in range(self.n_iterations):
            mixture, score = self.step(mixture, rows)
            if score - before < _STILL * len(rows):
                break
            before = score
        return mixture, score

    def step(self, mixture, rows):
        """One step of expectation-maximisation.

        Parameters
        ----------
        mixture : ColorMixture
            Where to start; its last component is the outliers', if there are any.
        rows : `~celestepy.density.noisy_rows.NoisyRows`
            From `color_rows`, of fluxes less the pivot of the mixture.

        Returns
        -------
        mixture : ColorMixture
            Of higher posterior density.
        score : float
            Log likelihood of the colours, given the fluxes, under the mixture that was given, up to a constant.
        """
        moments = expectation(rows, *_joint(mixture, _spread(rows)))
        free = slice(0, len(mixture) - (self.outlier_weight > 0))
        counts = moments.counts[free]
        weights = (1 - self.outlier_weight) * (counts + 1) / (counts + 1).sum()
        means, slopes, covariances = (np.array(part) for part in (mixture.means, mixture.slopes, mixture.covariances))
        means[free], slopes[free], covariances[free] = self._regression(mixture, moments, free)
        weights = np.append(weights, mixture.weights[free.stop:])
        return ColorMixture(weights, means, covariances, slopes, mixture.pivot), moments.log_likelihood

    def _regression(self, mixture, moments, free):
        """Lines of the colours over the log flux from the moments about (0, mean): means, slopes, covariances.

        With N, d and S the counts, first and second moments of a component, the slope is S_xc / S_xx about the
        centroid, S_xx being increased by V / slope^2, the precision of the slope's own prior; the scatter is that of
        c - mean - slope x, to which `strength` sources of the scatter `width` are added.
        """
        counts = moments.counts[free] + 1e-6
        offsets, scatter = moments.offsets[free], moments.scatter[free]
        centre = offsets / counts[:, None]
        about_centre = scatter - counts[:, None, None] * centre[:, :, None] * centre[:, None, :]
        slopes = np.zeros_like(mixture.slopes[free])
        if self.slope > 0:
            own = np.diagonal(mixture.covariances[free], axis1=1, axis2=2) / self.slope**2
            slopes = about_centre[:, 0, 1:] / (about_centre[:, 0, :1] + own)
        means = mixture.means[free] + centre[:, 1:] - slopes * centre[:, :1]
        cross = slopes[:, :, None] * about_centre[:, 0, None, 1:]
        residual = about_centre[:, 1:, 1:] - cross - cross.transpose(0, 2, 1)
        residual += about_centre[:, 0, 0, None, None] * slopes[:, :, None] * slopes[:, None, :]
        residual += self.strength * self.width**2 * np.eye(means.shape[1])
        return means, slopes, residual / (counts + self.strength)[:, None, None]


def _deconvolved(n_components, arguments, rng, fixed=None):
    """Some passes of extreme deconvolution; a component that collapses is widened by the steps that follow."""
    settings = dict(method="em", max_iter=_START_PASSES, regularization=_START_REGULARIZATION)
    model = ExtremeDeconvolution(n_components, **settings, fixed=fixed, rng=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComponentCollapseWarning)
        return model.fit(*arguments)


def _mixture(model, pivot, order=slice(None)):
    return ColorMixture(model.weights_[order], model.means_[order], model.covariances_[order], pivot=pivot)


def _spread(rows):
    """Scale of the log fluxes, which only keeps the matrices well-conditioned."""
    return float(np.std(rows.values[:, 0])) or 1.0
