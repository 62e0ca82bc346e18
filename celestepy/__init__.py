"""Probabilistic catalogues of stars and galaxies from multi-band survey images."""

try:
    from celestepy._version import version as __version__
except ImportError:  # a source tree that was never built
    __version__ = "0.1.dev0"

__all__ = ["__version__", "make_catalog"]


def __getattr__(name):
    """Load `make_catalog` when it is first asked for, so that importing the package costs nothing."""
    if name == "make_catalog":
        from celestepy.pipeline import make_catalog

        return make_catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
