"""Linking overlapping sources and cutting large groups into windows."""

import numpy as np
import pytest

from celestepy.inference.groups import link, overlap, windows


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_overlap_is_the_cosine_of_two_gaussians(angle):
    x, y = np.meshgrid(np.arange(-40, 41), np.arange(-40, 41))
    along = np.array([np.cos(angle), np.sin(angle)])
    thin = 3.0**2 * np.eye(2) + (6.0**2 - 3.0**2) * np.outer(along, along)
    pull = np.einsum("aij,ab,bij->ij", (x, y), np.linalg.inv(thin), (x, y))
    first = np.exp(-0.5 * pull)
    second = np.exp(-0.5 * ((x - 5) ** 2 + (y + 2) ** 2) / 4.5**2)
    cosine = np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))
    # The sums stand for integrals; at these widths they agree to rounding.
    assert overlap([5.0, -2.0], thin, 4.5**2 * np.eye(2)) == pytest.approx(cosine, rel=1e-6)


def test_links_are_where_the_overlap_says():
    sigma = 1.0
    reach = np.sqrt(-4 * sigma**2 * np.log(0.05))
    positions = [[0, 0], [0.99 * reach, 0], [0.99 * reach, 1.01 * reach], [50, 50]]
    labels, neighbours = link(positions, np.full(4, sigma))
    assert labels[0] == labels[1]
    assert len({labels[0], labels[2], labels[3]}) == 3
    assert neighbours[0].tolist() == [1]
    assert neighbours[3].size == 0


def test_a_large_source_reaches_farther():
    positions = [[0, 0], [8, 0]]
    assert len(set(link(positions, [1.0, 1.0])[0])) == 2
    assert len(set(link(positions, [1.0, 6.0])[0])) == 1


def test_a_thin_source_reaches_farther_along_itself():
    covariance = np.diag([36.0, 1.0])
    assert len(set(link([[0, 0], [12, 0]], [covariance] * 2)[0])) == 1
    assert len(set(link([[0, 0], [0, 12]], [covariance] * 2)[0])) == 2


def test_no_sources():
    labels, neighbours = link(np.zeros((0, 2)), np.zeros(0))
    assert windows(labels, neighbours, 5) == []


def test_windows_cover_every_source_once():
    rng = np.random.default_rng(4)
    positions = rng.uniform(0, 40, size=(120, 2))
    labels, neighbours = link(positions, np.full(120, 1.0))
    parts = windows(labels, neighbours, 4)
    centres = [k for _, central in parts for k in central]
    assert sorted(centres) == list(range(120))
    assert max(len(members) for members, _ in parts) == 4
    for members, central in parts:
        assert set(central) <= set(members)
        if len(central) < len(members):
            assert set(members) - set(central) <= set(neighbours[central[0]].tolist())


def test_identical_positions_are_linked():
    labels, neighbours = link([[3.0, 3.0], [3.0, 3.0]], [1.0, 1.0])
    assert labels[0] == labels[1]
    assert neighbours[0].tolist() == [1]
