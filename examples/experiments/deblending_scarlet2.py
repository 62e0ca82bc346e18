"""scarlet2 on the blends of the other experiments: a program for an environment of its own, and how to call it.

    python examples/experiments/deblending_scarlet2.py SCENES.npz MODELS.npz [--prior FILE --temperature 0.1]

scarlet2 brings JAX, which celestepy does not need. Make an environment with both and name its interpreter to the
experiments that compare (``--scarlet2-python``):

    python -m venv scarlet2-environment
    scarlet2-environment/bin/pip install scarlet2==0.5.1 celestepy

Settings are those of scarlet2's quick start: every source begins as the Gaussian of its own moments, or as the most
compact source where there are none; fluxes are positive, with steps of 5 % of their norm; morphologies lie between 0
and 1, with steps of 0.1; up to 300 iterations, until no parameter changes by more than 1e-4. With a prior they are
those of its guide to neural priors: no bounds on morphologies, boxes that the prior's stamps hold, the score at one
temperature all along. Each new scene is compiled; the seconds of each are those with the compilation, and ``steps``
those of the iterations after the first alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

TRAINING = Path(__file__).resolve().parents[1] / "training"
# The quick start allows 1000 iterations. On eight scenes of seed 77, median flux errors in the four bins of blendedness
# are .05, .20, .34 and .82 after 300 and .06, .18, .39 and .82 after 1000, mean morphology correlations .948 and .934.
ITERATIONS, TOLERANCE = 300, 1e-4
HASTE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
FLUX_STEP, MORPHOLOGY_STEP = 0.05, 0.1
BOXES = (11, 15, 21, 25, 31)  # pixels, odd, of sources with a prior for stamps of 32


def take_apart(blends, interpreter, *, prior=None, temperature=None, iterations=ITERATIONS, optimised=True):
    """Let scarlet2 take blends apart, in a process of its own.

    Parameters
    ----------
    blends : dict of int to Blend
        By number.
    interpreter : str or path-like
        Python of an environment with scarlet2 and celestepy.
    prior : path-like, optional
        Weights of one of celestepy's score priors; scarlet2's own settings without one.
    temperature : float, optional
        Standard deviation of the noise of the prior's score.
    iterations : int, optional
        At most.
    optimised : bool, optional
        Whether JAX compiles for speed; without it, it compiles faster and iterates slower.

    Returns
    -------
    dict of int to dict
        ``images`` (K, B, h, w), ``seconds``, ``steps`` (seconds per iteration), ``iterations`` and ``message``, which
        is empty unless it failed; then the images are dark.
    """
    options = [] if prior is None else ["--prior", str(prior), "--temperature", str(temperature)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    if not optimised:
        environment["XLA_FLAGS"] = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), HASTE]))
    if (root / "celestepy").is_dir():  # a source tree whose extensions are built in place serves other environments too
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        scenes, models = Path(folder) / "scenes.npz", Path(folder) / "models.npz"
        np.savez(scenes, **_packed(blends))
        command = [str(interpreter), __file__, str(scenes), str(models), "--iterations", str(iterations), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{interpreter}: scarlet2 did not run:\n{done.stderr[-2000:]}")
        return _unpacked(models)


def _packed(blends):
    arrays = {}
    for number, blend in blends.items():
        seen = blend.observation
        own = {"images": seen.images, "weights": seen.weights, "psfs": np.array(seen.psfs), "peaks": blend.peaks}
        arrays |= {f"{name}_{number}": array for name, array in own.items()}
    return arrays


def _unpacked(path):
    with np.load(path, allow_pickle=False) as stored:
        numbers = sorted(int(name.split("_")[1]) for name in stored.files if name.startswith("images_"))
        names = ("seconds", "steps", "iterations", "message")
        return {
            number: {"images": stored[f"images_{number}"]} | {name: stored[f"{name}_{number}"].item() for name in names}
            for number in numbers
        }


def score_in_linear_pixels(path, temperature):
    """One of celestepy's priors as scarlet2 wants it: gradient of the log density of stamps with highest pixel 1.

    The density is that of u = asinh(S / s), at the maximum of which celestepy's solver aims as well; its gradient in S
    is that in u times du/dS.
    """
    import jax.numpy as jnp

    sys.path.insert(0, str(TRAINING))
    from jax_network import load_score
    from scarlet2.nn import ScorePrior

    from celestepy.nn import load_network_file

    trained, score = load_network_file(path), load_score(path)
    softening = trained.metadata["softening"]

    def of_pixels(stamps, t):
        return score(jnp.arcsinh(stamps / softening), t) / jnp.sqrt(stamps**2 + softening**2)

    shape = trained.constants["mean"].shape
    return ScorePrior(of_pixels, shape, t=temperature), trained.metadata["model_psf_sigma"]


def started(images, weights, psfs, peaks, prior, psf_sigma):
    """Observation and scene at its start."""
    import jax.numpy as jnp
    import scarlet2

    observation = scarlet2.Observation(images, weights, psf=jnp.asarray(psfs))
    model_psf = None if prior is None else scarlet2.GaussianPSF(psf_sigma)
    frame = scarlet2.Frame.from_observations(observation, model_psf=model_psf)
    observation.match(frame)
    with scarlet2.Scene(frame) as scene:
        for peak in jnp.asarray(peaks):
            boxes = None if prior is None else list(BOXES)
            try:
                spectrum, morphology = scarlet2.init.from_gaussian_moments(
                    observation, peak, min_corr=0.99, box_sizes=boxes
                )
            except ValueError:
                spectrum = scarlet2.init.pixel_spectrum(observation, peak)
                morphology = scarlet2.init.compact_morphology()
            scarlet2.Source(peak, jnp.maximum(spectrum, 1e-6 * jnp.max(jnp.abs(spectrum))), morphology)
    return observation, scene


def fitted(observation, scene, prior, iterations):
    """The fitted scene and the seconds at which iterations ended."""
    import scarlet2
    from numpyro.distributions import constraints

    step = partial(scarlet2.relative_step, factor=FLUX_STEP)
    kept = {"constraint": constraints.unit_interval} if prior is None else {"prior": prior}
    with scarlet2.Parameters(scene):
        for k, source in enumerate(scene.sources):
            scarlet2.Parameter(source.spectrum, name=f"spectrum:{k}", constraint=constraints.positive, stepsize=step)
            scarlet2.Parameter(source.morphology, name=f"morphology:{k}", stepsize=MORPHOLOGY_STEP, **kept)
    ends = []
    told = lambda scene, convergence, loss: ends.append(time.perf_counter())  # noqa: E731
    result = scene.fit(observation, max_iter=iterations, e_rel=TOLERANCE, progress_bar=False, callback=told)
    return result, ends


def take_one_apart(images, weights, psfs, peaks, prior, psf_sigma, iterations):
    """Images of the sources of one scene, and the time that it took."""
    began = time.perf_counter()
    observation, scene = started(images, weights, psfs, peaks, prior, psf_sigma)
    scene, ends = fitted(observation, scene, prior, iterations)
    seconds = ends[-1] - began
    found = [observation.render(scene.evaluate_source(source)) for source in scene.sources]
    steps = (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
    return {"images": np.array(found), "seconds": seconds, "steps": steps, "iterations": len(ends), "message": ""}


def main():
    """Take the scenes of a file apart."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("scenes", type=Path)
    options.add_argument("models", type=Path)
    options.add_argument("--prior", metavar="FILE", help="weights of one of celestepy's score priors")
    options.add_argument("--temperature", type=float, default=0.1)
    options.add_argument("--iterations", type=int, default=ITERATIONS)
    options = options.parse_args()
    import scarlet2

    scarlet2.set_validation(False)
    prior, sigma = (None, None) if options.prior is None else score_in_linear_pixels(options.prior, options.temperature)
    found = {}
    with np.load(options.scenes, allow_pickle=False) as stored:
        numbers = [name.removeprefix("images_") for name in stored.files if name.startswith("images_")]
        for number in numbers:
            given = [stored[f"{name}_{number}"] for name in ("images", "weights", "psfs", "peaks")]
            try:
                own = take_one_apart(*given, prior, sigma, options.iterations)
            except Exception as error:  # a scene that fails must not take the others with it
                own = {"images": np.zeros((len(given[-1]), *given[0].shape)), "seconds": np.nan, "steps": np.nan,
                       "iterations": 0, "message": repr(error)[:200]}
            found |= {f"{name}_{number}": value for name, value in own.items()}
    np.savez(options.models, **found)


if __name__ == "__main__":
    main()
