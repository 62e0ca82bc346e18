"""Rows of a FITS table, read from disk a piece at a time."""

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from celestepy.density.chunks import CHUNK_ROWS, rows_of_slices
from celestepy.density.noisy_rows import DensityError, NoisyRows

__all__ = ["FitsRows"]


class FitsRows:
    """Columns of a FITS table as noisy rows, of which only a chunk is in memory at a time.

    Parameters
    ----------
    path : path-like
        The file; not compressed, or it will be read whole.
    columns : str or sequence of str
        Names of the d columns. NaN, and the null value of integers, is missing.
    errors : sequence of str or None, optional
        Names of the columns with their standard errors, None for a column without noise. A value whose error is NaN,
        infinite or negative, which often marks a failed measurement, is missing.
    correlations : dict, optional
        Names of the columns with correlation coefficients of errors, by pairs of names of `columns`, as in
        ``{("pmra", "pmdec"): "pmra_pmdec_corr"}``; those left out are zero.
    covariance : str, optional
        Name of a column of (d, d) covariances, instead of `errors`.
    weights : str, optional
        Name of the column of row weights.
    hdu : int or str, optional
        Which extension.
    chunk_size : int, optional
        Rows to read at a time.

    Attributes
    ----------
    n_rows : int
        Number of rows.

    Raises
    ------
    DensityError
        If the file is missing, cut short or no FITS table, or has no such column, or chunk_size is no positive integer.

    Examples
    --------
    >>> rows = FitsRows("gaia.fits", ["ra", "dec", "parallax"],
    ...                 errors=["ra_error", "dec_error", "parallax_error"])  # doctest: +SKIP
    >>> ExtremeDeconvolution(64).fit(rows)  # doctest: +SKIP
    """

    def __init__(
        self,
        path,
        columns,
        errors=None,
        *,
        correlations=None,
        covariance=None,
        weights=None,
        hdu=1,
        chunk_size=CHUNK_ROWS,
    ):
        self.path, self.columns, self.hdu, self.chunk_size = Path(path), _names(columns), hdu, chunk_size
        self._errors, self._correlations = None if errors is None else _names(errors), dict(correlations or {})
        self._covariance, self._weights = covariance, weights
        self._check_arguments()
        with self._open() as file:
            self.n_rows = len(self._table(file))

    def __len__(self):
        return self.n_rows

    def __repr__(self):
        return f"FitsRows({str(self.path)!r}, {list(self.columns)}): {self.n_rows} rows"

    def read(self, slices):
        """Rows of some slices, joined.

        Parameters
        ----------
        slices : sequence of slice
            With start and stop.

        Returns
        -------
        `~celestepy.density.NoisyRows`
            The rows.

        Raises
        ------
        DensityError
            If their values cannot be used; the message names the first row of the piece.
        """
        with self._open() as file:
            table = self._table(file)
            values, covariance, weights = self._arrays(table[rows_of_slices(slices)])
        try:
            return NoisyRows.from_input(values, covariance, weights=weights, per_row=True)
        except DensityError as error:
            raise DensityError(f"{self.path}: in the rows from {slices[0].start}: {error}") from None

    def _check_arguments(self):
        d = len(self.columns)
        if not d:
            raise DensityError("columns is empty; name at least one column of the table")
        size = self.chunk_size
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise DensityError(f"chunk_size = {size!r}; expected an integer of at least 1")
        if self._errors is not None and len(self._errors) != d:
            raise DensityError(f"errors has {len(self._errors)} names; expected {d}, None for a column without noise")
        if self._covariance is not None and (self._errors is not None or self._correlations):
            raise DensityError("covariance and errors are both given; give one of them")
        for pair in self._correlations:
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(self.columns) or self._errors is None:
                raise DensityError(f"correlations has the key {pair!r}; expected two names of columns that have errors")

    def _open(self):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)
                return fits.open(self.path, memmap=True)
        except OSError as error:
            reason = "no such file" if not self.path.exists() else str(error).splitlines()[0]
            raise DensityError(f"{self.path}: cannot be read ({reason}); give the path of a FITS table") from error

    def _table(self, file):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)  # of a file cut short; an error follows
                table = file[self.hdu]
        except (IndexError, KeyError):
            raise DensityError(f"{self.path}: has no extension {self.hdu!r}; give hdu") from None
        if not isinstance(table, fits.BinTableHDU):
            raise DensityError(f"{self.path}: extension {self.hdu!r} is no binary table; give hdu")
        wanted = [*self.columns, *(self._errors or ()), *self._correlations.values(), self._covariance, self._weights]
        absent = [name for name in wanted if name is not None and name not in table.columns.names]
        if absent:
            raise DensityError(f"{self.path}: has no column {absent[0]!r}; it has {', '.join(table.columns.names)}")
        self._null = {name: table.columns[name].null for name in self.columns}
        try:
            return table.data
        except (TypeError, ValueError, OSError) as error:  # memory maps of a file that is cut short
            raise DensityError(f"{self.path}: its table cannot be read ({error}); is the file whole?") from error

    def _arrays(self, table):
        """Values (n, d), covariance and weights of some rows of the table."""
        values = np.stack([self._column(table, name) for name in self.columns], axis=1)
        weights = None if self._weights is None else self._floats(table, self._weights)
        if self._covariance is not None:
            return values, self._floats(table, self._covariance), weights
        if self._errors is None:
            return values, None, weights
        deviations = np.stack(
            [np.zeros(len(table)) if name is None else self._floats(table, name) for name in self._errors], axis=1
        )
        values[~((deviations >= 0) & np.isfinite(deviations))] = np.nan
        # The catalogue gives no error where it gives no value.
        deviations[np.isnan(values)] = 0.0
        if not self._correlations:
            return values, deviations**2, weights
        covariance = np.zeros((*deviations.shape, deviations.shape[1]))
        diagonal = np.arange(deviations.shape[1])
        covariance[:, diagonal, diagonal] = deviations**2
        for pair, name in self._correlations.items():
            a, b = (self.columns.index(column) for column in pair)
            known = ~(np.isnan(values[:, a]) | np.isnan(values[:, b]))
            both = np.where(known, self._floats(table, name), 0.0) * deviations[:, a] * deviations[:, b]
            covariance[:, a, b] = covariance[:, b, a] = both
        return values, covariance, weights

    def _column(self, table, name):
        values = self._floats(table, name)
        if self._null[name] is not None:
            values = np.where(np.asarray(table[name]) == self._null[name], np.nan, values)
        return values

    def _floats(self, table, name):
        try:
            return np.array(table[name], dtype=float)
        except (TypeError, ValueError):
            raise DensityError(f"{self.path}: column {name!r} is not numeric; leave it out") from None


def _names(names):
    """Names as a tuple, of a single one too."""
    return (names,) if isinstance(names, str) else tuple(names)
