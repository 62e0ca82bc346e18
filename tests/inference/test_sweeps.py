"""The sweeps over a field: order, neighbours, windows of large groups, and one bad group among good ones."""

import logging

import numpy as np
import pytest
from inference.small_fields import field, galaxy, place, same_bytes, seeds, star

from celestepy.catalog import Flag, Status
from celestepy.inference import LaplaceFit
from celestepy.inference.group_fit import GroupFitter
from celestepy.inference.seed_table import read_seeds
from celestepy.inference.sources import SourcePosterior
from celestepy.inference.sweeps import Sweeps
from celestepy.model.parameters import GALAXY, layout
from celestepy.model.priors import Prior

AT = layout(GALAXY, 3)
# Two magnitudes apart, so that each has a tier of its own, and too far apart to be linked.
LADDER = [star(21.5, -16, -14), star(17.5, 14, 15), galaxy(19.5, -15, 14)]


def sweeps(images, table, **settings):
    table = read_seeds(table).with_fluxes(images)
    return Sweeps(LaplaceFit(**settings), images, table, Prior.default("gri"))


class TestFirstSweep:
    def test_bright_sources_come_first(self):
        state = sweeps(field(*LADDER).images, seeds(*LADDER))
        _, tasks = state._windows()
        assert [[members for members, _ in tier] for tier in state._tiers(tasks)] == [[(1,)], [(2,)], [(0,)]]

    def test_it_knows_every_source_in_the_end(self):
        state = sweeps(field(*LADDER).images, seeds(*LADDER))
        assert state.first() is False
        assert sorted(state.vectors) == [0, 1, 2]
        for k, source in enumerate(LADDER):
            assert state.vectors[k][GALAXY][AT.log_flux] == pytest.approx(source.theta[2], abs=0.15)
        assert state.radii[2] == pytest.approx(np.exp(LADDER[2].theta[AT.log_radius]), rel=0.15)
        assert max(state.radii[:2]) < 0.3

    def test_faint_sources_are_taken_out_of_bright_ones(self):
        """Galaxies that reach into each other but are not linked: fitted twice, each without the other's light."""
        pair = [galaxy(19, half_light_radius=1.5), galaxy(20, 8)]
        pulls = []
        for rng in range(3):
            catalog = LaplaceFit(search=False).fit(field(*pair, rng=rng, size=81).images, seeds(*pair)).catalog
            truth = [source.scene[1] for source in pair]
            pulls.append((catalog["flux_r"].value - truth) / catalog["flux_r_err"].value)
        # With one pass the means were 2.8 and -3.6.
        assert np.all(np.abs(np.mean(pulls, axis=0)) < 2)

    def test_a_source_that_runs_away_is_not_believed(self):
        """Its first guess is: it followed the light of something else."""
        state = sweeps(field(*LADDER).images, seeds(*LADDER))
        before = state.contributions[0]
        assert state._learn(0, self.found_at(3.0)) is False
        assert 0 not in state.vectors
        assert state.contributions[0] is before
        assert state._learn(0, self.found_at(0.3)) is True
        assert state.vectors[0][GALAXY][0] == 0.3

    def found_at(self, east):
        vector = np.zeros(AT.size)
        vector[0] = east
        return SourcePosterior(GALAXY, np.ones(1), vector[None], 0.01 * np.eye(AT.size)[None])

    def test_what_has_not_moved_disturbs_nobody(self):
        """A fifth of a standard deviation, .1 arcsec here, is allowed for."""
        state = sweeps(field(*LADDER).images, seeds(*LADDER))
        moved = [state._learn(0, self.found_at(east)) for east in (0.3, 0.31, 0.36)]
        assert moved == [True, False, True]

    def test_groups_side_by_side_are_fitted_until_they_settle(self):
        """None is linked with any other, but each has light of its neighbours in its patch."""
        row = [galaxy(18.5, -10, half_light_radius=1.5), galaxy(19, -3, half_light_radius=1.2), star(20, 3)]
        state = sweeps(field(*row, size=81).images, seeds(*row), link_threshold=0.6)
        state.first()
        before = {k: known[GALAXY] for k, known in state.vectors.items()}
        state.first()
        state.first()
        for k in range(3):
            # Two passes alone would leave .15, .27 and .06 to go.
            assert state.vectors[k][GALAXY][AT.log_flux] == pytest.approx(before[k][AT.log_flux], abs=0.05)

    def test_shapes_count_in_links(self):
        """Two galaxies side by side are linked across their short axes or their long ones, but not at one distance."""
        for angle, n_groups in ((0.0, 2), (90.0, 1)):
            pair = [galaxy(18.5, x, axis_ratio=0.2, half_light_radius=2.5, position_angle=angle) for x in (-7, 7)]
            state = sweeps(field(*pair, size=81).images, seeds(*pair))
            state.first()
            assert len(set(state._windows()[0])) == n_groups

    def test_only_some_groups(self):
        state = sweeps(field(*LADDER).images, seeds(*LADDER))
        state.first(only={2})
        assert list(state.vectors) == [2]


class TestNeighbours:
    def test_near_ones_are_subtracted(self):
        near, far = star(20, 14), star(20, 55, 50)
        state = sweeps(field(star(19), near, far, size=161).images, seeds(star(19), near, far))
        assert set(state._neighbours([0])) == {1}
        assert set(state._neighbours([0, 1])) == set()

    def test_large_ones_reach_farther(self):
        state = sweeps(field(star(19), star(20, 50), size=161).images, seeds(star(19), star(20, 50)))
        assert set(state._neighbours([0])) == set()
        state.radii[1] = 3.0
        assert set(state._neighbours([0])) == {1}

    def test_across_zero_of_right_ascension(self):
        """Distances on the sky, whatever the coordinates."""
        table = seeds(also=[(0, 0), (10, 0)])
        table["ra"] = [0.0005, 359.9995]
        state = sweeps(field(center=(0.0, 10.0)).images, table)
        expected = 3.6 * np.cos(np.radians(10))
        np.testing.assert_allclose(state._distances(0.0005, 10.0), [0, expected], atol=1e-3)
        assert set(state._neighbours([0])) == {1}


# Seven sources in a row, three pixels apart.
ROW = [
    star(19.5, -9, 1),
    galaxy(19.5, -6),
    star(20, -3),
    star(20.5, 0, 1),
    galaxy(20, 3),
    star(19, 6, -1),
    star(20, 9),
]


@pytest.fixture(scope="module")
def catalogs():
    """Catalogues of the row in windows of three, and of all seven."""
    images = field(*ROW, size=65).images
    return {n: LaplaceFit(max_group=n, search=False).fit(images, seeds(*ROW)).catalog for n in (3, 7)}


class TestWindows:
    def test_every_source_has_a_row(self, catalogs):
        for catalog in catalogs.values():
            np.testing.assert_array_equal(catalog["id"], range(7))
            assert set(catalog["group_id"]) == {0}
            assert np.all(catalog["flags"] & Flag.BLENDED)

    def test_windows_are_flagged(self, catalogs):
        assert np.all(catalogs[3]["flags"] & Flag.GROUP_WINDOWED)
        assert not np.any(catalogs[7]["flags"] & Flag.GROUP_WINDOWED)

    def test_windows_do_nearly_as_well(self, catalogs):
        """Every source with its two nearest neighbours, against all seven jointly."""
        some, every = catalogs[3], catalogs[7]
        truth = np.array([source.scene[1] for source in ROW])
        for catalog in (some, every):
            pulls = (catalog["flux_r"].value - truth) / catalog["flux_r_err"].value
            assert np.all(np.abs(pulls) < 3.5)
        ratio = some["flux_r_err"].value / every["flux_r_err"].value
        assert np.median(ratio) == pytest.approx(1, abs=0.1)
        assert np.all(ratio > 0.65)
        np.testing.assert_array_equal(some["star_probability"] > 0.5, every["star_probability"] > 0.5)

    def test_alone_errors_would_be_too_small(self, catalogs):
        images = field(*ROW, size=65).images
        alone = LaplaceFit(max_group=1, search=False).fit(images, seeds(*ROW)).catalog
        assert np.median(alone["flux_r_err"].value / catalogs[7]["flux_r_err"].value) < 0.8


class TestOneBadGroup:
    @pytest.fixture
    def images(self):
        return field(*LADDER).images

    @pytest.mark.parametrize("n_jobs", [None, 2])
    def test_in_the_final_fit(self, images, monkeypatch, caplog, n_jobs):
        """Its row says what happened, the others are as they would be."""
        good = LaplaceFit(search=False).fit(images, seeds(*LADDER)).catalog
        full = GroupFitter.full

        def fail(self, members, *arguments):
            if 2 in members:
                raise FloatingPointError("the third one")
            return full(self, members, *arguments)

        monkeypatch.setattr(GroupFitter, "full", fail)
        with caplog.at_level(logging.ERROR):
            catalog = LaplaceFit(search=False).fit(images, seeds(*LADDER), executor=n_jobs).catalog
        assert catalog["status"].tolist() == [Status.CONVERGED, Status.CONVERGED, Status.FAILED]
        assert catalog["message"][2] == "FloatingPointError: the third one"
        assert catalog["flags"][2] & Flag.FAILED
        assert np.isnan(catalog["flux_r"][2])
        np.testing.assert_array_equal(catalog["flux_r"][:2], good["flux_r"][:2])
        assert "fit failed for the sources (2,)" in caplog.text

    def test_in_the_first_sweep(self, images, monkeypatch, caplog):
        """The final fit has other starts, and may succeed."""
        quick = GroupFitter.quick

        def fail(self, members, *arguments):
            if 2 in members:
                raise ValueError("no")
            return quick(self, members, *arguments)

        monkeypatch.setattr(GroupFitter, "quick", fail)
        with caplog.at_level(logging.ERROR):
            catalog = LaplaceFit().fit(images, seeds(*LADDER)).catalog
        assert catalog["status"].tolist() == [Status.CONVERGED] * 3
        assert "first sweep failed" in caplog.text

    def test_in_the_search(self, monkeypatch, caplog):
        """A source that cannot be split stays whole."""
        pair = [star(20), star(20.5, 2)]

        def fail(*_):
            raise ValueError("no")

        monkeypatch.setattr("celestepy.inference.sweeps.try_split", fail)
        monkeypatch.setattr("celestepy.inference.sweeps.try_companion", fail)
        with caplog.at_level(logging.ERROR):
            catalog = LaplaceFit().fit(field(*pair).images, seeds(also=[(1, 0)])).catalog
        assert catalog["status"].tolist() == [Status.CONVERGED]
        assert "splitting failed for the source 0" in caplog.text


@pytest.mark.parametrize("n_jobs", [None, 2])
class TestInterruption:
    """Ctrl-C before the second sweep: what the first one knows is in the rows, and they say so."""

    def interrupted(self, monkeypatch, name, n_jobs, after):
        work, calls = getattr(GroupFitter, name), []

        def stop(self, *arguments, **options):
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return work(self, *arguments, **options)

        monkeypatch.setattr(GroupFitter, name, stop)
        return LaplaceFit().fit(field(*LADDER).images, seeds(*LADDER), executor=n_jobs)

    def test_in_the_first_sweep(self, monkeypatch, n_jobs):
        """The two brightest were fitted."""
        result = self.interrupted(monkeypatch, "quick", n_jobs, after=2)
        assert result.interrupted
        assert result.catalog["status"].tolist() == [Status.NOT_FITTED, Status.FIRST_FIT, Status.FIRST_FIT]
        assert all("interrupted" in message for message in result.catalog["message"])
        for k in (1, 2):
            truth = LADDER[k].scene[1]
            assert result.catalog["flux_r"][k].value == pytest.approx(truth, rel=0.15)
            assert 0 < result.catalog["flux_r_err"][k].value < 0.1 * truth
            assert 0.05 < result.catalog["star_probability"][k] < 0.95
        assert np.isnan(result.catalog["flux_r"][0])

    def test_in_the_search(self, monkeypatch, n_jobs):
        """Everything was fitted."""

        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("celestepy.inference.sweeps.try_split", stop)
        pair = [star(20), star(20.5, 2)]
        result = LaplaceFit().fit(field(*pair).images, seeds(also=[(1, 0)]), executor=n_jobs)
        assert result.interrupted
        assert result.catalog["status"].tolist() == [Status.FIRST_FIT]
        total = sum(source.scene[1] for source in pair)
        assert result.catalog["flux_r"][0].value == pytest.approx(total, rel=0.15)


def test_the_order_of_groups_is_no_part_of_the_answer():
    """Seeds far apart in any order: the same rows to the last bit, but for their numbers."""
    images = field(*LADDER).images
    one = LaplaceFit().fit(images, seeds(*LADDER)).catalog
    other = LaplaceFit().fit(images, seeds(*LADDER[::-1])).catalog
    for catalog in (one, other):
        assert set(catalog["group_id"]) == {-1}
    turned = other[::-1]
    turned.table["id"] = one["id"]
    assert same_bytes(one, turned)


def test_positions_are_on_the_sky():
    """The source is where it is, not where its seed is."""
    images = field(star(18, 3, -2)).images
    catalog = LaplaceFit().fit(images, seeds(also=[(3.6, -2.4)])).catalog
    ra, dec = place(3, -2)
    east = (catalog["ra"][0].value - ra) * np.cos(np.radians(dec)) * 3600
    north = (catalog["dec"][0].value - dec) * 3600
    assert abs(east) < 4 * catalog["ra_err"][0].value < 0.05
    assert abs(north) < 4 * catalog["dec_err"][0].value < 0.05
