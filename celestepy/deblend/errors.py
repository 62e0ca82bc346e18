"""What goes wrong in deblending, and what is worth a warning."""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ["DeblendError", "DeblendWarning"]


class DeblendError(ValueError):
    """An argument that no scene can be made of; the message names it, its value, what was expected and the remedy."""


class DeblendWarning(AstropyUserWarning):
    """Something that the scene can be made of, but that will cost accuracy."""
