"""The catalogue: a table with one row per source, and the posterior of each behind it."""

import html

import numpy as np
from astropy import units
from astropy.table import Column as TableColumn
from astropy.table import QTable

from celestepy.catalog.columns import schema
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.files import read_table, write_table
from celestepy.catalog.flags import Flag, Status
from celestepy.catalog.metadata import bands_of, plain, provenance
from celestepy.catalog.posterior import Posterior
from celestepy.catalog.score import score
from celestepy.catalog.summary import position_columns, summarise
from celestepy.images.wcs import from_tangent_offsets
from celestepy.model.parameters import GALAXY, STAR, Bands, layout
from celestepy.model.transforms import to_catalog

__all__ = ["Catalog"]

_UNITS = {
    "flux": "nmgy",
    "mag": "mag",
    "color": "mag",
    "half_light_radius": "arcsec",
    "position_angle": "deg",
}
_NO_ESTIMATE = (Status.FAILED, Status.NO_PIXELS, Status.NOT_FITTED)


class Catalog:
    """A probabilistic catalogue.

    Build one with `from_posterior` or `read`. The columns are described in the column reference of the
    documentation and in `celestepy.catalog.columns`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns of `~celestepy.catalog.columns.schema`; ``bands`` and ``reference_band`` in its
        metadata say which. Columns of other names are kept behind these.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        The table itself.

    Raises
    ------
    CatalogError
        If columns are missing or the metadata do not name the bands.
    """

    def __init__(self, table):
        self.table = _conform(table)

    @classmethod
    def from_posterior(cls, posterior, *, ra, dec, bands, diagnostics=None, meta=None):
        """Compute every column from the posterior of each source.

        Parameters
        ----------
        posterior : `~celestepy.catalog.posterior.Posterior`
            Of n sources, positions as offsets about `ra`, `dec`. A source without components has no
            estimates: it stays in the catalogue at its seed with status FAILED, unless `diagnostics` say
            otherwise.
        ra, dec : (n,) array_like
            Positions of the seeds in degrees, ICRS.
        bands : `~celestepy.model.parameters.Bands` or sequence of str
            The bands.
        diagnostics : mapping of str to (n,) array_like, optional
            The columns that do not follow from the posterior: ``id, log_evidence_star, log_evidence_galaxy,
            log_evidence_existence, snr, status, flags, message, n_iterations, n_pixels, masked_fraction,
            blendedness, group_id``. What is missing takes the schema's default; ids count from 0.
        meta : mapping, optional
            Metadata such as ``method, settings, seed, inputs``, see `~celestepy.catalog.metadata.provenance`.

        Returns
        -------
        Catalog

        Raises
        ------
        CatalogError
            If the lengths do not agree, or `diagnostics` hold a name that is not in the list above.
        """
        bands = Bands.of(bands)
        ra, dec = (np.atleast_1d(_in_degrees(value)) for value in (ra, dec))
        _check_lengths(posterior, bands, ra, dec)
        values = _diagnostic_columns(bands, diagnostics or {}, len(posterior))
        _mark_missing(values, np.isfinite(posterior.star_probability))
        position, centred = position_columns(posterior, ra, dec)
        values |= summarise(centred, bands) | position | _posterior_columns(centred.compressed())
        columns = {c.name: _with_unit(values[c.name], c.unit) for c in schema(bands)}
        return cls(QTable(columns, meta=provenance(bands, meta)))

    @classmethod
    def read(cls, path):
        """Read a catalogue from a FITS, ECSV, HDF5 or parquet file that `write` made.

        Parameters
        ----------
        path : path-like
            The file; its extension tells the format.

        Returns
        -------
        Catalog

        Raises
        ------
        CatalogError
            If the file is missing, damaged or not a catalogue.
        ImportError
            If the format needs an extra that is not installed.
        """
        try:
            return cls(read_table(path))
        except CatalogError as error:
            text = str(error)
            raise CatalogError(text if str(path) in text else f"{path}: {text}") from error

    def write(self, path, overwrite=False):
        """Write the catalogue; it reads back identically.

        Parameters
        ----------
        path : path-like
            The extension chooses the format: .fits, .ecsv, .hdf5 or .parquet.
        overwrite : bool, optional
            Replace an existing file. Whatever goes wrong, an existing file stays as it was.

        Raises
        ------
        CatalogError
            If the extension is unknown, the file exists, or it cannot be written.
        ImportError
            If the format needs an extra that is not installed.
        """
        write_table(_conform(self.table), path, overwrite)

    @property
    def meta(self):
        """How the catalogue was made: version, bands, method, settings, seed, inputs."""
        return self.table.meta

    @property
    def bands(self):
        """The bands, a `~celestepy.model.parameters.Bands`."""
        return bands_of(self.meta)

    @property
    def colnames(self):
        """Names of the columns."""
        return self.table.colnames

    @property
    def posterior(self):
        """The `~celestepy.catalog.posterior.Posterior` of the rows, about their ``ra`` and ``dec``."""
        packed = np.asarray(self.table["posterior_covariance"])
        return Posterior(
            np.asarray(self.table["star_probability"]),
            np.asarray(self.table["posterior_weight"]),
            np.asarray(self.table["posterior_is_galaxy"]),
            np.asarray(self.table["posterior_mean"]),
            _unpack(packed),
        )

    def __len__(self):
        return len(self.table)

    def __getitem__(self, item):
        """Return a column by name, a row by number, or a Catalog of a slice, mask or index array of rows."""
        if isinstance(item, (str, int, np.integer)):
            return self.table[item]
        return Catalog(self.table[item])

    def __repr__(self):
        return "\n".join([self._title(), *self._shown().pformat(max_lines=25)])

    def _repr_html_(self):
        return f"<p>{html.escape(self._title())}</p>{self._shown()._repr_html_()}"

    def _title(self):
        columns = f"{len(self._shown().colnames)} of {len(self.colnames)} columns"
        return f"<Catalog of {len(self)} sources in {', '.join(self.bands)}; {columns}>"

    def _shown(self):
        """Return the columns that tell the most, rounded."""
        mags = [f"mag_{band}" for band in self.bands]
        names = ["id", "ra", "dec", "star_probability", *mags, "half_light_radius", "status", "flags"]
        shown = self.table[names]
        for name in names:
            if shown[name].dtype.kind == "f":
                shown[name].info.format = ".6f" if name in ("ra", "dec") else ".3f"
        return shown

    def sample(self, n, rng=None):
        """Draw from the posterior of every source.

        The quantities of one draw belong together: correlations between bands, and with the type, are those
        of the posterior. Draws of neighbours in a blend are independent of one another.

        Parameters
        ----------
        n : int
            Draws per source.
        rng : `numpy.random.Generator` or int, optional
            Generator or seed.

        Returns
        -------
        `~astropy.table.QTable`
            One row for each of the sources; every column but ``id`` has the shape (sources, n): ``is_star,
            ra, dec, flux_b, mag_b, color_bc, half_light_radius, axis_ratio, position_angle, dev_fraction``.
            Shapes are NaN in draws of the star hypothesis.
        """
        if n < 1:
            raise ValueError(f"n is {n}, expected at least one draw for each source")
        is_galaxy, theta = self.posterior.draw(int(n), np.random.default_rng(rng))
        values = to_catalog(GALAXY, theta, self.bands)
        u, v = np.moveaxis(theta[..., layout(STAR, len(self.bands)).position], -1, 0)
        ra, dec = from_tangent_offsets(
            u, v, *(self.table[name].to_value("deg")[:, None] for name in ("ra", "dec"))
        )
        draws = QTable(
            {"id": self.table["id"], "is_star": ~is_galaxy, "ra": ra * units.deg, "dec": dec * units.deg}
        )
        for name, value in values.items():
            stem = name.rsplit("_", 1)[0] if name.split("_")[0] in _UNITS else name
            draws[name] = _with_unit(value, _UNITS.get(stem, ""))
        return draws

    def score(self, truth, other=None, *, radius=1.0, mag_range=None):
        """Match the catalogue to the truth and score it, see `celestepy.catalog.score.score`."""
        return score(self, truth, other, radius=radius, mag_range=mag_range)


def _in_degrees(value):
    return units.Quantity(value, "deg").value if hasattr(value, "unit") else np.asarray(value, dtype=float)


def _check_lengths(posterior, bands, ra, dec):
    if posterior.n_bands != len(bands):
        raise CatalogError(
            f"the posterior has {posterior.n_bands} bands and bands names {len(bands)}: {', '.join(bands)}"
        )
    for name, value in (("ra", ra), ("dec", dec)):
        if value.shape != (len(posterior),):
            raise CatalogError(
                f"{name} has shape {value.shape}, expected one for each of {len(posterior)} sources"
            )


def _diagnostic_columns(bands, diagnostics, n):
    """Return the columns that the engine reports, with defaults for those that it does not."""
    columns = {c.name: c for c in schema(bands) if not c.derived}
    unknown = sorted(set(diagnostics) - set(columns))
    if unknown:
        raise CatalogError(
            f"diagnostics: unknown column {unknown[0]!r}, expected some of {', '.join(columns)}"
        )
    values = {
        name: np.full(n, c.default, dtype=object if c.dtype is str else c.dtype)
        for name, c in columns.items()
    }
    values["id"] = np.arange(n)
    for name, given in diagnostics.items():
        if np.shape(given) != (n,):
            raise CatalogError(
                f"diagnostics: {name} has shape {np.shape(given)}, expected one value for each of {n} sources"
            )
        values[name] = np.array(given, dtype=values[name].dtype)
    values["message"] = np.array([" ".join(str(text).split()) for text in values["message"]], dtype=str)
    return values


def _mark_missing(values, has_estimate):
    """Status, flags and message of sources that have no posterior, where the engine did not set them."""
    unsaid = ~has_estimate & ~np.isin(values["status"], _NO_ESTIMATE)
    values["status"][unsaid] = Status.FAILED
    values["flags"][~has_estimate] |= Flag.FAILED
    values["flags"][values["status"] == Status.NOT_CONVERGED] |= Flag.NOT_CONVERGED
    silent = unsaid & (values["message"] == "")
    if silent.any():
        text = "no finite fit of either type; look at the pixels and masks around this position"
        values["message"] = np.where(silent, text, values["message"])


def _posterior_columns(posterior):
    rows, columns = np.tril_indices(posterior.mean.shape[2])
    return {
        "posterior_weight": posterior.weight,
        "posterior_is_galaxy": posterior.is_galaxy,
        "posterior_mean": posterior.mean,
        "posterior_covariance": posterior.covariance[..., rows, columns],
    }


def _unpack(packed):
    """Symmetric matrices from their lower triangles, shape (..., D (D + 1) / 2) -> (..., D, D)."""
    size = int(round((np.sqrt(8 * packed.shape[-1] + 1) - 1) / 2))
    rows, columns = np.tril_indices(size)
    full = np.empty((*packed.shape[:-1], size, size))
    full[..., rows, columns] = full[..., columns, rows] = packed
    return full


def _with_unit(values, unit):
    return units.Quantity(values, unit, copy=False) if unit else values


def _conform(table):
    """Return a QTable whose columns have the order, dtypes, units and descriptions of the schema."""
    meta = plain(table.meta)
    columns = schema(bands_of(meta))
    missing = [column.name for column in columns if column.name not in table.colnames]
    if missing:
        raise CatalogError(
            f"column{'s' * (len(missing) > 1)} missing from the catalogue: {', '.join(missing)}"
        )
    result = QTable(meta=meta)
    for column in columns:
        result[column.name] = _conform_column(table[column.name], column)
        result[column.name].info.description = column.description
    for name in table.colnames:
        if name not in result.colnames:
            result[name] = _native_text(table[name])
    return result


def _conform_column(values, column):
    if column.dtype is str:
        return _native_text(values if len(values) else np.array([], dtype=str))
    if hasattr(values, "filled"):
        values = values.filled(column.default)
    if column.unit:
        return units.Quantity(values, column.unit, dtype=column.dtype, copy=True)
    return TableColumn(np.array(getattr(values, "value", values), dtype=column.dtype))


def _native_text(values):
    """Text as unmasked unicode of the width it needs; anything else in native byte order."""
    if values.dtype.kind not in "SUO":
        return values.copy() if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    values = values.filled("") if hasattr(values, "filled") else values
    text = (
        np.char.decode(np.asarray(values, "S"), "utf-8")
        if values.dtype.kind == "S"
        else np.asarray(values, str)
    )
    return TableColumn(text.astype(f"U{max(1, np.char.str_len(text).max(initial=1))}"))
