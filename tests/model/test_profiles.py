"""The profile mixtures: flux and half-light radius exact, the shape near that of the true profiles."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL, ProfileMixture

MIXTURES = {1: EXPONENTIAL, 4: DE_VAUCOULEURS}


def sersic_enclosed_flux(index, radius):
    """Fraction of the light of a Sersic profile inside a circle; radius in half-light radii."""
    scale = gammaincinv(2 * index, 0.5)
    return gammainc(2 * index, scale * radius ** (1 / index))


@pytest.mark.parametrize("index", MIXTURES)
def test_fluxes_add_up_to_one(index):
    assert MIXTURES[index].amplitudes.sum() == pytest.approx(1, abs=1e-15)
    assert (MIXTURES[index].amplitudes > 0).all()


@pytest.mark.parametrize("index", MIXTURES)
def test_half_the_light_is_inside_the_half_light_radius(index):
    mixture = MIXTURES[index]
    assert mixture.enclosed_flux(1.0) == pytest.approx(0.5, abs=1e-14)
    assert brentq(lambda radius: mixture.enclosed_flux(radius) - 0.5, 0.5, 2, xtol=1e-14) == pytest.approx(
        1, abs=1e-13
    )


# Largest errors of the light inside a circle. Both mixtures follow the profiles out to several radii and
# leave out the light beyond (de Vaucouleurs: 7% beyond 8 half-light radii), so that of the normalised
# mixtures more is inside.
@pytest.mark.parametrize(("index", "tolerance"), [(1, 0.012), (4, 0.047)])
def test_light_is_distributed_like_that_of_the_profile(index, tolerance):
    radii = np.geomspace(0.05, 8, 50)
    found, expected = MIXTURES[index].enclosed_flux(radii), sersic_enclosed_flux(index, radii)
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_de_vaucouleurs_has_a_point_core():
    assert DE_VAUCOULEURS.variances[0] == 0
    assert DE_VAUCOULEURS.amplitudes[0] == 0.0102
    assert len(DE_VAUCOULEURS.amplitudes) == 9
    assert len(EXPONENTIAL.amplitudes) == 6


def test_published_ratios_are_kept():
    """Rescaling changes the unit of length and of flux, not the mixture."""
    np.testing.assert_allclose(
        EXPONENTIAL.variances[1:] / EXPONENTIAL.variances[0],
        np.array([8.84526493, 39.1463084, 139.976817, 460.9625, 1501.59566]) / 1.20078965,
    )
    assert DE_VAUCOULEURS.amplitudes[8] / DE_VAUCOULEURS.amplitudes[1] == pytest.approx(
        5.60989349 / 4.26347652e-2
    )


def test_mixtures_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        EXPONENTIAL.amplitudes[0] = 1
    with pytest.raises(AttributeError):
        EXPONENTIAL.amplitudes = np.ones(6)


def test_enclosed_flux_keeps_the_shape_of_the_radii():
    mixture = ProfileMixture(np.array([1.0]), np.array([1.0]))
    radii = np.ones((2, 3))
    np.testing.assert_allclose(mixture.enclosed_flux(radii), np.full((2, 3), 1 - np.exp(-0.5)))
