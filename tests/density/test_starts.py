"""Where fits begin: scales, k-means, given mixtures, fixed components."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density.kmeans import kmeans, nearest_centre, seeds_plus_plus
from celestepy.density.noisy_rows import DensityError, NoisyRows
from celestepy.density.objective import Components
from celestepy.density.scales import column_scales, filled_points, single_gaussian
from celestepy.density.starts import fixed_components, free_components, given_components, kmeans_components, together


class TestScales:
    def test_robust(self):
        """A tenth of outliers moves the scale by less than a fifth: the median deviation, not the variance."""
        rng = np.random.default_rng(30)
        X = rng.normal([5.0, -1e6], [2.0, 1e3], (4000, 2))
        X[:400] += 1e9
        centre, scales = column_scales(NoisyRows.from_input(X))
        np.testing.assert_allclose(scales, [2.0, 1e3], rtol=0.2)
        np.testing.assert_allclose((centre - [5.0, -1e6]) / scales, 0, atol=0.25)

    def test_missing_values_are_left_out(self):
        sample = noisy_sample(seed=31, n=3000, missing=0.3)
        scales = column_scales(NoisyRows.from_input(sample.X))[1]
        seen = [column[~np.isnan(column)] for column in sample.X.T]
        np.testing.assert_allclose(scales, [1.4826 * np.median(np.abs(c - np.median(c))) for c in seen])

    def test_twelve_digits_of_dynamic_range(self):
        X = np.random.default_rng(32).normal(size=(1000, 2)) * [1e-6, 1e6]
        np.testing.assert_allclose(column_scales(NoisyRows.from_input(X))[1], [1e-6, 1e6], rtol=0.1)

    def test_many_equal_values(self):
        X = np.zeros((1000, 1))
        X[:300, 0] = np.random.default_rng(33).normal(size=300)
        assert column_scales(NoisyRows.from_input(X))[1][0] == pytest.approx(X.std())

    def test_a_constant_column_has_its_noise_for_a_scale(self):
        X = np.column_stack([np.random.default_rng(34).normal(size=100), np.full(100, 3.0)])
        assert column_scales(NoisyRows.from_input(X, np.full((100, 2), 0.04)))[1][1] == pytest.approx(0.2)
        with pytest.raises(DensityError, match="column 1 of X is 3 in every row and has no noise"):
            column_scales(NoisyRows.from_input(X))

    def test_a_column_that_is_never_observed(self):
        X = np.column_stack([np.arange(5.0), np.full(5, np.nan)])
        with pytest.raises(DensityError, match="column 1 of X has no observed value"):
            column_scales(NoisyRows.from_input(X))

    def test_projected(self):
        """Each row sees one of two directions; the scales are those of the space behind."""
        rng = np.random.default_rng(35)
        v = rng.normal([1.0, -2.0], [1.0, 3.0], (4000, 2))
        angle = rng.uniform(0, np.pi, 4000)
        R = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None, :]
        x = np.einsum("nab,nb->na", R, v)
        centre, scales = column_scales(NoisyRows.from_input(x, np.full((4000, 1), 0.01), R))
        # standard errors of two parameters from half the information each: 0.03 and 0.02 of the widths
        np.testing.assert_allclose((centre - [1, -2]) / [1, 3], 0, atol=0.15)
        np.testing.assert_allclose(scales, [1.0, 3.0], rtol=0.15)

    def test_a_direction_that_nothing_shows(self):
        R = np.tile([[1.0, 1.0]], (50, 1, 1))
        with pytest.raises(DensityError, match="leaves a direction out"):
            column_scales(NoisyRows.from_input(np.ones((50, 1)), np.ones((50, 1)), R))


def test_single_gaussian_is_the_sample_s_moments():
    X = noisy_sample(seed=36, k=1).noiseless
    one = single_gaussian(NoisyRows.from_input(X))
    np.testing.assert_allclose(one.means[0], X.mean(axis=0), atol=1e-9)
    # of 2000 rows, and a thousandth of a pseudo-row
    np.testing.assert_allclose(one.covariances[0], np.cov(X.T, bias=True), rtol=1e-5, atol=1e-6)


def test_filled_values_follow_the_others():
    """Where one of two columns with correlation 0.95 is missing, the other one says what it was."""
    rng = np.random.default_rng(37)
    X = rng.multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], 2000)
    holes = X.copy()
    holes[:500, 0] = np.nan
    points, unknown = filled_points(NoisyRows.from_input(holes))
    np.testing.assert_array_equal(points[500:], X[500:])
    assert np.std(points[:500, 0] - X[:500, 0]) == pytest.approx(np.sqrt(1 - 0.95**2), rel=0.1)
    np.testing.assert_allclose(unknown[:500, 0], 1 - 0.95**2, rtol=0.15)
    assert not unknown[500:].any()


class TestKmeans:
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])

    def points(self):
        rng = np.random.default_rng(38)
        return rng.permutation(np.repeat(self.centres, 500, axis=0) + rng.normal(0, 0.5, (2000, 2)))

    def test_seeds_are_far_apart(self):
        """Each of the four groups has a seed, whatever the draws."""
        points = self.points()
        for seed in range(20):
            found = seeds_plus_plus(points, 4, np.random.default_rng(seed))
            assert sorted(nearest_centre(found, self.centres)) == [0, 1, 2, 3]

    def test_centres_are_the_means_of_the_groups(self):
        points = self.points()
        start = self.centres + np.random.default_rng(39).normal(0, 2, (4, 2))
        found = kmeans(points, start, np.random.default_rng(40))
        # standard error of a group's mean: 0.5 / sqrt(500), and of five passes' running mean no more
        np.testing.assert_allclose(found, self.centres, atol=0.12)

    def test_fewer_points_than_centres(self):
        found = seeds_plus_plus(np.array([[1.0], [1.0], [2.0]]), 5, np.random.default_rng(41))
        assert set(found.ravel()) == {1.0, 2.0}


class TestKmeansComponents:
    @pytest.mark.parametrize("refine", [True, False])
    def test_finds_groups_and_takes_off_the_noise(self, refine):
        sample = noisy_sample(seed=42, n=6000, k=3, d=2, separation=8.0, noise=1.0)
        rows = NoisyRows.from_input(*sample.rows)
        found = kmeans_components(rows, 3, column_scales(rows), np.random.default_rng(43), refine=refine)
        order = [int(np.argmin(((found.means - mean) ** 2).sum(axis=1))) for mean in sample.means]
        assert sorted(order) == [0, 1, 2]
        np.testing.assert_allclose(found.weights[order], sample.weights, atol=0.05)
        np.testing.assert_allclose(found.means[order], sample.means, atol=0.3)
        # noise of the same size as the components would double the covariances
        np.testing.assert_allclose(found.covariances[order], sample.covariances, atol=0.45)

    def test_noise_alone_leaves_positive_definite_covariances(self):
        rng = np.random.default_rng(44)
        rows = NoisyRows.from_input(rng.normal(0, 1, (500, 3)), np.full((500, 3), 2.0))
        found = kmeans_components(rows, 4, column_scales(rows), rng)
        assert (np.linalg.eigvalsh(found.covariances) > 0).all()

    def test_outliers_do_not_take_all_centres(self):
        rng = np.random.default_rng(45)
        X = rng.normal(size=(2000, 2))
        X[:10] *= 1e4
        rows = NoisyRows.from_input(X)
        found = kmeans_components(rows, 8, column_scales(rows), rng)
        assert np.sum(np.abs(found.means).max(axis=1) < 5) >= 5


class TestGiven:
    good = (np.array([0.5, 0.5]), np.zeros((2, 2)), np.stack([np.eye(2)] * 2))

    def test_arrays_are_copied(self):
        found = given_components("init", self.good, 2)
        found.means[:] = 7
        assert not self.good[1].any()

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            (0, [0.5, -0.5], "negative weights"),
            (0, [1.0], "shapes"),
            (1, np.full((2, 2), np.nan), "not finite"),
            (1, np.zeros((2, 3)), "shapes"),
            (2, np.zeros((2, 2, 2)), "positive definite"),
            (2, np.array([[[1.0, 0.5], [0.0, 1.0]]] * 2), "symmetric"),
            (2, "wide", "expected a GaussianMixture or numeric arrays"),
        ],
    )
    def test_nonsense_is_refused(self, field, value, message):
        given = list(self.good)
        given[field] = value
        with pytest.raises(DensityError, match=f"init .*{message}"):
            given_components("init", tuple(given), 2)

    def test_numbers_of_components(self):
        sample = NoisyRows.from_input(np.zeros((3, 2)))
        with pytest.raises(DensityError, match="init has 2 components; expected 3"):
            free_components(self.good, sample, 3, None, None)
        with pytest.raises(DensityError, match="fixed has 2 components; n_components = 1"):
            fixed_components(self.good, 1, 2)

    @pytest.mark.parametrize("keep", [True, False])
    def test_weights_of_all_together(self, keep):
        fixed = Components(np.array([0.2]), np.zeros((1, 2)), np.eye(2)[None])
        free = Components(*self.good)
        both = together(fixed, free, fixed_weights=keep)
        assert both.weights.sum() == pytest.approx(1.0)
        assert both.weights[0] == pytest.approx(0.2 if keep else 1 / 3)

    def test_fixed_weights_must_leave_some(self):
        with pytest.raises(DensityError, match="leaves none for the others"):
            together(Components(*self.good), Components(*self.good), fixed_weights=True)
