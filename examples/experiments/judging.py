"""Whether posteriors are right, where the truth is known: figures and tables of coverage, ranks and types."""

import numpy as np
from targets import Figure

from celestepy.catalog.differences import SHAPES
from celestepy.catalog.ranks import CENTRAL, central_coverage, coverage_of_draws, uniformity
from celestepy.catalog.reliability import auc, reliability
from celestepy.catalog.score import NOMINAL, SIGMAS

LEAST_P = 0.01  # of a test of uniformity, below which a posterior is called wrong
_REPETITIONS = 10_000  # of the types, for the probability of the reliability


def coverage_figures(ranks):
    """Shares of the truths in the central intervals of 1/2, 1, 2 and 3 sd; targets are two binomial errors wide."""
    figures = []
    for name, of_name in ranks.items():
        shares = zip(SIGMAS, CENTRAL, *central_coverage(of_name), strict=True)
        for k, nominal, share, error in shares:
            if np.isfinite(share):
                low, high = nominal - 2 * error, min(nominal + 2 * error, 1.0)
                figures.append(Figure(f"{name} within {k:g} sd", float(share), low, high, (nominal,), float(error)))
    return figures


def draws_of(catalog, name):
    """Effective draws of a quantity of each source: those of galaxies alone for a shape."""
    effective = np.asarray(catalog["effective_draws"], dtype=float)
    if name not in SHAPES:
        return effective
    return np.maximum(effective * (1 - np.asarray(catalog["star_probability"], dtype=float)), 1.0)


def print_intervals(ranks, catalog):
    """Coverage of central intervals, and that of exact posteriors of which there are as few draws."""
    heads = "".join(f"{sigma:>7g} " for sigma in SIGMAS)
    print("\nshare of truths in the central interval of k sd; * is over two binomial errors from nominal, + over three")
    print(f"{'':20s}{'n':>5s} {'found':^32s}    {'exact, with so few draws':^32s}\n{'':26s}{heads}    {heads}")
    met = []
    for name, of_name in ranks.items():
        known = np.isfinite(of_name)
        share, error = central_coverage(of_name)
        expected = coverage_of_draws(draws_of(catalog, name)[known])
        error_of_few = np.sqrt(expected * (1 - expected) / max(known.sum(), 1))
        met.append([np.abs(share - CENTRAL) <= 2 * error, np.abs(share - expected) <= 2 * error_of_few])
        cells = [_marked(share, CENTRAL, error), _marked(expected, expected, error)]
        print(f"{name:20s}{known.sum():5d} {cells[0]}    {cells[1]}".rstrip())
    print(f"{'nominal':26s}{_marked(np.array(CENTRAL), CENTRAL, 1.0)}".rstrip())
    number, total = np.sum(met, axis=(0, 2)), np.size(met) // 2
    print(f"of {total} shares {number[0]} are within two binomial errors of nominal, {number[1]} of those of so few "
          "draws; of exact posteriors, about 95 % would be")


def print_errors(errors, published):
    """Coverage of estimate and error, as in table 5."""
    heads = "".join(f"{sigma:>7g} " for sigma in SIGMAS)
    kinds = "".join(f"{kind:^35s}" for kind in ("found", "paper VI", "paper MCMC")).rstrip()
    print(f"\nshare of truths within k errors of the estimate\n{'':20s}{kinds}\n{'':20s}" + f"{heads}   " * 3)
    for name, of_name in errors.items():
        if of_name.coverage:
            cells = [of_name.coverage, *published.get(name, ())]
            print((f"{name:20s}" + "   ".join(_plain(cell) for cell in cells)).rstrip())
    print(f"{'nominal':20s}{_plain(NOMINAL)}".rstrip())


def _plain(shares):
    return "".join(f"{share:7.3f} " for share in shares)


def _marked(shares, nominal, errors):
    away = np.abs(shares - np.asarray(nominal)) / errors
    marks = np.where(away > 3, "+", np.where(away > 2, "*", " "))
    return "".join(f"{share:7.3f}{mark}" for share, mark in zip(shares, marks, strict=True))


def rank_figures(ranks):
    """Probability that ranks of an exact posterior would look less uniform, one for each quantity."""
    figures = []
    for name, of_name in ranks.items():
        known = of_name[np.isfinite(of_name)]
        if len(known):
            bias = (known.mean() - 0.5) * np.sqrt(12 * len(known))
            note = f"n {len(known)}, mean rank {known.mean():.3f} ({bias:+.1f} sd)"
            figures.append(Figure(f"{name}: p of uniform ranks", uniformity(known), low=LEAST_P, note=note))
    return figures


def type_figures(probability, is_star, others, target, rng):
    """How well stars are told from galaxies, and whether the probabilities mean what they say."""
    value, error = auc(probability, is_star), auc_error(probability, is_star)
    promised = f"the probabilities themselves promise {promised_auc(probability):.4f}"
    chance = reliability_chance(probability, is_star, rng)
    right = float(np.mean((probability > 0.5) == is_star))
    return [
        Figure("AUC", value, low=target, others=others, error=error, note=promised),
        Figure("types right", right, note=f"promised {np.maximum(probability, 1 - probability).mean():.4f}"),
        Figure("reliability: p of the bins", chance, low=LEAST_P),
    ]


def auc_error(probability, is_star):
    """Standard error of the area under the ROC curve (DeLong et al. 1988)."""
    star, galaxy = probability[is_star], probability[~is_star]
    if min(len(star), len(galaxy)) < 2:
        return float("nan")
    before = np.sign(star[:, None] - galaxy) / 2 + 0.5
    parts = [before.mean(axis=axis) for axis in (1, 0)]
    return float(np.sqrt(sum(np.var(part, ddof=1) / len(part) for part in parts)))


def promised_auc(probability):
    """Expected area under the ROC curve if the probabilities are right."""
    weight = probability[:, None] * (1 - probability)
    np.fill_diagonal(weight, 0.0)
    before = np.sign(probability[:, None] - probability) / 2 + 0.5
    return float(np.sum(weight * before) / weight.sum())


def reliability_chance(probability, is_star, rng):
    """Probability that types drawn by the probabilities stray further from them than the true types do."""
    n_bins = 10
    inside = np.minimum((probability * n_bins).astype(int), n_bins - 1) == np.arange(n_bins)[:, None]
    variance = np.maximum(inside @ (probability * (1 - probability)), 1e-9)

    def stray(types):
        return np.sum((inside @ (types - probability).T).T ** 2 / variance, axis=-1)

    drawn = rng.uniform(size=(_REPETITIONS, len(probability))) < probability
    return float(np.mean(stray(drawn) >= stray(np.asarray(is_star)[None])))


def print_reliability(probability, is_star):
    """The reliability diagram in numbers."""
    print(f"\n{'star_probability':18s}{'sources':>8s}{'predicted':>11s}{'true':>8s}{'error':>8s}")
    for row in reliability(probability, is_star):
        if row["n"]:
            expected = np.sqrt(max(row["probability"] * (1 - row["probability"]), 1e-9) / row["n"])
            mark = " *" if abs(row["fraction"] - row["probability"]) > 2 * expected else ""
            shares = f"{row['probability']:11.3f}{row['fraction']:8.3f}{expected:8.3f}{mark}"
            print(f"{row['low']:.1f} to {row['high']:.1f}{row['n']:16d}{shares}")
