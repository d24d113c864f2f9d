"""Figures of what a GPT does: `figures` for pictures that stand still, and explorers that answer."""

from typing import Any

from gptlib.extras import need

need("viz")
from gptlib.viz import explorers, figures  # noqa: E402

__all__ = ["figures", *explorers.__all__]


def __getattr__(name: str) -> Any:
    return getattr(explorers, name)
