"""Groups of overlapping sources drawn from the prior: coverage of fluxes and colours, and their correlations.

    python benchmarks/groups.py [--groups 200] [--method fast calibrated] [--references 17] [--json FILE] [--quick]

Groups of two to five detectable sources, each 1 to 6 pixels from the one before it, in five bands of SDSS depth and
seeing. Seeds are the true places with the errors of a detection. The correlation of the r fluxes of neighbours is
compared with that of a long run of Markov chains on some of the pairs.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import astropy.units as u
import numpy as np
from astropy.table import QTable
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.catalog import Flag
from celestepy.inference import ImportanceSampler, LaplaceFit, MarkovSampler
from celestepy.inference.markov import ChainSettings
from celestepy.model.source import Source
from celestepy.simulate import PIXEL_SCALE, simulate_field

BANDS, REFERENCE = "ugriz", (30.0, 10.0)
CELL = 90  # pixels for each group
SEPARATIONS = 1.0, 6.0  # pixels
SHAPE = ("half_light_radius", "axis_ratio", "position_angle", "dev_fraction")
SIGMAS, NOMINAL, TARGETS = (1, 2), (0.683, 0.954), ((0.63, 0.73), (0.92, 0.98))
ENGINES = {"fast": LaplaceFit, "calibrated": ImportanceSampler, "mcmc": MarkovSampler}
_DETECTION_ERROR = 0.5  # arcsec times S/N: of a seeing of 1.2 arcsec


def draw_field(n_groups, n_sources, rng):
    """Groups of a number of sources in one field, and seeds at their places."""
    side = round(np.sqrt(n_groups * n_sources) * 40)
    pool = simulate_field(n_groups * n_sources, BANDS, (side, side), rng=rng, min_separation=8.0, noise=False)
    rows = int(np.ceil(np.sqrt(n_groups)))
    sources = []
    for number in range(n_groups):
        place = (np.array([number % rows, number // rows]) + 0.5 - rows / 2) * CELL
        for row in pool.truth[number * n_sources : (number + 1) * n_sources]:
            sources.append(_source_at(row, place))
            angle = rng.uniform(0, 2 * np.pi)
            place = place + rng.uniform(*SEPARATIONS) * np.array([np.cos(angle), np.sin(angle)])
    options = {"prior": pool.prior, "rng": rng, "center": REFERENCE}
    field = simulate_field(bands=BANDS, shape=(rows * CELL,) * 2, sources=sources, **options)
    return field, _seeds(field.truth, rng)


def _source_at(row, place):
    """A source of the pool, moved to a place in pixels from the middle."""
    ra = REFERENCE[0] - place[0] * PIXEL_SCALE / 3600 / np.cos(np.radians(REFERENCE[1]))
    values = {f"flux_{band}": float(row[f"flux_{band}"].value) for band in BANDS}
    kind = "star" if row["is_star"] else "galaxy"
    if kind == "galaxy":
        values |= {name: float(getattr(row[name], "value", row[name])) for name in SHAPE}
    return Source.from_catalog(kind, BANDS, ra=ra, dec=REFERENCE[1] + place[1] * PIXEL_SCALE / 3600, **values)


def _seeds(truth, rng):
    error = np.clip(_DETECTION_ERROR / np.asarray(truth["snr"]), 0.02, 0.28)
    step = rng.normal(size=(2, len(truth))) * error / 3600 * u.deg
    ra = truth["ra"] + step[0] / np.cos(truth["dec"].to_value(u.rad))
    return QTable({"ra": ra, "dec": truth["dec"] + step[1], "position_err": error * u.arcsec})


def engine(method):
    fast = LaplaceFit(drop_doubtful=False, search=False)
    return fast if method == "fast" else ENGINES[method](fast=fast)


def pulls(catalog, truth, name):
    """Errors over their stated standard deviations; the same in log flux as in magnitudes."""
    value, error = catalog[name].value, catalog[f"{name}_err"].value
    result = (value - np.asarray(truth[name].value)) / error
    return result[np.isfinite(result)]


def coverage_figures(label, values):
    figures = []
    for sigma, nominal, target in zip(SIGMAS, NOMINAL, TARGETS, strict=True):
        error = np.sqrt(nominal * (1 - nominal) / len(values))
        share = float(np.mean(np.abs(values) < sigma))
        figures.append(Figure(f"{label} within {sigma} sd", share, *target, (), error))
    return figures


def correlations(result, pairs):
    """Correlation of the r fluxes of the two sources of each pair, from the draws."""
    found = []
    for first, second in pairs:
        draws = [result.draws.sources([k]) for k in (first, second)]
        flux = np.array([np.exp(own.theta[:, 2]) for own in draws])
        weight = draws[0].total_weight
        offset = flux - (flux @ weight)[:, None]
        covariance = (offset * weight) @ offset.T
        found.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return np.array(found)


def measure(method, sizes, n_groups, seed):
    """Fit all groups, and what came out."""
    collected, seconds, flagged, n_sources, report = {"log flux": [], "g-r": []}, 0.0, 0, 0, []
    for size in sizes:
        rng = np.random.default_rng([seed, size])
        field, seeds = draw_field(n_groups // len(sizes), size, rng)
        start = time.perf_counter()
        catalog = engine(method).fit(field.images, seeds, prior=field.prior, rng=seed).catalog
        seconds += time.perf_counter() - start
        flagged += int(np.sum((np.asarray(catalog["flags"]) & int(Flag.DRAWS_UNRELIABLE)) > 0))
        n_sources += len(catalog)
        for label, name in (("log flux", "mag_r"), ("g-r", "color_gr")):
            own = pulls(catalog, field.truth, name)
            collected[label].append(own)
            report.append(f"{size} sources: {label} {np.mean(np.abs(own) < 1):.3f} {np.mean(np.abs(own) < 2):.3f}")
    figures = [f for label, parts in collected.items() for f in coverage_figures(label, np.concatenate(parts))]
    print_figures(f"{method}: {n_groups} groups, {n_sources} sources, {1e3 * seconds / n_sources:.0f} ms each", figures)
    print("; ".join(report) + f"; {flagged} sources flagged DRAWS_UNRELIABLE")
    return figures


def compare_correlations(n_pairs, seed, n_draws):
    """Correlations of neighbours' fluxes in the calibrated mode against those of long chains."""
    field, seeds = draw_field(n_pairs, 2, np.random.default_rng([seed, 99]))
    long = ChainSettings(n_draws=n_draws, n_chains=32)
    fast = LaplaceFit(drop_doubtful=False, search=False)
    run = {"prior": field.prior, "rng": seed}
    engines = ImportanceSampler(fast=fast), MarkovSampler(long, fast)
    results = [each.fit(field.images, seeds, **run) for each in engines]
    group = results[0].draws.group
    pairs = [(k, k + 1) for k in range(0, len(group), 2) if group[k] >= 0 and group[k] == group[k + 1]]
    ours, theirs = (correlations(result, pairs) for result in results)
    for own, other in zip(ours, theirs, strict=True):
        print(f"    correlation of the fluxes: {own:+.3f}, long chains {other:+.3f}")
    name = "largest difference of the correlation from long chains"
    return [Figure(name, float(np.max(np.abs(ours - theirs))), high=0.1, note=f"{len(pairs)} pairs")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--method", nargs="+", choices=ENGINES, default=["fast", "calibrated"])
    about_references = "pairs drawn to compare with long chains, of which those fitted together count; 0 for none"
    parser.add_argument("--references", type=int, default=17, help=about_references)
    parser.add_argument("--seed", type=int, default=1)
    add_output_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.groups, options.references = 8, 1
    report = {"options": vars(options)}
    for method in options.method:
        report[method] = measure(method, (2, 3, 4, 5), options.groups, options.seed)
        print(f"{method}: {verdict(report[method])}")
    if options.references:
        report["correlations"] = compare_correlations(options.references, options.seed, 20 if options.quick else 200)
        print_figures("joint posteriors", report["correlations"])
    write_report(report, options.json)


if __name__ == "__main__":
    main()
