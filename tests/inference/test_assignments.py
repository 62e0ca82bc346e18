"""The types of a group: which assignments are fitted, and what they say of each source together."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from inference.small_fields import field, fitter, galaxy, seeds, star

from celestepy.inference import assignments
from celestepy.inference.assignments import weigh_types
from celestepy.inference.newton import TrustRegion
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, KINDS, STAR


class Landscape:
    """Stands for fits: the log evidence of every assignment is a given function of its types."""

    def __init__(self, log_evidence):
        self.log_evidence, self.visited = log_evidence, []

    def __call__(self, posterior, kinds, vectors, settings):
        self.visited.append(tuple(kinds))
        value = self.log_evidence(kinds)
        sources = tuple(SourcePosterior(kind, np.ones(1), np.array([[value]]), np.ones((1, 1, 1))) for kind in kinds)
        return SimpleNamespace(kinds=tuple(kinds), log_evidence=value, sources=sources, vectors=vectors,
                               minimum=SimpleNamespace(converged=True))


def weigh(monkeypatch, n_sources, log_evidence, **options):
    """Weigh the types of a group in a landscape; its posterior's prior knows nothing of types."""
    fits = Landscape(log_evidence)
    monkeypatch.setattr(assignments, "fit_hypothesis", fits)
    prior = SimpleNamespace(log_type_probability=lambda kind: np.log(0.3 if kind == STAR else 0.7))
    posterior = SimpleNamespace(n_sources=n_sources, prior=prior)
    starts = {kind: [np.zeros(2)] * n_sources for kind in KINDS}
    return weigh_types(posterior, starts, TrustRegion(), **options), fits


def independent(costs):
    """Each source that is no star costs its own number of nats."""
    return lambda kinds: -sum(cost for kind, cost in zip(kinds, costs, strict=True) if kind == GALAXY)


def total(n_sources, log_evidence):
    """Log evidence over all assignments."""
    priors = {STAR: np.log(0.3), GALAXY: np.log(0.7)}
    return np.logaddexp.reduce([log_evidence(kinds) + sum(priors[kind] for kind in kinds)
                                for kinds in product(KINDS, repeat=n_sources)])


class TestSearch:
    @pytest.mark.parametrize("n_sources", [1, 2, 3])
    def test_small_groups_are_enumerated(self, monkeypatch, n_sources):
        types, fits = weigh(monkeypatch, n_sources, independent([1.0] * n_sources))
        assert set(fits.visited) == set(product(KINDS, repeat=n_sources))
        assert len(fits.visited) == 2**n_sources
        assert types.log_evidence == pytest.approx(total(n_sources, independent([1.0] * n_sources)))

    def test_of_a_large_group_what_matters_is_fitted(self, monkeypatch):
        """Three sources in doubt, three that are certain: all combinations of the first."""
        costs = [1.0, -0.5, 2.0, 20.0, -30.0, 25.0]
        types, fits = weigh(monkeypatch, 6, independent(costs))
        assert types.best.kinds[3:] == (STAR, GALAXY, STAR)
        assert len(set(fits.visited)) == len(fits.visited) < 32
        in_doubt = set(product(KINDS, repeat=3))
        assert in_doubt <= {kinds[:3] for kinds in fits.visited if kinds[3:] == (STAR, GALAXY, STAR)}
        # What was not fitted is below exp(-20).
        assert types.log_evidence == pytest.approx(total(6, independent(costs)), abs=1e-6)

    def test_flips_lead_to_the_top(self, monkeypatch):
        """One flip after the other, from galaxies only to what costs nothing."""
        top = (STAR, GALAXY, STAR, GALAXY, STAR)

        def cost(kinds):
            return -10.0 * sum(one != other for one, other in zip(kinds, top, strict=True))

        types, fits = weigh(monkeypatch, 5, cost)
        assert types.best.kinds == top
        # Four rounds of five flips at the most, less those seen before.
        assert len(fits.visited) <= 16

    def test_it_starts_where_it_is_told(self, monkeypatch):
        first = (STAR, GALAXY, STAR, STAR)
        _, fits = weigh(monkeypatch, 4, independent([50, -50, 50, 50]), first=first)
        assert fits.visited[0] == first
        # Nothing is better and nothing in doubt: only the flips, which every source's other type needs.
        assert len(fits.visited) == 5
        for k in range(4):
            assert {kinds[k] for kinds in fits.visited} == set(KINDS)

    def test_no_window_means_no_combinations(self, monkeypatch):
        """Stars that might as well be galaxies, each for itself."""
        costs = independent([2.0] * 5)
        _, few = weigh(monkeypatch, 5, costs, first=(STAR,) * 5, window=0.0)
        _, many = weigh(monkeypatch, 5, costs, first=(STAR,) * 5)
        assert len(few.visited) == 6
        assert len(many.visited) > 16

    def test_failed_fits_weigh_nothing(self, monkeypatch):
        types, _ = weigh(monkeypatch, 2, lambda kinds: -np.inf if GALAXY in kinds else -3.0)
        assert types.best.kinds == (STAR, STAR)
        assert types.source(0, GALAXY) is None
        assert types.type_evidence(0, GALAXY) == -np.inf
        assert types.log_evidence == pytest.approx(-3.0 + 2 * np.log(0.3))

    def test_when_all_fits_fail(self, monkeypatch):
        types, _ = weigh(monkeypatch, 2, lambda kinds: -np.inf)
        assert types.log_evidence == -np.inf
        assert np.isfinite(types.log_weights).all()
        assert types.type_evidence(1, STAR) == -np.inf


class TestMarginals:
    @pytest.fixture
    def types(self, monkeypatch):
        log_evidence = {(STAR, STAR): 0.0, (STAR, GALAXY): -1.0, (GALAXY, STAR): -2.0, (GALAXY, GALAXY): -20.0}
        return weigh(monkeypatch, 2, lambda kinds: log_evidence[tuple(kinds)])[0]

    def test_weights_are_a_distribution(self, types):
        assert np.exp(types.log_weights).sum() == pytest.approx(1)

    def test_both_types_of_a_source_are_everything(self, types):
        for k in range(2):
            both = [types.type_evidence(k, kind) for kind in KINDS]
            assert np.logaddexp(*both) == pytest.approx(types.log_evidence)

    def test_a_source_is_the_mixture_over_the_types_of_the_other(self, types):
        source = types.source(0, STAR)
        expected = np.array([np.log(0.7) - 1.0, np.log(0.3)])
        shares = dict(zip(source.means[:, 0], source.weights, strict=True))
        assert shares[0.0] == pytest.approx(1 / (1 + np.exp(expected[0] - expected[1])))
        assert sum(shares.values()) == pytest.approx(1)

    def test_negligible_parts_are_left_out(self, types):
        assert len(types.source(0, GALAXY).weights) == 1

    def test_vectors_come_from_the_best_fit_of_each_type(self, types):
        assert types.vectors(0).keys() == set(KINDS)


class TestRealGroups:
    def weigh(self, *sources, **options):
        engine = fitter(field(*sources, size=45).images, seeds(*sources))
        data = engine.placement.gather(range(len(sources)), {})
        posterior = engine.posterior(data)
        return weigh_types(posterior, engine.starts(data), engine.newton, **options)

    def test_types_of_a_pair(self):
        """At S/N 120 and three pixels apart there is no doubt."""
        types = self.weigh(star(20, -1.5), galaxy(20, 1.5, half_light_radius=1.5))
        assert types.best.kinds == (STAR, GALAXY)
        assert np.exp(types.log_weights.max()) > 0.99

    def test_the_search_loses_little(self):
        """Of all 16 assignments of four sources, the search fits those that hold 95% of the evidence."""
        sources = [star(21.5, -5), galaxy(21.5, -1.5), star(21.8, 2), galaxy(21.8, 5, 2)]
        every, some = self.weigh(*sources, enumerate_up_to=4), self.weigh(*sources)
        assert len(every.hypotheses) == 16
        assert len(some.hypotheses) <= 16
        assert some.log_evidence == pytest.approx(every.log_evidence, abs=0.05)
        assert some.best.kinds == every.best.kinds
