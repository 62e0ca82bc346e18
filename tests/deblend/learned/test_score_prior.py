import numpy as np
import pytest

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned import PixelCNNPrior, ScorePrior
from celestepy.deblend.priors import PriorTerm
from celestepy.images import PSFMixture
from celestepy.nn import save_network_file

SIGMA = 0.3


@pytest.fixture
def prior(untrained):
    return ScorePrior(untrained("score", 0.3), dtype=np.float64)


@pytest.fixture
def stamps():
    return np.random.default_rng(1).standard_normal((3, 8, 8))


def test_a_network_of_zeros_knows_a_gaussian(untrained, stamps):
    """The weights around the network are those that are right for pixels of standard deviation ``scale``."""
    prior = ScorePrior(untrained("score"))
    expected = -(stamps - prior.mean) / (0.5**2 + SIGMA**2)
    np.testing.assert_allclose(prior.score(stamps, SIGMA), expected, rtol=1e-10)
    np.testing.assert_allclose(prior.denoise(stamps, SIGMA), stamps + SIGMA**2 * expected, rtol=1e-10, atol=1e-12)


def test_sampler_draws_that_gaussian(untrained):
    prior = ScorePrior(untrained("score"))
    draws = (prior.sample(200, np.random.default_rng(2), steps=300) - prior.mean) / 0.5
    # 12,800 pixels: the standard deviation is known to 0.6%; 300 steps cost another 2% of it
    assert draws.std() == pytest.approx(1.0, abs=0.04)
    assert abs(draws.mean()) < 0.03
    assert draws.shape == (200, 8, 8)


def test_sampler_repeats_itself(prior):
    first, second = (prior.sample(2, np.random.default_rng(3), steps=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_jacobian(prior, stamps):
    rng = np.random.default_rng(5)
    tangent, cotangent = rng.standard_normal((2, *stamps.shape))
    found, step = prior.jvp(stamps, tangent, SIGMA), 1e-5
    plus, minus = (prior.score(stamps + sign * step * tangent, SIGMA) for sign in (1, -1))
    # truncation of central differences
    np.testing.assert_allclose(found, (plus - minus) / (2 * step), atol=1e-6)
    back = prior.vjp(stamps, cotangent, SIGMA)
    np.testing.assert_allclose(np.sum(cotangent * found), np.sum(back * tangent), rtol=1e-10)
    many = prior.jvp(stamps[0], tangent, SIGMA)
    np.testing.assert_allclose(many[0], found[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(many[2], prior.jvp(stamps[0], tangent[2], SIGMA), rtol=1e-10, atol=1e-12)


def test_diagonal(prior, stamps):
    one = np.eye(64).reshape(64, 8, 8)
    exact = prior.jvp(stamps[0], one, SIGMA).reshape(64, 64).diagonal().reshape(8, 8)
    rng = np.random.default_rng(6)
    found = prior.diagonal(stamps[0], SIGMA, rng, spacing=8)
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    # unbiased: the mean of many estimates, within five of its own standard errors
    many = np.array([prior.diagonal(stamps[0], SIGMA, rng, spacing=3) for _ in range(200)])
    error = many.std(axis=0) / np.sqrt(200)
    assert (np.abs(many.mean(axis=0) - exact) < 5 * error + 1e-9).all()
    with pytest.raises(DeblendError, match="spacing: 0, expected"):
        prior.diagonal(stamps[0], SIGMA, rng, spacing=0)


def test_one_stamp_or_many(prior, stamps):
    many = prior.score(stamps, SIGMA)
    assert prior.score(stamps[0], SIGMA).shape == (8, 8)
    np.testing.assert_allclose(prior.score(stamps[0], SIGMA), many[0], rtol=1e-10, atol=1e-12)
    assert prior.score(stamps[:0], SIGMA).shape == (0, 8, 8)


def test_is_a_prior_of_the_solvers(prior):
    term = PriorTerm(prior, 0.2, PSFMixture([1], [[0, 0]], [[0.64, 0, 0.64]]))
    assert not term.has_log_prob
    assert term.score([np.ones((5, 5)), np.ones((7, 3))], SIGMA)[1].shape == (7, 3)
    with pytest.raises(DeblendError, match=r"trained for pixels of 0\.2 arcsec"):
        PriorTerm(prior, 0.168, PSFMixture([1], [[0, 0]], [[0.64, 0, 0.64]]))


def test_refusals(prior, stamps, untrained, tmp_path):
    with pytest.raises(DeblendError, match=r"x: shape \(3, 8, 9\), expected \(n, 8, 8\)"):
        prior.score(np.zeros((3, 8, 9)), SIGMA)
    with pytest.raises(DeblendError, match=r"x: shape \(8,\)"):
        prior.score(np.zeros(8), SIGMA)
    with pytest.raises(DeblendError, match="x: 1 pixels are not finite"):
        prior.score(np.where(np.arange(64).reshape(8, 8) == 3, np.nan, 1.0), SIGMA)
    for sigma in (0.0, -1.0, 0.001, 50.0, np.nan):
        with pytest.raises(DeblendError, match=r"sigma: .* expected 0\.01 to 20"):
            prior.score(stamps, sigma)
    with pytest.raises(DeblendError, match="steps: 1, expected at least 2"):
        prior.sample(1, np.random.default_rng(0), steps=1)
    with pytest.raises(DeblendError, match="a network of kind 'score'; PixelCNNPrior needs 'pixelcnn'"):
        PixelCNNPrior(untrained("score"))
    with pytest.raises(DeblendError, match="no prior 'score-moon-32' comes with the package, expected one of"):
        ScorePrior.load("score-moon-32")
    file, path = untrained("score", 0.1), tmp_path / "mine.npz"
    save_network_file(path, file.description, file.arrays, file.metadata, file.constants)
    assert repr(ScorePrior.load(path)) == "<ScorePrior 8x8, 0.2 arcsec>"
