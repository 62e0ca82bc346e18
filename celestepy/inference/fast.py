"""The fast mode: every group of overlapping sources fitted jointly, under each assignment of types, by Newton's method.

The field is swept twice. The first sweep fits every group once, as galaxies, so that each source is known well enough
to be subtracted from its neighbours' patches. The second takes the groups anew, with the sizes found, and does the
whole work: types, evidences, covariances, existence. A group's result depends on the first sweep alone, never on the
order in which groups are done, so that it is the same for any number of workers.
"""

import logging
from dataclasses import asdict, dataclass, field

import numpy as np

from celestepy.inference.executors import run_tasks
from celestepy.inference.group_fit import GroupFitter, contribution
from celestepy.inference.groups import link, windows
from celestepy.inference.newton import TrustRegion
from celestepy.inference.placement import Contribution, Placement
from celestepy.inference.result import Result, assemble
from celestepy.inference.seed_table import read_seeds
from celestepy.model.parameters import GALAXY, Bands, layout, scene_layout
from celestepy.model.priors import Prior

__all__ = ["LaplaceFit"]

log = logging.getLogger(__name__)

# A source is subtracted from patches up to this many FWHM (plus its own half-light radii) away.
_REACH_FWHM, _REACH_RADII = 5.0, 4.0
# A source that moves farther than this many standard deviations of its seed's position is not where it was seen.
_MAX_SHIFT = 4.0


@dataclass(frozen=True)
class LaplaceFit:
    """Settings of the fast mode, and its engine.

    Parameters
    ----------
    patch_radius : float
        Half width of a source's patch in units of the PSF's full width at half maximum.
    sky_factor : float
        Prior standard deviation of a patch's sky level about the image's own, in units of the scatter that is measured
        on each image.
    link_threshold : float
        Sources are fitted jointly where the cosine between their images exceeds this.
    max_group : int
        Largest number of sources fitted jointly; larger groups are fitted in overlapping windows.
    existence_threshold : float
        Log Bayes factor below which a source is taken not to exist.
    drop_doubtful : bool
        Whether such sources are left out of the catalogue, or kept and flagged.
    newton : `~celestepy.inference.newton.TrustRegion`
        Settings of the iteration.
    """

    patch_radius: float = 8.0
    sky_factor: float = 1.0
    link_threshold: float = 0.05
    max_group: int = 5
    existence_threshold: float = 5.0
    drop_doubtful: bool = True
    newton: TrustRegion = field(default_factory=TrustRegion)

    name = "fast"

    def __post_init__(self):
        if not self.patch_radius > 1:
            raise ValueError(f"patch_radius = {self.patch_radius!r}: expected more than 1 FWHM; 8 is usual")
        if not self.sky_factor > 0:
            raise ValueError(f"sky_factor = {self.sky_factor!r}: expected a positive number; 1 is usual")
        if not 0 < self.link_threshold < 1:
            raise ValueError(f"link_threshold = {self.link_threshold!r}: expected a cosine between 0 and 1")
        if self.max_group < 1:
            raise ValueError(f"max_group = {self.max_group!r}: expected at least 1")

    def settings(self):
        """The settings as plain numbers, for the catalogue's metadata."""
        return asdict(self) | {"method": self.name}

    def fit(self, images, seeds, *, prior=None, rng=None, executor=None, progress=False):
        """Catalogue of the sources at given seeds.

        Parameters
        ----------
        images : sequence of `~celestepy.images.Image`
            Any number of bands and exposures.
        seeds : `~celestepy.detection.Seeds` or table
            Where to fit; anything with ``ra`` and ``dec``.
        prior : `~celestepy.model.priors.Prior`, optional
            The default prior if None.
        rng : `numpy.random.Generator`, int or None
            Unused: the fast mode draws nothing. Present so that all engines are called alike.
        executor : None, int or object with ``map``
            See `~celestepy.inference.executors.run_tasks`.
        progress : bool
            Whether to show progress bars.

        Returns
        -------
        `~celestepy.inference.result.Result`
            Catalogue, verdicts and settings.
        """
        images = list(images)
        prior = (prior or Prior.default()).for_bands(_bands(images, prior or Prior.default()))
        seeds = read_seeds(seeds)
        sweep = _Sweep(self, images, seeds, prior)
        run = dict(executor=executor, progress=progress)
        interrupted = sweep.first(**run)
        fits, interrupted = sweep.second(**run) if not interrupted else ({}, True)
        return assemble(sweep.placement, seeds, prior, fits, self, interrupted)


def _bands(images, prior):
    """The images' bands in the order of the prior."""
    present = {image.band for image in images}
    unknown = sorted(present - set(prior.bands.names))
    if unknown:
        raise ValueError(f"the prior {prior.name!r} knows nothing of the band(s) {', '.join(unknown)}; it knows "
                         f"{', '.join(prior.bands)}: leave those images out, or give a prior that has them")
    if not present:
        raise ValueError("images is empty: expected at least one Image")
    return Bands.of([band for band in prior.bands if band in present])


class _Sweep:
    """The state of a fit of a field: what is known of every source so far."""

    def __init__(self, settings, images, seeds, prior):
        self.settings, self.seeds, self.prior = settings, seeds, prior
        self.bands = prior.bands
        self.placement = Placement(images, seeds.ra, seeds.dec, self.bands, settings.patch_radius,
                                   settings.sky_factor)
        threshold = settings.existence_threshold if settings.drop_doubtful else -np.inf
        self.fitter = GroupFitter(self.placement, prior, seeds.position_sd, settings.newton, threshold)
        self.offsets = seeds.tangent_plane()
        self.contributions = {k: self._star(k) for k in range(len(seeds))}
        self.vectors = {}
        self.radii = np.zeros(len(seeds))

    def _star(self, k):
        at = scene_layout(len(self.bands))
        scene = np.zeros((1, at.size))
        scene[0, at.fluxes] = self.seeds.flux_of(k, self.bands)
        return Contribution(np.array([False]), scene)

    def _windows(self):
        sigmas = np.hypot(self.fitter.fwhm / 2.355, 0.8 * self.radii)
        labels, neighbours = link(self.offsets, sigmas, self.settings.link_threshold)
        return labels, windows(labels, neighbours, self.settings.max_group)

    def _neighbours(self, members):
        """Contributions of the sources near a group."""
        reach = _REACH_FWHM * self.fitter.fwhm + _REACH_RADII * self.radii
        patch = self.settings.patch_radius * self.fitter.fwhm
        gap = np.min([np.abs(self.offsets - self.offsets[k]).max(axis=1) for k in members], axis=0)
        near = np.flatnonzero(gap < patch + reach)
        return {k: self.contributions[k] for k in near.tolist() if k not in members}

    def first(self, **run):
        """One joint fit of every group as galaxies, the brightest first.

        Groups are done in tiers of brightness, each knowing the fits of the tiers before it: a faint source beside a
        bright galaxy would otherwise be drawn into whatever the first guess of that galaxy leaves over.
        """
        _, tasks = self._windows()
        for tier in self._tiers(tasks):
            results, interrupted = run_tasks(self._quick, tier, description="first sweep", **run)
            for (members, centres), hypothesis in zip(tier, results, strict=True):
                if hypothesis is not None and np.isfinite(hypothesis.minimum.value):
                    for k in centres:
                        self._learn(k, hypothesis.vectors[members.index(k)])
            if interrupted:
                return True
        return False

    def _tiers(self, tasks):
        """Tasks by the peak brightness of their seeds, one tier for each factor of about four."""
        brightness = [max(self.seeds.brightness[k] for k in members) for members, _ in tasks]
        finite = np.log(np.maximum(brightness, 1e-3)) / np.log(4)
        tiers = np.clip(np.floor(finite), np.floor(np.median(finite)) - 1 if len(tasks) else 0, None)
        return [[task for task, own in zip(tasks, tiers, strict=True) if own == tier]
                for tier in np.unique(tiers)[::-1]]

    def _quick(self, task):
        members, _ = task
        try:
            return self.fitter.quick(members, self._neighbours(members))
        except Exception:  # one bad source must not end the run; the second sweep reports it
            log.exception("first sweep failed for the sources %s", members)
            return None

    def _learn(self, k, vector):
        at = layout(GALAXY, len(self.bands))
        if np.hypot(*vector[at.position]) > _MAX_SHIFT * max(self.seeds.position_sd[k], 0.25 * self.fitter.fwhm):
            return  # it went after some other source's light; its first guess is the better one
        self.vectors[k] = {GALAXY: vector}
        self.contributions[k] = contribution([(GALAXY, vector, 1.0)], self.bands)
        self.radii[k] = min(float(np.exp(vector[at.log_radius])), 10 * self.fitter.fwhm)

    def second(self, **run):
        """Types, evidences and existence for every group."""
        labels, tasks = self._windows()

        def work(task):
            members, _ = task
            try:
                return self.fitter.full(members, self._neighbours(members), self.contributions, self.vectors)
            except Exception as error:  # one bad source must not end the run; its rows carry the message
                log.exception("fit failed for the sources %s", members)
                return error

        results, interrupted = run_tasks(work, tasks, description="fit", **run)
        fits = {}
        for (_, centres), result in zip(tasks, results, strict=True):
            for k in centres:
                fits[k] = (result, int(labels[k]))
        return fits, interrupted
