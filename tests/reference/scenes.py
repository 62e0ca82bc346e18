"""Small scenes with everything the pixel kernels take: patches of several bands, PSFs, places, parameters."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
from reference.pixel_rate import Reference

from celestepy.model.pixel_rate import SceneLikelihood

# amplitude, mean x, y, covariance xx, xy, yy: like the fit to an SDSS PSF, with free centres
PSF = np.array(
    [
        [0.63, 0.03, -0.02, 1.5, 0.1, 1.6],
        [0.29, -0.08, 0.11, 4.1, -0.3, 3.7],
        [0.06, 0.25, -0.3, 19.0, 1.5, 21.0],
    ]
)
# pixels of 0.4 arcsec, North down and a little rotated
JACOBIAN = np.array([[-2.49, 0.21], [0.2, -2.51]])


@dataclass
class Scene:
    """A scene and its data; the arguments of a likelihood and of its `evaluate`."""

    patches: list
    bands: np.ndarray
    psfs: list
    positions: np.ndarray
    jacobians: np.ndarray
    is_galaxy: np.ndarray
    scene: np.ndarray
    sky: np.ndarray
    visible: np.ndarray | None = None

    def arguments(self):
        """What a likelihood is constructed from."""
        names = ("patches", "bands", "psfs", "positions", "jacobians", "visible")
        return {name: getattr(self, name) for name in names}

    def likelihood(self, kernel=None):
        """The compiled likelihood."""
        return SceneLikelihood(**self.arguments(), n_bands=self.scene.shape[1] - 6, kernel=kernel)

    def reference(self):
        """The likelihood in NumPy."""
        return Reference(**self.arguments())

    @property
    def vector(self):
        """All parameters: rows of the scene, then sky levels."""
        return np.concatenate([self.scene.ravel(), self.sky])

    def split(self, vector):
        """Types, scene and sky of a vector of parameters: the arguments of `evaluate`."""
        return self.is_galaxy, vector[: self.scene.size].reshape(self.scene.shape), vector[self.scene.size :]

    @property
    def free(self):
        """Which entries of the vector the likelihood depends on."""
        rows = np.ones(self.scene.shape, bool)
        rows[:, :-6] = np.isin(np.arange(self.scene.shape[1] - 6), self.bands)
        rows[~np.asarray(self.is_galaxy), -4:] = False
        return np.concatenate([rows.ravel(), np.ones(self.sky.size, bool)])

    @property
    def steps(self):
        """How far each parameter may move and still make sense; 0 if it has no effect."""
        rows = np.zeros(self.scene.shape)
        rows[:, :-6] = 0.2 * self.scene[:, :-6]
        rows[:, -6:-4] = 0.2
        rows[:, -4] = 0.1
        suu, suv, svv = self.scene[:, -3:].T
        # a tenth of the smaller eigenvalue
        rows[:, -3:] = 0.1 * ((suu + svv) / 2 - np.hypot((suu - svv) / 2, suv))[:, None]
        return np.where(self.free, np.concatenate([rows.ravel(), np.full(self.sky.size, 0.01)]), 0.0)


def galaxy_shape(radius=1.1, axis_ratio=0.6, angle=0.7):
    """Suu, Suv, Svv of a half-light ellipse; the angle from v (North) towards u (East)."""
    major = radius**2 * np.array([np.sin(angle) ** 2, np.sin(angle) * np.cos(angle), np.cos(angle) ** 2])
    minor = radius**2 * np.array([np.cos(angle) ** 2, -np.sin(angle) * np.cos(angle), np.sin(angle) ** 2])
    return major + axis_ratio**2 * minor


def make_scene(
    kinds="sg",
    shapes=((17, 19), (15, 22)),
    *,
    seed=0,
    poisson=True,
    psf=PSF,
    jacobian=JACOBIAN,
    shape=None,
    dev_fraction=0.35,
    flux=20.0,
    offset=(0.0, 0.0),
    n_bands=2,
):
    """Sources of the given kinds ("s" or "g") near the middle of patches, with noisy data.

    The data are drawn from parameters that differ from those of the scene by a few standard deviations, so
    that neither slope nor curvature vanish.
    """
    rng = np.random.default_rng(seed)
    n, k = len(shapes), len(kinds)
    origins = rng.integers(0, 900, (n, 2))
    middles = origins + np.array([(w - 1, h - 1) for h, w in shapes]) / 2 + offset
    positions = middles[:, None] + rng.normal(0, 2.5, (1, k, 2)) * (k > 1) + rng.uniform(-0.5, 0.5, (n, k, 2))
    scene = np.zeros((k, n_bands + 6))
    scene[:, :n_bands] = flux * rng.uniform(0.5, 1.5, (k, n_bands))
    scene[:, n_bands : n_bands + 2] = rng.normal(0, 0.1, (k, 2))
    is_galaxy = np.array([kind == "g" for kind in kinds])
    scene[is_galaxy, n_bands + 2 :] = [dev_fraction, *(galaxy_shape() if shape is None else shape)]
    patches = [
        SimpleNamespace(
            data=np.zeros(size),
            weight=rng.uniform(600, 900, size),
            background=rng.uniform(0.08, 0.12, size),
            x0=int(x0),
            y0=int(y0),
            poisson=poisson,
        )
        for size, (x0, y0) in zip(shapes, origins, strict=True)
    ]
    result = Scene(
        patches=patches,
        bands=np.arange(n) % n_bands,
        psfs=[[SimpleNamespace(array=np.array(psf)) for _ in kinds] for _ in shapes],
        positions=positions,
        jacobians=np.tile(jacobian, (n, k, 1, 1)),
        is_galaxy=is_galaxy,
        scene=scene,
        sky=rng.normal(0, 0.002, n),
    )
    return with_data(result, rng)


def with_data(scene, rng):
    """The scene with data drawn for fluxes higher by three standard deviations of an isolated source."""
    brighter = scene.scene.copy()
    brighter[:, :-6] += 3 * np.sqrt(brighter[:, :-6] / 700)
    patches = []
    for patch, mean in zip(
        scene.patches, scene.reference().model(scene.is_galaxy, brighter, scene.sky), strict=True
    ):
        if patch.poisson:
            data = rng.poisson(patch.weight * mean) / patch.weight
        else:
            data = mean + rng.normal(size=mean.shape) / np.sqrt(patch.weight)
        patches.append(SimpleNamespace(**(vars(patch) | {"data": data})))
    return replace(scene, patches=patches)
