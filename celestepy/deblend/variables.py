"""The sources of a scene while they are fitted: what moves, and where it lies on the frame."""

import numpy as np

from celestepy.deblend.source import Box, FreeSource

__all__ = ["Variables"]


class Variables:
    """Active sources of a scene in motion.

    Parameters
    ----------
    scene : Scene
        The start.

    Attributes
    ----------
    indices : list of int
        Places of the active sources in the scene.
    sources : list
        Free sources as they were at the start; stars and galaxies as they are.
    values : list of (h, w) arrays
        Morphologies as they are.
    boxes : list of Box
        Their boxes.
    free : list of int
        Which of the active sources are free.
    """

    def __init__(self, scene):
        self.grid_shape = scene.frame.grid.shape
        self.indices = np.flatnonzero(scene.active).tolist()
        self.sources = [scene.sources[k] for k in self.indices]
        self.values = [np.array(source.morphology) for source in self.sources]
        self.boxes = [source.box for source in self.sources]
        self.free = [k for k, source in enumerate(self.sources) if isinstance(source, FreeSource)]
        self.parametric = [k for k in range(len(self.sources)) if k not in set(self.free)]

    def __len__(self):
        return len(self.sources)

    def stack(self, values=None, boxes=None):
        """Morphologies on the frame's grid.

        Parameters
        ----------
        values : list of arrays, optional
            In place of the present ones.
        boxes : list of Box, optional
            Likewise.

        Returns
        -------
        (K, H, W) array
            0 outside of the boxes.
        """
        stack = np.zeros((len(self), *self.grid_shape))
        pairs = zip(stack, self.values if values is None else values, self.boxes if boxes is None else boxes)
        for image, own, box in pairs:
            on_grid, in_box = box.overlap(self.grid_shape)
            image[on_grid] = own[in_box]
        return stack

    def cut(self, image, k):
        """The part of an image on the frame's grid that lies in a source's box.

        Parameters
        ----------
        image : (H, W) array
            On the grid.
        k : int
            Which active source.

        Returns
        -------
        (h, w) array
            0 outside of the grid.
        """
        box = self.boxes[k]
        values = np.zeros(box.shape)
        on_grid, in_box = box.overlap(self.grid_shape)
        values[in_box] = image[on_grid]
        return values

    def replace_parametric(self, k, source):
        """Let a star or galaxy have other parameters.

        Parameters
        ----------
        k : int
            Which active source.
        source : PointSource or GalaxySource
            The new one.
        """
        self.sources[k], self.values[k], self.boxes[k] = source, source.morphology, source.box

    def set_free(self, k, values):
        """Give a free source a new morphology, whose box may have grown.

        Parameters
        ----------
        k : int
            Which active source.
        values : (h, w) array
            Odd sides.
        """
        self.values[k] = values
        source = self.sources[k]
        self.boxes[k] = Box.about(source.y, source.x, values.shape[0] // 2, values.shape[1] // 2)

    def fitted(self, seds):
        """The active sources as records.

        Parameters
        ----------
        seds : (K, B) array
            Fluxes that belong to the present values.

        Returns
        -------
        list of sources
            Free morphologies of unit sum, with fluxes to match.
        """
        found = []
        for k, (source, sed) in enumerate(zip(self.sources, seds, strict=True)):
            if k in self.free:
                total = self.values[k].sum()
                usable = np.isfinite(total) and total > 0
                changes = {"morphology": self.values[k], "sed": sed * total} if usable else {"sed": 0.0 * sed}
                found.append(source.replace(**changes))
            else:
                found.append(source.replace(sed=sed))
        return found
