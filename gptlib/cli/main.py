"""`python -m gptlib …`: one verb each for what a person does at a shell.

`train` a model, `generate` text with one, `start` and `update` your copies of the notebooks, and ask the
`doctor` whether this machine has what the course needs. A mistake in what was asked for is one line on
stderr, and exit status 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptlib.cli import finetuning as cli_finetuning
from gptlib.cli import training as cli_training
from gptlib.cli.training import MODEL_NAME, TOKENIZER_NAME
from gptlib.extras import MissingExtra
from gptlib.places import course_root, readers_root

if TYPE_CHECKING:
    # Each verb imports what it needs, so that the doctor can be asked when something is missing.
    from gptlib.model.gpt import GPT
    from gptlib.text.characters import CharacterTokenizer
    from gptlib.text.tokenizer import Tokenizer


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
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, MissingExtra) as error:
        print(f"{parser.prog} {options.verb}: error: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="python -m gptlib", description="A GPT you can see, from the shell."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    cli_training.add_verb(verbs)
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
    from gptlib.generation.writing import generate_many, stream

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
        from gptlib.shipped import load_pretrained

        return load_pretrained(name)
    from gptlib.text.tokenizer import load_tokenizer
    from gptlib.training.checkpoints import CHECKPOINT_NAME, load_model

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
    from gptlib.course.desk import workbooks

    done = workbooks.start(course_root() / "notebooks", readers_root() / "work", options.numbers)
    for each in done:
        if options.numbers or each.action != "kept":
            print(each.sentence)
    if all(each.action == "kept" for each in done) and not options.numbers:
        print("Your notebooks are in work/, as you left them.")
    return 0


def run_update(options: argparse.Namespace) -> int:
    """Say for each workbook what the update did to it."""
    from gptlib.course.desk import workbooks

    done = workbooks.update(course_root() / "notebooks", readers_root() / "work", options.numbers)
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
    from gptlib.course.slides.deck import write_show

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
    from gptlib.course.grading.nbgrader import write_course

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
    from gptlib.course.grading.marking import grade

    graded = grade(options.submissions, options.out, options.rubric, options.jobs)
    print(f"students: {len(graded.rows)}, exercises: {len(graded.exercises)}: {options.out / 'grades.csv'}")
    print(f"what to talk about in the next lecture: {options.out / 'class.html'}")
    return 0


# ----------------------------------------------------------------------------------------------------- doctor


def run_doctor(options: argparse.Namespace) -> int:
    """Say what this machine has; 1 if something is wrong."""
    from gptlib.cli import doctor

    return doctor.main()
