import numpy as np
import pytest
from scipy.stats import norm

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned import PixelCNNPrior
from celestepy.deblend.priors import PriorTerm
from celestepy.images import PSFMixture


@pytest.fixture
def prior(untrained):
    return PixelCNNPrior(untrained("pixelcnn", 0.3), temperature=0.2)


@pytest.fixture
def stamps():
    return 1.0 + np.random.default_rng(1).standard_normal((3, 8, 8))


def test_density_by_hand(prior, stamps):
    """Pixel by pixel, from the output of the network."""
    sigma, unit = 0.2, np.hypot(0.2, 0.5)
    scaled = (stamps - prior.mean) / unit
    output, _ = prior.network.forward(scaled[..., None], sigma)
    expected = np.zeros(3)
    for stamp, i, j in np.ndindex(stamps.shape):
        weight, mean, width = np.split(output[stamp, i, j], 3)
        share = np.exp(weight) / np.exp(weight).sum()
        spread = np.hypot(sigma, unit * np.exp(width))
        at = stamps[stamp, i, j] - prior.mean[i, j]
        expected[stamp] += np.log(np.sum(share * norm.pdf(at, unit * mean, spread)))
    np.testing.assert_allclose(prior.log_prob(stamps), expected, rtol=1e-11)
    assert prior.log_prob(stamps[1]) == pytest.approx(expected[1], rel=1e-11)


@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_gradient_is_exact(prior, stamps, sigma):
    tangent, step = np.random.default_rng(2).standard_normal(stamps.shape), 1e-5
    plus, minus = (prior.log_prob(stamps + sign * step * tangent, sigma) for sign in (1, -1))
    found = np.sum(prior.score(stamps, sigma) * tangent, axis=(1, 2))
    np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=1e-6)  # truncation of central differences
    np.testing.assert_allclose(prior.score(stamps[2], sigma), prior.score(stamps, sigma)[2], rtol=1e-10, atol=1e-12)


def test_draws_follow_the_density(prior):
    """Stein's identities: the mean score is zero, and <(x - c) . score> is minus the number of pixels, for any c."""
    draws = prior.sample(3000, np.random.default_rng(3))
    scores = prior.score(draws)
    products = np.sum((draws - draws.mean(axis=0)) * scores, axis=(1, 2))
    error = products.std() / np.sqrt(len(draws))
    assert error < 0.5
    assert products.mean() == pytest.approx(-64.0, abs=4 * error)
    pulls = scores.mean(axis=0) / (scores.std(axis=0) / np.sqrt(len(draws)))
    assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=0.3)  # 64 pixels: 0.09 if they were independent


def test_temperatures_add_in_quadrature(untrained, prior, stamps):
    hotter = PixelCNNPrior(untrained("pixelcnn", 0.3), temperature=0.25)
    np.testing.assert_allclose(hotter.log_prob(stamps), prior.log_prob(stamps, 0.15), rtol=1e-12)
    np.testing.assert_allclose(hotter.score(stamps), prior.score(stamps, 0.15), rtol=1e-9, atol=1e-12)


def test_single_precision_is_close(untrained, prior, stamps):
    single = PixelCNNPrior(untrained("pixelcnn", 0.3), temperature=0.2, dtype=np.float32)
    np.testing.assert_allclose(single.log_prob(stamps), prior.log_prob(stamps), rtol=1e-5)
    np.testing.assert_allclose(single.score(stamps), prior.score(stamps), atol=1e-4)


def test_is_a_prior_of_the_solvers(prior):
    term = PriorTerm(prior, 0.2, PSFMixture([1], [[0, 0]], [[0.64, 0, 0.64]]))
    assert term.has_log_prob
    assert term.log_prob([np.ones((5, 5)), np.ones((7, 3))]).shape == (2,)
    assert term.score([np.ones((5, 5)), np.ones((7, 3))], 0.0)[0].shape == (5, 5)


def test_refusals(prior, untrained, stamps):
    with pytest.raises(DeblendError, match=r"sigma: -0\.1, expected a number >= 0"):
        prior.log_prob(stamps, -0.1)
    with pytest.raises(DeblendError, match=r"sigma: .* expected 0\.01 to 20"):
        prior.score(stamps, 100.0)
    with pytest.raises(DeblendError, match=r"sigma: 0\.001, expected 0\.01 to 20"):
        PixelCNNPrior(untrained("pixelcnn"), temperature=0.001)
    with pytest.raises(DeblendError, match=r"x: shape \(2, 9, 9\)"):
        prior.log_prob(np.zeros((2, 9, 9)))
