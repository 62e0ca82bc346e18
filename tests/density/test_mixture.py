"""Mixtures against scipy.stats, against integrals done by brute force, and against draws."""

import astropy.units as u
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from celestepy.density.conditional import RowMixtures
from celestepy.density.mixture import GaussianMixture
from celestepy.density.noisy_rows import DensityError


def random_mixture(rng, n=4, d=3, names=None):
    factors = rng.normal(size=(n, d, d)) + 1.5 * np.eye(d)
    return GaussianMixture(rng.dirichlet(np.full(n, 3.0)), rng.normal(0, 2, (n, d)),
                           factors @ factors.transpose(0, 2, 1), names)


def slow_density(mixture, row, noise, projection):
    """Log density of the observed part of one row, by scipy."""
    seen = np.isfinite(row)
    matrix = projection[seen]
    logs = [multivariate_normal.logpdf(row[seen], matrix @ mean, matrix @ covariance @ matrix.T + noise[seen][:, seen])
            for mean, covariance in zip(mixture.means, mixture.covariances, strict=True)]
    return logsumexp(logs, b=mixture.weights)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def mixture(rng):
    return random_mixture(rng, names=["x", "y", "z"])


class TestDensity:
    def test_against_scipy(self, mixture, rng):
        rows = mixture.sample(50, rng)
        expected = logsumexp([multivariate_normal.logpdf(rows, mean, covariance) for mean, covariance in
                              zip(mixture.means, mixture.covariances, strict=True)], b=mixture.weights[:, None], axis=0)
        assert mixture.log_density(rows) == pytest.approx(expected, abs=1e-11)  # rounding of sums of a few terms

    def test_noisy_incomplete_projected(self, mixture, rng):
        projection = rng.normal(size=(40, 2, 3))
        rows = np.einsum("nab,nb->na", projection, mixture.sample(40, rng))
        rows[::3, 0] = np.nan
        noise = np.repeat([[[0.5, 0.2], [0.2, 0.4]]], 40, axis=0) * rng.uniform(0.1, 3, (40, 1, 1))
        found = mixture.log_density(rows, noise, projection)
        expected = [slow_density(mixture, *each) for each in zip(rows, noise, projection, strict=True)]
        assert found == pytest.approx(expected, abs=1e-11)

    def test_missing_is_the_same_as_marginalised_and_as_projected(self, mixture, rng):
        rows = mixture.sample(20, rng)
        rows[:, 1] = np.nan
        noise = np.array([0.3, 0.1, 0.2])
        missing = mixture.log_density(rows, np.tile(noise, (20, 1)))
        kept = rows[:, [0, 2]]
        projection = np.broadcast_to(np.eye(3)[[0, 2]], (20, 2, 3))
        projected = mixture.log_density(kept, np.tile(noise[[0, 2]], (20, 1)), projection)
        marginal = mixture.marginalize(["x", "z"]).log_density(kept, np.tile(noise[[0, 2]], (20, 1)))
        assert missing == pytest.approx(projected, abs=1e-13)
        assert missing == pytest.approx(marginal, abs=1e-13)

    def test_integrates_to_one(self):
        mixture = random_mixture(np.random.default_rng(1), n=3, d=1)
        grid = np.linspace(-40, 40, 20001)
        assert np.trapezoid(np.exp(mixture.log_density(grid[:, None])), grid) == pytest.approx(1, abs=1e-9)

    def test_a_row_of_nothing_says_nothing(self, mixture):
        nothing = np.full((1, 3), np.nan)
        assert mixture.log_density(nothing) == pytest.approx(0, abs=1e-15)
        assert mixture.responsibilities(nothing)[0] == pytest.approx(mixture.weights, abs=1e-15)
        assert mixture.posterior(nothing).covariance[0] == pytest.approx(mixture.covariance, rel=1e-12)

    def test_responsibilities_are_shares_of_the_density(self, mixture, rng):
        rows, noise = mixture.sample(10, rng), np.full((10, 3), 0.2)
        parts = [np.log(weight) + GaussianMixture([1], mean[None], covariance[None]).log_density(rows, noise)
                 for weight, mean, covariance in
                 zip(mixture.weights, mixture.means, mixture.covariances, strict=True)]
        expected = np.exp(np.array(parts) - mixture.log_density(rows, noise)).T
        assert mixture.responsibilities(rows, noise) == pytest.approx(expected, abs=1e-12)

    def test_a_component_of_no_weight_is_as_none(self, mixture, rng):
        rows = mixture.sample(10, rng)
        idle = GaussianMixture([*mixture.weights, 0], [*mixture.means, rows[0]],
                               [*mixture.covariances, 1e-6 * np.eye(3)])
        assert idle.log_density(rows) == pytest.approx(mixture.log_density(rows), abs=1e-13)
        assert np.all(idle.responsibilities(rows)[:, -1] == 0)
        assert idle.condition({0: 1.0}).weights[-1] == 0

    def test_the_callers_arrays_stay_as_they_are(self, mixture, rng):
        rows, noise = mixture.sample(5, rng).astype(np.float32), np.full((5, 3), 0.1)
        rows[0, 0] = np.nan
        before = rows.copy(), noise.copy()
        mixture.log_density(rows, noise)
        mixture.posterior(rows, noise)
        assert np.array_equal(rows, before[0], equal_nan=True)
        assert np.array_equal(noise, before[1])


class TestMoments:
    def test_of_draws(self, mixture, rng):
        draws = mixture.sample(200_000, rng)
        # the mean of 200 000 draws is known to 1/450 of a standard deviation; the bounds are five times that
        deviations = np.sqrt(np.diag(mixture.covariance))
        assert np.all(np.abs(draws.mean(axis=0) - mixture.mean) < 5 * deviations / np.sqrt(len(draws)))
        error = 10 * np.outer(deviations, deviations) / np.sqrt(len(draws))
        assert np.all(np.abs(np.cov(draws.T) - mixture.covariance) < error)

    def test_draws_are_those_of_the_seed(self, mixture):
        assert np.array_equal(mixture.sample(10, 3), mixture.sample(10, np.random.default_rng(3)))
        assert not np.array_equal(mixture.sample(10, 3), mixture.sample(10, 4))

    def test_transform(self, mixture, rng):
        matrix, offset = rng.normal(size=(2, 3)), rng.normal(size=2)
        changed = mixture.transform(matrix, offset, names=["u", "v"])
        assert changed.mean == pytest.approx(matrix @ mixture.mean + offset)
        assert changed.covariance == pytest.approx(matrix @ mixture.covariance @ matrix.T)
        assert changed.names == ("u", "v")
        square = rng.normal(size=(3, 3))  # densities of an invertible map differ by its determinant
        rows = mixture.sample(5, rng)
        found = mixture.transform(square).log_density(rows @ square.T) + np.linalg.slogdet(square)[1]
        assert found == pytest.approx(mixture.log_density(rows), abs=1e-10)


class TestCondition:
    def test_is_the_joint_over_the_marginal(self, mixture, rng):
        rows = mixture.sample(6, rng)
        given = mixture.condition({"y": rows[:, 1]})
        assert isinstance(given, RowMixtures)
        assert given.names == ("x", "z")
        expected = mixture.log_density(rows) - mixture.marginalize([1]).log_density(rows[:, [1]])
        assert given.log_density(rows[:, [0, 2]]) == pytest.approx(expected, abs=1e-11)

    def test_one_value_gives_one_mixture(self, mixture):
        one, many = mixture.condition({1: 0.4, "z": -1.0}), mixture.condition({1: [0.4, 0.4], 2: -1.0})
        assert isinstance(one, GaussianMixture)
        assert one.weights == pytest.approx(many[1].weights)
        assert one.names == many[1].names == ("x",)
        assert one.mean == pytest.approx(many.mean[0])
        assert one.covariance == pytest.approx(many.covariance[0])

    def test_is_the_posterior_of_a_value_of_almost_no_noise(self, mixture):
        row, noise = np.array([[np.nan, 0.4, np.nan]]), np.full((1, 3), 1e-10)
        found, expected = mixture.posterior(row, noise).marginalize(["x", "z"]), mixture.condition({"y": 0.4})
        assert found.mean[0] == pytest.approx(expected.mean, abs=1e-7)  # noise of 1e-5, against scales of one
        assert found.covariance[0] == pytest.approx(expected.covariance, abs=1e-7)

    def test_far_from_everything(self, mixture):
        far = mixture.condition({"x": 1e6})
        assert far.weights.sum() == pytest.approx(1)
        assert np.isfinite(far.mean).all()


class TestPosterior:
    def test_against_the_law_of_bayes(self, rng):
        """Prior times likelihood on a grid, in one dimension."""
        mixture = random_mixture(rng, n=3, d=1)
        x, noise = 0.7, 0.8
        grid = np.linspace(-30, 30, 60001)
        product = np.exp(mixture.log_density(grid[:, None]) - 0.5 * (grid - x) ** 2 / noise)
        product /= np.trapezoid(product, grid)
        found = mixture.posterior([[x]], [[noise]])
        mean = np.trapezoid(grid * product, grid)
        assert found.mean[0, 0] == pytest.approx(mean, abs=1e-9)
        variance = np.trapezoid((grid - mean) ** 2 * product, grid)
        assert found.covariance[0, 0, 0] == pytest.approx(variance, abs=1e-8)
        assert np.exp(found[[0] * 3].log_density([[0.1], [0.7], [2.0]])) == pytest.approx(
            np.interp([0.1, 0.7, 2.0], grid, product), abs=1e-9)

    def test_holds_the_truth_as_often_as_it_should(self, mixture, rng):
        truth = mixture.sample(4000, rng)
        noise = rng.uniform(0.2, 3, (4000, 3)) ** 2
        seen = truth + np.sqrt(noise) * rng.standard_normal(truth.shape)
        seen[rng.random(truth.shape) < 0.2] = np.nan
        draws = mixture.posterior(seen, noise).sample(99, rng)
        rank = (draws < truth[:, None, :]).mean(axis=1)
        inside = np.abs(rank - 0.5) < 0.34
        # the share of 68 % of 4000 has an error of 0.7 %, and 99 draws add 0.3 %
        assert inside.mean(axis=0) == pytest.approx([0.68] * 3, abs=0.025)

    def test_moments_of_many_rows_are_those_of_few(self, mixture, rng, monkeypatch):
        monkeypatch.setattr("celestepy.density.mixture._NUMBERS_AT_A_TIME", 3 * 4 * 9)
        rows, noise = mixture.sample(10, rng), np.full((10, 3), 0.4)
        rows[2, 1] = np.nan
        means, covariances = mixture.posterior_moments(rows, noise)
        known = mixture.posterior(rows, noise)
        assert means == pytest.approx(known.mean, abs=1e-13)
        assert covariances == pytest.approx(known.covariance, abs=1e-13)

    def test_what_is_known_exactly_stays(self, mixture):
        known = mixture.posterior([[0.1, 0.2, 0.3]])
        assert known.mean[0] == pytest.approx([0.1, 0.2, 0.3], abs=1e-9)
        assert known.covariance[0] == pytest.approx(np.zeros((3, 3)), abs=1e-9)
        assert known.sample(2, 1)[0] == pytest.approx(np.tile([0.1, 0.2, 0.3], (2, 1)), abs=1e-4)

    def test_rows_can_be_chosen(self, mixture, rng):
        rows = mixture.sample(6, rng)
        found = mixture.posterior(rows, np.full((6, 3), 0.5))
        assert len(found) == 6
        assert isinstance(found[2], GaussianMixture)
        assert found[2].mean == pytest.approx(found.mean[2])
        assert found[2:4].mean == pytest.approx(found.mean[2:4])
        assert found.marginalize(["z"]).mean == pytest.approx(found.mean[:, [2]])


class TestRefusals:
    GOOD = ([0.5, 0.5], np.zeros((2, 2)), np.array([np.eye(2)] * 2))

    @pytest.mark.parametrize(("which", "value", "message"), [
        (0, [0.5, -0.5], "weights: none may be negative.*component 1"),
        (0, [0.0, 0.0], "weights"),
        (0, ["a", "b"], "weights: expected an array of numbers"),
        (0, [0.5, np.nan], r"weights: every number must be finite, got nan at \[1\]"),
        (1, np.zeros((3, 2)), r"means: 2 weights need means of shape \(2, D\)"),
        (1, np.zeros(2), "means"),
        (2, np.ones((2, 2)), r"covariances: .* of shape \(2, 2, 2\)"),
        (2, [np.eye(2), np.ones((2, 2))], "component 1 is not positive definite.*floor"),
        (2, [np.eye(2), [[1, 0.5], [0.1, 1]]], "component 1 is not symmetric"),
        (2, [np.eye(2), np.diag([1.0, 0.0])], "component 1 has the variance 0 in dimension 1"),
    ])
    def test_of_what_is_no_mixture(self, which, value, message):
        arguments = list(self.GOOD)
        arguments[which] = value
        with pytest.raises(DensityError, match=message):
            GaussianMixture(*arguments)

    @pytest.mark.parametrize("names", [["x"], ["x", "x"], ["x", 3], "xy"])
    def test_of_names(self, names):
        with pytest.raises(DensityError, match="names: expected 2 different names"):
            GaussianMixture(*self.GOOD, names)

    def test_of_dimensions(self, mixture):
        for dims, message in ((["q"], "'q': no such dimension; give one of x, y, z"), ([3], "0 to 2"),
                              ([0, "x"], "twice"), ([], "at least one"), ([True], "no such")):
            with pytest.raises(DensityError, match=message):
                mixture.marginalize(dims)
        with pytest.raises(DensityError, match="leave at least one"):
            mixture.condition({"x": 1, "y": 2, "z": 3})
        with pytest.raises(DensityError, match="arrays of one length"):
            mixture.condition({"x": [1.0, 2.0], "y": [1.0, 2.0, 3.0]})
        with pytest.raises(DensityError, match=r"values\['x'\]: every number must be finite"):
            mixture.condition({"x": np.nan})

    def test_of_rows_of_other_dimensions(self, mixture):
        with pytest.raises(DensityError, match="X: for a mixture in 3 dimensions, but this has 2 columns"):
            mixture.log_density(np.zeros((4, 2)))
        with pytest.raises(DensityError, match=r"matrix: expected shape \(C, 3\)"):
            mixture.transform(np.eye(2))

    def test_of_a_density_where_there_is_none(self, mixture):
        with pytest.raises(DensityError, match="known exactly"):
            RowMixtures(np.ones((1, 1)), np.zeros((1, 1, 2)), np.zeros((1, 1, 2, 2))).log_density(np.zeros((1, 2)))
        with pytest.raises(DensityError, match="values: expected shape"):
            mixture.posterior(np.zeros((2, 3)), np.ones((2, 3))).log_density(np.zeros((1, 3)))

    @pytest.mark.parametrize("method", ["sample", "rows"])
    def test_of_draws(self, mixture, method):
        draw = mixture.sample if method == "sample" else mixture.posterior(np.zeros((1, 3)), np.ones(3)).sample
        for n in (-1, 2.5, "a", None, True):
            with pytest.raises(DensityError, match=f"{n!r}, expected a number of draws"):
                draw(n)
        for seed in ("a", -1, 1.5):
            with pytest.raises(DensityError, match=f"rng: {seed!r}, expected a seed"):
                draw(2, seed)

    @pytest.mark.parametrize("n_jobs", [0, "a", 1.5, True])
    def test_of_threads(self, mixture, n_jobs):
        with pytest.raises(DensityError, match=f"n_jobs: {n_jobs!r}, expected a number of threads"):
            mixture.log_density(np.zeros((2, 3)), n_jobs=n_jobs)

    def test_of_what_has_no_elements(self, mixture):
        with pytest.raises(DensityError, match="names: 5, expected a sequence"):
            GaussianMixture(*self.GOOD, names=5)
        for law in (mixture, mixture.posterior(np.zeros((1, 3)), np.ones(3))):
            with pytest.raises(DensityError, match=r"dims: 0, expected a sequence of dimensions.*\[0\]"):
                law.marginalize(0)
        with pytest.raises(DensityError, match=r"values: \[0\], expected a mapping"):
            mixture.condition([0])

    def test_of_values_out_of_reach(self, mixture):
        with pytest.raises(DensityError, match=r"\[1e\+160\] of row 1 are so far from every component"):
            mixture.condition({"x": [0.0, 1e160]})

    def test_of_units_and_masks(self, mixture, rng):
        rows = mixture.sample(3, rng)
        for given in ((rows * u.mas,), (rows, np.ones(3) * u.mas**2), (rows, None, np.eye(3) * u.km)):
            with pytest.raises(DensityError, match="a Quantity in .* expected plain numbers"):
                mixture.log_density(*given)
        assert mixture.log_density(rows * u.one) == pytest.approx(mixture.log_density(rows))
        with pytest.raises(DensityError, match=r"values\['x'\]: a Quantity in mas"):
            mixture.condition({"x": 1 * u.mas})
        means = np.ma.array(mixture.means, mask=np.arange(12).reshape(4, 3) == 5)
        with pytest.raises(DensityError, match=r"means: masked at \[1, 2\]"):
            GaussianMixture(mixture.weights, means, mixture.covariances)

    def test_of_combinations(self, mixture):
        for matrix in ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], [[1, 2, 3], [2e-9, 4e-9, 6e-9]], np.eye(4)[:, :3]):
            with pytest.raises(DensityError, match=f"matrix: of rank .*, expected {len(matrix)}.* leave them out"):
                mixture.transform(matrix)
        for offset in (np.zeros(2), np.zeros((3, 1)), np.zeros((3, 3)), np.zeros((4, 3))):
            with pytest.raises(DensityError, match=r"offset: expected one number, or shape \(3,\)"):
                mixture.transform(np.eye(3), offset)

    def test_scales_may_differ_by_twelve_digits(self, rng):
        scales = np.array([1e-6, 1.0, 1e6])
        plain = random_mixture(rng)
        scaled = plain.transform(np.diag(scales))
        rows = plain.sample(5, rng)
        found = scaled.log_density(rows * scales) + np.log(scales).sum()
        assert found == pytest.approx(plain.log_density(rows), abs=1e-10)

    def test_nothing_can_be_changed(self, mixture):
        with pytest.raises(ValueError, match="read-only"):
            mixture.means[0, 0] = 1.0
        with pytest.raises(AttributeError):
            mixture.weights = np.ones(4)


class TestRowMixtures:
    def test_what_is_known_exactly_is_so_to_the_last_bit(self, mixture):
        """Rounding once left variances of 1e-32, which passed for a density."""
        known = mixture.posterior([[1.0, 2.0, np.nan]])
        assert not known.covariances[..., :2].any()
        assert not known.covariances[:, :, :2].any()
        assert (known.means[0, :, :2] == [1.0, 2.0]).all()
        assert known.marginalize(["z"])[0].n_dims == 1
        with pytest.raises(DensityError, match=r"row 0: known exactly in the dimensions \['x', 'y'\].*marginalize"):
            known[0]
        with pytest.raises(DensityError, match="row 0: its density is zero"):
            RowMixtures(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1, 1)))[0]

    def test_a_combination_that_is_known_exactly(self):
        law = GaussianMixture([1], np.zeros((1, 2)), np.eye(2)[None]).posterior([[1.0]], projection=[[1.0, 1.0]])
        with pytest.raises(DensityError, match=r"row 0: no mixture with a density, as where a combination.*marginal"):
            law[0]

    def test_arrays_of_the_caller_are_left_alone(self):
        weights, means, covariances = np.ones((1, 1)), np.zeros((1, 1, 2)), np.eye(2)[None]
        law = RowMixtures(weights, means, covariances)
        assert weights.flags.writeable
        assert np.shares_memory(law.weights, weights)
        with pytest.raises(ValueError, match="read-only"):
            law.weights[0] = 2.0
        assert (RowMixtures(weights.tolist(), means.tolist(), covariances.tolist()).covariance == np.eye(2)).all()

    def test_what_is_none(self):
        good = np.ones((1, 1)), np.zeros((1, 1, 2)), np.eye(2)[None]
        for k, value, message in ((0, np.ones((1, 2)), r"got \(1, 2\)"), (2, np.eye(3)[None], r"\(1, 3, 3\)"),
                                  (1, "a", "means: expected an array of numbers")):
            with pytest.raises(DensityError, match=message):
                RowMixtures(*(value if i == k else array for i, array in enumerate(good)))
        with pytest.raises(DensityError, match="names: expected 2, one for each dimension"):
            RowMixtures(*good, names="xy")
        for value, message in (("a", "values: expected an array of numbers"), (np.nan, "values: every number must be")):
            with pytest.raises(DensityError, match=message):
                RowMixtures(*good).log_density([[value, 0]])

    def test_of_no_rows(self, mixture):
        law = mixture.posterior(np.zeros((0, 3)))
        assert law.mean.shape == (0, 3)
        assert law.sample(4, 1).shape == (0, 4, 3)


def test_equality_and_text(mixture):
    twin = GaussianMixture(mixture.weights, mixture.means, mixture.covariances, mixture.names)
    assert twin == mixture
    assert GaussianMixture(mixture.weights, mixture.means, mixture.covariances) != mixture
    assert mixture != "mixture"
    assert repr(mixture) == "<GaussianMixture of 4 components in 3 dimensions: x, y, z>"
    assert GaussianMixture([2, 2], np.zeros((2, 1)), np.ones((2, 1, 1))).weights == pytest.approx([0.5, 0.5])
