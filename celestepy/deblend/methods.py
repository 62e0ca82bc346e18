"""Methods by name, with the prior and the frame that go with them."""

from dataclasses import fields

import numpy as np

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.constraints import NonNegative
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.forward_backward import ForwardBackward
from celestepy.deblend.grid import Grid
from celestepy.deblend.learned import PixelCNNPrior, ScorePrior, TemperatureLadder, trained_priors
from celestepy.deblend.priors import SCALE_TOLERANCE
from celestepy.deblend.psf_matching import gaussian_sigma
from celestepy.deblend.rendering import Frame
from celestepy.deblend.score_descent import ScoreDescent
from celestepy.images.psf_mixture import PSFMixture

__all__ = ["METHODS", "PRIORS", "frame_for", "method_for", "method_named", "settings_of"]

PRIORS = {"score": "score-hsc-32", "pixelcnn": "pixelcnn-hsc-32"}
METHODS = ("score", "galaxies", "proximal", "splitting", "pixelcnn")
_FARTHEST = 1.5  # ratio of pixel scales up to which a prior is chosen without being asked for


def method_named(name, prior=None):
    """A method with its default settings.

    Parameters
    ----------
    name : str
        ``"score"``: fitted galaxies, then every pixel free with a learned score; ``"galaxies"``: the same without a
        score; ``"proximal"``: the method of scarlet;
        ``"splitting"``: forward-backward splitting with the same constraints; ``"pixelcnn"``: forward-backward
        splitting with a learned density, first at a high temperature.
    prior : str, path-like or MorphologyPrior, optional
        For the methods with a prior: the name or file of a trained one, or any prior. By default that of `PRIORS`.

    Returns
    -------
    Solver
        Settings with ``fit(scene)``.

    Raises
    ------
    DeblendError
        If there is no such method or prior, or the method has none.
    """
    if name not in METHODS:
        raise DeblendError(f"method: {name!r}, expected one of {', '.join(METHODS)}, or settings such as AdaProx()")
    if name not in PRIORS:
        if prior is not None:
            raise DeblendError(f"prior: {prior}, but the method {name!r} has none; choose {' or '.join(PRIORS)}")
        return {"galaxies": ScoreDescent, "proximal": AdaProx, "splitting": ForwardBackward}[name]()
    if not hasattr(prior, "score"):
        prior = {"score": ScorePrior, "pixelcnn": PixelCNNPrior}[name].load(PRIORS[name] if prior is None else prior)
    if name == "score":
        return ScoreDescent(prior=prior)
    method = ForwardBackward(constraints=(NonNegative(),), prior=prior)
    return TemperatureLadder(method) if hasattr(prior, "at") else method


def method_for(pixel_scale):
    """The method for images of which nothing more is known.

    Parameters
    ----------
    pixel_scale : float
        Of the image with the finest pixels, arcsec.

    Returns
    -------
    str
        Name of the method.
    MorphologyPrior or None
        Its prior: a score where one was learned at about this pixel scale, and none otherwise.
    """
    others = [name for name in trained_priors() if name.startswith("score-") and name != PRIORS["score"]]
    for name in (PRIORS["score"], *others):
        prior = ScorePrior.load(name)
        if abs(np.log(prior.pixel_scale / pixel_scale)) <= np.log(_FARTHEST):
            return "score", prior
    return "galaxies", None


def frame_for(observations, prior=None):
    """The frame of a scene, with the pixels and the PSF that a prior was made for.

    Parameters
    ----------
    observations : sequence of Observation
        Of one patch.
    prior : MorphologyPrior, optional
        Without one the frame has the finest pixels and the PSF of `Frame`.

    Returns
    -------
    Frame
        Where no observation has the prior's pixel scale, the model has pixels of that scale along the axes of the
        observation with the finest, over the same patch.

    Raises
    ------
    DeblendError
        If the images are too sharp for the prior.
    """
    if prior is None:
        return Frame(observations)
    finest = min((o.grid for o in observations), key=lambda grid: grid.pixel_area)
    stretch = prior.pixel_scale / finest.pixel_scale
    grid = finest if abs(np.log(stretch)) <= SCALE_TOLERANCE else _stretched(finest, stretch)
    sigma = getattr(prior, "model_psf_sigma", None)
    if sigma is None:
        return Frame(observations, grid=grid)
    _check_sharpness(observations, sigma * grid.pixel_scale, prior)
    return Frame(observations, model_psf=PSFMixture([1.0], [[0.0, 0.0]], [[sigma**2, 0.0, sigma**2]]), grid=grid)


def _check_sharpness(observations, width, prior):
    """Refuse a prior whose model PSF, of this width in arcsec, is wider than that of a band."""
    for observation in observations:
        for band, psf in zip(observation.bands, observation.psfs, strict=True):
            sharpest = gaussian_sigma(psf) * observation.grid.pixel_scale
            if sharpest < width:
                raise DeblendError(f"prior: {prior!r} is for images with a PSF wider than {width:.3g} arcsec (Gaussian "
                                   f"sigma), and that of band {band} has {sharpest:.3g}; take the prior of a sharper "
                                   "survey, or the method 'galaxies'")


def _stretched(grid, stretch):
    """Pixels `stretch` times as large, over the same area about the same middle."""
    shape = tuple(max(int(np.ceil(side / stretch)), 1) for side in grid.shape)
    middle = np.array(grid.to_plane((grid.shape[1] - 1) / 2, (grid.shape[0] - 1) / 2))
    jacobian = grid.jacobian * stretch
    return Grid(shape, jacobian, middle - jacobian @ [(shape[1] - 1) / 2, (shape[0] - 1) / 2])


def settings_of(method):
    """What a method was told, for metadata.

    Parameters
    ----------
    method : Solver
        The method.

    Returns
    -------
    dict
        Name of the class and its settings as text.
    """
    values = {item.name: repr(getattr(method, item.name)) for item in fields(method)}
    return {"class": type(method).__name__} | values
