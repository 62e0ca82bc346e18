"""Priors: their normalisation and its derivatives, and the stamps they accept."""

import numpy as np
import pytest
from deblend.simple_priors import GaussianPrior

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.priors import Normalisation, PriorTerm
from celestepy.images.psf_mixture import PSFMixture

NORMALISATIONS = [Normalisation(*each) for each in (("sum",), ("peak",), ("sum", 1e-3), ("peak", 0.02))]


def morphology(shape=(9, 11), seed=0):
    return np.random.default_rng(seed).random(shape) + 0.1


@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=str)
class TestNormalisation:
    def test_scale_does_not_matter(self, normalisation):
        x = normalisation.forward(morphology())
        np.testing.assert_allclose(normalisation.forward(7 * morphology()), x, rtol=1e-12)

    def test_round_trip(self, normalisation):
        back = normalisation.backward(normalisation.forward(morphology()))
        np.testing.assert_allclose(back, morphology() / normalisation.size(morphology()), rtol=1e-12)

    def test_chain_rule(self, normalisation):
        """Central differences with steps of 1e-6: errors of 1e-10 from rounding, relative to values of order 1."""
        rng, s = np.random.default_rng(1), morphology()
        weights = rng.normal(size=s.shape)
        gradient = normalisation.pull_back(s, weights)
        for y, x in [*rng.integers(0, 9, (4, 2)), np.unravel_index(np.argmax(s), s.shape)]:
            shift = np.zeros_like(s)
            shift[y, x] = 1e-6
            ends = [(weights * normalisation.forward(s + sign * shift)).sum() for sign in (1, -1)]
            assert gradient[y, x] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)
        assert (gradient * s).sum() == pytest.approx(0, abs=1e-9 * np.abs(gradient * s).sum())


class TestTerm:
    @pytest.mark.parametrize("shape", [(32, 32), (31, 33)])
    def test_source_stands_on_the_middle_pixel(self, shape):
        term = PriorTerm(GaussianPrior(shape), 0.2)
        y, x = np.mgrid[-7:8, -9:10]
        values = np.exp(-0.5 * (y**2 + x**2) / 9)
        (score,) = term.score([values], 0.0)
        np.testing.assert_allclose(score, 0, atol=1e-12)
        assert term.log_prob([values, values + 0.1])[1] < term.log_prob([values])[0]

    def test_boxes(self):
        term = PriorTerm(GaussianPrior((32, 32)), 0.2)
        term.check((31, 31), "source 0")
        with pytest.raises(DeblendError, match="source 3 has a box of 33 x 31 .* larger than the stamps of 32 x 32"):
            term.check((33, 31), "source 3")

    def test_pixel_scale(self):
        with pytest.raises(DeblendError, match="trained for pixels of 0.2 arcsec, the model's are 0.168"):
            PriorTerm(GaussianPrior(), 0.168)

    def test_model_psf(self):
        prior = GaussianPrior()
        prior.model_psf_sigma = 0.8
        PriorTerm(prior, 0.2, PSFMixture([1.0], [[0, 0]], [[0.64, 0, 0.64]]))
        for other in (PSFMixture([1.0], [[0, 0]], [[1.0, 0, 1.0]]), None):
            with pytest.raises(DeblendError, match="model PSF of 0.8 pixels"):
                PriorTerm(prior, 0.2, other)

    @pytest.mark.parametrize("name", ["shape", "normalisation", "pixel_scale"])
    def test_missing_attribute(self, name):
        prior = GaussianPrior()
        delattr(prior, name)
        with pytest.raises(DeblendError, match=name):
            PriorTerm(prior, 0.2)

    def test_normalisation_must_be_one(self):
        prior = GaussianPrior()
        prior.normalisation = "peak"
        with pytest.raises(DeblendError, match="normalisation"):
            PriorTerm(prior, 0.2)

    @pytest.mark.parametrize(("settings", "message"), [(("mean",), "reference"), (("sum", 0.0), "softening")])
    def test_bad_normalisations(self, settings, message):
        with pytest.raises(DeblendError, match=message):
            Normalisation(*settings)
