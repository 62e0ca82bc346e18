"""Noisy and deep photometry of the same sources, and stars of XDQSO: what the default prior is learned and judged from.

``primary_field_df.csv`` and ``coadd_field_df.csv`` hold Photo on one exposure and on the coadd of Stripe 82, 444
sources of SDSS field 4263/5/119; ``xdqso_relflux_fits_star.fits`` the stellar model of XDQSO (Bovy et al. 2011),
Gaussian mixtures of the flux ratios u/i, g/i, r/i, z/i of point sources in 47 bins of i, errors deconvolved. Errors of
single fluxes are not in the tables: those of the coadd are in `DEEP_ERROR`, those of one exposure come from the
difference of the two.
"""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table

from celestepy.model.flux_draws import flux_draws
from celestepy.model.parameters import GALAXY, STAR, Bands

LN_PER_MAG = np.log(10) / 2.5
BANDS = Bands("ugriz")

# Flux errors (nmgy) of the coadd in ugriz: the robust scatter of single exposure minus coadd on the same sources,
# divided by sqrt(20) exposures (more in u, for its tails), and a calibration floor.
DEEP_ERROR = {STAR: (0.08, 0.03, 0.04, 0.05, 0.15), GALAXY: (0.20, 0.07, 0.09, 0.09, 0.40)}
CALIBRATION_ERROR = 0.02
SOFTENING = np.array([1.4, 0.9, 1.2, 1.8, 7.4]) * 1e-10  # of SDSS's asinh magnitudes, ugriz

# No star, galaxy or quasar has adjacent-band colours (mag) beyond these: such deep rows are failed measurements.
BLUEST, REDDEST = (-9.0, -1.0, -0.8, -0.8), (9.0, 3.0, 3.0, 2.0)
BLUEST_U = -0.3  # mag, of u - g; bluer is a failed measurement of u, which then counts as missing
# Where a flux is lost in the noise, colours are looked for within these (mag).
PLAUSIBLE = (-0.6, -0.6, -0.5, -0.5), (3.5, 2.2, 2.8, 1.7)
# Share of the fluxes of one exposure that scatter more than the rest, and by how much.
TAIL = {STAR: (0.02, 4.0), GALAXY: (0.0, 1.0)}


@dataclass(frozen=True)
class Photometry:
    """Fluxes (nmgy) of sources as stars and as galaxies, their types, and shapes."""

    fluxes: dict
    is_star: np.ndarray
    shapes: Table

    def __len__(self):
        return len(self.is_star)


def read_photometry(path, *, deep):
    """One of the two tables; magnitudes of the deep one are logarithmic, those of the other asinh magnitudes."""
    table = Table.read(path)
    fluxes = {}
    for kind, prefix in ((STAR, "star"), (GALAXY, "gal")):
        r = np.asarray(table[f"{prefix}_mag_r"])
        ug, gr, ri, iz = (np.asarray(table[f"{prefix}_color_{pair}"]) for pair in BANDS.color_names)
        mags = np.column_stack([r + gr + ug, r + gr, r, r - ri, r - ri - iz])
        fluxes[kind] = np.exp(LN_PER_MAG * (22.5 - mags)) if deep else _from_asinh(mags)
    columns = dict(radius="gal_arcsec_scale", ratio="gal_ab", dev="gal_fracdev")
    shapes = Table({name: table[column] for name, column in columns.items()})
    return Photometry(fluxes, np.array([value == "True" for value in table["is_star"]]), shapes)


def _from_asinh(mags):
    return 1e9 * 2 * SOFTENING * np.sinh(-LN_PER_MAG * mags - np.log(SOFTENING))


def believable(fluxes):
    """Whether all colours of deep fluxes are those of something."""
    colors = np.diff(np.log(fluxes), axis=1) / LN_PER_MAG
    return np.all((colors > BLUEST) & (colors < REDDEST), axis=1)


def deep_draws(deep, kind, rows, n_draws, rng):
    """Likelihoods of the deep colours of sources of one type."""
    fluxes = deep.fluxes[kind][rows]
    errors = np.hypot(DEEP_ERROR[kind], CALIBRATION_ERROR * fluxes)
    errors[fluxes[:, 0] > fluxes[:, 1] * np.exp(-BLUEST_U * LN_PER_MAG), 0] = np.inf
    return plausible(flux_draws(fluxes, errors, BANDS, n_draws, rng))


def plausible(draws):
    """Draws within plausible colours."""
    return draws.within(*(LN_PER_MAG * np.array(limit) for limit in PLAUSIBLE))


def exposure_error(noisy, deep, kind, rows):
    """Errors of faint fluxes of one exposure, (5,): the robust scatter of the difference to the coadd."""
    faint = rows[deep.fluxes[kind][rows, 2] < 5.0]
    difference = noisy.fluxes[kind][faint] - deep.fluxes[kind][faint]
    return 1.4826 * np.median(np.abs(difference - np.median(difference, axis=0)), axis=0)


def noisy_draws(noisy, kind, rows, error, n_draws, rng):
    """Likelihoods of the colours of sources of one type in one exposure."""
    fluxes = noisy.fluxes[kind][rows]
    errors = np.hypot(error, CALIBRATION_ERROR * np.maximum(fluxes, 0.0))
    return plausible(flux_draws(fluxes, errors, BANDS, n_draws, rng, tail=TAIL[kind]))


def draw_xdqso(path, n, n_draws, rng, faintest=21.0, steepness=0.12):
    """Stars from the XDQSO mixtures, bins of i weighted by counts ~ 10^(steepness i), as likelihoods."""
    with fits.open(path) as hdus:
        bins = [hdu.data[0] for hdu in hdus[1:] if hdu.data["IMAX"][0] <= faintest]
        mags = np.array([0.5 * (row["IMIN"] + row["IMAX"]) for row in bins])
        weights = 10 ** (steepness * (mags - mags[0]))
        chosen = rng.choice(len(bins), n, p=weights / weights.sum())
        ratios = np.ones((n, 5))  # u g r i z over i
        for k, row in enumerate(chosen):
            j = rng.choice(20, p=bins[row]["XAMP"] / bins[row]["XAMP"].sum())
            ratios[k, [0, 1, 2, 4]] = rng.multivariate_normal(bins[row]["XMEAN"][j], bins[row]["XCOVAR"][j])
    keep = np.all(ratios > 1e-3, axis=1)
    fluxes = ratios[keep] * np.exp(LN_PER_MAG * (22.5 - mags[chosen[keep]]))[:, None]
    return flux_draws(fluxes, CALIBRATION_ERROR * fluxes, BANDS, n_draws, rng)
