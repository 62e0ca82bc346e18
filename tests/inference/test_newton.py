"""Trust-region Newton: known minima, indefinite starts, honest verdicts."""

import numpy as np
import pytest
from celestepy.inference._newton import QuadraticModel
from reference import newton as reference

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


HESSIANS = {"convex": lambda root: root @ root.T + np.eye(len(root)),
            "indefinite": lambda root: root + root.T,
            "concave": lambda root: -root @ root.T, "diagonal": lambda root: np.diag(root[0]),
            "flat": lambda root: 1e-9 * root @ root.T, "singular": lambda root: np.outer(root[0], root[0])}


@pytest.mark.parametrize("radius", [1e-4, 0.3, 20.0])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 60])
@pytest.mark.parametrize("name", HESSIANS)
def test_step_is_the_best_within_its_length(name, n, radius):
    rng = np.random.default_rng(n)
    gradient, hessian = rng.normal(size=n), HESSIANS[name](rng.normal(size=(n, n)))
    step, length, is_on_boundary, reduction = QuadraticModel(gradient, hessian, np.ones(n)).step(radius)
    assert length == pytest.approx(np.linalg.norm(step), rel=1e-9)
    assert length < 1.06 * radius
    assert not is_on_boundary or length > 0.94 * radius
    # The step is exact for the length that it has, but for the rounding of a nearly singular system.
    assert reduction == pytest.approx(reference.depth(gradient, hessian, length), rel=1e-6, abs=1e-14)
    assert reduction == pytest.approx(-(gradient @ step + 0.5 * step @ hessian @ step), rel=1e-7, abs=1e-14)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_hard_case(n):
    """No gradient along the only negative curvature: the step still reaches the boundary and is the best."""
    rng = np.random.default_rng(n)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = np.r_[-2.0, rng.uniform(1, 3, n - 1)]
    gradient = vectors[:, 1:] @ (0.1 * rng.normal(size=n - 1))
    hessian = (vectors * values) @ vectors.T
    step, length, is_on_boundary, reduction = QuadraticModel(gradient, hessian, np.ones(n)).step(1.0)
    assert is_on_boundary
    assert length == pytest.approx(1.0, abs=0.05)
    assert abs(vectors[:, 0] @ step) > 0.9
    assert reduction == pytest.approx(reference.depth(gradient, hessian, length), rel=1e-5)


def test_newton_step_and_scale():
    rng = np.random.default_rng(8)
    root, gradient, scale = rng.normal(size=(9, 9)), rng.normal(size=9), rng.uniform(0.01, 10, 9)
    hessian = root @ root.T + np.eye(9)
    model = QuadraticModel(gradient, hessian, scale)
    assert model.is_convex
    expected = -np.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(model.newton_step(), expected, rtol=1e-9)
    assert model.decrement == pytest.approx(-0.5 * gradient @ expected, rel=1e-10)
    step, length, _, _ = model.step(0.1)
    assert length == pytest.approx(np.linalg.norm(step / scale), rel=1e-10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(value):
    hessian = np.eye(3)
    hessian[2, 1] = value
    assert not QuadraticModel(np.ones(3), hessian, np.ones(3)).is_finite


def test_a_flat_objective_ends():
    end = TrustRegion().minimise(lambda x: (1.0, np.zeros(2), np.zeros((2, 2))), [0.0, 0.0], [1.0, 1.0])
    assert not end.converged


@pytest.mark.parametrize(("n_scales", "n_slopes", "text"), [(2, 3, "start and scale have shapes"),
                                                            (3, 2, "gradient and Hessian have shapes")])
def test_shapes_are_checked(n_scales, n_slopes, text):
    with pytest.raises(ValueError, match=text):
        TrustRegion().minimise(lambda x: (0.0, np.ones(n_slopes), np.eye(3)), np.ones(3), np.ones(n_scales))
