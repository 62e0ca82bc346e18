"""How good a catalogue is, given the truth: errors, their coverage, and stars told from galaxies."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from celestepy.catalog.crossmatch import crossmatch, positions
from celestepy.catalog.differences import common_bands, differences, plain_column, quantity
from celestepy.catalog.errors import CatalogError
from celestepy.catalog.reliability import StarScore, score_types

__all__ = ["ErrorScore", "Score", "score"]

SIGMAS = (0.5, 1.0, 2.0, 3.0)
NOMINAL = (0.383, 0.683, 0.954, 0.997)


@dataclass(frozen=True)
class ErrorScore:
    """Errors of one quantity over n matched sources.

    Attributes
    ----------
    unit : str
        Unit of the errors.
    n : int
        Number of sources that have the quantity in both tables.
    mean, median : float
        Of the absolute error.
    bias : float
        Median of estimate minus truth.
    coverage : tuple of float
        Share of the truths within 1/2, 1, 2 and 3 errors of the estimate; nominal .383, .683, .954, .997.
        Empty where the catalogue gives no error.
    other : float or None
        Mean absolute error of the other catalogue on those of the sources that it has too.
    ratio : float or None
        Mean absolute error divided by the other's, on the same sources.
    """

    unit: str
    n: int
    mean: float
    median: float
    bias: float
    coverage: tuple = ()
    other: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Score:
    """What `score` found; print it for a table.

    Attributes
    ----------
    n_truth, n_rows, n_matched : int
        Scored true sources; usable rows of the catalogue within the limits of magnitude and the box of ra and dec
        that the truth spans; and pairs, whose true source is scored. A source at a limit can be within it by one
        table alone, so that there may be more pairs than rows.
    completeness : float
        Share of the scored true sources that are matched.
    purity : float
        Share of these rows that are matched to any true source.
    errors : dict of str to ErrorScore
        By quantity.
    star : StarScore or None
        None where the truth has no types.
    """

    n_truth: int
    n_rows: int
    n_matched: int
    completeness: float
    purity: float
    errors: dict
    star: StarScore | None = None

    def to_dict(self):
        """Return plain dictionaries, lists and numbers, None where a number is not defined.

        Returns
        -------
        dict
            Names as those of the attributes.
        """
        return _defined(asdict(self))

    def to_json(self, **options):
        """Return JSON text.

        Parameters
        ----------
        **options
            Those of `json.dumps`.

        Returns
        -------
        str
            JSON text of `to_dict`.
        """
        return json.dumps(self.to_dict(), **options)

    def __str__(self):
        found = f"{self.n_truth} true sources: {self.n_matched} found ({self.completeness:.3f}), scored below"
        title = f"{found}; {self.n_rows} rows within the same limits: {self.purity:.3f} of them true"
        return "\n".join([title, "", *_error_lines(self.errors), *_star_lines(self.star)])


def _error_lines(errors):
    compared = any(score.other is not None for score in errors.values())
    within = "".join(f"{k:>7g}" for k in SIGMAS)
    yield f"{'':44s}{'':10s}   share of truths within"
    head = f"{'absolute error':26s}{'n':>6s}{'mean':>10s}{'median':>10s}{'bias':>10s}{within} err"
    yield head + ("     other  ratio" if compared else "")
    for name, score in errors.items():
        label = f"{name} [{score.unit}]" if score.unit else name
        shares = "".join(f"{share:7.3f}" for share in score.coverage) or " " * 7 * len(SIGMAS)
        line = f"{label:26s}{score.n:6d}{score.mean:10.4f}{score.median:10.4f}{score.bias:+10.4f}{shares}    "
        line += "" if score.other is None else f"{score.other:10.4f}"
        yield (line + ("" if score.ratio is None else f"{score.ratio:7.3f}")).rstrip()
    yield f"{'nominal':62s}" + "".join(f"{share:7.3f}" for share in NOMINAL)


def _star_lines(star):
    if star is None:
        return
    yield ""
    own = f"AUC {star.auc:.4f}, right {star.accuracy:.4f}, log loss {star.log_loss:.4f}"
    yield f"stars and galaxies ({star.n}): {own}"
    if star.other_auc is not None:
        yield f"other catalogue: AUC {star.other_auc:.4f}, right {star.other_accuracy:.4f}"
    yield f"{'star_probability':20s}{'sources':>8s}{'predicted':>11s}{'true':>8s}"
    for row in star.reliability:
        if row["n"]:
            edges = f"{row['low']:.1f} to {row['high']:.1f}"
            yield f"{edges:20s}{row['n']:8d}{row['probability']:11.3f}{row['fraction']:8.3f}"


def score(catalog, truth, other=None, *, radius=1.0, mag_range=None):
    """Match a catalogue to the truth and score it.

    Parameters
    ----------
    catalog : Catalog or table
        What to score: any table with the catalogue's column names.
    truth : table
        Columns ``ra, dec`` and any of ``is_star, flux_b`` or ``mag_b, color_bc, half_light_radius,
        axis_ratio, position_angle, dev_fraction``. NaN where the truth is not known well enough to score.
    other : table, optional
        Another catalogue of the same sky, in the same columns, to compare with on the same sources.
    radius : float or Quantity
        Largest distance of a pair, in arcsec if it has no unit.
    mag_range : tuple of float, optional
        Score true sources, and count rows, between these magnitudes in the reference band only. The matching
        uses all.

    Returns
    -------
    Score
        Print it, or see its attributes.

    Raises
    ------
    CatalogError
        If a table has no positions, there is no common band, or nothing matches.
    """
    bands = common_bands(catalog, truth)
    usable = _usable(catalog)
    match = _match(catalog, usable, truth, radius)
    scored = _in_range(truth, mag_range, bands)
    counted = usable & _in_range(catalog, mag_range, bands) & _in_box(catalog, truth)
    keep = scored[match.right]
    rows, true_rows = match.left[keep], match.right[keep]
    if not len(rows):
        raise CatalogError(
            f"no row of the catalogue lies within {radius} (arcsec) of a true source; check that both are in "
            "ICRS degrees and overlap, or enlarge the radius or the range of magnitudes"
        )
    deltas = differences(catalog, truth, rows, true_rows, bands)
    errors = {name: _score_errors(*parts) for name, parts in deltas.items() if np.isfinite(parts[0]).any()}
    star = score_types(
        plain_column(catalog, "star_probability", rows), plain_column(truth, "is_star", true_rows)
    )
    if other is not None:
        errors, star = _compare(other, truth, radius, bands, true_rows, deltas, errors, star)
    true_row = np.isin(np.arange(len(usable)), match.left)
    purity = float(true_row[counted].mean()) if counted.any() else float("nan")
    n_truth = int(scored.sum())
    return Score(n_truth, int(counted.sum()), len(rows), len(rows) / n_truth, purity, errors, star)


def _usable(catalog):
    """Rows that have an answer: a failed fit counts as not found."""
    finite = np.isfinite(positions(catalog)).all(axis=0)
    probability = plain_column(catalog, "star_probability")
    return finite & (np.isfinite(probability) | ~np.isfinite(probability).any())


def _match(catalog, usable, truth, radius):
    ra, dec = positions(catalog)
    return crossmatch({"ra": np.where(usable, ra, np.nan), "dec": dec}, truth, radius)


def _in_range(table, mag_range, bands):
    if mag_range is None:
        return np.ones(len(positions(table)[0]), dtype=bool)
    mag = quantity(table, f"mag_{bands.reference}")
    return (mag > mag_range[0]) & (mag < mag_range[1])


def _in_box(catalog, truth):
    """Rows within the box of ra and dec that the truth spans: beyond it, nobody knows what is true."""
    (ra, dec), (true_ra, true_dec) = positions(catalog), positions(truth)
    start = np.nanmin(np.where(np.isfinite(true_dec), true_ra, np.nan))
    east, true_east = ((angle - start + 180.0) % 360.0 for angle in (ra, true_ra))
    with np.errstate(invalid="ignore"):
        in_ra = (east >= np.nanmin(true_east)) & (east <= np.nanmax(true_east))
        return in_ra & (dec >= np.nanmin(true_dec)) & (dec <= np.nanmax(true_dec))


def _score_errors(delta, error, unit):
    known = np.isfinite(delta)
    size = np.abs(delta[known])
    has_error = known & np.isfinite(error) & (error > 0)
    pull = np.abs(delta[has_error]) / error[has_error]
    coverage = tuple(float((pull < k).mean()) for k in SIGMAS) if len(pull) else ()
    numbers = (float(size.mean()), float(np.median(size)), float(np.median(delta[known])))
    return ErrorScore(unit, int(known.sum()), *numbers, coverage)


def _compare(other, truth, radius, bands, true_rows, deltas, errors, star):
    """Add the errors of another catalogue, and the ratios to them, on the sources that both have."""
    match = _match(other, _usable(other), truth, radius)
    row_of = np.full(len(positions(truth)[0]), -1)
    row_of[match.right] = match.left
    both = np.flatnonzero(row_of[true_rows] >= 0)
    rows, true_rows = row_of[true_rows[both]], true_rows[both]
    theirs = differences(other, truth, rows, true_rows, bands)
    compared = {}
    for name, own in errors.items():
        known = np.isfinite(deltas[name][0][both]) & np.isfinite(theirs[name][0])
        ours, others = (np.abs(parts[known]) for parts in (deltas[name][0][both], theirs[name][0]))
        mean = float(others.mean()) if known.any() else None
        compared[name] = replace(own, other=mean, ratio=float(ours.mean()) / mean if mean else None)
    types = score_types(
        plain_column(other, "star_probability", rows), plain_column(truth, "is_star", true_rows)
    )
    if star is not None and types is not None:
        star = replace(star, other_auc=types.auc, other_accuracy=types.accuracy)
    return compared, star


def _defined(value):
    """Replace NaN and infinities by None, which JSON has."""
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
