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


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an experiment as its command does, and return what it wrote as JSON."""

    def run_experiment(name, *arguments):
        report = tmp_path / "report.json"
        monkeypatch.setattr("sys.argv", [name, "--json", str(report), *map(str, arguments)])
        monkeypatch.setattr("sys.path", sys.path[:])
        runpy.run_path(str(SCRIPT.with_name(f"{name}.py")), run_name="__main__")
        return json.loads(report.read_text())

    return run_experiment


def test_comparison_command(run, capsys):
    """The small version of the whole command; with known morphologies only noise separates fluxes from the truth."""
    found = run("deblending_comparison", "--quick", "--robustness", "--method", "known", "adaprox", "score")
    errors = zip(found["bins"]["method"], found["bins"]["median_flux_error"], strict=True)
    assert np.nanmax([error for method, error in errors if method == "known"]) < 0.1
    changes = {figure["name"]: figure for figure in found["figures"]["changes with the start"]}
    # fluxes that are solved for do not know where they began; those that are stepped do
    assert changes["fluxes x 20: largest flux change"]["value"] < 1e-6
    assert changes["fluxes x 20: largest flux change"]["others"][0] > 1e-3
    assert found["methods"]["adaprox"]["blends"] == 2
    assert "Gaussian morphologies" in capsys.readouterr().out


def test_comparison_goes_on_where_it_stopped(run, tmp_path, capsys):
    results = tmp_path / "results" / "scores.json"
    options = ("--method", "known", "adaprox", "--results", results, "--seed", 7)
    first = run("deblending_comparison", "--scenes", 1, *options)
    assert "adaprox: blends 0 to 0 done" in capsys.readouterr().out
    second = run("deblending_comparison", "--scenes", 2, *options)
    assert "adaprox: blends 1 to 1 done" in capsys.readouterr().out
    assert second["methods"]["adaprox"]["blends"] == 2
    run("deblending_comparison", "--scenes", 1, *options)
    assert "done" not in capsys.readouterr().out
    whole = run("deblending_comparison", "--scenes", 2, *options, "--results", tmp_path / "whole.json")["bins"]
    for name in ("n", "median_flux_error", "mean_morphology_correlation"):  # as if it had not been stopped
        np.testing.assert_allclose(second["bins"][name], whole[name], rtol=1e-3, atol=1e-5)
    assert sum(first["bins"]["n"]) < sum(second["bins"]["n"])
    with pytest.raises(SystemExit, match="holds scores of other blends"):
        run("deblending_comparison", "--scenes", 1, *options[:-1], 8)


def test_scores_of_other_settings_are_not_mixed(run, tmp_path):
    results = tmp_path / "scores.json"
    options = ("--scenes", 1, "--method", "adaprox", "--results", results, "--seed", 7)
    run("deblending_comparison", *options)
    results.write_text(results.read_text().replace("AdaProx(", "AdaProx(other="))
    with pytest.raises(SystemExit, match="--again 'adaprox'"):
        run("deblending_comparison", *options)
    run("deblending_comparison", *options, "--again", "adaprox")


FAKE = """#!{python}
import sys
import numpy as np
with np.load(sys.argv[2]) as scenes:
    peaks, images = scenes["peaks_0"], scenes["images_0"]
    first = {{"images_0": np.array([images / len(peaks)] * len(peaks)), "seconds_0": 2.0, "steps_0": 0.1,
             "iterations_0": int("--prior" not in sys.argv), "message_0": ""}}
    dark = np.zeros((len(scenes["peaks_1"]), *images.shape))
    np.savez(sys.argv[3], **first, images_1=dark, seconds_1=np.nan, steps_1=np.nan, iterations_1=0, message_1="broke")
"""


@pytest.fixture
def interpreter(tmp_path):
    """In place of an environment with scarlet2: gives every source the same share of the image, or fails."""
    program = tmp_path / "python"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    return program


def test_scarlet2_has_a_process_of_its_own(run, interpreter):
    found = run("deblending_comparison", "--quick", "--method", "adaprox", "score", "--scarlet2-python", interpreter)
    facts = found["methods"]["scarlet2"]
    assert facts["seconds per blend"] == 2
    assert 2 <= facts["failed sources"] <= 8  # those of the second blend
    assert any(title.startswith("score beside scarlet2") for title in found["figures"])


def test_scarlet2_that_is_not_there(run):
    with pytest.raises(SystemExit, match="scarlet2 did not run"):
        run("deblending_comparison", "--quick", "--method", "--scarlet2-python", "/bin/false")


def test_real_galaxies(run, data_dir, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib, extra 'plot'")
    pictures = tmp_path / "pictures"
    found = run("deblending_real", "--quick", "--data", data_dir, "--plots", pictures)
    assert found["hst"]["methods"]["score"]["failed sources"] == 0
    for chi2 in found["hsc"]["chi2"].values():
        assert chi2["score"] < chi2["adaprox"]
    told = found["simulated"]["stars told"]
    of_known = [error for method, error in zip(told["method"], told["flux_error"], strict=True) if method == "known"]
    assert np.abs(of_known).max() < 0.2  # the faintest of the five has a signal to noise of eight
    assert len(list(pictures.iterdir())) == 3
    assert "blends of HSC" in capsys.readouterr().out


def test_no_real_galaxies_are_said(run, tmp_path):
    with pytest.raises(SystemExit, match="no such folder"):
        run("deblending_real", "--quick", "--data", tmp_path / "nowhere")


def test_artifacts(run):
    """Eight draws of the prior know that a ring does not belong to them."""
    figures = {figure["name"]: figure["value"] for figure in run("deblending_artifacts", "--quick")["figures"]}
    assert figures["rings pushed down, share"] == 1
    assert figures["score on the ring / without it"] > 3
