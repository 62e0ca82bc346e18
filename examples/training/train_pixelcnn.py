"""Train the PixelCNN prior of one survey by maximum likelihood.

    nice -n 19 python examples/training/train_pixelcnn.py hsc --steps 10000 --folder build/pixelcnn_hsc_32

The density is that of x = u + sigma noise, with u = asinh(S / 0.02) as for the score network: noiseless images have
no density worth the name, each pixel being all but determined by those before it. The network is told sigma,
so that one file serves all temperatures. Each pixel, given those before it in raster order, has a mixture of
Gaussians whose variances are sigma^2 plus what the network says.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from galaxies import RECIPES, draw_galaxies, provenance
from jax_network import Network
from prior_files import mean_image, training_record, transformed, write_prior
from training_loop import train

from celestepy.nn import pixelcnn

SIGMA_RANGE = (0.015, 1.5)
HELD_OUT_SEED = 10**6
HELD_OUT_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def log_density(network, scale, x, sigma):
    """Log density of each image, (n,), of deviations from the mean image (n, h, w) at temperatures (n,)."""
    unit = jnp.sqrt(scale**2 + sigma**2)[:, None, None, None]
    scaled = x[..., None] / unit
    log_weight, mean, log_width = jnp.split(network(scaled, jnp.log(sigma)), 3, -1)
    floor = sigma[:, None, None, None] / unit
    variance = floor**2 + jnp.exp(2.0 * log_width)
    each = jax.nn.log_softmax(log_weight) - 0.5 * ((scaled - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance))
    return jnp.sum(jax.nn.logsumexp(each, -1) - jnp.log(unit[..., 0]), (1, 2))


def make_loss(scale):
    def loss(network, images, key):
        first, second = jax.random.split(key)
        low, high = np.log(SIGMA_RANGE)
        sigma = jnp.exp(jax.random.uniform(first, (len(images),), minval=low, maxval=high))
        noisy = images + sigma[:, None, None] * jax.random.normal(second, images.shape)
        # relative to the noise alone, so that all temperatures count alike
        noise_alone = -0.5 * jnp.log(2 * jnp.pi * jnp.e * sigma**2)
        return jnp.mean(noise_alone - log_density(network, scale, noisy, sigma) / images[0].size)

    return loss


def make_held_out_loss(scale, images):
    """Mean -ln p per pixel, less that of the noise alone: nats per pixel that an oracle would save."""
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(images.shape), jnp.float32)

    @jax.jit
    def excess(network, sigma):
        found = log_density(network, scale, images + sigma * noise, jnp.full(len(images), sigma))
        return -jnp.mean(found) / images[0].size - 0.5 * jnp.log(2 * jnp.pi * jnp.e * sigma**2)

    return lambda network: {f"held_out_{sigma:g}": round(float(excess(network, sigma)), 6) for sigma in HELD_OUT_SIGMAS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--per-type", type=int, default=5000, help="galaxies of each Sersic index")
    parser.add_argument("--steps", type=int, default=10000, help="steps in all, those of the checkpoint included")
    parser.add_argument("--cool-down", type=int, default=1000, help="last steps, in which the rate falls to zero")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="for the checkpoint, the curve and the weights")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    recipe = RECIPES[args.recipe]
    galaxies = draw_galaxies(recipe, args.size, args.per_type, args.seed)
    about = provenance(recipe, args.size, args.per_type, args.seed, galaxies)
    images = transformed(galaxies)
    mean = mean_image(images)
    images = images - mean
    scale = float(images.std())
    held_out = transformed(draw_galaxies(recipe, args.size, 64, HELD_OUT_SEED)) - mean
    network = Network.start(pixelcnn(), jax.random.PRNGKey(args.seed))
    print(json.dumps(about), f"scale {scale:.4f}", sum(v.size for v in network.numbers.values()), "numbers", flush=True)
    network, curve = train(
        network, make_loss(scale), make_held_out_loss(scale, jnp.asarray(held_out)), images,
        folder=args.folder, steps=args.steps, cool_down=args.cool_down, batch=args.batch, seed=args.seed,
    )  # fmt: skip
    write_prior(
        args.folder / f"pixelcnn-{args.recipe}-{args.size}.npz", "pixelcnn", network, mean, scale,
        SIGMA_RANGE, recipe, training_record(args, about, curve),
    )  # fmt: skip


if __name__ == "__main__":
    main()
