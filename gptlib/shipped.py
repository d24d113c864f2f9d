"""The trained models in data/: every file is held to its checksum in data/SHA256SUMS before it is used.

data/SHA256SUMS                      a line for each file: sha256, two spaces, path below data/
data/<name>/config.json              the fields of the GPTConfig
data/<name>/model.safetensors        the weights, in half or full precision
data/<name>/tokenizer.json           what Tokenizer.load reads
data/<name>/training_log.json        lists of numbers by name, such as step and loss
data/<name>/snapshots/step_….safetensors   the weights along the training
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gptlib.files import write_atomically
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.places import course_root, way_back
from gptlib.text.tokenizer import Tokenizer

CHECKSUMS = "SHA256SUMS"
MEND = way_back("data")


def data_folder() -> Path:
    """The folder data/, where the trained models are."""
    return course_root() / "data"


def load_pretrained(name: str = "storyteller") -> tuple[GPT, Tokenizer]:
    """The trained model called name (float32, on the CPU, in eval mode), and its tokenizer.

    Raises ValueError for an unknown name, with those there are, or for a file that is not as its checksum
    says; FileNotFoundError for a missing file.
    """
    config = _read_config(name)
    model = _build(config, _read_weights(f"{name}/model.safetensors"), f"{name}/model.safetensors")
    read_checked(f"{name}/tokenizer.json")  # checked; the tokenizer then reads it by itself
    tokenizer = Tokenizer.load(data_folder() / name / "tokenizer.json")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"data/{name}/tokenizer.json has {tokenizer.vocab_size} tokens and data/{name}/config.json "
            f"vocab_size = {config.vocab_size}; they need to be equal; {MEND}"
        )
    return model, tokenizer


def load_snapshots(name: str = "storyteller") -> list[tuple[int, GPT]]:
    """The model along its training: (step, model) pairs, by step. Raises as `load_pretrained` does."""
    config = _read_config(name)
    pattern = re.compile(rf"{re.escape(name)}/snapshots/step_(\d+)\.safetensors")
    found = [(int(match[1]), path) for path in _read_checksums() if (match := pattern.fullmatch(path))]
    if not found:
        raise FileNotFoundError(f"data/{CHECKSUMS} lists no data/{name}/snapshots/step_….safetensors; {MEND}")
    return [(step, _build(config, _read_weights(path), path)) for step, path in sorted(found)]


def training_log(name: str = "storyteller") -> dict[str, np.ndarray]:
    """The numbers noted while the model was trained, by name; what was not measured is nan.

    Raises as `load_pretrained` does.
    """
    _check_name(name)
    log = json.loads(read_checked(f"{name}/training_log.json"))
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


def save_pretrained(
    name: str,
    model: GPT,
    tokenizer: Tokenizer,
    training_log: Mapping[str, Iterable[int | float | None]] | None = None,
    snapshots: Iterable[tuple[int, GPT]] = (),
    half: bool = True,
) -> Path:
    """Make data/<name>/ from a trained model, as `load_pretrained` reads it, and renew the checksums.

    half: store the weights as float16, at half the size; snapshots always are. If snapshots are given, those
    of an earlier call are removed. Returns the folder.
    Raises ValueError for a name that cannot be a folder's, a tokenizer that does not fit the model, or
    weights that float16 cannot hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"name is {name!r}; it needs letters, digits, '-', '_' and '.' only")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"tokenizer has vocab_size = {tokenizer.vocab_size}, the model {model.config.vocab_size}; "
            "they need to be equal"
        )
    folder = data_folder() / name
    (folder / "snapshots").mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", asdict(model.config))
    _write_weights(folder / "model.safetensors", model, half)
    tokenizer.save(folder / "tokenizer.json")
    if training_log is not None:
        _write_json(folder / "training_log.json", {key: _plain(row) for key, row in training_log.items()})
    written = []
    for step, snapshot in snapshots:
        written.append(folder / "snapshots" / f"step_{step:06d}.safetensors")
        _write_weights(written[-1], snapshot, half=True)
    for path in (folder / "snapshots").glob("step_*.safetensors") if written else ():
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
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
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
        raise ValueError(
            f"data/{path} is cut off or altered: expected sha256 {listed[path]}, "
            f"got {_sha256(content)} ({len(content):,} bytes); {MEND}"
        )
    return content


def _read_config(name: str) -> GPTConfig:
    _check_name(name)
    values = json.loads(read_checked(f"{name}/config.json"))
    unknown = set(values) - {field.name for field in fields(GPTConfig)}
    if unknown:
        raise ValueError(f"data/{name}/config.json has {', '.join(sorted(unknown))}, unknown to GPTConfig")
    return GPTConfig(**values)


def _read_weights(path: str) -> dict[str, Tensor]:
    content = read_checked(path)
    try:
        return {name: weight.float() for name, weight in safetensors.torch.load(content).items()}
    except SafetensorError as error:
        raise ValueError(f"data/{path} is not a safetensors file ({error}); {MEND}") from error


def _build(config: GPTConfig, weights: dict[str, Tensor], path: str) -> GPT:
    # These first weights are thrown away; the caller's random numbers go on as if none had been drawn.
    with torch.random.fork_rng(devices=[]):
        model = GPT(config)
    wanted = model.state_dict()
    if config.tie_embeddings:
        weights = weights | {"unembedding.weight": weights.get("token_embedding.weight")}
    wrong = [
        name
        for name in sorted(set(weights) | set(wanted))
        if name not in wanted or weights.get(name) is None or weights[name].shape != wanted[name].shape
    ]
    if wrong:
        raise ValueError(f"data/{path} does not fit its config.json: {', '.join(wrong)}; {MEND}")
    model.load_state_dict(weights)
    return model.eval()


def _write_weights(path: Path, model: GPT, half: bool) -> None:
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_embeddings:
        del weights["unembedding.weight"]  # it is token_embedding.weight
    if half:
        weights = {name: weight.half() for name, weight in weights.items()}
    spoilt = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if spoilt:
        raise ValueError(
            f"model: {', '.join(spoilt)} hold numbers that {path.name} cannot: inf, nan"
            + (" or beyond 65504, the largest of float16; half=False would do" if half else "")
        )
    content = safetensors.torch.save(weights)
    write_atomically(path, lambda file: file.write(content))


def _write_json(path: Path, values: object) -> None:
    content = (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
    write_atomically(path, lambda file: file.write(content))


def _plain(row: Iterable[int | float | None]) -> list[int | float | None]:
    """Numbers as JSON knows them, which is without nan."""
    row = [number.item() if isinstance(number, np.generic) else number for number in row]
    return [None if number is None or math.isnan(number) else number for number in row]


def _check_name(name: str) -> None:
    names = sorted(path.split("/")[0] for path in _read_checksums() if path.endswith("/config.json"))
    if name not in names:
        raise ValueError(f"name is {name!r}; data/ has {', '.join(names) or 'no model'}")


def _is_aside(path: str) -> bool:
    """Whether a file is none of those that a program reads: the checksums, a README, a hidden file."""
    parts = path.split("/")
    return parts[-1] in (CHECKSUMS, "README.md") or any(part.startswith(".") for part in parts)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
