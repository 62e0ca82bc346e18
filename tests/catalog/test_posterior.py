"""The mixture behind each row: normalisation, bad components, merging, drawing."""

import numpy as np
import pytest

from celestepy.catalog import Posterior
from celestepy.catalog.posterior import pick
from celestepy.model.parameters import GALAXY, STAR, layout

SIZE = layout(GALAXY, 2).size
STAR_SIZE = layout(STAR, 2).size


def components(n=3, m=2, seed=0):
    """Random components in two bands, alternately stars and galaxies."""
    rng = np.random.default_rng(seed)
    factor = 0.2 * rng.standard_normal((n, m, SIZE, SIZE))
    covariance = factor @ np.swapaxes(factor, -1, -2) + 0.01 * np.eye(SIZE)
    is_galaxy = np.broadcast_to(np.arange(m) % 2 == 1, (n, m)).copy()
    return rng.normal(size=(n, m)), is_galaxy, rng.normal(size=(n, m, SIZE)), covariance


def test_weights_sum_to_one_within_each_type():
    posterior = Posterior.from_components(*components(5, 6))
    np.testing.assert_allclose(posterior.weight_of(STAR).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(posterior.weight_of(GALAXY).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(posterior.total_weight.sum(axis=1), 1, rtol=1e-14)


def test_star_probability_is_the_share_of_the_weight():
    log_weight, *rest = components()
    log_weight[0] = np.log([3, 1])
    log_weight[1] = np.log([3, 1]) - 1e5  # evidences are far from 1
    log_weight[2] = [-2000, 0]
    probability = Posterior.from_components(log_weight, *rest).star_probability
    np.testing.assert_allclose(probability[:2], 0.75, rtol=1e-10)
    assert probability[2] == 0


def test_a_hopeless_type_is_still_described():
    log_weight, *rest = components(m=4)
    log_weight[:, ::2] -= 5000  # both star components
    posterior = Posterior.from_components(log_weight, *rest)
    share = np.exp(log_weight[:, 0] - np.logaddexp(log_weight[:, 0], log_weight[:, 2]))
    np.testing.assert_allclose(posterior.weight[:, 0], share, rtol=1e-10)


def test_entries_that_a_star_lacks_are_nan():
    posterior = Posterior.from_components(*components())
    assert np.isnan(posterior.mean[:, 0, STAR_SIZE:]).all()
    assert np.isnan(posterior.covariance[:, 0, STAR_SIZE:]).all()
    assert np.isfinite(posterior.mean[:, 1]).all()


@pytest.mark.parametrize("spoil", ["weight", "mean", "covariance", "variance"])
def test_bad_components_are_left_out(spoil):
    log_weight, is_galaxy, mean, covariance = components()
    if spoil == "weight":
        log_weight[0, 0] = np.nan
    elif spoil == "mean":
        mean[0, 0, 1] = np.inf
    elif spoil == "covariance":
        covariance[0, 0, 0, 1] = np.nan
    else:
        covariance[0, 0, 2, 2] = -1e-3
    posterior = Posterior.from_components(log_weight, is_galaxy, mean, covariance)
    assert posterior.star_probability[0] == 0
    assert 0 < posterior.star_probability[1] < 1
    assert posterior.weight[0, 0] == 0
    assert np.isnan(posterior.mean[0, 0]).all()


def test_source_without_components():
    log_weight, *rest = components()
    log_weight[1] = -np.inf
    posterior = Posterior.from_components(log_weight, *rest)
    assert np.isnan(posterior.star_probability[1])
    assert (posterior.total_weight[1] == 0).all()
    is_galaxy, theta = posterior.draw(4, np.random.default_rng(0))
    assert np.isnan(theta[1]).all()
    assert np.isfinite(theta[0, :, :STAR_SIZE]).all()


@pytest.mark.parametrize(
    ("index", "message"),
    [(0, "log_weight has shape"), (1, "is_galaxy has shape"), (2, "mean has"), (3, "covariance has shape")],
)
def test_shapes_are_checked(index, message):
    parts = list(components())
    parts[index] = parts[index][..., 0] if index != 2 else parts[index][..., :4]
    if index == 2:
        parts[3] = parts[3][..., :4, :4]
    with pytest.raises(ValueError, match=message):
        Posterior.from_components(*parts)


def test_stack_pads_sources_of_different_sizes():
    log_weight, _, mean, covariance = components()
    star = (log_weight[0, 0], STAR, mean[0, 0, :STAR_SIZE], covariance[0, 0, :STAR_SIZE, :STAR_SIZE])
    galaxy = (log_weight[0, 1], GALAXY, mean[0, 1], covariance[0, 1])
    posterior = Posterior.stack([[star, galaxy], [galaxy], []], n_bands=2)
    expected = Posterior.from_components(*components())
    assert posterior.n_bands == 2
    assert posterior.star_probability[0] == expected.star_probability[0]
    assert posterior.star_probability[1] == 0
    assert np.isnan(posterior.star_probability[2])
    np.testing.assert_array_equal(posterior.mean[0], expected.mean[0])
    np.testing.assert_array_equal(posterior.covariance[0], expected.covariance[0])


def test_stack_of_nothing():
    assert len(Posterior.stack([], n_bands=5)) == 0


def test_compression_keeps_the_moments_of_each_type():
    posterior = Posterior.from_components(*components(10, 20))
    small = posterior.compressed(8)
    assert small.weight.shape[1] == 8
    for kind, size in ((STAR, STAR_SIZE), (GALAXY, SIZE)):
        np.testing.assert_allclose(small.weight_of(kind).sum(axis=1), 1, rtol=1e-12)
        for ours, theirs in zip(
            small.moments(small.weight_of(kind), size),
            posterior.moments(posterior.weight_of(kind), size),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_compression_keeps_the_heaviest_components():
    posterior = Posterior.from_components(*components(10, 20))
    heaviest = np.sort(posterior.weight, axis=1)[:, :-7:-1]
    kept = posterior.compressed(8).weight
    assert all(np.isin(heaviest[i], kept[i]).all() for i in range(10))


def test_compression_drops_unused_columns_only():
    log_weight, *rest = components(4, 6)
    log_weight[:, [0, 3, 4]] = -np.inf
    posterior = Posterior.from_components(log_weight, *rest)
    small = posterior.compressed()
    assert small.weight.shape == (4, 3)
    np.testing.assert_allclose(
        small.moments(small.total_weight, STAR_SIZE)[0],
        posterior.moments(posterior.total_weight, STAR_SIZE)[0],
        rtol=1e-12,
    )


def test_draws_have_the_moments_of_the_mixture():
    posterior = Posterior.from_components(*components(2, 4))
    n = 40_000
    is_galaxy, theta = posterior.draw(n, np.random.default_rng(1))
    error = np.sqrt(posterior.star_probability * (1 - posterior.star_probability) / n)
    np.testing.assert_array_less(np.abs(is_galaxy.mean(axis=1) - 1 + posterior.star_probability), 4 * error)
    mean, covariance = posterior.moments(posterior.total_weight, STAR_SIZE)
    sd = np.sqrt(np.einsum("nii->ni", covariance))
    np.testing.assert_array_less(np.abs(theta[..., :STAR_SIZE].mean(axis=1) - mean), 4 * sd / np.sqrt(n))
    for i in range(2):  # sampling error of a covariance: at most sqrt(2 / n) of the variances, 4 sigma
        drawn = np.cov(theta[i, :, :STAR_SIZE].T)
        np.testing.assert_allclose(drawn, covariance[i], atol=4 * np.sqrt(2 / n) * sd[i].max() ** 2)
    assert np.isnan(theta[~is_galaxy][:, STAR_SIZE:]).all()
    assert np.isfinite(theta[is_galaxy]).all()


def test_pick_never_takes_an_empty_component():
    weight = np.array([[0.0, 0.3, 0.0, 0.7, 0.0]])
    uniform = np.array([[0.0, 0.2999, 0.3001, 1 - 1e-17]])
    np.testing.assert_array_equal(pick(weight, uniform), [[1, 1, 3, 3]])
