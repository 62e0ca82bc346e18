"""Posterior of fluxes under a mixture prior: the kernel against the reference and against brute force."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import fluxes as reference
from scipy.special import logsumexp

from celestepy.inference import fluxes as module
from celestepy.inference.fluxes import flux_mode, flux_posterior, log_flux_mixture
from celestepy.model.parameters import Bands
from celestepy.model.prior_laws import ColorMixture, LogisticBeta, Normal
from celestepy.model.priors import StarPrior

BANDS = Bands.of("ugriz")
SIGMA = np.array([0.6, 0.25, 0.3, 0.45, 1.8])  # flux errors of one SDSS exposure, nmgy
COUNTS = LogisticBeta(1.0, 0.12, location=-0.2, scale=0.25)  # a faint cut-off and a power law


def stars(log_flux, slopes=None):
    covariances = [np.diag([0.1, 0.03, 0.02, 0.02]), np.diag([0.2, 0.02, 0.1, 0.03]), 0.2 * np.eye(4)]
    means = [[1.0, 0.5, 0.2, 0.1], [1.8, 1.2, 0.8, 0.5], [0.3, 0.8, 0.4, 0.2]]
    colors = ColorMixture([0.5, 0.3, 0.2], means, covariances, slopes=slopes, pivot=1.0)
    return StarPrior(log_flux, colors)


@pytest.fixture
def laws():
    return stars(Normal(0.5, 0.5), [[0.05, 0.02, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0], [0.0, 0.0, -0.1, 0.0]])


def draw(laws, n, rng):
    log_flux = laws.log_flux.sample(n, rng)
    return np.column_stack([log_flux, laws.colors.sample(log_flux, rng)]) @ BANDS.log_flux_matrix.T


def total(found):
    """Mean and standard deviation of the log fluxes over all components."""
    mean = found.weights @ found.means
    variances = np.diagonal(found.covariances, axis1=1, axis2=2) + (found.means - mean) ** 2
    return mean, np.sqrt(found.weights @ variances)


@pytest.mark.parametrize("at", [-1.0, 2.0])
def test_mixture_is_the_prior(laws, at):
    """With a normal law of the brightness the Gaussian mixture is exact, wherever it is expanded."""
    log_weights, means, covariances = log_flux_mixture(laws, at, BANDS)
    for point in draw(laws, 5, np.random.default_rng(1)):
        offsets = point - means
        quadratic = np.einsum("ja,jab,jb->j", offsets, np.linalg.inv(covariances), offsets)
        logs = log_weights - 0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariances)[1])
        theta = np.linalg.solve(BANDS.log_flux_matrix, point)
        expected = laws.log_flux.evaluate(theta[0])[0] + laws.colors.evaluate(theta[1:], theta[0])[0]
        assert logsumexp(logs) == pytest.approx(expected, abs=1e-9)


def test_mixture_and_excess_are_the_prior():
    """With any other law what the mixture leaves out makes it exact."""
    laws = stars(COUNTS)
    for point in draw(laws, 5, np.random.default_rng(2)):
        target = reference.Target(np.zeros(5), np.zeros((5, 5)), log_flux_mixture(laws, 0.2, BANDS))
        theta = np.linalg.solve(BANDS.log_flux_matrix, point)
        expected = laws.log_flux.evaluate(theta[0])[0] + laws.colors.evaluate(theta[1:], theta[0])[0]
        assert target.log_density(point) == pytest.approx(expected, abs=1e-8)


# Law of the brightness, factor of the noise, its correlation between the bands.
CASES = [(Normal(0.5, 0.5), 1.0, 0.0), (Normal(0.5, 2.0), 1.0, 0.6), (Normal(0.0, 3.0), 2.0, 0.0),
         (COUNTS, 1.0, 0.0), (COUNTS, 3.0, 0.5)]


def observed(law, noise, correlation, seed):
    """Prior, measured fluxes and their information of one source."""
    rng = np.random.default_rng(seed)
    laws = stars(law)
    sigma = noise * SIGMA
    covariance = correlation * np.outer(sigma, sigma) + (1 - correlation) * np.diag(sigma**2)
    fluxes = rng.multivariate_normal(np.exp(draw(laws, 1, rng)[0]), covariance)
    return fluxes, np.linalg.inv(covariance), log_flux_mixture(laws, np.log(max(fluxes[2], 0.8)), BANDS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_kernel_does_what_the_reference_does(case, seed):
    data = observed(*case, seed)
    found = flux_posterior(*data)
    points = module._normal_points(64, 5)
    log_evidence, effective, weights, means, covariances = reference.flux_posterior(*data, *points)
    # Rounding alone; it grows where a covariance is the difference of sums over fluxes of unlike size.
    assert found.log_evidence == pytest.approx(log_evidence, abs=1e-9)
    assert found.effective_draws == pytest.approx(effective, rel=1e-8)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-8)
    np.testing.assert_allclose(np.hstack([found.means, found.flux_means]), means, rtol=1e-8, atol=1e-8)
    square = np.block([[found.covariances, found.cross_covariances],
                       [np.swapaxes(found.cross_covariances, 1, 2), found.flux_covariances]])
    scale = np.sqrt(np.einsum("ka,kb->kab", *2 * [np.diagonal(covariances, axis1=1, axis2=2)]))
    np.testing.assert_allclose(square / scale, covariances / scale, atol=1e-6)


def agrees_with_brute_force(data, log_evidence_error=0.04, mean_error=0.12, sd_error=0.17):
    """The errors allowed are four or five times the rms over many sources of what so few draws leave."""
    found = flux_posterior(*data)
    log_evidence, mean, sd, effective = reference.brute_force(*data, 60_000, np.random.default_rng(7))
    assert effective > 300  # else the reference itself would be noise
    sampling = 4 / np.sqrt(effective)
    assert found.log_evidence == pytest.approx(log_evidence, abs=log_evidence_error + sampling)
    our_mean, our_sd = total(found)
    np.testing.assert_array_less(np.abs(our_mean - mean) / sd, mean_error + sampling)
    np.testing.assert_array_less(np.abs(np.log(our_sd / sd)), sd_error + sampling)
    return mean, sd


@pytest.mark.parametrize("case", CASES)
def test_evidence_and_moments(case):
    agrees_with_brute_force(observed(*case, seed=2))


def test_long_tail_towards_zero_flux():
    """No band is measured to 2.5 sigma and the prior is wide: nothing else ends the log flux below."""
    fluxes = np.array([0.5, 0.35, 0.45, 0.8, 2.0])
    data = fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(stars(Normal(0.5, 2.0)), 0.0, BANDS)
    assert np.all(fluxes / SIGMA < 2.5)
    _, sd = agrees_with_brute_force(data)
    assert sd[2] > 0.5  # a normal density about the mode has .35


def test_the_place_of_the_expansion_hardly_matters():
    """The exact law is integrated, however far from the posterior it was expanded."""
    fluxes = np.array([0.8, 1.4, 2.2, 2.6, 2.5])
    found = [flux_posterior(fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(stars(COUNTS), at, BANDS))
             for at in (0.2, 0.8, 1.2)]
    # Two draws of the importance sampling, whose error is .02.
    assert np.ptp([each.log_evidence for each in found]) < 0.08
    assert np.ptp([total(each)[0] for each in found], axis=0).max() < 0.03


@pytest.mark.parametrize("names", ["r", "gr", "ugrizy"])
def test_any_number_of_bands(names):
    bands = Bands.of(names)
    n_colors = len(bands) - 1
    means = np.outer([0.5, 0.2], np.ones(n_colors))
    colors = ColorMixture([0.7, 0.3], means, [0.1 * np.eye(n_colors)] * 2)
    prior = log_flux_mixture(StarPrior(COUNTS, colors), 1.0, bands)
    fluxes = np.linspace(1.0, 4.0, len(bands))
    agrees_with_brute_force((fluxes, np.eye(len(bands)) / 0.5**2, prior))


def test_bright_source_recovers_the_measurement(laws):
    fluxes = np.array([50.0, 120.0, 200.0, 240.0, 270.0])
    found = flux_posterior(fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(laws, np.log(200.0), BANDS))
    np.testing.assert_allclose(found.weights @ found.flux_means, fluxes, atol=0.3 * SIGMA.max())


def test_negative_fluxes_are_data(laws):
    """A band measured negative pulls the posterior down but leaves it proper."""
    fluxes = np.array([-1.5, 0.3, 1.5, 1.8, -2.0])
    found = flux_posterior(fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(laws, 0.3, BANDS))
    up = flux_posterior(np.abs(fluxes), np.diag(1 / SIGMA**2), log_flux_mixture(laws, 0.3, BANDS))
    assert np.isfinite(found.log_evidence)
    assert (found.weights @ found.means)[0] < (up.weights @ up.means)[0] - 0.3


def test_unmeasured_band_is_the_prior_given_the_others(laws):
    information = np.diag(np.r_[0.0, 1 / SIGMA[1:] ** 2])
    fluxes = np.exp(np.array([0.5, 1.5, 2.0, 2.2, 2.3]))
    found = flux_posterior(fluxes, information, log_flux_mixture(laws, 2.0, BANDS))
    other = flux_posterior(np.r_[1e3, fluxes[1:]], information, log_flux_mixture(laws, 2.0, BANDS))
    np.testing.assert_allclose(found.weights @ found.means, other.weights @ other.means, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_mode_is_the_highest_peak(case):
    fluxes, information, prior = observed(*case, seed=1)
    target = reference.Target(fluxes, information, prior)
    mode = flux_mode(fluxes, information, prior)
    j = int(np.argmax([reference.find_mode(target, j)[1] for j in range(3)]))
    gradient, curvature = target.derivatives(j, mode)
    # The search stops at a gain of 1e-4 nats, after which the distance left is squared once more.
    assert gradient @ np.linalg.solve(curvature, gradient) < 1e-4


def test_same_in_every_thread():
    """The kernel shares nothing between threads: the same to the last bit, in any order."""
    data = [observed(COUNTS, 1.0, 0.0, seed) for seed in range(8)]
    one = [flux_posterior(*each).log_evidence for each in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: flux_posterior(*each).log_evidence, 5 * data)) == 5 * one


def test_read_only_and_other_types_are_taken(laws):
    prior = tuple(log_flux_mixture(laws, 1.0, BANDS))
    for part in prior:
        part.setflags(write=False)
    found = flux_posterior([1, 2, 3, 4, 5], np.diag(1 / SIGMA**2).astype(np.float32), prior)
    assert np.isfinite(found.log_evidence)


@pytest.mark.parametrize(("change", "text"), [
    (dict(fluxes=np.ones(4)), "fluxes and information have shapes"),
    (dict(information=np.ones((5, 4))), "fluxes and information have shapes"),
    (dict(prior=(np.zeros(2), np.zeros((3, 5)), np.zeros((3, 5, 5)))), r"expected .*\(J,\)"),
    (dict(prior=(np.zeros(1), np.zeros((1, 17)), np.eye(17)[None])), "17 bands"),
    (dict(prior=(np.zeros(2), np.zeros((2, 5)), np.stack([np.eye(5), -np.eye(5)]))), "covariance"),
])
@pytest.mark.parametrize("function", [flux_mode, flux_posterior])
def test_errors_name_the_argument(laws, function, change, text):
    arguments = dict(fluxes=np.ones(5), information=np.eye(5), prior=log_flux_mixture(laws, 0.0, BANDS))
    arguments |= change
    with pytest.raises(ValueError, match=text):
        function(**arguments)
