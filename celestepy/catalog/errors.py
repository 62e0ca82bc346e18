"""The one error that the catalogue raises for files and tables it cannot use."""

__all__ = ["CatalogError"]


class CatalogError(ValueError):
    """A catalogue cannot be built, read or written; the message names the argument or file and the remedy."""
