"""To and from scikit-learn and astroML: the same density on both sides."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from celestepy.density.mixture import GaussianMixture
from celestepy.density.noisy_rows import DensityError


@pytest.fixture
def mixture():
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(3, 2, 2)) + np.eye(2)
    return GaussianMixture([0.2, 0.5, 0.3], rng.normal(size=(3, 2)), factors @ factors.transpose(0, 2, 1))


def test_scikit_learn_has_the_same_density(mixture):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    model, rows = mixture.to_sklearn(), mixture.sample(20, 1)
    assert model.score_samples(rows) == pytest.approx(mixture.log_density(rows), abs=1e-10)
    assert model.predict_proba(rows) == pytest.approx(mixture.responsibilities(rows), abs=1e-10)
    assert model.sample(3)[0].shape == (3, 2)
    assert GaussianMixture.from_sklearn(model, names=["x", "y"]).names == ("x", "y")
    assert GaussianMixture.from_sklearn(model) == mixture


@pytest.mark.parametrize("kind", ["full", "diag", "tied", "spherical"])
def test_every_type_of_covariance_of_scikit_learn(mixture, kind):
    sklearn = pytest.importorskip("sklearn.mixture", reason="scikit-learn is not installed")
    rows = mixture.sample(300, 1)
    model = sklearn.GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    found = GaussianMixture.from_sklearn(model)
    assert found.log_density(rows) == pytest.approx(model.score_samples(rows), abs=1e-9)


def test_astroml_has_the_same_density(mixture):
    density_estimation = pytest.importorskip("astroML.density_estimation", reason="astroML is not installed")
    model, rows = mixture.to_astroml(), mixture.sample(20, 1)
    assert isinstance(model, density_estimation.XDGMM)
    noise = np.repeat([[[0.3, 0.1], [0.1, 0.2]]], 20, axis=0)
    total = np.sum(mixture.log_density(rows, noise))
    assert model.logL(rows, noise) == pytest.approx(total, rel=1e-10)
    assert GaussianMixture.from_astroml(model) == mixture


def test_any_object_with_the_attributes_of_astroml(mixture):
    model = SimpleNamespace(alpha=mixture.weights, mu=mixture.means, V=mixture.covariances)
    assert GaussianMixture.from_astroml(model) == mixture


def test_what_is_not_fitted_is_said(mixture):
    with pytest.raises(DensityError, match="model: expected a fitted mixture of scikit-learn, got SimpleNamespace"):
        GaussianMixture.from_sklearn(SimpleNamespace())
    model = SimpleNamespace(means_=np.zeros((1, 2)), covariances_=np.ones((1, 2)), covariance_type="odd")
    with pytest.raises(DensityError, match="SimpleNamespace without weights_"):
        GaussianMixture.from_sklearn(model)
    model.weights_ = [1.0]
    with pytest.raises(DensityError, match="its covariance_type is 'odd', expected one of full, diag"):
        GaussianMixture.from_sklearn(model)
    with pytest.raises(DensityError, match="model: expected a fitted XDGMM of astroML"):
        GaussianMixture.from_astroml(SimpleNamespace(alpha=None, mu=None, V=None))


@pytest.mark.parametrize(("package", "method"), [("sklearn", "to_sklearn"), ("astroML", "to_astroml")])
def test_what_is_not_installed_is_named(mixture, monkeypatch, package, method):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{method} needs .*pip install"):
        getattr(mixture, method)()
