"""Proposals of groups: what Laplace's Gaussian and the mixtures of single sources are made into."""

from types import SimpleNamespace

import numpy as np
import pytest

from celestepy.inference.proposals import draw_fit, group_proposal
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import STAR

BLOCKS = [slice(0, 2), slice(2, 4)]
SIZE = 5  # two sources of two parameters and a sky level


def hypothesis(*sources, hessian):
    return SimpleNamespace(
        minimum=SimpleNamespace(x=np.arange(SIZE, dtype=float), hessian=hessian), sources=sources, kinds=(STAR,) * 2
    )


def hessian(correlation=0.5):
    covariance = np.full((SIZE, SIZE), correlation) + (1 - correlation) * np.eye(SIZE)
    return np.linalg.inv(covariance)


def own_marginal(matrix, block):
    covariance = np.linalg.inv(matrix)[block, block]
    return SourcePosterior(STAR, np.ones(1), np.arange(SIZE, dtype=float)[block][None], covariance[None])


def moments(mixture):
    return mixture.weights @ mixture.means, mixture.covariance


class TestGroupProposal:
    def test_marginals_of_laplace_give_back_laplace(self):
        matrix = hessian()
        sources = [own_marginal(matrix, block) for block in BLOCKS]
        mixture = group_proposal(hypothesis(*sources, hessian=matrix), BLOCKS)
        mean, covariance = moments(mixture)
        # Rounding of the inverses of 5 x 5 matrices.
        np.testing.assert_allclose(mean, np.arange(SIZE), atol=1e-12)
        np.testing.assert_allclose(covariance, np.linalg.inv(matrix), atol=1e-12)
        assert len(mixture.weights) == 3  # each source leading, and both together

    def test_a_single_source_is_described_once(self):
        matrix = hessian()
        mixture = group_proposal(hypothesis(own_marginal(matrix, BLOCKS[0]), hessian=matrix), BLOCKS[:1])
        assert len(mixture.weights) == 1

    def test_sources_follow_their_mixtures(self):
        """Independent sources: every part of the proposal has the marginal of the mixture that leads."""
        first = SourcePosterior(
            STAR, np.array([0.3, 0.7]), np.array([[5.0, 1.0], [-3.0, 0.0]]), np.array([0.1 * np.eye(2), np.eye(2)])
        )
        matrix = np.eye(SIZE)
        mixture = group_proposal(hypothesis(first, own_marginal(matrix, BLOCKS[1]), hessian=matrix), BLOCKS)
        together = np.isclose(mixture.means[:, 0], 5.0) & np.isclose(mixture.covariances[:, 0, 0], 0.1)
        # One half of the proposal is led by both, a quarter by each alone; the second leaves the first as it was.
        assert mixture.weights[together].sum() == pytest.approx(0.75 * 0.3)

    def test_neighbours_follow_by_regression(self):
        moved = SourcePosterior(STAR, np.ones(1), np.array([[2.0, 1.0]]), np.eye(2)[None])
        matrix = hessian(0.5)
        mixture = group_proposal(hypothesis(moved, hessian=matrix), BLOCKS[:1])
        covariance = np.linalg.inv(matrix)
        slope = covariance[2:, :2] @ np.linalg.inv(covariance[:2, :2])
        np.testing.assert_allclose(mixture.means[0, 2:], np.arange(2, SIZE) + slope @ [2.0, 0.0], atol=1e-12)

    def test_wide_mixtures_of_sources_known_only_together(self):
        """The joint density keeps the width of each source's own mixture, and Laplace's correlation."""
        matrix = hessian(0.99)
        wide = [
            SourcePosterior(STAR, np.ones(1), np.arange(SIZE, dtype=float)[block][None], 50 * np.eye(2)[None])
            for block in BLOCKS
        ]
        mixture = group_proposal(hypothesis(*wide, hessian=matrix), BLOCKS)
        joint = mixture.covariances[np.argmax(mixture.weights)]
        for block in BLOCKS:
            np.testing.assert_allclose(joint[block, block], 50 * np.eye(2), atol=1e-9)
        # Standard normal variates of the two sources that Laplace's Gaussian correlates by .99.
        assert joint[0, 2] / 50 == pytest.approx(0.99, abs=1e-9)

    def test_reach_beyond_the_fit(self):
        matrix = hessian()
        fit = hypothesis(own_marginal(matrix, BLOCKS[0]), hessian=matrix)
        plain = group_proposal(fit, BLOCKS[:1])
        wide = group_proposal(fit, BLOCKS[:1], reach=[0.0, 3.0, 0.0, 0.0, 0.0])
        np.testing.assert_allclose(wide.weights, [0.75, 0.25])
        np.testing.assert_allclose(wide.covariances[0], plain.covariances[0])
        added = wide.covariances[1] - plain.covariances[0]
        np.testing.assert_allclose(added, np.diag([0.0, 9.0, 0.0, 0.0, 0.0]), atol=1e-12)

    def test_a_saddle_is_refused(self):
        matrix = np.diag([1.0, 1.0, -1.0, 1.0, 1.0])
        with pytest.raises(np.linalg.LinAlgError):
            group_proposal(hypothesis(own_marginal(np.eye(SIZE), BLOCKS[0]), hessian=matrix), BLOCKS[:1])


class TestDrawFit:
    def test_marginals_are_the_sources_own_mixtures(self):
        first = SourcePosterior(
            STAR, np.array([0.3, 0.7]), np.array([[5.0, 1.0], [-3.0, 0.0]]), np.array([0.1 * np.eye(2), np.eye(2)])
        )
        matrix = hessian(0.5)
        fit = hypothesis(first, own_marginal(matrix, BLOCKS[1]), hessian=matrix)
        draws = draw_fit(fit, BLOCKS, 20000, np.random.default_rng(1))
        mean = first.weights @ first.means
        offsets = first.means - mean
        covariance = np.einsum("j,jab->ab", first.weights, first.covariances)
        covariance += np.einsum("j,ja,jb->ab", first.weights, offsets, offsets)
        # Five standard errors of means and of variances below 15 from 20000 draws.
        np.testing.assert_allclose(draws[:, :2].mean(axis=0), mean, atol=5 * 4 / 141)
        np.testing.assert_allclose(np.cov(draws[:, :2].T), covariance, atol=5 * 15 * 1.5 / 141)
        near = draws[:, 0] > 3.5  # the narrow component, all of whose draws and no other's lie there
        assert near.mean() == pytest.approx(0.3, abs=5 * 0.46 / 141)
        np.testing.assert_allclose(np.cov(draws[near, :2].T), 0.1 * np.eye(2), atol=5 * 0.1 * 1.5 / 77)

    def test_sources_are_correlated_as_in_laplace(self):
        matrix = hessian(0.8)
        fit = hypothesis(*(own_marginal(matrix, block) for block in BLOCKS), hessian=matrix)
        draws = draw_fit(fit, BLOCKS, 20000, np.random.default_rng(2))
        np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(matrix), atol=5 * 1.5 / 141)
