"""Images: what was observed. Pixels, noise, sky, PSF and astrometry, and the readers that build them."""

from celestepy.images.calibration import CalibrationWarning, calibrated, measure_noise_scale
from celestepy.images.errors import ImageError, PSFResidualWarning
from celestepy.images.image import Image, Patch
from celestepy.images.noise import GaussianNoise, PoissonNoise
from celestepy.images.psf import PSF, GaussianPSF, MixturePSF, MoffatPSF, ScaledPSF, StampPSF
from celestepy.images.psf_calibration import isolated_stars, measure_aperture_correction, measure_psf_error
from celestepy.images.psf_mixture import PSFMixture, fit_mixture
from celestepy.images.sdss import read_sdss_field, read_sdss_frame
from celestepy.images.sdss_astrometry import SDSSAstrometry
from celestepy.images.sdss_psf import SDSSPSF
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
    "PSFMixture",
    "PSFResidualWarning",
    "Patch",
    "PoissonNoise",
    "SDSSAstrometry",
    "SDSSPSF",
    "ScaledPSF",
    "StampPSF",
    "calibrated",
    "fit_mixture",
    "isolated_stars",
    "measure_aperture_correction",
    "measure_noise_scale",
    "measure_psf_error",
    "read_sdss_field",
    "read_sdss_frame",
]
