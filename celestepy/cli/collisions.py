"""No file that a run writes may be one that it reads, or be written twice: found out before the work begins."""

import os
from pathlib import Path

from celestepy.cli.console import CommandError
from celestepy.images.description import described_files
from celestepy.images.errors import ImageError

__all__ = ["check_collisions", "field_files"]


def check_collisions(written, read):
    """Refuse files to write that are one, or that the same run reads.

    Parameters
    ----------
    written : dict
        Path by name of the option, such as ``{"--output": "cat.fits"}``; None where an option is not given.
    read : sequence of (str, path-like)
        What is read: a word for it, and the file.

    Raises
    ------
    CommandError
        If two paths lead to one file, however they are spelled; the message names both.
    """
    written = [(option, path) for option, path in written.items() if path is not None]
    for place, (option, path) in enumerate(written):
        for other, same in written[:place]:
            if _is_one(path, same):
                raise CommandError(f"{path}: is the file of both {other} and {option}, and one would replace the "
                                   "other; give them different names")
        for word, same in read:
            if _is_one(path, same):
                raise CommandError(f"{path}: {option} would replace {word} of this run ({same}); choose another name")


def field_files(field):
    """Files that a field is read from.

    Parameters
    ----------
    field : path-like
        An SDSS directory, all whose files count, or a TOML description.

    Returns
    -------
    list of (str, pathlib.Path)
        As for `check_collisions`; nothing of a field that cannot be read, which the reader tells of.
    """
    path = Path(field)
    if path.is_dir():
        kinds = ("frame-", "psField-", "photoField-", "fpM-")
        return [("an image file", file) for file in path.iterdir() if file.name.startswith(kinds)]
    try:
        return [("the description", path), *(("an image file", file) for file in described_files(path))]
    except ImageError:
        return []


def _is_one(path, other):
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(path, other)  # hard links, and file systems that ignore case
    except OSError:
        return False
