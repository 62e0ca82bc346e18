"""The posterior of every source of a catalogue: for each a mixture of Gaussians over both types.

A component is a star or a galaxy and has a mean and a covariance in the free vector of its type
(`celestepy.model.parameters.layout`). Here both types share arrays of the galaxy's length, B + 6: a star's
vector is the beginning of a galaxy's, and the four entries that it lacks are NaN.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from celestepy.model.parameters import GALAXY, STAR, layout

__all__ = ["MAX_COMPONENTS", "Posterior"]

MAX_COMPONENTS = 8


@dataclass(frozen=True)
class Posterior:
    """Gaussian mixtures of n sources with up to M components in B bands.

    Build one with `from_components` or `stack`, which check and normalise.

    Attributes
    ----------
    star_probability : (n,) array
        Total weight of the star components; NaN for a source without any component.
    weight : (n, M) array
        Weight within the type: the star components of a source sum to one and so do its galaxy components, so
        that a type is described even where its probability underflows. Zero where there is no component.
    is_galaxy : (n, M) bool array
        Type of each component.
    mean : (n, M, B + 6) array
        ``[u, v, log_flux, colours.., log_radius, eta1, eta2, logit_dev]``, u and v in arcsec about the row's
        position; NaN where there is no component or no such parameter.
    covariance : (n, M, B + 6, B + 6) array
        Covariances, NaN likewise.
    """

    star_probability: np.ndarray
    weight: np.ndarray
    is_galaxy: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def from_components(cls, log_weight, is_galaxy, mean, covariance):
        """Normalise the components of n sources.

        Components whose weight, mean or covariance is not finite, or whose variances are not positive, are
        left out; a source that keeps none has a star_probability of NaN.

        Parameters
        ----------
        log_weight : (n, M) array_like
            Natural logarithms of the weights over both types, up to a constant for each source: evidence
            times prior. -inf where there is no component.
        is_galaxy : (n, M) array_like of bool
            Type of each component.
        mean : (n, M, B + 6) array_like
            Means; entries that a star lacks are ignored.
        covariance : (n, M, B + 6, B + 6) array_like
            Covariances.

        Returns
        -------
        Posterior

        Raises
        ------
        ValueError
            If the shapes do not agree.
        """
        log_weight, mean, covariance = (
            np.array(part, dtype=float) for part in (log_weight, mean, covariance)
        )
        is_galaxy = np.array(is_galaxy, dtype=bool)
        _check_shapes(log_weight, is_galaxy, mean, covariance)
        absent = ~_present(is_galaxy, mean.shape[2])
        mean[absent] = np.nan
        covariance[absent[..., :, None] | absent[..., None, :]] = np.nan
        usable = np.isfinite(log_weight) & _is_proper(mean, covariance, absent)
        log_weight[~usable] = -np.inf
        mean[~usable], covariance[~usable], is_galaxy[~usable] = np.nan, np.nan, False
        weight, log_total = _within_types(log_weight, is_galaxy, usable)
        with np.errstate(invalid="ignore"):
            star_probability = expit(log_total[0] - log_total[1])
        return cls(star_probability, weight, is_galaxy, mean, covariance)

    @classmethod
    def stack(cls, sources, n_bands):
        """Join the components of sources that have different numbers of them.

        Parameters
        ----------
        sources : sequence of sequences
            For each source its components as tuples ``(log_weight, kind, mean, covariance)``: kind "star" or
            "galaxy", mean and covariance in the free vector of that kind. An empty sequence stands for a
            source without a fit.
        n_bands : int
            Number of bands B.

        Returns
        -------
        Posterior
        """
        size = layout(GALAXY, n_bands).size
        n_components = max([1, *(len(components) for components in sources)])
        shape = (len(sources), n_components)
        log_weight, is_galaxy = np.full(shape, -np.inf), np.zeros(shape, dtype=bool)
        mean, covariance = np.full((*shape, size), np.nan), np.full((*shape, size, size), np.nan)
        for row, components in enumerate(sources):
            for column, (one_weight, kind, one_mean, one_covariance) in enumerate(components):
                used = layout(kind, n_bands).size
                log_weight[row, column], is_galaxy[row, column] = one_weight, kind == GALAXY
                mean[row, column, :used] = one_mean
                covariance[row, column, :used, :used] = one_covariance
        return cls.from_components(log_weight, is_galaxy, mean, covariance)

    def __len__(self):
        return len(self.weight)

    @property
    def n_bands(self):
        """Number of bands B."""
        return self.mean.shape[2] - layout(GALAXY, 0).size

    @property
    def total_weight(self):
        """Weights over both types together, shape (n, M), that sum to one for each source."""
        star = np.nan_to_num(self.star_probability)[:, None]
        return self.weight * np.where(self.is_galaxy, 1 - star, star)

    def weight_of(self, kind):
        """Weights within one type.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type.

        Returns
        -------
        (n, M) array
            Weights; zero for components of the other type.
        """
        return np.where(self.is_galaxy == (kind == GALAXY), self.weight, 0.0)

    def rows(self, index):
        """Choose some of the sources.

        Parameters
        ----------
        index : slice, mask or index array
            Which sources.

        Returns
        -------
        Posterior
            That of the chosen sources, in that order.
        """
        parts = (self.star_probability, self.weight, self.is_galaxy, self.mean, self.covariance)
        return Posterior(*(part[index] for part in parts))

    def compressed(self, max_components=MAX_COMPONENTS):
        """Merge components until no source has more than `max_components`.

        The components of least weight within their type are merged into one for each type, with the mean and
        covariance of what it replaces. Columns that no source uses are dropped.

        Parameters
        ----------
        max_components : int
            At least 2.

        Returns
        -------
        Posterior
        """
        order = np.argsort(-self.weight, axis=1, kind="stable")
        used = max(1, int((self.weight > 0).sum(axis=1).max(initial=0)))
        if used <= max_components:
            return self._take(order[:, :used])
        kept, rest = (
            self._take(order[:, : max_components - 2]),
            self._take(order[:, max_components - 2 : used]),
        )
        parts = [kept, rest._merged(STAR), rest._merged(GALAXY)]
        joined = (
            np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in ("weight", "is_galaxy", "mean", "covariance")
        )
        return Posterior(self.star_probability, *joined).compressed(max_components)

    def _take(self, order):
        """Return the components in the given order, shape (n, k)."""
        arrays = (self.weight, self.is_galaxy, self.mean, self.covariance)
        taken = (
            np.take_along_axis(a, order.reshape(order.shape + (1,) * (a.ndim - 2)), axis=1) for a in arrays
        )
        return Posterior(self.star_probability, *taken)

    def _merged(self, kind):
        """Merge the components of one type into one with their total weight, mean and covariance."""
        weight = self.weight_of(kind)
        total = weight.sum(axis=1)
        size = layout(kind, self.n_bands).size
        mean, covariance = (
            np.full((len(self), self.mean.shape[2]), np.nan),
            np.full((len(self), *self.covariance.shape[2:]), np.nan),
        )
        mean[:, :size], covariance[:, :size, :size] = self.moments(weight, size)
        is_galaxy = np.broadcast_to(kind == GALAXY, total.shape) & (total > 0)
        return Posterior(
            self.star_probability, total[:, None], is_galaxy[:, None], mean[:, None], covariance[:, None]
        )

    def moments(self, weight, size):
        """Mean and covariance of the mixture of some components.

        Parameters
        ----------
        weight : (n, M) array
            Weights in any normalisation.
        size : int
            How many entries of the vector to take, from its beginning.

        Returns
        -------
        mean : (n, size) array
            NaN where all weights are zero.
        covariance : (n, size, size) array
            The mean of the covariances plus the covariance of the means.
        """
        total = weight.sum(axis=1, keepdims=True)
        share = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 0.0)
        used = (share > 0)[..., None]
        each = np.where(used, self.mean[..., :size], 0.0)
        inner = np.where(used[..., None], self.covariance[..., :size, :size], 0.0)
        mean = np.einsum("nm,nmi->ni", share, each)
        offset = np.where(used, each - mean[:, None], 0.0)
        covariance = np.einsum("nm,nmij->nij", share, inner) + np.einsum(
            "nm,nmi,nmj->nij", share, offset, offset
        )
        nothing = np.where(total > 0, 0.0, np.nan)
        return mean + nothing, covariance + nothing[..., None]

    def moved(self, u, v):
        """Refer the posterior to other positions.

        Parameters
        ----------
        u, v : (n,) array
            New positions relative to the present ones, arcsec.

        Returns
        -------
        Posterior
            The same law of the same sky, about the new positions.
        """
        mean = self.mean.copy()
        mean[..., layout(GALAXY, self.n_bands).position] -= np.stack([u, v], axis=-1)[:, None]
        return Posterior(self.star_probability, self.weight, self.is_galaxy, mean, self.covariance)

    def draw(self, n, rng):
        """Draw free vectors of every source.

        Parameters
        ----------
        n : int
            Draws per source.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        is_galaxy : (sources, n) bool array
            Type of each draw.
        theta : (sources, n, B + 6) array
            Free vectors; NaN where a star has no such parameter, or where a source has no posterior.
        """
        picked = pick(self.total_weight, rng.random((len(self), n)))
        normal = rng.standard_normal((len(self), n, self.mean.shape[2]))
        filled = np.nan_to_num(self.covariance)
        row = np.arange(len(self))[:, None]
        step = np.einsum("nkij,nkj->nki", root(filled)[row, picked], normal)
        return self.is_galaxy[row, picked], self.mean[row, picked] + step


def pick(weight, uniform):
    """Pick a component of each row by uniform numbers in [0, 1), shapes (n, M) and (n, k) -> (n, k)."""
    edges = np.cumsum(weight, axis=1)
    last = (
        weight.shape[1] - 1 - np.argmax(weight[:, ::-1] > 0, axis=1)
    )  # round-off must not pick an empty component
    picked = (edges[:, None, :] <= (uniform * edges[:, -1:])[..., None]).sum(axis=2)
    return np.minimum(picked, last[:, None])


def root(covariance):
    """Return A with A A' = covariance, shape (..., D, D); negative eigenvalues (round-off) count as zero."""
    value, vector = np.linalg.eigh(covariance)
    return vector * np.sqrt(np.maximum(value, 0.0))[..., None, :]


def _check_shapes(log_weight, is_galaxy, mean, covariance):
    shape = log_weight.shape
    size = mean.shape[-1] if mean.ndim else 0
    expected = {
        "is_galaxy": (is_galaxy, shape),
        "mean": (mean, (*shape, size)),
        "covariance": (covariance, (*shape, size, size)),
    }
    if len(shape) != 2 or shape[1] == 0:
        raise ValueError(
            f"log_weight has shape {shape}, expected (sources, components) with one component at least"
        )
    for name, (array, wanted) in expected.items():
        if array.shape != wanted:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {wanted} to go with log_weight {shape}"
            )
    if size < layout(GALAXY, 1).size:
        raise ValueError(f"mean has {size} entries for each component, expected the number of bands plus 6")


def _present(is_galaxy, size):
    """Which entries of the vector each component has, shape (n, M, size)."""
    n_bands = size - layout(GALAXY, 0).size
    return is_galaxy[..., None] | (np.arange(size) < layout(STAR, n_bands).size)


def _is_proper(mean, covariance, absent):
    variance = np.einsum("...ii->...i", covariance)
    finite = np.isfinite(covariance) | absent[..., :, None] | absent[..., None, :]
    good = (absent | (np.isfinite(mean) & (variance > 0))).all(axis=-1)
    return good & finite.all(axis=(-2, -1))


def _within_types(log_weight, is_galaxy, usable):
    """Weights normalised within each type, (n, M), and the log total of stars and galaxies, (2, n)."""
    weight, log_total = np.zeros(log_weight.shape), []
    for of_type in (usable & ~is_galaxy, usable & is_galaxy):
        own = np.where(of_type, log_weight, -np.inf)
        top = own.max(axis=1, keepdims=True)
        share = np.exp(own - np.where(np.isfinite(top), top, 0.0))
        total = share.sum(axis=1, keepdims=True)
        weight += share / np.where(total > 0, total, 1.0)
        with np.errstate(divide="ignore"):
            log_total.append((top + np.log(total))[:, 0])
    return weight, np.array(log_total)
