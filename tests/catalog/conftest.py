"""Catalogues whose truth is known: it is drawn from the posterior itself, so that errors must be right."""

from types import SimpleNamespace

import numpy as np
import pytest

from celestepy.catalog import Catalog, Posterior
from celestepy.model.parameters import GALAXY, STAR, Bands, layout
from celestepy.model.transforms import to_catalog


def random_covariance(rng, n, sd):
    """Covariances with standard deviations near `sd` (D,) and moderate correlations, shape (n, D, D)."""
    size = len(sd)
    factor = np.eye(size) + 0.3 * rng.standard_normal((n, size, size)) / np.sqrt(size)
    covariance = factor @ np.swapaxes(factor, 1, 2)
    return covariance * np.outer(sd, sd) * rng.lognormal(0, 0.3, (n, 1, 1))


def make_components(rng, n, bands, width=1.0):
    """One star and one galaxy for each of n sources: log weights, types, means and covariances."""
    at = layout(GALAXY, len(bands))
    star_at = layout(STAR, len(bands))
    mean = np.zeros((n, 2, at.size))
    mean[..., at.position] = 0.1 * rng.standard_normal((n, 1, 2))
    mean[..., at.log_flux] = rng.normal(2, 1, (n, 1))
    mean[..., at.colors] = rng.normal(0.5, 0.4, (n, 1, len(bands) - 1))
    mean[:, 1, at.log_radius] = rng.normal(0, 0.5, n)
    mean[:, 1, at.ellipticity] = rng.normal(0, 0.6, (n, 2))
    mean[:, 1, at.logit_dev] = rng.normal(0, 1.5, n)
    sd = np.full(at.size, 0.1)
    sd[at.position] = 0.05
    covariance = width * np.stack([random_covariance(rng, n, sd), random_covariance(rng, n, sd)], axis=1)
    mean[:, 0, star_at.size :] = np.nan
    covariance[:, 0, star_at.size :] = covariance[:, 0, :, star_at.size :] = np.nan
    probability = rng.beta(0.4, 0.4, n)
    log_weight = np.log(np.stack([probability, 1 - probability], axis=1)) - 1000.0
    is_galaxy = np.broadcast_to([False, True], (n, 2))
    return log_weight, is_galaxy, mean, covariance


def draw_truth(rng, components, bands, ra, dec):
    """A truth table drawn from the components, written the slow way."""
    log_weight, is_galaxy, mean, covariance = components
    rows = []
    for i in range(len(log_weight)):
        weight = np.exp(log_weight[i] - log_weight[i].max())
        chosen = rng.choice(len(weight), p=weight / weight.sum())
        kind = GALAXY if is_galaxy[i, chosen] else STAR
        size = layout(kind, len(bands)).size
        theta = rng.multivariate_normal(mean[i, chosen, :size], covariance[i, chosen, :size, :size])
        shape = dict.fromkeys(("half_light_radius", "axis_ratio", "position_angle", "dev_fraction"), np.nan)
        values = shape | to_catalog(kind, theta, bands)
        values["is_star"] = kind == STAR
        values["dec"] = dec[i] + theta[1] / 3600
        values["ra"] = ra[i] + theta[0] / 3600 / np.cos(np.radians(dec[i]))
        rows.append(values)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture
def make_catalog():
    """A function that builds a catalogue, its truth and its components."""

    def make(n=50, bands="ugriz", seed=1, width=1.0, **options):
        rng, bands = np.random.default_rng(seed), Bands.of(bands)
        ra = (359.999 + 0.02 * rng.random(n)) % 360
        dec = 40 + 0.02 * rng.random(n)
        components = make_components(rng, n, bands, width)
        truth = draw_truth(rng, components, bands, ra, dec)
        options = {"meta": {"created": None, "seed": seed}} | options
        posterior = Posterior.from_components(*components)
        catalog = Catalog.from_posterior(posterior, ra=ra, dec=dec, bands=bands, **options)
        return SimpleNamespace(catalog=catalog, truth=truth, components=components, ra=ra, dec=dec)

    return make
