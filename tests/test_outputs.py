"""What the command line writes never destroys what it reads, nor what another of its outputs needs."""

import os
import re
from pathlib import Path

import pytest

from celestepy.catalog import Catalog, CatalogError, DrawsFile
from celestepy.catalog.draws_journal import Journal
from celestepy.cli import main
from celestepy.cli.collisions import check_collisions
from celestepy.cli.console import CommandError
from celestepy.simulate import simulate_field

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def field():
    return simulate_field(3, "r", (90, 90), min_snr=40, min_separation=8, rng=4)


@pytest.fixture
def folder(field, tmp_path):
    return field.write(tmp_path / "field").parent


@pytest.fixture
def catalog_of(folder, tmp_path):
    """Run `celestepy catalog` on the field, quietly but for errors."""

    def run(*options):
        return main(["catalog", str(folder / "description.toml"), "-q", *map(str, options)])

    return run


def content(*paths):
    return [path.read_bytes() for path in paths]


class TestCollisions:
    def refused(self, capsys, code, *parts):
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2
        assert line.startswith("celestepy: error: ")
        assert all(str(part) in line for part in parts)

    def test_one_file_for_catalogue_and_draws(self, catalog_of, tmp_path, capsys):
        (tmp_path / "link.hdf5").symlink_to(tmp_path / "a.hdf5")
        for name in ("a.hdf5", "./a.hdf5", "field/../a.hdf5", "link.hdf5"):
            draws = os.path.join(tmp_path, name)
            code = catalog_of("-o", tmp_path / "a.hdf5", "--draws", draws, "--method", "calibrated")
            self.refused(capsys, code, draws, "--output", "--draws")
        assert not (tmp_path / "a.hdf5").exists()

    @pytest.mark.parametrize("name", ["r.fits", "description.toml", "truth.fits"])
    def test_inputs(self, catalog_of, folder, capsys, name):
        """Those of the field, and the seeds."""
        path = folder / name
        before = content(path)
        code = catalog_of("-o", path, "--overwrite", "--seeds", folder / "truth.fits")
        self.refused(capsys, code, path, "--output would replace")
        assert content(path) == before

    def test_draws_in_the_place_of_seeds(self, catalog_of, folder, tmp_path, capsys):
        seeds = tmp_path / "seeds.hdf5"
        seeds.touch()
        code = catalog_of("-o", tmp_path / "a.fits", "--draws", seeds, "--seeds", seeds, "--method", "calibrated")
        self.refused(capsys, code, "--draws would replace the seeds")

    def test_a_prior(self, catalog_of, tmp_path, capsys):
        prior = tmp_path / "p.ecsv"
        prior.touch()
        self.refused(capsys, catalog_of("-o", prior, "--overwrite", "--prior", prior), "would replace the prior")

    def test_files_of_an_sdss_field(self, tmp_path, capsys):
        frame = tmp_path / "frame-r-000094-1-0012.fits"
        frame.touch()
        code = main(["catalog", str(tmp_path), "-o", str(frame), "--overwrite"])
        self.refused(capsys, code, "--output would replace an image file of this run")

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_tables_that_are_scored(self, folder, tmp_path, capsys, place):
        tables = [tmp_path / f"{k}.ecsv" for k in range(3)]
        for table in tables:
            table.touch()
        code = main(["score", *map(str, tables[:2]), "--other", str(tables[2]), "--json", str(tables[place])])
        self.refused(capsys, code, "--json would replace")

    def test_hard_links(self, tmp_path):
        one, other = tmp_path / "one", tmp_path / "other"
        one.touch()
        other.hardlink_to(one)
        with pytest.raises(CommandError, match="--output would replace the seeds"):
            check_collisions({"--output": other}, [("the seeds", one)])

    def test_different_files_pass(self, tmp_path):
        read = [("the seeds", tmp_path / "c")]
        check_collisions({"--output": tmp_path / "a", "--draws": tmp_path / "b", "--json": None}, read)


class TestDraws:
    OPTIONS = ("--method", "calibrated", "--n-jobs", 1)

    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test_a_full_disk(self, catalog_of, tmp_path, capsys, monkeypatch, n_jobs):
        """The same line for any number of threads, and the same command goes on."""
        put, calls, draws = Journal._put, [], tmp_path / "d.hdf5"

        def full(journal, stream, record):
            calls.append(1)
            if len(calls) > 2:  # the head of the journal, and one source
                raise OSError(28, "No space left on device")
            put(journal, stream, record)

        options = ("-o", tmp_path / "c.fits", "--draws", draws, "--method", "calibrated", "--n-jobs", n_jobs)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_put", full)
            assert catalog_of(*options) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line == (
            f"celestepy: error: {draws}.journal: could not be written (No space left on device); the draws made so far "
            "are safe in it: make room, and the same command goes on from there"
        )
        kept = DrawsFile(draws).finished()
        assert len(kept) == 1
        assert catalog_of(*options) == 0
        assert kept < DrawsFile(draws).finished()

    def test_other_seeds_are_named(self, catalog_of, tmp_path, capsys):
        options = ("--draws", tmp_path / "d.hdf5", *self.OPTIONS)
        assert catalog_of("-o", tmp_path / "c.fits", *options, "--seed", 1) == 0
        assert catalog_of("-o", tmp_path / "e.fits", *options, "--seed", 5) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"celestepy: error: {tmp_path / 'd.hdf5'}: was begun with the seed 1 and cannot be continued with the seed "
            "5; give the same seed, another file for the draws, or delete this one to begin anew"
        )

    def test_how_to_go_on_after_an_interruption(self, catalog_of, tmp_path, capsys):
        """The catalogue of the stopped run is there, and stands in the way of the same command."""
        output, draws = tmp_path / "c.fits", tmp_path / "d.hdf5"
        output.touch()
        Path(f"{draws}.journal").touch()
        assert catalog_of("-o", output, "--draws", draws, *self.OPTIONS) == 2
        message = f"exists already; add --overwrite to continue (the draws in {draws} are kept)"
        assert message in capsys.readouterr().err

    def test_a_link_to_no_file_of_draws(self, catalog_of, tmp_path):
        """Such as one that was replaced by another: said, and the Gaussians take its place."""
        from celestepy.catalog.linked_draws import LinkedDrawsWarning

        assert catalog_of("-o", tmp_path / "c.hdf5", "--draws", tmp_path / "d.hdf5", *self.OPTIONS) == 0
        catalog = Catalog.read(tmp_path / "c.hdf5")
        assert catalog.draws is not None
        for link in (tmp_path / "c.hdf5", tmp_path / "c.fits", tmp_path / "text.h5"):
            link.exists() or link.write_text("no draws")
            catalog.meta["draws"] = str(link)
            with pytest.warns(LinkedDrawsWarning, match=re.escape("Gaussians in the catalogue instead")):
                assert len(catalog.sample(5, 1)) == len(catalog)
            with pytest.raises(CatalogError):  # who asks for the file itself is told that it is none
                DrawsFile(link)
