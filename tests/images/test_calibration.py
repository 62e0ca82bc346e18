"""What is measured on an image, tested on drawn fields where the answer is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from celestepy.images import (
    CalibrationWarning,
    GaussianNoise,
    GaussianPSF,
    Image,
    ImageError,
    MixturePSF,
    PSFMixture,
    ScaledPSF,
    calibrated,
    isolated_stars,
    match_pixel_noise,
    measure_aperture_correction,
    measure_noise_scale,
    measure_pixel_noise,
    measure_psf_error,
)
from celestepy.images.noise_calibration import signal_to_noise_map
from celestepy.images.star_fit import fit_star

PSF = MixturePSF(PSFMixture([0.7, 0.3], [[0, 0], [0.1, 0]], [[1.8, 0, 1.8], [4.5, 0.2, 4.0]]))


def blurred(noise, sigma=0.6):
    """Noise correlated by a smoothing that keeps the variance of one pixel."""
    smooth = gaussian_filter(noise, sigma)
    return smooth * noise.std() / smooth.std()


def test_white_noise_has_scale_one(star_field):
    image, *_ = star_field(PSF)
    # 600 x 600 pixels with half of them free: about 5000 PSF areas, 1% for the standard deviation
    assert measure_noise_scale(image) == pytest.approx(1.0, abs=0.03)


def test_underestimated_noise_is_found(star_field):
    image, *_ = star_field(PSF)
    smaller = image.replace(noise=GaussianNoise(image.variance() / 1.3**2))
    assert measure_noise_scale(smaller) == pytest.approx(1.3, rel=0.03)


def test_correlated_noise_is_found(star_field):
    image, *_ = star_field(PSF, noise_kernel=blurred)
    # what correlation does to a matched filter: the ratio of the filtered noise to that of white noise
    white = np.random.default_rng(1).normal(size=(400, 400))
    stamp = PSF.at(0, 0).render((21, 21), 10, 10)
    ones = np.ones_like(white)
    expected = signal_to_noise_map(blurred(white), ones, stamp)[20:-20, 20:-20].std()
    assert expected > 1.3
    assert measure_noise_scale(image) == pytest.approx(expected, rel=0.04)


def test_the_scale_is_at_least_one(star_field):
    image, *_ = star_field(PSF)
    assert measure_noise_scale(image.replace(noise=GaussianNoise(2 * image.variance()))) == 1.0


def test_large_scale_sky_errors_do_not_count(star_field):
    image, *_ = star_field(PSF)
    y, x = np.mgrid[:600, :600]
    wavy = image.replace(sky=image.sky + 0.01 * np.sin(x / 300) * np.cos(y / 300))
    assert measure_noise_scale(wavy) == pytest.approx(measure_noise_scale(image), abs=0.02)


def test_two_amplifiers_are_told_apart(star_field):
    """The left half has a gain 20% lower than stated, the right half one 15% higher."""
    image, *_ = star_field(PSF)
    factor = np.where(np.arange(600) < 300, 1.2, 0.85)
    wrong = image.replace(noise=image.noise.rescaled(1 / factor))
    # 600 x 300 pixels, a third of them free: 0.3% for a standard deviation; stars' wings add a little
    assert measure_pixel_noise(wrong, (0, 300)) == pytest.approx(np.sqrt(1.2), rel=0.02)
    assert measure_pixel_noise(wrong, (300, 600)) == pytest.approx(np.sqrt(0.85), rel=0.02)
    photons = match_pixel_noise(wrong, 2).noise.photons_per_nanomaggy
    np.testing.assert_allclose(photons, 1000.0, rtol=0.04)


def test_absurd_noise_is_not_believed(star_field):
    image, *_ = star_field(PSF)
    wrong = image.replace(noise=image.noise.rescaled(0.2))
    assert match_pixel_noise(wrong, 2) is wrong


def test_small_images_cannot_be_measured(arguments):
    image = Image(np.ones((40, 40)), **arguments)
    with pytest.raises(ImageError, match="pixels free of sources, expected at least 2500"):
        measure_noise_scale(image)


def test_the_significance_of_a_star_is_its_flux_over_its_error(arguments):
    stamp = PSF.at(0, 0).render((21, 21), 10, 10)
    data = 5.0 * PSF.at(0, 0).render((61, 61), 33, 27)
    weight = np.full((61, 61), 4.0)
    expected = 5.0 * np.sqrt(4.0 * (stamp**2).sum())
    # the matched filter sees 21 x 21 pixels of the star, which leaves out 1e-5 of its power
    assert signal_to_noise_map(data, weight, stamp)[27, 33] == pytest.approx(expected, rel=1e-4)
    weight[:] = 0.0
    weight[:5] = 1.0
    assert signal_to_noise_map(data, weight, stamp)[27, 33] == 0.0


def test_stars_are_found_and_fitted(star_field):
    image, x, y, fluxes = star_field(PSF)
    stars = isolated_stars(image)
    assert len(stars) > 0.9 * len(x)
    assert np.all(np.diff([star.fit.flux for star in stars][:20]) < 30)  # brightest first, roughly
    for star in stars:
        k = np.argmin(np.hypot(x - star.fit.x, y - star.fit.y))
        # signal-to-noise 250 and more: flux to 0.4%, position to sigma / S/N = 0.01 pixel; four times that
        assert star.fit.flux == pytest.approx(fluxes[k], rel=0.03)
        assert np.hypot(x[k] - star.fit.x, y[k] - star.fit.y) < 0.04


def test_saturated_masked_and_crowded_stars_are_left_out(star_field):
    image, x, y, _ = star_field(PSF)
    mask = np.zeros(image.shape, bool)
    mask[int(y[0]), int(x[0])] = True
    pixels = image.pixels + 20 * PSF.at(0, 0).render(image.shape, x[1] + 9, y[1])
    found = isolated_stars(image.replace(pixels=pixels, mask=mask))
    distance = [min(np.hypot(star.fit.x - x[k], star.fit.y - y[k]) for star in found) for k in range(len(x))]
    assert distance[0] > 20
    assert distance[1] > 20
    assert np.median(distance) < 0.05


def test_galaxies_are_left_out(star_field):
    image, x, y, _ = star_field(PSF)
    pixels = image.pixels.copy()
    wide = PSFMixture([1.0], [[0, 0]], [[8.0, 2.0, 5.0]])
    for k in (3, 7, 11):
        pixels += 400 * wide.render(image.shape, x[k] + 25, y[k] + 30)
    stars = isolated_stars(image.replace(pixels=pixels))
    for k in (3, 7, 11):
        assert min(np.hypot(star.fit.x - x[k] - 25, star.fit.y - y[k] - 30) for star in stars) > 5


def test_light_beyond_the_model_is_measured(star_field):
    """Stars with a halo of 5% that the model does not have."""
    halo = PSFMixture(
        [0.665, 0.285, 0.05], [[0, 0], [0.1, 0], [0, 0]], [[1.8, 0, 1.8], [4.5, 0.2, 4], [60, 0, 60]]
    )
    image, *_ = star_field(MixturePSF(halo), model_psf=PSF, flux=300.0)
    correction, error = measure_aperture_correction(image)
    # within 18.8 pixels lie 0.05 (1 - exp(-18.8^2 / 120)) = 4.7% in the halo, a little of it in the fit's box
    assert error < 0.005
    assert correction == pytest.approx(1.045, abs=0.01)
    corrected = image.replace(psf=ScaledPSF(image.psf, 1 / correction))
    again, _ = measure_aperture_correction(corrected)
    assert again == pytest.approx(1.0, abs=0.003)


def test_a_perfect_model_needs_no_correction_and_has_no_error(star_field):
    image, *_ = star_field(PSF, flux=300.0)
    correction, error = measure_aperture_correction(image)
    assert abs(correction - 1) < max(4 * error, 0.01)
    assert measure_psf_error(image) < 0.01


@pytest.mark.parametrize("widening", [1.03, 1.06])
def test_the_error_of_a_wrong_width_is_measured(star_field, widening):
    """The expected misfit is that of fitting the wrong PSF without noise."""
    wrong = MixturePSF(
        PSFMixture([0.7, 0.3], [[0, 0], [0.1, 0]], np.array([[1.8, 0, 1.8], [4.5, 0.2, 4.0]]) * widening**2)
    )
    image, x, y, _ = star_field(PSF, model_psf=wrong, flux=300.0)
    clean = image.replace(pixels=1.0 + 300 * PSF.at(0, 0).render(image.shape, x[0], y[0]))
    fit = fit_star(clean, x[0], y[0], wrong.at(0, 0))
    core = fit.radius < wrong.at(0, 0).fwhm
    expected = np.sqrt(np.sum(fit.residual[core] ** 2) / np.sum(fit.model[core] ** 2))
    assert expected > 0.01
    assert measure_psf_error(image) == pytest.approx(expected, rel=0.2)  # a median of noisy squares


def test_calibrated_sets_all_three(star_field):
    image, *_ = star_field(PSF, flux=300.0)
    better = calibrated(image)
    assert better.noise_scale == pytest.approx(measure_noise_scale(image))
    assert better.psf_error == pytest.approx(measure_psf_error(image))
    assert better.psf.flux == pytest.approx(1 / measure_aperture_correction(image)[0])
    assert image.noise_scale == 1.0


def test_without_stars_stated_values_are_taken_with_a_warning(arguments):
    pixels = np.random.default_rng(1).poisson(1000.0, (200, 200)) / 1000.0
    image = Image(pixels, **arguments)
    with pytest.warns(CalibrationWarning, match="0 isolated bright stars"):
        result = calibrated(image)
    assert result.psf.flux == 1.0
    assert result.noise_scale < 1.05
    assert result.psf_error == GaussianPSF(fwhm=3.0).at(0, 0).residual
    with pytest.raises(ImageError, match="no isolated bright star"):
        measure_psf_error(image)
    with pytest.raises(ImageError, match="no isolated star"):
        measure_aperture_correction(image)


def test_without_free_sky_the_stated_noise_is_taken_with_a_warning(arguments):
    image = Image(np.ones((40, 40)), **arguments)
    with pytest.warns(CalibrationWarning) as caught:
        result = calibrated(image, n_amplifiers=2)
    assert "took the stated noise" in str(caught[0].message)
    assert result.noise_scale == 1.0
    np.testing.assert_array_equal(result.noise.photons_per_nanomaggy, image.noise.photons_per_nanomaggy)


def test_a_fit_that_meets_a_mask_or_an_edge_is_none(star_field):
    image, x, y, _ = star_field(PSF)
    assert fit_star(image, 5.0, 300.0, PSF.at(0, 0)) is None
    mask = np.zeros(image.shape, bool)
    mask[int(y[2]) + 5, int(x[2])] = True
    assert fit_star(image.replace(mask=mask), x[2], y[2], PSF.at(0, 0)) is None
    assert fit_star(image, x[2], y[2], PSF.at(0, 0)) is not None
