"""Figures and tables of the deblending experiments, from the scores of every source."""

import numpy as np
from astropy.table import vstack
from deblending_methods import GAUSSIAN, STARTS
from targets import Figure

from celestepy.deblend import binned_scores

EDGES = (0.0, 0.1, 0.3, 0.6)  # of blendedness, with targets
MOST_OF_PROXIMAL, MOST_OF_SCARLET2 = 0.5, 0.85
LEAST_MORPHOLOGY = {(0.0, 0.3): 0.975, (0.3, 0.6): 0.965}
LEAST_SED = 0.998  # below .3
MOST_FLUX_CHANGE, MOST_CORRELATION_CHANGE, MOST_OF_RIGHT_PRIOR = 1e-3, 5e-3, 1.2
PEERS = ("scarlet2", "scarlet2-score")


def bins_of(records, names, numbers, edges=None):
    """Scores of methods in bins of blendedness, by name; of all blends that each has done."""
    names = [name for name in names if records.numbers(name)]
    options = {} if edges is None else {"edges": edges}
    table = vstack([records.table(name, numbers) for name in names], metadata_conflicts="silent")
    bins = binned_scores(table, **options)
    return {name: bins[bins["method"] == name] for name in names}


def print_bins(records, names, numbers):
    """The table of all bins."""
    bins = vstack(list(bins_of(records, names, numbers).values()), metadata_conflicts="silent")
    for name in bins.colnames[4:]:
        bins[name].info.format = ".4f"
    print(*bins.pformat(max_lines=-1, max_width=-1), sep="\n")
    return {name: bins[name].tolist() for name in bins.colnames}


def facts_of(records, names, numbers):
    """Seconds and chi^2 of each method's blends, printed."""
    facts = {}
    for name in names:
        table = records.table(name, numbers)
        first = table[table["source"] == 0]
        facts[name] = {
            "blends": len(first),
            "seconds per blend": float(np.nanmedian(first["seconds"])),
            "median chi2 per pixel": float(np.median(first["chi2"])),
            "failed sources": int(np.sum(table["status"] != "ok")),
            "mean flux error": float(np.mean(np.clip(table["flux_error"], -1, 1))),
        }
        print(f"{name:34s}" + ", ".join(f"{key} {value:.4g}" for key, value in facts[name].items()))
    return facts


def _label(low, high):
    return f"{low:g} to {high:g}"


def _column(bins, name, row, column="median_flux_error"):
    return float(bins[name][column][row]) if name in bins else None


def accuracy_figures(records, ours, baseline, numbers):
    """Ours beside the proximal method and the bound of the noise: errors, their ratio and correlations."""
    bins = bins_of(records, (ours, baseline, "known"), numbers, EDGES)
    figures = []
    for row, (low, high) in enumerate(zip(EDGES[:-1], EDGES[1:], strict=True)):
        others = tuple(_column(bins, name, row) for name in (baseline, "known"))
        name, n = _label(low, high), int(bins[ours]["n"][row])
        figures.append(Figure(f"median |flux error|, {name}", _column(bins, ours, row), others=others, note=f"n {n}",
                              error=_column(bins, ours, row, "median_flux_error_err")))
        ratio, error = ratio_of(bins, ours, (baseline,), row)
        figures.append(Figure(f"of {baseline}'s, {name}", ratio, high=MOST_OF_PROXIMAL, error=error))
    return figures + _correlations(records, ours, baseline, numbers)


def _correlations(records, ours, baseline, numbers):
    figures = []
    for score, limits in (("morphology", LEAST_MORPHOLOGY), ("sed", {(0.0, 0.3): LEAST_SED})):
        for (low, high), least in limits.items():
            values = {}
            for name in (name for name in (ours, baseline, "known") if records.numbers(name)):
                table = records.table(name, numbers)
                inside = (table["blendedness"] >= low) & (table["blendedness"] < high)
                values[name] = table[f"{score}_correlation"][inside]
            own = values[ours]
            others = tuple(float(np.mean(values[name])) if name in values else None for name in (baseline, "known"))
            figures.append(Figure(
                f"{score} correlation, {_label(low, high)}", float(np.mean(own)), low=least, others=others,
                error=float(np.std(own) / np.sqrt(max(len(own), 1))), note=f"median {np.median(own):.4f}",
            ))
    return figures


def ratio_of(bins, ours, others, row):
    """Our error over the smallest of the others', and its standard error as if they were independent."""
    best = min((name for name in others if name in bins), key=lambda name: _column(bins, name, row))
    values = [_column(bins, name, row) for name in (ours, best)]
    errors = [_column(bins, name, row, "median_flux_error_err") for name in (ours, best)]
    ratio = values[0] / values[1]
    return ratio, ratio * float(np.hypot(errors[0] / values[0], errors[1] / values[1]))


def peer_figures(records, ours, numbers):
    """Ours beside scarlet2 with its own settings and with the same prior, on the blends that all have done."""
    names = [name for name in PEERS if records.numbers(name)]
    shared = [k for k in numbers if all(k in records.numbers(name) for name in names)]
    bins = bins_of(records, (ours, *names), shared, EDGES)
    figures = []
    for row, (low, high) in enumerate(zip(EDGES[:-1], EDGES[1:], strict=True)):
        label = _label(low, high)
        others = tuple(_column(bins, name, row) for name in PEERS)
        figures.append(Figure(f"median |flux error|, {label}", _column(bins, ours, row), others=others,
                              error=_column(bins, ours, row, "median_flux_error_err")))
        ratio, error = ratio_of(bins, ours, names, row)
        figures.append(Figure(f"of the better scarlet2's, {label}", ratio, high=MOST_OF_SCARLET2, error=error))
        for score in ("morphology", "sed"):
            column = f"mean_{score}_correlation"
            others = tuple(_column(bins, name, row, column) for name in PEERS)
            figures.append(Figure(f"{score} correlation, {label}", _column(bins, ours, row, column), others=others))
    return figures, len(shared)


def changes(records, name, start, numbers):
    """How fluxes, relative to the true ones, and morphologies of another start differ from those of the regular one."""
    disturbed = f"{name}, {start}"
    shared = [k for k in records.numbers(disturbed) if k in numbers and k in records.numbers(name)]
    table, regular = records.table(disturbed, shared), records.table(name, shared)
    moved = np.abs(table["flux_error"] - regular["flux_error"])
    fall = regular["morphology_correlation"] - table["morphology_correlation"]
    return {
        "median flux change": float(np.median(moved)),
        "95% of flux changes": float(np.percentile(moved, 95)),
        "largest flux change": float(np.max(moved)),
        "fall of mean morphology": float(fall.mean()),
        "mean change of morphology": float(np.abs(fall).mean()),
        "median |flux error|": float(np.nanmedian(np.abs(table["flux_error"]))),
    }


def robustness_figures(records, ours, baseline, numbers):
    """Changes with the start, beside those of the proximal method."""
    figures = []
    for start in STARTS:
        found = {name: changes(records, name, start, numbers) for name in (ours, baseline)
                 if records.numbers(f"{name}, {start}")}
        if ours not in found:
            continue
        limits = {"largest flux change": MOST_FLUX_CHANGE} if start != GAUSSIAN else {
            "fall of mean morphology": MOST_CORRELATION_CHANGE, "mean change of morphology": MOST_CORRELATION_CHANGE
        }
        for key, value in found[ours].items():
            others = (found[baseline][key],) if baseline in found else (None,)
            figures.append(Figure(f"{start}: {key}"[:60], value, high=limits.get(key), others=others))
    return figures


def wrong_prior_figures(records, ours, numbers):
    """Errors with the prior of another survey beside those with the right one."""
    wrong = f"{ours}, wrong prior"
    shared = [k for k in records.numbers(wrong) if k in numbers and k in records.numbers(ours)]
    if not shared:
        return []
    edges = (*EDGES, 1.0)
    bins = bins_of(records, (ours, wrong), shared, edges)
    medians = [np.nanmedian(np.abs(records.table(name, shared)["flux_error"])) for name in (wrong, ours)]
    figures = [Figure("all: |flux error| / right prior's", float(medians[0] / medians[1]), high=MOST_OF_RIGHT_PRIOR)]
    for row, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        ratio, error = ratio_of(bins, wrong, (ours,), row)
        figures.append(Figure(f"{_label(low, high)}: the same", ratio, error=error))
    return figures
