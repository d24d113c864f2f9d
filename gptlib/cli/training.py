"""The shell's verb for training: `python -m gptlib train …`, alone or in several processes by torchrun."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptlib.files import read_json, write_atomically, write_json

if TYPE_CHECKING:
    # Each verb imports what it needs, so that the doctor can be asked when something is missing.
    import torch

    from gptlib.model.gpt import GPT
    from gptlib.text.characters import CharacterTokenizer
    from gptlib.text.corpora import TokenFile
    from gptlib.text.tokenizer import Tokenizer
    from gptlib.training.alone import Alone
    from gptlib.training.loop import Step

TOKENIZER_NAME = "tokenizer.json"
LOG_NAME = "training_log.json"
# Rows are added to this one while the run goes on; LOG_NAME is made of them at its end.
ROWS_NAME = "training_log.jsonl"
SETTINGS_NAME = "settings.json"
SNAPSHOTS_NAME = "snapshots"

# Enough text to learn merges from: more changes few of them and takes longer.
TOKENIZER_CHARACTERS = 2_000_000
VALIDATION_STORIES = 2_000
FLOOR_STORIES = 1_000


def add_verb(verbs: Any) -> None:
    """Add the verb to the command line's grammar."""
    _add_train(verbs.add_parser("train", help="train a GPT on a corpus, or go on training one"))


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a GPT. The folder gets the tokenizer, the token files, checkpoints, a log and, at last, the "
        "model. A run that was stopped goes on with --resume --folder FOLDER, as if it had not been stopped. "
        "Several processes train one model when torchrun starts them: docs/several_machines.md."
    )
    parser.set_defaults(run=run_train)
    parser.add_argument("--folder", required=True, type=Path, help="where everything is written")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder, with its own settings"
    )
    data = parser.add_argument_group("text")
    data.add_argument(
        "--corpus",
        default="storyworld",
        help="storyworld, python-docs, python-source, or the path of a text file (default: storyworld)",
    )
    data.add_argument(
        "--stories", type=int, default=100_000, help="training stories to draw (storyworld only)"
    )
    data.add_argument(
        "--tokenizer", type=Path, help="a tokenizer's file; without it one is trained on the text"
    )
    data.add_argument(
        "--vocab-size", type=int, help="vocabulary of the tokenizer to train (default: the preset's)"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--preset", default="storyteller", help="shape of the model: storyteller, gpt2, …")
    for name, kind in (
        ("context-length", int),
        ("n-layers", int),
        ("n-heads", int),
        ("d-model", int),
        ("dropout", float),
        ("position", str),
    ):
        model.add_argument(f"--{name}", type=kind, help="instead of the preset's")
    run = parser.add_argument_group("training")
    run.add_argument(
        "--steps", type=int, help="updates to make (default: 1000); with --resume, a later end for the run"
    )
    run.add_argument("--batch-size", type=int, default=32, help="sequences in each update (default: 32)")
    run.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="take each process's share of them in N pieces, one after another, to save memory (default: 1)",
    )
    run.add_argument(
        "--learning-rate", type=float, default=1e-3, help="highest learning rate (default: 0.001)"
    )
    run.add_argument("--min-learning-rate", type=float, help="learning rate at the end (default: a tenth)")
    run.add_argument(
        "--warmup-steps", type=int, help="steps of rising learning rate (default: a twentieth, at most 200)"
    )
    run.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    run.add_argument("--weight-decay", type=float, default=0.1)
    run.add_argument("--beta2", type=float, default=0.95, help="AdamW's second beta (default: 0.95)")
    run.add_argument("--clip", type=float, default=1.0, help="bound on the gradient's norm (default: 1)")
    run.add_argument(
        "--at-document-starts",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let each sequence start where a document starts (default: for storyworld only)",
    )
    run.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16"),
        help="bfloat16 is faster where the processor has it",
    )
    run.add_argument("--device", help="cpu, cuda or mps (default: the fastest one here)")
    run.add_argument(
        "--shard", action="store_true", help="with torchrun: each process keeps but a part of every tensor"
    )
    run.add_argument("--threads", type=int, help="processor threads to use")
    run.add_argument("--seed", type=int, default=0)
    kept = parser.add_argument_group("what is kept")
    kept.add_argument(
        "--eval-every", type=int, default=100, help="steps between validation losses (default: 100)"
    )
    kept.add_argument(
        "--eval-batches", type=int, default=8, help="batches in each validation loss (default: 8)"
    )
    kept.add_argument(
        "--checkpoint-every", type=int, default=200, help="steps between checkpoints (default: 200)"
    )
    kept.add_argument(
        "--save-as",
        metavar="NAME",
        help="at the end, put model, tokenizer, log and snapshots in data/NAME, in half precision",
    )
    kept.add_argument(
        "--snapshots",
        type=int,
        default=0,
        metavar="N",
        help="keep the model in half precision at N steps, closer together at the start",
    )


def run_train(options: argparse.Namespace) -> int:
    """Train, or go on training, and leave a folder that `generate --model` reads."""
    from gptlib.training import distributed
    from gptlib.training.devices import pick_device

    with distributed.one_voice():
        settings = _settings(options)
        device = distributed.own_device(pick_device(settings["device"]))
        with distributed.join(device, settings["shard"]) as team, team.watch(options.folder):
            _train(options.folder, options.resume, settings, device, team)
    return 0


def _train(folder: Path, resume: bool, settings: dict[str, Any], device: torch.device, team: Alone) -> None:
    """What `run_train` does, in each of the processes."""
    import torch

    from gptlib.loading import load, save
    from gptlib.model.gpt import GPT
    from gptlib.training.checkpoints import CHECKPOINT_NAME, MODEL_FOLDER, load_checkpoint, whole_model
    from gptlib.training.config import TrainConfig
    from gptlib.training.loop import check_shares, train

    # The machines may differ, but the run is one.
    names = sorted(settings.keys() - {"device", "threads"})
    team.agree({f"--{name.replace('_', '-')}": settings[name] for name in names})
    if settings["threads"] is not None:
        if settings["threads"] < 1:
            raise ValueError(f"--threads must be at least 1, got {settings['threads']}")
        torch.set_num_threads(settings["threads"])
    documents_start = settings["at_document_starts"]
    config = TrainConfig(
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        accumulate=settings["accumulate"],
        learning_rate=settings["learning_rate"],
        min_learning_rate=settings["min_learning_rate"],
        warmup_steps=settings["warmup_steps"],
        optimizer=settings["optimizer"],
        weight_decay=settings["weight_decay"],
        betas=(0.9, settings["beta2"]),
        clip=settings["clip"],
        eval_every=settings["eval_every"],
        eval_batches=settings["eval_batches"],
        checkpoint_every=settings["checkpoint_every"],
        folder=folder,
        seed=settings["seed"],
        at_document_starts=settings["corpus"] == "storyworld" if documents_start is None else documents_start,
        precision=settings["precision"],
        progress=sys.stderr.isatty(),
        device=device,
    )
    check_shares(config, team)
    snapshots = snapshot_steps(config.steps, settings["snapshots"])
    # Before anything is made, so that a mistyped shape or corpus costs no waiting.
    shape = _shape(settings)
    corpus = _Texts(settings)
    done = load_checkpoint(folder).step if resume else 0
    team.agree({"the checkpoint's step": done})
    if done > config.steps:
        raise ValueError(f"--steps must be at least {done}, the steps already made, got {config.steps}")

    def prepare() -> tuple[Any, TokenFile, TokenFile]:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            _clear_other_text(folder, settings)
        write_json(folder / SETTINGS_NAME, settings)
        tokenizer = _tokenizer(folder, settings, shape.vocab_size, corpus)
        return tokenizer, *_token_files(folder, tokenizer, corpus)

    tokenizer, train_data, validation_data = team.in_turn(prepare)
    team.agree({"the number of tokens": (len(train_data), len(validation_data))})
    torch.manual_seed(config.seed)
    model = GPT(dataclasses.replace(shape, vocab_size=tokenizer.vocab_size))
    print(
        f"{settings['preset']}: {model.n_parameters:,} parameters, vocabulary {tokenizer.vocab_size:,}; "
        f"{len(train_data):,} training tokens, {len(validation_data):,} validation tokens; "
        f"{team.size} × {config.device}, {config.precision}",
        flush=True,
    )

    if team.rank == 0:
        _print_floor(settings, tokenizer)
    if done == 0 and 0 in snapshots:
        _save_snapshot(folder, model, 0, team)
    if done < config.steps:
        start = folder if done else None
        steps = train(model, train_data, validation_data, config, resume=start, team=team)
        _log(folder, model, steps, done, config.steps, snapshots, team)
    else:
        # Stopped after the last step, before the model was written.
        model = load(folder / CHECKPOINT_NAME)[0]
    whole = whole_model(model, team)
    name = str(folder)
    if team.rank == 0:
        columns = _columns(_kept_rows(folder / ROWS_NAME, config.steps))
        write_json(folder / LOG_NAME, columns)
        save(folder / MODEL_FOLDER, whole, tokenizer)
        if settings["save_as"] is not None:
            from gptlib.shipped import ship

            name = settings["save_as"]
            kept = _thinned(_snapshots_in(folder), settings["snapshots"])
            ship(
                name,
                whole,
                tokenizer,
                columns,
                ((step, load(_snapshot_path(folder, step))[0]) for step in kept),
            )
    print(f"done; to see what it writes: python -m gptlib generate --model {name}")


def _log(
    folder: Path,
    model: GPT,
    steps: Iterable[Step],
    done: int,
    last: int,
    snapshots: list[int],
    team: Alone,
) -> None:
    """Make all the steps, adding each to the log, and keep the snapshots."""
    if done in snapshots:
        # Stopped between a checkpoint and its snapshot, the run would otherwise lack it.
        _save_snapshot(folder, model, done, team)
    path = folder / ROWS_NAME
    if team.rank == 0:
        rows = _kept_rows(path, done)
        write_atomically(path, lambda file: file.write("".join(rows).encode()))
    with open(path if team.rank == 0 else os.devnull, "a", encoding="utf-8") as log:
        for step in _reported(steps, last):
            team.step = step.step
            log.write(_row(step))
            log.flush()
            if step.step in snapshots:
                _save_snapshot(folder, model, step.step, team)


def _print_floor(settings: dict[str, Any], tokenizer: Tokenizer | CharacterTokenizer) -> None:
    """Say how low the loss can get, where that is known."""
    if settings["corpus"] == "storyworld":
        from gptlib.text.storyworld import entropy_floor

        floor = entropy_floor(FLOOR_STORIES, settings["seed"], tokenizer, split="validation")
        print(
            f"no model can get below {floor.nats_per_token:.4f} nats per token on these stories", flush=True
        )


def snapshot_steps(steps: int, n: int) -> list[int]:
    """`n` steps from 0 to `steps`, evenly spaced on a logarithmic scale: early on most changes a step.

    Raises ValueError when there are not that many.
    """
    if n < 0 or n == 1:
        raise ValueError(f"snapshots must be 0 or at least 2 (the first and the last step), got {n}")
    if n > steps + 1:
        raise ValueError(f"snapshots must be at most steps + 1 ({steps + 1}), got {n}")
    if n == 0:
        return []
    chosen = [0]
    for index in range(1, n):
        ideal = round(steps ** ((index - 1) / (n - 2))) if n > 2 else steps
        # Rounding may bring two together at the start, and must leave room for those that follow.
        chosen.append(min(max(ideal, chosen[-1] + 1), steps - (n - 1 - index)))
    return chosen


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the run, from the command line, or for a resumed run from its folder."""
    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("run", "verb", "resume", "folder")
    }
    from gptlib.training.checkpoints import CHECKPOINT_NAME, MODEL_FOLDER

    path = options.folder / SETTINGS_NAME
    checkpoint = options.folder / CHECKPOINT_NAME
    if options.resume:
        if not path.is_file() or not checkpoint.is_file():
            raise FileNotFoundError(
                f"--resume: there is no stopped run with a checkpoint in {str(options.folder)!r}"
            )
        kept = read_json(path)
        # The machine, the end and what becomes of the model may be others; all else is the run's own.
        changeable = ("device", "threads", "shard", "accumulate", "steps", "save_as")
        # A run of before there was --accumulate took its batches whole.
        changed = {name: given[name] for name in changeable if given[name] is not None}
        return {"accumulate": 1} | kept | changed
    for name, default in (("steps", 1000), ("accumulate", 1)):
        if given[name] is None:
            given[name] = default
    if checkpoint.exists() or (options.folder / MODEL_FOLDER).exists():
        raise FileExistsError(
            f"--folder: {str(options.folder)!r} already holds a run; go on with it by --resume, or "
            "name another folder"
        )
    return given


def _shape(settings: dict[str, Any]) -> Any:
    from gptlib.model.presets import PRESETS

    if settings["preset"] not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {settings['preset']!r}")
    names = ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "dropout", "position")
    changes = {name: settings[name] for name in names if settings[name] is not None}
    return dataclasses.replace(PRESETS[settings["preset"]], **changes)


class _Texts:
    """The documents of the corpus that was asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.splits = None
        name = settings["corpus"]
        if name == "storyworld":
            if settings["stories"] < 1:
                raise ValueError(f"--stories must be at least 1, got {settings['stories']}")
            return
        from gptlib.text import corpora

        if name == "python-docs":
            corpus = corpora.python_documentation()
        elif name == "python-source":
            corpus = corpora.python_source()
        elif Path(name).is_file():
            corpus = corpora.text_file(name)
        else:
            raise FileNotFoundError(
                "--corpus must be storyworld, python-docs, python-source or the path of a text file, "
                f"got {name!r}"
            )
        self.splits = corpus.split(seed=settings["seed"])

    def train(self) -> Iterator[str]:
        if self.splits is not None:
            return iter(self.splits[0].documents)
        return self._stories("train", self.settings["stories"])

    def validation(self) -> Iterator[str]:
        if self.splits is not None:
            return iter(self.splits[1].documents)
        return self._stories("validation", VALIDATION_STORIES)

    def _stories(self, split: str, n: int) -> Iterator[str]:
        from gptlib.text.storyworld import Storyworld

        # One at a time: a story's annotations take far more memory than its text.
        return (story.text for story in islice(Storyworld(self.settings["seed"], split=split), n))


def _clear_other_text(folder: Path, settings: dict[str, Any]) -> None:
    """Remove the tokens that a run with another text, stopped before a checkpoint, left in the folder."""
    path = folder / SETTINGS_NAME
    names = ("corpus", "stories", "tokenizer", "vocab_size", "preset", "seed")
    before = read_json(path) if path.exists() else {}
    if any(before.get(name) != settings[name] for name in names):
        for name in (TOKENIZER_NAME, "train.npy", "validation.npy"):
            (folder / name).unlink(missing_ok=True)


def _tokenizer(
    folder: Path, settings: dict[str, Any], vocab_size: int, corpus: _Texts
) -> Tokenizer | CharacterTokenizer:
    from gptlib.text.tokenizer import Tokenizer, load_tokenizer

    path = folder / TOKENIZER_NAME
    if path.exists():
        return load_tokenizer(path)
    if settings["tokenizer"] is not None:
        tokenizer = load_tokenizer(settings["tokenizer"])
    else:
        print(f"learning a vocabulary of {vocab_size:,}", flush=True)
        tokenizer = Tokenizer.train(_first_characters(corpus.train(), TOKENIZER_CHARACTERS), vocab_size)
    tokenizer.save(path)
    return tokenizer


def _first_characters(texts: Iterable[str], limit: int) -> Iterator[str]:
    count = 0
    for text in texts:
        yield text
        count += len(text)
        if count >= limit:
            return


def _token_files(
    folder: Path, tokenizer: Tokenizer | CharacterTokenizer, corpus: _Texts
) -> tuple[TokenFile, TokenFile]:
    """The folder's token files, made if they are not there yet: they are written whole or not at all."""
    from gptlib.text.corpora import TokenFile, write_tokens

    files = []
    for name, documents in (("train", corpus.train), ("validation", corpus.validation)):
        path = folder / f"{name}.npy"
        if path.exists():
            files.append(TokenFile(path))
        else:
            print(f"turning the {name} text into tokens", flush=True)
            files.append(write_tokens(documents(), tokenizer, path))
    return files[0], files[1]


def _save_snapshot(folder: Path, model: GPT, step: int, team: Alone) -> None:
    from gptlib.formats.folders import write_snapshot
    from gptlib.training.checkpoints import whole_model

    whole = whole_model(model, team)
    if whole is not None:
        (folder / SNAPSHOTS_NAME).mkdir(exist_ok=True)
        write_snapshot(_snapshot_path(folder, step), whole)


def _snapshot_path(folder: Path, step: int) -> Path:
    return folder / SNAPSHOTS_NAME / f"step_{step:06d}.safetensors"


def _snapshots_in(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in (folder / SNAPSHOTS_NAME).glob("step_*"))


def _thinned(steps: list[int], n: int) -> list[int]:
    """`n` of the steps, with the first and the last: a run that was lengthened has some too many."""
    kept = list(steps)
    while len(kept) > max(n, 2):
        gaps = [math.log((kept[i + 1] + 1) / (kept[i - 1] + 1)) for i in range(1, len(kept) - 1)]
        del kept[1 + gaps.index(min(gaps))]
    return kept


def _reported(steps: Iterable[Step], last: int) -> Iterator[Step]:
    """The same steps; each validation loss on the way is printed as one line."""
    from tqdm import tqdm

    start = time.monotonic()
    for step in steps:
        if step.validation_loss is not None or step.step == last:
            validation = "" if step.validation_loss is None else f"  validation {step.validation_loss:.4f}"
            tqdm.write(
                f"step {step.step:,}/{last:,}  loss {step.loss:.4f}{validation}  "
                f"learning rate {step.learning_rate:.2e}  {time.monotonic() - start:,.0f} s"
            )
            sys.stdout.flush()
        yield step


def _row(step: Step) -> str:
    row = dataclasses.asdict(step)
    return (
        json.dumps(
            {
                name: float(f"{value:.7g}") if isinstance(value, float) else value
                for name, value in row.items()
            }
        )
        + "\n"
    )


def _kept_rows(path: Path, last: int) -> list[str]:
    """The log's whole lines up to step `last`: after a stop there may be later ones, and half of one."""
    if last == 0 or not path.exists():
        return []
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]
    return [line for line in lines if json.loads(line)["step"] <= last]


def _columns(rows: list[str]) -> dict[str, list[float | int | None]]:
    """One list for each quantity; a validation loss that was not measured is null."""
    values = [json.loads(row) for row in rows]
    return {
        name: [value[name] for value in values]
        for name in ("step", "loss", "validation_loss", "learning_rate", "gradient_norm", "tokens")
    }
