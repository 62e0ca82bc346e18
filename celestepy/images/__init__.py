"""Images: what was observed. Pixels, noise, sky, PSF and astrometry, and the readers that build them."""

from celestepy.images.alignment import ShiftedAstrometry, aligned
from celestepy.images.calibration import calibrated
from celestepy.images.counts import from_counts, nanomaggies_per_count
from celestepy.images.description import read_toml
from celestepy.images.errors import CalibrationWarning, ImageError, PSFResidualWarning, SkyWarning
from celestepy.images.fits import from_ccddata, read_images
from celestepy.images.image import Image, Patch
from celestepy.images.noise import GaussianNoise, PoissonNoise
from celestepy.images.noise_calibration import match_pixel_noise, measure_noise_scale, measure_pixel_noise
from celestepy.images.psf import PSF, GaussianPSF, MixturePSF, MoffatPSF, ScaledPSF, StampPSF
from celestepy.images.psf_calibration import isolated_stars, measure_aperture_correction, measure_psf_error
from celestepy.images.psf_mixture import PSFMixture, fit_mixture
from celestepy.images.psfex import PSFExPSF, read_psfex
from celestepy.images.sdss import read_sdss_field, read_sdss_frame
from celestepy.images.sdss_astrometry import SDSSAstrometry
from celestepy.images.sdss_psf import SDSSPSF
from celestepy.images.sky import measure_sky
from celestepy.images.wcs import AffineAstrometry, Astrometry, FITSAstrometry

__all__ = [
    "AffineAstrometry",
    "Astrometry",
    "CalibrationWarning",
    "FITSAstrometry",
    "GaussianNoise",
    "GaussianPSF",
    "Image",
    "ImageError",
    "MixturePSF",
    "MoffatPSF",
    "PSF",
    "PSFExPSF",
    "PSFMixture",
    "PSFResidualWarning",
    "Patch",
    "PoissonNoise",
    "SDSSAstrometry",
    "SDSSPSF",
    "ScaledPSF",
    "ShiftedAstrometry",
    "SkyWarning",
    "StampPSF",
    "aligned",
    "calibrated",
    "fit_mixture",
    "from_ccddata",
    "from_counts",
    "isolated_stars",
    "measure_aperture_correction",
    "match_pixel_noise",
    "measure_noise_scale",
    "measure_pixel_noise",
    "measure_psf_error",
    "measure_sky",
    "nanomaggies_per_count",
    "read_images",
    "read_psfex",
    "read_sdss_field",
    "read_sdss_frame",
    "read_toml",
]
