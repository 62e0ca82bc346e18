"""Sources on images: boxes, patches with neighbours and PSF errors, images of any scale, turn and extent."""

import numpy as np
import pytest
from inference.small_fields import RA, field, fitter, galaxy, place, seeds, star

from celestepy.images import GaussianNoise
from celestepy.inference.group_fit import contribution
from celestepy.inference.placement import Placement
from celestepy.model.parameters import GALAXY, STAR, Bands

BANDS = Bands.of("gri")


def placement(images, *positions, **options):
    """Sources some pixels from the middle of a field of simulated images."""
    ra, dec = zip(*(place(*xy) for xy in positions), strict=True)
    return Placement(images, ra, dec, BANDS, **options)


def known(*sources):
    """What is known of some sources: everything."""
    return {k: contribution([(each.kind, each.theta, 1.0)], BANDS) for k, each in enumerate(sources)}


@pytest.fixture(scope="module")
def images():
    return field(size=81).images


class TestBoxes:
    def test_a_source_is_in_the_middle_of_its_box(self, images):
        here = placement(images, (2.3, -5.2))
        half = here.half_width[0]
        x0, x1, y0, y1 = here.box(0, [0])
        assert x1 - x0 == y1 - y0 == 2 * half + 1
        assert abs((x0 + x1 - 1) / 2 - here.x[0, 0]) <= 0.5
        assert abs((y0 + y1 - 1) / 2 - here.y[0, 0]) <= 0.5

    def test_size_in_units_of_the_psf(self, images):
        here = placement(images, (0, 0), radius=4.0)
        np.testing.assert_array_equal(here.half_width, np.ceil(4 * here.fwhm))

    @pytest.mark.parametrize(("x", "y"), [(38, 0), (-60, -39), (0, 41)])
    def test_it_is_cut_at_the_edge(self, images, x, y):
        x0, x1, y0, y1 = placement(images, (x, y)).box(0, [0])
        assert 0 <= x0 < x1 <= 81
        assert 0 <= y0 < y1 <= 81

    @pytest.mark.parametrize(("x", "y"), [(80, 0), (0, -1000)])
    def test_far_outside_there_is_none(self, images, x, y):
        here = placement(images, (x, y))
        assert here.box(0, [0]) is None
        assert here.gather([0], {}) is None

    def test_on_the_other_side_of_the_sky_there_is_none(self, images):
        """Where the projection has no pixels to give."""
        here = Placement(images, [RA + 180, RA], [-10.0, 10.0], BANDS)
        assert here.gather([0], {}) is None
        assert here.gather([1], {}) is not None

    def test_widths_are_those_of_the_images_whatever_the_first_seed(self, images):
        """The PSF in arcsec follows from the pixel scale in the middle of an image."""
        normal = fitter(images, seeds(also=[(0, 0)])).fwhm
        for first in ((RA + 180, 10.0), (RA + 60, 50.0)):
            table = seeds(also=[(0, 0), (1, 1)])
            table["ra"][0], table["dec"][0] = first
            assert fitter(images, table).fwhm == normal
        assert normal == pytest.approx(0.99, rel=0.05)

    def test_a_group_has_one_box_around_its_members(self, images):
        here = placement(images, (-6, 0), (6, 4))
        one, other, both = (here.box(0, members) for members in ([0], [1], [0, 1]))
        assert both == (min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), max(one[3], other[3]))


class TestPatches:
    def test_corners_of_a_group_are_no_ones_and_not_masked(self, images):
        here = placement(images, (-8, -8), (8, 8))
        data = here.gather([0, 1], {})
        weight = data.patches[0].weight
        half = int(here.half_width[0])
        assert weight[-1, 0] == weight[0, -1] == 0
        assert weight[0, 0] > 0
        assert np.count_nonzero(weight) < 2 * (2 * half + 1) ** 2
        assert data.masked_fraction == 0
        assert data.n_pixels == sum(np.count_nonzero(patch.weight) for patch in data.patches)

    def test_masks_are_counted(self, images):
        mask = np.zeros((81, 81), dtype=bool)
        mask[:, :40] = True
        here = placement([image.replace(mask=mask) for image in images], (0, 0))
        data = here.gather([0], {})
        half = here.half_width
        free = (half + 1) * (2 * half + 1)
        assert [np.count_nonzero(patch.weight) for patch in data.patches] == free.tolist()
        assert data.masked_fraction == pytest.approx(1 - free.sum() / np.sum((2 * half + 1) ** 2))

    def test_a_band_without_pixels_is_left_out_and_counts_as_masked(self, images):
        mask = np.zeros((81, 81), dtype=bool)
        mask[5:76, 5:76] = True
        here = placement([images[0], images[1].replace(mask=mask), images[2]], (0, 0), radius=8.0)
        data = here.gather([0], {})
        assert data.images == (0, 2)
        assert data.likelihood.n_images == 2
        sizes = (2 * here.half_width + 1) ** 2
        assert data.masked_fraction == pytest.approx(sizes[1] / sizes.sum())

    def test_nothing_but_masks(self, images):
        mask = np.zeros((81, 81), dtype=bool)
        mask[5:76, 5:76] = True
        assert placement([image.replace(mask=mask) for image in images], (0, 0)).gather([0], {}) is None

    def test_neighbours_are_in_the_background(self):
        """With its neighbour known, a patch is explained by the source alone, to the last pixel."""
        sources = [star(19), galaxy(18, 12, 3)]
        images = field(*sources, noise=False).images
        here = placement(images, (0, 0), (12, 3))
        data = here.gather([0], {1: known(*sources)[1]})
        for patch, model in zip(data.patches, self.model(data, sources[0]), strict=True):
            # Rendered to six sigma in the simulation: exp(-18) of the peak.
            np.testing.assert_allclose(model, patch.data, atol=1e-6 * patch.data.max())

    def model(self, data, source):
        scenes = source.scene[None]
        return data.likelihood.model([source.is_galaxy], scenes, np.zeros(len(data.images)))

    def test_a_neighbour_of_uncertain_type_is_there_with_both(self):
        sources = [star(19), star(18, 12, 3)]
        other = galaxy(18.5, 12, 3)
        images = field(*sources, noise=False).images
        here = placement(images, (0, 0), (12, 3))
        parts = [(STAR, sources[1].theta, 0.25), (GALAXY, other.theta, 0.75)]
        both = here.gather([0], {1: contribution(parts, BANDS)}).patches
        alone, as_star, as_galaxy = (
            here.gather([0], {1: contribution([part], BANDS)} if part else {}).patches
            for part in (None, (STAR, sources[1].theta, 1.0), (GALAXY, other.theta, 1.0)))
        for mixed, none, one, two in zip(both, alone, as_star, as_galaxy, strict=True):
            expected = none.background + 0.25 * (one.background - none.background)
            expected += 0.75 * (two.background - none.background)
            np.testing.assert_allclose(mixed.background, expected, rtol=1e-12)

    @pytest.mark.parametrize("poisson", [True, False])
    def test_the_psf_error_is_noise_of_the_source_itself(self, poisson):
        """A pixel's variance grows by the square of a share of the source's light there."""
        source = star(17)
        images = field(source, noise=False).images
        if not poisson:
            images = [image.replace(pixels=image.pixels - image.sky, sky=0.0, noise=GaussianNoise(image.variance()))
                      for image in images]
        with_error = [image.replace(psf_error=0.1) for image in images]
        exact, wide = (placement(each, (0, 0)).gather([0], {}, known(source)) for each in (images, with_error))
        for n, (one, other) in enumerate(zip(exact.patches, wide.patches, strict=True)):
            light = self.model(exact, source)[n] - one.background
            expected = one.background + light if poisson else np.ones(light.shape)
            variance = expected / one.weight
            np.testing.assert_allclose(expected / other.weight, variance + (0.1 * light) ** 2, rtol=1e-9)
            np.testing.assert_array_equal(one.data, other.data)

    def test_neighbours_have_no_psf_error_here(self):
        sources = [star(19), star(17, 12, 3)]
        images = [image.replace(psf_error=0.1) for image in field(*sources).images]
        here, light = placement(images, (0, 0), (12, 3)), known(*sources)
        one = here.gather([0], {1: light[1]}, {0: light[0]}).patches[0]
        other = here.gather([0], {1: light[1]}).patches[0]
        y, x = (round(float(part[0, 1])) - edge for part, edge in ((here.y, one.y0), (here.x, one.x0)))
        assert one.weight[y, x] == pytest.approx(other.weight[y, x], rel=1e-2)


class TestManyImages:
    def test_every_image_sees_the_same_sky(self):
        """Pixels of three sizes and turns: the light of a source adds up to its flux in each."""
        source = galaxy(18, 3, -4, bands="r")
        views = [dict(pixel_scale=0.396, rotation=0.0), dict(pixel_scale=0.25, rotation=35.0),
                 dict(pixel_scale=0.7, rotation=200.0)]
        images = [field(source, size=121, bands="r", noise=False, **view).images[0] for view in views]
        here = Placement(images, [source.ra], [source.dec], Bands.of("r"))
        np.testing.assert_allclose(here.pixel_scale, [0.396, 0.25, 0.7], rtol=1e-4)
        # The PSF has the same width on the sky.
        np.testing.assert_allclose(here.fwhm * here.pixel_scale, here.fwhm[0] * 0.396, rtol=1e-3)
        data = here.gather([0], {})
        models = data.likelihood.model([True], source.scene[None], np.zeros(3))
        for patch, model in zip(data.patches, models, strict=True):
            light = (model - patch.background).sum()
            # A few per cent of the profile's wings lie outside of the patch.
            assert light == pytest.approx(source.scene[0], rel=0.05)
            np.testing.assert_allclose(model, patch.data, atol=2e-6 * patch.data.max())

    def test_positions_agree_with_the_wcs(self):
        images = field(star(18), rotation=70.0, n_exposures=2).images
        ra, dec = place(3, 5)
        here = Placement(images, [ra], [dec], BANDS)
        for n, image in enumerate(images):
            assert (here.x[n, 0], here.y[n, 0]) == pytest.approx(image.sky_to_pixel(ra, dec), abs=1e-6)
        assert len(set(here.x[:, 0].round(3))) == 6, "exposures are dithered"

    def test_more_and_other_positions(self, images):
        here = placement(images, (0, 0), (5, 5))
        more = here.with_more(*place(9, -9))
        assert more.x.shape == (3, 3)
        assert here.x.shape == (3, 2)
        moved = here.at(*zip(place(9, -9), strict=True))
        assert moved.x[0, 0] == more.x[0, 2]
        assert moved.fwhm is here.fwhm

    def test_bands_of_the_images(self, images):
        """In any order, and more than one image of each."""
        here = placement([images[2], images[0], images[2]], (0, 0))
        np.testing.assert_array_equal(here.band_index, [2, 0, 2])

    def test_one_source_and_all_of_its_exposures(self):
        source = star(20)
        images = field(source, n_exposures=3).images
        data = placement(images, (0, 0)).gather([0], {})
        assert data.images == tuple(range(9))
        assert data.sky_sd.shape == (9,)


