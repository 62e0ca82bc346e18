"""Priors whose densities are known, for tests of what uses priors."""

import numpy as np

from celestepy.deblend.priors import Normalisation


class GaussianPrior:
    """Independent pixels about the profile of a round Gaussian; with a log density."""

    def __init__(self, shape=(32, 32), pixel_scale=0.2, normalisation=None, width=3.0, variance=0.05):
        self.shape, self.pixel_scale = shape, pixel_scale
        self.normalisation = Normalisation("peak") if normalisation is None else normalisation
        y, x = (np.arange(side) - side // 2 for side in shape)
        self.mean = self.normalisation.forward(np.exp(-0.5 * (y[:, None] ** 2 + x**2) / width**2))
        self.variance = variance
        self.sigmas = []

    def score(self, x, sigma):
        self.sigmas.append(sigma)
        return (self.mean - x) / (self.variance + sigma**2)

    def log_prob(self, x):
        return -0.5 * ((x - self.mean) ** 2).sum(axis=(1, 2)) / self.variance


class ScorePrior:
    """The same without a log density."""

    def __init__(self, **settings):
        self._prior = GaussianPrior(**settings)
        self.shape, self.pixel_scale = self._prior.shape, self._prior.pixel_scale
        self.normalisation = self._prior.normalisation

    @property
    def sigmas(self):
        return self._prior.sigmas

    def score(self, x, sigma):
        return self._prior.score(x, sigma)


class BrokenPrior(ScorePrior):
    """No number for the second of its stamps."""

    def score(self, x, sigma):
        result = super().score(x, sigma)
        result[1:2] = np.nan
        return result
