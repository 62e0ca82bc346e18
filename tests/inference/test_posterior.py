"""The log posterior of a group: its derivatives against differences of its own value, and its parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import norm

from celestepy.images import Patch, PSFMixture
from celestepy.inference.posterior import SCALES, GroupPosterior, position_bound
from celestepy.model.parameters import GALAXY, STAR, Bands, layout
from celestepy.model.pixel_rate import SceneLikelihood
from celestepy.model.priors import Prior
from celestepy.model.transforms import to_scene

PSF = PSFMixture(np.array([0.7, 0.3]), np.array([[0.0, 0.0], [0.1, -0.05]]),
                 np.array([[1.2, 0.1, 1.4], [4.0, 0.0, 3.5]]))
PIXEL = 0.396  # arcsec


def group(n_sources, bands="gri", images=None, poisson=True, seed=0):
    """Posterior of some sources in noise, one patch for each of the images (named by their bands)."""
    rng = np.random.default_rng(seed)
    bands = Bands.of(bands)
    images = list(images or bands)
    patches = []
    for _ in images:
        background = np.full((15, 17), 3.0)
        data = rng.poisson(40 * background) / 40
        weight = np.full(data.shape, 40.0 if poisson else 12.0)
        patches.append(Patch(data=data, weight=weight, background=background, x0=2, y0=5, poisson=poisson))
    positions = np.tile(rng.uniform([7, 9], [13, 15], (n_sources, 2)), (len(images), 1, 1))
    jacobians = np.tile(np.array([[0.9, 0.2], [-0.1, 1.0]]) / PIXEL, (len(images), n_sources, 1, 1))
    likelihood = SceneLikelihood(patches, [bands.names.index(band) for band in images],
                                 [[PSF] * n_sources] * len(images), positions, jacobians, n_bands=len(bands))
    position_sd = np.linspace(0.2, 0.4, n_sources)
    return GroupPosterior(likelihood, Prior.default(bands), bands, position_sd, np.full(len(images), 0.02))


def point(posterior, kinds, seed=0):
    """Parameters that are nowhere special."""
    rng = np.random.default_rng(seed)
    vectors = []
    for kind in kinds:
        at = layout(kind, len(posterior.bands))
        vector = np.zeros(at.size)
        vector[at.position] = 0.2 * rng.normal(size=2)
        vector[at.log_fluxes] = rng.uniform(0.2, 1.0, len(posterior.bands))
        vector[at.log_flux] += 1.0
        if kind == GALAXY:
            vector[at.log_radius], vector[at.logit_dev] = rng.uniform(-0.6, 0.4), rng.normal()
            vector[at.ellipticity] = 0.4 * rng.normal(size=2)
        vectors.append(vector)
    return np.concatenate([*vectors, 0.02 * rng.normal(size=posterior.n_images)])


ASSIGNMENTS = [(STAR,), (GALAXY,), (STAR, GALAXY), (GALAXY, GALAXY), (GALAXY, STAR, GALAXY)]
SETUPS = [dict(bands="r"), dict(bands="gri"), dict(bands="ugriz", poisson=False),
          dict(bands="gr", images="rggr")]


@pytest.mark.parametrize("kinds", ASSIGNMENTS)
@pytest.mark.parametrize("setup", SETUPS)
def test_derivatives(kinds, setup):
    posterior = group(len(kinds), **setup)
    objective, x = posterior.objective(kinds), point(posterior, kinds)
    scale = posterior.scale(kinds)
    _, gradient, hessian = objective(x)
    step = 1e-4
    for i, unit in enumerate(np.diag(step * scale)):
        up, down = objective(x + unit), objective(x - unit)
        # In units of the scales derivatives are 1 to 1e4. Truncation is 1e-8 of the third derivative;
        # rounding of a value of 1e3 is 1e-13 / 1e-4.
        slope = (up[0] - down[0]) / (2 * step)
        assert slope == pytest.approx(gradient[i] * scale[i], rel=1e-5, abs=1e-5)
        row = (up[1] - down[1]) * scale / (2 * step)
        found = hessian[i] * scale[i] * scale
        np.testing.assert_allclose(found, row, rtol=1e-5, atol=1e-5 * np.abs(row).max())
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-9, atol=1e-12 * np.abs(hessian).max())


def beyond_the_walls(posterior):
    """A star and a galaxy, each beyond the bound of its position, the galaxy larger than the patch too."""
    kinds = (STAR, GALAXY)
    x = point(posterior, kinds)
    blocks, _ = posterior.blocks(kinds)
    for k, block in enumerate(blocks):
        x[block][:2] = np.array([0.6, -0.8]) * (position_bound(posterior.position_sd[k]) + 0.05)
    x[blocks[1]][layout(GALAXY, len(posterior.bands)).log_radius] = np.log(posterior.likelihood.extent)
    return kinds, x


def test_derivatives_of_the_walls():
    posterior = group(2)
    kinds, x = beyond_the_walls(posterior)
    objective, step = posterior.objective(kinds), 1e-5
    _, gradient, hessian = objective(x)
    for i in range(len(x)):
        up, down = (objective(x + sign * step * np.eye(len(x))[i]) for sign in (1, -1))
        # The walls are quadratic but for the curvature of the circle: errors of 1e-10 of 1e6 and of rounding.
        assert (up[0] - down[0]) / (2 * step) == pytest.approx(gradient[i], rel=1e-5, abs=1e-2)
        row = (up[1] - down[1]) / (2 * step)
        np.testing.assert_allclose(hessian[i], row, rtol=1e-5, atol=1e-6 * np.abs(row).max() + 1e-2)


def test_walls_do_not_matter_within_them():
    """The same value to the last bit, whatever the bound, as long as the point is within it."""
    posterior, wide = group(1), group(1)
    wide._reach, wide._largest = 10 * wide._reach, 10.0
    x = point(posterior, (GALAXY,))
    for one, other in zip(posterior.objective((GALAXY,))(x), wide.objective((GALAXY,))(x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_extent_is_that_of_the_largest_patch():
    """17 pixels, of sqrt(det) = .92 per .396 arcsec."""
    expected = 0.5 * 17 * PIXEL / np.sqrt(0.92)
    assert group(1).likelihood.extent == pytest.approx(expected, rel=1e-12)


def test_value_is_likelihood_times_priors():
    kinds = (STAR, GALAXY)
    posterior = group(2)
    x = point(posterior, kinds)
    blocks, sky = posterior.blocks(kinds)
    scenes = np.array([to_scene(kind, x[block], posterior.bands)[0] for kind, block in zip(kinds, blocks)])
    expected = posterior.likelihood.evaluate([False, True], scenes, x[sky], order=0)[0]
    expected += sum(posterior.prior.log_density(kind, x[block], sd, order=0)[0]
                    for kind, block, sd in zip(kinds, blocks, posterior.position_sd))
    expected += norm(scale=posterior.sky_sd).logpdf(x[sky]).sum()
    assert -posterior.objective(kinds)(x)[0] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(posterior.scenes(kinds, x)[0], scenes)


def test_components_add_up():
    """The mixture's density is the sum of its components'."""
    posterior = group(1)
    x = point(posterior, (STAR,))
    n_components = len(posterior.prior.star.colors)
    parts = [-posterior.objective((STAR,), [j])(x)[0] for j in range(n_components)]
    assert np.logaddexp.reduce(parts) == pytest.approx(-posterior.objective((STAR,))(x)[0], abs=1e-9)


def test_order_of_sources_does_not_matter():
    kinds = (STAR, GALAXY)
    posterior = group(2)
    x = point(posterior, kinds)
    turned = GroupPosterior(_Turned(posterior.likelihood), posterior.prior, posterior.bands,
                            posterior.position_sd[::-1], posterior.sky_sd)
    (first, second), sky = posterior.blocks(kinds)
    order = np.concatenate([np.arange(len(x))[block] for block in (second, first, sky)])
    value, gradient, hessian = posterior.objective(kinds)(x)
    other = turned.objective(kinds[::-1])(x[order])
    assert other[0] == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(other[1], gradient[order], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(other[2], hessian[np.ix_(order, order)], rtol=1e-9, atol=1e-6)


class _Turned:
    """A likelihood of two sources, given in the other order."""

    def __init__(self, likelihood):
        self.likelihood, self.n_sources, self.n_images = likelihood, 2, likelihood.n_images
        self.extent = likelihood.extent

    def evaluate(self, is_galaxy, scene, sky):
        value, gradient, hessian = self.likelihood.evaluate(is_galaxy[::-1], scene[::-1], sky)
        width = scene.shape[1]
        order = np.r_[np.arange(width, 2 * width), np.arange(width), np.arange(2 * width, len(gradient))]
        return value, gradient[order], np.ascontiguousarray(hessian[np.ix_(order, order)])


@pytest.mark.parametrize("kind", [STAR, GALAXY])
def test_wild_parameters_are_turned_down(kind):
    posterior = group(1)
    x = point(posterior, (kind,))
    for i in range(len(x)):
        for value in (1e4, -1e4, np.nan):
            wild = x.copy()
            wild[i] = value
            assert posterior.objective((kind,))(wild) == (np.inf, None, None)


def test_every_parameter_has_a_scale():
    posterior = group(2)
    for kinds in ((STAR, GALAXY), (GALAXY, GALAXY)):
        blocks, sky = posterior.blocks(kinds)
        scale = posterior.scale(kinds)
        assert len(scale) == blocks[-1].stop + posterior.n_images == sky.stop
        assert set(scale[:sky.start]) == {SCALES[name] for name in SCALES}
        np.testing.assert_array_equal(scale[sky], posterior.sky_sd)


def test_same_in_every_thread():
    """One posterior for each thread, as the engines have it: the same to the last bit."""
    def evaluate(_):
        posterior = group(2)
        return posterior.objective((STAR, GALAXY))(point(posterior, (STAR, GALAXY)))[2].tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(evaluate, range(12)))) == 1


def test_only_profiles_reach_beyond_the_fit():
    posterior = group(2)
    reach = posterior.reach((STAR, GALAXY))
    at, galaxy = layout(GALAXY, 3), posterior.blocks((STAR, GALAXY))[0][1]
    assert np.flatnonzero(reach).tolist() == [galaxy.start + at.logit_dev]
    assert reach.max() == posterior.prior.galaxy.dev_fraction.sd


class TestValues:
    @pytest.mark.parametrize("setup", SETUPS)
    @pytest.mark.parametrize("kinds", ASSIGNMENTS)
    def test_many_at_once_are_minus_the_objective(self, kinds, setup):
        posterior = group(len(kinds), **setup)
        x = np.array([point(posterior, kinds, seed) for seed in range(4)])
        x[1, :2] += 3.0  # beyond the wall about the seed
        objective = posterior.objective(kinds)
        # The same sums in another order, with walls of 1e6 and more nats.
        np.testing.assert_allclose(posterior.values(kinds, x), [-objective(each)[0] for each in x], rtol=1e-12)

    def test_galaxies_beyond_their_patch(self):
        posterior = group(1)
        x = point(posterior, (GALAXY,))
        x[layout(GALAXY, 3).log_radius] = 4.0
        value = -posterior.objective((GALAXY,))(x)[0]
        np.testing.assert_allclose(posterior.values((GALAXY,), x[None]), [value], rtol=1e-12)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 1e3])
    def test_what_is_not_finite_or_out_of_bounds_has_no_density(self, bad):
        posterior = group(1)
        x = np.array([point(posterior, (GALAXY,))] * 3)
        x[1, 3] = bad
        values = posterior.values((GALAXY,), x)
        assert values[1] == -np.inf
        assert values[0] == values[2] > -np.inf
        assert posterior.values((GALAXY,), x[1:2])[0] == -np.inf

    def test_no_vectors(self):
        assert group(1).values((STAR,), np.zeros((0, 5 + 3))).shape == (0,)

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match=r"x has shape \(7,\); expected \(M, 8\)"):
            group(1).values((STAR,), np.zeros(7))
