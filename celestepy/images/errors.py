"""The errors and warnings of the images room."""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ["CalibrationWarning", "ImageError", "PSFResidualWarning", "SkyWarning", "one_line"]


class ImageError(ValueError):
    """An image, PSF, noise model or file that cannot be used as given.

    The message is one line: what is wrong, the value found, what was expected, and the remedy.
    """


class CalibrationWarning(AstropyUserWarning):
    """A quantity that should be measured on an image could not be, and a stated value was taken instead."""


class PSFResidualWarning(AstropyUserWarning):
    """The mixture of Gaussians misses a large part of the PSF it was fitted to."""


class SkyWarning(AstropyUserWarning):
    """The stated sky of an image cannot be that of its pixels."""


def one_line(error):
    """The message of any exception on a single line, for quoting inside an `ImageError`.

    Parameters
    ----------
    error : Exception
        Any exception.

    Returns
    -------
    str
        Its message, or its kind where it has none.
    """
    return " ".join(str(error).split()) or type(error).__name__
