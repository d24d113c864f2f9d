"""The library behind the course. What you need first is here; each topic has a package of its own.

A name is imported when it is first asked for, so that `gptlib doctor` answers also where torch is broken.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; tests/test_imports.py holds both lists to each other
    from gptlib.generation.writing import generate as generate
    from gptlib.interpret.tracing import trace as trace
    from gptlib.loading import load as load
    from gptlib.loading import save as save
    from gptlib.model.attention import attend as attend
    from gptlib.model.config import GPTConfig as GPTConfig
    from gptlib.model.gpt import GPT as GPT
    from gptlib.text.storyworld import Storyworld as Storyworld
    from gptlib.text.tokenizer import Tokenizer as Tokenizer
    from gptlib.training.config import TrainConfig as TrainConfig
    from gptlib.training.loop import train as train

__version__ = "0.2.0"

_HOMES = {
    "GPT": "gptlib.model.gpt",
    "GPTConfig": "gptlib.model.config",
    "Storyworld": "gptlib.text.storyworld",
    "Tokenizer": "gptlib.text.tokenizer",
    "TrainConfig": "gptlib.training.config",
    "attend": "gptlib.model.attention",
    "generate": "gptlib.generation.writing",
    "load": "gptlib.loading",
    "save": "gptlib.loading",
    "trace": "gptlib.interpret.tracing",
    "train": "gptlib.training.loop",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptlib' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
