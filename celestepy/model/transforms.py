r"""From the free vector of a source to the scene vector that images are rendered from, with derivatives.

The free vector is ``[u, v, log_flux, colors..]`` for a star and has
``[.., log_radius, eta1, eta2, logit_dev]`` added for a galaxy; the scene vector is
``[f_1 .. f_B, u, v, d, Suu, Suv, Svv]`` for both (see `celestepy.model.parameters`). With ``c`` the colours,
``M`` the matrix that sums them away from the reference band, ``r = exp(log_radius)`` and
``e = hypot(eta1, eta2) = -ln q``,

.. math::

    f_b = \exp(\mathrm{log\_flux} + M_b \cdot c), \qquad
    d = 1 / (1 + \exp(-\mathrm{logit\_dev})),

.. math::

    S_{uu} = r^2 (\cosh e - \eta_1 s), \quad S_{uv} = r^2 \eta_2 s, \quad
    S_{vv} = r^2 (\cosh e + \eta_1 s), \quad s = \sinh(e) / e .

``S`` is ``R diag(a^2, b^2) R'`` with the major axis a towards the position angle t East of North, and the
matrix exponential of ``[[-eta1, eta2], [eta2, eta1]]`` times ``r^2 = a b``: this is equations 8 and 9 of
Regier et al. (2019) with the direction of the angle put right. In (eta1, eta2) it is analytic at round
galaxies, where the axis ratio and angle are not.
"""

import math

import numpy as np

from celestepy.model import _transforms
from celestepy.model.parameters import GALAXY, Bands, layout

__all__ = ["MAGNITUDE", "curvature", "from_catalog", "to_catalog", "to_scene", "to_scenes"]

MAGNITUDE = 2.5 / math.log(10)  # magnitudes per unit of natural logarithm

def to_scene(kind, theta, bands):
    """Scene vector of a source and its Jacobian with respect to the free vector.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    theta : (n,) array
        Free vector, n = B + 2 for a star and B + 6 for a galaxy.
    bands : Bands or sequence of str
        The B bands, and the reference band that log_flux belongs to.

    Returns
    -------
    scene : (B + 6,) array
        ``[f_1 .. f_B, u, v, d, Suu, Suv, Svv]`` in nmgy, arcsec and arcsec^2; d and S are zero for a star.
    jacobian : (B + 6, n) array
        d scene / d theta.
    """
    matrix = Bands.of(bands).log_flux_matrix
    n_bands = len(matrix)
    theta = _checked("theta", theta, layout(kind, n_bands).size)
    scene = np.zeros(n_bands + 6)
    jacobian = np.zeros((n_bands + 6, len(theta)))
    _transforms.to_scene(kind == GALAXY, theta, matrix, scene, jacobian)
    return scene, jacobian


def to_scenes(kind, theta, bands):
    """Scene vectors of many free vectors of one type, without derivatives.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    theta : (m, n) array
        Free vectors.
    bands : Bands or sequence of str
        The B bands, and the reference band that log_flux belongs to.

    Returns
    -------
    (m, B + 6) array
        As `to_scene`, row by row; infinite where a flux or a radius overflows.
    """
    matrix = Bands.of(bands).log_flux_matrix
    n_bands = len(matrix)
    size = layout(kind, n_bands).size
    theta = np.ascontiguousarray(theta, dtype=float)
    if theta.ndim != 2 or theta.shape[1] != size:
        raise ValueError(f"theta must have shape (m, {size}), got {theta.shape}")
    scenes = np.zeros((len(theta), n_bands + 6))
    _transforms.to_scenes(kind == GALAXY, theta, matrix, scenes, np.zeros((n_bands + 6, size)))
    return scenes


def curvature(kind, theta, g_scene, bands):
    """Second derivatives of the scene vector, contracted with a gradient.

    The exact Hessian of an objective l(scene(theta)) is ``J' H_scene J + curvature(kind, theta, dl/dscene)``.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of source.
    theta : (n,) array
        Free vector.
    g_scene : (B + 6,) array
        Gradient with respect to the scene vector.
    bands : Bands or sequence of str
        The bands.

    Returns
    -------
    (n, n) array
        ``sum_k g_scene[k] d^2 scene_k / d theta^2``.
    """
    matrix = Bands.of(bands).log_flux_matrix
    n_bands = len(matrix)
    theta = _checked("theta", theta, layout(kind, n_bands).size)
    result = np.zeros((len(theta), len(theta)))
    _transforms.curvature(kind == GALAXY, theta, _checked("g_scene", g_scene, n_bands + 6), matrix, result)
    return result


def _checked(name, vector, size):
    vector = np.asarray(vector, dtype=float)
    if vector.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {vector.shape}")
    return vector


def to_catalog(kind, theta, bands):
    """Catalogue quantities of one or many free vectors of one type.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of the sources.
    theta : (..., n) array
        Free vectors.
    bands : Bands or sequence of str
        The bands.

    Returns
    -------
    dict of (...,) arrays
        ``flux_b`` (nmgy) and ``mag_b`` (AB) for each band, ``color_xy`` (mag) for each adjacent pair; for
        galaxies also ``half_light_radius`` (arcsec, along the major axis), ``axis_ratio``,
        ``position_angle`` (deg East of North, in [0, 180)) and ``dev_fraction``.
    """
    bands = Bands.of(bands)
    at = layout(kind, len(bands))
    theta = np.asarray(theta, dtype=float)
    log_fluxes = theta[..., at.log_fluxes] @ bands.log_flux_matrix.T
    values = {f"flux_{band}": np.exp(log_fluxes[..., b]) for b, band in enumerate(bands)}
    values |= {f"mag_{band}": 22.5 - MAGNITUDE * log_fluxes[..., b] for b, band in enumerate(bands)}
    colors = theta[..., at.colors]
    values |= {f"color_{name}": MAGNITUDE * colors[..., k] for k, name in enumerate(bands.color_names)}
    if kind == GALAXY:
        eta1, eta2 = np.moveaxis(theta[..., at.ellipticity], -1, 0)
        e = np.hypot(eta1, eta2)
        values["half_light_radius"] = np.exp(theta[..., at.log_radius] + 0.5 * e)
        values["axis_ratio"] = np.exp(-e)
        values["position_angle"] = np.mod(np.degrees(0.5 * np.arctan2(eta2, eta1)), 180.0)
        values["dev_fraction"] = 0.5 * (1 + np.tanh(0.5 * theta[..., at.logit_dev]))
    return values


def from_catalog(kind, bands, *, u=0.0, v=0.0, **values):
    """Free vectors from catalogue quantities: the inverse of `to_catalog`.

    Parameters
    ----------
    kind : {"star", "galaxy"}
        Type of the sources.
    bands : Bands or sequence of str
        The bands.
    u, v : float or array
        Offsets from the seed to the East and North (arcsec).
    **values : float or array
        ``flux_b`` of each band (nmgy, positive); for galaxies ``half_light_radius`` (arcsec),
        ``axis_ratio`` (0 to 1), ``position_angle`` (deg) and ``dev_fraction``; others are ignored.
        A dev_fraction within 1e-4 of 0 or 1 is moved to that distance, where its logit is finite.

    Returns
    -------
    (..., n) array
        Free vectors.

    Raises
    ------
    ValueError
        If a flux, radius or axis ratio is outside its range.
    """
    bands = Bands.of(bands)
    log_fluxes = [np.log(_positive(f"flux_{band}", values[f"flux_{band}"])) for band in bands]
    entries = [u, v, log_fluxes[bands.reference_index], *np.diff(log_fluxes, axis=0)]
    if kind == GALAXY:
        ratio = _positive("axis_ratio", values["axis_ratio"], upper=1.0)
        angle = 2 * np.radians(values["position_angle"])
        dev = np.clip(values["dev_fraction"], 1e-4, 1 - 1e-4)
        log_radius = np.log(_positive("half_light_radius", values["half_light_radius"]) * np.sqrt(ratio))
        entries += [log_radius, -np.log(ratio) * np.cos(angle), -np.log(ratio) * np.sin(angle),
                    np.log(dev / (1 - dev))]
    return np.stack(np.broadcast_arrays(*entries), axis=-1).astype(float)


def _positive(name, value, upper=np.inf):
    value = np.asarray(value, dtype=float)
    outside = ~((value > 0) & (value <= upper))
    if np.any(outside):
        limit = "" if np.isinf(upper) else f" and at most {upper:g}"
        raise ValueError(f"{name} must be positive{limit}, got {float(value[outside].flat[0])!r}")
    return value
