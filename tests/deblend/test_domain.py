"""What no method may make nonsense of: every kind of array, and data that cannot be fitted or only partly."""

import astropy.units as u
import numpy as np
import pytest
from deblend.simple_priors import GaussianPrior, ScorePrior
from deblend.small_scenes import gaussian

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.asinh_adam import AsinhAdam
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.forward_backward import ForwardBackward
from celestepy.deblend.grid import Grid
from celestepy.deblend.growth import Growth
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.deblend.source import FreeSource
from celestepy.deblend.starts import start_scene
from celestepy.deblend.stopping import StopRule
from celestepy.images.psf_mixture import PSFMixture

SHAPE = (3, 31, 35)
PSF = gaussian(1.6)
PEAKS = np.array([[14.0, 12.0], [17.0, 22.0]])
SETTINGS = {"stop": StopRule(8, tolerance=0.0), "growth": Growth(every=3)}
PRIORS = {"": None, " with density": GaussianPrior(variance=0.05), " with score": ScorePrior(variance=0.05)}
KINDS = {
    "adaprox": (AdaProx, {}),
    "adaprox solved": (AdaProx, {"solve_fluxes": True}),
    "splitting": (ForwardBackward, {}),
    "asinh": (AsinhAdam, {}),
    "descent": (ScoreDescent, {"growth": None}),  # its boxes have the size of the fitted galaxies
}


def method(name, prior):
    """Settings of a method with a prior at a temperature that is taken by all that have one."""
    kind, more = KINDS[name]
    temperature = {} if prior is None or kind is AsinhAdam else {"sigma": 0.05}
    return kind(**(SETTINGS | more), prior=prior, **temperature)


METHODS = {name + label: method(name, prior) for name in KINDS for label, prior in PRIORS.items()}


def light():
    """Two round sources and noise, the same in three bands."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    sources = (peak * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 12) for peak, (cy, cx) in zip((5, 3), PEAKS))
    return sum(sources) + 0.1 * np.random.default_rng(0).normal(size=SHAPE)


LIGHT = light()


def made(images=LIGHT, weights=100.0, **changes):
    return Observation.from_arrays(images, weights, **({"psfs": PSF, "pixel_scale": 0.2} | changes))


def started(observation, peaks=PEAKS, **options):
    return start_scene(Frame(observation), peaks, **({"largest_half": 12} | options))


def half_masked():
    weights = np.full(SHAPE, 100.0)
    weights[:, :, :18] = 0  # the first source and more
    return weights


def one_pixel():
    weights = np.zeros(SHAPE)
    weights[1, 14, 12] = 100
    return weights


def boxes(*sources):
    return Scene(Frame(made()), [FreeSource(*source) for source in sources]).solved()


# what is fitted, and the statuses that any method may give
SCENES = {
    "one band": (lambda: started(made(LIGHT[0])), ["ok"], ["ok"]),
    "one-pixel boxes": (lambda: boxes((14, 12, [[1.0]]), (17, 22, [[1.0]])), ["ok"], ["ok"]),
    "zeros": (lambda: started(made(0 * LIGHT)), ["no flux"], ["no flux"]),
    "negative": (lambda: started(made(-LIGHT)), ["no flux"], ["no flux"]),
    "huge range": (lambda: started(made(LIGHT * np.where(np.arange(35) < 18, 1e12, 1))), ["ok"], ["ok", "no flux"]),
    "large unit": (lambda: started(made(1e-32 * LIGHT, 1e66)), ["ok"], ["ok"]),
    "masked band": (lambda: started(made(weights=[100.0, 0.0, 100.0])), ["ok"], ["ok"]),
    "source in the mask": (lambda: started(made(weights=half_masked())), ["mostly unseen", "no flux"], ["ok"]),
    "one usable pixel": (lambda: started(made(weights=one_pixel())), *(["mostly unseen", "no flux"],) * 2),
    "one pixel in all": (lambda: started(made(np.ones((1, 1, 1))), [[0, 0]]), ["mostly unseen"]),
    "corners": (lambda: started(made(), [[0, 0], [30, 34]]), *(["mostly unseen", "ok", "no flux"],) * 2),
    "box far beyond the frame": (lambda: boxes((-3, 12, np.pad([[1.0]], 4)), (17, 22, np.ones((5, 5)))),
                                 ["no data", "centre outside"], ["ok"]),
    "all outside": (lambda: started(made(), [[100, 100], [-50, 3]]), ["outside"], ["outside"]),
    "no place": (lambda: started(made(), [[np.nan, 3], PEAKS[1]]), ["outside"], ["ok"]),
    "far away": (lambda: started(made(), [[1e30, np.inf], PEAKS[1]]), ["outside"], ["ok"]),
    "star outside": (lambda: started(made(), [[-40, 0], PEAKS[1]], kinds=["point", "free"]), ["outside"], ["ok"]),
    "twice the same": (lambda: started(made(), [PEAKS[0], PEAKS[0]]), ["ok", "no flux"], ["duplicate"]),
    "PSF larger than the image": (lambda: started(made(psfs=gaussian(12.0))), ["ok"], ["ok", "no flux"]),
    "deconvolved": (lambda: start_scene(Frame(made(), model_psf=None), PEAKS, largest_half=12), ["ok"], ["ok"]),
    "NaN here and there": (lambda: started(made(np.where(LIGHT > 4.5, np.nan, LIGHT))), ["ok"], ["ok"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_scene(method, name):
    """Finite and non-negative whatever the data, without a warning, and every source that is not fitted is flagged."""
    make, *allowed = SCENES[name]
    result = METHODS[method].fit(make())
    assert np.isfinite(result.fluxes[result.known]).all()
    assert (result.fluxes[result.known] >= 0).all()
    assert np.isfinite(result.trace).all()
    for source, status, statuses in zip(result.scene.sources, result.statuses, allowed, strict=True):
        assert np.isfinite(source.morphology).all()
        assert status in statuses
    assert len(result.table()) == len(result.statuses)


def test_units_of_flux_do_not_matter():
    """The same fit in a unit 1e32 times as large, to the rounding of so many steps."""
    first, second = (
        METHODS["splitting"].fit(started(made(scale * LIGHT, 100 / scale**2))).fluxes / scale for scale in (1.0, 1e-32)
    )
    np.testing.assert_allclose(first, second, rtol=1e-9)


def test_share_that_is_seen():
    scene = started(made(weights=half_masked()))
    shares = scene.seen_share()
    assert shares.shape == (2, 3)
    assert shares[0].max() < 0.2 < 0.8 < shares[1].min()
    whole = started(made()).seen_share()
    assert whole.min() > 0.95
    message = AdaProx(solve_fluxes=True, **SETTINGS).fit(scene).messages[0]
    assert "extrapolated" in message
    assert "% of its light" in message


class TestArrays:
    @pytest.mark.parametrize("change", ["f4", ">f4", ">f8", "f2"])
    def test_dtypes(self, change):
        """What is fitted are the numbers, not how they are stored."""
        values = LIGHT.astype(change)
        found = METHODS["asinh"].fit(started(made(values))).fluxes
        np.testing.assert_array_equal(found, METHODS["asinh"].fit(started(made(values.astype(float)))).fluxes)

    def test_masked_arrays_and_layouts(self):
        masked = np.ma.masked_greater(LIGHT, 4.0)
        turned = np.asfortranarray(np.where(masked.mask, np.nan, LIGHT))
        first, second = (METHODS["asinh"].fit(started(made(images))).fluxes for images in (masked, turned))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("method", ["adaprox", "splitting", "asinh with score"])
    def test_arrays_of_the_caller_stay_as_they_are(self, method):
        arrays = {
            "images": LIGHT.copy(), "weights": np.full(SHAPE, 100.0), "mask": np.zeros(SHAPE, int),
            "psfs": PSF.render((21, 21), 10, 10),
        }  # fmt: skip
        arrays["images"][0, 3, 3] = np.nan
        arrays["mask"][1, 4, 4] = 8
        morphology, sed, peaks = np.ones((9, 9)), np.full(3, 2.0), PEAKS.copy()
        before = [array.copy() for array in (*arrays.values(), morphology, sed, peaks)]
        for array in (*arrays.values(), morphology, sed, peaks):
            array.setflags(write=False)
        scene = started(Observation.from_arrays(**arrays, pixel_scale=0.2), peaks)
        METHODS[method].fit(scene.replace([*scene.sources, FreeSource(14, 22, morphology, sed)]))
        for array, old in zip((*arrays.values(), morphology, sed, peaks), before, strict=True):
            np.testing.assert_array_equal(array, old)


class TestUnits:
    def test_quantities_are_brought_to_the_images_unit(self):
        plain = made()
        with_units = made(LIGHT * u.nJy, 1e8 / u.uJy**2, pixel_scale=200 * u.mas)
        np.testing.assert_array_equal(with_units.images, plain.images)
        np.testing.assert_allclose(with_units.weights, plain.weights)
        assert with_units.grid.pixel_scale == pytest.approx(0.2)
        variance = made(LIGHT * u.nJy, None, variance=np.full(SHAPE, 1e-8) * u.uJy**2)
        np.testing.assert_allclose(variance.weights, plain.weights)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": LIGHT * u.nJy}, "weights: in plain numbers while the images are in nJy"),
            ({"weights": 100 / u.nJy**2}, "weights: in 1 / nJy2 while the images are in plain numbers"),
            ({"images": LIGHT * u.nJy, "weights": 100 / u.nJy}, "weights: unit 1 / nJy, expected 1 / nJy2"),
            ({"images": LIGHT * u.nJy, "weights": None, "variance": 1 * u.s}, "variance: unit s, expected nJy2"),
            ({"pixel_scale": 1 * u.pix}, "pixel_scale"),
            ({"pixel_scale": [0.2, 0.2]}, "pixel_scale"),
        ],
    )
    def test_refusals(self, changes, message):
        with pytest.raises(DeblendError, match=message):
            made(**changes)


class TestNumbersOutOfRange:
    @pytest.mark.parametrize(
        ("images", "weights", "message"),
        [
            (1e100 * LIGHT, 1.0, "another unit"),
            (LIGHT, 1e-300, "another unit"),
            (LIGHT, 1e200, "another unit"),
            (1e40 * LIGHT, 1e100, "signal to noise"),
        ],
    )
    def test_are_refused(self, images, weights, message):
        with pytest.raises(DeblendError, match=message):
            made(images, weights)

    def test_unless_they_are_masked(self):
        images = LIGHT.copy()
        images[0, 0, 0] = 1e300
        assert made(images, mask=images > 1e100).images.max() < 10

    @pytest.mark.parametrize("name", ["y", "x"])
    def test_places(self, name):
        with pytest.raises(DeblendError, match=name):
            FreeSource(**({"y": 3, "x": 3} | {name: np.nan}), morphology=np.ones((3, 3)))

    def test_places_that_are_infinitely_far(self):
        scene = started(made())
        far = FreeSource(-np.inf, 1e300, np.ones((3, 3)), np.ones(3))
        assert scene.replace([*scene.sources, far]).active.tolist() == [True, True, False]

    def test_fluxes(self):
        with pytest.raises(DeblendError, match="finite fluxes"):
            FreeSource(3, 3, np.ones((3, 3)), [1.0, np.nan, 1.0])


class TestPSFs:
    def test_off_centre(self):
        stamp = PSF.render((41, 41), 24, 18)
        with pytest.raises(DeblendError, match=r"psf of band g: its peak lies -2.0, \+4.0 pixels"):
            made(psfs=stamp, bands="gri")
        made(psfs=PSF.render((40, 40), 19.5, 19.5))  # between the middle pixels of an even stamp

    def test_undersampled_though_a_model_psf_is_given(self):
        """Without the check a model PSF as narrow as the images' would be taken for one that pixels can hold."""
        narrow = PSFMixture([1.0], [[0, 0]], [[0.2, 0, 0.2]])
        with pytest.raises(DeblendError, match="undersampled"):
            Frame(made(psfs=narrow), model_psf=narrow)

    def test_undersampled_beside_sharper_pixels(self):
        """A coarse image whose stamp has to be interpolated to the fine pixels of another."""
        coarse = Observation.from_arrays(
            np.ones((1, 9, 9)), 1.0, psfs=PSFMixture([1.0], [[0, 0]], [[0.15, 0, 0.15]]), bands="J",
            grid=Grid.of_scale((9, 9), 0.7),
        )  # fmt: skip
        with pytest.raises(DeblendError, match="undersampled"):
            Frame([made(bands="gri"), coarse])


class TestDomainOfPriors:
    @pytest.mark.parametrize("name", ["adaprox", "splitting", "asinh"])
    def test_stamps(self, name):
        """The descent alone takes larger sources: beyond the stamp they keep the light of the fitted galaxy."""
        with pytest.raises(DeblendError, match=r"larger than the stamps of 16 x 16"):
            method(name, GaussianPrior((16, 16))).fit(started(made()))

    @pytest.mark.parametrize("name", KINDS)
    def test_pixels_and_psfs(self, name):
        with pytest.raises(DeblendError, match=r"trained for pixels of 0.2 arcsec, the model's are 0.3"):
            method(name, GaussianPrior()).fit(started(made(pixel_scale=0.3)))
        narrow = GaussianPrior()
        narrow.model_psf_sigma = 0.5
        with pytest.raises(DeblendError, match="trained for a model PSF of 0.5"):
            method(name, narrow).fit(started(made()))

    def test_boxes_never_outgrow_the_stamp(self):
        for name in ("adaprox", "splitting", "asinh"):
            fitted = method(name, GaussianPrior((22, 22))).fit(started(made(), largest_half=8))
            assert max(max(source.morphology.shape) for source in fitted.scene.sources) <= 21
