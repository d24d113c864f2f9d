"""Train a GPT on a corpus, or go on training one.

The folder gets the tokenizer, the token files, checkpoints, a log and, at last, the model. A run that was
stopped goes on with --resume --folder FOLDER, as if it had not been stopped. Several processes train one
model when torchrun starts them: docs/several_machines.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from cyclopts import App, ArgumentCollection, Group, Parameter, config
from tqdm import tqdm

from gptlib.checks import check_choice, check_whole
from gptlib.cli.options import Fields, Threads, in_a_terminal, use_threads
from gptlib.cli.parsing import refuse_rounding
from gptlib.files import read_json, write_atomically, write_json
from gptlib.formats.folders import write_snapshot
from gptlib.loading import load, save
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.model.presets import PRESETS
from gptlib.shipped import as_path, ship
from gptlib.text import corpora
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile, write_tokens
from gptlib.text.storyworld import Storyworld, entropy_floor
from gptlib.text.tokenizer import Tokenizer, load_tokenizer
from gptlib.training import distributed, loop
from gptlib.training.alone import Alone
from gptlib.training.checkpoints import CHECKPOINT_NAME, MODEL_FOLDER, load_checkpoint, whole_model
from gptlib.training.config import FREE, ScheduleName, TrainConfig
from gptlib.training.devices import pick_device
from gptlib.training.loop import Step
from gptlib.training.optimizers import OptimizerName
from gptlib.training.whole_documents import WholeDocuments

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

# What settings.json does not say, or says by another name.
NOT_KEPT = ("folder", "progress", "context_length")

# What other defaults depend on.
GIVEN = ("preset", "corpus", "optimizer", "folder", "resume")

# For models of about a million parameters. That for AdamW has not been tuned.
RATES = {"muon": 0.02, "adamw": 0.003}

# For Storyworld, where much is said again. On Python's documentation a short run did no better with it.
REPEATS_FIRST = 0.15

# What a resumed run may be told anew without --changing.
CHANGEABLE = (*FREE, "threads", "shard", "save_as")


# ------------------------------------------------------------------------------------------ what is asked for


@dataclass(frozen=True)
class Text:
    """What is read."""

    corpus: str = "storyworld"
    """Storyworld, python-docs, python-source, or a text file's path (<|endoftext|> separates documents)."""

    stories: int = 100_000
    """Training stories to draw (storyworld only)."""

    tokenizer: Path | None = None
    """A tokenizer's file; without it one of --vocab-size tokens is learned from the text."""

    whole_documents: Annotated[bool | None, Parameter(show_default=False)] = None
    """Let each row be one document and nothing else (default: where most documents fit the context)."""


@dataclass(frozen=True)
class Training(TrainConfig):
    """A TrainConfig with the shell's own defaults; docs/record.md says what they reach."""

    folder: Annotated[Path, Parameter(group="Parameters", help="Where everything is written.")] = field(
        kw_only=True
    )
    steps: int = 1000
    batch_size: int = 16
    learning_rate: Annotated[float | int, Parameter(show_default=False)] = RATES["muon"]
    """The highest learning rate; the schedule says how it falls (default: 0.02, or 0.003 with adamw)."""
    schedule: ScheduleName = "trapezoid"
    cooldown: float = 0.6
    optimizer: OptimizerName = "muon"
    weight_decay: float | int = 0.0
    repeats_first: Annotated[float | int, Parameter(show_default=False)] = REPEATS_FIRST
    """Over which share of the run, from its start, targets that are new in their row are mostly left out
    (default: 0.15 for storyworld, else 0)."""
    # The flag without "training" is the model's.
    context_length: Annotated[int | None, Parameter(name="--training-context-length")] = None
    checkpoint_every: int | None = 200
    progress: Annotated[bool, Parameter(show_default=False)] = field(default_factory=in_a_terminal)
    """Whether to show a bar (default: in a terminal)."""
    device: str | None = None
    """Where to train, such as cuda, mps or cpu (default: the fastest one here)."""
    at_document_starts: Annotated[bool, Parameter(show_default=False)] = False
    """Let every sequence start where a document does (default: for storyworld only)."""


@dataclass(frozen=True)
class Run:
    """Everything that decides a run. All but the folder is kept in it, as settings.json."""

    training: Annotated[Training, Parameter(name="*", group=Group("Training", sort_key=3))]

    model: Annotated[
        GPTConfig,
        Parameter(
            name="*",
            group=Group("Model", help="What is not given is the preset's.", sort_key=2),
            show_default=False,
        ),
    ] = PRESETS["storyteller"]

    text: Annotated[Text, Parameter(name="*", group=Group("Text", sort_key=1))] = Text()  # noqa: RUF009

    preset: Annotated[str, Parameter(help=f"Shape of the model: {', '.join(PRESETS)}.")] = "storyteller"

    shard: Annotated[bool, Parameter(negative=())] = False
    """With torchrun: each process keeps but a part of every tensor."""

    threads: Threads = None

    snapshots: int = 0
    """Keep the model in half precision at so many steps, closer together at the start."""

    save_as: str | None = None
    """At the end, put model, tokenizer, log and snapshots in data/ under this name, in half precision."""

    def settings(self) -> dict[str, Any]:
        """All of it by the names of the flags, as JSON has it. The folder is where it is kept."""
        values = dataclasses.asdict(self.training)
        del values["folder"], values["progress"]
        values["training_context_length"] = values.pop("context_length")
        values |= dataclasses.asdict(self.text) | dataclasses.asdict(self.model)
        own = ("preset", "shard", "threads", "snapshots", "save_as")
        values |= {name: getattr(self, name) for name in own}
        return json.loads(json.dumps(values, default=str))


def _fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set the flags that were not given and depend on others: a preset's, or a stopped run's."""
    given = {name: arguments.get(f"--{name}") for name in GIVEN}
    given = {name: argument.convert() for name, argument in given.items() if argument.tokens}
    if given.get("resume") and "folder" in given:
        # Whether the model is in parts is no matter of the run: it may go on with or without.
        values = {name: value for name, value in kept_settings(given["folder"]).items() if name != "shard"}
    else:
        preset = given.get("preset", "storyteller")
        check_choice("--preset", preset, PRESETS)
        stories = given.get("corpus", "storyworld") == "storyworld"
        values = dataclasses.asdict(PRESETS[preset]) | {"at_document_starts": stories}
        values["repeats_first"] = REPEATS_FIRST if stories else 0
        if (optimizer := given.get("optimizer", "muon")) in RATES:
            values["learning_rate"] = RATES[optimizer]
    config.Dict(values, use_commands_as_keys=False)(app, commands, arguments)


def kept_settings(folder: Path) -> dict[str, Any]:
    """The settings of the stopped run in the folder. FileNotFoundError when there is none."""
    path = folder / SETTINGS_NAME
    if not path.is_file() or not (folder / CHECKPOINT_NAME).is_file():
        raise FileNotFoundError(f"--resume: there is no stopped run with a checkpoint in {str(folder)!r}")
    kept = read_json(path)
    if "beta2" in kept:
        # From before the flags were the fields: null stood for what was not given, and betas had one flag.
        kept = {name: value for name, value in kept.items() if value is not None}
        kept = dataclasses.asdict(PRESETS[kept["preset"]]) | kept | {"betas": [0.9, kept["beta2"]]}
        del kept["beta2"]
        kept.setdefault("at_document_starts", kept["corpus"] == "storyworld")
    # What a version before did not ask, it did as TrainConfig does; the shell's defaults are newer.
    before = {each.name: each.default for each in dataclasses.fields(TrainConfig) if each.name != "steps"}
    asked_since = {"whole_documents": False} | {name: before[name] for name in before.keys() - kept.keys()}
    return {name: asked_since[name] for name in asked_since if name not in NOT_KEPT} | kept


train = App(name="train", config=[refuse_rounding, _fill_in])


@train.default
def run_train(
    *,
    run: Annotated[Run, Fields],
    resume: Annotated[
        bool, Parameter(help="Go on with the run in the folder, with its own settings.", negative=())
    ] = False,
    changing: Annotated[
        tuple[str, ...],
        Parameter(
            help="With --resume: a flag of the training that is to differ, such as learning-rate.",
            negative=(),
        ),
    ] = (),
) -> None:
    """Train, or go on training, and leave a folder that `generate --model` reads."""
    folder = run.training.folder
    changing = tuple(name.removeprefix("--").replace("-", "_") for name in changing)
    if resume:
        _check_unchanged(run.settings(), kept_settings(folder), changing)
    elif (folder / CHECKPOINT_NAME).exists() or (folder / MODEL_FOLDER).exists():
        raise FileExistsError(
            f"--folder: {str(folder)!r} already holds a run; go on with it by --resume, or name another "
            "folder"
        )
    device = distributed.own_device(pick_device(run.training.device))
    with distributed.join(device, run.shard) as team, team.watch(folder):
        _train(run, resume, changing, device, team)


def _check_unchanged(settings: dict[str, Any], kept: dict[str, Any], changing: tuple[str, ...]) -> None:
    training = {field.name for field in dataclasses.fields(TrainConfig)} - {"context_length"}
    training.add("training_context_length")
    if unknown := [name for name in changing if name not in training]:
        raise ValueError(f"--changing is {_flag(unknown[0])}; it needs a flag of the training")
    new = [name for name in settings if name in kept and settings[name] != json.loads(json.dumps(kept[name]))]
    if untold := [name for name in new if name not in {*changing, *CHANGEABLE}]:
        listed = ", ".join(f"{_flag(name)} is {settings[name]} (the run has {kept[name]})" for name in untold)
        telling = [f"--changing {name.replace('_', '-')}" for name in untold if name in training]
        raise ValueError(
            f"{listed}; what decides a run stays as it is"
            + (f", unless you say that it is to change: {' '.join(telling)}" if telling else "")
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# ---------------------------------------------------------------------------------------------------- the run


def _train(run: Run, resume: bool, changing: tuple[str, ...], device: torch.device, team: Alone) -> None:
    """What `run_train` does, in each of the processes."""
    settings = run.settings()
    folder, training = run.training.folder, dataclasses.replace(run.training, device=str(device))
    # The machines may differ, but the run is one.
    team.agree({_flag(name): settings[name] for name in sorted(settings.keys() - {"device", "threads"})})
    use_threads(run.threads)
    loop.check_shares(training, team)
    snapshots = snapshot_steps(training.steps, run.snapshots)
    # Before anything is made, so that a mistyped corpus costs no waiting.
    corpus = _Texts(run.text, training.seed)
    done = load_checkpoint(folder).step if resume else 0
    team.agree({"the checkpoint's step": done})
    if done > training.steps:
        raise ValueError(
            f"--steps is {training.steps}; it needs to be at least {done}, the steps made so far"
        )

    def prepare() -> tuple[Any, TokenFile, TokenFile]:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            _clear_other_text(folder, settings)
        write_json(folder / SETTINGS_NAME, settings)
        tokenizer = _tokenizer(folder, run, corpus)
        return tokenizer, *_token_files(folder, tokenizer, corpus)

    tokenizer, train_data, validation_data = team.in_turn(prepare)
    team.agree({"the number of tokens": (len(train_data), len(validation_data))})
    n_tokens, whole_documents = len(train_data), run.text.whole_documents
    if whole_documents is None:
        whole_documents = _most_fit(train_data, training.context_length or run.model.context_length)
    if whole_documents:
        train_data = WholeDocuments(train_data)
        training = dataclasses.replace(training, at_document_starts=True)
    torch.manual_seed(training.seed)
    model = GPT(dataclasses.replace(run.model, vocab_size=tokenizer.vocab_size))
    print(
        f"{run.preset}: {model.n_parameters:,} parameters, vocabulary {tokenizer.vocab_size:,}; "
        f"{n_tokens:,} training tokens{' in whole documents' if whole_documents else ''}, "
        f"{len(validation_data):,} validation tokens; "
        f"{team.size} × {device}, {training.precision}",
        flush=True,
    )

    if team.rank == 0 and run.text.corpus == "storyworld":
        floor = entropy_floor(FLOOR_STORIES, training.seed, tokenizer, split="validation").nats_per_token
        print(f"no model can get below {floor:.4f} nats per token on these stories", flush=True)
    if done == 0 and 0 in snapshots:
        _save_snapshot(folder, model, 0, team)
    if done < training.steps:
        start = folder if done else None
        changing = [name.removeprefix("training_") for name in changing]
        steps = loop.train(model, train_data, validation_data, training, start, team, changing)
        _log(folder, model, steps, done, training.steps, snapshots, team)
    else:
        # Stopped after the last step, before the model was written.
        model = load(folder / CHECKPOINT_NAME)[0]
    whole = whole_model(model, team)
    name = as_path(folder)
    if whole is not None:
        columns = _columns(_kept_rows(folder / ROWS_NAME, training.steps))
        write_json(folder / LOG_NAME, columns)
        save(folder / MODEL_FOLDER, whole, tokenizer)
        if run.save_as is not None:
            name = run.save_as
            kept = _thinned(_snapshots_in(folder), run.snapshots)
            loaded = ((step, load(_snapshot_path(folder, step))[0]) for step in kept)
            ship(name, whole, tokenizer, columns, loaded)
    print(f"done; to see what it writes: gptlib generate --model {name}")


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


def snapshot_steps(steps: int, n: int) -> list[int]:
    """`n` steps from 0 to `steps`, evenly spaced on a logarithmic scale: early on most changes a step.

    Raises ValueError when there are not that many.
    """
    if n < 0 or n == 1:
        raise ValueError(f"snapshots is {n}; it needs to be 0, or at least 2: the first and the last step")
    if n > steps + 1:
        raise ValueError(f"snapshots is {n}; it needs to be at most steps + 1 = {steps + 1}")
    if n == 0:
        return []
    chosen = [0]
    for index in range(1, n):
        ideal = round(steps ** ((index - 1) / (n - 2))) if n > 2 else steps
        # Rounding may bring two together at the start, and must leave room for those that follow.
        chosen.append(min(max(ideal, chosen[-1] + 1), steps - (n - 1 - index)))
    return chosen


class _Texts:
    """The documents of the corpus that was asked for."""

    def __init__(self, text: Text, seed: int) -> None:
        self.stories, self.seed = text.stories, seed
        self.splits = None
        if text.corpus == "storyworld":
            check_whole("--stories", text.stories)
            return
        if text.corpus == "python-docs":
            corpus = corpora.python_documentation()
        elif text.corpus == "python-source":
            corpus = corpora.python_source()
        elif Path(text.corpus).is_file():
            corpus = corpora.text_file(text.corpus)
        else:
            raise FileNotFoundError(
                f"--corpus is {text.corpus!r}; it needs to be storyworld, python-docs, python-source or the "
                "path of a text file"
            )
        self.splits = corpus.split(seed=seed)

    def train(self) -> Iterator[str]:
        if self.splits is not None:
            return iter(self.splits[0].documents)
        return self._stories("train", self.stories)

    def validation(self) -> Iterator[str]:
        if self.splits is not None:
            return iter(self.splits[1].documents)
        return self._stories("validation", VALIDATION_STORIES)

    def _stories(self, split: str, n: int) -> Iterator[str]:
        # One at a time: a story's annotations take far more memory than its text.
        return (story.text for story in islice(Storyworld(self.seed, split=split), n))


def _clear_other_text(folder: Path, settings: dict[str, Any]) -> None:
    """Remove the tokens that a run with another text, stopped before a checkpoint, left in the folder."""
    path = folder / SETTINGS_NAME
    names = ("corpus", "stories", "tokenizer", "vocab_size", "preset", "seed")
    before = read_json(path) if path.exists() else {}
    if any(before.get(name) != settings[name] for name in names):
        for name in (TOKENIZER_NAME, "train.npy", "validation.npy"):
            (folder / name).unlink(missing_ok=True)


def _tokenizer(folder: Path, run: Run, corpus: _Texts) -> Tokenizer | CharacterTokenizer:
    path = folder / TOKENIZER_NAME
    if path.exists():
        return load_tokenizer(path)
    if run.text.tokenizer is not None:
        tokenizer = load_tokenizer(run.text.tokenizer)
    else:
        size = run.model.vocab_size
        print(f"learning a vocabulary of {size:,}", flush=True)
        tokenizer = Tokenizer.train(_first_characters(corpus.train(), TOKENIZER_CHARACTERS), size)
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
    files = []
    for name, documents in (("train", corpus.train), ("validation", corpus.validation)):
        path = folder / f"{name}.npy"
        if path.exists():
            files.append(TokenFile(path))
        else:
            print(f"turning the {name} text into tokens", flush=True)
            files.append(write_tokens(documents(), tokenizer, path))
    return files[0], files[1]


def _most_fit(tokens: TokenFile, context_length: int) -> bool:
    """Whether most of the documents fit the context."""
    lengths = np.diff(tokens.document_starts())
    return len(lengths) > 0 and bool(np.median(lengths) <= context_length)


def _save_snapshot(folder: Path, model: GPT, step: int, team: Alone) -> None:
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
    for step in steps:
        if step.validation_loss is not None or step.step == last:
            validation = "" if step.validation_loss is None else f"  validation {step.validation_loss:.4f}"
            tqdm.write(
                f"step {step.step:,}/{last:,}  loss {step.loss:.4f}{validation}  "
                f"learning rate {step.learning_rate:.2e}  {step.seconds:,.0f} s  "
                f"{step.tokens_per_second:,.0f} tokens/s"
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
    """One list for each quantity; what was not measured is null."""
    values = [json.loads(row) for row in rows]
    names = [field.name for field in dataclasses.fields(Step)]
    return {name: [value.get(name) for value in values] for name in names}
