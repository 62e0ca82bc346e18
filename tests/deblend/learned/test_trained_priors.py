"""The files that come with the package: small enough, and of use for galaxies."""

import numpy as np
import pytest

from celestepy.deblend.learned import PixelCNNPrior, ScorePrior, trained_priors
from celestepy.deblend.learned.stamps import DATA

SCORES = [name for name in trained_priors() if name.startswith("score-")]
PIXELCNNS = [name for name in trained_priors() if name.startswith("pixelcnn-")]
HIGHEST = np.arcsinh(1 / 0.02)


def distance(x, y, axis_ratio):
    """From the centre, in units along the major axis, whose slope is 3 in 4."""
    return np.hypot(0.8 * x + 0.6 * y, (0.8 * y - 0.6 * x) / axis_ratio)


def discs(size, centres=((0.0, 0.0),), radius=3.0, axis_ratio=0.6, fine=5):
    """Exponential discs behind a Gaussian PSF of 0.8 pixels, as u; the centre of the stamp is (0, 0)."""
    side = size * fine
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / fine
    image = sum(np.exp(-1.678 * distance(x - cx, y - cy, axis_ratio) / radius) for cy, cx in centres)
    frequency = np.fft.fftfreq(side, 1 / fine)
    gaussian = np.exp(-2 * (np.pi * 0.8) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    blurred = np.fft.ifft2(np.fft.fft2(image) * gaussian).real.reshape(size, fine, size, fine).mean(axis=(1, 3))
    return np.arcsinh(blurred / blurred.max() / 0.02)


def test_size_of_all_files():
    assert sum(path.stat().st_size for path in DATA.glob("*.npz")) < 5e6
    assert "score-hsc-32" in trained_priors()


@pytest.mark.parametrize("name", SCORES)
class TestScore:
    @pytest.fixture
    def prior(self, name):
        return ScorePrior.load(name)

    def test_domain(self, prior, name):
        _, survey, size = name.split("-")
        assert prior.shape == (int(size), int(size))
        assert prior.pixel_scale == {"hsc": 0.168, "ztf": 1.01}[survey]
        assert prior.normalisation.reference == "peak"

    @pytest.mark.parametrize(("sigma", "share"), [(0.02, 0.2), (0.1, 0.1), (0.5, 0.04)])
    def test_removes_noise(self, prior, sigma, share):
        """Leaves less than ``share`` of the variance of the noise; half of that was found when the test was written."""
        clean = discs(prior.shape[0])
        noise = sigma * np.random.default_rng(4).standard_normal((8, *prior.shape))
        left = np.mean((prior.denoise(clean + noise, sigma) - clean) ** 2)
        assert left < share * sigma**2

    @pytest.mark.parametrize("centre", [(6.0, 8.0), (0.0, 9.0)])
    def test_objects_to_a_neighbour(self, prior, centre):
        """Beside a second galaxy the score is more than twice as long; and, hot enough, it takes that one away."""
        alone, both = discs(prior.shape[0]), discs(prior.shape[0], ((0.0, 0.0), centre))
        for sigma in (0.05, 0.1, 0.2):
            first, second = np.linalg.norm(prior.score(np.stack([alone, both]), sigma), axis=(1, 2))
            assert second > 2 * first
        change = (both - alone) / np.linalg.norm(both - alone)
        along = np.sum(prior.score(np.stack([alone, both]), 0.5) * change, axis=(1, 2))
        assert along[1] < -3 < -abs(along[0])

    def test_diagonal_of_the_jacobian(self, prior):
        """Within 2% of the exact one; 0.7% was found when the test was written, on stamps of 32x32."""
        x, rng, side = discs(prior.shape[0]), np.random.default_rng(8), prior.shape[0]
        some = rng.choice(side**2, 100, replace=False)
        probes = np.zeros((100, side**2))
        probes[np.arange(100), some] = 1.0
        exact = np.sum(probes * prior.jvp(x, probes.reshape(-1, side, side), 0.1).reshape(100, -1), axis=1)
        found = prior.diagonal(x, 0.1, rng).ravel()[some]
        assert np.linalg.norm(found - exact) < 0.02 * np.linalg.norm(exact)

    def test_draws_are_galaxies(self, prior):
        draws = prior.sample(6, np.random.default_rng(5), steps=60)
        y, x = np.mgrid[: prior.shape[0], : prior.shape[1]] - (prior.shape[0] - 1) / 2
        for draw in draws:
            row, column = np.unravel_index(np.argmax(draw), draw.shape)
            assert abs(y[row, column]) < 3
            assert abs(x[row, column]) < 3
            assert abs(draw.max() - HIGHEST) < 1.0
            assert draw.min() > -0.3


@pytest.mark.parametrize("name", PIXELCNNS)
class TestPixelCNN:
    @pytest.fixture
    def prior(self, name):
        return PixelCNNPrior.load(name, dtype=np.float32)

    def test_prefers_one_galaxy_to_two(self, prior):
        noise = prior.temperature * np.random.default_rng(6).standard_normal((4, *prior.shape))
        size = prior.shape[0]
        alone = prior.log_prob(discs(size) + noise)
        both = prior.log_prob(discs(size, ((0.0, 0.0), (5.0, 7.0))) + noise)
        assert (both < alone).all()

    def test_knows_how_smooth_galaxies_are(self, prior):
        """More likely than the noise alone would be about an unknown mean by a nat per pixel or more."""
        noise = prior.temperature * np.random.default_rng(7).standard_normal((4, *prior.shape))
        per_pixel = prior.log_prob(discs(prior.shape[0]) + noise) / noise[0].size
        oracle = -0.5 * np.log(2 * np.pi * np.e * prior.temperature**2)
        assert (per_pixel > oracle - 0.25).all()
