"""Images that are whole in form and impossible in content are refused or remarked on; real ones never are."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from celestepy.images import GaussianNoise, GaussianPSF, Image, ImageError, PoissonNoise, SkyWarning, read_images
from celestepy.images.plausibility import check_plausible
from celestepy.images.wcs import AffineAstrometry

WCS = AffineAstrometry(150.0, 2.0, 59.5, 49.5, [[-2.5, 0.0], [0.0, 2.5]])
EXAMPLES = Path(__file__).parents[2] / "examples"


def image_of(pixels, sky=0.4, **changes):
    arguments = {"band": "r", "psf": GaussianPSF(fwhm=3.2), "wcs": WCS, "noise": PoissonNoise(1000.0)}
    return Image(pixels, sky=sky, **(arguments | changes))


@pytest.fixture
def pixels():
    return np.random.default_rng(1).poisson(400.0, (100, 120)) / 1000.0


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestConstantPixels:
    @pytest.mark.parametrize("value", [0.0, 0.4, 7e4])
    def test_are_refused(self, value):
        with pytest.raises(ImageError, match=r"image 'r': all 12000 usable pixels have the same value"):
            check_plausible(image_of(np.full((100, 120), value)))

    def test_masked_pixels_do_not_count(self, pixels):
        """A frame of other values about a dead region, and about a living one."""
        mask = np.ones((100, 120), bool)
        mask[20:60, 20:60] = False
        check_plausible(image_of(pixels, mask=mask))
        pixels[20:60, 20:60] = 0.4
        with pytest.raises(ImageError, match="all 1600 usable pixels"):
            check_plausible(image_of(pixels, mask=mask))

    def test_a_few_pixels_say_nothing(self):
        check_plausible(image_of(np.full((9, 9), 0.4)))


class TestSky:
    @pytest.mark.parametrize(
        ("sky", "words"),
        [
            (-0.1, "standard deviations above the stated sky of -0.1 nmgy"),
            (0.7, "standard deviations below the stated sky of 0.7 nmgy"),
        ],
    )
    def test_an_impossible_one_is_said(self, pixels, sky, words):
        """The noise of a pixel is 0.02 nmgy: 25 and 15 deviations."""
        noise = GaussianNoise(0.018**2)
        with pytest.warns(SkyWarning, match=words):
            check_plausible(image_of(pixels, sky, noise=noise))

    @pytest.mark.parametrize("sky", [0.25, 0.4, 0.55])
    def test_one_that_the_fit_can_put_right_is_not(self, pixels, sky):
        check_plausible(image_of(pixels, sky, noise=GaussianNoise(0.02**2)))

    def test_sources_may_cover_most_of_the_image(self, pixels):
        """Nine tenths of the pixels hold light, a hundred times the noise."""
        pixels[:, 12:] += np.random.default_rng(2).uniform(0, 4, (100, 108))
        check_plausible(image_of(pixels))

    def test_one_galaxy_may_fill_the_image(self, pixels):
        """Of ten deviations of a pixel at the very corners."""
        y, x = np.mgrid[:100, :120]
        pixels += 0.2 + 50 * np.exp(-np.hypot(x - 60, y - 50) / 10)
        check_plausible(image_of(pixels))


class TestRealImages:
    def check(self, images):
        with warnings.catch_warnings():
            warnings.simplefilter("error", SkyWarning)
            for image in images:
                check_plausible(image)

    def test_stripe82_stamps(self, data_dir):
        self.check(example("stripe82_stamps").read_stamps(data_dir / "stripe82_stamps"))

    def test_decam(self, data_dir, tmp_path):
        self.check(read_images(example("decam_tc3").describe(data_dir / "decam_tc3", tmp_path / "decam.toml")))

    @pytest.mark.validation
    def test_sdss(self, data_dir):
        self.check(read_images(data_dir / "sdss_94_1_12"))
