"""Priors for small and for large stamps as one: every source has the smallest that holds its light."""

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned.score_prior import ScorePrior
from celestepy.deblend.learned.stamps import trained_priors

__all__ = ["SizedPrior"]


class SizedPrior:
    """Score priors of one survey for stamps of several sizes.

    A network for 64 pixels takes four times as long as one for 32, and most sources need no more. Each stamp that the
    solvers give has zeros outside of the source's box: it goes to the smallest prior whose stamp holds all that is not
    zero, and the score outside of that stamp is zero.

    Parameters
    ----------
    priors : sequence of LearnedPrior
        Of the same pixel scale, normalisation and model PSF.

    Attributes
    ----------
    shape : (int, int)
        Of the largest stamps.
    pixel_scale, normalisation, model_psf_sigma
        Of all the priors; see `~celestepy.deblend.learned.LearnedPrior`.
    sigma_range : (float, float)
        Temperatures that all of them know.

    Raises
    ------
    DeblendError
        If there is no prior, or they do not go together.

    Examples
    --------
    >>> from celestepy.deblend.learned import ScorePrior, SizedPrior
    >>> prior = SizedPrior([ScorePrior.load("score-hsc-32")])
    >>> prior.shape
    (32, 32)
    """

    def __init__(self, priors):
        self.priors = sorted(priors, key=lambda prior: prior.shape)
        if not self.priors:
            raise DeblendError("priors: none given, expected at least one")
        first = self.priors[0]
        for name in ("pixel_scale", "normalisation", "model_psf_sigma"):
            values = [getattr(prior, name) for prior in self.priors]
            if any(value != values[0] for value in values):
                raise DeblendError(f"priors: their {name} are {values}, expected the same of all")
        self.shape, self.pixel_scale = self.priors[-1].shape, first.pixel_scale
        self.normalisation, self.model_psf_sigma = first.normalisation, first.model_psf_sigma
        self.sigma_range = tuple(
            pick(prior.sigma_range[k] for prior in self.priors) for k, pick in enumerate((max, min))
        )

    @classmethod
    def load(cls, survey, **options):
        """Read the score priors of all sizes that come with the package.

        Parameters
        ----------
        survey : str
            Whose galaxies, for instance ``"hsc"``.
        **options
            Further parameters of `ScorePrior`.

        Returns
        -------
        SizedPrior

        Raises
        ------
        DeblendError
            If there are no priors of that survey.
        """
        names = [name for name in trained_priors() if name.startswith(f"score-{survey}-")]
        if not names:
            known = sorted({name.split("-")[1] for name in trained_priors()})
            raise DeblendError(f"survey: no score priors of {survey!r}, expected one of {', '.join(known)}")
        return cls([ScorePrior.load(name, **options) for name in names])

    def score(self, x, sigma):
        """Gradient of the log density of stamps blurred by noise, by the prior for each.

        Parameters
        ----------
        x : array, (n, h, w) or (h, w)
            Stamps u of the largest size, the source on the pixel ``(h // 2, w // 2)``.
        sigma : float
            Temperature.

        Returns
        -------
        array of the shape of ``x``

        Raises
        ------
        DeblendError
            As by `ScorePrior.score`.
        """
        stamps = self.priors[-1]._stamps(x)
        scores, left = np.zeros_like(stamps), np.ones(len(stamps), bool)
        for prior in self.priors:
            window = self._window(prior)
            inside = np.count_nonzero(stamps[:, *window], axis=(1, 2))
            own = left & (inside == np.count_nonzero(stamps, axis=(1, 2)))
            if own.any():
                scores[own, *window] = prior.score(stamps[own, *window], sigma)
            left &= ~own
        return scores.reshape(np.shape(x))

    def _window(self, prior):
        """Where a smaller stamp lies on the largest one, source on source."""
        return tuple(
            slice(large // 2 - small // 2, large // 2 - small // 2 + small)
            for large, small in zip(self.shape, prior.shape, strict=True)
        )
