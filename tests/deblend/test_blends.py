"""The division of a field into blends."""

import numpy as np
import pytest

from celestepy.deblend.blends import find_blends, plans_with, visible_radius


class TestVisibleRadius:
    def test_is_where_a_gaussian_equals_the_noise(self):
        """In a matched filter the S/N of a Gaussian of peak p (in noise per pixel) is p 2 sqrt(pi) s / a."""
        width, peak, pixel = 1.5, 40.0, 0.4
        radius = visible_radius(np.array([width]), np.array([peak * 2 * np.sqrt(np.pi) * width / pixel]), pixel)[0]
        assert peak * np.exp(-0.5 * (radius / width) ** 2) == pytest.approx(1.0)

    def test_is_the_width_at_least_even_where_nothing_is_known(self):
        assert visible_radius(np.array([2.0, 2.0]), np.array([0.1, np.nan]), 0.2).tolist() == [2.0, 2.0]


    def test_bright_sources_have_wings(self):
        """A twentieth of the light, 3.6 times as wide; the core alone would end at 4 widths."""
        radius = visible_radius(np.array([1.0]), np.array([3e4]), 0.4)[0]
        peak = 3e4 * 0.05 * 0.4 / (2 * np.sqrt(np.pi) * 3.6)
        assert peak * np.exp(-0.5 * (radius / 3.6) ** 2) == pytest.approx(1.0)
        assert radius > 9


class TestFindBlends:
    def test_chains_are_one_blend(self):
        plans = find_blends([[0, 0], [30, 0], [1.9, 0], [3.8, 0], [30, 3]], np.ones(5))
        assert [plan.own for plan in plans] == [(0, 2, 3), (1,), (4,)]

    def test_a_bright_source_reaches_farther(self):
        plans = find_blends([[0, 0], [5, 0], [0, 9]], [4.5, 1, 1])
        assert [plan.own for plan in plans] == [(0, 1), (2,)]

    def test_patches_hold_the_light_of_their_own_and_name_the_others_in_it(self):
        (first, second) = find_blends([[0, 0], [2.5, 0]], [1, 1], margin=0.5)
        assert first.size == pytest.approx(2 * (1.5 + 0.5))
        assert (first.centre, first.others, second.others) == ((0, 0), (1,), (0,))
        assert find_blends([[0, 0], [4.5, 0]], [1, 1], margin=0.5)[0].others == ()

    def test_large_blends_are_divided_and_every_source_is_own_once(self):
        positions = np.random.default_rng(1).uniform(0, 30, (200, 2))
        plans = find_blends(positions, np.full(200, 4.0), largest=7)
        assert max(len(plan.own) for plan in plans) <= 7
        assert sorted(k for plan in plans for k in plan.own) == list(range(200))
        assert all(not set(plan.own) & set(plan.others) for plan in plans)

    def test_no_source(self):
        assert find_blends(np.zeros((0, 2)), []) == []

    def test_order_of_sources_does_not_matter(self):
        rng = np.random.default_rng(2)
        positions, order = rng.uniform(0, 60, (80, 2)), rng.permutation(80)
        sets = [
            {frozenset(plan.own) for plan in find_blends(positions, np.full(80, 2.0))},
            {frozenset(order[list(plan.own)]) for plan in find_blends(positions[order], np.full(80, 2.0))},
        ]
        assert sets[0] == sets[1]


class TestPlansWith:
    def test_each_stray_belongs_to_the_first_patch_that_it_reaches(self):
        """Five sources in a row, each a blend: of those beside the second and the fourth each is a stray of one."""
        plans = find_blends([[2.5 * k, 0] for k in range(5)], np.ones(5), margin=0.5)
        wanted = np.array([False, True, False, True, False])
        first, second = plans_with(wanted, plans)
        assert (first.own, first.others, first.n_strays) == ((1,), (0, 2), 2)
        assert (second.own, second.others, second.n_strays) == ((3,), (4, 2), 1)

    def test_a_whole_field_has_none(self):
        plans = find_blends([[2.5 * k, 0] for k in range(5)], np.ones(5), margin=0.5)
        assert plans_with(np.ones(5, dtype=bool), plans) == plans
