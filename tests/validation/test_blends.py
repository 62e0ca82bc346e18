"""Overlapping sources drawn by GalSim, which shares no code with the model that is fitted."""

import numpy as np
import pytest

pytest.importorskip("galsim", reason="drawing the blends needs GalSim: pip install galsim")
pytestmark = pytest.mark.validation

REALISATIONS = 6
R = 2  # among the bands


@pytest.fixture(scope="module")
def blends(benchmark_script):
    return benchmark_script("blends")


@pytest.fixture(
    scope="module",
    params=[("row", "truth"), ("closer blend", "truth"), ("row", "detection"), ("closer blend", "detection")],
    ids=" from ".join,
)
def fitted(blends, request):
    """Detection sees one source in each of these scenes, and the search has to find the others."""
    name, seeds = request.param
    scene = blends.SCENES[name]
    return scene, blends.fit_scene(scene, REALISATIONS, seeds)


def test_every_source_is_kept_and_none_added(fitted):
    assert fitted[1].whole.all()


def test_mean_fluxes_are_right_to_two_percent(fitted):
    """Two percent and three standard errors of the mean of six realisations."""
    flux, error = (part[:, :, R] for part in (fitted[1].flux, fitted[1].error))
    assert np.all(np.abs(flux.mean(axis=0) - 1) < 0.02 + 3 * error.mean(axis=0) / np.sqrt(REALISATIONS))


def test_types_are_right(fitted):
    """The median over the realisations; a star of S/N 100 in a blend is certain in nearly all of them."""
    assert np.all(np.median(fitted[1].right, axis=0) > 0.99)


def test_fluxes_scatter_by_their_errors(fitted):
    """Eighteen pulls of the r flux: their quadratic mean is known to 17 %, and the bounds are three times that."""
    pulls = (fitted[1].flux[..., R] - 1) / fitted[1].error[..., R]
    assert 0.5 < np.sqrt(np.mean(pulls**2)) < 1.5


def test_profiles_without_noise_give_back_their_flux(blends):
    """The mixtures of Gaussians stand in for both profiles to 2 %, where those are cut off as in SDSS."""
    exponential, cut_off, _ = blends.profile_figures()
    assert exponential.value == pytest.approx(1, abs=0.02)
    assert cut_off.value == pytest.approx(1, abs=0.02)
