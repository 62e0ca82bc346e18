"""Files that are written whole or not at all."""

import contextlib
import os
import secrets

__all__ = ["write_whole"]


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
