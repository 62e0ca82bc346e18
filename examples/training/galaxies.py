"""Simulated galaxies that the learned priors are trained on: Sersic profiles, half n = 1 and half n = 4.

    python examples/training/galaxies.py hsc galaxies.npz [--size 32] [--per-type 5000] [--seed 1]

A morphology is the surface brightness behind a Gaussian model PSF (standard deviation 0.8 pixels), sampled at
the centres of the pixels and divided by its highest pixel. No real galaxy enters: those are for tests.
"""

import argparse
import hashlib
from dataclasses import asdict, dataclass

import galsim
import numpy as np

MODEL_PSF_SIGMA = 0.8  # pixels: the narrowest Gaussian that these pixels still sample well
SERSIC_INDICES = (1.0, 4.0)


@dataclass(frozen=True)
class Recipe:
    """Distribution of the galaxies of one survey, lengths in arcsec unless said otherwise.

    ``ln radius`` (half-light, along the major axis) is Gaussian about ``ln median_radius`` with standard deviation
    ``radius_scatter``, drawn again outside ``radius_range``; the axis ratio is ``0.2 + 0.8 Beta(2, 1.3)``, the
    direction uniform, and the centre uniform within ``max_shift`` pixels of the centre of the stamp on each axis.
    """

    name: str
    pixel_scale: float
    median_radius: float
    radius_scatter: float
    radius_range: tuple
    max_shift: float = 1.0


RECIPES = {
    # galaxies of i = 21 to 26 in the HSC Wide survey, from compact ones to discs that fill a third of the stamp
    "hsc": Recipe("hsc", 0.168, 0.45, 0.50, (0.10, 2.0)),
    # host galaxies of bright variable nuclei, 1.01 arcsec pixels
    "ztf": Recipe("ztf", 1.01, 3.0, 0.50, (0.8, 12.0)),
}


def draw_radius(recipe, rng):
    while True:
        radius = recipe.median_radius * np.exp(recipe.radius_scatter * rng.standard_normal())
        if recipe.radius_range[0] <= radius <= recipe.radius_range[1]:
            return radius


def draw_profile(recipe, sersic_index, rng):
    """One galaxy as a profile of GalSim, flux 1, lengths in arcsec."""
    radius = draw_radius(recipe, rng)
    axis_ratio = 0.2 + 0.8 * rng.beta(2.0, 1.3)
    direction = rng.uniform(0.0, np.pi)
    profile = galsim.Sersic(n=sersic_index, half_light_radius=radius * np.sqrt(axis_ratio))
    return profile.shear(q=axis_ratio, beta=direction * galsim.radians)


def draw_galaxy(recipe, size, sersic_index, rng):
    """One morphology, (size, size), highest pixel 1."""
    profile = draw_profile(recipe, sersic_index, rng)
    shift = rng.uniform(-recipe.max_shift, recipe.max_shift, 2)
    psf = galsim.Gaussian(sigma=MODEL_PSF_SIGMA * recipe.pixel_scale)
    image = galsim.Convolve(profile, psf).shift(*(shift * recipe.pixel_scale)).drawImage(
        nx=size, ny=size, scale=recipe.pixel_scale, method="no_pixel", dtype=float
    )
    pixels = np.maximum(image.array, 0.0)  # the Fourier transform rings at 1e-5 of the peak
    return (pixels / pixels.max()).astype(np.float32)


def draw_galaxies(recipe, size, per_type, seed):
    """``per_type`` morphologies of each Sersic index, (2 per_type, size, size), in the order of `SERSIC_INDICES`."""
    rng = np.random.default_rng(seed)
    return np.stack([draw_galaxy(recipe, size, n, rng) for n in SERSIC_INDICES for _ in range(per_type)])


def provenance(recipe, size, per_type, seed, galaxies):
    """What a reader needs to draw the same galaxies, and a checksum of them."""
    return {
        "recipe": asdict(recipe) | {"radius_range": list(recipe.radius_range)},
        "model_psf_sigma": MODEL_PSF_SIGMA,
        "sersic_indices": list(SERSIC_INDICES),
        "size": size,
        "per_type": per_type,
        "seed": seed,
        "galsim": galsim.__version__,
        "sha256": hashlib.sha256(np.ascontiguousarray(galaxies).tobytes()).hexdigest(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("output")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--per-type", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    galaxies = draw_galaxies(RECIPES[args.recipe], args.size, args.per_type, args.seed)
    np.savez_compressed(args.output, galaxies=galaxies)
    about = provenance(RECIPES[args.recipe], args.size, args.per_type, args.seed, galaxies)
    print(f"{args.output}: {len(galaxies)} galaxies, sha256 of the pixels {about['sha256'][:16]}")


if __name__ == "__main__":
    main()
