"""``celestepy priors fit``: what it writes, what it refuses, and that nothing it reads is lost."""

import numpy as np
import pytest
from priors.simulated_catalogs import interim_prior, simulated_catalog

from celestepy.catalog import Catalog
from celestepy.cli import main
from celestepy.model.priors import Prior
from celestepy.simulate import simulate_field


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A catalogue (without its draws, as most are), the prior that it was made with, and a table that is none."""
    folder, prior = tmp_path_factory.mktemp("priors"), interim_prior()
    simulated_catalog(250, prior, seed=8).write(folder / "cat.fits")
    prior.save(folder / "interim.json")
    (folder / "table.csv").write_text("ra,dec\n1,2\n")
    return folder


def fit(*arguments):
    return main(["priors", "fit", *map(str, arguments)])


def the_line(capsys):
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    return line


FEW = ("--star-components", 2, "--galaxy-components", 1, "--galaxy-counts", "power")


@pytest.mark.parametrize("extension", ["json", "fits"])
def test_a_prior_is_written(folder, tmp_path, capsys, extension):
    path = tmp_path / f"learned.{extension}"
    assert fit(folder / "cat.fits", "-o", path, "--prior", folder / "interim.json", *FEW) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("learned: from ")
    assert printed[-1] == f"wrote {path}"
    prior = Prior.load(path)
    assert (prior.name, prior.bands.names) == ("learned", ("g", "r", "i"))
    assert (len(prior.star.colors), len(prior.galaxy.colors)) == (3, 2)  # and the outliers
    assert "made with the prior 'interim'" in prior.provenance["method"]
    assert list(tmp_path.iterdir()) == [path]


def test_settings_are_passed_on(folder, tmp_path):
    path = tmp_path / "p.json"
    options = ("--constant-colors", "--faint-limit", 21.7, "--galaxy-counts", "normal", "--seed", 3, "-q")
    assert fit(folder / "cat.fits", "-o", path, "--prior", folder / "interim.json", *FEW, *options) == 0
    prior = Prior.load(path)
    assert not prior.star.colors.slopes.any()
    assert type(prior.galaxy.log_flux).__name__ == "Normal"
    assert "r = 21.70" in prior.provenance["method"]


def test_a_picture(folder, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("-o", tmp_path / "p.json", "--prior", folder / "interim.json", *FEW, "--plot", tmp_path / "p.png", "-q")
    assert fit(folder / "cat.fits", *options) == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000


class TestRefusals:
    """One line and exit code 2, before any work."""

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (("none.fits", "-o", "new.json"), "none.fits: no such file"),
            (("table.csv", "-o", "new.json"), "table.csv: "),
            (("cat.fits", "-o", "new.txt"), "has the extension '.txt', expected .json or .fits"),
            (("cat.fits", "-o", "."), "is a directory"),
            (("cat.fits", "-o", "no/where.json"), "cannot be written (No such file or directory)"),
            (("cat.fits", "-o", "interim.json"), "exists already"),
            (("cat.fits", "-o", "cat.fits", "--overwrite"), "--output would replace the catalogue of this run"),
            (("cat.fits", "-o", "interim.json", "--prior", "interim.json", "--overwrite"), "would replace the prior"),
            (("cat.fits", "-o", "new.json"), "cat.fits: the catalogue was made with the prior 'interim'"),
            (("cat.fits", "-o", "new.json", "--prior", "celeste2019"), "and not with 'celeste2019'"),
            (("cat.fits", "-o", "new.json", "--prior", "none.json"), "there is no prior file"),
            (("cat.fits", "-o", "new.json", "--prior", "table.csv"), "is not a JSON file"),
            (("cat.fits", "-o", "new.json", "--iterations", 2), "--iterations needs images"),
            (("cat.fits", "-o", "new.json", "--method", "fast"), "--method needs images"),
            (("cat.fits", "-o", "new.json", "--plot", "new.txt"), "expected .png or .pdf or .svg"),
            (("cat.fits", "-o", "new.json", "--prior", "interim.json", "--faint-limit", 12), "expected 30 of a type"),
        ],
    )
    def test_in_one_line(self, folder, monkeypatch, capsys, arguments, part):
        monkeypatch.chdir(folder)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert fit(*arguments) == 2
        line = the_line(capsys)
        assert line.startswith("celestepy: error: ")
        assert part in line
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    @pytest.mark.parametrize(("option", "value"), [("--iterations", "0"), ("--galaxy-counts", "gamma"),
                                                   ("--faint-limit", "bright")])
    def test_options(self, capsys, option, value):
        with pytest.raises(SystemExit, match="2"):
            fit("cat.fits", "-o", "new.json", option, value)
        assert option in the_line(capsys)


def test_a_field_in_two_rounds(tmp_path, capsys):
    """The catalogue is made, the prior fitted, the catalogue made again with it, and the prior fitted again."""
    simulate_field(60, "gri", (360, 360), min_snr=20, rng=5).write(tmp_path / "field")
    path = tmp_path / "second.json"
    options = ("--iterations", 2, "--method", "fast", "--n-jobs", 1, "--star-components", 1, "--galaxy-components", 1)
    limit = ("--faint-limit", 22.5, "--galaxy-counts", "power")
    assert fit(tmp_path / "field" / "description.toml", "-o", path, *options, *limit) == 0
    captured = capsys.readouterr()
    assert "round 2 of 2, with the prior second" in captured.err
    prior = Prior.load(path)
    assert "fast catalogue made with the prior 'second'" in prior.provenance["method"]
    assert 0 < prior.star_fraction < 1


def test_the_catalogue_is_not_changed(folder, tmp_path):
    before = (folder / "cat.fits").read_bytes()
    catalog = Catalog.read(folder / "cat.fits")
    assert fit(folder / "cat.fits", "-o", tmp_path / "p.json", "--prior", folder / "interim.json", *FEW, "-q") == 0
    assert (folder / "cat.fits").read_bytes() == before
    assert np.array_equal(catalog["id"], Catalog.read(folder / "cat.fits")["id"])
