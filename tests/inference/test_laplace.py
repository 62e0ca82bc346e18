"""Fits under given types: evidences and moments against importance sampling of the real likelihood."""

import numpy as np
import pytest
from inference.small_fields import field, fitter, galaxy, seeds, star
from scipy.stats import multivariate_t

from celestepy.inference import TrustRegion, laplace
from celestepy.inference.laplace import fit_hypothesis
from celestepy.model.parameters import GALAXY, STAR, layout

N_DRAWS = 3000


def group(*sources, also=(), **options):
    """Log posterior of some sources in one group, and where fits start."""
    images = field(*sources, size=35, **options).images
    engine = fitter(images, seeds(*sources, also=also))
    data = engine.placement.gather(range(len(engine.position_sd)), {})
    return engine.posterior(data), engine.starts(data)


def log_posterior(posterior, kinds):
    """Log of likelihood times prior, without derivatives."""
    blocks, sky = posterior.blocks(kinds)
    is_galaxy = np.array([kind == GALAXY for kind in kinds])
    constant = -np.sum(np.log(posterior.sky_sd)) - 0.5 * len(posterior.sky_sd) * np.log(2 * np.pi)

    def evaluate(x):
        scenes, levels = posterior.scenes(kinds, x)
        value = posterior.likelihood.evaluate(is_galaxy, scenes, levels, order=0)[0]
        value += sum(posterior.prior.log_density(kind, x[block], sd, order=0)[0]
                     for kind, block, sd in zip(kinds, blocks, posterior.position_sd, strict=True))
        return value - 0.5 * np.sum((levels / posterior.sky_sd) ** 2) + constant

    return evaluate


def sample(posterior, fit, widening=1.5, seed=0):
    """Evidence, mean and standard deviation of one source by importance sampling around its fit.

    The draws come from t laws about the components of the fit and about its mode, wider than these, and the sky
    levels with them; nothing of the fit but its place enters the result.
    """
    rng = np.random.default_rng(seed)
    (block,), sky = posterior.blocks(fit.kinds)
    covariance = np.linalg.inv(fit.minimum.hessian)
    proposals = [(0.2, fit.minimum.x, widening * covariance)]
    for weight, mean, own in zip(fit.sources[0].weights, fit.sources[0].means, fit.sources[0].covariances, strict=True):
        wide = np.zeros_like(covariance)
        wide[block, block], wide[sky, sky] = own, covariance[sky, sky]
        proposals.append((0.8 * weight, np.concatenate([mean, fit.minimum.x[sky]]), widening * wide))
    shares = np.array([share for share, _, _ in proposals])
    laws = [multivariate_t(mean, wide, df=6) for _, mean, wide in proposals]
    counts = rng.multinomial(N_DRAWS, shares)
    x = np.concatenate([np.reshape(law.rvs(count, random_state=rng), (count, -1))
                        for law, count in zip(laws, counts, strict=True) if count])
    density = np.logaddexp.reduce([np.log(share) + law.logpdf(x) for share, law in zip(shares, laws, strict=True)])
    target = log_posterior(posterior, fit.kinds)
    logs = np.array([target(each) for each in x]) - density
    weights = np.exp(logs - logs.max())
    effective = weights.sum() ** 2 / np.sum(weights**2)
    log_evidence = logs.max() + np.log(weights.mean())
    weights /= weights.sum()
    mean = weights @ x[:, block]
    return log_evidence, mean, np.sqrt(weights @ (x[:, block] - mean) ** 2), effective


def moments(source):
    mean = source.weights @ source.means
    variance = np.diagonal(source.covariances, axis1=1, axis2=2) + (source.means - mean) ** 2
    return mean, np.sqrt(source.weights @ variance)


STARS = [(20.0, "r"), (20.0, "gri"), (22.3, "r"), (22.3, "gri"), (22.8, "ugriz")]


@pytest.mark.parametrize(("mag", "bands"), STARS)
def test_a_star_is_integrated_over(mag, bands):
    """From S/N 120 to 7: the fit never looks at a pixel again after the mode, and is right all the same.

    1500 effective draws fix the evidence to .03 and means and widths to 3%; the rest is the approximation.
    """
    posterior, starts = group(star(mag, bands=bands), bands=bands)
    fit = fit_hypothesis(posterior, [STAR], starts[STAR])
    log_evidence, mean, sd, effective = sample(posterior, fit)
    assert effective > 800
    assert fit.log_evidence == pytest.approx(log_evidence, abs=0.15)
    found_mean, found_sd = moments(fit.sources[0])
    np.testing.assert_allclose((found_mean - mean) / sd, 0, atol=0.25)
    np.testing.assert_allclose(found_sd / sd, 1, atol=0.15)


def test_the_gaussian_alone_misses_a_faint_star():
    """What the integral over the fluxes is for: several kinds of stars have its colours."""
    posterior, starts = group(star(22.8, bands="ugriz"), bands="ugriz")
    plain = fit_hypothesis(posterior, [STAR], starts[STAR], refine=False)
    whole = fit_hypothesis(posterior, [STAR], starts[STAR])
    log_evidence, _, sd, _ = sample(posterior, whole)
    assert plain.log_evidence < log_evidence - 0.25
    colors = layout(STAR, 5).colors
    assert np.all(moments(plain.sources[0])[1][colors] < 0.75 * sd[colors])


GALAXIES = [(19.0, "gri", {}), (19.0, "r", dict(dev_fraction=0.98)), (21.3, "gri", {}), (22.0, "gri", {}),
            (20.5, "gri", dict(half_light_radius=2.0, axis_ratio=0.2))]


@pytest.mark.parametrize(("mag", "bands", "shape"), GALAXIES)
def test_a_galaxy_is_integrated_over(mag, bands, shape):
    """From S/N 160 to 10: the evidence is right to .25 nats, the odds of the types to 30%.

    Fluxes and colours are right to a third of their errors, and these to a quarter. The size and the ellipticity of
    faint galaxies are skewed in every coordinate: half an error, and errors too small by a third at the worst. The
    profile has tests of its own.
    """
    posterior, starts = group(galaxy(mag, bands=bands, **shape), bands=bands)
    fit = fit_hypothesis(posterior, [GALAXY], starts[GALAXY])
    log_evidence, mean, sd, effective = sample(posterior, fit)
    assert effective > 300
    assert fit.log_evidence == pytest.approx(log_evidence, abs=0.25)
    found_mean, found_sd = moments(fit.sources[0])
    at = layout(GALAXY, len(bands))
    fluxes, shape = at.log_fluxes, slice(at.log_radius, at.logit_dev)
    np.testing.assert_allclose((found_mean - mean)[fluxes] / sd[fluxes], 0, atol=0.35)
    np.testing.assert_allclose((found_sd / sd)[fluxes], 1, atol=0.25)
    np.testing.assert_allclose((found_mean - mean)[shape] / sd[shape], 0, atol=0.5)
    np.testing.assert_allclose((found_sd / sd)[shape], 1, atol=0.35)


@pytest.mark.parametrize("mag", [21.0, 22.3])
def test_the_types_are_weighed_right(mag):
    """The difference that matters, of a star: log evidence as a star over that as a galaxy."""
    posterior, starts = group(star(mag))
    fits = [fit_hypothesis(posterior, [kind], starts[kind]) for kind in (STAR, GALAXY)]
    found = fits[0].log_evidence - fits[1].log_evidence
    (as_star, *_), (as_galaxy, *_) = (sample(posterior, fit) for fit in fits)
    assert found == pytest.approx(as_star - as_galaxy, abs=0.25)


def test_the_plain_covariance_is_the_inverse_hessian():
    posterior, starts = group(star(20, -2), galaxy(20, 3))
    fit = fit_hypothesis(posterior, [STAR, GALAXY], [starts[STAR][0], starts[GALAXY][1]], refine=False)
    covariance = np.linalg.inv(fit.minimum.hessian)
    blocks, sky = posterior.blocks(fit.kinds)
    for block, found, vector in zip(blocks, fit.sources, fit.vectors, strict=True):
        np.testing.assert_allclose(found.covariances[0], covariance[block, block], rtol=1e-8, atol=1e-14)
        np.testing.assert_array_equal(found.means[0], vector)
    size = len(fit.minimum.x)
    expected = (-fit.minimum.value + 0.5 * size * np.log(2 * np.pi)
                - 0.5 * np.linalg.slogdet(fit.minimum.hessian)[1])
    assert fit.log_evidence == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(fit.sky, fit.minimum.x[sky])


def test_starting_at_the_end_changes_nothing():
    posterior, starts = group(galaxy(20))
    fit = fit_hypothesis(posterior, [GALAXY], starts[GALAXY])
    again = fit_hypothesis(posterior, [GALAXY], fit.vectors, sky=fit.sky)
    assert again.minimum.n_iterations == 1
    # The last step is taken unevaluated; 1e-3 nats is the tolerance of the iteration.
    assert again.log_evidence == pytest.approx(fit.log_evidence, abs=5e-3)


def test_no_more_is_believed_than_second_derivatives_can_tell():
    """A galaxy seeded twice: the second one's fluxes are next to unknown and go with its size.

    Along their regression it grew to a giant of 22 nmgy, 10 nats too probable.
    """
    source = galaxy(21, half_light_radius=0.6, axis_ratio=0.4, position_angle=90.0)
    posterior, starts = group(source, also=[(-1.05, 0)], rng=11)
    plain = fit_hypothesis(posterior, [GALAXY] * 2, starts[GALAXY], refine=False)
    whole = fit_hypothesis(posterior, [GALAXY] * 2, starts[GALAXY])
    assert abs(whole.log_evidence - plain.log_evidence) < 3
    at = layout(GALAXY, 3)
    for found, vector in zip(whole.sources, whole.vectors, strict=True):
        assert abs(moments(found)[0] - vector)[at.log_radius] < 1


def test_a_fit_that_is_no_maximum_has_no_evidence(monkeypatch):
    """It still has a place and a width, so that what follows does not break."""
    posterior, starts = group(star(20))
    monkeypatch.setattr(laplace, "cho_factor", _not_positive_definite)
    fit = fit_hypothesis(posterior, [STAR], starts[STAR])
    assert fit.log_evidence == -np.inf
    assert np.all(np.isfinite(fit.sources[0].means))
    assert np.all(np.linalg.eigvalsh(fit.sources[0].covariances[0]) > 0)


def _not_positive_definite(*_, **__):
    raise np.linalg.LinAlgError


def test_a_fit_that_is_stopped_says_so():
    posterior, starts = group(galaxy(20))
    fit = fit_hypothesis(posterior, [GALAXY], starts[GALAXY], TrustRegion(max_iterations=2))
    assert not fit.minimum.converged
    assert "raise max_iterations" in fit.minimum.message
