"""Mixtures of Gaussians for the point spread function, and their fit to a stamp.

The fit is Levenberg-Marquardt on the pixel residuals with the analytic Jacobian. Component k has the
amplitude s_k^2, a free centre, and the covariance L_k L_k' + MINIMUM_VARIANCE I with L_k lower triangular, so
that every parameter is free on the real line. For a Gaussian phi with precision P and d = x - mean:

    d phi / d mean = phi P d
    d phi / d C    = phi (P d d' P - P) / 2        (heat equation)
    d phi / d L    = 2 (d phi / d C) L             (lower triangle)

Free centres matter: concentric mixtures stall at residuals of 4-12% on real PSFs, free ones reach 2-5% with
three components.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from celestepy.images.errors import ImageError

__all__ = ["MINIMUM_VARIANCE", "PSFMixture", "fit_mixture"]

MINIMUM_VARIANCE = 0.1  # pixels^2; a narrower Gaussian is not well sampled at pixel centres
SIGMA_TO_FWHM = np.sqrt(8 * np.log(2))
SUM_WEIGHT = 1.0  # weight of "amplitudes sum to the stamp's sum" beside the pixel residuals
# number of components: rows of amplitude, centre offset x, y and sigma, the last three in core sigmas
STARTS = {
    3: (
        [[0.55, 0.1, 0.0, 0.85], [0.36, -0.1, 0.1, 1.35], [0.09, 0.0, -0.2, 3.0]],
        [[0.70, 0.1, 0.0, 0.95], [0.20, -0.2, 0.1, 2.0], [0.10, 0.1, -0.3, 5.0]],
        [[0.45, 0.5, 0.1, 0.9], [0.45, -0.5, -0.1, 0.9], [0.10, 0.0, 0.0, 3.0]],
    ),
    4: (
        [[0.50, 0.1, 0.0, 0.8], [0.33, -0.1, 0.1, 1.2], [0.13, 0.0, -0.2, 2.0], [0.04, 0.2, 0.1, 4.5]],
        [[0.42, 0.5, 0.1, 0.9], [0.42, -0.5, -0.1, 0.9], [0.12, 0.0, 0.1, 2.0], [0.04, 0.0, -0.1, 5.0]],
        [[0.50, 0.1, 0.0, 0.85], [0.30, 0.0, 0.4, 1.1], [0.12, 0.1, -0.5, 1.8], [0.08, 0.0, 0.1, 4.0]],
    ),
}


@dataclass(frozen=True, eq=False)
class PSFMixture:
    """A PSF as a sum of Gaussians, evaluated at pixel centres (the pixel response is part of it).

    Attributes
    ----------
    amplitudes : array_like (n,)
        Fluxes of the components; their sum is the flux normalisation (1, or 1 / aperture correction).
    means : array_like (n, 2)
        Centres x, y in pixels about the source position.
    covariances : array_like (n, 3)
        Entries xx, xy, yy in pixels^2.
    residual : float, optional
        Misfit sqrt(sum (stamp - mixture)^2 / sum stamp^2); 0 where the mixture is the definition.

    Raises
    ------
    ImageError
        If shapes do not agree or a covariance is not positive definite.
    """

    amplitudes: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    residual: float = 0.0
    array: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        amplitudes = np.atleast_1d(np.asarray(self.amplitudes, float))
        means, covariances = np.asarray(self.means, float), np.asarray(self.covariances, float)
        n = amplitudes.size
        if amplitudes.ndim != 1 or means.shape != (n, 2) or covariances.shape != (n, 3):
            raise ImageError(
                f"PSF mixture: shapes {amplitudes.shape}, {means.shape}, {covariances.shape},"
                " expected amplitudes (n,), means (n, 2) and covariances (n, 3) as xx, xy, yy"
            )
        table = np.column_stack([amplitudes, means, covariances])
        xx, xy, yy = covariances.T
        if not (
            np.isfinite(table).all() and (xx > 0).all() and (xx * yy > xy**2).all() and amplitudes.sum() > 0
        ):
            raise ImageError(
                f"PSF mixture: covariances {covariances.tolist()} with flux {amplitudes.sum():.3g},"
                " expected finite numbers,"
                " positive definite covariances (xx, xy, yy in pixels^2) and a positive total flux"
            )
        table = np.ascontiguousarray(table)
        table.setflags(write=False)
        for name, columns in (("amplitudes", 0), ("means", slice(1, 3)), ("covariances", slice(3, 6))):
            object.__setattr__(self, name, table[:, columns])
        object.__setattr__(self, "array", table)
        object.__setattr__(self, "residual", float(self.residual))

    def __len__(self):
        return len(self.array)

    @property
    def flux(self):
        """Sum of the amplitudes.

        Returns
        -------
        float
            The flux normalisation.
        """
        return float(self.amplitudes.sum())

    @property
    def centroid(self):
        """Flux-weighted mean x, y about the source position, pixels.

        Returns
        -------
        (2,) array
            Pixels from the source position.
        """
        return self.amplitudes @ self.means / self.flux

    @cached_property
    def fwhm(self):
        """Full width at half maximum, pixels: of the profile averaged over angle about the centroid.

        Returns
        -------
        float
            Pixels.
        """
        angle = 2 * np.pi * np.arange(16) / 16
        cos, sin = np.cos(angle), np.sin(angle)
        x0, y0 = self.centroid
        half = 0.5 * self.density(x0, y0)
        inner, outer = 0.0, 4 * np.sqrt(self.covariances[:, [0, 2]].max())
        for _ in range(40):
            radius = 0.5 * (inner + outer)
            above = self.density(x0 + radius * cos, y0 + radius * sin).mean() > half
            inner, outer = (radius, outer) if above else (inner, radius)
        return inner + outer

    def density(self, dx, dy):
        """Flux per pixel at offsets dx, dy [pixels] from the source position; arrays broadcast.

        Parameters
        ----------
        dx, dy : float or array_like
            Offsets in pixels from the source position; they broadcast.

        Returns
        -------
        array
            Flux per pixel.
        """
        return self.density_and_slopes(dx, dy)[0]

    def density_and_slopes(self, dx, dy):
        """`density` and its derivatives with respect to dx and dy; three arrays.

        Parameters
        ----------
        dx, dy : float or array_like
            Offsets in pixels from the source position; they broadcast.

        Returns
        -------
        value, slope_x, slope_y : array
            Flux per pixel, and per pixel and pixel.
        """
        dx, dy = np.broadcast_arrays(np.asarray(dx, float), np.asarray(dy, float))
        value, slope_x, slope_y = np.zeros((3, *dx.shape))
        for amplitude, mx, my, xx, xy, yy in self.array:
            det = xx * yy - xy**2
            x, y = dx - mx, dy - my
            gx, gy = (yy * x - xy * y) / det, (xx * y - xy * x) / det
            phi = amplitude / (2 * np.pi * np.sqrt(det)) * np.exp(-0.5 * (gx * x + gy * y))
            value += phi
            slope_x -= phi * gx
            slope_y -= phi * gy
        return value, slope_x, slope_y

    def render(self, shape, x, y):
        """Image (ny, nx) = `shape` of a source of unit flux at pixel coordinates x, y.

        Parameters
        ----------
        shape : (int, int)
            (ny, nx) of the image.
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (ny, nx) array
            Flux in each pixel.
        """
        ny, nx = shape
        return self.density(np.arange(nx) - x, np.arange(ny)[:, None] - y)

    def scaled(self, factor):
        """The same mixture with all amplitudes multiplied by `factor`.

        Parameters
        ----------
        factor : float
            What the amplitudes are multiplied by.

        Returns
        -------
        PSFMixture
            The scaled mixture.
        """
        return PSFMixture(self.amplitudes * factor, self.means, self.covariances, self.residual)


def fit_mixture(stamp, center, *, oversampling=1, n_components=None, start=None, threshold=0.03):
    """Fit a mixture of Gaussians with free centres to a PSF stamp.

    Parameters
    ----------
    stamp : (ny, nx) array
        PSF sampled every 1 / oversampling image pixels, summing to the flux the mixture is to have.
    center : (float, float)
        Stamp pixel coordinates x, y of the source position.
    oversampling : float, optional
        Stamp pixels per image pixel along one axis.
    n_components : int, optional
        3 or 4; by default 3, and 4 where three leave a residual above `threshold` and four do better.
    start : PSFMixture, optional
        Mixture to start from (its number of components is kept); by default from the stamp's peak and flux.
    threshold : float, optional
        Residual above which a fourth component is tried.

    Returns
    -------
    PSFMixture
        Amplitudes sum to the stamp's sum; `residual` is sqrt(sum (stamp - mixture)^2 / sum stamp^2).
    """
    stamp = np.asarray(stamp, dtype=float)
    total = stamp.sum()
    if not (np.isfinite(stamp).all() and total > 0):
        raise ImageError(f"PSF stamp: sum {total:.3g}, expected finite pixels with a positive sum")
    problem = _StampFit(stamp / total, center, oversampling)
    if start is not None:
        return problem.solve(_parameters(start.scaled(1 / start.flux))).scaled(total)
    counts = (3, 4) if n_components is None else (n_components,)
    best = None
    for n in counts:
        fit = min((problem.solve(start) for start in problem.starts(n)), key=lambda mixture: mixture.residual)
        if best is None or fit.residual < 0.9 * best.residual:
            best = fit
        if best.residual <= threshold:
            break
    return best.scaled(total)


def _parameters(mixture):
    """(n, 6) rows s, mx, my, l11, l21, l22 of a mixture."""
    amplitude, mx, my, xx, xy, yy = mixture.array.T
    l11 = np.sqrt(np.maximum(xx - MINIMUM_VARIANCE, 1e-6))
    l21 = xy / l11
    l22 = np.sqrt(np.maximum(yy - MINIMUM_VARIANCE - l21**2, 1e-6))
    return np.column_stack([np.sqrt(np.maximum(amplitude, 1e-8)), mx, my, l11, l21, l22])


def _mixture(parameters, residual=0.0):
    s, mx, my, l11, l21, l22 = parameters.T
    covariances = np.column_stack([l11**2 + MINIMUM_VARIANCE, l11 * l21, l21**2 + l22**2 + MINIMUM_VARIANCE])
    return PSFMixture(s**2, np.column_stack([mx, my]), covariances, residual)


class _StampFit:
    """Least squares of one unit-sum stamp; `density` units: flux per image pixel."""

    iterations = 60
    tolerance = (
        1e-5  # relative decrease of the sum of squares at which to stop: far below the model's own misfit
    )

    def __init__(self, stamp, center, oversampling):
        ny, nx = stamp.shape
        x = (np.arange(nx) - center[0]) / oversampling
        y = (np.arange(ny) - center[1]) / oversampling
        self.x, self.y = (grid.ravel() for grid in np.meshgrid(x, y))
        self.area = 1.0 / oversampling**2  # of a stamp pixel, in image pixels
        self.target = stamp.ravel()

    def starts(self, n):
        """Parameters (n, 6) to start from: cores of the stamp's peak and centroid, with various wings."""
        sigma = np.sqrt(max(self.area / (2 * np.pi * self.target.max()), MINIMUM_VARIANCE))
        weights = np.maximum(self.target - 0.1 * self.target.max(), 0.0)
        x0, y0 = (weights @ axis / weights.sum() for axis in (self.x, self.y))
        for rows in STARTS.get(n, (_spread_rows(n),)):
            amplitude, dx, dy, width = np.transpose(rows)
            width = np.sqrt(np.maximum((width * sigma) ** 2 - MINIMUM_VARIANCE, 0.05))
            yield np.column_stack(
                [np.sqrt(amplitude), x0 + sigma * dx, y0 + sigma * dy, width, 0 * width, width]
            )

    def residual(self, mixture):
        """sqrt(sum (stamp - mixture)^2 / sum stamp^2)."""
        misfit = self.target - self.area * mixture.density(self.x, self.y)
        return float(np.sqrt((misfit @ misfit) / (self.target @ self.target)))

    def solve(self, parameters):
        """Levenberg-Marquardt from `parameters` (n, 6)."""
        value, gradient, normal = self.normal_equations(parameters)
        damping = 1e-3
        for _ in range(self.iterations):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), gradient)
            trial = parameters - step.reshape(parameters.shape)
            new = self.normal_equations(trial)
            if new[0] < value:
                gain = value - new[0]
                parameters, (value, gradient, normal) = trial, new
                damping = max(damping / 5, 1e-9)
                if gain < self.tolerance * value:
                    break
            else:
                damping *= 4
                if damping > 1e8:
                    break
        mixture = _mixture(parameters)
        mixture = mixture.scaled(1 / mixture.flux)
        return PSFMixture(mixture.amplitudes, mixture.means, mixture.covariances, self.residual(mixture))

    def normal_equations(self, parameters):
        """Sum of squares / 2, its gradient and the Gauss-Newton matrix at `parameters`."""
        columns, model = self.jacobian(parameters)
        residual = model - self.target
        excess = SUM_WEIGHT * ((parameters[:, 0] ** 2).sum() - 1.0)
        sum_row = np.zeros(columns.shape[0])
        sum_row[::6] = 2 * SUM_WEIGHT * parameters[:, 0]
        value = 0.5 * (residual @ residual + excess**2)
        return value, columns @ residual + sum_row * excess, columns @ columns.T + np.outer(sum_row, sum_row)

    def jacobian(self, parameters):
        """Rows d model / d parameter (6 n, pixels) and the model (pixels,)."""
        s, mx, my, l11, l21, l22 = (column[:, None] for column in parameters.T)
        xx, xy, yy = l11**2 + MINIMUM_VARIANCE, l11 * l21, l21**2 + l22**2 + MINIMUM_VARIANCE
        det = xx * yy - xy**2
        pxx, pxy, pyy = yy / det, -xy / det, xx / det
        dx, dy = self.x - mx, self.y - my
        gx, gy = pxx * dx + pxy * dy, pxy * dx + pyy * dy  # P d
        shape = self.area / (2 * np.pi * np.sqrt(det)) * np.exp(-0.5 * (gx * dx + gy * dy))
        phi = s**2 * shape
        hxx, hxy, hyy = phi * (gx * gx - pxx), phi * (gx * gy - pxy), phi * (gy * gy - pyy)  # 2 d phi / d C
        n = len(parameters)
        rows = np.empty((n, 6, self.x.size))
        rows[:, 0] = 2 * s * shape
        rows[:, 1], rows[:, 2] = phi * gx, phi * gy
        rows[:, 3] = hxx * l11 + hxy * l21
        rows[:, 4] = hxy * l11 + hyy * l21
        rows[:, 5] = hyy * l22
        return rows.reshape(6 * n, -1), phi.sum(axis=0)


def _spread_rows(n):
    """Starting rows for any other number of components: widths in geometric steps, falling amplitudes."""
    index = np.arange(n)
    amplitude = 0.5**index / (0.5**index).sum()
    angle = 2.4 * index  # spread round the centre, so that no two components start alike
    return np.column_stack([amplitude, 0.1 * np.cos(angle), 0.1 * np.sin(angle), 0.9 * 1.7**index])
