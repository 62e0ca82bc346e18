"""Sources of a scene: an SED times a morphology, free in every pixel of a box or that of a star or model galaxy.

Normalisation: the morphology of a free source sums to one over its box, that of a star or model galaxy over the whole
plane, and so ``sed[b]`` is the flux of the source in band b. This fixes the scale that SED and morphology could trade.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.model.parameters import GALAXY
from celestepy.model.rendering import add_image, source_mixture
from celestepy.model.source import Source

__all__ = ["Box", "FreeSource", "GalaxySource", "PointSource"]

_FARTHEST = 2**40  # pixels: as far outside of every frame as any other place
_POINT_REACH = 6.0  # standard deviations of the model PSF that the box of a point source reaches to
_GALAXY_REACH = 8.0  # half-light radii that the box of a model galaxy reaches to


@dataclass(frozen=True)
class Box:
    """A rectangle of model pixels, which may stand out of the model's grid.

    Attributes
    ----------
    y0, x0 : int
        Its first row and column.
    height, width : int
        Its sides.
    """

    y0: int
    x0: int
    height: int
    width: int

    @classmethod
    def about(cls, y, x, half_height, half_width):
        """A box of odd sides about a pixel.

        Parameters
        ----------
        y, x : int
            The pixel.
        half_height, half_width : int
            Rows and columns to each side.

        Returns
        -------
        Box
            Of sides ``2 half + 1``.
        """
        return cls(y - half_height, x - half_width, 2 * half_height + 1, 2 * half_width + 1)

    @property
    def shape(self):
        """(height, width)."""
        return self.height, self.width

    def overlap(self, shape):
        """The part of the box on a grid.

        Parameters
        ----------
        shape : (int, int)
            Of the grid.

        Returns
        -------
        on_grid, in_box : tuples of two slices
            The common pixels, in the grid's and in the box's own coordinates.
        """
        return _overlap(self, tuple(shape))

    def touches(self, shape):
        """Whether any pixel of the box lies on a grid.

        Parameters
        ----------
        shape : (int, int)
            Of the grid.

        Returns
        -------
        bool
            True if so.
        """
        return all(part.stop > part.start for part in self.overlap(shape)[0])


@lru_cache(maxsize=1024)
def _overlap(box, shape):
    on_grid, in_box = [], []
    for first, side, limit in ((box.y0, box.height, shape[0]), (box.x0, box.width, shape[1])):
        start = min(max(first, 0), limit)
        stop = max(min(first + side, limit), start)
        on_grid.append(slice(start, stop))
        in_box.append(slice(start - first, stop - first))
    return tuple(on_grid), tuple(in_box)


@dataclass(frozen=True, eq=False)
class FreeSource:
    """A source whose morphology is free in every pixel of a box. Immutable.

    Parameters
    ----------
    y, x : int
        Model pixel of its centre, the middle of the box.
    morphology : (h, w) array_like
        Odd sides; divided by its sum.
    sed : (B,) array_like, optional
        Flux in each band of the scene; found by the scene where not given.

    Raises
    ------
    DeblendError
        If the box has an even side, or the morphology is not finite with a positive sum.
    """

    y: int
    x: int
    morphology: np.ndarray
    sed: np.ndarray = None
    kind = "free"

    def __post_init__(self):
        values = np.array(self.morphology, dtype=float)
        if values.ndim != 2 or values.shape[0] % 2 == 0 or values.shape[1] % 2 == 0:
            raise DeblendError(f"morphology: shape {values.shape}, expected two odd sides about the source's centre")
        total = values.sum()
        if not (np.isfinite(values).all() and total > 0):
            raise DeblendError(f"morphology: sum {total}, expected finite pixels with a positive sum; start elsewhere")
        values /= total
        values.setflags(write=False)
        object.__setattr__(self, "morphology", values)
        for name in ("y", "x"):
            place = float(getattr(self, name))
            if np.isnan(place):
                raise DeblendError(f"{name}: {place}, expected the pixel of the source's centre")
            object.__setattr__(self, name, int(np.rint(np.clip(place, -_FARTHEST, _FARTHEST))))
        object.__setattr__(self, "sed", _checked_sed(self.sed))

    @property
    def box(self):
        """Its pixels."""
        return Box.about(self.y, self.x, *(side // 2 for side in self.morphology.shape))

    def replace(self, **changes):
        """A copy with other values.

        Parameters
        ----------
        **changes
            Arguments of the constructor.

        Returns
        -------
        FreeSource
            The changed copy.
        """
        return replace(self, **changes)


class _ParametricSource:
    """What stars and model galaxies share: parameters in place of pixels."""

    def _set_up(self):
        theta = np.array(self.parameters, dtype=float)
        names = self.parameter_names
        if theta.shape != (len(names),) or not np.isfinite(theta).all():
            raise DeblendError(
                f"parameters of a {self.kind}: {theta.tolist()}, expected finite numbers {', '.join(names)}"
            )
        theta.setflags(write=False)
        object.__setattr__(self, "parameters", theta)
        object.__setattr__(self, "sed", _checked_sed(self.sed))
        object.__setattr__(self, "box", self._box())
        morphology = self._drawn(theta)
        morphology.setflags(write=False)
        object.__setattr__(self, "morphology", morphology)

    @property
    def y(self):
        """Row of its centre."""
        return float(self.parameters[1])

    @property
    def x(self):
        """Column of its centre."""
        return float(self.parameters[0])

    def tangent(self, *, one_sided=False):
        """Derivatives of the morphology with respect to the parameters.

        Parameters
        ----------
        one_sided : bool, optional
            Whether differences are to one side, in half the time, good to 1e-3 of a pixel or of the shape.

        Returns
        -------
        (n, h, w) array
            Central differences by default.
        """
        rows = []
        for k, step in enumerate(self._steps()):
            shift = np.zeros(len(self.parameters))
            shift[k] = step
            there = self._drawn(self.parameters + shift)
            back, length = (self.morphology, step) if one_sided else (self._drawn(self.parameters - shift), 2 * step)
            rows.append((there - back) / length)
        return np.array(rows)

    def replace(self, **changes):
        """A copy with other values.

        Parameters
        ----------
        **changes
            Arguments of the constructor.

        Returns
        -------
        PointSource or GalaxySource
            The changed copy.
        """
        return replace(self, **changes)

    def _about(self, half):
        return Box.about(int(np.rint(self.y)), int(np.rint(self.x)), half, half)


@dataclass(frozen=True, eq=False)
class PointSource(_ParametricSource):
    """A star or any other point: the model PSF at a place of its own. Immutable.

    Parameters
    ----------
    parameters : (2,) array_like
        x, y: model pixels.
    model_psf : PSFMixture
        PSF of the model.
    sed : (B,) array_like, optional
        Flux in each band; found by the scene where not given.
    """

    parameters: np.ndarray
    model_psf: object
    sed: np.ndarray = None
    box: Box = field(init=False, repr=False)
    morphology: np.ndarray = field(init=False, repr=False)
    kind = "point"
    parameter_names = ("x", "y")

    def __post_init__(self):
        _check_model_psf(self.model_psf)
        self._set_up()

    def _box(self):
        return self._about(int(np.ceil(_POINT_REACH * np.sqrt(self.model_psf.covariances[:, [0, 2]].max()))))

    def _drawn(self, parameters):
        return self.model_psf.render(self.box.shape, parameters[0] - self.box.x0, parameters[1] - self.box.y0)

    def _steps(self):
        return (1e-4, 1e-4)


@dataclass(frozen=True, eq=False)
class GalaxySource(_ParametricSource):
    """A galaxy of the catalogue model: exponential and de Vaucouleurs profiles of one shape. Immutable.

    Parameters
    ----------
    parameters : (6,) array_like
        x, y (model pixels), log_radius, eta1, eta2, logit_dev as in `celestepy.model.parameters`; u of the model's
        grid is East and v North.
    model_psf : PSFMixture
        PSF of the model.
    jacobian : (2, 2) array
        d(x, y) / d(u, v) of the model's grid, pixels per arcsec.
    sed : (B,) array_like, optional
        Flux in each band; found by the scene where not given.
    """

    parameters: np.ndarray
    model_psf: object
    jacobian: np.ndarray
    sed: np.ndarray = None
    box: Box = field(init=False, repr=False)
    morphology: np.ndarray = field(init=False, repr=False)
    kind = "galaxy"
    parameter_names = ("x", "y", "log_radius", "eta1", "eta2", "logit_dev")

    def __post_init__(self):
        _check_model_psf(self.model_psf)
        self._set_up()

    def _box(self):
        radius = np.exp(self.parameters[2]) * np.sqrt(abs(np.linalg.det(self.jacobian)))
        stretch = np.exp(0.5 * np.hypot(*self.parameters[3:5]))
        return self._about(int(np.clip(np.ceil(_GALAXY_REACH * radius * stretch), 5, 100)))

    def _drawn(self, parameters):
        # the source's own record has one band of flux 1 and no offset: the place is that of the pixels
        kind_vector = np.concatenate([[0.0, 0.0, 0.0], parameters[2:]])
        mixture = source_mixture(Source(GALAXY, kind_vector, ("x",)), self.model_psf, self.jacobian)
        pixels = np.zeros(self.box.shape)
        add_image(pixels, 1.0, parameters[0] - self.box.x0, parameters[1] - self.box.y0, *mixture)
        return pixels

    def _steps(self):
        return (1e-3,) * len(self.parameters)


def _check_model_psf(model_psf):
    if model_psf is None:
        raise DeblendError(
            "model_psf: None, expected the model to have a PSF: stars and model galaxies cannot be drawn in a"
            " deconvolved model; leave model_psf to its default or make all sources free"
        )


def _checked_sed(sed):
    if sed is None:
        return None
    sed = np.array(sed, dtype=float)
    if sed.ndim != 1:
        raise DeblendError(f"sed: shape {sed.shape}, expected one flux for each band of the scene")
    if not np.isfinite(sed).all():
        raise DeblendError(f"sed: {sed.tolist()}, expected finite fluxes; leave it out to have them found")
    sed.setflags(write=False)
    return sed
