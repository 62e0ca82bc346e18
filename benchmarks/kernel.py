"""Time and accuracy of the pixel kernel, beside GalSim's drawing of the same sources.

    python benchmarks/kernel.py [--json FILE] [--seconds 1.0]

Each figure is the shortest of many repetitions, in microseconds for one source in five 52 x 52 patches with a
PSF of three Gaussians, on one thread: the log likelihood of a draw among many in one call, that of a single
one, with its gradient, and with gradient and exact Hessian.
GalSim (optional) draws the same source into five such images, to compare with the value.
"""

import argparse
import json
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import celestepy
from celestepy.inference.posterior import GroupPosterior
from celestepy.model.parameters import GALAXY, KINDS, Bands
from celestepy.model.pixel_rate import SceneLikelihood, available_kernels, kernel_name
from celestepy.model.priors import Prior

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference.scenes import PSF, galaxy_shape, make_scene

SIZE = 52
N_DRAWS = 200
N_BANDS = 5
RADIUS, AXIS_RATIO, ANGLE, DEV_FRACTION = 1.4, 0.7, 0.6, 0.35
PIXELS_PER_ARCSEC = 2.5
# microseconds with gradient and Hessian: star, galaxy
TARGETS = {"avx512": (100, 700), "avx2": (160, 1300)}


def shortest(function, seconds):
    """Shortest time of one call in microseconds, over repetitions for about the given time.

    Calls are timed one by one, so that on a busy machine some are not interrupted.
    """
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return 1e6 * best


def one_source(kind, size=SIZE):
    return make_scene(
        kind,
        shapes=((size, size),) * N_BANDS,
        n_bands=N_BANDS,
        seed=1,
        shape=galaxy_shape(RADIUS, AXIS_RATIO, ANGLE),
        dev_fraction=DEV_FRACTION,
        jacobian=np.diag([PIXELS_PER_ARCSEC, PIXELS_PER_ARCSEC]),
    )


def kernel_times(seconds):
    """Rows of variant, type, time of a draw among many, and the three times of a single scene."""
    rows = []
    for name in available_kernels():
        for kind, label in (("s", "star"), ("g", "galaxy")):
            scene = one_source(kind)
            likelihood = scene.likelihood(name)
            arguments = scene.is_galaxy, scene.scene, scene.sky
            times = [
                shortest(partial(likelihood.evaluate, *arguments, order), seconds / 3) for order in (0, 1, 2)
            ]
            target = TARGETS[name][label == "galaxy"] if name in TARGETS else None
            row = {"kernel": name, "source": label, "per draw": time_per_draw(scene, likelihood, seconds / 3)}
            rows.append(row | {"times": times, "target": target})
    return rows


def time_per_draw(scene, likelihood, seconds):
    """Microseconds of each of N_DRAWS scenes in one call."""
    scenes, sky = (np.repeat(array[None], N_DRAWS, axis=0) for array in (scene.scene, scene.sky))
    return shortest(partial(likelihood.values, scene.is_galaxy, scenes, sky), seconds) / N_DRAWS


def posterior_overhead(kind, seconds):
    """Microseconds per draw of the log posterior besides the pixels: prior, transform, walls, checks."""
    bands = Bands("ugriz")
    scene = make_scene("g" if kind == GALAXY else "s", shapes=((1, 1),) * N_BANDS, n_bands=N_BANDS)
    likelihood = scene.likelihood()
    posterior = GroupPosterior(likelihood, Prior.default(bands), bands, [0.3], np.full(N_BANDS, 0.02))
    theta = posterior.prior.sample_theta(kind, N_DRAWS, np.random.default_rng(1))
    x = np.concatenate([theta, np.zeros((N_DRAWS, N_BANDS))], axis=1)
    whole = shortest(partial(posterior.values, (kind,), x), seconds) / N_DRAWS
    return whole - time_per_draw(scene, likelihood, seconds)


def overheads(seconds):
    """Microseconds of a call for a single pixel, and of the construction for five patches."""
    tiny = make_scene("s", shapes=((1, 1),))
    likelihood = tiny.likelihood()
    scene = one_source("g")
    arguments = scene.arguments()
    return {
        "posterior": {kind: posterior_overhead(kind, seconds / 3) for kind in KINDS},
        "call": shortest(lambda: likelihood.evaluate(tiny.is_galaxy, tiny.scene, tiny.sky), seconds / 3),
        "construction": shortest(lambda: SceneLikelihood(**arguments, n_bands=N_BANDS), seconds / 3),
    }


def accuracy(name):
    """Largest errors of profiles, value, gradient and Hessian against the NumPy reference."""
    errors = {"profile": 0.0, "value": 0.0, "gradient": 0.0, "hessian": 0.0}
    for kind in ("s", "g"):
        scene = one_source(kind, size=32)
        likelihood, reference = scene.likelihood(name), scene.reference()
        ours = likelihood.profiles(scene.is_galaxy, scene.scene)
        theirs = reference.profiles(scene.is_galaxy, scene.scene)
        expected = reference.value(scene.is_galaxy, scene.scene, scene.sky)
        value = likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky, order=0)[0]
        found = {
            "profile": max(np.abs(a - b).max() / b.max() for a, b in zip(ours, theirs, strict=True)),
            "value": abs(value / expected - 1),
            **derivative_errors(scene, likelihood, reference),
        }
        errors = {key: max(error, float(found[key])) for key, error in errors.items()}
    return errors


def derivative_errors(scene, likelihood, reference):
    """Errors of gradient and Hessian along a direction in which all parameters change."""
    _, gradient, hessian = likelihood.evaluate(scene.is_galaxy, scene.scene, scene.sky)
    unit = np.minimum(1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-12)), scene.steps)
    move = np.random.default_rng(2).normal(size=unit.size) * unit / np.sqrt(unit.size)
    f = [reference.value(*scene.split(scene.vector + 0.1 * i * move)) for i in range(-2, 3)]
    first = (8 * (f[3] - f[1]) - (f[4] - f[0])) / 1.2
    second = (16 * (f[3] + f[1]) - (f[4] + f[0]) - 30 * f[2]) / 0.12
    slope, curvature = np.abs(gradient * move).sum(), np.abs(move) @ np.abs(hessian) @ np.abs(move)
    return {
        "gradient": abs(gradient @ move - first) / slope,
        "hessian": abs(move @ hessian @ move - second) / curvature,
    }


def galsim_times(seconds):
    """Microseconds in which GalSim draws five images of each source, or None without it."""
    try:
        import galsim
    except ImportError:
        return None
    parts = []
    for amplitude, x, y, xx, xy, yy in PSF:
        gaussian = galsim.Gaussian(sigma=(xx * yy - xy**2) ** 0.25, flux=amplitude)
        parts.append(gaussian.shear(e1=(xx - yy) / (xx + yy), e2=2 * xy / (xx + yy)).shift(x, y))
    psf = galsim.Sum(parts)
    radius = RADIUS * np.sqrt(AXIS_RATIO) * PIXELS_PER_ARCSEC

    def draw(index):
        for band in range(N_BANDS):
            profile = psf
            if index is not None:
                galaxy = galsim.Sersic(n=index, half_light_radius=radius)
                profile = galsim.Convolve(galaxy.shear(q=AXIS_RATIO, beta=ANGLE * galsim.radians), psf)
            image = galsim.ImageD(SIZE, SIZE, scale=1.0)
            profile.drawImage(image, method="no_pixel", offset=(0.1 * band, 0.05 * band))

    return {
        label: shortest(partial(draw, index), seconds)
        for label, index in (("star", None), ("exponential", 1), ("de Vaucouleurs", 4))
    } | {"version": galsim.__version__}


def machine():
    """What the figures belong to."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "celestepy": celestepy.__version__,
        "kernel in use": kernel_name,
    }


def print_report(report):
    for key, value in report["machine"].items():
        print(f"{key}: {value}")
    print(
        f"\nmicroseconds for one source in {N_BANDS} patches of {SIZE} x {SIZE}, PSF of {len(PSF)} Gaussians"
    )
    columns = f"{'per draw':>10s}{'value':>10s}{'+ gradient':>12s}{'+ Hessian':>12s}{'target':>10s}"
    print(f"{'kernel':10s}{'source':16s}{columns}")
    for row in report["times"]:
        value, gradient, hessian = row["times"]
        target = f"{row['target']:10d}" if row["target"] else ""
        times = f"{row['per draw']:10.1f}{value:10.0f}{gradient:12.0f}{hessian:12.0f}"
        print(f"{row['kernel']:10s}{row['source']:16s}{times}{target}")
    for label, duration in (report["galsim"] or {}).items():
        if label != "version":
            print(f"{'GalSim':10s}{label:16s}{'':10s}{duration:10.0f}   (drawing alone)")
    if not report["galsim"]:
        print("GalSim is not installed: its rows are left out")
    print("\nmicroseconds besides the pixels")
    print(f"a call for a single pixel, with gradient and Hessian: {report['overheads']['call']:.1f}")
    print(f"construction of the likelihood of five patches: {report['overheads']['construction']:.0f}")
    for kind, duration in report["overheads"]["posterior"].items():
        print(f"log posterior per draw of a {kind}, besides the pixels: {duration:.1f}")
    print("\nlargest relative errors against the NumPy reference (derivatives: its central differences)")
    print(f"{'kernel':10s}{'profile':>10s}{'value':>10s}{'gradient':>10s}{'Hessian':>10s}")
    for name, errors in report["accuracy"].items():
        print(f"{name:10s}" + "".join(f"{error:10.0e}" for error in errors.values()))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each row of the table")
    options = parser.parse_args()
    report = {
        "machine": machine(),
        "times": kernel_times(options.seconds),
        "galsim": galsim_times(options.seconds),
        "overheads": overheads(options.seconds),
        "accuracy": {name: accuracy(name) for name in available_kernels()},
    }
    print_report(report)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
