"""Draws from flux likelihoods stand for them at any signal to noise, and colours are learned through them."""

import numpy as np
import pytest

from celestepy.model.color_fit import ColorFit, draw_shares
from celestepy.model.color_mixture import ColorMixture
from celestepy.model.flux_draws import flux_draws

N_DRAWS = 20_000


def expected(flux, error, centre, sd, tail):
    """Mean of ln f under likelihood times a normal law of ln f, and the log of their integral, by quadrature."""
    x = np.linspace(centre - 8 * sd, centre + 8 * sd, 20_001)
    likelihood = sum(share * np.exp(-0.5 * ((flux - np.exp(x)) / (factor * error))**2) / factor
                     for share, factor in ((1 - tail[0], 1.0), tail))
    product = likelihood * np.exp(-0.5 * ((x - centre) / sd)**2)
    return np.average(x, weights=product), np.log(product.sum())


@pytest.mark.parametrize("tail", [(0.0, 1.0), (0.1, 4.0)])
@pytest.mark.parametrize("signal_to_noise", [-1.5, 0.5, 4.0, 6.0, 40.0])
def test_draws_stand_for_the_likelihood(signal_to_noise, tail):
    flux, error = 0.2 * signal_to_noise, 0.2
    draws = flux_draws([[flux]], [[error]], "r", N_DRAWS, np.random.default_rng(1), tail=tail)
    results = []
    for centre in (np.log(max(flux, 0.1)), np.log(max(flux, 0.1)) - 0.3):
        law = np.exp(-0.5 * ((draws.log_flux[0] - centre) / 0.3)**2)
        weights = np.exp(draws.log_weight[0]) * law
        mean, log_integral = expected(flux, error, centre, 0.3, tail)
        effective = weights.sum()**2 / (weights**2).sum()
        # four standard errors of the mean, the width of the product being at most 0.3
        assert np.average(draws.log_flux[0], weights=weights) == pytest.approx(mean, abs=4 * 0.3 / effective**0.5)
        results.append((np.log(weights.sum()) - log_integral, effective))
    (one, n_one), (other, n_other) = results  # the same constant for either law
    assert one == pytest.approx(other, abs=4 * (1 / n_one + 1 / n_other)**0.5)


def test_a_missing_band_says_nothing():
    draws = flux_draws([[1.0, 5.0, np.nan], [1.0, 5.0, 3.0]], [[0.1, 0.1, 0.1], [0.1, 0.1, np.inf]], "gri", 5000,
                       np.random.default_rng(2))
    assert np.isfinite(draws.log_weight).all()
    assert np.ptp(draws.colors[..., 1]) > 5
    np.testing.assert_allclose(draws.colors[..., 1].mean(axis=1), 0.0, atol=0.15)
    assert np.ptp(draws.colors[..., 0]) < 1.5


def test_implausible_colours_are_left_out():
    draws = flux_draws([[-0.1, 5.0], [9.0, 3.0]], [[0.1, 0.1], [0.1, 0.1]], "gr", 3000, np.random.default_rng(3))
    kept = draws.within([-0.5], [4.0])
    assert len(kept) == 1  # the second is three times too blue
    colors = kept.colors[np.isfinite(kept.log_weight)]
    assert colors.size > 100
    assert -0.5 <= colors.min() < colors.max() <= 4.0


@pytest.mark.parametrize(
    ("fluxes", "errors", "tail", "message"),
    [
        ([[1.0, 1.0]], [[0.0, 1.0]], (0.0, 1.0), "errors must be positive, got 0.0"),
        ([[1.0, np.nan]], [[0.1, 1.0]], (0.0, 1.0), "source 0 has no flux in the reference band r"),
        ([[1.0, 1.0]], [[0.1, 1.0]], (1.0, 3.0), "tail must be a share below 1"),
    ],
)
def test_bad_input(fluxes, errors, tail, message):
    with pytest.raises(ValueError, match=message):
        flux_draws(fluxes, errors, "gr", 10, np.random.default_rng(4), tail=tail)


def test_colours_are_learned_from_fluxes_that_are_often_negative():
    """A blue band of signal to noise about one: logarithms of its fluxes do not exist for a sixth of the sources."""
    rng, truth = np.random.default_rng(5), ColorMixture([1.0], [[1.5]], [[[0.16]]])
    log_flux = rng.normal(0.0, 0.3, 800)
    fluxes = np.exp(np.column_stack([log_flux - truth.sample(log_flux, rng)[:, 0], log_flux]))
    errors = np.full(fluxes.shape, [0.25, 0.02])
    fluxes += errors * rng.standard_normal(fluxes.shape)
    assert (fluxes[:, 0] < 0).mean() > 0.12
    draws = flux_draws(fluxes, errors, "gr", 60, rng).within([-2.0], [5.0])
    found = ColorFit(1, width=0.1, strength=1.0, n_starts=1, n_iterations=60).fit_draws(draws, rng=rng)
    # The information of 800 such fluxes: 0.04 of the mean, 0.05 of the width.
    assert found.means[0, 0] == pytest.approx(1.5, abs=0.12)
    assert found.covariances[0, 0, 0] ** 0.5 == pytest.approx(0.4, abs=0.15)


def test_steps_on_draws_raise_the_likelihood():
    rng, truth = np.random.default_rng(6), ColorMixture([0.5, 0.5], [[0.3], [1.5]], [[[0.04]], [[0.04]]])
    log_flux = rng.normal(0.0, 0.3, 300)
    fluxes = np.exp(np.column_stack([log_flux - truth.sample(log_flux, rng)[:, 0], log_flux]))
    draws = flux_draws(fluxes + 0.1 * rng.standard_normal(fluxes.shape), np.full(fluxes.shape, 0.1), "gr", 60, rng)
    draws = draws.within([-2.0], [5.0])
    scores = []
    for n in (1, 3, 10, 40):
        settings = ColorFit(2, strength=1e-6, n_starts=1, n_iterations=n)
        scores.append(draw_shares(settings.fit_draws(draws, rng=np.random.default_rng(7)), draws)[1].sum())
    assert np.all(np.diff(scores) > -0.5)  # weights are estimated with one more source for each component
    assert scores[-1] > scores[0]
