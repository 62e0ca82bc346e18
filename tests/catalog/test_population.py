"""Populations whose truth is known: integrating the posterior is calibrated where counting estimates is not."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import QTable
from scipy.stats import kstest, multivariate_normal, norm

from celestepy.catalog import Catalog, Posterior
from celestepy.catalog.population import (
    PopulationHistogram,
    _fit_log_ratio,
    _smooth_kernel,
    infer_population,
    population_histogram,
    sample_expression,
)
from celestepy.model.parameters import GALAXY, STAR

MAG = 2.5 / np.log(10)
SIZE = {STAR: 4, GALAXY: 8}
# log flux and colour of each type: Gaussians, so that the posterior of a noisy measurement is known exactly
LAWS = {
    STAR: (np.array([1.0, 0.7]), np.diag([0.8, 0.3]) ** 2),
    GALAXY: (np.array([0.0, 0.2]), np.diag([0.5, 0.3]) ** 2),
}
BINS = np.arange(18.5, 25.6, 0.5)


def draw_types(rng, n, share=0.4, laws=LAWS):
    """True types and vectors (log flux, colour)."""
    star = rng.random(n) < share
    true = np.where(star[:, None], *(rng.multivariate_normal(*laws[kind], n) for kind in (STAR, GALAXY)))
    return star, true


def observe(rng, n, share=0.4, laws=LAWS, believed=LAWS, believed_share=0.4):
    """A catalogue with the exact posterior of noisy log fluxes and colours under the believed population."""
    star, true = draw_types(rng, n, share, laws)
    sd = rng.uniform(0.2, 0.8, n)[:, None] * np.array([1.0, 0.5])
    noise = sd[:, :, None] ** 2 * np.eye(2)
    seen = true + sd * rng.standard_normal((n, 2))
    sources = [[] for _ in range(n)]
    for kind, prior in ((STAR, believed_share), (GALAXY, 1 - believed_share)):
        mean, spread = believed[kind]
        gain = spread @ np.linalg.inv(spread + noise)
        at = mean + np.einsum("nij,nj->ni", gain, seen - mean)
        covariance = spread - gain @ spread
        for i in range(n):
            evidence = multivariate_normal.logpdf(seen[i], mean, spread + noise[i])
            vector, matrix = np.zeros(SIZE[kind]), 1e-4 * np.eye(SIZE[kind])
            vector[2:4], matrix[2:4, 2:4] = at[i], covariance[i]
            sources[i].append((evidence + np.log(prior), kind, vector, matrix))
    angle = np.linspace(0, 1, n)
    catalog = Catalog.from_posterior(Posterior.stack(sources, 2), ra=angle, dec=angle, bands="gr")
    mag, seen_mag = 22.5 - MAG * true[:, 0], 22.5 - MAG * seen[:, 0]
    return SimpleNamespace(catalog=catalog, star=star, mag=mag, seen_mag=seen_mag, color=MAG * true[:, 1])


def interim(rng, n, share=0.4, laws=LAWS):
    """Sources drawn from the believed population, as `Prior.sample` gives them."""
    star, true = draw_types(rng, n, share, laws)
    return QTable({"is_star": star, "mag_r": 22.5 - MAG * true[:, 0], "color_gr": MAG * true[:, 1]})


def truth(made, kind=None):
    chosen = slice(None) if kind is None else made.star == (kind == STAR)
    return np.histogram(made.mag[chosen], BINS)[0]


def expected_shares(kind, laws=LAWS, share=0.4):
    """Share of a population of both types in each bin, for one of them."""
    mean, spread = laws[kind]
    edges = (22.5 - BINS) / MAG
    part = -np.diff(norm.cdf(edges, mean[0], np.sqrt(spread[0, 0])))
    return part * (share if kind == STAR else 1 - share)


def test_counts_of_known_sources_are_those_of_the_sources():
    draws = np.random.default_rng(1)
    made = observe(draws, 300)
    exact = Posterior(*(getattr(made.catalog.posterior, name) for name in ("star_probability", "weight", "is_galaxy")),
                      made.catalog.posterior.mean, 1e-16 * np.nan_to_num(made.catalog.posterior.covariance))
    catalog = Catalog.from_posterior(exact, ra=np.zeros(300), dec=np.zeros(300), bands="gr")
    catalog.table["star_probability"] = made.star.astype(float)
    histogram = population_histogram(catalog, "mag_r", BINS, kind="star", n=20, rng=1)
    means = made.catalog.posterior.mean[made.star, 0, 2]
    np.testing.assert_array_equal(histogram.expected, np.histogram(22.5 - MAG * means, BINS)[0])
    lower, upper = histogram.interval()
    np.testing.assert_array_equal(lower, upper)  # they are known
    low, high = histogram.rate_interval()
    assert (high - low > 0).all()  # but the rate is not
    full = histogram.expected >= 10
    np.testing.assert_allclose(((high - low) / 2)[full], np.sqrt(histogram.expected[full]), rtol=0.1)


def test_intervals_of_counts_are_calibrated():
    """The rank of the true count among its draws is uniform, in every bin, over repetitions."""
    rng, ranks = np.random.default_rng(2), []
    for _ in range(40):
        made = observe(rng, 120)
        for kind in (STAR, GALAXY):
            counts = population_histogram(made.catalog, "mag_r", BINS, kind=kind, n=400, rng=rng).counts
            true = truth(made, kind)
            below, equal = (counts < true).mean(axis=0), (counts == true).mean(axis=0)
            ranks.append((below + rng.random(len(true)) * equal)[4:10:2])  # neighbouring bins share sources
    assert kstest(np.concatenate(ranks), "uniform").pvalue > 0.01


def test_intervals_of_rates_cover_the_population():
    rng, inside, total = np.random.default_rng(3), [0, 0], 0
    for _ in range(40):
        made = observe(rng, 150)
        for kind in (STAR, GALAXY):
            histogram = population_histogram(made.catalog, "mag_r", BINS, kind=kind, n=300, rng=rng)
            rate = 150 * expected_shares(kind)
            use = rate > 3
            for k, level in enumerate((0.683, 0.954)):
                low, high = histogram.rate_interval(level)
                inside[k] += ((low < rate) & (rate < high))[use].sum()
            total += use.sum()
    # 400 bins, 2 binomial sd: .046 and .02. They cover more than they say here: errors are as wide as the
    # population, and each posterior was computed with the true population as its prior
    assert inside[0] / total > 0.683 - 0.046
    assert inside[1] / total > 0.954 - 0.02


def test_counting_estimates_is_biased_and_integrating_is_not():
    """Each of four ways to count, against the truth in units of what chance explains."""
    rng = np.random.default_rng(4)
    made = observe(rng, 4000)
    true = truth(made)
    chance = np.sqrt(true + 1)
    medians = np.histogram(made.catalog["mag_r"].value, BINS)[0]
    measured = np.histogram(made.seen_mag, BINS)[0]
    histogram = population_histogram(made.catalog, "mag_r", BINS, n=300, rng=rng)
    worst = {name: np.abs((counts - true) / chance).max()
             for name, counts in (("measured", measured), ("medians", medians), ("integrated", histogram.expected))}
    assert worst["integrated"] < 3  # of 14 bins; the draws know less than the truth, and so vary less
    assert worst["measured"] > 5  # Eddington: noise fills the bins at the bright end
    assert worst["medians"] > 5  # medians are drawn together
    # the number of stars: a threshold counts what is more likely, each and every time
    stars = made.star.sum()
    integrated = population_histogram(made.catalog, "mag_r", [0.0, 99.0], kind="star", n=300, rng=rng)
    by_threshold = (made.catalog["star_probability"] > 0.5).sum()
    assert abs(integrated.expected[0] - stars) < 3 * integrated.counts.std()
    assert abs(by_threshold - stars) > 4 * integrated.counts.std()


# the believed population: stars fainter, fewer and narrower than they are
WRONG = {STAR: (np.array([0.4, 0.7]), LAWS[STAR][1]), GALAXY: LAWS[GALAXY]}


def test_under_a_wrong_prior_integrating_is_biased_and_dividing_it_out_helps():
    rng = np.random.default_rng(5)
    made = observe(rng, 3000, believed=WRONG, believed_share=0.25)
    found = infer_population(made.catalog, "mag_r", BINS, interim(rng, 200_000, 0.25, WRONG), n=300, rng=rng)
    before, after, covered = {}, {}, []
    for kind in (STAR, GALAXY):
        true = truth(made, kind)
        integrated = population_histogram(made.catalog, "mag_r", BINS, kind=kind, n=300, rng=rng)
        for part, errors in ((integrated, before), (found[kind], after)):
            errors[kind] = np.abs(part.expected - true).sum() / true.sum()
            low, high = part.interval(0.954)
            covered.append(np.mean((low <= true) & (true <= high)))
    # thousands of sources do not help the sum of posteriors: its error is no matter of chance
    assert before[STAR] > 0.2
    assert after[STAR] < 0.6 * before[STAR]
    assert after[GALAXY] < 0.8 * before[GALAXY]
    # nor do its intervals know: 14 bins each
    assert covered[0] < 0.6
    assert min(covered[1], covered[3]) > 0.85


def test_inferred_population_is_calibrated_under_the_right_prior():
    rng, inside, total = np.random.default_rng(6), 0, 0
    table = interim(rng, 200_000)
    for _ in range(15):
        made = observe(rng, 300)
        found = infer_population(made.catalog, "mag_r", BINS, table, n=300, rng=rng)
        for kind in (STAR, GALAXY):
            true = truth(made, kind)
            low, high = found[kind].interval(0.954)
            use = true > 2
            inside, total = inside + ((low <= true) & (true <= high))[use].sum(), total + use.sum()
    # about 200 bins, neighbours depending on each other: binomial sd .015, doubled; whole numbers cover a little more
    assert 0.90 < inside / total


def test_inferred_counts_of_known_sources():
    """Where every source is known, nothing is left to infer; and the rest is counted apart."""
    made = observe(np.random.default_rng(7), 200)
    posterior = made.catalog.posterior
    sure = Posterior(made.star.astype(float), posterior.weight, posterior.is_galaxy, posterior.mean,
                     1e-16 * posterior.covariance)
    catalog = Catalog.from_posterior(sure, ra=np.zeros(200), dec=np.zeros(200), bands="gr")
    bins = np.arange(20.0, 24.1, 0.5)
    found = infer_population(catalog, "mag_r", bins, interim(np.random.default_rng(1), 100_000), n=10, rng=1)
    for kind, column in ((STAR, 0), (GALAXY, 1)):
        mags = 22.5 - MAG * posterior.mean[made.star == (kind == STAR), column, 2]
        np.testing.assert_array_equal(found[kind].counts, np.histogram(mags, bins)[0][None].repeat(10, axis=0))


def test_mode_of_the_inferred_shares():
    """The gradient of the log posterior vanishes where the fit ends."""
    rng = np.random.default_rng(8)
    likelihood, before = rng.exponential(size=(300, 7)) ** 2, np.full(7, 1 / 7)
    kernel = _smooth_kernel((np.arange(4.0),), 3.0)
    mode, covariance = _fit_log_ratio(likelihood, before, kernel)

    def value(ratio):
        share = before * np.exp(ratio) / (before * np.exp(ratio)).sum()
        return np.log(likelihood @ share).sum() - 0.5 * ratio @ np.linalg.solve(kernel, ratio)

    steps = 1e-4 * np.eye(7)
    gradient = np.array([value(mode + step) - value(mode - step) for step in steps]) / 2e-4
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(gradient * sd).max() < 0.01  # of the error of each


def test_two_quantities_and_a_selection():
    rng = np.random.default_rng(8)
    made = observe(rng, 500)
    bins = (np.array([18.0, 22.0, 23.0, 26.0]), np.array([-2.0, 0.5, 3.0]))
    histogram = population_histogram(made.catalog, ("mag_r", "color_gr"), bins, n=200, rng=3)
    assert histogram.counts.shape == (200, 3, 2)
    true = np.histogram2d(made.mag, made.color, bins)[0]
    assert (np.abs(histogram.expected - true) < 5 * np.sqrt(true + 1)).all()
    np.testing.assert_allclose(histogram.density * np.multiply.outer(np.diff(bins[0]), np.diff(bins[1])),
                               histogram.expected)
    blue = population_histogram(made.catalog, "mag_r", bins[0], n=200, rng=3,
                                where=lambda draws: (draws["color_gr"].value >= -2) & (draws["color_gr"].value < 0.5))
    np.testing.assert_array_equal(blue.counts, histogram.counts[..., 0])
    stars, galaxies = (population_histogram(made.catalog, "mag_r", bins[0], kind=kind, n=200, rng=3)
                       for kind in (STAR, GALAXY))
    both = population_histogram(made.catalog, "mag_r", bins[0], n=200, rng=3)
    np.testing.assert_array_equal(stars.counts + galaxies.counts, both.counts)


def test_batches_do_not_change_the_number_of_draws(monkeypatch):
    made = observe(np.random.default_rng(9), 30)
    monkeypatch.setattr("celestepy.catalog.population._AT_ONCE", 100)
    histogram = population_histogram(made.catalog, "mag_r", BINS, n=50, rng=1)
    assert len(histogram.counts) == 50
    assert (histogram.counts.sum(axis=1) <= 30).all()


def test_sources_without_estimates_are_not_counted():
    posterior = Posterior.stack([[], [(0.0, STAR, np.zeros(4), 1e-4 * np.eye(4))]], 2)
    catalog = Catalog.from_posterior(posterior, ra=[1, 2], dec=[1, 2], bands="gr")
    assert population_histogram(catalog, "mag_r", [0.0, 50.0], n=5).expected == 1
    table = QTable({"is_star": [True, False], "mag_r": [22.5, 22.5]})
    assert infer_population(catalog, "mag_r", [0.0, 50.0], table, n=5)["star"].expected == 1


def test_expressions():
    made = observe(np.random.default_rng(10), 20)
    one = sample_expression(made.catalog, "color_gr", 7, 1)
    two = sample_expression(made.catalog, lambda draws: draws["mag_g"] - draws["mag_r"], 7, 1)
    assert one.shape == (20, 7)
    np.testing.assert_allclose(one.value, two.value, atol=1e-9)
    assert two.unit == "mag"
    with pytest.raises(ValueError, match="'mag_x' is no column of a sample; expected one of id, is_star"):
        sample_expression(made.catalog, "mag_x", 3)
    with pytest.raises(ValueError, match="shape .20,., expected one value for each draw"):
        sample_expression(made.catalog, lambda draws: draws["mag_r"].mean(axis=1), 3)


@pytest.mark.parametrize(("arguments", "message"), [
    (("mag_r", [1.0]), "two or more edges"),
    (("mag_r", [2.0, 1.0]), "two or more edges"),
    ((("mag_r", "mag_g"), ([1.0, 2.0],)), "expected as many"),
])
def test_bins_are_checked(arguments, message):
    made = observe(np.random.default_rng(11), 3)
    with pytest.raises(ValueError, match=message):
        population_histogram(made.catalog, *arguments)


def test_other_arguments_are_checked():
    made = observe(np.random.default_rng(12), 3)
    with pytest.raises(ValueError, match="kind is 'quasar'"):
        population_histogram(made.catalog, "mag_r", BINS, kind="quasar")
    with pytest.raises(ValueError, match="n is 0"):
        population_histogram(made.catalog, "mag_r", BINS, n=0)
    with pytest.raises(ValueError, match="level is 68"):
        PopulationHistogram((BINS,), np.ones((2, 14), int)).interval(68)
    with pytest.raises(ValueError, match="smoothing is 0"):
        infer_population(made.catalog, "mag_r", BINS, QTable(), smoothing=0)
    far = QTable({"is_star": [True], "mag_r": [22.4]})
    with pytest.raises(ValueError, match="hold .*% of the posterior draws of one.*draw more from it"):
        infer_population(made.catalog, "mag_r", BINS, far)
