"""Refit the default prior, ``sdss-deep``, from deep photometry.

    CELESTEPY_DATA=../shared/data python examples/fit_default_prior.py [--output FILE] [--scores]

Reads, under ``$CELESTEPY_DATA/catalogs`` (default ``../shared/data`` beside the repository), what
``benchmarks/pairs.py`` describes: Photo on the coadd of Stripe 82, and the stellar model of XDQSO. Prints the laws, in
magnitudes. Colours are learned by extreme deconvolution from the likelihoods of the fluxes. ``--scores`` adds the
held-out likelihoods by which the numbers of components were chosen. A field whose catalogue is to be scored must never
be among these data. The file that is shipped has the same counts and shapes, and colours from an earlier form of this
recipe; docs/user_guide/priors.rst compares the two.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from celestepy.model.color_fit import ColorFit, draw_shares
from celestepy.model.parameters import GALAXY, KINDS, STAR
from celestepy.model.prior_fit import fit_axis_ratio, fit_dev_fraction, fit_radius
from celestepy.model.prior_laws import LogisticBeta
from celestepy.model.priors import GalaxyPrior, Prior, StarPrior

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from pairs import BANDS, LN_PER_MAG, believable, deep_draws, draw_xdqso, read_photometry  # noqa: E402

PIVOT = 1.0  # ln nmgy: r = 21.41
FITS = {STAR: ColorFit(5, slope=0.1, width=0.08, n_starts=4, outlier_weight=0.06),
        GALAXY: ColorFit(3, slope=0.2, width=0.06, n_starts=4, outlier_weight=0.04)}
N_DRAWS = 100  # of the likelihood of each source
N_XDQSO = 600  # stars drawn from XDQSO, beside the 119 of the coadd
COUNTED = (16.0, 22.0)  # r range over which the coadd is complete, for the counts
FAINT_LIMIT, FAINT_SOFTNESS = 23.0, 0.25  # turnover of the counts (r), and its width (ln flux)
SHAPE_LIMIT = 21.5  # faintest r at which the shapes of the coadd are trusted
SMALLEST_RADIUS = 0.12  # arcsec: smaller "galaxies" are stars


def deep_rows(deep, kind):
    """Sources of one type of the coadd with believable colours."""
    return np.flatnonzero((deep.is_star == (kind == STAR)) & believable(deep.fluxes[kind]))


def held_out_gain(draws, settings, reference, rng, also=None, folds=5):
    """Held-out log likelihood of each source of a sample above that of a mixture, `also` being in all training sets."""
    fold, gain = rng.permutation(len(draws)) % folds, -draw_shares(reference, draws)[1]
    for k in range(folds):
        training = draws[fold != k] if also is None else draws[fold != k] + also
        mixture = settings.fit_draws(training, pivot=PIVOT, rng=rng)
        gain[fold == k] += draw_shares(mixture, draws[fold == k])[1]
    return gain


def fit_counts(log_flux):
    """Counts of one type: a power law with a fixed faint turnover, fitted where the sample is complete."""
    turnover = (22.5 - FAINT_LIMIT) * LN_PER_MAG
    high, low = (LN_PER_MAG * (22.5 - np.array(COUNTED))).tolist()
    grid = np.linspace(low, high, 2001)
    inside = log_flux[(log_flux > low) & (log_flux < high)]

    def law(steepness):
        return LogisticBeta(1.0, float(steepness) * FAINT_SOFTNESS, turnover, FAINT_SOFTNESS)

    def loss(steepness):
        density = [law(steepness).evaluate(x)[0] for x in grid]
        logs = np.interp(inside, grid, density)
        return inside.size * np.log(np.trapezoid(np.exp(density), grid)) - logs.sum()

    best = minimize_scalar(loss, bounds=(0.05, 3.0), method="bounded").x
    fraction_counted = np.trapezoid([np.exp(law(best).evaluate(x)[0]) for x in grid], grid)
    return law(best), inside.size / fraction_counted


def fit_shapes(shapes, log_flux):
    """Radius, axis-ratio and profile laws of galaxies, from those bright enough to be measured."""
    radius, ratio, dev = (np.asarray(shapes[name], dtype=float) for name in ("radius", "ratio", "dev"))
    circular = radius * np.sqrt(ratio)
    resolved = circular > SMALLEST_RADIUS
    errors = np.clip(0.05 * np.exp(-0.6 * (log_flux - 3.5)), 0.03, 0.2)
    law = fit_radius(np.log(circular[resolved]), log_flux[resolved], PIVOT, errors[resolved])
    good = resolved & (log_flux > LN_PER_MAG * (22.5 - SHAPE_LIMIT))
    return law, fit_axis_ratio(ratio[good], lowest=0.1), fit_dev_fraction(dev[good], margin=0.1)


PROVENANCE = {
    "command": "examples/fit_default_prior.py",
    "colors": "natural-log flux ratios, by extreme deconvolution of the flux likelihoods of Photo on the Stripe 82 "
              "coadd of SDSS field 4263/5/119 ({n_star} stars, {n_galaxy} galaxies); the stars together with {n_xdqso} "
              "drawn from the stellar mixtures of XDQSO (Bovy et al. 2011), i < 21. The last component is a "
              "broad one, held fixed, for rare objects. Mean colours change with the log flux: faint galaxies are "
              "bluer.",
    "log_flux": "counts of the same stars and galaxies at 16 < r < 22, extended to a turnover at r = 23, "
                "about the faintest that one SDSS exposure detects",
    "star_fraction": "ratio of these counts, integrated over all fluxes",
    "log_radius": "circularised half-light radii of the coadd's galaxies above 0.12 arcsec, deconvolved of "
                  "errors of 0.03 to 0.2",
    "axis_ratio": "the coadd's galaxies with r < 21.5; ratios below 0.1 only counted",
    "dev_fraction": "the coadd's galaxies with r < 21.5; fractions within 0.1 of an end only counted",
}


def samples(directory, rng):
    """Deep photometry, and the likelihoods of stars, galaxies, and stars of XDQSO."""
    deep = read_photometry(directory / "coadd_field_df.csv", deep=True)
    draws = {kind: deep_draws(deep, kind, deep_rows(deep, kind), N_DRAWS, rng) for kind in KINDS}
    return deep, draws, draw_xdqso(directory / "xdqso_relflux_fits_star.fits", N_XDQSO, N_DRAWS, rng)


def fit_prior(directory, rng):
    """The whole prior from the files in a directory of catalogues."""
    deep, draws, drawn = samples(directory, rng)
    log_flux = {kind: np.log(deep.fluxes[kind][deep_rows(deep, kind), BANDS.reference_index]) for kind in KINDS}
    counts = {kind: fit_counts(log_flux[kind]) for kind in KINDS}
    shapes = fit_shapes(deep.shapes[deep_rows(deep, GALAXY)], log_flux[GALAXY])
    stars, galaxies = (FITS[kind].fit_draws(sample, pivot=PIVOT, rng=rng)
                       for kind, sample in ((STAR, draws[STAR] + drawn), (GALAXY, draws[GALAXY])))
    sizes = dict(n_star=len(draws[STAR]), n_galaxy=len(draws[GALAXY]), n_xdqso=len(drawn))
    n_stars, n_galaxies = (counts[kind][1] for kind in KINDS)
    return Prior(BANDS, n_stars / (n_stars + n_galaxies), StarPrior(counts[STAR][0], stars),
                 GalaxyPrior(counts[GALAXY][0], galaxies, *shapes), name="sdss-deep",
                 provenance={key: text.format(**sizes) for key, text in PROVENANCE.items()})


def print_scores(directory, rng):
    """Held-out log likelihoods per source of the colour mixtures, above the published prior's."""
    _, draws, drawn = samples(directory, rng)
    print("\ngain in the mean log likelihood of the colours of a held-out source over celeste2019 (5-fold)")
    for kind, also in ((STAR, drawn), (GALAXY, None)):
        published = getattr(Prior.load("celeste2019"), kind).colors
        for n_components in range(2, 7):
            for slope in (0.0, FITS[kind].slope):
                settings = replace(FITS[kind], n_components=n_components, slope=slope, n_starts=2)
                gain = held_out_gain(draws[kind], settings, published, rng, also)
                print(f"{kind:7s} {n_components} components{', slope' if slope else '':7s} {gain.mean():.2f} +- "
                      f"{gain.std() / len(gain)**0.5:.2f}", flush=True)


def print_laws(prior):
    """The laws of a prior in magnitudes."""
    print(f"{prior.name}: star fraction {prior.star_fraction:.3f}")
    for kind in KINDS:
        laws = getattr(prior, kind)
        steepness = laws.log_flux.b / laws.log_flux.scale * 0.4
        print(f"\n{kind}: counts ~ 10^({steepness:.3f} r), turnover at r = "
              f"{22.5 - laws.log_flux.location / LN_PER_MAG:.2f}")
        names = "   ".join(BANDS.color_names)
        print(f"  weight   mean {names}    sd {names}")
        mixture = laws.colors
        for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
            sd = np.sqrt(np.diag(covariance))
            print(f"  {weight:6.3f}  ", np.round(mean / LN_PER_MAG, 2), np.round(sd / LN_PER_MAG, 2))
        print("  all     ", np.round(laws.colors.mean / LN_PER_MAG, 2),
              np.round(np.sqrt(np.diag(laws.colors.covariance)) / LN_PER_MAG, 2),
              "changing per magnitude fainter by", np.round(-laws.colors.slope, 2))
    print(f"\n{prior.galaxy.log_radius}\n{prior.galaxy.axis_ratio}\n{prior.galaxy.dev_fraction}")


def rounded(prior, digits=5):
    """The same prior with its numbers to some significant digits, as it is shipped."""
    def shorten(value):
        if isinstance(value, dict):
            return {key: shorten(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [shorten(entry) for entry in value]
        return float(f"{value:.{digits}g}") if isinstance(value, float) else value

    return Prior.from_document(shorten(prior.to_document()))


def main():
    """Fit, print and, where asked, write the prior."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--output", type=Path, help="write the prior to this JSON file")
    parser.add_argument("--scores", action="store_true", help="also print held-out likelihoods (minutes)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random starts and draws")
    options = parser.parse_args()
    default = ROOT.parent / "shared" / "data"
    directory = Path(os.environ.get("CELESTEPY_DATA", default)) / "catalogs"
    prior = rounded(fit_prior(directory, np.random.default_rng(options.seed)))
    print_laws(prior)
    if options.scores:
        print_scores(directory, np.random.default_rng(options.seed))
    if options.output is not None:
        prior.save(options.output)
        print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
