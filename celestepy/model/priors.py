"""What is believed about sources before the pixels are seen: `Prior`.

The density of one source factorises as

    p(position) p(log_flux) p(colors | log_flux) p(log_radius | log_flux) p(eta1, eta2) p(logit_dev)

with the last three for galaxies only; P(star) is kept apart (`Prior.star_fraction`), because stars and
galaxies are fitted separately and compared by their evidences. Priors are data: they are read from and
written to JSON or FITS files (see `celestepy.model.prior_file`), and two are shipped, ``sdss-deep`` (the default)
and ``celeste2019``.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.table import QTable

from celestepy.model._priors import LIMITS, PriorKernel
from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import GALAXY, KINDS, STAR, Bands, layout
from celestepy.model.prior_file import from_document, read_document, to_document, write_document
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw
from celestepy.model.transforms import to_catalog

__all__ = ["GalaxyPrior", "Prior", "StarPrior", "catalog_table"]

_COLUMN_UNITS = {"flux": u.nmgy, "mag": u.mag, "color": u.mag, "half_light_radius": u.arcsec,
                 "position_angle": u.deg}


@dataclass(frozen=True)
class StarPrior:
    """Laws of the parameters of a star.

    Parameters
    ----------
    log_flux : Normal or LogisticBeta
        Law of ln(flux / nmgy) in the reference band.
    colors : ColorMixture
        Law of the natural-log flux ratios of adjacent bands, given the log flux.
    """

    log_flux: Normal | LogisticBeta
    colors: ColorMixture

    def kernel(self):
        """The compiled log density of these laws.

        Returns
        -------
        PriorKernel
            Value, gradient and Hessian for free vectors of this type.
        """
        colors = self.colors
        return PriorKernel(self.log_flux.constants, colors.pivot, *colors.joint, *self._shape_constants())

    def _shape_constants(self):
        return None, None, None


@dataclass(frozen=True)
class GalaxyPrior(StarPrior):
    """Laws of the parameters of a galaxy: those of `StarPrior` and its shape.

    Parameters
    ----------
    log_radius : RadiusLaw
        Law of ln(circularised half-light radius / arcsec), given the log flux.
    axis_ratio : AxisRatioLaw
        Law of (eta1, eta2).
    dev_fraction : LogisticBeta
        Law of the logit of the de Vaucouleurs fraction.
    """

    log_radius: RadiusLaw
    axis_ratio: AxisRatioLaw
    dev_fraction: LogisticBeta

    def _shape_constants(self):
        return self.log_radius.constants, self.axis_ratio.constants, self.dev_fraction.constants


@dataclass(frozen=True)
class Prior:
    """Prior of a population of stars and galaxies in given bands. Immutable.

    Parameters
    ----------
    bands : Bands
        Bands and reference band that the laws are expressed in.
    star_fraction : float
        Probability that a source is a star, between 0 and 1.
    star : StarPrior
        Laws of the stars.
    galaxy : GalaxyPrior
        Laws of the galaxies.
    name : str
        Name, kept in the metadata of catalogues.
    provenance : dict of str
        Where each part comes from.

    Raises
    ------
    ValueError
        If the star fraction is outside (0, 1), or a mixture has the wrong number of colours or too many.
    """

    bands: Bands
    star_fraction: float
    star: StarPrior
    galaxy: GalaxyPrior
    name: str = "unnamed"
    provenance: dict = field(default_factory=dict, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "bands", Bands.of(self.bands))
        if not 0 < self.star_fraction < 1:
            raise ValueError(f"star_fraction must lie between 0 and 1, got {self.star_fraction!r}")
        for kind in KINDS:
            _check_size(kind, getattr(self, kind).colors, self.bands)

    @classmethod
    def load(cls, source):
        """Read a prior from a JSON or FITS file, or one of the shipped ones by name.

        Parameters
        ----------
        source : str or path
            Path of a file, or ``"sdss-deep"`` or ``"celeste2019"``.

        Returns
        -------
        Prior
            The prior.

        Raises
        ------
        FileNotFoundError
            If there is neither such a file nor such a shipped prior.
        ValueError
            If the file is not a valid prior; the message names the file and the entry.
        """
        document, path = read_document(source)
        try:
            return cls.from_document(document)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"the entry {error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not a valid prior: {reason}") from error

    @classmethod
    def from_document(cls, document):
        """The prior that a JSON document describes (see `celestepy.model.prior_file`).

        Parameters
        ----------
        document : dict
            As `to_document` gives it.

        Returns
        -------
        Prior
            The prior.
        """
        return from_document(document, cls, StarPrior, GalaxyPrior)

    def to_document(self):
        """The JSON document that describes the prior.

        Returns
        -------
        dict
            Of text, numbers, lists and dictionaries.
        """
        return to_document(self)

    @classmethod
    def default(cls, bands="ugriz", reference=None):
        """The default prior, ``sdss-deep``, for the given bands.

        Parameters
        ----------
        bands : str, sequence of str or Bands, optional
            Names of the bands, out of u, g, r, i and z.
        reference : str, optional
            Reference band; see `for_bands`.

        Returns
        -------
        Prior
            The prior for these bands.
        """
        return cls.load("sdss-deep").for_bands(bands, reference)

    def save(self, path):
        """Write the prior to a file, from which `load` reads an equal one.

        Parameters
        ----------
        path : path-like
            File to write: FITS if its name ends in ``.fits``, JSON otherwise. An existing one is replaced, or stays
            as it was if the new one cannot be written.
        """
        write_document(self.to_document(), path)

    @property
    def log_odds(self):
        """Log odds of the types, ln(P(star) / P(galaxy))."""
        return math.log(self.star_fraction) - math.log1p(-self.star_fraction)

    def log_type_probability(self, kind):
        """Log prior probability of a type.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type.

        Returns
        -------
        float
            Log of P(kind).
        """
        return math.log(self.star_fraction if kind == STAR else 1 - self.star_fraction)

    def for_bands(self, bands, reference=None):
        """The same prior for other bands: a subset of the known ones, in any order.

        Colours of bands that are no longer adjacent are sums of the old ones, so their mixture is mapped
        exactly. Where the reference band changes, the laws that involve the log flux are shifted by the mean
        colour between the two bands (and a normal law widened by its scatter), which is right to first order.

        Parameters
        ----------
        bands : Bands or sequence of str
            The bands wanted.
        reference : str, optional
            Their reference band; by default r, or else the middle one.

        Returns
        -------
        Prior
            Prior in the new bands.

        Raises
        ------
        ValueError
            If a band is unknown to this prior; the message names it.
        """
        new = Bands.of(bands, reference)
        if new == self.bands:
            return self
        unknown = [band for band in new if band not in self.bands.names]
        if unknown:
            raise ValueError(f"the prior {self.name!r} has no colours for the band(s) {', '.join(unknown)}; "
                             f"it knows {', '.join(self.bands)}: leave those out, or load a prior with them")
        rows = self.bands.log_flux_matrix[[self.bands.names.index(band) for band in new], 1:]
        to_reference = self.bands.log_flux_matrix[self.bands.names.index(new.reference), 1:]
        star, galaxy = (_in_bands(getattr(self, kind), np.diff(rows, axis=0), to_reference) for kind in KINDS)
        return replace(self, bands=new, star=star, galaxy=galaxy)

    def log_density(self, kind, theta, position_sd, order=2, component=None):
        """Log density of all the parameters of one source, with exact derivatives.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type of source.
        theta : (n,) array
            Free vector (see `celestepy.model.parameters`).
        position_sd : float
            Standard deviation of the position about the seed in each of u and v (arcsec).
        order : {0, 1, 2}
            Highest derivative wanted.
        component : int, optional
            Only this component of the colour mixture, times its weight; by default the whole mixture.

        Returns
        -------
        value : float
            Log density, normalised over theta (over all components); P(kind) is not in it.
        gradient : (n,) array or None
            Its gradient, if order >= 1.
        hessian : (n, n) array or None
            Its Hessian, if order >= 2.
        """
        kernel = self._kernels[kind]
        size = layout(kind, len(self.bands)).size
        theta = np.asarray(theta, dtype=float)
        if theta.shape != (size,):
            raise ValueError(f"theta of a {kind} in {len(self.bands)} bands must have shape ({size},), "
                             f"got {theta.shape}")
        gradient, hessian = np.zeros(size), np.zeros((size, size))
        value = kernel.evaluate(theta, position_sd, self._component(kind, component), gradient, hessian)
        return value, gradient if order >= 1 else None, hessian if order >= 2 else None

    def log_densities(self, kind, theta, position_sd, component=None):
        """Log density of many free vectors of one type.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type of source.
        theta : (m, n) array
            Free vectors.
        position_sd : float
            Standard deviation of the position about the seed in each of u and v (arcsec).
        component : int, optional
            As in `log_density`.

        Returns
        -------
        (m,) array
            The values of `log_density`.
        """
        size = layout(kind, len(self.bands)).size
        theta = np.ascontiguousarray(theta, dtype=float)
        if theta.ndim != 2 or theta.shape[1] != size:
            raise ValueError(f"theta of {kind}s in {len(self.bands)} bands must have shape (m, {size}), "
                             f"got {theta.shape}")
        result = np.empty(len(theta))
        scratch = np.zeros(size), np.zeros((size, size))
        self._kernels[kind].values(theta, position_sd, self._component(kind, component), *scratch, result)
        return result

    def _component(self, kind, component):
        """The kernel's number for a component; -1 is all of them."""
        if component is None:
            return -1
        n = len(getattr(self, kind).colors)
        if not 0 <= component < n:
            raise ValueError(f"component must be None or 0 to {n - 1}, the colour components of a {kind}, "
                             f"got {component!r}")
        return component

    @cached_property
    def _kernels(self):
        return {kind: getattr(self, kind).kernel() for kind in KINDS}

    def sample_theta(self, kind, n, rng):
        """Draw free vectors of one type, with u = v = 0.

        Parameters
        ----------
        kind : {"star", "galaxy"}
            Type.
        n : int
            Number of draws.
        rng : `numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        (n, size) array
            Free vectors.
        """
        laws = getattr(self, kind)
        at = layout(kind, len(self.bands))
        theta = np.zeros((n, at.size))
        log_flux = theta[:, at.log_flux] = laws.log_flux.sample(n, rng)
        theta[:, at.colors] = laws.colors.sample(log_flux, rng)
        if kind == GALAXY:
            theta[:, at.log_radius] = laws.log_radius.sample(log_flux, rng)
            theta[:, at.ellipticity] = laws.axis_ratio.sample(n, rng)
            theta[:, at.logit_dev] = laws.dev_fraction.sample(n, rng)
        return theta

    def sample(self, n, rng):
        """Draw `n` sources of both types.

        Parameters
        ----------
        n : int
            Number of sources.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        astropy.table.QTable
            One row per source: ``is_star`` and the columns of `celestepy.model.transforms.to_catalog`, with
            units; the shape of a star is NaN.
        """
        is_star = rng.uniform(size=n) < self.star_fraction
        numbers = {GALAXY: n - int(is_star.sum()), STAR: int(is_star.sum())}
        thetas = {kind: self.sample_theta(kind, number, rng) for kind, number in numbers.items()}
        return catalog_table(is_star, thetas, self.bands)


def catalog_table(is_star, thetas, bands):
    """Table of true sources in the units of the catalogue.

    Parameters
    ----------
    is_star : (n,) array of bool
        Which sources are stars.
    thetas : dict of (m, size) arrays
        Free vectors of the stars and of the galaxies, in the order of their rows.
    bands : Bands or sequence of str
        The bands.

    Returns
    -------
    astropy.table.QTable
        ``is_star`` and the columns of `celestepy.model.transforms.to_catalog`; the shape of a star is NaN.
    """
    values = {}
    for kind in (GALAXY, STAR):
        rows = is_star if kind == STAR else ~is_star
        theta = np.reshape(thetas[kind], (-1, layout(kind, len(Bands.of(bands))).size))
        for name, value in to_catalog(kind, theta, bands).items():
            values.setdefault(name, np.full(len(is_star), np.nan))[rows] = value
    table = QTable({"is_star": is_star})
    for name, value in values.items():
        unit = _COLUMN_UNITS.get(name, _COLUMN_UNITS.get(name.partition("_")[0]))
        table[name] = value if unit is None else value * unit
    return table


def _check_size(kind, mixture, bands):
    if mixture.n_colors != len(bands) - 1:
        raise ValueError(f"the {kind} colour mixture has {mixture.n_colors} colours, but the bands "
                         f"{bands.names} make {len(bands) - 1}")
    most_components, most_bands = LIMITS
    if len(mixture) > most_components or len(bands) > most_bands:
        raise ValueError(f"a prior has at most {most_components} colour components and {most_bands} bands, "
                         f"got {len(mixture)} and {len(bands)} for {kind}")


def _in_bands(laws, to_colors, to_reference):
    """Laws in other bands: the matrix to their colours, and the row to their reference band."""
    mixture = laws.colors
    shift = float(to_reference @ mixture.mean)
    log_flux = laws.log_flux
    if isinstance(log_flux, Normal):
        stretch = 1 + float(to_reference @ mixture.slope)
        variance = (stretch * log_flux.sd)**2 + float(to_reference @ mixture.covariance @ to_reference)
        mean = log_flux.mean + shift + (stretch - 1) * (log_flux.mean - mixture.pivot)
        log_flux = Normal(mean, math.sqrt(variance))
    else:
        log_flux = replace(log_flux, location=log_flux.location + shift)
    colors = replace(mixture.transform(to_colors), pivot=mixture.pivot + shift)
    changes = dict(log_flux=log_flux, colors=colors)
    if isinstance(laws, GalaxyPrior):
        changes["log_radius"] = replace(laws.log_radius, pivot=laws.log_radius.pivot + shift)
    return replace(laws, **changes)
