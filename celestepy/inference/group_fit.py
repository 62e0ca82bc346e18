"""One group from pixels to posteriors: starts, types, and whether each source exists at all."""

from dataclasses import dataclass, field

import numpy as np

from celestepy.inference.assignments import TypePosterior, weigh_types
from celestepy.inference.laplace import fit_hypothesis
from celestepy.inference.newton import TrustRegion
from celestepy.inference.placement import Contribution
from celestepy.inference.posterior import GroupPosterior
from celestepy.inference.starts import LinearFluxes, start_vector
from celestepy.model.parameters import GALAXY, KINDS, layout
from celestepy.model.transforms import to_scene

__all__ = ["GroupFit", "GroupFitter", "contribution"]

# Evidence is only weighed for sources whose flux is less significant than this; the others exist.
_CERTAIN_SNR = 12.0


@dataclass(frozen=True)
class GroupFit:
    """What was found out about one group.

    Attributes
    ----------
    members : tuple of int
        Sources that were kept.
    dropped : dict of int to float
        Sources whose existence the pixels do not support, with their log Bayes factors.
    types : TypePosterior
        Fits of the members.
    existence : dict of int to float
        Log Bayes factor of each member against its absence (infinite where it was too bright to be tested, NaN where
        no fit succeeded).
    data : `~celestepy.inference.placement.GroupData`
        The pixels.
    """

    members: tuple
    dropped: dict
    types: TypePosterior
    existence: dict
    data: object = field(repr=False)


class GroupFitter:
    """Fits groups of sources; knows the images and the prior, and nothing of scheduling.

    Parameters
    ----------
    placement : `~celestepy.inference.placement.Placement`
        Sources on images.
    prior : `~celestepy.model.priors.Prior`
        Prior for the bands of the placement.
    position_sd : array_like
        Prior standard deviation of each source's position (arcsec), shape (S,).
    newton : `~celestepy.inference.newton.TrustRegion`
        Settings of the iteration.
    existence_threshold : float
        Sources with a lower log Bayes factor are doubtful.
    drop_doubtful : bool
        Whether doubtful sources are dropped or kept and flagged.
    """

    def __init__(self, placement, prior, position_sd, newton=None, existence_threshold=5.0, drop_doubtful=True):
        self.placement, self.prior, self.position_sd = placement, prior, np.asarray(position_sd)
        self.newton, self.doubt_threshold = newton or TrustRegion(), existence_threshold
        self.existence_threshold = existence_threshold if drop_doubtful else -np.inf
        self.bands = placement.bands
        reference = placement.band_index == self.bands.reference_index
        widths = placement.fwhm * placement.pixel_scale
        self.fwhm = float(np.median(widths[reference] if reference.any() else widths))

    def posterior(self, data):
        """Log posterior of a group."""
        return GroupPosterior(
            data.likelihood, self.prior, self.bands, self.position_sd[list(data.members)], data.sky_sd
        )

    def starts(self, data, kinds=KINDS, known=None):
        """Free vectors to start from for each type, known ones preferred."""
        linear = None
        result = {}
        for kind in kinds:
            vectors = [(known or {}).get(k, {}).get(kind) for k in data.members]
            if any(vector is None for vector in vectors):
                linear = linear or LinearFluxes(
                    data.likelihood, data.patches, self.placement.band_index[list(data.images)], data.sky_sd
                )
                guesses = start_vector([kind] * len(data.members), linear, self.prior, self.bands, self.fwhm)
                vectors = [guess if vector is None else vector for vector, guess in zip(vectors, guesses, strict=True)]
            result[kind] = vectors
        return result

    def quick(self, members, contributions, known=None):
        """A single joint fit with all sources as galaxies, which stars are a limit of.

        Parameters
        ----------
        members, contributions, known
            As in `full`.

        Returns
        -------
        Hypothesis or None
            None if no pixel sees the group.
        """
        data = self.placement.gather(members, contributions)
        if data is None:
            return None
        posterior = self.posterior(data)
        vectors = self.starts(data, (GALAXY,), known)[GALAXY]
        loose = TrustRegion(max_iterations=30, tolerance=0.05)
        return fit_hypothesis(posterior, [GALAXY] * len(members), vectors, loose, refine=False)

    def full(self, members, contributions, own, known):
        """Types, moments and existence of the sources of a group.

        Parameters
        ----------
        members : sequence of int
            The sources.
        contributions : dict
            Neighbours in the background, source -> `Contribution`.
        own : dict
            What is known of the members, for the error of the PSF model.
        known : dict
            Source -> type -> free vector to start from.

        Returns
        -------
        GroupFit or None
            None if no pixel sees the group.
        """
        members, dropped = tuple(members), {}
        while True:
            kept = {k: own[k] for k in members if k in own}
            data = self.placement.gather(members, contributions, kept)
            if data is None:
                return None
            posterior = self.posterior(data)
            types = weigh_types(posterior, self.starts(data, known=known), self.newton)
            if not np.isfinite(types.log_evidence):  # its rows say so; nothing can be weighed
                return GroupFit(members, dropped, types, dict.fromkeys(members, np.nan), data)
            existence = self._existence(data, types)
            weakest = min(existence, key=existence.get)
            if existence[weakest] >= self.existence_threshold:
                return GroupFit(members, dropped, types, existence, data)
            dropped[weakest] = existence[weakest]
            members = tuple(k for k in members if k != weakest)
            if not members:
                return GroupFit(members, dropped, types, existence, data)

    def _existence(self, data, types):
        """Log Bayes factors of each source against its absence."""
        result = {}
        for i, k in enumerate(data.members):
            if _flux_snr(types.best, i, self.bands) > _CERTAIN_SNR:
                result[k] = np.inf
            else:
                result[k] = types.log_evidence - self._evidence_without(data, types, i)
        return result

    def _evidence_without(self, data, types, i):
        """Log evidence of the group without one source, whose neighbours may then change their types."""
        others = [j for j in range(len(data.members)) if j != i]
        members = [data.members[j] for j in others]
        likelihood = self.placement.scene_likelihood(data.patches, list(data.images), members or [data.members[i]])
        if not members:
            return _empty_evidence(likelihood, data.sky_sd)
        posterior = GroupPosterior(likelihood, self.prior, self.bands, self.position_sd[members], data.sky_sd)
        vectors = [types.vectors(j) for j in others]
        starts = {kind: [each[kind] for each in vectors] for kind in KINDS}
        first = [types.best.kinds[j] for j in others]
        return weigh_types(posterior, starts, self.newton, first=first, window=0.0).log_evidence


def contribution(parts, bands):
    """Expected contribution of a source: each type with its probability.

    Parameters
    ----------
    parts : sequence of (str, array_like, float)
        Type, free vector and probability.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.

    Returns
    -------
    `~celestepy.inference.placement.Contribution`
        Scene vectors with weighted fluxes.
    """
    scenes = np.array([to_scene(kind, vector, bands)[0] for kind, vector, _ in parts])
    scenes[:, : len(bands)] *= np.array([weight for _, _, weight in parts])[:, None]
    return Contribution(np.array([kind == GALAXY for kind, _, _ in parts]), scenes)


def _flux_snr(hypothesis, i, bands):
    """Significance of a source's flux from the covariance of its log fluxes."""
    source = hypothesis.sources[i]
    at = layout(source.kind, len(bands))
    mean = np.einsum("j,jn->n", source.weights, source.means)
    offsets = source.means - mean
    covariance = np.einsum("j,jab->ab", source.weights, source.covariances + offsets[:, :, None] * offsets[:, None])
    matrix = bands.log_flux_matrix
    block = matrix @ covariance[at.log_fluxes, at.log_fluxes] @ matrix.T
    return float(np.max(1 / np.sqrt(np.maximum(np.diagonal(block), 1e-12))))


def _empty_evidence(likelihood, sky_sd):
    """Log evidence of patches without sources, their sky levels integrated out."""
    scene = np.zeros((1, likelihood.n_bands + 6))
    is_galaxy = np.zeros(1, dtype=bool)
    width = likelihood.n_bands + 6
    sky = np.zeros(len(sky_sd))
    for _ in range(2):
        value, gradient, hessian = likelihood.evaluate(is_galaxy, scene, sky)
        slope = gradient[width:] - sky / sky_sd**2
        curvature = 1 / sky_sd**2 - np.diagonal(hessian)[width:]
        sky = sky + slope / curvature
    value, _, _ = likelihood.evaluate(is_galaxy, scene, sky)
    return float(value - 0.5 * np.sum(sky**2 / sky_sd**2) - np.sum(np.log(sky_sd)) - 0.5 * np.sum(np.log(curvature)))
