import numpy as np
import pytest

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.learned import ScoreFunctionPrior
from celestepy.deblend.priors import Normalisation, PriorTerm

STAMPS = np.random.default_rng(1).standard_normal((3, 6, 8))


def test_chain_rule_of_the_factor():
    seen = []

    def function(stamp):
        seen.append(stamp.shape)
        return -(stamp**3)  # of ln p = -x^4 / 4

    prior = ScoreFunctionPrior(function, (6, 8), 0.2, factor=10.0)
    np.testing.assert_allclose(prior.score(STAMPS, 0.1), -10.0 * (10.0 * STAMPS) ** 3, rtol=1e-12)
    np.testing.assert_array_equal(prior.score(STAMPS[1]), prior.score(STAMPS)[1])
    assert set(seen) == {(1, 6, 8)}


def test_is_a_prior_of_the_solvers():
    prior = ScoreFunctionPrior(np.negative, (6, 8), 0.2, Normalisation("sum"))
    term = PriorTerm(prior, 0.2)
    assert not term.has_log_prob
    assert term.normalisation.reference == "sum"
    np.testing.assert_array_equal(term.score([np.ones((3, 5))], 0.1)[0], -1.0)


def test_refusals():
    with pytest.raises(DeblendError, match="function: 3 cannot be called"):
        ScoreFunctionPrior(3, (6, 8), 0.2)
    with pytest.raises(DeblendError, match="pixel_scale: 0, expected a number > 0"):
        ScoreFunctionPrior(np.negative, (6, 8), 0)
    with pytest.raises(DeblendError, match=r"x: shape \(3, 8, 6\), expected \(n, 6, 8\)"):
        ScoreFunctionPrior(np.negative, (6, 8), 0.2).score(STAMPS.swapaxes(1, 2))
    for bad in (np.sum, lambda stamp: stamp * np.nan):
        with pytest.raises(DeblendError, match="function: returned shape"):
            ScoreFunctionPrior(bad, (6, 8), 0.2).score(STAMPS)
