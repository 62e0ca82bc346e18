"""Figures 14 to 16 and tables 6 and 7: one exposure of Stripe 82 against the catalogue of many, beside SDSS Photo.

    python examples/experiments/stripe82.py [--method fast calibrated ..] [--field DIR] [--sources 60]
                                            [--quick] [--json FILE] [--plots DIR]

DIR has the five frames of run 94, camcol 1, field 12 with Photo's catalogue and the deep one of the western half. Every
method gets the same seeds, detected in the five frames together. With --sources only those in a square that holds
so many scored sources are fitted, for methods that are slow. Photo is scored on the same sources as each method; its
ratio is the figure to look at. The paper's figures are those of another field. stripe82_tables.py says what is scored.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import DATA, finish, fit, parser, save
from judging import auc_error
from pictures import densities, roc, truth_and_posterior
from published import STRIPE_82_AUC, TABLE_4, TABLE_6, TABLE_7
from stripe82_tables import circularised, photo, truth
from targets import Figure, print_figures

from celestepy.catalog.crossmatch import crossmatch
from celestepy.catalog.differences import differences
from celestepy.catalog.reliability import auc
from celestepy.catalog.score import NOMINAL, SIGMAS
from celestepy.detection import detect
from celestepy.model.parameters import Bands
from celestepy.pipeline import read_field
from celestepy.simulate import PIXEL_SCALE

# The largest errors aimed at, as shares of Photo's on the same sources
RATIOS = dict(zip(TABLE_6, (0.84, 0.80, 0.32, 0.26, 0.42, 0.18, 0.81, 0.50, 0.70, 0.60), strict=True))
COVERAGE = {1: (0.65, 0.71), 2: (0.93, 0.97)}
LEAST_AUC, LEAST_RIGHT, LEAST_SURE = 0.975, 0.92, 0.99
_SURE = 0.99
_MARGIN = 25  # pixels about the square, whose sources are fitted too
_CENTRE = 512, 744  # x, y in the r frame, of the western half


def square(table, number):
    """Half the side (pixels) of the square about the middle that holds so many scored sources."""
    away = np.max(np.abs([table["x"] - _CENTRE[0], table["y"] - _CENTRE[1]]), axis=0)[table["scored"]]
    return float(np.sort(away)[min(number, len(away)) - 1])


def within(half, x, y):
    """Which places lie in the square."""
    return np.maximum(np.abs(x - _CENTRE[0]), np.abs(y - _CENTRE[1])) <= half


def read(options):
    """Images, seeds, the deep catalogue and Photo's; of the square only, if so many sources are wanted."""
    images = read_field(options.field, options.bands)
    seeds, deep = detect(images), truth(options.field / "coadd_truth_west.fits")
    if options.sources:
        half = square(deep, options.sources)
        (frame,) = (image for image in images if image.band == "r")
        x, y, _ = frame.local_affine(seeds.coord)
        seeds = seeds[np.flatnonzero(within(half + _MARGIN, x, y))]
        deep["scored"] &= within(half, deep["x"], deep["y"])
    return images, seeds, deep, photo(options.field / "photoObj-000094-1-0012.fits")


def rows_of(table, deep):
    """Row of a table for each of the deep catalogue, -1 where none lies within a pixel."""
    match = crossmatch(table, deep, PIXEL_SCALE)
    rows = np.full(len(deep), -1)
    rows[match.right] = match.left
    return rows


def errors_of(table, deep, rows, true_rows, bands):
    """Differences of paired rows and their errors, by the names of table 6 and in its units."""
    found, result = differences(table, deep, rows, true_rows, bands), {}
    for name, (column, *_) in TABLE_4.items():
        delta, error, _ = found.get(column.replace("angle", "position_angle"), (np.full(len(rows), np.nan),) * 3)
        scale = PIXEL_SCALE if name.endswith("[px]") else 1.0
        result[name] = delta / scale, error / scale
    return result


def accuracy_figures(ours, theirs):
    """Ratios of the mean absolute errors to Photo's, with both and the paper's beside."""
    figures = []
    for name, paper in TABLE_6.items():
        pairs = np.abs([ours[name][0], theirs[name][0]])
        known = np.isfinite(pairs).all(axis=0)
        if known.any():
            mean, other = pairs[:, known].mean(axis=1)
            spread = np.std(pairs[0, known] - pairs[1, known], ddof=1) / np.sqrt(known.sum()) if known.sum() > 1 else 0
            others, note = (float(mean), float(other), *paper), f"n {known.sum()}"
            figure = Figure(name, float(mean / other), None, RATIOS[name], others, float(spread / other), note)
            figures.append(figure)
    return figures


def coverage_figures(ours):
    """Shares of the deep values within so many errors, beside table 7."""
    figures = []
    for name, (column, *_) in TABLE_4.items():
        pull = np.abs(ours[name][0]) / ours[name][1]
        pull = pull[np.isfinite(pull)]
        for i, k in enumerate(SIGMAS if column in TABLE_7 and len(pull) else ()):
            share, others = float(np.mean(pull < k)), tuple(row[i] for row in TABLE_7[column])
            error = float(np.sqrt(NOMINAL[i] * (1 - NOMINAL[i]) / len(pull)))
            figures.append(Figure(f"{name} within {k:g} sd", share, *COVERAGE.get(k, (None, None)), others, error))
    return figures


def type_figures(probability, star, likeness):
    """How well stars are told from galaxies, beside Photo."""
    sure = np.maximum(probability, 1 - probability) > _SURE
    right = (probability > 0.5) == star
    photo_auc, spread = auc(likeness, star), auc_error(probability, star)
    photo_note = f"Photo's ratio of PSF to composite flux {photo_auc:.3f}"
    figures = [
        Figure("AUC", auc(probability, star), LEAST_AUC, None, tuple(STRIPE_82_AUC.values()), spread, photo_note),
        Figure("types right", float(right.mean()), LEAST_RIGHT, note=f"n {len(star)}"),
    ]
    if sure.any():
        note = f"{right[sure].sum()} of {sure.sum()}"
        figures.append(Figure("right, of those over 99 % sure", float(right[sure].mean()), LEAST_SURE, note=note))
    return figures


def judge(method, fitted, deep, theirs, bands):
    """Figures of one method, printed; and the rows of its catalogue for those of the deep one."""
    table, row = circularised(fitted.catalog)
    own, other = rows_of(table, deep), rows_of(theirs, deep)
    scored = np.asarray(deep["scored"])
    found = [np.mean(rows[scored] >= 0) for rows in (own, other)]
    shares = f"{found[0]:.3f} are found within a pixel, by Photo {found[1]:.3f}"
    print(f"\n=== {method}: {len(table)} rows, {fitted.seconds:.0f} s; of {scored.sum()} scored sources {shares}")
    both = np.flatnonzero(scored & (own >= 0) & (other >= 0))
    ours = errors_of(table, deep, own[both], both, bands)
    accuracy = accuracy_figures(ours, errors_of(theirs, deep, other[both], both, bands))
    coverage = coverage_figures(ours)
    star, probability = np.asarray(deep["is_star"])[both], np.asarray(table["star_probability"])[own[both]]
    types = type_figures(probability, star, np.asarray(theirs["point_likeness"])[other[both]])
    print_figures("mean absolute error over Photo's; absolute ones of this field, then the paper's", accuracy,
                  ("ours", "Photo", "its Photo", "paper VI", "MCMC"))
    print_figures("coverage: estimate +- k errors", coverage, ("paper VI", "MCMC"))
    print_figures("stars and galaxies", types, ("paper VI", "MCMC"))
    return [*accuracy, *coverage, *types], np.where(own >= 0, row[own], -1)


def print_pairs(fitted, rows, deep, bands):
    """Differences of the mean absolute errors of all pairs of methods, as the right half of table 6."""
    methods = list(fitted)
    common = np.flatnonzero(np.asarray(deep["scored"]) & np.all([rows[method] >= 0 for method in methods], axis=0))
    errors = {}
    for method in methods:
        table = fitted[method].catalog.table.copy()
        table["half_light_radius"] = table["half_light_radius"] * np.sqrt(table["axis_ratio"])
        errors[method] = errors_of(table, deep, rows[method][common], common, bands)
    pairs = [(a, b) for i, a in enumerate(methods) for b in methods[i + 1 :]]
    print(f"\ndifferences of the mean absolute errors on the {len(common)} sources that all methods have")
    print(f"{'':16s}" + "".join(f"{f'{a} - {b}':>28s}" for a, b in pairs))
    for name in TABLE_6:
        cells = []
        for a, b in pairs:
            less = np.abs(errors[a][name][0]) - np.abs(errors[b][name][0])
            less = less[np.isfinite(less)]
            if len(less) > 1:
                cells.append(f"{less.mean():+12.4f} +- {less.std(ddof=1) / np.sqrt(len(less)):.4f}")
        print(f"{name:16s}" + "".join(f"{cell:>28s}" for cell in cells))


def pictures(fitted, rows, deep, options):
    """Figures 14, 15 and 16, of the sources that all methods have."""
    common = np.flatnonzero(np.asarray(deep["scored"]) & np.all([each >= 0 for each in rows.values()], axis=0))
    pairs = {method: (fitted[method].catalog, rows[method][common]) for method in fitted}
    probabilities = {method: catalog["star_probability"][own] for method, (catalog, own) in pairs.items()}
    save(roc(probabilities, np.asarray(deep["is_star"])[common]), options, "stripe82_roc")
    save(truth_and_posterior(pairs, deep, common), options, "stripe82_truth_and_posterior")
    save(densities(pairs, deep, common), options, "stripe82_flux")


def main():
    """Read the field, fit it by each method, and judge."""
    options_of = parser(__doc__)
    add = options_of.add_argument
    add("--field", type=Path, default=DATA / "sdss_94_1_12", help="folder with the frames and both catalogues")
    add("--bands", default="ugriz")
    add("--sources", type=int, help="fit a square with so many scored sources; by default the whole field")
    options = options_of.parse_args()
    if not options.field.is_dir():
        raise SystemExit(f"stripe82: no folder {options.field}; set CELESTEPY_DATA or give --field")
    if options.quick:
        options.sources, options.bands = min(options.sources or 12, 12), "gri"
    images, seeds, deep, theirs = read(options)
    bands = Bands.of(options.bands)
    fitted, figures, rows = {}, {}, {}
    for method in options.method:
        fitted[method] = fit(images, seeds, method, options)
        figures[method], rows[method] = judge(method, fitted[method], deep, theirs, bands)
    if len(fitted) > 1:
        print_pairs(fitted, rows, deep, bands)
    if options.plots:
        pictures(fitted, rows, deep, options)
    report = {method: {"figures": figures[method], "seconds": fitted[method].seconds} for method in fitted}
    finish(report, options, figures)


if __name__ == "__main__":
    main()
