"""The law of the colours: a Gaussian mixture whose components may drift with the brightness."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["ColorMixture"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False, init=False)
class ColorMixture:
    """Gaussian mixture of the colours given the log flux. Immutable.

    Component j is normal with the mean ``means[j] + slopes[j] (log_flux - pivot)`` and the covariance
    ``covariances[j]``: faint galaxies are bluer than bright ones of the same kind.

    Parameters
    ----------
    weights : (J,) array_like
        Positive weights; they are normalised to sum to one.
    means : (J, C) array_like
        Mean colours at the pivot (natural-log flux ratios).
    covariances : (J, C, C) array_like
        Positive definite covariances.
    slopes : (J, C) array_like, optional
        Change of the mean colours per unit log flux; none by default.
    pivot : float
        Log flux (ln nmgy, reference band) at which the means are given.
    slope : (C,) array_like, optional
        One slope for all components, instead of `slopes`.

    Raises
    ------
    ValueError
        If shapes disagree, a weight is not positive, or a covariance is not symmetric and positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    slopes: np.ndarray
    pivot: float

    def __init__(self, weights, means, covariances, slopes=None, pivot=0.0, *, slope=None):
        weights, means, covariances = (np.array(v, dtype=float) for v in (weights, means, covariances))
        if slopes is None:
            slopes = np.zeros(means.shape) + (0.0 if slope is None else np.asarray(slope, dtype=float))
        fields = dict(weights=weights, means=means, covariances=covariances)
        fields["slopes"] = np.array(slopes, dtype=float)
        _validate(**fields)
        # Normalised weights stay as they are to the last bit: a saved mixture is read back identically.
        fields["weights"] = weights if abs(weights.sum() - 1) < 1e-12 else weights / weights.sum()
        fields["covariances"] = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
        for name, value in fields.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "pivot", float(pivot))
        object.__setattr__(self, "_precisions", _precisions(self.weights, self.covariances))

    def __len__(self):
        return self.weights.size

    def __eq__(self, other):
        if not isinstance(other, ColorMixture):
            return NotImplemented
        names = ("weights", "means", "covariances", "slopes")
        return self.pivot == other.pivot and all(np.array_equal(getattr(self, name), getattr(other, name))
                                                 for name in names)

    @property
    def n_colors(self):
        """Number of colours C."""
        return self.means.shape[1]

    @cached_property
    def joint(self):
        """The mixture over z = (log_flux - pivot, colours): centres, precisions and constants.

        With ``T_j = [-slope_j, 1]``, the offset of the colours is ``T_j (z - centre_j)``, so the precision in
        z is ``T_j' P_j T_j``: singular, because the log flux has its own law, but all that derivatives need.

        Returns
        -------
        centres : (J, 1 + C) array
            Zero, and the mean colours.
        precisions : (J, 1 + C, 1 + C) array
            Precision matrices in z.
        constants : (J,) array
            Logarithm of weight times normalisation.
        """
        precisions, constants = self._precisions
        identity = np.broadcast_to(np.eye(self.n_colors), self.covariances.shape)
        offset = np.concatenate([-self.slopes[:, :, None], identity], axis=2)
        centres = np.concatenate([np.zeros((len(self), 1)), self.means], axis=1)
        return centres, np.ascontiguousarray(offset.transpose(0, 2, 1) @ precisions @ offset), constants

    @property
    def mean(self):
        """Mean of the mixture at the pivot, shape (C,)."""
        return self.weights @ self.means

    @property
    def slope(self):
        """Change of the mean of the mixture per unit log flux, shape (C,)."""
        return self.weights @ self.slopes

    @property
    def covariance(self):
        """Covariance of the whole mixture at the pivot, shape (C, C)."""
        offsets = self.means - self.mean
        spread = self.covariances + offsets[:, :, None] * offsets[:, None, :]
        return np.einsum("j,jab->ab", self.weights, spread)

    def evaluate(self, colors, log_flux, component=None):
        """Log density of the colours given the log flux, with its gradient and Hessian over both.

        Parameters
        ----------
        colors : (C,) array
            Natural-log flux ratios.
        log_flux : float
            Log flux in the reference band.
        component : int, optional
            Only this component, times its weight; by default all of them.

        Returns
        -------
        value : float
            Log density.
        gradient : (1 + C,) array
            Gradient with respect to (log_flux, colors).
        hessian : (1 + C, 1 + C) array
            Hessian with respect to (log_flux, colors).
        """
        at = slice(None) if component is None else slice(component, component + 1)
        centres, precisions, constants = (values[at] for values in self.joint)
        offsets = np.concatenate([[log_flux - self.pivot], colors]) - centres
        pulls = np.matmul(precisions, offsets[:, :, None])[:, :, 0]
        logs = constants - 0.5 * np.einsum("jc,jc->j", offsets, pulls)
        top = logs.max()
        shares = np.exp(logs - top)
        total = shares.sum()
        shares /= total
        gradient = -(shares @ pulls)
        hessian = (pulls.T * shares) @ pulls - np.outer(gradient, gradient)
        hessian -= np.tensordot(shares, precisions, 1)
        return float(top) + math.log(total), gradient, hessian

    def responsibilities(self, colors, log_flux):
        """Probability of each component, given colours and fluxes.

        Parameters
        ----------
        colors : (n, C) array_like
            Colours, as log ratios of fluxes.
        log_flux : (n,) array_like
            Log fluxes in the reference band, of nmgy.

        Returns
        -------
        (n, J) array
            Probabilities, of sum one for each row.
        """
        precisions, constants = self._precisions
        offsets = np.asarray(colors)[:, None, :] - self.centres(log_flux)
        logs = constants - 0.5 * np.einsum("nja,jab,njb->nj", offsets, precisions, offsets)
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def centres(self, log_flux):
        """Mean colours of the components at given fluxes.

        Parameters
        ----------
        log_flux : (n,) array_like
            Log fluxes in the reference band, of nmgy.

        Returns
        -------
        (n, J, C) array
            Mean colours.
        """
        return self.means + np.multiply.outer(np.asarray(log_flux, dtype=float) - self.pivot, self.slopes)

    def sample(self, log_flux, rng):
        """Draw the colours of one source for each flux.

        Parameters
        ----------
        log_flux : (n,) array_like
            Log fluxes in the reference band, of nmgy.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n, C) array
            Colours.
        """
        n = len(log_flux)
        which = rng.choice(len(self), size=n, p=self.weights)
        noise = np.einsum("nab,nb->na", np.linalg.cholesky(self.covariances)[which],
                          rng.standard_normal((n, self.n_colors)))
        return self.centres(log_flux)[np.arange(n), which] + noise

    def transform(self, matrix):
        """Mixture of linear combinations of the colours.

        Parameters
        ----------
        matrix : (C', C) array_like
            Coefficients of the combinations.

        Returns
        -------
        ColorMixture
            Law of ``matrix @ colors``.
        """
        matrix = np.asarray(matrix, dtype=float)
        return ColorMixture(self.weights, self.means @ matrix.T, matrix @ self.covariances @ matrix.T,
                            self.slopes @ matrix.T, self.pivot)


def _validate(weights, means, covariances, slopes):
    if weights.ndim != 1 or weights.size == 0 or not np.all(weights > 0) or not np.all(np.isfinite(weights)):
        raise ValueError(f"ColorMixture: weights must be positive numbers, got {weights.tolist()}")
    expected = (weights.size, *means.shape[1:2])
    shapes = (means.shape, slopes.shape, covariances.shape)
    if shapes != (expected, expected, (*expected, *expected[1:])):
        n = weights.size
        raise ValueError(f"ColorMixture: {n} weights need means and slopes of shape ({n}, C) and covariances "
                         f"of shape ({n}, C, C), got {shapes}")
    if not np.allclose(covariances, np.swapaxes(covariances, 1, 2), rtol=1e-6, atol=1e-12):
        raise ValueError("ColorMixture: every covariance must be symmetric")


def _precisions(weights, covariances):
    """Precision matrices (J, C, C), and the logarithm of weight times normalisation (J,)."""
    try:
        lower = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        raise ValueError("ColorMixture: every covariance must be positive definite; widen the degenerate "
                         "components with a floor") from None
    inverse = np.linalg.inv(lower)
    log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    constants = np.log(weights) - log_det - 0.5 * covariances.shape[1] * _LOG_2PI
    return np.ascontiguousarray(inverse.transpose(0, 2, 1) @ inverse), constants
