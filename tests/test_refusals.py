"""What a catalogue cannot be made of is refused in one clear line, and incomplete lists of seeds are remarked on."""

import numpy as np
import pytest

from celestepy.cli import main
from celestepy.images import GaussianNoise, Image, ImageError
from celestepy.pipeline import make_catalog
from celestepy.simulate import simulate_field


@pytest.fixture(scope="module")
def field():
    return simulate_field(8, "gri", (180, 160), min_snr=30, rng=5)


@pytest.fixture(scope="module")
def folder(field, tmp_path_factory):
    """The field as files."""
    return field.write(tmp_path_factory.mktemp("field")).parent


def run(*arguments):
    return main([str(argument) for argument in arguments])


class TestRefusals:
    """What cannot be used is refused in one line, before anything long begins."""

    def test_no_images(self):
        with pytest.raises(ImageError, match="images: none, expected one or more Image"):
            make_catalog([])

    @pytest.mark.parametrize("n_jobs", [0, -3, 2.5, "4", True])
    def test_numbers_of_threads(self, field, monkeypatch, n_jobs):
        monkeypatch.setattr("celestepy.pipeline.detect", None)
        with pytest.raises(ValueError, match=f"n_jobs: {n_jobs!r}, expected a number of threads from 1 on"):
            make_catalog(field.images, n_jobs=n_jobs)

    def test_a_single_pixel(self, field):
        image = field.images[0]
        parts = {"psf": image.psf, "wcs": image.astrometry, "noise": GaussianNoise(0.01)}
        pixel = Image(image.pixels[:1, :1], band="r", **parts)
        with pytest.raises(ImageError, match=r"no pixel of them \(of 1 x 1\) .* expected images larger"):
            make_catalog([pixel])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty, expected a table with columns ra and dec"),
            ("ra,dec\n", "no rows, expected one position"),
            ("ra,dec\n01:02:03.4,+10:11:12\n", "column ra holds '01:02:03.4', expected numbers in deg"),
            ("ra,dec\n30.0,+10:11:12\n", "column dec holds '.10:11:12', expected numbers in deg"),
            ("x,y\n1,2\n", "no column ra nor dec, the table has x, y"),
        ],
    )
    def test_files_of_seeds(self, field, tmp_path, text, message):
        path = tmp_path / "seeds.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=f"seeds.csv: .*{message}") as caught:
            make_catalog(field.images, path)
        assert "np." not in str(caught.value)

    def test_seeds_are_looked_at_before_images(self, folder, tmp_path, capsys):
        path = tmp_path / "seeds.csv"
        path.write_text("ra,dec\n01:02:03.4,+10:11:12\n")
        assert run("catalog", folder / "description.toml", "-o", tmp_path / "a.fits", "--seeds", path) == 2
        printed = capsys.readouterr().err
        assert "SkyCoord" in printed
        assert "reading" not in printed

    def test_a_directory_as_output(self, folder, tmp_path, capsys):
        for path in (tmp_path, tmp_path / "a.fits"):
            path.mkdir(exist_ok=True)
            assert run("catalog", folder / "description.toml", "-o", path, "--overwrite") == 2
            printed = capsys.readouterr().err
            assert printed.startswith(f"celestepy: error: {path}: is a directory, expected a file; give one in it")
            assert "reading" not in printed


class TestSeedsThatMissBrightSources:
    def test_it_is_said_how_many_and_what_to_do(self, field, caplog):
        """The field's brightest source, with a seed three arcsec beside it alone."""
        k = int(np.argmin(field.truth["mag_r"]))
        ra, dec = field.truth["ra"][k].value, field.truth["dec"][k].value
        make_catalog(field.images, {"ra": [ra], "dec": [dec + 3.0 / 3600]})
        (line,) = [record.getMessage() for record in caplog.records if "not in the list" in record.getMessage()]
        assert line.startswith("seeds: 1 bright sources within 10 arcsec of 1 of them are not in the list")
        assert f"ra {ra:.3f}" in line  # to 2 arcsec
        assert "add them to the list, or leave the seeds out" in line

    def test_complete_lists_are_not_remarked_on(self, field, caplog):
        truth = {name: field.truth[name].value for name in ("ra", "dec")}
        make_catalog(field.images, truth)
        assert not [record for record in caplog.records if "not in the list" in record.getMessage()]
