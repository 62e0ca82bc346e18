"""All pictures of a catalogued field at once."""

from pathlib import Path

import numpy as np

from celestepy.catalog.render import render
from celestepy.plot.checks import pulls, star_probability
from celestepy.plot.color import color_image
from celestepy.plot.population import population
from celestepy.plot.residual import model_and_residual

__all__ = ["draw_field"]

_LARGEST = 600  # pixels; of a larger image the middle is drawn, in which a residual can be seen
_REACH = 200  # pixels, the largest distance at which a source is drawn into an image


def draw_field(images, catalog, directory, truth=None):
    """Draw a field and its catalogue, and the checks against the truth where it is known.

    Parameters
    ----------
    images : sequence of `~celestepy.images.Image`
        The images; of each band the first is drawn.
    catalog : Catalog or result of an engine
        The catalogue, or an object with one as its ``catalog``.
    directory : path-like
        Existing directory for the pictures; files of the same names are replaced.
    truth : table, optional
        The truth, see `celestepy.catalog.score.score`.

    Returns
    -------
    list of `pathlib.Path`
        The files: ``color.png``, ``residual.png`` (of large images the middle) and ``population.png``; with
        the truth also ``star_probability.png`` and ``pulls.png``.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    OSError
        If a file cannot be written.
    """
    catalog, directory = getattr(catalog, "catalog", catalog), Path(directory)
    first = {}
    for image in images:
        first.setdefault(image.band, image)
    shown = [image for image in first.values() if image.band in catalog.bands.names]
    box = _middle(shown[0].shape)
    models = [render(_near(catalog, image, box), image) for image in shown]
    figures = {
        "color": color_image(images, catalog),
        "residual": model_and_residual(shown, models, box=box),
        "population": population(catalog),
    }
    if truth is not None:
        figures |= {"star_probability": star_probability(catalog, truth), "pulls": pulls(catalog, truth)}
    paths = [directory / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path)
    return paths


def _middle(shape):
    """Return the box of the middle of an image."""
    (y0, y1), (x0, x1) = (
        (max((size - _LARGEST) // 2, 0), min((size + _LARGEST) // 2, size)) for size in shape
    )
    return x0, x1, y0, y1


def _near(catalog, image, box):
    """Return the sources that can be seen in a box: drawing all those of a large field takes long."""
    x0, x1, y0, y1 = box
    x, y = image.sky_to_pixel(*(catalog[name].to_value("deg") for name in ("ra", "dec")))
    near = (x > x0 - _REACH) & (x < x1 + _REACH) & (y > y0 - _REACH) & (y < y1 + _REACH)
    return catalog[np.asarray(near)]
