"""What a catalogue cannot be made of is refused in one clear line, and incomplete lists of seeds are remarked on."""

import numpy as np
import pytest

from celestepy.catalog import Catalog
from celestepy.cli import main
from celestepy.images import GaussianNoise, Image, ImageError, SkyWarning
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

    @pytest.mark.parametrize("images", [None, 3])
    def test_what_are_no_images(self, images):
        with pytest.raises(ImageError, match=f"images: {images}, expected images, an SDSS field directory"):
            make_catalog(images)

    @pytest.mark.parametrize("bands", ["", "rr"])
    def test_bands_of_a_simulation(self, tmp_path, capsys, bands):
        assert run("simulate", "-o", tmp_path / "new", "--bands", bands) == 2
        assert capsys.readouterr().err.startswith("celestepy: error: bands: ")
        assert not (tmp_path / "new").exists()

    def test_one_is_singular(self, field, caplog):
        """In what is logged, and in the summary."""
        first = {"ra": field.truth["ra"].value[:1], "dec": field.truth["dec"].value[:1]}
        with caplog.at_level("INFO", "celestepy.pipeline"):
            result = make_catalog(field.images, first)
        assert "fitting 1 seed by the method fast" in caplog.text
        assert result.summary.startswith("1 row (1 ")

    def test_constant_pixels(self, field):
        dead = [image.replace(pixels=0 * image.pixels + image.sky) for image in field.images[:1]]
        with pytest.raises(ImageError, match="all 28800 usable pixels have the same value"):
            make_catalog(dead + field.images[1:])

    def test_an_impossible_sky_is_said(self, field):
        image = field.images[1]
        high = image.replace(noise=GaussianNoise(0.03**2), sky=image.sky + 1)
        with pytest.warns(SkyWarning, match="below the stated sky"):
            make_catalog([high], {"ra": field.truth["ra"].value[:1], "dec": field.truth["dec"].value[:1]})

    def test_an_empty_catalogue_is_said(self, folder, tmp_path, capsys):
        arguments = ("catalog", folder / "description.toml", "-o", tmp_path / "a.fits", "--threshold", 1e6)
        assert run(*arguments, "--bands", "r") == 0
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("celestepy: warning: no source was found in 1 image, and the catalogue is empty; ")
        assert len(Catalog.read(tmp_path / "a.fits")) == 0

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
