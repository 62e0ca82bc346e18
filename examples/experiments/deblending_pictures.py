"""Pictures of the deblending experiments: scores against blendedness and flux, and what became of single blends."""

import numpy as np

from celestepy.plot.canvas import DARK, GALAXY, GREY, STAR, empty_figure, tidy

COLORS = (GALAXY, STAR, "#3d9a57", "#8d5bb5", GREY, "#b59a2c")
SCORES = {
    "flux_error": "|flux error|, median",
    "morphology_correlation": "morphology correlation, mean",
    "sed_correlation": "SED correlation, mean",
}
FEWEST = 8  # sources of a point


def binned(tables):
    """Scores of methods against blendedness and flux, as figures 6 and 11 of Sampson et al. (2024).

    Parameters
    ----------
    tables : dict of str to QTable
        Rows of `compare_deblenders` by method.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = empty_figure(8.4, 8.6)
    grid = figure.subplots(3, 2, sharey="row")
    edges = {"blendedness": np.linspace(0, 1, 11), "true_flux": _flux_edges(tables)}
    for line, (score, label) in zip(grid, SCORES.items(), strict=True):
        for axes, (name, own) in zip(line, edges.items(), strict=True):
            for color, (method, table) in zip(COLORS, tables.items(), strict=False):
                _draw_binned(axes, table, name, own, score, color, method)
            axes.set_xscale("log" if name == "true_flux" else "linear")
            tidy(axes)
        line[0].set_ylabel(label)
        line[0].set_yscale("log" if score == "flux_error" else "linear")
    grid[-1][0].set_xlabel("blendedness")
    grid[-1][1].set_xlabel("flux in all bands [nanomaggies]")
    if grid[0][0].get_legend_handles_labels()[0]:
        grid[0][0].legend(frameon=False, fontsize=8)
    return figure


def _flux_edges(tables):
    flux = np.concatenate([table["true_flux"] for table in tables.values()])
    return np.geomspace(flux.min(), flux.max() * 1.001, 11)


def _draw_binned(axes, table, name, edges, score, color, label):
    which = np.digitize(table[name], edges) - 1
    centres = np.sqrt(edges[1:] * edges[:-1]) if name == "true_flux" else (edges[1:] + edges[:-1]) / 2
    points = []
    for k, centre in enumerate(centres):
        values = np.abs(table[score][which == k])
        if len(values) >= FEWEST:
            middle = np.median(values) if score == "flux_error" else values.mean()
            points.append((centre, middle, 1.25 * values.std() / np.sqrt(len(values))))
    if points:
        x, y, error = np.transpose(points)
        if score == "flux_error":  # the spread of a few failures says nothing about a median
            error = None
        axes.errorbar(x, y, error, fmt="o-", ms=3, lw=1.3, color=color, label=label)


def blend(observation, peaks, results, title):
    """A blend, what each method makes of it, what is left, and every source alone.

    Parameters
    ----------
    observation : Observation
        The data.
    peaks : (K, 2) array
        y, x.
    results : dict of str to (K, B, h, w) array
        Images of the sources by method.
    title : str
        Of the whole.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shown = min(len(peaks), 7)
    figure = empty_figure(1.5 * (3 + shown), 1.6 * len(results) + 0.3)
    grid = figure.subplots(len(results), 3 + shown, squeeze=False)
    seen = observation.images.sum(axis=0)
    order = np.argsort([-own.sum() for own in next(iter(results.values()))])[:shown]
    noise = np.median(np.sqrt(np.divide(1, observation.weights, where=observation.weights > 0,
                                        out=np.ones(observation.shape)).sum(axis=0)))
    for line, (name, images) in zip(grid, results.items(), strict=True):
        model = images.sum(axis=(0, 1))
        for axes, image in zip(line, (seen, model), strict=False):
            _show(axes, image, noise, seen.max())
            axes.plot(peaks[:, 1], peaks[:, 0], "+", color=GALAXY, ms=4, mew=0.6)
        left = ((observation.images - images.sum(axis=0)) * np.sqrt(observation.weights)).sum(axis=0)
        line[2].imshow(left / np.sqrt(len(observation.images)), cmap="RdBu_r", vmin=-5, vmax=5, origin="lower")
        for axes, k in zip(line[3:], order, strict=True):
            _show(axes, images[k].sum(axis=0), noise, seen.max())
            axes.set_title(f"source {k}", fontsize=7)
        line[0].set_ylabel(name, fontsize=9)
        for axes, head in zip(line, ("data", "model", "residual / noise"), strict=False):
            axes.set_title(head, fontsize=7)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9, color=DARK)
    return figure


def _show(axes, image, noise, largest):
    scale = np.arcsinh(largest / (2 * noise))
    axes.imshow(np.arcsinh(image / (2 * noise)), cmap="magma", vmin=-0.1 * scale, vmax=scale, origin="lower")
