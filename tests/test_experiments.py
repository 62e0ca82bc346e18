"""The experiments run in their small version, and write figures that can be read."""

import json
import runpy
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "examples" / "experiments"
METHODS = ("fast", "calibrated")

pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="the experiments are not beside the tests")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an experiment as its command does, and return what it wrote as JSON."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS.parents[1] / "benchmarks"))
    monkeypatch.syspath_prepend(str(EXPERIMENTS))

    def run_experiment(name, *options):
        script, report = EXPERIMENTS / f"{name}.py", tmp_path / "report.json"
        arguments = ["--quick", "--method", *METHODS, "--json", str(report), *map(str, options)]
        monkeypatch.setattr("sys.argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")
        return json.loads(report.read_text())

    return run_experiment


def figures_of(report):
    return {figure["name"]: figure for figure in report["figures"]}


def test_synthetic(run, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib, extra 'plot'")
    report = run("synthetic", "--sources", 12, "--draws", 200, "--plots", tmp_path / "pictures")
    for method in METHODS:
        figures = figures_of(report[method])
        # 12 sources: wrong only if something is broken, such as seeds at other places or another prior
        assert figures["position [px]"]["value"] < 0.5
        assert figures["AUC"]["value"] > 0.8
        assert figures["mag_r within 2 sd"]["value"] > 0.5
        assert len(report[method]["ranks"]["color_gr"]) == 12
    assert "paper VI" in capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert {"roc", "flux", "truth_and_posterior", "ranks_calibrated", "reliability_fast"} <= names


def test_runtime(run):
    report = run("runtime", "--sources", 4)
    fast, calibrated = (report["sources"][method] for method in METHODS)
    assert min(fast["seconds"]) > 0
    assert min(calibrated["effective_draws"]) > 1
    assert calibrated["wall"] > sum(calibrated["seconds"])
    assert set(fast["star"]) == {False, True}  # both types are timed as long as there are both


def test_deblending(run):
    pytest.importorskip("galsim", reason="the blends are drawn by GalSim: pip install galsim")
    report = run("deblending", "--realisations", 1)
    for method in METHODS:
        for figures in report["figures"][method].values():
            fluxes = [figure["value"] for figure in figures if figure["name"].endswith("r over truth")]
            assert fluxes == pytest.approx([1, 1, 1], abs=0.1)  # the faintest has an error of 2 %, times five


def test_stripe82(run, data_dir):
    report = run("stripe82", "--field", data_dir / "sdss_94_1_12", "--sources", 8)
    for method in METHODS:
        figures = figures_of(report[method])
        assert figures["position [px]"]["value"] < 2.0  # over Photo's; about 0.9 on the whole field
        assert figures["position [px]"]["others"][1] < 0.6  # pixels, of Photo: the tables were read rightly
        assert figures["g-r [mag]"]["value"] < 2.0


def test_no_field_is_said(run, tmp_path):
    with pytest.raises(SystemExit, match="give --field"):
        run("stripe82", "--field", tmp_path / "nowhere")
