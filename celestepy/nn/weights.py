"""Weight files: one ``.npz`` per network, half precision, with its description, its provenance and a checksum.

Entries of the archive: ``about``, a text in JSON with the keys ``format``, ``description`` (see
`celestepy.nn.architectures`), ``metadata`` and ``sha256``; and one array per name, float16. The checksum covers
the names, shapes and values of all arrays and the rest of ``about``. Nothing is pickled.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass, field

import numpy as np

from celestepy.nn.network import build_network

__all__ = ["NetworkFile", "WeightFileError", "load_network_file", "save_network_file"]

FORMAT = "celestepy network 1"
LARGEST = np.finfo(np.float16).max


class WeightFileError(ValueError):
    """A weight file is missing, damaged, or not one of ours; the message says which, and what to do."""


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """What a weight file holds.

    Parameters
    ----------
    description : dict
        Layers, for `~celestepy.nn.build_network`.
    arrays : dict of str to array
        The network's numbers, float16.
    metadata : dict
        Whatever JSON can hold: what the network is for, and where it comes from.
    constants : dict of str to array, optional
        Arrays that go with the network but are not part of it, float32; for example a mean image.
    """

    description: dict
    arrays: dict
    metadata: dict
    constants: dict = field(default_factory=dict)

    def build(self, dtype=np.float32):
        """Build the network in the given precision."""
        return build_network(self.description, self.arrays, dtype)


def _checksum(about, entries):
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(entries):
        array = np.ascontiguousarray(entries[name], entries[name].dtype.newbyteorder("<"))
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _half(name, array):
    array = np.asarray(array)
    if not np.all(np.abs(array) <= LARGEST):
        raise ValueError(f"array {name!r} has values that half precision cannot hold: beyond {LARGEST:g}, or NaN")
    return array.astype(np.float16)


def save_network_file(path, description, arrays, metadata, constants=None):
    """Write a weight file, in half precision.

    Parameters
    ----------
    path : str or path-like
        The file, ending in ``.npz``.
    description : dict
        Layers, as for `~celestepy.nn.build_network`.
    arrays : dict of str to array
        The network's numbers.
    metadata : dict
        Whatever JSON can hold.
    constants : dict of str to array, optional
        Arrays that go with the network, stored as float32.

    Returns
    -------
    sha256 : str
        The checksum.

    Raises
    ------
    ValueError
        If the arrays do not fit the description, or a number does not fit half precision.
    """
    build_network(description, arrays)
    entries = {f"array.{name}": _half(name, array) for name, array in arrays.items()}
    entries |= {f"constant.{name}": np.asarray(array, np.float32) for name, array in (constants or {}).items()}
    about = {"format": FORMAT, "description": description, "metadata": metadata}
    sha256 = _checksum(about, entries)
    with open(path, "wb") as stream:
        np.savez_compressed(stream, about=np.array(json.dumps(about | {"sha256": sha256})), **entries)
    return sha256


def _read(path):
    """All entries of an archive."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return dict(archive)
    except FileNotFoundError:
        raise WeightFileError(f"no weight file {path}; give the path of one, or reinstall the package") from None
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise WeightFileError(f"{path} is no weight file, or is damaged ({error}); copy or train it again") from None


def load_network_file(path):
    """Read a weight file and check it.

    Parameters
    ----------
    path : str or path-like
        A file written by `save_network_file`.

    Returns
    -------
    NetworkFile

    Raises
    ------
    WeightFileError
        If the file is missing, is not a weight file of this version, or was changed since it was written.
    """
    entries = _read(path)
    try:
        about = json.loads(str(entries.pop("about")))
        sha256 = about.pop("sha256")
        found = about["format"]
        description, metadata = about["description"], about["metadata"]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise WeightFileError(f"{path} is no weight file: it does not describe a network") from None
    if found != FORMAT:
        raise WeightFileError(f"{path} has the format {found!r}; this version reads {FORMAT!r}: update the package")
    if _checksum(about, entries) != sha256:
        raise WeightFileError(f"{path}: the checksum does not match its contents; copy or train it again")
    parts = {"array": {}, "constant": {}}
    for name, array in entries.items():
        group, _, rest = name.partition(".")
        if group not in parts:
            raise WeightFileError(f"{path} has an entry {name!r}; expected names that begin with array. or constant.")
        parts[group][rest] = array
    return NetworkFile(description, parts["array"], metadata, parts["constant"])
