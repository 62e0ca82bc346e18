"""The one schema of the catalogue: name, unit, dtype, meaning and formula of every column.

The table below holds templates: ``{band}`` stands for each band and ``{color}`` for each pair of adjacent
bands (``ug``: u minus g). `schema` expands them. The column reference of
the documentation is the output of `reference_page`, so that it cannot drift from what is written to disk.
"""

from dataclasses import dataclass, replace

import numpy as np

from celestepy.catalog.flags import FLAG_MEANING, STATUS_MEANING, Flag, Status
from celestepy.model.parameters import Bands

__all__ = ["COLUMNS", "POSTERIOR_COLUMNS", "SCHEMA_VERSION", "Column", "reference_page", "schema"]

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Column:
    """One column of the catalogue, or a template of several.

    Attributes
    ----------
    name : str
        Name, or a template with ``{band}`` or ``{color}``.
    unit : str
        Unit in astropy's notation, "" if it has none.
    dtype : type
        ``float``, ``int``, ``bool`` or ``str`` for 64-bit floats, integers, booleans and text; NumPy types
        else.
    description : str
        One line that says what the number means.
    formula : str
        How it is computed.
    default : object
        Value where the engine gives none.
    derived : bool
        True if it is computed from the posterior, False if the engine reports it.
    since : int
        Version of the schema that brought it; older files are read with the default in its place.
    """

    name: str
    unit: str
    dtype: type
    description: str
    formula: str
    default: object = np.nan
    derived: bool = True
    since: int = 1


def _engine(name, unit, dtype, default, description, formula, since=1):
    return Column(name, unit, dtype, description, formula, default, derived=False, since=since)


_MEDIAN = "posterior median"
_HALF_WIDTH = "half the width of the central 68.3% of the posterior"
_GALAXY = "under the galaxy hypothesis, whatever the probability of being one"

COLUMNS = (
    _engine("id", "", np.int64, -1, "number of the source", "row of the seed, from 0"),
    Column("ra", "deg", float, "right ascension, ICRS", "posterior mean over both types"),
    Column("dec", "deg", float, "declination, ICRS", "posterior mean over both types"),
    Column(
        "ra_err",
        "arcsec",
        float,
        "error of the position to the East, on the sky (cos dec included)",
        "posterior standard deviation over both types",
    ),
    Column(
        "dec_err",
        "arcsec",
        float,
        "error of the position to the North",
        "posterior standard deviation over both types",
    ),
    Column(
        "star_probability",
        "",
        float,
        "posterior probability of being a star",
        "Z_star / (Z_star + Z_galaxy), Z the evidence times the prior probability of the type",
    ),
    Column("flux_{band}", "nmgy", float, "flux in band {band}, over both types", f"{_MEDIAN} of f_{{band}}"),
    Column("flux_{band}_err", "nmgy", float, "its error", _HALF_WIDTH),
    Column(
        "mag_{band}",
        "mag",
        float,
        "AB magnitude in band {band}, over both types",
        f"{_MEDIAN} of 22.5 - 2.5 log10 f_{{band}}",
    ),
    Column("mag_{band}_err", "mag", float, "its error", _HALF_WIDTH),
    Column(
        "color_{color}",
        "mag",
        float,
        "colour {color}, over both types",
        f"{_MEDIAN} of the difference of the magnitudes; not the difference of the medians",
    ),
    Column("color_{color}_err", "mag", float, "its error, with the correlation of the bands", _HALF_WIDTH),
    Column(
        "half_light_radius",
        "arcsec",
        float,
        f"half-light radius along the major axis, {_GALAXY}",
        f"{_MEDIAN} of exp(log_radius + e / 2), e = -ln axis_ratio",
    ),
    Column("half_light_radius_err", "arcsec", float, "its error", _HALF_WIDTH),
    Column(
        "axis_ratio", "", float, f"minor over major axis, {_GALAXY}", f"{_MEDIAN} of exp(-hypot(eta1, eta2))"
    ),
    Column("axis_ratio_err", "", float, "its error", _HALF_WIDTH),
    Column(
        "position_angle",
        "deg",
        float,
        f"of the major axis, East of North in [0, 180), {_GALAXY}",
        "median about the circular mean of atan2(eta2, eta1) / 2",
    ),
    Column(
        "position_angle_err", "deg", float, "its error; 61.4 deg means that nothing is known", _HALF_WIDTH
    ),
    Column(
        "dev_fraction",
        "",
        float,
        f"share of the de Vaucouleurs profile in the flux, {_GALAXY}",
        f"{_MEDIAN} of 1 / (1 + exp(-logit_dev))",
    ),
    Column("dev_fraction_err", "", float, "its error", _HALF_WIDTH),
    Column("star_flux_{band}", "nmgy", float, "flux in band {band} if it is a star", _MEDIAN),
    Column("star_flux_{band}_err", "nmgy", float, "its error", _HALF_WIDTH),
    Column("galaxy_flux_{band}", "nmgy", float, "flux in band {band} if it is a galaxy", _MEDIAN),
    Column("galaxy_flux_{band}_err", "nmgy", float, "its error", _HALF_WIDTH),
    _engine(
        "log_evidence_star",
        "",
        float,
        np.nan,
        "log evidence of the star hypothesis",
        "ln of the integral of likelihood x prior, the prior probability of the type left out",
    ),
    _engine(
        "log_evidence_star_err",
        "",
        float,
        np.nan,
        "its Monte Carlo error; NaN where no draws were made",
        "from the spread of the weights, or of repeated runs",
        since=2,
    ),
    _engine(
        "log_evidence_galaxy",
        "",
        float,
        np.nan,
        "log evidence of the galaxy hypothesis",
        "as log_evidence_star, on the same pixels",
    ),
    _engine(
        "log_evidence_galaxy_err",
        "",
        float,
        np.nan,
        "its Monte Carlo error; NaN where no draws were made",
        "as log_evidence_star_err",
        since=2,
    ),
    _engine(
        "log_evidence_existence",
        "",
        float,
        np.nan,
        "log odds that the source is there at all",
        "ln of the evidence with the source over the evidence without it",
    ),
    _engine(
        "pareto_k_star",
        "",
        float,
        np.nan,
        "reliability of the weights of the star draws: above 0.7 they are not to be trusted",
        "shape of the Pareto law fitted to the largest weights; NaN where no weights were used",
        since=2,
    ),
    _engine(
        "pareto_k_galaxy",
        "",
        float,
        np.nan,
        "reliability of the weights of the galaxy draws",
        "as pareto_k_star",
        since=2,
    ),
    _engine(
        "effective_draws",
        "",
        float,
        np.nan,
        "number of independent draws from the posterior that would be worth as much; NaN where none were made",
        "1 / sum of squared weights over both types, or what the engine finds from its chains",
        since=2,
    ),
    _engine(
        "snr",
        "",
        float,
        np.nan,
        "signal to noise over all images together",
        "square root of the sum over pixels of model^2 / noise variance",
    ),
    _engine("status", "", np.int16, Status.CONVERGED, "what became of the fit", "see below"),
    _engine("flags", "", np.int32, 0, "what was noticed about the source, one bit each", "see below"),
    _engine("message", "", str, "", "what to know or to do, in words", "empty if there is nothing to say"),
    _engine("n_iterations", "", np.int32, 0, "evaluations of the likelihood", "both types, all starts"),
    _engine("n_pixels", "", np.int64, 0, "unmasked pixels in the fit", "sum over images"),
    _engine(
        "masked_fraction",
        "",
        float,
        np.nan,
        "share of the pixels of the patches that were masked",
        "masked / all, over images",
    ),
    _engine(
        "blendedness",
        "",
        float,
        np.nan,
        "how much of the light here belongs to neighbours: 0 alone, 1 lost",
        "1 - sum(m^2) / sum(m t), m this source's model and t the model of all, over the pixels",
    ),
    _engine("group_id", "", np.int64, -1, "number of the group fitted together", "-1 if fitted alone"),
)

POSTERIOR_COLUMNS = (
    Column(
        "posterior_weight",
        "",
        float,
        "weight of each Gaussian component within its type",
        "sums to 1 over the star components, and over the galaxy components",
    ),
    Column("posterior_is_galaxy", "", bool, "type of each component", "False for a star", False),
    Column(
        "posterior_mean",
        "",
        float,
        "mean of each component",
        "[u, v, log_flux, colours.., log_radius, eta1, eta2, logit_dev]; u, v in arcsec about ra, dec; NaN "
        "where a star has no such parameter",
    ),
    Column(
        "posterior_covariance", "", float, "covariance of each component", "its lower triangle, row by row"
    ),
)


def schema(bands, reference=None):
    """List the columns of a catalogue in the given bands, in their order on disk.

    Parameters
    ----------
    bands : `~celestepy.model.parameters.Bands` or sequence of str
        The bands; ``"ugriz"`` is read as five names.
    reference : str, optional
        Reference band, see `~celestepy.model.parameters.Bands`.

    Returns
    -------
    tuple of Column
        Templates expanded; the columns of the posterior come last.

    Examples
    --------
    >>> from celestepy.catalog.columns import schema
    >>> [column.name for column in schema("gr") if column.name.startswith("mag")]
    ['mag_g', 'mag_g_err', 'mag_r', 'mag_r_err']
    """
    bands = Bands.of(bands, reference)
    columns = []
    for run in _runs(COLUMNS):
        names = {"band": bands.names, "color": bands.color_names, "": ("",)}[_placeholder(run[0])]
        columns += [_expand(column, name) for name in names for column in run]
    return tuple(columns) + POSTERIOR_COLUMNS


def _placeholder(column):
    """Return the kind of name that a template waits for: "band", "color" or "" for none."""
    return next((key for key in ("band", "color") if f"{{{key}}}" in column.name), "")


def _runs(columns):
    """Group each templated value with its error, so that they stay together for each band."""
    runs = []
    for column in columns:
        value = column.name.removesuffix("_err")
        if runs and _placeholder(column) and runs[-1][0].name == value:
            runs[-1].append(column)
        else:
            runs.append([column])
    return runs


def _expand(column, name):
    texts = {
        key: getattr(column, key).format(band=name, color=name) for key in ("name", "description", "formula")
    }
    return replace(column, **texts)


_PAGE_HEAD = """\
Columns
=======

Every catalogue that celestepy writes has these columns. ``{band}`` stands for each band and ``{color}`` for
each pair of adjacent bands: ``color_ug`` is u minus g. Where a number is not known, it is NaN. How the errors
are computed is told in :doc:`/user_guide/catalog`.

.. This page is the output of ``celestepy.catalog.columns.reference_page()``; a test compares the two.
"""


def reference_page():
    """Print the column reference of the documentation, in reStructuredText.

    Returns
    -------
    str
        The whole page.
    """
    columns = [(f"``{c.name}``", c.unit, _dtype_name(c.dtype), c.description, c.formula) for c in COLUMNS]
    posterior = [
        (f"``{c.name}``", c.unit, _dtype_name(c.dtype), c.description, c.formula) for c in POSTERIOR_COLUMNS
    ]
    status = [(str(int(s)), s.name, STATUS_MEANING[s]) for s in Status]
    flags = [(str(int(f)), f.name, FLAG_MEANING[f]) for f in Flag]
    head = ("Name", "Unit", "Type", "Meaning", "How it is computed")
    parts = [
        _PAGE_HEAD,
        _list_table("Estimates and diagnostics", head, columns),
        _list_table("The posterior, for ``Catalog.sample``", head, posterior),
        _list_table("Values of ``status``", ("Value", "Name", "Meaning"), status),
        _list_table("Bits of ``flags``", ("Bit", "Name", "Meaning"), flags),
    ]
    return "\n".join(parts)


def _dtype_name(dtype):
    return "text" if dtype is str else np.dtype(dtype).name


def _list_table(title, head, rows):
    lines = [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
