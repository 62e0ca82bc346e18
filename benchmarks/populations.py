"""Simulated fields with a known truth: what is drawn, the images that are made of it, and seeds at the true places."""

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.table import QTable
from published import BANDS, PUBLISHED, magnitudes, published_table

from celestepy.model.priors import Prior
from celestepy.model.source import Source
from celestepy.simulate import PIXEL_SCALE, SDSS, simulate_field

POPULATIONS = ("prior", "paper", "published")
ISOLATED = 25.0  # arcsec
# Smallest S/N: table 4 follows from the published tables of VI and MCMC if sources under S/N 6 are left out.
DETECTABLE = {"prior": 8.0, "paper": 6.0, "published": 6.0}
# The paper's images hold no read and dark noise. Their seeing (arcsec) and sky (nmgy per pixel) are such that the
# errors and the accuracy of shapes come out as those of the published MCMC for the same sources.
PAPER = {
    "u": replace(SDSS["u"], variance=0.0, sky=0.194, fwhm=1.03),
    "g": replace(SDSS["g"], variance=0.0, sky=0.352, fwhm=0.99),
    "r": replace(SDSS["r"], variance=0.0, sky=0.815, fwhm=0.84),
    "i": replace(SDSS["i"], variance=0.0, sky=1.32, fwhm=0.83),
    "z": replace(SDSS["z"], variance=0.0, sky=2.86, fwhm=0.88),
}
_DETECTION_ERROR = 0.5  # arcsec times S/N: of a seeing of 1.2 arcsec


def simulate(population, n_sources, rng, published=PUBLISHED, min_snr=None):
    """A field of one of the populations; `min_snr` other than that of `DETECTABLE` leaves fainter sources in it."""
    min_snr = DETECTABLE[population] if min_snr is None else min_snr
    if population == "prior":
        side = round(np.sqrt(n_sources) * 2 * ISOLATED / PIXEL_SCALE * 0.75)
        options = {"min_separation": ISOLATED, "min_snr": min_snr}
        return simulate_field(n_sources, BANDS, (side, side), rng=rng, **options)
    if population == "paper":
        scale = np.sqrt(n_sources / 500)
        shape = round(2048 * scale), round(1489 * scale)
        options = {"population": "paper", "conditions": PAPER, "min_snr": min_snr}
        return simulate_field(n_sources, BANDS, shape, rng=rng, **options)
    return _published_field(published_table(published, "truth"), n_sources, rng)


def _published_field(table, n_sources, rng):
    """The paper's own sources at their own places."""
    ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
    center = 0.5 * (ra.min() + ra.max()), 0.5 * (dec.min() + dec.max())
    if n_sources < len(table):
        nearest = np.argsort(np.hypot(ra - center[0], dec - center[1]))[:n_sources]
        return _published_field(table[nearest], len(table), rng)
    size = 3600 / PIXEL_SCALE * np.array([np.ptp(dec), np.ptp(ra)]) + 60
    sources = [_published_source(row) for row in table]
    prior = Prior.load("celeste2019")
    shape = tuple(size.astype(int).tolist())
    return simulate_field(
        bands=BANDS, shape=shape, sources=sources, prior=prior, rng=rng, center=center, conditions=PAPER
    )


def _published_source(row):
    values = {f"flux_{band}": 10 ** (0.4 * (22.5 - mag)) for band, mag in magnitudes(row).items()}
    kind = "star" if row["is_star"] == "true" else "galaxy"
    if kind == "galaxy":
        values |= {
            "half_light_radius": PIXEL_SCALE * row["gal_radius_px"],
            "axis_ratio": row["gal_axis_ratio"],
            "position_angle": row["gal_angle_deg"],
            "dev_fraction": np.clip(row["gal_frac_dev"], 1e-4, 1 - 1e-4),
        }
    return Source.from_catalog(kind, BANDS, ra=row["ra"], dec=row["dec"], **values)


def seeds_at_truth(truth, rng, error=None):
    """Table of the true positions with errors: the same for all (arcsec), or those that a detection would have."""
    if error is None:
        error = np.clip(_DETECTION_ERROR / np.asarray(truth["snr"]), 0.02, 0.28)
    error = np.broadcast_to(error, len(truth))
    step = rng.normal(size=(2, len(truth))) * error / 3600 * u.deg
    ra = truth["ra"] + step[0] / np.cos(truth["dec"].to_value(u.rad))
    return QTable({"ra": ra, "dec": truth["dec"] + step[1], "position_err": error * u.arcsec})
