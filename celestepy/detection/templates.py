"""Spectral templates: how the bands are weighted when their evidence for a source is added up.

For a source of unknown flux f with relative band fluxes s_b the best S/N is

    S/N = sum_b s_b numerator_b / sqrt(sum_b s_b^2 denominator_b)

Three black bodies span stars and galaxies: cool stars and red galaxies, the sun and most galaxies, hot stars
and quasars. The S/N depends weakly on the template: a wrong one costs a few percent.
"""

import numpy as np
from scipy.optimize import brentq

from celestepy.images.errors import ImageError

__all__ = ["black_body_templates", "checked_templates", "look_elsewhere_threshold"]

TEMPERATURES = (3500.0, 6000.0, 15000.0)  # K
RADIATION = 1.4388e4  # hc / k, micron K
WAVELENGTHS = {  # micron, effective
    "u": 0.355, "g": 0.477, "r": 0.623, "i": 0.762, "z": 0.913, "y": 0.97, "Y": 1.02,
    "U": 0.365, "B": 0.445, "V": 0.551, "R": 0.658, "I": 0.806, "J": 1.25, "H": 1.65, "K": 2.19, "Ks": 2.15,
}  # fmt: skip


def black_body_templates(bands, temperatures=TEMPERATURES):
    """Relative fluxes (per unit frequency, as nanomaggies are) of black bodies in the given bands.

    Parameters
    ----------
    bands : sequence of str
        Names; where one is not a known filter, the only template is the same flux in every band.
    temperatures : sequence of float, optional
        Kelvin.

    Returns
    -------
    (n_templates, n_bands) float64
        Each with a largest entry of 1. With a single band all templates are the same and one is returned.
    """
    if len(bands) == 1 or not set(bands) <= WAVELENGTHS.keys():
        return np.ones((1, len(bands)))
    x = RADIATION / np.outer(temperatures, [WAVELENGTHS[band] for band in bands])
    flux = x**3 / np.expm1(x)
    return flux / flux.max(axis=1, keepdims=True)


def checked_templates(templates, bands):
    """User's templates as an (n, n_bands) array, or the black bodies for None.

    Raises
    ------
    ImageError
        If the shape is wrong or an entry is negative, or a template zero in every band.
    """
    if templates is None:
        return black_body_templates(bands)
    templates = np.atleast_2d(np.asarray(templates, dtype=float))
    if templates.ndim != 2 or templates.shape[1] != len(bands):
        raise ImageError(
            f"templates: shape {templates.shape}, expected (n, {len(bands)}): relative fluxes in the bands"
            f" {', '.join(bands)}"
        )
    if not (np.isfinite(templates).all() and (templates >= 0).all() and templates.any(axis=1).all()):
        raise ImageError("templates: expected finite relative fluxes >= 0, not all of them 0 in any template")
    return templates


def look_elsewhere_threshold(threshold, templates, depth):
    """Threshold for the largest S/N over templates that lets as much noise through as one template does.

    The rate of noise peaks goes as n t exp(-t^2 / 2) (see `expected_false_peaks`), n the effective number of
    independent templates: (sum of eigenvalues)^2 / sum of their squares, of the templates' correlation at the
    depth of the images.

    Parameters
    ----------
    threshold : float
    templates : (n, n_bands) array
    depth : (n_bands,) array
        Denominators of the bands.
    """
    scaled = templates * np.sqrt(depth)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(scaled @ scaled.T)
    number = eigenvalues.sum() ** 2 / np.sum(eigenvalues**2)
    log_rate = lambda t: np.log(t) - 0.5 * t * t  # noqa: E731
    target = log_rate(threshold) - np.log(number)
    return float(brentq(lambda t: log_rate(t) - target, threshold, threshold + number))
