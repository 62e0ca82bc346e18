"""What a fit of a prior has found, and how far it can be trusted."""

from dataclasses import dataclass, field

import numpy as np

from celestepy.model.parameters import GALAXY, KINDS, STAR
from celestepy.model.priors import Prior

__all__ = ["FittedPrior"]

PLURAL = {STAR: "stars", GALAXY: "galaxies"}
_FEW = 10  # effective draws
_MANY_SOURCES = 0.1


@dataclass(frozen=True)
class FittedPrior:
    """Result of `celestepy.priors.PriorFit.fit`.

    Attributes
    ----------
    prior : `~celestepy.model.priors.Prior`
        The prior.
    interim : `~celestepy.model.priors.Prior`
        The one that the catalogue was made with.
    faint_limit : float
        Magnitude in the reference band above which the laws were fitted.
    n_sources : int
        Sources of the catalogue that could be used.
    expected : dict of str to float
        Expected numbers of stars and galaxies above the limit.
    kept : tuple of str
        Types that were too few to fit and keep the laws of the interim prior.
    count_scores : dict of str to (m,) array
        Held-out log likelihood by family of the galaxies' flux law, of the sources above the limit and up to a constant
        of each; empty if the family was given.
    effective_draws : (n_sources,) array
        Number of equally weighted draws that those of each source are worth under the new prior.
    trace : tuple of float
        Log likelihood at every step, up to a constant.
    """

    prior: Prior
    interim: Prior
    faint_limit: float
    n_sources: int
    expected: dict
    kept: tuple
    count_scores: dict
    effective_draws: np.ndarray = field(repr=False)
    trace: tuple = field(repr=False)

    @property
    def is_far_from_interim(self):
        """Whether more than a tenth of the sources have fewer than 10 effective draws.

        Then the new prior lives where the old one let the posteriors hardly go: make the catalogue again with the new
        prior, and fit again.
        """
        return bool((self.effective_draws < _FEW).mean() > _MANY_SOURCES)

    def __str__(self):
        counted = " and ".join(f"{self.expected[kind]:.0f} {PLURAL[kind]}" for kind in KINDS)
        reference = self.prior.bands.reference
        lines = [f"{self.prior.name}: from {self.n_sources} sources, of which {counted} above {reference} = "
                 f"{self.faint_limit:.2f}; star fraction {self.prior.star_fraction:.3f} ({self.interim.name}: "
                 f"{self.interim.star_fraction:.3f})"]
        if self.count_scores:
            best, other = sorted(self.count_scores, key=lambda family: -self.count_scores[family].sum())
            gain = self.count_scores[best] - self.count_scores[other]
            lines.append(f"galaxy counts: {best}, held-out log likelihood {gain.sum():+.1f} +- "
                         f"{gain.std() * len(gain)**0.5:.1f} over {other}")
        lines += [f"{PLURAL[kind]}: too few, their laws are those of {self.interim.name}" for kind in self.kept]
        lines.append(f"{len(self.trace)} steps, log likelihood {self.trace[-1] - self.trace[0]:+.1f}; median of "
                     f"{np.median(self.effective_draws):.0f} effective draws of each source")
        return "\n".join(lines)
