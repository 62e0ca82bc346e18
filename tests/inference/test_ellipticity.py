"""The posterior of the ellipticity against a sum over the plane, evidence included."""

import numpy as np
import pytest
from reference import ellipticity as reference

from celestepy.inference.ellipticity import refine_ellipticity, scale_mixture
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, layout
from celestepy.model.prior_laws import AxisRatioLaw
from celestepy.model.priors import Prior

LAWS = {name: Prior.load(name).galaxy.axis_ratio for name in ("sdss-deep", "celeste2019")}
AT = layout(GALAXY, 2)
SIZE = AT.size


@pytest.fixture(params=sorted(LAWS))
def law(request):
    return LAWS[request.param]


def log_mixture(law, eta1, eta2):
    weights, widths = scale_mixture(law)
    square = (eta1**2 + eta2**2)[..., None] / widths**2
    return np.log(np.sum(weights / (2 * np.pi * widths**2) * np.exp(-0.5 * square), axis=-1))


def fit(law, peak, sd, n_components=1, seed=3):
    """A fit of a likelihood that is Gaussian with some peak and error of the ellipticity, and its mode.

    The components differ in all but the ellipticity, as those of the fluxes do.
    """
    rng = np.random.default_rng(seed)
    root = np.eye(SIZE) + 0.3 * rng.normal(size=(SIZE, SIZE))
    root[AT.ellipticity] *= sd / np.linalg.norm(root[AT.ellipticity], axis=1)[:, None]
    likelihood = root @ root.T
    precision, centre = np.linalg.inv(likelihood), np.zeros(SIZE)
    centre[AT.ellipticity] = peak
    mode = centre.copy()
    for _ in range(200):  # Newton's method, slowed down for the cusp
        value, gradient, (h11, h12, h22) = law.evaluate(*mode[AT.ellipticity])
        slope, curvature = -precision @ (mode - centre), -precision.copy()
        slope[AT.ellipticity] += gradient
        curvature[AT.ellipticity, AT.ellipticity] += [[h11, h12], [h12, h22]]
        mode = mode - 0.3 * np.linalg.solve(curvature, slope)
    means = np.tile(mode, (n_components, 1))
    means[:, : AT.ellipticity.start] += 0.2 * rng.normal(size=(n_components, AT.ellipticity.start))
    weights = rng.dirichlet(np.full(n_components, 3.0))
    return SourcePosterior(GALAXY, weights, means, np.tile(np.linalg.inv(-curvature), (n_components, 1, 1))), mode


def moments(found):
    mean = found.weights @ found.means
    offsets = found.means - mean
    return mean, np.einsum("j,jab->ab", found.weights, found.covariances + offsets[:, :, None] * offsets[:, None])


def compare(source, mode, law, tolerance, density=reference.log_density):
    """Evidence within `tolerance`, means within that many sd, standard deviations within that share."""
    found, correction = refine_ellipticity(source, mode, law)
    log_evidence, mean, covariance = reference.posterior(
        source.weights, source.means, source.covariances, mode, law, density)
    assert correction == pytest.approx(log_evidence, abs=tolerance)
    sd = np.sqrt(np.diagonal(covariance))
    found_mean, found_covariance = moments(found)
    np.testing.assert_allclose(found_mean, mean, atol=tolerance * sd.max(), rtol=0)
    np.testing.assert_allclose(found_mean / sd, mean / sd, atol=tolerance, rtol=0)
    np.testing.assert_allclose(found_covariance / np.outer(sd, sd), covariance / np.outer(sd, sd),
                               atol=2 * tolerance, rtol=0)


PEAKS_AND_ERRORS = [((0.0, 0.0), 0.7), ((0.15, -0.1), 0.25), ((0.5, 0.2), 0.3), ((-0.6, 0.7), 0.1)]


@pytest.mark.parametrize(("peak", "sd"), PEAKS_AND_ERRORS)
@pytest.mark.parametrize("n_components", [1, 3])
def test_is_exact_for_the_mixture(law, peak, sd, n_components):
    """With the mixture of Gaussians as the prior nothing is approximate.

    Components of less than 1e-3 are left out, and the sum over the plane is exact to rounding where the
    widths are three steps or more.
    """
    source, mode = fit(law, peak, sd, n_components)
    compare(source, mode, law, 0.01, log_mixture)


@pytest.mark.parametrize(("peak", "sd"), PEAKS_AND_ERRORS)
def test_is_close_for_the_law_itself(law, peak, sd):
    """The mixture is within .03 of the log density where galaxies are."""
    source, mode = fit(law, peak, sd)
    compare(source, mode, law, 0.04)


def test_the_gaussian_alone_is_not(law):
    """What the refinement is for: a faint galaxy whose mode is round was taken for certainly round."""
    source, mode = fit(law, (0.05, 0.0), 0.5)
    log_evidence, _, covariance = reference.posterior(source.weights, source.means, source.covariances, mode, law)
    assert log_evidence > 0.2
    sd = np.sqrt(np.diagonal(covariance))[AT.ellipticity]
    assert np.all(np.sqrt(np.diagonal(source.covariances[0]))[AT.ellipticity] < 0.75 * sd)


def test_the_mixture_is_close_to_the_law(law):
    weights, widths = scale_mixture(law)
    assert weights.sum() == pytest.approx(1)
    assert np.all(np.diff(widths) > 0)
    e = np.linspace(0, 1.5, 60)
    np.testing.assert_allclose(log_mixture(law, e, 0 * e), reference.log_density(law, e, 0 * e), atol=0.06)
    # The whole: relative entropy over the plane, in nats.
    e = np.linspace(0, 12, 6000)
    density = np.exp(reference.log_density(law, e, 0 * e))
    gap = np.sum(2 * np.pi * e * density * (np.log(density) - log_mixture(law, e, 0 * e))) * (e[1] - e[0])
    assert 0 <= gap < 2e-3


def test_any_law_has_a_mixture():
    """Round galaxies only, flat ones only: the weights go to the ends and stay a distribution."""
    for law in (AxisRatioLaw(30.0, 1.0), AxisRatioLaw(1.0, 8.0)):
        weights, widths = scale_mixture(law)
        assert weights.sum() == pytest.approx(1)
        assert np.all(weights > 0)
        assert np.isfinite(log_mixture(law, np.zeros(1), np.zeros(1))).all()


def test_what_does_not_follow_the_ellipticity_stays(law):
    source, mode = fit(law, (0.3, 0.0), 0.4)
    covariance = source.covariances[0].copy()
    others = np.setdiff1d(np.arange(SIZE), np.arange(SIZE)[AT.ellipticity])
    covariance[np.ix_(others, np.arange(SIZE)[AT.ellipticity])] = 0
    covariance[np.ix_(np.arange(SIZE)[AT.ellipticity], others)] = 0
    source = SourcePosterior(GALAXY, source.weights, source.means, covariance[None])
    found, _ = refine_ellipticity(source, mode, law)
    unmoved = np.tile(source.means[0, others], (len(found.means), 1))
    np.testing.assert_allclose(found.means[:, others], unmoved, atol=1e-12)
    for each in found.covariances:
        np.testing.assert_allclose(each[np.ix_(others, others)], covariance[np.ix_(others, others)], atol=1e-12)


def test_is_isotropic(law):
    """Turning the galaxy by 30 degrees turns the answer, and changes no evidence."""
    (source, mode), turn = fit(law, (0.4, 0.0), 0.3), np.eye(SIZE)
    angle = np.radians(60)
    turn[AT.ellipticity, AT.ellipticity] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = SourcePosterior(GALAXY, source.weights, source.means @ turn.T, turn @ source.covariances @ turn.T)
    (found, one), (other, two) = (refine_ellipticity(source, mode, law), refine_ellipticity(turned, turn @ mode, law))
    assert one == pytest.approx(two, abs=1e-9)
    np.testing.assert_allclose(other.means, found.means @ turn.T, atol=1e-9)
    np.testing.assert_allclose(other.covariances, turn @ found.covariances @ turn.T, atol=1e-9)


def test_a_likelihood_is_not_followed_out_of_reach(law):
    """A slope without curvature, of a faint source: the ellipticity stays where second derivatives mean something."""
    value, gradient, (h11, h12, h22) = law.evaluate(0.3, 0.0)
    mode = np.zeros(SIZE)
    mode[AT.ellipticity] = 0.3, 0.0
    # The likelihood's precision is next to nothing: that of the fit is the law's own, which is small away from zero.
    precision = np.eye(SIZE) * 25.0
    precision[AT.ellipticity, AT.ellipticity] = np.diag([0.3, 3.0])
    source = SourcePosterior(GALAXY, np.ones(1), mode[None], np.linalg.inv(precision)[None])
    found, correction = refine_ellipticity(source, mode, law)
    mean, covariance = moments(found)
    assert np.linalg.norm(mean[AT.ellipticity]) < 1.0
    assert np.all(np.linalg.eigvalsh(covariance) > 0)
    assert abs(correction) < 3
