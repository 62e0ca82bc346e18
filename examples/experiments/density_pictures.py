"""Pictures of the density experiment: score against time, time against components, and the sky."""

import numpy as np

from celestepy.plot.canvas import GALAXY, GREY, STAR, empty_figure, panels, tidy

COLORS = {"hybrid": GALAXY, "minibatch": "#3d9a57", "sgd": STAR, "em": GREY}
NAMES = {"hybrid": "hybrid", "minibatch": "minibatch EM", "sgd": "SGD", "em": "batch EM"}


def learning_curves(found, n_components):
    """Validation score against processor time, one line for each start: figure 1, left."""
    figure = empty_figure(5.2, 3.8)
    axes = figure.subplots()
    final = [each.held_out for fits in found.values() for each in fits]
    for method, fits in found.items():
        for k, each in enumerate(fits):
            seconds, scores = np.array([entry[1] for entry in each.trace]), [entry[3] for entry in each.trace]
            axes.plot(seconds, scores, color=COLORS[method], lw=1.3, alpha=0.9, label=None if k else NAMES[method])
            axes.plot(seconds[-1:], scores[-1:], "o", color=COLORS[method], ms=3)
    axes.set(xscale="log", xlabel="seconds of one processor", ylabel="validation score [nats per row]",
             ylim=(max(final) - 0.2, max(final) + 0.01))
    axes.set_title(f"K = {n_components}", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    tidy(axes)
    return figure


def times_of_components(records, methods):
    """Processor time of a fit against the number of components: figure 1, right."""
    figure = empty_figure(4.4, 3.6)
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlabel="components K", ylabel="seconds of one processor")
    for method in methods:
        numbers = sorted({each.components for each in records.all if each.method == method})
        if numbers:
            times = [np.mean([each.seconds for each in records.of(method, n)]) for n in numbers]
            axes.plot(numbers, times, "o-", color=COLORS[method], ms=4, lw=1.2, label=NAMES[method])
    axes.set_xticks(sorted({each.components for each in records.all}), minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return figure


def sky_maps(seen, fitted, truth, n):
    """The sky and the colour-magnitude diagram: noisy rows, draws from the fit, and from the truth: figure 2."""
    figure, grid = panels(6, 3.4, 2.9, most_columns=3)
    absolute_of = {"observed": seen, "deconvolved": fitted.sample(n, 1), "truth": truth.sample(n, 1)}
    sky = [np.linspace(0, 360, 181), np.linspace(-90, 90, 91)]
    diagram = [np.linspace(-0.5, 4.5, 101), np.linspace(-3, 14, 101)]
    for k, (title, values) in enumerate(absolute_of.items()):
        counts = np.histogram2d(values[:, 0], values[:, 1], sky)[0]
        grid[k].pcolormesh(*sky, np.log1p(counts.T), cmap="magma", vmax=np.log1p(n / 700))
        grid[k].set(xlim=(360, 0), xlabel="ra [deg]", title=title)
        with np.errstate(invalid="ignore", divide="ignore"):
            absolute = values[:, 6] + 5 * np.log10(np.where(values[:, 2] > 0.2, values[:, 2], np.nan)) - 10
        counts = np.histogram2d(values[:, 5], absolute, diagram)[0]
        grid[k + 3].pcolormesh(*diagram, np.log1p(counts.T), cmap="magma")
        grid[k + 3].set(ylim=(14, -3), xlabel="BP - RP [mag]")
    grid[0].set_ylabel("dec [deg]")
    grid[3].set_ylabel("absolute G [mag], parallax > 0.2 mas")
    return figure
