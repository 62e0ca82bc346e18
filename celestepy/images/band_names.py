"""Names of bands as users write them, and the images that have them."""

from celestepy.images.errors import ImageError

__all__ = ["band_names", "distinct", "selected"]


def band_names(bands):
    """Names of bands out of ``"gri"``, ``"g,r,i"`` or a sequence of names.

    Parameters
    ----------
    bands : str or sequence of str
        One letter for each band, names with commas between them, or the names.

    Returns
    -------
    tuple of str
        The names.

    Raises
    ------
    ImageError
        If there is none, or an empty one.
    """
    commas = isinstance(bands, str) and "," in bands
    names = tuple(name.strip() for name in bands.split(",")) if commas else tuple(bands)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ImageError(f"bands: {bands!r} has no name or an empty one, expected names such as gri or g,r,Ks")
    return names


def distinct(names):
    """Names of bands, none of which may come twice.

    Parameters
    ----------
    names : tuple of str
        The names.

    Returns
    -------
    tuple of str
        The same.

    Raises
    ------
    ImageError
        If one does.
    """
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ImageError(f"bands: {twice[0]!r} is given twice in {','.join(names)}, expected each band once")
    return names


def selected(images, names, origin):
    """The images of some bands, all of which have to be there.

    Parameters
    ----------
    images : list of `~celestepy.images.Image`
        The images.
    names : tuple of str or None
        Names from `band_names`; single letters may also be one long name. None for all bands.
    origin : object
        What the images were read from, for messages.

    Returns
    -------
    list of `~celestepy.images.Image`

    Raises
    ------
    ImageError
        If a band has no image or is given twice.
    """
    if names is None:
        return images
    present = dict.fromkeys(image.band for image in images)
    names = ("".join(names),) if "".join(names) in present else distinct(names)
    missing = [name for name in names if name not in present]
    if missing:
        raise ImageError(f"bands: no image of the band {missing[0]!r} in {origin}; it has {', '.join(present)}")
    return [image for image in images if image.band in names]
