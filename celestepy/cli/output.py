"""Files and folders that a command is going to write: checked before the work, rescued after it."""

import os
import tempfile
from pathlib import Path

from celestepy.catalog.files import check_output
from celestepy.cli.console import CommandError

__all__ = [
    "check_catalog_output",
    "check_file_output",
    "default_n_jobs",
    "prepare_directory",
    "write_catalog",
    "write_text",
]

ROOM = 1_000_000  # bytes
MOST_JOBS = 8


def check_catalog_output(path, overwrite, draws=None):
    """Make sure that a catalogue can be written, before it is made.

    Parameters
    ----------
    path : str
        The file.
    overwrite : bool
        Whether it may be replaced.
    draws : str, optional
        File of draws that goes with it; a catalogue that exists beside one is mostly that of a stopped run.

    Raises
    ------
    CommandError
        If it is a directory, or exists and may not be replaced.
    CatalogError, ImportError
        If it cannot be written, see `~celestepy.catalog.files.check_output`.
    """
    if Path(path).is_dir():
        example = Path(path) / "catalog.fits"
        raise CommandError(f"{path}: is a directory, expected a file; give one in it, such as {example}")
    if Path(path).is_file() and not overwrite:
        remedy = "choose another name, or replace it with --overwrite"
        if draws is not None and (Path(draws).exists() or Path(f"{draws}.journal").exists()):
            remedy = f"add --overwrite to continue (the draws in {draws} are kept), or choose another name"
        raise CommandError(f"{path}: exists already; {remedy}")
    parent = check_output(path, overwrite=True).parent
    try:
        _try_writing(parent)
    except OSError as error:
        raise CommandError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def check_file_output(path, overwrite, extensions):
    """Make sure that a small file can be written, before what goes into it is made.

    Parameters
    ----------
    path : str
        The file.
    overwrite : bool
        Whether it may be replaced.
    extensions : sequence of str
        What its name may end in.

    Raises
    ------
    CommandError
        If it ends otherwise, is a directory, exists and may not be replaced, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise CommandError(f"{path}: is a directory, expected a file; give one in it")
    if path.suffix.lower() not in extensions:
        raise CommandError(f"{path}: has the extension {path.suffix!r}, expected {' or '.join(extensions)}")
    if path.exists() and not overwrite:
        raise CommandError(f"{path}: exists already; choose another name, or replace it with --overwrite")
    try:
        _try_writing(path.parent)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def prepare_directory(path, overwrite=True, own=()):
    """Make a directory, and make sure that files can be written into it.

    Parameters
    ----------
    path : str
        The directory.
    overwrite : bool
        Whether it may hold files already.
    own : sequence of str
        Names of files that show that an earlier run of the same command has made the directory.

    Returns
    -------
    pathlib.Path
        The directory.

    Raises
    ------
    CommandError
        If it cannot be used.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        foreign = any(directory.iterdir()) and not (own and all((directory / name).is_file() for name in own))
        _try_writing(directory)
    except OSError as error:
        raise CommandError(
            f"{path}: cannot be written to ({error.strerror or error}); choose another directory"
        ) from error
    if foreign and not overwrite:
        raise CommandError(
            f"{path}: holds other files; choose an empty directory, or write into it, replacing files of the same "
            "names, with --overwrite"
        )
    return directory


def _try_writing(directory):
    """Write as much as a small catalogue needs into a file that vanishes: a disk may be full."""
    with tempfile.TemporaryFile(dir=directory) as stream:
        stream.write(bytes(ROOM))
        stream.flush()
        os.fsync(stream.fileno())


def write_catalog(catalog, path, word="the catalogue"):
    """Write a catalogue, and if that fails, write it to another place rather than lose it.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog` or `~celestepy.deblend.FieldModels`
        The catalogue, or whatever else is written by ``write(path, overwrite=)``.
    path : str
        The file.
    word : str, optional
        What it is called in messages.

    Raises
    ------
    CommandError
        If it had to be written elsewhere; the message says where.
    """
    try:
        catalog.write(path, overwrite=True)
    except (OSError, ValueError) as error:
        raise CommandError(f"{error}; {_rescue(catalog, path, word)}") from error


def _rescue(catalog, path, word):
    """Write a catalogue to a new directory wherever there is room, and say where."""
    for parent in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        try:
            rescued = Path(tempfile.mkdtemp(prefix="celestepy-", dir=parent)) / Path(path).name
        except OSError:
            continue
        try:
            catalog.write(rescued)
            return f"{word} was written to {rescued} instead"
        except (OSError, ValueError):
            rescued.parent.rmdir()
    return f"there was no room for {word} anywhere else either"


def write_text(path, text):
    """Write a small text file, or say in one line why not."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: could not be written ({error.strerror or error})") from error


def default_n_jobs():
    """Threads to use if nothing is said: the processors of this process, up to 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(available or 1, MOST_JOBS)
