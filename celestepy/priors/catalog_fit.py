"""Empirical Bayes: the prior of a population, learned from a catalogue of it by expectation-maximisation.

The sources are a Poisson process whose intensity is that of the prior, times their number. Its likelihood needs of the
pixels of a source only the likelihood L_i of its parameters (`celestepy.priors.likelihood_draws`), marginalised over
type and parameters,

    ln L(alpha) = sum_i ln sum_t int L_i(theta, t) P(t) p(theta | t, alpha) dtheta - (expected number detected) .

Above a limit to which the catalogue is complete (`celestepy.priors.selection`) the expected number needs no model of
the detection. So each step weighs the draws of every source by the present prior, wherever they lie, and refits each
law to the weighted draws above the limit, with its normalisation there: errors are deconvolved, uncertain types shared
out, faint colours count for what the pixels said of them, and the sources that noise lifts across the limit are kept
apart by the continuation of the laws below it.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from celestepy.catalog import CatalogError
from celestepy.model.color_fit import ColorFit, color_rows
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.prior_file import SHIPPED
from celestepy.model.prior_fit import fit_axis_ratio, fit_logit_dev, fit_radius
from celestepy.model.priors import LIMITS, Prior
from celestepy.priors.fitted import PLURAL, FittedPrior
from celestepy.priors.flux_choice import LAWS, choose_counts, fit_counts
from celestepy.priors.likelihood_draws import likelihood_draws, log_terms, posterior_weights
from celestepy.priors.selection import complete_to, usable

__all__ = ["PriorFit"]

LN_PER_MAG = np.log(10) / 2.5
ZERO_POINT = 22.5  # mag of one nanomaggy

_MOST_DRAWS = 4_000_000  # of both types in memory; more sources get fewer draws each, and then not all are used
_LEAST_DRAWS = 25
_LEAST_FRACTION = 1e-4  # of either type
_NEGLIGIBLE = 1e-7  # weight of a draw that is left out of a refit of the colours
_CLOSE = 0.25  # mag, the bins of the limit of completeness
_STILL = 1e-4  # change of log likelihood per source below which the fit has converged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PriorFit:
    """Settings of a fit of a prior to a catalogue.

    Parameters
    ----------
    star_colors, galaxy_colors : `~celestepy.model.ColorFit`
        Of the colour mixtures; the number of starts is not used.
    galaxy_counts : {"auto", "power", "normal"}
        Law of the galaxies' log flux: a power law of the counts, a log-normal, or whichever of them predicts held-out
        sources better. Stars follow a power law.
    by_magnitude : bool
        Whether mean colours and radii may change with the log flux.
    faint_limit : float, optional
        Magnitude in the reference band down to which the catalogue is complete; by default it is read off the
        catalogue, see `celestepy.priors.selection.complete_to`.
    depth : float
        Magnitudes below the limit at which the counts are to fall off, which the data do not tell; the star fraction,
        of all sources, depends on it.
    n_draws : int
        Posterior draws of each source and type, where the catalogue has none or more than four million.
    n_iterations : int
        Most steps.
    least_sources : float
        A type with fewer expected sources above the limit than this keeps the laws of the interim prior.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    star_colors: ColorFit = field(default_factory=lambda: ColorFit(5, slope=0.1, width=0.08, outlier_weight=0.06))
    galaxy_colors: ColorFit = field(default_factory=lambda: ColorFit(3, slope=0.2, width=0.1, outlier_weight=0.04))
    galaxy_counts: str = "auto"
    by_magnitude: bool = True
    faint_limit: float | None = None
    depth: float = 1.0
    n_draws: int = 200
    n_iterations: int = 60
    least_sources: float = 30.0

    def __post_init__(self):
        if self.galaxy_counts not in ("auto", *LAWS):
            raise ValueError(f"galaxy_counts: {self.galaxy_counts!r}, expected auto, {' or '.join(LAWS)}")
        for name in ("depth", "n_draws", "n_iterations", "least_sources"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected a number above 0")
        for name in ("star_colors", "galaxy_colors"):
            if getattr(self, name).n_components >= LIMITS[0]:
                raise ValueError(f"{name}: {getattr(self, name).n_components} components, expected fewer than "
                                 f"{LIMITS[0]}")

    def fit(self, catalog, interim=None, *, name="fitted", rng=None):
        """Fit the laws of both types and the star fraction.

        Parameters
        ----------
        catalog : `~celestepy.catalog.Catalog`
            The catalogue, best one of a method that draws, with its draws at hand.
        interim : `~celestepy.model.priors.Prior`, optional
            The prior that the catalogue was made with; by default the shipped one that its metadata name.
        name : str
            Name of the new prior.
        rng : int or `numpy.random.Generator`, optional
            Seed or generator.

        Returns
        -------
        `~celestepy.priors.FittedPrior`

        Raises
        ------
        CatalogError
            If the catalogue has too few usable sources, no limit can be read off it, or it was made with another
            prior.
        """
        rng = np.random.default_rng(rng)
        interim = _interim_of(catalog, interim)
        catalog, limit = self._chosen(catalog, rng)
        draws = self._draws(catalog, interim, rng)
        described = sum(np.bincount(part.source, minlength=len(catalog)) for part in draws.values()) > 0
        if not described.all():
            log.warning("%d sources are left out: their posteriors are not finite", (~described).sum())
            catalog = catalog[described]
            draws = self._draws(catalog, interim, rng)
        log_limit = (ZERO_POINT - limit) * LN_PER_MAG
        steps = _Steps(self, draws, len(catalog), interim, log_limit, rng)
        steps.climb()
        scores = {}
        if self.galaxy_counts == "auto" and GALAXY in steps.fitted:
            scores = steps.choose_galaxy_counts()
        return _result(steps, interim, name, limit, scores, catalog)

    def _draws(self, catalog, interim, rng):
        n_draws = int(np.clip(_MOST_DRAWS // (2 * len(catalog)), _LEAST_DRAWS, self.n_draws))
        return likelihood_draws(catalog, interim, n_draws, _MOST_DRAWS, rng)

    def _chosen(self, catalog, rng):
        """Sources to learn from, and the limit of completeness (mag)."""
        rows = np.flatnonzero(usable(catalog))
        if len(rows) < self.least_sources:
            raise CatalogError(f"{len(rows)} of the {len(catalog)} sources can be learned from (fits that converged, "
                               f"without flags of trouble), expected {self.least_sources:g} at least; take a larger "
                               "catalogue")
        chosen = catalog[rows]
        limit = self._limit(chosen)
        most = _MOST_DRAWS // (2 * _LEAST_DRAWS)
        return (chosen if len(rows) <= most else chosen[np.sort(rng.choice(len(rows), most, replace=False))]), limit

    def _limit(self, catalog):
        """Limit of completeness (mag): the one given, or what signal-to-noise ratios say."""
        band = catalog.bands.reference
        seen = complete_to(np.asarray(catalog[f"mag_{band}"].value), np.asarray(catalog["snr"]))
        if self.faint_limit is not None:
            if seen < self.faint_limit - _CLOSE:
                log.warning("faint_limit is %.2f, but the catalogue seems complete to %s = %.2f only: sources that it "
                            "lacks there count as if there were none", self.faint_limit, band, seen)
            return self.faint_limit
        if not np.isfinite(seen):
            raise CatalogError(f"the depth to which the catalogue is complete cannot be read off its column snr: "
                               f"no quarter of a magnitude has ten of the {len(catalog)} sources that can be used, or "
                               "all lie near the detection limit; give the magnitude as faint_limit "
                               "(--faint-limit), or take a larger catalogue")
        return seen


class _Steps:
    """The state of a fit: a prior, and the draws that it is refitted to."""

    def __init__(self, settings, draws, n_sources, interim, log_limit, rng):
        self.settings, self.draws, self.n_sources, self.rng = settings, draws, n_sources, rng
        self.prior, self.log_limit, self.trace = interim, log_limit, []
        self.turnover = log_limit - settings.depth * LN_PER_MAG
        self.above = {kind: draws[kind].log_flux > log_limit for kind in KINDS}
        self.counts = {STAR: "power", GALAXY: "normal" if settings.galaxy_counts == "normal" else "power"}
        self._weigh()
        self.fitted = [kind for kind in KINDS if self.expected(kind) >= settings.least_sources]
        if not self.fitted:
            numbers = " and ".join(f"{self.expected(kind):.0f} {PLURAL[kind]}" for kind in KINDS)
            raise CatalogError(f"{numbers} are expected above the limit of completeness, expected "
                               f"{settings.least_sources:g} of a type at least; take a larger catalogue or a fainter "
                               "limit (faint_limit, --faint-limit)")
        self._begin_colors()

    def expected(self, kind):
        """Expected number of sources of a type above the limit."""
        return float(self.weights[kind][self.above[kind]].sum())

    def climb(self):
        """Steps until the likelihood stands still."""
        for _ in range(self.settings.n_iterations):
            self.trace.append(self._weigh())
            if len(self.trace) > 1 and abs(self.trace[-1] - self.trace[-2]) < _STILL * self.n_sources:
                return
            self._refit()
        log.info("the prior is still changing after %d steps; give more (n_iterations)", self.settings.n_iterations)

    def choose_galaxy_counts(self):
        """Go on with the family of the galaxies' flux law that predicts better; held-out scores by family."""
        family, scores = choose_counts(self.prior, GALAXY, self.draws, self.n_sources, self.log_limit, self.turnover,
                                       self.rng)
        if family != self.counts[GALAXY]:
            self.counts[GALAXY] = family
            self._refit()
            self.climb()
        return scores

    def _weigh(self):
        """The expectation step; the log likelihood."""
        terms = log_terms(self.draws, self.prior)
        self.weights, log_likelihood = posterior_weights(self.draws, terms, self.n_sources)
        return float(log_likelihood.sum())

    def _refit(self):
        """The maximisation step: every law above the limit, and of the numbers there the share of the stars."""
        self.prior = replace(self.prior, **{kind: self._laws(kind) for kind in self.fitted})
        stars, galaxies = (self.expected(kind) / getattr(self.prior, kind).log_flux.share_above(self.log_limit)
                           for kind in KINDS)
        fraction = np.clip(stars / (stars + galaxies), _LEAST_FRACTION, 1 - _LEAST_FRACTION)
        self.prior = replace(self.prior, star_fraction=float(fraction))

    def _begin_colors(self):
        """Colour mixtures of the sizes wanted, fitted to the draws as the interim prior weighs them."""
        for kind in self.fitted if len(self.prior.bands) > 1 else ():
            laws = getattr(self.prior, kind)
            mixture = self._color_settings(kind).start(self._color_rows(kind), laws.colors.pivot, self.rng)
            self.prior = replace(self.prior, **{kind: replace(laws, colors=mixture)})

    def _laws(self, kind):
        above, laws = self.above[kind], getattr(self.prior, kind)
        weights, theta = self.weights[kind][above], self.draws[kind].theta[above]
        at = layout(kind, len(self.prior.bands))
        log_flux = theta[:, at.log_flux]
        mixture = laws.colors
        if mixture.n_colors:
            mixture, _ = self._color_settings(kind).step(mixture, self._color_rows(kind))
        counts = fit_counts(self.counts[kind], log_flux, weights, self.log_limit, self.turnover)
        changes = dict(log_flux=counts, colors=mixture)
        if kind == GALAXY:
            slope = None if self.settings.by_magnitude else 0.0
            pivot = laws.log_radius.pivot
            changes |= dict(
                log_radius=fit_radius(theta[:, at.log_radius], log_flux, pivot, weights=weights, slope=slope),
                axis_ratio=fit_axis_ratio(np.exp(-np.hypot(*theta[:, at.ellipticity].T)), laws.axis_ratio.softening,
                                          weights=weights),
                dev_fraction=fit_logit_dev(theta[:, at.logit_dev], weights),
            )
        return replace(laws, **changes)

    def _color_settings(self, kind):
        settings = getattr(self.settings, f"{kind}_colors")
        return settings if self.settings.by_magnitude else replace(settings, slope=0.0)

    def _color_rows(self, kind):
        rows = self.above[kind] & (self.weights[kind] > _NEGLIGIBLE)
        theta, at = self.draws[kind].theta[rows], layout(kind, len(self.prior.bands))
        log_flux = theta[:, at.log_flux] - getattr(self.prior, kind).colors.pivot
        return color_rows(theta[:, at.colors], log_flux, weights=self.weights[kind][rows])


def _interim_of(catalog, given):
    """The prior that a catalogue was made with, in its bands."""
    settings = catalog.meta.get("settings")
    used = settings.get("prior") if isinstance(settings, dict) else None
    if given is None:
        if used not in SHIPPED:
            raise CatalogError(f"the catalogue was made with the prior {used!r}, which has to be divided out and is "
                               "not one of those shipped; give it (interim, --prior)")
        given = Prior.load(used)
    if used is not None and given.name != used:
        raise CatalogError(f"the catalogue was made with the prior {used!r}, and not with {given.name!r}, "
                           "which cannot be divided out of it; give the one it was made with (interim, --prior)")
    return given.for_bands(catalog.bands, catalog.bands.reference)


def _result(steps, interim, name, limit, scores, catalog):
    expected = {kind: steps.expected(kind) for kind in KINDS}
    squares = sum(np.bincount(steps.draws[kind].source, steps.weights[kind]**2, steps.n_sources) for kind in KINDS)
    origin = f"{catalog.meta.get('method', 'unknown')} catalogue"
    numbers = " and ".join(f"{expected[kind]:.0f} {PLURAL[kind]}" for kind in KINDS)
    what = (f"empirical Bayes from {len(catalog)} sources of a {origin} made with the prior {interim.name!r}; "
            f"{numbers} expected above the limit of completeness, {steps.prior.bands.reference} = {limit:.2f}")
    provenance = {"method": what} | {
        kind: "laws of the interim prior, too few sources" for kind in KINDS if kind not in steps.fitted}
    return FittedPrior(
        prior=replace(steps.prior, name=name, provenance=provenance),
        interim=interim,
        faint_limit=float(limit),
        n_sources=len(catalog),
        expected=expected,
        kept=tuple(kind for kind in KINDS if kind not in steps.fitted),
        count_scores=scores,
        effective_draws=1 / squares,
        trace=tuple(steps.trace),
    )
