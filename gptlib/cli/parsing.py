"""What cyclopts takes too lightly."""

from __future__ import annotations

from types import NoneType
from typing import get_args

from cyclopts import App, ArgumentCollection


def refuse_rounding(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """ValueError for a fraction where a whole number is asked for: it would be rounded, and nothing said."""
    for argument in arguments:
        kinds = set(get_args(argument.hint) or (argument.hint,)) - {NoneType}
        for token in argument.tokens:
            if kinds == {int} and "." in token.value:
                raise ValueError(f"{argument.name} is {token.value}; it needs a whole number")
