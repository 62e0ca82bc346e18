"""The loop that all the priors are trained with: Adam, averaged numbers, a checkpoint, a curve on disk."""

import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

PEAK_RATE, WARM_UP = 2e-3, 200
AVERAGING = 0.999


def rate(step, total, cool_down):
    """Learning rate: up in ``WARM_UP`` steps, constant, and down to zero in the last ``cool_down`` steps."""
    return PEAK_RATE * jnp.clip(jnp.minimum(step / WARM_UP, (total - step) / cool_down), 0.0, 1.0)


def augmented(images, key):
    """Each image turned or mirrored into one of its eight orientations."""
    turns = jax.random.bernoulli(key, 0.5, (3, len(images), 1, 1))
    images = jnp.where(turns[0], images[:, ::-1], images)
    images = jnp.where(turns[1], images[:, :, ::-1], images)
    return jnp.where(turns[2], images.transpose(0, 2, 1), images)


class Training(eqx.Module):
    """Everything a checkpoint holds."""

    network: eqx.Module
    average: eqx.Module
    moments: tuple
    key: jax.Array
    step: jax.Array

    @classmethod
    def start(cls, network, seed):
        """The state before the first step."""
        moments = optax.scale_by_adam(b2=0.99).init(eqx.filter(network, eqx.is_array))
        return cls(network, network, moments, jax.random.PRNGKey(seed), jnp.array(0))


def make_advance(loss, batch, cool_down):
    """A compiled function that takes one step and returns the state and the loss.

    One step a call: inside a loop of XLA's own, convolutions on a CPU are a hundred times slower.
    """
    adam = optax.scale_by_adam(b2=0.99)

    @eqx.filter_jit
    def advance(state, data, total):
        key, draw, turn, noise = jax.random.split(state.key, 4)
        chosen = augmented(data[jax.random.randint(draw, (batch,), 0, len(data))], turn)
        value, slope = eqx.filter_value_and_grad(loss)(state.network, chosen, noise)
        slope, _ = optax.clip_by_global_norm(1.0).update(slope, optax.EmptyState())
        updates, moments = adam.update(slope, state.moments)
        step = -rate(state.step + 1, total, cool_down)
        network = eqx.apply_updates(state.network, jax.tree.map(lambda u: step * u, updates))
        keep = jnp.minimum(AVERAGING, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, n: keep * a + (1 - keep) * n, state.average, network)
        return Training(network, average, moments, key, state.step + 1), value

    return advance


def train(network, loss, held_out_loss, data, *, folder, steps, cool_down, batch, seed, report=250):
    """Train up to ``steps`` steps in all, going on from a checkpoint in ``folder`` if there is one.

    Parameters
    ----------
    network : jax_network.Network
        Where to start.
    loss : callable
        ``loss(network, images, key)``.
    held_out_loss : callable
        ``held_out_loss(network)`` -> dict of numbers that go into the curve.
    data : array, (n, size, size)
        The images, as the network takes them.

    Returns
    -------
    network : jax_network.Network
        With averaged numbers.
    curve : list of dict
    """
    folder = Path(folder)
    state, curve = Training.start(network, seed), []
    checkpoint, log = folder / "checkpoint.eqx", folder / "curve.json"
    if checkpoint.exists():
        state, curve = eqx.tree_deserialise_leaves(checkpoint, state), json.loads(log.read_text())
    advance, data = make_advance(loss, batch, cool_down), jnp.asarray(data)
    seconds, losses = time.perf_counter(), []
    while int(state.step) < steps:
        state, value = advance(state, data, jnp.array(steps))
        losses.append(value)
        step = int(state.step)
        if step % report == 0 or step >= steps:
            entry = {"step": step, "loss": float(np.mean(losses)), **held_out_loss(state.average)}
            print(json.dumps(entry), f"{time.perf_counter() - seconds:.0f} s", flush=True)
            curve.append(entry)
            losses = []
            eqx.tree_serialise_leaves(checkpoint, state)
            log.write_text(json.dumps(curve, indent=1))
    return state.average, curve
