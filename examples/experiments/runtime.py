"""Section 5.3: seconds for each source, and effective draws of its posterior for each second, method by method.

    python examples/experiments/runtime.py [--method fast calibrated mcmc paper-mcmc ..] [--sources 40]
                                           [--slow-sources 4] [--quick] [--json FILE] [--plots DIR]

Isolated sources of the default prior in five bands, stars and galaxies alternating, on one thread unless told
otherwise. A source's time is that of everything done for it: both hypotheses, their evidences and the draws. Effective
draws are those of the whole posterior, type included. The paper's rates are of slice sampling alone, for a
known type, without the annealing that gives the evidence. Run it on an idle machine.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import finish, finite, fit, parser, save
from populations import seeds_at_truth, simulate
from published import MCMC_RATES, VI_SECONDS
from targets import Figure, print_figures

SEED_ERROR = 0.2  # arcsec
LIMITS = {"fast": 0.012, "calibrated": 0.040}  # s, median of a source
LEAST_GAIN = 100.0  # effective draws per second of mcmc over those of paper-mcmc
SLOW = ("paper-mcmc",)
_DRAWN = 3  # sources for each that is timed, since fewer than half are stars


def alternating(truth, number):
    """Rows of the truth, stars and galaxies in turn as long as there are both."""
    star = np.asarray(truth["is_star"], bool)
    rows = [np.flatnonzero(star), np.flatnonzero(~star)]
    place = np.empty(len(star))
    for own in rows:
        place[own] = np.arange(len(own))
    return np.sort(np.lexsort((~star, place))[:number])


def measure(method, field, seeds, options):
    """Times and rates of one method, and the types of its sources."""
    number = options.slow_sources if method in SLOW else options.sources
    rows = alternating(field.truth, number)
    fitted = fit(field.images, seeds[rows], method, options, field.prior)
    star = np.asarray(field.truth["is_star"], bool)[rows]
    seconds = np.asarray(fitted.result.seconds)
    effective = np.asarray(fitted.catalog["effective_draws"], dtype=float)
    return {
        "star": star,
        "seconds": seconds,
        "rate": effective / seconds,
        "effective_draws": effective,
        "likelihoods": np.asarray(fitted.catalog["n_iterations"], dtype=float),
        "wall": fitted.seconds,
    }


def median(values):
    known = finite(values)
    return float(np.median(known)) if len(known) else float("nan")


def figures_of(method, found):
    """Median seconds and rates, and what they are to be."""
    limit = LIMITS.get(method)
    share = found["wall"] / len(found["star"])
    note = f"mean {np.nanmean(found['seconds']):.3f}, slowest {np.nanmax(found['seconds']):.3f}"
    figures = [
        Figure("seconds per source, median", median(found["seconds"]), None, limit, (VI_SECONDS, None), note=note),
        Figure("wall time / sources", share, note=f"{len(found['star'])} sources; images and seeds are read too"),
        Figure("likelihood evaluations, median", median(found["likelihoods"])),
    ]
    for kind, of_kind, paper in (("star", found["star"], MCMC_RATES[0]), ("galaxy", ~found["star"], MCMC_RATES[1])):
        if len(finite(found["rate"][of_kind])):
            note = f"{median(found['effective_draws'][of_kind]):.0f} effective draws"
            name = f"effective draws per second, {kind}"
            figures.append(Figure(name, median(found["rate"][of_kind]), others=(None, paper), note=note))
    return figures


def gain_figures(found):
    """How much faster chains that begin at the fits are than those of the paper, on the same sources."""
    if not {"mcmc", "paper-mcmc"} <= found.keys():
        return []
    rates = [np.median(finite(found[method]["rate"])) for method in ("mcmc", "paper-mcmc")]
    return [Figure("mcmc over paper-mcmc: draws per second", float(rates[0] / rates[1]), low=LEAST_GAIN)]


def picture(found):
    """Seconds of each source, and its effective draws per second."""
    from celestepy.plot.canvas import GALAXY, STAR, panels, tidy

    figure, axes = panels(2, 4.2, 3.4)
    for panel, key, label in zip(axes, ("seconds", "rate"), ("seconds", "effective draws per second"), strict=True):
        for k, each in enumerate(found.values()):
            for shift, color, of_kind in ((-0.12, STAR, each["star"]), (0.12, GALAXY, ~each["star"])):
                values = finite(each[key][of_kind])
                panel.plot(np.full(len(values), k + shift), values, "o", color=color, ms=3, alpha=0.5)
        panel.set(yscale="log", ylabel=label, xlim=(-0.5, len(found) - 0.5))
        panel.set_xticks(range(len(found)), list(found))
        tidy(panel)
    axes[0].axhline(VI_SECONDS, color="0.5", lw=0.8, ls=":")
    axes[0].set_title("blue stars, orange galaxies; dotted: the paper's VI", loc="left", fontsize=9)
    for rate, color in zip(MCMC_RATES, (STAR, GALAXY), strict=True):
        axes[1].axhline(rate, color=color, lw=0.8, ls=":")
    axes[1].set_ylim(bottom=min(MCMC_RATES) / 2)
    axes[1].set_title("dotted: the paper's MCMC", loc="left", fontsize=9)
    return figure


def main():
    """Simulate isolated sources, and time every method on them."""
    options_of = parser(__doc__)
    options_of.add_argument("--sources", type=int, default=40)
    options_of.add_argument("--slow-sources", type=int, default=4, help="for paper-mcmc, a minute and more each")
    options = options_of.parse_args()
    if options.quick:
        options.sources, options.slow_sources = min(options.sources, 6), 1
    rng = np.random.default_rng(options.seed)
    field = simulate("prior", _DRAWN * options.sources, rng)
    seeds = seeds_at_truth(field.truth, rng, SEED_ERROR)
    fit(field.images, seeds[:1], "fast", options, field.prior)  # what is made ready once, and kept
    found, figures = {}, {}
    for method in options.method:
        found[method] = measure(method, field, seeds, options)
        figures[method] = figures_of(method, found[method])
        print_figures(f"=== {method}", figures[method], ("paper VI", "MCMC"))
    gains = gain_figures(found)
    if gains:
        figures["comparison"] = gains
        print_figures("=== mcmc and paper-mcmc, on the sources that each had", gains)
    if options.plots:
        save(picture(found), options, "runtime")
    finish({"figures": figures, "sources": found}, options, figures)


if __name__ == "__main__":
    main()
