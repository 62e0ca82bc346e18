"""Errors that can be trusted: simulated sources, drawn from the prior that the fit assumes."""

import numpy as np
import pytest

from celestepy.catalog.score import score
from celestepy.pipeline import make_catalog
from celestepy.simulate import simulate_field

pytestmark = pytest.mark.statistical

SOURCES = 200
# Three standard deviations of a share of 200 sources, from the nominal one, and 2 % for approximations.
WITHIN_ONE = 0.683 - 0.119, 0.683 + 0.119
WITHIN_TWO = 0.954 - 0.064, 1.0
QUANTITIES = ("mag_u", "mag_r", "mag_z", "color_ug", "color_gr", "color_ri", "color_iz", "ra", "dec")
SHAPES = ("half_light_radius", "axis_ratio", "dev_fraction")


@pytest.fixture(scope="module")
def field():
    """Isolated sources over S/N 8."""
    return simulate_field(SOURCES, shape=(1360, 1360), min_separation=25.0, rng=20)


@pytest.fixture(scope="module")
def catalog(field):
    return make_catalog(field.images, prior=field.prior).catalog


@pytest.fixture(scope="module")
def result(field, catalog):
    return score(catalog, field.truth)


def test_isolated_sources_are_found(result):
    """Of 200 sources over S/N 8, of which none has a neighbour: noise takes at most a few under the threshold of 5."""
    assert result.completeness > 0.96
    assert result.purity > 0.98


@pytest.mark.parametrize("name", [*QUANTITIES, *SHAPES])
def test_truth_lies_within_the_errors(result, name):
    _, one, two, _ = result.errors[name].coverage
    assert WITHIN_ONE[0] < one < WITHIN_ONE[1]
    assert WITHIN_TWO[0] < two < WITHIN_TWO[1]


@pytest.mark.parametrize("name", ["mag_r", "color_gr", "color_ri"])
def test_errors_have_no_bias(result, name):
    """The median error is a small part of the typical error."""
    assert abs(result.errors[name].bias) < 0.3 * result.errors[name].median


def test_stars_are_told_from_galaxies(result):
    """The target over 500 sources is .985; with about 45 stars its standard deviation is .004."""
    assert result.star.auc > 0.975


def test_star_probabilities_are_frequencies(result):
    """The number of stars among the uncertain sources, and among all, within three standard deviations."""
    rows = [row for row in result.star.reliability if row["n"]]
    n, p, share = (np.array([row[name] for row in rows]) for name in ("n", "probability", "fraction"))
    for some in (np.full(len(rows), True), (p > 0.1) & (p < 0.9)):
        scatter = np.sqrt(np.sum((n * p * (1 - p))[some]))
        assert abs(np.sum((n * (share - p))[some])) < 3 * scatter + 0.5
