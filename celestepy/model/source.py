"""One star or galaxy: `Source`."""

from dataclasses import dataclass

import numpy as np

from celestepy.model.parameters import GALAXY, Bands, layout
from celestepy.model.transforms import from_catalog, to_catalog, to_scene

__all__ = ["Source"]


@dataclass(frozen=True, eq=False)
class Source:
    """A star or galaxy at a place in the sky. Immutable.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    theta : (n,) array_like
        Free vector (see `celestepy.model.parameters`); its offsets u and v are from (ra, dec).
    bands : Bands or sequence of str
        The bands of its fluxes.
    ra, dec : float
        Position, degrees ICRS.

    Raises
    ------
    ValueError
        If theta does not have the length of its type, or is not finite.
    """

    kind: str
    theta: np.ndarray
    bands: Bands
    ra: float = 0.0
    dec: float = 0.0

    def __post_init__(self):
        bands, theta = Bands.of(self.bands), np.array(self.theta, dtype=float)
        size = layout(self.kind, len(bands)).size
        if theta.shape != (size,) or not np.all(np.isfinite(theta)):
            raise ValueError(f"theta of a {self.kind} in {len(bands)} bands must be {size} finite numbers, "
                             f"got {theta.tolist()}")
        theta.setflags(write=False)
        object.__setattr__(self, "bands", bands)
        object.__setattr__(self, "theta", theta)

    @classmethod
    def from_catalog(cls, kind, bands, *, ra=0.0, dec=0.0, **values):
        """A source from the quantities of the catalogue.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type of source.
        bands : Bands or sequence of str
            The bands.
        ra, dec : float
            Position, degrees ICRS.
        **values : float
            See `celestepy.model.transforms.from_catalog`.

        Returns
        -------
        Source
            The source.

        Examples
        --------
        >>> galaxy = Source.from_catalog("galaxy", "gr", flux_g=3.0, flux_r=5.0, half_light_radius=1.2,
        ...                              axis_ratio=0.5, position_angle=30.0, dev_fraction=0.0)
        >>> galaxy.is_galaxy
        True
        """
        return cls(kind, from_catalog(kind, bands, **values), Bands.of(bands), ra, dec)

    @property
    def is_galaxy(self):
        """Whether it is a galaxy."""
        return self.kind == GALAXY

    @property
    def scene(self):
        """Its scene vector, (B + 6,): see `celestepy.model.transforms.to_scene`."""
        return to_scene(self.kind, self.theta, self.bands)[0]

    @property
    def catalog_values(self):
        """Its fluxes, magnitudes, colours and shape as a dict of floats, without units."""
        values = to_catalog(self.kind, self.theta, self.bands)
        return {name: float(value) for name, value in values.items()}
