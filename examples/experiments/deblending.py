"""Figure 17 and section 5.4: three overlapping sources drawn by GalSim, fitted together by each method.

    python examples/experiments/deblending.py [--method fast calibrated ..] [--realisations 20]
                                              [--seeds truth detection] [--quick] [--json FILE] [--plots DIR]

The scenes are those of benchmarks/blends.py, whose conditions and geometry benchmarks/README.rst describes: three in a
row of 10, 3 and 3 nanomaggies, and three of 10 nanomaggies closer together. The paper has one realisation of each.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import finish, fit, parser, save
from targets import print_figures

# r fluxes in nanomaggies; the paper does not say which of the closer blend's sources is which
PAPER_FLUXES = {
    "row": {"paper VI": (9.98, 2.90, 3.01)},
    "closer blend": {"paper VI": (9.87, 9.95, 10.12), "SExtractor": (10.85, 12.81, 14.91)},
}


def blends_of_benchmark():
    """The benchmark with the scenes, which draws by GalSim."""
    try:
        import blends
    except ImportError as error:
        raise SystemExit(f"deblending: {error}; the scenes are drawn by GalSim: pip install galsim") from None
    return blends


def print_fluxes(blends, name, outcome):
    """Mean r fluxes of the realisations beside the paper's one."""
    scene, r = blends.SCENES[name], blends.BANDS.index("r")
    rows = {"true": [source.flux for source in scene]}
    if outcome.whole.any():
        rows["mean found"] = outcome.flux[:, :, r].mean(axis=0) * rows["true"]
    rows |= PAPER_FLUXES.get(name, {})
    for label, fluxes in rows.items():
        print(f"    {label:12s}" + "".join(f"{flux:8.2f}" for flux in fluxes))


def run(blends, method, options):
    """Figures of all scenes by one method."""
    found = {}
    for seeds in options.seeds:
        for name, scene in blends.SCENES.items():
            outcome = blends.fit_scene(scene, options.realisations, seeds, options.seed, method)
            figures = blends.scene_figures(scene, outcome)
            title = f"{name}, seeds from {seeds}, {options.realisations} realisations"
            print_figures(f"=== {method}: {title}", figures)
            print_fluxes(blends, name, outcome)
            found[title] = figures
    return found


def pictures(blends, options):
    """The first realisation of each scene with what each method finds, and what its model leaves."""
    from celestepy.plot import color_image, model_and_residual

    r = blends.BANDS.index("r")
    for name, scene in blends.SCENES.items():
        images = blends.draw(scene, np.random.default_rng((options.seed, 0)))
        for method in options.method:
            fitted, label = fit(images, None, method, options), f"{name.replace(' ', '_')}_{method}"
            save(color_image(images, fitted.catalog), options, label)
            residual = model_and_residual([images[r]], [fitted.result.model_images()[r]])
            save(residual, options, f"{label}_residual")


def main():
    """Draw and fit the blends by each method."""
    options_of = parser(__doc__)
    options_of.add_argument("--realisations", type=int, default=20)
    options_of.add_argument("--seeds", nargs="+", choices=("truth", "detection"), default=["truth", "detection"])
    options = options_of.parse_args()
    if options.quick:
        options.realisations, options.seeds = min(options.realisations, 2), options.seeds[:1]
    blends = blends_of_benchmark()
    report = {method: run(blends, method, options) for method in options.method}
    if options.plots:
        pictures(blends, options)
    all_of = {m: [figure for each in scenes.values() for figure in each] for m, scenes in report.items()}
    finish({"figures": report}, options, all_of)


if __name__ == "__main__":
    main()
