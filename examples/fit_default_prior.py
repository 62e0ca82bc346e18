"""Refit the default prior, ``sdss-deep``, from deep photometry.

    CELESTEPY_DATA=../shared/data python examples/fit_default_prior.py [--output FILE] [--scores]

Reads, under ``$CELESTEPY_DATA/catalogs`` (default ``../shared/data`` beside the repository):

* ``coadd_field_df.csv``: Photo on the Stripe 82 coadd, sources of SDSS field 4263/5/119, in magnitudes;
* ``xdqso_relflux_fits_star.fits``: the stellar model of XDQSO (Bovy et al. 2011), Gaussian mixtures of the
  flux ratios u/i, g/i, r/i, z/i of point sources on Stripe 82 in 47 bins of i, errors deconvolved.

and prints the laws, in magnitudes. ``--scores`` adds the held-out likelihoods by which the numbers of
components were chosen. A field whose catalogue is to be scored must never be among these data.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.optimize import minimize_scalar

from celestepy.model.color_fit import ColorFit, color_errors, log_likelihood
from celestepy.model.parameters import GALAXY, KINDS, STAR, Bands
from celestepy.model.prior_fit import fit_axis_ratio, fit_dev_fraction, fit_radius
from celestepy.model.prior_laws import LogisticBeta
from celestepy.model.priors import GalaxyPrior, Prior, StarPrior

LN_PER_MAG = np.log(10) / 2.5
BANDS = Bands("ugriz")
PIVOT = 1.0  # ln nmgy: r = 21.41

# Flux errors (nmgy) of the coadd in ugriz: the robust scatter of single exposure minus coadd on the same
# sources, divided by sqrt(20) exposures (more in u, for its tails), and a calibration floor.
SKY_ERROR = {STAR: (0.08, 0.03, 0.04, 0.05, 0.15), GALAXY: (0.20, 0.07, 0.09, 0.09, 0.40)}
CALIBRATION_ERROR = 0.02
MISSING = 10.0  # fractional error that stands for "not measured"
LOWEST_SIGNAL_TO_NOISE = 3.0  # below it, the logarithm of a flux is not normal: the band counts as missing
FAINT_U = 4.0  # signal to noise below which u - g is weighed by its flux likelihood instead
U_MINUS_G = (-0.3, 2.8)  # mag, the range of u - g in that case; bluer is a failed measurement

# No star, galaxy or quasar has adjacent-band colours (mag) beyond these: such rows are failed measurements.
BLUEST, REDDEST = (-9.0, -1.0, -0.8, -0.8), (9.0, 3.0, 3.0, 2.0)

FITS = {STAR: ColorFit(5, slope=0.1, width=0.08, outlier_weight=0.06),
        GALAXY: ColorFit(3, slope=0.2, width=0.1, outlier_weight=0.04)}
N_XDQSO = 600  # stars drawn from XDQSO, beside the 119 of the coadd
COUNTED = (16.0, 22.0)  # r range over which the coadd is complete, for the counts
FAINT_LIMIT, FAINT_SOFTNESS = 23.0, 0.25  # turnover of the counts (r), and its width (ln flux)
SHAPE_LIMIT = 21.5  # faintest r at which the shapes of the coadd are trusted
SMALLEST_RADIUS = 0.12  # arcsec: smaller "galaxies" are stars


@dataclass(frozen=True)
class DeepSample:
    """Deep photometry of sources of one type: colours, their errors, log flux in r, and shapes."""

    colors: np.ndarray
    errors: np.ndarray
    log_flux: np.ndarray
    shapes: Table | None = None

    def __getitem__(self, rows):
        return DeepSample(self.colors[rows], self.errors[rows], self.log_flux[rows],
                          None if self.shapes is None else self.shapes[rows])

    def __len__(self):
        return len(self.log_flux)

    def __add__(self, other):
        return DeepSample(*(np.concatenate([getattr(self, name), getattr(other, name)])
                            for name in ("colors", "errors", "log_flux")))


def read_coadd(path, kind):
    """Sources of one type of the coadd catalogue, its magnitudes as natural-log fluxes."""
    table = Table.read(path)
    table = table[np.array([value == "True" for value in table["is_star"]]) == (kind == STAR)]
    prefix = "star" if kind == STAR else "gal"
    names = [f"{prefix}_color_{pair}" for pair in BANDS.color_names]
    magnitudes = np.stack([np.asarray(table[name]) for name in names], axis=1)
    believable = np.all((magnitudes > np.array(BLUEST)) & (magnitudes < np.array(REDDEST)), axis=1)
    colors = LN_PER_MAG * magnitudes
    log_flux = LN_PER_MAG * (22.5 - np.asarray(table[f"{prefix}_mag_r"]))
    fluxes = np.exp(np.column_stack([log_flux, colors]) @ BANDS.log_flux_matrix.T)
    fractional = np.asarray(SKY_ERROR[kind]) / fluxes
    measured = fractional * LOWEST_SIGNAL_TO_NOISE < 1
    fractional = np.where(measured, np.hypot(fractional, CALIBRATION_ERROR), MISSING)
    columns = dict(radius="gal_arcsec_scale", ratio="gal_ab", dev="gal_fracdev")
    shapes = Table({name: table[column] for name, column in columns.items()})
    errors = color_errors(fractional)
    _weigh_faint_u(colors, errors, fluxes, SKY_ERROR[kind][0])
    return DeepSample(colors, errors, log_flux, shapes)[believable]


def _weigh_faint_u(colors, errors, fluxes, sky_error):
    """Replace u - g and its error, in place, by what a faint u flux says of them.

    Calling such a u missing would leave only the blue ones among red faint galaxies, and its logarithm as
    measured is far from normal. The likelihood of the flux, over the plausible range of u - g, has a mean and
    a variance; dividing out those of the range itself leaves a normal measurement, void for a void flux.
    """
    grid = np.linspace(*U_MINUS_G, 300) * LN_PER_MAG
    for k in np.flatnonzero(fluxes[:, 0] < FAINT_U * sky_error):
        chi = (fluxes[k, 0] - fluxes[k, 1] * np.exp(-grid)) / sky_error
        weight = np.exp(-0.5 * (chi**2 - np.min(chi**2)))
        mean = np.average(grid, weights=weight)
        variance = np.average((grid - mean)**2, weights=weight)
        precision = max(1 / variance - 1 / grid.var(), 1 / MISSING**2)
        colors[k, 0] = (mean / variance - grid.mean() / grid.var()) / precision
        errors[k, 0, :] = errors[k, :, 0] = 0.0
        errors[k, 0, 0] = 1 / precision
    failed = fluxes[:, 0] > fluxes[:, 1] * np.exp(-U_MINUS_G[0] * LN_PER_MAG)
    errors[failed, 0, :] = errors[failed, :, 0] = 0.0
    errors[failed, 0, 0] = MISSING**2


def draw_xdqso(path, n, rng, faintest=21.0, steepness=0.12):
    """Draw stars from the XDQSO mixtures, bins of i weighted by counts ~ 10^(steepness i)."""
    with fits.open(path) as hdus:
        bins = [hdu.data[0] for hdu in hdus[1:] if hdu.data["IMAX"][0] <= faintest]
        mags = np.array([0.5 * (row["IMIN"] + row["IMAX"]) for row in bins])
        weights = 10 ** (steepness * (mags - mags[0]))
        chosen = rng.choice(len(bins), n, p=weights / weights.sum())
        ratios = np.ones((n, 5))  # u g r i z over i
        for k, row in enumerate(chosen):
            j = rng.choice(20, p=bins[row]["XAMP"] / bins[row]["XAMP"].sum())
            ratios[k, [0, 1, 2, 4]] = rng.multivariate_normal(bins[row]["XMEAN"][j], bins[row]["XCOVAR"][j])
    keep = np.all(ratios > 1e-3, axis=1)
    logs = np.log(ratios[keep])
    log_flux = LN_PER_MAG * (22.5 - mags[chosen[keep]]) + logs[:, 2]
    errors = color_errors(np.full(logs.shape, CALIBRATION_ERROR))
    return DeepSample(np.diff(logs, axis=1), errors, log_flux)


def fit_colors(sample, settings, rng):
    """The colour mixture of a sample."""
    return settings.fit(sample.colors, sample.errors, sample.log_flux, pivot=PIVOT, rng=rng)


def held_out_score(sample, settings, rng, also=None, folds=5):
    """Mean held-out log likelihood per source of a sample, `also` being added to every training set."""
    fold = rng.permutation(len(sample)) % folds
    scores = np.empty(len(sample))
    for k in range(folds):
        training = sample[fold != k] if also is None else sample[fold != k] + also
        mixture, test = fit_colors(training, settings, rng), sample[fold == k]
        scores[fold == k] = log_likelihood(mixture, test.colors, test.errors, test.log_flux)
    return scores


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


def fit_shapes(sample):
    """Radius, axis-ratio and profile laws of galaxies, from those bright enough to be measured."""
    shapes = sample.shapes
    radius, ratio, dev = (np.asarray(shapes[name], dtype=float) for name in ("radius", "ratio", "dev"))
    circular = radius * np.sqrt(ratio)
    resolved = circular > SMALLEST_RADIUS
    errors = np.clip(0.05 * np.exp(-0.6 * (sample.log_flux - 3.5)), 0.03, 0.2)
    law = fit_radius(np.log(circular[resolved]), sample.log_flux[resolved], PIVOT, errors[resolved])
    good = resolved & (sample.log_flux > LN_PER_MAG * (22.5 - SHAPE_LIMIT))
    return law, fit_axis_ratio(ratio[good], lowest=0.1), fit_dev_fraction(dev[good], margin=0.1)


PROVENANCE = {
    "command": "examples/fit_default_prior.py",
    "colors": "natural-log flux ratios, by extreme deconvolution of Photo on the Stripe 82 coadd of SDSS "
              "field 4263/5/119 ({n_star} stars, {n_galaxy} galaxies); the stars together with {n_xdqso} "
              "drawn from the stellar mixtures of XDQSO (Bovy et al. 2011), i < 21. The last component is a "
              "broad one of fixed weight for rare objects. Mean colours change with the log flux: faint "
              "galaxies are bluer.",
    "log_flux": "counts of the same stars and galaxies at 16 < r < 22, extended to a turnover at r = 23, "
                "about the faintest that one SDSS exposure detects",
    "star_fraction": "ratio of these counts, integrated over all fluxes",
    "log_radius": "circularised half-light radii of the coadd's galaxies above 0.12 arcsec, deconvolved of "
                  "errors of 0.03 to 0.2",
    "axis_ratio": "the coadd's galaxies with r < 21.5; ratios below 0.1 only counted",
    "dev_fraction": "the coadd's galaxies with r < 21.5; fractions within 0.1 of an end only counted",
}


def fit_prior(directory, rng):
    """The whole prior from the files in a directory of catalogues."""
    stars, galaxies = (read_coadd(directory / "coadd_field_df.csv", kind) for kind in KINDS)
    drawn = draw_xdqso(directory / "xdqso_relflux_fits_star.fits", N_XDQSO, rng)
    star_flux, n_stars = fit_counts(stars.log_flux)
    galaxy_flux, n_galaxies = fit_counts(galaxies.log_flux)
    radius, ratio, dev = fit_shapes(galaxies)
    sizes = dict(n_star=len(stars), n_galaxy=len(galaxies), n_xdqso=len(drawn))
    return Prior(BANDS, n_stars / (n_stars + n_galaxies),
                 StarPrior(star_flux, fit_colors(stars + drawn, FITS[STAR], rng)),
                 GalaxyPrior(galaxy_flux, fit_colors(galaxies, FITS[GALAXY], rng), radius, ratio, dev),
                 name="sdss-deep", provenance={key: text.format(**sizes) for key, text in PROVENANCE.items()})


def print_scores(directory, rng):
    """Held-out log likelihoods per source of the colour mixtures, beside the published prior's."""
    drawn = draw_xdqso(directory / "xdqso_relflux_fits_star.fits", N_XDQSO, rng)
    print("\nmean log likelihood of the colours of a held-out source (5-fold)")
    for kind, also in ((STAR, drawn), (GALAXY, None)):
        sample = read_coadd(directory / "coadd_field_df.csv", kind)
        published = getattr(Prior.load("celeste2019"), kind).colors
        reference = log_likelihood(published, sample.colors, sample.errors, sample.log_flux)
        print(f"{kind:7s} celeste2019 {reference.mean():.2f}")
        for n_components in range(2, 7):
            for slope in (0.0, FITS[kind].slope):
                settings = replace(FITS[kind], n_components=n_components, slope=slope, n_starts=3,
                                   n_iterations=60)
                gain = held_out_score(sample, settings, rng, also) - reference
                error = gain.std() / len(gain)**0.5
                print(f"{kind:7s} {n_components} components{', slope' if slope else '':7s} "
                      f"{(gain + reference).mean():6.2f}, gain {gain.mean():.2f} +- {error:.2f}")


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
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
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
