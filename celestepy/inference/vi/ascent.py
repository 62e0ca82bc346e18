"""Block coordinate ascent: each source's factors in turn, all others held fixed, for a few passes over the field.

Within a pass the sources are coloured so that no two of one colour see each other's light: those are fitted at the
same time, and the result does not depend on the number of workers.
"""

import logging
import time

import numpy as np

from celestepy.inference.executors import run_tasks
from celestepy.inference.groups import link
from celestepy.inference.placement import Placement
from celestepy.inference.vi.neighbours import SourceLight, colour
from celestepy.inference.vi.rows import source_row
from celestepy.inference.vi.source_fit import SourceFit, SourceFitter

__all__ = ["BlockAscent"]

log = logging.getLogger(__name__)

# A source's light reaches this many FWHM (plus its own half-light radii) beyond its centre.
_REACH_FWHM, _REACH_RADII = 5.0, 4.0
# A galaxy less probable than this does not extend the reach of a source.
_PROBABLE = 0.01
# An update that gains less (nats) leaves the neighbours as they are.
_GAIN = 1e-2
# Sources are called blended where the cosine between their images exceeds this.
_LINK_THRESHOLD = 0.05


class BlockAscent:
    """The state of a fit of a field: the factors of every source so far.

    Parameters
    ----------
    settings : `~celestepy.inference.vi.MeanFieldVI`
        Settings.
    images : list of `~celestepy.images.Image`
        Images.
    seeds : `~celestepy.inference.seed_table.SeedArrays`
        The S sources.
    prior : `~celestepy.model.priors.Prior`
        Prior, in the bands of the images.

    Attributes
    ----------
    seeds, placement, prior
        What was given, and where the sources lie on the images.
    fits : dict
        Source -> `~celestepy.inference.vi.source_fit.SourceFit`, an exception, or None if no pixel sees it.
    gains : list of float
        By how much each pass has raised the bound, summed over its updates (nats).
    """

    def __init__(self, settings, images, seeds, prior):
        self.settings, self.seeds, self.prior = settings, seeds, prior
        self.placement = Placement(images, seeds.ra, seeds.dec, prior.bands, settings.patch_radius)
        self.fitter = SourceFitter(self.placement, prior, seeds.position_sd, settings.newton)
        self.offsets = seeds.tangent_plane()
        self.lights = {k: SourceLight.of_star(seeds.flux_of(k, prior.bands)) for k in range(len(seeds))}
        self.radii, self.seconds = np.zeros(len(seeds)), np.zeros(len(seeds))
        self.fits, self.gains = {}, []
        # when each source was fitted and which neighbours it saw, and when it last changed by what those would notice
        self._step, self._fitted, self._changed = 0, np.full(len(seeds), -1), np.zeros(len(seeds), dtype=int)
        self._seen = {}

    def run(self, **how):
        """All passes.

        Parameters
        ----------
        **how
            ``executor`` and ``progress`` (see `~celestepy.inference.executors.run_tasks`).

        Returns
        -------
        bool
            Whether Ctrl-C stopped the run.
        """
        brightest_first = np.argsort(-self.seeds.brightness, kind="stable").tolist()
        for number in range(1, self.settings.max_passes + 1):
            neighbours = self._neighbours()
            stale = [k for k in brightest_first if self._is_stale(k, neighbours[k])]
            if not stale:
                break
            self.gains.append(0.0)
            for step, members in enumerate(colour(neighbours, stale), 1):
                tasks = [(k, neighbours[k]) for k in members]
                description = f"pass {number}/{self.settings.max_passes}, step {step}"
                results, interrupted = run_tasks(self._update, tasks, description=description, **how)
                self._step += 1
                for k, result in zip(members, results, strict=True):
                    self._seen[k] = set(neighbours[k])
                    if result is not None:
                        self._learn(k, *result)
                if interrupted:
                    return True
        return False

    def rows(self):
        """What `~celestepy.inference.result.assemble` takes: source -> (row or exception, seconds)."""
        labels, _ = link(self.offsets, np.hypot(self.fitter.fwhm / 2.355, 0.8 * self.radii), _LINK_THRESHOLD)
        sizes = np.bincount(labels) if len(labels) else []
        return {k: (source_row(fit, int(labels[k]) if sizes[labels[k]] > 1 else -1, self.prior), self.seconds[k])
                for k, fit in self.fits.items()}

    def _neighbours(self):
        """For each source those whose light is in its patch."""
        reach = (self.settings.patch_radius + _REACH_FWHM) * self.fitter.fwhm + _REACH_RADII * self.radii
        near = []
        for k, offset in enumerate(self.offsets):
            gap = np.abs(self.offsets - offset).max(axis=1)
            near.append([j for j in np.flatnonzero(gap < reach).tolist() if j != k])
        return near

    def _is_stale(self, k, neighbours):
        """Whether a source has not been fitted since its surroundings changed."""
        if self._fitted[k] < 0:
            return True
        is_fitted = isinstance(self.fits[k], SourceFit)
        return is_fitted and any(self._changed[j] > self._fitted[k] or j not in self._seen[k] for j in neighbours)

    def _update(self, task):
        """New factors of one source, and the time that they took."""
        k, neighbours = task
        start = time.perf_counter()
        try:
            fit = self.fitter.update(k, {j: self.lights[j] for j in neighbours}, self.fits.get(k))
        except Exception as error:  # one bad source must not end the run; its row carries the message
            log.exception("fit failed for the source %d", k)
            fit = error
        return fit, time.perf_counter() - start

    def _learn(self, k, fit, seconds):
        """Take over the outcome of an update; one that failed leaves what was there before."""
        self._fitted[k] = self._step
        self.seconds[k] += seconds
        if not isinstance(fit, SourceFit):
            self.fits.setdefault(k, fit)
            return
        first = k not in self.fits
        self.fits[k] = fit
        self.gains[-1] += fit.gain
        if fit.is_astray:
            return  # its first guess says more about what it adds to its neighbours
        self.lights[k] = fit.light
        if first or fit.gain > _GAIN:
            self._changed[k] = self._step
        self.radii[k] = fit.radius if fit.galaxy_probability > _PROBABLE else 0.0
