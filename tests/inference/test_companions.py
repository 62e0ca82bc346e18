"""Sources that the seeds miss: pairs taken for a galaxy, stars swallowed by one, peaks of the residuals."""

import numpy as np
import pytest
from inference.small_fields import field, fitter, galaxy, seeds, star

from celestepy.inference import LaplaceFit
from celestepy.inference.companions import may_be_pair, missing_peaks, try_companion, try_parts, try_split
from celestepy.inference.group_fit import contribution
from celestepy.model.parameters import GALAXY, STAR, Bands, layout

BANDS = Bands.of("gri")
AT = layout(GALAXY, 3)
PIXEL = 0.396


def as_one_galaxy(*sources, at=(0, 0), **options):
    """The engine, and the free vector of one galaxy fitted to all sources from one seed."""
    engine = fitter(field(*sources, **options).images, seeds(also=[at]))
    return engine, engine.quick([0], {}).vectors[0]


def split(engine, vector):
    return try_split(engine, 0, vector, {}, {0: contribution([(GALAXY, vector, 1.0)], BANDS)})


def sky_offsets(*sources, at=(0, 0)):
    """East and North of the seed (arcsec), for sources given in pixels West and North of the middle."""
    return PIXEL * np.array([[at[0] - x, y - at[1]] for x, y in sources])


class TestPairs:
    @pytest.mark.parametrize("angle", [0.0, 50.0, 90.0, 140.0])
    def test_an_unresolved_pair_is_found(self, angle):
        """Two pixels apart (.8 FWHM), S/N 75 and 47, in places known to .1 pixel or better."""
        x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        pair = [star(20.5, x, y), star(21.0, -x, -y)]
        engine, vector = as_one_galaxy(*pair)
        assert may_be_pair(vector, 3, engine.fwhm)
        found = split(engine, vector)
        assert found.gain > 5
        order = np.argsort(-found.fluxes[:, 1])
        np.testing.assert_allclose(found.offsets[order], sky_offsets((x, y), (-x, -y)), atol=0.2 * PIXEL)
        expected = [source.scene[:3] for source in pair]
        np.testing.assert_allclose(found.fluxes[order], expected, rtol=0.25)

    def test_single_galaxies_are_not_split(self):
        """Twenty of them, of every size and shape that could be a pair."""
        rng, n_split = np.random.default_rng(8), 0
        for k in range(20):
            source = galaxy(
                rng.uniform(18.5, 21.0),
                half_light_radius=rng.uniform(0.3, 1.2),
                axis_ratio=rng.uniform(0.1, 0.6),
                position_angle=rng.uniform(0, 180),
                dev_fraction=rng.uniform(),
            )
            engine, vector = as_one_galaxy(source, rng=k)
            n_split += split(engine, vector) is not None
        # At a log Bayes factor of 5 one in 150 would be too many.
        assert n_split == 0

    def test_what_is_too_faint_to_be_a_companion_is_not(self):
        """A tenth of the light might be an error of the PSF."""
        engine, vector = as_one_galaxy(star(18, -1), star(20.9, 1))
        found = split(engine, vector)
        assert found is None or found.fluxes.sum(axis=1).min() > 0.1 * found.fluxes.sum()

    def test_nothing_to_split_without_pixels(self):
        engine, vector = as_one_galaxy(star(20))
        outside = engine.placement.at(np.array([40.0]), np.array([10.0]))
        engine.placement = outside
        assert split(engine, vector) is None

    @pytest.mark.parametrize(
        ("radius", "elongation", "expected"),
        [(0.5, 0.8, True), (0.5, 0.1, False), (3.0, 0.8, False), (0.05, 0.5, False), (0.05, 4.0, True)],
    )
    def test_only_small_elongated_galaxies_may_be_pairs(self, radius, elongation, expected):
        vector = np.zeros(AT.size)
        vector[AT.log_radius] = np.log(radius)
        vector[AT.ellipticity] = elongation * np.cos(1.0), elongation * np.sin(1.0)
        assert may_be_pair(vector, 3, 1.0) == expected


class TestSwallowedStars:
    def companion(self, engine, vector, offset, flux=1.0):
        own = {0: contribution([(GALAXY, vector, 1.0)], BANDS)}
        return try_companion(engine, 0, vector, offset, np.full(3, flux), {}, own)

    def test_a_star_is_taken_out_of_a_galaxy(self):
        """3.5 pixels from a galaxy of 2.5 times its flux, from a peak that is off by half a pixel and far too faint."""
        pair = [galaxy(19.5), star(20.5, 2.5, 2.5)]
        engine, vector = as_one_galaxy(*pair)
        offset = sky_offsets((2.9, 2.7))[0]
        found = self.companion(engine, vector, offset)
        assert found.gain > 100
        np.testing.assert_allclose(found.offsets, sky_offsets((0, 0), (2.5, 2.5)), atol=0.15 * PIXEL)
        np.testing.assert_allclose(found.fluxes, [source.scene[:3] for source in pair], rtol=0.1)

    @pytest.mark.parametrize("source", [galaxy(19.5), galaxy(18, dev_fraction=1.0), star(19)])
    def test_there_is_none_beside_a_single_source(self, source):
        engine, vector = as_one_galaxy(source)
        for offset in sky_offsets((3, 0), (0, -3), (-2, 2)):
            assert self.companion(engine, vector, offset) is None

    def test_a_knot_is_not_a_star(self):
        """Something of 2% of the galaxy's light is not worth a source, however certain it is."""
        engine, vector = as_one_galaxy(galaxy(17), star(21.2, 4))
        assert self.companion(engine, vector, sky_offsets((4, 0))[0]) is None


class TestSwallowedGalaxies:
    def parts(self, engine, vector, offset):
        return try_parts(engine, 0, vector, offset, {}, {0: contribution([(GALAXY, vector, 1.0)], BANDS)})

    @pytest.mark.parametrize("peak", [(5, 0), (0, 5)])
    def test_two_galaxies_are_found(self, peak):
        """Six pixels apart, wherever the peak of the residuals lies."""
        pair = [galaxy(19, -3, half_light_radius=0.6), galaxy(19.5, 3, half_light_radius=0.8, position_angle=120)]
        engine, vector = as_one_galaxy(*pair)
        found = self.parts(engine, vector, sky_offsets(peak)[0])
        assert found.gain > 100
        order = np.argsort(-found.fluxes[:, 1])
        np.testing.assert_allclose(found.offsets[order], sky_offsets((-3, 0), (3, 0)), atol=0.2 * PIXEL)
        np.testing.assert_allclose(found.fluxes[order], [source.scene[:3] for source in pair], rtol=0.1)
        assert found.kinds == (GALAXY, GALAXY)
        assert all(np.all(part[AT.position] == 0) for part in found.vectors)

    def test_single_galaxies_stay_whole(self):
        """Twelve of every size and shape; a peak at the end of the major axis is where a spiral arm might be."""
        rng, n_split = np.random.default_rng(3), 0
        for k in range(12):
            source = galaxy(
                rng.uniform(17, 20),
                half_light_radius=rng.uniform(0.3, 2.5),
                axis_ratio=rng.uniform(0.1, 1),
                position_angle=0,
                dev_fraction=rng.uniform(),
            )
            engine, vector = as_one_galaxy(source, rng=k)
            n_split += self.parts(engine, vector, sky_offsets((0, 4))[0]) is not None
        assert n_split == 0

    @pytest.mark.parametrize(
        "other",
        [
            galaxy(18.5, half_light_radius=2.5, position_angle=80),
            galaxy(18.5, 1.5, 1, half_light_radius=2.0),
            galaxy(20.4, 5, half_light_radius=0.5),
        ],
    )
    def test_a_bulge_a_lopsided_disk_and_a_knot_are_no_second_galaxy(self, other):
        """However certain it is that one smooth galaxy does not describe them."""
        engine, vector = as_one_galaxy(galaxy(17.5, half_light_radius=1.2), other)
        assert self.parts(engine, vector, sky_offsets((3, 0))[0]) is None


class TestPeaks:
    def residual(self, *sources, known=(), threshold=6.0):
        engine = fitter(field(*sources).images, seeds(*known))
        light = {k: contribution([(each.kind, each.theta, 1.0)], BANDS) for k, each in enumerate(known)}
        return missing_peaks(engine.placement, light, np.arange(len(known)), threshold, 2.5 * engine.fwhm)

    def test_what_is_missing_stands_out(self):
        known, missing = galaxy(19), star(21, 4, -3)
        peaks = self.residual(known, missing, known=[known])
        assert len(peaks) == 1
        x, y = field().images[0].sky_to_pixel(peaks.ra[0], peaks.dec[0])
        assert (x - 30, y - 30) == pytest.approx((4, -3), abs=0.3)
        assert peaks.snr[0] > 20
        np.testing.assert_allclose(peaks.flux[0], missing.scene[:3], rtol=0.15)

    def test_what_is_known_does_not(self):
        assert len(self.residual(galaxy(18), known=[galaxy(18)])) == 0

    def test_far_from_every_source_is_the_business_of_detection(self):
        assert len(self.residual(star(20), star(20, 20, 20), known=[star(20)])) == 0


@pytest.mark.parametrize(
    ("sources", "at"),
    [
        ([star(20), star(20.5, 2)], [(1, 0)]),
        ([star(19.5), star(21, 4)], [(0, 0)]),
        ([galaxy(19.5), star(20.5, 3)], [(0, 0)]),
        ([galaxy(19, half_light_radius=1.5), star(20.5, 5)], [(0, 0)]),
    ],
)
def test_the_whole_search(sources, at):
    """Two sources and one seed: both are in the catalogue, the second one flagged as found, with the right fluxes."""
    result = LaplaceFit().fit(field(*sources).images, seeds(also=at))
    catalog = result.catalog
    assert len(catalog) == 2
    np.testing.assert_array_equal(catalog["id"], [0, 1])
    assert (catalog["flags"] & 16384 > 0).tolist() == [False, True]
    fluxes = np.sort(catalog["flux_r"].value)
    errors = catalog["flux_r_err"].value[np.argsort(catalog["flux_r"].value)]
    truth = np.sort([source.scene[1] for source in sources])
    np.testing.assert_allclose((fluxes - truth) / errors, 0, atol=3.5)


@pytest.mark.parametrize(
    "sources",
    [
        [galaxy(18.5, -4, half_light_radius=0.8), galaxy(18.7, 4, half_light_radius=0.8), star(18.6, 0, 6)],
        [
            galaxy(18, -6, half_light_radius=0.8),
            galaxy(19.5, half_light_radius=0.8),
            galaxy(18, 6, half_light_radius=0.8),
        ],
    ],
)
def test_the_search_goes_on_until_nothing_is_missing(sources):
    """Three sources and one seed in the middle, or in a row with seeds at both ends: the one between is found once."""
    given = sources[::2] if sources[1].kind == GALAXY and len({each.kind for each in sources}) == 1 else ()
    table = seeds(*given) if given else seeds(also=[(0, 1)])
    catalog = LaplaceFit().fit(field(*sources).images, table).catalog
    assert len(catalog) == 3
    truth = np.sort([source.scene[1] for source in sources])
    np.testing.assert_allclose(np.sort(catalog["flux_r"].value), truth, rtol=0.1)


def test_search_can_be_turned_off():
    sources = [star(20), star(20.5, 2)]
    catalog = LaplaceFit(search=False).fit(field(*sources).images, seeds(also=[(1, 0)])).catalog
    assert len(catalog) == 1
    assert catalog["star_probability"][0] < 0.01


def test_single_sources_stay_single():
    """Stars and galaxies alone in their fields: the search adds none to any."""
    rng = np.random.default_rng(5)
    sources = [star(mag) for mag in (16.5, 19, 21.5)]
    sources += [
        galaxy(
            mag,
            half_light_radius=rng.uniform(0.4, 2),
            axis_ratio=rng.uniform(0.2, 1),
            position_angle=rng.uniform(0, 180),
            dev_fraction=rng.uniform(),
        )
        for mag in (17.5, 19, 20, 21)
    ]
    for k, source in enumerate(sources):
        catalog = LaplaceFit().fit(field(source, rng=k).images, seeds(source)).catalog
        assert len(catalog) == 1
        assert (catalog["star_probability"][0] > 0.5) == (source.kind == STAR)
