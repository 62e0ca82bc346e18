"""Parameters of mixtures: weights of any size are normalised."""

import numpy as np
import pytest

from celestepy.density.parameters import checked_parameters


@pytest.mark.parametrize("size", [1e308, 1.0, 5e-324])
def test_weights_of_any_size(size):
    """Their sum may be more than the largest number there is."""
    found = checked_parameters([size, size, 0.0], np.zeros((3, 1)), np.ones((3, 1, 1)))["weights"]
    np.testing.assert_array_equal(found, [0.5, 0.5, 0.0])


def test_weights_of_sum_one_stay_to_the_last_bit():
    weights = np.random.default_rng(31).dirichlet(np.ones(1000))
    found = checked_parameters(weights, np.zeros((1000, 1)), np.ones((1000, 1, 1)))["weights"]
    np.testing.assert_array_equal(found, weights)
