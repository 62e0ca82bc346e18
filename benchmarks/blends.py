"""Blends drawn by GalSim: types, fluxes and errors of three overlapping sources.

    python benchmarks/blends.py [--realisations 20] [--seeds detection truth] [--json FILE] [--quick]

In the manner of Regier et al. (2019), section 5.4: three sources in a row of 10, 3 and 3 nanomaggies, and three
sources of 10 nanomaggies each, closer together; drawn by GalSim (needed here), not from the model that is fitted.
benchmarks/README.rst has the geometry and the conditions.
"""

import argparse
import os
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import astropy.units as u
import galsim
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.catalog.crossmatch import crossmatch
from celestepy.images import GaussianPSF, Image, PoissonNoise
from celestepy.pipeline import make_catalog

BANDS = "ugriz"
# Those of the paper's own GalSim scripts (Celeste.jl, experiments/galsim_helper.py): photons, sky, PSF, colours.
SIDE, SCALE = 96, 0.396  # pixels, arcsec
PHOTONS, SKY, PSF_SIGMA = 1000.0, 0.01, 4.0  # per nanomaggy, nanomaggies per pixel, pixels
COLORS = {"star": (0.1330, 0.5308, 1, 1.3179, 1.5417), "galaxy": (0.4013, 0.4990, 1, 1.4031, 1.7750)}
RADIUS = 1.5  # arcsec, circularised half-light radius
CENTER = 10.0, 0.0  # deg
MATCHED = 1.5  # arcsec
SEED_ERROR = 0.2  # arcsec, of seeds at the truth
FLUX, TYPE, PULL = 0.02, 0.99, (0.75, 1.25)
_TRUNCATION = 8.0  # half-light radii, as SDSS cuts off de Vaucouleurs profiles


@dataclass(frozen=True)
class Drawn:
    """One source of a scene: r flux (nmgy), offsets (arcsec), axis ratio, angle (deg) and dev_fraction."""

    kind: str
    flux: float
    east: float
    north: float
    axis_ratio: float = 1.0
    angle: float = 0.0
    dev_fraction: float = 0.0

    def profile(self, band, truncation=0.0):
        """Its GalSim profile before the PSF; fluxes in nanomaggies."""
        flux = self.flux * COLORS[self.kind][BANDS.index(band)]
        if self.kind == "star":
            return galsim.DeltaFunction(flux=flux)
        galaxy = galsim.Exponential(half_light_radius=RADIUS, flux=flux * (1 - self.dev_fraction))
        if self.dev_fraction:
            galaxy += galsim.DeVaucouleurs(
                half_light_radius=RADIUS, flux=flux * self.dev_fraction, trunc=truncation * RADIUS
            )
        return galaxy.shear(q=self.axis_ratio, beta=(90 + self.angle) * galsim.degrees)


# From South to North. The paper gives the fluxes, that two of the three in the row are galaxies, and that they lie in
# a straight line; neighbours are 1.6 FWHM apart here, and 1.3 to 1.4 in the closer blend.
SCENES = {
    "row": (
        Drawn("star", 10.0, 0.0, -6.0),
        Drawn("galaxy", 3.0, 0.0, 0.0, 0.4, 60.0),
        Drawn("galaxy", 3.0, 0.0, 6.0, 0.4, 135.0),
    ),
    "row with a faint star": (
        Drawn("galaxy", 10.0, 0.0, -6.0, 0.4, 60.0),
        Drawn("galaxy", 3.0, 0.0, 0.0, 0.4, 135.0),
        Drawn("star", 3.0, 0.0, 6.0),
    ),
    "closer blend": (
        Drawn("galaxy", 10.0, 1.5, -2.0, 0.5, 35.0),
        Drawn("star", 10.0, -3.5, -1.0),
        Drawn("galaxy", 10.0, 0.0, 3.0, 0.4, 100.0),
    ),
}


def tangent_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = CENTER
    wcs.wcs.crpix = [(SIDE + 1) / 2] * 2
    wcs.wcs.cd = np.diag([-SCALE / 3600, SCALE / 3600])
    wcs.wcs.set()
    return wcs


def expected_pixels(scene, band, truncation=0.0):
    """Nanomaggies per pixel without sky and noise; x runs to the West."""
    psf = galsim.Gaussian(sigma=PSF_SIGMA * SCALE)
    image = galsim.ImageD(SIDE, SIDE, scale=SCALE)
    for source in scene:
        profile = galsim.Convolve(source.profile(band, truncation), psf).shift(-source.east, source.north)
        profile.drawImage(image, add_to_image=True)
    return image.array


def draw(scene, rng=None, truncation=0.0):
    """Images of a scene in all bands; without noise if there is no generator."""
    images = []
    for band in BANDS:
        pixels = expected_pixels(scene, band, truncation) + SKY
        if rng is not None:
            pixels = rng.poisson(pixels * PHOTONS) / PHOTONS
        psf = GaussianPSF(sigma=np.sqrt(PSF_SIGMA**2 + 1 / 12))  # GalSim integrates over the pixels
        noise = PoissonNoise(PHOTONS)
        images.append(Image(pixels, band=band, psf=psf, wcs=tangent_wcs(), noise=noise, sky=SKY))
    return images


def places(scene, rng=None):
    """Table of the true places, or of places with the error of a detection."""
    offsets = np.array([(source.east, source.north) for source in scene])
    if rng is not None:
        offsets = offsets + rng.normal(0, SEED_ERROR, offsets.shape)
    ra, dec = (np.array(CENTER) + offsets / 3600).T
    error = np.full(len(scene), SEED_ERROR)
    return QTable({"ra": ra * u.deg, "dec": dec * u.deg, "position_err": error * u.arcsec})


@dataclass(frozen=True)
class Outcome:
    """Fits of many noise realisations of a scene.

    Attributes
    ----------
    whole : (realisation,) bool array
        Whether exactly the true sources were found; the other arrays hold only those realisations.
    flux, error : (realisation, source, band) arrays
        Fluxes over the truth, and their errors likewise.
    right : (realisation, source) array
        Probability of the true type.
    pull : (realisation, source) array
        Errors of the positions in units of their own, quadratic mean of both coordinates.
    """

    whole: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    right: np.ndarray
    pull: np.ndarray


def fit_scene(scene, realisations, seeds, seed=1, method="fast"):
    """Draw and fit a scene many times."""
    rows, whole = [], []
    for k in range(realisations):
        rng = np.random.default_rng((seed, k))
        images = draw(scene, rng)
        table = places(scene, rng) if seeds == "truth" else None
        catalog = make_catalog(images, table, method=method, rng=seed).catalog
        match = crossmatch(places(scene), catalog, MATCHED)
        whole.append(len(match.left) == len(scene) == len(catalog))
        if whole[-1]:
            rows.append(_measured(scene, catalog, match.right))
    parts = [np.array(part) for part in zip(*rows, strict=True)] if rows else [np.zeros((0, len(scene), 1))] * 4
    return Outcome(np.array(whole), *parts)


def _measured(scene, catalog, rows):
    truth = np.array([source.flux * np.array(COLORS[source.kind]) for source in scene])
    flux, error = (
        np.array([catalog[f"flux_{band}{tail}"][rows].value for band in BANDS]).T / truth for tail in ("", "_err")
    )
    star = np.array([source.kind == "star" for source in scene])
    probability = np.asarray(catalog["star_probability"])[rows]
    true = places(scene)
    pulls = [
        ((catalog[name][rows] - true[name]) / catalog[f"{name}_err"][rows]).to_value(u.one)  # at the equator
        for name in ("ra", "dec")
    ]
    return flux, error, np.where(star, probability, 1 - probability), np.sqrt(np.mean(np.square(pulls), axis=0))


def scene_figures(scene, outcome):
    """What is aimed at for a scene."""
    figures = [Figure("share with just the true sources", outcome.whole.mean(), low=0.95)]
    if not outcome.whole.any():
        return figures
    r = BANDS.index("r")
    for k, source in enumerate(scene):
        label = f"{source.kind} of {source.flux:g}"
        flux, right = outcome.flux[:, k, r], outcome.right[:, k]
        error = flux.std() / np.sqrt(max(len(flux) - 1, 1))
        note = f"{flux.mean() * source.flux:.2f} nmgy; scatter {flux.std():.3f}, "
        note += f"error {outcome.error[:, k, r].mean():.3f}"
        figures.append(Figure(f"{label}: r over truth", flux.mean(), 1 - FLUX, 1 + FLUX, error=error, note=note))
        note = f"{np.sum(right > TYPE)} of {len(right)} over {TYPE}"
        figures.append(Figure(f"{label}: P(true type), median", np.median(right), low=TYPE, note=note))
    pulls = (outcome.flux - 1) / outcome.error
    figures.append(Figure("r flux: rms of pulls", np.sqrt(np.mean(pulls[..., r] ** 2)), *PULL))
    figures.append(Figure("all fluxes: rms of pulls", np.sqrt(np.mean(pulls**2)), *PULL))
    figures.append(Figure("positions: rms of pulls", np.sqrt(np.mean(outcome.pull**2)), *PULL))
    return figures


def profile_figures():
    """Fitted over drawn flux of one isolated galaxy without noise, for different true profiles."""
    figures = []
    for label, dev_fraction, truncation in (
        ("exponential", 0.0, 0.0),
        ("de Vaucouleurs, cut off at 8 radii", 1.0, _TRUNCATION),
        ("de Vaucouleurs, not cut off", 1.0, 0.0),
    ):
        scene = (Drawn("galaxy", 10.0, 0.0, 0.0, 0.5, 35.0, dev_fraction),)
        catalog = make_catalog(draw(scene, truncation=truncation), places(scene)).catalog
        note = f"dev_fraction {float(catalog['dev_fraction'][0]):.2f}"
        figures.append(Figure(label, float(catalog["flux_r"][0].value) / scene[0].flux, note=note))
    return figures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--realisations", type=int, default=20)
    parser.add_argument("--seeds", nargs="+", choices=("detection", "truth"), default=("truth", "detection"))
    add_output_options(parser)
    options = parser.parse_args()
    realisations = min(options.realisations, 3) if options.quick else options.realisations
    report = {}
    for seeds in options.seeds:
        for name, scene in SCENES.items():
            figures = scene_figures(scene, fit_scene(scene, realisations, seeds))
            print_figures(f"=== {name}, seeds from {seeds}, {realisations} realisations", figures)
            print(f"{name}: {verdict(figures)}")
            report[f"{name}, seeds from {seeds}"] = figures
    profiles = profile_figures()
    print_figures("r flux over truth of one galaxy without noise, by what GalSim draws", profiles)
    write_report(report | {"profiles": profiles}, options.json)


if __name__ == "__main__":
    main()
