"""From the rows of a catalogue to the draws that belong to them, in a file or in memory."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from celestepy.catalog.draws import Draws
from celestepy.catalog.draws_file import DrawsFile
from celestepy.catalog.errors import CatalogError
from celestepy.images.wcs import tangent_offsets

__all__ = ["HeldDraws", "LinkedDrawsWarning", "check_bands", "draws_of_rows", "found_beside", "open_link"]

_SAME_SOURCE = 60.0  # arcsec; draws that lie farther from their row belong to another catalogue


class LinkedDrawsWarning(AstropyUserWarning):
    """The draws that a catalogue links to cannot be used, and its Gaussians take their place."""


@dataclass(frozen=True)
class HeldDraws:
    """Draws in memory, with the ids and positions (degrees) that they belong to."""

    ids: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    draws: Draws

    def finished(self):
        """Ids of the sources, as `DrawsFile.finished`."""
        return frozenset(self.ids.tolist())

    def read(self, ids):
        """Draws by id, as `DrawsFile.read`."""
        return self.draws.sources(self._places(ids))

    def positions(self, ids):
        """Positions by id, as `DrawsFile.positions`."""
        places = self._places(ids)
        return self.ra[places], self.dec[places]

    def _places(self, ids):
        place = {int(number): k for k, number in enumerate(self.ids)}
        return np.array([place[int(number)] for number in ids], dtype=int)


def draws_of_rows(stored, ids, ra, dec, n_bands):
    """The draws of the rows of a catalogue.

    Parameters
    ----------
    stored : HeldDraws or DrawsFile
        Where they are.
    ids : (n,) int array
        Ids of the rows. Rows whose id is not among the stored ones get no draws.
    ra, dec : (n,) arrays
        Positions of the rows in degrees.
    n_bands : int
        Number of bands.

    Returns
    -------
    `~celestepy.catalog.draws.Draws`
        About `ra` and `dec`.

    Raises
    ------
    CatalogError
        If draws lie more than an arcminute from their row: they belong to another catalogue.
    """
    known = np.isin(ids, list(stored.finished()))
    if not known.any():
        return Draws.join([Draws.empty(n_bands)] * len(ids), n_bands)
    draws, (stored_ra, stored_dec) = stored.read(ids[known]), stored.positions(ids[known])
    u, v = tangent_offsets(ra[known], dec[known], stored_ra, stored_dec)
    far = ~(np.hypot(u, v) < _SAME_SOURCE) & (draws.n_draws > 0)
    if far.any():
        where = getattr(stored, "path", "draws")
        raise CatalogError(f"{where}: the draws of source {ids[known][far][0]} lie {np.hypot(u, v)[far][0]:.0f} arcsec "
                           "from its row; they belong to another catalogue: link the file written with this one")
    draws = draws.moved(np.nan_to_num(u), np.nan_to_num(v))
    if known.all():
        return draws
    absent = Draws.empty(n_bands)
    place = np.where(known, np.cumsum(known) - 1, len(draws))
    group = draws.group
    joined = Draws.join([draws, absent])
    return Draws(joined.start, joined.is_galaxy, joined.theta, joined.weight, joined.star_probability,
                 np.append(group, -1), joined.chain).sources(place)


def open_link(link, bands):
    """Open the file that a catalogue links to.

    Parameters
    ----------
    link : str
        Its name.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the catalogue.

    Returns
    -------
    DrawsFile or None
        None, after a `LinkedDrawsWarning`, if it is gone, damaged or no file of draws, or h5py is missing.

    Raises
    ------
    CatalogError
        If it has other bands.
    """
    path = Path(link)
    if not path.exists() and not path.with_name(path.name + ".journal").exists():
        reason = "is gone; tell where it is with catalog.link_draws(path), or forget it with catalog.link_draws(None)"
        return _warn(f"{link}: the file of draws {reason}")
    try:
        stored = DrawsFile(path)
    except ImportError as error:
        return _warn(f"{link}: {error}")
    except CatalogError as error:
        return _warn(f"{error}; tell where the draws are with catalog.link_draws(path), or forget the link with "
                     "catalog.link_draws(None)")
    check_bands(stored, bands)
    return stored


def check_bands(stored, bands):
    """Raise a CatalogError if a `DrawsFile` has other bands than a catalogue."""
    if stored.bands != bands:
        raise CatalogError(f"{stored.path}: has draws in {', '.join(stored.bands)} (reference "
                           f"{stored.bands.reference}), expected {', '.join(bands)} (reference {bands.reference})")


def _warn(text):
    warnings.warn(f"{text}. Draws are made from the Gaussians in the catalogue instead", LinkedDrawsWarning,
                  stacklevel=5)


def found_beside(link, path):
    """Where a linked file is: as it says, or else beside the catalogue that was read from `path`."""
    beside = Path(path).resolve().with_name(Path(link).name)
    return str(beside) if not Path(link).exists() and beside.exists() else link
