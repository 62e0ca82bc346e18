"""What an engine returns: the catalogue, the verdict on every source, and how it was made."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from celestepy.catalog.catalog import Catalog
from celestepy.catalog.columns import Flag, Status
from celestepy.catalog.posterior import Posterior
from celestepy.inference.group_fit import contribution
from celestepy.inference.rendering import model_images
from celestepy.model.parameters import GALAXY, KINDS, STAR, layout
from celestepy.model.transforms import to_scene

__all__ = ["Result", "assemble"]

_LOW_SNR = 5.0


@dataclass(frozen=True)
class Result:
    """Outcome of a fit.

    Attributes
    ----------
    catalog : `~celestepy.catalog.Catalog`
        One row per source.
    settings : dict
        Settings of the engine.
    interrupted : bool
        Whether the run was stopped before all sources were fitted.
    n_dropped : int
        Seeds left out because the pixels do not support their existence.
    placement, scenes
        Where the sources lie on the images, and what each adds to them.
    """

    catalog: Catalog
    settings: dict
    interrupted: bool
    n_dropped: int
    placement: object = field(repr=False, default=None)
    scenes: dict = field(repr=False, default_factory=dict)

    def model_images(self):
        """Expected pixels of every image under the best hypotheses, sky included (nmgy per pixel)."""
        return model_images(self.placement, self.scenes)

    @property
    def summary(self):
        """One line: how many sources, and what became of them."""
        counts = Counter(Status(int(status)).name.lower().replace("_", " ") for status in self.catalog["status"])
        verdicts = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
        tail = "; interrupted: the rest was not fitted" if self.interrupted else ""
        return f"{len(self.catalog)} sources ({verdicts}); {self.n_dropped} seeds without support{tail}"


def assemble(sweeps, fits, duplicates, engine, interrupted):
    """Build the result from the fits of all groups.

    Parameters
    ----------
    sweeps : `~celestepy.inference.sweeps.Sweeps`
        Seeds, sources on images and the prior.
    fits : dict
        Source -> (GroupFit, exception or None, label of the group).
    duplicates : `~celestepy.inference.seed_table.SeedArrays`
        Seeds that were not fitted because others lie at the same places.
    engine : object
        With ``settings()``, ``name``, ``existence_threshold`` and ``drop_doubtful``.
    interrupted : bool
        Whether the run was stopped.

    Returns
    -------
    Result
    """
    seeds, placement, prior = sweeps.seeds, sweeps.placement, sweeps.prior
    rows = [_row(k, *fits.get(k, (None, -1)), placement, prior, engine, k not in fits or interrupted)
            for k in range(len(seeds))]
    kept = [k for k, row in enumerate(rows) if row is not None]
    index = np.array(kept, dtype=int)
    flags = _seed_flags(placement, seeds, index)
    for k, flag in zip(kept, flags, strict=True):
        rows[k] |= dict(id=int(seeds.ids[k]), flags=rows[k]["flags"] | int(flag))
    second = [_blank(int(number), Status.NOT_FITTED, "another seed lies at the same place; see the row before",
                     Flag.DUPLICATE_SEED) for number in duplicates.ids]
    ra, dec = np.concatenate([seeds.ra[index], duplicates.ra]), np.concatenate([seeds.dec[index], duplicates.dec])
    catalog = _catalog([rows[k] for k in kept] + second, ra, dec, prior, engine)
    n_dropped = len(rows) - len(kept)
    return Result(catalog, engine.settings(), interrupted, n_dropped, sweeps.placement,
                  {k: rows[k]["scene"] for k in kept if rows[k]["scene"] is not None})


def _catalog(rows, ra, dec, prior, engine):
    """The catalogue in the order of the sources' numbers."""
    order = np.argsort([row["id"] for row in rows], kind="stable")
    rows = [rows[k] for k in order]
    posterior = Posterior.stack([row["components"] for row in rows], len(prior.bands))
    names = [name for name in (rows[0] if rows else {}) if name not in ("components", "scene")]
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    meta = dict(method=engine.name, settings=engine.settings() | {"prior": prior.name})
    return Catalog.from_posterior(posterior, ra=ra[order], dec=dec[order], bands=prior.bands, diagnostics=columns,
                                  meta=meta)


def _blank(k, status, message, flags=0):
    return dict(id=k, components=[], scene=None, log_evidence_star=np.nan, log_evidence_galaxy=np.nan,
                log_evidence_existence=np.nan, snr=np.nan, status=int(status), flags=int(flags), message=message,
                n_iterations=0, n_pixels=0, masked_fraction=np.nan, blendedness=np.nan, group_id=-1)


def _row(k, fit, label, placement, prior, engine, unfinished):
    """One row of the catalogue, None for a source that was dropped."""
    if fit is None and unfinished:
        return _blank(k, Status.NOT_FITTED, "the run was interrupted before this source; run it again")
    if fit is None:
        return _blank(k, Status.NO_PIXELS, "no usable pixel here in any image; check the seed and the masks", Flag.FAILED)
    if isinstance(fit, Exception):
        return _blank(k, Status.FAILED, f"{type(fit).__name__}: {fit}", Flag.FAILED)
    if k in fit.dropped:
        return None
    i = fit.members.index(k)
    existence = fit.existence[k]
    if existence < engine.existence_threshold and engine.drop_doubtful:
        return None
    return _fitted_row(k, i, fit, label, placement, prior, existence < engine.existence_threshold)


def _fitted_row(k, i, fit, label, placement, prior, doubtful):
    types = fit.types
    evidence = {kind: types.type_evidence(i, kind) - prior.log_type_probability(kind) for kind in KINDS}
    components = []
    calibration = _calibration_covariance(fit.data.images, placement, prior.bands)
    for kind in KINDS:
        source = types.source(i, kind)
        if source is not None and np.isfinite(evidence[kind]):
            log_weight = evidence[kind] + prior.log_type_probability(kind)
            size = source.means.shape[1]
            components += [(log_weight + np.log(weight), kind, mean, covariance + calibration[:size, :size])
                           for weight, mean, covariance
                           in zip(source.weights, source.means, source.covariances, strict=True)]
    if not components:
        return _blank(k, Status.FAILED, "neither type could be fitted: the Hessian is not positive definite at the "
                      "optimum; look at the pixels for artefacts", Flag.FAILED)
    scene = contribution([(types.best.kinds[i], types.best.vectors[i], 1.0)], prior.bands)
    snr, blendedness, bands_seen = _shares(fit, i, placement, prior.bands)
    relevant = [hypothesis for hypothesis, log_weight in zip(types.hypotheses, types.log_weights, strict=True)
                if log_weight > -7]
    converged = all(hypothesis.minimum.converged for hypothesis in relevant)
    flags = _flags(fit, evidence, converged, snr, bands_seen, doubtful, prior)
    return dict(id=k, components=components, scene=scene,
                log_evidence_star=evidence[STAR], log_evidence_galaxy=evidence[GALAXY],
                log_evidence_existence=fit.existence[k], snr=snr,
                status=int(Status.CONVERGED if converged else Status.NOT_CONVERGED), flags=int(flags),
                message="" if converged else next(h.minimum.message for h in relevant if not h.minimum.converged),
                n_iterations=sum(hypothesis.minimum.n_iterations for hypothesis in types.hypotheses),
                n_pixels=fit.data.n_pixels, masked_fraction=fit.data.masked_fraction, blendedness=blendedness,
                group_id=label if len(fit.members) > 1 else -1)


def _calibration_covariance(images, placement, bands):
    """What the errors of the flux calibration add to the covariance of the free vector of a galaxy.

    Exposures of a band are calibrated independently, and bands are too.
    """
    at = layout(GALAXY, len(bands))
    error = np.array([placement.images[n].calibration_error for n in images])
    band = placement.band_index[list(images)]
    variance = [np.mean(error[band == b] ** 2) / np.sum(band == b) if np.any(band == b) else 0.0
                for b in range(len(bands))]
    inverse = np.linalg.inv(bands.log_flux_matrix)
    covariance = np.zeros((at.size, at.size))
    covariance[at.log_fluxes, at.log_fluxes] = inverse * variance @ inverse.T
    return covariance


def _shares(fit, i, placement, bands):
    """Signal to noise, blendedness, and the number of bands with pixels, from the best model."""
    data, best = fit.data, fit.types.best
    scenes = np.array([to_scene(kind, vector, bands)[0] for kind, vector in zip(best.kinds, best.vectors, strict=True)])
    profiles = data.likelihood.profiles(np.array([kind == GALAXY for kind in best.kinds]), scenes)
    signal = alone = together = 0.0
    seen = set()
    for n, patch, profile in zip(data.images, data.patches, profiles, strict=True):
        band = placement.band_index[n]
        models = profile * scenes[:, band, None, None]
        weight = patch.weight / np.maximum(patch.background, 1e-12) if patch.poisson else patch.weight
        square = float(np.sum(weight * models[i] ** 2))
        signal += square
        alone += square
        together += float(np.sum(weight * models[i] * models.sum(axis=0)))
        if square > 0:
            seen.add(int(band))
    return np.sqrt(signal), 1 - alone / together if together > 0 else 0.0, len(seen)


def _flags(fit, evidence, converged, snr, bands_seen, doubtful, prior):
    flags = Flag(0)
    conditions = {Flag.BLENDED: len(fit.members) > 1, Flag.NOT_CONVERGED: not converged, Flag.LOW_SNR: snr < _LOW_SNR,
                  Flag.EXISTENCE_DOUBTFUL: doubtful, Flag.BAND_MISSING: bands_seen < len(prior.bands),
                  Flag.STAR_FAILED: not np.isfinite(evidence[STAR]),
                  Flag.GALAXY_FAILED: not np.isfinite(evidence[GALAXY])}
    for flag, holds in conditions.items():
        if holds:
            flags |= flag
    return flags


def _seed_flags(placement, seeds, index):
    """Flags that follow from where a source lies: edges, masked centres, saturation."""
    flags = np.where(seeds.found[index], int(Flag.FROM_RESIDUAL), 0)
    for n, image in enumerate(placement.images):
        ny, nx = image.shape
        x, y = placement.x[n, index], placement.y[n, index]
        half = placement.half_width[n]
        inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        near = (x > -half) & (x < nx - 1 + half) & (y > -half) & (y < ny - 1 + half)
        whole = (x >= half) & (x <= nx - 1 - half) & (y >= half) & (y <= ny - 1 - half)
        flags[near & ~whole] |= int(Flag.EDGE)
        column = np.clip(np.rint(x), 0, nx - 1).astype(int)
        row = np.clip(np.rint(y), 0, ny - 1).astype(int)
        flags[inside & image.mask[row, column]] |= int(Flag.MASKED_CENTRE)
        if image.saturated is not None:
            flags[inside & _near_any(image.saturated, row, column)] |= int(Flag.SATURATED)
    return flags


def _near_any(mask, row, column, radius=3):
    """Whether any pixel of a mask is set within a few pixels of each position."""
    result = np.zeros(len(row), dtype=bool)
    for i, (y, x) in enumerate(zip(row, column, strict=True)):
        result[i] = mask[max(y - radius, 0): y + radius + 1, max(x - radius, 0): x + radius + 1].any()
    return result
