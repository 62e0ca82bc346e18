"""Joint fits of many exposures: how errors shrink, agreement with a coadd, and what the model leaves over.

    python benchmarks/exposures.py [--data ../shared/data] [--json FILE] [--quick]

Stripe 82: one field in 14 exposures of five bands (stripe82_stamps/), fitted alone and n = 2, 4, 7 and 14 together.
DECam: eight exposures of one galaxy in three bands (decam_tc3/) through the general reader, detected and fitted
jointly. benchmarks/README.rst tells what is compared and why.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from astropy.table import QTable, Table
from scipy.signal import fftconvolve
from targets import Figure, add_output_options, print_figures, verdict, write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from decam_tc3 import describe
from stripe82_stamps import DISTINCT_EXPOSURES, read_stamps

from celestepy.catalog.crossmatch import crossmatch
from celestepy.images import read_toml
from celestepy.inference import LaplaceFit
from celestepy.model.color_mixture import ColorMixture
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw
from celestepy.model.priors import GalaxyPrior, Prior, StarPrior
from celestepy.pipeline import make_catalog

BANDS = "ugriz"
DATA = Path("../shared/data")
NUMBERS = (1, 2, 4, 7, 14)
SCALED = [*(f"flux_{band}" for band in BANDS), "ra", "dec", "half_light_radius", "axis_ratio"]
SHRINKING = 0.15  # how far from 1/sqrt(n) the errors may be
MEASURED = 10.0  # S/N in a single exposure from which the pixels, not the prior or the sign of a flux, set the error
FLOOR = 0.03  # of the flux, for calibration and for what one shape in all bands leaves out
CHI2 = 0.9, 1.15


def broad_prior():
    """A prior so wide that the errors are those of the pixels alone."""
    colors = ColorMixture(np.ones(1), np.array([[1.0, 0.8, 0.4, 0.3]]), 4.0 * np.eye(4)[None])
    shape = RadiusLaw(0.0, 2.0), AxisRatioLaw(1.0, 1.0), LogisticBeta(1.0, 1.0)
    galaxy = GalaxyPrior(Normal(1.0, 5.0), colors, *shape)
    return Prior(BANDS, 0.5, StarPrior(Normal(1.0, 5.0), colors), galaxy, name="broad")


def known_sources(folder):
    """Places of all that the single-exposure catalogue has in and around the stamps, each once."""
    (path,) = folder.glob("cat-[!s]*.fits")
    table = Table.read(path)
    rows = []
    for row in table:
        if all(np.hypot(row["ra"] - other["ra"], row["dec"] - other["dec"]) > 1 / 3600 for other in rows):
            rows.append(row)
    return Table([[row[name] for row in rows] for name in ("ra", "dec")], names=["ra", "dec"])


def coadd(folder):
    """Composite fluxes and their errors of the coadd catalogue, brightest source first.

    Its column ``cmodelflux`` repeats ``expflux``; the composite is made here of both profiles and ``frac_dev``. Both
    are fits to the same pixels, so their errors add up.
    """
    (path,) = folder.glob("cat-s82-*.fits")
    table = Table.read(path)
    share = table["frac_dev"]
    result = QTable({"ra": table["ra"], "dec": table["dec"]})
    for band in BANDS:
        exp, dev = table[f"expflux_{band}"], table[f"devflux_{band}"]
        result[f"flux_{band}"] = share * dev + (1 - share) * exp
        exp, dev = table[f"expfluxerr_{band}"], table[f"devfluxerr_{band}"]
        result[f"flux_{band}_err"] = share * dev + (1 - share) * exp
    return result[np.argsort(-result["flux_r"])]


class Stamps:
    """The Stripe 82 stamps, their coadd catalogue and fits of some of the exposures."""

    def __init__(self, folder):
        self.exposures = len(DISTINCT_EXPOSURES)
        images = read_stamps(folder, BANDS)
        self.images = [images[k : k + len(BANDS)] for k in range(0, len(images), len(BANDS))]
        self.seeds, self.coadd = known_sources(folder), coadd(folder)
        self.whole = [k for k, each in enumerate(self.images) if max(image.mask.mean() for image in each) < 0.5]

    def chosen(self, exposures, bands=BANDS):
        """Images of some exposures in some bands."""
        return [image for k in exposures for image in self.images[k] if image.band in bands]

    def fit(self, exposures, prior=None, bands=BANDS):
        """The joint fit, and the row of each source of the coadd catalogue in it.

        The engine is called itself, because it takes seeds outside the images too, whose light falls into them.
        """
        engine = LaplaceFit(search=False, drop_doubtful=False)
        result = engine.fit(self.chosen(exposures, bands), self.seeds, prior=prior)
        match = crossmatch(self.coadd, result.catalog)
        return result, match.right

    def values(self, exposures, prior=None):
        """Estimates and errors of the scaled quantities, shape (source, 2, quantity)."""
        result, rows = self.fit(exposures, prior)
        pair = [[_plain(result.catalog, name + tail)[rows] for name in SCALED] for tail in ("", "_err")]
        return np.moveaxis(np.array(pair), 2, 0)

    def subsets(self, n):
        """Disjoint sets of n exposures, those that are empty for the most part only in the set of all."""
        if n >= self.exposures:
            return [range(self.exposures)]
        order = np.random.default_rng(0).permutation(self.whole)
        return [order[k : k + n] for k in range(0, len(order) - n + 1, n)]


def _plain(table, name):
    column = table[name]
    return np.asarray(getattr(column, "value", column), dtype=float)


def measure_shrinking(stamps, numbers=NUMBERS, prior=None):
    """Errors of n exposures times sqrt(n), in units of the error of one exposure.

    Returns
    -------
    ratios : (number, source, quantity) array
        1 where errors shrink as 1/sqrt(n).
    snr : (source, quantity) array
        Estimate over error in a single exposure; for the positions that of the r flux.
    pulls : (source, quantity) array
        Standard deviation of the single exposures' estimates, in units of their errors.
    """
    found = {n: np.array([stamps.values(subset, prior) for subset in stamps.subsets(n)]) for n in numbers}
    error = {n: np.mean(values[:, :, 1] ** -2, axis=0) ** -0.5 for n, values in found.items()}
    count = {n: min(n, len(stamps.whole)) for n in numbers}
    ratios = np.array([error[n] * np.sqrt(count[n]) / error[1] for n in numbers])
    estimates, errors = found[1][:, :, 0], found[1][:, :, 1]
    snr = np.abs(estimates.mean(axis=0)) / error[1]
    for name in ("ra", "dec"):
        snr[:, SCALED.index(name)] = snr[:, SCALED.index("flux_r")]
    unit = np.array([3600.0 if name in ("ra", "dec") else 1.0 for name in SCALED])  # degrees, errors in arcsec
    pulls = np.std((estimates - estimates.mean(axis=0)) * unit / errors, axis=0, ddof=1)
    return ratios, snr, pulls


def shrinking_figures(ratios, snr, numbers=NUMBERS):
    """The ratios of the largest number, with a target where one exposure measures the quantity."""
    figures = []
    for source, row in enumerate(snr):
        for quantity, name in enumerate(SCALED):
            target = (1 - SHRINKING, 1 + SHRINKING) if row[quantity] > MEASURED else (None, None)
            others = tuple(ratios[:-1, source, quantity])
            label, note = f"source {source}: {name}", f"S/N of one: {row[quantity]:.1f}"
            figures.append(Figure(label, ratios[-1, source, quantity], *target, others, note=note))
    return figures


def agreement_figures(stamps, result, rows, bands=BANDS, label="five bands"):
    """Differences from the coadd in units of both errors and the floor together."""
    figures = []
    for source, row in enumerate(rows):
        for band in bands:
            flux, error = (_plain(result.catalog, f"flux_{band}{tail}")[row] for tail in ("", "_err"))
            other, its_error = (float(stamps.coadd[f"flux_{band}{tail}"][source]) for tail in ("", "_err"))
            pull = (flux - other) / np.sqrt(error**2 + its_error**2 + (FLOOR * other) ** 2)
            note = f"{flux:.3f} +- {error:.3f}, coadd {other:.3f} +- {its_error:.3f} nmgy"
            figures.append(Figure(f"source {source}: {band}, {label}", pull, -2.0, 2.0, note=note))
    return figures


def matched_width(image, residual):
    """Robust width of the S/N of point sources in a residual image: 1 for white noise of the stated variance."""
    weight = np.where(image.mask, 0.0, 1 / image.variance())
    size = 2 * int(3 * image.psf.at(0, 0).fwhm) + 1
    psf = image.psf.at(*(np.array(image.shape[::-1]) / 2)).render((size, size), size // 2, size // 2)
    signal = fftconvolve(weight * residual, psf[::-1, ::-1], mode="valid")
    power = fftconvolve(weight, psf[::-1, ::-1] ** 2, mode="valid")
    snr = (signal / np.sqrt(np.maximum(power, 1e-9)))[power > 0.5 * power.max()]
    return 1.4826 * float(np.median(np.abs(snr - np.median(snr))))


def residual_figures(images, models, targets=CHI2):
    """Chi^2 per pixel of each image, its level refitted as in the fit itself, and of all pixels together."""
    figures, chi2, n_pixels = [], 0.0, 0
    for image, model in zip(images, models, strict=True):
        weight = np.where(image.mask, 0.0, 1 / image.variance())
        residual = np.where(image.mask, 0.0, image.pixels - model)
        level = np.sum(weight * residual) / weight.sum()
        own = float(np.sum(weight * (residual - level) ** 2))
        n_own = int(np.count_nonzero(weight)) - 1
        note = f"level {level * np.sqrt(np.median(weight[weight > 0])):+.2f} sd of a pixel"
        figures.append(Figure(f"{image.name[:30]}", own / n_own, *targets, note=note))
        chi2, n_pixels = chi2 + own, n_pixels + n_own
    return [*figures, Figure("all images", chi2 / n_pixels, *targets)]


def noise_figures(stamps, result, exposures):
    """Chi^2 per pixel and matched width of the residuals by band: how the stamps' noise is correlated."""
    images = stamps.chosen(exposures)
    pairs = list(zip(images, result.model_images(), strict=True))
    figures = []
    for band in BANDS:
        own = [(image, np.where(image.mask, 0.0, image.pixels - model)) for image, model in pairs if image.band == band]
        chi2 = [np.mean((residual**2 / image.variance())[~image.mask]) for image, residual in own]
        widths = [matched_width(image, residual) for image, residual in own]
        figures.append(Figure(f"{band}: chi^2 per pixel", float(np.median(chi2))))
        figures.append(Figure(f"{band}: width of the matched filter", float(np.median(widths))))
    return figures


def report_stamps(folder, numbers=NUMBERS):
    """Print the Stripe 82 tables."""
    stamps = Stamps(folder)
    everything = stamps.subsets(numbers[-1])[0]
    print(f"\n=== Stripe 82: {stamps.exposures} exposures, {len(stamps.whole)} of them whole")
    ratios, snr, pulls = measure_shrinking(stamps, numbers, broad_prior())
    shrinking = shrinking_figures(ratios, snr, numbers)
    title = f"error of {numbers[-1]} exposures x sqrt(n) / error of one, under a broad prior"
    print_figures(title, shrinking, [f"n = {n}" for n in numbers[:-1]])
    print("\nscatter of the single exposures over their errors (source 0): " + ", ".join(
        f"{name} {pull:.2f}" for name, pull in zip(SCALED, pulls[0], strict=True)))
    result, rows = stamps.fit(everything)
    agreement = agreement_figures(stamps, result, rows)
    print_figures("flux minus coadd, over both errors and 3 %", agreement)
    alone = [figure for band in "griz" for figure in
             agreement_figures(stamps, *stamps.fit(everything, bands=band), band, "alone")]
    print_figures("the same for fits of one band alone, each with a shape of its own", alone)
    noise = noise_figures(stamps, result, everything)
    print_figures("residuals of the joint fit (resampled stamps: smooth noise)", noise)
    figures = [*shrinking, *agreement]
    print(f"\nStripe 82: {verdict(figures)}")
    return {"figures": figures, "one band alone": alone, "noise": noise, "ratios": ratios, "pulls": pulls}


def report_decam(folder):
    """Print the DECam table."""
    with tempfile.TemporaryDirectory() as work:
        images = read_toml(describe(folder, Path(work) / "decam.toml"))
    result = make_catalog(images)
    print(f"\n=== DECam: {len(images)} exposures; {result.summary}")
    figures = residual_figures(images, result.model_images())
    print_figures("chi^2 per pixel", figures)
    print(f"\nDECam: {verdict(figures)}")
    return {"figures": figures}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with stripe82_stamps/ and decam_tc3/")
    add_output_options(parser)
    options = parser.parse_args()
    numbers = (1, 4) if options.quick else NUMBERS
    report = {"stripe82": report_stamps(options.data / "stripe82_stamps", numbers)}
    report["decam"] = report_decam(options.data / "decam_tc3")
    write_report(report, options.json)


if __name__ == "__main__":
    main()
