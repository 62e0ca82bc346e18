"""Annealed importance sampling (Neal 2001, Statistics and Computing 11, 125; Regier et al. 2019, section 3.1).

Draws of a reference whose density p0 is normalised are led to the target p through the bridges
``p0^(1 - g) p^g``, temperature by temperature (equation 21 of Regier et al.), by transitions that leave each bridge
as it is (equation 22). The product of the ratios of neighbouring bridges, each at the state *before* the transition,
is an unbiased estimate of the target's normalising constant (equation 23), however badly the transitions mix.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.chains import AnnealedDraws
from celestepy.inference.mcmc.density import CheckedDensity, SamplingError, checked_count
from celestepy.inference.mcmc.elliptical import EllipticalSliceSampler
from celestepy.inference.mcmc.weights import log_mean_weight

__all__ = ["AnnealedImportanceSampler"]

# Half-width of the logistic function that is cut out for the schedule "sigmoid".
_SIGMOID_RADIUS = 4.0


def _sigmoid(t):
    low, high = np.tanh(-_SIGMOID_RADIUS / 2), np.tanh(_SIGMOID_RADIUS / 2)
    return (np.tanh(_SIGMOID_RADIUS * (t - 0.5)) - low) / (high - low)


_SCHEDULES = {"linear": lambda t: t, "power": lambda t: t**4, "sigmoid": _sigmoid}


@dataclass(frozen=True, eq=False)
class AnnealedImportanceSampler:
    """Settings of annealed importance sampling.

    Parameters
    ----------
    n_temperatures : int
        Number T of temperatures after that of the reference. Twenty do from a fitted distribution; the paper
        takes 200 from the prior.
    n_runs : int
        Number of independent runs, which are advanced together.
    schedule : {"linear", "power", "sigmoid"} or array_like
        Temperatures ``g(t / T)``: t itself, for a reference near the target; its fourth power, for a prior (Friel &
        Pettitt 2008); a logistic function, slow at both ends. Or the temperatures themselves, rising from 0 to 1,
        shape (T + 1,).
    transition : SliceSampler or EllipticalSliceSampler, optional
        Its ``sweep(density, x, values, rng)`` is the transition; its numbers of draws do not count. Without one, a
        jump and an ellipse of an `EllipticalSliceSampler` about the reference, two or three evaluations in all: more
        temperatures then do better than longer transitions. A reference without ``companions`` needs slices.

    Raises
    ------
    SamplingError
        If a setting is out of its range.
    """

    n_temperatures: int = 20
    n_runs: int = 25
    schedule: str | np.ndarray = "linear"
    transition: object = None

    def __post_init__(self):
        checked_count("n_temperatures", self.n_temperatures)
        checked_count("n_runs", self.n_runs)
        if isinstance(self.schedule, str):
            if self.schedule not in _SCHEDULES:
                raise SamplingError(f"schedule = {self.schedule!r}: expected one of {', '.join(_SCHEDULES)}")
        else:
            object.__setattr__(self, "schedule", _checked_temperatures(self.schedule, self.n_temperatures))

    @property
    def temperatures(self):
        """Exponents of the target, from 0 to 1, shape (T + 1,)."""
        if isinstance(self.schedule, str):
            return _SCHEDULES[self.schedule](np.linspace(0.0, 1.0, self.n_temperatures + 1))
        return self.schedule

    def sample(self, log_density, reference, rng):
        """Lead draws of the reference to the target.

        Parameters
        ----------
        log_density : callable
            The target: points, shape (n, D), to unnormalised log densities, shape (n,).
        reference : object
            A normalised distribution that covers the target, with ``draw(n, rng)``, shape (n, D), and
            ``log_density(x)``, shape (n,), such as `~celestepy.inference.importance.StudentMixture`. A distribution
            that is too narrow in places costs far more than one that is too wide.
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        AnnealedDraws
            End states with their weights. Where no draw of the reference lies in the target's support, every weight
            is zero and the log evidence -inf.

        Raises
        ------
        SamplingError
            If there is no transition and the reference has no companions, or the density is infinite.
        """
        target = CheckedDensity(log_density)
        transition = _ellipses(reference) if self.transition is None else self.transition
        draws = reference.draw(self.n_runs, rng)
        log_weights = np.full(self.n_runs, -np.inf)
        log_ratio = target(draws) - reference.log_density(draws)
        # A run outside the support has a weight of zero for good.
        alive = np.isfinite(log_ratio)
        if alive.any():
            draws[alive], log_weights[alive] = self._anneal(
                target, reference, transition, draws[alive], log_ratio[alive], rng
            )
        return AnnealedDraws(draws, log_weights, *log_mean_weight(log_weights), target.n_evaluations)

    def _anneal(self, target, reference, transition, x, log_ratio, rng):
        """End states and log weights of runs that begin at `x`, where the log of target over reference is given."""
        log_weights = np.zeros(len(x))
        temperatures = self.temperatures
        for colder, hotter in zip(temperatures[1:], temperatures[:-1]):
            log_weights += (colder - hotter) * log_ratio
            bridge = _Bridge(target, reference, colder)
            base = reference.log_density(x)
            x, values = transition.sweep(bridge, x, base + colder * log_ratio, rng)
            # The bridge's value holds the target's: there is no need to evaluate that again.
            log_ratio = (values - reference.log_density(x)) / colder
        return x, log_weights


@dataclass(frozen=True)
class _Bridge:
    """The geometric bridge between two densities, equation 21; -inf wherever either is."""

    target: CheckedDensity
    reference: object
    temperature: float

    def __call__(self, x):
        base, target = self.reference.log_density(x), self.target(x)
        inside = (base > -np.inf) & (target > -np.inf)
        bridge = np.full(len(x), -np.inf)
        bridge[inside] = base[inside] + self.temperature * (target[inside] - base[inside])
        return bridge


def _ellipses(reference):
    if not hasattr(reference, "companions"):
        raise SamplingError("transition is None and the reference has no companions: give a SliceSampler")
    return EllipticalSliceSampler(reference)


def _checked_temperatures(schedule, n_temperatures):
    temperatures = np.array(schedule, dtype=float)
    if temperatures.shape != (n_temperatures + 1,):
        raise SamplingError(
            f"schedule has shape {temperatures.shape}; expected ({n_temperatures + 1},), one more than n_temperatures"
        )
    if temperatures[0] != 0 or temperatures[-1] != 1 or not (np.diff(temperatures) > 0).all():
        raise SamplingError(f"schedule = {temperatures}: expected temperatures that rise from 0 to 1")
    return temperatures
