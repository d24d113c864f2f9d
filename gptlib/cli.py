"""`python -m gptlib …`: one verb each for what a person does at a shell.

`train` a model, `generate` text with one, `start` and `update` your copies of the notebooks, and ask the
`doctor` whether this machine has what the course needs. A mistake in what was asked for is one line on
stderr, and exit status 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptlib import cli_finetuning
from gptlib.files import write_atomically

if TYPE_CHECKING:
    # Each verb imports what it needs, so that the doctor can be asked when something is missing.
    from gptlib.corpora import TokenFile
    from gptlib.gpt import GPT
    from gptlib.tokenizer import CharacterTokenizer, Tokenizer
    from gptlib.training import Step

MODEL_NAME = "model.safetensors"
TOKENIZER_NAME = "tokenizer.json"
CONFIG_NAME = "config.json"
LOG_NAME = "training_log.json"
# Rows are added to this one while the run goes on; LOG_NAME is made of them at its end.
ROWS_NAME = "training_log.jsonl"
SETTINGS_NAME = "settings.json"
SNAPSHOTS_NAME = "snapshots"

# Enough text to learn merges from: more changes few of them and takes longer.
TOKENIZER_CHARACTERS = 2_000_000
VALIDATION_STORIES = 2_000
FLOOR_STORIES = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    0: done. 1: the doctor found something. 2: a mistake in what was asked for. 130: stopped by the keyboard.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {options.verb}: stopped", file=sys.stderr)
        return 130
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        print(f"{parser.prog} {options.verb}: error: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="python -m gptlib", description="A GPT you can see, from the shell."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    _add_train(verbs.add_parser("train", help="train a GPT on a corpus, or go on training one"))
    _add_generate(verbs.add_parser("generate", help="let a trained GPT write"))
    cli_finetuning.add_verbs(verbs)
    _add_start(verbs.add_parser("start", help="make your own copies of the notebooks, in work/"))
    _add_update(verbs.add_parser("update", help="bring what the course changed into your copies"))
    progress = verbs.add_parser("progress", help="say how far you are, and what is due again")
    progress.set_defaults(run=run_progress)
    _add_slides(verbs.add_parser("slides", help="make a slide show of a notebook, to present offline"))
    glossary = verbs.add_parser("glossary", help="write docs/glossary.md anew, from the notebooks")
    glossary.set_defaults(run=run_glossary)
    _add_nbgrader(verbs.add_parser("nbgrader", help="write the course in nbgrader's format"))
    _add_grade(verbs.add_parser("grade", help="grade the notebooks that a class handed in"))
    doctor = verbs.add_parser("doctor", help="say what this machine has, and how to mend what it lacks")
    doctor.set_defaults(run=run_doctor)
    return parser


# ------------------------------------------------------------------------------------------------------ train


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a GPT. The folder gets the tokenizer, the token files, checkpoints, a log and, at last, the "
        "model. A run that was stopped goes on with --resume --folder FOLDER, as if it had not been stopped."
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
    import torch

    from gptlib import training

    folder: Path = options.folder
    settings = _settings(options)
    if settings["threads"] is not None:
        if settings["threads"] < 1:
            raise ValueError(f"--threads must be at least 1, got {settings['threads']}")
        torch.set_num_threads(settings["threads"])
    documents_start = settings["at_document_starts"]
    config = training.TrainConfig(
        steps=settings["steps"],
        batch_size=settings["batch_size"],
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
        device=training.pick_device(settings["device"]),
    )
    snapshots = snapshot_steps(config.steps, settings["snapshots"])
    # Before anything is made, so that a mistyped shape or corpus costs no waiting.
    shape = _shape(settings)
    corpus = _Texts(settings)
    done = training.load_checkpoint(folder).step if options.resume else 0
    if done > config.steps:
        raise ValueError(f"--steps must be at least {done}, the steps already made, got {config.steps}")

    folder.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        _clear_other_text(folder, settings)
    _write_json(folder / SETTINGS_NAME, settings)
    tokenizer = _tokenizer(folder, settings, shape.vocab_size, corpus)
    train_data, validation_data = _token_files(folder, tokenizer, corpus)
    torch.manual_seed(config.seed)
    model = training.GPT(dataclasses.replace(shape, vocab_size=tokenizer.vocab_size))
    print(
        f"{settings['preset']}: {model.n_parameters:,} parameters, vocabulary {tokenizer.vocab_size:,}; "
        f"{len(train_data):,} training tokens, {len(validation_data):,} validation tokens; "
        f"{config.device}, {config.precision}",
        flush=True,
    )

    _print_floor(settings, tokenizer)
    if done == 0 and 0 in snapshots:
        _save_snapshot(folder, model, 0)
    if done < config.steps:
        steps = training.train(model, train_data, validation_data, config, resume=folder if done else None)
        _log(folder, model, steps, done, config.steps, snapshots)
    else:
        # Stopped after the last step, before the model was written.
        model = training.load_model(folder / training.CHECKPOINT_NAME)[0]
    columns = _columns(_kept_rows(folder / ROWS_NAME, config.steps))
    _write_json(folder / LOG_NAME, columns)
    _write_json(folder / CONFIG_NAME, dataclasses.asdict(model.config))
    training.save_model(folder / MODEL_NAME, model, step=config.steps)
    name = str(folder)
    if settings["save_as"] is not None:
        from gptlib.pretrained import save_pretrained

        name = settings["save_as"]
        kept = _thinned(_snapshots_in(folder), settings["snapshots"])
        loaded = ((step, training.load_model(_snapshot_path(folder, step))[0]) for step in kept)
        save_pretrained(name, model, tokenizer, columns, loaded)
    print(f"done; to see what it writes: python -m gptlib generate --model {name}")
    return 0


def _log(folder: Path, model: GPT, steps: Iterable[Step], done: int, last: int, snapshots: list[int]) -> None:
    """Make all the steps, adding each to the log, and keep the snapshots."""
    if done in snapshots:
        # Stopped between a checkpoint and its snapshot, the run would otherwise lack it.
        _save_snapshot(folder, model, done)
    rows = _kept_rows(folder / ROWS_NAME, done)
    write_atomically(folder / ROWS_NAME, lambda file: file.write("".join(rows).encode()))
    with open(folder / ROWS_NAME, "a", encoding="utf-8") as log:
        for step in _reported(steps, last):
            log.write(_row(step))
            log.flush()
            if step.step in snapshots:
                _save_snapshot(folder, model, step.step)


def _print_floor(settings: dict[str, Any], tokenizer: Tokenizer | CharacterTokenizer) -> None:
    """Say how low the loss can get, where that is known."""
    if settings["corpus"] == "storyworld":
        from gptlib.storyworld import entropy_floor

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
    path = options.folder / SETTINGS_NAME
    checkpoint = options.folder / "checkpoint.safetensors"
    if options.resume:
        if not path.is_file() or not checkpoint.is_file():
            raise FileNotFoundError(
                f"--resume: there is no stopped run with a checkpoint in {str(options.folder)!r}"
            )
        kept = json.loads(path.read_text(encoding="utf-8"))
        # The machine, the end and what becomes of the model may be others; all else is the run's own.
        changeable = ("device", "threads", "steps", "save_as")
        return kept | {name: given[name] for name in changeable if given[name] is not None}
    if given["steps"] is None:
        given["steps"] = 1000
    if checkpoint.exists() or (options.folder / MODEL_NAME).exists():
        raise FileExistsError(
            f"--folder: {str(options.folder)!r} already holds a run; go on with it by --resume, or "
            "name another folder"
        )
    return given


def _shape(settings: dict[str, Any]) -> Any:
    from gptlib.gpt import PRESETS

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
        from gptlib import corpora

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
        from gptlib.storyworld import Storyworld

        # One at a time: a story's annotations take far more memory than its text.
        return (story.text for story in islice(Storyworld(self.settings["seed"], split=split), n))


def _clear_other_text(folder: Path, settings: dict[str, Any]) -> None:
    """Remove the tokens that a run with another text, stopped before a checkpoint, left in the folder."""
    path = folder / SETTINGS_NAME
    names = ("corpus", "stories", "tokenizer", "vocab_size", "preset", "seed")
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if any(before.get(name) != settings[name] for name in names):
        for name in (TOKENIZER_NAME, "train.npy", "validation.npy"):
            (folder / name).unlink(missing_ok=True)


def _tokenizer(
    folder: Path, settings: dict[str, Any], vocab_size: int, corpus: _Texts
) -> Tokenizer | CharacterTokenizer:
    from gptlib.tokenizer import Tokenizer, load_tokenizer

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
    from gptlib.corpora import TokenFile, write_tokens

    files = []
    for name, documents in (("train", corpus.train), ("validation", corpus.validation)):
        path = folder / f"{name}.npy"
        if path.exists():
            files.append(TokenFile(path))
        else:
            print(f"turning the {name} text into tokens", flush=True)
            files.append(write_tokens(documents(), tokenizer, path))
    return files[0], files[1]


def _save_snapshot(folder: Path, model: GPT, step: int) -> None:
    from gptlib.training import save_model

    (folder / SNAPSHOTS_NAME).mkdir(exist_ok=True)
    save_model(_snapshot_path(folder, step), model, step=step, half=True)


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


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    write_atomically(path, lambda file: file.write(text.encode() + b"\n"))


# --------------------------------------------------------------------------------------------------- generate


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Let a trained GPT write on from a prompt."
    parser.set_defaults(run=run_generate)
    parser.add_argument(
        "--model",
        default="storyteller",
        help="the name of a model that comes with the course, or a folder made by train",
    )
    parser.add_argument("--prompt", default="", help="how the text begins (default: the model begins it)")
    parser.add_argument("--max-new-tokens", type=int, default=250, help="longest continuation (default: 250)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 bolder, 0 always the likeliest token"
    )
    parser.add_argument("--top-k", type=int, help="choose among the k likeliest tokens")
    parser.add_argument(
        "--top-p", type=float, help="choose among the likeliest tokens that hold this probability"
    )
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.0, help="above 1 makes old tokens less likely"
    )
    parser.add_argument(
        "--no-repeat-ngram", type=int, metavar="N", help="never write the same N tokens twice"
    )
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text (repeatable)"
    )
    parser.add_argument("--sequences", type=int, default=1, help="how many continuations (default: 1)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same text")
    parser.add_argument(
        "--no-cache", action="store_true", help="compute every token anew, to see what the cache saves"
    )


def run_generate(options: argparse.Namespace) -> int:
    """Print one text as it is written, or several when they are done."""
    from gptlib.generation import generate_many, stream

    model, tokenizer = load_named(options.model)
    settings: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "max_new_tokens",
            "temperature",
            "top_k",
            "top_p",
            "repetition_penalty",
            "no_repeat_ngram",
            "seed",
        )
    }
    settings |= {"stop": tuple(options.stop), "cached": not options.no_cache}
    if options.sequences == 1:
        for piece in stream(model, tokenizer, options.prompt, **settings):
            print(piece, end="", flush=True)
        print()
        return 0
    texts = generate_many(model, tokenizer, options.prompt, n_sequences=options.sequences, **settings)
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{text}")
    return 0


def load_named(name: str) -> tuple[GPT, Tokenizer | CharacterTokenizer]:
    """A model that comes with the course by its name, or one that `train` made by its folder."""
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists() or "/" in name or "\\" in name:
            raise FileNotFoundError(f"--model: there is no folder {name!r}")
        from gptlib.pretrained import load_pretrained

        return load_pretrained(name)
    from gptlib.tokenizer import load_tokenizer
    from gptlib.training import CHECKPOINT_NAME, load_model

    path = folder / MODEL_NAME
    if not path.exists():
        # A run that is still going on, or was stopped, has no model yet; its checkpoint holds one.
        path = folder / CHECKPOINT_NAME
    if not path.exists():
        raise FileNotFoundError(f"--model: there is neither {MODEL_NAME} nor {CHECKPOINT_NAME} in {name!r}")
    return load_model(path)[0], load_tokenizer(folder / TOKENIZER_NAME)


# -------------------------------------------------------------------------------------------------- workbooks


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.description = "Copy the course's notebooks to work/, for you to write in. What is there is kept."
    parser.set_defaults(run=run_start)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="such as 03; without any, all notebooks")


def _add_update(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Bring what the course changed into your copies in work/, and keep all that you wrote. A copy that "
        "is changed goes to work/backups/ first, as it was."
    )
    parser.set_defaults(run=run_update)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="such as 03; without any, all of yours")


def run_start(options: argparse.Namespace) -> int:
    """Make the workbooks that are not there yet."""
    from gptlib.course import workbooks

    done = workbooks.start(workbooks.course_folder(), options.numbers)
    for each in done:
        if options.numbers or each.action != "kept":
            print(each.sentence)
    if all(each.action == "kept" for each in done) and not options.numbers:
        print("Your notebooks are in work/, as you left them.")
    return 0


def run_update(options: argparse.Namespace) -> int:
    """Say for each workbook what the update did to it."""
    from gptlib.course import workbooks

    done = workbooks.update(workbooks.course_folder(), options.numbers)
    for each in done:
        print(each.sentence)
    if not done:
        print("There is nothing in work/ yet: `python -m gptlib start` makes your copies.")
    if any(each.action in ("updated", "set aside") for each in done):
        print("If one is open in JupyterLab: File > Reload Notebook from Disk.")
    return 0


def run_progress(options: argparse.Namespace) -> int:
    """Print the table that `progress()` shows in a notebook."""
    from gptlib.course import progress

    print(progress())
    return 0


# --------------------------------------------------------------------------------------------------- teaching


def _add_slides(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make a slide show of a notebook: one HTML file that any browser shows, offline."
    parser.set_defaults(run=run_slides)
    parser.add_argument("notebook", metavar="NN", help="such as 03, or a notebook's path")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write it (default: slides/)")


def run_slides(options: argparse.Namespace) -> int:
    """Write the show and say how to present it."""
    from gptlib.course.slides import write_show

    path = write_show(options.notebook, options.out)
    print(f"{path}: open it in a browser. Arrow keys move on, s opens the speaker's notes, esc the overview.")
    return 0


def run_glossary(options: argparse.Namespace) -> int:
    """Write the glossary."""
    from gptlib.course.glossary import write_glossary

    print(write_glossary())
    return 0


def _add_nbgrader(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write notebooks with their solutions and hidden tests for nbgrader. What is there is kept. "
        "docs/teaching/nbgrader.md says how to go on."
    )
    parser.set_defaults(run=run_nbgrader)
    parser.add_argument("folder", metavar="DIR", type=Path, help="nbgrader's folder of the course")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="such as 03; without any, all notebooks")


def run_nbgrader(options: argparse.Namespace) -> int:
    """Write the notebooks and say what to call next."""
    from gptlib.course.nbgrader import write_course

    written = write_course(options.folder, options.numbers)
    print("\n".join(map(str, written)) or "They are there already, and were kept as they are.")
    print(f"In {options.folder}, `nbgrader generate_assignment NAME` makes the students' version of each.")
    return 0


# ---------------------------------------------------------------------------------------------------- grading


def _add_grade(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Grade a folder or zip of notebooks: grades.csv, a report for each student and one on the class. A "
        "run that was stopped goes on when called again. How, and how safe: docs/teaching/grading.md."
    )
    parser.set_defaults(run=run_grade)
    parser.add_argument("submissions", type=Path, help="what the class handed in: a folder or a zip")
    parser.add_argument("--out", required=True, type=Path, help="the folder for grades and reports")
    parser.add_argument("--rubric", type=Path, help="points, as JSON (default: an exercise's difficulty)")
    parser.add_argument("--jobs", type=int, default=2, help="answers that run at a time (default: 2)")


def run_grade(options: argparse.Namespace) -> int:
    """Grade, and say where the reports are."""
    from gptlib.course.grading import grade

    graded = grade(options.submissions, options.out, options.rubric, options.jobs)
    print(f"students: {len(graded.rows)}, exercises: {len(graded.exercises)}: {options.out / 'grades.csv'}")
    print(f"what to talk about in the next lecture: {options.out / 'class.html'}")
    return 0


# ----------------------------------------------------------------------------------------------------- doctor


def run_doctor(options: argparse.Namespace) -> int:
    """Say what this machine has; 1 if something is wrong."""
    from gptlib import doctor

    return doctor.main()
