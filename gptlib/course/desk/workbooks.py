"""The reader's own copies of the notebooks, in work/, and how they take in what the course changes.

work/04_attention.ipynb           the reader's
work/.course/04_attention.ipynb   the course's version that it came from, without outputs
work/.course/04_attention.before.ipynb   the one before, should JupyterLab save an old copy over a new one
work/backups/04_attention.….ipynb what an update found there, byte for byte

An update looks at three versions of each cell: the one that the reader's came from, the reader's, and the
course's of today. What only one side changed is taken from that side. What both changed stays the reader's,
and the course's new text is shown above it. A notebook that the course has renamed is renamed in work/ first.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from gptlib.course.desk.renaming import FORMER_NAMES, rename
from gptlib.course.prose import find_notebook, notebook_paths, topic_of
from gptlib.files import write_atomically
from gptlib.places import way_back

Cell = dict[str, Any]
Notebook = dict[str, Any]

NOTE_PREFIX = "update-of-"
LONGEST_ID = 64
FORMAT = {"nbformat": 4, "nbformat_minor": 5}


@dataclass(frozen=True)
class Done:
    """What became of one workbook, and a sentence that says so."""

    path: Path
    action: Literal["made", "kept", "updated", "current", "set aside", "absent", "renamed", "not renamed"]
    sentence: str


@dataclass(frozen=True)
class Changes:
    """How many of the course's cells an update changed in a reader's notebook."""

    revised: int = 0  # the reader had left them as they were
    new: int = 0
    gone: int = 0
    restored: int = 0  # the reader had deleted them
    disputed: int = 0  # changed by both

    def __str__(self) -> str:
        said = [
            (self.revised, "brought up to date"),
            (self.new, "new"),
            (self.gone, "gone from the course"),
            (self.restored, "back that you had deleted"),
            (self.disputed, "changed by you and by the course (yours runs, the course's stands above it)"),
        ]
        parts = [f"{count} {what}" for count, what in said if count]
        return (
            f"of its cells {', '.join(parts)}" if parts else "its order, outputs or settings are the course's"
        )


# ------------------------------------------------------------------------------------------------- the verbs


def start(notebooks: Path, work: Path, names: Sequence[str] = ()) -> list[Done]:
    """Copy the course's `notebooks` to the reader's folder `work`, without outputs: those of `names`, or all.

    A name is a topic, "attention", a file's name, "04_attention", or a number, "4" or "04". A workbook that
    is there is kept, under its new name if the course has renamed its notebook.

    Raises ValueError when a name names no notebook, or a notebook of the course is damaged; OSError when
    work/ cannot be written, or the disk is full; the message says which, and what would do.
    """
    chosen = _chosen(notebooks, names)
    done = _rename_all(notebooks, work)
    for notebook in chosen:
        workbook, base = work / notebook.name, work / ".course" / notebook.name
        with _said_plainly(workbook):
            done.append(_start_one(notebook, workbook, base))
    return done


def update(notebooks: Path, work: Path, names: Sequence[str] = ()) -> list[Done]:
    """Bring what the course changed into the workbooks of `names`, or into all that were started.

    The reader's changes are carried over by cell id, as `merge` says; cells of the course's that the reader
    deleted come back. A file that is no notebook is set aside, byte for byte, for a fresh copy. Before a
    workbook is written its bytes go to work/backups/; if nothing would change, nothing is written. After a
    kill at any moment a workbook is whole, the old or the new one, and the next update goes on from there.

    Raises as `start` does.
    """
    chosen = _chosen(notebooks, names)
    done = _rename_all(notebooks, work)
    for notebook in chosen:
        workbook, base = work / notebook.name, work / ".course" / notebook.name
        with _said_plainly(workbook):
            if os.path.lexists(workbook):
                done.append(_update_one(notebook, workbook, base))
            elif names:
                verb = f"gptlib start {topic_of(notebook)}"
                done.append(
                    Done(workbook, "absent", f"{_name(workbook)} is not there yet: `{verb}` makes it")
                )
    return done


def _rename_all(notebooks: Path, work: Path) -> list[Done]:
    """Give the reader's files of notebooks that the course has renamed their new names."""
    new_names = {topic_of(notebook): notebook.stem for notebook in notebook_paths(notebooks)}
    done = []
    for old, topic in FORMER_NAMES.items():
        new = new_names.get(topic, old)
        before, now = work / f"{old}.ipynb", work / f"{new}.ipynb"
        if new == old or not os.path.lexists(before):
            continue
        with _said_plainly(now):
            try:
                rename(work, old, new)
            except FileExistsError:
                sentence = (
                    f"{_name(before)} is now called {now.name} in the course, and {_name(now)} is there too; "
                    f"both stay. Give the one that you want to go on with the name {now.name} and the other "
                    "a name of your own, and update again"
                )
                done.append(Done(before, "not renamed", sentence))
                continue
        sentence = (
            f"{_name(before)} is now called {_name(now)}, as in the course; if it is open, open it anew"
        )
        done.append(Done(now, "renamed", sentence))
    return done


def _start_one(notebook: Path, workbook: Path, base: Path) -> Done:
    if os.path.lexists(workbook):
        return Done(workbook, "kept", f"{_name(workbook)} is there already, and stays as you left it")
    contents = serialize(readers_copy(notebook))
    # The base first: a workbook without one could not tell the reader's changes from the course's.
    _write(base, contents)
    _write(workbook, contents)
    return Done(workbook, "made", f"{_name(workbook)} is yours")


def _update_one(notebook: Path, workbook: Path, base: Path) -> Done:
    found, theirs = workbook.read_bytes(), readers_copy(notebook)
    contents = serialize(theirs)
    mine = parse(found)
    if mine is None:
        aside = _keep(workbook.parent, f"{workbook.stem}.unreadable", ".txt", found)
        _replace(workbook, found, contents)
        _write(base, contents)
        sentence = f"{_name(workbook)} could not be read as a notebook. It is kept, byte for byte, as "
        return Done(workbook, "set aside", f"{sentence}{_name(aside)}; a fresh copy stands in its place")

    kept = base.read_bytes() if base.is_file() else b""
    merged, changes = merge(_origin(mine, base, kept), mine, theirs)
    if found == kept or merged == theirs:
        new = contents
    else:
        new = serialize(merged)
    if new == found or merged == mine:
        _write_base(base, kept, contents)
        return Done(workbook, "current", f"{_name(workbook)} is up to date")
    backup = _keep(workbook.parent / "backups", workbook.stem, ".ipynb", found)
    _replace(workbook, found, new)
    # The base last: with the old one the same update, done again, gives the same workbook.
    _write_base(base, kept, contents)
    sentence = f"{_name(workbook)} is updated: {changes}. As it was: {_name(backup.parent)}/{backup.name}"
    return Done(workbook, "updated", sentence)


def _origin(mine: Notebook, base: Path, kept: bytes) -> Notebook | None:
    """The version of the course that the reader's notebook came from: of the last two the one that more of
    its cells are from. It is the older one after JupyterLab saved what it had open over an updated file.
    """
    versions = [parse(kept)]
    if _before(base).is_file():
        versions.append(parse(_before(base).read_bytes()))
    texts = {cell.get("id"): _text(cell) for cell in mine["cells"]}
    candidates = [with_ids(version) for version in versions if version]
    return max(
        candidates,
        key=lambda version: sum(texts.get(cell["id"]) == _text(cell) for cell in version["cells"]),
        default=None,
    )


def _before(base: Path) -> Path:
    return base.with_suffix(".before.ipynb")


def _write_base(base: Path, kept: bytes, contents: bytes) -> None:
    if kept and kept != contents:
        _write(_before(base), kept)
    _write(base, contents)


# ----------------------------------------------------------------------------------------------- the merging


def merge(base: Notebook | None, reader: Notebook, course: Notebook) -> tuple[Notebook, Changes]:
    """The course's notebook with everything that the reader wrote, and what is new in it for the reader.

    The three are as `parse` gives them, `base` and `course` with ids (`with_ids`); `base` is the version of
    the course that the reader's came from, or None if that is not known. Nothing given is changed.

    - The order is the course's. A cell of the course's that the reader left alone takes the new text; one
      that only the reader changed keeps the reader's; one that both changed keeps the reader's, under a
      Markdown cell that shows the course's new text. That one goes when the two agree again.
    - The reader's own cells stay behind the cell of the course's that they followed. So do cells that the
      course removed and the reader had changed, and all but the first of several cells with one id.
    - A cell of the course's that the reader deleted comes back: it may have been an accident.
    - A cell without an id is taken for the course's cell of the very same text that has no other.
    - Metadata, and attachments of a text that is not the reader's, are merged key by key in the same way.
    - Outputs belong to a source: a new source brings the course's; else those that the reader got are kept.
    """
    known = {cell["id"]: cell for cell in base["cells"]} if base else {}
    wanted = {cell["id"]: cell for cell in course["cells"]}
    taken, notes, behind, gone = _sorted_out(reader["cells"], known, wanted)
    cells = list(behind[None])
    revised = new = restored = disputed = 0
    for name, theirs in wanted.items():
        mine, old = taken.get(name), known.get(name)
        if mine is None:
            new, restored = new + (old is None), restored + (old is not None)
            cells.append(theirs)
        else:
            differs = _text(mine) != _text(theirs)
            readers = differs and (old is None or _text(mine) != _text(old))
            both = readers and (old is None or _text(theirs) != _text(old))
            note = _note_on(theirs)
            # A note that the reader deleted stays away until the course changes the cell again.
            if both or (readers and name in notes):
                cells.append({**notes.get(name, note), "source": note["source"]})
            disputed += both and _text(notes.get(name, mine)) != _text(note)
            revised += differs and not readers
            cells.append(_merged_cell(old, mine, theirs, readers))
        cells += behind[name]
    metadata = _three_way(base and base["metadata"], reader["metadata"], course["metadata"])
    return {**course, "metadata": metadata, "cells": cells}, Changes(revised, new, gone, restored, disputed)


def _sorted_out(
    cells: list[Cell], known: dict[str, Cell], wanted: dict[str, Cell]
) -> tuple[dict[str, Cell], dict[str, Cell], dict[str | None, list[Cell]], int]:
    """The reader's cells in three heaps: the reader's version of each cell of the course's, by its id; the
    notes of updates, by the id of the cell that they are on; the reader's own, by the id of the cell of the
    course's that they follow (None: at the top). And how many were left out, since the course removed them.
    """
    note_names = {_note_id(name): name for name in {**known, **wanted}}
    # An own cell with an id of the course's of yesterday would be mixed up, were this update done again.
    ids = {*known, *wanted, *note_names}
    others = {cell["id"] for cell in cells if "id" in cell}
    taken: dict[str, Cell] = {}
    notes: dict[str, Cell] = {}
    behind: dict[str | None, list[Cell]] = defaultdict(list)
    gone, anchor = 0, None
    for cell, origin in zip(cells, _origins(cells, known, wanted), strict=True):
        noted = note_names.get(cell.get("id", ""))
        if origin in wanted:
            taken[origin], anchor = cell, origin
        elif origin is not None and _text(cell) == _text(known[origin]):
            gone += 1
        elif origin is not None:
            behind[anchor].append(cell)
        elif noted and noted not in notes and _is_note(cell, known.get(noted), wanted.get(noted)):
            notes[noted] = cell
        else:
            name = cell.get("id")
            if name is None or name in ids:
                name = _fresh_id(name or "own", ids | others)
            ids.add(name)
            behind[anchor].append({**cell, "id": name})
    return taken, notes, behind, gone


def _text(cell: Cell) -> tuple[str, str]:
    return cell["cell_type"], cell["source"]


def _origins(cells: list[Cell], known: dict[str, Cell], wanted: dict[str, Cell]) -> list[str | None]:
    """For each of the reader's cells the id of the course's cell that it is; None for the reader's own."""
    free = {**wanted, **known}
    origins: list[str | None] = []
    for cell in cells:
        name = cell.get("id")
        origins.append(name if free.pop(name, None) else None)
    for index, cell in enumerate(cells):
        if origins[index] is None:
            # A program may give every cell a new id. Taken for the course's is only what then loses nothing.
            versions = (wanted,) if "id" in cell else (known, wanted)
            same = (
                name
                for name in free
                if any(name in version and _text(version[name]) == _text(cell) for version in versions)
            )
            origins[index] = next(same, None)
            free.pop(origins[index], None)
    return origins


def _merged_cell(old: Cell | None, mine: Cell, theirs: Cell, readers: bool) -> Cell:
    """The course's cell `theirs` with what the reader did to it; with the reader's text, if `readers`."""
    cell = {**(mine if readers else theirs), "id": theirs["id"]}
    cell["metadata"] = _three_way(old and old["metadata"], mine["metadata"], theirs["metadata"])
    if readers:
        return cell
    if cell["cell_type"] == "code":
        if _text(mine) == _text(theirs) and (old is None or _results(mine) != _results(old)):
            cell |= _results(mine)
        return cell
    kept = _three_way(
        old and old.get("attachments", {}), mine.get("attachments", {}), cell.get("attachments", {})
    )
    return {**cell, "attachments": kept} if kept or "attachments" in cell else cell


def _results(cell: Cell) -> dict[str, Any]:
    return {key: cell.get(key) for key in ("outputs", "execution_count")}


def _three_way(base: dict[str, Any] | None, reader: dict[str, Any], course: dict[str, Any]) -> dict[str, Any]:
    """Key by key the reader's value where the reader changed it, else the course's."""
    merged = {}
    for key in {**course, **reader}:
        if base is None:
            source = reader if key in reader else course
        else:
            untouched = (key in base) == (key in reader) and base.get(key) == reader.get(key)
            source = course if untouched else reader
        if key in source:
            merged[key] = source[key]
    return merged


def _note_on(theirs: Cell) -> Cell:
    """The Markdown cell that shows the course's version of a cell above the reader's."""
    text = theirs["source"]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    language = {"code": "python", "markdown": "markdown"}.get(theirs["cell_type"], "")
    source = (
        "**The course has another version of the cell below.** Yours was kept, and is the one that runs. "
        f"The course's now reads:\n\n{fence}{language}\n{text}\n{fence}\n\n"
        "Take from it what you like, then delete this cell."
    )
    return {"cell_type": "markdown", "id": _note_id(theirs["id"]), "metadata": {}, "source": source}


def _is_note(cell: Cell, *versions: Cell | None) -> bool:
    """Whether the cell is a note as an update wrote it; one that the reader wrote into is the reader's."""
    return any(version is not None and _text(cell) == _text(_note_on(version)) for version in versions)


def _note_id(name: str) -> str:
    """The id of the note on a cell; at most as long as an id may be."""
    if len(NOTE_PREFIX + name) > LONGEST_ID:
        name = sha256(name.encode()).hexdigest()[:16]
    return NOTE_PREFIX + name


def _fresh_id(name: str, taken: set[str]) -> str:
    """The first of name-2, name-3, … that nobody has."""
    number = 2
    while (fresh := f"{name[: LONGEST_ID - 10]}-{number}") in taken:
        number += 1
    return fresh


# -------------------------------------------------------------------------------------------- the file format


def parse(contents: bytes) -> Notebook | None:
    """The notebook in the bytes of a file, each source one string; None if there is none of format 4.

    An id that the format does not allow is left out. Of a cell that the format does not allow, its type and
    text are kept, which is what a person wrote.
    """
    try:
        notebook = json.loads(contents)
    except (ValueError, RecursionError):
        return None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        return None
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        return None
    parsed = [_parse_cell(cell) for cell in cells]
    if None in parsed:
        return None
    empty = {**FORMAT, "cells": []}
    metadata = notebook.get("metadata", {})
    return {**empty, "metadata": metadata if _valid({**empty, "metadata": metadata}) else {}, "cells": parsed}


def _parse_cell(cell: Any) -> Cell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return None
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    bare: Cell = {"cell_type": cell["cell_type"], "metadata": {}, "source": source}
    if cell["cell_type"] == "code":
        bare |= {"execution_count": None, "outputs": []}
    parsed = {**bare, **cell, "source": source, "id": "any"}
    if not _valid({**FORMAT, "metadata": {}, "cells": [parsed]}):
        parsed = bare
    parsed.pop("id", None)
    name = cell.get("id")
    if isinstance(name, str) and re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{LONGEST_ID}}}", name):
        parsed["id"] = name
    return parsed


def _valid(notebook: Notebook) -> bool:
    import nbformat

    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError:
        return False
    return True


def with_ids(notebook: Notebook) -> Notebook:
    """The notebook with an id of its own for each cell; the same ids for the same notebook, always."""
    taken = {cell["id"] for cell in notebook["cells"] if "id" in cell}
    seen: set[str] = set()
    cells = []
    for cell in notebook["cells"]:
        name = cell.get("id", "cell")
        if "id" not in cell or name in seen:
            name = _fresh_id(name, taken)
            taken.add(name)
        seen.add(name)
        cells.append({**cell, "id": name})
    return {**notebook, "cells": cells}


def serialize(notebook: Notebook) -> bytes:
    """The bytes of the notebook's file, laid out as Jupyter does."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    text = json.dumps({**notebook, "cells": cells}, ensure_ascii=False, indent=1, sort_keys=True)
    # Half of a surrogate pair has no bytes in UTF-8; as an escape, which is what JSON calls it, it survives.
    return (text + "\n").encode(errors="backslashreplace")


# -------------------------------------------------------------------------------------------------- the files


def _chosen(folder: Path, names: Sequence[str]) -> list[Path]:
    """The course's notebooks in `folder` of these names, or all, in order."""
    notebooks = notebook_paths(folder)
    if not notebooks:
        raise FileNotFoundError(f"{str(folder)!r} holds no notebooks; is the course there?")
    return sorted({find_notebook(name, folder) for name in names}) or notebooks


def readers_copy(notebook: Path) -> Notebook:
    """The course's notebook as readers get it: without outputs, which would answer what it asks."""
    theirs = parse(notebook.read_bytes())
    if theirs is None:
        name = _name(notebook)
        raise ValueError(f"{name} is damaged; {way_back(name)}; your own copy was not touched")
    bare = {"outputs": [], "execution_count": None}
    cells = [{**cell, **bare} if cell["cell_type"] == "code" else cell for cell in theirs["cells"]]
    return with_ids({**theirs, "cells": cells})


def _write(path: Path, contents: bytes) -> None:
    """Writes the file, in a folder that is made if need be, unless it holds these bytes already."""
    if path.is_file() and path.read_bytes() == contents:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(contents))


def _replace(workbook: Path, found: bytes, contents: bytes) -> None:
    """Writes the workbook, unless it is no longer as it was found: then somebody is saving it."""

    def write(file: Any) -> None:
        if workbook.read_bytes() != found:
            raise OSError(
                f"{_name(workbook)} was saved during its update, and stays as it was saved; update again"
            )
        file.write(contents)

    write_atomically(workbook, write)


def _keep(folder: Path, stem: str, suffix: str, contents: bytes) -> Path:
    """Writes the bytes to a new file with the time in its name, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
    number = 1
    while True:
        again = f"_{number}" if number > 1 else ""
        path = folder / f"{stem}.{moment}{again}{suffix}"
        try:
            # The name is taken first, and in one step, so that no other backup can be written over.
            path.open("xb").close()
        except FileExistsError:
            number += 1
            continue
        try:
            write_atomically(path, lambda file: file.write(contents))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def _name(path: Path) -> str:
    """A file's name as it is said: its folder and its own."""
    return f"{path.parent.name}/{path.name}"


@contextmanager
def _said_plainly(workbook: Path) -> Iterator[None]:
    """Turns an error of the system into a sentence that says what would do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        work = workbook.parent
        where = str(error.filename or work)
        if where.endswith(".partial"):
            where = str(Path(where).parent)
        if work.exists() and not work.is_dir():
            said = (
                f"{str(work)!r} needs to be a folder for your notebooks, and is a file; give it another name"
            )
        elif error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            said = "the disk is full: make room, and try again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            said = (
                f"{where!r} cannot be read or written by you: change its permissions, or close the program "
                "that has a file in it open, and try again"
            )
        else:
            said = f"{where!r}: {error.strerror}"
        raise type(error)(f"{said}; nothing that you wrote is lost") from error
