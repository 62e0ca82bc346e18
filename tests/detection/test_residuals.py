"""Peaks of residuals: the missing source is found, a known one's leftovers are not."""

import numpy as np
import pytest
from detection.gaussian_skies import FWHM, Sky, astrometry, draw, observe, separations

from celestepy.detection import residual_peaks
from celestepy.images import ImageError, PoissonNoise

KNOWN = ((-20.0, 0.0, 50.0), (20.0, 5.0, 20.0))
MISSING = (-18.0, 0.8, 2.0)
PLACES = [{}, {"angle": 40.0, "shift": (3.0, 2.0)}]


def field(rng, *sources):
    """Images of the known and other sources, and models of the known ones alone."""
    sky = Sky.of(*KNOWN, *sources)
    images = [observe(sky, rng, band="gr"[k], wcs=astrometry(**PLACES[k])) for k in range(2)]
    models = [draw(Sky.of(*KNOWN), image.wcs, image.shape) for image in images]
    return images, models


def test_finds_the_missing_source(rng):
    """S/N 13 together: within 0.3 arcsec, with its flux, and with the group of its neighbour."""
    images, models = field(rng, MISSING)
    peaks = residual_peaks(images, models, *Sky.of(*KNOWN).radec, group=[7, 8])
    assert list(peaks["group"]) == [7]
    assert separations(peaks, Sky.of(MISSING))[0, 0] < 0.3
    assert (np.abs(peaks.flux - 2.0) < 4 * peaks.flux_err).all()


def test_a_complete_model_leaves_nothing(rng):
    images, models = field(rng)
    assert len(residual_peaks(images, models, *Sky.of(*KNOWN).radec)) == 0


def test_sources_away_from_the_groups_do_not_count(rng):
    images, models = field(rng, (0.0, -25.0, 5.0))
    radec = Sky.of(*KNOWN).radec
    assert len(residual_peaks(images, models, *radec, threshold=6.0)) == 0
    assert len(residual_peaks(images, models, *radec, threshold=6.0, radius=40.0)) == 1


def test_number_of_peaks_of_a_group(rng):
    images, models = field(rng, MISSING, (-22.0, -1.5, 3.0))
    radec = Sky.of(*KNOWN).radec
    assert len(residual_peaks(images, models, *radec)) == 1
    both = residual_peaks(images, models, *radec, per_group=2)
    assert list(both["group"]) == [0, 0]
    assert both.snr[0] > both.snr[1]


@pytest.mark.parametrize(("psf_error", "number"), [(0.0, 1), (0.05, 0)])
def test_psf_error_of_a_bright_star_is_no_companion(rng, psf_error, number):
    """A star 5% wider than its PSF leaves a ring of S/N 13, unless the PSF is known to be that wrong."""
    sky, photons = 1.0, 400.0
    star = Sky.of((0.0, 0.0, 500.0))
    image = observe(Sky.of()).replace(
        pixels=rng.poisson(photons * (sky + draw(star, astrometry(), (201, 201), 1.05 * FWHM))) / photons,
        noise=PoissonNoise(photons),
        sky=sky,
        psf_error=psf_error,
    )
    model = sky + draw(star, image.wcs, image.shape)
    assert len(residual_peaks([image], [model], *star.radec, threshold=5.0)) == number


def test_no_sources_no_peaks(rng):
    images, models = field(rng, MISSING)
    assert len(residual_peaks(images, models, [], [])) == 0


def test_mismatched_arguments_are_named(rng):
    images, models = field(rng)
    with pytest.raises(ImageError, match="models: 1, expected one for each of 2"):
        residual_peaks(images, models[:1], [150.0], [2.0])
    with pytest.raises(ImageError, match=r"models: shape \(3, 3\)"):
        residual_peaks(images, [np.zeros((3, 3)), models[1]], [150.0], [2.0])
    with pytest.raises(ImageError, match="group: 2 for 1 ra"):
        residual_peaks(images, models, [150.0], [2.0], group=[1, 2])
