"""From a catalogue back to pixels: what an image should look like if the catalogue is right."""

import numpy as np

from celestepy.images.image import Patch
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.pixel_rate import SceneLikelihood
from celestepy.model.transforms import to_scene

__all__ = ["render"]

_SMALLEST, _LARGEST, _RADII = 26, 200, 8  # half sides of the stamps in pixels, and in half-light radii


def render(catalog, image):
    """Draw the sources of a catalogue into the pixels of an image.

    Each source is drawn as the more probable of its two types, with the median parameters of the component of
    its posterior that weighs most; sources without a posterior are left out. A stamp reaches to eight
    half-light radii, at least 26 and at most 200 pixels from the centre.

    Parameters
    ----------
    catalog : Catalog
        The sources.
    image : `~celestepy.images.Image`
        The image: its PSF, astrometry, sky and shape; its pixels are not looked at.

    Returns
    -------
    (ny, nx) array
        Expected nanomaggies per pixel, sky included. The sky is that of the image: levels that were fitted
        with the sources are not in the catalogue.

    Raises
    ------
    ValueError
        If the band of the image is not one of the catalogue's.
    """
    bands = catalog.bands
    if image.band not in bands.names:
        raise ValueError(
            f"image {image.name!r} is of band {image.band!r}, expected one of {', '.join(bands)}"
        )
    ra, dec = (catalog[name].to_value("deg") for name in ("ra", "dec"))
    x, y, jacobian = image.local_affine((ra, dec))
    model = np.array(image.sky, dtype=float)
    for row, (kind, theta) in enumerate(_most_probable(catalog)):
        if kind is not None:
            scene = to_scene(kind, theta, bands)[0]
            _add_source(
                model, image, bands.names.index(image.band), kind, scene, (x[row], y[row]), jacobian[row]
            )
    return model


def _most_probable(catalog):
    """Type and free vector of the heaviest component of the more probable type of each row."""
    posterior, n_bands = catalog.posterior, len(catalog.bands)
    for row, probability in enumerate(posterior.star_probability):
        kind = STAR if probability > 0.5 else GALAXY
        weight = posterior.rows([row]).weight_of(kind)[0]
        theta = posterior.mean[row, np.argmax(weight), : layout(kind, n_bands).size]
        yield (kind, theta) if weight.any() and np.isfinite(probability) else (None, None)


def _add_source(model, image, band, kind, scene, position, jacobian):
    """Add one source to the pixels of its stamp."""
    half = _SMALLEST
    if kind == GALAXY:
        axes = np.sqrt(abs(np.linalg.det(jacobian)) * (scene[-3] + scene[-1]))
        half = int(np.clip(_RADII * axes, _SMALLEST, _LARGEST))
    column, row = (int(round(value)) for value in position)
    x0, x1 = max(column - half, 0), min(column + half + 1, model.shape[1])
    y0, y1 = max(row - half, 0), min(row + half + 1, model.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    blank = np.zeros((y1 - y0, x1 - x0))
    patch = Patch(blank, blank, blank, x0, y0, False)
    n_bands = len(scene) - layout(GALAXY, 0).size
    likelihood = SceneLikelihood(
        [patch], [band], [[image.psf.at(*position)]], [[position]], [[jacobian]], n_bands=n_bands
    )
    model[y0:y1, x0:x1] += likelihood.model([kind == GALAXY], scene[None], np.zeros(1))[0]
