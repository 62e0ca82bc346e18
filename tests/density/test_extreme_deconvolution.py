"""The estimator as a whole: recovery, equivalence of inputs, reproducibility, early stopping, and bad input."""

import logging

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density import DensityError, ExtremeDeconvolution, GaussianMixture, NoisyRows

METHODS = ["hybrid", "em", "minibatch", "sgd"]


@pytest.fixture(scope="module")
def sample():
    """Three components six widths apart, with noise of half their width and a tenth of the values missing."""
    return noisy_sample(seed=60, n=3000, k=3, d=3, separation=6.0, missing=0.1)


def fit(sample, n=3, **settings):
    return ExtremeDeconvolution(n, **({"rng": 1} | settings)).fit(*sample.rows)


def in_order_of(sample, fitted):
    order = [int(np.argmin(((fitted.means_ - mean) ** 2).sum(axis=1))) for mean in sample.means]
    assert sorted(order) == list(range(len(sample.means)))
    return order


class TestRecovery:
    @pytest.mark.parametrize("method", METHODS)
    def test_components_of_a_well_separated_mixture(self, sample, method):
        fitted = fit(sample, method=method, **({"learning_rate": 0.03} if method == "sgd" else {}))
        order = in_order_of(sample, fitted)
        # Of 3000 rows the least has 600: standard errors of 0.05 for means and 0.07 for variances of one; 4 sigma.
        np.testing.assert_allclose(fitted.weights_[order], sample.weights, atol=0.04)
        np.testing.assert_allclose(fitted.means_[order], sample.means, atol=0.2)
        np.testing.assert_allclose(fitted.covariances_[order], sample.covariances, atol=0.3)

    def test_beats_the_truth_on_its_own_rows(self, sample):
        counted = ~np.isnan(sample.X).all(axis=1)
        truth = GaussianMixture(*sample.truth).log_density(*sample.rows)[counted].mean()
        excess = fit(sample, method="em").score(*sample.rows) - truth
        # half a nat for each of 29 parameters, over 3000 rows: 0.005, give or take 0.0013
        assert 0 < excess < 0.011

    def test_noise_is_taken_off(self):
        """Rows of one point with known noise: the density of the point has no width."""
        rng = np.random.default_rng(61)
        S = rng.uniform(0.5, 2.0, (4000, 2))
        fitted = ExtremeDeconvolution(1, method="em", rng=1, regularization=0.0).fit(rng.normal(0, np.sqrt(S)), S)
        assert np.diagonal(fitted.covariances_[0]).max() < 0.1

    def test_projected_rows(self):
        """Plane vectors of which each row shows one direction: the covariance of both is found."""
        rng = np.random.default_rng(62)
        covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
        v = rng.multivariate_normal([3.0, -1.0], covariance, 5000)
        angle = rng.uniform(0, np.pi, 5000)
        R = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None, :]
        x = np.einsum("nab,nb->na", R, v) + rng.normal(0, 0.5, (5000, 1))
        fitted = ExtremeDeconvolution(1, method="em", rng=1).fit(x, np.full((5000, 1), 0.25), R)
        np.testing.assert_allclose(fitted.means_[0], [3.0, -1.0], atol=0.12)
        np.testing.assert_allclose(fitted.covariances_[0], covariance, atol=0.3)


class TestInputs:
    settings = {"max_iter": 6, "rng": 5}

    def fits(self, *inputs, **settings):
        return [ExtremeDeconvolution(2, **(self.settings | settings)).fit(*arguments) for arguments in inputs]

    @staticmethod
    def same(fits, **tolerance):
        for other in fits[1:]:
            for name in ("weights_", "means_", "covariances_"):
                np.testing.assert_allclose(getattr(other, name), getattr(fits[0], name), **tolerance)

    def test_missing_values_equal_projected_ones(self, sample):
        """A NaN in the last column, and a projection on the first two: the same likelihood, pass for pass."""
        X, S = sample.noiseless[:400].copy(), np.tile(0.1 * np.eye(3), (400, 1, 1))
        holes = X.copy()
        holes[:, 2] = np.nan
        holes[:200, 2] = X[:200, 2]
        R = np.tile(np.eye(3), (400, 1, 1))
        R[200:, 2] = 0.0  # a value that is noise alone: its density does not depend on the mixture
        start = (np.array([0.5, 0.5]), X[:2].copy(), np.stack([9 * np.eye(3)] * 2))
        settings = {"method": "em", "init": start, "max_iter": 20, "regularization": 0.0}
        self.same(self.fits((holes, S), (X, S, R), **settings), atol=1e-9)

    def test_ways_to_give_the_same_rows(self, sample):
        X = sample.noiseless[:500]
        masked = np.ma.masked_array(X, X > 20)
        holes = np.where(X > 20, np.nan, X)
        full = np.tile(np.diag([0.1, 0.2, 0.3]), (500, 1, 1))
        diagonal = np.tile([0.1, 0.2, 0.3], (500, 1))
        self.same(
            self.fits((masked, full), (holes, diagonal), (NoisyRows.from_input(holes, diagonal),), (holes, full[0])),
            rtol=1e-6, atol=1e-8,
        )

    def test_float32_and_other_byte_orders(self, sample):
        X = sample.noiseless[:500].astype(np.float32)
        self.same(self.fits((X,), (X.astype(float),), (X.astype(">f8"),)), atol=1e-12)

    def test_a_stream_of_chunks(self, sample):
        X, S = sample.rows
        start = (np.array([0.5, 0.5]), sample.means[:2], sample.covariances[:2])
        chunks = lambda: ((X[k : k + 300], S[k : k + 300]) for k in range(0, 3000, 300))  # noqa: E731
        self.same(self.fits((X, S), (chunks,), method="em", init=start), atol=1e-10)
        streamed = ExtremeDeconvolution(3, rng=1).fit(chunks)
        order = in_order_of(sample, streamed)
        np.testing.assert_allclose(streamed.means_[order], sample.means, atol=0.2)

    def test_weights_count_as_repetitions(self, sample):
        X, S = sample.X[:500], sample.covariance[:500]
        counts = np.random.default_rng(63).integers(0, 4, 500)
        start = (np.array([0.5, 0.5]), sample.means[:2], sample.covariances[:2])
        settings = {"method": "em", "init": start, "max_iter": 10, "regularization": 0.0}
        weighted = ExtremeDeconvolution(2, **settings).fit(X, S, weights=counts)
        repeated = ExtremeDeconvolution(2, **settings).fit(np.repeat(X, counts, axis=0), np.repeat(S, counts, axis=0))
        self.same([weighted, repeated], atol=1e-10)
        assert weighted.score(X, S, weights=counts) == pytest.approx(
            repeated.score(np.repeat(X, counts, axis=0), np.repeat(S, counts, axis=0)), abs=1e-10
        )
        assert weighted.bic(X, S, weights=counts) == pytest.approx(
            repeated.bic(np.repeat(X, counts, axis=0), np.repeat(S, counts, axis=0)), rel=1e-10
        )
        np.testing.assert_allclose(weighted.scales_, repeated.scales_, rtol=1e-12)

    def test_rows_without_values_change_nothing(self, sample):
        X, S = sample.X[:500], sample.covariance[:500]
        more, noise = np.concatenate([X, np.full((50, 3), np.nan)]), np.concatenate([S, S[:50]])
        start = (np.array([0.5, 0.5]), sample.means[:2], sample.covariances[:2])
        fits = self.fits((X, S), (more, noise), method="em", init=start, regularization=0.0)
        self.same(fits, atol=1e-10)
        # the log of a sum of weights
        np.testing.assert_allclose(fits[0].score_samples(more, noise)[500:], 0, atol=1e-15)
        assert fits[0].score(more, noise) == pytest.approx(fits[0].score(X, S), abs=1e-12)

    def test_the_arrays_given_are_not_changed(self, sample):
        X, S, weights = sample.X.copy(), sample.covariance.copy(), np.ones(3000)
        for array in (X, S, weights):
            array.flags.writeable = False
        ExtremeDeconvolution(2, max_iter=3, rng=1).fit(X, S, weights=weights)
        np.testing.assert_array_equal(X, sample.X)

    def test_units_do_not_matter(self, sample):
        """Columns twelve digits apart give the same mixture in their units, regularisation included."""
        units = np.array([1e-6, 1.0, 1e6])
        scaled = sample.X * units, sample.covariance * np.outer(units, units)
        plain, other = self.fits(sample.rows, scaled, regularization=5.0)
        np.testing.assert_allclose(other.means_ / units, plain.means_, atol=1e-6)
        np.testing.assert_allclose(other.covariances_ / np.outer(units, units), plain.covariances_, atol=1e-6)


class TestFixed:
    def test_fixed_components_stay(self, sample):
        wide = (np.array([0.05]), np.zeros((1, 3)), 400 * np.eye(3)[None])
        fitted = fit(sample, 4, fixed=wide, method="em", max_iter=20)
        np.testing.assert_array_equal(fitted.means_[0], 0)
        np.testing.assert_array_equal(fitted.covariances_[0], wide[2][0])
        assert fitted.weights_[0] == 0.05
        free = fit(sample, 4, fixed=wide, fixed_weights=False)
        np.testing.assert_array_equal(free.covariances_[0], wide[2][0])
        assert free.weights_[0] < 0.01  # the rows have no such background

    @pytest.mark.parametrize("method", METHODS)
    def test_in_every_method(self, sample, method):
        mixture = GaussianMixture(*sample.truth)
        fitted = fit(sample, 4, fixed=mixture, fixed_weights=False, method=method, max_iter=3)
        np.testing.assert_allclose(fitted.means_[:3], sample.means, atol=1e-12)
        assert fitted.weights_.sum() == pytest.approx(1.0, abs=1e-12)


    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("fixed_weights", [True, False])
    def test_nothing_but_fixed_components(self, sample, method, fixed_weights):
        truth = GaussianMixture(*sample.truth)
        fitted = fit(sample, 3, fixed=truth, fixed_weights=fixed_weights, method=method, max_iter=3)
        np.testing.assert_allclose(fitted.means_, sample.means, atol=1e-12)
        n = (~np.isnan(sample.X).all(axis=1)).sum()
        expected = -2 * fitted.score(*sample.rows) * n + (0 if fixed_weights else 2) * np.log(n)
        assert fitted.bic(*sample.rows) == pytest.approx(expected, rel=1e-12)


class TestReproducible:
    @pytest.mark.parametrize("method", METHODS)
    def test_by_seed_and_for_any_number_of_threads(self, method):
        sample = noisy_sample(seed=64, n=6000, k=4, d=2)
        one, two, other = (
            fit(sample, 4, method=method, max_iter=4, batch_size=3000, validation_fraction=0.1, rng=seed, n_jobs=jobs)
            for seed, jobs in ((1, 1), (1, 3), (2, 1))
        )
        for name in ("weights_", "means_", "covariances_"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            assert (getattr(one, name) != getattr(other, name)).any()


class TestEarlyStopping:
    def test_the_best_held_out_mixture_is_returned(self):
        """Far too many components for 300 rows: the held-out score falls again, and the fit stops."""
        sample = noisy_sample(seed=65, n=400, k=1, d=3)
        fitted = fit(
            sample, 40, method="em", validation_fraction=0.3, patience=3, max_iter=200, regularization=0.0, tol=1e-6
        )
        scores = np.array([entry.held_out_score for entry in fitted.trace_])
        assert len(scores) < 200
        assert np.argmax(scores) < len(scores) - 1
        training = fit(sample, 40, method="em", max_iter=200, regularization=0.0, tol=1e-6)
        fresh = noisy_sample(seed=65, n=400, k=1, d=3)
        assert fitted.score(*fresh.rows) < training.score(*fresh.rows)  # which overfits its own rows more

    def test_no_held_out_rows_no_held_out_scores(self, sample):
        assert all(np.isnan(entry.held_out_score) for entry in fit(sample, max_iter=3).trace_)


class TestTrace:
    def test_em_rises_and_converges(self, sample):
        fitted = fit(sample, method="em", tol=1e-7)
        values = np.array([entry.objective for entry in fitted.trace_])
        assert (np.diff(values) > -1e-12).all()
        assert fitted.converged_
        assert values[-1] - values[-2] < 1e-7 <= values[-2] - values[-3]
        assert fitted.n_iter_ == len(values)

    @pytest.mark.parametrize("method", ["minibatch", "sgd"])
    def test_methods_of_many_steps_converge(self, sample, method):
        fitted = fit(sample, method=method, tol=1e-2, max_iter=100)
        assert fitted.converged_
        assert fitted.n_iter_ < 100

    def test_phases_of_the_hybrid_method(self, sample):
        phases = [entry.phase for entry in fit(sample, max_iter=10).trace_]
        assert phases == ["minibatch"] * 9 + ["em"]

    @pytest.mark.parametrize("passes", [1, 2, 3])
    def test_the_hybrid_method_in_few_passes(self, sample, passes):
        phases = [entry.phase for entry in fit(sample, max_iter=passes).trace_]
        assert phases == ["minibatch"] * (passes - 1) + ["em"]

    def test_progress_and_log(self, sample, capsys, caplog):
        with caplog.at_level(logging.INFO, "celestepy.density"):
            fit(sample, max_iter=3)
        assert capsys.readouterr().err == ""
        assert sum("mean log density" in record.message for record in caplog.records) == 3
        fit(sample, max_iter=3, progress=True)
        shown = capsys.readouterr().err
        assert "0/3" in shown
        assert "em: -" in shown


class TestScores:
    def test_are_those_of_the_mixture(self, sample):
        fitted = fit(sample, max_iter=5)
        found = fitted.score_samples(*sample.rows)
        np.testing.assert_allclose(found, fitted.mixture_.log_density(*sample.rows), atol=1e-12)
        counted = ~np.isnan(sample.X).all(axis=1)
        assert fitted.score(*sample.rows) == pytest.approx(found[counted].mean(), abs=1e-12)

    def test_bic(self, sample):
        fitted = fit(sample, max_iter=5)
        n = (~np.isnan(sample.X).all(axis=1)).sum()
        expected = -2 * fitted.score_samples(*sample.rows).sum() + (2 + 3 * 9) * np.log(n)
        assert fitted.bic(*sample.rows) == pytest.approx(expected, rel=1e-12)
        scores = {k: fit(sample, k, method="em").bic(*sample.rows) for k in (2, 3, 4)}
        assert min(scores, key=scores.get) == 3

    def test_draws(self, sample):
        fitted = fit(sample, max_iter=5)
        draws = fitted.sample(20_000, rng=1)
        assert draws.shape == (20_000, 3)
        # separations of six: standard error 0.05
        np.testing.assert_allclose(draws.mean(axis=0), fitted.weights_ @ fitted.means_, atol=0.25)


class TestParameters:
    def test_like_scikit_learn(self):
        xd = ExtremeDeconvolution(3, tol=1e-3)
        assert xd.get_params()["tol"] == 1e-3
        assert xd.set_params(tol=1e-4, method="em") is xd
        assert repr(xd) == "ExtremeDeconvolution(n_components=3, method='em', tol=0.0001)"
        assert ExtremeDeconvolution(**xd.get_params()).get_params() == xd.get_params()
        with pytest.raises(DensityError, match="tolerance is no parameter"):
            xd.set_params(tolerance=1)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "newton"}, "method = 'newton'; expected one of hybrid, em, minibatch, sgd"),
            ({"init": "random"}, "init = 'random'; expected kmeans or k-means"),
            ({"n_components": 0}, "n_components = 0"),
            ({"n_components": 2.0}, "n_components = 2.0"),
            ({"max_iter": 0}, "max_iter = 0"),
            ({"batch_size": True}, "batch_size = True"),
            ({"split_merge": -1}, "split_merge = -1"),
            ({"tol": -1.0}, "tol = -1.0"),
            ({"regularization": np.inf}, "regularization = inf"),
            ({"learning_rate": "fast"}, "learning_rate = 'fast'"),
            ({"validation_fraction": 1.0}, "validation_fraction = 1.0"),
            ({"patience": None}, "patience = None"),
            ({"n_jobs": 0}, "n_jobs: 0"),
            ({"rng": "a"}, "rng: 'a'"),
            ({"learning_rate": 100, "method": "sgd"}, "learning_rate = 100: the steps diverge"),
        ],
    )
    def test_are_checked_at_the_fit(self, sample, settings, message):
        xd = ExtremeDeconvolution(**({"n_components": 2} | settings))
        with pytest.raises(DensityError, match=message):
            xd.fit(*sample.rows)

    @pytest.mark.parametrize("call", ["score", "score_samples", "bic"])
    def test_nothing_before_the_fit(self, sample, call):
        with pytest.raises(DensityError, match="call fit first"):
            getattr(ExtremeDeconvolution(2), call)(*sample.rows)
        with pytest.raises(DensityError, match="call fit first"):
            ExtremeDeconvolution(2).sample(3)


class TestBadRows:
    def refuse(self, message, X, *arguments, n=2, **more):
        with pytest.raises(DensityError, match=message):
            ExtremeDeconvolution(n).fit(X, *arguments, **more)

    def test_refused(self):
        X = np.random.default_rng(66).normal(size=(50, 2))
        bad = X.copy()
        bad[7, 1] = np.inf
        self.refuse("row 7", bad)
        self.refuse("n_components = 60 is more than the 50 rows", X, n=60)
        self.refuse("no row with an observed value", np.full((50, 2), np.nan))
        self.refuse("column 1 of X is 3 in every row and has no noise", np.column_stack([X[:, 0], np.full(50, 3.0)]))
        self.refuse("not symmetric", X, np.tile([[1.0, 0.5], [0.0, 1.0]], (50, 1, 1)))
        self.refuse("positive semi-definite", X, np.tile([[1.0, 2.0], [2.0, 1.0]], (50, 1, 1)))
        self.refuse("negative variance", X, np.full((50, 2), -1.0))
        self.refuse("real numbers", np.array([["a", "b"]] * 50))
        self.refuse("expected one for each of the 50 rows", X, weights=np.ones(3))
        self.refuse("positive weight", X, weights=np.zeros(50))
        self.refuse("more than the 3 rows", X, weights=np.arange(50) < 3, n=4)

    def test_as_many_rows_as_components(self):
        X = np.random.default_rng(67).normal(size=(5, 2))
        fitted = ExtremeDeconvolution(5, method="em", rng=1, regularization=0.1).fit(X)
        assert np.isfinite(fitted.score(X))
        assert fitted.weights_.sum() == pytest.approx(1.0)

    def test_a_constant_column_with_noise(self):
        rng = np.random.default_rng(68)
        X = np.column_stack([rng.normal(size=300), np.full(300, 3.0)])
        fitted = ExtremeDeconvolution(1, method="em").fit(X, np.full((300, 2), 0.01))
        assert fitted.means_[0, 1] == pytest.approx(3.0, abs=1e-9)
        assert fitted.covariances_[0, 1, 1] < 0.001
