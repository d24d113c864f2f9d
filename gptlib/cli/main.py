"""`gptlib …`, or `python -m gptlib …`: one verb each for what a person does at a shell.

A mistake in what was asked for is one line on stderr, and exit status 2.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import resources

from gptlib import __version__
from gptlib.cli.doctor import INSTALL
from gptlib.extras import MissingExtra

try:
    from cyclopts import App, CycloptsError, Parameter

    from gptlib.cli.parsing import refuse_rounding
except ImportError as error:
    raise SystemExit(
        f"gptlib: cyclopts, which reads the command line, is not there ({error}): {INSTALL}"
    ) from None

# In the order in which they are listed.
VERBS = (
    "train",
    "generate",
    "page",
    "finetune",
    "evaluate",
    "start",
    "update",
    "progress",
    "slides",
    "glossary",
    "site",
    "nbgrader",
    "grade",
    "doctor",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    0: done. 1: the doctor found something. 2: a mistake in what was asked for. 130: stopped by the keyboard.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    name = f"gptlib {arguments[0]}" if arguments and arguments[0] in VERBS else "gptlib"
    _escape_what_cannot_be_shown()
    try:
        with _one_voice():
            return make_app()(arguments) or 0
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        return 130
    except ImportError as error:
        cause = error.__cause__ or error
        advice = "" if isinstance(cause, MissingExtra) else "; `gptlib doctor` says what to do"
        print(f"{name}: error: {cause}{advice}", file=sys.stderr)
        return 2
    except (CycloptsError, ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2


def make_app() -> App:
    """All verbs. A verb's file is imported only when it is asked for; its docstring is the verb's help."""
    app = App(
        name="gptlib",
        help="A GPT you can see, from the shell.",
        help_format="plaintext",
        version=__version__,
        config=refuse_rounding,
        default_parameter=Parameter(allow_repeating=True, negative_iterable=(), negative_none=()),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
    )
    for order, verb in enumerate(VERBS):
        app.command(f"gptlib.cli.{verb}:{verb}", name=verb, help=_docstring(verb), sort_key=order)
    return app


def _docstring(verb: str) -> str:
    source = resources.files("gptlib.cli").joinpath(f"{verb}.py").read_text(encoding="utf-8")
    paragraphs = ast.get_docstring(ast.parse(source)).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _escape_what_cannot_be_shown() -> None:
    r"""Print \u732b where the encoding of the output, such as Windows' own for pipes, has no 猫."""
    for stream in (sys.stdout, sys.stderr):
        # Another handling was asked for by PYTHONIOENCODING; a stream that is no file of text has none.
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")


def _one_voice() -> contextlib.AbstractContextManager[None]:
    """Of several processes that torchrun started, one speaks for all."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return contextlib.nullcontext()
    from gptlib.training.distributed import one_voice

    return one_voice()
