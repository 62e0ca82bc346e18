"""What of deblended sources can be believed: hallucination maps and errors of fluxes, on drawn blends with known truth.

    python examples/experiments/deblending_confidence.py [--method score proximal splitting] [--scenes 40] [--seed 31]
                                                         [--plots DIR] [--quick] [--json FILE]

The maps (Sampson et al. 2024, section 4.7) are those of the score prior, on blends as they are and with all that lies
to the right of the brightest source masked. A pixel's S/N is that of the model's pixel, all others known; the prior's
curvature at the temperature of .2 being at most about 25, pixels above 5 are the data's whenever units are right. What
the share of the prior is to rank is the error of a pixel in proportion to its brightness, |S - T| / (S + T), with the
true morphology T at the best scale, seen through the model's PSF: absolute errors are largest where there is most
light, which is where the data decide, and are ranked the other way round.

Pulls of fluxes are (found - true) / error in each band, of sources that no status warns of: with morphologies free
(what results and their tables state) and, beside them, for fixed ones. Wings outside of the boxes count as errors.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import numpy as np
from deblending_scenes import BANDS, SURVEYS, drawn_parts, import_galsim, make_blend, source_images
from scipy.stats import spearmanr
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.deblend.comparison import start_for
from celestepy.deblend.learned import ScorePrior
from celestepy.deblend.methods import METHODS, PRIORS, method_named
from celestepy.deblend.observation import Observation
from celestepy.deblend.source import FreeSource

SURVEY = "hsc"  # whose prior it is
SNR = 5.0
LIT = 1e-3  # of the peak: fainter pixels do not matter, and have no relative error where there is no light at all


def with_morphologies(index, seed, prior):
    """A blend and the true morphology of each source through the prior's PSF, (K, h, w), all bands added."""
    parts = []

    def recorded(*arguments):
        parts.append(drawn_parts(*arguments))
        return parts[-1]

    blend = make_blend(index, survey=SURVEY, seed=seed, parts_of=recorded)
    galsim, survey = import_galsim(), SURVEYS[SURVEY]
    psfs = [galsim.Gaussian(sigma=prior.model_psf_sigma * survey.pixel_scale)] * len(blend.observation.bands)
    places = zip(parts, blend.peaks, strict=True)
    truth = [source_images(galsim, own, peak, psfs, survey).sum(axis=0) for own, peak in places]
    return blend, np.array(truth)


def half_masked(blend):
    """The observation with weight 0 from the column of the brightest source on."""
    o, brightest = blend.observation, np.argmax(blend.truth.sum(axis=(1, 2, 3)))
    weights = o.weights.copy()
    weights[:, :, int(np.rint(blend.peaks[brightest, 1])) :] = 0.0
    return Observation.from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid)


def fitted(method, observation, peaks):
    """The fit of a blend by a method from its usual start."""
    return method.fit(start_for(observation, peaks, method.prior))


def maps_of(result, rng):
    """Number, map, and pixels on the grid and in the box, of each free source with light."""
    for k, source in enumerate(result.scene.sources):
        if isinstance(source, FreeSource) and source.sed.any():
            yield k, result.hallucination_map(k, rng=rng), *source.box.overlap(result.scene.frame.grid.shape)


def pixel_snr(of, prior):
    """Signal to noise of each pixel of the model, all others known."""
    size = prior.normalisation.size(of.morphology)
    return of.morphology * np.sqrt(of.data) / np.hypot(of.morphology, prior.normalisation.softening * size)


def rank_correlations(of, truth, softening):
    """Of the prior's share with the errors of the pixels: relative, in u, and in S."""
    model = of.morphology / of.morphology.max()
    truth = truth * (model * truth).sum() / (truth**2).sum()
    lit = model + truth > LIT
    errors = (
        np.abs(model - truth) / np.maximum(model + truth, LIT),
        np.abs(np.arcsinh(model / softening) - np.arcsinh(truth / softening)),
        np.abs(model - truth),
    )
    return [spearmanr(of.prior_share[lit], error[lit])[0] for error in errors]


def hutchinson_error(of, prior, rng):
    """Relative r.m.s. error of the curvature of a prior's stamp, against one probe for every pixel."""
    in_stamp, in_box = [], []
    for n, side in zip(prior.shape, of.morphology.shape, strict=True):
        reach = min((n - 1) // 2, side // 2)
        in_stamp.append(slice(n // 2 - reach, n // 2 + reach + 1))
        in_box.append(slice(side // 2 - reach, side // 2 + reach + 1))
    stamp = np.zeros(prior.shape)
    stamp[*in_stamp] = prior.normalisation.forward(of.morphology)[*in_box]
    exact = prior.diagonal(stamp, of.sigma, rng, spacing=max(prior.shape))
    return float(np.sqrt(np.mean((prior.diagonal(stamp, of.sigma, rng) / exact - 1) ** 2)))


def cropped(image, on_grid, in_box, shape):
    """The part of an image in a source's box; 0 outside of the grid."""
    own = np.zeros(shape)
    own[in_box] = image[on_grid]
    return own


def confidence_figures(options, prior):
    """All about the maps."""
    rng, method = np.random.default_rng(options.seed), method_named("score", prior)
    masked, sure, ranks, errors, seconds = [], [], [], [], []
    for index in range(options.scenes):
        blend, truth = with_morphologies(index, options.seed, prior)
        for observation in (blend.observation, half_masked(blend)):
            result = fitted(method, observation, blend.peaks)
            unseen = ~(observation.weights > 0).any(axis=0)
            began = time.process_time()
            maps = list(maps_of(result, rng))
            seconds.append((time.process_time() - began) / max(len(maps), 1))
            for k, of, on_grid, in_box in maps:
                masked.append(of.prior_dominated[in_box][unseen[on_grid]])
                sure.append(~of.prior_dominated[pixel_snr(of, prior) > SNR])
                if not unseen.any():
                    own = cropped(truth[k], on_grid, in_box, of.morphology.shape)
                    ranks.append(rank_correlations(of, own, prior.normalisation.softening))
                if index < 3 and k == 0:
                    errors.append(hutchinson_error(of, prior, rng))
    masked, sure, ranks = np.concatenate(masked), np.concatenate(sure), np.array(ranks)
    spread = 1.25 * ranks.std(axis=0) / np.sqrt(len(ranks))
    middle = np.nanmedian(ranks, axis=0)
    return [
        Figure("masked pixels: the prior's", masked.mean(), low=0.95, note=f"of {masked.size}"),
        Figure("pixels above S/N 5: the data's", sure.mean(), low=0.95, note=f"of {sure.size}"),
        Figure("Hutchinson's error, r.m.s.", max(errors), high=0.02, note="relative, the worst of its sources"),
        Figure("seconds per source", float(np.mean(seconds)), high=0.1),
        Figure("rank correlation, relative error", middle[0], low=0.5, error=spread[0], note="median of sources"),
        Figure("rank correlation, error in u", middle[1], error=spread[1]),
        Figure("rank correlation, error in S", middle[2], error=spread[2]),
    ]


def width(pulls):
    """Half of the central 68%."""
    low, high = np.quantile(pulls, [0.16, 0.84])
    return 0.5 * float(high - low)


def width_error(blends, rng, draws=200):
    """Standard error of the width, from blends drawn again: pulls of one blend go together."""
    drawn = rng.integers(len(blends), size=(draws, len(blends)))
    return float(np.std([width(np.concatenate([blends[index] for index in own])) for own in drawn]))


def pulls_of(options, name):
    """Pulls of the fluxes by one method, an array for each blend: with morphologies free, and fixed."""
    free, fixed, flagged, method = [], [], 0, method_named(name)
    for index in range(options.scenes):
        blend = make_blend(index, survey=SURVEY, seed=options.seed)
        result = fitted(method, blend.observation, blend.peaks)
        fine = np.array(result.statuses) == "ok"
        deviation = (result.fluxes - blend.truth.sum(axis=(2, 3)))[fine]
        free.append((deviation / result.flux_errors[fine]).ravel())
        fixed.append((deviation / np.sqrt(np.einsum("bkk->kb", result.covariance))[fine]).ravel())
        flagged += np.count_nonzero(~fine)
    return free, fixed, flagged


def flux_figures(options, name):
    """How wide the pulls are, and how many lie within one and two standard deviations."""
    blends, fixed, flagged = pulls_of(options, name)
    free, fixed = np.concatenate(blends), np.concatenate(fixed)
    error = width_error(blends, np.random.default_rng(options.seed))
    note = f"{len(free) // len(BANDS)} sources, {flagged} flagged"
    return [
        Figure("width of the pulls, 68%", width(free), 0.8, 1.25, others=(width(fixed),), error=error, note=note),
        Figure("median pull", float(np.median(free)), others=(float(np.median(fixed)),)),
        *(Figure(f"within {limit} sd", float(np.mean(np.abs(free) < limit)),
                 others=(float(np.mean(np.abs(fixed) < limit)),), note=f"{normal} of a normal law")
          for limit, normal in ((1, 0.683), (2, 0.954))),
    ]  # fmt: skip


def picture(options, prior):
    """The first blend, as it is and half masked: model, curvatures and the prior's share of the brightest source."""
    import matplotlib.pyplot as plt

    blend, _ = with_morphologies(0, options.seed, prior)
    brightest, rng = np.argmax(blend.truth.sum(axis=(1, 2, 3))), np.random.default_rng(options.seed)
    figure, rows = plt.subplots(2, 4, figsize=(11, 5.5), layout="constrained")
    for axes, observation in zip(rows, (blend.observation, half_masked(blend)), strict=True):
        of = fitted(method_named("score", prior), observation, blend.peaks).hallucination_map(brightest, rng=rng)
        top = max(of.data.max(), of.prior.max())
        shown = {
            "asinh of the model": (prior.normalisation.forward(of.morphology), {}),
            "data: curvature": (of.data, {"norm": "symlog", "vmin": 0, "vmax": top}),
            "prior: curvature": (of.prior, {"norm": "symlog", "vmin": 0, "vmax": top}),
            "share of the prior": (of.prior_share, {"cmap": "RdBu_r", "vmin": 0, "vmax": 1}),
        }
        for axis, (title, (image, style)) in zip(axes, shown.items(), strict=True):
            figure.colorbar(axis.imshow(image, origin="lower", **style), ax=axis, shrink=0.8)
            axis.set_title(title, fontsize=9)
        axes[0].set_xlabel(f"{of.data_share:.0%} of the light is the data's")
    options.plots.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.plots / "deblending_confidence.png", dpi=120)
    plt.close(figure)


def main():
    """Print the figures of the maps and of the errors of fluxes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--method", nargs="*", choices=METHODS, default=["score", "proximal", "splitting"],
                         help="whose errors of fluxes are tested")  # fmt: skip
    options.add_argument("--scenes", type=int, default=40)
    options.add_argument("--seed", type=int, default=31)
    options.add_argument("--plots", metavar="DIR", type=Path, help="also draw the maps of the first blend")
    add_output_options(options)
    options = options.parse_args()
    options.scenes = 2 if options.quick else options.scenes
    prior = ScorePrior.load(PRIORS["score"])
    report = {"hallucination maps": confidence_figures(options, prior)}
    print_figures(f"=== Hallucination maps, {options.scenes} blends and the same half masked, {SURVEY}",
                  report["hallucination maps"])  # fmt: skip
    for name in options.method:
        report[f"fluxes, {name}"] = flux_figures(options, name)
        print_figures(f"=== Errors of fluxes in {options.scenes} blends, {name}", report[f"fluxes, {name}"], ["fixed"])
    print("\n" + verdict([figure for figures in report.values() for figure in figures]))
    if options.plots:
        picture(options, prior)
    write_report({"options": vars(options), "figures": report}, options.json)


if __name__ == "__main__":
    main()
