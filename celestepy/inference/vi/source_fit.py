"""The factors of one source: from its pixels and its neighbours' light to the maximum of the bound."""

from dataclasses import dataclass, field

import numpy as np

from celestepy.inference.group_fit import GroupFitter
from celestepy.inference.newton import Minimum
from celestepy.inference.vi.bound import SourceBound
from celestepy.inference.vi.divergence import PriorBound
from celestepy.inference.vi.factors import expected_light, factor_layout, type_weights
from celestepy.inference.vi.neighbours import SourceLight, neighbour_maps
from celestepy.inference.vi.starts import first_factors
from celestepy.model.parameters import GALAXY
from celestepy.model.pixel_rate import MeanFieldPixels

__all__ = ["SourceFit", "SourceFitter"]

# A source that moves farther than this many standard deviations of its seed's position is not where it was seen.
_MAX_SHIFT = 4.0


@dataclass(frozen=True)
class SourceFit:
    """The factors of one source after an update.

    Attributes
    ----------
    x : `~numpy.ndarray`
        Parameters of q (see `~celestepy.inference.vi.factors.factor_layout`).
    light : `~celestepy.inference.vi.neighbours.SourceLight`
        Its light under q.
    minimum : `~celestepy.inference.newton.Minimum`
        How the update ended.
    gain : float
        By how much it raised the bound (nats).
    is_astray : bool
        Whether it ended far from the seed or did not converge: it went after some other source's light, and is to be
        begun anew when that is known better.
    n_iterations : int
        Evaluations over all updates.
    given_type : dict of float
        Bound of each type's log evidence.
    diagnostics : dict
        Columns of the catalogue that describe the pixels, and ``bands_seen``.
    """

    x: np.ndarray
    light: SourceLight
    minimum: Minimum
    gain: float
    is_astray: bool
    n_iterations: int
    given_type: dict
    diagnostics: dict = field(repr=False)

    @property
    def radius(self):
        """Circularised half-light radius (arcsec) of the galaxy."""
        u_u, u_v, v_v = self.light.geometry[3:]
        return float((u_u * v_v - u_v**2) ** 0.25)

    @property
    def galaxy_probability(self):
        """Probability of the galaxy."""
        at = factor_layout(len(self.light.amplitudes))
        return type_weights(self.x[at.type_logit])[GALAXY][0]


class SourceFitter:
    """Updates the factors of single sources; knows the images and the prior, and nothing of scheduling.

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
    """

    def __init__(self, placement, prior, position_sd, newton):
        self.placement, self.prior, self.position_sd, self.newton = placement, prior, position_sd, newton
        self.prior_bound = PriorBound(prior)
        self.fwhm = GroupFitter(placement, prior, position_sd).fwhm

    def update(self, k, lights, before=None):
        """Maximise the bound over the factors of one source.

        Parameters
        ----------
        k : int
            The source.
        lights : dict
            Source -> `SourceLight` of the neighbours.
        before : SourceFit, optional
            Its factors so far.

        Returns
        -------
        SourceFit or None
            None if no pixel sees the source.

        Raises
        ------
        FloatingPointError
            If the bound is not finite.
        """
        data = self.placement.gather([k], {})
        if data is None:
            return None
        maps = neighbour_maps(self.placement, data, lights)
        bound = self.bound(k, data, *maps)
        starts = [] if before is None else [before.x]
        if before is None or before.is_astray:
            starts.append(first_factors(data, maps[0], self.placement, self.prior, self.fwhm))
        first, minimum = self._best(bound, starts)
        x = minimum.x
        light = SourceLight(*expected_light(x, self.prior.bands.log_flux_matrix))
        shift = np.hypot(*x[bound.at.position]) / max(self.position_sd[k], 0.25 * self.fwhm)
        return SourceFit(x, light, minimum, first - minimum.value, bool(shift > _MAX_SHIFT or not minimum.converged),
                         minimum.n_iterations + (before.n_iterations if before else 0), bound.given_type(x),
                         self._diagnostics(data, bound, light, maps[0]))

    def _best(self, bound, starts):
        """The value at the first of some starts, and the lowest minimum that is reached from them."""
        best, values = None, []

        def objective(x):
            result = bound.objective(x)
            values.append(result[0])
            return result

        for start in starts:
            minimum = self.newton.minimise(objective, start, bound.scale)
            if np.isfinite(minimum.value) and (best is None or minimum.value < best.value):
                best = minimum
        if best is None:
            raise FloatingPointError(f"the evidence lower bound is not finite: {minimum.message}; look at the pixels "
                                     "for artefacts")
        return values[0], best

    def bound(self, k, data, means, variances):
        """The evidence lower bound as a function of the factors of one source.

        Parameters
        ----------
        k : int
            The source.
        data : `~celestepy.inference.placement.GroupData`
            Its pixels.
        means, variances : lists of (h, w) arrays
            Moments of the light of all others there.

        Returns
        -------
        `~celestepy.inference.vi.bound.SourceBound`
        """
        used, placement = list(data.images), self.placement
        positions = np.stack([placement.x[used, k], placement.y[used, k]], axis=-1)
        pixels = MeanFieldPixels(data.patches, placement.band_index[used], [[placement.psf(n, k)] for n in used],
                                 positions[:, None], placement.jacobian[used, k][:, None],
                                 n_bands=len(self.prior.bands))
        pixels.set_neighbours(means, variances)
        return SourceBound(pixels, placement.band_index[used], self.prior_bound, self.position_sd[k])

    def _diagnostics(self, data, bound, light, neighbours):
        """Signal to noise, blendedness, and what was seen."""
        profiles = bound.pixels.profiles(light.geometry)
        signal = together = 0.0
        seen = set()
        for n, patch, both, others in zip(data.images, data.patches, profiles, neighbours, strict=True):
            band = int(self.placement.band_index[n])
            model = np.tensordot(light.amplitudes[band, :2], both, axes=1)
            weight = patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
            square = float(np.sum(weight * model**2))
            signal += square
            together += float(np.sum(weight * model * (model + others)))
            if square > 0:
                seen.add(band)
        return dict(snr=np.sqrt(signal), blendedness=max(1 - signal / together, 0.0) if together > 0 else 0.0,
                    n_pixels=data.n_pixels, masked_fraction=data.masked_fraction, bands_seen=len(seen))
