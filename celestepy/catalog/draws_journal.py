"""A file of records that is only ever appended to: whatever kills the program, what was finished is there.

Each record is a header (mark, length, checksum) and a payload. A record that was cut short by a crash can only
be the last one; it is cut off when the file is opened for writing again, and overlooked by readers.
"""

import io
import os
import struct
import zlib

import numpy as np

from celestepy.catalog.errors import CatalogError

__all__ = ["Journal", "pack", "unpack"]

_HEADER = struct.Struct("<8sQI")
_MARK = b"celestep"


class Journal:
    """Records appended one after the other.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is created with the first record.
    """

    def __init__(self, path):
        self.path = path
        self._end = None  # of the last whole record, once that is known

    def append(self, payload):
        """Write one record and hand it to the operating system; it is there whole, or not at all.

        Parameters
        ----------
        payload : bytes
            The record.

        Raises
        ------
        CatalogError
            If the disk is full or fails, the file ending with the record before; or if another program has
            written to the file.
        """
        if self._end is None:
            self._cut_off()
        record = _HEADER.pack(_MARK, len(payload), zlib.crc32(payload)) + payload
        try:
            with open(self.path, "ab", buffering=0) as stream:
                self._put(stream, record)
        except OSError as error:
            raise CatalogError(f"{self.path}: could not be written ({error.strerror or error}); the draws made so "
                               "far are safe in it: make room, and the same command goes on from there") from error
        self._end += len(record)

    def _cut_off(self):
        """Remove what a crash left of a record behind the last whole one."""
        self._end = max((end for _, end in self._records()), default=0)
        if self.path.exists():
            os.truncate(self.path, self._end)

    def _put(self, stream, record):
        if stream.seek(0, os.SEEK_END) != self._end:
            raise CatalogError(f"{self.path}: another program writes to it; let one of the two end, and give the other "
                               "another name")
        try:
            _write(stream, record)
        except BaseException:  # an interrupt too may come between two parts of a record
            stream.truncate(self._end)
            raise

    def records(self):
        """Yield the payload of each whole record, in the order of writing."""
        for payload, _ in self._records():
            yield payload

    def _records(self):
        if not self.path.exists():
            return
        with open(self.path, "rb") as stream:
            while True:
                header = stream.read(_HEADER.size)
                if len(header) < _HEADER.size:
                    return
                mark, length, checksum = _HEADER.unpack(header)
                payload = stream.read(length) if mark == _MARK else b""
                if mark != _MARK or len(payload) < length or zlib.crc32(payload) != checksum:
                    return
                yield payload, stream.tell()

    def sync(self):
        """Wait until what was written is on the disk."""
        if self.path.exists():
            with open(self.path, "rb") as stream:
                os.fsync(stream.fileno())

    def remove(self):
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        self._end = 0


def _write(stream, record):
    """Write all of a record, however much the system takes at a time."""
    written = 0
    while written < len(record):
        written += stream.write(memoryview(record)[written:])


def pack(**arrays):
    """Bytes that hold named arrays of numbers and text."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(payload):
    """The named arrays that `pack` was given, in a dict."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return dict(arrays)
