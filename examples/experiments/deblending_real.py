"""Deblenders on real galaxies: HST's, seen as HSC would and blended, blends of HSC, and a simulated scene with truth.

    python examples/experiments/deblending_real.py [--data DIR] [--method adaprox score ..] [--scenes 200] [--seed 2024]
        [--results FILE] [--against FILE] [--again RUN ..] [--plots DIR] [--quick] [--json FILE]

Galaxies of COSMOS are drawn into the same scenes as those of deblending_comparison.py, in place of GalSim's: each with
its own colours in HSC, as bright as the scene says, and as much smaller or larger as galaxies are of that magnitude.
The errors are compared with those of the drawn galaxies in --against, the file that deblending_comparison.py wrote.
DIR has the folders hst_cosmos and hsc_blends of the data that the tests use ($CELESTEPY_DATA by default). Scores of the
blends are kept in FILE and not made again; real blends have no truth, and are judged by chi^2 and by their pictures.
"""

import argparse
import sys
from functools import lru_cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import DATA, save
from deblending_figures import EDGES, accuracy_figures, bins_of, facts_of, print_bins, ratio_of
from deblending_galaxies import RealGalaxies
from deblending_methods import BLOCK, METHODS, Run, complete
from deblending_pictures import binned, blend
from deblending_records import Records
from deblending_scenes import make_blend
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.deblend import Blend, compare_deblenders, read_blend
from celestepy.deblend.comparison import start_for
from celestepy.deblend.observation import Observation
from celestepy.deblend.scores import chi2_per_pixel

RESULTS = Path(__file__).resolve().parent / "results"
BASELINE, OURS = "adaprox", "score"
MOST_OF_DRAWN = 1.25
SIMULATED = "psf_unmatched_sim"


def parsed():
    """Options of the command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--data", metavar="DIR", type=Path, default=DATA)
    add("--method", nargs="*", choices=METHODS, default=["known", BASELINE, OURS], help="default: known adaprox score")
    add("--scenes", type=int, default=200)
    add("--seed", type=int, default=2024)
    add("--results", metavar="FILE", type=Path, help="default: results/deblending-hst-SEED.json, none with --quick")
    add("--against", metavar="FILE", type=Path, default=RESULTS / "deblending-hsc-2024.json")
    add("--again", nargs="+", metavar="RUN", default=[], help="runs whose scores are forgotten first")
    add("--plots", metavar="DIR", type=Path, help="also draw pictures into this folder")
    add_output_options(options)
    options = options.parse_args()
    if options.quick:
        options.scenes = 2
    elif options.results is None:
        options.results = RESULTS / f"deblending-hst-{options.seed}.json"
    return options


def drawn_with_hst(options):
    """Scores of blends of HST's galaxies, and figures against those of drawn galaxies."""
    records = Records(options.results, {"survey": "hsc", "seed": options.seed, "galaxies": "hst_cosmos"})
    for name in options.again:
        records.forget(name)
    parts = RealGalaxies(options.data / "hst_cosmos").parts
    make = lru_cache(maxsize=BLOCK)(partial(make_blend, survey="hsc", seed=options.seed, parts_of=parts))
    numbers = range(options.scenes)
    for first in range(0, options.scenes, BLOCK):
        for name in options.method:
            complete(records, Run(name, METHODS[name]), numbers[first : first + BLOCK], make)
    print(f"=== {options.scenes} blends of HST's galaxies")
    report = {"bins": print_bins(records, options.method, numbers),
              "methods": facts_of(records, options.method, numbers)}
    if {OURS, BASELINE} <= set(options.method):
        figures = against_drawn(records, options) + accuracy_figures(records, OURS, BASELINE, numbers)
        print_figures("=== HST's galaxies", figures, (BASELINE, "known"))
        report["figures"] = figures
    if options.plots:
        tables = {name: records.table(name, numbers) for name in options.method}
        save(binned(tables), options, "deblending_hst_scores")
    return report


def against_drawn(records, options):
    """Errors of our method over those with drawn galaxies; nothing where there are none to compare with."""
    if not options.against.exists():
        return []
    drawn = Records(options.against, {"survey": "hsc", "seed": options.seed})
    if not drawn.numbers(OURS):
        return []
    bins = {"real": bins_of(records, [OURS], range(options.scenes), EDGES)[OURS],
            "drawn": bins_of(drawn, [OURS], drawn.numbers(OURS), EDGES)[OURS]}
    figures = []
    for row, (low, high) in enumerate(zip(EDGES[:-1], EDGES[1:], strict=True)):
        ratio, error = ratio_of(bins, "real", ("drawn",), row)
        figures.append(Figure(f"of drawn galaxies', {low:g} to {high:g}", ratio, high=MOST_OF_DRAWN, error=error))
    return figures


def real_blends(options):
    """Chi^2 of the blends of HSC, and the least flux of any source in any band."""
    names = [name for name in options.method if hasattr(METHODS[name], "fit")]
    chi2, least = {}, 0.0
    paths = sorted(path for path in (options.data / "hsc_blends").glob("*.npz") if path.stem != SIMULATED)
    for path in sorted(paths, key=lambda path: path.stat().st_size)[:2] if options.quick else paths:
        observation, peaks = read_blend(path)
        found, chi2[path.stem] = {}, {}
        for name in names:
            result = METHODS[name].fit(start_for(observation, peaks, METHODS[name].prior))
            found[name] = result.scene.render_sources()[0]
            chi2[path.stem][name] = chi2_per_pixel(found[name], observation)
            if name == OURS:
                least = min(least, float(np.nanmin(result.fluxes)))
        if options.plots:
            save(blend(observation, peaks, found, f"HSC blend {path.stem}"), options, f"deblending_{path.stem}")
    figures = []
    if {OURS, BASELINE} <= set(names):
        figures = [Figure(f"chi^2 per pixel, {stem[-13:]}", own[OURS], high=own[BASELINE], others=(own[BASELINE],))
                   for stem, own in chi2.items()]
        figures.append(Figure("least flux of a source", least, low=0.0))
        print_figures("=== blends of HSC", figures, (BASELINE,))
    return {"chi2": chi2, "figures": figures}


def simulated(path):
    """The simulated scene, which has a catalogue and the true image of every source in every band."""
    with np.load(path) as stored:
        catalog, images, psfs, bands = (stored[name] for name in ("catalog", "images", "psfs", "filters"))
    numbers = np.unique(catalog["index"])
    truth = np.zeros((len(numbers), *images.shape))
    for row in catalog:  # bulge and disc are rows of one source
        truth[row["index"]] += [row[f"intensity_{band}"] for band in bands]
    first = [np.flatnonzero(catalog["index"] == k)[0] for k in numbers]
    peaks = np.stack([catalog["y"][first], catalog["x"][first]], axis=1)
    kinds = tuple("point" if star else "free" for star in catalog["is_star"][first])
    observation = Observation.from_arrays(images, variance=10 + np.maximum(images, 0), psfs=psfs, bands=bands,
                                          pixel_scale=0.168)
    return Blend(observation, peaks, truth, kinds)


def scene_with_truth(options):
    """Scores of the sources of the simulated scene, the stars told and not told."""
    scene = simulated(options.data / "hsc_blends" / f"{SIMULATED}.npz")
    report = {}
    for told in (False, True):
        table = compare_deblenders([scene], {name: METHODS[name] for name in options.method}, kinds_known=told)
        title = "stars told" if told else "nothing told"
        print(f"\n=== the simulated scene, {title}")
        columns = ("method", "source", "blendedness", "flux_error", "morphology_correlation", "sed_correlation", "chi2")
        shown = table[list(columns)]
        for name in columns[2:]:
            shown[name].info.format = ".4f"
        print(*shown.pformat(max_lines=-1, max_width=-1), sep="\n")
        report[title] = {name: shown[name].tolist() for name in columns}
        report[title]["median |flux error|"] = {
            name: float(np.median(np.abs(table["flux_error"][table["method"] == name]))) for name in options.method
        }
    return report


def main():
    """All three."""
    options = parsed()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data}: no such folder; give that of the data with --data or $CELESTEPY_DATA")
    report = {"options": vars(options), "hst": drawn_with_hst(options), "hsc": real_blends(options),
              "simulated": scene_with_truth(options)}
    print("\n" + verdict([*report["hst"].get("figures", []), *report["hsc"]["figures"]]))
    write_report(report, options.json)


if __name__ == "__main__":
    main()
