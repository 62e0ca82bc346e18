"""Blends drawn by GalSim, of galaxies with structure: the scenes of the deblending experiments.

    python examples/experiments/deblending_scenes.py [--scenes 20] [--survey hsc|lsst] [--seed 1] [--json FILE]

Two to eight sources in 60 x 60 pixels and five bands, grizy, at the depth and seeing of ten years of LSST or of the
deep fields of HSC. Galaxies have a bulge and a disc, knots of star formation in a disc, or spiral arms; bulges are
redder than discs and knots bluer, so that no galaxy is exactly one SED times one morphology. Some sources are stars.
Scene k of a seed is always the same, whatever else is drawn. Run as a command it says what the scenes are like.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celestepy.deblend.comparison import BLENDEDNESS_BINS, Blend
from celestepy.deblend.observation import Observation
from celestepy.deblend.scores import blendedness

BANDS = tuple("grizy")
SIZE = 60  # pixels
PSF_SIZE = 41
REFERENCE = 2  # i
# i, AB: the faintest have a signal to noise of 26 in i. At 26 mag the noise of the fluxes alone, with known
# morphologies, keeps the mean correlation of SEDs at .996 (`--method known` of deblending_comparison.py).
MAGNITUDES = (20.0, 25.0)
COUNT_SLOPE = 0.3  # d log10(number) / d mag
LEAST_SEPARATION = 0.6  # arcsec
EDGE = 8  # pixels from the border that a centre keeps
# magnitudes g - r, r - i, i - z, z - y of the bluest and reddest populations
BLUE, RED = np.array([0.15, 0.05, 0.0, 0.0]), np.array([1.3, 0.6, 0.35, 0.2])
KINDS = {"bulge and disc": 0.4, "knots": 0.25, "arms": 0.25, "star": 0.1}


@dataclass(frozen=True)
class Survey:
    """What a survey's images are like.

    Attributes
    ----------
    pixel_scale : float
        Arcsec.
    fwhm : tuple
        Seeing in each band, arcsec.
    depth : tuple
        AB magnitude of a point source of 5 sigma in each band.
    """

    pixel_scale: float
    fwhm: tuple
    depth: tuple


SURVEYS = {
    "lsst": Survey(0.2, (0.77, 0.73, 0.71, 0.69, 0.68), (27.4, 27.5, 26.8, 26.1, 24.9)),
    "hsc": Survey(0.168, (0.79, 0.75, 0.61, 0.68, 0.64), (27.5, 27.1, 26.8, 26.3, 25.3)),
}


def import_galsim():
    try:
        import galsim
    except ImportError as error:
        raise SystemExit(f"deblending: {error}; the scenes are drawn by GalSim: pip install galsim") from None
    return galsim


def flux(magnitude):
    """Nanomaggies."""
    return 10 ** (0.4 * (22.5 - magnitude))


def spectrum(redness, rng):
    """Fluxes in each band relative to the reference band, of a population from blue (0) to red (1)."""
    colors = BLUE + redness * (RED - BLUE) + rng.normal(0, 0.05, len(BLUE))
    magnitudes = np.concatenate([[0.0], -np.cumsum(colors)])
    return 10 ** (-0.4 * (magnitudes - magnitudes[REFERENCE]))


def spiral(galsim, radius, rng):
    """An exponential disc whose light is gathered in logarithmic spiral arms, flux 1."""
    scale = radius / 12
    y, x = scale * np.mgrid[-64:65, -64:65]
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    pitch, arms = np.tan(np.radians(rng.uniform(12, 28))), rng.choice([2, 3])
    phase = arms * (angle - np.log(np.maximum(r, scale) / radius) / pitch) + rng.uniform(0, 2 * np.pi)
    contrast = rng.uniform(0.5, 0.95) * np.tanh(r / (0.5 * radius))
    light = np.exp(-1.68 * r / radius) * (1 + contrast * np.cos(phase))
    return galsim.InterpolatedImage(galsim.Image(light, scale=scale), flux=1.0)


def components(galsim, kind, magnitude, rng):
    """Profiles of flux 1 before shearing with their fluxes in each band."""
    radius = float(np.clip(0.5 * 10 ** (-0.1 * (magnitude - 23) + rng.normal(0, 0.15)), 0.15, 2.0))  # arcsec
    redness = rng.uniform(0, 0.8)
    disc, bulge = spectrum(redness, rng), spectrum(min(redness + rng.uniform(0.1, 0.5), 1.1), rng)
    if kind == "bulge and disc":
        share = rng.uniform(0.05, 0.7)
        small = radius * rng.uniform(0.2, 0.7)
        parts = [(galsim.Exponential(half_light_radius=radius), (1 - share) * disc),
                 (galsim.DeVaucouleurs(half_light_radius=small, trunc=6 * small), share * bulge)]
    elif kind == "knots":
        share = rng.uniform(0.2, 0.6)
        seed = galsim.BaseDeviate(int(rng.integers(2**31)))
        knots = galsim.RandomKnots(int(rng.integers(5, 25)), half_light_radius=radius, rng=seed)
        parts = [(galsim.Exponential(half_light_radius=radius), (1 - share) * disc),
                 (knots, share * spectrum(max(redness - 0.4, -0.2), rng))]
    else:
        share = rng.uniform(0.05, 0.4)
        parts = [(spiral(galsim, radius, rng), (1 - share) * disc),
                 (galsim.Exponential(half_light_radius=0.25 * radius), share * bulge)]
    return [(profile, flux(magnitude) * fluxes) for profile, fluxes in parts]


def drawn_parts(galsim, kind, magnitude, rng):
    """Profiles of a source with their fluxes in each band; None for the profile of a star."""
    if kind == "star":
        return [(None, flux(magnitude) * spectrum(rng.uniform(0, 1), rng))]
    shape = galsim.Shear(q=float(rng.uniform(0.3, 1.0)), beta=float(rng.uniform(0, np.pi)) * galsim.radians)
    return [(profile.shear(shape), fluxes) for profile, fluxes in components(galsim, kind, magnitude, rng)]


def source_images(galsim, parts, centre, psfs, survey):
    """(B, SIZE, SIZE) noiseless images of one source."""
    images = np.zeros((len(BANDS), SIZE, SIZE))
    middle = (SIZE - 1) / 2
    offset = galsim.PositionD(centre[1] - middle, centre[0] - middle)
    for image, psf, b in zip(images, psfs, range(len(BANDS)), strict=True):
        for profile, fluxes in parts:
            seen = psf if profile is None else galsim.Convolve(profile, psf)
            drawn = (seen * fluxes[b]).drawImage(
                nx=SIZE, ny=SIZE, scale=survey.pixel_scale, offset=offset, method="no_pixel", dtype=float
            )
            image += drawn.array
    return images


def centres(number, scale, rng):
    """(K, 2) y, x of sources, crowded about the middle, no two closer than `LEAST_SEPARATION`."""
    spread = rng.uniform(4, 14)
    found = []
    while len(found) < number:
        new = np.clip((SIZE - 1) / 2 + rng.normal(0, spread, 2), EDGE, SIZE - 1 - EDGE)
        if all(np.hypot(*(new - old)) * scale > LEAST_SEPARATION for old in found):
            found.append(new)
        spread *= 1.02  # so that it ends for many sources in a small spread too
    return np.array(found)


def magnitudes(number, rng):
    """Magnitudes in i whose counts rise as `COUNT_SLOPE`, the first one no fainter than 24."""
    low, high = (10 ** (COUNT_SLOPE * m) for m in MAGNITUDES)
    drawn = np.log10(rng.uniform(low, high, number)) / COUNT_SLOPE
    drawn[0] = min(drawn[0], rng.uniform(21, 24))
    return drawn


def band_psfs(galsim, survey):
    """PSFs with the pixel, and their stamps."""
    pixel = galsim.Pixel(survey.pixel_scale)
    psfs = [galsim.Convolve(galsim.Moffat(beta=3.5, fwhm=fwhm), pixel) for fwhm in survey.fwhm]
    draw = {"nx": PSF_SIZE, "ny": PSF_SIZE, "scale": survey.pixel_scale, "method": "no_pixel", "dtype": float}
    return psfs, [psf.drawImage(**draw).array for psf in psfs]


def make_blend(index, *, survey="lsst", seed=1, number=None, parts_of=drawn_parts):
    """Blend `index` of a seed.

    Parameters
    ----------
    index : int
        Which.
    survey : str, optional
        Of `SURVEYS`.
    seed : int, optional
        Of all scenes.
    number : int, optional
        Sources; 2 to 8 by default.
    parts_of : callable, optional
        What a source is made of, with the arguments of `drawn_parts`.

    Returns
    -------
    Blend
        In nanomaggies; stars are of kind "point".
    """
    galsim, survey = import_galsim(), SURVEYS[survey]
    rng = np.random.default_rng([seed, index])
    number = int(rng.integers(2, 9)) if number is None else number
    psfs, stamps = band_psfs(galsim, survey)
    peaks = centres(number, survey.pixel_scale, rng)
    kinds = rng.choice(list(KINDS), number, p=list(KINDS.values()))
    truth = np.array([
        source_images(galsim, parts_of(galsim, kind, magnitude, rng), peak, psfs, survey)
        for kind, magnitude, peak in zip(kinds, magnitudes(number, rng), peaks, strict=True)
    ])
    noise = np.array([
        flux(depth) / 5 * np.sqrt((stamp**2).sum()) / stamp.sum()
        for depth, stamp in zip(survey.depth, stamps, strict=True)
    ])
    images = truth.sum(axis=0) + noise[:, None, None] * rng.normal(size=truth.shape[1:])
    observation = Observation.from_arrays(
        images, noise**-2, psfs=stamps, bands=BANDS, pixel_scale=survey.pixel_scale
    )
    return Blend(observation, peaks, truth, tuple("point" if kind == "star" else "free" for kind in kinds))


def make_blends(number, **settings):
    """The first blends of a seed, one after the other."""
    for index in range(number):
        yield make_blend(index, **settings)


def matched_snr(blend):
    """Signal to noise of each source alone, all bands together."""
    return np.sqrt((blend.observation.weights * blend.truth**2).sum(axis=(1, 2, 3)))


def main():
    """Say what the scenes are like."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=20)
    options.add_argument("--survey", choices=SURVEYS, default="lsst")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", metavar="FILE", type=Path)
    options = options.parse_args()
    blends = list(make_blends(options.scenes, survey=options.survey, seed=options.seed))
    shares = np.concatenate([blendedness(blend.truth) for blend in blends])
    snr = np.concatenate([matched_snr(blend) for blend in blends])
    stars = np.concatenate([[kind == "point" for kind in blend.kinds] for blend in blends])
    counts = np.histogram(shares, BLENDEDNESS_BINS)[0]
    figures = {
        "scenes": len(blends),
        "sources": len(shares),
        "stars": int(stars.sum()),
        "signal to noise, 10/50/90 percentiles": np.percentile(snr, [10, 50, 90]).round(1).tolist(),
        "blendedness, bin edges": list(BLENDEDNESS_BINS),
        "blendedness, sources per bin": counts.tolist(),
    }
    for name, value in figures.items():
        print(f"{name:40} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
