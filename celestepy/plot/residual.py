"""Data, model, and what is left of the one when the other is taken away."""

import numpy as np

from celestepy.images.noise import PoissonNoise
from celestepy.plot.canvas import box_within, empty_figure, size_in_inches

__all__ = ["model_and_residual"]

_MASKED = "#c9c39a"
_LIMIT = 5.0  # of the residual, in units of the noise


def model_and_residual(images, models, *, box=None):
    """Draw the data, the model, and what is left in units of the noise, one row for each image.

    Parameters
    ----------
    images : sequence of `~celestepy.images.Image`
        The data.
    models : sequence of (ny, nx) array_like
        For each the expected pixels in nanomaggies, sky included, such as `celestepy.catalog.render.render`
        returns.
    box : tuple of int, optional
        Part to show, ``(x0, x1, y0, y1)`` in pixels of each image.

    Returns
    -------
    `matplotlib.figure.Figure`
        Residuals are divided by the noise of each pixel as the model predicts it; masked pixels are sandy.
        Both pictures of a row share their scale, which is linear for faint and logarithmic for bright pixels.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the models do not go with the images.
    """
    images, models = list(images), [np.asarray(model, dtype=float) for model in models]
    shapes, expected = [model.shape for model in models], [image.shape for image in images]
    if not images or shapes != expected:
        raise ValueError(f"models have the shapes {shapes}, expected those of the images, {expected}")
    x0, x1, y0, y1 = box_within(box, images[0].shape)
    width, height = size_in_inches(x1 - x0, y1 - y0, 3.2)
    figure = empty_figure(3 * width + 1.2, len(images) * height + 0.4)
    grid = figure.subplots(len(images), 3, squeeze=False)
    for row, image, model in zip(grid, images, models, strict=True):
        shown = _draw_row(row, image, model, box_within(box, image.shape))
        row[0].set_ylabel(
            image.band if image.name == image.band else f"{image.band}\n{image.name}", fontsize=9
        )
    for axes, title in zip(grid[0], ("data", "model", "(data \u2212 model) / noise"), strict=True):
        axes.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=list(grid[:, 2]), fraction=0.05, pad=0.02, aspect=30, extend="both")
    return figure


def _draw_row(row, image, model, box):
    from matplotlib import colormaps
    from matplotlib.colors import AsinhNorm

    x0, x1, y0, y1 = box
    part = (slice(y0, y1), slice(x0, x1))
    masked, noise = image.mask[part], _noise(image, model)[part]
    data, light, left = (
        np.ma.array(pixels[part], mask=masked)
        for pixels in (image.pixels - image.sky, model - image.sky, image.pixels - model)
    )
    level = float(np.median(noise))
    top = max(float(light.max()) if light.count() else 0.0, 5 * level)
    grey = {
        "norm": AsinhNorm(3 * level, vmin=-3 * level, vmax=top),
        "cmap": colormaps["gray_r"].with_extremes(bad=_MASKED),
    }
    options = {"origin": "lower", "extent": (x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5)}
    row[0].imshow(data, **grey, **options)
    row[1].imshow(light, **grey, **options)
    pull = left / noise
    shown = row[2].imshow(
        pull, vmin=-_LIMIT, vmax=_LIMIT, cmap=colormaps["RdBu_r"].with_extremes(bad=_MASKED), **options
    )
    for axes in row:
        axes.set(xticks=[], yticks=[])
    row[2].set_xlabel(_verdict(pull), fontsize=7)
    return shown


def _verdict(pull):
    """Say what the residuals would be if they were noise, and what they are."""
    values = pull.compressed()
    if not len(values):
        return "all pixels masked"
    return (
        f"mean square {np.mean(values**2):.2f}, robust sd {1.4826 * np.median(np.abs(values)):.2f}, "
        f"{np.count_nonzero(np.abs(values) > _LIMIT)} pixels beyond {_LIMIT:g}"
    )


def _noise(image, model):
    """Return the standard deviation of each pixel if the model is true."""
    variance = np.array(np.broadcast_to(image.variance(), image.shape))
    if isinstance(image.noise, PoissonNoise):
        variance = variance + np.maximum(model - image.sky, 0.0) / image.noise.photons_per_nanomaggy
    return np.sqrt(np.where(image.mask, 1.0, variance))
