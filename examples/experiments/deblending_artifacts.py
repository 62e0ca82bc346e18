"""Figure 4 of Sampson et al. (2024): what the score prior makes of a ring that no galaxy has.

    python examples/experiments/deblending_artifacts.py [--prior score-hsc-32] [--galaxies 200] [--sigma 0.1]
                                                        [--seed 2024] [--plots DIR] [--quick] [--json FILE]

Galaxies drawn from the prior get a ring about their centres. The score of the galaxies alone should be flat; that of
those with a ring should push the ring down where it is, and steps along it (each to the mean of the galaxies that the
stamp may come from) take it away, in part into wings of the galaxy. All in the prior's own scale u.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import save
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.deblend.learned import ScorePrior

RADIUS, WIDTH, HEIGHT = 9.0, 1.0, 0.1  # pixels, pixels, of the galaxy's highest pixel
STEPS = 30
LEAST_PUSHED, LEAST_RATIO = 0.95, 3.0


def ring(shape):
    """A ring about the middle of a stamp, highest pixel `HEIGHT`."""
    y, x = np.indices(shape)
    radius = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2)
    return HEIGHT * np.exp(-0.5 * ((radius - RADIUS) / WIDTH) ** 2)


def measured(prior, number, sigma, rng):
    """Galaxies without and with a ring, and their scores."""
    softening = prior.normalisation.softening
    clean = prior.sample(number, rng)
    marked = np.arcsinh((softening * np.sinh(clean) + ring(prior.shape)) / softening)
    return clean, marked, prior.score(clean, sigma), prior.score(marked, sigma)


def figures_of(prior, sigma, clean, marked, flat, pushed):
    """How flat the scores of galaxies are, and what becomes of the ring."""
    on = ring(prior.shape) > 0.5 * HEIGHT
    down = (pushed[:, on].mean(axis=1) < 0).mean()
    ratio = np.sqrt((pushed[:, on] ** 2).mean(axis=1) / (flat[:, on] ** 2).mean(axis=1))
    added = (marked - clean)[:, on].sum(axis=1)
    restored = marked
    for _ in range(STEPS):
        restored = prior.denoise(restored, sigma)
    left = (restored - clean)[:, on].sum(axis=1)
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(restored, clean, strict=True)]
    centre = ring(prior.shape) < 0.01 * HEIGHT
    return [
        Figure("rings pushed down, share", float(down), low=LEAST_PUSHED),
        Figure("score on the ring / without it", float(np.median(ratio)), low=LEAST_RATIO, note="median"),
        Figure(f"ring taken away by {STEPS} steps", float(np.median(1 - left / added)), note="median"),
        Figure("correlation with the galaxy then", float(np.median(alike)), note="median"),
        Figure("elsewhere, score with / without", float(np.median(np.sqrt(
            (pushed[:, centre] ** 2).mean(axis=1) / (flat[:, centre] ** 2).mean(axis=1)))), note="median"),
    ]


def picture(clean, marked, flat, pushed):
    """The first galaxy as in the paper: images above, scores below."""
    from celestepy.plot.canvas import empty_figure

    figure = empty_figure(4.6, 4.6)
    grid = figure.subplots(2, 2)
    limit = np.abs(pushed[0]).max()
    for axes, image, title in zip(grid[0], (clean[0], marked[0]), ("galaxy", "with a ring"), strict=True):
        axes.imshow(image, cmap="magma", vmin=0, vmax=clean[0].max(), origin="lower")
        axes.set_title(title, fontsize=9)
    for axes, image in zip(grid[1], (flat[0], pushed[0]), strict=True):
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower")
        axes.set_title("score", fontsize=9)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    return figure


def main():
    """Draw, mark, and ask the prior."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--prior", default="score-hsc-32")
    options.add_argument("--galaxies", type=int, default=200)
    options.add_argument("--sigma", type=float, default=0.1, help="temperature")
    options.add_argument("--seed", type=int, default=2024)
    options.add_argument("--plots", metavar="DIR", type=Path, help="also draw a picture into this folder")
    add_output_options(options)
    options = options.parse_args()
    prior = ScorePrior.load(options.prior)
    number = 8 if options.quick else options.galaxies
    found = measured(prior, number, options.sigma, np.random.default_rng(options.seed))
    figures = figures_of(prior, options.sigma, *found)
    print_figures(f"=== {number} galaxies of {options.prior}, sigma {options.sigma:g}", figures)
    if options.plots:
        save(picture(*found), options, "deblending_artifacts")
    print("\n" + verdict(figures))
    write_report({"options": vars(options), "figures": figures}, options.json)


if __name__ == "__main__":
    main()
