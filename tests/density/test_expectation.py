"""The compiled kernel against loops over rows and components; every kind of rows, every variant, every edge."""

import os
import subprocess
import sys

import numpy as np
import pytest
from joblib import parallel_config
from reference import density as reference
from reference.mixtures import make_case, random_covariances

from celestepy.density import expectation as kernel
from celestepy.density.noisy_rows import DensityError, NoisyRows

# Condition numbers of the cases are below 1e4: 1e-16 times that, times a margin for the sums.
TIGHT = {"rtol": 1e-11, "atol": 1e-11}


@pytest.fixture(params=kernel.available_kernels())
def variant(request):
    """Every variant that runs on this machine."""
    return request.param


def noisy_rows(case, weighted=True):
    return NoisyRows.from_input(case.x, case.noise, case.projection, case.row_weights if weighted else None)


def reference_rows(case):
    return reference.each_row(case.x, case.noise, case.projection)


def test_log_densities(case, variant):
    expected = reference.log_densities([row for row in reference_rows(case) if len(row[0])], *case.mixture)
    found = kernel.log_densities(noisy_rows(case), *case.mixture, kernel=variant)
    empty = np.isnan(case.x).all(axis=1)
    np.testing.assert_array_equal(found[empty], 0.0)
    np.testing.assert_allclose(found[~empty], expected, **TIGHT)


def test_expectation(case, variant):
    total, counts, offsets, scatter = reference.expectation(reference_rows(case), case.row_weights, *case.mixture)
    found = kernel.expectation(noisy_rows(case), *case.mixture, kernel=variant)
    empty = np.isnan(case.x).all(axis=1)
    np.testing.assert_allclose(found.log_likelihood, total, **TIGHT)
    np.testing.assert_allclose(found.weight, case.row_weights[~empty].sum(), rtol=1e-14)
    np.testing.assert_allclose(found.counts, counts, **TIGHT)
    np.testing.assert_allclose(found.offsets, offsets, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.scatter, scatter, rtol=1e-10, atol=1e-10)


def test_responsibilities(case, variant):
    expected = [reference.responsibilities(row, *case.mixture) for row in reference_rows(case) if len(row[0])]
    found = kernel.responsibilities(noisy_rows(case), *case.mixture, kernel=variant)
    empty = np.isnan(case.x).all(axis=1)
    np.testing.assert_allclose(found[~empty], expected, **TIGHT)
    np.testing.assert_allclose(found[empty], np.broadcast_to(case.mixture[0], found[empty].shape), rtol=1e-13)


def test_posterior(case):
    weights, means, covariances = kernel.posterior(noisy_rows(case), *case.mixture)
    for i, row in enumerate(reference_rows(case)):
        for j in range(len(case.mixture[0])):
            b, spread = reference.conditional(*row, case.mixture[1][j], case.mixture[2][j])
            np.testing.assert_allclose(means[i, j], b, **TIGHT)
            np.testing.assert_allclose(covariances[i, j], spread, **TIGHT)
    np.testing.assert_array_equal(weights, kernel.responsibilities(noisy_rows(case), *case.mixture))


def test_posterior_of_exact_rows_has_no_spread():
    """V - V T^-1 V would leave the rounding of V; the sum of squares leaves its square."""
    case = make_case(noise="none", dim=4)
    _, _, covariances = kernel.posterior(noisy_rows(case), *case.mixture)
    assert np.max(np.abs(covariances)) < 1e-25
    assert np.linalg.eigvalsh(covariances).min() >= -1e-30


class TestGradient:
    def arguments(self, case):
        weights, means, covariances = case.mixture
        return np.log(weights), means, np.linalg.cholesky(covariances)

    def value(self, rows, logits, means, factors):
        weights = np.exp(logits) / np.sum(np.exp(logits))
        values = kernel.log_densities(rows, weights, means, factors @ np.swapaxes(factors, -1, -2))
        return np.sum(rows.weights * values)

    def test_is_the_slope_of_the_likelihood(self, case, variant):
        rows, arguments = noisy_rows(case), self.arguments(case)
        weights, means, _ = case.mixture
        found = kernel.gradient(rows, weights, means, arguments[2], kernel=variant)
        rng = np.random.default_rng(1)
        steps = [rng.normal(size=np.shape(a)) for a in arguments]
        steps[2] = np.tril(steps[2])
        # central differences of order four: their error is h^4 = 1e-16 of the fifth derivative and 1e-15 / h of
        # the value
        h = 1e-4
        values = {
            c: self.value(rows, *(a + c * h * step for a, step in zip(arguments, steps, strict=True)))
            for c in (-2, -1, 1, 2)
        }
        slope = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
        parts = (found.logits, found.means, found.factors)
        scale = sum(np.sum(np.abs(part)) for part in parts)
        assert sum(np.sum(part * step) for part, step in zip(parts, steps, strict=True)) == pytest.approx(
            slope, rel=1e-7, abs=1e-8 * scale
        )
        assert found.log_likelihood == pytest.approx(self.value(rows, *arguments), rel=1e-12)

    def test_is_zero_above_the_diagonal(self, case):
        arguments = self.arguments(case)
        found = kernel.gradient(noisy_rows(case), case.mixture[0], case.mixture[1], arguments[2])
        assert not np.triu(found.factors, 1).any()


def test_threads_change_nothing():
    case = make_case(n=9000, dim=2, missing=True, noise="diagonal")
    rows = noisy_rows(case)
    one, two, three = (kernel.expectation(rows, *case.mixture, n_jobs=n_jobs) for n_jobs in (1, 2, 3))
    for other in (two, three):
        for name in ("log_likelihood", "weight", "counts", "offsets", "scatter", "log_densities"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for function in (kernel.log_densities, kernel.responsibilities):
        np.testing.assert_array_equal(function(rows, *case.mixture), function(rows, *case.mixture, n_jobs=2))


def test_threads_whatever_backend_is_set():
    """Processes would write into copies of the arrays."""
    case = make_case(n=9000, dim=2)
    rows = noisy_rows(case)
    with parallel_config(backend="loky", n_jobs=2):
        found = kernel.log_densities(rows, *case.mixture, n_jobs=2)
    np.testing.assert_array_equal(found, kernel.log_densities(rows, *case.mixture))


def test_sums_over_parts_are_those_of_the_whole():
    """Chunks hide nothing: their sums, added, are the sums of all rows to rounding."""
    case = make_case(n=9000, dim=2, noise="diagonal")
    rows = noisy_rows(case)
    whole = kernel.expectation(rows, *case.mixture)
    parts = [kernel.expectation(rows[i : i + 1000], *case.mixture) for i in range(0, 9000, 1000)]
    np.testing.assert_allclose(whole.scatter, sum(part.scatter for part in parts), rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(whole.log_likelihood, sum(part.log_likelihood for part in parts), rtol=1e-13)


def test_no_rows():
    case = make_case(n=3)
    found = kernel.expectation(noisy_rows(case)[:0], *case.mixture)
    assert (found.log_likelihood, found.weight, found.counts.any()) == (0.0, 0.0, False)


class TestMissing:
    def test_equals_the_projection_onto_what_is_left(self, variant):
        """A missing column is dropped: the same row given by a smaller X and a projection has the same density."""
        case = make_case(dim=4, n=30)
        hidden = case.x.copy()
        hidden[:, 1] = np.nan
        left = [0, 2, 3]
        projection = np.eye(4)[left]
        noise = case.noise[:, left][:, :, left]
        by_nan = NoisyRows.from_input(hidden, case.noise)
        by_projection = NoisyRows.from_input(case.x[:, left], noise, projection)
        one, two = (kernel.expectation(rows, *case.mixture, kernel=variant) for rows in (by_nan, by_projection))
        # the products with a projection of zeros and ones are exact, but T is summed in another order
        np.testing.assert_allclose(one.log_densities, two.log_densities, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(one.offsets, two.offsets, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.scatter, two.scatter, rtol=1e-12, atol=1e-12)

    def test_says_nothing_of_what_is_hidden(self):
        """Whatever stands where a value is missing, in X or in its noise, changes no bit."""
        case = make_case(missing=True, n=30)
        other = np.ma.masked_array(np.where(np.isnan(case.x), 1e30, case.x), np.isnan(case.x))
        noise = case.noise.copy()
        noise[np.isnan(case.x)] = np.nan
        one = kernel.expectation(NoisyRows.from_input(case.x, case.noise), *case.mixture)
        two = kernel.expectation(NoisyRows.from_input(other, noise), *case.mixture)
        np.testing.assert_array_equal(one.scatter, two.scatter)
        np.testing.assert_array_equal(one.log_densities, two.log_densities)

    def test_rows_of_nothing_do_not_count(self):
        case = make_case(n=30)
        rows = NoisyRows.from_input(np.concatenate([case.x, np.full((5, 3), np.nan)]), noise_of_more(case, 5))
        one, two = (
            kernel.expectation(r, *case.mixture) for r in (rows, NoisyRows.from_input(case.x, case.noise))
        )
        assert one.weight == two.weight == 30
        np.testing.assert_array_equal(one.scatter, two.scatter)


def noise_of_more(case, n):
    return np.concatenate([case.noise, np.broadcast_to(np.eye(case.x.shape[1]), (n, *case.noise.shape[1:]))])


class TestNumerics:
    def test_twelve_digits_of_dynamic_range(self, variant):
        """Columns in units that differ by 1e12 give the density of sensible units but for the change of volume."""
        case = make_case(dim=4, n=30)
        scale = np.array([1e-6, 1.0, 1e6, 1e3])
        weights, means, covariances = case.mixture
        scaled = (weights, means * scale, covariances * scale[:, None] * scale)
        rows = NoisyRows.from_input(case.x * scale, case.noise * scale[:, None] * scale)
        one = kernel.expectation(noisy_rows(case, weighted=False), *case.mixture, kernel=variant)
        two = kernel.expectation(rows, *scaled, kernel=variant)
        # ~10^2 is the scale of the log densities
        np.testing.assert_allclose(two.log_densities + np.log(scale).sum(), one.log_densities, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(two.scatter / (scale[:, None] * scale), one.scatter, rtol=1e-11, atol=1e-10)

    def test_a_determinant_beyond_the_largest_number(self, variant):
        """Pivots of 1e-40 each: the product of nine vanishes, the log density must not."""
        case = make_case(dim=9, n=8, k=5)
        weights, means, covariances = case.mixture
        one = kernel.log_densities(noisy_rows(case), *case.mixture, kernel=variant)
        rows = NoisyRows.from_input(1e-20 * case.x, 1e-40 * case.noise)
        two = kernel.log_densities(rows, weights, 1e-20 * means, 1e-40 * covariances, kernel=variant)
        np.testing.assert_allclose(two + 9 * np.log(1e-20), one, rtol=1e-12)

    def test_far_rows(self, variant):
        """exp() of every term is zero in double precision; the log density is that of the nearest component."""
        rng = np.random.default_rng(2)
        means, covariances = rng.normal(size=(20, 3)), random_covariances(rng, 20, 3)
        weights = np.full(20, 0.05)
        x = np.array([[1e4, 0.0, -3e5], [1e8, 1e8, 1e8]])
        rows = NoisyRows.from_input(x)
        expected = reference.log_densities(reference.each_row(x), weights, means, covariances)
        found = kernel.log_densities(rows, weights, means, covariances, kernel=variant)
        assert np.all(expected < -1e6)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(
            kernel.responsibilities(rows, weights, means, covariances, kernel=variant).sum(axis=1), 1.0, rtol=1e-14
        )

    def test_infinite_variances_are_those_of_missing_values(self):
        """Infinity times zero was a warning."""
        case = make_case(n=5)
        variances, x = np.full(case.x.shape, 0.3), case.x.copy()
        variances[1, 0], x[1, 0] = np.inf, np.nan
        expected = kernel.posterior(NoisyRows.from_input(x, np.full(x.shape, 0.3)), *case.mixture)
        for noise in (variances, np.array([np.diag(row) for row in variances])):
            found = kernel.posterior(NoisyRows.from_input(case.x, noise), *case.mixture)
            for one, two in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, two)

    def test_beyond_all_numbers(self, variant):
        """Where even the square overflows the density is zero, and the row adds nothing to the sums."""
        case = make_case(n=5, noise="none")
        case.x[2] = 1e99
        weights, means, covariances = case.mixture
        found = kernel.expectation(
            NoisyRows.from_input(case.x), weights, means, 1e-150 * covariances, kernel=variant
        )
        assert found.log_densities[2] == -np.inf
        assert np.isfinite(found.counts).all()
        assert np.isfinite(found.scatter).all()

    def test_a_component_too_narrow_for_the_row(self, variant):
        """Its density and weight vanish, and the square of its slope overflows: the others' sums stay numbers."""
        means, weights = np.zeros((2, 2)), np.array([0.5, 0.5])
        covariances = np.array([np.eye(2), 1e-170 * np.eye(2)])
        found = kernel.expectation(
            NoisyRows.from_input([[1.0, 2.0]]), weights, means, covariances, kernel=variant
        )
        np.testing.assert_array_equal(found.counts, [1.0, 0.0])
        assert np.isfinite(found.scatter).all()
        assert not found.scatter[1].any()

    def test_duplicated_rows(self, variant):
        """A thousand equal rows are one of weight a thousand."""
        case = make_case(n=1, dim=4)
        many = NoisyRows.from_input(np.repeat(case.x, 1000, axis=0), np.repeat(case.noise, 1000, axis=0))
        one = NoisyRows.from_input(case.x, case.noise, weights=[1000.0])
        first, second = (kernel.expectation(rows, *case.mixture, kernel=variant) for rows in (many, one))
        # V + V Q V cancels where a component shrinks: rounding is relative to the sums of about 1e3
        np.testing.assert_allclose(first.scatter, second.scatter, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(first.log_likelihood, second.log_likelihood, rtol=1e-12)

    def test_nearly_singular_noise_and_components(self, variant):
        """Correlations of 1 - 1e-9 in V or S, rows without noise among them, against the loops."""
        rng = np.random.default_rng(3)
        narrow = np.array([[1.0, 1 - 1e-9], [1 - 1e-9, 1.0]])
        means, weights = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0.4, 0.6])
        covariances = np.array([narrow, np.eye(2)])
        x = rng.normal(size=(6, 1)) + np.array([0.0, 1e-5])
        noise = np.array([np.zeros((2, 2)), narrow, np.ones((2, 2)), np.eye(2), 1e-12 * narrow, np.zeros((2, 2))])
        found = kernel.expectation(NoisyRows.from_input(x, noise), weights, means, covariances, kernel=variant)
        total, counts, _, scatter = reference.expectation(
            reference.each_row(x, noise), np.ones(6), weights, means, covariances
        )
        # condition number 2e9
        np.testing.assert_allclose(found.log_likelihood, total, rtol=1e-6)
        np.testing.assert_allclose(found.counts, counts, rtol=1e-6)
        np.testing.assert_allclose(found.scatter, scatter, rtol=1e-6, atol=1e-6)

    def test_singular_matrices_leave_numbers(self, variant):
        """A component of rank one and no noise: pivots are kept from zero, nothing is NaN."""
        weights, means = np.ones(1), np.zeros((1, 3))
        found = kernel.expectation(
            NoisyRows.from_input([[1.0, 1.0, 1.0], [2.0, 2.0, 2.5]]), weights, means, np.ones((1, 3, 3)), kernel=variant
        )
        assert not np.isnan(found.log_densities).any()
        assert found.log_densities[1] < found.log_densities[0]

    def test_components_without_weight(self, variant):
        case = make_case(k=5)
        weights, means, covariances = case.mixture
        weights = np.array([0.0, 0.5, 0.5, 0.0, 0.0])
        rows = noisy_rows(case)
        found = kernel.expectation(rows, weights, means, covariances, kernel=variant)
        two = kernel.expectation(rows, weights[1:3], means[1:3], covariances[1:3], kernel=variant)
        assert not found.counts[[0, 3, 4]].any()
        np.testing.assert_allclose(found.log_densities, two.log_densities, rtol=1e-14)

    def test_monotone(self, variant):
        """Each step of expectation maximisation increases the likelihood: the sums belong together."""
        case = make_case(n=400, dim=2, k=4, missing=True, noise="diagonal")
        rows, mixture = noisy_rows(case), case.mixture
        values = []
        for _ in range(15):
            step = kernel.expectation(rows, *mixture, kernel=variant)
            values.append(step.log_likelihood)
            mixture = reference.maximisation(step.weight, mixture[1], step.counts, step.offsets, step.scatter)
        assert np.all(np.diff(values) > 0)


class TestArguments:
    def test_refused(self):
        case = make_case(n=3)
        weights, means, covariances = case.mixture
        rows = noisy_rows(case)
        for arguments, message in (
            ((weights[:3], means, covariances), "shapes"),
            ((weights, means[:, :2], covariances), "shapes"),
            ((weights, means[:, :2], covariances[:, :2, :2]), "X: for a mixture in 2 dim.* has 3 columns"),
            ((-weights, means, covariances), "negative"),
            ((weights, means * np.nan, covariances), "NaN"),
            ((weights, means, covariances * 0), "above zero"),
            ((weights, means, covariances * np.inf), "finite"),
        ):
            with pytest.raises(DensityError, match=message):
                kernel.log_densities(rows, *arguments)
        with pytest.raises(ValueError, match="kernel is 'mmx'"):
            kernel.log_densities(rows, *case.mixture, kernel="mmx")

    def test_are_not_changed_and_may_be_read_only(self, variant):
        case = make_case()
        arrays = [*case.mixture, case.x, case.noise]
        copies = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        kernel.expectation(noisy_rows(case), *case.mixture, kernel=variant)
        for array, copy in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_any_layout_and_type(self, variant):
        case = make_case(missing=True)
        expected = kernel.expectation(noisy_rows(case), *case.mixture, kernel=variant).scatter
        for change in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a.astype(">f8")):
            mixture = [change(np.asarray(array)) for array in case.mixture]
            rows = NoisyRows.from_input(change(case.x), change(case.noise), None, change(case.row_weights))
            np.testing.assert_array_equal(kernel.expectation(rows, *mixture, kernel=variant).scatter, expected)

    def test_noise_and_projection_of_all_rows(self, variant):
        """One matrix for all rows is that matrix in each."""
        case = make_case(projected=True)
        noise, projection = case.noise[0], case.projection[0]
        n = len(case.x)
        one = NoisyRows.from_input(case.x, noise, projection)
        two = NoisyRows.from_input(case.x, np.repeat(noise[None], n, 0), np.repeat(projection[None], n, 0))
        for rows in (one, one[np.arange(n)]):
            np.testing.assert_array_equal(
                kernel.log_densities(rows, *case.mixture, kernel=variant),
                kernel.log_densities(two, *case.mixture, kernel=variant),
            )


class TestChoice:
    def run(self, name):
        program = "from celestepy.density import expectation as e; print(e.kernel_name)"
        environment = os.environ | {"CELESTEPY_KERNEL": name}
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)

    def test_by_the_environment(self):
        assert self.run("generic").stdout.strip() == "generic"

    def test_unknown(self):
        assert "CELESTEPY_KERNEL is 'mmx'" in self.run("mmx").stderr
