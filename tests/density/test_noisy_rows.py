"""What rows are made of, what becomes of missing values, and what is refused."""

import numpy as np
import pytest
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from reference.mixtures import random_covariances

from celestepy.density.noisy_rows import DensityError, NoisyRows

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [10.0, 11.0, 12.0]])
FULL = random_covariances(np.random.default_rng(0), 4, 3)


class TestShapes:
    def test_complete(self):
        rows = NoisyRows.from_input(X)
        assert (len(rows), rows.dim, rows.weight) == (4, 3, 4.0)
        assert rows.observed is rows.noise is rows.projection is rows.weights is None

    @pytest.mark.parametrize("none", [None, 0, 0.0])
    def test_no_noise(self, none):
        assert NoisyRows.from_input(X, none).noise is None

    def test_nothing_is_copied_that_fits(self):
        rows = NoisyRows.from_input(X, FULL, weights=np.ones(4))
        assert np.shares_memory(rows.values, X)
        assert np.shares_memory(rows.noise, FULL)

    @pytest.mark.parametrize("noise", [FULL[0], FULL[0, 0] ** 2])
    def test_noise_of_all_rows_is_kept_once(self, noise):
        rows = NoisyRows.from_input(X, noise)
        for part in (rows, rows[:3], rows[np.array([2, 0, 3])]):
            assert part.noise.shape == (len(part), *noise.shape)
            assert part.noise.strides[0] == 0
            np.testing.assert_array_equal(part.noise[1], noise)

    def test_projection_sets_the_dimension(self):
        assert NoisyRows.from_input(X, projection=np.ones((4, 3, 5)), covariance=FULL).dim == 5
        assert NoisyRows.from_input(X, projection=np.ones((3, 2)), covariance=FULL).dim == 2

    @pytest.mark.parametrize("dtype", ["f4", ">f8", ">f4", "i4", "u2", object])
    def test_types(self, dtype):
        rows = NoisyRows.from_input(X.astype(dtype), np.abs(X).astype(dtype))
        assert rows.values.dtype == rows.noise.dtype == np.float64
        np.testing.assert_array_equal(rows.values, X)

    @pytest.mark.parametrize("index", [slice(1, 3), np.array([3, 1]), np.array([True, False, True, True])])
    def test_parts(self, index):
        x = X.copy()
        x[1, 2] = np.nan
        rows = NoisyRows.from_input(x, FULL, np.broadcast_to(np.eye(3), (4, 3, 3)), [1.0, 2.0, 3.0, 4.0])
        part = rows[index]
        np.testing.assert_array_equal(part.values, rows.values[index])
        np.testing.assert_array_equal(part.observed, rows.observed[index])
        np.testing.assert_array_equal(part.noise, FULL[index])
        np.testing.assert_array_equal(part.weights, rows.weights[index])
        assert part.dim == 3

    def test_one_row_is_asked_for_by_a_slice(self):
        with pytest.raises(TypeError, match=r"\[1:2\]"):
            NoisyRows.from_input(X)[1]


class TestMissing:
    def test_nan(self):
        x = X.copy()
        x[0, 1] = x[2] = np.nan
        before = x.copy()
        rows = NoisyRows.from_input(x, weights=[1.0, 1.0, 5.0, 1.0])
        np.testing.assert_array_equal(rows.observed, ~np.isnan(x))
        assert not rows.values[~rows.observed].any()
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(rows.has_values, [True, True, False, True])
        assert rows.weight == 3.0

    def test_masked(self):
        mask = np.zeros(X.shape, bool)
        mask[1, 0] = True
        hidden = np.where(mask, np.inf, X)
        for x in (np.ma.masked_array(hidden, mask), MaskedColumn(hidden, mask=mask), Masked(hidden, mask)):
            np.testing.assert_array_equal(NoisyRows.from_input(x).observed, ~mask)
        assert NoisyRows.from_input(np.ma.masked_array(X)).observed is None

    @pytest.mark.parametrize("full", [True, False])
    def test_infinite_variance(self, full):
        noise = FULL.copy() if full else np.ones(X.shape)
        noise[(3, 1, 1) if full else (3, 1)] = np.inf
        rows = NoisyRows.from_input(X, noise)
        assert np.argwhere(~rows.observed).tolist() == [[3, 1]]
        assert rows.values[3, 1] == 0.0

    def test_masked_variance(self):
        mask = np.zeros(X.shape, bool)
        mask[3, 1] = True
        rows = NoisyRows.from_input(X, np.ma.masked_array(np.ones(X.shape, int), mask))
        np.testing.assert_array_equal(rows.observed, ~mask)

    @pytest.mark.parametrize("full", [True, False])
    def test_noise_of_what_is_missing_may_be_anything(self, full):
        x, noise = X.copy(), FULL.copy() if full else np.ones(X.shape)
        x[2, 1] = np.nan
        noise[2, 1] = np.nan
        assert NoisyRows.from_input(x, noise).observed.sum() == 11


def changed(array, index, value):
    result = array.copy()
    result[index] = value
    return result


ASYMMETRIC = changed(FULL, (2, 0, 1), FULL[2, 0, 1] + 0.01)
INDEFINITE = changed(FULL, 2, np.ones((3, 3)) + np.diag([0.0, -0.1, 0.0]))
TOO_CORRELATED = changed(FULL, 2, [[1.0, 1.01, 0.0], [1.01, 1.0, 0.0], [0.0, 0.0, 1.0]])
CORRELATED_ZERO = changed(FULL, 2, [[0.0, 1e-3, 0.0], [1e-3, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": [["a", "b"]]}, "X is not an array of real numbers"),
        ({"X": X + 1j}, "X is not an array of real numbers"),
        ({"X": [[1.0], [2.0, 3.0]]}, "X is not an array of real numbers"),
        ({"X": X[0]}, r"X has shape \(3,\); expected \(N, d\)"),
        ({"X": X[:, :0]}, "X has shape"),
        ({"X": changed(X, (2, 1), np.inf)}, "X is infinite or beyond 1e\\+100 in row 2"),
        ({"X": changed(X, (1, 1), -1e200)}, "in row 1"),
        ({"covariance": "none"}, "covariance is not an array of real numbers"),
        ({"covariance": np.ones((4, 2))}, r"covariance has shape \(4, 2\); expected \(4, 3, 3\)"),
        ({"covariance": 2.0}, r"covariance has shape \(\)"),
        ({"covariance": changed(np.ones((4, 3)), (3, 0), -1.0)}, "covariance of row 3 has a negative variance"),
        ({"covariance": changed(np.ones((4, 3)), (3, 0), np.nan)}, "row 3 has elements that are not finite"),
        ({"covariance": changed(FULL, (1, 1, 1), -1.0)}, "row 1 has a negative variance"),
        ({"covariance": changed(FULL, (1, 0, 1), np.nan)}, "row 1 has elements that are not finite"),
        ({"covariance": changed(FULL, (1, 0, 1), np.inf)}, "row 1 has elements that are not finite"),
        ({"covariance": ASYMMETRIC}, "row 2 is not symmetric"),
        ({"covariance": ASYMMETRIC[2]}, "of all rows is not symmetric"),
        ({"covariance": INDEFINITE}, "row 2 is not positive semi-definite"),
        ({"covariance": TOO_CORRELATED}, "row 2 is not positive semi-definite"),
        ({"covariance": CORRELATED_ZERO}, "row 2 is not"),
        ({"covariance": [-1.0, 1.0, 1.0]}, "of all rows has a negative variance"),
        ({"X": X[:3], "covariance": np.eye(3)}, "may be variances of 3 rows or one matrix"),
        ({"projection": np.ones((4, 2, 3))}, r"projection has shape \(4, 2, 3\)"),
        ({"projection": np.ones((2, 3))}, r"projection has shape \(2, 3\)"),
        ({"projection": changed(np.ones((4, 3, 2)), (1, 0, 0), np.nan)}, "projection of row 1 is not finite"),
        ({"projection": changed(np.ones((4, 3, 2)), (1, 0), 0.0)}, "projection of row 1 is zero for a column"),
        ({"weights": np.ones(3)}, "expected one for each of the 4 rows"),
        ({"weights": np.ma.masked_array(np.ones(4), [0, 1, 0, 0])}, "weights has masked elements"),
        ({"weights": [1.0, -1.0, 1.0, 1.0]}, r"weights\[1\] is -1.0"),
        ({"weights": [1.0, np.nan, 1.0, 1.0]}, r"weights\[1\] is nan"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(DensityError, match=message):
        NoisyRows.from_input(**({"X": X} | arguments))


class TestAllowed:
    def test_singular_noise(self):
        """Rank one, rank zero, and perfect correlations rounded to single precision."""
        vectors = np.random.default_rng(1).normal(size=(200, 3))
        singular = vectors[:, :, None] * vectors[:, None, :]
        one = np.diag([1.0, 0.0, 0.0])
        for noise in (singular, singular.astype(np.float32), one * singular, 0 * singular):
            assert len(NoisyRows.from_input(np.ones((200, 3)), noise)) == 200

    def test_single_precision(self):
        noise = random_covariances(np.random.default_rng(2), 500, 5).astype(np.float32)
        assert len(NoisyRows.from_input(np.ones((500, 5), np.float32), noise)) == 500

    def test_units_of_any_size(self):
        scale = np.array([1e-8, 1.0, 1e8])
        NoisyRows.from_input(X * scale, FULL * scale[:, None] * scale)

    def test_no_rows(self):
        assert len(NoisyRows.from_input(np.empty((0, 3)), np.empty((0, 3, 3)))) == 0

    def test_a_lost_column_with_noise(self):
        projection = changed(np.ones((4, 3, 2)), (1, 0), 0.0)
        assert len(NoisyRows.from_input(X, FULL, projection)) == 4

    def test_what_was_checked_before(self):
        """Without checks the elements are taken as they are."""
        np.testing.assert_array_equal(NoisyRows.from_input(X, -FULL, check=False).noise, -FULL)


def test_arguments_are_not_changed():
    arrays = [X.copy(), FULL.copy(), np.broadcast_to(np.eye(3), (4, 3, 3)).copy(), np.ones(4)]
    arrays[0][1, 1] = np.nan
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    NoisyRows.from_input(*arrays)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
