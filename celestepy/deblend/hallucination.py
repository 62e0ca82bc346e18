"""What of a morphology the data have decided, and what the prior: `HallucinationMap`.

The curvature of the log density along each pixel, all others held, is compared between data and prior (Sampson et al.
2024, equation 17, after Sampson & Melchior 2023), both in the prior's own variable x, asinh(S / s) for learned priors:

    data   sum_b A_b^2 (P_b' w_b P_b)_pp (dS/dx)^2,    prior   -(d^2 log p / dx^2)_pp.

Galaxies being smooth, any pixel is all but known from the others: the curvature of a learned prior at temperature
sigma is 1 / sigma^2 nearly everywhere, less where it leaves a choice. So the temperature says what is asked: whether
the data know a pixel better than the prior does whose details are blurred by sigma. At .2, the default, pixels that
the data measure to 20 per cent (a signal to noise of five in the model's pixel) are theirs.

On drawn blends (``examples/experiments/deblending_confidence.py``) the prior's share ranks the errors of pixels in
proportion to their brightness, |S - T| / (S + T), with a correlation of .58. Absolute errors are largest where there is
most light, which is where the data decide: they are ranked the other way round, with -.76 in S and -.51 in x.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.priors import PriorTerm
from celestepy.deblend.source import FreeSource

__all__ = ["TEMPERATURE", "HallucinationMap", "hallucination_map"]

TEMPERATURE = 0.2  # in the prior's variable: the relative precision that is asked of the data
_SPACING = 7  # pixels between probed ones; odd, see `ScorePrior.diagonal`
_STEP = 0.01  # of the prior's variable, for differences of scores


@dataclass(frozen=True, eq=False)
class HallucinationMap:
    """Curvatures of data and prior in the pixels of one source's box.

    Attributes
    ----------
    data, prior : (h, w) arrays
        Fisher information on each pixel of the prior's variable x; 0 where no usable pixel sees it.
    morphology : (h, w) array
        S, of unit sum.
    sigma : float
        Temperature of the prior.
    """

    data: np.ndarray
    prior: np.ndarray
    morphology: np.ndarray
    sigma: float

    @property
    def difference(self):
        """(h, w) prior minus data (equation 17): positive where the prior decides."""
        return self.prior - self.data

    @property
    def prior_share(self):
        """(h, w) share of the curvature that is the prior's: 0 where the data decide, 1 where nothing else does."""
        prior = np.maximum(self.prior, 0.0)  # a learned density may be convex along a pixel: it decides nothing there
        total = prior + self.data
        return np.divide(prior, total, out=np.ones_like(total), where=total > 0)

    @property
    def prior_dominated(self):
        """(h, w) whether the prior decides."""
        return self.prior_share >= 0.5

    @property
    def confidence(self):
        """Light-weighted mean of data minus prior (equation 18): above 0 where the data decide on most of the light.

        Morphologies of unit sum make it comparable between sources of all sizes; it grows as the square of the signal
        to noise.
        """
        return -float((self.difference * self.morphology).sum())

    @property
    def data_share(self):
        """Share of the source's light in pixels, each counted by the data's share of its curvature: 0 to 1."""
        return float(((1.0 - self.prior_share) * self.morphology).sum() / self.morphology.sum())


def hallucination_map(scene, k, prior, *, rng, sigma=TEMPERATURE):
    """Compare what data and prior say of each pixel of a free source.

    Parameters
    ----------
    scene : Scene
        Fitted, with fluxes.
    k : int
        Which source.
    prior : MorphologyPrior
        On its morphology.
    rng : numpy.random.Generator
        Signs of the probes of Hutchinson's estimate.
    sigma : float, optional
        Temperature of the prior, in its variable.

    Returns
    -------
    HallucinationMap
        In the source's box; pixels outside of the frame are the prior's.

    Raises
    ------
    DeblendError
        If there is no such source, it is a star or model galaxy, or the prior is for other pixels.

    Notes
    -----
    Where a box is larger than the prior's stamp, the prior is taken to have the curvature 1 / sigma^2 beyond it.
    """
    if not -len(scene) <= k < len(scene):
        raise DeblendError(f"k: {k}, expected one of the {len(scene)} sources, 0 to {len(scene) - 1}")
    source = scene.sources[k]
    if not isinstance(source, FreeSource):
        raise DeblendError(f"k: source {k} is a {source.kind}, expected a free one: others have no pixels to decide on")
    term = PriorTerm(prior, scene.frame.grid.pixel_scale, scene.frame.model_psf)
    of_prior = _prior_information(term, source.morphology, sigma, rng)
    return HallucinationMap(_data_information(scene, k, term.normalisation), of_prior, source.morphology, sigma)


def _data_information(scene, k, normalisation):
    """Curvature of half chi^2 along each pixel of x for fixed fluxes and a fixed unit of S."""
    source = scene.sources[k]
    on_grid, in_box = source.box.overlap(scene.frame.grid.shape)
    of_flux = np.zeros(source.morphology.shape)
    of_flux[in_box] = np.tensordot(scene.seds[k] ** 2, scene.frame.information()[:, *on_grid], 1)
    size = normalisation.size(source.morphology)
    if normalisation.softening is None:
        return of_flux * size**2
    return of_flux * (source.morphology**2 + (normalisation.softening * size) ** 2)


def _prior_information(term, morphology, sigma, rng):
    """Minus the second derivatives of the log density along each pixel of the box."""
    in_stamp, in_box = [], []
    for stamp_side, side in zip(term.shape, morphology.shape, strict=True):
        shift = stamp_side // 2 - side // 2
        first, last = max(shift, 0), min(shift + side, stamp_side)
        in_stamp.append(slice(first, last))
        in_box.append(slice(first - shift, last - shift))
    stamp = np.zeros(term.shape)
    stamp[*in_stamp] = term.normalisation.forward(morphology)[*in_box]
    diagonal = getattr(term.prior, "diagonal", None)
    found = _probed(term.prior, stamp, sigma, rng) if diagonal is None else diagonal(stamp, sigma, rng)
    information = np.full(morphology.shape, sigma**-2.0)
    information[*in_box] = -np.asarray(found, dtype=float)[*in_stamp]
    return information


def _probed(prior, stamp, sigma, rng):
    """Hutchinson's estimate of the diagonal by differences of scores, for priors that have no estimate of their own.

    Each probe is 1 or -1 on the pixels of a grid, so that what a pixel picks up comes from far away.
    """
    row, column = np.indices(stamp.shape) % _SPACING
    found = np.zeros(stamp.shape)
    for grid in range(_SPACING**2):
        probe = np.where(row * _SPACING + column == grid, rng.choice([-1.0, 1.0], stamp.shape), 0.0)
        above, below = (prior.score((stamp + step * probe)[None], sigma)[0] for step in (_STEP, -_STEP))
        found += probe * (above - below) / (2 * _STEP)
    return found
