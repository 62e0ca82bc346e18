"""Empirical Bayes: priors learned from catalogues, with the prior that these were made with divided out.

The room lies above the catalogue, whose posteriors it reads, and below the command line; the laws themselves and the
fits of single laws are in `celestepy.model`.
"""

from celestepy.priors.catalog_fit import PriorFit
from celestepy.priors.fitted import FittedPrior
from celestepy.priors.iteration import iterate

__all__ = ["FittedPrior", "PriorFit", "iterate"]
