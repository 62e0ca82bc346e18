"""Score functions of other packages as priors."""

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.priors import Normalisation

__all__ = ["ScoreFunctionPrior"]


class ScoreFunctionPrior:
    """A prior from any function that returns the gradient of a log density, at a temperature of its own.

    Parameters
    ----------
    function : callable
        From stamps (1, h, w), one at a time, to gradients of that shape. The priors of ``galaxygrad`` are such
        functions, and so are instances of ``scarlet2.nn.ScorePrior``.
    shape : (int, int)
        Of the stamps.
    pixel_scale : float
        Arcsec per pixel of its training.
    normalisation : celestepy.deblend.priors.Normalisation, optional
        Of the stamps; without one, they have highest pixel 1 on a linear scale.
    factor : float, optional
        What a stamp is multiplied by before the function sees it, if it was trained on images of another brightness.

    Raises
    ------
    DeblendError
        If ``function`` cannot be called, or a number is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from celestepy.deblend.learned import ScoreFunctionPrior
    >>> prior = ScoreFunctionPrior(lambda stamp: -stamp, (32, 32), pixel_scale=0.168)  # a Gaussian
    >>> prior.score(np.ones((2, 32, 32)), sigma=0.1).shape
    (2, 32, 32)

    The priors of galaxygrad take their temperature as ``t``, which a partial function fixes; those of scarlet2 have it
    from when they were made. Both were trained on images of the survey's own brightness, so ``factor`` is the highest
    pixel of a typical galaxy in the units of those images::

        from functools import partial
        import galaxygrad, scarlet2.nn

        model = galaxygrad.get_prior("hsc32")
        prior = ScoreFunctionPrior(partial(model, t=0.02), (32, 32), pixel_scale=0.168, factor=10.0)
        same = ScoreFunctionPrior(scarlet2.nn.ScorePrior(model, (32, 32), t=0.02), (32, 32), 0.168, factor=10.0)
        result = ScoreDescent(prior=prior).fit(scene)

    For the other direction, a prior of this package in scarlet2, ``jax_network.load_score`` of ``examples/training``
    gives the score of a weight file as a function of JAX.
    """

    def __init__(self, function, shape, pixel_scale, normalisation=None, factor=1.0):
        if not callable(function):
            raise DeblendError(f"function: {function!r} cannot be called, expected a function of stamps (1, h, w)")
        for name, value in (("pixel_scale", pixel_scale), ("factor", factor)):
            if not (np.isfinite(value) and value > 0):
                raise DeblendError(f"{name}: {value!r}, expected a number > 0")
        self.function, self.shape = function, tuple(int(side) for side in shape)
        self.pixel_scale, self.factor = float(pixel_scale), float(factor)
        self.normalisation = normalisation or Normalisation("peak")

    def score(self, x, sigma=None):
        """Gradient of the log density.

        Parameters
        ----------
        x : array, (n, h, w) or (h, w)
            Stamps in the prior's normalisation.
        sigma : float, optional
            Not used: the function has a temperature of its own.

        Returns
        -------
        array of the shape of ``x``

        Raises
        ------
        DeblendError
            If stamps have another shape, or the function returns something else than one finite number per pixel.
        """
        x = np.asarray(x, float)
        if x.shape[-2:] != self.shape or x.ndim not in (2, 3):
            raise DeblendError(f"x: shape {x.shape}, expected (n, {self.shape[0]}, {self.shape[1]})")
        stamps = x.reshape(-1, 1, *self.shape)
        scores = [np.asarray(self.function(self.factor * stamp), float) for stamp in stamps]
        for score in scores:
            if score.size != stamps[0].size or not np.isfinite(score).all():
                raise DeblendError(
                    f"function: returned shape {score.shape} with {np.sum(~np.isfinite(score))} values that are not"
                    f" finite, expected one finite number for each of the pixels of a stamp (1, {self.shape[0]},"
                    f" {self.shape[1]})"
                )
        return self.factor * np.reshape(scores, x.shape)
