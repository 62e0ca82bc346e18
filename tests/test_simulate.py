"""Simulated fields: the truth is in the pixels, and what is written is what was simulated."""

from dataclasses import replace

import numpy as np
import pytest

from celestepy.catalog.files import read_table
from celestepy.images import read_images
from celestepy.images.noise import PoissonNoise
from celestepy.model.parameters import Bands, scene_layout
from celestepy.model.pixel_rate import SceneLikelihood
from celestepy.model.prior_laws import AxisRatioLaw
from celestepy.model.priors import Prior
from celestepy.model.source import Source
from celestepy.model.transforms import from_catalog, to_scene
from celestepy.simulate import SDSS, Conditions, sdss_like_psf, simulate_field


@pytest.fixture(scope="module")
def field():
    return simulate_field(12, "gri", (160, 200), rng=3, noise=False, rotation=30.0)


def scenes(truth, bands):
    """Scene vectors of the rows of a truth table."""
    rows = []
    for row in truth:
        values = {name: getattr(row[name], "value", row[name]) for name in truth.colnames}
        kind = "star" if row["is_star"] else "galaxy"
        rows.append(to_scene(kind, from_catalog(kind, bands, **values), bands)[0])
        # The fraction itself, which free vectors keep off 0 and 1.
        rows[-1][scene_layout(len(bands)).dev_fraction] = np.nan_to_num(values["dev_fraction"])
    return np.array(rows)


def one_type(star_fraction, **laws):
    """The default prior, all but certain of the type, with some laws of the galaxies replaced."""
    prior = Prior.default("r")
    return replace(prior, star_fraction=star_fraction, galaxy=replace(prior.galaxy, **laws))


def test_pixels_hold_the_truth(field):
    """The kernel, given the truth, predicts every noiseless pixel: geometry, fluxes and profiles agree."""
    bands = Bands("gri")
    position = [image.local_affine((field.truth["ra"], field.truth["dec"])) for image in field.images]
    likelihood = SceneLikelihood(
        [image.patch(0, 200, 0, 160) for image in field.images],
        [bands.names.index(image.band) for image in field.images],
        [[image.psf.at(0, 0)] * 12 for image in field.images],
        np.array([np.column_stack([x, y]) for x, y, _ in position]),
        np.array([jacobian for _, _, jacobian in position]),
        n_bands=3,
    )
    predicted = likelihood.model(~np.asarray(field.truth["is_star"]), scenes(field.truth, bands), np.zeros(3))
    for image, model in zip(field.images, predicted, strict=True):
        # A patch carries the read and dark variance as extra background.
        model = model - image.noise.variance / image.noise.photons_per_nanomaggy[0]
        # Components are rendered to six sigma: exp(-18) of their peaks.
        peak = image.pixels.max() - SDSS[image.band].sky
        np.testing.assert_allclose(model, image.pixels, atol=1e-6 * peak)


def test_fluxes_are_in_the_pixels():
    star = simulate_field(1, "r", (400, 400), rng=5, noise=False, prior=one_type(1 - 1e-9))
    total = (star.images[0].pixels - SDSS["r"].sky).sum()
    # The wings of a PSF of 1.2 arcsec beyond 100 pixels are nothing.
    assert star.truth["is_star"][0]
    assert total == pytest.approx(star.truth["flux_r"][0].value, rel=1e-6)


def test_position_angle_is_on_the_sky():
    """A field rotated by 40 degrees turns the image of the galaxy, not the galaxy."""
    angles = []
    prior = one_type(1e-9, axis_ratio=AxisRatioLaw(20.0, 40.0))  # axis ratios near 1/3
    for rotation in (0.0, 40.0):
        field = simulate_field(1, "r", (300, 300), rng=12, noise=False, rotation=rotation, prior=prior)
        row, image = field.truth[0], field.images[0]
        y, x = np.mgrid[:300, :300]
        ra, dec = image.pixel_to_sky(x, y)
        east = (ra - row["ra"].value) * np.cos(row["dec"].to_value("rad"))
        north = dec - row["dec"].value
        weight = image.pixels - SDSS["r"].sky
        weight = weight * (np.hypot(east, north) < 8 / 3600)
        moments = [(weight * a * b).sum() for a, b in ((east, east), (east, north), (north, north))]
        angles.append(np.degrees(0.5 * np.arctan2(2 * moments[1], moments[2] - moments[0])) % 180)
        # Second moments on pixels, cut at 8 arcsec.
        assert angles[-1] == pytest.approx(row["position_angle"].value, abs=0.5)
    assert angles[0] == pytest.approx(angles[1], abs=0.5)


def test_noise_has_the_stated_variance():
    conditions = {"r": Conditions(900.0, 0.8, 200.0, 1.1)}
    quiet, noisy = (simulate_field(0, "r", (300, 300), rng=1, conditions=conditions, noise=noise)
                    for noise in (False, True))
    image = noisy.images[0]
    residual = image.pixels - quiet.images[0].pixels
    assert isinstance(image.noise, PoissonNoise)
    # 90000 pixels: the variance is known to 0.5%, the mean to 1/300 of a standard deviation.
    assert residual.var() == pytest.approx(image.variance()[0, 0], rel=0.02)
    assert abs(residual.mean()) < 4 * residual.std() / 300


def test_draws_respect_the_limits():
    field = simulate_field(40, shape=(400, 400), rng=2, min_separation=8.0, min_snr=15.0, bright_limit=18.0)
    truth = field.truth
    assert len(truth) == 40
    assert truth["separation"].min().value >= 8.0
    assert truth["snr"].min() >= 15.0
    assert truth["mag_r"].min().value >= 18.0
    x, y = field.images[0].sky_to_pixel(truth["ra"].value, truth["dec"].value)
    assert x.min() >= 11.99
    assert max(x.max(), y.max()) <= 387.01
    nearest = [np.sort(np.hypot(x - x[k], y - y[k]))[1] for k in range(40)]
    np.testing.assert_allclose(np.array(nearest) * 0.396, truth["separation"].value, rtol=1e-6)


def test_signal_to_noise_is_that_of_a_matched_filter():
    field = simulate_field(1, "gr", (200, 200), rng=4, noise=False)
    total = 0.0
    for image in field.images:
        signal = image.pixels - SDSS[image.band].sky
        total += np.sum(signal**2 / image.variance())
    # The sum over pixels stands for the integral; at this sampling they agree to 1e-4.
    assert field.truth["snr"][0] == pytest.approx(np.sqrt(total), rel=1e-3)


def test_the_same_seed_gives_the_same_field():
    first, second, other = (simulate_field(5, "gr", (100, 100), rng=seed) for seed in (7, 7, 8))
    for a, b, c in zip(first.images, second.images, other.images, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert not np.array_equal(a.pixels, c.pixels)
    for name in first.truth.colnames:
        np.testing.assert_array_equal(first.truth[name], second.truth[name])


def test_exposures_are_dithered():
    field = simulate_field(3, "gr", (100, 100), rng=1, n_exposures=3)
    assert [image.name for image in field.images] == ["g1", "g2", "g3", "r1", "r2", "r3"]
    places = np.array([image.sky_to_pixel(30.0, 10.0) for image in field.images])
    assert len({tuple(place.round(6)) for place in places}) == 6
    assert np.abs(places - 49.5).max() <= 4.0001
    assert len({image.psf.at(0, 0).fwhm for image in field.images}) == 6


def test_given_sources_are_simulated():
    """Sources of one's own, their offsets included: three in a row."""
    sources = [
        Source.from_catalog("galaxy", "r", ra=30.0, dec=10.0 + k / 1200, flux_r=flux, half_light_radius=0.8,
                            axis_ratio=0.6, position_angle=20.0, dev_fraction=0.0, u=0.5, v=0.0)
        for k, flux in enumerate((10.0, 3.0, 3.0))
    ]
    field = simulate_field(sources=sources, bands="r", shape=(300, 300), noise=False)
    total = (field.images[0].pixels - SDSS["r"].sky).sum()
    assert total == pytest.approx(16.0, rel=1e-6)  # beyond six sigma nothing is rendered
    np.testing.assert_allclose(field.truth["flux_r"].value, [10, 3, 3])
    np.testing.assert_allclose(field.truth["separation"].value, 3.0, rtol=1e-6)
    east = (field.truth["ra"].value - 30.0) * np.cos(np.radians(10.0)) * 3600
    np.testing.assert_allclose(east, 0.5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"number 0 has the bands \('r',\)"):
        simulate_field(sources=sources, bands="gr", shape=(300, 300))


def test_paper_population_is_the_published_prior():
    field = simulate_field(5, shape=(100, 100), rng=1, population="paper")
    assert field.prior == Prior.load("celeste2019")


def test_psf_has_the_width_asked_for():
    psf = sdss_like_psf(3.2).at(0, 0)
    assert psf.fwhm == pytest.approx(3.2, rel=1e-6)
    assert psf.flux == pytest.approx(1.0)


def test_written_field_is_read_back(field, tmp_path):
    path = field.write(tmp_path / "new")
    again = read_images(path)
    assert [image.name for image in again] == ["g", "r", "i"]
    for image, copy in zip(field.images, again, strict=True):
        # Pixels are written in single precision.
        np.testing.assert_allclose(copy.pixels, image.pixels, rtol=2e-7)
        np.testing.assert_allclose(copy.sky, image.sky, rtol=1e-12)
        np.testing.assert_allclose(copy.noise.photons_per_nanomaggy, image.noise.photons_per_nanomaggy)
        assert copy.noise.variance == pytest.approx(image.noise.variance)
        np.testing.assert_array_equal(copy.psf.at(0, 0).array, image.psf.at(0, 0).array)
        at = (30.01, 10.01)
        np.testing.assert_allclose(copy.local_affine(at)[2], image.local_affine(at)[2])
    truth = read_table(tmp_path / "new" / "truth.fits")
    assert truth.colnames == field.truth.colnames
    np.testing.assert_array_equal(truth["flux_r"], field.truth["flux_r"])


@pytest.mark.parametrize(("arguments", "match"), [
    (dict(bands="rY"), r"no colours for the band\(s\) Y"),
    (dict(conditions={"r": SDSS["r"]}), r"conditions: none for the band\(s\) u, g, i, z"),
    (dict(shape=(20, 200)), "too small"),
    (dict(n_sources=50, shape=(64, 64), min_separation=8.0), "only .* fit into"),
    (dict(min_snr=1e9), "widen the limits"),
    (dict(population="stars"), "'prior' or 'paper'"),
])
def test_impossible_fields_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        simulate_field(**(dict(n_sources=5, shape=(64, 64)) | arguments))


@pytest.mark.parametrize("change", [dict(sky=0.0), dict(fwhm=-1.0), dict(variance=-1.0)])
def test_bad_conditions(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Conditions(**(dict(photons_per_nanomaggy=900.0, sky=0.8, variance=30.0, fwhm=1.0) | change))
