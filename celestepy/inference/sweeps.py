"""The sweeps of the fast mode over a field: first fits, search for companions, final fits."""

import logging
import time
from functools import partial

import numpy as np

from celestepy.images.wcs import from_tangent_offsets, tangent_offsets
from celestepy.inference.companions import (
    apart,
    best_of_each_source,
    may_be_pair,
    missing_peaks,
    separation,
    try_companion,
    try_parts,
    try_split,
)
from celestepy.inference.executors import run_tasks
from celestepy.inference.group_fit import GroupFitter, contribution
from celestepy.inference.groups import link, windows
from celestepy.inference.placement import Contribution, Placement
from celestepy.inference.rows import first_row, source_rows
from celestepy.model.parameters import GALAXY, layout, scene_layout

__all__ = ["Sweeps"]

log = logging.getLogger(__name__)

# Passes of the first sweep: over the whole field, and at most. The later ones are of sources beside others that still
# change by so many standard deviations, if the cosine between their images, though too small to link them, is above the
# first of these values; such sources are then fitted jointly if it is above the second.
_PASSES, _MOST_PASSES = 2, 6
_SETTLED, _DISTURBING, _WEAK_LINK = 0.2, 0.005, 0.02
# A source is subtracted from patches up to this many FWHM (plus its own half-light radii) away.
_REACH_FWHM, _REACH_RADII = 5.0, 4.0
# A source that moves farther than this many standard deviations of its seed's position is not where it was seen.
_MAX_SHIFT = 4.0
# A missing source is looked for this close to a known one, in FWHM.
_SEARCH_FWHM = 2.5
# Searches at most, the second where the first has found something. Each takes the residuals of the whole field, which
# is an eighth of the time of a fit.
_SEARCHES = 2
# What has a log Bayes factor above this may have hidden others, which are then looked for.
_CERTAIN = 100.0
# Sources found in one search are so many FWHM apart; nearer ones are left for the next.
_APART_FWHM = 1.5
# A peak of the residuals fainter than this share of the source beside it may be an error of that source's model:
# of the PSF, or of a galaxy with more structure than two smooth profiles.
_LEAST_SHARE = 0.1


class Sweeps:
    """The state of a fit of a field: what is known of every source so far."""

    def __init__(self, settings, images, seeds, prior):
        self.settings, self.seeds, self.prior = settings, seeds, prior
        self.bands = prior.bands
        self.placement = Placement(images, seeds.ra, seeds.dec, self.bands, settings.patch_radius, settings.sky_factor)
        self.radii = np.zeros(len(seeds))
        self._place()
        self.contributions = {k: self._star(k) for k in range(len(seeds))}
        self.vectors, self.first_fits = {}, {}

    def _place(self):
        """Everything that follows from where the sources are."""
        seeds, settings = self.seeds, self.settings
        self.placement = self.placement.at(seeds.ra, seeds.dec)
        self.fitter = GroupFitter(
            self.placement,
            self.prior,
            seeds.position_sd,
            settings.newton,
            settings.existence_threshold,
            settings.drop_doubtful,
        )
        self.offsets = seeds.tangent_plane()
        self.radii = np.concatenate([self.radii, np.zeros(len(seeds) - len(self.radii))])

    def _star(self, k):
        at = scene_layout(len(self.bands))
        scene = np.zeros((1, at.size))
        scene[0, at.fluxes] = self.seeds.flux_of(k, self.bands)
        return Contribution(np.array([False]), scene)

    def _windows(self, threshold=np.inf):
        labels, neighbours = self._links(min(self.settings.link_threshold, threshold))
        return labels, windows(labels, neighbours, self.settings.max_group)

    def _links(self, threshold):
        psf = (self.fitter.fwhm / 2.355) ** 2 * np.eye(2)
        return link(self.offsets, psf + 0.64 * self._shapes(), threshold)

    def _shapes(self):
        """Covariance-like matrix of each source's half-light ellipse (arcsec^2), zero for what is not known."""
        at = scene_layout(len(self.bands))
        rows = [self.contributions[k].scenes[0, at.shape] for k in range(len(self.seeds))]
        shapes = np.array(rows).reshape(-1, 3)[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
        size = np.sqrt(np.maximum(np.linalg.det(shapes), 1e-30)) if len(shapes) else np.ones(0)
        return shapes * np.minimum(self.radii**2 / size, 1.0)[:, None, None]  # of radii that are kept in bounds

    def _neighbours(self, members):
        """Contributions of the sources near a group."""
        reach = _REACH_FWHM * self.fitter.fwhm + _REACH_RADII * self.radii
        patch = self.settings.patch_radius * self.fitter.fwhm
        gap = np.min([np.abs(self.offsets - self.offsets[k]).max(axis=1) for k in members], axis=0)
        near = np.flatnonzero(gap < patch + reach)
        return {k: self.contributions[k] for k in near.tolist() if k not in members}

    def first(self, only=None, **run):
        """Joint fits of every group as galaxies, the brightest first; of groups with some sources `only`.

        Groups are done in tiers of brightness, each knowing the fits of the tiers before it: a faint source beside a
        bright galaxy would otherwise be drawn into whatever the first guess of that galaxy leaves over. The bright ones
        have then to be fitted again, without the light of the faint ones that they took for their own.
        """
        moved = set()
        for number in range(1, _MOST_PASSES + 1):
            changed, interrupted = self._pass(number, only, run)
            if interrupted:
                return True
            moved |= changed
            if number >= _PASSES:
                only, moved = self._beside(moved), set()
                if not only:
                    break
        return False

    def _pass(self, number, only, run):
        """One pass of the first sweep: the sources that it changed, and whether it was interrupted."""
        _, tasks = self._windows(_WEAK_LINK if number > _PASSES else np.inf)
        if only is not None:
            tasks = [task for task in tasks if only.intersection(task[0])]
        tiers, moved = self._tiers(tasks), set()
        for step, tier in enumerate(tiers, 1):
            description = f"first sweep, pass {number}, step {step}/{len(tiers)}"
            results, interrupted = run_tasks(self._quick, tier, description=description, **run)
            for (members, centres), hypothesis in zip(tier, results, strict=True):
                if hypothesis is not None and np.isfinite(hypothesis.minimum.value):
                    moved.update(k for k in centres if self._learn(k, hypothesis.sources[members.index(k)]))
            if interrupted:
                return moved, True
        return moved, False

    def _beside(self, moved):
        """Sources that some others disturb, but are not fitted with."""
        labels, _ = self._windows()
        _, weak = self._links(_DISTURBING)
        return {j for k in moved for j in weak[k].tolist() if labels[j] != labels[k]}

    def _tiers(self, tasks):
        """Tasks by the peak brightness of their seeds, one tier for each factor of about four."""
        brightness = [max(self.seeds.brightness[k] for k in members) for members, _ in tasks]
        finite = np.log(np.maximum(brightness, 1e-3)) / np.log(4)
        tiers = np.clip(np.floor(finite), np.floor(np.median(finite)) - 1 if len(tasks) else 0, None)
        return [
            [task for task, own in zip(tasks, tiers, strict=True) if own == tier] for tier in np.unique(tiers)[::-1]
        ]

    def _quick(self, task):
        members, _ = task
        try:
            return self.fitter.quick(members, self._neighbours(members), self.vectors)
        except Exception:  # one bad source must not end the run; the second sweep reports it
            log.exception("first sweep failed for the sources %s", members)
            return None

    def _learn(self, k, source):
        """Take note of a fit; whether it changes the source by more than a share of its error."""
        at, vector, before = layout(GALAXY, len(self.bands)), source.means[0], self.vectors.get(k, {}).get(GALAXY)
        if np.hypot(*vector[at.position]) > _MAX_SHIFT * max(self.seeds.position_sd[k], 0.25 * self.fitter.fwhm):
            return False  # it went after some other source's light; its first guess is the better one
        sd = np.sqrt(np.diagonal(source.covariances[0]))
        self._keep(k, vector)
        self.first_fits[k] = source
        main = slice(0, at.colors.start)
        return before is None or bool(np.any(np.abs(vector - before)[main] > _SETTLED * sd[main]))

    def _keep(self, k, vector):
        """Take a free vector for what a source is."""
        self.vectors[k] = {GALAXY: vector}
        self.contributions[k] = contribution([(GALAXY, vector, 1.0)], self.bands)
        log_radius = vector[layout(GALAXY, len(self.bands)).log_radius]
        self.radii[k] = min(float(np.exp(log_radius)), 10 * self.fitter.fwhm)

    def first_rows(self):
        """Rows of what the first sweep knows, for a run that is stopped before the second."""
        return {
            k: (first_row(source, self.contributions[k], self.prior), np.nan) for k, source in self.first_fits.items()
        }

    def search(self, **run):
        """Look for sources that the seeds miss and fit their groups, and once more where some were found."""
        where = None
        for _ in range(_SEARCHES):
            changed, certain, interrupted = self._search(where, run)
            # Sources beside those that were found took some of their light before.
            if interrupted or (changed and self.first(only=changed | self._beside(changed), **run)):
                return True
            if not certain:  # the others are too faint to hide anything
                break
            where = changed | self._beside(changed)
        return False

    def _search(self, where, run):
        """Search the groups of some sources, or all; those new or split, whether any is certain, if interrupted."""
        labels, _ = self._windows()
        here = np.ones(len(labels), dtype=bool) if where is None else np.isin(labels, labels[sorted(where)])
        peaks = self._peaks(labels, here)
        stands_out = self._stands_out(peaks)
        candidates = self._candidates(labels, here, peaks, stands_out)
        splits, interrupted = run_tasks(partial(self._split, peaks), candidates, description="splitting", **run)
        if interrupted:
            return set(), False, True
        splits = best_of_each_source(candidates, splits)
        stands_out[[peak for peak, _ in splits if peak is not None]] = False
        splits, alone = self._once([split for _, split in splits], peaks[stands_out])
        certain = max([*(split.gain for split in splits), *(0.5 * alone.snr**2)], default=0.0) > _CERTAIN
        changed = self._add_splits(splits)
        if len(alone):
            fluxes = {band: np.maximum(flux, 0) for band, flux in zip(alone.bands, alone.flux.T, strict=True)}
            changed |= self._add(alone.ra, alone.dec, fluxes)
        log.info("%d residual peaks and %d splits among %d candidates", len(alone), len(splits), len(candidates))
        return changed, certain, False

    def _once(self, splits, peaks):
        """Splits and peaks without those that may be of the same missing source as a better one.

        Sources of two groups may both be split on account of one that is missing between them.
        """
        places = [
            np.column_stack(
                from_tangent_offsets(*split.offsets.T, self.seeds.ra[split.source], self.seeds.dec[split.source])
            )
            for split in splits
        ] + list(np.column_stack([peaks.ra, peaks.dec])[:, None])
        worth = [split.gain for split in splits] + (0.5 * peaks.snr**2).tolist()
        chosen = apart(places, worth, _APART_FWHM * self.fitter.fwhm)
        return [split for i, split in enumerate(splits) if chosen[i]], peaks[chosen[len(splits) :]]

    def _peaks(self, labels, here):
        """The highest peak of the residuals beside each group that is searched."""
        peaks = missing_peaks(
            self.placement, self.contributions, labels, self.settings.search_threshold, _SEARCH_FWHM * self.fitter.fwhm
        )
        return peaks[np.isin(np.asarray(peaks["group"]), labels[here])]

    def _candidates(self, labels, here, peaks, stands_out):
        """Sources that may be two: with the number of the peak beside them, or None for two along a galaxy's axis."""
        single = np.bincount(labels)[labels] == 1 if len(labels) else np.zeros(0, bool)
        near_peak = np.isin(labels, np.asarray(peaks["group"])[stands_out])
        pairs = [
            (k, None)
            for k in self.vectors
            if single[k]
            and here[k]
            and not near_peak[k]
            and may_be_pair(self.vectors[k][GALAXY], len(self.bands), self.fitter.fwhm)
        ]
        places = zip(peaks.ra, peaks.dec, strict=True)
        nearest = [int(np.argmin(self._distances(ra, dec))) for ra, dec in places] if len(labels) else []
        return pairs + [(k, peak) for peak, k in enumerate(nearest) if k in self.vectors]

    def _stands_out(self, peaks):
        """Peaks that are no mere error of the model of the source beside them."""
        total = np.array(
            [self.contributions[k].scenes[:, : len(self.bands)].sum(axis=0) for k in range(len(self.seeds))]
        )
        order = [self.bands.names.index(band) for band in peaks.bands]
        keep = np.zeros(len(peaks), dtype=bool)
        for i, (ra, dec) in enumerate(zip(peaks.ra, peaks.dec, strict=True)):
            near = self._distances(ra, dec) < _SEARCH_FWHM * self.fitter.fwhm + 2 * self.radii
            beside = total[near][:, order].max(axis=0) if near.any() else np.zeros(len(order))
            keep[i] = np.max(peaks.flux[i] / np.maximum(beside, 1e-9)) > _LEAST_SHARE
        return keep

    def _distances(self, ra, dec):
        """Distance of every source from a place (arcsec)."""
        return separation(self.seeds.ra, self.seeds.dec, ra, dec)

    def _split(self, peaks, candidate):
        k, peak = candidate
        vector, light = self.vectors[k][GALAXY], (self._neighbours([k]), {k: self.contributions[k]})
        try:
            if peak is None:
                return try_split(self.fitter, k, vector, *light)
            offset = tangent_offsets(peaks.ra[peak], peaks.dec[peak], self.seeds.ra[k], self.seeds.dec[k])
            flux = peaks.flux[peak, [peaks.bands.index(band) for band in self.bands]]
            tried = [
                try_companion(self.fitter, k, vector, np.array(offset), flux, *light),
                try_parts(self.fitter, k, vector, np.array(offset), *light),
            ]
            return max(filter(None, tried), key=lambda split: split.gain, default=None)
        except Exception:  # one bad source must not end the run; it simply stays whole
            log.exception("splitting failed for the source %d", k)
            return None

    def _add_splits(self, splits):
        """Move each split source to one of the two places and add the other."""
        changed = set()
        for split in splits:
            k = split.source
            ra, dec = from_tangent_offsets(
                split.offsets[:, 0], split.offsets[:, 1], self.seeds.ra[k], self.seeds.dec[k]
            )
            self.seeds.ra[k], self.seeds.dec[k] = ra[0], dec[0]
            for b, band in enumerate(self.bands):
                if band in self.seeds.fluxes:
                    self.seeds.fluxes[band][k] = split.fluxes[0, b]
            (new,) = self._add(ra[1:], dec[1:], {band: split.fluxes[1:, b] for b, band in enumerate(self.bands)})
            self._forget(k)
            for j, kind, vector in zip((k, new), split.kinds, split.vectors, strict=True):
                if kind == GALAXY:
                    self._keep(j, vector)
            changed |= {k, new}
        return changed

    def _add(self, ra, dec, fluxes):
        """Take new sources into the field; their indices."""
        before = len(self.seeds)
        self.seeds = self.seeds.with_more(ra, dec, fluxes)
        self._place()
        new = set(range(before, len(self.seeds)))
        for k in new:
            self._forget(k)
        return new

    def _forget(self, k):
        """Back to the first guess of a source."""
        self.vectors.pop(k, None)
        self.first_fits.pop(k, None)
        self.contributions[k] = self._star(k)
        self.radii[k] = 0.0

    def _positions(self, members):
        return self.seeds.ra[list(members)], self.seeds.dec[list(members)]

    def second(self, make_rows=source_rows, kept=None, **run):
        """Types, evidences and existence for every group.

        Parameters
        ----------
        make_rows : callable
            Makes rows of a fitted group, see `~celestepy.inference.rows.source_rows`.
        kept : `~celestepy.inference.kept_rows.KeptRows`, optional
            Where rows are kept as they are finished, and found if the run is continued.
        **run
            See `~celestepy.inference.executors.run_tasks`.

        Returns
        -------
        rows : dict
            Source -> its `~celestepy.inference.rows.Row`, or an exception; sources of groups that were not fitted are
            absent.
        interrupted : bool
            Whether the run was stopped.
        """
        labels, tasks = self._windows()

        def work(task):
            members, centres = task
            ids = self.seeds.ids[list(centres)]
            found = kept.recall(ids) if kept else None
            if found is not None:
                return {k: (row, np.nan) for k, row in zip(centres, found, strict=True)}
            start = time.perf_counter()
            try:
                fit = self.fitter.full(members, self._neighbours(members), self.contributions, self.vectors)
                rows = make_rows(fit, centres, int(labels[centres[0]]), self.fitter)
            except Exception as error:  # one bad source must not end the run; its rows carry the message
                log.exception("fit failed for the sources %s", members)
                rows = dict.fromkeys(centres, error)
            else:
                if kept:
                    kept.keep(ids, *self._positions(centres), [rows[k] for k in centres])
            seconds = (time.perf_counter() - start) / len(centres)
            return {k: (row, seconds) for k, row in rows.items()}

        results, interrupted = run_tasks(work, tasks, description="fit", **run)
        rows = {}
        for result in results:
            rows.update(result or {})
        return rows, interrupted
