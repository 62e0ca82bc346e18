"""Proximal operators: against slow versions and quadratic programs, and by the properties that define them."""

import numpy as np
import pytest
from reference import deblend_operators as reference
from scipy.optimize import minimize

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.inner_neighbours import inner_neighbours
from celestepy.deblend.operators import (
    monotonic_projection,
    monotonic_sweep,
    nonnegative,
    on_simplex,
    sparse,
    symmetric,
    unit_peak,
    unit_sum,
)

SHAPES = [(1, 1), (1, 5), (3, 3), (5, 7), (11, 9)]
PROJECTIONS = [nonnegative, symmetric, monotonic_projection, on_simplex]
CONVEX = [*PROJECTIONS, lambda x: symmetric(x, 0.4), lambda x: sparse(x, 0.3)]
ROUNDING = 1e-12  # values are of order one and sums have fewer than 1000 terms


def draws(shape, n=5, seed=0):
    return np.random.default_rng(seed).normal(0.2, 1.0, (n, *shape))


def in_common(x):
    return nonnegative(monotonic_projection(symmetric(x)))


@pytest.mark.parametrize("shape", SHAPES)
class TestAgainstSlowVersions:
    def test_neighbours(self, shape):
        inner, slow = inner_neighbours(shape), reference.inner_weights(shape)
        for pixel, own in slow.items():
            k = np.ravel_multi_index(pixel, shape)
            span = slice(inner.first[k], inner.first[k + 1])
            found = dict(zip(inner.neighbours[span].tolist(), inner.weights[span], strict=True))
            assert found == pytest.approx({int(np.ravel_multi_index(p, shape)): w for p, w in own.items()})

    def test_parents(self, shape):
        parent = inner_neighbours(shape).parent
        for pixel, expected in reference.parents(shape).items():
            assert parent[np.ravel_multi_index(pixel, shape)] == np.ravel_multi_index(expected, shape)

    def test_sweep(self, shape):
        for x in draws(shape):
            np.testing.assert_allclose(monotonic_sweep(x), reference.sweep(x), atol=ROUNDING)

    def test_monotonic_projection(self, shape):
        if shape == (1, 1):
            pytest.skip("no inequality")
        rows = reference.monotonic_rows(shape)
        for x in draws(shape):
            # the dual solver stops at a tolerance of about 1e-10
            np.testing.assert_allclose(monotonic_projection(x), reference.project_on_cone(x, rows), atol=1e-8)

    def test_projection_on_what_all_have_in_common(self, shape):
        rows = [reference.symmetric_rows(shape), -np.eye(shape[0] * shape[1])]
        if shape != (1, 1):
            rows.append(reference.monotonic_rows(shape))
        for x in draws(shape, n=2):
            expected = reference.project_on_cone(x, np.concatenate(rows))
            np.testing.assert_allclose(in_common(x), expected, atol=1e-8)

    def test_the_others(self, shape):
        for x in draws(shape):
            np.testing.assert_array_equal(nonnegative(x), np.maximum(x, 0))
            np.testing.assert_allclose(symmetric(x), (x + x[::-1, ::-1]) / 2, atol=ROUNDING)
            np.testing.assert_allclose(symmetric(x, 0.3), 0.85 * x + 0.15 * x[::-1, ::-1], atol=ROUNDING)
            shrunk = np.sign(x) * np.maximum(abs(x) - 0.3, 0)
            np.testing.assert_allclose(sparse(x, 0.3), shrunk, atol=ROUNDING)
            np.testing.assert_array_equal(sparse(x, 0.3, "l0"), np.where(abs(x) > 0.3, x, 0))


@pytest.mark.parametrize("shape", SHAPES)
class TestProperties:
    @pytest.mark.parametrize("operator", [*PROJECTIONS, in_common, monotonic_sweep])
    def test_idempotent(self, operator, shape):
        for x in draws(shape):
            once = operator(x)
            np.testing.assert_allclose(operator(once), once, atol=ROUNDING)

    @pytest.mark.parametrize("operator", [*CONVEX, in_common])
    def test_firmly_non_expansive(self, operator, shape):
        """|Tx - Ty|^2 <= <Tx - Ty, x - y>: what makes an operator proximal to a convex function."""
        for x, y in zip(draws(shape), draws(shape, seed=1), strict=True):
            moved, apart = operator(x) - operator(y), x - y
            assert (moved**2).sum() <= (moved * apart).sum() + ROUNDING * x.size

    def test_monotonic(self, shape):
        for x in draws(shape):
            swept, projected = monotonic_sweep(x), monotonic_projection(x)
            for pixel, parent in reference.parents(shape).items():
                assert projected[pixel] <= projected[parent] + ROUNDING
            for pixel, own in reference.inner_weights(shape).items():
                if own:
                    assert swept[pixel] <= sum(w * swept[p] for p, w in own.items()) + ROUNDING

    def test_projection_is_the_closer_of_the_two_on_its_own_set(self, shape):
        """Nothing that obeys the tree is closer, not the sweep's result either."""
        for x in draws(shape):
            swept = monotonic_projection(monotonic_sweep(x))
            assert ((monotonic_projection(x) - x) ** 2).sum() <= ((swept - x) ** 2).sum() + ROUNDING

    def test_sum_is_kept(self, shape):
        for x in draws(shape):
            assert monotonic_projection(x).sum() == pytest.approx(x.sum(), abs=1e-11)


def test_sweep_expands_distances():
    """The known flaw of the sweep: why forward-backward splitting gets the projection."""
    x, y = np.zeros((2, 3, 3))
    x[:] = y[:] = 1.0
    y[1, 1] = 0.0
    assert np.linalg.norm(monotonic_sweep(x) - monotonic_sweep(y)) > 2 * np.linalg.norm(x - y)
    assert np.linalg.norm(monotonic_projection(x) - monotonic_projection(y)) <= np.linalg.norm(x - y)


def test_simplex_against_a_quadratic_program():
    for x in draws((3, 3)):
        found = minimize(
            lambda z, x=x: 0.5 * ((z - x.ravel()) ** 2).sum(),
            np.full(9, 1 / 9),
            jac=lambda z, x=x: z - x.ravel(),
            bounds=[(0, None)] * 9,
            constraints={"type": "eq", "fun": lambda z: z.sum() - 1, "jac": lambda z: np.ones(9)},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(on_simplex(x).ravel(), found.x, atol=1e-6)  # SLSQP's own accuracy


def test_long_branches_need_no_recursion():
    """Pixels that rise outwards all the way are one block, as deep as the box."""
    rising = np.abs(np.arange(-50_000, 50_001.0))[None]
    np.testing.assert_allclose(monotonic_projection(rising), rising.mean())
    np.testing.assert_allclose(monotonic_projection(-rising), -rising)


@pytest.mark.parametrize("operator", [nonnegative, symmetric, monotonic_sweep, monotonic_projection, unit_sum])
class TestRefusals:
    def test_input_is_not_changed(self, operator):
        x = draws((5, 5))[0] + 1
        x.setflags(write=False)
        before = x.copy()
        operator(x)
        np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize("bad", [np.ones(4), np.full((3, 3), np.nan), np.ones((3, 0)), np.ones((1, 3, 3))])
    def test_no_morphology(self, operator, bad):
        with pytest.raises(DeblendError, match="morphology"):
            operator(bad)

    @pytest.mark.parametrize("layout", ["F", ">f4", "strided"])
    def test_layouts(self, operator, layout):
        x = (draws((5, 7))[0] + 2).astype("f4")
        other = {"F": np.asfortranarray(x), ">f4": x.astype(">f4"), "strided": np.repeat(x, 2, axis=1)[:, ::2]}[layout]
        np.testing.assert_array_equal(operator(other), operator(x.astype(float)))


@pytest.mark.parametrize("operator", [symmetric, monotonic_sweep, monotonic_projection])
def test_even_sides_have_no_centre(operator):
    with pytest.raises(DeblendError, match="odd sides"):
        operator(np.ones((4, 5)))


def test_normalisations():
    x = np.abs(draws((5, 5))[0])
    assert unit_sum(x).sum() == pytest.approx(1)
    assert unit_peak(x).max() == 1
    for scaling in (unit_sum, unit_peak):
        with pytest.raises(DeblendError, match="> 0"):
            scaling(-x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sparse(x, -1.0), "threshold"),
        (lambda x: sparse(x, np.nan), "threshold"),
        (lambda x: sparse(x, 1.0, "l2"), "norm"),
        (lambda x: symmetric(x, 1.5), "strength"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(DeblendError, match=message):
        call(np.ones((3, 3)))
