import numpy as np
import pytest

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned import ScorePrior, SizedPrior
from celestepy.deblend.priors import PriorTerm
from celestepy.images import PSFMixture
from celestepy.nn import NetworkFile

SIGMA = 0.3
MODEL_PSF = PSFMixture([1], [[0, 0]], [[0.64, 0, 0.64]])


@pytest.fixture
def small(untrained):
    return ScorePrior(untrained("score", 0.2), dtype=np.float64)


@pytest.fixture
def large(untrained):
    file = untrained("score", 0.3)
    mean = np.random.default_rng(3).uniform(0.5, 1.5, (16, 16))
    return ScorePrior(NetworkFile(file.description, file.arrays, file.metadata, {"mean": mean}), dtype=np.float64)


def test_each_stamp_has_the_smallest_prior_that_holds_it(small, large):
    both = SizedPrior([large, small])
    assert both.shape == (16, 16)
    stamps = np.zeros((3, 16, 16))
    stamps[0, 4:12, 4:12] = np.random.default_rng(1).uniform(0.5, 2, (8, 8))
    stamps[1] = np.random.default_rng(2).uniform(0.5, 2, (16, 16))
    stamps[2, 8, 3] = 1.0  # one pixel too far from the middle
    found = both.score(stamps, SIGMA)
    np.testing.assert_allclose(found[0, 4:12, 4:12], small.score(stamps[0, 4:12, 4:12], SIGMA), rtol=1e-12)
    assert np.count_nonzero(found[0]) == 64
    np.testing.assert_allclose(found[1:], large.score(stamps[1:], SIGMA), rtol=1e-12)
    np.testing.assert_allclose(both.score(stamps[0], SIGMA), found[0], rtol=1e-12)


def test_boxes_are_put_where_the_small_prior_has_its_centre(small, large):
    """A box that both can hold gets the same score from the two together as from the small prior alone."""
    morphology = np.random.default_rng(4).uniform(0.5, 1, (5, 5))
    x = small.normalisation.forward(morphology)
    alone, both = (PriorTerm(prior, 0.2, MODEL_PSF) for prior in (small, SizedPrior([small, large])))
    np.testing.assert_allclose(both.score([x], SIGMA)[0], alone.score([x], SIGMA)[0], rtol=1e-12)


def test_trained_ones():
    prior = SizedPrior.load("hsc")
    assert prior.priors[0].shape == (32, 32)
    assert prior.pixel_scale == 0.168
    assert prior.sigma_range == (0.01, 20.0)


def test_refusals(small, untrained):
    with pytest.raises(DeblendError, match="priors: none given"):
        SizedPrior([])
    with pytest.raises(DeblendError, match=r"priors: their pixel_scale are \[0\.2, 0\.4\]"):
        SizedPrior([small, ScorePrior(untrained("score", 0.2, pixel_scale=0.4))])
    with pytest.raises(DeblendError, match="survey: no score priors of 'moon', expected one of hsc"):
        SizedPrior.load("moon")
    with pytest.raises(DeblendError, match=r"x: shape \(4, 4\)"):
        SizedPrior([small]).score(np.ones((4, 4)), SIGMA)
