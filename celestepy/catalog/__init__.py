"""Probabilistic catalogues: the columns, the posterior behind them, draws, files, matching and scores."""

from celestepy.catalog.catalog import Catalog
from celestepy.catalog.draws import Draws
from celestepy.catalog.draws_file import DrawsFile
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.flags import Flag, Status
from celestepy.catalog.posterior import Posterior
from celestepy.catalog.score import Score

__all__ = ["Catalog", "CatalogError", "Draws", "DrawsFile", "Flag", "Posterior", "Score", "Status"]
