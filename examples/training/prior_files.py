"""From galaxies to what the networks see, and from trained networks to the files that ``celestepy`` reads."""

import sys

import jax
import numpy as np
from galaxies import MODEL_PSF_SIGMA

from celestepy import __version__
from celestepy.nn import load_network_file, save_network_file

SOFTENING = 0.02  # of the highest pixel: where u = asinh(S / softening) turns from linear to logarithmic


def transformed(galaxies):
    """Morphologies with highest pixel 1 -> u."""
    return np.arcsinh(galaxies / SOFTENING).astype(np.float32)


def mean_image(images):
    """The mean of all images in all eight orientations, (size, size)."""
    mean = images.mean(axis=0)
    mean = mean + mean.T
    mean = mean + mean[::-1]
    return (mean + mean[:, ::-1]) / 8.0


def training_record(args, data, curve):
    """Where a network comes from: enough to train it again."""
    settings = {name: value for name, value in vars(args).items() if name not in ("folder", "start_from")}
    if getattr(args, "start_from", None):
        about = load_network_file(args.start_from).metadata["training"]
        settings["start_from"] = {"name": args.start_from.stem, "held_out": about["held_out"]}
    return {
        "script": sys.argv[0].rpartition("/")[2],
        "settings": settings,
        "data": data,
        "held_out": curve[-1],
        "jax": jax.__version__,
        "celestepy": __version__,
    }


def write_prior(path, kind, network, mean, scale, sigma_range, recipe, training):
    """Write the weight file of a prior and print its checksum."""
    metadata = {
        "kind": kind,
        "pixel_scale": recipe.pixel_scale,
        "softening": SOFTENING,
        "model_psf_sigma": MODEL_PSF_SIGMA,
        "scale": scale,
        "sigma_range": list(sigma_range),
        "training": training,
    }
    arrays = {name: np.asarray(array) for name, array in network.numbers.items()}
    sha256 = save_network_file(path, network.description, arrays, metadata, {"mean": mean})
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, sha256 {sha256}")
