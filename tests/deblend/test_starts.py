"""Where fits begin."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from deblend.small_scenes import SCALE, blank, coarse, observed
from deblend.two_discs import PEAKS, SEDS, true_scene

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.grid import Grid
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scores import morphology_correlation
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.deblend.starts import STARTS, start_from_catalog, start_scene
from celestepy.images.wcs import from_tangent_offsets


@pytest.fixture(scope="module")
def truth():
    return true_scene([blank(weight=1e4)])


@pytest.fixture(scope="module")
def frame(truth):
    return Frame(observed(truth, np.random.default_rng(4)))


@pytest.mark.parametrize("start", STARTS)
class TestFromImages:
    def test_valid_sources_with_fluxes(self, frame, start):
        scene = start_scene(frame, PEAKS, start=start)
        for source, peak in zip(scene.sources, PEAKS, strict=True):
            assert (source.y, source.x) == tuple(peak)
            assert source.morphology.min() >= 0
            np.testing.assert_allclose(source.morphology, source.morphology[::-1, ::-1], atol=1e-15)
        assert scene.seds.min() >= 0
        assert scene.seds.any()

    def test_nothing_there(self, start):
        scene = start_scene(Frame(blank()), PEAKS, start=start)
        assert len(scene) == 2
        np.testing.assert_array_equal(scene.seds, 0)

    def test_outside_and_not_a_number(self, frame, start):
        scene = start_scene(frame, [[np.nan, 3.0], [-50.0, 4.0], [14.0, 12.0]], start=start)
        assert scene.active.tolist() == [False, False, True]

    def test_largest_box(self, frame, start):
        scene = start_scene(frame, PEAKS, start=start, largest_half=5)
        assert {source.morphology.shape for source in scene.sources} == {(11, 11)}

    def test_dead_column_through_a_source(self, frame, start):
        o = frame.observations[0]
        weights = o.weights.copy()
        weights[:, :, 11] = 0
        dead = Observation.from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid)
        assert np.isfinite(start_scene(Frame(dead), PEAKS, start=start).chi2())

    def test_no_source(self, frame, start):
        assert len(start_scene(frame, np.zeros((0, 2)), start=start)) == 0


class TestDetection:
    def test_close_to_the_truth(self, truth, frame):
        scene = start_scene(frame, PEAKS)
        images, true = scene.render_sources()[0], truth.render_sources()[0]
        assert morphology_correlation(images, true).min() > 0.95
        assert scene.chi2() < 0.2 * frame.observations[0].weights.max() * (frame.observations[0].images ** 2).sum()

    def test_model_grid_of_its_own(self):
        """No observation has the model's pixels: the start is what is projected back."""
        scene = true_scene([blank(weight=1e4)])
        grid = Grid.of_scale((40, 44), SCALE * 0.8)
        frame = Frame(observed(scene, np.random.default_rng(0)), grid=grid)
        start = start_scene(frame, PEAKS / 0.8)
        np.testing.assert_allclose(start.seds.sum(axis=1), SEDS.sum(axis=1), rtol=0.4)

    def test_two_resolutions(self):
        frame = Frame(observed(true_scene([blank(weight=1e4), coarse()], 4), np.random.default_rng(0)))
        assert start_scene(frame, PEAKS).seds.shape == (2, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "catalogue"}, "start"),
        ({"kinds": ["free"]}, "kinds"),
        ({"kinds": ["free", "star"]}, "kinds"),
        ({"peaks": [1.0, 2.0]}, "peaks"),
    ],
)
def test_refusals(frame, settings, message):
    with pytest.raises(DeblendError, match=message):
        start_scene(frame, **({"peaks": PEAKS} | settings))


def test_points(frame):
    scene = start_scene(frame, PEAKS + 0.3, kinds=["point", "free"])
    assert isinstance(scene.sources[0], PointSource)
    assert scene.sources[0].parameters.tolist() == [12.3, 14.3]
    assert isinstance(scene.sources[1], FreeSource)


class TestCatalog:
    RA, DEC = 150.0, 2.0

    def table(self):
        east, north = np.array([2.4, 4.4, 3.0]), np.array([2.8, 3.4, 1.0])
        ra, dec = from_tangent_offsets(east, north, self.RA, self.DEC)
        return QTable({
            "ra": ra * u.deg, "dec": dec * u.deg, "star_probability": [0.0, 1.0, 0.2],
            "half_light_radius": [0.6, np.nan, np.nan] * u.arcsec, "axis_ratio": [0.5, np.nan, np.nan],
            "position_angle": [30.0, np.nan, np.nan] * u.deg, "dev_fraction": [0.3, np.nan, np.nan],
        })

    def test_kinds_and_places(self, frame):
        scene = start_from_catalog(frame, self.table(), self.RA, self.DEC)
        assert [source.kind for source in scene.sources] == ["free", "point", "free"]
        assert scene.sources[1].parameters == pytest.approx([22.0, 17.0], abs=1e-4)
        assert (scene.sources[0].y, scene.sources[0].x) == (14, 12)

    def test_galaxies_may_stay_models(self, frame):
        scene = start_from_catalog(frame, self.table(), self.RA, self.DEC, free=False)
        assert isinstance(scene.sources[0], GalaxySource)
        assert isinstance(scene.sources[2], FreeSource)  # the catalogue has no estimate
        radius = np.exp(scene.sources[0].parameters[2])
        assert radius == pytest.approx(0.6 * np.sqrt(0.5))
