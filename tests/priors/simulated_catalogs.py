"""Catalogues whose posteriors are right by construction: fluxes, shapes and a size with Gaussian errors, no pixels.

Every source is measured: its fluxes, the four entries of its shape, and one more number that tells the types apart
(about 0 for stars, about `SEPARATION` for galaxies, with an error of 1). What is drawn for the catalogue are draws
from the exact posterior under the interim prior. Sources below a signal to noise are not detected.
"""

from dataclasses import replace

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import norm

from celestepy.catalog import Catalog, Draws
from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, RadiusLaw
from celestepy.model.priors import GalaxyPrior, Prior, StarPrior

BANDS = "gri"
FLUX_ERRORS = np.array([0.25, 0.2, 0.3])  # nmgy
SHAPE_ERRORS = np.array([0.3, 0.25, 0.25, 1.0])
STAR_SHAPE = np.array([-1.0, 0.0, 0.0, 0.0]), np.array([1.5, 1.0, 1.0, 3.0])  # what is measured of stars: mean, sd
SEPARATION, THRESHOLD = 3.0, 5.0
N_PROPOSED, N_DRAWS = 1000, 120  # of each type

TRUTH = Prior(
    BANDS,
    0.3,
    StarPrior(
        LogisticBeta(1.0, 0.1, -1.0, 0.25),
        ColorMixture([0.6, 0.4], [[0.4, 0.15], [1.2, 0.7]], [0.02 * np.eye(2), [[0.02, 0.01], [0.01, 0.06]]]),
    ),
    GalaxyPrior(
        LogisticBeta(1.0, 0.22, -1.0, 0.25),
        ColorMixture([0.6, 0.4], [[0.5, 0.3], [1.3, 0.4]], [0.03 * np.eye(2), 0.02 * np.eye(2)],
                     [[0.1, 0.0], [0.1, 0.0]], pivot=1.0),
        RadiusLaw(-0.6, 0.35, 0.3, 1.0),
        AxisRatioLaw(2.5, 1.3),
        LogisticBeta(0.6, 0.9),
    ),
    name="truth",
)


def interim_prior():
    """A prior to make catalogues with that is wrong in every law, but broad."""
    def broad(mixture):
        return ColorMixture([1.0], [[0.9, 0.5]], [[[0.4, 0.05], [0.05, 0.2]]])

    star = StarPrior(LogisticBeta(1.0, 0.2, -1.5, 0.3), broad(TRUTH.star.colors))
    galaxy = GalaxyPrior(LogisticBeta(1.0, 0.12, -1.5, 0.3), broad(TRUTH.galaxy.colors),
                         RadiusLaw(-0.3, 0.6, 0.0, 1.0), AxisRatioLaw(1.5, 1.0), LogisticBeta(1.0, 1.0))
    return replace(TRUTH, star_fraction=0.5, star=star, galaxy=galaxy, name="interim")


def simulated_catalog(n, interim, seed, truth=TRUTH):
    """A catalogue of n detected sources of the truth, made with the interim prior."""
    rng = np.random.default_rng(seed)
    measured = [data for data in _measurements(4 * n, truth, rng) if data[0][1] > THRESHOLD * FLUX_ERRORS[1]][:n]
    draws = [_posterior_draws(data, interim, rng) for data in measured]
    snr = np.array([fluxes[1] / FLUX_ERRORS[1] for fluxes, _, _ in measured])
    places = np.linspace(10.0, 11.0, len(measured)), np.zeros(len(measured))
    meta = {"method": "simulated", "settings": {"prior": interim.name}}
    return Catalog.from_draws(Draws.join(draws), ra=places[0], dec=places[1], bands=interim.bands,
                              diagnostics={"snr": snr}, meta=meta)


def _measurements(n, truth, rng):
    """Fluxes, shapes and the number that tells the types apart, of n sources, with their errors in them."""
    for is_star in rng.random(n) < truth.star_fraction:
        kind = STAR if is_star else GALAXY
        theta = truth.sample_theta(kind, 1, rng)[0]
        at = layout(kind, len(BANDS))
        fluxes = np.exp(truth.bands.log_flux_matrix @ theta[at.log_fluxes]) + FLUX_ERRORS * rng.standard_normal(3)
        true_shape, error = STAR_SHAPE if is_star else (theta[at.log_radius:], SHAPE_ERRORS)
        yield fluxes, true_shape + error * rng.standard_normal(4), (not is_star) * SEPARATION + rng.standard_normal()


def _posterior_draws(data, interim, rng):
    """Draws of one source, of equal weights."""
    parts, log_evidence = {}, {}
    for kind in KINDS:
        theta, log_weight = _weighted(kind, data, interim, rng)
        log_evidence[kind] = np.logaddexp.reduce(log_weight)
        share = np.exp(log_weight - log_evidence[kind])
        parts[kind] = theta[rng.choice(N_PROPOSED, N_DRAWS, p=share / share.sum())], None
    log_odds = interim.log_odds + log_evidence[STAR] - log_evidence[GALAXY]
    return Draws.from_types(len(BANDS), star=parts[STAR], galaxy=parts[GALAXY], log_odds=log_odds)


def _weighted(kind, data, interim, rng):
    """Draws about the measurement, and the log of likelihood times prior over their own density."""
    fluxes, shape, size = data
    at = layout(kind, len(BANDS))
    theta = np.zeros((N_PROPOSED, at.size))
    share = norm.sf(0.0, fluxes, FLUX_ERRORS) * rng.random((N_PROPOSED, 3))
    drawn = np.maximum(norm.isf(share, fluxes, FLUX_ERRORS), 1e-6)
    log_fluxes = np.log(drawn)
    theta[:, at.log_fluxes] = log_fluxes @ np.linalg.inv(interim.bands.log_flux_matrix).T
    # The normal law of the flux cancels between likelihood and proposal, but for its share above zero.
    log_weight = (log_ndtr(fluxes / FLUX_ERRORS) - log_fluxes).sum(axis=1)
    if kind == GALAXY:
        theta[:, at.log_radius:] = shape + SHAPE_ERRORS * rng.standard_normal((N_PROPOSED, 4))
        log_weight += norm.logpdf(size, SEPARATION)
    else:
        log_weight += norm.logpdf(size) + norm.logpdf(shape, *STAR_SHAPE).sum()
    return theta, log_weight + interim.log_densities(kind, theta, 1.0)
