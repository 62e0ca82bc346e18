"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path

__all__ = ["checked_destination", "write_or_say_why", "write_whole"]


def checked_destination(path, overwrite, error):
    """Make sure that a file can be written, before what goes into it is made.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether an existing file may be replaced.
    error : type
        Exception to raise.

    Returns
    -------
    `~pathlib.Path`
        With symbolic links resolved.

    Raises
    ------
    error
        If the directory is missing or not writable, or the file exists.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise error(f"{path}: its directory does not exist; create {path.parent} first")
    if path.is_dir():
        raise error(f"{path}: is a directory; give the name of a file")
    if path.exists() and not overwrite:
        raise error(f"{path}: exists already; choose another name or allow it to be overwritten (overwrite=True)")
    if not os.access(path.parent, os.W_OK):
        raise error(f"{path}: no permission to write to {path.parent}; choose another directory")
    return path


def write_or_say_why(path, content, what, error):
    """`write_whole`, with an error that says what to do.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file to be.
    content : bytes
        All of it.
    what : str
        What it is.
    error : type
        Exception to raise.

    Raises
    ------
    error
        If the disk is full or fails.
    """
    try:
        write_whole(path, content)
    except OSError as failure:
        raise error(f"{path}: could not be written ({failure.strerror or failure}); nothing there was changed, write "
                    f"the {what} again to a place with room for it") from failure


def write_whole(path, content):
    """Write a file under a temporary name beside its destination, and rename it.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file to be. One that exists is replaced by the whole content, or stays as it was.
    content : bytes
        All of it.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # no longer than any name that is allowed
    try:
        with open(partial, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
