"""Weighted draws from the posterior of every source, of different numbers for different sources.

A draw is a star or a galaxy and has a free vector of its type (`celestepy.model.parameters.layout`). As in
`celestepy.catalog.posterior`, both types share vectors of the galaxy's length, B + 6, in which the four
entries that a star lacks are NaN; and weights are those within the type, with the probability of the type
apart, so that a type is described even where its probability underflows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from celestepy.model.parameters import GALAXY, STAR, layout

__all__ = ["Draws"]

ALONE = -1  # the group of a source that is drawn by itself


@dataclass(frozen=True)
class Draws:
    """Draws of n sources in B bands, N of them in all.

    Build one with `from_types`, `from_weights`, `from_group` or `empty`, which check and normalise, and `join`.

    Attributes
    ----------
    start : (n + 1,) int array
        The draws of source i are those from ``start[i]`` to ``start[i + 1]``.
    is_galaxy : (N,) bool array
        Type of each draw.
    theta : (N, B + 6) array
        ``[u, v, log_flux, colours.., log_radius, eta1, eta2, logit_dev]``, u and v in arcsec about the row's
        position; NaN where a star has no such parameter.
    weight : (N,) array
        Weight within the type: the star draws of a source sum to one, and so do its galaxy draws.
    star_probability : (n,) array
        NaN for a source without draws.
    group : (n,) int array
        Sources with the same number were drawn together: draw k of one belongs to draw k of the others. -1
        for a source drawn by itself.
    chain : (N,) int array
        Number of the Markov chain that each draw comes from; 0 for independent draws.
    """

    start: np.ndarray
    is_galaxy: np.ndarray
    theta: np.ndarray
    weight: np.ndarray
    star_probability: np.ndarray
    group: np.ndarray
    chain: np.ndarray

    @classmethod
    def from_weights(cls, is_galaxy, theta, log_weight=None, *, chain=None):
        """Draws of one source over both types together.

        Parameters
        ----------
        is_galaxy : (m,) array_like of bool
            Type of each draw.
        theta : (m, B + 6) array_like
            Free vectors; entries that a star lacks are ignored.
        log_weight : (m,) array_like, optional
            Natural logarithms of the weights over both types, up to a constant; equal by default. The share
            of the stars in their sum is the star_probability.
        chain : (m,) array_like of int, optional
            Markov chain of each draw.

        Returns
        -------
        Draws
            Of one source. Draws whose weight or vector is not finite are left out.

        Raises
        ------
        ValueError
            If the shapes do not agree.
        """
        one = np.asarray(is_galaxy)[:, None], np.asarray(theta, dtype=float)[:, None]
        return cls.from_group(*one, log_weight, chain=chain)

    @classmethod
    def from_types(cls, n_bands, *, star=None, galaxy=None, log_odds=None):
        """Draws of one source, those of each type by themselves.

        Parameters
        ----------
        n_bands : int
            Number of bands B.
        star, galaxy : tuple of array_like, optional
            ``(theta, log_weight)`` or ``(theta, log_weight, chain)`` of the type: shapes (m, B + 2) for a star
            or (m, B + 6) for a galaxy, (m,) or None for equal weights, and (m,).
        log_odds : float, optional
            Natural logarithm of P(star) / P(galaxy), evidences and prior included; may be infinite. Not used
            where only one type has draws.

        Returns
        -------
        Draws

        Raises
        ------
        ValueError
            If the shapes do not agree, or `log_odds` is missing or NaN where both types have draws.
        """
        given = {kind: part for kind, part in ((STAR, star), (GALAXY, galaxy)) if part is not None}
        parts = [_of_type(kind, n_bands, *part) for kind, part in given.items()]
        parts = [part for part in parts if len(part.weight)]
        if not parts:
            return cls.empty(n_bands)
        if len(parts) == 1:
            return parts[0]
        if log_odds is None or np.isnan(log_odds):
            raise ValueError(f"log_odds is {log_odds}, expected the log odds of star and galaxy, which both have draws")
        size = sum(len(part.weight) for part in parts)
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("is_galaxy", "theta", "weight"))
        chain = np.concatenate([part.chain for part in parts])
        return cls(np.array([0, size]), *joined, np.array([expit(float(log_odds))]), np.array([ALONE]), chain)

    @classmethod
    def from_group(cls, is_galaxy, theta, log_weight=None, *, chain=None):
        """Draws of sources that overlap, each draw of all of them together.

        Parameters
        ----------
        is_galaxy : (m, K) array_like of bool
            Types of the K sources in each draw.
        theta : (m, K, B + 6) array_like
            Free vectors.
        log_weight : (m,) array_like, optional
            Log weights of the draws, up to a constant; equal by default.
        chain : (m,) array_like of int, optional
            Markov chain of each draw.

        Returns
        -------
        Draws
            Of K sources in one group. Draws in which anything is not finite are left out for all of them.

        Raises
        ------
        ValueError
            If the shapes do not agree.
        """
        is_galaxy, theta = np.asarray(is_galaxy, dtype=bool), np.array(theta, dtype=float)
        _check_shapes(is_galaxy, theta, log_weight, chain)
        n, n_sources = is_galaxy.shape
        log_weight = np.zeros(n) if log_weight is None else np.asarray(log_weight, dtype=float)
        chain = np.zeros(n, dtype=int) if chain is None else np.asarray(chain, dtype=int)
        absent = ~is_galaxy[..., None] & (np.arange(theta.shape[2]) >= theta.shape[2] - 4)
        good = np.isfinite(log_weight) & (np.isfinite(theta) | absent).all(axis=(1, 2))
        theta[absent] = np.nan
        is_galaxy, theta, log_weight = is_galaxy[good], theta[good], log_weight[good]
        if not good.any():
            return cls.join([cls.empty(theta.shape[2] - 6)] * n_sources)
        shares = [_within_types(log_weight, is_galaxy[:, k]) for k in range(n_sources)]
        return cls(
            np.arange(n_sources + 1) * good.sum(),
            is_galaxy.T.ravel(),
            np.swapaxes(theta, 0, 1).reshape(-1, theta.shape[2]),
            np.concatenate([weight for weight, _ in shares]),
            np.array([star for _, star in shares]),
            np.full(n_sources, 0 if n_sources > 1 else ALONE),
            np.tile(chain[good], n_sources),
        )

    @classmethod
    def empty(cls, n_bands):
        """Make one source without draws.

        Parameters
        ----------
        n_bands : int
            Number of bands.

        Returns
        -------
        Draws
            One source, no draws.
        """
        nothing = np.zeros((0, layout(GALAXY, n_bands).size))
        none = np.zeros(0, dtype=int)
        return cls(np.array([0, 0]), none.astype(bool), nothing, np.zeros(0), np.array([np.nan]),
                   np.array([ALONE]), none)

    @classmethod
    def join(cls, parts, n_bands=None):
        """Put the sources of several together, in order; groups of different parts stay apart.

        Parameters
        ----------
        parts : sequence of Draws
            In the same bands.
        n_bands : int, optional
            Needed where `parts` is empty.

        Returns
        -------
        Draws

        Raises
        ------
        ValueError
            If their numbers of bands differ, or there is nothing to tell it.
        """
        parts = list(parts)
        sizes = {part.n_bands for part in parts} or {n_bands}
        if len(sizes) > 1 or None in sizes:
            raise ValueError(f"the draws to join have {sorted(map(str, sizes))} bands, expected one number of bands")
        if not parts:
            return cls.empty(n_bands).sources(slice(0, 0))
        count, group, n_groups = 0, [], 0
        starts = [np.zeros(1, dtype=int)]
        for part in parts:
            starts.append(part.start[1:] + count)
            group.append(np.where(part.group >= 0, part.group + n_groups, ALONE))
            n_groups = max(n_groups, int(group[-1].max(initial=ALONE)) + 1)
            count += len(part.weight)
        names = ("is_galaxy", "theta", "weight", "star_probability")
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        chain = np.concatenate([part.chain for part in parts])
        return cls(np.concatenate(starts), *joined, np.concatenate(group), chain)

    def __len__(self):
        return len(self.star_probability)

    @property
    def n_bands(self):
        """Number of bands B."""
        return self.theta.shape[1] - layout(GALAXY, 0).size

    @property
    def n_draws(self):
        """Number of draws of each source, shape (n,)."""
        return np.diff(self.start)

    @property
    def owner(self):
        """The source that each draw belongs to, shape (N,)."""
        return np.repeat(np.arange(len(self)), self.n_draws)

    @property
    def total_weight(self):
        """Weights over both types together, shape (N,), that sum to one for each source."""
        star = self.star_probability[self.owner]
        return self.weight * np.where(self.is_galaxy, 1 - star, star)

    @property
    def effective_draws(self):
        """Number of equally weighted draws that would be worth as much, 1 / sum of squares, shape (n,).

        Of independent draws: the correlation of those of a Markov chain is not counted.
        """
        square = np.bincount(self.owner, self.total_weight**2, minlength=len(self))
        return np.where(square > 0, 1 / np.where(square > 0, square, 1.0), 0.0)

    def of(self, source):
        """The draws of one source.

        Parameters
        ----------
        source : int
            Number of the source.

        Returns
        -------
        is_galaxy : (m,) bool array
            Types.
        theta : (m, B + 6) array
            Free vectors.
        weight : (m,) array
            Weights over both types together.
        """
        rows = slice(self.start[source], self.start[source + 1])
        star, is_galaxy = self.star_probability[source], self.is_galaxy[rows]
        return is_galaxy, self.theta[rows], self.weight[rows] * np.where(is_galaxy, 1 - star, star)

    def of_type(self, source, kind):
        """The draws of one type of one source.

        Parameters
        ----------
        source : int
            Number of the source.
        kind : {"star", "galaxy"}
            Type.

        Returns
        -------
        theta : (m, B + 6) array
            Free vectors.
        weight : (m,) array
            Weights within the type.
        chain : (m,) int array
            Chain of each draw.
        """
        rows = slice(self.start[source], self.start[source + 1])
        chosen = self.is_galaxy[rows] == (kind == GALAXY)
        return tuple(part[rows][chosen] for part in (self.theta, self.weight, self.chain))

    def sources(self, index):
        """Choose some of the sources.

        Parameters
        ----------
        index : slice, mask or index array
            Which sources.

        Returns
        -------
        Draws
            Those of the chosen sources, in that order.
        """
        chosen = np.arange(len(self))[index]
        counts = self.n_draws[chosen]
        start = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(start[-1]) + np.repeat(self.start[chosen] - start[:-1], counts)
        parts = (part[rows] for part in (self.is_galaxy, self.theta, self.weight))
        return Draws(start, *parts, self.star_probability[chosen], self.group[chosen], self.chain[rows])

    def moved(self, u, v):
        """Refer the draws to other positions.

        Parameters
        ----------
        u, v : (n,) array
            New positions relative to the present ones, arcsec.

        Returns
        -------
        Draws
            The same draws of the same sky, about the new positions.
        """
        theta = self.theta.copy()
        theta[:, layout(GALAXY, self.n_bands).position] -= np.stack([u, v], axis=-1)[self.owner]
        return Draws(self.start, self.is_galaxy, theta, self.weight, self.star_probability, self.group, self.chain)

    def draw(self, n, rng):
        """Choose draws of every source at random, with replacement, in proportion to their weights.

        Sources that were drawn together get the same draw, so that what is known of one given the other is
        kept.

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
            Free vectors; NaN where a star has no such parameter, or where a source has no draws.
        """
        uniform = rng.random((len(self), n))
        leader = _leaders(self.group)
        is_galaxy = np.zeros((len(self), n), dtype=bool)
        theta = np.full((len(self), n, self.theta.shape[1]), np.nan)
        for source in np.flatnonzero(self.n_draws):
            _, _, weight = self.of(source)
            edges = np.cumsum(weight)
            edges[-1] = np.inf  # round-off must not leave the last draw out, nor go beyond it
            picked = self.start[source] + np.searchsorted(edges, uniform[leader[source]] * weight.sum(), side="right")
            is_galaxy[source], theta[source] = self.is_galaxy[picked], self.theta[picked]
        return is_galaxy, theta


def _leaders(group):
    """The first source of the group of each source: itself if it is alone."""
    leader = np.arange(len(group))
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return np.where(group >= 0, first[number.ravel()], leader)


def _of_type(kind, n_bands, theta, log_weight=None, chain=None):
    """Draws of one source that are all of one type."""
    theta, size = np.asarray(theta, dtype=float), layout(kind, n_bands).size
    if theta.ndim != 2 or theta.shape[1] != size:
        raise ValueError(f"theta of the {kind} draws has shape {theta.shape}, expected (draws, {size})")
    full = np.full((len(theta), layout(GALAXY, n_bands).size), np.nan)
    full[:, :size] = theta
    return Draws.from_weights(np.full(len(theta), kind == GALAXY), full, log_weight, chain=chain)


def _check_shapes(is_galaxy, theta, log_weight, chain):
    if is_galaxy.ndim != 2 or theta.shape[:2] != is_galaxy.shape or theta.ndim != 3:
        raise ValueError(
            f"theta has shape {theta.shape} and is_galaxy {is_galaxy.shape}, expected a type for each free vector"
        )
    if theta.shape[2] < layout(GALAXY, 1).size:
        raise ValueError(f"theta has {theta.shape[2]} entries for each draw, expected the number of bands plus 6")
    for name, value in (("log_weight", log_weight), ("chain", chain)):
        if value is not None and np.shape(value) != is_galaxy.shape[:1]:
            raise ValueError(f"{name} has shape {np.shape(value)}, expected one for each of {len(is_galaxy)} draws")


def _within_types(log_weight, is_galaxy):
    """Weights normalised within each type, (m,), and the share of the stars."""
    weight, log_total = np.zeros(len(log_weight)), []
    for of_type in (~is_galaxy, is_galaxy):
        own = log_weight[of_type]
        top = own.max(initial=-np.inf)
        share = np.exp(own - top)
        weight[of_type] = share / share.sum() if len(own) else 0.0
        log_total.append(top + np.log(share.sum()) if len(own) else -np.inf)
    return weight, float(expit(log_total[0] - log_total[1]))
