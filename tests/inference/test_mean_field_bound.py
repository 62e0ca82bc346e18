"""The evidence lower bound of the paper's inference: its value, its derivatives, and each of its terms."""

import numpy as np
import pytest
from reference.mean_field import Factors, color_divergence, divergence, flux_divergence, light, lower_bound
from reference.scenes import make_scene

from celestepy.inference.vi.bound import SourceBound
from celestepy.inference.vi.divergence import PriorBound, color_bound, flux_bound
from celestepy.model.parameters import GALAXY, STAR
from celestepy.model.pixel_rate import MeanFieldPixels
from celestepy.model.prior_laws import LogisticBeta, Normal
from celestepy.model.priors import Prior

PRIORS = ("sdss-deep", "celeste2019")
POSITION_SDS = (0.2, 0.3)
# two exposures in one of the two bands
SHAPES = ((9, 11), (10, 8), (9, 9))


def factors(seed=0, n_bands=2):
    """A vector of q that is nowhere special."""
    rng = np.random.default_rng(seed)
    x = np.zeros(7 + 4 * n_bands)
    x[0] = rng.normal()
    x[1:3] = 0.1 * rng.normal(size=2)
    x[3:7] = rng.uniform(-0.1, 0.4), *(0.4 * rng.normal(size=2)), rng.normal()
    for first in (7, 7 + 2 * n_bands):
        x[first] = 3 + 0.2 * rng.normal()
        x[first + 1 : first + n_bands] = 0.6 + 0.2 * rng.normal(size=n_bands - 1)
        x[first + n_bands : first + 2 * n_bands] = rng.uniform(-5, -2, n_bands)
    return x


def two_sources(poisson=True):
    """A scene of two sources and the vectors of both."""
    return make_scene("gg", SHAPES, poisson=poisson, seed=3), [factors(1), factors(2)]


def bound_of_first(scene, sources, prior):
    """The compiled bound of the first source, the second in its maps."""
    pixels = MeanFieldPixels(scene.patches, scene.bands, [row[:1] for row in scene.psfs], scene.positions[:, :1],
                             scene.jacobians[:, :1], n_bands=2)
    maps = [light(Factors.of(sources[1]), scene, n, 1, prior.bands.log_flux_matrix) for n in range(len(scene.patches))]
    pixels.set_neighbours(*zip(*maps, strict=True))
    return SourceBound(pixels, scene.bands, PriorBound(prior), POSITION_SDS[0])


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("poisson", [True, False])
def test_the_bound_equals_the_reference(name, poisson):
    prior = Prior.load(name).for_bands("gr")
    scene, sources = two_sources(poisson)
    value, _, _ = bound_of_first(scene, sources, prior).evaluate(sources[0])
    expected = lower_bound(sources, scene, prior, POSITION_SDS) + divergence(sources[1], prior, POSITION_SDS[1])
    # The prior of the flux is integrated over 40 nodes, by the reference over 2001; the rest agrees to rounding.
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-7)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("poisson", [True, False])
def test_derivatives_equal_differences_of_the_reference(name, poisson):
    prior = Prior.load(name).for_bands("gr")
    scene, sources = two_sources(poisson)
    bound, x = bound_of_first(scene, sources, prior), sources[0]
    _, gradient, hessian = bound.evaluate(x)

    def reference(moved):
        return lower_bound([moved, sources[1]], scene, prior, POSITION_SDS)

    for i, unit in enumerate(np.diag(bound.scale)):
        slope = fourth_order(reference, x, 1e-3 * unit) / 1e-3
        # Truncation is 1e-12 of the fifth derivative; values up to 1e4 are rounded to 1e-12, over 1e-3 that is 1e-9.
        assert slope == pytest.approx(gradient[i] * bound.scale[i], rel=1e-6, abs=1e-5)
        row = fourth_order(lambda moved: bound.evaluate(moved)[1], x, 1e-3 * unit) / 1e-3
        scaled = row * bound.scale
        np.testing.assert_allclose(hessian[i] * bound.scale[i] * bound.scale, scaled, rtol=1e-6,
                                   atol=1e-8 * np.abs(hessian).max())
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10, atol=1e-12 * np.abs(hessian).max())


def fourth_order(function, x, step):
    """Central difference of fourth order, per unit of the step."""
    values = [function(x + i * step) for i in (-2, -1, 1, 2)]
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12


@pytest.mark.parametrize("logit", [-40.0, 40.0])
def test_certain_types_have_a_finite_bound(logit):
    scene, sources = two_sources()
    bound = bound_of_first(scene, sources, Prior.default("gr"))
    x = sources[0].copy()
    x[0] = logit
    value, gradient, hessian = bound.evaluate(x)
    assert all(np.all(np.isfinite(part)) for part in (value, gradient, hessian))
    kind = STAR if logit > 0 else GALAXY
    # P(kind) is 1 to 1e-17, times differences of 1e4 nats
    assert value == pytest.approx(bound.given_type(x)[kind] + Prior.default("gr").log_type_probability(kind), abs=1e-8)


def test_steps_out_of_bounds_are_turned_down():
    scene, sources = two_sources()
    bound = bound_of_first(scene, sources, Prior.default("gr"))
    far = sources[0].copy()
    far[4] = 5.0
    assert bound.objective(far)[0] == np.inf


class TestDivergences:
    """Each Kullback-Leibler term against what it stands for."""

    @pytest.mark.parametrize("law", [Normal(1.2, 0.7), LogisticBeta(1.0, 0.22, -0.46, 0.25)])
    @pytest.mark.parametrize(("mean", "variance"), [(2.0, 0.01), (0.3, 0.3), (-0.4, 0.04)])
    def test_flux(self, law, mean, variance):
        value, _, _ = flux_bound(law, mean, np.log(variance))
        entropy = 0.5 * np.log(2 * np.pi * np.e * variance)
        # sqrt(.3) is two scales of the Beta law: the last case for which forty nodes have six digits
        assert -value - entropy == pytest.approx(flux_divergence(law, mean, variance), abs=2e-6)

    @pytest.mark.parametrize("kind", [STAR, GALAXY])
    def test_colors_are_bounded_from_above(self, kind):
        mixture = getattr(Prior.load("celeste2019"), kind).colors
        rng = np.random.default_rng(8)
        mean, variance = np.array([1.0, 1.5, 0.9, 0.4, 0.2]), np.array([0.02, 0.05, 0.02, 0.02, 0.03])
        draws = mean[1:] + np.sqrt(variance[1:]) * rng.standard_normal((20_000, 4))
        log_prior = [mixture.evaluate(draw, 1.0)[0] for draw in draws]
        entropy = 0.5 * np.sum(np.log(2 * np.pi * np.e * variance[1:]))
        exact, error = -entropy - np.mean(log_prior), np.std(log_prior) / np.sqrt(len(draws))
        bound = -color_bound(mixture, mean, variance)[0] - entropy
        assert bound == pytest.approx(color_divergence(mixture, mean, variance), abs=1e-10)
        assert bound > exact - 4 * error
        # Jensen's gap is at most the entropy of the weights, log 8; where one component has it all, there is none
        assert bound < exact + np.log(8)

    def test_colors_of_a_single_component_are_exact(self):
        mixture = Prior.load("celeste2019").galaxy.colors
        single = type(mixture)([1.0], mixture.means[:1], mixture.covariances[:1])
        mean, variance = np.array([1.0, *single.means[0] + 0.1]), np.full(5, 0.03)
        covariance = single.covariances[0]
        closed = 0.5 * (np.trace(np.linalg.solve(covariance, np.diag(variance[1:])))
                        + np.full(4, 0.1) @ np.linalg.solve(covariance, np.full(4, 0.1)) - 4
                        + np.linalg.slogdet(covariance)[1] - np.sum(np.log(variance[1:])))
        entropy = 0.5 * np.sum(np.log(2 * np.pi * np.e * variance[1:]))
        assert -color_bound(single, mean, variance)[0] - entropy == pytest.approx(closed, rel=1e-10)

    def test_nothing_diverges_from_itself(self):
        """The terms of type and flux vanish where q is the prior."""
        prior = Prior.load("celeste2019").for_bands("r")
        x = np.zeros(11)
        x[0] = prior.log_odds
        bound = PriorBound(prior)
        for first, laws in ((7, prior.star), (9, prior.galaxy)):
            x[first : first + 2] = laws.log_flux.mean, 2 * np.log(laws.log_flux.sd)
        _, gradient, _ = bound.evaluate(x, 0.3)
        np.testing.assert_allclose(gradient[7:], 0, atol=1e-14)
        assert gradient[0] == pytest.approx(0, abs=1e-14)
