"""One blend of a field: fitted, and taken down to rows and images of the sources that are its own."""

import logging
from dataclasses import dataclass, field

import numpy as np
from astropy.table import QTable

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.field_models import ModelImage
from celestepy.deblend.methods import frame_for
from celestepy.deblend.priors import PriorTerm
from celestepy.deblend.source import FreeSource

__all__ = ["FAILED", "BlendFit", "fit_blend", "fit_or_say_why"]

FAILED = "failed"
_FAINTEST = 1e-6  # of the flux of a source in a band: what no pixel outside of its box exceeds

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BlendFit:
    """What a field keeps of a blend.

    Attributes
    ----------
    rows : QTable or None
        Of its own sources; None where nothing could be fitted.
    models : tuple of tuples of ModelImage
        For each own source.
    light : list of (image, x0, y0, (h, w) array)
        Sum of the own sources, and of strays, in each image.
    status, message : str
        Why nothing could be fitted.
    """

    rows: QTable = None
    models: tuple = ()
    light: list = field(default_factory=list)
    status: str = ""
    message: str = ""


def fit_or_say_why(function, name):
    """Call a function that fits a blend; whatever goes wrong with one blend does not end the field.

    Parameters
    ----------
    function : callable
        Without arguments, returning a BlendFit.
    name : str
        Of the blend, for the log.

    Returns
    -------
    BlendFit
        Its result, or one that says what happened.
    """
    try:
        return function()
    except Exception as error:  # anything at all: the other blends are worth having
        reason = " ".join(str(error).split()) or type(error).__name__
        log.info("%s: %s", name, reason, exc_info=True)
        return BlendFit(status=FAILED, message=reason)


def fit_blend(cutouts, begin, n_own, method, header_of, rng, n_strays=0):
    """Fit a blend.

    Parameters
    ----------
    cutouts : list of Cutout
        The data.
    begin : callable
        From a frame to the Scene to start from, own sources first.
    n_own : int
        How many sources are the blend's own.
    method : Solver
        The method.
    header_of : callable
        From a Grid, x0 and y0 of a box to the header of its WCS.
    rng : numpy.random.Generator
        For the estimate of what the prior has decided.
    n_strays : int, optional
        How many sources after its own have light that nothing else takes away.

    Returns
    -------
    BlendFit
    """
    frame = frame_for([cutout.observation for cutout in cutouts], method.prior)
    start = begin(frame)
    beyond_stamps = getattr(method, "beyond_stamps", False)  # settings of other packages need not say
    result = method.fit(start if beyond_stamps else _within_stamps(start, method.prior))
    rows = result.table()[:n_own]
    if method.prior is not None:
        rows["data_share"] = _data_shares(result, n_own, rng)
    rows["chi2"] = result.scene.chi2() / max(result.scene.n_pixels, 1)
    models, light = [[] for _ in range(n_own)], []
    for cutout, images in zip(cutouts, result.scene.render_sources(), strict=True):
        for planes, (x0, y0) in _by_corner(cutout):
            numbers = tuple(cutout.images[plane] for plane in planes)
            total = images[: n_own + n_strays, planes].sum(axis=0)
            light += [(number, x0, y0, plane) for number, plane in zip(numbers, total, strict=True)]
            for source, pixels in zip(models, images[:n_own, planes], strict=True):
                source += _cropped(pixels, numbers, x0, y0, cutout.observation.grid, header_of)
    return BlendFit(rows, tuple(map(tuple, models)), light)


def _within_stamps(scene, prior):
    """Free sources cut to what the stamps of a prior hold."""
    if prior is None:
        return scene
    frame = scene.frame
    limits = PriorTerm(prior, frame.grid.pixel_scale, frame.model_psf).largest_half
    return scene.replace([_cut(source, limits) if source.kind == "free" else source for source in scene.sources])


def _data_shares(result, n_own, rng):
    """Share of each source's light that the data have decided rather than the prior; NaN for stars and galaxies."""
    shares = np.full(n_own, np.nan)
    for k, source in enumerate(result.scene.sources[:n_own]):
        if source.kind == "free" and result.scene.active[k]:
            try:
                shares[k] = result.hallucination_map(k, rng=rng).data_share
            except DeblendError as error:  # a prior that does not know the temperature: the models are worth having
                log.info("no share of the data: %s", error)
    return shares


def _cut(source, limits):
    pads = [max(side // 2 - limit, 0) for side, limit in zip(source.morphology.shape, limits, strict=True)]
    inner = source.morphology[tuple(slice(pad, side - pad) for pad, side in zip(pads, source.morphology.shape))]
    total = inner.sum()
    if not any(pads) or not total > 0:
        return source
    return FreeSource(source.y, source.x, inner, None if source.sed is None else source.sed * total)


def _by_corner(cutout):
    """Planes of an observation that are the same pixels of their images, and the first of these pixels."""
    corners = dict.fromkeys(cutout.corners)
    return [([k for k, other in enumerate(cutout.corners) if other == corner], corner) for corner in corners]


def _cropped(pixels, images, x0, y0, grid, header_of):
    """The box that holds all but the faintest light; empty where there is none."""
    totals = np.abs(pixels).sum(axis=(1, 2), keepdims=True)
    lit = np.argwhere((np.abs(pixels) > _FAINTEST * totals).any(axis=0))
    if not len(lit):
        return []
    (row, column), (last_row, last_column) = lit.min(axis=0), lit.max(axis=0) + 1
    inner = np.ascontiguousarray(pixels[:, row:last_row, column:last_column], dtype=np.float32)
    return [ModelImage(images, int(x0 + column), int(y0 + row), inner, header_of(grid, int(column), int(row)))]
