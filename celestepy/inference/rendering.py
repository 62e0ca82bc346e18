"""Model images of a whole field, from what is known of every source."""

import numpy as np

from celestepy.images.image import Patch

__all__ = ["model_images"]

# Half width of the box a source is drawn in, in FWHM and in half-light radii on top.
_BOX_FWHM, _BOX_RADII = 8.0, 5.0


def model_images(placement, contributions):
    """Expected pixels of every image, sky included.

    Parameters
    ----------
    placement : `~celestepy.inference.placement.Placement`
        Sources on images.
    contributions : dict
        Source index -> `~celestepy.inference.placement.Contribution`.

    Returns
    -------
    list of `~numpy.ndarray`
        One model for each image, nanomaggies per pixel.
    """
    models = [np.array(image.sky, dtype=float) for image in placement.images]
    for k, part in contributions.items():
        for n, model in enumerate(models):
            box = _box(placement, n, k, part, model.shape)
            if box is not None:
                _draw(placement, n, k, part, model, box)
    return models


def _box(placement, n, k, part, shape):
    if not np.isfinite(placement.x[n, k] + placement.y[n, k]):
        return None
    spread = max(np.sqrt(max(scene[-3] + scene[-1], 0.0)) for scene in part.scenes) / placement.pixel_scale[n]
    half = int(np.ceil(_BOX_FWHM * placement.fwhm[n] + min(_BOX_RADII * spread, 300)))
    x, y = int(np.rint(placement.x[n, k])), int(np.rint(placement.y[n, k]))
    x0, x1 = max(x - half, 0), min(x + half + 1, shape[1])
    y0, y1 = max(y - half, 0), min(y + half + 1, shape[0])
    return (x0, x1, y0, y1) if x1 > x0 and y1 > y0 else None


def _draw(placement, n, k, part, model, box):
    x0, x1, y0, y1 = box
    blank = np.zeros((y1 - y0, x1 - x0))
    patch = Patch(blank, np.ones_like(blank), blank, x0, y0, False)
    likelihood = placement.scene_likelihood([patch], [n], [k] * len(part.is_galaxy))
    model[y0:y1, x0:x1] += likelihood.model(part.is_galaxy, part.scenes, np.zeros(1))[0]
