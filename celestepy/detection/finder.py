"""`detect`: from images to seeds."""

import numpy as np
from scipy.spatial import cKDTree

from celestepy.detection.bright import clear_bright, peak_offset, spikes
from celestepy.detection.extraction import extract_peaks
from celestepy.detection.matched_filter import filter_image
from celestepy.detection.measure import Sampler, measure, refine
from celestepy.detection.saturation import merge_saturated
from celestepy.detection.seed_table import checked_images, make_seeds
from celestepy.detection.significance import combine
from celestepy.images.errors import ImageError

__all__ = ["detect", "expected_false_peaks"]

THRESHOLD = 6.5
BRIGHT = 30.0  # S/N above which the PSF's wings and a galaxy's outskirts stand out of the noise
OWN_SHARE = 0.9  # a peak with less of its S/N to itself is placed where it is when its neighbours are cleared
CLOSEST = 1.0  # PSF sigmas; peaks closer than this, or than a pixel, are one


def detect(images, *, threshold=THRESHOLD, backend="sep", templates=None):
    """Find sources in all images together.

    Parameters
    ----------
    images : Image or sequence of Image
        Any bands, exposures, pixel scales and orientations of one field.
    threshold : float, optional
        Smallest combined S/N of a seed. Noise alone does not reach 6.5 (see `expected_false_peaks`): this is
        where a catalogue of five bands begins to say something of a source. Lower it to be complete.
    backend : {"sep", "photutils"}, optional
        What extracts and deblends the peaks.
    templates : (n, n_bands) array_like, optional
        Relative fluxes of the spectra looked for, bands in the order in which they first appear among the
        images; by default black bodies of 3500, 6000 and 15000 K, or equal fluxes where a band's name is not
        a common filter.

    Returns
    -------
    Seeds
        Brightest first.

    Raises
    ------
    ImageError
        If an argument cannot be used as given.
    ImportError
        If photutils is asked for and not installed.

    Notes
    -----
    The images are filtered with their PSFs (see `celestepy.detection.matched_filter`) and their S/N maps,
    with the noise scale measured on each, are added up on a common grid. Bright sources are cleared ring by
    ring before faint ones are looked for, saturated stars become one flagged seed each, and positions and
    fluxes are measured on every image's own pixels.
    """
    if not (np.isfinite(threshold) and threshold > 0):
        raise ImageError(f"threshold: {threshold}, expected a finite S/N > 0, usually 4 to 7")
    filtered = [filter_image(image) for image in checked_images(images)]
    maps = combine(filtered, templates)
    if not maps.depth.any():
        sizes = ", ".join(sorted({f"{nx} x {ny}" for ny, nx in (one.image.shape for one in filtered)}))
        raise ImageError(
            f"images: no pixel of them (of {sizes}) is far enough from edges and masks to detect a source in, expected"
            " images larger than their PSF; give larger ones"
        )
    x, y, surroundings = _peaks(maps, threshold, backend)
    sampler = Sampler(maps)
    x, y, share = _placed(sampler, surroundings, x, y)
    measured = measure(sampler, x, y)
    order = _without_twins(x, y, measured.snr * share, max(1.0, CLOSEST * maps.sigma))
    return make_seeds(maps, x[order], y[order], measured, order, share)


def expected_false_peaks(threshold, area, fwhm):
    """Number of noise peaks above a threshold that one matched-filter map is expected to have.

    A map of Gaussian noise filtered with a Gaussian PSF of width s has the correlation exp(-r^2 / 4 s^2),
    hence area / (2 s^2) (2 pi)^(-3/2) t exp(-t^2 / 2) peaks above a high threshold t (Adler 1981, the Euler
    characteristic).

    Parameters
    ----------
    threshold : float
        S/N.
    area : float
        Pixels.
    fwhm : float
        Of the PSF, pixels.

    Returns
    -------
    float

    Examples
    --------
    >>> from celestepy.detection import expected_false_peaks
    >>> round(expected_false_peaks(5.0, 2048 * 1489, 3.7), 2)
    0.73
    """
    variance = (fwhm / np.sqrt(8 * np.log(2))) ** 2
    return float(area / (2 * variance) * (2 * np.pi) ** -1.5 * threshold * np.exp(-0.5 * threshold**2))


def _peaks(maps, threshold, backend):
    """Grid pixels of the peaks, and the map cleared of bright sources in which the faint ones were found."""
    level = max(BRIGHT, threshold)
    candidates = extract_peaks(maps.signal_to_noise, level, backend)
    surroundings = clear_bright(maps.signal_to_noise, *candidates, maps.sigma, level, threshold)
    faint_x, faint_y = extract_peaks(surroundings.significance, maps.threshold(threshold), backend)
    own = ~spikes(surroundings, faint_x, faint_y, maps.sigma)
    x, y = np.append(surroundings.x, faint_x[own]), np.append(surroundings.y, faint_y[own])
    order = np.argsort(-maps.signal_to_noise[y, x], kind="stable")
    x, y = x[order], y[order]
    keep, extra_x, extra_y = merge_saturated(maps, x, y)
    return np.append(x[keep], extra_x), np.append(y[keep], extra_y), surroundings


def _placed(sampler, surroundings, x, y):
    """Sub-pixel positions, and the share of each peak's S/N that is its own."""
    total = sampler.maps.signal_to_noise[y, x]
    bright = np.isin(x + 1j * y, surroundings.x + 1j * surroundings.y)
    others = np.where(bright, 0.0, total - surroundings.cleared[y, x])
    share = np.where(total > 0, np.clip(1 - others / np.maximum(total, 1e-6), 0.05, 1.0), 1.0)
    alone_x, alone_y = refine(sampler, x, y)
    dx, dy = peak_offset(surroundings.cleared, x, y)
    alone = share >= OWN_SHARE
    return np.where(alone, alone_x, x + dx), np.where(alone, alone_y, y + dy), share


def _without_twins(x, y, snr, distance):
    """Indices by falling S/N, leaving out whatever lies closer than `distance` to a brighter one."""
    order = np.argsort(-snr, kind="stable")
    points = np.column_stack([x, y])[order]
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray") if len(x) else []
    gone = np.zeros(len(order), bool)
    for first, second in sorted(map(tuple, pairs)):
        gone[second] |= not gone[first]
    return order[~gone]
