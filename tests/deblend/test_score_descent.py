"""Fitted galaxies first, then a descent with a score: what it promises beyond what every method does."""

import numpy as np
import pytest
from deblend.simple_priors import GaussianPrior, ScorePrior
from deblend.small_scenes import blank, observed
from deblend.two_discs import PEAKS, SEDS, SHORT, disc, true_scene

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.galaxy_fit import fit_galaxies
from celestepy.deblend.priors import Normalisation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.deblend.scores import morphology_correlation
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.deblend.starts import start_scene
from celestepy.deblend.stopping import StopRule

OWN_SCALE = Normalisation("peak", 0.02)


class TestGalaxies:
    SHAPES = np.array([[12.2, 14.1, -0.8, 0.4, -0.2, -3.0], [19.4, 17.3, -0.5, -0.3, 0.3, -2.0]])

    def scene(self, weight=1e4):
        frame = Frame(blank(weight=weight))
        jacobian = np.linalg.inv(frame.grid.jacobian)
        galaxies = [
            GalaxySource(shape, frame.model_psf, jacobian, sed) for shape, sed in zip(self.SHAPES, SEDS, strict=True)
        ]
        return Scene(frame, [*galaxies, PointSource([25.3, 9.2], frame.model_psf, np.full(3, 4.0))])

    def test_blended_galaxies_and_a_star_are_found_from_their_pixels_alone(self):
        """Tolerances are three times what the noise moves them by; fluxes of the same noise with known shapes: 1%."""
        truth = self.scene()
        frame = Frame(observed(truth, np.random.default_rng(0)))
        begin = [FreeSource(14, 12, np.ones((3, 3))), FreeSource(17, 19, np.ones((3, 3)))]
        star = PointSource([25.1, 9.4], frame.model_psf)
        fitted = fit_galaxies(Scene(frame, [*begin, star]), structure=0.0)
        assert [source.kind for source in fitted.sources] == ["galaxy", "galaxy", "point"]
        for source, shape in zip(fitted.sources, self.SHAPES, strict=False):
            np.testing.assert_allclose(source.parameters[:5], shape[:5], atol=0.15)
        np.testing.assert_allclose(fitted.seds.sum(axis=1), truth.seds.sum(axis=1), rtol=0.03)
        assert fitted.chi2() / fitted.n_pixels == pytest.approx(1, abs=0.1)

    def test_structure_of_a_bright_galaxy_does_not_bend_its_neighbour(self, truth):
        """A knot halfway to the second source, which would take its light if the noise were all that is allowed for."""
        knotty = disc(9, 2.5, 0.6)
        knotty[10:13, 13:16] += 0.1 * knotty.sum() / 9
        bright = truth.sources[0].replace(morphology=knotty, sed=10 * truth.sources[0].sed)
        scene = truth.replace([bright, truth.sources[1]])
        start = start_scene(Frame(observed(scene, np.random.default_rng(4))), PEAKS, largest_half=12)
        errors = [abs(fit_galaxies(start, structure=s).seds[1].sum() / SEDS[1].sum() - 1) for s in (0.0, 0.4)]
        assert errors[1] < 0.5 * errors[0]

    def test_without_data_galaxies_stay_what_is_expected(self):
        fitted = fit_galaxies(Scene(Frame(blank()), [FreeSource(14, 12, np.ones((3, 3)))]))
        assert np.exp(fitted.sources[0].parameters[2]) == pytest.approx(0.45)
        np.testing.assert_array_equal(fitted.seds, 0)

    def test_derivatives(self):
        """The step is that of the objective: one-sided differences are good to 1e-3."""
        source = self.scene().sources[0]
        central, one_sided = source.tangent(), source.tangent(one_sided=True)
        np.testing.assert_allclose(one_sided, central, atol=3e-3 * np.abs(central).max())

    def test_sources_outside_are_left_alone(self, frame):
        outside = FreeSource(200, 5, np.ones((5, 5)))
        assert fit_galaxies(Scene(frame, [outside])).sources == (outside,)


class TestStarts:
    def test_fluxes_and_shapes_of_the_start_do_not_matter(self, frame, start):
        """Only the places count, so the results are the same to the last digit."""
        method = ScoreDescent(prior=ScorePrior(normalisation=OWN_SCALE), stop=SHORT)
        expected = method.fit(start).fluxes
        seds = start.seds
        for wrong in (20 * seds, seds / 20, np.full_like(seds, seds.mean())):
            changed = [source.replace(sed=sed) for source, sed in zip(start.sources, wrong, strict=True)]
            np.testing.assert_array_equal(method.fit(start.replace(changed)).fluxes, expected)
        for kind in ("gaussian", "flat"):
            other = start_scene(frame, PEAKS, start=kind, largest_half=12)
            np.testing.assert_array_equal(method.fit(other).fluxes, expected)

    def test_start_is_kept_if_asked_for(self, start):
        result = ScoreDescent(galaxies_first=False, deviation=1e-4, stop=SHORT).fit(start)
        for source, before in zip(result.scene.sources, start.sources, strict=True):
            np.testing.assert_allclose(source.morphology, before.morphology, atol=1e-4)

    def test_model_without_a_psf_begins_as_it_is(self, truth):
        frame = Frame(observed(truth, np.random.default_rng(4)), model_psf=None)
        result = ScoreDescent(stop=SHORT).fit(start_scene(frame, PEAKS, largest_half=12))
        assert result.statuses == ("ok", "ok")


class TestDescent:
    def test_finds_structure_that_galaxies_do_not_have(self, truth):
        """A knot with a tenth of the light of the first source, at two thirds of the way to the second."""
        knotty = disc(9, 2.5, 0.6)
        knotty[10:13, 13:16] += 0.1 * knotty.sum() / 9
        truth = truth.replace([truth.sources[0].replace(morphology=knotty), truth.sources[1]])
        start = start_scene(Frame(observed(truth, np.random.default_rng(4))), PEAKS, largest_half=12)
        galaxies, free = fit_galaxies(start), ScoreDescent(stop=SHORT).fit(start).scene
        images = [scene.render_sources()[0] for scene in (galaxies, free, truth)]
        before, after = (morphology_correlation(own, images[2]) for own in images[:2])
        assert 1 - after[0] < 0.85 * (1 - before[0])
        assert after.min() > 0.99
        assert free.chi2() < galaxies.chi2() - 10

    def test_objective_falls_without_a_prior(self, start):
        """Momentum lets it rise by a little now and then; never by more than the fall of the first step."""
        trace = ScoreDescent(stop=StopRule(60, tolerance=0)).fit(start).trace
        assert trace[-1] == trace.min()
        assert np.diff(trace).max() < 0.02 * (trace[0] - trace[-1])

    def test_converges(self, start):
        result = ScoreDescent(prior=ScorePrior(normalisation=OWN_SCALE), stop=StopRule(300)).fit(start)
        assert result.converged

    @pytest.mark.parametrize("normalisation", [OWN_SCALE, Normalisation("peak"), Normalisation("sum", 1e-3)], ids=str)
    def test_prior_pulls(self, normalisation):
        """It wants a narrower profile than there is, and the data are poor."""
        data = observed(true_scene([blank(weight=100.0)]), np.random.default_rng(4))
        start = start_scene(Frame(data), PEAKS, largest_half=12)
        prior = GaussianPrior(normalisation=normalisation, width=1.0, variance=1e-8)
        outside = []
        for own, sigma in ((None, 1.0), (prior, 0.03)):
            method = ScoreDescent(prior=own, sigma=sigma, deviation=1.0, stop=StopRule(100, tolerance=0))
            shape = method.fit(start).scene.sources[0].morphology
            y, x = np.indices(shape.shape) - np.array(shape.shape)[:, None, None] // 2
            outside.append(shape[y**2 + x**2 > 3**2].sum())
        assert outside[1] < 0.9 * outside[0], outside

    def test_light_beyond_the_stamp_is_the_galaxys(self, start):
        """Boxes are larger than the stamps of 16 pixels: no light is cut off, and none of it moves."""
        prior = ScorePrior(shape=(16, 16), normalisation=OWN_SCALE)
        result = ScoreDescent(prior=prior, stop=SHORT).fit(start)
        galaxies = fit_galaxies(start)
        for source, galaxy in zip(result.scene.sources, galaxies.sources, strict=True):
            assert min(source.morphology.shape) >= 17
            beyond = [
                own.morphology[own.morphology.shape[0] // 2, own.morphology.shape[1] // 2 + 9 :][:4]
                for own in (source, galaxy)
            ]
            np.testing.assert_allclose(beyond[0] / beyond[0][0], beyond[1] / beyond[1][0], rtol=1e-9)

    def test_score_is_taken_every_so_often_at_one_noise_level(self, start):
        prior = ScorePrior(normalisation=OWN_SCALE)
        ScoreDescent(prior=prior, score_every=7, stop=SHORT).fit(start)
        assert prior.sigmas == [0.3] * 5


@pytest.mark.parametrize(
    "settings",
    [{"sigma": 0}, {"growth": 3}, {"deviation": -1.0}, {"deviation": np.inf}, {"score_every": 0}, {"galaxy_steps": 0},
     {"structure": -0.1}],
    ids=str,
)
def test_refusals(settings):
    with pytest.raises(DeblendError, match=next(iter(settings))):
        ScoreDescent(**settings)
