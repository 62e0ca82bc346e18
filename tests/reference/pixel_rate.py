"""The pixel likelihood, slow and obvious: sums of exponentials of quadratic forms, in NumPy."""

import numpy as np

from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL


def gaussian(x, y, mean, covariance):
    """Normal density of two variables at the pixels x, y."""
    offsets = np.stack([x - mean[0], y - mean[1]], axis=-1)
    inverse = np.linalg.inv(covariance)
    quadratic = np.einsum("...i,ij,...j", offsets, inverse, offsets)
    return np.exp(-quadratic / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


def matrix(xx, xy, yy):
    """Symmetric matrix from its three entries."""
    return np.array([[xx, xy], [xy, yy]])


def profile(patch, psf, position, jacobian, is_galaxy, shape_entries):
    """One source of unit flux in one patch; shape_entries are u, v, dev_fraction, Suu, Suv, Svv."""
    rows, columns = np.shape(patch.data)
    y, x = np.mgrid[:rows, :columns] + np.array([patch.y0, patch.x0])[:, None, None]
    centre = position + jacobian @ shape_entries[:2]
    shape = jacobian @ matrix(*shape_entries[3:]) @ jacobian.T
    dev_fraction = shape_entries[2]
    if is_galaxy:
        parts = [(1 - dev_fraction, EXPONENTIAL), (dev_fraction, DE_VAUCOULEURS)]
        components = [
            (share * amplitude, variance)
            for share, mixture in parts
            for amplitude, variance in zip(mixture.amplitudes, mixture.variances, strict=True)
        ]
    else:
        components = [(1.0, 0.0)]
    total = np.zeros((rows, columns))
    for amplitude, mean_x, mean_y, xx, xy, yy in psf.array:
        for share, variance in components:
            covariance = matrix(xx, xy, yy) + variance * shape
            total += amplitude * share * gaussian(x, y, centre + [mean_x, mean_y], covariance)
    return total


def log_likelihood(patch, expected):
    """Log likelihood of a patch given the expectation of each pixel."""
    weight = patch.weight
    used = weight > 0
    data, expected, weight = patch.data[used], expected[used], weight[used]
    if not patch.poisson:
        return -0.5 * np.sum(weight * (data - expected) ** 2)
    background = patch.background[used]
    data = np.maximum(data, 0)
    floor = np.where(background > 0, 0.01 * background, 1e-6 / weight)
    safe = np.maximum(expected, floor)
    below = np.minimum(expected - floor, 0)
    # n (log(m / n) - m / n + 1), and -m where n = 0
    excess = (safe - data) / np.where(data > 0, data, 1)
    value = np.where(data > 0, data * (np.log1p(np.where(data > 0, excess, 0)) - excess), -safe)
    slope = data / safe - 1
    curvature = -data / safe**2
    return np.sum(weight * (value + slope * below + curvature * below**2 / 2))


class Reference:
    """The public methods of `celestepy.model.pixel_rate.SceneLikelihood`, values only."""

    def __init__(self, patches, bands, psfs, positions, jacobians, visible=None):
        self.patches, self.bands, self.psfs = patches, bands, psfs
        self.positions, self.jacobians = np.asarray(positions), np.asarray(jacobians)
        self.visible = np.ones(self.positions.shape[:2], bool) if visible is None else visible

    def profiles(self, is_galaxy, scene):
        """Profiles of unit flux, a list of (K, h, w)."""
        return [
            np.array(
                [
                    profile(
                        patch,
                        self.psfs[n][k],
                        self.positions[n, k],
                        self.jacobians[n, k],
                        is_galaxy[k],
                        row[-6:],
                    )
                    if self.visible[n, k]
                    else np.zeros(patch.data.shape)
                    for k, row in enumerate(scene)
                ]
            )
            for n, patch in enumerate(self.patches)
        ]

    def model(self, is_galaxy, scene, sky):
        """Expected pixels, a list of (h, w)."""
        return [
            patch.background + level + np.tensordot(scene[:, band], profiles, axes=1)
            for patch, level, band, profiles in zip(
                self.patches, sky, self.bands, self.profiles(is_galaxy, scene), strict=True
            )
        ]

    def value(self, is_galaxy, scene, sky):
        """Log likelihood of all patches."""
        models = self.model(is_galaxy, scene, sky)
        return sum(log_likelihood(patch, model) for patch, model in zip(self.patches, models, strict=True))
