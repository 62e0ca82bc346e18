"""Small simulated fields with a few given sources, and what the parts of the fast mode need of them."""

import numpy as np
from astropy.table import Table

from celestepy.inference.group_fit import GroupFitter
from celestepy.inference.placement import Placement
from celestepy.model.priors import Prior
from celestepy.model.source import Source
from celestepy.simulate import PIXEL_SCALE, simulate_field

RA, DEC = 30.0, 10.0  # the middle of every field
SHAPE = {"half_light_radius": 1.0, "axis_ratio": 0.6, "position_angle": 30.0, "dev_fraction": 0.3}
# Flux over that in r: the colours of a common star, for which both types are plausible.
COLORS = {"u": 0.2, "g": 0.55, "r": 1.0, "i": 1.2, "z": 1.3}


def place(x=0.0, y=0.0):
    """Right ascension and declination (deg) of a place x pixels West and y pixels North of the middle."""
    return RA - x * PIXEL_SCALE / 3600 / np.cos(np.radians(DEC)), DEC + y * PIXEL_SCALE / 3600


def source(kind, mag, x=0.0, y=0.0, bands="gri", **shape):
    """A star or galaxy of a magnitude in r, some pixels from the middle."""
    fluxes = {f"flux_{band}": 10 ** ((22.5 - mag) / 2.5) * COLORS[band] for band in bands}
    shape = SHAPE | shape if kind == "galaxy" else {}
    ra, dec = place(x, y)
    return Source.from_catalog(kind, bands, ra=ra, dec=dec, **fluxes, **shape)


def star(mag, x=0.0, y=0.0, bands="gri"):
    """A star of a magnitude in r, some pixels from the middle."""
    return source("star", mag, x, y, bands)


def galaxy(mag, x=0.0, y=0.0, bands="gri", **shape):
    """A galaxy of a magnitude in r, some pixels from the middle."""
    return source("galaxy", mag, x, y, bands, **shape)


def field(*sources, size=61, rng=0, bands="gri", **options):
    """Images of some sources, `size` pixels wide."""
    return simulate_field(0, bands, (size, size), sources=sources, rng=rng, **options)


def seeds(*sources, also=()):
    """Seeds at some sources and at other places, given in pixels from the middle."""
    positions = [(each.ra, each.dec) for each in sources] + [place(*xy) for xy in also]
    ra, dec = zip(*positions, strict=True) if positions else ((), ())
    return Table({"ra": np.array(ra, dtype=float), "dec": np.array(dec, dtype=float)})


def fitter(images, table, sky_sd=0.003, **options):
    """The engine of groups, with a sky that is known well enough not to matter."""
    bands = "".join(dict.fromkeys(image.band for image in images))
    prior = Prior.default(bands)
    placement = Placement(images, table["ra"], table["dec"], prior.bands)
    placement.sky_sd = np.full(len(images), sky_sd)
    return GroupFitter(placement, prior, np.full(len(table), 0.28), **options)


def same_bytes(one, other):
    """Whether two catalogues hold the same values to the last bit."""
    return one.colnames == other.colnames and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one.colnames)
