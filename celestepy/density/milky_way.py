"""A Milky Way to test density estimates on: stars drawn from simple laws, and the mixture that sums them up.

Thin and thick disc, halo, bulge and both Magellanic Clouds, seen from the Sun through a layer of dust down to G = 21,
with main sequences, giants and white dwarfs, rotation and velocity dispersions. No number here is a measurement; what
matters is that the density has the shapes of the real one: bands and clumps on the sky, a sharp peak and long tails in
parallax and proper motion, a magnitude limit, and everything correlated with everything.

Lengths are kpc, velocities km/s, angles degrees.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from celestepy.density.arguments import random_generator
from celestepy.density.mixture import GaussianMixture

__all__ = ["COLUMNS", "milky_way"]

COLUMNS = ("ra", "dec", "parallax", "pmra", "pmdec", "bp_rp", "phot_g_mean_mag")

_LIMIT = 21.0  # mag
_SUN = np.array([-8.2, 0.0, 0.02])  # x towards the Galactic centre, y along rotation, z to the North
_SUN_VELOCITY = np.array([11.0, 247.0, 7.0])
_KMS_PER_MAS = 4.74  # km/s at one kpc for one mas/yr
_GALACTIC = np.array([  # from equatorial to Galactic unit vectors (Hipparcos catalogue, vol. 1, eq. 1.5.11)
    [-0.0548755604, -0.8734370902, -0.4838350155],
    [0.4941094279, -0.4448296300, 0.7469822445],
    [-0.8676661490, -0.1980763734, 0.4559837762],
])
# Main sequence: absolute magnitude and colour; the luminosity function rises towards the faint end
_MAIN_SEQUENCE = np.array([[-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14],
                           [-0.15, -0.05, 0.08, 0.3, 0.5, 0.7, 0.87, 1.07, 1.35, 1.75, 2.05, 2.35, 2.6, 2.85, 3.5]])


@dataclass(frozen=True)
class _Population:
    """One part of the Galaxy: its share of the stars that are seen, and the laws of its stars."""

    share: float
    places: object  # (n, rng) -> (n, 3)
    rotation: float
    dispersion: tuple  # radial, azimuthal, vertical
    turnoff: float  # absolute magnitude of the brightest stars of the main sequence
    blueing: float  # of all colours, being poor in metals
    giants: float = 0.02  # share among stars of all magnitudes


@dataclass(frozen=True)
class _Cloud:
    """A Magellanic Cloud: place, width, distance and proper motion of the whole."""

    share: float
    centre: tuple
    width: float
    distance: float
    motion: tuple


def _disc(length, height):
    """Places in an exponential disc."""

    def places(n, rng):
        radius, angle = rng.gamma(2.0, length, n), rng.uniform(0, 2 * np.pi, n)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.laplace(0, height, n)], axis=1)

    return places


def _halo(n, rng):
    """Places in a flattened halo whose density falls with the third power of the radius."""
    radii = np.geomspace(0.05, 100, 400)
    mass = np.cumsum(radii**3 / (1 + radii) ** 3)  # of shells of equal logarithmic width
    radius = np.interp(rng.random(n), mass / mass[-1], radii)
    direction = rng.standard_normal((n, 3))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * radius[:, None] * [1, 1, 0.7]


def _bulge(n, rng):
    """Places in a flattened Gaussian bulge."""
    return rng.standard_normal((n, 3)) * [1.3, 0.8, 0.5]


_POPULATIONS = (
    _Population(0.62, _disc(2.6, 0.3), 225.0, (34.0, 22.0, 18.0), -1.0, 0.0),
    _Population(0.19, _disc(2.2, 0.9), 185.0, (62.0, 46.0, 38.0), 3.7, 0.08),
    _Population(0.05, _halo, 10.0, (140.0, 90.0, 85.0), 3.7, 0.2),
    _Population(0.12, _bulge, 60.0, (110.0, 100.0, 90.0), 3.5, -0.05),
)
_CLOUDS = (
    _Cloud(0.015, (80.9, -69.0), 2.6, 49.6, (1.85, 0.3)),
    _Cloud(0.005, (14.0, -72.7), 1.1, 62.4, (0.75, -1.25)),
)


def milky_way(n_components=1024, n_stars=120_000, rng=1):
    """Mixture of Gaussians with the shape of the Milky Way in the seven columns of Gaia.

    Stars are drawn from the laws of this module and divided by halves, each across its longest axis, into cells of
    equal number. Each cell becomes a component with the mean and the covariance of its stars. From then on the
    mixture itself is the truth, of which every density and every conditional law is known: its sky is a
    plane, on which a few of its draws lie beyond the poles or 360 degrees, and its faint end is no sharp edge.

    Parameters
    ----------
    n_components : int
        Components, a power of two.
    n_stars : int
        Stars, at least 50 for each component.
    rng : `numpy.random.Generator` or int
        Source of randomness, or a seed: the same seed gives the same Galaxy.

    Returns
    -------
    GaussianMixture
        In ra, dec (degrees), parallax (mas), pmra, pmdec (mas/yr), bp_rp and phot_g_mean_mag (mag).

    Raises
    ------
    ValueError
        If the number of components is no power of two, or there are too few stars.
    """
    levels = int(n_components).bit_length() - 1
    if n_components != 2**levels or n_stars < 50 * n_components:
        raise ValueError(f"n_components: expected a power of two and 50 stars for each, got {n_components} for "
                         f"n_stars {n_stars}")
    rng = random_generator(rng)
    parts = [_stars(each, round(each.share * n_stars), rng) for each in _POPULATIONS]
    parts += [_cloud_stars(each, round(each.share * n_stars), rng) for each in _CLOUDS]
    stars = np.concatenate(parts)
    scale = np.diff(np.percentile(stars, (16, 84), axis=0), axis=0)[0]
    cells = [stars]
    for _ in range(levels):
        cells = [half for cell in cells for half in _halves(cell, scale)]
    weights = [len(cell) for cell in cells]
    # Cells of identical stars would have no extent: nothing is narrower than a hundredth of the whole
    covariances = [np.cov(cell.T) + np.diag((0.01 * scale) ** 2) for cell in cells]
    return GaussianMixture(weights, [cell.mean(axis=0) for cell in cells], covariances, COLUMNS)


def _halves(cell, scale):
    """Divide stars at the median along their longest axis."""
    scaled = np.arcsinh((cell - np.median(cell, axis=0)) / scale)  # so that tails do not rule the choice
    axis = np.linalg.eigh(np.cov(scaled.T))[1][:, -1]
    order = np.argsort(scaled @ axis, kind="stable")
    return cell[order[: len(cell) // 2]], cell[order[len(cell) // 2 :]]


def _stars(population, n, rng):
    """Columns of stars of one population: of many that are drawn, those that are brighter than the limit."""
    found, number = [], 0
    while number < n:
        found.append(_visible(population, 4 * n + 1000, rng))
        number += len(found[-1])
    return np.concatenate(found)[:n]


def _visible(population, n, rng):
    positions = population.places(n, rng)
    offset = positions - _SUN
    distance = np.linalg.norm(offset, axis=1)
    direction = offset / distance[:, None]
    absolute, color = _absolute_magnitudes(population, n, rng)
    extinction = _extinction(direction, distance, rng)
    magnitude = absolute + 5 * np.log10(distance) + 10 + extinction
    keep = rng.random(n) < expit((_LIMIT - 0.15 - magnitude) / 0.08)
    color = color + 0.5 * extinction + 0.04 * rng.standard_normal(n)
    velocity = _velocities(population, positions[keep], rng) - _SUN_VELOCITY
    return _columns(direction[keep], distance[keep], velocity, color[keep], magnitude[keep])


def _absolute_magnitudes(population, n, rng):
    """Absolute magnitudes and colours: main sequence, giants with a red clump, and white dwarfs."""
    faint = 14.0
    slope = 0.32  # of the luminosity function, natural logarithm per mag
    low, high = np.exp(slope * np.array([population.turnoff, faint]))
    absolute = np.log(rng.uniform(low, high, n)) / slope
    color = np.interp(absolute, *_MAIN_SEQUENCE)
    kind = rng.random(n)
    giant, clump = kind < population.giants, kind < 0.4 * population.giants
    branch = 3.5 - rng.exponential(1.4, n)
    absolute = np.where(giant, np.where(clump, rng.normal(0.5, 0.2, n), branch), absolute)
    color = np.where(giant, np.where(clump, rng.normal(1.2, 0.06, n), 1.0 + 0.02 * (3.5 - branch) ** 2.2), color)
    dwarf = kind > 0.985
    cooled = rng.uniform(0, 1, n)
    absolute = np.where(dwarf, 10.2 + 4 * cooled + rng.normal(0, 0.2, n), absolute)
    color = np.where(dwarf, -0.4 + 1.6 * cooled, color)
    return absolute, color - population.blueing


def _extinction(direction, distance, rng):
    """Magnitudes of extinction by a patchy layer of dust 0.12 kpc thick, denser towards the centre."""
    thickness, reach = 0.12, 4.0
    rise = np.maximum(np.abs(direction[:, 2]), 1e-6) / thickness
    length = -np.expm1(-distance * rise) / rise
    patches = np.exp(0.4 * rng.standard_normal(len(distance)))
    return -0.7 * reach * np.expm1(-length / reach) * np.exp(0.8 * direction[:, 0]) * patches


def _velocities(population, positions, rng):
    """Galactic velocities: rotation and a dispersion about it."""
    radial, azimuthal, vertical = rng.standard_normal((3, len(positions))) * np.array(population.dispersion)[:, None]
    radius = np.hypot(positions[:, 0], positions[:, 1])
    cosine, sine = positions[:, 0] / radius, positions[:, 1] / radius
    # clockwise as seen from the North: at the Sun, where x < 0, along +y
    around = population.rotation * np.minimum(radius / 1.5, 1) + azimuthal
    return np.stack([radial * cosine + around * sine, radial * sine - around * cosine, vertical], axis=1)


def _columns(direction, distance, velocity, color, magnitude):
    """What Gaia lists: equatorial places, parallaxes and proper motions."""
    place = direction @ _GALACTIC
    motion = velocity @ _GALACTIC / (_KMS_PER_MAS * distance[:, None])
    ra, dec = np.arctan2(place[:, 1], place[:, 0]) % (2 * np.pi), np.arcsin(np.clip(place[:, 2], -1, 1))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    along_ra, along_dec = np.sum(motion * east, axis=1), np.sum(motion * north, axis=1)
    return np.stack([np.degrees(ra), np.degrees(dec), 1 / distance, along_ra, along_dec, color, magnitude], axis=1)


def _cloud_stars(cloud, n, rng):
    """Columns of the giants and the young main sequence of a Magellanic Cloud."""
    offset = rng.standard_normal((2, n)) * cloud.width
    dec = cloud.centre[1] + offset[1]
    ra = cloud.centre[0] + offset[0] / np.cos(np.radians(dec))
    young = rng.random(n) < 0.3
    modulus = 5 * np.log10(cloud.distance) + 10
    absolute = np.where(young, 2.3 - rng.exponential(1.2, n), np.where(rng.random(n) < 0.4, rng.normal(0.4, 0.2, n),
                                                                     2.3 - rng.exponential(1.3, n)))
    color = np.where(young, np.interp(absolute, *_MAIN_SEQUENCE), 0.95 + 0.02 * np.maximum(3.5 - absolute, 0) ** 2.2)
    internal = rng.normal(0, 30 / (_KMS_PER_MAS * cloud.distance), (n, 2))
    motion = np.array(cloud.motion) + internal
    width = [np.full(n, 1 / cloud.distance), *motion.T, color + rng.normal(0.1, 0.06, n), absolute + modulus + 0.2]
    return np.stack([ra, dec, *width], axis=1)
