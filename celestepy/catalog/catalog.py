"""The catalogue: a table with one row per source, and the posterior of each behind it."""

import html

import numpy as np
from astropy import units
from astropy.table import QTable

from celestepy.catalog.columns import schema
from celestepy.catalog.conformance import conform
from celestepy.catalog.draws_file import DrawsFile
from celestepy.catalog.draws_summary import as_mixtures, draws_positions, summarise_draws
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.files import read_table, write_table
from celestepy.catalog.flags import Flag, Status
from celestepy.catalog.linked_draws import HeldDraws, check_bands, draws_of_rows, found_beside, open_link
from celestepy.catalog.metadata import bands_of, provenance
from celestepy.catalog.posterior import Posterior
from celestepy.catalog.sampling import sample_table
from celestepy.catalog.score import score
from celestepy.catalog.summary import moved_positions, position_columns, summarise
from celestepy.model.parameters import Bands

__all__ = ["Catalog"]

_NO_ESTIMATE = (Status.FAILED, Status.NO_PIXELS, Status.NOT_FITTED)


class Catalog:
    """A probabilistic catalogue.

    Build one with `from_posterior`, `from_draws` or `read`. The columns are described in the column reference of the
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
        self.table = conform(table)
        self._held = None  # draws in memory, if it was made from draws that no file keeps

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
        return cls(_table(values, bands, meta))

    @classmethod
    def from_draws(cls, draws, *, ra, dec, bands, diagnostics=None, meta=None):
        """Compute every column from weighted draws of the posterior of each source.

        Medians and errors are those of the draws. The columns ``posterior_...`` get a few Gaussians in their
        likeness, for the day when the draws are not at hand. `sample` uses the draws themselves: those of the
        file that ``draws`` in `meta` names (see `link_draws`), or else these, as long as the catalogue is in
        memory.

        Parameters
        ----------
        draws : `~celestepy.catalog.Draws`
            Of n sources, positions as offsets about `ra`, `dec`. A source without draws has no estimates.
        ra, dec, bands, diagnostics, meta
            As for `from_posterior`. ``effective_draws`` is computed from the weights where the engine does not
            know it.

        Returns
        -------
        Catalog

        Raises
        ------
        CatalogError
            As for `from_posterior`, or if an id is given twice.
        """
        bands = Bands.of(bands)
        ra, dec = (np.atleast_1d(_in_degrees(value)) for value in (ra, dec))
        _check_lengths(draws, bands, ra, dec)
        values = _diagnostic_columns(bands, diagnostics or {}, len(draws))
        values["effective_draws"] = _effective_draws(values["effective_draws"], draws)
        _check_ids(values["id"])
        _mark_missing(values, np.isfinite(draws.star_probability))
        mean, error = draws_positions(draws)
        position, offsets = moved_positions(mean, error, ra, dec)
        centred = draws.moved(*offsets)
        values |= summarise_draws(centred, bands) | position | _posterior_columns(as_mixtures(centred).compressed())
        catalog = cls(_table(values, bands, meta))
        if not catalog.meta.get("draws"):
            catalog._held = HeldDraws(values["id"], ra, dec, draws)
        return catalog

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
            catalog = cls(read_table(path))
        except CatalogError as error:
            text = str(error)
            raise CatalogError(text if str(path) in text else f"{path}: {text}") from error
        if catalog.meta.get("draws"):
            catalog.meta["draws"] = found_beside(catalog.meta["draws"], path)
        return catalog

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
        write_table(conform(self.table), path, overwrite)

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

    def link_draws(self, path):
        """Tell where the posterior draws of the rows are; `sample` takes them from there.

        The link is ``meta["draws"]`` and goes with the catalogue to disk. A file that has moved is looked for
        beside the catalogue when that is read.

        Parameters
        ----------
        path : path-like or None
            A file that `~celestepy.catalog.DrawsFile` wrote; None to forget it.

        Raises
        ------
        CatalogError
            If there is no such file, or it belongs to another catalogue: other bands, other places, or no
            draws of a row that has estimates.
        ImportError
            If h5py is missing.
        """
        self._held = None
        if path is None:
            self.meta.pop("draws", None)
            return
        stored = DrawsFile(path)
        check_bands(stored, self.bands)
        known = np.isin(self.table["id"], list(stored.finished()))
        lost = np.isfinite(np.asarray(self.table["star_probability"])) & ~known
        if lost.any():
            raise CatalogError(f"{path}: has no draws of source {self.table['id'][lost][0]}, which has estimates; link "
                               "the file that was written with this catalogue")
        self._draws_from(stored)
        self.meta["draws"] = str(stored.path.resolve())

    @property
    def draws(self):
        """The `~celestepy.catalog.Draws` of the rows, about their ``ra`` and ``dec``; None if there are none."""
        if self._held is not None:
            return self._draws_from(self._held)
        stored = open_link(self.meta["draws"], self.bands) if self.meta.get("draws") else None
        return None if stored is None else self._draws_from(stored)

    def _draws_from(self, stored):
        ra, dec = (self.table[name].to_value("deg") for name in ("ra", "dec"))
        return draws_of_rows(stored, np.asarray(self.table["id"]), ra, dec, len(self.bands))

    def __len__(self):
        return len(self.table)

    def __getitem__(self, item):
        """Return a column by name, a row by number, or a Catalog of a slice, mask or index array of rows."""
        if isinstance(item, (str, int, np.integer)):
            return self.table[item]
        part = Catalog(self.table[item])
        part._held = self._held
        return part

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
        of the posterior. Where the catalogue has draws (`draws`), these are drawn from, and sources that an
        engine fitted together keep their correlation; otherwise from the Gaussians of `posterior`, where
        neighbours in a blend are independent of one another.

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
        return next(self.sample_in_parts([int(n)], rng))

    def sample_in_parts(self, sizes, rng=None):
        """Yield tables as `sample` returns them, one of each number of draws in `sizes`, one after the other.

        Parameters
        ----------
        sizes : sequence of int
            Draws per source in each table.
        rng : `numpy.random.Generator` or int, optional
            Generator or seed.

        Yields
        ------
        `~astropy.table.QTable`
        """
        rng, draws = np.random.default_rng(rng), self.draws
        posterior = self.posterior if draws is None else draws
        ra, dec = (self.table[name].to_value("deg") for name in ("ra", "dec"))
        for n in sizes:
            is_galaxy, theta = posterior.draw(n, rng)
            yield sample_table(is_galaxy, theta, ids=self.table["id"], ra=ra, dec=dec, bands=self.bands)

    def score(self, truth, other=None, *, radius=1.0, mag_range=None):
        """Match the catalogue to the truth and score it, see `celestepy.catalog.score.score`.

        Parameters
        ----------
        truth : table or mapping
            With ``ra``, ``dec`` and some of ``is_star``, ``mag_b``, ``flux_b``, ``color_bc`` and the shapes.
        other : table or mapping, optional
            A second catalogue of the same sky, scored on the same sources.
        radius : float
            Largest separation of a pair, arcsec.
        mag_range : (float, float), optional
            Limits on the magnitude; see `celestepy.catalog.score.score`.

        Returns
        -------
        `~celestepy.catalog.Score`
            Counts, errors, coverage and separation of types.
        """
        return score(self, truth, other, radius=radius, mag_range=mag_range)


def _in_degrees(value):
    return units.Quantity(value, "deg").value if hasattr(value, "unit") else np.asarray(value, dtype=float)


def _table(values, bands, meta):
    columns = {c.name: _with_unit(values[c.name], c.unit) for c in schema(bands)}
    return QTable(columns, meta=provenance(bands, meta))


def _effective_draws(given, draws):
    known = np.where(draws.n_draws > 0, draws.effective_draws, np.nan)
    return np.where(np.isnan(given), known, given)


def _check_ids(ids):
    number, count = np.unique(ids, return_counts=True)
    if (count > 1).any():
        raise CatalogError(f"diagnostics: id {number[count > 1][0]} is given twice; draws are found again by their id")


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
