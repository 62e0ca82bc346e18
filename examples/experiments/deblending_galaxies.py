"""Real galaxies for drawn blends: images of COSMOS by HST with the colours that HSC measured of them.

The galaxies are those of GalSim's real galaxy catalogue (Mandelbaum et al. 2012), in the layout of the first files of
the data that the tests use. Nothing of a stamp is kept outside of the isophote of the galaxy, beyond which it is noise
and neighbours. The PSF of HST is left in the galaxy, a tenth of an arcsecond.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from deblending_scenes import BANDS, REFERENCE, drawn_parts, flux
from scipy import ndimage

CATALOG, PHOTOMETRY = (f"real_galaxy_catalog_26_extension_example{end}.fits" for end in ("", "_fits"))
IMAGES = "real_galaxy_images_first50.fits"
SIZE_SLOPE = -0.1  # d log10(size) / d mag, as that of the drawn galaxies
SMOOTHING, LEVEL, MARGIN = 3.0, 2.0, 3  # pixels; noises of the smoothed stamp; pixels
SEEING = 9.0  # pixels, standard deviation: where HSC sees the peak of a galaxy is the place that deblenders are given


@dataclass(frozen=True, eq=False)
class Galaxy:
    """One galaxy.

    Attributes
    ----------
    stamp : (n, n) array
        Light, of sum 1.
    magnitude : float
        AB, in i.
    colors : (B,) array
        Flux in each band relative to i.
    peak : (2,) array
        y, x of the highest pixel of the smoothed stamp, pixels from its middle.
    """

    stamp: np.ndarray
    magnitude: float
    colors: np.ndarray
    peak: np.ndarray


def kept(stamp, noise):
    """The light of the galaxy in the middle of a stamp, 0 outside of its isophote."""
    smooth = ndimage.gaussian_filter(stamp, SMOOTHING)
    level = LEVEL * noise / (2 * np.sqrt(np.pi) * SMOOTHING)
    labels, _ = ndimage.label(smooth > level)
    middle = labels[stamp.shape[0] // 2, stamp.shape[1] // 2]
    if not middle:
        return None
    light = np.where(ndimage.binary_dilation(labels == middle, iterations=MARGIN), stamp, 0.0)
    return light / light.sum()


def peak_of(stamp):
    """Where a galaxy is highest in the seeing, y, x from the middle of its stamp."""
    seen = ndimage.gaussian_filter(stamp, SEEING, mode="constant")
    return np.unravel_index(np.argmax(seen), seen.shape) - (np.array(seen.shape) - 1) / 2


class RealGalaxies:
    """The galaxies of a folder, and how to draw them.

    Parameters
    ----------
    folder : Path
        With the catalogue, its photometry and the stamps.
    """

    def __init__(self, folder):
        folder = Path(folder)
        missing = [name for name in (CATALOG, PHOTOMETRY, IMAGES) if not (folder / name).exists()]
        if missing:
            raise SystemExit(f"{folder}: no {', '.join(missing)}; give the folder of the data with --data")
        catalog, photometry = (fits.getdata(folder / name) for name in (CATALOG, PHOTOMETRY))
        self.pixel_scale = float(catalog["PIXEL_SCALE"][0])
        self.galaxies = []
        with fits.open(folder / IMAGES) as stamps:
            for row, colors in zip(catalog, photometry, strict=False):
                if row["GAL_HDU"] < len(stamps) and (one := self._galaxy(stamps[row["GAL_HDU"]].data, row, colors)):
                    self.galaxies.append(one)

    @staticmethod
    def _galaxy(stamp, row, photometry):
        magnitudes = np.array([photometry[f"HSC_{band}"] for band in BANDS], float)
        light = kept(np.asarray(stamp, float), np.sqrt(row["NOISE_VARIANCE"]))
        if light is None or not (np.isfinite(magnitudes).all() and (np.abs(magnitudes) < 35).all()):
            return None
        return Galaxy(light, float(row["MAG"]), flux(magnitudes) / flux(magnitudes[REFERENCE]), peak_of(light))

    def parts(self, galsim, kind, magnitude, rng):
        """One source, as `drawn_parts`: any of the galaxies, turned, and as much smaller as it is made fainter."""
        if kind == "star":
            return drawn_parts(galsim, kind, magnitude, rng)
        galaxy = self.galaxies[rng.integers(len(self.galaxies))]
        profile = galsim.InterpolatedImage(galsim.Image(galaxy.stamp, scale=self.pixel_scale), flux=1.0)
        profile = profile.shift(*(-self.pixel_scale * galaxy.peak[::-1]))
        profile = profile.rotate(rng.uniform(0, 2 * np.pi) * galsim.radians)
        profile = profile.dilate(10 ** (SIZE_SLOPE * (magnitude - galaxy.magnitude)))
        return [(profile, flux(magnitude) * galaxy.colors)]
