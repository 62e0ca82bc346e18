"""A prior with an explicit density: each pixel given those before it, by a PixelCNN."""

import copy

import numpy as np
from scipy.special import log_softmax, logsumexp

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned.stamps import LearnedPrior
from celestepy.nn import Sequential

__all__ = ["PixelCNNPrior"]


class PixelCNNPrior(LearnedPrior):
    """Log density of galaxies, its exact gradient, and draws (Lanusse et al. 2019, sec. 3).

    Each pixel, given those before it in raster order, is a mixture of Gaussians. Noiseless images have no density
    worth the name, their pixels being all but determined by their neighbours; the density is that of u plus noise.

    Parameters
    ----------
    file : celestepy.nn.NetworkFile
        See `~celestepy.deblend.learned.LearnedPrior`.
    temperature : float, optional
        Standard deviation of the noise that belongs to the density, in units of u. The maximum of a cold density is
        the galaxy that is most alike to many others, compact and smooth, rather than a typical one: fits at 0.4 have
        hardly any bias in their fluxes, fits at 0.05 lack the wings of faint galaxies.
    dtype : dtype, optional
        Precision of the network. In float32 log densities of about a thousand have errors of about 1e-3, which ends
        line searches early.
    """

    kind = "pixelcnn"

    def __init__(self, file, temperature=0.4, dtype=np.float64):
        super().__init__(file, dtype)
        self.temperature = self._temperature(temperature)

    def at(self, temperature):
        """Make the same prior with another temperature; both share the network.

        Parameters
        ----------
        temperature : float
            As for the class.

        Returns
        -------
        PixelCNNPrior

        Raises
        ------
        DeblendError
            If the network does not know the temperature.
        """
        other = copy.copy(self)
        other.temperature = self._temperature(temperature)
        return other

    @property
    def curvature(self):
        """Bound on the second derivatives of minus the log density: that of the noise, 1 / temperature^2.

        For p * N(0, t^2) they are 1 / t^2 less the covariance of the noiseless stamps given the noisy one over t^4.
        """
        return self.temperature**-2.0

    def _total(self, sigma):
        if not sigma >= 0:
            raise DeblendError(f"sigma: {sigma!r}, expected a number >= 0")
        return self._temperature(np.hypot(self.temperature, sigma))

    def log_prob(self, x, sigma=0.0):
        """Log density of stamps.

        Parameters
        ----------
        x : array, (n, h, w) or (h, w)
            Stamps u.
        sigma : float, optional
            Further noise that blurs the density, added in quadrature to ``temperature``.

        Returns
        -------
        array, (n,), or float

        Raises
        ------
        DeblendError
            If the stamps have another shape or pixels that are not finite, or the network does not know the
            temperature.
        """
        stamps = self._stamps(x)
        values = self._conditionals(stamps, self._total(sigma))[0]
        return values if np.ndim(x) == 3 else float(values[0])

    def score(self, x, sigma=0.0):
        """Gradient of `log_prob`, exact.

        Parameters
        ----------
        x, sigma
            As for `log_prob`.

        Returns
        -------
        array of the shape of ``x``

        Raises
        ------
        DeblendError
            As for `log_prob`.
        """
        stamps = self._stamps(x)
        _, direct, of_output, tape = self._conditionals(stamps, self._total(sigma))
        gradient = direct + self.network.vjp(tape, of_output)[..., 0]
        return (gradient / self._unit(self._total(sigma))).reshape(np.shape(x))

    def _unit(self, sigma):
        """What the network calls 1."""
        return np.hypot(self.scale, sigma)

    def _conditionals(self, stamps, sigma):
        """Log densities of stamps; derivatives, in the network's units, by pixels themselves and by its output."""
        unit = self._unit(sigma)
        scaled = ((stamps - self.mean) / unit)[..., None]
        output, tape = self.network.forward(scaled, sigma)
        weight, mean, width = np.split(np.asarray(output, float), 3, axis=-1)
        within = np.exp(2.0 * width)
        variance = (sigma / unit) ** 2 + within
        offset = scaled - mean
        each = log_softmax(weight, axis=-1) - 0.5 * (offset**2 / variance + np.log(2.0 * np.pi * variance))
        pixels = logsumexp(each, axis=-1, keepdims=True)
        share = np.exp(each - pixels)
        of_mean = share * offset / variance
        of_width = share * within / variance * (offset**2 / variance - 1.0)
        of_weight = share - np.exp(log_softmax(weight, axis=-1))
        values = pixels.sum(axis=(1, 2, 3)) - stamps[0].size * np.log(unit)
        return values, -of_mean.sum(axis=-1), np.concatenate([of_weight, of_mean, of_width], axis=-1), tape

    def sample(self, n, rng, sigma=0.0):
        """Draw stamps, pixel by pixel; they carry the noise of the density.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.
        sigma : float, optional
            As for `log_prob`.

        Returns
        -------
        array, (n, h, w)
            Stamps u. ``x + t**2 score(x)``, with t the total noise, is the mean of the noiseless ones given these.

        Raises
        ------
        DeblendError
            If the network does not know the temperature.
        """
        sigma = self._total(sigma)
        first, *rest = self.network.body.layers
        (above, left), along = first.branches, Sequential(rest)
        context = self.network.embedding(np.log([sigma]))
        floor, unit = sigma / self._unit(sigma), self._unit(sigma)
        x = np.zeros((n, *self.shape, 1), self.network.dtype)
        for row in range(self.shape[0]):
            # what the rows above say is worked out once for the row
            known = above.forward(x[:, : row + 1], context)[0][:, row:]
            for column in range(self.shape[1]):
                seen = known + left.forward(x[:, row : row + 1], context)[0]
                output = along.forward(seen, context)[0][:, 0, column]
                x[:, row, column, 0] = _draw(output, floor, rng)
        return self.mean + unit * x[..., 0].astype(float)


def _draw(output, floor, rng):
    """One draw from each mixture, (n,), of the network's output, (n, 3 components)."""
    weight, mean, width = np.split(np.asarray(output, float), 3, axis=-1)
    # the largest of log weights plus Gumbel noise is a draw from the weights
    chosen = np.argmax(weight + rng.gumbel(size=weight.shape), axis=-1)[:, None]
    mean, width = (np.take_along_axis(part, chosen, axis=-1)[:, 0] for part in (mean, width))
    return mean + np.sqrt(floor**2 + np.exp(2.0 * width)) * rng.standard_normal(len(mean))
