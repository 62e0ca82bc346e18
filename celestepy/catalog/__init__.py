"""Probabilistic catalogues: columns, the posterior behind them, draws, populations, files, matching and scores."""

from celestepy.catalog.arviz_export import to_arviz
from celestepy.catalog.catalog import Catalog
from celestepy.catalog.draws import Draws
from celestepy.catalog.draws_file import DrawsFile
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.flags import Flag, Status
from celestepy.catalog.population import (
    PopulationHistogram,
    infer_population,
    population_histogram,
    sample_expression,
)
from celestepy.catalog.posterior import Posterior
from celestepy.catalog.score import Score

__all__ = [
    "Catalog",
    "CatalogError",
    "Draws",
    "DrawsFile",
    "Flag",
    "PopulationHistogram",
    "Posterior",
    "Score",
    "Status",
    "infer_population",
    "population_histogram",
    "sample_expression",
    "to_arviz",
]
