"""What sources add to each other's patches, and which of them may be fitted at the same time."""

from dataclasses import dataclass

import numpy as np

__all__ = ["SourceLight", "colour", "neighbour_maps"]


@dataclass(frozen=True)
class SourceLight:
    """The moments of a source's light under its q.

    Attributes
    ----------
    amplitudes : (B, 4) array
        A1, A2, B1, B2 of each band (see `~celestepy.model.pixel_rate.MeanFieldPixels`).
    geometry : (6,) array
        u, v, dev_fraction, Suu, Suv, Svv.
    """

    amplitudes: np.ndarray
    geometry: np.ndarray

    @classmethod
    def of_star(cls, fluxes):
        """A star of known fluxes (B,) at its seed."""
        fluxes = np.asarray(fluxes, dtype=float)
        nothing = np.zeros(len(fluxes))
        return cls(np.column_stack([fluxes, nothing, fluxes**2, nothing]), np.array([0, 0, 0.5, 1.0, 0, 1.0]))

    @property
    def is_galaxy(self):
        """Types that are not negligible: whether each of them is a galaxy."""
        return [i == 1 for i in (0, 1) if np.any(self.amplitudes[:, i] > 0)]

    def scenes(self, is_galaxy):
        """Scene vectors of some types with their expected fluxes, (n, B + 6)."""
        return np.array([np.concatenate([self.amplitudes[:, int(galaxy)], self.geometry]) for galaxy in is_galaxy])

    def moments(self, band, profiles):
        """Mean and variance of the light in a band.

        Parameters
        ----------
        band : int
            Index of the band.
        profiles : (n, h, w) array
            Profiles of the types `is_galaxy`, of unit flux.

        Returns
        -------
        mean, variance : (h, w) arrays
            Equations 32 and 37.
        """
        kinds = np.array(self.is_galaxy, dtype=int)
        mean = np.tensordot(self.amplitudes[band, kinds], profiles, axes=1)
        second = np.tensordot(self.amplitudes[band, 2 + kinds], profiles**2, axes=1)
        return mean, np.maximum(second - mean**2, 0.0)


def neighbour_maps(placement, data, lights):
    """Mean and variance of the light of other sources in the patches of one.

    Parameters
    ----------
    placement : `~celestepy.inference.placement.Placement`
        Sources on images.
    data : `~celestepy.inference.placement.GroupData`
        The patches.
    lights : dict
        Source -> `SourceLight`.

    Returns
    -------
    means, variances : lists of (h, w) arrays
        Nanomaggies per pixel, and their squares.
    """
    means, variances = ([np.zeros(patch.data.shape) for patch in data.patches] for _ in range(2))
    lights = {k: light for k, light in lights.items() if light.is_galaxy}
    if not lights:
        return means, variances
    sources = [k for k, light in lights.items() for _ in light.is_galaxy]
    is_galaxy = np.concatenate([light.is_galaxy for light in lights.values()])
    scenes = np.concatenate([light.scenes(light.is_galaxy) for light in lights.values()])
    likelihood = placement.scene_likelihood(data.patches, list(data.images), sources)
    for n, profiles in enumerate(likelihood.profiles(is_galaxy, scenes)):
        band, first = placement.band_index[data.images[n]], 0
        for light in lights.values():
            last = first + len(light.is_galaxy)
            mean, variance = light.moments(band, profiles[first:last])
            means[n] += mean
            variances[n] += variance
            first = last
    return means, variances


def colour(neighbours, order):
    """Colour the sources so that no two neighbours have one colour: those of a colour may be fitted at once.

    Parameters
    ----------
    neighbours : sequence of iterables of int
        For each source those whose light is in its patch; a source is in conflict with these, and with those that
        have it among theirs.
    order : sequence of int
        The sources to colour, in the order in which they choose.

    Returns
    -------
    list of list of int
        Sources of each colour, in the given order.
    """
    conflicts = [set() for _ in neighbours]
    for k, near in enumerate(neighbours):
        for j in near:
            conflicts[k].add(int(j))
            conflicts[int(j)].add(k)
    chosen = {}
    for k in order:
        taken = {chosen[j] for j in conflicts[k] if j in chosen}
        chosen[k] = next(number for number in range(len(taken) + 1) if number not in taken)
    classes = [[] for _ in range(max(chosen.values(), default=-1) + 1)]
    for k, number in chosen.items():
        classes[number].append(k)
    return classes
