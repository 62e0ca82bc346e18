"""Who is in a catalogue: number counts, and colours by brightness."""

import numpy as np

from celestepy.catalog.differences import plain_column
from celestepy.plot.canvas import GALAXY, GREY, PALE, STAR, panels, tidy

__all__ = ["population"]

_STEP = 0.5  # mag, width of the bins of the counts
_KNOWN = 0.3  # mag, error up to which a colour is drawn
_FEW, _CROWD = 500, 20_000  # catalogues between which the dots shrink


def population(catalog):
    """Draw number counts of stars and galaxies, and the colours of the sources.

    Parameters
    ----------
    catalog : Catalog
        The catalogue.

    Returns
    -------
    `matplotlib.figure.Figure`
        Expected numbers of stars and galaxies by magnitude in the reference band: sums of their
        probabilities, on a logarithmic scale. With two bands or more, a colour against that magnitude; with
        three, two colours against each other. Colours whose error exceeds 0.3 mag are left out.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    bands = catalog.bands
    pairs = list(zip(bands.names[:-1], bands.names[1:], bands.color_names, strict=True))
    at = max(bands.reference_index - 1, 0)  # the colour that ends in the reference band
    figure, axes = panels(1 + min(len(pairs), 2), 4.0, 3.6)
    _draw_counts(axes[0], catalog, bands.reference)
    if pairs:
        _draw_colors(axes[1], catalog, pairs[at], None)
    if len(pairs) > 1:
        _draw_colors(axes[2], catalog, pairs[at], pairs[at + 1 if at + 1 < len(pairs) else at - 1])
    for panel in axes:
        tidy(panel)
    return figure


def _draw_counts(axes, catalog, band):
    mag, probability = (plain_column(catalog, name) for name in (f"mag_{band}", "star_probability"))
    known = np.isfinite(mag + probability)
    mag, probability = mag[known], probability[known]
    if len(mag):
        low, high = (round(edge / _STEP) * _STEP for edge in np.percentile(mag, (0.2, 99.8)))
        edges = np.arange(low - _STEP, high + 1.5 * _STEP, _STEP)
        for weight, color, name in ((probability, STAR, "stars"), (1 - probability, GALAXY, "galaxies")):
            label = f"{weight.sum():.0f} {name}"
            axes.hist(mag, edges, weights=weight, histtype="step", color=color, lw=1.5, label=label)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    _plain_numbers(axes.yaxis)
    axes.set_title("sums of the probabilities of the types", loc="left", fontsize=8)
    axes.set(xlabel=f"{band} [mag]", ylabel=f"expected sources per {_STEP:g} mag")


def _plain_numbers(axis):
    """Label a logarithmic axis 1, 2, 5, 10, ..: over one or two decades powers of ten say little."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_colors(axes, catalog, pair, other):
    """Dots in the colour of the type: one colour against the magnitude, or against another colour."""
    x, x_label = _color(catalog, pair)
    if other is None:
        band = catalog.bands.reference
        y, y_label = x, x_label
        x, x_label = plain_column(catalog, f"mag_{band}"), f"{band} [mag]"
    else:
        y, y_label = _color(catalog, other)
    probability = plain_column(catalog, "star_probability")
    known = np.isfinite(x + y + probability)
    size = np.interp(known.sum(), (_FEW, _CROWD), (9.0, 1.0))
    kinds = ((probability < 0.1, GALAXY), (probability > 0.9, STAR), (abs(probability - 0.5) <= 0.4, GREY))
    for of_kind, color in kinds:
        axes.scatter(x[known & of_kind], y[known & of_kind], size, color, lw=0, alpha=0.7)
    axes.set(xlabel=x_label, ylabel=y_label)
    n_all = np.isfinite(probability).sum()
    axes.set_title(f"{known.sum()} of {n_all} sources; grey: type uncertain", loc="left", fontsize=8)
    axes.grid(color=PALE, lw=0.5)
    axes.set_axisbelow(True)
    if known.any():
        _zoom(axes.set_ylim, y[known])
        _zoom(axes.set_xlim, x[known])


def _color(catalog, pair):
    blue, red, name = pair
    color, error = (plain_column(catalog, f"color_{name}{end}") for end in ("", "_err"))
    return np.where(error < _KNOWN, color, np.nan), f"{blue} \N{MINUS SIGN} {red} [mag]"


def _zoom(set_limits, values):
    """Leave out the outermost percent of the values, which would squeeze the rest."""
    low, high = np.percentile(values, (0.5, 99.5))
    margin = 0.05 * (high - low) + 0.05
    set_limits(low - margin, high + margin)
