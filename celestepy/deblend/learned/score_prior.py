"""A prior that knows the gradient of its log density: a network that removes noise from images of galaxies.

The diffusion of the training is dx = -x/2 dt + dw (variance preserving, beta = 1): at time t an image has become
exp(-t/2) u + (1 - exp(-t))^(1/2) noise. Divided by exp(-t/2), it is u + sigma noise with sigma^2 = exp(t) - 1, and
sigma is what this module calls the temperature. With D(x, sigma) the mean of u given x, the score of the density of
such noisy images is (D - x) / sigma^2 (Tweedie's formula; Vincent 2011, Neural Computation 23, 1661).
"""

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned.stamps import LearnedPrior

__all__ = ["ScorePrior"]


class ScorePrior(LearnedPrior):
    """Score of the density of galaxies at low temperature, by denoising score matching.

    Parameters
    ----------
    file : celestepy.nn.NetworkFile
        See `~celestepy.deblend.learned.LearnedPrior`.
    dtype : dtype, optional
        Precision of the network; float64 is for tests of derivatives.

    Notes
    -----
    There is no ``log_prob``: a learned score is in general no gradient of anything (its Jacobian is not symmetric),
    so it serves descent and Langevin dynamics, never an accept or reject step.
    """

    kind = "score"

    def __init__(self, file, dtype=np.float32):
        super().__init__(file, dtype)

    def _weights(self, sigma):
        """Weights of the input itself and of the network's output, and the scale of the network's input.

        Karras et al. (2022), NeurIPS 35, 26565, table 1.
        """
        total = self.scale**2 + sigma**2
        return self.scale**2 / total, sigma * self.scale / np.sqrt(total), 1.0 / np.sqrt(total)

    def denoise(self, x, sigma):
        """Mean of the noiseless stamps, given noisy ones.

        Parameters
        ----------
        x : array, (n, h, w) or (h, w)
            Stamps u plus Gaussian noise.
        sigma : float
            Standard deviation of the noise.

        Returns
        -------
        array of the shape of ``x``

        Raises
        ------
        DeblendError
            If the stamps have another shape or pixels that are not finite, or the network does not know ``sigma``.
        """
        stamps, sigma = self._stamps(x), self._temperature(sigma)
        return self._denoise(stamps, sigma)[0].reshape(np.shape(x))

    def _denoise(self, stamps, sigma):
        own, other, scale = self._weights(sigma)
        deviation = stamps - self.mean
        output, tape = self.network.forward((scale * deviation)[..., None], sigma)
        return self.mean + own * deviation + other * output[..., 0], tape

    def score(self, x, sigma):
        """Gradient of the log density of stamps blurred by noise.

        Parameters
        ----------
        x : array, (n, h, w) or (h, w)
            Stamps u.
        sigma : float
            Standard deviation of the noise that blurs the density: the temperature.

        Returns
        -------
        array of the shape of ``x``
            d ln (p * N(0, sigma^2)) / d u.

        Raises
        ------
        DeblendError
            As for `denoise`.
        """
        return (self.denoise(x, sigma) - x) / sigma**2

    def jvp(self, x, tangent, sigma):
        """Jacobian of the score times a tangent: curvature of the log density along it.

        Parameters
        ----------
        x, tangent : array, (n, h, w) or (h, w)
            Stamps, and directions in which they change; one stamp may have many tangents.
        sigma : float
            Temperature.

        Returns
        -------
        array of the shape of ``tangent``

        Raises
        ------
        DeblendError
            As for `denoise`.
        """
        return self._derivative(self.network.jvp, x, tangent, sigma)

    def vjp(self, x, cotangent, sigma):
        """Transposed Jacobian of the score times a cotangent; see `jvp`."""
        return self._derivative(self.network.vjp, x, cotangent, sigma)

    def diagonal(self, x, sigma, rng, spacing=7):
        """Diagonal of the Jacobian of the score: how sharply the density is curved along each pixel.

        Hutchinson's estimate with probes that share out the pixels: each is 1 or -1 on the pixels of a grid and zero
        elsewhere, so that what a pixel picks up from others comes from ``spacing`` pixels away or more. The
        ``-1 / sigma^2`` of the noise itself is exact.

        Parameters
        ----------
        x : array, (h, w)
            One stamp.
        sigma : float
            Temperature.
        rng : numpy.random.Generator
            Signs of the probes.
        spacing : int, optional
            Of the grids, whose number is its square. Odd, because the network works on blocks of 2x2 pixels and
            pixels at even distances are more alike. As large as the stamp, it makes the result exact.

        Returns
        -------
        array, (h, w)

        Raises
        ------
        DeblendError
            As for `denoise`, or if ``spacing`` is not positive.
        """
        if not spacing >= 1:
            raise DeblendError(f"spacing: {spacing!r}, expected an integer of at least 1")
        row, column = np.indices(self.shape) % spacing
        grids = row * spacing + column == np.arange(spacing**2)[:, None, None]
        probes = grids * rng.choice([-1.0, 1.0], grids.shape)
        from_network = probes * (self.jvp(x, probes, sigma) + probes / sigma**2)
        return from_network.sum(axis=0) - 1.0 / sigma**2

    def _derivative(self, product, x, change, sigma):
        stamps, changes, sigma = self._stamps(x), self._stamps(change, "tangent"), self._temperature(sigma)
        own, other, scale = self._weights(sigma)
        _, tape = self._denoise(np.broadcast_to(stamps, changes.shape), sigma)
        of_network = product(tape, changes[..., None])[..., 0]
        return ((own - 1.0) * changes + other * scale * of_network).reshape(np.shape(change)) / sigma**2

    def sample(self, n, rng, steps=100):
        """Draw galaxies by the reverse of the diffusion.

        Each step goes to a lower temperature, exactly so if the denoised image stayed what it is (Ho et al. 2020,
        eq. 7); temperatures fall geometrically over the range of the training.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.
        steps : int, optional
            Evaluations of the network.

        Returns
        -------
        array, (n, h, w)
            Stamps u.

        Raises
        ------
        DeblendError
            If there are fewer than 2 steps.
        """
        if steps < 2:
            raise DeblendError(f"steps: {steps!r}, expected at least 2")
        temperatures = np.geomspace(*self.sigma_range[::-1], steps)
        # at the hottest, galaxies are lost in the noise
        x = self.mean + np.hypot(temperatures[0], self.scale) * rng.standard_normal((n, *self.shape))
        for sigma, cooler in zip(temperatures, temperatures[1:]):
            kept = (cooler / sigma) ** 2
            clean, _ = self._denoise(x, sigma)
            x = clean + kept * (x - clean) + cooler * np.sqrt(1.0 - kept) * rng.standard_normal(x.shape)
        return self._denoise(x, temperatures[-1])[0]
