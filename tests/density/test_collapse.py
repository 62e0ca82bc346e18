"""Collapsed components: found, repaired, and told of."""

import numpy as np
import pytest

from celestepy.density import ComponentCollapseWarning, ExtremeDeconvolution
from celestepy.density.chunks import as_source
from celestepy.density.collapse import n_held_by_prior, repaired
from celestepy.density.monitor import Monitor
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective


def objective(strength=0.0, scales=(1.0, 1.0), kept=None):
    source = as_source(np.zeros((100, 2)))
    return Objective(source, 100, 100.0, 100.0, None, CovariancePrior(strength, np.array(scales)), kept or Kept())


def mixture(weights, covariances=None):
    k = len(weights)
    means = np.arange(2.0 * k).reshape(k, 2)
    return Components(np.array(weights), means, np.tile(np.eye(2), (k, 1, 1)) if covariances is None else covariances)


def test_healthy_mixtures_are_left_alone():
    healthy = mixture([0.3, 0.7])
    assert repaired(healthy, objective()) == (healthy, 0)


def test_a_component_without_rows_takes_half_of_the_heaviest():
    after, n = repaired(mixture([0.7, 0.299, 0.001]), objective())
    assert n == 1
    np.testing.assert_allclose(after.weights, [0.3505, 0.299, 0.3505], atol=1e-12)
    np.testing.assert_allclose(0.5 * (after.means[0] + after.means[2]), [0.0, 1.0], atol=1e-12)


def test_a_component_of_less_than_two_rows_is_not_split():
    even = mixture([0.0199, 0.0199, 0.0005])
    assert repaired(even, objective()) == (even, 0)


@pytest.mark.parametrize("method", ["hybrid", "em"])
def test_as_many_components_as_rows(method):
    """Repairs do not go on for ever, each undoing that before."""
    X = np.random.default_rng(29).normal(size=(30, 2))
    fitted = ExtremeDeconvolution(30, method=method, rng=1).fit(X, np.full(X.shape, 0.1))
    assert fitted.n_iter_ < 100
    assert fitted.n_repaired_ < 50


def test_repairs_without_end_stop_the_fit():
    broken = Monitor(objective(), 1e-5, 5, 500)
    passes = next(k for k in range(500) if broken.record("em", mixture([0.5, 0.5]), -1.0, n_repaired=1))
    assert passes < 30
    assert broken.repairing
    assert not broken.converged


def test_kept_components_are_not_repaired():
    sick = mixture([1e-9, 0.5, 0.5], np.stack([np.diag([1.0, 1e-20]), np.eye(2), np.eye(2)]))
    assert repaired(sick, objective(kept=Kept(1)))[1] == 0


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1e-6, 1e6)])
def test_a_singular_covariance_is_widened(scales):
    unit = np.outer(scales, scales)
    flat = np.array([[1.0, 1.0], [1.0, 1.0]]) * unit
    after, n = repaired(mixture([0.5, 0.5], np.stack([flat, np.eye(2) * unit])), objective(scales=scales))
    assert n == 1
    assert np.linalg.eigvalsh(after.covariances[0] / unit)[0] == pytest.approx(2e-12, rel=1e-3)
    assert repaired(after, objective(scales=scales))[1] == 0


def test_components_that_the_prior_alone_holds_are_counted():
    """Half of 100 rows on a point: the pseudo-rows make 1e-3 / 50 of the variance."""
    sick = mixture([0.5, 0.5], np.stack([np.eye(2), np.eye(2) * 1e-3 / 50]))
    assert n_held_by_prior(sick, objective(1e-3)) == 1
    assert n_held_by_prior(mixture([0.5, 0.5]), objective(1e-3)) == 0
    # pseudo-rows that are as many as rows are a wish, not a collapse
    assert n_held_by_prior(mixture([0.5, 0.5]), objective(100.0)) == 0


@pytest.mark.parametrize("method", ["hybrid", "em", "minibatch"])
@pytest.mark.parametrize("regularization", [0.0, 1e-3])
def test_thousands_of_equal_rows_without_noise(method, regularization):
    """They have no finite density; the fit ends, and says so."""
    rng = np.random.default_rng(25)
    X = np.concatenate([rng.normal(size=(1000, 2)), np.full((2000, 2), 0.5)])
    with pytest.warns(ComponentCollapseWarning, match="repeated rows"):
        fitted = ExtremeDeconvolution(
            3, method=method, regularization=regularization, max_iter=30, rng=2, tol=0.0
        ).fit(X)
    assert np.isfinite(fitted.score(X))
    assert fitted.n_held_by_prior_ >= 1
    assert (np.linalg.eigvalsh(fitted.covariances_) > 0).all()


@pytest.mark.parametrize("method", ["hybrid", "em", "minibatch", "sgd"])
@pytest.mark.parametrize("far", [1e6, 1e9, 1e20])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_a_row_very_far_away(method, far, n_columns):
    """Beside its variance, that of the others is lost in rounding; the others keep a density all the same."""
    X = np.random.default_rng(27).normal(size=(400, 2))
    X[7, :n_columns] = [2 * far, 3 * far][:n_columns]
    with pytest.warns(UserWarning, match=f"from the median of column {n_columns - 1}"):
        fitted = ExtremeDeconvolution(3, method=method, max_iter=8, rng=1).fit(X, np.full(X.shape, 0.01))
    others = np.delete(X, 7, axis=0)
    # the Gaussian that they are drawn from has -2.8
    assert fitted.score(others, np.full(others.shape, 0.01)) > -5


@pytest.mark.parametrize("method", ["hybrid", "em", "minibatch"])
def test_columns_that_are_multiples_without_regularization(method):
    x = np.random.default_rng(28).normal(size=(400, 1))
    with pytest.warns(ComponentCollapseWarning, match="no width of their own"):
        fitted = ExtremeDeconvolution(2, method=method, regularization=0, max_iter=8, rng=1).fit(np.c_[x, 2 * x])
    assert np.isfinite(fitted.score(np.c_[x, 2 * x]))


def test_thousands_of_equal_rows_with_noise():
    """With noise their density is finite, and the other rows keep theirs."""
    rng = np.random.default_rng(26)
    X = np.concatenate([rng.normal(size=(1000, 2)), np.full((2000, 2), 5.0)])
    X += rng.normal(0, 0.3, X.shape)
    fitted = ExtremeDeconvolution(2, method="em", max_iter=100, rng=3).fit(X, np.full(X.shape, 0.09))
    point = int(np.argmin(np.linalg.det(fitted.covariances_)))
    assert fitted.weights_[point] == pytest.approx(2 / 3, abs=0.01)
    np.testing.assert_allclose(fitted.means_[point], [5.0, 5.0], atol=0.03)
    assert np.diagonal(fitted.covariances_[point]).max() < 0.02
