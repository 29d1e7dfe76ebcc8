"""Unpacking of tar archives that users bring. Never writes outside of the directory that is asked for."""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path

from backports import tarfile  # Debian 12's Python has no extraction filters

CHUNK_BYTES = 1 << 20


class ArchiveError(Exception):
    """An archive cannot be used; the text goes on after its name."""


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive of any compression into `directory`, which is made if need be.

    It is read to its end, so that a checksum that does not fit is noticed. Raises ArchiveError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="data")
            while tar.fileobj.read(CHUNK_BYTES):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ArchiveError(f"cannot be unpacked: {error}") from error
    if not any(directory.iterdir()):
        raise ArchiveError("is empty")
