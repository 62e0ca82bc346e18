"""Methods that the deblending experiments compare, the ways to disturb them, and runs of them block by block."""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import vstack
from deblending_scarlet2 import take_apart

from celestepy.deblend import AdaProx, AsinhAdam, ForwardBackward, Monotonic, NonNegative, Symmetric, compare_deblenders
from celestepy.deblend.learned import ScorePrior, trained_priors
from celestepy.deblend.learned.stamps import DATA
from celestepy.deblend.methods import PRIORS, method_named
from celestepy.deblend.seds import normal_equations, solve_fluxes

SWEEP = (Monotonic("sweep"), NonNegative())
WRONG_PRIOR = "score-ztf-32"
# Standard deviation of the noise at which scarlet2 takes the score: the best of .03, .1 and .3 on six scenes of seed 77
TEMPERATURE = 0.03
BLOCK = 20  # blends, after which scores are written


def known_morphologies(blend):
    """Images of the sources with their true morphologies in each band, and fluxes solved for."""
    shapes = blend.truth / blend.truth.sum(axis=(2, 3), keepdims=True)
    n_bands = shapes.shape[1]
    columns = np.ascontiguousarray(np.swapaxes(shapes, 0, 1)).reshape(n_bands, len(shapes), -1)
    problem = normal_equations([columns], [blend.observation], [np.arange(n_bands)], n_bands)
    return shapes * solve_fluxes(*problem).seds[:, :, None, None]


METHODS = {
    "known": known_morphologies,
    "adaprox": AdaProx(),
    "adaprox-solved": AdaProx(constraints=(Symmetric(0.5), *SWEEP), solve_fluxes=True),
    "splitting": ForwardBackward(),
    "asinh": AsinhAdam(constraints=SWEEP),
    "score": method_named("score"),
}


class Disturbed:
    """A method whose start has its fluxes changed first.

    Parameters
    ----------
    method : Solver
        The method.
    factor : float, optional
        What fluxes are multiplied by; None makes all fluxes of a blend the same.
    """

    def __init__(self, method, factor=None):
        self.method, self.factor = method, factor

    @property
    def prior(self):
        """That of the method."""
        return self.method.prior

    def fit(self, scene):
        """Fit from the changed start."""
        seds = scene.seds
        seds = np.full_like(seds, seds.mean()) if self.factor is None else self.factor * seds
        return self.method.fit(scene.replace([s.replace(sed=sed) for s, sed in zip(scene.sources, seds, strict=True)]))


FLUX_STARTS = {"fluxes x 20": 20.0, "fluxes / 20": 0.05, "flat fluxes": None}
GAUSSIAN = "Gaussian morphologies"
STARTS = (*FLUX_STARTS, GAUSSIAN)


@dataclass(frozen=True)
class Run:
    """One method on blends.

    Attributes
    ----------
    name : str
        In tables and files.
    method : Solver or callable
        See `compare_deblenders`.
    start : str
        Morphologies that it begins with.
    """

    name: str
    method: object
    start: str = "detection"

    @property
    def settings(self):
        """All that its scores depend on, as text."""
        method = getattr(self.method, "method", self.method)
        text = f"{method!r}, {self.start}" if hasattr(method, "fit") else self.name
        prior = getattr(method, "prior", None)
        if prior is None:
            return text
        about = json.dumps(getattr(prior, "metadata", repr(prior)), sort_keys=True, default=str)
        return f"{text}, prior {hashlib.sha256(about.encode()).hexdigest()[:12]}"

    def scores(self, blends):
        """Rows of `compare_deblenders` for numbered blends."""
        table = compare_deblenders(blends.values(), {self.name: self.method}, start=self.start)
        table["blend"] = np.array(list(blends))[table["blend"]]
        return table


@dataclass(frozen=True)
class PeerRun:
    """scarlet2 in its own process, with its own settings or with celestepy's prior."""

    name: str
    interpreter: str
    prior: str = None

    @property
    def settings(self):
        """As `Run.settings`."""
        if self.prior is None:
            return "scarlet2 0.5.1, its own settings"
        weights = hashlib.sha256((DATA / f"{self.prior}.npz").read_bytes()).hexdigest()[:12]
        return f"scarlet2 0.5.1, {self.prior} {weights} at {TEMPERATURE:g}"

    def scores(self, blends):
        """As `Run.scores`; the seconds are scarlet2's, with the compilation."""
        path = None if self.prior is None else DATA / f"{self.prior}.npz"
        found = take_apart(blends, self.interpreter, prior=path, temperature=TEMPERATURE, optimised=False)
        tables = []
        for number, blend in blends.items():
            table = compare_deblenders([blend], {self.name: lambda _, own=found[number]: _images(own)})
            table["blend"], table["seconds"] = number, found[number]["seconds"]
            tables.append(table)
        return vstack(tables, metadata_conflicts="silent")


def _images(found):
    if found["message"]:
        raise RuntimeError(found["message"])
    return found["images"]


def runs_of(name):
    """A method from its regular start and from disturbed ones, and with the wrong prior if it has one."""
    method = METHODS[name]
    runs = [Run(f"{name}, {start}", Disturbed(method, factor)) for start, factor in FLUX_STARTS.items()]
    runs.append(Run(f"{name}, {GAUSSIAN}", method, "gaussian"))
    if getattr(method, "prior", None) is not None and WRONG_PRIOR in trained_priors():
        runs.append(Run(f"{name}, wrong prior", replace(method, prior=misplaced(WRONG_PRIOR, method.prior))))
    return runs


def misplaced(name, prior):
    """A prior that is told to be of another's pixels: galaxies of another survey, as if they were of this one."""
    wrong = ScorePrior.load(name)
    wrong.pixel_scale, wrong.model_psf_sigma = prior.pixel_scale, prior.model_psf_sigma
    return wrong


def peers(interpreter):
    """Runs of scarlet2."""
    return [PeerRun("scarlet2", interpreter), PeerRun("scarlet2-score", interpreter, PRIORS["score"])]


def complete(records, run, numbers, make):
    """Let a run do those of the numbered blends that it has not done yet."""
    missing = records.missing(run.name, run.settings, numbers)
    if missing:
        records.add(run.name, run.settings, run.scores({number: make(number) for number in missing}))
        print(f"{run.name}: blends {missing[0]} to {missing[-1]} done", flush=True)
