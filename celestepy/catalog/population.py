r"""Populations from a Bayesian catalogue: integrate the posterior instead of counting point estimates.

Point estimates of faint sources, however good each of them is, are distributed otherwise than the truth:
measurements are spread wider by their noise, posterior medians are drawn together by the prior, and a type that
is decided at a probability of one half puts every doubtful source on the same side. Section 6.6 of Regier et al.
(2019) asks for marginals instead: draw from the posterior of all sources, count the draws, and see how the count
varies from draw to draw. That is `population_histogram`.

It is right if the population is the one that the prior believes in. If it is not, each posterior is drawn
towards the prior, and so is their sum, whatever the number of sources. `infer_population` divides the prior out
and infers the histogram itself, as Hogg, Myers & Bovy (2010, ApJ 725, 2166): with the share
:math:`m_{ib}` of the posterior of source i that lies in bin b, and the share :math:`p_b` of the prior there, the
likelihood of the shares :math:`\pi` of a population is

.. math:: L(\pi) = \prod_i \sum_b \pi_b \, m_{ib} / p_b .
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc

from celestepy.model.parameters import GALAXY, KINDS, STAR

__all__ = ["PopulationHistogram", "infer_population", "population_histogram", "sample_expression"]

_AT_ONCE = 200_000  # draws held in memory at a time, over all sources
_JEFFREYS = 0.5  # the prior of a share, and of a rate, that is as vague as its likelihood is sharp
_LEVEL = 3.0  # prior sd of the log ratio of a whole type to what the prior believes
_CONTRAST = 2.0  # prior sd of its changes from bin to bin
_MOST_STEPS = 100
_MOST_LOST = 0.1


@dataclass(frozen=True)
class PopulationHistogram:
    """How many sources there are in each bin, as draws of the whole histogram.

    Attributes
    ----------
    edges : tuple of (K + 1,) arrays
        Edges of the bins, one array for each quantity.
    counts : (n, K, ..) int array
        Numbers of sources in the bins, in each of n draws.
    """

    edges: tuple
    counts: np.ndarray

    @property
    def expected(self):
        """Expected number of the catalogue's sources in each bin, shape (K, ..)."""
        return self.counts.mean(axis=0)

    @property
    def density(self):
        """Expected number per unit of the quantities: `expected` over the size of each bin."""
        size = np.ones(())
        for edges in self.edges:
            size = size[..., None] * np.diff(edges)
        return self.expected / size

    def interval(self, level=0.683):
        """Credible interval of the number of the catalogue's sources in each bin.

        It tells how well these very sources are known: where all are known well, it has no width.

        Parameters
        ----------
        level : float
            Probability that the number lies within it, at least; numbers are whole.

        Returns
        -------
        lower, upper : (K, ..) arrays
            Both are within the interval.
        """
        tail = 50 * (1 - _checked_level(level))
        lower = np.percentile(self.counts, tail, axis=0, method="inverted_cdf")
        return lower, np.percentile(self.counts, 100 - tail, axis=0, method="inverted_cdf")

    def rate_interval(self, level=0.683):
        """Credible interval of the expected number in each bin in another field of the same size.

        To what is not known of these sources comes the chance that there are so many: given N sources, the
        rate has a gamma law of shape N + 1/2 (Jeffreys' prior). For sources whose errors are as wide as the
        population, this is too wide if the prior is right, since then `population_histogram` is told the rate
        by the prior, and no matter how wide it may miss if the prior is wrong: use `infer_population` for those.

        Parameters
        ----------
        level : float
            Probability that the rate lies within it.

        Returns
        -------
        lower, upper : (K, ..) arrays
        """
        tail = 0.5 * (1 - _checked_level(level))
        flat = self.counts.reshape(len(self.counts), -1).T
        bounds = np.array([[_rate_quantile(p, counts) for counts in flat] for p in (tail, 1 - tail)])
        return tuple(bounds.reshape(2, *self.counts.shape[1:]))


def sample_expression(catalog, expression, n, rng=None):
    """Posterior draws of a column, or of anything computed from columns.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        The catalogue.
    expression : str or callable
        Name of a column of `Catalog.sample`, or a function of the table that it returns, such as
        ``lambda draws: draws["mag_g"] - draws["mag_i"]``. What it returns has the shape (sources, n).
    n : int
        Draws per source.
    rng : `numpy.random.Generator` or int, optional
        Generator or seed.

    Returns
    -------
    (sources, n) array or `~astropy.units.Quantity`
        NaN where a draw has no such quantity, as stars have no radius.

    Raises
    ------
    ValueError
        If there is no such column, or the function returns another shape.
    """
    return _evaluate(expression, catalog.sample(n, rng))


def population_histogram(catalog, quantity, bins, *, kind=None, where=None, n=1000, rng=None):
    """Count posterior draws of all sources in bins.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        The catalogue. Sources without estimates are nowhere counted.
    quantity : str, callable, or tuple of these
        What to count by, see `sample_expression`; several give a histogram in as many dimensions, such as
        ``("mag_r", "color_gr")``.
    bins : (K + 1,) array_like, or tuple of these
        Edges of the bins of each quantity, increasing, in the units of the catalogue.
    kind : {"star", "galaxy"}, optional
        Count draws of this type alone: a source counts by its probability. By default both.
    where : callable, optional
        A function of the table of draws that says which of them count, (sources, n) of bool.
    n : int
        Draws of the whole catalogue.
    rng : `numpy.random.Generator` or int, optional
        Generator or seed.

    Returns
    -------
    PopulationHistogram

    Raises
    ------
    ValueError
        If `bins` do not increase or are not as many as the quantities, or `kind` is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}, or None for both")
    quantities, edges = _checked_bins(quantity, bins)
    counts = []
    for table in catalog.sample_in_parts(_batches(n, len(catalog)), rng):
        cell = _cells(table, quantities, edges, where)
        if kind is not None:
            cell = np.where(table["is_star"] == (kind == STAR), cell, -1)
        counts.append(_count(cell, _n_cells(edges)))
    shape = [len(part) - 1 for part in edges]
    return PopulationHistogram(edges, np.concatenate(counts).reshape(-1, *shape))


def infer_population(catalog, quantity, bins, interim, *, smoothing=3.0, where=None, n=1000, rng=None):
    """Histograms of stars and galaxies, inferred with the prior of the catalogue divided out.

    To take the noise out of a histogram, something must be believed of what it looks like without. Here it is
    that the population is the prior's, times a factor for each type that changes smoothly from bin to bin: its
    logarithm is a Gaussian process of standard deviation 2 and correlation length `smoothing`, about a level that
    is left free. The posterior of the factors is taken as a Gaussian about its mode; then each source is put into a
    bin at random, by its posterior under the new population. Within a bin the prior's distribution is kept, of the
    quantity and of everything else. Features of the truth that are narrower than the errors stay invisible.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        The catalogue.
    quantity, bins, where, rng
        As for `population_histogram`.
    interim : table
        Sources drawn from the prior that the catalogue was made with, with ``is_star`` and the columns that
        `quantity` and `where` use, shape (N,): ``prior.sample(200_000, rng)``.
    smoothing : float
        Correlation length of the factor, in bins.
    n : int
        Draws of the histogram, and of the posterior of each source.

    Returns
    -------
    dict of str to PopulationHistogram
        By type, "star" and "galaxy".

    Raises
    ------
    ValueError
        As `population_histogram`, or if `smoothing` is not positive, or a source lies in bins in which `interim`
        has none.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing is {smoothing}, expected a number of bins above 0")
    quantities, edges = _checked_bins(quantity, bins)
    rng, n_cells = np.random.default_rng(rng), _n_cells(edges)
    inside = np.zeros((len(catalog), 2 * n_cells + 1))
    for table in catalog.sample_in_parts(_batches(n, len(catalog)), rng):
        inside += _count(_typed_cells(table, quantities, edges, where).T, 2 * n_cells + 1)
    inside = inside[np.isfinite(np.asarray(catalog["star_probability"]))]
    before = _count(_typed_cells(interim, quantities, edges, where)[:, None], 2 * n_cells + 1)[0]
    _check_interim(inside, before)
    some, counts = before > 0, np.zeros((n, 2 * n_cells + 1), dtype=int)
    kernel = _smooth_kernel(edges, smoothing)[np.ix_(some, some)]
    counts[:, some] = _draw_counts(inside[:, some] / before[some], before[some] / before.sum(), kernel, n, rng)
    shape = [len(part) - 1 for part in edges]
    parts = counts[:, :n_cells], counts[:, n_cells : 2 * n_cells]
    return {kind: PopulationHistogram(edges, part.reshape(-1, *shape))
            for kind, part in zip((STAR, GALAXY), parts, strict=True)}


def _batches(n, n_sources):
    if n < 1:
        raise ValueError(f"n is {n}, expected at least one draw")
    size = max(1, min(n, _AT_ONCE // max(n_sources, 1)))
    return [size] * (n // size) + ([n % size] if n % size else [])


def _checked_bins(quantity, bins):
    several = isinstance(quantity, tuple)
    quantities, bins = (quantity, tuple(bins)) if several else ((quantity,), (bins,))
    if len(quantities) != len(bins):
        raise ValueError(f"{len(bins)} arrays of bins were given for {len(quantities)} quantities, expected as many")
    edges = tuple(np.asarray(getattr(part, "value", part), dtype=float) for part in bins)
    for part in edges:
        if part.ndim != 1 or len(part) < 2 or not (np.diff(part) > 0).all():
            raise ValueError(f"bins are {part}, expected two or more edges, increasing")
    return quantities, edges


def _checked_level(level):
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a probability between 0 and 1")
    return level


def _evaluate(expression, table):
    if not callable(expression) and expression not in table.colnames:
        raise ValueError(f"{expression!r} is no column of a sample; expected one of {', '.join(table.colnames)}, or a "
                         "function of the table")
    value = expression(table) if callable(expression) else table[expression]
    if np.shape(value) != table["is_star"].shape:
        raise ValueError(f"the expression gives an array of shape {np.shape(value)}, expected one value for each draw: "
                         f"{table['is_star'].shape}")
    return value


def _n_cells(edges):
    return int(np.prod([len(part) - 1 for part in edges]))


def _cells(table, quantities, edges, where):
    """Number of the bin of each draw, in C order over several quantities; -1 where it is in none."""
    cell, inside = 0, np.ones(table["is_star"].shape, dtype=bool)
    for quantity, part in zip(quantities, edges, strict=True):
        value = _evaluate(quantity, table)
        value = np.asarray(getattr(value, "value", value), dtype=float)
        index = np.searchsorted(part, value, side="right") - 1  # NaN is sorted behind the last edge
        inside &= (index >= 0) & (index < len(part) - 1)
        cell = cell * (len(part) - 1) + index
    if where is not None:
        inside &= np.asarray(_evaluate(where, table), dtype=bool)
    return np.where(inside, cell, -1)


def _typed_cells(table, quantities, edges, where):
    """Bins of stars, then those of galaxies, then one for all the rest."""
    cell, n_cells = _cells(table, quantities, edges, where), _n_cells(edges)
    return np.where(cell < 0, 2 * n_cells, np.where(table["is_star"], cell, cell + n_cells))


def _count(cell, n_cells):
    """How many of each column's entries (sources, n) are in each bin, shape (n, bins); -1 is none."""
    n = cell.shape[1]
    flat = (cell + n_cells * np.arange(n))[cell >= 0]
    return np.bincount(flat, minlength=n * n_cells).reshape(n, n_cells)


def _rate_quantile(probability, counts):
    """Quantile of the mixture of gamma laws of shapes counts + 1/2."""
    number, times = np.unique(counts, return_counts=True)
    share, shape = times / len(counts), number + _JEFFREYS
    upper = number[-1] + 20 + 20 * np.sqrt(number[-1] + 1)
    return brentq(lambda rate: share @ gammainc(shape, rate) - probability, 0.0, upper, xtol=1e-9)


def _check_interim(inside, before):
    """Draws in bins that the prior never reaches say nothing; there must be few of any one source."""
    lost = inside[:, before == 0].sum(axis=1) / inside.sum(axis=1)
    if (lost > _MOST_LOST).any():
        raise ValueError(f"interim has no source in bins that hold {lost.max():.0%} of the posterior draws of one, "
                         f"expected at most {_MOST_LOST:.0%}: is it the prior of this catalogue? If so, draw more from "
                         "it, or take wider bins")


def _smooth_kernel(edges, smoothing):
    """Prior covariance of the log ratios: stars, galaxies, and the rest; shape (2 K + 1, 2 K + 1)."""
    grid = np.indices([len(part) - 1 for part in edges]).reshape(len(edges), -1)
    square = ((grid[:, :, None] - grid[:, None]) ** 2).sum(axis=0)
    own = _LEVEL**2 + _CONTRAST**2 * np.exp(-0.5 * square / smoothing**2)
    n_cells = len(own)
    kernel = np.zeros((2 * n_cells + 1, 2 * n_cells + 1))
    kernel[:n_cells, :n_cells] = kernel[n_cells:-1, n_cells:-1] = own
    kernel[-1, -1] = _LEVEL**2
    return kernel + 1e-6 * np.eye(len(kernel))


def _fit_log_ratio(likelihood, before, kernel):
    """The most probable log ratios and their covariance, by Newton steps with the empirical information.

    The gradient of the log likelihood is the sum over sources of q - share, q the probabilities of its bins,
    and the sum of the squares of the same is its information.
    """
    precision = np.linalg.inv(kernel)
    ratio = np.zeros(len(before))
    value, score = _log_posterior(ratio, likelihood, before, precision)
    for _ in range(_MOST_STEPS):
        information = score.T @ score + precision
        step = np.linalg.solve(information, score.sum(axis=0) - precision @ ratio)
        if np.abs(step).max() < 1e-4:
            break
        length = 1.0
        while length > 1e-3:
            trial, trial_score = _log_posterior(ratio + length * step, likelihood, before, precision)
            if trial > value:
                break
            length *= 0.5
        else:
            break
        ratio, value, score = ratio + length * step, trial, trial_score
    return ratio, np.linalg.inv(score.T @ score + precision)


def _log_posterior(ratio, likelihood, before, precision):
    """Its value, and the derivative of each source's term by the log ratios, shape (sources, bins)."""
    share = _shares(ratio, before)
    joint = likelihood * share
    total = joint.sum(axis=1, keepdims=True)
    return np.log(total).sum() - 0.5 * ratio @ precision @ ratio, joint / total - share


def _shares(ratio, before):
    weight = before * np.exp(ratio - ratio.max())
    return weight / weight.sum()


def _draw_counts(likelihood, before, kernel, n, rng):
    """Draws of the numbers of sources in the bins: log ratios from their posterior, bins of sources given them."""
    mode, covariance = _fit_log_ratio(likelihood, before, kernel)
    ratios = rng.multivariate_normal(mode, covariance, n, method="cholesky")
    counts = np.empty((n, len(before)), dtype=int)
    for k, ratio in enumerate(ratios):
        edges = np.cumsum(likelihood * _shares(ratio, before), axis=1)
        chosen = (edges < rng.random((len(edges), 1)) * edges[:, -1:]).sum(axis=1)
        counts[k] = np.bincount(chosen, minlength=len(before))
    return counts
