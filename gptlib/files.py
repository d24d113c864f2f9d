"""Writing files so that a reader never finds half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Write a file whole or not at all, and return its path.

    `write` is called with a binary file opened for writing, a temporary one in the same folder. When it
    returns, the bytes are forced to disk and the temporary file takes the name `path` in one step. Until then
    `path` holds what it held before: whoever reads it, after an error or a kill at any moment, finds the old
    file or the new one. After a kill the temporary file, `.name.….partial`, may remain; it is safe to delete.

    Raises TypeError when `write` is not callable; FileNotFoundError when the folder of `path` does not
    exist; IsADirectoryError when `path` is a folder; and whatever `write` raises: `path` is
    then untouched and the temporary file is gone.
    """
    if not callable(write):
        raise TypeError(
            f"write is a {type(write).__name__}; it needs to be a function that takes an open binary file"
        )
    # A link is followed, so that the file it points to is replaced and the link stays a link.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"path is {str(path)!r}, a folder; it needs to be a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {str(target.parent)!r} does not exist; create it, then write {target.name!r}"
        )
    partial = target.with_name(f".{target.name}.{secrets.token_hex(6)}.partial")
    try:
        with open(partial, "xb") as file:
            write(file)
            file.flush()
            # Without fsync a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(partial, target.stat().st_mode & 0o777)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    return Path(path)


def _sync_folder(folder: Path) -> None:
    """Force the renaming itself to disk, where the platform can (Windows cannot open a folder)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems refuse to sync a folder; the file itself is safe.
        pass
    finally:
        os.close(descriptor)
