"""Draws as ArviZ has them."""

import numpy as np
import pytest

from celestepy.catalog import Catalog, CatalogError, Draws
from celestepy.catalog.arviz_export import to_arviz


def catalog_of(draws):
    return Catalog.from_draws(draws, ra=[10.0], dec=[20.0], bands="gr", meta={"method": "mcmc"},
                              diagnostics={"id": [42]})


@pytest.fixture
def arviz():
    return pytest.importorskip("arviz_base", reason="needs the extra mcmc")


def test_chains(arviz):
    theta = np.random.default_rng(1).standard_normal((90, 8))
    theta -= theta.mean(axis=0)
    catalog = catalog_of(Draws.from_weights([True] * 90, theta, chain=np.repeat([0, 1, 2], [40, 30, 20])))
    tree = to_arviz(catalog, 0, "galaxy")
    assert dict(tree["posterior"].sizes) == {"chain": 3, "draw": 20}
    assert list(tree["posterior"].data_vars) == [
        "u", "v", "log_flux", "color_gr", "log_radius", "eta1", "eta2", "logit_dev"]
    np.testing.assert_allclose(tree["posterior"]["log_flux"][1], theta[40:60, 2])
    assert tree.attrs["source"] == 42
    assert tree.attrs["kind"] == "galaxy"


def test_weights_become_copies(arviz):
    theta = np.arange(4.0)[:, None] * np.ones(8)
    weight = np.array([0.5, 0.25, 0.25, 0.0])
    catalog = catalog_of(Draws.from_weights([False] * 4, theta, np.log(np.maximum(weight, 1e-300))))
    tree = to_arviz(catalog, -1, "star")
    assert "log_radius" not in tree["posterior"]
    assert tree["posterior"]["log_flux"].values.tolist() == [[0.0, 0.0, 1.0, 2.0]]


def test_nothing_to_give(arviz, make_catalog):
    with pytest.raises(CatalogError, match="link_draws"):
        to_arviz(make_catalog(2).catalog, 0, "star")
    catalog = catalog_of(Draws.from_weights([False] * 4, np.ones((4, 8))))
    with pytest.raises(CatalogError, match="source 42 has no draws as a galaxy"):
        to_arviz(catalog, 0, "galaxy")
    with pytest.raises(ValueError, match="kind is 'quasar'"):
        to_arviz(catalog, 0, "quasar")


def test_missing_arviz_names_the_extra(make_catalog, monkeypatch):
    monkeypatch.setattr("celestepy.catalog.arviz_export.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="mcmc"):
        to_arviz(make_catalog(1).catalog, 0, "star")
