"""Whether extreme deconvolution finds the density that noisy rows come from, where it is known.

    python examples/experiments/density_recovery.py [--rows 50000] [--starts 2] [--method hybrid] [--quick]
                                                    [--catalogue FILE] [--json FILE]

1. Stars of one magnitude bin of the XDQSO model (Bovy et al. 2011, ApJ 729, 141; 20 Gaussians in the fluxes u, g, r, z
   relative to i) with noise of 0.02 to 0.2, larger in u and z. The score, the mean log density of noisy
   rows that were not fitted, is to come within .01 of that of the true density.
2. Five well separated Gaussians in four dimensions, noise of their own width, a fifth of all values missing: weights
   and means are to come out within their errors, which are those of the Fisher information of the rows.
3. NaN, and a projection on what is there, are to be the same to the last digits: in the density and after a fit.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from astropy.io import fits
from command import DATA, finish
from scipy.stats import chi2
from targets import Figure, add_output_options, print_figures

from celestepy.density import ExtremeDeconvolution, GaussianMixture
from celestepy.density.conditional import split_dimensions

MOST_GAP = 0.01  # nats
FAINT = 20.1  # i magnitude of the bin
NOISE = np.array([2.0, 1.0, 1.0, 1.5])  # of u, g, r, z, relative


def xdqso_stars(path, magnitude):
    """Mixture of the relative fluxes of stars of an i magnitude."""
    with fits.open(path) as hdus:
        for hdu in hdus[1:]:
            row = hdu.data[0]
            if row["IMIN"] <= magnitude < row["IMAX"]:
                covariances = row["XCOVAR"].reshape(-1, 4, 4).astype(float)
                names = ["u/i", "g/i", "r/i", "z/i"]
                return GaussianMixture(row["XAMP"], row["XMEAN"].reshape(-1, 4), covariances, names)
    raise SystemExit(f"{path}: has no bin of i = {magnitude}")


def noisy(truth, n, sizes, rng, missing=0.0):
    """Draws with correlated noise of random size, some values missing: rows, covariances, true values."""
    true_values = truth.sample(n, rng)
    deviations = np.exp(rng.uniform(*np.log(sizes), (n, 1))) * NOISE
    factors = np.linalg.cholesky(np.full((4, 4), 0.3) + 0.7 * np.eye(4))
    covariance = deviations[:, :, None] * (factors @ factors.T) * deviations[:, None, :]
    rows = true_values + deviations * (rng.standard_normal((n, 4)) @ factors.T)
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows, covariance, true_values


def best_fit(rows, covariance, n_components, options, **settings):
    """The best of some starts, by the score of the rows themselves."""
    models = [ExtremeDeconvolution(n_components, method=options.method, rng=start, n_jobs=options.n_jobs, **settings)
              .fit(rows, covariance) for start in range(1, options.starts + 1)]
    return max(models, key=lambda model: model.score(rows, covariance)).mixture_


def xdqso_figures(options, rng):
    """Held-out score of the deconvolved density of stars, and how far the true one is above it."""
    truth = xdqso_stars(options.catalogue, FAINT)
    rows, covariance, _ = noisy(truth, options.rows, (0.02, 0.2), rng)
    test, test_covariance, true_values = noisy(truth, 20_000, (0.02, 0.2), rng)
    found = best_fit(rows, covariance, len(truth), options)
    scores = [mixture.log_density(test, test_covariance) for mixture in (truth, found)]
    gap = scores[0] - scores[1]
    plain = GaussianMixture([1.0], [np.mean(rows, axis=0)], [np.cov(rows.T) - covariance.mean(axis=0)])
    single = plain.log_density(test, test_covariance)
    noiseless = [mixture.log_density(true_values).mean() for mixture in (truth, found)]
    note = f"score {scores[1].mean():.4f}; of one Gaussian {single.mean():.4f}"
    return [
        Figure("truth - score of noisy rows", float(gap.mean()), None, MOST_GAP,
               error=float(gap.std() / len(gap) ** 0.5), note=note),
        Figure("truth - score without noise", float(noiseless[0] - noiseless[1]),
               note="components are narrower than the noise, so that nothing is promised of this"),
    ]


def separated(rng):
    """Five Gaussians far from each other."""
    factors = 0.5 * rng.standard_normal((5, 4, 4)) + np.eye(4)
    means = 12 * np.array([[0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0], [-1, 1, -1, 1], [1, -1, 1, -1]], float)
    return GaussianMixture([0.3, 0.25, 0.2, 0.15, 0.1], means, factors @ factors.transpose(0, 2, 1))


def mean_errors(truth, rows, covariance, j):
    """Covariance of the estimated mean of a component: the inverse of the information of its rows."""
    share = truth.responsibilities(rows, covariance)[:, j]
    information = np.zeros((4, 4))
    for row, noise, weight in zip(rows, covariance, share, strict=True):
        seen = np.flatnonzero(np.isfinite(row))
        if weight > 1e-6 and len(seen):
            total = (truth.covariances[j] + noise)[np.ix_(seen, seen)]
            information[np.ix_(seen, seen)] += weight * np.linalg.inv(total)
    return np.linalg.inv(information)


def separated_figures(options, rng):
    """Squared deviations of weights and means, in units of their errors, and the probability of larger ones."""
    truth = separated(rng)
    rows, covariance, _ = noisy(truth, options.rows // 5, (0.5, 2.0), rng, missing=0.2)
    found = best_fit(rows, covariance, 5, options)
    distance = np.linalg.norm(truth.means[:, None] - found.means, axis=2)
    order = distance.argmin(axis=1)
    offsets = found.means[order] - truth.means
    deviation = sum(offset @ np.linalg.solve(mean_errors(truth, rows, covariance, j), offset)
                    for j, offset in enumerate(offsets))
    expected = truth.responsibilities(rows, covariance).mean(axis=0)  # shares of the rows as they were drawn
    weights = np.sum((found.weights[order] - expected) ** 2 * len(rows) / (expected * (1 - expected)))
    chance = float(chi2.sf(deviation, offsets.size))
    return [
        Figure("components found", float(len(set(order))), 5, 5),
        Figure("chi2 of the means", float(deviation), note=f"of {offsets.size} numbers"),
        Figure("probability of a larger chi2", chance, 0.001),
        Figure("chi2 of the weights", float(weights), None, float(chi2.isf(0.001, 4)),
               note="about the shares in this very sample, so that it is small"),
    ]


def missing_figures(options, rng):
    """Largest difference between NaN and a projection, in the density and after a fit of few passes."""
    truth = separated(rng)
    rows, covariance, _ = noisy(truth, min(options.rows, 4000), (0.5, 2.0), rng)
    rows[:, 2] = np.where(rng.random(len(rows)) < 0.5, np.nan, rows[:, 2])
    without = np.isnan(rows[:, 2])
    kept, others = split_dimensions(truth, [0, 1, 3])
    # The projected rows have one column more, which projects on nothing and is all noise where there was a gap
    projection = np.repeat(np.eye(4)[None], len(rows), axis=0)
    filled, plain = np.where(np.isnan(rows), 0.0, rows), covariance.copy()
    projection[without, 2] = 0.0
    plain[without, 2] = plain[without, :, 2] = 0.0
    plain[without, 2, 2] = 1 / (2 * np.pi)  # of density one at its centre
    densities = truth.log_density(rows, covariance), truth.log_density(filled, plain, projection)
    three = np.broadcast_to(np.eye(4)[kept], (without.sum(), 3, 4))
    dropped = truth.log_density(rows[without][:, kept], covariance[without][:, kept][:, :, kept], three)
    settings = {"method": "em", "max_iter": 10, "tol": 0.0, "regularization": 0.0, "init": truth}
    fitted = [ExtremeDeconvolution(5, **settings).fit(*each).mixture_
              for each in ((rows, covariance), (filled, plain, projection))]
    pairs = {
        "density: rows of R that are zero": densities,
        "density: rows of R left out": (densities[0][without], dropped),
        "means after 10 passes": [mixture.means for mixture in fitted],
        "covariances after 10 passes": [mixture.covariances for mixture in fitted],
    }
    return [Figure(f"{name} [1e-12]", 1e12 * float(np.abs(one - other).max()), None, 100 if "density" in name else 1000)
            for name, (one, other) in pairs.items()]


def main():
    """Run the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=int, default=50_000)
    add("--starts", type=int, default=2)
    add("--method", choices=("em", "minibatch", "sgd", "hybrid"), default="hybrid")
    add("--catalogue", type=Path, default=DATA / "catalogs" / "xdqso_relflux_fits_star.fits")
    add("--seed", type=int, default=1)
    add("--n-jobs", type=int, default=1, help="threads")
    add_output_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.starts = 5000, 1
    rng = np.random.default_rng(options.seed)
    figures = {"separated": separated_figures(options, rng), "missing": missing_figures(options, rng)}
    if options.catalogue.exists():
        figures["xdqso"] = xdqso_figures(options, rng)
    else:
        print(f"{options.catalogue} is not there: without the stars of XDQSO")
    for name, of_name in figures.items():
        print_figures(f"=== {name}", of_name)
    finish({"figures": figures}, options, figures)


if __name__ == "__main__":
    main()
