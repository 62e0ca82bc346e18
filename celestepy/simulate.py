"""Simulated fields with a known truth: sources drawn from a prior, seen by a telescope like that of SDSS.

The pixels are rendered here, one Gaussian component at a time in NumPy, and not by the kernel that fits
them, so that a simulation tests the kernel too.
"""

from dataclasses import dataclass
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
from celestepy.images.wcs import as_astrometry
from celestepy.model.parameters import GALAXY, KINDS, STAR, scene_layout
from celestepy.model.priors import Prior, catalog_table
from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL
from celestepy.model.transforms import MAGNITUDE, to_scene

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
_REACH = 6.0  # standard deviations to which a component is rendered: it loses exp(-18) of its flux
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
        If a band has no conditions, the sources do not fit into the field at the separation wanted, or hardly
        any draw is detectable.
    """
    if population not in ("prior", "paper"):
        raise ValueError(f"population must be 'prior' or 'paper', got {population!r}")
    rng = np.random.default_rng(rng)
    if prior is None:
        prior = Prior.load("celeste2019") if population == "paper" else Prior.default()
    prior = prior.for_bands(prior.bands if bands is None else bands)
    frames = _frames(prior.bands, shape, conditions or SDSS, n_exposures, center, pixel_scale, rotation, rng)
    sources, snr = _draw(prior, n_sources, frames, min_snr, bright_limit, rng)
    positions = _place(n_sources, shape, min_separation / pixel_scale, rng)
    ra, dec = frames[0].astrometry.pixel_to_sky(*positions.T)
    truth = _truth(prior, sources, snr, ra, dec, positions, pixel_scale)
    return SimulatedField([_observe(frame, sources, ra, dec, noise, rng) for frame in frames], truth, prior)


@dataclass(frozen=True)
class _Frame:
    """One exposure before any source is in it."""

    name: str
    band: str
    band_index: int
    shape: tuple
    wcs: WCS
    astrometry: object
    psf: MixturePSF
    conditions: Conditions

    @property
    def pixel_variance(self):
        """Variance of the empty sky, nmgy^2."""
        photons = self.conditions.photons_per_nanomaggy
        return self.conditions.sky / photons + self.conditions.variance / photons**2


@dataclass(frozen=True)
class _Drawn:
    """One source drawn from the prior."""

    kind: str
    theta: np.ndarray
    scene: np.ndarray
    n_bands: int

    def mixture(self, frame, jacobian):
        """Its image of unit flux as Gaussians in pixels: amplitudes, means (n, 2), covariances (n, 2, 2)."""
        psf = frame.psf.at(0.0, 0.0)
        seeing = psf.covariances[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
        if self.kind == STAR:
            return psf.amplitudes, psf.means, seeing
        at = scene_layout(self.n_bands)
        suu, suv, svv = self.scene[at.shape]
        dev = self.scene[at.dev_fraction]
        shares = np.concatenate([dev * DE_VAUCOULEURS.amplitudes, (1 - dev) * EXPONENTIAL.amplitudes])
        variances = np.concatenate([DE_VAUCOULEURS.variances, EXPONENTIAL.variances])
        ellipse = jacobian @ np.array([[suu, suv], [suv, svv]]) @ jacobian.T
        covariances = variances[:, None, None, None] * ellipse + seeing
        means = np.broadcast_to(psf.means, (len(shares), *psf.means.shape))
        return np.outer(shares, psf.amplitudes).ravel(), means.reshape(-1, 2), covariances.reshape(-1, 2, 2)


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
            psf = sdss_like_psf(seeing / pixel_scale)
            frames.append(_Frame(band if alone else f"{band}{k + 1}", band, index, tuple(shape), wcs,
                                 as_astrometry(wcs), psf, conditions[band]))
    return frames


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
    """Detectable sources, and their signal to noise."""
    jacobian = frames[0].astrometry.local_affine(*frames[0].wcs.wcs.crval)[2]
    point = _Drawn(STAR, None, np.ones(len(prior.bands) + 6), len(prior.bands))
    sharpest = [_signal_to_noise(point, [frame], jacobian) for frame in frames]
    band_of = [frame.band_index for frame in frames]
    sources, ratios, n_drawn = [], [], 0
    while len(sources) < n_sources:
        n_drawn += 1
        if n_drawn > 1000 and len(sources) < _FEWEST_ACCEPTED * n_drawn:
            raise ValueError(f"min_snr = {min_snr:g}, bright_limit = {bright_limit:g}: of {n_drawn} draws "
                             f"from the prior {prior.name!r} only {len(sources)} remain; widen the limits")
        kind = STAR if rng.uniform() < prior.star_fraction else GALAXY
        theta = prior.sample_theta(kind, 1, rng)[0]
        scene = to_scene(kind, theta, prior.bands)[0]
        # No source is easier to see than a point source of its fluxes.
        if _magnitude(theta[2]) < bright_limit or np.linalg.norm(scene[band_of] * sharpest) < min_snr:
            continue
        source = _Drawn(kind, theta, scene, len(prior.bands))
        ratio = _signal_to_noise(source, frames, jacobian)
        if ratio >= min_snr:
            sources.append(source)
            ratios.append(ratio)
    return sources, np.array(ratios)


def _magnitude(log_flux):
    return 22.5 - MAGNITUDE * log_flux


def _signal_to_noise(source, frames, jacobian):
    """Of the optimal filter over all frames, in the limit where the sky dominates the noise."""
    total = 0.0
    for frame in frames:
        amplitudes, means, covariances = source.mixture(frame, jacobian)
        offsets = means[:, None] - means
        widths = covariances[:, None] + covariances
        chi2 = np.einsum("ija,ijab,ijb->ij", offsets, np.linalg.inv(widths), offsets)
        overlaps = np.exp(-0.5 * chi2) / (2 * np.pi * np.sqrt(np.linalg.det(widths)))
        power = amplitudes @ overlaps @ amplitudes
        total += source.scene[frame.band_index]**2 * power / frame.pixel_variance
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


def _truth(prior, sources, snr, ra, dec, positions, pixel_scale):
    is_star = np.array([source.kind == STAR for source in sources], dtype=bool)
    thetas = {kind: [source.theta for source in sources if source.kind == kind] for kind in KINDS}
    table = catalog_table(is_star, thetas, prior.bands)
    table.add_column(Column(np.arange(len(sources)), name="id"), index=0)
    table.add_columns([ra * u.deg, dec * u.deg], names=["ra", "dec"], indexes=[1, 1])
    table["snr"] = snr
    gaps = np.hypot(*(positions[:, None] - positions).transpose(2, 0, 1))
    np.fill_diagonal(gaps, np.inf)
    table["separation"] = pixel_scale * gaps.min(axis=1, initial=np.inf) * u.arcsec
    return table


def _observe(frame, sources, ra, dec, noise, rng):
    """The image of a frame: expected electrons of sky and sources, and noise."""
    conditions = frame.conditions
    expected = np.full(frame.shape, conditions.sky)
    x, y, jacobians = frame.astrometry.local_affine(ra, dec)
    for k, source in enumerate(sources):
        _add(expected, source.scene[frame.band_index], x[k], y[k], *source.mixture(frame, jacobians[k]))
    photons, pixels = conditions.photons_per_nanomaggy, expected
    if noise:
        electrons = rng.poisson(expected * photons) + rng.normal(0, conditions.variance**0.5, frame.shape)
        pixels = electrons / photons
    return Image(pixels, band=frame.band, psf=frame.psf, wcs=frame.wcs, sky=conditions.sky, name=frame.name,
                 noise=PoissonNoise(photons, conditions.variance))


def _add(pixels, flux, x, y, amplitudes, means, covariances):
    """Add one source to the pixels, each component within its own box."""
    ny, nx = pixels.shape
    precisions = np.linalg.inv(covariances)
    norms = flux * amplitudes / (2 * np.pi * np.sqrt(np.linalg.det(covariances)))
    reaches = _REACH * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    for norm, mean, (dx, dy), precision in zip(norms, means, reaches, precisions, strict=True):
        cx, cy = x + mean[0], y + mean[1]
        columns = np.arange(max(int(cx - dx), 0), min(int(cx + dx) + 2, nx))
        rows = np.arange(max(int(cy - dy), 0), min(int(cy + dy) + 2, ny))
        if not (columns.size and rows.size):
            continue
        h, v = columns - cx, (rows - cy)[:, None]
        chi2 = precision[0, 0] * h * h + 2 * precision[0, 1] * h * v + precision[1, 1] * v * v
        pixels[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] += norm * np.exp(-0.5 * chi2)


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
