"""Figures 1 to 4 of Lanusse et al. (2019): a prior with an explicit density, the PixelCNN, tells galaxies apart.

    python examples/experiments/deblending_explicit.py [--part density separation noise real] [--pairs 500]
                                                       [--scenes 40] [--seed 1] [--quick] [--json FILE]

`density` (figure 2a-c): pairs of galaxies on stamps of the prior, noiseless. A pair counts if the sum of the two,
centred on either of them, has a lower log density than each of them alone. Galaxies of the prior's training recipe,
drawn with another seed. For galaxies with structure that it has never seen (`deblending_scenes.py`) some are themselves
less likely than many a sum of others, so that no target is set: compare the sum with the galaxy that it is centred on.
The temperature is low, for images without noise.

`separation` (figure 2d-f): two galaxies with structure in one band, i at the depth of HSC, so that no colour tells
whose light it is. Forward-backward splitting with the prior, beside the same with nothing but non-negativity and with
the constraints of scarlet (figure 4).

`noise` (figure 3): the same two galaxies with the noise three times as large, with the same prior. Pulls are (found -
true) / error of each flux, errors those that results state; their width is half the range of the middle 68%.

`real` (figures 1, 3 and 4): the seven-source scene of HSC that figure 1 shows the like of, as observed and with more
noise, beside scarlet's constraints; it has no truth. Needs the data of the tests, CELESTEPY_DATA.

The objective of each fit, half chi^2 minus the log density, must never rise.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1] / "training"))

import numpy as np
from deblending_scenes import KINDS, REFERENCE, drawn_parts, import_galsim, make_blend, matched_snr
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.deblend import (
    Blend,
    ForwardBackward,
    Frame,
    Monotonic,
    NonNegative,
    Observation,
    StopRule,
    Symmetric,
    read_blend,
    start_scene,
)
from celestepy.deblend.learned import PixelCNNPrior, TemperatureLadder
from celestepy.deblend.scores import blendedness, chi2_per_pixel, morphology_correlation
from celestepy.images import PSFMixture

PARTS = ("density", "separation", "noise", "real")
PRIOR = "pixelcnn-hsc-32"
SURVEY = "hsc"
STAMP = 32
SEPARATIONS = (4.0, 12.0)  # pixels between the galaxies of a pair on a stamp
FAINTER = 2.5  # mag: how much fainter the second one may be
MAGNITUDES = (20.0, 24.0)
NOISE = 3.0
COLD = 0.05  # temperature at which log densities of noiseless galaxies are compared
ROUNDING = 1e-9  # of the objective
BATCH = 100
DATA = Path(os.environ.get("CELESTEPY_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SCARLET = (Symmetric(), Monotonic(), NonNegative())


def recipe_profile(galsim, rng):
    """A galaxy of the training recipe, flux 1."""
    from galaxies import RECIPES, SERSIC_INDICES, draw_profile

    return draw_profile(RECIPES[SURVEY], rng.choice(SERSIC_INDICES), rng)


def structured_profile(galsim, rng):
    """A galaxy with a bulge and a disc, knots or arms, in i."""
    kinds = [kind for kind in KINDS if kind != "star"]
    parts = drawn_parts(galsim, rng.choice(kinds), rng.uniform(*MAGNITUDES), rng)
    whole = galsim.Sum([profile * fluxes[REFERENCE] for profile, fluxes in parts])
    return whole.withFlux(1.0)


def stamp_of(galsim, profile, prior, place):
    """(h, w) image through the prior's PSF; `place` is x, y from the middle of the stamp."""
    scale = prior.pixel_scale
    seen = galsim.Convolve(profile, galsim.Gaussian(sigma=prior.model_psf_sigma * scale))
    image = seen.drawImage(nx=STAMP, ny=STAMP, scale=scale, offset=tuple(place), method="no_pixel", dtype=float)
    return np.maximum(image.array, 0.0)


def pair_of_stamps(profile_of, prior, seed, index):
    """(4, h, w): each of two galaxies alone, and both together about the first and about the second."""
    galsim, rng = import_galsim(), np.random.default_rng([seed, index])
    profiles = [profile_of(galsim, rng) for _ in range(2)]
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*SEPARATIONS)
    apart = distance * np.array([np.cos(angle), np.sin(angle)])
    share, middles = 10 ** (-0.4 * rng.uniform(0, FAINTER)), rng.uniform(-0.5, 0.5, (2, 2))
    profiles[1] = profiles[1] * share

    def drawn(which, place):
        return stamp_of(galsim, profiles[which], prior, place)

    first, second = drawn(0, middles[0]), drawn(1, middles[1])
    return np.array([first, second, first + drawn(1, middles[0] + apart), second + drawn(0, middles[1] - apart)])


def density_figures(options):
    """Shares of pairs whose sum is less likely than either galaxy alone."""
    prior, figures = PixelCNNPrior.load(PRIOR, temperature=COLD), []
    for name, profile_of, low in (("training recipe", recipe_profile, 0.95), ("structure", structured_profile, None)):
        stamps = np.concatenate([pair_of_stamps(profile_of, prior, options.seed, k) for k in range(options.pairs)])
        x = np.array([prior.normalisation.forward(stamp) for stamp in stamps])
        batches = range(0, len(x), BATCH)
        log_p = np.concatenate([prior.log_prob(x[k : k + BATCH]) for k in batches]).reshape(-1, 4)
        margin = log_p[:, :2].min(axis=1) - log_p[:, 2:].max(axis=1)
        share = np.mean(margin > 0)
        error = np.sqrt(share * (1 - share) / len(margin))
        figures += [
            Figure(f"{name}: blend below both", share, low=low, error=error, note=f"{len(margin)} pairs"),
            Figure(f"{name}: median margin [nat]", float(np.median(margin))),
            Figure(f"{name}: blend below its own", float(np.mean(log_p[:, 2:] < log_p[:, :2]))),
        ]
    return figures


def methods():
    """Settings of the comparison; all of one solver."""
    explicit = ForwardBackward(
        constraints=(NonNegative(),), prior=PixelCNNPrior.load(PRIOR), stop=StopRule(120)
    )
    return {
        "pixelcnn": TemperatureLadder(explicit),
        "non-negative": ForwardBackward(constraints=(NonNegative(),)),
        "scarlet": ForwardBackward(constraints=SCARLET),
    }


def galaxies_only(galsim, kind, magnitude, rng):
    """What sources are made of, without stars."""
    return drawn_parts(galsim, "bulge and disc" if kind == "star" else kind, magnitude, rng)


def two_galaxies(index, seed, noise=1.0):
    """A drawn blend of two galaxies in one band, with the noise as much larger."""
    blend = make_blend(index, survey=SURVEY, seed=seed, number=2, parts_of=galaxies_only)
    o, truth = blend.observation, blend.truth[:, REFERENCE : REFERENCE + 1]
    weights = o.weights[REFERENCE : REFERENCE + 1] / noise**2
    unit_noise = np.random.default_rng([seed, index, 1]).standard_normal(weights.shape)
    images = truth.sum(axis=0) + unit_noise / np.sqrt(weights)
    observation = Observation.from_arrays(
        images, weights, psfs=[o.psfs[REFERENCE]], bands=[o.bands[REFERENCE]], grid=o.grid
    )
    return Blend(observation, blend.peaks, truth)


def fitted(method, observation, peaks, prior):
    """Fit one scene, on the prior's pixels and behind its PSF."""
    variance = prior.model_psf_sigma**2
    frame = Frame(observation, model_psf=PSFMixture([1], [[0, 0]], [[variance, 0, variance]]))
    return method.fit(start_scene(frame, peaks, largest_half=(STAMP - 1) // 2))


def never_rises(result):
    """Whether the objective does not rise in any iteration."""
    return bool((np.diff(result.trace) <= ROUNDING * np.abs(result.trace[1:])).all())


def scores_of(blend, result):
    """What is known of the sources of one fit, as arrays of one entry for each source."""
    images = result.scene.render_sources()[0]
    fluxes = blend.truth.sum(axis=(2, 3))
    return {
        "correlation": morphology_correlation(images, blend.truth),
        "pulls": (result.fluxes - fluxes) / result.flux_errors,
        "relative": (result.fluxes - fluxes).sum(axis=1) / fluxes.sum(axis=1),
        "blendedness": blendedness(blend.truth),
        "snr": matched_snr(blend),
        "chi2": chi2_per_pixel(images, blend.observation),
        "falls": never_rises(result),
        "seconds": result.seconds,
    }


def half_width(values):
    """Half of the range of the middle 68.27%: the standard deviation, if they are Gaussian."""
    return float(np.diff(np.percentile(values, [15.865, 84.135]))[0] / 2)


def summed_up(name, scores, goals):
    """Figures of many scenes; `goals` are the ranges of those that have one."""
    joined = {key: np.concatenate([np.ravel(one[key]) for one in scores]) for key in scores[0]}
    pulls = joined["pulls"][np.isfinite(joined["pulls"])]
    n = len(joined["correlation"])
    values = {
        "morphology correlation, mean": (joined["correlation"].mean(), joined["correlation"].std() / np.sqrt(n)),
        "morphology correlation, median": (np.median(joined["correlation"]), None),
        "|flux error|, median": (np.median(np.abs(joined["relative"])), None),
        "chi2 per pixel": (joined["chi2"].mean(), joined["chi2"].std() / np.sqrt(len(scores))),
        "width of flux pulls, 68%": (half_width(pulls), half_width(pulls) / np.sqrt(len(pulls))),
        "standard deviation of flux pulls": (pulls.std(), None),
        "mean of flux pulls": (pulls.mean(), pulls.std() / np.sqrt(len(pulls))),
        "objective never rises": (joined["falls"].mean(), None),
        "seconds per scene": (joined["seconds"].mean(), None),
    }
    return [
        Figure(f"{name}: {key}", float(value), *goals.get(key, (None, None)), error=error)
        for key, (value, error) in values.items()
    ]


def separation_figures(options):
    """Two galaxies in one band by each method."""
    prior, figures = PixelCNNPrior.load(PRIOR), []
    found = {name: [] for name in methods()}
    for index in range(options.scenes):
        blend = two_galaxies(index, options.seed)
        for name, method in methods().items():
            found[name].append(scores_of(blend, fitted(method, blend.observation, blend.peaks, prior)))
    for name, scores in found.items():
        own = name == "pixelcnn"
        goals = {"morphology correlation, mean": (0.95, None), "objective never rises": (1.0, None)} if own else {}
        figures += summed_up(name, scores, goals)
    return figures


def noise_figures(options):
    """Two galaxies in one band with more noise."""
    prior, method = PixelCNNPrior.load(PRIOR), methods()["pixelcnn"]
    blends = (two_galaxies(index, options.seed, NOISE) for index in range(options.scenes))
    scores = [scores_of(blend, fitted(method, blend.observation, blend.peaks, prior)) for blend in blends]
    goals = {
        "chi2 per pixel": (0.95, 1.05), "width of flux pulls, 68%": (0.8, 1.25), "objective never rises": (1.0, None),
    }  # fmt: skip
    return summed_up(f"noise x {NOISE:g}", scores, goals)


def real_figures(options):
    """One real scene by the prior and by scarlet's constraints, and the prior's again with more noise."""
    path = DATA / "hsc_blends" / "hsc_cosmos_35.npz"
    if not path.exists():
        print(f"\n{path} is missing; set CELESTEPY_DATA to the folder of the data. Left out.")
        return []
    prior, method = PixelCNNPrior.load(PRIOR), methods()
    observation, peaks = read_blend(path)
    noisy = with_more_noise(observation, NOISE, options.seed)
    fits = {name: fitted(method[name], observation, peaks, prior) for name in ("pixelcnn", "scarlet")}
    again = fitted(method["pixelcnn"], noisy, peaks, prior)
    images = {name: result.scene.render_sources()[0] for name, result in fits.items()}
    images_again = again.scene.render_sources()[0]
    chi2 = {name: chi2_per_pixel(own, observation) for name, own in images.items()}
    alike = morphology_correlation(images_again, images["pixelcnn"])
    pulls = (again.fluxes - fits["pixelcnn"].fluxes) / again.flux_errors
    return [
        Figure("chi2 per pixel", chi2["pixelcnn"], high=chi2["scarlet"], note=f"scarlet {chi2['scarlet']:.3f}"),
        Figure("noise x 3: chi2 per pixel", chi2_per_pixel(images_again, noisy), low=0.95, high=1.05),
        Figure("noise x 3: correlation with noise x 1", float(alike.mean()), note=f"lowest {alike.min():.3f}"),
        Figure("noise x 3: rms flux change / error", float(np.sqrt(np.nanmean(pulls**2))), high=1.25),
        Figure("objective never rises", float(never_rises(fits["pixelcnn"]) and never_rises(again)), low=1.0),
    ]


def with_more_noise(observation, factor, seed):
    """The same images with the noise `factor` times as large, and weights to match."""
    weights = observation.weights
    sigma = np.divide(1.0, np.sqrt(weights), out=np.zeros_like(weights), where=weights > 0)
    added = np.sqrt(factor**2 - 1) * sigma * np.random.default_rng(seed).standard_normal(weights.shape)
    return Observation.from_arrays(
        observation.images + added, weights / factor**2, psfs=observation.psfs, bands=observation.bands,
        grid=observation.grid,
    )  # fmt: skip


RUNS = {"density": density_figures, "separation": separation_figures, "noise": noise_figures, "real": real_figures}


def main():
    """Print the figures of each part."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--pairs", type=int, default=500, help="pairs of galaxies on stamps")
    options.add_argument("--scenes", type=int, default=40)
    options.add_argument("--seed", type=int, default=1)
    add_output_options(options)
    options = options.parse_args()
    if options.quick:
        options.pairs, options.scenes = min(options.pairs, 10), min(options.scenes, 1)
    report = {}
    for part in options.part:
        report[part] = RUNS[part](options)
        print_figures(f"=== {part}, seed {options.seed}", report[part])
    print("\n" + verdict([figure for figures in report.values() for figure in figures]))
    write_report({"options": vars(options), "figures": report}, options.json)


if __name__ == "__main__":
    main()
