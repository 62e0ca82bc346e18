"""The small version of the experiment with the prior that has a log density."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "experiments" / "deblending_explicit.py"


@pytest.mark.slow
def test_small_version(tmp_path, monkeypatch, capsys):
    pytest.importorskip("galsim", reason="galaxies are drawn by GalSim: pip install galsim")
    report = tmp_path / "report.json"
    arguments = [str(SCRIPT), "--quick", "--part", "density", "separation", "noise", "--json", str(report)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("sys.path", sys.path[:])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    parts = json.loads(report.read_text())["figures"]
    found = {name: {figure["name"]: figure["value"] for figure in own} for name, own in parts.items()}
    assert found["density"]["training recipe: blend below both"] >= 0.7  # of ten pairs
    separation, noise = found["separation"], found["noise"]
    assert separation["pixelcnn: morphology correlation, mean"] > 0.9
    assert 0.9 < noise["noise x 3: chi2 per pixel"] < 1.1  # 3600 pixels: 0.024
    assert separation["pixelcnn: objective never rises"] == noise["noise x 3: objective never rises"] == 1.0
    assert "targets" in capsys.readouterr().out
