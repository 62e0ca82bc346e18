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
_MARGIN = 60  # pixels, shown around the outermost sources
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
        The files: ``color.png``, ``residual.png`` and ``population.png``; with the truth also
        ``star_probability.png`` and ``pulls.png``. The residual is that of the part of the images that holds the
        catalogue's sources, of a large part the middle; a line above it says how many sources the model has.

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
    box = _box(catalog, shown[0])
    models = [render(_near(catalog, image, box), image) for image in shown]
    figures = {
        "color": color_image(images, catalog),
        "residual": model_and_residual(shown, models, box=box),
        "population": population(catalog),
    }
    figures["residual"].suptitle(_note(catalog, shown[0], box), fontsize=9)
    if truth is not None:
        figures |= {"star_probability": star_probability(catalog, truth), "pulls": pulls(catalog, truth)}
    paths = [directory / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path)
    return paths


def _box(catalog, image):
    """Return a box about the middle of the sources: those of a list may all lie in one corner of the image."""
    sides = []
    for place, size in zip(_pixels(catalog, image), reversed(image.shape), strict=True):
        on = place[(place > -0.5) & (place < size - 0.5)]
        low, high = (on.min() - _MARGIN, on.max() + _MARGIN) if len(on) else (0, size)
        low, high = max(int(low), 0), min(int(high) + 1, size)
        middle, width = (low + high) // 2, min(high - low, _LARGEST)
        sides += [middle - width // 2, middle - width // 2 + width]
    return tuple(sides)


def _pixels(catalog, image):
    """Return x and y of the sources."""
    return image.sky_to_pixel(*(catalog[name].to_value("deg") for name in ("ra", "dec")))


def _note(catalog, image, box):
    """Say what the model holds: what is not in the catalogue stays in the residual."""
    x, y = _pixels(catalog, image)
    x0, x1, y0, y1 = box
    n = np.count_nonzero((x > x0 - 0.5) & (x < x1 - 0.5) & (y > y0 - 0.5) & (y < y1 - 0.5))
    place = f"x {x0} to {x1 - 1}, y {y0} to {y1 - 1}"
    return f"{place}; sources in the model: {n}\nwhat is not in the catalogue stays in the residual"


def _near(catalog, image, box):
    """Return the sources that can be seen in a box: drawing all those of a large field takes long."""
    x0, x1, y0, y1 = box
    x, y = _pixels(catalog, image)
    near = (x > x0 - _REACH) & (x < x1 + _REACH) & (y > y0 - _REACH) & (y < y1 + _REACH)
    return catalog[np.asarray(near)]
