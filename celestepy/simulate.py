"""Simulated fields with a known truth: sources drawn from a prior, seen by a telescope like that of SDSS.

The pixels are rendered here, one Gaussian component at a time in NumPy, and not by the kernel that fits
them, so that a simulation tests the kernel too.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Column, QTable
from astropy.wcs import WCS

from celestepy.catalog.files import write_table
from celestepy.images.image import Image
from celestepy.images.noise import PoissonNoise
from celestepy.images.psf import MixturePSF
from celestepy.images.psf_mixture import PSFMixture
from celestepy.images.wcs import as_astrometry, from_tangent_offsets
from celestepy.model.parameters import GALAXY, KINDS, STAR
from celestepy.model.priors import Prior, catalog_table
from celestepy.model.rendering import add_image, filter_power, source_mixture
from celestepy.model.source import Source
from celestepy.model.transforms import MAGNITUDE

__all__ = ["SDSS", "Conditions", "SimulatedField", "sdss_like_psf", "simulate_field"]


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of one band.

    Parameters
    ----------
    photons_per_nanomaggy : float
        Detected photons for one nanomaggy: depth.
    sky : float
        Sky level (nmgy per pixel).
    variance : float
        Variance of read and dark noise (electron^2 per pixel).
    fwhm : float
        Full width at half maximum of the PSF (arcsec).
    """

    photons_per_nanomaggy: float
    sky: float
    variance: float
    fwhm: float

    def __post_init__(self):
        for name in ("photons_per_nanomaggy", "sky", "fwhm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Conditions: {name} must be positive, got {getattr(self, name)!r}")
        if not self.variance >= 0:
            raise ValueError(f"Conditions: variance must not be negative, got {self.variance!r}")


# Medians over 14 exposures of one Stripe 82 field (runs 125 to 5052), from the headers of their cut-outs.
SDSS = {
    "u": Conditions(158.0, 0.240, 32.0, 1.21),
    "g": Conditions(1086.0, 0.318, 31.0, 1.16),
    "r": Conditions(932.0, 0.780, 30.0, 0.99),
    "i": Conditions(769.0, 1.441, 180.0, 0.98),
    "z": Conditions(127.0, 4.291, 287.0, 1.04),
}
PIXEL_SCALE = 0.396  # arcsec, SDSS

# Core, shoulder and wing of the PSF of those exposures: fluxes, and widths over that of the core.
_PSF_FLUXES = np.array([0.69, 0.26, 0.05])
_PSF_WIDTHS = np.array([1.0, 1.7, 3.6])
_MARGIN = 12  # pixels between the edge and the nearest source
_FEWEST_ACCEPTED = 1e-3  # share of the draws below which drawing is given up


@dataclass(frozen=True)
class SimulatedField:
    """Images of a simulated field and the sources in it.

    Attributes
    ----------
    images : list of Image
        One for each band and exposure.
    truth : astropy.table.QTable
        One row for each source, with the column names of the catalogue: ``id, ra, dec, is_star, flux_b,
        mag_b, color_xy, half_light_radius, axis_ratio, position_angle, dev_fraction`` (the shape NaN for
        stars), and ``snr``, the signal to noise over all images together, and ``separation``, the distance
        to the nearest other source.
    prior : Prior
        The prior from which the sources were drawn.
    """

    images: list
    truth: QTable
    prior: Prior

    def write(self, directory):
        """Write ``description.toml`` for `celestepy.images.read_images`, its FITS files, and the truth.

        Parameters
        ----------
        directory : path-like
            Where to write; it is made if it does not exist, and files of the same name are replaced.

        Returns
        -------
        pathlib.Path
            Path of the description.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tables = [_write_image(image, directory) for image in self.images]
        path = directory / "description.toml"
        head = "# Simulated by celestepy; pixels in electrons.\n\n"
        path.write_text(head + "\n".join(tables), encoding="utf-8")
        write_table(self.truth, directory / "truth.fits", overwrite=True)
        return path


def sdss_like_psf(fwhm):
    """A PSF with the core and wings of SDSS.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.

    Returns
    -------
    MixturePSF
        Three concentric round Gaussians of unit flux.
    """
    unit = _psf_mixture(1.0)
    return MixturePSF(_psf_mixture(fwhm / unit.fwhm))


def _psf_mixture(width):
    variances = (width * _PSF_WIDTHS) ** 2
    covariances = np.stack([variances, np.zeros(3), variances], axis=1)
    return PSFMixture(_PSF_FLUXES, np.zeros((3, 2)), covariances)


def simulate_field(
    n_sources=150,
    bands=None,
    shape=(800, 800),
    *,
    sources=None,
    prior=None,
    population="prior",
    rng=None,
    conditions=None,
    n_exposures=1,
    center=(30.0, 10.0),
    pixel_scale=PIXEL_SCALE,
    rotation=0.0,
    min_separation=0.0,
    min_snr=8.0,
    bright_limit=15.0,
    noise=True,
):
    """Simulate images of sources drawn from a prior.

    Parameters
    ----------
    n_sources : int
        Number of detectable sources.
    bands : Bands or sequence of str, optional
        Bands; those of the prior by default.
    shape : (int, int)
        Shape (ny, nx) of each image.
    sources : sequence of Source, optional
        These sources, in the same bands, instead of `n_sources` drawn from the prior.
    prior : Prior, optional
        Population to draw from; `Prior.default` by default.
    population : {"prior", "paper"}
        "paper" draws from the published laws of Regier et al. (2019), section 5.1, unless a `prior` is given.
    rng : int or numpy.random.Generator, optional
        Seed or generator of sources and noise.
    conditions : dict of Conditions, optional
        Observing conditions by band; `SDSS` by default.
    n_exposures : int
        Exposures of each band; more than one are dithered by up to 4 pixels, and their seeing varies by 10 %.
    center : (float, float)
        Right ascension and declination of the middle (deg).
    pixel_scale : float
        Arcsec per pixel.
    rotation : float
        Position angle of the y axis, degrees East of North.
    min_separation : float
        Smallest distance between sources (arcsec); about 8 makes them isolated.
    min_snr : float
        Sources of lower signal to noise over all images together (for a known profile and position) are not
        detectable and are drawn again; 0 keeps all.
    bright_limit : float
        Sources brighter than this magnitude in the reference band, which would saturate, are drawn again.
    noise : bool
        Whether to add noise; without it, pixels are the expected values.

    Returns
    -------
    SimulatedField
        Images, truth and prior.

    Raises
    ------
    ValueError
        If a band has no conditions, sources are given in other bands, the sources do not fit into the field
        at the separation wanted, or hardly any draw is detectable.
    """
    if population not in ("prior", "paper"):
        raise ValueError(f"population must be 'prior' or 'paper', got {population!r}")
    rng = np.random.default_rng(rng)
    if prior is None:
        prior = Prior.load("celeste2019") if population == "paper" else Prior.default()
    prior = prior.for_bands(prior.bands if bands is None else bands)
    frames = _frames(prior.bands, shape, conditions or SDSS, n_exposures, center, pixel_scale, rotation, rng)
    if sources is None:
        sources = _draw(prior, n_sources, frames, min_snr, bright_limit, rng)
        positions = _place(n_sources, shape, min_separation / pixel_scale, rng)
        ra, dec = frames[0].astrometry.pixel_to_sky(*positions.T)
        sources = [replace(source, ra=ra[k], dec=dec[k]) for k, source in enumerate(sources)]
    _check_bands(sources, prior.bands)
    truth = _truth(sources, prior.bands, frames)
    return SimulatedField([_observe(frame, sources, noise, rng) for frame in frames], truth, prior)


@dataclass(frozen=True)
class _Frame:
    """One exposure before any source is in it."""

    name: str
    band: str
    band_index: int
    shape: tuple
    wcs: WCS
    astrometry: object
    jacobian: np.ndarray
    pixel_scale: float
    psf: MixturePSF
    conditions: Conditions

    @property
    def pixel_variance(self):
        """Variance of the empty sky, nmgy^2."""
        photons = self.conditions.photons_per_nanomaggy
        return self.conditions.sky / photons + self.conditions.variance / photons**2


def _frames(bands, shape, conditions, n_exposures, center, pixel_scale, rotation, rng):
    missing = [band for band in bands if band not in conditions]
    if missing:
        raise ValueError(f"conditions: none for the band(s) {', '.join(missing)}; give Conditions for each")
    frames = []
    for index, band in enumerate(bands):
        for k in range(n_exposures):
            alone = n_exposures == 1
            dither = np.zeros(2) if alone else rng.uniform(-4, 4, 2)
            seeing = conditions[band].fwhm * (1.0 if alone else np.exp(0.1 * rng.standard_normal()))
            wcs = _tangent_wcs(shape, center, pixel_scale, rotation, dither)
            astrometry = as_astrometry(wcs)
            name = band if alone else f"{band}{k + 1}"
            jacobian, psf = astrometry.local_affine(*center)[2], sdss_like_psf(seeing / pixel_scale)
            frames.append(_Frame(name, band, index, tuple(shape), wcs, astrometry, jacobian, pixel_scale, psf,
                                 conditions[band]))
    return frames


def _check_bands(sources, bands):
    for k, source in enumerate(sources):
        if source.bands != bands:
            raise ValueError(f"sources: number {k} has the bands {source.bands.names}, expected those of the "
                             f"field, {bands.names}; give both the same bands")


def _tangent_wcs(shape, center, pixel_scale, rotation, dither):
    """A tangent-plane WCS with the y axis at a position angle and East to the left of North."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = center
    wcs.wcs.crpix = np.array(shape[::-1]) / 2 + 0.5 + dither
    angle, degrees = np.radians(rotation), pixel_scale / 3600
    cosine, sine = degrees * np.cos(angle), degrees * np.sin(angle)
    wcs.wcs.cd = [[-cosine, sine], [sine, cosine]]
    wcs.wcs.set()
    return wcs


def _draw(prior, n_sources, frames, min_snr, bright_limit, rng):
    """Detectable sources, not placed yet."""
    point = Source(STAR, np.zeros(len(prior.bands) + 2), prior.bands)
    sharpest = np.array([_signal_to_noise(point, [frame]) for frame in frames])
    band_of = [frame.band_index for frame in frames]
    sources, n_drawn = [], 0
    while len(sources) < n_sources:
        n_drawn += 1
        if n_drawn > 1000 and len(sources) < _FEWEST_ACCEPTED * n_drawn:
            raise ValueError(f"min_snr = {min_snr:g}, bright_limit = {bright_limit:g}: of {n_drawn} draws "
                             f"from the prior {prior.name!r} only {len(sources)} remain; widen the limits")
        kind = STAR if rng.uniform() < prior.star_fraction else GALAXY
        source = Source(kind, prior.sample_theta(kind, 1, rng)[0], prior.bands)
        # No source is easier to see than a point source of its fluxes, which is quick to rule out.
        too_faint = np.linalg.norm(source.scene[band_of] * sharpest) < min_snr
        if 22.5 - MAGNITUDE * source.theta[2] < bright_limit or too_faint:
            continue
        if _signal_to_noise(source, frames) >= min_snr:
            sources.append(source)
    return sources


def _signal_to_noise(source, frames):
    """Of the optimal filter over all frames, in the limit where the sky dominates the noise."""
    fluxes, total = source.scene, 0.0
    for frame in frames:
        power = filter_power(*source_mixture(source, frame.psf.at(0.0, 0.0), frame.jacobian))
        total += fluxes[frame.band_index] ** 2 * power / frame.pixel_variance
    return float(np.sqrt(total))


def _place(n_sources, shape, min_separation, rng):
    """Uniform positions (n, 2) in pixels, x first, no two nearer than `min_separation`."""
    size = np.array(shape[::-1]) - 1 - 2 * _MARGIN
    if np.any(size <= 0):
        raise ValueError(f"shape = {tuple(shape)}: too small, expected over {2 * _MARGIN + 1} pixels a side")
    positions = np.empty((0, 2))
    for _ in range(200 * n_sources):
        if len(positions) == n_sources:
            break
        new = _MARGIN + size * rng.uniform(size=2)
        if not np.any(np.hypot(*(positions - new).T) < min_separation):
            positions = np.vstack([positions, new])
    if len(positions) < n_sources:
        raise ValueError(f"n_sources = {n_sources}: only {len(positions)} fit into {tuple(shape)} pixels at "
                         f"the separation wanted; lower n_sources or min_separation, or enlarge shape")
    return positions


def _truth(sources, bands, frames):
    """The table of what was simulated."""
    is_star = np.array([not source.is_galaxy for source in sources], dtype=bool)
    thetas = {kind: [source.theta for source in sources if source.kind == kind] for kind in KINDS}
    table = catalog_table(is_star, thetas, bands)
    ra, dec = _positions(sources)
    table.add_column(Column(np.arange(len(sources)), name="id"), index=0)
    table.add_columns([ra * u.deg, dec * u.deg], names=["ra", "dec"], indexes=[1, 1])
    table["snr"] = np.array([_signal_to_noise(source, frames) for source in sources])
    x, y = frames[0].astrometry.sky_to_pixel(ra, dec)
    gaps = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(gaps, np.inf)
    table["separation"] = frames[0].pixel_scale * gaps.min(axis=1, initial=np.inf) * u.arcsec
    return table


def _positions(sources):
    """Right ascensions and declinations (deg) of sources, their offsets u and v included."""
    ra, dec = (np.array([getattr(source, name) for source in sources], dtype=float) for name in ("ra", "dec"))
    offsets = np.array([source.theta[:2] for source in sources]).reshape(-1, 2)
    return from_tangent_offsets(*offsets.T, ra, dec)


def _observe(frame, sources, noise, rng):
    """The image of a frame: expected electrons of sky and sources, and noise."""
    conditions = frame.conditions
    expected = np.full(frame.shape, conditions.sky)
    x, y, jacobians = frame.astrometry.local_affine(*_positions(sources))
    for k, source in enumerate(sources):
        mixture = source_mixture(source, frame.psf.at(x[k], y[k]), jacobians[k])
        add_image(expected, source.scene[frame.band_index], x[k], y[k], *mixture)
    photons, pixels = conditions.photons_per_nanomaggy, expected
    if noise:
        electrons = rng.poisson(expected * photons) + rng.normal(0, conditions.variance**0.5, frame.shape)
        pixels = electrons / photons
    return Image(pixels, band=frame.band, psf=frame.psf, wcs=frame.wcs, sky=conditions.sky, name=frame.name,
                 noise=PoissonNoise(photons, conditions.variance))


def _write_image(image, directory):
    """Write one image in electrons, and return its table of the description."""
    photons = float(image.noise.photons_per_nanomaggy[0])
    electrons = (image.pixels * photons).astype(np.float32)
    fits.writeto(directory / f"{image.name}.fits", electrons, image.wcs.to_header(), overwrite=True)
    psf = image.psf.at(0.0, 0.0)
    entries = {
        "file": f'"{image.name}.fits"',
        "band": f'"{image.band}"',
        "name": f'"{image.name}"',
        "zero_point": f'"{1 / photons!r} nmgy"',
        "gain": "1.0",
        "read_noise": repr(float(image.noise.variance) ** 0.5),
        "sky": repr(float(image.sky[0, 0]) * photons),
        "psf": f'{{ type = "mixture", amplitudes = {psf.amplitudes.tolist()}, means = {psf.means.tolist()}, '
               f"covariances = {psf.covariances.tolist()} }}",
    }
    return "\n".join(["[[image]]", *(f"{key} = {value}" for key, value in entries.items()), ""])
