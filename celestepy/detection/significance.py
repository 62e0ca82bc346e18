"""The combined S/N map: all exposures and bands, the best of a few spectral templates."""

from dataclasses import dataclass

import numpy as np

from celestepy.detection.background import lower_width
from celestepy.detection.grid import DetectionGrid
from celestepy.detection.templates import checked_templates, look_elsewhere_threshold

__all__ = ["CombinedMaps", "combine"]

LEAST_COVERAGE = 2e-3  # share of the information that must be left for a peak to be looked for


@dataclass(frozen=True, eq=False)
class CombinedMaps:
    """What detection looks at.

    Attributes
    ----------
    grid : DetectionGrid
    bands : tuple of str
    filtered : tuple of FilteredImage
    templates : (n, n_bands) float64
    widths : (n,) float64
        Measured width of each template's S/N map (>= 1) by which it was divided.
    depth : (n_bands,) float64
        Denominator of each band for a source that no mask or edge touches.
    signal_to_noise : (ny, nx) float32
        The largest over templates; 0 where hardly any pixel is usable.
    """

    grid: DetectionGrid
    bands: tuple
    filtered: tuple
    templates: np.ndarray
    widths: np.ndarray
    depth: np.ndarray
    signal_to_noise: np.ndarray

    @property
    def sigma(self):
        """Effective Gaussian width of the combined PSF [grid pixel]: the images' own, weighted by depth."""
        return _combined_sigma(self.filtered, self.grid, self.bands, self.templates)

    def threshold(self, threshold):
        """`threshold` raised for having looked at several templates."""
        return look_elsewhere_threshold(threshold, self.templates, self.depth)

    def best(self, numerators, denominators):
        """Largest S/N over templates of samples (n_bands, ...)."""
        values = [
            template_signal_to_noise(template, numerators, denominators) / width
            for template, width in zip(self.templates, self.widths, strict=True)
        ]
        return np.max(values, axis=0)


def combine(filtered, templates=None):
    """Sum matched-filter maps over exposures, and their S/N over bands.

    Parameters
    ----------
    filtered : sequence of FilteredImage
    templates : (n, n_bands) array_like, optional
        Relative fluxes, bands in the order in which they first appear among the images; black bodies by
        default.

    Returns
    -------
    CombinedMaps
    """
    bands = tuple(dict.fromkeys(one.image.band for one in filtered))
    templates = checked_templates(templates, bands)
    grid = DetectionGrid.covering(filtered, _reference(filtered))
    numerators, denominators = (np.zeros((len(bands), *grid.shape), np.float32) for _ in range(2))
    for one in filtered:
        box, numerator, denominator = grid.resample(one)
        index = bands.index(one.image.band)
        numerators[index][box] += numerator
        denominators[index][box] += denominator
    depth = np.array([_typical(band) for band in denominators])
    return _best_of_templates(grid, bands, tuple(filtered), templates, depth, numerators, denominators)


def template_signal_to_noise(template, numerators, denominators):
    """S/N of one template at samples (n_bands, ...); 0 where there is no data."""
    template = np.asarray(template, np.float32)
    numerator = np.tensordot(template, numerators, 1)
    denominator = np.tensordot(template**2, denominators, 1)
    return np.divide(numerator, np.sqrt(denominator), out=np.zeros_like(numerator), where=denominator > 0)


def grid_pixels_per_pixel(image, grid):
    """Side of an image's pixels in grid pixels, at its middle."""
    ny, nx = image.shape
    _, _, jacobian = image.local_affine(image.pixel_to_sky((nx - 1) / 2, (ny - 1) / 2))
    return np.abs(np.linalg.det(jacobian)) ** -0.5 / grid.scale


def _combined_sigma(filtered, grid, bands, templates):
    variances = [(one.sigma * grid_pixels_per_pixel(one.image, grid)) ** 2 for one in filtered]
    spectrum = np.median(templates, axis=0)
    weights = [spectrum[bands.index(one.image.band)] ** 2 * one.full for one in filtered]
    return float(np.sqrt(np.average(variances, weights=weights)))


def _best_of_templates(grid, bands, filtered, templates, depth, numerators, denominators):
    best, widths = np.zeros(grid.shape, np.float32), []
    sigma = _combined_sigma(filtered, grid, bands, templates)
    covered = np.logical_or.reduce([denominators[b] > LEAST_COVERAGE * depth[b] for b in range(len(bands))])
    for k, template in enumerate(templates):
        values = template_signal_to_noise(template, numerators, denominators)
        widths.append(lower_width(values[covered], sigma))
        values /= widths[-1]
        best = values if k == 0 else np.maximum(best, values)
    best[~covered] = 0.0
    return CombinedMaps(grid, bands, filtered, templates, np.array(widths), depth, best)


def _reference(filtered):
    """The image whose orientation is kept: the largest, the first of several."""
    return max(filtered, key=lambda one: one.image.shape[0] * one.image.shape[1])


def _typical(denominator):
    """Median over the pixels that have data."""
    used = denominator[denominator > 0]
    return float(np.median(used)) if used.size else 0.0
