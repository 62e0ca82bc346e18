"""Published figures of Celeste's inference: Regier et al. (2019), section 5, and the tables that came with its code."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from celestepy.catalog.crossmatch import crossmatch
from celestepy.catalog.differences import differences, quantity
from celestepy.model.parameters import Bands
from celestepy.simulate import PIXEL_SCALE

BANDS = "ugriz"
PUBLISHED = Path("../shared/data/celeste_results")
# Regier et al. (2019), table 4: VI and MCMC; here by name and unit, and the column of the catalogue
TABLE_4 = {
    "position [px]": ("position", 0.121, 0.111),
    "r [mag]": ("mag_r", 0.118, 0.093),
    "u-g [mag]": ("color_ug", 0.333, 0.327),
    "g-r [mag]": ("color_gr", 0.126, 0.128),
    "r-i [mag]": ("color_ri", 0.110, 0.112),
    "i-z [mag]": ("color_iz", 0.144, 0.154),
    "profile": ("dev_fraction", 0.229, 0.158),
    "axis ratio": ("axis_ratio", 0.106, 0.074),
    "radius [px]": ("half_light_radius", 0.688, 0.450),
    "angle [deg]": ("angle", 8.94, 9.64),
}
# table 5, for the same k: VI, MCMC
TABLE_5 = {
    "mag_r": ((0.18, 0.31, 0.55, 0.68), (0.36, 0.64, 0.92, 0.99)),
    "color_ug": ((0.29, 0.52, 0.79, 0.89), (0.43, 0.73, 0.95, 1.00)),
    "color_gr": ((0.26, 0.46, 0.71, 0.80), (0.41, 0.68, 0.93, 0.99)),
    "color_ri": ((0.22, 0.43, 0.72, 0.84), (0.41, 0.67, 0.94, 0.99)),
    "color_iz": ((0.32, 0.58, 0.82, 0.93), (0.41, 0.71, 0.93, 0.99)),
}
AUC = {"VI": 0.981, "MCMC": 0.994}
# Tables 6 and 7: Photo, VI and MCMC on one exposure of Stripe 82, another field than the one that is at hand here
TABLE_6 = {
    "position [px]": (0.271, 0.268, 0.266),
    "r [mag]": (0.168, 0.159, 0.163),
    "u-g [mag]": (0.943, 0.589, 0.574),
    "g-r [mag]": (0.293, 0.146, 0.146),
    "r-i [mag]": (0.175, 0.097, 0.096),
    "i-z [mag]": (0.336, 0.153, 0.158),
    "profile": (0.245, 0.195, 0.268),
    "axis ratio": (0.219, 0.146, 0.115),
    "radius [px]": (1.274, 0.692, 0.572),
    "angle [deg]": (20.39, 19.54, 19.32),
}
TABLE_7 = {
    "mag_r": ((0.12, 0.21, 0.39, 0.58), (0.18, 0.37, 0.67, 0.82)),
    "color_ug": ((0.25, 0.44, 0.75, 0.89), (0.30, 0.57, 0.85, 0.91)),
    "color_gr": ((0.25, 0.48, 0.76, 0.91), (0.34, 0.59, 0.85, 0.94)),
    "color_ri": ((0.22, 0.41, 0.72, 0.87), (0.30, 0.58, 0.88, 0.95)),
    "color_iz": ((0.27, 0.51, 0.81, 0.94), (0.33, 0.57, 0.87, 0.95)),
}
STRIPE_82_AUC = {"VI": 0.985, "MCMC": 0.991}
# Section 5.3: seconds of VI per source; effective draws of MCMC per second, for a star and a galaxy
VI_SECONDS, MCMC_RATES = 9.0, (0.225, 0.138)


def published_table(folder, name):
    """Published table of the synthetic field: "truth", "vb" (VI) or "mc" (MCMC); rows are the same sources."""
    return Table.read(folder / f"synthetic-matched_{name}.csv", converters={"is_star": str})


def magnitudes(table):
    """Magnitudes of a published table, or of one of its rows, in all bands, from r and the colours."""
    mag = {"r": 22.5 - 2.5 * np.log10(table["flux_r_nmgy"])}
    mag["g"] = mag["r"] + table["color_gr"]
    mag["u"] = mag["g"] + table["color_ug"]
    mag["i"] = mag["r"] - table["color_ri"]
    mag["z"] = mag["i"] - table["color_iz"]
    return {band: mag[band] for band in BANDS}


def absolute_errors(catalog, truth):
    """Absolute errors by the names of table 4, in its units: arrays over the matched sources that have them."""
    match = crossmatch(catalog, truth)
    errors = error_arrays(catalog, truth, match.left, match.right)
    return {name: error[np.isfinite(error)] for name, error in errors.items()}


def error_arrays(catalog, truth, rows, true_rows):
    """Absolute errors of paired rows by the names of table 4, in its units; NaN where a source has none."""
    found = differences(catalog, truth, rows, true_rows, Bands.of(BANDS))
    angle = quantity(catalog, "position_angle", rows) - quantity(truth, "position_angle", true_rows)
    found["angle"] = ((angle + 90) % 180 - 90, None, "deg")  # of round galaxies too, as in table 4
    return {
        name: np.abs(found[column][0]) / (PIXEL_SCALE if name.endswith("[px]") else 1.0)
        for name, (column, *_) in TABLE_4.items()
    }


def published_errors(folder, truth):
    """Mean absolute errors of VI and MCMC on the same sources, from the published tables."""
    rows = crossmatch(published_table(folder, "truth"), truth).left
    pairs = [absolute_errors(_in_our_columns(published_table(folder, name)[rows]), truth) for name in ("vb", "mc")]
    return {name: tuple(float(errors[name].mean()) for errors in pairs) for name in TABLE_4}


def _in_our_columns(table):
    renamed = {f"mag_{band}": np.asarray(mag) for band, mag in magnitudes(table).items()}
    renamed |= {"ra": table["ra"] * u.deg, "dec": table["dec"] * u.deg}
    renamed["half_light_radius"] = PIXEL_SCALE * np.asarray(table["gal_radius_px"], dtype=float)
    for name, column in (("axis_ratio", "axis_ratio"), ("dev_fraction", "frac_dev")):
        renamed[name] = np.asarray(table[f"gal_{column}"], dtype=float)
    renamed["position_angle"] = np.asarray(table["gal_angle_deg"], dtype=float) * u.deg
    return QTable(renamed)
