"""All pictures of a catalogued field at once."""

from pathlib import Path

from celestepy.catalog.render import render
from celestepy.plot.checks import pulls, star_probability
from celestepy.plot.color import color_image
from celestepy.plot.residual import model_and_residual

__all__ = ["draw_field"]


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
        The files: ``color.png`` and ``residual.png``; with the truth also ``star_probability.png`` and
        ``pulls.png``.

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
    figures = {
        "color": color_image(images, catalog),
        "residual": model_and_residual(shown, [render(catalog, image) for image in shown]),
    }
    if truth is not None:
        figures |= {"star_probability": star_probability(catalog, truth), "pulls": pulls(catalog, truth)}
    paths = [directory / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path)
    return paths
