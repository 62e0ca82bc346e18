"""The transform to scene vectors in plain NumPy: slow, obvious, and what the kernel must equal."""

import math

import numpy as np

from celestepy.model.parameters import GALAXY, Bands, layout

# Taylor coefficients, in powers of w = e^2, of s0 = sinh(e)/e, s1 = 2 ds0/dw and s2 = 2 ds1/dw; eleven terms
# leave less than 1e-19 at w = 1, below which the closed forms would lose digits to cancellation.
_SERIES = [[math.prod(2 * (k + n - m) for m in range(n)) / math.factorial(2 * (k + n) + 1) for k in range(11)]
           for n in range(3)]


def _sinh_ratios(w):
    """``cosh e`` and ``s0, s1, s2`` at ``w = e^2``: ds_n / d eta_i = s_{n+1} eta_i, dcosh = s0 eta_i."""
    if w < 1.0:
        s0 = s1 = s2 = 0.0
        for a0, a1, a2 in zip(*(coefficients[::-1] for coefficients in _SERIES), strict=True):
            s0, s1, s2 = s0 * w + a0, s1 * w + a1, s2 * w + a2
        return w * s1 + s0, s0, s1, s2
    e = math.sqrt(w)
    cosh, s0 = math.cosh(e), math.sinh(e) / e
    s1 = (cosh - s0) / w
    return cosh, s0, s1, (s0 - 3 * s1) / w


def to_scene(kind, theta, bands):
    """Scene vector and Jacobian, as `celestepy.model.transforms.to_scene`."""
    matrix = Bands.of(bands).log_flux_matrix
    n_bands = len(matrix)
    scene = np.zeros(n_bands + 6)
    jacobian = np.zeros((n_bands + 6, layout(kind, n_bands).size))
    flux = np.exp(matrix @ theta[2:n_bands + 2])
    scene[:n_bands] = flux
    scene[n_bands:n_bands + 2] = theta[:2]
    np.multiply(flux[:, None], matrix, out=jacobian[:n_bands, 2:n_bands + 2])
    jacobian[n_bands, 0] = jacobian[n_bands + 1, 1] = 1.0
    if kind == GALAXY:
        rest = slice(n_bands + 2, None)
        _shape_to_scene(theta[rest].tolist(), scene[rest], jacobian[rest, rest])
    return scene, jacobian


def _shape_to_scene(shape, scene, jacobian):
    """Fill ``[d, Suu, Suv, Svv]`` and its 4x4 Jacobian from ``[log_radius, eta1, eta2, logit_dev]``."""
    log_radius, eta1, eta2, logit_dev = shape
    area = math.exp(2 * log_radius)
    cosh, s0, s1, _ = _sinh_ratios(eta1 * eta1 + eta2 * eta2)
    cosh, s0, s1 = area * cosh, area * s0, area * s1
    dev = 0.5 * (1 + math.tanh(0.5 * logit_dev))
    suu, suv, svv = cosh - s0 * eta1, s0 * eta2, cosh + s0 * eta1
    cross = s1 * eta1 * eta2
    scene[:] = dev, suu, suv, svv
    jacobian[0, 3] = dev * (1 - dev)
    jacobian[1, :3] = 2 * suu, s0 * eta1 - s0 - s1 * eta1 * eta1, s0 * eta2 - cross
    jacobian[2, :3] = 2 * suv, cross, s0 + s1 * eta2 * eta2
    jacobian[3, :3] = 2 * svv, s0 * eta1 + s0 + s1 * eta1 * eta1, s0 * eta2 + cross


def curvature(kind, theta, g_scene, bands):
    """Contracted second derivatives, as `celestepy.model.transforms.curvature`."""
    matrix = Bands.of(bands).log_flux_matrix
    n_bands = len(matrix)
    size = layout(kind, n_bands).size
    result = np.zeros((size, size))
    weight = g_scene[:n_bands] * np.exp(matrix @ theta[2:n_bands + 2])
    np.matmul(matrix.T * weight, matrix, out=result[2:n_bands + 2, 2:n_bands + 2])
    if kind == GALAXY:
        _shape_curvature(theta[n_bands + 2:].tolist(), g_scene[n_bands + 2:].tolist(),
                         result[n_bands + 2:, n_bands + 2:])
    return result


def _shape_curvature(shape, gradient, result):
    """Fill the 4x4 block of `curvature` for ``[log_radius, eta1, eta2, logit_dev]``.

    The contraction of S with its gradient is ``r^2 (p cosh e + s0 (m1 eta1 + m2 eta2))`` with
    p = g_uu + g_vv, m1 = g_vv - g_uu, m2 = g_uv; its derivatives follow from ``_sinh_ratios``.
    """
    log_radius, eta1, eta2, logit_dev = shape
    g_dev, g_uu, m2, g_vv = gradient
    p, m1 = g_uu + g_vv, g_vv - g_uu
    area = math.exp(2 * log_radius)
    cosh, s0, s1, s2 = (area * s for s in _sinh_ratios(eta1 * eta1 + eta2 * eta2))
    projection = m1 * eta1 + m2 * eta2
    radial = p * s0 + projection * s1
    twist = p * s1 + projection * s2
    d1, d2 = 2 * (radial * eta1 + s0 * m1), 2 * (radial * eta2 + s0 * m2)
    cross = twist * eta1 * eta2 + s1 * (m1 * eta2 + m2 * eta1)
    result[0, :3] = 4 * (p * cosh + s0 * projection), d1, d2
    result[1, :3] = d1, radial + twist * eta1 * eta1 + 2 * s1 * m1 * eta1, cross
    result[2, :3] = d2, cross, radial + twist * eta2 * eta2 + 2 * s1 * m2 * eta2
    dev = 0.5 * (1 + math.tanh(0.5 * logit_dev))
    result[3, 3] = g_dev * dev * (1 - dev) * (1 - 2 * dev)
