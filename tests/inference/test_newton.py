"""Trust-region Newton: known minima, indefinite starts, honest verdicts."""

import numpy as np
import pytest

from celestepy.inference.newton import TrustRegion


def rosenbrock(x):
    a, b = x
    value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    gradient = np.array([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])
    hessian = np.array([[2 - 400 * (b - 3 * a**2), -400 * a], [-400 * a, 200.0]])
    return value, gradient, hessian


def test_rosenbrock():
    end = TrustRegion(tolerance=1e-10).minimise(rosenbrock, [-1.2, 1.0], [1.0, 1.0])
    assert end.converged
    # The last Newton step is not evaluated; at a decrement of 1e-10 its error is far below this.
    np.testing.assert_allclose(end.x, [1, 1], atol=1e-6)


def test_quadratic_takes_one_step_within_the_radius():
    hessian = np.array([[3.0, 1.0], [1.0, 2.0]])
    target = np.array([0.3, -0.2])

    def objective(x):
        return 0.5 * (x - target) @ hessian @ (x - target), hessian @ (x - target), hessian

    end = TrustRegion().minimise(objective, [0.0, 0.0], [1.0, 1.0])
    np.testing.assert_allclose(end.x, target, atol=1e-12)
    assert end.n_iterations <= 2
    assert end.value == pytest.approx(0.0, abs=1e-12)


def test_leaves_a_saddle_without_gradient_along_the_descent():
    """The hard case: at (x, 0) the double well has no slope along y, the direction of negative curvature."""
    def objective(x):
        value = x[0] ** 2 + (x[1] ** 2 - 1) ** 2
        gradient = np.array([2 * x[0], 4 * x[1] * (x[1] ** 2 - 1)])
        return value, gradient, np.diag([2.0, 12 * x[1] ** 2 - 4])

    end = TrustRegion().minimise(objective, [0.5, 0.0], [1.0, 1.0])
    assert end.converged
    assert abs(end.x[1]) == pytest.approx(1, abs=0.02)


def test_scales_do_not_change_the_answer():
    end = TrustRegion(tolerance=1e-8, max_iterations=200).minimise(rosenbrock, [-1.2, 1.0], [0.1, 3.0])
    np.testing.assert_allclose(end.x, [1, 1], atol=1e-4)


def test_trial_points_outside_the_domain_are_turned_down():
    def objective(x):
        if x[0] <= 0:
            return np.inf, None, None
        return x[0] - np.log(x[0]), np.array([1 - 1 / x[0]]), np.array([[1 / x[0] ** 2]])

    end = TrustRegion().minimise(objective, [20.0], [30.0])
    assert end.converged
    assert end.x[0] == pytest.approx(1, abs=0.05)  # the tolerance of .001 nats is .045 here


@pytest.mark.parametrize(("objective", "text"), [
    (lambda x: (np.inf, None, None), "not finite at the start"),
    (lambda x: (0.0, np.ones(1), np.array([[np.nan]])), "Hessian is not finite"),
])
def test_failures_are_reported_not_raised(objective, text):
    end = TrustRegion().minimise(objective, [1.0], [1.0])
    assert not end.converged
    assert text in end.message


def test_iteration_limit_is_reported():
    end = TrustRegion(max_iterations=3).minimise(rosenbrock, [-1.2, 1.0], [1.0, 1.0])
    assert not end.converged
    assert "raise max_iterations" in end.message


@pytest.mark.parametrize("name", ["max_iterations", "tolerance", "radius", "max_radius"])
def test_settings_are_validated(name):
    with pytest.raises(ValueError, match=name):
        TrustRegion(**{name: 0})
