"""From images to a catalogue in one call, in Python and from the command line, on a small simulated field."""

import re
import shutil
import signal

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import celestepy
from celestepy.catalog import Catalog, CatalogError, Flag, Status
from celestepy.cli import main
from celestepy.detection import detect
from celestepy.images import ImageError
from celestepy.inference import LaplaceFit
from celestepy.inference.group_fit import GroupFitter
from celestepy.pipeline import band_names, make_catalog, read_field, read_table
from celestepy.simulate import simulate_field

N_SOURCES = 8


@pytest.fixture(scope="module")
def field():
    return simulate_field(N_SOURCES, "gri", (180, 160), min_snr=30, rng=5)


@pytest.fixture(scope="module")
def folder(field, tmp_path_factory):
    """The field as files."""
    return field.write(tmp_path_factory.mktemp("field")).parent


@pytest.fixture
def copy(folder, tmp_path):
    """The files of the field, to be damaged."""
    return shutil.copytree(folder, tmp_path / "field")


@pytest.fixture(scope="module")
def catalog(field):
    return make_catalog(field.images, rng=1).catalog


def run(*arguments):
    return main([str(argument) for argument in arguments])


def same_columns(one, other):
    """Whether two catalogues have the same rows, whatever their metadata say."""
    return all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one.colnames
    )


class TestMakeCatalog:
    def test_is_at_the_top_of_the_package(self):
        assert celestepy.make_catalog is make_catalog
        with pytest.raises(AttributeError, match="make_dinner"):
            celestepy.make_dinner  # noqa: B018

    def test_finds_what_was_drawn(self, field, catalog):
        """Well above the noise and hardly blended, all are found."""
        assert catalog.score(field.truth).completeness == 1.0

    def test_says_how_it_was_made(self, catalog):
        assert catalog.meta["seed"] == 1
        assert catalog.meta["inputs"] == ["g", "r", "i"]
        assert catalog.meta["method"] == "fast"
        assert "n_jobs" not in str(catalog.meta)

    def test_of_files_is_that_of_images(self, folder, catalog):
        """Written as single precision: 1e-7 of the pixels' noise is far below 1% of an error."""
        again = make_catalog(folder / "description.toml").catalog
        assert len(again) == len(catalog)
        shift = (again["mag_r"] - catalog["mag_r"]) / catalog["mag_r_err"]
        assert np.abs(shift).max() < 0.01

    def test_of_some_bands(self, field):
        catalog = make_catalog(field.images, bands="ri").catalog
        assert catalog.bands.names == ("r", "i")

    def test_seeds_from_wherever(self, field, catalog, tmp_path):
        """Seeds, a table of them, a file of a table, and a catalogue fit the same sources."""
        seeds = detect(field.images)
        path = tmp_path / "seeds.csv"
        Table({"ra": seeds.ra, "dec": seeds.dec}).write(path)
        assert same_columns(make_catalog(field.images, seeds).catalog, catalog)
        of_file = make_catalog(field.images, path).catalog
        assert of_file.meta["seeds"] == str(path)
        for given in (Table.read(path), catalog):
            assert len(make_catalog(field.images, given).catalog) == len(of_file)

    def test_prior_by_name(self, field, catalog):
        other = make_catalog(field.images, prior="celeste2019").catalog
        assert len(other) == len(catalog)
        assert not same_columns(other, catalog)

    def test_method_by_name_or_with_settings(self, field, catalog):
        assert same_columns(make_catalog(field.images, method=LaplaceFit()).catalog, catalog)
        with pytest.raises(ValueError, match="'slow', expected one of fast, calibrated, "):
            make_catalog(field.images, method="slow")

    def test_the_threshold_is_passed_on(self, field):
        high = make_catalog(field.images, threshold=100.0).catalog
        assert 0 < len(high) < N_SOURCES

    def test_a_band_without_images(self, field):
        with pytest.raises(ImageError, match="no image of the band 'z' in images; it has g, r, i"):
            make_catalog(field.images, bands="gz")

    def test_a_band_without_prior_is_refused_before_detection(self, field, monkeypatch):
        monkeypatch.setattr("celestepy.pipeline.detect", None)
        with pytest.raises(ValueError, match=r"no colours for the band\(s\) Y"):
            make_catalog([field.images[0], field.images[1].replace(band="Y")])

    def test_nothing_there(self, field):
        """A catalogue without rows is one too."""
        catalog = make_catalog(field.images, threshold=1e9).catalog
        assert len(catalog) == 0
        assert catalog.bands.names == ("g", "r", "i")


class TestReading:
    @pytest.mark.parametrize(
        ("text", "names"), [("gri", ("g", "r", "i")), ("g, Ks", ("g", "Ks")), (["g", "Ks"], ("g", "Ks"))]
    )
    def test_names_of_bands(self, text, names):
        assert band_names(text) == names

    def test_one_band_with_a_long_name(self, field):
        image = field.images[0].replace(band="F814W")
        assert read_field([image, *field.images], "F814W") == [image]

    def test_some_bands_of_a_description(self, copy):
        """The files of other bands are not needed."""
        (copy / "g.fits").unlink()
        assert [image.band for image in read_field(copy / "description.toml", "ri")] == ["r", "i"]

    def test_any_table(self, folder, tmp_path):
        Table({"ra": [1.0], "dec": [2.0]}).write(tmp_path / "a.vot", format="votable")
        assert len(read_table(tmp_path / "a.vot")) == 1
        assert len(read_table(folder / "truth.fits")) == N_SOURCES

    def test_no_table(self, tmp_path):
        path = tmp_path / "a.fits"
        path.write_text("cheese")
        with pytest.raises(CatalogError, match="a.fits: not a table that can be read"):
            read_table(path)


class TestCatalogCommand:
    def test_writes_what_the_api_makes(self, folder, tmp_path, capsys):
        path = tmp_path / "cat.fits"
        assert run("catalog", folder / "description.toml", "-o", path, "--seed", 7) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[-1] == f"wrote {path}"
        assert "3 images in" in captured.err
        assert "\r" not in captured.err
        written = Catalog.read(path)
        assert written.meta["seed"] == 7
        assert same_columns(written, make_catalog(folder / "description.toml").catalog)

    def test_the_same_bytes_whatever_the_number_of_threads(self, folder, tmp_path):
        contents = []
        for n_jobs in (1, 2):
            path = tmp_path / f"{n_jobs}.fits"
            assert run("catalog", folder / "description.toml", "-o", path, "--n-jobs", n_jobs, "-q") == 0
            catalog = Catalog.read(path)
            assert catalog.meta.pop("created")
            catalog.write(path, overwrite=True)
            contents.append(path.read_bytes())
        assert contents[0] == contents[1]

    def test_quiet_is_silent(self, folder, tmp_path, capsys):
        assert (
            run("catalog", folder / "description.toml", "-o", tmp_path / "a.ecsv", "--quiet", "--bands", "r")
            == 0
        )
        assert capsys.readouterr() == ("", "")

    def test_pictures(self, folder, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        plots = tmp_path / "plots"
        assert run("catalog", folder / "description.toml", "-o", tmp_path / "cat.fits", "--plots", plots) == 0
        names = sorted(path.name for path in plots.iterdir())
        assert names == ["color.png", "population.png", "residual.png"]
        assert capsys.readouterr().out.count("wrote ") == 4

    def test_pictures_without_matplotlib(self, folder, tmp_path, capsys, monkeypatch):
        """Before the work, not after it."""
        monkeypatch.setattr("celestepy.cli.commands.find_spec", lambda name: None)
        output = tmp_path / "cat.fits"
        assert run("catalog", folder / "description.toml", "-o", output, "--plots", tmp_path / "plots") == 2
        assert "extra 'plot'" in capsys.readouterr().err
        assert not output.exists()

    def test_sources_with_a_problem_are_rows_with_flags(self, copy, field, tmp_path):
        """Images cut through one source, and masked along the columns of another, whose seed comes twice."""
        truth = field.truth
        x, _ = field.images[0].sky_to_pixel(truth["ra"].value, truth["dec"].value)
        cut, masked = np.argsort(x)[1], np.argmax(x)
        first = round(x[cut])
        for path in copy.glob("[gri].fits"):
            pixels, header = fits.getdata(path, header=True)
            pixels[:, round(x[masked]) - 1 : round(x[masked]) + 2] = np.nan
            header["CRPIX1"] -= first
            fits.writeto(path, pixels[:, first:], header, overwrite=True)
        seeds = truth[[cut, masked, masked]]["ra", "dec"]
        seeds.write(tmp_path / "seeds.ecsv")
        output = tmp_path / "cat.fits"
        assert (
            run("catalog", copy / "description.toml", "-o", output, "--seeds", tmp_path / "seeds.ecsv") == 0
        )
        catalog = Catalog.read(output)
        fitted = np.isfinite(catalog["mag_r"])
        edge, masked = catalog["flags"][fitted]
        assert edge & Flag.EDGE
        assert masked & Flag.MASKED_CENTRE
        assert (catalog["message"][~fitted] != "").all()

    def test_a_full_disk_does_not_lose_the_catalogue(self, folder, tmp_path, capsys, monkeypatch):
        write, output = Catalog.write, tmp_path / "cat.fits"

        def full(catalog, path, overwrite=False):
            if path == str(output):
                raise CatalogError(f"{path}: could not be written (No space left on device)")
            write(catalog, path, overwrite)

        monkeypatch.setattr(Catalog, "write", full)
        monkeypatch.chdir(tmp_path)
        assert run("catalog", folder / "description.toml", "-o", output, "--bands", "r", "-q") == 2
        line = capsys.readouterr().err
        rescued = re.search("the catalogue was written to (.*) instead", line)[1]
        assert line.startswith(f"celestepy: error: {output}: could not be written (No space left")
        assert len(Catalog.read(rescued)) > 0


class TestInterruption:
    """Ctrl-C, raised from within the fit after some sources."""

    @pytest.fixture
    def ctrl_c_at(self, monkeypatch):
        def arm(number, stage="full"):
            calls, true = [], getattr(GroupFitter, stage)

            def fit(self, *arguments, **options):
                calls.append(1)
                if len(calls) == number:
                    signal.raise_signal(signal.SIGINT)
                return true(self, *arguments, **options)

            monkeypatch.setattr(GroupFitter, stage, fit)

        return arm

    def test_what_is_finished_is_written(self, folder, tmp_path, capsys, ctrl_c_at):
        ctrl_c_at(5)
        output = tmp_path / "cat.fits"
        arguments = ("catalog", folder / "description.toml", "-o", output, "--n-jobs", 1, "--bands", "r")
        assert run(*arguments) == 130
        catalog = Catalog.read(output)
        begun = int((catalog["status"] == Status.FIRST_FIT).sum())
        done = len(catalog) - begun
        assert 0 < done < len(catalog)
        assert np.all(np.isfinite(catalog["flux_r"]))
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == (
            f"celestepy: interrupted: {done} sources are finished, {begun} have a first fit only (status FIRST_FIT) "
            f"and 0 no estimates (NOT_FITTED); all are written to {output}"
        )

    def test_before_any_is_begun_nothing_is_written(self, folder, tmp_path, capsys, ctrl_c_at):
        ctrl_c_at(1, "quick")
        output = tmp_path / "cat.fits"
        assert run("catalog", folder / "description.toml", "-o", output, "--n-jobs", 1) == 130
        assert not output.exists()
        assert capsys.readouterr().err.splitlines()[-1].endswith("nothing was written")


class TestBadInput:
    """Each ends with one line that names the file, exit code 2, and no output."""

    def check(self, capsys, part, *arguments):
        assert run("catalog", *arguments, "--quiet") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("celestepy: error: ")
        assert part in line

    def test_a_field_that_does_not_exist(self, tmp_path, capsys):
        self.check(capsys, "nowhere: no such file", tmp_path / "nowhere", "-o", tmp_path / "cat.fits")

    def test_the_directory_of_a_description(self, copy, tmp_path, capsys):
        self.check(capsys, f"give {copy / 'description.toml'}", copy, "-o", tmp_path / "cat.fits")

    def test_a_directory_without_frames(self, tmp_path, capsys):
        self.check(capsys, str(tmp_path), tmp_path, "-o", tmp_path / "cat.fits")

    @pytest.mark.parametrize(
        ("old", "new", "part"),
        [
            ("[[image]]", "[[image", "description.toml: not a TOML file"),
            ("gain = 1.0", "gain = 0.0", "gain"),
            ("gain = 1.0", "gain = 1e-300", "gain: 1e-300 electrons per count is"),
            ("gain = 1.0", "gain = 1e300", "expected 1e-09 to 1e+15"),
            ("read_noise =", "read_noise = 1e200 #", "read_noise: 1e+200, expected at most 1e+06"),
            ("gain = 1.0", "gane = 1.0", "'gane'"),
            ("zero_point", "# zero_point", "zero_point"),
            ("nmgy", "", "zero_point"),
            ('"r.fits"', '"absent.fits"', "absent.fits"),
        ],
    )
    def test_a_wrong_description(self, copy, tmp_path, capsys, old, new, part):
        path = copy / "description.toml"
        path.write_text(path.read_text().replace(old, new))
        self.check(capsys, part, path, "-o", tmp_path / "cat.fits", "--bands", "r")

    def test_a_truncated_image(self, copy, tmp_path, capsys):
        path = copy / "r.fits"
        path.write_bytes(path.read_bytes()[:30_000])
        self.check(capsys, "r.fits", copy / "description.toml", "-o", tmp_path / "cat.fits")

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            (lambda hdu: hdu.data.fill(np.nan), "all 28800 pixels are masked"),
            (lambda hdu: hdu.header.remove("CTYPE1"), "r.fits"),
        ],
        ids=["all NaN", "no WCS"],
    )
    def test_an_unusable_image(self, change, part, copy, tmp_path, capsys):
        with fits.open(copy / "r.fits", mode="update") as hdus:
            change(hdus[0])
        self.check(capsys, part, copy / "description.toml", "-o", tmp_path / "cat.fits")

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("x,y\n1,2\n", "seeds.csv: seeds: no column ra"),
            ("ra,dec\n200,10\n", "seeds.csv: "),
            ("ra,dec\nnorth,south\n", "seeds.csv: "),
            ("ra,dec,position_err\n30,10,-0.3\n", "position_err -0.3, expected errors of 0 to 60 arcsec"),
            ("ra,dec,position_err\n30,10,1e9\n", "position_err 1e+09, expected errors of 0 to 60 arcsec"),
            ("", "seeds.csv: "),
        ],
        ids=["no ra", "outside", "text", "negative error", "absurd error", "empty"],
    )
    def test_wrong_seeds(self, content, part, folder, tmp_path, capsys):
        path = tmp_path / "seeds.csv"
        path.write_text(content)
        field = folder / "description.toml"
        self.check(capsys, part, field, "-o", tmp_path / "cat.fits", "--seeds", path)

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            (["--bands", "gY"], "no image of the band 'Y'"),
            (["--bands", "q"], "no image of the bands q, expected one at least; it has g, i, r"),
            (["--bands", ""], "bands: '' has no name or an empty one"),
            (["--bands", "g,,r"], "bands: 'g,,r' has no name or an empty one"),
            (["--bands", "rr"], "bands: 'r' is given twice in r,r"),
            (["--prior", "absent.json"], "absent.json"),
            (["--seeds", "absent.csv"], "absent.csv: no such file"),
        ],
    )
    def test_options_that_do_not_fit(self, options, part, folder, tmp_path, capsys):
        output = tmp_path / "cat.fits"
        self.check(capsys, part, folder / "description.toml", "-o", output, *options)
        assert not output.exists()

    def test_an_output_that_exists(self, folder, tmp_path, capsys):
        output = tmp_path / "cat.fits"
        output.write_text("precious")
        self.check(capsys, "cat.fits: exists already", folder / "description.toml", "-o", output)
        assert output.read_text() == "precious"

    def test_an_output_of_an_unknown_kind(self, folder, tmp_path, capsys):
        self.check(
            capsys, "cat.docx: unknown extension", folder / "description.toml", "-o", tmp_path / "cat.docx"
        )


class TestOtherCommands:
    def test_simulate_catalog_score(self, tmp_path, capsys):
        """The way through all commands, as the help of `simulate` shows it."""
        folder, output, report = tmp_path / "field", tmp_path / "cat.fits", tmp_path / "score.json"
        simulate = ("simulate", "-o", folder, "--n-sources", 6, "--size", 160, "--bands", "gr", "--seed", 3)
        assert run(*simulate) == 0
        assert run("catalog", folder / "description.toml", "-o", output) == 0
        capsys.readouterr()
        assert run("score", output, folder / "truth.fits", "--json", report) == 0
        assert capsys.readouterr().out.startswith("6 true sources")
        assert '"n_truth": 6' in report.read_text()
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert run(*simulate[:-1], 4) == 2, "an earlier simulation is not replaced unless asked"
        assert "--overwrite" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert run(*simulate[:-1], 4, "--overwrite") == 0
        assert {path.name: path.read_bytes() for path in folder.iterdir()} != before

    def test_score_compares_with_another_table(self, folder, catalog, tmp_path, capsys):
        catalog.write(tmp_path / "cat.fits")
        arguments = ("score", tmp_path / "cat.fits", folder / "truth.fits", "--other", folder / "truth.fits")
        assert run(*arguments, "--radius", 2, "--mag-range", 10, 30) == 0
        assert "ratio" in capsys.readouterr().out

    def test_score_of_tables_that_do_not_overlap(self, folder, catalog, tmp_path, capsys):
        catalog.write(tmp_path / "cat.fits")
        Table({"ra": [200.0], "dec": [0.0], "mag_r": [20.0]}).write(tmp_path / "far.ecsv")
        assert run("score", tmp_path / "cat.fits", tmp_path / "far.ecsv") == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


class TestDemo:
    N = 6

    def test_shows_the_whole_way(self, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        assert run("demo", "-o", tmp_path / "demo", "--n-sources", self.N) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{self.N} true sources")
        written = {line.split()[0] for line in lines[lines.index("wrote") + 1 :]}
        assert written == {str(path) for path in (tmp_path / "demo").iterdir()}
        assert len(written) == 8
        assert len(Catalog.read(tmp_path / "demo" / "catalog.fits").bands) == 5

    def test_does_without_matplotlib_and_twice(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("celestepy.demo.find_spec", lambda name: None)
        for _ in range(2):
            assert run("demo", "-o", tmp_path, "--n-sources", self.N) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "catalog.fits",
            "score.json",
            "truth.fits",
        ]
        assert "no pictures" in capsys.readouterr().err

    def test_leaves_other_files_alone(self, tmp_path, capsys):
        (tmp_path / "catalog.fits").write_text("mine")
        assert run("demo", "-o", tmp_path) == 2
        assert "holds other files" in capsys.readouterr().err
        assert (tmp_path / "catalog.fits").read_text() == "mine"
