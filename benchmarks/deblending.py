"""Time of the deblenders: five sources in 60 x 60 pixels and five bands, 200 iterations of each method.

    python benchmarks/deblending.py [--repetitions 7] [--scarlet2-python PYTHON] [--quick] [--json FILE]

Times are the shortest of several repetitions, in seconds that one thread has the processor: those of the clock on an
idle machine. A fit is all that ``fit`` does, starts that a method makes for itself included, without ever stopping
early. The scene is drawn by celestepy's own galaxies, so that nothing else has to be installed.

--scarlet2-python names the interpreter of an environment with scarlet2 0.5.1 (see
examples/experiments/deblending_scarlet2.py), which then takes the same scene apart in the same run, with its own
settings and with the same prior: seconds of the clock for 200 of its iterations, and with the compilation.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy

import numpy as np
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.deblend import AsinhAdam, Blend, GalaxySource, Observation, Scene, StopRule, start_scene
from celestepy.deblend.galaxy_fit import fit_galaxies
from celestepy.deblend.grid import Grid
from celestepy.deblend.methods import frame_for, method_named
from celestepy.images.psf_mixture import PSFMixture

EXPERIMENTS = Path(__file__).resolve().parents[1] / "examples" / "experiments"
SIZE, PSF_SIZE, SCALE, BANDS, NOISE = 60, 41, 0.168, "grizy", 0.01
ITERATIONS = 200
WIDTHS = (2.0, 1.9, 1.55, 1.7, 1.6)  # pixels, standard deviation of the PSF's core in each band
# x, y, ln radius (arcsec), two of the shape, logit of the de Vaucouleurs part; and the flux
GALAXIES = (
    ((28.2, 31.4, -0.4, 0.4, 0.2, -2.0), 40.0),
    ((36.1, 34.3, -0.8, -0.3, 0.1, -3.0), 12.0),
    ((22.7, 24.9, -0.9, 0.1, -0.5, -1.0), 8.0),
    ((33.6, 20.2, -0.6, -0.2, -0.2, -2.0), 20.0),
    ((44.4, 41.8, -1.2, 0.0, 0.3, -2.0), 4.0),
)
TARGETS = {"score": 0.8, "proximal": 0.3}
SCORE_TARGET = 0.8  # milliseconds for one stamp


def drawn_blend(seed=1):
    """The scene, with noise."""
    grid = Grid.of_scale((SIZE, SIZE), SCALE)
    cores = [PSFMixture([0.8, 0.2], [[0, 0], [0, 0]], [[w**2, 0, w**2], [4 * w**2, 0, 4 * w**2]]) for w in WIDTHS]
    psfs = [psf.render((PSF_SIZE, PSF_SIZE), PSF_SIZE // 2, PSF_SIZE // 2) for psf in cores]
    empty = Observation.from_arrays(
        np.zeros((len(BANDS), SIZE, SIZE)), NOISE**-2, psfs=psfs, bands=tuple(BANDS), grid=grid
    )
    frame, rng = frame_for([empty]), np.random.default_rng(seed)
    jacobian = np.linalg.inv(grid.jacobian)
    galaxies = [
        GalaxySource(shape, frame.model_psf, jacobian, flux * rng.uniform(0.5, 1.5, len(BANDS)))
        for shape, flux in GALAXIES
    ]
    truth = Scene(frame, galaxies).render_sources()[0]
    images = truth.sum(axis=0) + NOISE * rng.normal(size=truth.shape[1:])
    return Blend(empty.replace_images(images), np.array([[g.y, g.x] for g in galaxies]), truth)


def shortest(function, repetitions):
    """Shortest of several calls, seconds of this thread."""
    times = []
    for _ in range(repetitions):
        began = time.thread_time()
        function()
        times.append(time.thread_time() - began)
    return min(times)


def start_for(method, blend):
    """A scene as the method gets it, and that no stamp is too small for."""
    frame = frame_for([blend.observation], method.prior)
    largest = {} if method.prior is None else {"largest_half": (min(method.prior.shape) - 1) // 2}
    return start_scene(frame, blend.peaks, **largest)


def fits(blend, repetitions):
    """Seconds of each method for all its iterations."""
    methods = {name: method_named(name) for name in ("score", "proximal", "splitting")}
    methods["asinh with a score"] = AsinhAdam(prior=methods["score"].prior)
    found = []
    for name, method in methods.items():
        endless = replace(method, stop=StopRule(ITERATIONS, tolerance=0.0, flux_tolerance=0.0))
        seconds = shortest(partial(endless.fit, start_for(method, blend)), repetitions)
        found.append(Figure(name, seconds, high=TARGETS.get(name)))
    return found


def parts(blend, repetitions):
    """What the method with a score spends its time on, milliseconds."""
    method = method_named("score")
    scene = start_for(method, blend)
    stamps = np.full((len(blend.peaks), *method.prior.shape), 0.5)
    score = partial(method.prior.score, stamps, method.sigma)
    return [
        Figure("galaxies fitted first", 1e3 * shortest(partial(fit_galaxies, scene), repetitions)),
        Figure("a score, for each stamp of five", 1e3 * shortest(score, repetitions) / len(stamps), high=SCORE_TARGET),
        Figure("scores taken in 200 iterations", -(-ITERATIONS // method.score_every)),
        Figure("reading the prior", 1e3 * shortest(partial(method_named, "score"), repetitions)),
        Figure("making the frame", 1e3 * shortest(partial(frame_for, [blend.observation]), repetitions)),
    ]


def peers(blend, interpreter):
    """Seconds of scarlet2, by its own clock."""
    sys.path.insert(0, str(EXPERIMENTS))
    from deblending_methods import TEMPERATURE
    from deblending_scarlet2 import take_apart

    from celestepy.deblend.learned.stamps import DATA
    from celestepy.deblend.methods import PRIORS

    found = []
    for name, own in {
        "scarlet2": {},
        "scarlet2, same prior": {"prior": DATA / f"{PRIORS['score']}.npz", "temperature": TEMPERATURE},
    }.items():
        result = take_apart({0: blend}, interpreter, iterations=ITERATIONS, **own)[0]
        note = result["message"] or f"{result['iterations']} iterations until it stopped"
        found.append(Figure(name, ITERATIONS * result["steps"], note=note))
        found.append(Figure(f"{name}, with compilation", result["seconds"]))
    return found


def main():
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7, help="of which the shortest counts")
    parser.add_argument("--scarlet2-python", metavar="PYTHON", help="interpreter of an environment with scarlet2")
    add_output_options(parser)
    options = parser.parse_args()
    repetitions = 1 if options.quick else options.repetitions
    blend = drawn_blend()
    tables = {
        "seconds of 200 iterations, one thread": fits(blend, repetitions),
        "milliseconds of parts": parts(blend, repetitions),
    }
    if options.scarlet2_python:
        tables["scarlet2, seconds of the clock"] = peers(blend, options.scarlet2_python)
    for title, figures in tables.items():
        print_figures(title, figures)
    print("\n" + verdict([figure for figures in tables.values() for figure in figures]))
    write_report({"options": vars(options), "tables": tables}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
