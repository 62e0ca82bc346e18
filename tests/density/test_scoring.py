"""The estimator before rows that do not go with it or tell little, and after a fit that was interrupted."""

import astropy.units as u
import numpy as np
import pytest

from celestepy.density import DensityError, ExtremeDeconvolution
from celestepy.density.objective import Objective


@pytest.fixture
def fitted():
    X = np.random.default_rng(64).normal(size=(200, 2))
    return ExtremeDeconvolution(2, method="em", max_iter=2, rng=1).fit(X, np.full(X.shape, 0.1))


@pytest.mark.parametrize("method", ["score_samples", "score", "bic"])
def test_rows_of_other_dimensions(fitted, method):
    with pytest.raises(DensityError, match="X: for a mixture in 2 dimensions, but this has 3 columns"):
        getattr(fitted, method)(np.zeros((4, 3)))
    with pytest.raises(DensityError, match="projection: for a mixture in 2 dimensions, but this has 3 columns"):
        getattr(fitted, method)(np.zeros((4, 1)), projection=np.ones((1, 3)))


def test_no_rows(fitted):
    assert fitted.score_samples(np.zeros((0, 2))).shape == (0,)
    with pytest.raises(DensityError, match="nothing to score"):
        fitted.score(np.zeros((0, 2)))


def test_a_row_of_nothing_has_log_density_zero(fitted):
    """Exactly: the kernel alone finds the logarithm of a sum of weights, -2e-16 for some."""
    rows = np.concatenate([np.full((1, 2), np.nan), np.ones((1, 2))])
    for k in range(1, 9):
        fitted.weights_, fitted.means_ = np.full(k, 1 / k), np.zeros((k, 2))
        fitted.covariances_ = np.repeat(np.eye(2)[None], k, axis=0)
        assert fitted.score_samples(rows)[0] == 0.0


def test_infinite_variances_beside_a_column_of_one_value():
    """The width of that column is its noise, which is never that of missing values."""
    rng = np.random.default_rng(66)
    X, S = np.column_stack([rng.normal(size=300), np.full(300, 2.0)]), np.full((300, 2), 0.1)
    X[5, 0], S[3, 1] = np.nan, np.inf
    fitted = ExtremeDeconvolution(2, method="em", max_iter=3, rng=1).fit(X, S)
    assert np.all(fitted.covariances_[:, 1, 1] < 0.1)


def test_an_interrupted_fit_leaves_the_former_one(fitted, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = vars(fitted).copy()
    monkeypatch.setattr(Objective, "expectation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(np.random.default_rng(65).normal(size=(200, 3)))
    assert vars(fitted) == before
    assert fitted.n_features_in_ == 2


@pytest.mark.parametrize("name", ["X", "covariance"])
def test_units_are_refused_and_not_dropped(name):
    given = {"X": np.zeros((9, 2)), "covariance": np.ones((9, 2))}
    given[name] = given[name] * u.mas
    with pytest.raises(DensityError, match=f"{name}: a Quantity in mas"):
        ExtremeDeconvolution(2).fit(**given)
