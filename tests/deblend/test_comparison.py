"""Scores by hand, and methods side by side."""

import numpy as np
import pytest
from astropy.table import vstack
from deblend.small_scenes import blank, observed
from deblend.test_solvers import METHODS
from deblend.two_discs import PEAKS, true_scene

from celestepy.deblend.comparison import Blend, binned_scores, compare_deblenders, start_for
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.scores import blendedness, chi2_per_pixel, flux_error, morphology_correlation, sed_correlation

TRUTH = np.zeros((2, 2, 1, 3))
TRUTH[0, :, 0] = [[1, 2, 0], [1, 2, 0]]
TRUTH[1, :, 0] = [[0, 1, 2], [0, 3, 6]]


class TestScores:
    def test_truth_is_perfect(self):
        np.testing.assert_array_equal(flux_error(TRUTH, TRUTH), 0)
        np.testing.assert_allclose(morphology_correlation(TRUTH, TRUTH), 1)
        np.testing.assert_allclose(sed_correlation(TRUTH, TRUTH), 1)

    def test_by_hand(self):
        found = TRUTH.copy()
        found[0, 0] *= 2  # SED (6, 3) in place of (3, 3); twice the flux in one of two bands
        found[1] = found[1][..., ::-1]  # mirrored: (8, 4, 0) in place of (0, 4, 8)
        np.testing.assert_allclose(flux_error(found, TRUTH), [0.5, 0])
        np.testing.assert_allclose(morphology_correlation(found, TRUTH), [1, 16 / 80])
        np.testing.assert_allclose(sed_correlation(found, TRUTH), [27 / np.sqrt(18 * 45), 1])

    def test_blendedness(self):
        """S_1 = (2, 4, 0), S_2 = (0, 4, 8): S.S_1 = 2*2 + 4*8 = 36, S.S_2 = 4*8 + 8*8 = 96."""
        np.testing.assert_allclose(blendedness(TRUTH), [1 - 20 / 36, 1 - 80 / 96])
        np.testing.assert_allclose(blendedness(TRUTH[:1]), 0)

    def test_brightness_does_not_matter_to_correlations(self):
        np.testing.assert_allclose(morphology_correlation(3 * TRUTH, TRUTH), 1)
        np.testing.assert_allclose(sed_correlation(3 * TRUTH, TRUTH), 1)

    def test_no_light(self):
        dark = np.zeros_like(TRUTH)
        np.testing.assert_array_equal(flux_error(dark, TRUTH), -1)
        np.testing.assert_array_equal(morphology_correlation(dark, TRUTH), 0)
        assert np.isnan(flux_error(TRUTH, dark)).all()
        assert np.isnan(blendedness(dark)).all()

    def test_chi2(self):
        observation = blank((2, 1, 3), (1.6, 1.8), 4.0, bands="gr").replace_images(TRUTH.sum(axis=0) + 0.5)
        assert chi2_per_pixel(TRUTH, observation) == pytest.approx(1)

    @pytest.mark.parametrize("score", [flux_error, morphology_correlation, sed_correlation])
    def test_refusals(self, score):
        with pytest.raises(DeblendError, match="expected that of the truth"):
            score(TRUTH[:1], TRUTH)
        with pytest.raises(DeblendError, match="sources, bands"):
            score(TRUTH[0], TRUTH[0])


@pytest.fixture(scope="module")
def blends():
    scene = true_scene([blank(weight=1e4)])
    truth = scene.render_sources()[0]
    return [Blend(observed(scene, np.random.default_rng(seed))[0], PEAKS, truth) for seed in range(2)]


def raising(blend):
    raise RuntimeError("no such luck")


@pytest.fixture(scope="module")
def table(blends):
    methods = {"proximal": METHODS["adaprox"], "truth": lambda blend: blend.truth, "broken": raising}
    return compare_deblenders(blends, methods, largest_half=12)


class TestComparison:
    def test_rows(self, table, blends):
        assert len(table) == 2 * 2 * 3
        assert set(table["method"]) == {"proximal", "truth", "broken"}
        np.testing.assert_allclose(table["blendedness"][:2], blendedness(blends[0].truth))

    def test_truth(self, table):
        own = table[table["method"] == "truth"]
        np.testing.assert_array_equal(own["flux_error"], 0)
        np.testing.assert_allclose(own["chi2"], 1, atol=0.1)  # of 3255 pixels: 0.025 each

    def test_proximal(self, table):
        own = table[table["method"] == "proximal"]
        assert np.abs(own["flux_error"]).max() < 0.15
        assert own["morphology_correlation"].min() > 0.97
        assert set(own["status"]) == {"ok"}

    def test_a_method_that_raises_is_told(self, table):
        own = table[table["method"] == "broken"]
        assert set(own["status"]) == {"failed: RuntimeError: no such luck"}
        np.testing.assert_array_equal(own["flux_error"], -1)

    def test_bins(self, table):
        bins = binned_scores(table)
        assert bins["n"].sum() == len(table)
        broken = bins[(bins["method"] == "broken") & (bins["n"] > 0)]
        np.testing.assert_array_equal(broken["failed"], 1)
        np.testing.assert_array_equal(broken["median_flux_error"], 1)

    def test_error_of_the_median(self, table):
        """Of 400 normal values: 1.2533 / 20, itself known to 8 %."""
        rows = vstack([table[:1]] * 400)
        rows["blendedness"], rows["flux_error"] = 0.05, 1 + 0.1 * np.random.default_rng(1).normal(size=400)
        found = binned_scores(rows)[0]
        assert found["median_flux_error"] == pytest.approx(1, abs=0.02)  # three errors
        assert found["median_flux_error_err"] == pytest.approx(0.0063, rel=0.3)

    def test_nothing_to_compare(self):
        with pytest.raises(DeblendError, match="nothing to compare"):
            compare_deblenders([], METHODS)

    def test_truth_must_fit(self, blends):
        with pytest.raises(DeblendError, match="truth"):
            Blend(blends[0].observation, PEAKS[:1], blends[0].truth)


class TestStart:
    """What a prior asks for, the start has."""

    class Prior:
        shape, pixel_scale, model_psf_sigma = (18, 20), 0.16, 0.9

    def test_without_prior(self, blends):
        scene = start_for(blends[0].observation, PEAKS)
        np.testing.assert_allclose([[s.y, s.x] for s in scene.sources], np.rint(PEAKS))
        assert scene.frame.grid.is_same(blends[0].observation.grid)

    def test_with_prior(self, blends):
        scene = start_for(blends[0].observation, PEAKS, self.Prior())
        assert scene.frame.grid.pixel_scale == pytest.approx(0.16)
        np.testing.assert_allclose(scene.frame.model_psf.covariances[0], [0.81, 0, 0.81])
        assert max(max(source.morphology.shape) for source in scene.sources) <= 17
        x, y = np.transpose([[s.x, s.y] for s in scene.sources])
        x, y = blends[0].observation.grid.from_plane(*scene.frame.grid.to_plane(x, y))
        assert np.abs(np.stack([y, x], axis=1) - PEAKS).max() < 1  # to the nearest pixel
