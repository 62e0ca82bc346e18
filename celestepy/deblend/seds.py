"""The fluxes of all sources in all bands, given their morphologies: a linear problem, solved exactly.

For each band the normal equations G a = r, G_kl = sum_p w c_k c_l and r_k = sum_p w c_k y with the columns c_k that
`Frame.columns` makes, are scaled to a unit diagonal. A tiny ridge makes sources with the same column share the flux
evenly; sources without a usable pixel in a band have no flux there.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

__all__ = ["Fluxes", "flux_covariance", "normal_equations", "solve_fluxes"]

RIDGE = 1e-9  # relative to the diagonal
NO_INFORMATION = 1e-12  # of the band's largest diagonal element: the source has no weight to speak of


@dataclass(frozen=True, eq=False)
class Fluxes:
    """Solution of the linear problem.

    Attributes
    ----------
    seds : (K, B) array
        Fluxes; 0 where nothing is known.
    known : (K, B) array of bool
        Whether any usable pixel of the band sees the source.
    """

    seds: np.ndarray
    known: np.ndarray


def normal_equations(columns, observations, band_indices, n_bands):
    """Gram matrices and right-hand sides of all bands.

    Parameters
    ----------
    columns : list of (B_o, K, pixels) arrays
        Of `Frame.columns`.
    observations : sequence of Observation
        The data.
    band_indices : list of (B_o,) arrays of int
        Band of the scene of each image.
    n_bands : int
        Bands of the scene.

    Returns
    -------
    gram : (B, K, K) array
        Summed over observations of the same band.
    rhs : (B, K) array
        Likewise.
    """
    n_sources = columns[0].shape[1]
    gram, rhs = np.zeros((n_bands, n_sources, n_sources)), np.zeros((n_bands, n_sources))
    for own, observation, bands in zip(columns, observations, band_indices, strict=True):
        for k, band in enumerate(bands):
            weighted = own[k] * observation.weights[k].ravel()
            gram[band] += weighted @ own[k].T
            rhs[band] += weighted @ observation.images[k].ravel()
    return gram, rhs


def solve_fluxes(gram, rhs, *, nonnegative=True, penalty=None):
    """Minimise a'Ga / 2 - r'a + penalty'a in every band.

    Parameters
    ----------
    gram : (B, K, K) array
        Positive semidefinite.
    rhs : (B, K) array
        Right-hand sides.
    nonnegative : bool, optional
        Whether fluxes must not be negative.
    penalty : (K,) array, optional
        Cost of a unit of each source's flux.

    Returns
    -------
    Fluxes
        The exact minimum (of the smallest norm among equal ones).
    """
    scale, known = _scales(gram)
    rhs = (rhs if penalty is None else rhs - penalty) / scale
    matrix = _scaled(gram, scale, known)
    rhs = np.where(known, rhs, 0.0)
    seds = np.linalg.solve(matrix, rhs[..., None])[..., 0]
    if nonnegative:
        for band in np.flatnonzero((seds < 0).any(axis=1)):
            factor = cholesky(matrix[band], lower=True)
            seds[band] = nnls(factor.T, solve_triangular(factor, rhs[band], lower=True))[0]
    return Fluxes(np.where(known, seds / scale, 0.0).T, known.T)


def flux_covariance(gram):
    """Covariance of the fluxes for fixed morphologies.

    Parameters
    ----------
    gram : (B, K, K) array
        Of `normal_equations`.

    Returns
    -------
    (B, K, K) array
        NaN where nothing is known; very large where two sources have the same column.
    """
    scale, known = _scales(gram)
    inverse = np.linalg.inv(_scaled(gram, scale, known))
    covariance = inverse / (scale[:, :, None] * scale[:, None, :])
    return np.where(known[:, :, None] & known[:, None, :], covariance, np.nan)


def _scales(gram):
    """Square roots of the diagonals (1 where unknown) and what is known, (B, K) each."""
    diagonal = np.einsum("bkk->bk", gram)
    known = diagonal > NO_INFORMATION * diagonal.max(axis=1, keepdims=True, initial=0.0)
    return np.sqrt(np.where(known, diagonal, 1.0)), known


def _scaled(gram, scale, known):
    """Gram matrices of unit diagonal with the ridge; those of unknown fluxes are rows of the identity."""
    both = known[:, :, None] & known[:, None, :]
    matrix = np.where(both, gram / (scale[:, :, None] * scale[:, None, :]), 0.0)
    diagonal = np.arange(gram.shape[1])
    matrix[:, diagonal, diagonal] = 1.0 + RIDGE
    return matrix
