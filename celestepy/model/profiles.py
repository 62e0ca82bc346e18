"""Radial profiles of galaxies as mixtures of Gaussians.

The exponential and the de Vaucouleurs profile are approximated by the mixtures of [1]_ (six and eight
components). As published, the circles that hold half of a mixture's light have radii of 0.986 and 0.915,
because the fits are truncated; here the variances are rescaled so that the half-light radius is 1, and
``half_light_radius`` means what it says. The de Vaucouleurs mixture also gets a point-like core of 1.02 %
of the flux, the light that the true profile holds inside the smallest Gaussian: without it fluxes of
de Vaucouleurs galaxies come out about 1 % wrong.

References
----------
.. [1] Hogg & Lang 2013, "Replacing standard galaxy profiles with mixtures of Gaussians", PASP 125, 719,
   tables for "exp" (six components) and "dev" (eight components).
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["DE_VAUCOULEURS", "EXPONENTIAL", "ProfileMixture"]


@dataclass(frozen=True)
class ProfileMixture:
    """A circular profile of unit flux and unit half-light radius as a sum of concentric Gaussians.

    Attributes
    ----------
    amplitudes : `~numpy.ndarray`, shape (n,)
        Flux of each component; the sum is 1. Read-only.
    variances : `~numpy.ndarray`, shape (n,)
        Variance along each axis of each component, in squared half-light radii. Read-only.
    """

    amplitudes: np.ndarray
    variances: np.ndarray

    def __post_init__(self):
        for values in (self.amplitudes, self.variances):
            values.flags.writeable = False

    def enclosed_flux(self, radius):
        """Fraction of the flux inside a circle.

        Parameters
        ----------
        radius : array_like
            Radius in half-light radii, > 0.

        Returns
        -------
        `~numpy.ndarray`
            ``sum_j a_j (1 - exp(-radius^2 / (2 v_j)))``, the shape of ``radius``.
        """
        squares = np.square(np.asarray(radius, dtype=float))[..., None]
        with np.errstate(divide="ignore"):
            exponents = -squares / (2 * self.variances)
        return -np.expm1(exponents) @ self.amplitudes


def _rescaled(amplitudes, variances, half_light_radius, point_fraction=0.0):
    """Mixture with a point core, normalised, in units of the half-light radius the fit really has."""
    amplitudes = np.array(amplitudes)
    amplitudes *= (1 - point_fraction) / amplitudes.sum()
    variances = np.array(variances) / half_light_radius**2
    if point_fraction > 0:
        amplitudes, variances = np.append(point_fraction, amplitudes), np.append(0.0, variances)
    return ProfileMixture(amplitudes, variances)


# The half-light radii below are the roots of enclosed_flux(radius) = 1/2 for the published variances (with
# the point core for de Vaucouleurs), to the last digit of a double.
EXPONENTIAL = _rescaled(
    [2.34853813e-3, 3.07995260e-2, 0.223364214, 1.17949102, 4.33873750, 5.99820770],
    [1.20078965e-3, 8.84526493e-3, 3.91463084e-2, 0.139976817, 0.460962500, 1.50159566],
    half_light_radius=0.9861536269006194,
)

DE_VAUCOULEURS = _rescaled(
    [4.26347652e-2, 0.240127183, 0.685907632, 1.51937350, 2.83627243, 4.46467501, 5.72440830, 5.60989349],
    [
        2.23759216e-4,
        1.00220099e-3,
        4.18731126e-3,
        1.69432589e-2,
        6.84850479e-2,
        0.287207080,
        1.33320254,
        8.40215071,
    ],
    half_light_radius=0.8996688871842088,
    point_fraction=0.0102,
)
