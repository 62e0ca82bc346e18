"""Fits that begin with a hot prior: its density is smooth there, with one maximum that is soon found."""

import time
from dataclasses import dataclass, replace

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.stopping import StopRule

__all__ = ["TemperatureLadder"]


@dataclass(frozen=True)
class TemperatureLadder:
    """Fit with a prior at falling temperatures, each fit from where the one before ended.

    A cold log density changes slowly along the few directions in which galaxies differ and steeply along all others,
    so that wings which the start lacks take hundreds of iterations to come. At a temperature of 1 they are there after
    twenty.

    Parameters
    ----------
    method : Solver
        Of the last fit, with a `PixelCNNPrior`; the objective of that fit is the result's trace.
    temperatures : sequence of float, optional
        Of the fits before it.
    iterations : int, optional
        Of each of them.

    Raises
    ------
    DeblendError
        If the method's prior has no temperature to choose.

    Examples
    --------
    >>> from celestepy.deblend import ForwardBackward, NonNegative
    >>> from celestepy.deblend.learned import PixelCNNPrior, TemperatureLadder
    >>> prior = PixelCNNPrior.load("pixelcnn-hsc-32")
    >>> method = TemperatureLadder(ForwardBackward(constraints=(NonNegative(),), prior=prior))
    >>> method.temperatures
    (1.0,)
    """

    method: object
    temperatures: tuple = (1.0,)
    iterations: int = 20

    def __post_init__(self):
        if not hasattr(getattr(self.method, "prior", None), "at"):
            raise DeblendError(
                f"method: {self.method!r}, expected a method whose prior has a temperature, for instance"
                ' ForwardBackward(prior=PixelCNNPrior.load("pixelcnn-hsc-32"))'
            )

    @property
    def prior(self):
        """That of the last fit."""
        return self.method.prior

    def fit(self, scene):
        """Fit from hot to cold.

        Parameters
        ----------
        scene : Scene
            The start.

        Returns
        -------
        DeblendResult
            Of the last fit, with the seconds of all.

        Raises
        ------
        DeblendError
            As by the method.
        """
        began = time.perf_counter()
        for temperature in self.temperatures:
            stop = StopRule(max_iterations=self.iterations)
            hot = replace(self.method, prior=self.method.prior.at(temperature), stop=stop)
            scene = hot.fit(scene).scene
        return replace(self.method.fit(scene), seconds=time.perf_counter() - began)
