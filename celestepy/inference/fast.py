"""The fast mode: every group of overlapping sources fitted jointly, under each assignment of types, by Newton's method.

The field is swept twice. The first sweep fits every group as galaxies until each source is known well enough
to be subtracted from its neighbours' patches. The second takes the groups anew, with the sizes found, and does the
whole work: types, evidences, covariances, existence. A group's result depends on the first sweep alone, never on the
order in which groups are done, so that it is the same for any number of workers.
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

import numpy as np

from celestepy.detection.seed_table import checked_images
from celestepy.inference.newton import TrustRegion
from celestepy.inference.result import assemble
from celestepy.inference.rows import source_rows
from celestepy.inference.seed_table import read_seeds
from celestepy.inference.sweeps import Sweeps
from celestepy.model.priors import Prior

__all__ = ["LaplaceFit", "prior_in_bands_of"]


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
    search : bool
        Whether to look for sources that the seeds miss, in the residuals and by splitting galaxies in two.
    search_threshold : float
        Signal to noise above which a peak of the residuals is tried as a source.
    newton : `~celestepy.inference.newton.TrustRegion`
        Settings of the iteration.
    """

    patch_radius: float = 8.0
    sky_factor: float = 1.0
    link_threshold: float = 0.05
    max_group: int = 5
    existence_threshold: float = 5.0
    drop_doubtful: bool = True
    search: bool = True
    search_threshold: float = 6.0
    newton: TrustRegion = field(default_factory=TrustRegion)

    name = "fast"

    def __post_init__(self):
        self._check("patch_radius", self.patch_radius > 1, "more than 1 FWHM; 8 is usual")
        self._check("sky_factor", self.sky_factor > 0, "a positive number; 1 is usual")
        self._check("link_threshold", 0 < self.link_threshold < 1, "a cosine between 0 and 1; 0.05 is usual")
        self._check(
            "max_group",
            self.max_group >= 1 and self.max_group == int(self.max_group),
            "a whole number from 1 on; 5 is usual",
        )
        self._check("existence_threshold", not np.isnan(self.existence_threshold), "a number; 5 is usual")
        self._check("search_threshold", self.search_threshold > 0, "a positive number; 6 is usual")
        self._check("newton", isinstance(self.newton, TrustRegion), "a TrustRegion such as TrustRegion()")

    def _check(self, name, holds, expected):
        if not holds:
            raise ValueError(f"{name} = {getattr(self, name)!r}: expected {expected}")

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

        Raises
        ------
        ValueError
            If there are no images, the prior does not know one of their bands, or a seed has no position.
        TypeError
            If an argument is of another type than those above.
        """
        return self.run(images, seeds, prior, executor=executor, progress=progress)

    def run(self, images, seeds, prior=None, *, engine=None, make_rows=source_rows, keep=None, **run):
        """Fit a field, and let another engine make the rows of each fitted group.

        Parameters
        ----------
        images, seeds, prior
            As in `fit`.
        engine : object, optional
            Engine that the result is from, with ``name`` and ``settings()``; by default this one.
        make_rows : callable
            Makes rows of a fitted group, see `~celestepy.inference.rows.source_rows`.
        keep : callable, optional
            Opens the `~celestepy.inference.kept_rows.KeptRows` of a fit, given the images, its seeds and its prior.
        **run
            ``executor`` and ``progress``, as in `fit`.

        Returns
        -------
        `~celestepy.inference.result.Result`
            Catalogue, verdicts and settings.
        """
        images = checked_images(images)
        prior = prior_in_bands_of(images, Prior.default() if prior is None else prior)
        seeds = read_seeds(seeds).with_fluxes(images)
        first = seeds.first_of_each()
        sweeps = Sweeps(self, images, seeds.rows(first), prior)
        interrupted = sweeps.first(**run)
        if self.search and not interrupted:
            interrupted = sweeps.search(**run)
        with keep(images, sweeps.seeds, prior) if keep else nullcontext() as kept:
            fits, interrupted = ({}, True) if interrupted else sweeps.second(make_rows, kept, **run)
        if interrupted:
            fits = sweeps.first_rows() | fits
        return assemble(sweeps, fits, seeds.rows(~first), engine or self, interrupted)


def prior_in_bands_of(images, prior):
    """The prior in the bands of the images, in its own order and with its own reference band where that is present."""
    if not isinstance(prior, Prior):
        raise TypeError(f"prior: {type(prior).__name__}, expected a Prior, such as Prior.load({str(prior)!r}), or None")
    present = {image.band for image in images}
    unknown = sorted(present - set(prior.bands))
    if unknown:
        raise ValueError(
            f"the prior {prior.name!r} knows nothing of the band(s) {', '.join(unknown)}; it knows "
            f"{', '.join(prior.bands)}: leave those images out, or give a prior that has them"
        )
    reference = prior.bands.reference
    return prior.for_bands(
        [band for band in prior.bands if band in present], reference if reference in present else None
    )
