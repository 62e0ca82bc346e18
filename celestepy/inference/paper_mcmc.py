"""The sampler of the Celeste paper: Gibbs sampling over sources, annealing from the prior, slice sampling.

It is here as the reference that the paper's own tables were made with, and costs accordingly. The equations are those
of Regier et al. 2019, section 3.
"""

import logging
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from celestepy.detection.seed_table import checked_images
from celestepy.inference.conditional_draws import draw_conditional, known_sky_posterior
from celestepy.inference.executors import run_tasks
from celestepy.inference.fast import LaplaceFit, prior_in_bands_of
from celestepy.inference.gibbs_rows import gibbs_row
from celestepy.inference.group_fit import contribution
from celestepy.inference.kept_rows import entropy_of, keep_rows
from celestepy.inference.mcmc.density import SamplingError, checked_count
from celestepy.inference.result import assemble
from celestepy.inference.seed_table import read_seeds
from celestepy.inference.sweeps import Sweeps
from celestepy.model.priors import Prior

__all__ = ["PaperSampler"]

log = logging.getLogger(__name__)

_SCHEDULES = ("linear", "power", "sigmoid")


@dataclass(frozen=True)
class PaperSampler:
    """Settings of the paper's sampler, and its engine.

    Use `~celestepy.inference.MarkovSampler` or `~celestepy.inference.ImportanceSampler` for science.

    Parameters
    ----------
    n_temperatures, n_runs, n_draws : int
        Steps T from the prior to the posterior, independent runs N' of them for each type, and draws B' of the chain
        that each run ends in: 200, 25 and 25 in the paper.
    n_passes, burn_in : int
        Passes over the sources of a group that overlap, each source in turn given the others, and how many of them
        are left out. The paper does not say how many it took. A source without neighbours needs one.
    schedule : {"sigmoid", "power", "linear"}
        Temperatures, see `~celestepy.inference.mcmc.AnnealedImportanceSampler`.
    width : float
        First width of the slices along every parameter, in its own unit.
    max_steps : int
        Widths that a slice may be long.
    link_threshold : float
        Sources are neighbours where the cosine between their images exceeds this.
    patch_radius : float
        Half width of a source's patch in units of the PSF's full width at half maximum.
    max_r_hat, least_effective, max_error : float
        Chains with a larger R-hat, fewer effective draws or a larger error of the log evidence are flagged.

    Notes
    -----
    The method is that of [1]_, section 3. See the guide on sampling for what differs.

    References
    ----------
    .. [1] Regier et al. 2019, "Approximate inference for constructing astronomical catalogs from images", Annals of
       Applied Statistics 13, 1884.
    """

    n_temperatures: int = 200
    n_runs: int = 25
    n_draws: int = 25
    n_passes: int = 5
    burn_in: int = 1
    schedule: str = "sigmoid"
    width: float = 1.0
    max_steps: int = 10
    link_threshold: float = 0.05
    patch_radius: float = 8.0
    max_r_hat: float = 1.1
    least_effective: float = 25.0
    max_error: float = 0.5

    name = "paper-mcmc"

    def __post_init__(self):
        least = dict(n_temperatures=1, n_runs=2, n_draws=8, n_passes=1, burn_in=0, max_steps=1)
        for name, number in least.items():
            checked_count(name, getattr(self, name), number)
        if self.burn_in >= self.n_passes:
            raise SamplingError(f"burn_in = {self.burn_in}: expected less than n_passes = {self.n_passes}")
        if self.schedule not in _SCHEDULES:
            raise SamplingError(f"schedule = {self.schedule!r}: expected one of {', '.join(_SCHEDULES)}")
        for name, above in dict(width=0, least_effective=0, max_error=0, max_r_hat=1, patch_radius=1).items():
            if not getattr(self, name) > above:
                raise SamplingError(f"{name} = {getattr(self, name)!r}: expected a number above {above}")
        if not 0 < self.link_threshold < 1:
            raise SamplingError(f"link_threshold = {self.link_threshold!r}: expected a cosine between 0 and 1")

    def settings(self):
        """The settings as plain numbers, for the catalogue's metadata."""
        return asdict(self) | {"method": self.name}

    def fit(self, images, seeds, *, prior=None, rng=None, executor=None, progress=False, draws=None):
        """Catalogue and posterior draws of the sources at given seeds.

        Parameters
        ----------
        images : sequence of `~celestepy.images.Image`
            Any number of bands and exposures; their skies are taken as known.
        seeds : `~celestepy.detection.Seeds` or table
            Where to fit; anything with ``ra`` and ``dec``.
        prior : `~celestepy.model.priors.Prior`, optional
            The default prior if None; ``Prior.load("celeste2019")`` is the paper's.
        rng : `numpy.random.Generator`, int or None
            Of the draws. Each group has a stream of its own, so that the result is the same for any executor.
        executor : None, int or object with ``map``
            See `~celestepy.inference.executors.run_tasks`.
        progress : bool
            Whether to show progress bars.
        draws : path-like, optional
            File (.hdf5) that the draws are written to as groups are finished, and that a run which was stopped is
            continued from; the catalogue then links to it.

        Returns
        -------
        `~celestepy.inference.result.Result`
            Catalogue, verdicts, draws, settings, and the seconds that each source took. In the catalogue
            ``n_iterations`` counts evaluations of the likelihood, and ``effective_draws`` is by the chains' own
            correlation: over the seconds it is the rate that the paper gives.

        Raises
        ------
        ValueError
            If there are no images, the prior does not know one of their bands, or a seed has no position.
        TypeError
            If an argument is of another type than those above.
        CatalogError
            If `draws` was begun with other images, seeds or settings, or cannot be written.
        """
        images = checked_images(images)
        prior = prior_in_bands_of(images, Prior.default() if prior is None else prior)
        seeds = read_seeds(seeds).with_fluxes(images)
        first = seeds.first_of_each()
        start = LaplaceFit(patch_radius=self.patch_radius, drop_doubtful=False, search=False)
        field = _GibbsField(start, images, seeds.rows(first), prior)
        run, entropy = dict(executor=executor, progress=progress), entropy_of(rng, draws)
        with nullcontext() if draws is None else keep_rows(draws, self, entropy, images, field.seeds, prior) as kept:
            interrupted = field.first(**run)
            fits, interrupted = ({}, True) if interrupted else field.sample(self, entropy, kept, **run)
        result = assemble(field, fits, seeds.rows(~first), self, interrupted)
        if draws is not None and not result.interrupted:
            result.catalog.link_draws(draws)
        return result


class _GibbsField(Sweeps):
    """A field whose first sweep is the fast mode's, the paper's "preprocessing routine", and the rest is drawn."""

    def sample(self, settings, entropy, kept=None, **run):
        """Draw from every group of overlapping sources: source -> (row or exception, seconds); and if interrupted."""
        labels, _ = self._links(settings.link_threshold)
        groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
        sample = partial(self._sample, settings, entropy, kept)
        results, interrupted = run_tasks(sample, groups, description="draws", **run)
        return {k: row for result in results for k, row in (result or {}).items()}, interrupted

    def _sample(self, settings, entropy, kept, members):
        """Rows of one group."""
        ids, start = self.seeds.ids[members], time.perf_counter()
        found = kept.recall(ids) if kept else None
        if found is not None:
            return {k: (row, np.nan) for k, row in zip(members, found, strict=True)}
        try:
            rows = self._gibbs(members, settings, np.random.default_rng([entropy, *sorted(members)]))
        except Exception as error:  # one bad source must not end the run; its rows carry the message
            log.exception("sampling failed for the sources %s", members)
            rows = dict.fromkeys(members, error)
        else:
            if kept:
                kept.keep(ids, *self._positions(members), [rows[k] for k in members])
        seconds = (time.perf_counter() - start) / len(members)
        return {k: (row, seconds) for k, row in rows.items()}

    def _gibbs(self, members, settings, rng):
        """Equation 18: each source in turn given the state of the others, for a number of passes."""
        around, state = self._neighbours(members), {k: self.contributions[k] for k in members}
        order = sorted(members, key=lambda k: -self.seeds.brightness[k])
        passes, data, spent = {k: [] for k in members}, dict.fromkeys(members), dict.fromkeys(members, 0)
        alone = len(members) == 1
        for number in range(1 if alone else settings.n_passes):
            for k in order:
                others = {j: each for j, each in state.items() if j != k}
                data[k], drawn = self._conditional(k, around | others, settings, rng)
                if drawn is None:
                    continue
                spent[k] += sum(part.n_evaluations for part in drawn.by_kind.values())
                state[k] = contribution([(*drawn.choose(rng), 1.0)], self.bands)
                if alone or number >= settings.burn_in:
                    passes[k].append(drawn)
        label = -1 if alone else min(members)
        return {k: gibbs_row(k, passes[k], data[k], spent[k], label, self.fitter, settings) for k in members}

    def _conditional(self, k, others, settings, rng):
        """Pixels of one source with the light of the others, and draws given these; None where there are none."""
        data = self.placement.gather([k], others)
        if data is None:
            return None, None
        posterior = known_sky_posterior(data, self.prior, [self.seeds.position_sd[k]])
        return data, draw_conditional(posterior, settings, rng)
