"""What all learned priors share: the stamps they were trained for, their files, the checks of what they are given."""

from pathlib import Path

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.priors import Normalisation
from celestepy.nn import load_network_file

__all__ = ["LearnedPrior", "trained_priors"]

DATA = Path(__file__).parent / "data"


def trained_priors():
    """Names of the priors that come with the package.

    Returns
    -------
    list of str
        For the ``load`` of the class that the name begins with: ``score-...`` for `ScorePrior`, ``pixelcnn-...`` for
        `PixelCNNPrior`.
    """
    return sorted(path.stem for path in DATA.glob("*.npz"))


def _path_of(name):
    path = Path(name)
    if path.suffix == ".npz":
        return path
    if str(name) not in trained_priors():
        raise DeblendError(
            f"name: no prior {str(name)!r} comes with the package, expected one of {', '.join(trained_priors())},"
            " or the path of a file that ends in .npz"
        )
    return DATA / f"{name}.npz"


class LearnedPrior:
    """A network that knows galaxies, with the domain it was trained for.

    Parameters
    ----------
    file : celestepy.nn.NetworkFile
        The network, the mean image as the constant ``mean``, and as metadata ``kind``, ``pixel_scale`` (arcsec),
        ``softening``, ``model_psf_sigma`` (pixels), ``scale`` and ``sigma_range``.
    dtype : dtype
        Precision of the network.

    Attributes
    ----------
    shape : (int, int)
        Of the stamps; galaxies stand within a pixel of their centre, ``(h - 1) / 2, (w - 1) / 2``.
    pixel_scale : float
        Arcsec.
    normalisation : celestepy.deblend.priors.Normalisation
        Stamps are u = asinh(S / softening), S the morphology with largest pixel 1. Densities and scores are those of
        u: a maximum over u needs no Jacobian, one over S would need that of the transform.
    model_psf_sigma : float
        Standard deviation in pixels of the Gaussian PSF of the galaxies.
    sigma_range : (float, float)
        Temperatures of the training, in units of u.
    metadata : dict
        All of the above, the recipe of the galaxies, and how the training went.
    """

    kind = None

    def __init__(self, file, dtype):
        about = file.metadata
        if about.get("kind") != self.kind:
            needs = f"{type(self).__name__} needs {self.kind!r}"
            raise DeblendError(f"file: a network of kind {about.get('kind')!r}; {needs}")
        self.metadata, self.network = about, file.build(dtype)
        self.mean = np.asarray(file.constants["mean"], float)
        self.shape, self.scale = self.mean.shape, float(about["scale"])
        self.pixel_scale, self.model_psf_sigma = float(about["pixel_scale"]), float(about["model_psf_sigma"])
        self.normalisation = Normalisation("peak", about["softening"])
        self.sigma_range = tuple(about["sigma_range"])

    @classmethod
    def load(cls, name, **options):
        """Read a trained prior.

        Parameters
        ----------
        name : str or path-like
            One of `trained_priors`, or the path of a file ending in ``.npz``.
        **options
            Further parameters of the class.

        Returns
        -------
        LearnedPrior
            Of this class.

        Raises
        ------
        DeblendError
            If there is no prior of that name, or it is of another kind.
        celestepy.nn.WeightFileError
            If the file is missing or damaged.
        """
        return cls(load_network_file(_path_of(name)), **options)

    def __repr__(self):
        return f"<{type(self).__name__} {self.shape[0]}x{self.shape[1]}, {self.pixel_scale:g} arcsec>"

    def _stamps(self, x, name="x"):
        """Stamps as (n, h, w) float64, and whether there was only one, without the first axis."""
        stamps = np.asarray(x, float)
        if stamps.shape[-2:] != self.shape or stamps.ndim not in (2, 3):
            raise DeblendError(
                f"{name}: shape {stamps.shape}, expected (n, {self.shape[0]}, {self.shape[1]}): this prior was trained"
                " for such stamps; cut or pad (with zeros) yours, or take a prior for others"
            )
        if not np.isfinite(stamps).all():
            raise DeblendError(f"{name}: {np.sum(~np.isfinite(stamps))} pixels are not finite; replace them before")
        return stamps if stamps.ndim == 3 else stamps[None]

    def _temperature(self, sigma):
        """Check that the network knows a temperature."""
        coldest, hottest = self.sigma_range
        if not coldest <= sigma <= hottest:
            raise DeblendError(f"sigma: {sigma:.3g}, expected {coldest:g} to {hottest:g}, as this prior was trained")
        return float(sigma)
