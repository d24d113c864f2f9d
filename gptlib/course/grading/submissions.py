"""Find what a class handed in: notebooks in a folder or a zip, however a learning platform named them.

Nothing is unpacked to disk, and nothing is run. Names only ever become labels. What is in a notebook is read
elsewhere, by the function that `find_submissions` is given.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from gptlib.course.grading.answers import ReadNotebook
from gptlib.course.grading.cells import NoNotebook
from gptlib.course.grading.students import File, Student, students_of

LARGEST_NOTEBOOK = 20 * 2**20  # bytes
LARGEST_ZIP = 200 * 2**20  # one that lies in a folder or in another zip, and all that is in it
LARGEST_CLASS = 20 * 2**30  # of all files together, as a zip may hold more than it says
MOST_FILES = 20_000
IGNORED = {"__MACOSX", "__pycache__"}

Read = Callable[[bytes, str], ReadNotebook]  # of a file's bytes and name; it may raise NoNotebook


def find_submissions(where: Path, read: Read, leave_out: Path | None = None) -> list[Student]:
    """Everybody who handed something in, in the order of their names; whose files they are, `students` says.

    Raises FileNotFoundError if there is no such folder or zip, and ValueError if nothing is in it.
    """
    if not where.exists():
        raise FileNotFoundError(
            f"there is no folder or zip {str(where)!r}; give the one that holds what was handed in"
        )
    if where.is_dir():
        found = _in_folder(where, read, leave_out.resolve() if leave_out else None)
    elif zipfile.is_zipfile(where):
        found = _in_zip(where, read, ())
    elif where.suffix == ".ipynb":
        found = iter([_read_file(where, read, (where.name,))])
    else:
        raise ValueError(
            f"{str(where)!r} is none of what is graded; it needs to be a folder, a zip or a notebook (.ipynb)"
        )
    files = sorted(found, key=lambda file: [part.casefold() for part in file.path])
    if not files:
        raise ValueError(f"{str(where)!r} is empty; give the folder or zip that holds what was handed in")
    return students_of(files)


# ---------------------------------------------------------------------------------------------------- reading


def _in_folder(
    folder: Path, read: Read, leave_out: Path | None, above: tuple[str, ...] = ()
) -> Iterator[File]:
    for path in sorted(folder.iterdir()):
        where = (*above, _label(path.name))
        if _ignored(path.name) or path.resolve() == leave_out:
            continue
        if path.is_symlink():
            yield File(where, problem="it is a link, which is not followed")
        elif path.is_dir() and len(where) > 20:
            yield File(where, problem="it lies too deep")
        elif path.is_dir():
            below = list(_in_folder(path, read, leave_out, where))
            yield from below or [File((*where, ""), problem="the folder is empty")]
        elif path.is_file():
            yield from (
                _in_zip(path, read, where)
                if path.suffix.lower() == ".zip"
                else [_read_file(path, read, where)]
            )


def _read_file(path: Path, read: Read, where: tuple[str, ...]) -> File:
    try:
        if path.stat().st_size > LARGEST_NOTEBOOK:
            return File(where, problem=_too_large(path.stat().st_size))
        return _file(path.read_bytes(), read, where)
    except OSError as error:
        return File(where, problem=f"it cannot be read: {error.strerror}")


def _in_zip(source: Path | io.BytesIO, read: Read, above: tuple[str, ...], deep: int = 0) -> Iterator[File]:
    """The files in a zip; one that cannot be read is a file with a problem."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                yield File((*above, ""), problem=f"the zip holds more than {MOST_FILES:,} files")
                return
            room = LARGEST_ZIP if above else LARGEST_CLASS
            for entry in entries:
                parts = tuple(
                    _label(part) for part in re.split(r"[/\\]", entry.filename) if part not in ("", ".", "..")
                )
                if not parts or any(_ignored(part) for part in parts):
                    continue
                if stat.S_ISLNK(entry.external_attr >> 16):
                    yield File((*above, *parts), problem="it is a link, which is not followed")
                    continue
                nested = parts[-1].lower().endswith(".zip")
                most = min(room, LARGEST_ZIP if nested else LARGEST_NOTEBOOK)
                try:
                    with archive.open(entry) as file:
                        contents = file.read(most + 1)
                except (
                    zipfile.BadZipFile,
                    zlib.error,
                    RuntimeError,
                    NotImplementedError,
                    OSError,
                    EOFError,
                ) as error:
                    yield File((*above, *parts), problem=f"it cannot be read from the zip: {error}")
                    continue
                room -= len(contents)
                if len(contents) > most:
                    yield File((*above, *parts), problem=_too_large(max(entry.file_size, most + 1)))
                elif nested and deep < 2:
                    yield from _in_zip(io.BytesIO(contents), read, (*above, *parts), deep + 1)
                else:
                    yield _file(contents, read, (*above, *parts))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        yield File(above or ("",), problem=f"the zip cannot be read: {error}")


def _file(contents: bytes, read: Read, path: tuple[str, ...]) -> File:
    """The notebook in these bytes; what is none has a problem."""
    digest = sha256(contents).hexdigest()
    try:
        found = read(contents, path[-1])
    except NoNotebook as error:
        return File(path, digest, problem=str(error))
    problem = None if found.topic else "it cannot be told which notebook of the course it is"
    return File(path, digest, found.topic, found.answers, problem)


def _too_large(size: int) -> str:
    return f"it has {size / 2**20:,.0f} MB; at most {LARGEST_NOTEBOOK // 2**20} MB are read"


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _label(name: str) -> str:
    """A name that can be shown and written: no control characters, only Unicode, not too long."""
    name = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "�" for letter in name)[:200]
