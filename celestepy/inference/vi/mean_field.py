"""The variational inference of the Celeste paper: joint over both types, mean-field, by block coordinate ascent."""

from dataclasses import asdict, dataclass, field

from celestepy.detection.seed_table import checked_images
from celestepy.inference.newton import TrustRegion
from celestepy.inference.result import assemble
from celestepy.inference.seed_table import read_seeds
from celestepy.inference.vi.ascent import BlockAscent
from celestepy.inference.vi.rows import POINT_MASS_SD
from celestepy.model.priors import Prior

__all__ = ["MeanFieldVI"]


@dataclass(frozen=True)
class MeanFieldVI:
    """Settings of the paper's variational inference, and its engine.

    It is here as the baseline that the published tables are about. Its errors are too small, and positions and shapes
    have none: use `~celestepy.inference.LaplaceFit` for science.

    Parameters
    ----------
    max_passes : int
        Passes over the field in which each source is updated with its neighbours fixed. Sources whose surroundings
        have not changed are left out.
    patch_radius : float
        Half width of a source's patch in units of the PSF's full width at half maximum.
    newton : `~celestepy.inference.newton.TrustRegion`
        Settings of the iteration.

    Notes
    -----
    The method is that of [1]_, section 4. See the guide on the paper's inference for what differs.

    References
    ----------
    .. [1] Regier et al. 2019, "Approximate inference for constructing astronomical catalogs from images", Annals of
       Applied Statistics 13, 1884.
    """

    max_passes: int = 3
    patch_radius: float = 8.0
    newton: TrustRegion = field(
        default_factory=lambda: TrustRegion(max_iterations=100, tolerance=5e-3, radius=1.0, max_radius=5.0))

    name = "paper-vi"

    def __post_init__(self):
        if not (self.max_passes >= 1 and self.max_passes == int(self.max_passes)):
            raise ValueError(f"max_passes = {self.max_passes!r}: expected a whole number from 1 on; the paper took 3")
        if not self.patch_radius > 1:
            raise ValueError(f"patch_radius = {self.patch_radius!r}: expected more than 1 FWHM; 8 is usual")
        if not isinstance(self.newton, TrustRegion):
            raise ValueError(f"newton = {self.newton!r}: expected a TrustRegion such as TrustRegion()")

    def settings(self):
        """The settings as plain numbers, for the catalogue's metadata.

        Returns
        -------
        dict
            Names and values.
        """
        return asdict(self) | {"method": self.name, "point_mass_sd": POINT_MASS_SD}

    def fit(self, images, seeds, *, prior=None, rng=None, executor=None, progress=False):
        """Catalogue of the sources at given seeds.

        Parameters
        ----------
        images : sequence of `~celestepy.images.Image`
            Any number of bands and exposures; their skies are taken as known.
        seeds : `~celestepy.detection.Seeds` or table
            Where to fit; anything with ``ra`` and ``dec``.
        prior : `~celestepy.model.priors.Prior`, optional
            The default prior if None; ``Prior.load("celeste2019")`` is the paper's.
        rng : `numpy.random.Generator`, int or None
            Unused: nothing is drawn. Present so that all engines are called alike.
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
        images = checked_images(images)
        prior = _in_bands_of(images, Prior.default() if prior is None else prior)
        seeds = read_seeds(seeds)
        first = seeds.first_of_each()
        ascent = BlockAscent(self, images, seeds.rows(first), prior)
        interrupted = ascent.run(executor=executor, progress=progress)
        return assemble(ascent, ascent.rows(), seeds.rows(~first), self, interrupted)


def _in_bands_of(images, prior):
    """The prior in the bands of the images, in its own order; it raises for bands that it does not know."""
    if not isinstance(prior, Prior):
        raise TypeError(f"prior: {type(prior).__name__}, expected a Prior, such as Prior.load({str(prior)!r}), or None")
    present, reference = {image.band for image in images}, prior.bands.reference
    names = [band for band in prior.bands if band in present] + sorted(present - set(prior.bands))
    return prior.for_bands(names, reference if reference in present else None)
