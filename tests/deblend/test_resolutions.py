"""One patch seen by a camera on the ground and one in space: GalSim's images, WCS and all, with known truth."""

import numpy as np
import pytest

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.growth import Growth
from celestepy.deblend.patches import observe
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.deblend.scores import morphology_correlation
from celestepy.deblend.source import PointSource
from celestepy.deblend.starts import start_scene
from celestepy.images.image import Image
from celestepy.images.noise import GaussianNoise
from celestepy.images.psf import GaussianPSF
from celestepy.images.wcs import AffineAstrometry

galsim = pytest.importorskip("galsim", reason="the images are drawn by GalSim: pip install galsim")

RA, DEC = 150.0, 2.0
OFFSETS = np.array([[-0.245, 0.07], [0.28, -0.14]])  # East, North of the galaxies, arcsec: half a seeing disc apart
FLUXES = {"g": (10.0, 8.0), "r": (14.0, 6.0), "i": (18.0, 5.0), "H": (20.0, 4.0)}
METHODS = {"proximal": AdaProx(growth=Growth(edge_snr=2.0)), "descent": ScoreDescent()}
GROUND = {"scale": 0.168, "sigma": 0.276, "shape": (60, 60), "centre": (29.3, 30.1), "noise": 0.05}  # HSC, 0.65"
SPACE = {"scale": 0.05, "sigma": 0.05, "shape": (150, 160), "centre": (78.3, 74.6), "noise": 0.01}  # HST, 0.12"


def galaxies():
    """A disc on its edge, and a rounder one with a small bulge."""
    first = galsim.Exponential(half_light_radius=0.45).shear(q=0.5, beta=30 * galsim.degrees)
    second = 0.7 * galsim.Exponential(half_light_radius=0.3).shear(q=0.8, beta=100 * galsim.degrees)
    return first, second + 0.3 * galsim.Gaussian(sigma=0.05)


def seen(band, rng, *, scale, sigma, shape, centre, noise, angle=0.0, flip=1, profiles=None, astray=(0.0, 0.0)):
    """An image, and each galaxy alone; `astray` is what its WCS is wrong by, pixels."""
    cosine, sine = np.cos(angle), np.sin(angle)
    to_plane = scale * np.array([[-flip * cosine, sine], [flip * sine, cosine]])  # d(East, North) / d(x, y)
    to_pixels = np.linalg.inv(to_plane)
    wcs, psf = galsim.JacobianWCS(*to_plane.ravel()), galsim.Gaussian(sigma=sigma)
    alone = []
    for profile, offset, flux in zip(profiles or galaxies(), OFFSETS, FLUXES[band], strict=True):
        place = np.array(centre) + to_pixels @ offset - (np.array(shape[::-1]) - 1) / 2
        image = galsim.ImageD(shape[1], shape[0], wcs=wcs)
        galsim.Convolve(profile * flux, psf).drawImage(image, offset=galsim.PositionD(*place), method="no_pixel")
        alone.append(image.array)
    pixels = np.sum(alone, axis=0) + noise * rng.normal(size=shape)
    astrometry = AffineAstrometry(RA, DEC, *(np.array(centre) + astray), to_pixels)
    image = Image(
        pixels, band=band, psf=GaussianPSF(sigma=sigma / scale), wcs=astrometry, noise=GaussianNoise(noise**2), sky=0.0
    )
    return image, np.array(alone)


def from_the_ground(seed):
    pairs = [seen(band, np.random.default_rng([seed, k]), **GROUND) for k, band in enumerate("gri")]
    return [image for image, _ in pairs], np.stack([alone for _, alone in pairs], axis=1)


def taken_apart(images, truth, method="proximal"):
    """Errors of the fluxes and correlations of the morphologies on the ground's pixels, and chi^2 per observation."""
    frame = Frame(observe(images, RA, DEC, 6.0))
    x, y = frame.grid.from_plane(*OFFSETS.T)
    result = METHODS[method].fit(start_scene(frame, np.stack([y, x], axis=1), largest_half=60))
    ground = next(k for k, o in enumerate(frame.observations) if o.bands == tuple("gri"))
    own = frame.observations[ground]
    corner = np.array(GROUND["centre"]) + np.linalg.inv(own.grid.jacobian) @ own.grid.to_plane(0, 0)
    x0, y0 = np.rint(corner).astype(int)
    truth = truth[:, :, y0 : y0 + own.shape[1], x0 : x0 + own.shape[2]]
    bands = [frame.bands.index(band) for band in "gri"]
    errors = result.fluxes[:, bands] / np.transpose([FLUXES[band] for band in "gri"]) - 1
    chi2 = [
        (o.weights * residual**2).sum() / (o.weights > 0).sum()
        for o, residual in zip(frame.observations, result.scene.residuals(), strict=True)
    ]
    return np.abs(errors).mean(), morphology_correlation(result.scene.render_sources()[ground], truth), chi2


@pytest.fixture(scope="module")
def alone():
    return {method: taken_apart(*from_the_ground(0), method) for method in METHODS}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("angle", "flip"), [(0.0, 1), (0.5, 1), (2.2, -1)], ids=["straight", "turned", "mirrored"])
def test_space_and_ground_are_better_than_ground_alone(alone, method, angle, flip):
    """Half a seeing disc apart the ground mixes the two up by 25 or 15%; with the sharper image by half as much."""
    images, truth = from_the_ground(0)
    image, _ = seen("H", np.random.default_rng(9), **SPACE, angle=angle, flip=flip)
    errors, correlations, chi2 = taken_apart([*images, image], truth, method)
    alone = alone[method]
    assert errors < 0.7 * alone[0]
    assert (correlations > alone[1]).all()
    assert correlations.min() > 0.99
    assert max(chi2) < 1.05  # of 4107 and 14641 pixels: 0.02 and 0.01, and the rest that constraints leave


@pytest.mark.slow
def test_a_wrong_wcs_would_be_noticed():
    """The test above can fail: with the sharp image six pixels off, 0.3 arcsec."""
    images, truth = from_the_ground(0)
    image, _ = seen("H", np.random.default_rng(9), **SPACE, angle=0.5, astray=(6.0, 0.0))
    _, correlations, _ = taken_apart([*images, image], truth)
    assert correlations.min() < 0.98


@pytest.mark.parametrize(("angle", "flip"), [(0.0, 1), (0.5, 1), (2.2, -1)], ids=["straight", "turned", "mirrored"])
def test_stars(angle, flip):
    """The same two stars in both, all but without noise.

    The narrow model PSF of an image whose own is only 1 pixel wide is undersampled: 1.4% of the flux between pixels.
    """
    stars = (galsim.Gaussian(sigma=1e-3),) * 2
    cameras = (("r", GROUND, {}), ("H", SPACE, {"angle": angle, "flip": flip}))
    images = []
    for band, camera, turn in cameras:
        settings = camera | turn | {"profiles": stars, "noise": 1e-3 * camera["noise"]}
        images.append(seen(band, np.random.default_rng(1), **settings)[0])
    frame = Frame(observe(images, RA, DEC, 6.0))
    x, y = frame.grid.from_plane(*OFFSETS.T)
    scene = Scene(frame, [PointSource(place, frame.model_psf) for place in zip(x, y, strict=True)]).solved()
    for b, band in enumerate(frame.bands):
        np.testing.assert_allclose(scene.seds[:, b], FLUXES[band], rtol=2e-2)
    for observation, residual in zip(frame.observations, scene.residuals(), strict=True):
        assert abs(residual).max() < 0.025 * observation.images.max()
