"""Files: written so that a reader never finds half of one, read so that what is wrong with one is said."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Write a file whole or not at all, and return its path.

    `write` is called with a binary file opened for writing, a temporary one in the same folder. When it
    returns, the bytes are forced to disk and the temporary file takes the name `path` in one step. Until then
    `path` holds what it held before: whoever reads it, after an error or a kill at any moment, finds the old
    file or the new one. After a kill the temporary file, `.name.….partial`, may remain; it is safe to delete.

    Raises TypeError when `write` is not callable; FileNotFoundError when the folder of `path` does not
    exist; IsADirectoryError when `path` is a folder; PermissionError when what is there may not be replaced,
    which on Windows includes a file that is open; and whatever `write` raises: `path` is then untouched and
    the temporary file is gone.
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
        try:
            os.replace(partial, target)
        except PermissionError as error:
            refused = PermissionError(
                f"{str(target)!r} cannot be replaced ({error.strerror}); Windows allows it only when nothing "
                "has the file open: a TokenFile of it, for one, needs to be deleted first (del), or another "
                "name would do"
            )
            refused.errno = error.errno
            raise refused from None
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


# ---------------------------------------------------------------------------------------------- text and JSON


def read_text(path: str | os.PathLike[str]) -> str:
    r"""The text of a UTF-8 file, as it is on every system: without a byte-order mark, and lines end with \n.

    Raises FileNotFoundError when there is no such file, IsADirectoryError for a folder, ValueError for bytes
    that are no UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the path of a file")
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {str(path)!r}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 text: byte {error.start} cannot be read") from None


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file. Raises as `read_text` does, and ValueError for all but a whole object."""
    try:
        given = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is cut off, or no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{str(path)!r} holds a {type(given).__name__}; it needs one JSON object")
    return given


def write_json(path: str | os.PathLike[str], values: object) -> Path:
    """Write values as JSON, whole or not at all. Raises ValueError for nan and inf, which JSON lacks."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_atomically(path, lambda file: file.write(text.encode()))


# ---------------------------------------------------------------------------------------------------- tensors


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], about: Mapping[str, str]
) -> Path:
    """Write tensors and what is to be known about them, "format" among it, to one safetensors file.

    Whole or not at all, and the same bytes for the same contents.
    """
    metadata = {"about": json.dumps(about), "format": "pt"}  # transformers insists on the second
    content = safetensors.torch.save({name: each.contiguous() for name, each in tensors.items()}, metadata)
    # safetensors writes the two in an order that changes, so that equal models would make unequal files.
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = metadata
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(end - 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(memoryview(content)[end:])

    return write_atomically(path, write)


def read_tensors(path: str | os.PathLike[str], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file whose names begin with prefix, and what is noted about them.

    The second is empty where `write_tensors` did not write the file.
    Raises FileNotFoundError when there is no such file, ValueError when it is cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            about = _about(file.metadata() or {})
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a dict)
            # Copies, so that nothing depends on the file any more.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is cut off, or no safetensors file: {error}") from None
    return tensors, about


def _about(metadata: Mapping[str, str]) -> dict[str, str]:
    """What `write_tensors` noted; what others have under that name may be anything."""
    try:
        about = json.loads(metadata.get("about", "{}"))
    except (ValueError, RecursionError):
        return {}
    ours = isinstance(about, dict) and all(isinstance(value, str) for value in about.values())
    return about if ours else {}


def check_format(path: str | os.PathLike[str], about: Mapping[str, str], wanted: str) -> None:
    """Raise ValueError unless the file is of the format that is wanted."""
    if about.get("format") != wanted:
        raise ValueError(f"{str(path)!r} has the format {about.get('format')!r}; it needs {wanted!r}")
