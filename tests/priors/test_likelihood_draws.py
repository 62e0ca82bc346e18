"""Dividing a prior out and multiplying it in again gives the posterior back."""

from dataclasses import replace

import numpy as np
import pytest

from celestepy.model.parameters import GALAXY, STAR
from celestepy.priors.likelihood_draws import likelihood_draws, log_terms, posterior_weights


@pytest.fixture(scope="module")
def part(catalog):
    return catalog[:40]


@pytest.mark.parametrize("most", [10**6, 10])  # the catalogue's draws as they are, or new ones of them
def test_the_interim_prior_gives_the_posterior_back(part, interim, most):
    draws = likelihood_draws(part, interim, 50, most, np.random.default_rng(1))
    weights, log_likelihood = posterior_weights(draws, log_terms(draws, interim), len(part))
    stars = np.bincount(draws[STAR].source, weights[STAR], len(part))
    np.testing.assert_allclose(stars, part["star_probability"], atol=1e-5)  # types below 1e-6 are left out
    np.testing.assert_allclose(log_likelihood, 0.0, atol=1e-5)
    for kind, size in ((STAR, 5), (GALAXY, 9)):
        assert draws[kind].theta.shape[1] == size
        assert not draws[kind].theta[:, :2].any()


def test_without_draws_the_gaussians_are_drawn_from(part, interim, tmp_path):
    part.write(tmp_path / "cat.fits")
    stored = type(part).read(tmp_path / "cat.fits")
    assert stored.draws is None
    draws = likelihood_draws(stored, interim, 400, 10**6, np.random.default_rng(1))
    weights, _ = posterior_weights(draws, log_terms(draws, interim), len(part))
    flux = np.zeros(len(part))
    for kind in (STAR, GALAXY):
        flux += np.bincount(draws[kind].source, weights[kind] * draws[kind].log_flux, len(part))
    expected = np.log(stored["flux_r"].value)
    # Means against medians, and 400 draws: a fraction of the posterior's width.
    assert np.all(np.abs(flux - expected) < 0.5 * stored["flux_r_err"].value / stored["flux_r"].value + 0.01)


def test_another_star_fraction_moves_the_odds(part, interim):
    """Bayes' theorem for the types alone."""
    draws = likelihood_draws(part, interim, 50, 10**6, np.random.default_rng(1))
    other = replace(interim, star_fraction=0.9)
    weights, _ = posterior_weights(draws, log_terms(draws, other), len(part))
    stars = np.bincount(draws[STAR].source, weights[STAR], len(part))
    before = np.asarray(part["star_probability"])
    odds = before / (1 - before) * (0.9 / 0.1) / (interim.star_fraction / (1 - interim.star_fraction))
    np.testing.assert_allclose(stars, odds / (1 + odds), atol=1e-4)
