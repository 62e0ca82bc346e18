"""The one table of source parameters: names, units, bounds, transforms, and where each sits in a vector.

Everything that needs an index, a name or a unit of a parameter asks this module; nobody writes an index by
hand. Two vectors are described:

* the *free vector* ``theta`` of one source of one type, in the coordinates in which fits are close to
  quadratic (`Layout`);
* the *scene vector* of one source, in which images are rendered (`SceneLayout`): the same length for stars
  and galaxies, so that scenes of mixed types stack into one array.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["GALAXY", "KINDS", "PARAMETERS", "STAR", "Bands", "Layout", "Parameter", "SceneLayout", "layout",
           "parameter_names", "parameter_table", "scene_layout"]

STAR = "star"
GALAXY = "galaxy"
KINDS = (STAR, GALAXY)


@dataclass(frozen=True)
class Parameter:
    """One row of the parameter table.

    Attributes
    ----------
    name : str
        Name in the free vector; for colours the stem, one entry for each adjacent pair of bands.
    unit : str
        Unit of the free coordinate ("" if it has none).
    bounds : tuple of float
        Open interval of the free coordinate.
    column : str
        What the catalogue reports for it.
    transform : str
        The free coordinate in terms of the catalogue's quantities.
    kinds : tuple of str
        Types of source that have the parameter.
    description : str
        One line for the documentation.
    """

    name: str
    unit: str
    bounds: tuple
    column: str
    transform: str
    kinds: tuple
    description: str


_REAL = (-np.inf, np.inf)

PARAMETERS = (
    Parameter("u", "arcsec", _REAL, "ra", "offset to the East of the seed", KINDS,
              "tangent-plane position, East"),
    Parameter("v", "arcsec", _REAL, "dec", "offset to the North of the seed", KINDS,
              "tangent-plane position, North"),
    Parameter("log_flux", "", _REAL, "flux", "ln(flux / nmgy)", KINDS, "brightness in the reference band"),
    Parameter("color", "", _REAL, "color", "ln(flux of the redder / flux of the bluer band)", KINDS,
              "adjacent-band colour, natural logarithm"),
    Parameter("log_radius", "", _REAL, "half_light_radius", "ln(half_light_radius sqrt(axis_ratio) / arcsec)",
              (GALAXY,), "circularised half-light radius"),
    Parameter("eta1", "", _REAL, "axis_ratio", "-ln(axis_ratio) cos(2 position_angle)", (GALAXY,),
              "elongation along North"),
    Parameter("eta2", "", _REAL, "position_angle", "-ln(axis_ratio) sin(2 position_angle)", (GALAXY,),
              "elongation along North-East"),
    Parameter("logit_dev", "", _REAL, "dev_fraction", "ln(dev_fraction / (1 - dev_fraction))", (GALAXY,),
              "share of the de Vaucouleurs profile"),
)


@dataclass(frozen=True)
class Bands:
    """The bands of a fit in order of wavelength, and the one whose flux is a parameter.

    Parameters
    ----------
    names : sequence of str
        Names of the bands, in the order of the fluxes; ``"ugriz"`` is read as five names.
    reference : str, optional
        Reference band; by default ``r`` where present, else the middle one.

    Raises
    ------
    ValueError
        If there are no bands, a name repeats, or the reference is not among them.
    """

    names: tuple
    reference: str = None

    def __post_init__(self):
        names = tuple(str(name) for name in self.names)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"bands must be one or more different names, got {self.names!r}")
        reference = self.reference
        if reference is None:
            reference = "r" if "r" in names else names[len(names) // 2]
        if reference not in names:
            raise ValueError(f"reference band {reference!r} is not among the bands {names}; name one of them")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "reference", str(reference))

    @classmethod
    def of(cls, bands, reference=None):
        """Make `Bands` of whatever names them.

        Parameters
        ----------
        bands : Bands or sequence of str
            Names, from blue to red.
        reference : str, optional
            Reference band; by default that of `bands`, else r where there is one, else the middle one.

        Returns
        -------
        Bands
            `bands` itself if it is a `Bands` already and `reference` does not contradict, else a new one.
        """
        if isinstance(bands, cls) and reference in (None, bands.reference):
            return bands
        return _bands(tuple(bands), reference)

    def __len__(self):
        return len(self.names)

    def __iter__(self):
        return iter(self.names)

    @property
    def reference_index(self):
        """Position of the reference band."""
        return self.names.index(self.reference)

    @property
    def color_names(self):
        """Names of the adjacent-band colours, such as ``("ug", "gr", "ri", "iz")``."""
        return tuple(blue + red for blue, red in zip(self.names[:-1], self.names[1:], strict=True))

    @property
    def log_flux_matrix(self):
        """Matrix ``[1 | M]`` taking ``(log_flux, colors)`` to the log fluxes of all bands, shape (B, B)."""
        return _log_flux_matrix(len(self.names), self.reference_index)


@lru_cache(maxsize=256)
def _bands(names, reference):
    return Bands(names, reference)


@lru_cache(maxsize=256)
def _log_flux_matrix(n_bands, reference_index):
    band = np.arange(n_bands)[:, None]
    color = np.arange(n_bands - 1)[None, :]
    matrix = np.ones((n_bands, n_bands))
    redder = (color >= reference_index) & (color < band)
    bluer = (color < reference_index) & (color >= band)
    matrix[:, 1:] = redder.astype(float) - bluer
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True)
class Layout:
    """Where each parameter sits in the free vector of one type of source (see `layout`)."""

    kind: str
    n_bands: int
    size: int
    position: slice
    log_flux: int
    colors: slice
    log_radius: int | None
    ellipticity: slice | None
    logit_dev: int | None

    @property
    def log_fluxes(self):
        """The log flux and the colours together: the B entries that decide the fluxes."""
        return slice(self.log_flux, self.colors.stop)


@dataclass(frozen=True)
class SceneLayout:
    """Where each entry sits in ``[f_1 .. f_B, u, v, d, Suu, Suv, Svv]`` (see `scene_layout`)."""

    n_bands: int
    size: int
    fluxes: slice
    position: slice
    dev_fraction: int
    shape: slice


@lru_cache(maxsize=256)
def layout(kind, n_bands):
    """Layout of the free vector of a star or galaxy seen in `n_bands` bands.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    n_bands : int
        Number of bands B; the vector has B + 2 entries for a star and B + 6 for a galaxy.

    Returns
    -------
    Layout
        Slices and indices of the parameters.

    Raises
    ------
    ValueError
        If `kind` is neither "star" nor "galaxy".
    """
    if kind not in KINDS:
        raise ValueError(f"kind of source must be one of {KINDS}, got {kind!r}")
    end = n_bands + 2
    first = dict(position=slice(0, 2), log_flux=2, colors=slice(3, end))
    if kind == STAR:
        return Layout(kind, n_bands, end, **first, log_radius=None, ellipticity=None, logit_dev=None)
    return Layout(kind, n_bands, end + 4, **first, log_radius=end, ellipticity=slice(end + 1, end + 3),
                  logit_dev=end + 3)


@lru_cache(maxsize=256)
def scene_layout(n_bands):
    """Layout of the scene vector of one source seen in `n_bands` bands: B + 6 entries for either type."""
    return SceneLayout(n_bands, n_bands + 6, fluxes=slice(0, n_bands), position=slice(n_bands, n_bands + 2),
                       dev_fraction=n_bands + 2, shape=slice(n_bands + 3, n_bands + 6))


def parameter_names(kind, bands):
    """Names of the entries of the free vector, in order.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    bands : Bands or sequence of str
        The bands.

    Returns
    -------
    tuple of str
        Such as ``("u", "v", "log_flux", "color_ug", ...)``.
    """
    colors = Bands.of(bands).color_names
    names = []
    for parameter in PARAMETERS:
        if kind in parameter.kinds:
            per_color = parameter.name == "color"
            names += [f"color_{color}" for color in colors] if per_color else [parameter.name]
    if len(names) != layout(kind, len(colors) + 1).size:
        raise AssertionError("the parameter table and the layout disagree")
    return tuple(names)


def parameter_table():
    """The parameter table of the documentation, in reStructuredText.

    Returns
    -------
    str
        A ``list-table`` directive.
    """
    rows = [("Name", "Unit", "Type", "Definition", "Meaning")]
    rows += [(f"``{p.name}``", p.unit or "-", " and ".join(p.kinds), p.transform, p.description)
             for p in PARAMETERS]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
