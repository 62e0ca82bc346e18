"""A colour image of the sky with the sources of a catalogue on it."""

import numpy as np
from scipy.ndimage import map_coordinates

from celestepy.catalog.differences import plain_column
from celestepy.plot.canvas import box_within, empty_figure, probability_colors, size_in_inches

__all__ = ["color_image"]

_NODE = 32  # pixels between the nodes at which the grid of one image is projected onto another
_ARROW = {"arrowstyle": "->", "color": "white", "lw": 1.0}
_PIXELS_PER_INCH = 150  # one pixel of a large image is one of the picture
_POINT = 2.2  # arcsec, radius of the circle around a star


def color_image(images, catalog=None, *, box=None):
    """Draw a colour image of three bands, with the sources of a catalogue marked by their type.

    Stars are circles and galaxies the ellipses of twice the half-light radius; the colour of a mark is the
    probability of being a star. The colours of the image are those of Lupton et al. (2004), balanced so that
    the light of all bright pixels together is white.

    Parameters
    ----------
    images : sequence of `~celestepy.images.Image`
        One or more bands, in order of wavelength; of each band the first image is used. Of more than three
        bands g, r and i are taken, or else the first, middle and last.
    catalog : Catalog, optional
        Sources to mark.
    box : tuple of int, optional
        Part of the middle image to show, ``(x0, x1, y0, y1)`` in its pixels.

    Returns
    -------
    `matplotlib.figure.Figure`

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there are no images, or the box holds no pixel.
    """
    blue, green, red = _three_bands(images)
    x0, x1, y0, y1 = box = box_within(box, green.shape)
    longest = min(max(max(x1 - x0, y1 - y0) / _PIXELS_PER_INCH, 8.5), 14.0)
    width, height = size_in_inches(x1 - x0, y1 - y0, longest, shortest=3.0)
    figure = empty_figure(width + (0.9 if catalog is not None else 0.3), height + 0.4)
    axes = figure.add_subplot()
    extent = (x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5)
    pixels = _lupton([_on_grid(image, green, box) for image in (blue, green, red)])
    axes.imshow(pixels, origin="lower", extent=extent, interpolation="nearest")
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="x [pixel]", ylabel="y [pixel]")
    title = ", ".join(dict.fromkeys(image.band for image in (blue, green, red)))
    if catalog is not None:
        n_marked = _mark(figure, axes, green, catalog, extent)
        title += f";  {n_marked} sources: stars are circles, galaxies ellipses of twice the half-light radius"
    axes.set_title(title, loc="left", fontsize=9)
    _compass(axes, green, extent)
    return figure


def _three_bands(images):
    first = {}
    for image in images:
        first.setdefault(image.band, image)
    if not first:
        raise ValueError("images is empty, expected one image at least")
    if {"g", "r", "i"} <= set(first):
        return first["g"], first["r"], first["i"]
    ordered = list(first.values())
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _on_grid(image, target, box):
    """Return the sky-subtracted pixels of one image at the pixels of another, by bilinear interpolation."""
    x0, x1, y0, y1 = box
    light = np.where(image.mask, 0.0, image.pixels - image.sky)
    if image is target:
        return light[y0:y1, x0:x1]
    xs, ys = (np.linspace(a, b - 1, 2 + (b - a) // _NODE) for a, b in ((x0, x1), (y0, y1)))
    sky = target.pixel_to_sky(*(grid.ravel() for grid in np.meshgrid(xs, ys)))
    nodes = [np.reshape(c, (len(ys), len(xs))) for c in image.sky_to_pixel(*sky)]
    rows = np.linspace(0, len(ys) - 1, y1 - y0)[:, None] + np.zeros(x1 - x0)
    columns = np.linspace(0, len(xs) - 1, x1 - x0) + np.zeros((y1 - y0, 1))
    x, y = (map_coordinates(grid, [rows, columns], order=1) for grid in nodes)
    return map_coordinates(light, [y, x], order=1)


def _lupton(planes):
    """Join blue, green and red planes into an RGB image on the scale of their noise."""
    from astropy.visualization import make_lupton_rgb

    noise = 1.4826 * float(np.median(np.abs(planes[1] - np.median(planes[1])))) or 1.0
    bright = planes[1] > 10 * noise
    totals = [float(plane[bright].sum()) for plane in planes]
    balance = [totals[1] / total if total > 0 else 1.0 for total in totals]
    blue, green, red = (plane * factor for plane, factor in zip(planes, balance, strict=True))
    return make_lupton_rgb(red, green, blue, minimum=-0.5 * noise, stretch=10 * noise, Q=8)


def _mark(figure, axes, image, catalog, extent):
    """Mark the sources within the picture and return their number."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import EllipseCollection

    ra, dec, probability = (plain_column(catalog, name) for name in ("ra", "dec", "star_probability"))
    known = np.flatnonzero(np.isfinite(ra + dec + probability))
    x, y, jacobian = image.local_affine((ra[known], dec[known]))
    inside = (x > extent[0]) & (x < extent[1]) & (y > extent[2]) & (y < extent[3])
    known, x, y, jacobian = known[inside], x[inside], y[inside], jacobian[inside]
    major, minor, angle = _ellipses(catalog, known, jacobian)
    colors = probability_colors()
    axes.add_collection(
        EllipseCollection(
            2 * major,
            2 * minor,
            angle,
            units="xy",
            offsets=np.column_stack([x, y]),
            offset_transform=axes.transData,
            facecolors="none",
            edgecolors=colors(probability[known]),
            linewidths=0.9,
        )
    )
    bar = figure.colorbar(ScalarMappable(cmap=colors), ax=axes, fraction=0.03, pad=0.015, aspect=40)
    bar.set_label("star probability")
    return len(known)


def _ellipses(catalog, rows, jacobian):
    """Return semi-axes in pixels, and angles in degrees from the x axis, of the marks of some rows."""
    units = {"half_light_radius": "arcsec", "axis_ratio": "", "position_angle": "deg"}
    radius, ratio, angle = (plain_column(catalog, name, rows, unit) for name, unit in units.items())
    circle = (plain_column(catalog, "star_probability", rows) > 0.5) | ~np.isfinite(radius + ratio + angle)
    radius = np.where(circle, _POINT, np.clip(2 * radius, 1.5, 60.0))
    ratio, angle = np.where(circle, 1.0, np.maximum(ratio, 0.1)), np.radians(np.where(circle, 0.0, angle))
    direction = np.stack([np.sin(angle), np.cos(angle)], axis=-1)  # East, North
    dx, dy = np.einsum("nij,nj->in", jacobian, direction)
    radius = radius * np.sqrt(np.abs(np.linalg.det(jacobian)))
    return radius, radius * ratio, np.degrees(np.arctan2(dy, dx))


def _compass(axes, image, extent):
    """Draw North and East into the lower left corner, and a scale into the lower right one."""
    from matplotlib.patheffects import withStroke

    width, height = extent[1] - extent[0], extent[3] - extent[2]
    length = 0.06 * min(width, height)
    x, y = extent[0] + 2.0 * length, extent[2] + 2.0 * length
    _, _, jacobian = image.local_affine(image.pixel_to_sky(x, y))
    outline = [withStroke(linewidth=2.5, foreground="black")]  # legible on light, and hides no source
    style = {"color": "white", "fontsize": 8, "ha": "center", "va": "center", "zorder": 5, "path_effects": outline}
    for name, column in (("E", jacobian[:, 0]), ("N", jacobian[:, 1])):
        dx, dy = length * column / np.hypot(*column)
        axes.annotate("", (x + dx, y + dy), (x, y), arrowprops=_ARROW | {"path_effects": outline}, zorder=5)
        axes.text(x + 1.4 * dx, y + 1.4 * dy, name, **style)
    scale = np.sqrt(abs(np.linalg.det(jacobian)))  # pixels per arcsec
    arcsec = _round_number(0.15 * width / scale)
    right, low = extent[1] - 0.03 * width, extent[2] + 0.04 * height
    axes.plot([right - arcsec * scale, right], [low, low], color="white", lw=1.5, path_effects=outline)
    axes.text(right - arcsec * scale / 2, low + 0.025 * height, f"{arcsec:g}\u2033", **style)


def _round_number(value):
    """Return the largest of 1, 2, 5, 10, 20, .. that does not exceed a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value)
