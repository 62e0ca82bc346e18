"""``celestepy deblend``: what it writes, what it refuses, and that nothing it reads is lost."""

import os

import numpy as np
import pytest

from celestepy.cli import main, parser
from celestepy.deblend import METHODS, field, read_models
from celestepy.simulate import simulate_field


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A field with its truth, a blend, and files that are neither."""
    folder = tmp_path_factory.mktemp("deblend")
    simulate_field(6, "gri", (110, 100), min_snr=30, rng=2).write(folder / "field")
    y, x = np.mgrid[:24, :30]
    shapes = [np.exp(-0.5 * ((y - 12) ** 2 + (x - column) ** 2) / 4) for column in (11, 18)]
    psf = np.exp(-0.5 * np.hypot(*np.mgrid[-7:8, -7:8]) ** 2 / 2.5)
    arrays = {
        "images": 50 * np.array([shapes[0] + shapes[1], shapes[0] + 2 * shapes[1], shapes[0] + 3 * shapes[1]]),
        "weights": np.ones((3, 24, 30)), "psfs": np.array(3 * [psf]), "filters": np.array(["g", "r", "i"]),
        "peaks": np.array([[11, 12], [18, 12]]),
    }
    arrays["images"] += np.random.default_rng(3).normal(size=(3, 24, 30))
    np.savez(folder / "blend.npz", **arrays)
    np.savez(folder / "names.npz", **(arrays | {"filters": np.array(["g", "r", "\u0433"])}))
    np.savez(folder / "nothing.npz", images=arrays["images"])
    np.savez(folder / "empty.npz", **(arrays | {"peaks": np.zeros((0, 2))}))
    np.savez(folder / "number.npz", **(arrays | {"images": np.float64(3)}))
    del arrays["filters"]
    np.savez(folder / "unnamed.npz", **(arrays | {"images": np.float64(3)}))
    np.savez(folder / "peaks.npz", **(arrays | {"peaks": np.zeros(3)}))
    np.savez(folder / "shapes.npz", **(arrays | {"weights": np.ones((2, 24, 30))}))
    (folder / "text.npz").write_text("no archive")
    (folder / "table.csv").write_text("name,flux\na,2\n")
    (folder / "taken.fits").write_text("mine")
    return folder


def deblend(*arguments):
    return main(["deblend", *map(str, arguments)])


def the_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_methods_are_those_of_the_package():
    assert parser.DEBLENDERS == METHODS


def test_a_blend(folder, tmp_path, capsys):
    path = tmp_path / "models.fits"
    assert deblend(folder / "blend.npz", "-o", path, "--method", "proximal", "--seed", 4) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["2 sources, 2 of them blended, 0 flagged; 1 fit by the method proximal", f"wrote {path}"]
    models = read_models(path)
    assert models.table.meta["seed"] == 4
    assert models.table.meta["input"].endswith("blend.npz")
    colors = models.table["flux_i"] / models.table["flux_g"]
    assert colors[1] / colors[0] == pytest.approx(3, rel=0.1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_blend_by_its_prior_in_some_bands(folder, tmp_path):
    path = tmp_path / "models.fits"
    assert deblend(folder / "blend.npz", "-o", path, "--bands", "gi", "-q") == 0
    models = read_models(path)
    assert models.table.meta["method"] == "score"
    assert [image.band for image in models.residuals] == ["g", "i"]
    assert set(models.table["status"]) == {"ok"}


def test_a_field(folder, tmp_path, capsys):
    path, inputs = tmp_path / "models.fits", folder / "field"
    options = ("--catalog", inputs / "truth.fits", "--method", "proximal", "--n-jobs")
    assert deblend(inputs / "description.toml", "-o", path, *options, 1) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("6 sources, ")
    assert "deblending ..." in captured.err
    first = read_models(path)
    assert deblend(inputs / "description.toml", "-o", path, *options, 2, "--overwrite", "-q") == 0
    assert capsys.readouterr() == ("", "")
    second = read_models(path)
    assert np.array_equal(first.table["flux_r"], second.table["flux_r"])
    assert all(np.array_equal(a[0].pixels, b[0].pixels) for a, b in zip(first.models, second.models, strict=True))


def test_detection_and_pictures_of_a_part(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    inputs, models = folder / "field", simulate_field(6, "gri", (110, 100), min_snr=30, rng=2)
    position = models.truth["ra"][0].value, models.truth["dec"][0].value
    options = ("--threshold", 20, "--position", *position, "--size", 8, "--method", "proximal")
    output = ("-o", tmp_path / "m.fits", "--plots", tmp_path / "p")
    assert deblend(inputs / "description.toml", *output, *options) == 0
    assert (tmp_path / "p" / "blend_0.png").stat().st_size > 5_000
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {tmp_path / 'p' / 'blend_0.png'}"


class TestRefusals:
    """One line and exit code 2, and no file is touched."""

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (("none.npz", "-o", "new.fits"), "none.npz: No such file"),
            (("none.toml", "-o", "new.fits"), "none.toml"),
            (("text.npz", "-o", "new.fits"), "text.npz: "),
            (("nothing.npz", "-o", "new.fits"), "nothing.npz: no array 'psfs'"),
            (("peaks.npz", "-o", "new.fits"), "peaks.npz: peaks of shape (3,)"),
            (("empty.npz", "-o", "new.fits"), "empty.npz: no peaks"),
            (("number.npz", "-o", "new.fits"), "number.npz: images: float64 of shape (), expected"),
            (("unnamed.npz", "-o", "new.fits"), "unnamed.npz: images: float64 of shape (), expected"),
            (("shapes.npz", "-o", "new.fits"), "shapes.npz: weights: shape (2, 24, 30)"),
            (("names.npz", "-o", "new.fits"), "names.npz: band '\u0433', whose name FITS cannot hold"),
            (("blend.npz", "-o", "new.txt"), "has the extension '.txt', expected .fits"),
            (("blend.npz", "-o", "."), "is a directory"),
            (("blend.npz", "-o", "no/where.fits"), "cannot be written (No such file or directory)"),
            (("blend.npz", "-o", "taken.fits"), "exists already"),
            (("field/description.toml", "-o", "field/r.fits", "--overwrite"), "would replace an image file"),
            (("field/description.toml", "-o", "field/truth.fits", "--overwrite", "--catalog", "field/truth.fits"),
             "would replace the catalogue of this run"),
            (("field/description.toml", "-o", "new.fits", "--catalog", "table.csv"), "no column ra nor dec"),
            (("field/description.toml", "-o", "new.fits", "--catalog", "none.csv"), "none.csv: no such file"),
            (("field/description.toml", "-o", "new.fits", "--bands", "z"), "no image of the bands z"),
            (("field/description.toml", "-o", "new.fits", "--pixel-scale", 2), "--pixel-scale is for blends"),
            (("field/description.toml", "-o", "new.fits", "--size", 5), "--size needs --position"),
            (("field/description.toml", "-o", "new.fits", "--position", 10, -20), "lie outside of every image"),
            (("field/description.toml", "-o", "new.fits", "--threshold", 3, "--catalog", "field/truth.fits"),
             "--threshold is for the detection"),
            (("blend.npz", "-o", "new.fits", "--bands", "gz"), "bands: no band 'z', the blend has g, r, i"),
            (("blend.npz", "-o", "new.fits", "--catalog", "field/truth.fits"), "--catalog is for fields"),
            (("blend.npz", "-o", "new.fits", "--position", 1, 2), "--position is for fields"),
            (("blend.npz", "-o", "new.fits", "--method", "score", "--prior", "moon"), "no prior 'moon' comes with"),
            (("blend.npz", "-o", "new.fits", "--method", "score", "--prior", "nothing.npz"), "nothing.npz"),
            (("blend.npz", "-o", "new.fits", "--method", "proximal", "--prior", "score-hsc-32"), "'proximal' has none"),
            (("blend.npz", "-o", "new.fits", "--prior", "pixelcnn-hsc-32"), "needs 'score'"),
        ],
    )
    def test_in_one_line(self, folder, monkeypatch, capsys, arguments, part):
        monkeypatch.chdir(folder)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert deblend(*arguments, "-q") == 2
        line = the_line(capsys)
        assert line.startswith("celestepy: error: ")
        assert part in line
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize(("option", "value"), [("--method", "magic"), ("--size", "-1"), ("--largest-blend", "0")])
    def test_options(self, capsys, option, value):
        with pytest.raises(SystemExit, match="2"):
            deblend("blend.npz", "-o", "new.fits", option, value)
        assert option in the_line(capsys)


class TestFailures:
    def run(self, folder, path, monkeypatch, fails):
        work, seen = field.fit_blend, []

        def fit_blend(*arguments):
            seen.append(1)
            if fails(len(seen)):
                raise RuntimeError("out of luck")
            return work(*arguments)

        monkeypatch.setattr(field, "fit_blend", fit_blend)
        inputs = folder / "field"
        return deblend(inputs / "description.toml", "-o", path, "--catalog", inputs / "truth.fits", "--method",
                       "proximal", "--n-jobs", 1)

    def test_some(self, folder, tmp_path, monkeypatch, capsys):
        assert self.run(folder, tmp_path / "models.fits", monkeypatch, lambda n: n == 2) == 0
        (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert "sources could not be fitted, the first for this reason: out of luck" in warning
        assert set(read_models(tmp_path / "models.fits").table["status"]) == {"ok", "failed"}

    def test_all(self, folder, tmp_path, monkeypatch, capsys):
        assert self.run(folder, tmp_path / "models.fits", monkeypatch, lambda _: True) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "celestepy: error: no source could be fitted: out of luck"
        )
        assert not list(tmp_path.iterdir())


def test_a_full_disk_does_not_lose_the_fit(folder, tmp_path, monkeypatch, capsys):
    replace, target = os.replace, tmp_path / "full" / "models.fits"
    target.parent.mkdir()
    monkeypatch.chdir(tmp_path)

    def fail(source, destination):
        if os.path.realpath(destination) == str(target):
            raise OSError(28, "No space left on device")
        replace(source, destination)

    monkeypatch.setattr("os.replace", fail)
    assert deblend(folder / "blend.npz", "-o", target, "--method", "proximal", "-q") == 2
    line = the_line(capsys)
    assert "No space left on device" in line
    assert line.endswith("instead")
    (rescued,) = tmp_path.glob("celestepy-*/models.fits")
    assert f"what was found was written to {rescued}" in line
    assert len(read_models(rescued)) == 2


class TestInterruptions:
    def run(self, folder, path, monkeypatch, last):
        work, seen = field.fit_blend, []

        def fit_blend(*arguments):
            seen.append(1)
            if len(seen) > last:
                raise KeyboardInterrupt
            return work(*arguments)

        monkeypatch.setattr(field, "fit_blend", fit_blend)
        inputs = folder / "field"
        return deblend(inputs / "description.toml", "-o", path, "--catalog", inputs / "truth.fits", "--method",
                       "proximal", "--n-jobs", 1, "-q")

    def test_what_is_finished_is_written(self, folder, tmp_path, monkeypatch, capsys):
        path = tmp_path / "models.fits"
        assert self.run(folder, path, monkeypatch, 2) == 130
        line = the_line(capsys)
        assert line.startswith("celestepy: interrupted: ")
        assert line.endswith(f"all are written to {path}")
        assert set(read_models(path).table["status"]) == {"ok", "interrupted"}

    def test_nothing_is_written_where_nothing_is_finished(self, folder, tmp_path, monkeypatch, capsys):
        assert self.run(folder, tmp_path / "models.fits", monkeypatch, 0) == 130
        assert "nothing was written" in the_line(capsys)
        assert not list(tmp_path.iterdir())
