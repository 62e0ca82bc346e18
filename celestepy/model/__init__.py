"""The model: what made the pixels. Parameters, transforms, profiles, priors and the pixel kernel."""

from celestepy.model.color_fit import ColorFit, color_errors, log_likelihood
from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import GALAXY, KINDS, PARAMETERS, STAR, Bands, Parameter, parameter_names
from celestepy.model.pixel_rate import SceneLikelihood, available_kernels, kernel_name
from celestepy.model.prior_fit import (
    fit_axis_ratio,
    fit_dev_fraction,
    fit_normal_counts,
    fit_power_counts,
    fit_radius,
)
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw
from celestepy.model.priors import GalaxyPrior, Prior, StarPrior
from celestepy.model.profiles import DE_VAUCOULEURS, EXPONENTIAL, ProfileMixture
from celestepy.model.source import Source
from celestepy.model.transforms import curvature, from_catalog, to_catalog, to_scene

__all__ = [
    "DE_VAUCOULEURS",
    "EXPONENTIAL",
    "GALAXY",
    "KINDS",
    "PARAMETERS",
    "STAR",
    "AxisRatioLaw",
    "Bands",
    "ColorFit",
    "ColorMixture",
    "GalaxyPrior",
    "LogisticBeta",
    "Normal",
    "Parameter",
    "Prior",
    "ProfileMixture",
    "RadiusLaw",
    "SceneLikelihood",
    "Source",
    "StarPrior",
    "available_kernels",
    "color_errors",
    "curvature",
    "fit_axis_ratio",
    "fit_dev_fraction",
    "fit_normal_counts",
    "fit_power_counts",
    "fit_radius",
    "from_catalog",
    "kernel_name",
    "log_likelihood",
    "parameter_names",
    "to_catalog",
    "to_scene",
]
