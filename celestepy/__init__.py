"""Probabilistic catalogues of stars and galaxies from multi-band survey images."""

try:
    from celestepy._version import version as __version__
except ImportError:  # a source tree that was never built
    __version__ = "0.1.dev0"

__all__ = ["__version__"]
