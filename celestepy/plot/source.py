"""The posterior of one source."""

import numpy as np

from celestepy.plot.canvas import DARK, GALAXY, PALE, STAR, panels, tidy

__all__ = ["posterior"]

_SHOWN = 1500  # draws in a panel of two quantities


def posterior(catalog, row, *, n=4000, rng=0):
    """Draw the posterior of one source: brightness and colours by type, and the shape of the galaxy.

    Parameters
    ----------
    catalog : Catalog
        The catalogue.
    row : int
        Which row.
    n : int
        Draws.
    rng : `numpy.random.Generator` or int
        Generator or seed.

    Returns
    -------
    `matplotlib.figure.Figure`
        Stars are blue and galaxies orange, in proportion to their probability; a line and a grey band are the
        estimate and error of the catalogue.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the source has no posterior.
    """
    source = catalog[row]
    probability = source["star_probability"]
    if not np.isfinite(probability):
        raise ValueError(
            f"row {row} has no posterior: {source['message'] or 'its fit failed'}; choose another row"
        )
    draws = catalog[[row]].sample(n, rng)
    values = {name: np.asarray(getattr(draws[name], "value", draws[name]))[0] for name in draws.colnames[1:]}
    names = _panel_names(catalog.bands, probability)
    figure, grid = panels(len(names), 2.6, 2.4)
    for axes, pair in zip(grid, names, strict=True):
        if len(pair) == 2:
            _draw_pair(axes, values, *pair)
        else:
            _draw_one(axes, values, pair[0], source)
    grid[0].legend(frameon=False, fontsize=7, loc="upper right")
    place = f"{source['ra'].value:.5f} {source['dec'].value:+.5f}"
    figure.suptitle(f"source {source['id']} at {place}: star with probability {probability:.3f}", fontsize=10)
    return figure


def _panel_names(bands, probability):
    """Return the quantities of each panel; shapes only where some draws are galaxies."""
    reference, colors = f"mag_{bands.reference}", [f"color_{name}" for name in bands.color_names]
    chain = [reference, *colors]
    names = [(reference,), *zip(chain[:-1], chain[1:], strict=True)]
    if probability < 0.999:
        names += [("half_light_radius", "axis_ratio"), ("position_angle",), ("dev_fraction",)]
    return names


def _draw_one(axes, values, name, source):
    estimate, error = (float(getattr(source[key], "value", source[key])) for key in (name, f"{name}_err"))
    shown = values[name]
    if name == "position_angle":  # the half turn about the estimate, rather than from 0 to 180
        shown = estimate + (shown - estimate + 90.0) % 180.0 - 90.0
    known = shown[np.isfinite(shown)]
    low, high = np.quantile(known, [0.001, 0.999]) if len(known) else (0.0, 1.0)
    bins = np.linspace(low, high, 41) if high > low else 10
    for of_type, color, kind in ((~values["is_star"], GALAXY, "galaxy"), (values["is_star"], STAR, "star")):
        axes.hist(shown[of_type & np.isfinite(shown)], bins, color=color, alpha=0.55, label=kind)
    axes.axvline(estimate, color=DARK, lw=1.0)
    axes.axvspan(estimate - error, estimate + error, color=PALE, alpha=0.6, zorder=0, lw=0)
    axes.set_xlabel(name, fontsize=9)
    tidy(axes, y_axis=False)


def _draw_pair(axes, values, x_name, y_name):
    star = values["is_star"][:_SHOWN]
    for of_type, color in ((~star, GALAXY), (star, STAR)):
        x, y = (values[name][:_SHOWN][of_type] for name in (x_name, y_name))
        axes.plot(x, y, ".", color=color, ms=2.5, alpha=0.4, mew=0, rasterized=True)
    axes.set_xlabel(x_name, fontsize=9)
    axes.set_ylabel(y_name, fontsize=9)
    tidy(axes)
