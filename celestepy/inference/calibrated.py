"""The calibrated mode: the fast mode's fits as proposals, and importance sampling of the exact posterior.

Every group of overlapping sources is drawn from jointly, under every assignment of types that matters, so that the
draws of neighbours belong together and the evidences have a Monte Carlo error only.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np

from celestepy.catalog.draws import Draws
from celestepy.catalog.flags import Flag
from celestepy.catalog.posterior import Posterior
from celestepy.inference.fast import LaplaceFit
from celestepy.inference.group_sampling import SamplingSettings, sample_group
from celestepy.inference.kept_rows import entropy_of, keep_rows
from celestepy.inference.rows import calibration_covariance, source_rows
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout

__all__ = ["ImportanceSampler"]

# Draws of the fast mode's posterior where none of the exact one could be had.
_N_FALLBACK = 500
_NO_DRAWS = "no draws of the posterior could be made: errors are the fast mode's; look at the pixels for artefacts"


@dataclass(frozen=True)
class ImportanceSampler:
    """Settings of the calibrated mode, and its engine.

    Parameters
    ----------
    sampling : `~celestepy.inference.group_sampling.SamplingSettings`
        How many draws, and when they are enough.
    fast : `~celestepy.inference.LaplaceFit`
        The fast mode, whose fits are the proposals.
    """

    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    fast: LaplaceFit = field(default_factory=LaplaceFit)

    name = "calibrated"

    def settings(self):
        """Settings as a dictionary, for the metadata of a catalogue."""
        return asdict(self)

    def sample_group(self, posterior, types, rng):
        """Draw from the posterior of a fitted group, see `~celestepy.inference.group_sampling.sample_group`."""
        return sample_group(posterior, types, self.sampling, rng)

    def fit(self, images, seeds, *, prior=None, rng=None, executor=None, progress=False, draws=None):
        """Fit a field, and draw from the posterior of every source.

        Parameters
        ----------
        images : sequence of `~celestepy.images.Image`
            Images of any bands and exposures.
        seeds : `~celestepy.detection.Seeds` or table
            Where to fit; anything with ``ra`` and ``dec``.
        prior : `~celestepy.model.priors.Prior`, optional
            The default prior if None.
        rng : `numpy.random.Generator`, int or None
            Of the draws. Each group has a stream of its own, so that the result is the same for any executor.
        executor : None, int or object with ``map``
            See `~celestepy.inference.executors.run_tasks`.
        progress : bool
            Whether to show progress bars.
        draws : path-like, optional
            File (.hdf5) that the draws are written to, group by group as they are made, and that the catalogue links
            to. If it exists it is continued: what is in it is not drawn again, and the result is the same as that of
            a run that was never interrupted.

        Returns
        -------
        `~celestepy.inference.result.Result`
            Catalogue, verdicts, draws and settings.

        Raises
        ------
        ValueError, TypeError
            As `~celestepy.inference.LaplaceFit.fit`.
        CatalogError
            If `draws` was begun with other images, seeds or settings, or cannot be written.
        """
        entropy = entropy_of(rng, draws)

        def make_rows(fit, centres, label, fitter):
            stream = np.random.default_rng([entropy, *sorted(centres)])
            return _sampled_rows(fit, centres, label, fitter, self.sample_group, stream)

        keep = None if draws is None else partial(keep_rows, draws, self, entropy)
        result = self.fast.run(
            images, seeds, prior, engine=self, make_rows=make_rows, keep=keep, executor=executor, progress=progress
        )
        if draws is not None and not result.interrupted:
            result.catalog.link_draws(draws)
        return result


def _sampled_rows(fit, centres, label, fitter, sample, rng):
    """Rows of one group from draws of its posterior."""
    if fit is None or not fit.members or not np.isfinite(fit.types.log_evidence):
        return source_rows(fit, centres, label, fitter)
    sampled = sample(fitter.posterior(fit.data), fit.types, rng)
    rows = source_rows(replace(fit, types=sampled.types), centres, label, fitter)
    draws = sampled.draws(len(fitter.bands))
    if draws is not None:
        draws = _with_calibration_error(draws, fit.data.images, fitter, rng)
    group = min(centres) if len(fit.members) > 1 else -1
    return {
        k: None if row is None else _with_draws(row, fit.members.index(k), draws, sampled, group, rng)
        for k, row in rows.items()
    }


def _with_draws(row, i, draws, sampled, group, rng):
    """A row with the draws of its source, and what is to be said of them."""
    if not row.components:
        return row
    own = draws.sources([i]) if draws is not None else None
    n_bands = len(row.components[0][2]) - layout(row.components[0][1], 0).size
    columns, by_kind = dict(row.columns), {kind: sampled.diagnostics(i, kind) for kind in KINDS}
    missing = own is None or not own.n_draws.all()
    advice = [""]
    for kind, drawn in by_kind.items():
        if drawn is None:
            missing |= bool(np.isfinite(columns[f"log_evidence_{kind}"]))
            continue
        columns[f"log_evidence_{kind}_err"] = drawn.log_evidence_err
        columns[f"pareto_k_{kind}"] = drawn.pareto_k
        columns["n_iterations"] += drawn.n_evaluations
        advice.append(drawn.advice)
    if own is None or not own.n_draws.all():
        own, group = _fallback(row, n_bands, rng), -1
    columns["effective_draws"] = _effective_draws(own, by_kind)
    if missing or any(advice):
        columns["flags"] |= int(Flag.DRAWS_UNRELIABLE)
        columns["message"] = columns["message"] or max(advice, key=len) or _NO_DRAWS
    return replace(row, draws=own, group=group, columns=columns)


def _effective_draws(own, by_kind):
    """Effective number of draws over both types; chains know that of each type."""
    if not own.chain.any():
        return float(own.effective_draws[0])
    star = float(own.star_probability[0])
    shares = {STAR: star, GALAXY: 1 - star}
    squares = sum(shares[kind] ** 2 / drawn.effective_draws for kind, drawn in by_kind.items() if drawn is not None)
    return float(1 / squares)


def _fallback(row, n_bands, rng):
    """Draws of the fast mode's own posterior."""
    is_galaxy, theta = Posterior.stack([row.components], n_bands).draw(_N_FALLBACK, rng)
    return Draws.from_weights(is_galaxy[0], theta[0])


def _with_calibration_error(draws, images, fitter, rng):
    """Draws with the error of the flux calibration, which all sources of a group share."""
    at = layout(GALAXY, len(fitter.bands))
    covariance = calibration_covariance(images, fitter.placement, fitter.bands)[at.log_fluxes, at.log_fluxes]
    n = int(draws.n_draws[0])
    shift = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=n, method="eigh")
    theta = draws.theta.copy()
    theta[:, at.log_fluxes] += np.tile(shift, (len(draws), 1))
    return replace(draws, theta=theta)
