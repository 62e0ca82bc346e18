"""Priors learned from noisy photometry: how well they predict the deep colours of sources they have not seen.

    CELESTEPY_DATA=../shared/data python benchmarks/priors.py [--json FILE] [--quick]

On the noisy and deep pairs of ``pairs.py``, in five folds: colours are learned from one exposure of four fifths of the
sources, and the deep fluxes of the others are predicted. Beside the prior learned by extreme deconvolution from the
flux likelihoods stand the published mixture of Celeste, which is the zero point, and a plain mixture of the same size
fitted to the noisy colours as if they had no errors (sources with all fluxes positive; the others have no colours). The
same mixture learned from the deep half of the training sources is the bound of what is to be learned.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from pairs import believable, deep_draws, exposure_error, noisy_draws, read_photometry
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.model.color_fit import ColorFit, draw_shares
from celestepy.model.parameters import GALAXY, KINDS, STAR
from celestepy.model.priors import Prior

PIVOT, FOLDS = 1.0, 5
FITS = {STAR: ColorFit(5, slope=0.1, width=0.08, n_starts=1, n_iterations=80, outlier_weight=0.06),
        GALAXY: ColorFit(2, slope=0.2, width=0.1, n_starts=1, n_iterations=80, outlier_weight=0.04)}
DETECTED = 3.0  # signal to noise in r from which a source of one exposure is used


def held_out(noisy, deep, kind, n_draws, rng):
    """Log likelihoods of deep colours above those under celeste2019, by what was learned from."""
    rows = np.flatnonzero((deep.is_star == (kind == STAR)) & believable(deep.fluxes[kind]))
    test = deep_draws(deep, kind, rows, 4 * n_draws, rng)
    published = draw_shares(getattr(Prior.load("celeste2019"), kind).colors, test)[1]
    fold = rng.permutation(len(rows)) % FOLDS
    gains = {name: -published for name in ("noisy", "plain", "deep")}
    for k in range(FOLDS):
        some, others = rows[fold != k], np.flatnonzero(fold == k)
        for name, mixture in learned(noisy, deep, kind, some, n_draws, rng).items():
            gains[name][others] = gains[name][others] + draw_shares(mixture, test[others])[1]
    return gains


def learned(noisy, deep, kind, rows, n_draws, rng):
    """Mixtures learned from some sources."""
    settings, error = FITS[kind], exposure_error(noisy, deep, kind, rows)
    fluxes = noisy.fluxes[kind][rows]
    detected = fluxes[:, 2] > DETECTED * error[2]
    positive = detected & (fluxes > 0).all(axis=1)
    colors, log_flux = np.diff(np.log(fluxes[positive]), axis=1), np.log(fluxes[positive, 2])
    draws = noisy_draws(noisy, kind, rows[detected], error, 2 * n_draws, rng)
    return {
        "noisy": settings.fit_draws(draws, pivot=PIVOT, rng=rng),
        "plain": settings.fit(colors, None, log_flux, pivot=PIVOT, rng=rng),
        "deep": settings.fit_draws(deep_draws(deep, kind, rows, n_draws, rng), pivot=PIVOT, rng=rng),
    }


def figures(gains):
    """Mean gains with their errors; the targets are margins of two standard errors over either rival."""
    def figure(name, values, target):
        error = float(values.std() / len(values)**0.5)
        low = 2 * error if target else None
        return Figure(name, float(values.mean()), low=low, error=error)

    return [
        figure("learned, over celeste2019", gains["noisy"], True),
        figure("learned, over plain mixture", gains["noisy"] - gains["plain"], True),
        figure("plain mixture, over celeste2019", gains["plain"], False),
        figure("from the coadd, over celeste2019", gains["deep"], False),
    ]


def main():
    """Print the gains in nats for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_output_options(parser)
    options = parser.parse_args()
    folder = Path(os.environ.get("CELESTEPY_DATA", "../shared/data")) / "catalogs"
    noisy = read_photometry(folder / "primary_field_df.csv", deep=False)
    deep = read_photometry(folder / "coadd_field_df.csv", deep=True)
    n_draws = 30 if options.quick else 60
    if options.quick:
        FITS.update({kind: replace(FITS[kind], n_starts=1, n_iterations=40) for kind in KINDS})
    gains = {kind: held_out(noisy, deep, kind, n_draws, np.random.default_rng(1)) for kind in KINDS}
    both = {name: np.concatenate([gains[kind][name] for kind in KINDS]) for name in gains[STAR]}
    named = {"all": both, **gains}
    tables = {label: figures(named[label]) for label in named}
    for label, lines in tables.items():
        print_figures(f"held-out mean log density of deep colours, nats for each source: {label}", lines)
    every = [replace(figure, name=f"{label}: {figure.name}") for label, lines in tables.items() for figure in lines]
    print("\n" + verdict(every))
    write_report({"figures": every}, options.json)


if __name__ == "__main__":
    main()
