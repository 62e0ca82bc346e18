"""What bright sources do to their surroundings, and what is left when it is taken away.

Wings of stars, diffraction spikes, haloes and the outskirts of galaxies lift the S/N map far above its noise,
with structure of their own. Around every bright peak, brightest first, the median over rings is subtracted
(it does not care about neighbours in a minority of a ring), and the scatter left in a ring replaces the noise
where it is larger. A peak that stands out against that scatter is a neighbour; one that does not is part of
the bright source.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates

__all__ = ["Surroundings", "clear_bright", "log_parabola", "peak_offset", "spikes"]

RING = 1.5  # pixels
FIRST_RADIUS = 25  # pixels; doubled for as long as the profile has not sunk into the noise
LARGEST_RADIUS = 400
FAINT = 0.5  # S/N at which a profile ends
ARM = 3.0  # PSF sigmas from a peak at which it is compared with its surroundings
LEAST_CONTRAST = 0.5  # share of its S/N by which a point source drops within ARM
CORE = 1.0  # radius in PSF sigmas of the S/N map within which everything belongs to the bright source


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The S/N map without its bright sources.

    Attributes
    ----------
    original, cleared : (ny, nx) float32
        The map before and after.
    scatter : (ny, nx) float32
        Noise and structure left, >= 1.
    x, y : (n,) int64
        Pixels of the bright peaks.
    """

    original: np.ndarray
    cleared: np.ndarray
    scatter: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def significance(self):
        """(ny, nx) float32: the cleared map in units of the local scatter."""
        return self.cleared / self.scatter

    @property
    def excess(self):
        """(ny, nx) float32: what was taken away, in S/N."""
        return self.original - self.cleared


def clear_bright(signal_to_noise, x, y, sigma, level, threshold):
    """Clear the S/N map of bright sources.

    Parameters
    ----------
    signal_to_noise : (ny, nx) float32
    x, y : (n,) int64
        Candidates for bright peaks, brightest first.
    sigma : float
        Gaussian width of the PSF, pixels.
    level : float
        S/N that a candidate must still have when brighter ones are cleared, to be cleared itself.
    threshold : float
        Multiple of the local scatter that it must have.

    Returns
    -------
    Surroundings
    """
    state = Surroundings(signal_to_noise, signal_to_noise.copy(), np.ones_like(signal_to_noise), x[:0], y[:0])
    for k in range(len(x)):
        left = state.cleared[y[k], x[k]]
        enough = left > max(level, threshold * state.scatter[y[k], x[k]])
        if enough and not spikes(state, x[k : k + 1], y[k : k + 1], sigma)[0]:
            _clear_one(state.cleared, state.scatter, int(x[k]), int(y[k]), CORE * np.sqrt(2) * sigma)
            state = replace(state, x=np.append(state.x, x[k]), y=np.append(state.y, y[k]))
    return state


def spikes(surroundings, x, y, sigma):
    """Which peaks are bumps on a diffraction spike: a ridge that points to the bright source.

    Along a spike the map stays as high as the bump; a point source falls by 0.9 within `ARM`.

    Parameters
    ----------
    surroundings : Surroundings
    x, y : (n,) int64
        Pixels.
    sigma : float
        Gaussian width of the PSF, pixels.

    Returns
    -------
    (n,) bool
    """
    found = np.zeros(len(x), bool)
    near = np.flatnonzero(surroundings.original[y, x] - surroundings.cleared[y, x] > FAINT)
    if near.size == 0:
        return found
    x, y = x[near], y[near]
    along_x, along_y = np.transpose([_away_from_bright(surroundings, *place) for place in zip(x, y)])
    middle, ends = surroundings.cleared[y, x], 0.0
    for step in (-ARM * sigma, ARM * sigma):
        ends = ends + map_coordinates(surroundings.cleared, [y + step * along_y, x + step * along_x], order=1)
    found[near] = middle - 0.5 * ends < LEAST_CONTRAST * middle
    return found


def _away_from_bright(surroundings, x, y):
    """Unit vector at x, y away from the bright source that matters most there: S/N over distance squared."""
    dx, dy = x - surroundings.x, y - surroundings.y
    distance = np.maximum(np.hypot(dx, dy), 1.0)
    k = np.argmax(surroundings.original[surroundings.y, surroundings.x] / distance**2)
    return dx[k] / distance[k], dy[k] / distance[k]


def peak_offset(values, x, y):
    """Sub-pixel offsets (dx, dy) of peaks from their pixel, by `log_parabola`.

    Parameters
    ----------
    values : (ny, nx) float
    x, y : (n,) int
        Pixels.
    """
    ny, nx = values.shape
    x, y = np.clip(x, 1, nx - 2), np.clip(y, 1, ny - 2)
    middle = values[y, x]
    pairs = (values[y, x - 1], values[y, x + 1]), (values[y - 1, x], values[y + 1, x])
    return tuple(log_parabola(before, middle, after) for before, after in pairs)


def log_parabola(before, middle, after):
    """Maximum of the parabola through the logarithms of three equidistant values, relative to the middle one.

    Exact for a Gaussian; 0 where a value is not positive or there is no maximum, and at most 0.7.
    """
    before, middle, after = (np.asarray(values, float) for values in (before, middle, after))
    usable = np.minimum(np.minimum(before, middle), after) > 0
    left, centre, right = (np.log(np.where(usable, values, 1.0)) for values in (before, middle, after))
    bend = 2 * centre - left - right
    offset = np.divide(0.5 * (right - left), bend, out=np.zeros(bend.shape), where=bend > 0)
    return np.clip(offset, -0.7, 0.7)


def _clear_one(cleared, scatter, x, y, core):
    """Take the ring medians about one peak off `cleared`, raise `scatter` where structure stays; in place."""
    dx, dy = (float(offset[0]) for offset in peak_offset(cleared, np.array([x]), np.array([y])))
    box, distance, profile = _profile(cleared, x + dx, y + dy)
    middles = RING * (np.arange(profile.size) + 0.5)
    ring = np.minimum((distance / RING).astype(int), profile.size - 1)
    left = cleared[box] - np.interp(distance, middles, profile).astype(np.float32)
    structure = 1.4826 * _ring_medians(np.abs(left), ring, profile.size)
    structure[profile <= 0] = 1.0
    np.maximum(scatter[box], structure.astype(np.float32)[ring], out=scatter[box])
    left[distance < core] = 0.0
    cleared[box] = left


def _profile(values, x, y):
    """Window about x, y, distances of its pixels, medians over rings as a falling profile."""
    ny, nx = values.shape
    radius = FIRST_RADIUS
    while True:
        rows = slice(max(int(y) - radius, 0), min(int(y) + radius + 1, ny))
        columns = slice(max(int(x) - radius, 0), min(int(x) + radius + 1, nx))
        dx, dy = np.arange(columns.start, columns.stop) - x, np.arange(rows.start, rows.stop) - y
        distance = np.hypot(dx, dy[:, None])
        n = int(radius / RING)
        ring = np.minimum((distance / RING).astype(int), n)
        medians = _ring_medians(values[rows, columns], ring, n + 1)[:n]
        faint = np.flatnonzero(medians < FAINT)
        if faint.size or 2 * radius > LARGEST_RADIUS:
            break
        radius *= 2
    end = faint[0] if faint.size else n
    profile = np.zeros(n + 1)
    profile[:end] = np.minimum.accumulate(medians[:end])
    return (rows, columns), distance, profile


def _ring_medians(values, ring, n):
    """Median of the values in each ring 0..n-1; 0 for rings without a pixel."""
    order = np.lexsort((values.ravel(), ring.ravel()))
    edges = np.searchsorted(ring.ravel()[order], np.arange(n + 1))
    count = np.diff(edges)
    low, high = (np.minimum(edges[:-1] + half, values.size - 1) for half in ((count - 1) // 2, count // 2))
    ordered = values.ravel()[order]
    return np.where(count > 0, 0.5 * (ordered[np.maximum(low, 0)] + ordered[high]), 0.0)
