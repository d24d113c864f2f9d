"""Say how far you are, and what is due again."""

from __future__ import annotations

from gptlib.course.desk.progress import progress as table


def progress() -> None:
    """Print the table that `progress()` shows in a notebook."""
    print(table())
