"""The blends of the experiments, drawn by GalSim."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.comparison import compare_deblenders
from celestepy.deblend.scores import chi2_per_pixel

pytest.importorskip("galsim", reason="blends are drawn by GalSim: pip install galsim")
SCRIPT = Path(__file__).parents[2] / "examples" / "experiments" / "deblending_scenes.py"


@pytest.fixture(scope="module")
def scenes():
    spec = importlib.util.spec_from_file_location("deblending_scenes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("survey", ["lsst", "hsc"])
def test_blends_are_what_they_say(scenes, survey):
    blend = scenes.make_blend(3, survey=survey, seed=1)
    assert 2 <= len(blend.peaks) <= 8
    assert blend.truth.shape == (len(blend.peaks), 5, 60, 60)
    assert chi2_per_pixel(blend.truth, blend.observation) == pytest.approx(1, abs=0.04)  # 18000 pixels: 0.011
    for (y, x), image in zip(blend.peaks, blend.truth.sum(axis=1), strict=True):
        rows, columns = np.indices(image.shape)
        centroid = (rows * image).sum() / image.sum(), (columns * image).sum() / image.sum()
        assert np.hypot(centroid[0] - y, centroid[1] - x) < 3  # knots and arms are lopsided by a few pixels


def test_the_same_whatever_else_is_drawn(scenes):
    first = scenes.make_blend(5, seed=2).observation.images
    scenes.make_blend(4, seed=2)
    np.testing.assert_array_equal(scenes.make_blend(5, seed=2).observation.images, first)
    assert not np.array_equal(scenes.make_blend(5, seed=3).observation.images, first)


def test_depth(scenes):
    """A star at the depth has a signal to noise of five in the band."""
    import galsim

    survey = scenes.SURVEYS["lsst"]
    psfs, _ = scenes.band_psfs(galsim, survey)
    weights = scenes.make_blend(0).observation.weights[:, 0, 0]
    for psf, depth, weight in zip(psfs, survey.depth, weights, strict=True):
        image = psf.drawImage(nx=41, ny=41, scale=survey.pixel_scale, method="no_pixel", dtype=float).array
        snr = scenes.flux(depth) * np.sqrt(weight * (image**2).sum())
        assert snr == pytest.approx(5, rel=0.01)  # the stamp holds 99.5% of the PSF


def test_proximal_method_on_them(scenes):
    table = compare_deblenders(scenes.make_blends(2), {"proximal": AdaProx()})
    isolated = table[table["blendedness"] < 0.1]
    assert np.median(np.abs(isolated["flux_error"])) < 0.2
    assert np.median(isolated["morphology_correlation"]) > 0.97


def test_comparison_command(tmp_path, monkeypatch, capsys):
    """The small version of the whole command; with known morphologies only noise separates fluxes from the truth."""
    report = tmp_path / "report.json"
    arguments = ["--quick", "--robustness", "--method", "known", "adaprox-solved", "--json", str(report)]
    monkeypatch.setattr("sys.argv", ["deblending_comparison", *arguments])
    monkeypatch.setattr("sys.path", sys.path[:])
    runpy.run_path(str(SCRIPT.with_name("deblending_comparison.py")), run_name="__main__")
    found = json.loads(report.read_text())
    errors = zip(found["bins"]["method"], found["bins"]["median_flux_error"], strict=True)
    assert np.nanmax([error for method, error in errors if method == "known"]) < 0.1
    # fluxes that are solved for do not know where they began
    assert found["methods"]["adaprox-solved"]["fluxes x 20"]["95% flux change"] < 1e-6
    assert "Gaussian morphologies" in capsys.readouterr().out
