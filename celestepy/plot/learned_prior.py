"""Whether a learned prior is what the catalogue shows: prior, deconvolved density and data on one page."""

import numpy as np

from celestepy.catalog.differences import plain_column
from celestepy.model.parameters import GALAXY, KINDS, STAR
from celestepy.plot import canvas

__all__ = ["learned_prior"]

_COLOR = {STAR: canvas.STAR, GALAXY: canvas.GALAXY}
_TITLE = {STAR: "stars", GALAXY: "galaxies"}
_N_SAMPLES, _BINS = 200_000, 36
_SHAPES = ("half_light_radius", "axis_ratio", "dev_fraction")
_SHAPE_LABEL = {"half_light_radius": "log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} half-light radius [arcsec]",
                "axis_ratio": "axis ratio", "dev_fraction": "de Vaucouleurs fraction"}


def learned_prior(fitted, catalog):
    """Draw what a prior has learned from a catalogue.

    Parameters
    ----------
    fitted : `~celestepy.priors.FittedPrior`
        The fit.
    catalog : `~celestepy.catalog.Catalog`
        The catalogue that it was fitted to.

    Returns
    -------
    `matplotlib.figure.Figure`
        For stars and galaxies the magnitude in the reference band and every colour, and for galaxies the radius, axis
        ratio and profile. Shaded: the catalogue's point estimates, each source by the probability of its type; line:
        the prior that was learned, with errors deconvolved; dashes: the one that the catalogue was made with. All of
        sources brighter than the limit of the fit, which the magnitudes mark, and there scaled to the same number.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    bands = fitted.prior.bands
    n_columns = max(len(bands), len(_SHAPES))
    figure = canvas.empty_figure(2.9 * n_columns, 7.2)
    axes = figure.subplots(3, n_columns, squeeze=False)
    samples = {style: _samples(prior) for style, prior in (("learned", fitted.prior), ("before", fitted.interim))}
    limit = fitted.faint_limit
    for row, kind in enumerate(KINDS):
        _draw_counts(axes[row, 0], kind, fitted, samples, catalog)
        for column, name in enumerate(bands.color_names, start=1):
            _draw(axes[row, column], kind, f"color_{name}", samples, catalog, limit)
            axes[row, column].set_xlabel(f"{name[0]} \N{MINUS SIGN} {name[1:]} [mag]")
        for spare in axes[row, len(bands):]:
            spare.remove()
    for column, name in enumerate(_SHAPES):
        _draw(axes[2, column], GALAXY, name, samples, catalog, limit)
        axes[2, column].set_xlabel(_SHAPE_LABEL[name])
    for spare in axes[2, len(_SHAPES):]:
        spare.remove()
    axes[0, 0].legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def _samples(prior):
    """Draws from a prior, as columns of a catalogue."""
    return prior.sample(_N_SAMPLES, np.random.default_rng(1))


def _columns(table, reference, name):
    """Magnitude in the reference band, and a column, of a sample or a catalogue."""
    value = np.asarray(getattr(table[name], "value", table[name]), dtype=float)
    mag = np.asarray(getattr(table[f"mag_{reference}"], "value", table[f"mag_{reference}"]), dtype=float)
    return mag, np.log10(value) if name == "half_light_radius" else value


def _weights(catalog, kind):
    probability = np.nan_to_num(plain_column(catalog, "star_probability"))
    return probability if kind == STAR else 1 - probability


def _draw_counts(axes, kind, fitted, samples, catalog):
    reference, limit = fitted.prior.bands.reference, fitted.faint_limit
    mag, weight = plain_column(catalog, f"mag_{reference}"), _weights(catalog, kind)
    known = np.isfinite(mag)
    edges = np.arange(np.floor(np.percentile(mag[known], 0.5)), np.percentile(mag[known], 99.8) + 0.5, 0.5)
    axes.hist(mag[known], edges, weights=weight[known], color=_COLOR[kind], alpha=0.35, label="catalogue")
    number = weight[known & (mag < limit)].sum()
    for which, table in samples.items():
        values = table[f"mag_{reference}"].value[table["is_star"] == (kind == STAR)]
        scale = number / max(np.count_nonzero(values < limit), 1)
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts * scale, edges, **_style(which, kind))
    axes.axvline(limit, color=canvas.GREY, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set(xlabel=f"{reference} [mag]", ylabel=f"{_TITLE[kind]} per 0.5 mag")
    canvas.tidy(axes)


def _draw(axes, kind, name, samples, catalog, limit):
    reference = catalog.bands.reference
    mag, value = _columns(catalog, reference, name)
    weight = _weights(catalog, kind) * (mag < limit) * np.isfinite(value)
    value = np.where(weight > 0, value, 0.0)
    drawn = {}
    for which, table in samples.items():
        of_kind = table["is_star"] == (kind == STAR)
        prior_mag, prior_value = (part[of_kind] for part in _columns(table, reference, name))
        drawn[which] = prior_value[prior_mag < limit]
    first = next(iter(drawn.values()))
    low, high = (0.0, 1.0) if name in _SHAPES[1:] else np.percentile(first, (0.5, 99.5)) + np.array([-0.2, 0.2])
    edges = np.linspace(low, high, _BINS + 1)
    heights, _ = np.histogram(value, edges, weights=weight / max(weight.sum(), 1e-300))
    axes.stairs(heights, edges, color=_COLOR[kind], alpha=0.35, fill=True)
    for which, values in drawn.items():
        counts, _ = np.histogram(values, edges)
        heights = np.maximum(heights, counts / max(len(values), 1))
        axes.stairs(counts / max(len(values), 1), edges, **_style(which, kind))
    axes.set_ylim(0.0, 1.1 * heights.max())
    axes.locator_params(axis="x", nbins=5)
    canvas.tidy(axes, y_axis=False)


def _style(which, kind):
    if which == "before":
        return {"color": canvas.DARK, "ls": "--", "lw": 0.9, "label": "prior before"}
    return {"color": _COLOR[kind], "lw": 1.8, "label": "learned prior"}
