"""Smooth priors on morphologies: what they have to offer, and how the solvers use them.

A prior is any object with the attributes of `MorphologyPrior`. It sees morphologies in its own normalisation, on
stamps of its own shape and pixel scale; both are checked when it meets a source.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from celestepy.deblend.errors import DeblendError

__all__ = ["MorphologyPrior", "Normalisation", "PriorTerm"]

SCALE_TOLERANCE = 0.02  # fractional difference of pixel scales that is passed over
WIDTH_TOLERANCE = 0.05  # and of the widths of the model PSF


@dataclass(frozen=True)
class Normalisation:
    """How a prior wants morphologies: x = asinh(S / (softening * size)), or S / size without a softening.

    Parameters
    ----------
    reference : {"sum", "peak"}
        The size of a morphology S: its sum or its largest pixel.
    softening : float, optional
        Where the scale turns from linear to logarithmic, in units of the size.
    """

    reference: str = "peak"
    softening: float = None

    def __post_init__(self):
        if self.reference not in ("sum", "peak"):
            raise DeblendError(f"reference: {self.reference!r}, expected 'sum' or 'peak'")
        if self.softening is not None and not (np.isfinite(self.softening) and self.softening > 0):
            raise DeblendError(f"softening: {self.softening!r}, expected a number > 0, or None for a linear scale")

    def size(self, morphology):
        """What a morphology is divided by.

        Parameters
        ----------
        morphology : (h, w) array
            With a positive sum or pixel.

        Returns
        -------
        float
            Sum or largest pixel.
        """
        return float(morphology.sum() if self.reference == "sum" else morphology.max())

    def forward(self, morphology):
        """Bring a morphology to the prior's normalisation.

        Parameters
        ----------
        morphology : (h, w) array
            Any scale.

        Returns
        -------
        (h, w) array
            x.
        """
        scaled = morphology / self.size(morphology)
        return scaled if self.softening is None else np.arcsinh(scaled / self.softening)

    def backward(self, x):
        """The inverse of `forward`, up to the scale of the morphology.

        Parameters
        ----------
        x : (h, w) array
            In the prior's normalisation.

        Returns
        -------
        (h, w) array
            A morphology.
        """
        return x if self.softening is None else self.softening * np.sinh(x)

    def pull_back(self, morphology, gradient):
        """Chain rule: from the gradient with respect to x to that with respect to the morphology.

        Parameters
        ----------
        morphology, gradient : (h, w) arrays
            S, and d f / d x at `forward` of it.

        Returns
        -------
        (h, w) array
            d f / d S, orthogonal to S, because x does not depend on the scale of S.
        """
        size = self.size(morphology)
        scaled = morphology / size
        if self.softening is not None:
            gradient = gradient / np.sqrt(scaled**2 + self.softening**2)
        along = float((gradient * scaled).sum())
        result = gradient / size
        if self.reference == "sum":
            return result - along / size
        result = result.copy()
        result[np.unravel_index(np.argmax(morphology), morphology.shape)] -= along / size
        return result


class MorphologyPrior(Protocol):
    """What a prior has to offer.

    ``log_prob(x) -> (n,)`` is optional; with it the objective of forward-backward splitting never rises. So is
    ``model_psf_sigma``, the standard deviation in pixels of the Gaussian PSF of the stamps: where it is there, the
    model has to have that PSF. And so is ``curvature``, a bound on the second derivatives of ``-log_prob`` along any
    direction of x: with it, forward-backward splitting gives each pixel a step of its own.

    Attributes
    ----------
    shape : (int, int)
        Stamp it was trained for; a source stands on the pixel ``(h // 2, w // 2)``.
    pixel_scale : float
        Arcsec per pixel that it was trained for.
    normalisation : Normalisation
        Of the stamps.
    """

    shape: tuple
    pixel_scale: float
    normalisation: Normalisation

    def score(self, x, sigma):
        """Gradient of the log density of stamps blurred by noise.

        Parameters
        ----------
        x : (n, h, w) array
            Stamps in the prior's normalisation.
        sigma : float
            Standard deviation of the noise, in that normalisation; 0 is allowed where `log_prob` exists.

        Returns
        -------
        (n, h, w) array
            d log p / d x.
        """


class PriorTerm:
    """A prior as the solvers see it: of boxes of any size that its stamp can hold.

    Parameters
    ----------
    prior : MorphologyPrior
        The prior.
    pixel_scale : float
        Of the model, arcsec.
    model_psf : PSFMixture, optional
        Of the model.

    Raises
    ------
    DeblendError
        If an attribute is missing, or the prior was trained for other pixels or another model PSF.
    """

    def __init__(self, prior, pixel_scale, model_psf=None):
        for name in ("score", "shape", "pixel_scale", "normalisation"):
            if not hasattr(prior, name):
                raise DeblendError(f"prior: {type(prior).__name__} has no {name!r}, expected those of MorphologyPrior")
        if not isinstance(prior.normalisation, Normalisation):
            raise DeblendError(f"prior: normalisation {prior.normalisation!r}, expected a Normalisation")
        if abs(np.log(prior.pixel_scale / pixel_scale)) > SCALE_TOLERANCE:
            raise DeblendError(
                f"prior: trained for pixels of {prior.pixel_scale:.4g} arcsec, the model's are {pixel_scale:.4g}; give"
                " the frame a grid of the prior's pixel scale, or take another prior"
            )
        _check_model_psf(getattr(prior, "model_psf_sigma", None), model_psf)
        self.prior, self.normalisation = prior, prior.normalisation
        self.shape = tuple(int(side) for side in prior.shape)
        self.has_log_prob = hasattr(prior, "log_prob")

    @property
    def largest_half(self):
        """Pixels to each side of the centre that a stamp holds."""
        return tuple((side - 1) // 2 for side in self.shape)

    def check(self, shape, name):
        """Refuse a box that the stamp cannot hold.

        Parameters
        ----------
        shape : (int, int)
            Odd sides of the box.
        name : str
            Of the source, for the message.

        Raises
        ------
        DeblendError
            If it is too large.
        """
        if any(side // 2 > half for side, half in zip(shape, self.largest_half, strict=True)):
            raise DeblendError(
                f"prior: {name} has a box of {shape[0]} x {shape[1]} pixels, larger than the stamps of"
                f" {self.shape[0]} x {self.shape[1]} that the prior was trained for; start with a smaller box or take"
                " a prior for larger stamps"
            )

    def score(self, xs, sigma):
        """Scores of sources in their boxes, 0 where a box is larger than the stamp.

        Parameters
        ----------
        xs : list of (h, w) arrays
            In the prior's normalisation, odd sides.
        sigma : float
            See `MorphologyPrior.score`.

        Returns
        -------
        list of (h, w) arrays
            d log p / d x.
        """
        scores = np.asarray(self.prior.score(self._stamps(xs), sigma), dtype=float)
        results = [np.zeros(x.shape) for x in xs]
        for result, score in zip(results, scores, strict=True):
            in_stamp, in_box = self._windows(result.shape)
            result[in_box] = self._gathered(score, result.shape)[in_stamp]
        return results

    def inside(self, shape):
        """Which pixels of a box the stamp holds.

        Parameters
        ----------
        shape : (int, int)
            Odd sides of the box.

        Returns
        -------
        (h, w) array of bool
            All of them unless the box is larger than the stamp.
        """
        inside = np.zeros(shape, bool)
        inside[self._windows(shape)[1]] = True
        return inside

    def log_prob(self, xs):
        """Log densities of sources.

        Parameters
        ----------
        xs : list of (h, w) arrays
            In the prior's normalisation, odd sides.

        Returns
        -------
        (n,) array
            log p.
        """
        return np.asarray(self.prior.log_prob(self._stamps(xs)), dtype=float)

    def curvature(self, morphology):
        """Bounds on the second derivatives of the log density with respect to the pixels of a morphology.

        Those of x by the chain rule; the largest pixel, where it is the size, changes all of x at once.

        Parameters
        ----------
        morphology : (h, w) array
            S.

        Returns
        -------
        (h, w) array
            Diagonal of a matrix no smaller than half the second derivatives; 0 where the prior knows no bound.
        """
        size = self.normalisation.size(morphology)
        scaled, softening = morphology / size, self.normalisation.softening
        slopes = np.ones_like(scaled) if softening is None else 1 / np.hypot(scaled, softening)
        found = slopes**2
        if self.normalisation.reference == "peak":
            found[np.unravel_index(np.argmax(morphology), found.shape)] += np.sum((scaled * slopes) ** 2)
        return getattr(self.prior, "curvature", 0.0) * found / size**2

    def _stamps(self, xs):
        """Boxes on stamps, zeros round them.

        No box reaches the first row or column of a stamp of even sides. Where it reaches all others, the first repeats
        the second: zeros would be an edge through the light of a large galaxy.
        """
        stamps = np.zeros((len(xs), *self.shape))
        for stamp, x in zip(stamps, xs, strict=True):
            in_stamp, in_box = self._windows(x.shape)
            stamp[in_stamp] = x[in_box]
            rows, columns = self._repeated(x.shape)
            if rows:
                stamp[0] = stamp[1]
            if columns:
                stamp[:, 0] = stamp[:, 1]
        return stamps

    def _gathered(self, score, shape):
        """What a score says of the first row and column, added where they were repeated from."""
        rows, columns = self._repeated(shape)
        score = score.copy() if rows or columns else score
        if columns:
            score[:, 1] += score[:, 0]
        if rows:
            score[1] += score[0]
        return score

    def _repeated(self, shape):
        """Whether the first row, and the first column, of the stamp of a box repeat the second."""
        return tuple(stamp % 2 == 0 and side == stamp - 1 for stamp, side in zip(self.shape, shape, strict=True))

    def _windows(self, shape):
        """The common pixels of the stamp and of a box about the same centre, in the coordinates of each."""
        in_stamp, in_box = [], []
        for stamp, side in zip(self.shape, shape, strict=True):
            shift = stamp // 2 - side // 2
            first, last = max(shift, 0), min(shift + side, stamp)
            in_stamp.append(slice(first, last))
            in_box.append(slice(first - shift, last - shift))
        return tuple(in_stamp), tuple(in_box)


def _check_model_psf(wanted, model_psf):
    if wanted is None:
        return
    sigma = 0.0 if model_psf is None else float(np.sqrt(model_psf.covariances[:, [0, 2]].mean()))
    if abs(sigma - wanted) > WIDTH_TOLERANCE * wanted:
        raise DeblendError(
            f"prior: trained for a model PSF of {wanted:.3g} pixels (Gaussian sigma), the frame's has {sigma:.3g}; make"
            f" the frame with model_psf=PSFMixture([1], [[0, 0]], [[{wanted**2:.4g}, 0, {wanted**2:.4g}]])"
        )
