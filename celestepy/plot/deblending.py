"""Blends taken apart: the data, the sources one by one, and what is left."""

from collections import Counter
from pathlib import Path

import numpy as np

from celestepy.plot.canvas import empty_figure

__all__ = ["deblended", "draw_blends"]

_SIDE = 1.7  # inches of a panel
_COLUMNS = 8
_LIMIT = 5.0  # of the residual, in units of its own robust noise
_MOST_PICTURES = 6
_MASKED = 110  # grey


def deblended(models, blend=0, *, most=16):
    """Draw a blend: data, model and residual, then each source alone and the data without its neighbours.

    Parameters
    ----------
    models : `~celestepy.deblend.FieldModels`
        A deblended field.
    blend : int, optional
        Number of the blend in the table.
    most : int, optional
        Sources to show, the brightest first.

    Returns
    -------
    `matplotlib.figure.Figure`
        In colour where the sources have three bands with the same pixels, otherwise in the band with the highest
        signal to noise; all panels but the residual have one scale.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If no source of the blend has a model.
    """
    rows = [k for k in np.flatnonzero(models.table["blend"] == blend) if models.models[k]]
    if not rows:
        raise ValueError(f"blend: {blend!r} has no source with a model; choose a number from the column blend")
    images = _shown(models, rows)
    box = _box(models, rows, images[0])
    alone = {k: _placed(models, k, images, box) for k in range(len(models)) if _touches(models, k, images[0], box)}
    residual = np.stack([_part(models.residuals[image], box) for image in images])
    shown = sorted(set(rows) & alone.keys(), key=lambda k: (-alone[k].sum(), k))[:most]
    palette = _Palette(residual, sum(alone.values()))
    columns = min(max(len(shown), 3), _COLUMNS)
    lines = -(-len(shown) // columns)
    ratio = np.clip((box[3] - box[2]) / (box[1] - box[0]), 0.4, 2.5)
    figure = empty_figure(columns * _SIDE, (1 + 2 * lines) * (_SIDE * ratio + 0.25) + 0.3)
    grid = figure.subplots(1 + 2 * lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    palette.draw(grid[0, 0], residual + sum(alone.values()), "data")
    palette.draw(grid[0, 1], sum(alone.values()), "all models")
    palette.draw_residual(grid[0, 2], residual)
    for place, k in enumerate(shown):
        line, column = 1 + 2 * (place // columns), place % columns
        palette.draw(grid[line, column], alone[k], f"source {models.table['row'][k]}")
        palette.draw(grid[line + 1, column], residual + alone[k], "data \u2212 others")
    bands = ", ".join(models.residuals[image].band for image in images)
    figure.suptitle(f"blend {blend}: {len(rows)} source{'s' * (len(rows) != 1)}, {bands}", fontsize=9)
    return figure


def draw_blends(models, directory):
    """Draw the blends with the most sources.

    Parameters
    ----------
    models : `~celestepy.deblend.FieldModels`
        A deblended field.
    directory : path-like
        Existing directory for the pictures ``blend_N.png``; files of the same names are replaced.

    Returns
    -------
    list of `pathlib.Path`
        The files.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    OSError
        If a file cannot be written.
    """
    fitted = [blend for blend, own in zip(models.table["blend"], models.models, strict=True) if own]
    numbers, counts = np.unique(fitted, return_counts=True)
    paths = []
    for number in numbers[np.argsort(-counts, kind="stable")][:_MOST_PICTURES]:
        paths.append(Path(directory) / f"blend_{number}.png")
        deblended(models, number).savefig(paths[-1])
    return paths


def _shown(models, rows):
    """The images to show: three of those with the same pixels, or the one that sees the sources best."""
    groups = Counter(model.images for row in rows for model in models.models[row])
    images = max(groups, key=lambda images: (groups[images], len(images), _significance(models, rows, images)))
    bands = {models.residuals[image].band: image for image in images}
    if {"g", "r", "i"} <= set(bands):
        return [bands[band] for band in "gri"]
    if len(images) > 2:
        return [images[0], images[len(images) // 2], images[-1]]
    return [max(images, key=lambda image: _significance(models, rows, [image]))]


def _significance(models, rows, images):
    """Signal to noise of the sources in the bands of some images."""
    total = 0.0
    for band in {models.residuals[image].band for image in images}:
        flux, error = (np.asarray(models.table[f"flux_{band}{kind}"][rows], float) for kind in ("", "_err"))
        total += float(np.nansum(np.divide(flux, error, out=np.zeros(len(rows)), where=error > 0)))
    return total


def _box(models, rows, image):
    """x0, x1, y0, y1 of the pixels that hold the sources, within the residual."""
    edges = []
    for row in rows:
        if _is_seen(models, row, image):
            pixels, x0, y0 = models.model(row, image)
            edges.append((x0, x0 + pixels.shape[1], y0, y0 + pixels.shape[0]))
    x0, x1, y0, y1 = np.transpose(edges)
    residual = models.residuals[image]
    height, width = residual.pixels.shape
    return (max(int(x0.min()), residual.x0), min(int(x1.max()), residual.x0 + width),
            max(int(y0.min()), residual.y0), min(int(y1.max()), residual.y0 + height))


def _is_seen(models, row, image):
    return any(image in model.images for model in models.models[row])


def _touches(models, row, image, box):
    if not _is_seen(models, row, image):
        return False
    pixels, x0, y0 = models.model(row, image)
    return x0 < box[1] and x0 + pixels.shape[1] > box[0] and y0 < box[3] and y0 + pixels.shape[0] > box[2]


def _placed(models, row, images, box):
    """(n, h, w) model of a source in the pixels of a box; 0 in images that do not see it."""
    x0, x1, y0, y1 = box
    result = np.zeros((len(images), y1 - y0, x1 - x0))
    for plane, image in ((plane, image) for plane, image in zip(result, images, strict=True)
                         if _is_seen(models, row, image)):
        pixels, left, low = models.model(row, image)
        height, width = pixels.shape
        rows, columns = slice(max(low, y0), min(low + height, y1)), slice(max(left, x0), min(left + width, x1))
        plane[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = pixels[
            rows.start - low : rows.stop - low, columns.start - left : columns.stop - left
        ]
    return result


def _part(residual, box):
    x0, x1, y0, y1 = box
    return residual.pixels[y0 - residual.y0 : y1 - residual.y0, x0 - residual.x0 : x1 - residual.x0].astype(float)


class _Palette:
    """One scale for all panels, from the noise and the colours of the data (Lupton et al. 2004)."""

    def __init__(self, residual, model):
        middle = residual[len(residual) // 2]
        known = np.abs(middle[np.isfinite(middle)])
        self.noise = (1.4826 * float(np.median(known)) if len(known) else 0.0) or float(model.max()) or 1.0
        totals = model.clip(0).sum(axis=(1, 2))
        self.balance = np.where(totals > 0, totals[len(model) // 2] / np.where(totals > 0, totals, 1.0), 1.0)

    def draw(self, axes, planes, title):
        """Draw in colour; masked pixels are grey."""
        from astropy.visualization import make_lupton_rgb

        chosen = (planes * self.balance[:, None, None])[[0, len(planes) // 2, -1]]
        blue, green, red = np.nan_to_num(chosen)
        picture = make_lupton_rgb(red, green, blue, minimum=-0.5 * self.noise, stretch=5 * self.noise, Q=8)
        picture[~np.isfinite(chosen).any(axis=0)] = _MASKED
        axes.imshow(picture, origin="lower", interpolation="nearest")
        axes.set_title(title, fontsize=7)

    def draw_residual(self, axes, residual):
        """Draw the residual of the middle band in units of its noise."""
        from matplotlib import colormaps

        shown = residual[len(residual) // 2] / self.noise
        axes.imshow(shown, origin="lower", vmin=-_LIMIT, vmax=_LIMIT, cmap=colormaps["RdBu_r"])
        axes.set_title(f"residual, \u00b1{_LIMIT:g} sd", fontsize=7)
