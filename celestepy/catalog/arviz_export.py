"""Draws of one source for ArviZ: its diagnostics, plots and files."""

from importlib.util import find_spec

import numpy as np

from celestepy.catalog.errors import CatalogError
from celestepy.model.parameters import KINDS, parameter_names

__all__ = ["to_arviz"]


def to_arviz(catalog, row, kind):
    """Give the draws of one type of one source to ArviZ.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        With draws (`Catalog.draws`).
    row : int
        Row of the source.
    kind : {"star", "galaxy"}
        The type: its free vector has parameters that the other lacks.

    Returns
    -------
    `xarray.DataTree`
        With the group ``posterior``: the entries of the free vector (`celestepy.model.parameters`), colours in
        natural logarithms, with the dimensions chain and draw. Draws with weights are brought to equal weights:
        each is repeated as often as its weight says, so that the number of different ones is what counts.
        Chains of different lengths are cut to the shortest.

    Raises
    ------
    CatalogError
        If the catalogue has no draws, or the source none of this type.
    ImportError
        If arviz-base is missing; the message names the extra.
    """
    if find_spec("arviz_base") is None:
        raise ImportError("to_arviz needs arviz-base: install the extra 'mcmc', python -m pip install \".[mcmc]\" in "
                          "the source tree")
    from arviz_base import from_dict

    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    draws, number = catalog.draws, catalog["id"][row]
    if draws is None:
        raise CatalogError("the catalogue has no draws; link a file of them with catalog.link_draws(path)")
    theta, weight, chain = draws.of_type(row if row >= 0 else len(catalog) + row, kind)
    if not len(theta):
        raise CatalogError(f"source {number} has no draws as a {kind}")
    chains = _as_chains(theta, weight, chain)
    names = parameter_names(kind, catalog.bands)
    posterior = {name: chains[..., k] for k, name in enumerate(names)}
    attributes = {"source": int(number), "kind": kind, "method": str(catalog.meta.get("method", ""))}
    return from_dict({"posterior": posterior}, attrs={"/": attributes})


def _as_chains(theta, weight, chain):
    """Equally weighted draws of each chain, shape (chains, draws, B + 6)."""
    if not np.allclose(weight, weight[0], rtol=1e-9):
        # systematic resampling: the number of copies of a draw differs from its share by less than one
        edges = np.cumsum(weight)
        picked = np.searchsorted(edges, (np.arange(len(theta)) + 0.5) / len(theta) * edges[-1])
        return theta[picked][None]
    parts = [theta[chain == number] for number in np.unique(chain)]
    shortest = min(len(part) for part in parts)
    return np.stack([part[:shortest] for part in parts])
