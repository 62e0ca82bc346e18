"""Prior densities: derivatives, normalisation, agreement of samples and densities, files, change of bands."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from reference import priors as reference
from scipy import integrate, stats

from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw
from celestepy.model.priors import Prior

STEP = 1e-5
NAMES = ("sdss-deep", "celeste2019")


@pytest.fixture(scope="module", params=NAMES)
def prior(request):
    return Prior.load(request.param)


def mixture(rng, n_components=3, n_colors=4):
    roots = 0.4 * rng.normal(size=(n_components, n_colors, n_colors)) + 0.3 * np.eye(n_colors)
    means, slopes = rng.normal(size=(2, n_components, n_colors))
    covariances = roots @ roots.transpose(0, 2, 1)
    return ColorMixture(rng.uniform(0.2, 1, n_components), means, covariances, 0.3 * slopes, 0.7)


@pytest.mark.parametrize("component", [None, 0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_equals_sum_of_laws(prior, kind, component):
    for theta in prior.sample_theta(kind, 20, np.random.default_rng(1)):
        theta[:2] = 0.2, -0.1
        ours = prior.log_density(kind, theta, 0.3, component=component)
        theirs = reference.log_density(prior, kind, theta, 0.3, component)
        for value, expected in zip(ours, theirs, strict=True):
            # The same formulas in another order; precisions of a few hundred amplify the rounding.
            np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("component", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once(prior, kind, component):
    theta = prior.sample_theta(kind, 20, np.random.default_rng(1))
    expected = [prior.log_density(kind, each, 0.3, order=0, component=component)[0] for each in theta]
    np.testing.assert_array_equal(prior.log_densities(kind, theta, 0.3, component), expected)
    theta[3, 2] = np.nan
    assert np.isnan(prior.log_densities(kind, theta, 0.3)).sum() == 1
    with pytest.raises(ValueError, match=r"must have shape \(m, "):
        prior.log_densities(kind, theta[0], 0.3)


@pytest.mark.parametrize("component", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_central_differences(prior, kind, component):
    for theta in prior.sample_theta(kind, 5, np.random.default_rng(2)):
        theta[:2] = 0.2, -0.1
        _, gradient, hessian = prior.log_density(kind, theta, 0.3, component=component)
        high, low = ([prior.log_density(kind, theta + sign * h, 0.3, component=component)
                      for h in STEP * np.eye(theta.size)] for sign in (1, -1))
        slope = [(up[0] - down[0]) / (2 * STEP) for up, down in zip(high, low, strict=True)]
        bend = [(up[1] - down[1]) / (2 * STEP) for up, down in zip(high, low, strict=True)]
        # Rounding 1e-11 of the value, truncation 1e-10 of third derivatives of order precision^(3/2).
        np.testing.assert_allclose(gradient, slope, rtol=1e-7, atol=1e-6)
        np.testing.assert_allclose(hessian, bend, rtol=1e-6, atol=1e-7 * np.abs(hessian).max())


@pytest.mark.parametrize("kind", KINDS)
def test_components_add_up_to_the_mixture(prior, kind):
    theta = prior.sample_theta(kind, 1, np.random.default_rng(3))[0]
    whole = prior.log_density(kind, theta, 0.5, order=0)[0]
    parts = [prior.log_density(kind, theta, 0.5, order=0, component=j)[0]
             for j in range(len(getattr(prior, kind).colors))]
    assert np.logaddexp.reduce(parts) == pytest.approx(whole, abs=1e-11)


def test_order_limits_what_is_returned(prior):
    theta = np.zeros(7)
    assert prior.log_density(STAR, theta, 1.0, order=0)[1:] == (None, None)
    assert prior.log_density(STAR, theta, 1.0, order=1)[2] is None


@pytest.mark.parametrize("law", [Normal(0.3, 0.8), LogisticBeta(1.0, 0.1, -0.46, 0.25),
                                 LogisticBeta(0.26, 0.28)])
def test_scalar_laws_are_normalised_and_sampled(law):
    mass, _ = integrate.quad(lambda x: np.exp(law.evaluate(x)[0]), -200, 200, points=[law.mean], limit=500)
    assert mass == pytest.approx(1, abs=1e-6)  # the tails beyond 200 weigh less than exp(-50)
    draws = np.sort(law.sample(4000, np.random.default_rng(4)))
    grid = np.linspace(-200, 200, 400_001)
    cumulative = integrate.cumulative_trapezoid(np.exp([law.evaluate(x)[0] for x in grid]), grid, initial=0)
    # A seeded Kolmogorov test: a wrong scale of 5% gives p < 1e-3 with this many draws.
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cumulative)).pvalue > 0.01


def test_logistic_beta_moments():
    law = LogisticBeta(0.7, 0.3, -0.4, 0.5)
    draws = law.sample(200_000, np.random.default_rng(5))
    assert draws.mean() == pytest.approx(law.mean, abs=4 * law.sd / np.sqrt(draws.size))
    assert draws.std() == pytest.approx(law.sd, rel=0.02)  # kurtosis 9: the error of the sd is 0.4%


def test_unit_logistic_beta_is_the_logit_of_a_beta():
    a, b, x = 0.4, 0.7, 1.3
    d = 1 / (1 + np.exp(-x))
    expected = stats.beta(a, b).logpdf(d) + np.log(d * (1 - d))
    assert LogisticBeta(a, b).evaluate(x)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("law", [AxisRatioLaw(2.1, 0.77), AxisRatioLaw(2.0, 2.0, 0.1),
                                 AxisRatioLaw(1.0, 1.0)])
def test_axis_ratio_law_is_normalised_and_sampled(law):
    def radial(e):
        return 2 * np.pi * e * np.exp(law.evaluate(e, 0.0)[0])

    mass, _ = integrate.quad(radial, 0, 60, limit=300)
    assert mass == pytest.approx(1, abs=1e-7)
    draws = law.sample(4000, np.random.default_rng(6))
    grid = np.linspace(0, 40, 200_001)
    cumulative = integrate.cumulative_trapezoid([radial(e) for e in grid], grid, initial=0)
    assert stats.kstest(np.hypot(*draws.T), lambda e: np.interp(e, grid, cumulative)).pvalue > 0.01
    angles = np.arctan2(draws[:, 1], draws[:, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


def test_axis_ratio_law_tends_to_the_beta_law():
    law, q = AxisRatioLaw(2.5, 2.0, 1e-6), 0.3
    e = -np.log(q)
    expected = stats.beta(2.5, 2.0).logpdf(q) + np.log(q / (2 * np.pi * e))
    assert law.evaluate(e * np.cos(1.0), e * np.sin(1.0))[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_density_is_normalised(kind):
    """Importance sampling: the mean of density / proposal is one, over all coordinates jointly."""
    prior, rng = Prior.default("gr"), np.random.default_rng(7)
    centre = prior.sample_theta(kind, 4000, rng)
    centre[:, :2] = rng.normal(0, 0.3, (4000, 2))
    # Five degrees of freedom cover the exponential tails; the fit is widened to cover every component.
    proposal = stats.multivariate_t(centre.mean(axis=0), 0.8 * np.cov(centre, rowvar=False), df=5, seed=rng)
    draws = proposal.rvs(40_000)
    logs = [prior.log_density(kind, theta, 0.3, order=0)[0] for theta in draws]
    ratios = np.exp(logs - proposal.logpdf(draws))
    error = ratios.std() / np.sqrt(ratios.size)
    assert error < 0.03
    assert abs(ratios.mean() - 1) < 3.5 * error


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_density(prior, kind):
    """Whitened by each component's normal law, the colours and radii of draws are standard normal."""
    laws, at = getattr(prior, kind), layout(kind, 5)
    theta = prior.sample_theta(kind, 4000, np.random.default_rng(8))
    direction = np.array([0.5, -0.3, 0.2, 0.7])
    centres = laws.colors.centres(theta[:, at.log_flux]) @ direction
    widths = np.sqrt(np.einsum("a,jab,b->j", direction, laws.colors.covariances, direction))
    projected = (theta[:, at.colors] @ direction)[:, None]
    uniform = stats.norm.cdf(projected, centres, widths) @ laws.colors.weights
    assert stats.kstest(uniform, "uniform").pvalue > 0.01
    if kind == GALAXY:
        law = laws.log_radius
        mean = law.mean + law.slope * (theta[:, at.log_flux] - law.pivot)
        assert stats.kstest((theta[:, at.log_radius] - mean) / law.sd, "norm").pvalue > 0.01


def test_responsibilities_are_shares_of_the_density():
    rng = np.random.default_rng(9)
    law = mixture(rng)
    colors, log_flux = rng.normal(size=(5, 4)), rng.normal(size=5)
    shares = law.responsibilities(colors, log_flux)
    for k in range(5):
        whole = law.evaluate(colors[k], log_flux[k])[0]
        parts = [law.evaluate(colors[k], log_flux[k], j)[0] for j in range(3)]
        np.testing.assert_allclose(shares[k], np.exp(np.array(parts) - whole), rtol=1e-10)


def test_saved_prior_is_equal(prior, tmp_path):
    prior.save(tmp_path / "prior.json")
    again = Prior.load(tmp_path / "prior.json")
    assert again == prior
    assert again.provenance == prior.provenance
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "prior.json").read_bytes()


def test_prior_can_be_pickled_and_copied(prior):
    theta = np.full(11, 0.3)
    value = prior.log_density(GALAXY, theta, 1.0)[0]  # fills the cache of kernels
    for twin in (pickle.loads(pickle.dumps(prior)), copy.deepcopy(prior)):
        assert twin == prior
        assert twin.log_density(GALAXY, theta, 1.0)[0] == value


def test_subset_of_bands_is_a_marginal():
    """For bands that keep the reference, the colours of draws follow the mapped mixture exactly."""
    prior = Prior.default()
    small = prior.for_bands("grz")
    assert small.bands.color_names == ("gr", "rz")
    theta = prior.sample_theta(GALAXY, 6000, np.random.default_rng(10))
    mapped = np.column_stack([theta[:, 4], theta[:, 5] + theta[:, 6]])
    fresh = small.sample_theta(GALAXY, 6000, np.random.default_rng(11))[:, 3:5]
    for k in range(2):
        assert stats.ks_2samp(mapped[:, k], fresh[:, k]).pvalue > 0.01
    assert np.corrcoef(mapped.T)[0, 1] == pytest.approx(np.corrcoef(fresh.T)[0, 1], abs=0.05)


def test_bands_there_and_back():
    prior = Prior.default()
    assert prior.for_bands("ugriz") is prior
    assert Prior.default("r").galaxy.colors.n_colors == 0
    reordered = prior.for_bands("zirgu").for_bands("ugriz")
    np.testing.assert_allclose(reordered.star.colors.means, prior.star.colors.means, atol=1e-12)
    np.testing.assert_allclose(reordered.star.colors.covariances, prior.star.colors.covariances, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_another_reference_band_keeps_the_brightness(name, kind):
    """The law of the new reference flux has nearly the mean and width of that flux in draws."""
    prior = Prior.load(name)
    moved = prior.for_bands("ugriz", "i")
    log_flux_i = prior.sample_theta(kind, 20_000, np.random.default_rng(12))[:, [2, 5]].sum(axis=1)
    law = getattr(moved, kind).log_flux
    # First order: slopes of the colours with brightness shift the mean by up to 0.15 of the sd.
    assert law.mean == pytest.approx(log_flux_i.mean(), abs=0.15 * law.sd)
    assert law.sd == pytest.approx(log_flux_i.std(), rel=0.15)


def test_unknown_bands_are_named():
    with pytest.raises(ValueError, match=r"no colours for the band\(s\) Y, K; it knows u, g, r, i, z"):
        Prior.default(("g", "r", "Y", "K"))


def test_type_probabilities():
    prior = replace(Prior.default(), star_fraction=0.2)
    assert prior.log_odds == pytest.approx(np.log(0.25))
    assert prior.log_type_probability(STAR) == pytest.approx(np.log(0.2))
    assert prior.log_type_probability(GALAXY) == pytest.approx(np.log(0.8))


def test_sample_is_a_table_with_units_and_a_seed():
    prior = Prior.default()
    table = prior.sample(500, np.random.default_rng(13))
    again = prior.sample(500, np.random.default_rng(13))
    for name in table.colnames:
        np.testing.assert_array_equal(table[name], again[name])
    assert (table["flux_r"].unit, table["half_light_radius"].unit) == ("nmgy", "arcsec")
    star = table["is_star"]
    assert np.isnan(table["axis_ratio"][star]).all()
    assert np.isfinite(table["axis_ratio"][~star]).all()
    assert star.mean() == pytest.approx(prior.star_fraction, abs=4 * np.sqrt(0.16 / 500))


def test_default_colours_are_physical():
    """Magnitudes: the scatter of galaxies is that of galaxies, and stars lie on the locus."""
    prior, magnitude = Prior.default(), 2.5 / np.log(10)
    ug, gr, _, iz = magnitude * np.sqrt(np.diag(prior.galaxy.colors.covariance))
    assert 0.3 < gr < 0.5
    assert 0.3 < ug < 0.8
    assert iz < 0.25
    theta = prior.sample_theta(STAR, 5000, np.random.default_rng(14))
    g_r = magnitude * theta[:, 4]
    assert np.percentile(g_r, [5, 95]) == pytest.approx([0.25, 1.65], abs=0.15)


@pytest.mark.parametrize(("change", "match"), [
    (lambda d: d.update(star_fraction=1.5), "star_fraction must lie between 0 and 1"),
    (lambda d: d["star"].pop("colors"), "'colors' is missing"),
    (lambda d: d["galaxy"]["log_flux"].update(law="pareto"), "got 'pareto'"),
    (lambda d: d["galaxy"]["log_radius"].update(sd=-1.0), "sd must be positive"),
    (lambda d: d["galaxy"]["axis_ratio"].update(c=1.0), "unexpected keyword argument 'c'"),
    (lambda d: d.update(bands=["g", "r"]), "4 colours, but the bands"),
    (lambda d: d["star"]["colors"]["weights"].pop(), "weights need means"),
    (lambda d: d["star"]["colors"]["covariances"][0][0].__setitem__(0, -1.0), "positive definite"),
    (lambda d: d["star"]["colors"]["covariances"][0][0].__setitem__(1, 0.9), "symmetric"),
    (lambda d: d.update(version=7), "not a prior file"),
])
def test_bad_files_are_refused_by_name(change, match, tmp_path):
    document = Prior.default().to_document()
    document = json.loads(json.dumps(document))
    change(document)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=match) as raised:
        Prior.load(path)
    assert "broken.json" in str(raised.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="sdss-deep, celeste2019"):
        Prior.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("not JSON")
    with pytest.raises(ValueError, match=r"text\.json is not a JSON file"):
        Prior.load(tmp_path / "text.json")


def test_bad_arguments():
    prior = Prior.default()
    with pytest.raises(ValueError, match=r"theta of a star in 5 bands must have shape \(7,\)"):
        prior.log_density(STAR, np.zeros(11), 1.0)
    with pytest.raises(ValueError, match="component must be None or 0 to"):
        prior.log_density(STAR, np.zeros(7), 1.0, component=99)
    with pytest.raises(ValueError, match="weights must be positive"):
        ColorMixture([0.5, -0.5], np.zeros((2, 1)), np.ones((2, 1, 1)))
    with pytest.raises(ValueError, match="at most 64 colour components"):
        replace(prior, star=replace(prior.star, colors=ColorMixture(np.ones(65), np.zeros((65, 4)),
                                                                    np.tile(np.eye(4), (65, 1, 1)))))
    with pytest.raises(ValueError, match="softening must be positive"):
        AxisRatioLaw(1.0, 1.0, 0.0)


def test_radius_law_follows_the_flux():
    law = RadiusLaw(mean=-0.7, sd=0.4, slope=0.3, pivot=1.0)
    assert law.evaluate(-0.4, 2.0)[0] == pytest.approx(stats.norm(-0.4, 0.4).logpdf(-0.4))
    assert law.evaluate(-0.4, 2.0)[1] == pytest.approx(0.0, abs=1e-12)
