"""Write docs/glossary.md anew, from the notebooks."""

from __future__ import annotations

from gptlib.course.glossary import write_glossary


def glossary() -> None:
    """Write it and say where it is."""
    print(write_glossary())
