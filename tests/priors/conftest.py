"""Catalogues that several tests learn from."""

import pytest
from priors.simulated_catalogs import interim_prior, simulated_catalog

from celestepy.model.color_fit import ColorFit
from celestepy.priors import PriorFit


@pytest.fixture(scope="session")
def interim():
    return interim_prior()


@pytest.fixture(scope="session")
def catalog(interim):
    """1200 sources of the truth, their posteriors under a prior that is wrong in every law."""
    return simulated_catalog(1200, interim, seed=1)


@pytest.fixture(scope="session")
def settings():
    """As many components as the truth has, held by little."""
    colors = ColorFit(2, width=0.1, strength=1.0)
    return PriorFit(star_colors=colors, galaxy_colors=ColorFit(2, slope=0.3, width=0.1, strength=1.0))


@pytest.fixture(scope="session")
def fitted(catalog, interim, settings):
    return settings.fit(catalog, interim, name="learned", rng=2)
