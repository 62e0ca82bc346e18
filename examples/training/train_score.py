"""Train the score network of one survey by denoising score matching.

    nice -n 19 python examples/training/train_score.py hsc --size 32 --steps 20000 --folder build/score_hsc_32

The variance-preserving diffusion with beta = 1, dx = -x/2 dt + dw, t in [0, 10], turns a galaxy x_0 into
x_t = exp(-t/2) x_0 + (1 - exp(-t))^(1/2) noise. (The published equations mix in the sub-VP diffusion and integrate
over 0..T instead of 0..t; the loss lacks its weight.) Divided by exp(-t/2) this is x_0 + sigma noise with
sigma^2 = exp(t) - 1, and the score of that, the gradient of log (p * N(0, sigma^2)), is (D(x, sigma) - x) / sigma^2
with D the mean of x_0 given x (Tweedie). The network is D, scaled as in Karras et al. (2022), NeurIPS 35, 26565:
the loss is that of the noise-weighted score, lambda(t) |s - grad log p_0t|^2, with lambda such that the network's
own target has unit variance at every temperature.

Images are u = asinh(S / 0.02), S the morphology with highest pixel 1: the density that is learned is that of u.

With --start-from FILE the training begins with the network of a weight file, of another survey or of another size:

    python examples/training/train_score.py hsc --size 64 --start-from score-hsc-32.npz --steps 1000 ...

It then also keeps that network's unit of its input, ``scale``, but has the mean image of its own galaxies.
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

from celestepy.nn import score_unet

# ln sigma in training: 95% of the values of sigma within .007 and 4, 99.9% below 20, from where samplers start
MEAN_LN_SIGMA, SPREAD_LN_SIGMA = -1.8, 1.6
SIGMA_RANGE = (0.01, 20.0)
# of both sizes: a pixel of the result depends on all within 44, so the network that knows 32 pixels can learn 64 ones
CHANNELS = (32, 64, 64)
SIZES = (32, 64)
HELD_OUT_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0)
HELD_OUT_SEED = 10**6


def denoise(network, scale, x, sigma):
    """Mean of the noiseless deviation from the mean image, given the noisy one; x (n, h, w), sigma (n,)."""
    wide = sigma[:, None, None]
    total = scale**2 + wide**2
    output = network((x / jnp.sqrt(total))[..., None], jnp.log(sigma))[..., 0]
    return scale**2 / total * x + wide * scale / jnp.sqrt(total) * output


def make_loss(scale):
    def loss(network, images, key):
        first, second = jax.random.split(key)
        sigma = jnp.exp(MEAN_LN_SIGMA + SPREAD_LN_SIGMA * jax.random.normal(first, (len(images),)))
        noisy = images + sigma[:, None, None] * jax.random.normal(second, images.shape)
        weight = (1.0 / scale**2 + 1.0 / sigma**2)[:, None, None]
        return jnp.mean(weight * (denoise(network, scale, noisy, sigma) - images) ** 2)

    return loss


def make_held_out_loss(scale, images):
    """Mean over pixels of (D - x_0)^2 / sigma^2 at fixed temperatures; 1 for a D that does nothing."""
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(images.shape), jnp.float32)

    @jax.jit
    def error(network, sigma):
        found = denoise(network, scale, images + sigma * noise, jnp.full(len(images), sigma))
        return jnp.mean((found - images) ** 2) / sigma**2

    return lambda network: {f"held_out_{sigma:g}": round(float(error(network, sigma)), 6) for sigma in HELD_OUT_SIGMAS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--size", type=int, choices=SIZES, default=32)
    parser.add_argument("--per-type", type=int, default=5000, help="galaxies of each Sersic index")
    parser.add_argument("--steps", type=int, default=20000, help="steps in all, those of the checkpoint included")
    parser.add_argument("--cool-down", type=int, default=2000, help="last steps, in which the rate falls to zero")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="weight file to begin with, not random numbers")
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
    held_out = transformed(draw_galaxies(recipe, args.size, 128, HELD_OUT_SEED)) - mean
    network = Network.start(score_unet(CHANNELS), jax.random.PRNGKey(args.seed))
    if args.start_from:
        network, scale = network.continued(args.start_from)
    print(json.dumps(about), f"scale {scale:.4f}", sum(v.size for v in network.numbers.values()), "numbers", flush=True)
    network, curve = train(
        network, make_loss(scale), make_held_out_loss(scale, jnp.asarray(held_out)), images,
        folder=args.folder, steps=args.steps, cool_down=args.cool_down, batch=args.batch, seed=args.seed,
    )  # fmt: skip
    write_prior(
        args.folder / f"score-{args.recipe}-{args.size}.npz", "score", network, mean, scale,
        SIGMA_RANGE, recipe, training_record(args, about, curve),
    )  # fmt: skip


if __name__ == "__main__":
    main()
