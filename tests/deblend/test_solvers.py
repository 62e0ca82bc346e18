"""The methods: what each promises, on small scenes drawn by the model itself."""

import numpy as np
import pytest
from deblend.simple_priors import BrokenPrior, GaussianPrior, ScorePrior
from deblend.small_scenes import blank, coarse, observed
from deblend.two_discs import PEAKS, SEDS, SHORT, true_scene

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.asinh_adam import AsinhAdam
from celestepy.deblend.constraints import Constraints, Monotonic, NonNegative, Sparse, Symmetric
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.forward_backward import ForwardBackward
from celestepy.deblend.growth import Growth
from celestepy.deblend.operators import monotonic_projection
from celestepy.deblend.priors import Normalisation
from celestepy.deblend.problem import Problem
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.deblend.starts import start_scene
from celestepy.deblend.stopping import StopRule, StopTest

METHODS = {
    "forward-backward": ForwardBackward(stop=SHORT),
    "adaprox": AdaProx(stop=SHORT, step=0.03),
    "adaprox, fluxes solved": AdaProx(stop=SHORT, step=0.03, solve_fluxes=True),
    "asinh": AsinhAdam(stop=SHORT),
    "score descent": ScoreDescent(stop=SHORT),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
class TestEveryMethod:
    def test_recovers_fluxes(self, method, start):
        """Two well resolved sources at a signal to noise of hundreds: what is left is the split of the overlap."""
        result = method.fit(start)
        np.testing.assert_allclose(result.fluxes.sum(axis=1), SEDS.sum(axis=1), rtol=0.12)
        assert result.scene.chi2() < 0.9 * start.chi2()

    def test_result(self, method, start):
        result = method.fit(start)
        for source in result.scene.sources:
            assert source.morphology.sum() == pytest.approx(1)
            assert source.morphology.min() >= 0
        assert result.statuses == ("ok", "ok")
        assert len(result.trace) == 30
        assert not result.converged
        assert "max_iterations" in result.reason
        table = result.table()
        assert table.colnames[:4] == ["id", "kind", "x", "y"]
        np.testing.assert_array_equal(table["flux_r"], result.fluxes[:, 1])
        assert (result.flux_errors > 0).all()
        assert "2 sources, 0 flagged" in repr(result)

    def test_deterministic(self, method, start):
        np.testing.assert_array_equal(method.fit(start).fluxes, method.fit(start).fluxes)

    def test_start_is_not_changed(self, method, start):
        before = [source.morphology.copy() for source in start.sources]
        method.fit(start)
        for source, values in zip(start.sources, before, strict=True):
            np.testing.assert_array_equal(source.morphology, values)

    def test_bad_sources_are_flagged_and_disturb_no_other(self, method, frame, start):
        sources = [*start.sources, FreeSource(200, 5, np.ones((5, 5))), FreeSource(-4, 15, np.ones((11, 11)))]
        result = method.fit(start.replace(sources))
        assert result.statuses[:2] == ("ok", "ok")
        assert result.statuses[2] == "outside"
        assert result.statuses[3] == "centre outside"
        assert np.isnan(result.fluxes[2]).all()
        assert "larger patch" in result.messages[2]
        np.testing.assert_allclose(result.fluxes[:2].sum(axis=1), SEDS.sum(axis=1), rtol=0.12)

    def test_duplicates(self, method, start):
        result = method.fit(start.replace([*start.sources, start.sources[1]]).solved())
        assert result.statuses == ("ok", "ok", "duplicate")
        assert "source 1" in result.messages[2]
        assert result.fluxes[1:].sum() == pytest.approx(SEDS[1].sum(), rel=0.12)

    def test_masked_band_and_dead_pixels(self, method, frame):
        o = frame.observations[0]
        weights = o.weights.copy()
        weights[0] = 0
        weights[1, 10:14, 10:14] = 0
        masked = type(o).from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid)
        result = method.fit(start_scene(Frame(masked), PEAKS, largest_half=12))
        assert np.isnan(result.fluxes[:, 0]).all()
        np.testing.assert_allclose(result.fluxes[:, 1:].sum(axis=1), SEDS[:, 1:].sum(axis=1), rtol=0.15)
        assert result.statuses == ("ok", "ok")

    def test_no_source_in_the_frame(self, method, frame):
        result = method.fit(Scene(frame, [FreeSource(200, 5, np.ones((5, 5)))]))
        assert result.statuses == ("outside",)
        assert "no source" in result.reason
        assert len(method.fit(Scene(frame, [])).table()) == 0

    def test_a_star_finds_its_place(self, method, frame):
        star = PointSource([20.3, 14.6], frame.model_psf, np.full(3, 5.0))
        data = Frame(observed(Scene(frame, [star]), np.random.default_rng(0)))
        result = method.fit(Scene(data, [PointSource([19.8, 15.0], data.model_psf)]).solved())
        # three standard deviations of a place at this noise, of twelve draws
        assert result.scene.sources[0].parameters == pytest.approx([20.3, 14.6], abs=0.06)
        np.testing.assert_allclose(result.fluxes, 5.0, rtol=0.02)

    def test_two_resolutions(self, method):
        scene = true_scene([blank(weight=1e4), coarse()], 4)
        frame = Frame(observed(scene, np.random.default_rng(1)))
        result = method.fit(start_scene(frame, PEAKS, largest_half=12))
        np.testing.assert_allclose(result.fluxes[:, :3].sum(axis=1), SEDS.sum(axis=1), rtol=0.12)
        assert np.isfinite(result.fluxes[:, 3]).all()

    def test_prior_pulls(self, method, start):
        """A prior that is sure of itself decides on the shape; one for other stamps is refused."""
        if isinstance(method, ScoreDescent):
            pytest.skip("its prior is never sure, and larger boxes are allowed: see test_score_descent.py")
        sure = GaussianPrior(width=1.0, variance=1e-8)
        pulled = type(method)(prior=sure, stop=StopRule(150, tolerance=0)).fit(start)
        for source in pulled.scene.sources:
            profile = source.morphology / source.morphology.max()
            middle = profile[tuple(side // 2 for side in profile.shape)]
            assert middle == 1
            assert profile[profile.shape[0] // 2, profile.shape[1] // 2 + 2] == pytest.approx(np.exp(-2), abs=0.02)
        with pytest.raises(DeblendError, match="larger than the stamps"):
            type(method)(prior=GaussianPrior((16, 16))).fit(start)
        with pytest.raises(DeblendError, match="pixels of 0.3"):
            type(method)(prior=GaussianPrior(pixel_scale=0.3)).fit(start)

    def test_broken_prior_is_told_of_the_source(self, method, start):
        result = type(method)(prior=BrokenPrior(), stop=SHORT).fit(start)
        assert result.statuses == ("ok", "prior failed")
        assert np.isfinite(result.fluxes).all()


def descends(trace):
    return np.all(np.diff(trace) <= 1e-10 * np.abs(trace[:-1]))


class TestForwardBackward:
    @pytest.mark.parametrize("accelerated", [True, False])
    @pytest.mark.parametrize(
        "constraints",
        [
            (),
            (NonNegative(),),
            (Symmetric(), Monotonic(), NonNegative()),
            (Sparse(20.0), NonNegative()),
            (Sparse(20.0), Symmetric(), Monotonic(), NonNegative()),
            (Sparse(20.0),),
        ],
        ids=str,
    )
    def test_objective_never_rises(self, start, constraints, accelerated):
        result = ForwardBackward(constraints=constraints, accelerated=accelerated, stop=SHORT).fit(start)
        assert descends(result.trace)
        assert result.trace[-1] < result.trace[0]

    @pytest.mark.parametrize("softening", [None, 0.05])
    @pytest.mark.parametrize("reference", ["sum", "peak"])
    def test_nor_with_a_prior_that_has_a_density(self, start, reference, softening):
        prior = GaussianPrior(normalisation=Normalisation(reference, softening), variance=1e-3)
        result = ForwardBackward(constraints=(NonNegative(),), prior=prior, stop=SHORT).fit(start)
        assert descends(result.trace)

    def test_never_asks_a_score_prior_for_a_density(self, start):
        result = ForwardBackward(prior=ScorePrior(variance=1e-3), sigma=0.1, stop=SHORT).fit(start)
        assert result.scene.chi2() < start.chi2()
        assert result.statuses == ("ok", "ok")

    def test_trace_is_the_objective(self, start):
        result = ForwardBackward(constraints=(Sparse(20.0), NonNegative()), stop=SHORT, growth=None).fit(start)
        expected = 0.5 * result.scene.chi2() + 20 * result.fluxes.sum()
        assert result.trace[-1] == pytest.approx(expected, rel=1e-9)

    def test_converges_to_the_constrained_optimum(self, frame, truth):
        """One source with a known SED and non-negative pixels is a quadratic program, solved by L-BFGS-B."""
        from scipy.optimize import minimize

        scene = truth.replace([truth.sources[0].replace(morphology=np.ones((7, 7)))])
        data = Frame(observed(truth.replace(truth.sources[:1]), np.random.default_rng(0)))
        scene = Scene(data, scene.sources)
        method = ForwardBackward(constraints=(NonNegative(),), stop=StopRule(2000, 20, 1e-10, 1e-8), growth=None)
        result = method.fit(scene)
        problem, own = Problem(data), result.scene.sources[0]
        shape = result.fluxes[0] / result.fluxes[0].sum()

        def half_chi2(x):
            source = own.replace(morphology=np.ones((7, 7)))
            stack = np.zeros((1, *data.grid.shape))
            on_grid, in_box = source.box.overlap(data.grid.shape)
            stack[0][on_grid] = x.reshape(7, 7)[in_box]
            point = problem.evaluate(stack, shape[None])
            return point.half_chi2, problem.gradient(point)[0][on_grid].ravel()

        x = (own.morphology * result.fluxes[0].sum()).ravel()
        best = minimize(half_chi2, x, jac=True, bounds=[(0, None)] * 49, method="L-BFGS-B", options={"maxiter": 2000})
        assert result.trace[-1] - best.fun < 1e-3 * best.fun

    def test_start_of_the_fluxes_does_not_matter(self, start):
        wrong = start.replace([source.replace(sed=20 * source.sed) for source in start.sources])
        method = METHODS["forward-backward"]
        np.testing.assert_array_equal(method.fit(wrong).fluxes, method.fit(start).fluxes)

    def test_galaxy_finds_its_shape(self, frame):
        jacobian = np.linalg.inv(frame.grid.jacobian)
        shape = np.array([17.2, 15.4, -0.8, 0.4, -0.2, -3.0])
        galaxy = GalaxySource(shape, frame.model_psf, jacobian, np.full(3, 40.0))
        data = Frame(observed(Scene(frame, [galaxy]), np.random.default_rng(0)))
        begin = GalaxySource(shape + [0.5, -0.4, 0.3, -0.3, 0.2, 0], data.model_psf, jacobian)
        result = ForwardBackward(stop=StopRule(100)).fit(Scene(data, [begin]))
        np.testing.assert_allclose(result.scene.sources[0].parameters[:5], shape[:5], atol=0.03)
        assert result.scene.chi2() / result.scene.n_pixels == pytest.approx(1, abs=0.15)


class TestAdaProx:
    def test_flux_steps_depend_on_the_start_and_solved_fluxes_do_not(self, start):
        wrong = start.replace([source.replace(sed=20 * source.sed) for source in start.sources])
        stepping, solving = METHODS["adaprox"], METHODS["adaprox, fluxes solved"]
        np.testing.assert_allclose(solving.fit(wrong).fluxes, solving.fit(start).fluxes, rtol=1e-9)
        assert (stepping.fit(wrong).fluxes > 2 * stepping.fit(start).fluxes).any()

    def test_inner_iterations_stay_feasible(self, start):
        method = AdaProx(constraints=(Monotonic(), NonNegative()), prox_iterations=5, stop=SHORT)
        for source in method.fit(start).scene.sources:
            np.testing.assert_allclose(monotonic_projection(source.morphology), source.morphology, atol=1e-12)


class TestAsinhAdam:
    def test_noise_level_falls(self, start):
        prior = ScorePrior()
        AsinhAdam(prior=prior, stop=SHORT).fit(start)
        assert prior.sigmas[0] == pytest.approx(0.1)
        assert prior.sigmas[-1] == pytest.approx(0.02)
        assert np.all(np.diff(prior.sigmas) < 0)

    def test_scores_may_be_used_for_several_steps(self, start):
        prior = ScorePrior()
        result = AsinhAdam(prior=prior, score_every=3, growth=None, stop=SHORT).fit(start)
        assert len(prior.sigmas) == 10
        assert result.statuses == ("ok", "ok")

    def test_prior_in_its_own_asinh(self, start):
        prior = GaussianPrior(normalisation=Normalisation("sum", 1e-4), width=1.0, variance=1e-8)
        for source in AsinhAdam(prior=prior, stop=StopRule(100, tolerance=0)).fit(start).scene.sources:
            profile = source.morphology / source.morphology.max()
            assert profile[profile.shape[0] // 2, profile.shape[1] // 2 + 2] == pytest.approx(np.exp(-2), abs=0.03)


class TestStopping:
    def test_one_quiet_step_is_not_enough(self):
        test, seds = StopTest(StopRule(window=4, tolerance=1e-3)), np.ones((2, 3))
        values = [10.0, 9.0, 9.0, 8.0, 8.0, 8.0, 8.0, 8.0]
        assert [test.has_converged(value, seds) for value in values] == [False] * 7 + [True]

    def test_fluxes_count(self):
        test = StopTest(StopRule(window=2, tolerance=1e-3, flux_tolerance=1e-3))
        assert not any(test.has_converged(1.0, np.full((1, 1), flux)) for flux in (1.0, 1.1, 1.2, 1.3))

    def test_converges(self, start):
        result = ForwardBackward(stop=StopRule(500, tolerance=1e-3)).fit(start)
        assert result.converged
        assert result.reason == "converged"
        assert 10 < len(result.trace) < 500

    @pytest.mark.parametrize(
        "settings", [{"max_iterations": 0}, {"window": 1}, {"tolerance": -1.0}, {"flux_tolerance": np.nan}]
    )
    def test_refusals(self, settings):
        with pytest.raises(DeblendError, match=next(iter(settings))):
            StopRule(**settings)


class TestGrowth:
    @pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
    def test_a_box_that_is_too_small_grows(self, method, frame, truth):
        if isinstance(method, ScoreDescent):
            pytest.skip("its boxes have the size of the fitted galaxies")
        small = truth.replace([s.replace(morphology=s.morphology[5:14, 5:14]) for s in truth.sources])
        small = Scene(frame, small.sources).solved()
        grown = type(method)(growth=Growth(every=5), stop=SHORT).fit(small)
        kept = type(method)(growth=None, stop=SHORT).fit(small)
        assert grown.scene.sources[0].morphology.shape[0] > 9
        assert kept.scene.sources[0].morphology.shape == (9, 9)
        assert grown.scene.chi2() < kept.scene.chi2()

    def test_never_beyond_the_stamp_of_a_prior(self, frame, truth):
        small = truth.replace([s.replace(morphology=s.morphology[5:14, 5:14]) for s in truth.sources])
        prior = GaussianPrior((14, 14), variance=10.0)
        result = ForwardBackward(prior=prior, growth=Growth(every=5, edge_snr=0.1), stop=SHORT).fit(
            Scene(frame, small.sources)
        )
        assert max(source.morphology.shape for source in result.scene.sources) == (13, 13)

    def test_quiet_edges_stay(self):
        quiet = np.zeros((9, 9))
        quiet[4, 4] = 1
        assert Growth().padding(quiet, np.ones(3), np.ones(3)) == (0, 0)
        assert Growth().padding(np.ones((9, 9)) / 81, np.full(3, 1e3), np.ones(3)) == (2, 2)
        assert Growth(largest_half=5).padding(np.ones((9, 9)) / 81, np.full(3, 1e3), np.ones(3)) == (1, 1)

    @pytest.mark.parametrize("settings", [{"every": 0}, {"edge_snr": 0}, {"share": -1}, {"largest_half": 0}])
    def test_refusals(self, settings):
        with pytest.raises(DeblendError, match=next(iter(settings))):
            Growth(**settings)


class TestSettings:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: ForwardBackward(sigma=-1), "sigma"),
            (lambda: AdaProx(step=0), "step"),
            (lambda: AdaProx(b2=1.0), "b2"),
            (lambda: AdaProx(prox_iterations=0), "prox_iterations"),
            (lambda: AsinhAdam(softening=0), "softening"),
            (lambda: AsinhAdam(b1=-0.1), "b1"),
            (lambda: AsinhAdam(score_every=0), "score_every"),
            (lambda: Monotonic("fast"), "method"),
            (lambda: Symmetric(2.0), "strength"),
            (lambda: Sparse(-1.0), "weight"),
            (lambda: Sparse(1.0, "l2"), "norm"),
            (lambda: Constraints(["monotonic"]), "expected NonNegative"),
            (lambda: Constraints([Monotonic(), Monotonic("sweep")]), "at most one"),
        ],
    )
    def test_refusals(self, make, message):
        with pytest.raises(DeblendError, match=message):
            make()

    def test_exactness(self):
        assert Constraints([NonNegative(), Monotonic(), Symmetric(), Sparse(1.0)]).exact
        for inexact in (Monotonic("sweep"), Symmetric(0.5), Sparse(1.0, "l0")):
            assert not Constraints([inexact]).exact
