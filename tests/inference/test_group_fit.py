"""Groups of sources: joint errors, types, existence, and what becomes of fits that fail."""

import numpy as np
import pytest
from inference.small_fields import field, fitter, galaxy, place, seeds, star

from celestepy.catalog import Flag
from celestepy.inference import assignments, group_fit
from celestepy.inference.group_fit import contribution
from celestepy.inference.placement import Contribution
from celestepy.inference.posterior import GroupPosterior
from celestepy.inference.rows import source_rows
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, STAR, Bands, layout

BANDS = Bands.of("gri")


def full(images, table, members=None, contributions=None, own=None, **options):
    """The final fit of a group."""
    engine = fitter(images, table, **options)
    members = range(len(table)) if members is None else members
    return engine.full(members, contributions or {}, own or {}, {})


def total_moments(fit, i):
    """Mean and covariance of a source's free vector under its most probable type."""
    source = fit.types.source(i, fit.types.best.kinds[i])
    mean = source.weights @ source.means
    offsets = source.means - mean
    return mean, np.einsum("j,jab->ab", source.weights, source.covariances + offsets[:, :, None] * offsets[:, None])


class TestBlends:
    def test_fluxes_of_neighbours_are_anticorrelated(self):
        """Two stars 1.5 pixels apart (.6 FWHM): what one gains, the other loses."""
        pair = [star(19.5, -0.75), star(19.5, 0.75)]
        fit = full(field(*pair).images, seeds(*pair))
        assert fit.types.best.kinds == (STAR, STAR)
        covariance = np.linalg.inv(fit.types.best.minimum.hessian)
        at = layout(STAR, 3)
        i, j = at.log_flux, at.size + at.log_flux
        correlation = covariance[i, j] / np.sqrt(covariance[i, i] * covariance[j, j])
        assert -1 < correlation < -0.5

    def test_the_neighbour_s_error_is_in_every_error(self):
        """Against the same pixels with the neighbour held fixed at the truth."""
        pair = [star(19.5, -0.75), star(19.5, 0.75)]
        images = field(*pair).images
        joint = full(images, seeds(*pair))
        fixed = full(images, seeds(*pair), [0], {1: contribution([(STAR, pair[1].theta, 1.0)], BANDS)})
        at = layout(STAR, 3)
        wide, narrow = (np.sqrt(total_moments(fit, 0)[1][at.log_flux, at.log_flux]) for fit in (joint, fixed))
        assert wide > 2 * narrow

    def test_fluxes_are_shared_out_right(self):
        """A star and a galaxy two pixels apart: both fluxes within three of their errors, in two noises."""
        pair = [star(19.5, -1), galaxy(19, 1)]
        at = layout(STAR, 3)
        for rng in range(2):
            fit = full(field(*pair, rng=rng).images, seeds(*pair))
            assert fit.types.best.kinds == (STAR, GALAXY)
            for i, source in enumerate(pair):
                mean, covariance = total_moments(fit, i)
                pull = (mean - source.theta)[at.log_flux] / np.sqrt(covariance[at.log_flux, at.log_flux])
                assert abs(pull) < 3

    def test_in_whatever_order(self):
        """The order of seeds is not part of the answer: up to the tolerance of the iteration, 1e-3 nats."""
        three = [star(20, -3), galaxy(20, 0, 1), star(21, 3)]
        images = field(*three).images
        one, other = full(images, seeds(*three)), full(images, seeds(*three[::-1]))
        assert other.types.best.kinds == one.types.best.kinds[::-1]
        assert other.types.log_evidence == pytest.approx(one.types.log_evidence, abs=0.05)

    def test_isolated_sources_may_be_fitted_together_or_not(self):
        """Far apart, the joint fit is the product of the single ones."""
        pair = [star(20, -15), galaxy(20, 15)]
        images = field(*pair, size=91).images
        joint = full(images, seeds(*pair))
        at = layout(STAR, 3)
        for i, source in enumerate(pair):
            light = {1 - i: contribution([(pair[1 - i].kind, pair[1 - i].theta, 1.0)], BANDS)}
            alone = full(images, seeds(*pair), [i], light)
            (mean, covariance), (found, own) = total_moments(joint, i), total_moments(alone, 0)
            sd = np.sqrt(np.diagonal(own))
            # Patches are not the same, nor are their sky levels: a tenth of an error.
            np.testing.assert_allclose((mean - found)[at.log_fluxes] / sd[at.log_fluxes], 0, atol=0.15)
            np.testing.assert_allclose(np.sqrt(np.diagonal(covariance)) / sd, 1, rtol=0.05)
            assert joint.types.best.kinds[i] == source.kind


class TestExistence:
    def test_a_bright_source_needs_no_test(self):
        fit = full(field(star(19)).images, seeds(star(19)))
        assert fit.existence == {0: np.inf}

    def test_a_faint_source_is_there(self):
        """S/N 12: the log Bayes factor is about half its square, less the price of six parameters."""
        fit = full(field(star(22.3)).images, seeds(star(22.3)))
        assert 20 < fit.existence[0] < 80
        assert not fit.dropped

    @pytest.mark.parametrize("rng", range(3))
    def test_nothing_is_not(self, rng):
        fit = full(field(rng=rng).images, seeds(also=[(0, 0)]))
        assert fit.members == ()
        assert fit.dropped[0] < 0

    def test_it_is_the_ratio_of_evidences(self):
        """One source against the empty sky: all but the sky levels drop out of the second."""
        images, table = field(star(22.5)).images, seeds(star(22.5))
        engine = fitter(images, table)
        fit = engine.full([0], {}, {}, {})
        empty = 0.0
        for patch, sd in zip(fit.data.patches, fit.data.sky_sd, strict=True):
            levels = np.linspace(-8, 8, 4001) * sd
            logs = [self.log_likelihood(patch, level) - 0.5 * (level / sd) ** 2 for level in levels]
            empty += np.logaddexp.reduce(logs) + np.log(16 / 4000 / np.sqrt(2 * np.pi))
        # Laplace's approximation of a sky level is exact to 1e-4; the sum is better.
        assert fit.types.log_evidence - empty == pytest.approx(fit.existence[0], abs=1e-3)

    def log_likelihood(self, patch, level):
        model = patch.background + level
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = patch.data * np.log(model / patch.data)
        terms = np.where(patch.data > 0, terms, 0.0) - model + patch.data
        return float(np.sum(patch.weight * terms))

    @pytest.mark.parametrize("source", [star(18), star(21), galaxy(20),
                                        galaxy(21, half_light_radius=0.6, axis_ratio=0.4, position_angle=90.0)])
    def test_a_second_seed_on_a_source_is_dropped(self, source):
        """Of two seeds, one to three pixels apart on one source, one has to go."""
        for rng, distance in enumerate((1.0, 2.0, 3.0)):
            fit = full(field(source, rng=rng).images, seeds(source, also=[(-distance, 0.3)]))
            assert len(fit.members) == 1

    def test_a_faint_companion_is_kept(self):
        """S/N 10, four pixels beside a star of 20 times its flux."""
        pair = [star(19.3), star(22.5, 4)]
        fit = full(field(*pair).images, seeds(*pair))
        assert fit.members == (0, 1)
        assert fit.existence[1] > 10

    def test_the_types_of_the_rest_are_free(self):
        """Two faint stars are compared with one galaxy, not only with one star, which explains them far worse."""
        pair = [star(22.0, 0, -1.2), star(22.0, 0, 1.2)]
        engine = fitter(field(*pair).images, seeds(*pair))
        fit = engine.full([0, 1], {}, {}, {})
        assert fit.types.best.kinds == (STAR, STAR)
        data, starts = fit.data, {kind: [fit.types.vectors(0)[kind]] for kind in (STAR, GALAXY)}
        likelihood = engine.placement.scene_likelihood(data.patches, list(data.images), [0])
        posterior = GroupPosterior(likelihood, engine.prior, BANDS, engine.position_sd[:1], data.sky_sd)
        alone = group_fit.weigh_types(posterior, starts, engine.newton)
        assert alone.best.kinds == (GALAXY,)
        assert alone.type_evidence(0, STAR) < alone.log_evidence - 10
        assert fit.existence[1] == pytest.approx(fit.types.log_evidence - alone.log_evidence, abs=0.1)

    def test_doubtful_sources_may_be_kept(self):
        images, table = field(star(20)).images, seeds(star(20), also=[(12, 3)])
        assert full(images, table).dropped.keys() == {1}
        fit = full(images, table, drop_doubtful=False)
        assert fit.members == (0, 1)
        assert fit.existence[1] < 5

    def test_the_threshold_is_a_setting(self):
        """The same source, believed or not."""
        images, table = field(star(22.8)).images, seeds(star(22.8))
        value = full(images, table).existence[0]
        assert full(images, table, existence_threshold=value + 1).dropped == {0: pytest.approx(value)}
        assert full(images, table, existence_threshold=value - 1).members == (0,)


class TestFailures:
    def test_no_pixels(self):
        images, table = field().images, seeds(also=[(300, 0)])
        engine = fitter(images, table)
        assert engine.quick([0], {}) is None
        assert engine.full([0], {}, {}, {}) is None
        (row,) = source_rows(None, [0], 0, engine).values()
        assert "no usable pixel" in row.columns["message"]

    def test_a_fit_that_fails_is_not_taken_for_a_source_that_is_not_there(self, monkeypatch):
        """It keeps its row, which says so."""
        images, table = field(star(22.5)).images, seeds(star(22.5))
        engine = fitter(images, table)

        def fail(posterior, starts, *_, **__):
            types = weigh_types(posterior, starts, engine.newton)
            return type(types)(types.hypotheses, types.log_weights, -np.inf)

        weigh_types = group_fit.weigh_types
        monkeypatch.setattr(group_fit, "weigh_types", fail)
        fit = engine.full([0], {}, {}, {})
        assert fit.members == (0,)
        assert np.isnan(fit.existence[0])
        row = source_rows(fit, [0], 0, engine)[0]
        assert row.components == []
        assert "neither type could be fitted" in row.columns["message"]

    @pytest.mark.parametrize("kind", [STAR, GALAXY])
    def test_one_type_may_fail(self, kind, monkeypatch):
        """The other is reported, and flagged."""
        fit_hypothesis = assignments.fit_hypothesis

        def fail(posterior, kinds, *arguments):
            fit = fit_hypothesis(posterior, kinds, *arguments)
            return fit if kinds != (kind,) else type(fit)(fit.kinds, fit.minimum, -np.inf, fit.sources, fit.vectors,
                                                          fit.sky)

        monkeypatch.setattr(assignments, "fit_hypothesis", fail)
        images, table = field(star(20)).images, seeds(star(20))
        engine = fitter(images, table)
        row = source_rows(engine.full([0], {}, {}, {}), [0], 0, engine)[0]
        assert {component[1] for component in row.components} == {STAR, GALAXY} - {kind}
        expected = Flag.STAR_FAILED if kind == STAR else Flag.GALAXY_FAILED
        assert row.columns["flags"] & (Flag.STAR_FAILED | Flag.GALAXY_FAILED) == expected


class TestFirstFit:
    def test_all_are_galaxies(self):
        pair = [star(19, -5), galaxy(19, 5)]
        fit = fitter(field(*pair).images, seeds(*pair)).quick([0, 1], {})
        assert fit.kinds == (GALAXY, GALAXY)
        at = layout(GALAXY, 3)
        # A star is a galaxy of no size.
        assert np.exp(fit.vectors[0][at.log_radius]) < 0.15
        assert fit.vectors[1][at.log_radius] == pytest.approx(pair[1].theta[at.log_radius], abs=0.1)
        for vector, source in zip(fit.vectors, pair, strict=True):
            assert vector[at.log_flux] == pytest.approx(source.theta[2], abs=0.1)

    def test_seeds_may_be_off_by_a_pixel(self):
        source = galaxy(19)
        fit = fitter(field(source).images, seeds(also=[(0.7, -0.6)])).quick([0], {})
        east, north = fit.vectors[0][layout(GALAXY, 3).position]
        # x points West: the truth lies .7 pixels East and .6 North of the seed.
        assert (east, north) == pytest.approx((0.7 * 0.396, 0.6 * 0.396), abs=0.03)


class TestContribution:
    def test_no_source_without_a_type(self):
        with pytest.raises((ValueError, IndexError)):
            contribution([], BANDS)

    def test_is_what_the_images_need(self):
        part = contribution([(STAR, star(20).theta, 0.5), (GALAXY, galaxy(20).theta, 0.5)], BANDS)
        assert isinstance(part, Contribution)
        assert part.scenes.shape == (2, 9)


def test_significance_of_fluxes():
    """The band that is best measured decides, whatever the mixture."""
    at = layout(STAR, 3)
    covariance = np.zeros((at.size, at.size))
    covariance[at.log_fluxes, at.log_fluxes] = np.diag([0.1**2, 0.2**2, 0.3**2])
    one = SourcePosterior(STAR, np.ones(1), np.zeros((1, at.size)), covariance[None])

    class Fit:
        sources = (one,)

    assert group_fit._flux_snr(Fit, 0, BANDS) == pytest.approx(10.0)


def test_places():
    """The helper's own convention: x is West and y is North, as the simulated images have them."""
    images = field(size=61).images
    for xy in [(0, 0), (7, -3)]:
        found = images[0].sky_to_pixel(*place(*xy))
        assert (found[0] - 30, found[1] - 30) == pytest.approx(xy, abs=1e-3)
