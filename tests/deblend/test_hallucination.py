"""What data and prior know of each pixel: against brute force, and in each prior's own variable."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from deblend.simple_priors import GaussianPrior, ScorePrior
from deblend.small_scenes import blank, coarse, three_sources, weighted

from celestepy.deblend.asinh_adam import AsinhAdam
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.hallucination import HallucinationMap, hallucination_map
from celestepy.deblend.observation import Observation
from celestepy.deblend.priors import Normalisation
from celestepy.deblend.problem import Problem
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import FreeSource
from celestepy.deblend.stopping import StopRule

NORMALISATIONS = [Normalisation("peak", 0.02), Normalisation("sum", 1e-3), Normalisation("peak"), Normalisation("sum")]


def scene_of(observations=None):
    frame = Frame([weighted(o, np.random.default_rng(1)) for o in observations or [blank()]])
    y, x = np.mgrid[-5:6, -6:7]
    profile = np.exp(-0.5 * (y**2 / 4 + x**2 / 9))
    sources = [FreeSource(8, 5, profile, np.arange(3, 3 + frame.n_bands, dtype=float)), *three_sources(frame)[1:]]
    return Scene(frame, [s.replace(sed=np.arange(3, 3 + frame.n_bands, dtype=float)) for s in sources])


class TestInformation:
    @pytest.mark.parametrize("observations", [[blank()], [blank(), coarse()]], ids=["one grid", "two"])
    def test_against_the_columns_of_single_pixels(self, observations):
        frame = scene_of(observations).frame
        found = frame.information()
        for y, x in ((2, 3), (15, 16), (14, 18)):
            stack = np.zeros((1, *frame.grid.shape))
            stack[0, y, x] = 1
            expected = np.zeros(frame.n_bands)
            for own, o, bands in zip(frame.columns(stack), frame.observations, frame.band_indices, strict=True):
                np.add.at(expected, bands, (o.weights.reshape(len(bands), -1) * own[:, 0] ** 2).sum(axis=1))
            # exact on the model's own grid; squared responses on another are interpolated, worst beside a dead pixel
            np.testing.assert_allclose(found[:, y, x], expected, rtol=1e-9 if len(observations) == 1 else 5e-2)

    def test_masked_pixels_have_none(self):
        o = blank()
        weights = o.weights.copy()
        weights[:, :, 12:] = 0
        frame = Frame(Observation.from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid))
        information = frame.information()
        assert information[:, :, 25:].max() < 1e-3 * information.max()
        assert information.min() >= 0


@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=str)
class TestVariable:
    def test_data(self, normalisation):
        """Second differences of half chi^2 at no residual, fluxes and the unit of S held: exact but for the step's."""
        scene = scene_of()
        data = [o.replace_images(image) for o, image in zip(scene.frame.observations, scene.render(), strict=True)]
        scene = Scene(Frame(data), scene.sources)
        prior = GaussianPrior(normalisation=normalisation)
        found = hallucination_map(scene, 0, prior, rng=np.random.default_rng(0)).data
        source, problem = scene.sources[0], Problem(scene.frame)
        size = normalisation.size(source.morphology)
        on_grid, in_box = source.box.overlap(scene.frame.grid.shape)
        for y, x in ((5, 6), (3, 8), (9, 2)):
            step = 1e-3 * (1.0 if normalisation.softening else source.morphology[y, x] / size)
            values = []
            for sign in (1, -1):
                moved = normalisation.forward(source.morphology)
                moved[y, x] += sign * step
                stack = scene.stack()
                stack[0][on_grid] = size * normalisation.backward(moved)[in_box]
                values.append(problem.evaluate(stack, scene.seds).half_chi2)
            assert found[y, x] == pytest.approx(sum(values) / step**2, rel=1e-4)

    @pytest.mark.parametrize("kind", [GaussianPrior, ScorePrior])
    def test_prior(self, normalisation, kind):
        """Of independent Gaussian pixels the curvature is one over the variance, blurred by the temperature."""
        prior = kind(normalisation=normalisation, variance=0.05)
        found = hallucination_map(scene_of(), 0, prior, rng=np.random.default_rng(0), sigma=0.1).prior
        np.testing.assert_allclose(found, 1 / 0.06, rtol=1e-6)


class TestMap:
    def test_shares_and_confidence(self):
        of = HallucinationMap(
            data=np.array([[3.0, 0.0]]), prior=np.array([[1.0, -1.0]]), morphology=np.array([[0.75, 0.25]]), sigma=0.2
        )
        np.testing.assert_array_equal(of.difference, [[-2.0, -1.0]])
        np.testing.assert_array_equal(of.prior_share, [[0.25, 1.0]])  # where nobody knows anything, not the data
        np.testing.assert_array_equal(of.prior_dominated, [[False, True]])
        assert of.confidence == pytest.approx(0.75 * 2 + 0.25)
        assert of.data_share == pytest.approx(0.75 * 0.75)

    def test_brighter_sources_are_more_certain(self):
        scene, rng = scene_of(), np.random.default_rng(0)
        faint, bright = (
            hallucination_map(
                scene.replace([source.replace(sed=flux * source.sed) for source in scene.sources]), 0,
                GaussianPrior(normalisation=Normalisation("peak", 0.02)), rng=rng,
            )
            for flux in (1.0, 10.0)
        )  # fmt: skip
        np.testing.assert_allclose(bright.data, 100 * faint.data)
        assert bright.confidence > faint.confidence
        assert faint.data_share < bright.data_share < 1

    def test_result_uses_the_prior_of_the_fit(self):
        prior = GaussianPrior(normalisation=Normalisation("peak", 0.02))
        result = AsinhAdam(prior=prior, stop=StopRule(3)).fit(scene_of())
        assert result.prior is prior
        found = result.hallucination_map(0, rng=np.random.default_rng(0))
        assert found.data.shape == result.scene.sources[0].morphology.shape
        other = result.hallucination_map(0, rng=np.random.default_rng(0), prior=GaussianPrior(variance=1.0), sigma=1.0)
        np.testing.assert_allclose(other.prior, 0.5, rtol=1e-6)

    def test_beyond_the_stamp(self):
        """A stamp of 8 x 8 under a box of 11 x 13: its pixels, and the noise's own curvature around."""
        prior = GaussianPrior((8, 8), normalisation=Normalisation("peak", 0.02), variance=0.05)
        found = hallucination_map(scene_of(), 0, prior, rng=np.random.default_rng(0), sigma=0.1).prior
        expected = np.full((11, 13), 100.0)
        expected[1:9, 2:10] = 1 / 0.06
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_refusals(self):
        scene, rng, prior = scene_of(), np.random.default_rng(0), GaussianPrior()
        with pytest.raises(DeblendError, match="k: 3, expected one of the 3"):
            hallucination_map(scene, 3, prior, rng=rng)
        with pytest.raises(DeblendError, match="source 1 is a point"):
            hallucination_map(scene, 1, prior, rng=rng)
        with pytest.raises(DeblendError, match="pixels of 0.3"):
            hallucination_map(scene, 0, GaussianPrior(pixel_scale=0.3), rng=rng)
        with pytest.raises(DeblendError, match="prior: none"):
            AsinhAdam(stop=StopRule(1)).fit(scene).hallucination_map(0, rng=rng)


class TestExperiment:
    SCRIPT = Path(__file__).parents[2] / "examples" / "experiments" / "deblending_confidence.py"

    @pytest.fixture
    def figures(self, tmp_path, monkeypatch):
        """Run the command; figures by title and name."""
        pytest.importorskip("galsim", reason="blends are drawn by GalSim: pip install galsim")

        def run(*options):
            report = tmp_path / "report.json"
            monkeypatch.setattr("sys.argv", [str(self.SCRIPT), "--json", str(report), *options])
            monkeypatch.setattr("sys.path", sys.path[:])
            runpy.run_path(str(self.SCRIPT), run_name="__main__")
            tables = json.loads(report.read_text())["figures"]
            return {title: {figure["name"]: figure["value"] for figure in own} for title, own in tables.items()}

        return run

    @pytest.mark.slow
    def test_small_version(self, figures, tmp_path, capsys):
        """Two blends: maps are right whatever their number, errors of fluxes only in order of magnitude."""
        pytest.importorskip("matplotlib", reason="the pictures need matplotlib, extra 'plot'")
        found = figures("--quick", "--method", "proximal", "--plots", str(tmp_path / "pictures"))
        maps = found["hallucination maps"]
        assert maps["masked pixels: the prior's"] > 0.9
        assert maps["pixels above S/N 5: the data's"] > 0.95
        assert maps["Hutchinson's error, r.m.s."] < 0.02
        assert maps["rank correlation, relative error"] > 0.2
        assert 0.2 < found["fluxes, proximal"]["width of the pulls, 68%"] < 5
        assert (tmp_path / "pictures" / "deblending_confidence.png").stat().st_size > 1e4
        assert "targets met" in capsys.readouterr().out

    @pytest.mark.statistical
    def test_errors_of_fluxes_are_what_they_say(self, figures):
        """Of twenty blends, about ninety sources whose bands go together: a width is known to 15%.

        Errors for fixed morphologies would give widths of ten.
        """
        found = figures("--scenes", "20", "--method", "score", "proximal")
        assert found["hallucination maps"]["masked pixels: the prior's"] > 0.95
        assert found["hallucination maps"]["rank correlation, relative error"] > 0.45
        for method in ("score", "proximal"):
            assert 0.55 < found[f"fluxes, {method}"]["width of the pulls, 68%"] < 1.5
            assert found[f"fluxes, {method}"]["within 2 sd"] > 0.75
