"""What an engine returns: the catalogue, the verdict on every source, and how it was made."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from celestepy.catalog.catalog import Catalog
from celestepy.catalog.columns import COLUMNS
from celestepy.catalog.draws import Draws
from celestepy.catalog.flags import Flag, Status
from celestepy.catalog.posterior import Posterior
from celestepy.inference.rendering import model_images
from celestepy.inference.rows import blank_row, remark

__all__ = ["Result", "assemble"]

# Draws of rows that were interrupted before the engine drew any.
_N_DRAWS = 500


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
    seconds : `~numpy.ndarray`
        Time spent on the final fit of each row's source (its share of its group), NaN where there was none.
    placement, scenes
        Where the sources lie on the images, and what each adds to them.
    draws : `~celestepy.catalog.draws.Draws` or None
        Posterior draws of each row's source about its seed, from engines that make them.
    """

    catalog: Catalog
    settings: dict
    interrupted: bool
    n_dropped: int
    seconds: np.ndarray = field(repr=False)
    placement: object = field(repr=False, default=None)
    scenes: dict = field(repr=False, default_factory=dict)
    draws: object = field(repr=False, default=None)

    def model_images(self):
        """Expected pixels of every image under the best hypotheses, sky included.

        Returns
        -------
        list of (H, W) array
            One for each image, nmgy per pixel.
        """
        return model_images(self.placement, self.scenes)

    @property
    def summary(self):
        """One line: how many rows, what became of them, and how many seeds have none."""
        counts = Counter(map(_verdict, self.catalog["status"], self.catalog["flags"]))
        verdicts = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
        verdicts = f" ({verdicts})" if verdicts else ""
        tail = "; interrupted before all were fitted" if self.interrupted else ""
        rows, seeds = ("s" if number != 1 else "" for number in (len(self.catalog), self.n_dropped))
        return f"{len(self.catalog)} row{rows}{verdicts}; {self.n_dropped} seed{seeds} dropped as noise{tail}"


def _verdict(status, flags):
    """What became of a row, in words."""
    if int(flags) & Flag.DUPLICATE_SEED:
        return "duplicate seed"
    return Status(int(status)).name.lower().replace("_", " ")


def assemble(sweeps, fits, duplicates, engine, interrupted):
    """Build the result from the rows of all groups.

    Parameters
    ----------
    sweeps : `~celestepy.inference.sweeps.Sweeps`
        Seeds, sources on images and the prior.
    fits : dict
        Source -> (`~celestepy.inference.rows.Row`, exception, or None for a source without support; seconds).
    duplicates : `~celestepy.inference.seed_table.SeedArrays`
        Seeds that were not fitted because others lie at the same places.
    engine : object
        With ``settings()`` and ``name``.
    interrupted : bool
        Whether the run was stopped.

    Returns
    -------
    Result
    """
    seeds, placement, prior = sweeps.seeds, sweeps.placement, sweeps.prior
    unfinished = (blank_row(Status.NOT_FITTED, "the run was interrupted before this source; run it again"), np.nan)
    rows = [fits.get(k, unfinished) for k in range(len(seeds))]
    kept = [k for k, (row, _) in enumerate(rows) if row is not None]
    index = np.array(kept, dtype=int)
    flags = np.concatenate([_seed_flags(placement, seeds, index), np.zeros(len(duplicates), dtype=int)])
    repeated = "another seed lies at the same place: the estimates are in its row"
    second = blank_row(Status.NOT_FITTED, repeated, Flag.DUPLICATE_SEED)
    table = [_as_row(rows[k][0]) for k in kept] + [second] * len(duplicates)
    seconds = np.array([rows[k][1] for k in kept] + [np.nan] * len(duplicates))
    position = [
        np.concatenate([getattr(seeds, name)[index], getattr(duplicates, name)]) for name in ("ids", "ra", "dec")
    ]
    order = np.argsort(position[0], kind="stable")
    ids, ra, dec = (part[order] for part in position)
    catalog, draws = _catalog([table[k] for k in order], ids, ra, dec, flags[order], prior, engine)
    scenes = {k: rows[k][0].scene for k in kept if getattr(rows[k][0], "scene", None) is not None}
    n_dropped = len(rows) - len(kept)
    return Result(catalog, engine.settings(), interrupted, n_dropped, seconds[order], placement, scenes, draws)


def _as_row(row):
    if isinstance(row, Exception):
        return blank_row(Status.FAILED, f"{type(row).__name__}: {row}", Flag.FAILED)
    return row


def _catalog(rows, ids, ra, dec, flags, prior, engine):
    defaults = {column.name: column.default for column in COLUMNS if not column.derived}
    columns = {name: np.array([row.columns.get(name, default) for row in rows]) for name, default in defaults.items()}
    columns |= dict(id=ids, flags=columns["flags"].astype(int) | flags)
    columns["message"] = np.array(list(map(remark, columns["message"].tolist(), columns["flags"].tolist())), dtype=str)
    meta = dict(method=engine.name, settings=engine.settings() | {"prior": prior.name})
    given = dict(ra=ra, dec=dec, bands=prior.bands, diagnostics=columns, meta=meta)
    if any(row.draws is not None for row in rows):
        draws = _joined_draws(rows, len(prior.bands))
        return Catalog.from_draws(draws, **given), draws
    posterior = Posterior.stack([row.components for row in rows], len(prior.bands))
    return Catalog.from_posterior(posterior, **given), None


def _joined_draws(rows, n_bands):
    """Draws of all rows; those of the same group keep together."""
    parts = [_own_draws(row, n_bands) if row.draws is None else row.draws for row in rows]
    return replace(Draws.join(parts, n_bands), group=np.array([row.group for row in rows]))


def _own_draws(row, n_bands):
    """Draws of a row that the engine made none for: of its Gaussians, or none."""
    if not row.components:
        return Draws.empty(n_bands)
    is_galaxy, theta = Posterior.stack([row.components], n_bands).draw(_N_DRAWS, np.random.default_rng(0))
    return Draws.from_weights(is_galaxy[0], theta[0])


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
        column = np.clip(np.rint(np.nan_to_num(x)), 0, nx - 1).astype(int)
        row = np.clip(np.rint(np.nan_to_num(y)), 0, ny - 1).astype(int)
        flags[inside & image.mask[row, column]] |= int(Flag.MASKED_CENTRE)
        if image.saturated is not None:
            flags[inside & _near_any(image.saturated, row, column)] |= int(Flag.SATURATED)
    return flags


def _near_any(mask, row, column, radius=3):
    """Whether any pixel of a mask is set within a few pixels of each position."""
    result = np.zeros(len(row), dtype=bool)
    for i, (y, x) in enumerate(zip(row, column, strict=True)):
        result[i] = mask[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].any()
    return result
