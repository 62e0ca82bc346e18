"""Whether probabilities and errors mean what they say, where the truth is known."""

import numpy as np
from scipy.stats import norm

from celestepy.catalog.crossmatch import crossmatch
from celestepy.catalog.differences import common_bands, differences, plain_column
from celestepy.catalog.reliability import auc, reliability
from celestepy.plot.canvas import DARK, GALAXY, GREY, PALE, STAR, panels, tidy

__all__ = ["pulls", "star_probability"]


def star_probability(catalog, truth, *, radius=1.0, n_bins=10):
    """Draw whether ``star_probability`` means what it says, and how it separates the types.

    Parameters
    ----------
    catalog : Catalog
        To be judged.
    truth : table
        With ``ra, dec`` and ``is_star``.
    radius : float or Quantity
        Largest distance of a pair, in arcsec if it has no unit.
    n_bins : int
        Bins of probability.

    Returns
    -------
    `matplotlib.figure.Figure`
        Left the true fraction of stars against the predicted probability, with the standard deviation that
        the fraction would have were the probability right; right the probabilities of true stars and
        galaxies.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If no source with a true type is matched.
    """
    match = crossmatch(catalog, truth, radius)
    probability = plain_column(catalog, "star_probability", match.left)
    star = plain_column(truth, "is_star", match.right)
    known = np.isfinite(probability) & np.isfinite(star)
    if not known.any():
        raise ValueError("truth: no matched source has is_star; check its columns, or enlarge the radius")
    probability, star = probability[known], star[known] > 0.5
    figure, (left, right) = panels(2, 4.2, 3.9)
    _draw_reliability(left, [row for row in reliability(probability, star, n_bins) if row["n"]])
    left.set_title(f"{len(star)} matched sources", loc="left", fontsize=9)
    bins = np.linspace(0, 1, 2 * n_bins + 1)
    for of_type, color, name in ((star, STAR, "stars"), (~star, GALAXY, "galaxies")):
        right.hist(probability[of_type], bins, color=color, alpha=0.25)
        right.hist(
            probability[of_type], bins, histtype="step", color=color, lw=1.5, label=f"{of_type.sum()} {name}"
        )
    right.set(yscale="log", xlim=(0, 1), xlabel="star probability", ylabel="sources")
    right.legend(frameon=False, loc="upper center", fontsize=9)
    right.set_title(f"area under the ROC curve {auc(probability, star):.3f}", loc="left", fontsize=9)
    tidy(left)
    tidy(right)
    return figure


def _draw_reliability(axes, rows):
    predicted, fraction, n = (
        np.array([row[key] for row in rows]) for key in ("probability", "fraction", "n")
    )
    grid = np.linspace(0, 1, 101)
    axes.plot(grid, grid, color=PALE, lw=1.5, zorder=0)
    error = np.sqrt(predicted * (1 - predicted) / n)
    axes.errorbar(predicted, fraction, error, fmt="o", color=STAR, ms=5, lw=1.2)
    for x, y, count in zip(predicted, fraction, n, strict=True):
        axes.annotate(
            f"{count}", (x, y), (7, -9 if y > 0.05 else 5), textcoords="offset points", fontsize=7, color=GREY
        )
    axes.set(
        xlim=(-0.02, 1.08), ylim=(-0.04, 1.06), xlabel="star probability", ylabel="fraction that are stars"
    )


def pulls(catalog, truth, *, radius=1.0, names=None):
    """Draw how far the estimates are from the truth in units of their errors, beside the normal law.

    Parameters
    ----------
    catalog : Catalog
        To be judged.
    truth : table
        In the catalogue's columns, see `celestepy.catalog.score.score`.
    radius : float or Quantity
        Largest distance of a pair, in arcsec if it has no unit.
    names : sequence of str, optional
        Quantities; by default the magnitude in the reference band, the colours and the position.

    Returns
    -------
    `matplotlib.figure.Figure`
        What lies beyond five errors is counted in the outermost bins.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If a name is not known or there is no common band.
    """
    bands = common_bands(catalog, truth)
    match = crossmatch(catalog, truth, radius)
    parts = differences(catalog, truth, match.left, match.right, bands)
    names = names or [
        f"mag_{bands.reference}",
        *(f"color_{color}" for color in bands.color_names),
        "ra",
        "dec",
    ]
    unknown = [name for name in names if name not in parts]
    if unknown:
        raise ValueError(f"names has {unknown[0]!r}, expected some of {', '.join(parts)}")
    figure, grid = panels(len(names), 2.7, 2.4)
    for axes, name in zip(grid, names, strict=True):
        _draw_pulls(axes, name, *parts[name][:2])
    figure.supxlabel("(estimate \u2212 truth) / error", fontsize=9)
    return figure


def _draw_pulls(axes, name, delta, error):
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = delta / error
    pull = pull[np.isfinite(pull)]
    edges = np.linspace(-5, 5, 31)
    axes.hist(np.clip(pull, -4.99, 4.99), edges, density=len(pull) > 0, color=STAR, alpha=0.4)
    grid = np.linspace(-5, 5, 201)
    axes.plot(grid, norm.pdf(grid), color=DARK, lw=1.2)
    axes.set_xlim(-5, 5)
    axes.set_title(name, loc="left", fontsize=9)
    note = f"{len(pull)} sources"
    if len(pull):
        within = [f"{(np.abs(pull) < k).mean():.2f} within {k}" for k in (1, 2)]
        note = "\n".join([note, f"median {np.median(pull):+.2f}", *within])
    axes.text(0.99, 0.98, note, transform=axes.transAxes, fontsize=7, color=GREY, va="top", ha="right")
    tidy(axes, y_axis=False)
