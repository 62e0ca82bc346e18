"""The table that `Catalog.sample` returns, from draws of free vectors."""

from astropy import units
from astropy.table import QTable

from celestepy.images.wcs import from_tangent_offsets
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import to_catalog

__all__ = ["sample_table"]

_UNITS = {
    "flux": "nmgy",
    "mag": "mag",
    "color": "mag",
    "half_light_radius": "arcsec",
    "position_angle": "deg",
}


def sample_table(is_galaxy, theta, *, ids, ra, dec, bands):
    """Put draws into words: fluxes, magnitudes, colours, shapes and positions.

    Parameters
    ----------
    is_galaxy : (sources, n) bool array
        Type of each draw.
    theta : (sources, n, B + 6) array
        Free vectors about the positions.
    ids, ra, dec : (sources,) arrays
        Ids of the sources, and positions in degrees.
    bands : `~celestepy.model.parameters.Bands`
        The B bands.

    Returns
    -------
    `~astropy.table.QTable`
        See `~celestepy.catalog.Catalog.sample`.
    """
    values = to_catalog(GALAXY, theta, bands)
    u, v = theta[..., layout(STAR, len(bands)).position].transpose(2, 0, 1)
    drawn_ra, drawn_dec = from_tangent_offsets(u, v, ra[:, None], dec[:, None])
    draws = QTable({"id": ids, "is_star": ~is_galaxy, "ra": drawn_ra * units.deg, "dec": drawn_dec * units.deg})
    for name, value in values.items():
        unit = _UNITS.get(name, _UNITS.get(name.partition("_")[0]))
        draws[name] = value if unit is None else units.Quantity(value, unit, copy=False)
    return draws
