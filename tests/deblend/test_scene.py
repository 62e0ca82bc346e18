"""Scenes: what they look like, that gradients are those of chi^2, and that fluxes are solved for exactly."""

import numpy as np
import pytest
from deblend.small_scenes import blank, coarse, gaussian, random_scene, weighted
from reference.deblend_scenes import direct_chi2, direct_render
from scipy.optimize import lsq_linear

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import Box, FreeSource, GalaxySource, PointSource
from celestepy.images.psf_mixture import PSFMixture

LAYOUTS = {"one": [blank()], "two resolutions": [blank(), coarse()], "coarse first": [coarse(), blank()]}


@pytest.fixture(params=LAYOUTS, ids=str)
def scene(request):
    return random_scene(LAYOUTS[request.param])


class TestLinearOperator:
    def test_adjoint(self, scene):
        frame, rng = scene.frame, np.random.default_rng(5)
        cube = rng.normal(size=(frame.n_bands, *frame.grid.shape))
        images = [rng.normal(size=o.shape) for o in frame.observations]
        forward = sum((a * b).sum() for a, b in zip(frame.render(cube), images, strict=True))
        size = np.linalg.norm(cube) * np.linalg.norm(np.concatenate([image.ravel() for image in images]))
        assert forward == pytest.approx((cube * frame.adjoint(images)).sum(), abs=1e-13 * size)

    def test_columns_and_pull_back_are_render_and_adjoint(self, scene):
        frame, rng, seds = scene.frame, np.random.default_rng(6), scene.seds
        model = scene.render()
        for own, bands, image in zip(frame.columns(scene.stack()), frame.band_indices, model, strict=True):
            together = np.einsum("bkp,kb->bp", own, seds[:, bands]).reshape(image.shape)
            np.testing.assert_allclose(together, image, atol=1e-12 * image.max())
        images = [rng.normal(size=o.shape) for o in frame.observations]
        expected = np.tensordot(seds, frame.adjoint(images), 1)
        np.testing.assert_allclose(frame.pull_back(images, seds), expected, atol=1e-12 * abs(expected).max())

    @pytest.mark.parametrize("place", [(0, 0), (20, 60), (44, 3), (79, 89)])
    def test_small_sources_of_large_images(self, place):
        """Their images are made on a part of the frame; they have to be those of the whole."""
        frame = Frame(blank((3, 80, 90)))
        stack = np.zeros((2, 80, 90))
        rows, columns = (slice(max(c - 4, 0), c + 5) for c in place)
        stack[0, rows, columns] = np.random.default_rng(0).random(stack[0, rows, columns].shape)
        (found,) = frame.columns(stack)
        (expected,) = frame.render(np.repeat(stack[:1], 3, axis=0))
        assert frame._channels[0].local.fft_shape((rows, columns)) is not None
        np.testing.assert_allclose(found[:, 0].reshape(expected.shape), expected, atol=1e-13)
        np.testing.assert_array_equal(found[:, 1], 0)

    def test_direct_convolution(self):
        scene = random_scene([blank()])
        np.testing.assert_allclose(scene.render()[0], direct_render(scene), atol=1e-12)
        assert scene.chi2() == pytest.approx(direct_chi2(scene), rel=1e-12)

    def test_render_sources_add_up(self, scene):
        for parts, whole in zip(scene.render_sources(), scene.render(), strict=True):
            np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-12 * whole.max())


class TestGradients:
    def test_morphologies_and_seds(self, scene):
        """Central differences of a quadratic are exact up to rounding: 1e-16 chi^2 / step."""
        gradients = scene.gradients()
        assert gradients.half_chi2 == pytest.approx(scene.chi2() / 2, rel=1e-12)
        frame, seds, stack = scene.frame, scene.seds, scene.stack()

        def half_chi2(stack, seds):
            model = frame.render(np.tensordot(seds.T, stack, 1))
            pairs = zip(frame.observations, model, strict=True)
            return 0.5 * sum((o.weights * (o.images - m) ** 2).sum() for o, m in pairs)

        on_grid, in_box = scene.sources[0].box.overlap(frame.grid.shape)
        for y, x in ((0, 0), (5, 4), (7, 9)):
            shift = np.zeros_like(stack)
            shift[0][on_grid][y, x] = 1e-2
            slope = (half_chi2(stack + shift, seds) - half_chi2(stack - shift, seds)) / 2e-2
            assert gradients.morphologies[0][in_box][y, x] == pytest.approx(slope, rel=1e-8, abs=1e-6)
        for k, b in ((0, 0), (1, 1), (2, frame.n_bands - 1)):
            shift = np.zeros_like(seds)
            shift[k, b] = 1e-2
            slope = (half_chi2(stack, seds + shift) - half_chi2(stack, seds - shift)) / 2e-2
            assert gradients.seds[k, b] == pytest.approx(slope, rel=1e-8, abs=1e-6)

    def test_outside_of_the_frame_nothing_changes(self, scene):
        _, in_box = scene.sources[0].box.overlap(scene.frame.grid.shape)
        outside = np.ones(scene.sources[0].box.shape, bool)
        outside[in_box] = False
        assert outside.any()
        assert not scene.gradients().morphologies[0][outside].any()


class TestFluxes:
    def test_exact(self, scene):
        solved = scene.solved(nonnegative=False)
        scale = np.abs(scene.gradients().seds).max()
        # the ridge of 1e-9 moves the solution by that
        np.testing.assert_allclose(solved.gradients().seds, 0, atol=1e-7 * scale)

    def test_nonnegative_against_another_solver(self):
        scene = random_scene([blank()])
        solved = scene.solved()
        observation, columns = scene.frame.observations[0], scene.frame.columns(scene.stack())[0]
        assert (solved.seds == 0).any()
        assert (solved.seds > 0).any()
        for b, own in enumerate(columns):
            root = np.sqrt(observation.weights[b].ravel())
            data = root * observation.images[b].ravel()
            expected = lsq_linear((own * root).T, data, bounds=(0, np.inf), tol=1e-12)
            np.testing.assert_allclose(solved.seds[:, b], expected.x, atol=1e-6)

    def test_recovers_what_was_drawn(self, scene):
        data = [o.replace_images(image) for o, image in zip(scene.frame.observations, scene.render(), strict=True)]
        frame = Frame(data, grid=scene.frame.grid)
        np.testing.assert_allclose(Scene(frame, scene.sources).solved().seds, scene.seds, rtol=1e-6)

    def test_duplicates_share_evenly(self):
        scene = random_scene([blank()])
        alone = scene.solved(nonnegative=False).seds
        twice = scene.replace([*scene.sources, scene.sources[1]]).solved(nonnegative=False).seds
        np.testing.assert_allclose(twice[1], twice[3], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(twice[1] + twice[3], alone[1], rtol=1e-6, atol=1e-8)

    def test_masked_band(self):
        scene = random_scene([blank()])
        o = scene.frame.observations[0]
        weights = o.weights.copy()
        weights[1] = 0
        masked = Observation.from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid)
        solved = Scene(Frame(masked), scene.sources).solved(nonnegative=False)
        expected = scene.solved(nonnegative=False).seds
        np.testing.assert_allclose(solved.seds[:, [0, 2]], expected[:, [0, 2]], rtol=1e-9)
        np.testing.assert_array_equal(solved.seds[:, 1], 0)
        assert np.isnan(solved.flux_covariance()[1]).all()

    def test_source_without_pixels(self):
        scene = random_scene([blank()])
        far = FreeSource(100, 100, np.ones((5, 5)))
        solved = scene.replace([*scene.sources, far]).solved()
        np.testing.assert_allclose(solved.seds[:3], scene.solved().seds)
        np.testing.assert_array_equal(solved.seds[3], 0)
        np.testing.assert_array_equal(solved.active, [True, True, True, False])

    def test_covariance(self):
        """Of fluxes solved from many draws of the noise; 400 draws know a variance to 7%."""
        scene = random_scene([blank()])
        o, rng = scene.frame.observations[0], np.random.default_rng(2)
        gram, _ = scene.linear_problem()
        columns = scene.frame.columns(scene.stack())[0]
        noise = rng.normal(size=(400, *o.weights.shape)) * np.sqrt(o.weights)
        rhs = np.einsum("bkp,nbp->nbk", columns, noise.reshape(400, 3, -1))
        fluxes = np.einsum("bkl,nbl->nbk", np.linalg.inv(gram), rhs)
        for b, covariance in enumerate(scene.flux_covariance()):
            np.testing.assert_allclose(np.cov(fluxes[:, b].T), covariance, rtol=0.3, atol=0.1 * covariance.max())


class TestResolutions:
    def test_flux_is_kept(self):
        """A source well inside both grids has the same flux in both; the coarse PSF is sampled at 1.1 pixels."""
        fine, wide = blank((1, 61, 61), (1.6,), bands="r"), coarse((1, 16, 16), 0.3, "J")
        grid = wide.grid
        wide = Observation.from_arrays(
            wide.images, 1.0, psfs=gaussian(1.1), bands="J", grid=type(grid)(grid.shape, grid.jacobian, (3.6, 1.4))
        )
        frame = Frame([fine, wide])
        scene = Scene(frame, [PointSource([30.2, 30.4], frame.model_psf, [2.0, 2.0])])
        first, second = (image.sum() for image in scene.render())
        assert first == pytest.approx(2, rel=1e-3)
        assert second == pytest.approx(2, rel=1e-2)

    def test_place_and_profile_agree_with_the_coarse_psf(self):
        fine, wide = blank((1, 41, 41), (1.6,), bands="r"), coarse((1, 9, 9), 0.4, "J")
        frame = Frame([fine, wide])
        u, v = 4.1, 4.3
        x, y = frame.grid.from_plane(u, v)
        image = Scene(frame, [PointSource([x, y], frame.model_psf, [1.0, 1.0])]).render()[1][0]
        cx, cy = wide.grid.from_plane(u, v)
        expected = gaussian(1.3).render(wide.grid.shape, cx, cy)
        inside = frame.observations[1].weights[0] > 0
        sigma_1 = gaussian(1.1, 0.3).render(wide.grid.shape, cx, cy)
        assert abs(image - sigma_1)[inside].max() < 0.02 * sigma_1.max()
        assert abs(image - expected)[inside].max() > 0.1 * expected.max()  # the test can tell PSFs apart

    def test_pixels_beyond_the_model_are_not_used(self):
        frame = Frame([blank(), coarse()])
        assert 0 < frame.observations[1].n_used[0] < coarse().n_used[0]

    def test_model_must_have_the_smallest_pixels(self):
        with pytest.raises(DeblendError, match="smallest"):
            Frame([blank(), coarse()], grid=coarse().grid)


class TestSources:
    def test_star_is_the_psf_of_each_band(self):
        """Sub-pixel place and all; what is left is the damping of the difference kernel's division."""
        frame = Frame(blank())
        image = Scene(frame, [PointSource([17.3, 15.6], frame.model_psf, np.ones(3))]).render()[0]
        for own, sigma in zip(image, (1.6, 1.8, 2.1), strict=True):
            expected = gaussian(sigma, 0.3).render(own.shape, 17.3, 15.6)
            assert abs(own - expected).max() < 2e-3 * expected.max()

    def test_galaxy_is_that_of_the_catalogue(self):
        """As drawn by the catalogue's renderer through the band's own PSF."""
        from celestepy.model.rendering import add_image, source_mixture
        from celestepy.model.source import Source

        frame = Frame(blank((1, 61, 61), (1.6,), bands="r"))
        jacobian = np.linalg.inv(frame.grid.jacobian)
        shape = [-0.7, 0.3, -0.2, -1.5]
        image = Scene(frame, [GalaxySource([30.3, 29.6, *shape], frame.model_psf, jacobian, [1.0])]).render()[0][0]
        expected = np.zeros_like(image)
        mixture = source_mixture(Source("galaxy", [0, 0, 0, *shape], ("r",)), gaussian(1.6, 0.3), jacobian)
        add_image(expected, 1.0, 30.3, 29.6, *mixture)
        assert abs(image - expected).max() < 5e-3 * expected.max()  # the wings beyond eight radii, the kernel's damping

    @pytest.mark.parametrize("k", [1, 2])
    def test_tangents(self, k):
        source = random_scene([blank()]).sources[k]
        for row, name in zip(source.tangent(), source.parameter_names, strict=True):
            step = 1e-3 * (np.array(source.parameter_names) == name)
            moved = [source._drawn(source.parameters + sign * step) for sign in (1, -1)]
            np.testing.assert_allclose(row, (moved[0] - moved[1]) / 2e-3, atol=1e-4 * abs(row).max())

    def test_normalisation(self):
        source = FreeSource(4, 5, 7 * np.ones((3, 5)))
        assert source.morphology.sum() == pytest.approx(1)
        assert source.box == Box(3, 3, 3, 5)

    def test_deconvolved_model_has_free_sources_alone(self):
        observation = weighted(blank(), np.random.default_rng(0))
        frame = Frame(observation, model_psf=None)
        image = Scene(frame, [FreeSource(15, 17, [[1.0]], np.ones(3))]).render()[0]
        stamp = observation.psfs[0]
        half = len(stamp) // 2
        seen = stamp[half - 10 : half + 11, half - 10 : half + 11]
        np.testing.assert_allclose(image[0, 5:26, 7:28], seen, atol=1e-12)
        with pytest.raises(DeblendError, match="deconvolved"):
            PointSource([3, 4], frame.model_psf)

    @pytest.mark.parametrize("morphology", [np.ones((4, 5)), -np.ones((3, 3)), np.full((3, 3), np.nan), np.ones(3)])
    def test_refused_morphologies(self, morphology):
        with pytest.raises(DeblendError, match="morphology"):
            FreeSource(3, 3, morphology)

    def test_refused_seds(self):
        with pytest.raises(DeblendError, match="expected 3, one for each"):
            Scene(Frame(blank()), [FreeSource(3, 3, np.ones((3, 3)), [1.0, 2.0])])
        with pytest.raises(DeblendError, match="not known yet"):
            _ = Scene(Frame(blank()), [FreeSource(3, 3, np.ones((3, 3)))]).seds
        with pytest.raises(DeblendError, match="parameters of a point"):
            PointSource([np.nan, 1.0], gaussian(0.8))


class TestFrames:
    def test_psf_larger_than_the_image(self):
        stamp = np.outer(*[np.exp(-0.5 * (np.arange(-60, 61) / 3.0) ** 2)] * 2)
        small = Observation.from_arrays(np.ones((1, 7, 9)), 1.0, psfs=stamp)
        scene = Scene(Frame(small), [FreeSource(3, 4, np.ones((3, 3)), [1.0])])
        np.testing.assert_allclose(scene.render()[0], direct_render(scene), atol=1e-13)

    def test_kernels_reproduce_psfs(self):
        assert max(residuals.max() for residuals in Frame(blank()).kernel_residuals) < 1e-3

    def test_model_psf_must_be_narrow(self):
        with pytest.raises(DeblendError, match="model_psf"):
            Frame(blank(), model_psf=PSFMixture([1.0], [[0, 0]], [[9.0, 0, 9.0]]))

    def test_undersampled_images(self):
        stamp = PSFMixture([1.0], [[0, 0]], [[0.2, 0, 0.2]])
        sharp = Observation.from_arrays(np.zeros((1, 11, 11)), 1.0, psfs=stamp)
        with pytest.raises(DeblendError, match="undersampled"):
            Frame(sharp)
        assert Frame(sharp, model_psf=None).model_psf is None

    def test_no_observation(self):
        with pytest.raises(DeblendError, match="observations"):
            Frame([])
