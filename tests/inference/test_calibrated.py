"""The calibrated mode from images to rows: agreement with the fast mode, reproducibility, and continued runs."""

import numpy as np
import pytest
from inference.small_fields import field, galaxy, seeds, star

from celestepy.catalog import Catalog, CatalogError, Flag, Status
from celestepy.inference import LaplaceFit
from celestepy.inference import calibrated as module
from celestepy.inference.calibrated import ImportanceSampler
from celestepy.inference.group_sampling import SamplingSettings

SOURCES = [star(20.0, -16, -14), galaxy(19.0, 14, 15), star(20.5, -15, 14), galaxy(20.5, -11.5, 14)]


@pytest.fixture(scope="module")
def scene():
    return field(*SOURCES, size=71), seeds(*SOURCES)


@pytest.fixture(scope="module")
def result(scene):
    return engine().fit(scene[0].images, scene[1], rng=4)


def engine(**settings):
    return ImportanceSampler(SamplingSettings(**settings), LaplaceFit(search=False))


def assert_same(one, other):
    for name in one.colnames:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)


class TestRows:
    def test_everything_is_found(self, result, scene):
        catalog = result.catalog
        assert list(catalog["status"]) == [Status.CONVERGED] * 4
        truth = np.array([source.scene[1] for source in SOURCES])
        pulls = (catalog["flux_r"].value - truth) / catalog["flux_r_err"].value
        assert np.all(np.abs(pulls) < 4)
        np.testing.assert_array_equal(catalog["star_probability"] > 0.5, [True, False, True, False])

    def test_it_agrees_with_the_fast_mode(self, result, scene):
        fast = LaplaceFit(search=False).fit(scene[0].images, scene[1]).catalog
        for name in ("flux_r", "color_gr"):
            shift = (result.catalog[name] - fast[name]) / fast[f"{name}_err"]
            # The fast mode is right to a few tenths of an error, and so are medians of a hundred draws.
            assert np.all(np.abs(shift.value if hasattr(shift, "value") else shift) < 0.6), name
        for kind in ("star", "galaxy"):
            difference = result.catalog[f"log_evidence_{kind}"] - fast[f"log_evidence_{kind}"]
            assert np.all(np.abs(difference) < 2.0)

    def test_diagnostics(self, result):
        catalog = result.catalog
        assert np.all(catalog["log_evidence_star_err"] < 0.5)
        assert np.all(catalog["effective_draws"] > 30)
        assert np.all(np.asarray(catalog["flags"]) & int(Flag.DRAWS_UNRELIABLE) == 0)
        assert np.all(catalog["pareto_k_star"][:2] < 0.7)

    def test_a_group_is_drawn_together(self, result):
        draws = result.draws
        assert draws.group[2] == draws.group[3] >= 0
        assert draws.group[0] == draws.group[1] == -1
        assert draws.n_draws[2] == draws.n_draws[3]

    def test_the_catalogue_draws_from_them(self, result):
        drawn = result.catalog.sample(500, rng=0)
        shift = (np.median(drawn["flux_r"], axis=1) - result.catalog["flux_r"]) / result.catalog["flux_r_err"]
        assert np.all(np.abs(shift) < 0.3)  # of 500 draws from some hundred that differ

    def test_metadata(self, result):
        assert result.catalog.meta["method"] == "calibrated"
        assert result.catalog.meta["settings"]["sampling"]["n_draws"] == 400


class TestReproducibility:
    def test_threads(self, result, scene):
        again = engine().fit(scene[0].images, scene[1], rng=4, executor=2)
        assert_same(result.catalog, again.catalog)

    def test_another_seed(self, result, scene):
        again = engine().fit(scene[0].images, scene[1], rng=5)
        assert np.any(again.catalog["flux_r"] != result.catalog["flux_r"])
        shift = (again.catalog["flux_r"] - result.catalog["flux_r"]) / result.catalog["flux_r_err"]
        assert np.all(np.abs(shift) < 0.5)


class TestContinuedRuns:
    @pytest.fixture
    def path(self, tmp_path):
        pytest.importorskip("h5py")
        return tmp_path / "draws.hdf5"

    def interrupt(self, monkeypatch, after):
        """Ctrl-C when some groups are done."""
        true, calls = module.sample_group, []

        def sample(*arguments):
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return true(*arguments)

        monkeypatch.setattr(module, "sample_group", sample)
        return calls

    def test_the_same_as_without_interruption(self, result, scene, path, monkeypatch):
        with monkeypatch.context() as patch:
            self.interrupt(patch, 1)
            first = engine().fit(scene[0].images, scene[1], rng=4, draws=path)
        assert first.interrupted
        assert np.sum(first.catalog["status"] == Status.FIRST_FIT) == 3
        assert np.all(np.isfinite(first.catalog["flux_r"]))
        with monkeypatch.context() as patch:
            calls = self.interrupt(patch, 10)
            second = engine().fit(scene[0].images, scene[1], rng=4, draws=path)
        assert len(calls) == 2  # of three groups
        assert_same(result.catalog, second.catalog)
        np.testing.assert_array_equal(result.draws.theta, second.draws.theta)

    def test_the_seed_of_the_file_goes_on(self, result, scene, path, monkeypatch):
        with monkeypatch.context() as patch:
            self.interrupt(patch, 1)
            engine().fit(scene[0].images, scene[1], rng=4, draws=path)
        assert_same(result.catalog, engine().fit(scene[0].images, scene[1], draws=path).catalog)

    def test_finished_runs_are_read(self, result, scene, path, monkeypatch):
        engine().fit(scene[0].images, scene[1], rng=4, draws=path)
        self.interrupt(monkeypatch, 0)
        assert_same(result.catalog, engine().fit(scene[0].images, scene[1], rng=4, draws=path).catalog)

    def test_the_catalogue_links_to_its_draws(self, scene, path, tmp_path):
        catalog = engine().fit(scene[0].images, scene[1], rng=4, draws=path).catalog
        catalog.write(tmp_path / "catalog.fits")
        again = Catalog.read(tmp_path / "catalog.fits")
        np.testing.assert_array_equal(again.sample(5, rng=1)["flux_r"], catalog.sample(5, rng=1)["flux_r"])

    @pytest.mark.parametrize("change", ["settings", "seed", "seeds", "pixels"])
    def test_another_run_does_not_mix_with_it(self, scene, path, change):
        engine().fit(scene[0].images, scene[1], rng=4, draws=path)
        images, table, rng, settings = list(scene[0].images), scene[1], 4, {}
        if change == "settings":
            settings = {"n_draws": 250}
        elif change == "seed":
            rng = 5
        elif change == "seeds":
            table = table[:-1]
        else:
            images[0] = images[0].replace(pixels=images[0].pixels + 1e-3)
        with pytest.raises(CatalogError, match="cannot be continued"):
            engine(**settings).fit(images, table, rng=rng, draws=path)
