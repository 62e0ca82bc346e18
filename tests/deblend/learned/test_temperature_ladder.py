"""Forward-backward splitting with a prior that has a log density, and the ladder of temperatures."""

import numpy as np
import pytest

from celestepy.deblend import DeblendError, ForwardBackward, Frame, NonNegative, Observation, StopRule, start_scene
from celestepy.deblend.learned import PixelCNNPrior, ScorePrior, TemperatureLadder
from celestepy.deblend.priors import PriorTerm
from celestepy.images import PSFMixture

MODEL_PSF = PSFMixture([1], [[0, 0]], [[0.64, 0, 0.64]])
PEAKS = np.array([[14.0, 11.0], [18.0, 22.0]])


@pytest.fixture
def prior(untrained):
    return PixelCNNPrior(untrained("pixelcnn", 0.1), temperature=0.2)


@pytest.fixture
def scene():
    """Two round galaxies behind a wider PSF, and noise."""
    y, x = np.mgrid[:32, :34]
    light = sum(f * np.exp(-np.hypot(y - cy, x - cx) / 1.5) for f, (cy, cx) in zip((30.0, 20.0), PEAKS, strict=True))
    images = light + np.random.default_rng(1).standard_normal(light.shape)
    stamp = PSFMixture([1], [[0, 0]], [[1.5, 0, 1.5]]).render((21, 21), 10.0, 10.0)
    observation = Observation.from_arrays(images[None], np.ones((1, 32, 34)), psfs=[stamp], pixel_scale=0.2)
    return start_scene(Frame(observation, model_psf=MODEL_PSF), PEAKS, largest_half=3)


def test_steps_suit_each_pixel(prior, scene):
    """With the bound on the prior's curvature the same iterations come much further down, and never up."""

    class Unbounded:
        def __init__(self):
            self.shape, self.pixel_scale, self.normalisation = prior.shape, prior.pixel_scale, prior.normalisation
            self.score, self.log_prob = prior.score, prior.log_prob

    method = {"constraints": (NonNegative(),), "stop": StopRule(40, tolerance=0.0)}
    bounded = ForwardBackward(prior=prior, **method).fit(scene)
    unbounded = ForwardBackward(prior=Unbounded(), **method).fit(scene)
    for result in (bounded, unbounded):
        assert (np.diff(result.trace) <= 1e-9 * np.abs(result.trace[1:])).all()
    lowest = min(bounded.trace[-1], unbounded.trace[-1])
    assert bounded.trace[10] - lowest < 0.5 * (unbounded.trace[10] - lowest)


def test_boxes_are_stamps_from_the_beginning(prior, scene):
    result = ForwardBackward(constraints=(NonNegative(),), prior=prior, stop=StopRule(2)).fit(scene)
    assert [source.morphology.shape for source in result.scene.sources] == [(7, 7), (7, 7)]


def test_curvature_bounds_second_derivatives(prior):
    """Twice the diagonal is above every second derivative of minus log p, the largest pixel's too."""
    term, rng, step = PriorTerm(prior, 0.2, MODEL_PSF), np.random.default_rng(3), 1e-5
    y, x = np.mgrid[-3:4, -3:4]
    morphology = np.exp(-np.hypot(y, x) / 2) * rng.uniform(0.9, 1.0, y.shape)
    morphology[3, 3] = 1.2
    bound = term.curvature(morphology)

    def slope(at):
        norm = term.normalisation
        return -norm.pull_back(at, term.score([norm.forward(at)], 0.0)[0])

    directions = [*rng.standard_normal((5, 7, 7)) / np.sqrt(bound), (y == 0) * (x == 0) / np.sqrt(bound)]
    for v in directions:
        second = np.sum(v * (slope(morphology + step * v) - slope(morphology - step * v))) / (2 * step)
        # the slope of log p itself bends u, which the bound leaves to the backtracking: a tenth of the prior's
        assert second < 2.2 * np.sum(bound * v**2)


def test_edges_of_stamps(prior):
    """The first row and column of an even stamp repeat the second, and the score is the derivative of just that."""
    term, rng = PriorTerm(prior, 0.2, MODEL_PSF), np.random.default_rng(2)
    x, tangent, step = *rng.uniform(0.5, 1.5, (2, 7, 7)), 1e-5
    stamp = term._stamps([x])[0]
    np.testing.assert_array_equal(stamp, np.pad(x, ((1, 0), (1, 0)), mode="edge"))
    found = np.sum(term.score([x], 0.0)[0] * tangent)
    difference = term.log_prob([x + step * tangent]) - term.log_prob([x - step * tangent])
    assert found == pytest.approx(difference[0] / (2 * step), rel=1e-6)
    smaller = term._stamps([x[1:-1, 1:-1]])[0]
    assert not smaller[:2].any()


def test_temperatures_share_the_network(prior, untrained):
    other = prior.at(0.5)
    assert (prior.temperature, other.temperature) == (0.2, 0.5)
    assert other.network is prior.network
    assert other.curvature == pytest.approx(4.0)
    with pytest.raises(DeblendError, match=r"sigma: 1e-05, expected"):
        prior.at(1e-5)


def test_ladder_ends_with_the_method_itself(prior, scene):
    method = ForwardBackward(constraints=(NonNegative(),), prior=prior, stop=StopRule(5, tolerance=0.0))
    found = TemperatureLadder(method, (1.0, 0.5), iterations=4).fit(scene)
    start = scene
    for temperature in (1.0, 0.5):
        hot = ForwardBackward(constraints=(NonNegative(),), prior=prior.at(temperature), stop=StopRule(4))
        start = hot.fit(start).scene
    expected = method.fit(start)
    np.testing.assert_array_equal(found.trace, expected.trace)
    np.testing.assert_array_equal(found.fluxes, expected.fluxes)
    assert found.seconds > expected.seconds


def test_ladder_needs_temperatures(untrained):
    with pytest.raises(DeblendError, match="expected a method whose prior has a temperature"):
        TemperatureLadder(ForwardBackward(prior=ScorePrior(untrained("score"))))
