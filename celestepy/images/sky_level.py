"""How far an image's sky level can be trusted, measured on the image itself."""

import numpy as np

__all__ = ["measure_sky_error"]


def measure_sky_error(image, box=64):
    """Scatter of the local sky level about the image's own sky.

    The level is the mean of the unmasked pixels of each box after three rounds of clipping at 2.5 standard
    deviations about the median, which leaves sources out (the median itself would follow the steps of digitised
    pixels); its scatter over boxes is measured by the median absolute deviation
    about zero, so that an offset common to all boxes counts as well, and the statistical part is taken off.

    Parameters
    ----------
    image : `~celestepy.images.Image`
        The image.
    box : int
        Side of the boxes in pixels.

    Returns
    -------
    float
        Standard deviation of the sky level in nanomaggies per pixel; at least a hundredth of the noise of one
        pixel.
    """
    # One pixel in four says enough about a level, and neighbours share their noise anyway.
    residual = np.where(image.mask, np.nan, image.pixels - image.sky)[::2, ::2]
    levels, widths = [], []
    ny, nx = residual.shape
    box = max(box // 2, 1)
    for y in range(0, max(ny - box // 2, 1), box):
        for x in range(0, max(nx - box // 2, 1), box):
            values = residual[y : y + box, x : x + box]
            level, width, number = _clipped(values[np.isfinite(values)])
            if number > box:
                levels.append(level)
                widths.append(width / np.sqrt(number))
    noise = np.sqrt(np.median(image.variance()[~image.mask])) if not image.mask.all() else 1.0
    if not levels:
        return 0.1 * float(noise)
    scatter = 1.4826 * np.median(np.abs(levels))
    statistical = np.median(widths)
    return float(np.sqrt(max(scatter**2 - statistical**2, (0.01 * noise) ** 2)))


def _clipped(values):
    """Mean, standard deviation and number of values after clipping."""
    for _ in range(3):
        if values.size < 2:
            break
        middle, width = np.median(values), np.std(values)
        values = values[np.abs(values - middle) <= 2.5 * width]
    return (np.mean(values), np.std(values), values.size) if values.size else (0.0, 0.0, 0)
