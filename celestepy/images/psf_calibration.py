"""What the stars of an image say about its PSF: the light beyond the model, and the model's error.

Stars are chosen on the image itself: bright, unsaturated, alone, and as concentrated as the PSF.
"""

from dataclasses import dataclass

import numpy as np
import sep

from celestepy.images.errors import ImageError
from celestepy.images.star_fit import StarFit, fit_star

__all__ = ["CalibrationStar", "isolated_stars", "measure_aperture_correction", "measure_psf_error"]

DETECTION = 4.0  # sigma per pixel; lower would find neighbours that do not matter to a bright star
ISOLATION = 22.0  # pixels; a star has no neighbour this close with more than NEIGHBOUR of its flux
NEIGHBOUR = 0.02
LEAST_SNR = 50.0
MOST_STARS = 80
OFFSET = 0.5  # pixels from the centre of light to the fitted star; a neighbour in the object moves it more
CONCENTRATION = 0.10  # first cut on flux(< FWHM) relative to the PSF's; galaxies lie 10-50% low
RADIUS = 7.43  # arcsec; the aperture in which SDSS defines the total flux of a star
SKY_RING = (1.1, 1.65)  # of that radius
ERROR_SCATTER = 0.02  # typical PSF error: stars whose noise gives less than its square count alike
FLOOR = 0.01  # scatter of a star's aperture flux that is not noise: faint neighbours, PSF wings


@dataclass(frozen=True)
class CalibrationStar:
    """An isolated bright star: its fit, and its flux in a large aperture.

    The flux is NaN where neighbours or masks cover more than a tenth of the aperture.
    """

    fit: StarFit
    aperture_flux: float
    aperture_error: float


def isolated_stars(image, radius=None):
    """Isolated, bright, unsaturated stars of an image, brightest first.

    Parameters
    ----------
    image : Image
        The image.
    radius : float, optional
        Aperture radius in pixels; 7.43 arcsec by default.

    Returns
    -------
    list of CalibrationStar
        At most 80.
    """
    radius = RADIUS / float(_image_scale(image)) if radius is None else radius
    data = np.ascontiguousarray(image.pixels - image.sky)
    objects, segments = _detected(data, image)
    fits = []
    for row in _candidates(objects, image):
        x, y = objects["x"][row], objects["y"][row]
        fit = fit_star(image, x, y, image.psf.at(x, y))
        if fit is not None and np.hypot(fit.x - x, fit.y - y) < OFFSET:
            fits.append((fit, row + 1))
    kept = _point_like([fit for fit, _ in fits], image)
    return [
        CalibrationStar(fit, *_aperture_flux(data, image, segments, label, fit, radius))
        for (fit, label), good in zip(fits, kept, strict=True)
        if good
    ]


def measure_aperture_correction(image, stars=None):
    """Ratio of a star's flux in a large aperture to the flux fitted with the PSF model.

    Parameters
    ----------
    image : Image
        The image.
    stars : list of CalibrationStar, optional
        By default those that `isolated_stars` finds.

    Returns
    -------
    correction, error : float
        Weighted mean over stars, clipped at three standard deviations, and its standard error.

    Raises
    ------
    ImageError
        If no star has a usable aperture.
    """
    stars = isolated_stars(image) if stars is None else stars
    ratio = np.array([star.aperture_flux / star.fit.flux for star in stars])
    error = np.array([np.hypot(star.aperture_error / star.fit.flux, FLOOR) for star in stars])
    usable = np.isfinite(ratio)
    if not usable.any():
        raise ImageError(
            f"image {image.name!r}: no isolated star with a clear aperture among {len(stars)}, expected at"
            " least one;"
            " set the PSF's flux by hand with ScaledPSF"
        )
    ratio, weight = ratio[usable], error[usable] ** -2
    kept = np.ones(ratio.size, bool)
    for _ in range(5):
        mean = np.average(ratio[kept], weights=weight[kept])
        spread = np.maximum(weight**-0.5, 1.4826 * np.median(np.abs(ratio - np.median(ratio))))
        kept = np.abs(ratio - mean) < 3 * spread
        if not kept.any():
            kept = np.ones(ratio.size, bool)
    scatter = np.sqrt(np.average((ratio[kept] - mean) ** 2, weights=weight[kept]))
    return float(mean), float(max(scatter, FLOOR) / np.sqrt(kept.sum()))


def measure_psf_error(image, stars=None):
    """Fractional rms error of the PSF model within one FWHM of a star's centre, beyond the noise.

    Parameters
    ----------
    image : Image
        The image.
    stars : list of CalibrationStar, optional
        By default those that `isolated_stars` finds.

    Returns
    -------
    float
        Square root of the weighted median over stars of sum(residual^2 - variance) / sum(model^2), at least
        0. The weights are inverse variances: each value's noise, and a scatter of ERROR_SCATTER^2 between
        stars.
    """
    stars = isolated_stars(image) if stars is None else stars
    if not stars:
        raise ImageError(
            f"image {image.name!r}: no isolated bright star, expected at least one; give psf_error by hand"
        )
    squares = [star.fit.error_squared(image.psf.at(star.fit.x, star.fit.y).fwhm) for star in stars]
    value, noise = np.transpose(squares)
    return float(np.sqrt(max(_weighted_median(value, 1 / (noise**2 + ERROR_SCATTER**4)), 0.0)))


def _weighted_median(values, weights):
    order = np.argsort(values)
    share = np.cumsum(weights[order]) - 0.5 * weights[order]
    return np.interp(0.5 * weights.sum(), share, values[order])


def _image_scale(image):
    """Pixel scale at the centre of an image, arcsec."""
    ny, nx = image.shape
    return image.astrometry.pixel_scale((nx - 1) / 2, (ny - 1) / 2)


def _detected(data, image):
    """Sep's objects (no deblending: blends are not wanted) and their map of labels."""
    error = np.sqrt(np.where(image.mask, 1.0, image.variance()))
    return sep.extract(
        data,
        DETECTION,
        err=error,
        mask=image.mask.copy(),
        minarea=5,
        deblend_cont=1.0,
        segmentation_map=True,
        clean=False,
    )


def _candidates(objects, image):
    """Rows of bright, unsaturated, isolated objects, brightest first, at most MOST_STARS."""
    x, y, flux = objects["x"], objects["y"], objects["flux"]
    order = np.argsort(-flux, kind="stable")
    noise = np.sqrt(np.median(image.variance()[~image.mask]) * 4 * np.pi * (0.5 * _middle_fwhm(image)) ** 2)
    found = []
    for row in order:
        if flux[row] < LEAST_SNR * noise or len(found) == MOST_STARS:
            break
        distance = np.hypot(x - x[row], y - y[row])
        near = (distance < ISOLATION) & (flux > NEIGHBOUR * flux[row])
        if near.sum() == 1 and objects["npix"][row] < 40 * _middle_fwhm(image) ** 2:
            found.append(row)
    return found


def _middle_fwhm(image):
    ny, nx = image.shape
    return image.psf.at((nx - 1) / 2, (ny - 1) / 2).fwhm


def _point_like(fits, image):
    """Which fits are of stars: as concentrated as the PSF, and like each other."""
    if not fits:
        return []
    concentration = np.array([_relative_concentration(fit, image) for fit in fits])
    first = np.abs(concentration) < CONCENTRATION
    if not first.any():
        return first
    middle = np.median(concentration[first])
    spread = max(0.01, 1.4826 * np.median(np.abs(concentration[first] - middle)))
    return np.abs(concentration - middle) < 3 * spread


def _relative_concentration(fit, image):
    """Flux within the FWHM over flux within the whole box, minus the same of the PSF, as a fraction of it."""
    core = fit.radius < image.psf.at(fit.x, fit.y).fwhm
    wide = fit.radius < fit.radius[0].min()
    observed = fit.model + fit.residual
    return observed[core].sum() / observed[wide].sum() / (fit.model[core].sum() / fit.model[wide].sum()) - 1


def _aperture_flux(data, image, segments, label, fit, radius):
    """Flux within `radius` above the level of a ring, and its error; NaN where a tenth is covered."""
    half = int(np.ceil(SKY_RING[1] * radius)) + 1
    x0, y0 = int(np.rint(fit.x)) - half, int(np.rint(fit.y)) - half
    box = (slice(max(y0, 0), y0 + 2 * half + 1), slice(max(x0, 0), x0 + 2 * half + 1))
    values, labels = data[box], segments[box]
    rows, columns = (np.arange(size) for size in values.shape)
    distance = np.hypot(columns + box[1].start - fit.x, rows[:, None] + box[0].start - fit.y)
    clear = ~image.mask[box] & ((labels == 0) | (labels == label))
    aperture = distance < radius
    ring = (distance > SKY_RING[0] * radius) & (distance < SKY_RING[1] * radius) & clear
    if ring.sum() < 0.5 * np.pi * radius**2 or (aperture & clear).sum() < 0.9 * np.pi * radius**2:
        return np.nan, np.nan
    sky = _clipped_mean(values[ring])
    symmetric = _fill_from_profile(values - sky, distance, aperture & clear, aperture)
    variance = np.median(values[ring].var()) * (aperture.sum() + aperture.sum() ** 2 / ring.sum())
    return float(symmetric[aperture].sum()), float(np.sqrt(variance))


def _clipped_mean(values):
    for _ in range(3):
        middle, spread = values.mean(), values.std()
        values = values[np.abs(values - middle) < 3 * spread]
    return values.mean()


def _fill_from_profile(values, distance, clear, aperture):
    """Covered pixels replaced by the mean of the clear ones at the same distance."""
    ring = distance.astype(int)
    sums = np.bincount(ring[clear], values[clear], minlength=ring.max() + 1)
    counts = np.bincount(ring[clear], minlength=ring.max() + 1)
    profile = sums / np.maximum(counts, 1)
    return np.where(aperture & ~clear, profile[ring], values)
