"""Live pictures for notebooks, which ask the reader's own model: `from gptlib.viz import AttentionExplorer`.

Each is a class with the page code it owns beside it. A class is imported when it is first asked for, so
that figures alone do not wait for widgets.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "AttentionExplorer": "attention",
    "AttentionSteps": "steps",
    "BPEExplorer": "bpe",
    "BudgetExplorer": "budget",
    "GenerationExplorer": "generation",
    "PatchingExplorer": "patching",
    "PositionExplorer": "position",
    "TrainingDashboard": "dashboard",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(HOMES)}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
