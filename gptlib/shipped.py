"""The trained models in data/: every file is held to its checksum in data/SHA256SUMS before it is used.

data/SHA256SUMS                      a line for each file: sha256, two spaces, path below data/
data/<name>/                         a model's folder, as `gptlib.formats.folders` reads it, and beside that
data/<name>/training_log.json        lists of numbers by name, such as step and loss
data/<name>/snapshots/step_….safetensors   the weights along the training, in half precision

`gptlib.load` opens the models; here is what only those need who look at a model's training, or ship one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from gptlib.files import read_tensors, write_atomically, write_json
from gptlib.formats.folders import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    build,
    read_config,
    write_folder,
    write_snapshot,
)
from gptlib.formats.hub import published
from gptlib.formats.layouts import OWN
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.places import course_root, way_back, way_back_to_line_endings
from gptlib.text.tokenizer import Tokenizer

CHECKSUMS = "SHA256SUMS"
LOG = "training_log.json"
SNAPSHOTS = "snapshots"
MEND = way_back("data")


def data_folder() -> Path:
    """The folder data/, where the trained models are."""
    return course_root() / "data"


def is_model_name(name: str) -> bool:
    """Whether `gptlib.load` takes this for the name of a model, shipped or published, and not for a path."""
    if published(name) is not None:
        return True
    # Where data/ itself is harmed, paths can still be opened.
    return _is_name(name) and (data_folder() / CHECKSUMS).is_file() and name in model_names()


def model_names() -> list[str]:
    """The models that are in data/. Raises FileNotFoundError or ValueError when its checksums are harmed."""
    return sorted(path.split("/")[0] for path in _read_checksums() if path.endswith(f"/{CONFIG}"))


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) is not None


def model_folder(name: str) -> Path:
    """Where the model of this name is."""
    return data_folder() / name


def check_shipped(path: Path) -> None:
    """Raise unless the model's folder, or the file, at path is as its checksums say, where it has some."""
    path, folder = path.resolve(), data_folder().resolve()
    if not path.is_relative_to(folder) or path == folder:
        return
    listed, here = _read_checksums(), path.relative_to(folder).as_posix()
    if here in listed:
        read_checked(here, listed)
    elif f"{here}/{CONFIG}" in listed:
        for name in (CONFIG, WEIGHTS, TOKENIZER):
            read_checked(f"{here}/{name}", listed)


def load_snapshots(name: str = "storyteller") -> list[tuple[int, GPT]]:
    """The model along its training: (step, model) pairs, by step.

    Raises ValueError for an unknown name, with those there are, or for a file that is not as its checksum
    says; FileNotFoundError for a missing file.
    """
    _check_name(name)
    config = read_config(json.loads(read_checked(f"{name}/{CONFIG}")), f"data/{name}/{CONFIG}")[1]
    pattern = re.compile(rf"{re.escape(name)}/snapshots/step_(\d+)\.safetensors")
    found = [(int(match[1]), path) for path in _read_checksums() if (match := pattern.fullmatch(path))]
    if not found:
        raise FileNotFoundError(f"data/{CHECKSUMS} lists no data/{name}/snapshots/step_….safetensors; {MEND}")
    return [(step, _snapshot(path, config)) for step, path in sorted(found)]


def _snapshot(path: str, config: GPTConfig) -> GPT:
    read_checked(path)
    tensors, _ = read_tensors(data_folder() / path)
    try:
        return build(OWN, config, tensors, f"data/{path}")
    except ValueError as error:
        raise ValueError(f"{error}; {MEND}") from None


def training_log(name: str = "storyteller") -> dict[str, np.ndarray]:
    """The numbers noted while the model was trained, by name; what was not measured is nan.

    Raises as `load_snapshots` does.
    """
    _check_name(name)
    log = json.loads(read_checked(f"{name}/{LOG}"))
    return {
        key: np.array([np.nan if number is None else number for number in row]) for key, row in log.items()
    }


def verify_data() -> list[str]:
    """One line for each thing that is wrong with data/, with how to mend it; none when all is well."""
    try:
        listed = _read_checksums()
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    problems = []
    for path in listed:
        try:
            read_checked(path, listed)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return problems


def write_checksums() -> Path:
    """Write data/SHA256SUMS anew, from all files below data/ but READMEs and hidden ones. Returns its path.

    For the person who made the files: whoever only uses them has no need of it.
    Raises FileNotFoundError when there is no data folder.
    """
    folder = data_folder()
    if not folder.is_dir():
        raise FileNotFoundError(f"the data folder {folder} is missing; {MEND}")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [path for path in paths if not _is_aside(path)]
    lines = [f"{_sha256((folder / path).read_bytes())}  {path}\n" for path in kept]
    write_atomically(folder / CHECKSUMS, lambda file: file.write("".join(lines).encode()))
    return folder / CHECKSUMS


def ship(
    name: str,
    model: GPT,
    tokenizer: Tokenizer,
    log: Mapping[str, Iterable[int | float | None]],
    snapshots: Iterable[tuple[int, GPT]] = (),
) -> Path:
    """Make data/<name>/ from a trained model, in half precision, and renew the checksums. Returns the folder.

    `gptlib.load` gives the model in the precision that it has here. If snapshots are given, those of an
    earlier call are removed.
    Raises ValueError for a name that cannot be a folder's or is a published model's, and for weights that
    float16 cannot hold; else as `gptlib.save` does.
    """
    if not _is_name(name):
        raise ValueError(f"name is {name!r}; it needs letters, digits, '-', '_' and '.' only")
    if published(name) is not None:
        raise ValueError(f"name is {name!r}, which is a published model's; it needs to be another")
    folder = model_folder(name)
    write_folder(folder, model, tokenizer, torch.float16, beside=(LOG, SNAPSHOTS))
    write_json(folder / LOG, {key: _plain(row) for key, row in log.items()})
    (folder / SNAPSHOTS).mkdir(exist_ok=True)
    written = [
        write_snapshot(folder / SNAPSHOTS / f"step_{step:06d}.safetensors", snapshot)
        for step, snapshot in snapshots
    ]
    for path in (folder / SNAPSHOTS).glob("step_*.safetensors") if written else ():
        if path not in written:
            path.unlink()
    write_checksums()
    return folder


def _read_checksums() -> dict[str, str]:
    """Path below data/ -> sha256, from data/SHA256SUMS."""
    path = data_folder() / CHECKSUMS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {MEND}")
    listed = {}
    for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if not match:
            raise ValueError(f"data/{CHECKSUMS}, line {number}: {line!r} is not 'sha256  path'; {MEND}")
        listed[match[2]] = match[1]
    return listed


def read_checked(path: str, listed: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file below data/, once they are known to be what its checksum says.

    Raises ValueError for a file that is cut off, altered or not listed; FileNotFoundError for a missing one.
    """
    listed = _read_checksums() if listed is None else listed
    if path not in listed:
        raise ValueError(f"data/{path} is not listed in data/{CHECKSUMS}, so it cannot be checked; {MEND}")
    if not (data_folder() / path).is_file():
        raise FileNotFoundError(f"data/{path} is missing (expected sha256 {listed[path]}); {MEND}")
    content = (data_folder() / path).read_bytes()
    if _sha256(content) != listed[path]:
        if _sha256(content.replace(b"\r\n", b"\n")) == listed[path]:
            raise ValueError(
                f"data/{path} has the line endings of Windows, which git may have put there; "
                f"{way_back_to_line_endings('data')}"
            )
        raise ValueError(
            f"data/{path} is cut off or altered: expected sha256 {listed[path]}, "
            f"got {_sha256(content)} ({len(content):,} bytes); {MEND}"
        )
    return content


def _plain(row: Iterable[int | float | None]) -> list[int | float | None]:
    """Numbers as JSON knows them, which is without nan."""
    row = [number.item() if isinstance(number, np.generic) else number for number in row]
    return [None if number is None or math.isnan(number) else number for number in row]


def _check_name(name: str) -> None:
    if name not in model_names():
        raise ValueError(f"name is {name!r}; data/ has {', '.join(model_names()) or 'no model'}")


def _is_aside(path: str) -> bool:
    """Whether a file is none of those that a program reads: the checksums, a README, a hidden file."""
    parts = path.split("/")
    return parts[-1] in (CHECKSUMS, "README.md") or any(part.startswith(".") for part in parts)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
