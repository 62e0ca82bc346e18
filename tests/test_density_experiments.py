"""The experiments with densities run in their small version, resume, and write figures that can be read."""

import json
import runpy
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "examples" / "experiments"

pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="the experiments are not beside the tests")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an experiment as its command does, and return what it wrote as JSON."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS.parents[1] / "benchmarks"))
    monkeypatch.syspath_prepend(str(EXPERIMENTS))

    def run_experiment(name, *options):
        script, report = EXPERIMENTS / f"{name}.py", tmp_path / "report.json"
        arguments = ["--json", str(report), *map(str, options)]
        monkeypatch.setattr("sys.argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")
        return json.loads(report.read_text())

    return run_experiment


def figures_of(figures):
    return {figure["name"]: figure["value"] for figure in figures}


def test_density(run, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib, extra 'plot'")
    results, pictures = tmp_path / "results.json", tmp_path / "pictures"
    options = ("--components", 4, "--results", results, "--plots", pictures, "--mixtures", tmp_path / "mixtures")
    report = run("density", "--quick", "--method", "hybrid", "em", *options)
    figures = figures_of(report["figures"])
    assert abs(figures["K = 4: test score - that of EM"]) < 0.5  # of 3000 rows; another optimum, at worst
    assert figures["K = 4: time / that of EM"] > 0
    assert {path.stem for path in pictures.iterdir()} == {"density_3000_4", "density_3000_times", "density_3000_sky"}
    stored = json.loads(results.read_text())
    assert [each["method"] for each in stored["fits"]] == ["hybrid", "em"]
    for fit in stored["fits"]:
        assert 0 < fit["gap"] < 3  # four Gaussians for 64; a single one is 3.6 below the truth
        assert fit["score"] == pytest.approx(stored["true_score"] - fit["gap"])
    capsys.readouterr()
    run("density", "--quick", "--method", "hybrid", "sgd", *options)  # what is there is not fitted again
    assert capsys.readouterr().out.count("fitting") == 1
    again = json.loads(results.read_text())["fits"]
    assert again[:2] == stored["fits"]
    assert again[2]["method"] == "sgd"


def test_results_of_other_rows_are_not_mixed(run, tmp_path):
    results = tmp_path / "results.json"
    run("density", "--quick", "--method", "minibatch", "--components", 2, "--results", results)
    with pytest.raises(SystemExit, match="holds fits of other rows"):
        run("density", "--quick", "--method", "minibatch", "--components", 2, "--results", results, "--seed", 2)


def test_recovery(run):
    figures = run("density_recovery", "--quick")["figures"]
    separated, missing = figures_of(figures["separated"]), figures_of(figures["missing"])
    assert separated["components found"] == 5
    assert separated["probability of a larger chi2"] > 1e-3
    assert max(missing.values()) < 1000  # in 1e-12: rounding of 4000 rows
    if "xdqso" in figures:
        # 300 parameters cost .03 with 5000 rows, and some of the 20 components are not found
        assert figures_of(figures["xdqso"])["truth - score of noisy rows"] < 0.1


@pytest.mark.slow
def test_recovery_of_the_published_stars(run, data_dir):
    """Within .01 nats per row of the truth, by the default method."""
    catalogue = data_dir / "catalogs" / "xdqso_relflux_fits_star.fits"
    figures = run("density_recovery", "--starts", 1, "--catalogue", catalogue)["figures"]
    assert all(figure["met"] is not False for of_name in figures.values() for figure in of_name)
    assert set(figures) == {"separated", "missing", "xdqso"}
