"""What may happen to a source, as codes in the ``status`` and ``flags`` columns and in words."""

from enum import IntEnum, IntFlag

__all__ = ["FLAG_MEANING", "STATUS_MEANING", "Flag", "Status", "describe_flags"]


class Status(IntEnum):
    """What became of the fit of a source."""

    CONVERGED = 0
    NOT_CONVERGED = 1
    FAILED = 2
    NO_PIXELS = 3
    NOT_FITTED = 4
    FIRST_FIT = 5


class Flag(IntFlag):
    """Bits of the ``flags`` column; 0 means that nothing was noticed."""

    SATURATED = 1
    EDGE = 2
    MASKED_CENTRE = 4
    BLENDED = 8
    GROUP_WINDOWED = 16
    NOT_CONVERGED = 32
    RADIUS_AT_BOUND = 64
    LOW_SNR = 128
    DUPLICATE_SEED = 256
    EXISTENCE_DOUBTFUL = 512
    FAILED = 1024
    STAR_FAILED = 2048
    GALAXY_FAILED = 4096
    BAND_MISSING = 8192
    FROM_RESIDUAL = 16384
    POOR_MODEL = 32768
    POSITION_AT_BOUND = 65536
    DRAWS_UNRELIABLE = 131072


STATUS_MEANING = {
    Status.CONVERGED: "the fit converged: estimates and errors can be used",
    Status.NOT_CONVERGED: "stopped at the limit of iterations or of the position: `message` says which",
    Status.FAILED: "no estimate: every column of the fit is NaN and `message` says why",
    Status.NO_PIXELS: "no estimate: no unmasked pixel near the seed in any image",
    Status.NOT_FITTED: "no estimate: the run ended before it, or another seed lies at its place",
    Status.FIRST_FIT: "the run ended after a first fit as a galaxy: fluxes can be used, the type is unknown",
}

FLAG_MEANING = {
    Flag.SATURATED: "saturated pixels within the patch belong to this source",
    Flag.EDGE: "the patch is cut by the edge of an image",
    Flag.MASKED_CENTRE: "the pixel at the centre is masked in some image",
    Flag.BLENDED: "fitted together with neighbours: their errors are included in this row's",
    Flag.GROUP_WINDOWED: "the group was too large for one fit and was fitted in overlapping windows",
    Flag.NOT_CONVERGED: "a fit of either type stopped before it converged",
    Flag.RADIUS_AT_BOUND: "the galaxy is larger than its patch: its radius and fluxes are extrapolated",
    Flag.LOW_SNR: "too faint for the colours or the shape to say more than the prior",
    Flag.DUPLICATE_SEED: "another seed lies at the same place: its row has the estimates",
    Flag.EXISTENCE_DOUBTFUL: "the images are explained about as well without this source",
    Flag.FAILED: "no usable fit of either type; `status` and `message` say why",
    Flag.STAR_FAILED: "the star fit failed and the galaxy fit alone is reported",
    Flag.GALAXY_FAILED: "the galaxy fit failed and the star fit alone is reported",
    Flag.BAND_MISSING: "no unmasked pixel in at least one band: its flux and colours are the prior's guess",
    Flag.FROM_RESIDUAL: "not among the seeds: found in the residual or by splitting another source",
    Flag.POOR_MODEL: "the residuals are larger than the noise explains",
    Flag.POSITION_AT_BOUND: "drawn away from its seed: probably by a brighter source beside it without a seed",
    Flag.DRAWS_UNRELIABLE: "the draws describe the posterior badly; see `message` and pareto_k",
}


def describe_flags(flags):
    """Say in words what the bits of ``flags`` mean.

    Parameters
    ----------
    flags : int
        Value of the ``flags`` column of one row.

    Returns
    -------
    list of str
        ``"NAME: meaning"`` for each bit that is set.

    Examples
    --------
    >>> from celestepy.catalog.flags import Flag, describe_flags
    >>> describe_flags(Flag.EDGE | Flag.BLENDED)[0]
    'EDGE: the patch is cut by the edge of an image'
    """
    return [f"{flag.name}: {meaning}" for flag, meaning in FLAG_MEANING.items() if int(flags) & flag]
