"""Samplers with the mistakes that people make, for tests that must catch them."""

import numpy as np
from reference.agreement import Sample

from celestepy.inference.importance import StudentMixture
from celestepy.inference.mcmc import AnnealedImportanceSampler, EllipticalSliceSampler, SliceSampler
from celestepy.inference.mcmc.weights import log_mean_weight


class HalfHeight(SliceSampler):
    """A wrong acceptance: heights are uniform below the root of the density, as after a factor 2 of chi^2."""

    def _level(self, values, rng):
        return values - 0.5 * rng.standard_exponential(len(values))


class NoAcceptance(SliceSampler):
    """The first point in the bracket is taken, whether it lies in the slice or not."""

    def _shrink(self, density, x, values, level, axis, left, right, rng):
        steps = left + (right - left) * rng.random(len(x))
        x = x + steps[:, None] * axis
        return x, density(x), steps


class GreedySteps(SliceSampler):
    """Steps are not shared out between the ends beforehand: either end may take all of them."""

    def _step_out(self, density, x, level, axis, rng):
        ends = [-rng.random(len(x))]
        ends.append(ends[0] + 1.0)
        for end, outward in zip(ends, (-1.0, 1.0)):
            for _ in range(self.max_steps - 1):
                end[density(x + end[:, None] * axis) > level] += outward
        return ends


class Stuck(SliceSampler):
    """Chains that stay where they are leave every density as it is."""

    def _shrink(self, density, x, values, level, axis, left, right, rng):
        return x, values, np.zeros(len(x))


class PriorTwice(EllipticalSliceSampler):
    """The height is compared with the target instead of its ratio to the reference: the prior counts twice."""

    def _move(self, density, x, values, rng):
        def squared(points):
            return density(points) + self.reference.log_density(points)

        x, squares = super()._move(squared, x, values + self.reference.log_density(x), rng)
        return x, squares - self.reference.log_density(x)


class JumpByTarget(EllipticalSliceSampler):
    """Jumps are accepted as if their proposal were symmetric."""

    def _jump(self, density, x, values, rng):
        points = self.reference.draw(len(x), rng)
        trial = density(points)
        accepted = trial - values > -rng.standard_exponential(len(x))
        return np.where(accepted[:, None], points, x), np.where(accepted, trial, values)


class WrongCentre(EllipticalSliceSampler):
    """The ellipse is drawn about another point than the centre of the Gaussian."""

    def __init__(self, reference, *args, **settings):
        super().__init__(Decentred(reference), *args, **settings)


class Decentred:
    """A reference whose companions miss their centre."""

    def __init__(self, reference):
        self.draw, self.log_density, self._companions = reference.draw, reference.log_density, reference.companions

    def companions(self, x, rng):
        centres, offsets, base = self._companions(x, rng)
        return centres + 0.5, offsets, base


class ScalesOfThePrior(StudentMixture):
    """Scales of the Gaussians are drawn as if the point were not known."""

    def companions(self, x, rng):
        centres, _, base = super().companions(x, rng)
        components = np.zeros(len(x), dtype=int)
        return centres, self._offsets(components, self.df[components], self.df[components], rng), base


class NoDeterminant(StudentMixture):
    """Densities without the determinant of the whitening."""

    def __init__(self, *args):
        super().__init__(*args)
        self._log_amplitudes = self._log_amplitudes + np.log(
            np.diagonal(self._factors, axis1=1, axis2=2)
        ).sum(axis=1)


class WeightAfterTransition(AnnealedImportanceSampler):
    """Each ratio is taken at the state that the transition to its own bridge has just drawn."""

    def _anneal(self, target, reference, transition, x, log_ratio, rng):
        log_weights = np.zeros(len(x))
        for colder, hotter in zip(self.temperatures[1:], self.temperatures[:-1]):

            def bridge(x, g=colder):
                base = reference.log_density(x)
                return base + g * (target(x) - base)

            x, values = transition.sweep(bridge, x, bridge(x), rng)
            log_weights += (colder - hotter) * (values - reference.log_density(x)) / colder
        return x, log_weights


def metropolis(log_density, x, sweeps, rng, *, with_jacobian):
    """Scale all parameters by a common log-normal factor; the Jacobian of that, ``factor^D``, may be forgotten."""
    values = log_density(x)
    for _ in range(sweeps):
        factor = np.exp(0.5 * rng.standard_normal((len(x), 1)))
        proposal = x * factor
        trial = log_density(proposal)
        jacobian = x.shape[1] * np.log(factor[:, 0]) if with_jacobian else 0.0
        accepted = np.log(rng.random(len(x))) < trial - values + jacobian
        x, values = np.where(accepted[:, None], proposal, x), np.where(accepted, trial, values)
    return Sample(x)


def funnel_in_its_own_units(target, x, sweeps, rng, *, with_jacobian):
    """Slices in ``z = x exp(-v / 2)``, in which the funnel is a Gaussian, if the Jacobian is not forgotten."""

    def scaled(x, sign):
        return np.hstack([x[:, :1], x[:, 1:] * np.exp(sign * x[:, :1] / 2)])

    def density(z):
        jacobian = (z.shape[1] - 1) * z[:, 0] / 2 if with_jacobian else 0.0
        return target.log_density(scaled(z, 1)) + jacobian

    chains = SliceSampler(sweeps, 0, widths=3.0).sample(density, scaled(x, -1), rng)
    return Sample(scaled(chains.draws[:, -1], 1))


def forgotten_proposal(log_density, proposal, n, rng):
    """Importance weights without the density of the proposal."""
    draws = proposal.draw(n, rng)
    log_weights = log_density(draws)
    return Sample(draws, log_weights, *log_mean_weight(log_weights))
