"""Where pixels enter: arrays of any kind, images of any grid, and what is refused."""

import numpy as np
import pytest

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.grid import Grid
from celestepy.deblend.observation import Observation
from celestepy.deblend.patches import observe
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import PointSource
from celestepy.images.image import Image
from celestepy.images.noise import GaussianNoise, PoissonNoise
from celestepy.images.psf import GaussianPSF
from celestepy.images.psf_mixture import PSFMixture
from celestepy.images.wcs import AffineAstrometry

PSF = PSFMixture([1.0], [[0.0, 0.0]], [[2.0, 0.0, 2.0]])
RNG = np.random.default_rng(1)
PIXELS = RNG.normal(size=(2, 9, 7))


def made(images=PIXELS, weights=1.0, **changes):
    return Observation.from_arrays(images, weights, **({"psfs": PSF} | changes))


class TestArrays:
    @pytest.mark.parametrize("dtype", [">f4", "<f8", "i2", "f2"])
    def test_any_dtype(self, dtype):
        values = (10 * PIXELS).astype(dtype)
        observation = made(values)
        assert observation.images.dtype == np.float64
        assert observation.images.dtype.isnative
        np.testing.assert_array_equal(observation.images, values.astype(float))

    def test_all_that_is_not_to_be_used_has_weight_zero(self):
        images = np.ma.array(PIXELS.copy(), mask=False)
        images[0, 0, 0] = np.ma.masked
        images[0, 0, 1], images[0, 0, 2] = np.nan, np.inf
        weights, mask = np.ones(PIXELS.shape), np.zeros(PIXELS.shape, int)
        weights[0, 0, 3], weights[0, 0, 4], mask[0, 0, 5] = 0, np.nan, 16
        observation = made(images, weights, mask=mask)
        assert observation.n_used.tolist() == [63 - 6, 63]
        np.testing.assert_array_equal(observation.images[0, 0, :6], 0)
        np.testing.assert_array_equal(observation.weights[0, 0, :6], 0)

    def test_variance(self):
        variance = np.full(PIXELS.shape, 4.0)
        variance[0, 0, :4] = 0, np.inf, np.nan, -1
        observation = made(weights=None, variance=variance)
        np.testing.assert_array_equal(observation.weights[0, 0], [0, 0, 0, 0, 0.25, 0.25, 0.25])

    def test_arrays_are_copied_and_read_only(self):
        images = PIXELS.copy()
        observation = made(images)
        images[:] = 0
        np.testing.assert_array_equal(observation.images, PIXELS)
        with pytest.raises(ValueError, match="read-only"):
            observation.images[0, 0, 0] = 1

    def test_one_image_and_one_weight_for_each_band(self):
        assert made(PIXELS[0]).shape == (1, 9, 7)
        assert made(weights=[1.0, 2.0]).weights[1, 3, 3] == 2

    def test_psf_stamps(self):
        even, wide = np.zeros((4, 4)), np.ones((3, 7))
        even[2, 2] = 3.0
        observation = made(psfs=[even, wide])
        assert observation.psfs[0].shape == (5, 5)
        assert observation.psfs[0][2, 2] == 1  # the source of an even stamp is on its pixel n // 2
        assert observation.psfs[1].shape == (7, 7)
        np.testing.assert_allclose(observation.psfs[1][2:5], 1 / 21)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": PIXELS[0, 0]}, "images"),
            ({"images": PIXELS.astype(complex)}, "images"),
            ({"images": PIXELS * np.nan}, "none of 126 pixels"),
            ({"weights": 0.0}, "none of 126 pixels"),
            ({"weights": -1.0}, "inverse variances >= 0"),
            ({"weights": np.ones((3, 3))}, "weights: shape"),
            ({"weights": None}, "neither given"),
            ({"variance": 1.0}, "both given"),
            ({"mask": np.zeros((3, 3))}, "mask: shape"),
            ({"bands": "grr"}, "bands"),
            ({"bands": "rr"}, "bands"),
            ({"psfs": [PSF]}, "psfs: 1 given"),
            ({"psfs": np.full((3, 3), np.nan)}, "psf of band 0: sum nan"),
            ({"pixel_scale": 0.0}, "pixel_scale"),
            ({"grid": Grid.of_scale((3, 3), 1.0)}, "grid: shape"),
        ],
    )
    def test_refusals(self, changes, message):
        with pytest.raises(DeblendError, match=message):
            made(**changes)


class TestGrids:
    def test_round_trip(self):
        grid = Grid((5, 6), [[0.2, 0.03], [-0.02, 0.21]], (3.0, -1.0))
        np.testing.assert_allclose(grid.from_plane(*grid.to_plane(2.3, 4.1)), (2.3, 4.1))
        assert grid.is_same(Grid((5, 6), grid.jacobian, grid.origin))
        assert not grid.is_same(Grid((5, 6), grid.jacobian, (3.0, -1.01)))
        assert not grid.is_same(Grid((6, 5), grid.jacobian, grid.origin))

    @pytest.mark.parametrize(
        ("values", "message"),
        [(((0, 3), np.eye(2)), "shape"), (((3, 3), np.ones((2, 2))), "jacobian"),
         (((3, 3), np.eye(2), (0.0, np.nan)), "origin")],
    )
    def test_refusals(self, values, message):
        with pytest.raises(DeblendError, match=message):
            Grid(*values)


RA, DEC = 150.0, 2.0


def image(band, scale, shape=(80, 90), flip=1, noise=None, fluxes=(3.0,), offsets=((2.0, -1.0),)):
    """Point sources at offsets (East, North) from RA, DEC, arcsec."""
    jacobian = np.array([[-flip / scale, 0.0], [0.0, 1 / scale]])
    centre = np.array([0.52, 0.47]) * shape[::-1]
    wcs = AffineAstrometry(RA, DEC, *centre, jacobian)
    sigma = 0.35 / scale
    pixels = np.full(shape, 0.1)
    mixture = PSFMixture([1.0], [[0, 0]], [[sigma**2, 0, sigma**2]])
    for flux, offset in zip(fluxes, offsets, strict=True):
        pixels += flux * mixture.render(shape, *(centre + jacobian @ offset))
    noise = GaussianNoise(1e-4) if noise is None else noise
    return Image(pixels, band=band, psf=GaussianPSF(sigma=sigma), wcs=wcs, noise=noise, sky=0.1)


class TestImages:
    def test_bands_on_the_same_pixels_are_one_observation(self):
        observations = observe([image("g", 0.2), image("r", 0.2), image("r", 0.2)], RA, DEC, 8.0)
        assert [o.bands for o in observations] == [("g", "r"), ("r",)]
        assert observations[0].shape == (2, 41, 41)

    def test_several_resolutions_with_a_flip(self):
        """The fluxes and the place of one star, seen in images of 0.2 and of 0.31 arcsec, one of them mirrored."""
        observations = observe([image("g", 0.2), image("J", 0.31, flip=-1)], RA, DEC, 9.0)
        frame = Frame(observations)
        x, y = frame.grid.from_plane(2.0, -1.0)
        scene = Scene(frame, [PointSource([x, y], frame.model_psf)]).solved()
        np.testing.assert_allclose(scene.seds, 3.0, rtol=5e-3)  # PSF stamps end at four standard deviations
        for residual in scene.residuals():
            assert abs(residual).max() < 0.02

    def test_counting_noise(self):
        noisy = image("g", 0.2, noise=PoissonNoise(100.0))
        (observation,) = observe([noisy], RA, DEC, 8.0)
        excess = observation.images[0]
        np.testing.assert_allclose(1 / observation.weights[0], (0.1 + np.maximum(excess, 0)) / 100, rtol=1e-9)

    def test_masks_and_noise_scale(self):
        mask = np.zeros((80, 90), bool)
        mask[:, :46] = True
        (observation,) = observe([image("g", 0.2).replace(mask=mask, noise_scale=2.0)], RA, DEC, 8.0)
        assert set(np.unique(observation.weights)) == {0.0, 1e4 / 4}

    def test_outside(self):
        with pytest.raises(DeblendError, match="outside of every image"):
            observe([image("g", 0.2)], RA + 1, DEC, 8.0)

    def test_partly_outside(self):
        (observation,) = observe([image("g", 0.2)], RA, DEC + 8 / 3600, 6.0)
        assert observation.shape[1] < 31
        assert observation.shape[2] == 31


def test_real_blend(data_dir):
    with np.load(data_dir / "hsc_blends" / "hsc_cosmos_35.npz") as stored:
        observation = made(
            stored["images"], None, variance=stored["variance"], psfs=stored["psfs"], bands=stored["filters"],
            pixel_scale=0.168,
        )
    assert observation.bands == tuple("grizy")
    frame = Frame(observation)
    assert max(frame.kernel_residuals[0]) < 1e-3
