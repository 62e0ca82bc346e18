"""Log Bayes factors of stars and galaxies: the calibrated mode against annealed importance sampling with more work.

    python benchmarks/evidence.py [--sources 40] [--json FILE] [--quick]

Isolated sources drawn from the default prior in five bands of SDSS depth and seeing, half of them of S/N under 15.
Annealed importance sampling is bridged from the same fits; it shares no draws with the calibrated mode, and its error
is that of 100 independent runs.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.inference import LaplaceFit
from celestepy.inference.group_sampling import SamplingSettings, sample_group
from celestepy.inference.mcmc import AnnealedImportanceSampler
from celestepy.inference.proposals import group_proposal
from celestepy.inference.seed_table import read_seeds
from celestepy.inference.sweeps import Sweeps
from celestepy.model.parameters import GALAXY, STAR
from celestepy.simulate import PIXEL_SCALE, simulate_field

FAINT = 15.0  # S/N
ISOLATED = 25.0  # arcsec
# Farther apart than this (nats), no error matters to the type.
DECIDED = 30.0


def posteriors(n_sources, seed):
    """Log posteriors, fits and S/N of isolated sources, half of them faint."""
    side = round(np.sqrt(4 * n_sources) * 2 * ISOLATED / PIXEL_SCALE * 0.75)
    options = {"rng": seed, "min_separation": ISOLATED}
    field = simulate_field(4 * n_sources, "ugriz", (side, side), **options)
    prior = field.prior.for_bands("ugriz", "r")
    settings = LaplaceFit(drop_doubtful=False, search=False)
    sweeps = Sweeps(settings, field.images, read_seeds(field.truth).with_fluxes(field.images), prior)
    sweeps.first()
    snr = np.asarray(field.truth["snr"])
    chosen = [k for half in (snr < FAINT, snr >= FAINT) for k in np.flatnonzero(half)[: n_sources // 2].tolist()]
    for k in chosen:
        fit = sweeps.fitter.full((k,), sweeps._neighbours([k]), sweeps.contributions, sweeps.vectors)
        yield snr[k], sweeps.fitter.posterior(fit.data), fit.types


def bayes_factor(evidences):
    return evidences[STAR][0] - evidences[GALAXY][0], np.hypot(evidences[STAR][1], evidences[GALAXY][1])


def annealed(posterior, types, rng):
    """Evidence and error of each type by annealing, and the evaluations that took."""
    sampler, found, work = AnnealedImportanceSampler(n_temperatures=40, n_runs=100), {}, 0
    for fit in types.hypotheses:
        reference = group_proposal(fit, posterior.blocks(fit.kinds)[0], reach=posterior.reach(fit.kinds))
        drawn = sampler.sample(lambda x, kinds=fit.kinds: posterior.values(kinds, x), reference, rng)
        found[fit.kinds[0]] = drawn.log_evidence, drawn.log_evidence_err
        work += drawn.n_evaluations
    return found, work


def calibrated(posterior, types, rng):
    """The same of the calibrated mode."""
    drawn = sample_group(posterior, types, SamplingSettings(), rng)
    found = {
        fit.kinds[0]: (own.log_evidence, own.log_evidence_err)
        for fit, own in zip(types.hypotheses, drawn.hypotheses, strict=True)
    }
    return found, sum(own.n_evaluations for own in drawn.hypotheses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    add_output_options(parser)
    options = parser.parse_args()
    rng, rows = np.random.default_rng(options.seed), []
    for snr, posterior, types in posteriors(6 if options.quick else options.sources, options.seed):
        (ours, work), (theirs, more) = (method(posterior, types, rng) for method in (calibrated, annealed))
        fast = {fit.kinds[0]: (fit.log_evidence, 0.0) for fit in types.hypotheses}
        factor, error = bayes_factor(ours)
        reference, reference_error = bayes_factor(theirs)
        rows.append((snr, factor, error, reference, reference_error, bayes_factor(fast)[0], work, more))
        print(f"S/N {snr:6.1f}: {factor:9.2f} +- {error:.2f}, annealed {reference:9.2f} +- {reference_error:.2f}")
    snr, factor, error, reference, reference_error, fast, work, more = np.array(rows).T
    near = np.abs(reference) < DECIDED
    figures = []
    for label, own in (("all", near), (f"S/N under {FAINT:g}", near & (snr < FAINT))):
        difference = (factor - reference)[own]
        figures += [
            Figure(f"{label}: rms difference", rms(difference), high=0.1, note=f"{own.sum()} sources"),
            Figure(f"{label}: rms over the stated errors", rms(difference / np.hypot(error, reference_error)[own])),
            Figure(f"{label}: rms stated error of annealing", rms(reference_error[own])),
            Figure(f"{label}: rms difference of the fast mode", rms((fast - reference)[own])),
        ]
    figures.append(Figure("evaluations of annealing over those of the calibrated mode", float(np.mean(more / work))))
    print_figures(f"log Bayes factors within {DECIDED:g} nats of zero", figures)
    print(verdict(figures))
    write_report({"options": vars(options), "figures": figures}, options.json)


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
