"""Draws on disk: read back as written, whatever stops the program, and continued only by the same run."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from celestepy.catalog import Catalog, CatalogError, Draws, DrawsFile, draws_hdf5, draws_journal
from celestepy.catalog.linked_draws import LinkedDrawsWarning

h5py = pytest.importorskip("h5py", reason="needs the extra hdf5")

META = {"method": "calibrated", "seed": 3, "settings": {"n_draws": 300, "unknown": float("nan")}}


def source(number, n=20):
    """Draws of one source that depend on its number alone."""
    rng = np.random.default_rng(number)
    return Draws.from_weights(rng.random(n) < 0.5, rng.standard_normal((n, 8)), rng.standard_normal(n),
                              chain=np.arange(n) % 3)


def pair(number, n=15):
    rng = np.random.default_rng(number)
    return Draws.from_group(rng.random((n, 2)) < 0.5, rng.standard_normal((n, 2, 8)), rng.standard_normal(n))


def begin(path, mode="a", **changes):
    return DrawsFile(path, mode, bands="gr", meta=META | changes)


def fill(file, numbers):
    for number in numbers:
        if number not in file.finished():
            file.write(number, source(number, 5 + number), ra=number, dec=-number, rows=[{"snr": 1.5 * number}])


def assert_equal(one, two):
    for name in ("start", "is_galaxy", "theta", "weight", "star_probability", "chain"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def assert_holds(path, numbers):
    file = DrawsFile(path)
    assert file.finished() == set(numbers)
    assert_equal(file.read(), Draws.join([source(number, 5 + number) for number in sorted(numbers)], 2))
    assert [row["snr"] for row in file.rows()] == [1.5 * number for number in sorted(numbers)]
    np.testing.assert_array_equal(file.positions(), [sorted(numbers), [-n for n in sorted(numbers)]])


def test_read_back_as_written(tmp_path):
    path = tmp_path / "draws.hdf5"
    with begin(path) as file:
        fill(file, [5, 2, 9])
        file.write([4, 1], pair(4), ra=[1.0, 1.1], dec=[2.0, 2.1])
        file.write(7, Draws.empty(2), ra=0, dec=0)
        assert_equal(file.read([2]), source(2, 7))  # before the HDF5 file is there
    assert [p.name for p in tmp_path.iterdir()] == ["draws.hdf5"]
    file = DrawsFile(path)
    assert file.meta["settings"]["n_draws"] == 300
    assert file.bands.names == ("g", "r")
    read = file.read([4, 9, 7, 1])
    assert_equal(read, Draws.join([pair(4).sources([0]), source(9, 14), Draws.empty(2), pair(4).sources([1])]))
    assert read.group.tolist() == [1, -1, -1, 1]  # the lowest id of the pair
    assert file.read([]).n_draws.tolist() == []
    with pytest.raises(CatalogError, match="no draws of source 3 and 1 others"):
        file.read([2, 3, 8])


def test_the_order_of_writing_does_not_matter(tmp_path):
    contents = []
    for order in ([1, 2, 3], [3, 1, 2]):
        path = tmp_path / f"{order[0]}.h5"
        with begin(path) as file:
            fill(file, order)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_attributes_say_what_it_is(tmp_path):
    with begin(tmp_path / "d.h5") as file:
        fill(file, [1])
    with h5py.File(tmp_path / "d.h5") as file:
        assert (file.attrs["method"], file.attrs["seed"], file.attrs["bands"]) == ("calibrated", 3, "g,r")
        assert json.loads(file.attrs["meta"])["settings"]["n_draws"] == 300
        assert file.attrs["format_version"] == 1
        assert file.attrs["celestepy_version"]


def test_continued_file_equals_one_written_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(draws_hdf5, "_AT_ONCE", 2)  # so that several batches are copied
    with begin(tmp_path / "whole.h5") as file:
        fill(file, range(8))
    for numbers in ([1, 4, 6], [], [0, 5], range(8)):
        with begin(tmp_path / "parts.h5") as file:
            fill(file, numbers)
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert_holds(tmp_path / "parts.h5", range(8))


@pytest.mark.parametrize(("changes", "message"), [
    ({"seed": 4}, "begun with seed 3 and cannot be continued with 4"),
    ({"settings": {"n_draws": 301}}, "begun with settings"),
    ({"inputs": ["other.fits"]}, 'begun with inputs null and cannot be continued with ."other.fits"'),
])
@pytest.mark.parametrize("closed", [True, False])
def test_not_continued_with_other_settings(tmp_path, changes, message, closed):
    file = begin(tmp_path / "d.h5")
    fill(file, [1])
    if closed:
        file.close()
    with pytest.raises(CatalogError, match=message):
        begin(tmp_path / "d.h5", **changes)
    with pytest.raises(CatalogError, match="bands"):
        DrawsFile(tmp_path / "d.h5", "a", bands="gri", meta=META)
    with begin(tmp_path / "d.h5", "w", **changes) as file:
        assert not file.finished()


def test_misuse(tmp_path):
    with pytest.raises(CatalogError, match="no such file of draws"):
        DrawsFile(tmp_path / "none.h5")
    with pytest.raises(CatalogError, match="unknown extension '.fits'"):
        DrawsFile(tmp_path / "d.fits", "a", bands="gr")
    with pytest.raises(CatalogError, match="directory does not exist"):
        begin(tmp_path / "nowhere" / "d.h5")
    with pytest.raises(CatalogError, match="bands are needed"):
        DrawsFile(tmp_path / "d.h5", "a")
    with pytest.raises(ValueError, match="mode is 'x'"):
        DrawsFile(tmp_path / "d.h5", "x")
    (tmp_path / "bad.h5").write_bytes(b"not HDF5")
    with pytest.raises(CatalogError, match="bad.h5: not a readable file of draws"):
        DrawsFile(tmp_path / "bad.h5")
    with begin(tmp_path / "d.h5") as file:
        fill(file, [1])
        with pytest.raises(CatalogError, match="source 1 is given twice"):
            file.write([2, 1], Draws.join([source(2), source(1)]), ra=[0, 0], dec=[0, 0])
        with pytest.raises(CatalogError, match="expected equal numbers"):
            file.write([2, 3], source(2), ra=0, dec=0)
        with pytest.raises(CatalogError, match="have 5 bands, expected 2"):
            file.write(2, Draws.empty(5), ra=0, dec=0)
    with pytest.raises(CatalogError, match="open for reading"):
        DrawsFile(tmp_path / "d.h5").write(2, source(2), ra=0, dec=0)


def test_missing_h5py_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="hdf5"):
        begin(tmp_path / "d.h5")


def test_every_cut_of_the_journal_leaves_whole_sources(tmp_path):
    """Whatever was being written when the power went: what is read is a beginning of what was written."""
    file = begin(tmp_path / "d.h5")
    fill(file, [1, 2, 3])
    whole = (tmp_path / "d.h5.journal").read_bytes()
    seen = set()
    for length in range(1, len(whole), 97):
        (tmp_path / "e.h5.journal").write_bytes(whole[:length])
        with begin(tmp_path / "e.h5") as cut:
            found = sorted(cut.finished())
            assert found == [1, 2, 3][: len(found)]
            seen.add(len(found))
            fill(cut, [1, 2, 3])
        assert_holds(tmp_path / "e.h5", [1, 2, 3])
        (tmp_path / "e.h5").unlink()
    assert seen == {0, 1, 2}


def test_a_damaged_record_is_not_believed(tmp_path):
    file = begin(tmp_path / "d.h5")
    fill(file, [1, 2])
    journal = tmp_path / "d.h5.journal"
    content = bytearray(journal.read_bytes())
    content[-40] ^= 1
    journal.write_bytes(content)
    assert DrawsFile(tmp_path / "d.h5").finished() == {1}


def test_killed_between_renaming_and_removing_the_journal(tmp_path):
    file = begin(tmp_path / "d.h5")
    fill(file, [1, 2])
    journal = (tmp_path / "d.h5.journal").read_bytes()
    file.close()
    (tmp_path / "d.h5.journal").write_bytes(journal)
    assert_holds(tmp_path / "d.h5", [1, 2])
    with begin(tmp_path / "d.h5") as file:
        fill(file, [1, 2, 3])
    assert_holds(tmp_path / "d.h5", [1, 2, 3])


def test_full_disk(tmp_path, monkeypatch):
    """A record that found no room leaves none of itself; the run can go on."""
    file = begin(tmp_path / "d.h5")
    fill(file, [1])
    size = (tmp_path / "d.h5.journal").stat().st_size

    def full(stream, record):
        stream.write(record[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(draws_journal, "_write", full)
        with pytest.raises(CatalogError, match="No space left on device.*safe"):
            fill(file, [2])
    assert (tmp_path / "d.h5.journal").stat().st_size == size
    fill(file, [2])
    file.close()
    assert_holds(tmp_path / "d.h5", [1, 2])


def test_two_programs_cannot_write_to_one_file(tmp_path):
    one, two = begin(tmp_path / "d.h5"), begin(tmp_path / "d.h5")
    fill(one, [1])
    fill(two, [2])
    with pytest.raises(CatalogError, match="another program writes to it"):
        fill(one, [3])
    two.close()
    assert_holds(tmp_path / "d.h5", [1, 2])


def test_failure_while_the_file_is_made_loses_nothing(tmp_path, monkeypatch):
    with begin(tmp_path / "d.h5") as file:
        fill(file, [1])
    file = begin(tmp_path / "d.h5")
    fill(file, [2])

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(draws_hdf5, "_fill_draws", fail)
        with pytest.raises(CatalogError, match="safe in the journal"):
            file.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.h5", "d.h5.journal"]
    assert_holds(tmp_path / "d.h5", [1, 2])


PROGRAM = """
    import sys, time
    import numpy as np
    sys.path.insert(0, {tests!r})
    from test_draws_file import begin, fill
    with begin({path!r}) as file:
        for number in range(60):
            fill(file, [number])
            print(number, flush=True)
            time.sleep(0.002)
    print("closed", flush=True)
"""


def run(path, stop=None, after=0):
    """Run the program, with a signal once it has reported so many sources: what it reported, how it ended."""
    tests = os.path.dirname(os.path.abspath(__file__))
    program = textwrap.dedent(PROGRAM).format(tests=tests, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if stop is not None and len(lines) == after:
            time.sleep(0.001 * (after % 3))
            process.send_signal(stop)
    process.communicate(timeout=60)
    return lines, process.returncode


@pytest.mark.parametrize("stop", [signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)])
def test_interrupted_and_killed_runs_are_continued(tmp_path, stop):
    path, ends = tmp_path / "d.h5", []
    for after in (1, 20):
        lines, end = run(path, stop, after)
        found = DrawsFile(path).finished()
        assert {int(line) for line in lines if line != "closed"} <= found  # what was reported as written is there
        assert_holds(path, found)
        ends.append(end)
    assert any(ends)  # on a busy machine a run may be over before the signal comes
    assert run(path) == ([*map(str, range(60)), "closed"], 0)
    assert_holds(path, range(60))
    with begin(tmp_path / "whole.h5") as file:
        fill(file, range(60))
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.slow
def test_killed_at_random_times(tmp_path):
    """SIGKILL at any moment, the making of the HDF5 file included."""
    rng, path = np.random.default_rng(1), tmp_path / "d.h5"
    tests = os.path.dirname(os.path.abspath(__file__))
    program = textwrap.dedent(PROGRAM).format(tests=tests, path=str(path))
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        file = DrawsFile(path)
        assert_holds(path, file.finished())
        if len(file.finished()) == 60 and not path.with_name("d.h5.journal").exists():
            path.unlink()
            (tmp_path / ".d.h5.partial").unlink(missing_ok=True)
    run(path)
    assert_holds(path, range(60))


class TestLink:
    @pytest.fixture
    def linked(self, tmp_path):
        rng = np.random.default_rng(1)
        theta = np.concatenate([rng.normal(0, 0.01, (400, 2)), rng.normal(2, 0.1, (400, 6))], axis=1)
        theta[200:, 2] += 2  # two modes that no drawing from Gaussians hits exactly
        draws = Draws.join([Draws.from_weights([True] * 400, theta), Draws.empty(2),
                            Draws.from_weights([False] * 400, theta)])
        ra, dec, ids = np.array([1.0, 1.01, 1.02]), np.array([5.0, 5.0, 5.0]), np.array([10, 11, 12])
        with begin(tmp_path / "draws.h5") as file:
            for k in (0, 2):
                file.write(ids[k], draws.sources([k]), ra=ra[k], dec=dec[k])
        meta = {"draws": tmp_path / "draws.h5", "created": None}
        catalog = Catalog.from_draws(draws, ra=ra, dec=dec, bands="gr", diagnostics={"id": ids}, meta=meta)
        return catalog, theta, tmp_path

    @staticmethod
    def are_of(sample, theta):
        drawn = (22.5 - sample["mag_r"].value[0]) / (2.5 / np.log(10))
        return np.isin(np.round(drawn, 9), np.round(theta[:, 2], 9)).all()

    def test_sample_reads_the_file(self, linked):
        catalog, theta, _ = linked
        sample = catalog.sample(50, 1)
        assert self.are_of(sample, theta)
        assert np.isnan(sample["mag_r"][1]).all()
        assert catalog.draws.n_draws.tolist() == [400, 0, 400]
        some = catalog[[2, 0]]
        assert some.draws.star_probability.tolist() == [1, 0]
        # about the row's own position, to which it has moved from its seed
        mean = catalog.draws.theta[:400, :2].mean(axis=0)
        np.testing.assert_allclose(mean, 0, atol=1e-8)

    def test_the_link_goes_to_disk_and_back(self, linked):
        catalog, theta, folder = linked
        catalog.write(folder / "c.fits")
        again = Catalog.read(folder / "c.fits")
        assert self.are_of(again.sample(50, 1), theta)

    def test_both_files_moved(self, linked):
        catalog, theta, folder = linked
        catalog.write(folder / "c.fits")
        other = folder / "other"
        other.mkdir()
        for name in ("c.fits", "draws.h5"):
            (folder / name).rename(other / name)
        assert self.are_of(Catalog.read(other / "c.fits").sample(50, 1), theta)

    def test_a_lost_file_is_said_and_replaced_by_gaussians(self, linked):
        catalog, theta, folder = linked
        (folder / "draws.h5").rename(folder / "moved.h5")
        with pytest.warns(LinkedDrawsWarning, match=re.escape("is gone; tell where it is with catalog.link_draws")):
            sample = catalog.sample(50, 1)
        assert not self.are_of(sample, theta)
        assert np.nanstd(sample["mag_r"].value[0]) == pytest.approx(2.5 / np.log(10), rel=0.25)
        catalog.link_draws(folder / "moved.h5")
        assert self.are_of(catalog.sample(50, 1), theta)
        catalog.link_draws(None)
        assert "draws" not in catalog.meta
        assert catalog.draws is None

    def test_journal_of_a_killed_run_will_do(self, linked):
        catalog, theta, folder = linked
        (folder / "draws.h5").unlink()
        file = begin(folder / "draws.h5")
        file.write(10, Draws.from_weights([True] * 400, theta), ra=1.0, dec=5.0)
        assert self.are_of(catalog.sample(20, 1), theta)

    def test_without_h5py(self, linked, monkeypatch):
        catalog, _, _ = linked
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.warns(LinkedDrawsWarning, match="hdf5"):
            catalog.sample(5, 1)

    def test_files_of_other_catalogues(self, linked):
        catalog, theta, folder = linked
        one = Draws.from_weights([True] * 400, theta)
        with begin(folder / "few.h5") as file:
            file.write(10, one, ra=1.0, dec=5.0)
        with pytest.raises(CatalogError, match="no draws of source 12, which has estimates"):
            catalog.link_draws(folder / "few.h5")
        with begin(folder / "far.h5") as file:
            file.write([10, 12], Draws.join([one, one]), ra=[1.0, 2.0], dec=[5.0, 5.0])
        with pytest.raises(CatalogError, match="source 12 lie 35.. arcsec from its row"):
            catalog.link_draws(folder / "far.h5")
        with DrawsFile(folder / "bands.h5", "a", bands="gri") as file:
            file.write(10, Draws.empty(3), ra=1.0, dec=5.0)
        with pytest.raises(CatalogError, match="has draws in g, r, i"):
            catalog.link_draws(folder / "bands.h5")
        assert catalog.meta["draws"] == str(folder / "draws.h5")
