"""Boxes that grow where a source has light at their edge."""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError

__all__ = ["Growth", "padded"]


@dataclass(frozen=True)
class Growth:
    """Settings of the growth of boxes.

    Parameters
    ----------
    every : int
        Iterations between two looks at the boxes.
    edge_snr : float
        A box grows where its outermost ring has more light than this, in standard deviations of its noise in the
        best band.
    share : float
        What is added to each side, as a share of the half side; at least two pixels.
    largest_half : int
        Half side that is never exceeded.
    """

    every: int = 15
    edge_snr: float = 3.0
    share: float = 0.3
    largest_half: int = 60

    def __post_init__(self):
        if int(self.every) != self.every or self.every < 1:
            raise DeblendError(f"every: {self.every!r}, expected a whole number of iterations >= 1")
        for name in ("edge_snr", "share", "largest_half"):
            if not getattr(self, name) > 0:
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a number > 0")

    def padding(self, morphology, sed, depth, largest=None):
        """Rows and columns to add to each side of a box.

        Parameters
        ----------
        morphology : (h, w) array
            Unit sum.
        sed : (B,) array
            Fluxes.
        depth : (B,) array
            Inverse variance of a pixel of each band.
        largest : (int, int), optional
            Largest half height and half width, besides that of the settings.

        Returns
        -------
        (int, int)
            0 where the box is to stay as it is.
        """
        height, width = morphology.shape
        ring = morphology.sum() - morphology[1:-1, 1:-1].sum() if min(height, width) > 2 else morphology.sum()
        n_ring = 2 * (height + width) - 4
        snr = float(np.max(np.abs(sed) * ring * np.sqrt(depth / max(n_ring, 1)), initial=0.0))
        if not snr > self.edge_snr:
            return 0, 0
        limits = (self.largest_half,) * 2 if largest is None else np.minimum(largest, self.largest_half)
        wanted = (max(2, int(self.share * (side // 2))) for side in (height, width))
        return tuple(
            int(np.clip(limit - side // 2, 0, pad)) for limit, side, pad in zip(limits, (height, width), wanted)
        )


def padded(values, pads):
    """Zeros round an array.

    Parameters
    ----------
    values : (h, w) array
        A morphology, or what belongs to its pixels.
    pads : (int, int)
        Rows above and below, columns left and right.

    Returns
    -------
    array
        (h + 2 pads[0], w + 2 pads[1]).
    """
    return np.pad(values, ((pads[0],) * 2, (pads[1],) * 2))
