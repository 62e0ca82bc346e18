"""Errors of fluxes with morphologies free."""

import numpy as np
import pytest
from deblend.small_scenes import blank, coarse, random_scene

from celestepy.deblend import flux_errors
from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.flux_errors import free_flux_covariance
from celestepy.deblend.forward_backward import ForwardBackward
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import FreeSource
from celestepy.deblend.stopping import StopRule

y, x = np.mgrid[-9:10, -9:10]
PROFILE = np.exp(-np.hypot(y / 0.7, x) / 2)


def pair(distance, weight=100.0, masked=None):
    """Two equal galaxies side by side."""
    o = blank(weight=weight)
    weights = o.weights.copy()
    if masked is not None:
        weights[masked] = 0
    frame = Frame(Observation.from_arrays(o.images, weights, psfs=o.psfs, bands=o.bands, grid=o.grid))
    return Scene(frame, [FreeSource(15, 17 + side * distance // 2, PROFILE, [4.0, 6.0, 8.0]) for side in (-1, 1)])


def errors(scene, **options):
    return np.sqrt(np.einsum("bkk->kb", free_flux_covariance(scene, **options)))


class TestFreeMorphologies:
    @pytest.mark.parametrize("observations", [[blank()], [blank(), coarse()]], ids=["one grid", "two"])
    def test_without_freedom_they_are_those_of_fixed_ones(self, observations):
        """A freedom of 1e-6; one of 0 would have an infinite inverse."""
        scene = random_scene(observations)
        np.testing.assert_allclose(
            free_flux_covariance(scene, freedom=1e-6), scene.flux_covariance(), rtol=1e-5, atol=1e-9
        )

    def test_against_the_formula_of_the_other_side(self):
        """The same posterior from the covariance of the data, not from second derivatives (Kalman's form)."""
        scene = pair(8)
        stack, _, owners, spreads = flux_errors._freedoms(scene, np.arange(2), 6, 2.0, 0.03)
        frame, n = scene.frame, len(stack)
        own = frame.columns(np.concatenate([stack, scene.stack()]))[0]
        n_bands, _, n_pixels = own.shape
        response = np.zeros((n_bands * n_pixels, n + 2 * n_bands))
        totals = np.zeros((n_bands, 2, n + 2 * n_bands))
        for b in range(n_bands):
            rows = np.s_[b * n_pixels : (b + 1) * n_pixels]
            response[rows, :n] = (own[b, :n] * scene.seds[owners, b][:, None]).T
            response[rows, n + 2 * b : n + 2 * b + 2] = own[b, n:].T
            for k in range(2):
                totals[b, k, n + 2 * b + k] = 1
                totals[b, k, :n] = np.where(owners == k, stack.sum(axis=(1, 2)), 0) * scene.seds[k, b]
        before = np.diag(np.concatenate([spreads**2, np.full(2 * n_bands, 1e6)]))  # fluxes: all but unknown
        noise = np.diag(1 / frame.observations[0].weights.ravel())
        gain = before @ response.T @ np.linalg.inv(response @ before @ response.T + noise)
        after = before - gain @ response @ before
        expected = np.einsum("bki,ij,blj->bkl", totals, after, totals)
        np.testing.assert_allclose(free_flux_covariance(scene, patch=6), expected, rtol=1e-3)

    def test_neighbours_cost_more_than_noise_says(self):
        alone, touching = errors(pair(16)), errors(pair(5))
        assert (touching > 1.5 * alone).all()
        fixed = np.sqrt(np.einsum("bkk->kb", pair(5).flux_covariance()))
        assert (touching > 2 * fixed).all()
        covariance = free_flux_covariance(pair(5))
        assert (covariance[:, 0, 1] < 0).all()  # what one gets the other loses

    def test_less_noise_less_error(self):
        assert (errors(pair(8, 1e4)) < 0.7 * errors(pair(8, 1e2))).all()

    def test_masks(self):
        """A masked half makes its source less certain and a masked band unknown."""
        whole, half = errors(pair(10)), errors(pair(10, masked=np.s_[:, 15:, 22:]))
        assert (half[1] > 1.1 * whole[1]).all()
        assert np.isnan(errors(pair(10, masked=0))[:, 0]).all()

    def test_a_wide_mask_is_no_reason_for_doubt(self):
        """A bright source in a box that is mostly masked: what is hidden is as uncertain as the light put there."""
        scene = pair(8, 1e4, masked=np.s_[:, 22:, :])
        wide = scene.replace([scene.sources[0].replace(morphology=np.pad(PROFILE, 20))])
        assert (errors(wide)[0] < 0.1 * wide.seds[0]).all()  # three times that if light might be anywhere

    def test_sources_outside_and_no_sources(self):
        scene = pair(8)
        found = errors(scene.replace([*scene.sources, FreeSource(100, 100, np.ones((5, 5)), np.ones(3))]))
        np.testing.assert_allclose(found[:2], errors(scene))
        assert np.isnan(found[2]).all()
        assert free_flux_covariance(scene.replace([])).shape == (3, 0, 0)

    def test_memory_is_bounded(self, monkeypatch):
        """With less room there are fewer bumps, but at least one for each source."""
        monkeypatch.setattr(flux_errors, "_MOST_NUMBERS", 1.0)
        stack, _, owners, _ = flux_errors._freedoms(pair(8), np.arange(2), 4, 2.0, 0.03)
        assert len(stack) == 2
        assert owners.tolist() == [0, 1]


def test_result_has_both():
    result = AdaProx(stop=StopRule(20)).fit(pair(8))
    fixed = np.sqrt(np.einsum("bkk->kb", result.covariance))
    shown = np.isfinite(result.flux_errors)
    assert (result.flux_errors >= 0.99 * fixed)[shown].all()
    np.testing.assert_array_equal(result.table()["flux_r_err"], result.flux_errors[:, 1])
    assert result.flux_covariance is result.flux_covariance  # worked out once


def test_methods_have_freedoms_of_their_own():
    """What a method's morphologies are off by is its own; the errors of its fluxes are made with that."""
    result = AdaProx(stop=StopRule(20)).fit(pair(8))
    assert result.freedom == AdaProx.freedom != ForwardBackward.freedom
    np.testing.assert_allclose(result.flux_errors, errors(result.scene, freedom=AdaProx.freedom))
