"""Pictures of how good posteriors are, one panel or row for each method: figures 11 to 16 of the paper."""

import numpy as np
from scipy.stats import beta, binom

from celestepy.catalog.differences import plain_column, quantity
from celestepy.plot.canvas import DARK, GALAXY, GREY, PALE, STAR, empty_figure, panels, tidy

_COLORS = (STAR, GALAXY, "#3d9a57", "#8d5bb5", "#b59a2c")
_LN = 0.4 * np.log(10)  # from magnitudes to natural logarithms


def roc(probabilities, is_star):
    """ROC curves of methods, as figures 11 and 14: share of stars found against share of galaxies taken for stars."""
    figure = empty_figure(4.2, 3.9)
    axes = figure.subplots()
    for color, (method, probability) in zip(_COLORS, probabilities.items(), strict=False):
        order = np.argsort(-np.nan_to_num(np.asarray(probability, dtype=float)), kind="stable")
        shares = [np.r_[0, np.cumsum(of_type[order]) / max(of_type.sum(), 1)] for of_type in (~is_star, is_star)]
        axes.plot(*shares, color=color, lw=1.5, label=method, drawstyle="steps-post")
    axes.set(xlim=(-0.005, 0.3), ylim=(0.7, 1.005), xlabel="galaxies taken for stars", ylabel="stars found")
    axes.set_title(f"{is_star.sum()} stars, {(~is_star).sum()} galaxies", loc="left", fontsize=9)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    tidy(axes)
    return figure


def truth_and_posterior(pairs, truth, true_rows):
    """Estimates with two errors against the truth, as figures 12 and 15; `pairs` has catalogue and rows by method."""
    figure = empty_figure(2.9 * len(pairs) + 0.3, 10.0)
    grid = figure.subplots(4, len(pairs), squeeze=False, sharex="row", sharey="row")
    star = plain_column(truth, "is_star", true_rows) > 0.5
    kinds = [(f"{name} ({kind})", name, mask) for kind, mask in (("stars", star), ("galaxies", ~star))
             for name in ("log flux", "r-i")]
    for line, (title, name, chosen) in zip(grid, kinds, strict=True):
        true = _of(truth, true_rows, name)[0]
        for axes, color, (method, (catalog, rows)) in zip(line, _COLORS, pairs.items(), strict=False):
            _draw_errors(axes, true[chosen], *(part[chosen] for part in _of(catalog, rows, name)), color)
            axes.set_title(f"{method}: {title}", loc="left", fontsize=9)
    figure.supxlabel("truth", fontsize=9)
    figure.supylabel("posterior, two standard deviations", fontsize=9)
    return figure


def _of(table, rows, name):
    """Values and errors of the log flux or the colour of rows."""
    if name == "log flux":
        value, error = quantity(table, "mag_r", rows), plain_column(table, "mag_r_err", rows)
        return _LN * (22.5 - value), _LN * error
    return quantity(table, "color_ri", rows), plain_column(table, "color_ri_err", rows)


def _draw_errors(axes, true, value, error, color):
    axes.errorbar(true, value, 2 * error, fmt=".", color=color, ms=3, lw=0.6, alpha=0.7)
    known = true[np.isfinite(true)]
    if len(known):
        low, high = np.percentile(known, (0.5, 99.5)) + np.array([-0.3, 0.3])
        axes.plot([low, high], [low, high], color=DARK, lw=0.8, zorder=3)
        axes.set(xlim=(low, high), ylim=(low - 0.5, high + 0.5))
    tidy(axes)


def densities(pairs, truth, true_rows, n=4000):
    """Posteriors of the flux of the three sources that the first method gets most wrong, as figures 13 and 16."""
    (first, rows), *_ = pairs.values()
    wrong = np.abs(quantity(first, "mag_r", rows) - quantity(truth, "mag_r", true_rows))
    worst = np.argsort(-np.nan_to_num(wrong / np.nanmedian(wrong)))[:3]
    figure, grid = panels(len(worst), 3.2, 2.8)
    drawn = {method: _LN * (22.5 - _drawn(catalog, rows[worst], n)) for method, (catalog, rows) in pairs.items()}
    for k, (axes, row) in enumerate(zip(grid, true_rows[worst], strict=True)):
        true = _LN * (22.5 - quantity(truth, "mag_r")[row])
        values = np.concatenate([each[k] for each in drawn.values()])
        low, high = np.nanpercentile(np.r_[values, np.full(len(values) // 50, true)], (0.5, 99.5))
        margin = 0.1 * (high - low) + 0.01
        for color, (method, each) in zip(_COLORS, drawn.items(), strict=False):
            bins = np.linspace(low - margin, high + margin, 51)
            axes.hist(each[k], bins, density=True, histtype="step", color=color, lw=1.4, label=method)
        axes.axvline(true, color=DARK, lw=1.0)
        kind = "star" if plain_column(truth, "is_star")[row] > 0.5 else "galaxy"
        axes.set_title(f"{kind}, row {row} of the truth", loc="left", fontsize=9)
        tidy(axes, y_axis=False)
    grid[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("log flux in r (line: truth)", fontsize=9)
    return figure


def _drawn(catalog, rows, n):
    """Draws of the magnitude of a few rows."""
    return np.asarray(catalog[rows].sample(n, np.random.default_rng(0))["mag_r"].value)


def histograms_of_ranks(ranks, n_bins=10):
    """Histograms of the ranks of the truth, with the band that 95 % of the bins of uniform ranks keep to."""
    shown = {name: each[np.isfinite(each)] for name, each in ranks.items() if np.isfinite(each).any()}
    figure, grid = panels(len(shown), 2.5, 2.1)
    for axes, (name, each) in zip(grid, shown.items(), strict=True):
        low, high = binom.interval(0.95, len(each), 1 / n_bins)
        axes.axhspan(low, high, color=PALE, alpha=0.6, lw=0)
        axes.hist(each, np.linspace(0, 1, n_bins + 1), color=STAR, alpha=0.5)
        axes.set_title(f"{name} ({len(each)})", loc="left", fontsize=9)
        axes.set(xlim=(0, 1))
        _draw_excess(axes, each)
        tidy(axes)
    figure.supxlabel("rank of the truth among the draws; line: its cumulative share less the uniform", fontsize=9)
    return figure


def _draw_excess(axes, ranks):
    """Cumulative share less the uniform one, and its 95 % band, on an axis of its own."""
    twin, grid = axes.twinx(), np.linspace(0, 1, 101)
    share = np.searchsorted(np.sort(ranks), grid, side="right") / len(ranks)
    band = beta.ppf([[0.025], [0.975]], np.maximum(len(ranks) * grid, 0.5), np.maximum(len(ranks) * (1 - grid), 0.5))
    twin.plot(grid, share - grid, color=GREY, lw=1.0)
    for edge in band:
        twin.plot(grid, edge - grid, color=GREY, lw=0.5, ls=":")
    reach = max(2.5 / np.sqrt(len(ranks)), 1.1 * np.abs(share - grid).max())
    twin.set_ylim(-reach, reach)
    twin.set_yticks([])
    for side in ("top", "right"):
        twin.spines[side].set_visible(False)
