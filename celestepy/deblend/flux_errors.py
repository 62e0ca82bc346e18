"""Errors of fluxes when morphologies are not known either: `free_flux_covariance`.

For fixed morphologies the errors are those of the noise alone, which in blends are many times too small: what is not
known is whose light it is. Here the morphology of every source may differ from the fitted one,

    u_k = asinh(S_k / s_k) + sum_i z_ki g_i,    z_ki ~ N(0, FREEDOM^2),    s_k = FLOOR x the largest pixel,

with Gaussian bumps g_i on a grid of PATCH pixels, about a resolution element, in all bands alike; a star may be
elsewhere and a model galaxy have another shape. To first order (Laplace, with Gauss-Newton second derivatives) fluxes,
z and data are jointly Gaussian, and the covariance of the fluxes sum_p A_k S_kp follows from one linear problem. With
a freedom above 1 a bump may change its part of the source by more than itself: the data decide, and where they cannot
tell one source from another or from nothing, the error says so. Each method has a freedom of its own, which makes the
pulls of its fluxes one wide (68%) in drawn blends: it is what its morphologies are off by.
"""

import numpy as np

from celestepy.deblend.source import FreeSource

__all__ = ["FLOOR", "FREEDOM", "PATCH", "free_flux_covariance"]

# Chosen, as the methods' freedoms, on blends of seed 77, not those whose coverage `deblending_confidence.py` reports
PATCH, FREEDOM, FLOOR = 4, 2.0, 0.03
_FREE_PARAMETERS = 0.1  # the freedom from which parameters of stars and model galaxies are as free as they can be
_SEEN = 1e-3  # of the largest information on a pixel: below it nothing is seen
_BUMP = 0.6  # of the patch: standard deviation of a bump
_MOST_PATCHES = 10  # along a side of a box
_MOST_NUMBERS = 6e7  # of images of bumps kept at a time, half a gigabyte
# standard deviations of x, y (pixels), log_radius, eta1, eta2, logit_dev of stars and model galaxies
_PARAMETERS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 3.0])
_RIDGE = 1e-9  # relative to the diagonal


def free_flux_covariance(scene, *, patch=PATCH, freedom=FREEDOM, floor=FLOOR):
    """Covariance of the fluxes of all sources with their morphologies free.

    Parameters
    ----------
    scene : Scene
        Fitted, with fluxes.
    patch : int, optional
        Pixels between bumps; more for large boxes and large scenes, so that memory is bounded. Errors of scenes of
        dozens of sources in 200 x 200 pixels come out too small for that; fit one blend after the other.
    freedom : float, optional
        Standard deviation of each bump's amplitude in u; 0 is the limit of fixed morphologies. That of the method is
        its attribute ``freedom``.
    floor : float, optional
        Light that may be anywhere in the box, in units of the largest pixel; what masks and borders hide is only as
        uncertain as the light that the fit has put there.

    Returns
    -------
    (B, K, K) array
        NaN where no usable pixel sees the source.
    """
    n_sources, n_bands = len(scene), scene.frame.n_bands
    covariance = np.full((n_bands, n_sources, n_sources), np.nan)
    active = np.flatnonzero(scene.active)
    if not len(active):
        return covariance
    stack, totals, owners, spreads = _freedoms(scene, active, patch, freedom, floor)
    found = _joint_covariance(scene, active, stack, totals, owners, spreads)
    for band, own in enumerate(found):
        covariance[band][np.ix_(active, active)] = own
    return covariance


def _freedoms(scene, active, patch, freedom, floor):
    """Changes of morphologies on the grid (n, H, W), their sums, their sources and their standard deviations (n,)."""
    height, width = scene.frame.grid.shape
    information = scene.frame.information().sum(axis=0)
    seen = information > _SEEN * information.max()
    n_pixels = max(sum(o.images.size for o in scene.frame.observations), scene.frame.n_bands * height * width)
    most = max(int(_MOST_NUMBERS / n_pixels / len(active)), 1)
    changes, totals, owners, spreads = [], [], [], []
    for k in active:
        source = scene.sources[k]
        on_grid, in_box = source.box.overlap((height, width))
        if isinstance(source, FreeSource):
            amplitude = source.morphology.copy()
            amplitude[in_box] = np.hypot(amplitude[in_box], floor * amplitude.max() * seen[on_grid])
            own, spread = _bumps(amplitude.shape, patch, most) * amplitude, freedom
        else:
            own = source.tangent()
            spread = min(freedom / _FREE_PARAMETERS, 1.0) * _PARAMETERS[: len(own)]
        images = np.zeros((len(own), height, width))
        images[:, *on_grid] = own[:, *in_box]
        changes.append(images)
        totals.append(own.sum(axis=(1, 2)))
        owners += [k] * len(own)
        spreads.append(np.broadcast_to(spread, len(own)))
    return np.concatenate(changes), np.concatenate(totals), np.array(owners), np.concatenate(spreads)


def _bumps(shape, patch, most):
    """(n, h, w) Gaussian bumps of unit height."""
    step = max(patch, -(-max(shape) // _MOST_PATCHES))
    while np.prod([2 * (side // 2 // step) + 1 for side in shape]) > most:
        step += 1
    profiles = []
    for side in shape:
        reach = side // 2 // step
        places = step * np.arange(-reach, reach + 1)
        profiles.append(np.exp(-0.5 * ((np.arange(side) - side // 2 - places[:, None]) / (_BUMP * step)) ** 2))
    bumps = profiles[0][:, None, :, None] * profiles[1][None, :, None, :]
    return bumps.reshape(-1, *shape)


def _joint_covariance(scene, active, stack, totals, owners, spreads):
    """(B, K_active, K_active): fluxes' part of the inverse of the joint second derivatives of changes and SEDs."""
    n, n_active, n_bands = len(stack), len(active), scene.frame.n_bands
    seds, columns = scene.seds, scene.frame.columns(np.concatenate([stack, scene.stack()[active]]))
    blocks = [slice(n + band * n_active, n + (band + 1) * n_active) for band in range(n_bands)]
    curvature = np.zeros((n + n_bands * n_active,) * 2)
    curvature[np.arange(n), np.arange(n)] = np.maximum(spreads, 1e-6) ** -2.0
    for own, observation, bands in zip(columns, scene.frame.observations, scene.frame.band_indices, strict=True):
        for images, weights, band in zip(own, observation.weights, bands, strict=True):
            images[:n] *= seds[owners, band][:, None]
            gram = (images * weights.ravel()) @ images.T
            block = blocks[band]
            curvature[:n, :n] += gram[:n, :n]
            curvature[:n, block] += gram[:n, n:]
            curvature[block, :n] += gram[n:, :n]
            curvature[block, block] += gram[n:, n:]
    inverse, known = _inverse(curvature)
    sums = totals * (owners == active[:, None])  # of each change in its source's total
    found = np.full((n_bands, n_active, n_active), np.nan)
    for band, block in enumerate(blocks):
        of_flux = np.hstack([sums * seds[active, band][:, None], np.eye(n_active)])
        part = np.r_[0:n, block]
        own = of_flux @ inverse[np.ix_(part, part)] @ of_flux.T
        seen = known[block]
        found[band] = np.where(seen[:, None] & seen, own, np.nan)
    return found


def _inverse(curvature):
    """Inverse with a tiny ridge, and which diagonal elements there was anything known about."""
    diagonal = np.diag(curvature)
    known = diagonal > 0
    scale = np.sqrt(np.where(known, diagonal, 1.0))
    scaled = curvature / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] = 1.0 + _RIDGE
    return np.linalg.inv(scaled) / np.outer(scale, scale), known
