"""A scene: sources on a frame, what they look like, and how well that fits.

    model_b = P_b sum_k A_kb S_k,    half chi^2 = sum_b sum_p w_bp (model_bp - data_bp)^2 / 2

(Sampson et al. 2024, equations 1 and 12, with w the inverse variance.) Gradients use the exact adjoint of P.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.seds import flux_covariance, normal_equations, solve_fluxes

__all__ = ["Gradients", "Scene"]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Half chi^2 of a scene and its derivatives.

    Attributes
    ----------
    half_chi2 : float
        The value.
    morphologies : tuple of (h, w) arrays
        Derivatives with respect to each pixel of each source's box; 0 outside of the frame.
    seds : (K, B) array
        Derivatives with respect to fluxes.
    """

    half_chi2: float
    morphologies: tuple
    seds: np.ndarray


class Scene:
    """Sources on a frame. Immutable.

    Parameters
    ----------
    frame : Frame
        Pixels and PSF of the model, and the observations.
    sources : sequence of FreeSource, PointSource or GalaxySource
        In the frame's pixels. Sources without a pixel in the frame are kept, and left out of all that is fitted.

    Attributes
    ----------
    frame, sources
        As given.
    active : (K,) array of bool
        Sources with a pixel in the frame.
    """

    def __init__(self, frame, sources):
        self.frame, self.sources = frame, tuple(sources)
        for k, source in enumerate(self.sources):
            if source.sed is not None and source.sed.shape != (frame.n_bands,):
                raise DeblendError(
                    f"sed of source {k}: {source.sed.size} fluxes, expected {frame.n_bands}, one for each of the bands"
                    f" {', '.join(frame.bands)}"
                )
        self.active = np.array([source.box.touches(frame.grid.shape) for source in self.sources], dtype=bool)
        self.active.setflags(write=False)

    def __len__(self):
        return len(self.sources)

    def __repr__(self):
        kinds = [source.kind for source in self.sources]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        height, width = self.frame.grid.shape
        return f"<Scene of {len(self)} sources ({counts}) in {self.frame.n_bands} bands on {width} x {height} pixels>"

    @property
    def seds(self):
        """(K, B) fluxes.

        Raises
        ------
        DeblendError
            If a source has none yet.
        """
        missing = [k for k, source in enumerate(self.sources) if source.sed is None]
        if missing:
            raise DeblendError(f"sed of source {missing[0]}: not known yet; use scene.solved()")
        return np.array([source.sed for source in self.sources]).reshape(len(self), self.frame.n_bands)

    @property
    def n_pixels(self):
        """Number of pixels used, over all bands and observations."""
        return int(sum(observation.n_used.sum() for observation in self.frame.observations))

    def replace(self, sources):
        """A scene of other sources on the same frame.

        Parameters
        ----------
        sources : sequence
            The new sources.

        Returns
        -------
        Scene
            The changed copy.
        """
        return Scene(self.frame, sources)

    def stack(self):
        """Morphologies on the frame's grid.

        Returns
        -------
        (K, H, W) array
            0 outside of the boxes.
        """
        stack = np.zeros((len(self), *self.frame.grid.shape))
        for image, source in zip(stack, self.sources, strict=True):
            on_grid, in_box = source.box.overlap(image.shape)
            image[on_grid] = source.morphology[in_box]
        return stack

    def cube(self):
        """The model sky in each band.

        Returns
        -------
        (B, H, W) array
            Flux per model pixel, seen through the model PSF.
        """
        return np.tensordot(self.seds.T, self.stack(), 1)

    def render(self):
        """The scene as every observation sees it.

        Returns
        -------
        list of (B_o, h, w) arrays
            One for each observation.
        """
        return self.frame.render(self.cube())

    def render_sources(self):
        """Each source alone as every observation sees it.

        Returns
        -------
        list of (K, B_o, h, w) arrays
            One for each observation.
        """
        seds, images = self.seds, []
        for columns, observation, bands in zip(self._columns(), *self._channels, strict=True):
            shaped = columns.reshape(columns.shape[0], len(self), *observation.grid.shape)
            images.append(np.swapaxes(shaped * seds[:, bands].T[:, :, None, None], 0, 1))
        return images

    def residuals(self):
        """Data minus model.

        Returns
        -------
        list of (B_o, h, w) arrays
            0 where a pixel is not used.
        """
        pairs = zip(self.frame.observations, self.render(), strict=True)
        return [np.where(o.weights > 0, o.images - model, 0.0) for o, model in pairs]

    def chi2(self):
        """Sum of weighted squared residuals.

        Returns
        -------
        float
            chi^2 over all used pixels of all bands and observations.
        """
        pairs = zip(self.frame.observations, self.residuals(), strict=True)
        return float(sum((o.weights * residual**2).sum() for o, residual in pairs))

    def gradients(self):
        """Half chi^2 and its derivatives with respect to morphologies and fluxes, by the exact adjoint.

        Returns
        -------
        Gradients
            The morphologies' before their normalisation is taken into account.
        """
        residuals, seds = self.residuals(), self.seds
        weighted = [-o.weights * residual for o, residual in zip(self.frame.observations, residuals, strict=True)]
        half_chi2 = -0.5 * sum(float((w * residual).sum()) for w, residual in zip(weighted, residuals, strict=True))
        back = self.frame.adjoint(weighted)
        stack = self.stack()
        images = np.tensordot(seds, back, 1)
        return Gradients(
            half_chi2,
            tuple(self._boxed(image, source) for image, source in zip(images, self.sources, strict=True)),
            np.einsum("khw,bhw->kb", stack, back),
        )

    def solved(self, *, nonnegative=True):
        """The scene with the fluxes that fit best for its morphologies.

        Parameters
        ----------
        nonnegative : bool, optional
            Whether fluxes must not be negative.

        Returns
        -------
        Scene
            With SEDs; those of sources that no usable pixel sees are 0.
        """
        fluxes = solve_fluxes(*self.linear_problem(), nonnegative=nonnegative)
        return self.replace([s.replace(sed=sed) for s, sed in zip(self.sources, fluxes.seds, strict=True)])

    def linear_problem(self):
        """Gram matrices and right-hand sides of the fluxes.

        Returns
        -------
        gram, rhs : (B, K, K) and (B, K) arrays
            See `celestepy.deblend.seds`.
        """
        return normal_equations(self._columns(), *self._channels, self.frame.n_bands)

    def flux_covariance(self):
        """Covariance of the fluxes for fixed morphologies.

        Returns
        -------
        (B, K, K) array
            NaN where no usable pixel sees the source.
        """
        return flux_covariance(self.linear_problem()[0])

    def seen_share(self):
        """How much of each source's light falls on usable pixels, by the model itself.

        Returns
        -------
        (K, B) array
            Share of its flux, 0 to 1, in the observation of the band that sees most of it. Light that a PSF spreads
            over a mask or out of the frame is not seen, nor is that of pixels of the model beyond.
        """
        shares = np.zeros((len(self), self.frame.n_bands))
        if len(self):
            for columns, observation, bands in zip(self._columns(), *self._channels, strict=True):
                used = (observation.weights > 0).reshape(len(bands), -1)
                own = np.einsum("bkp,bp->kb", columns, used)
                np.maximum.at(shares, (slice(None), bands), own)
        return np.clip(shares, 0.0, 1.0)

    def _columns(self):
        return self.frame.columns(self.stack())

    @property
    def _channels(self):
        return self.frame.observations, self.frame.band_indices

    @staticmethod
    def _boxed(image, source):
        values = np.zeros(source.box.shape)
        on_grid, in_box = source.box.overlap(image.shape)
        values[in_box] = image[on_grid]
        return values
