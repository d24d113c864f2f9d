"""gptlib: the library behind the course. What you need first is here; the rest has a package for each topic."""

from gptlib.generation.writing import generate
from gptlib.interpret.tracing import trace
from gptlib.loading import load, save
from gptlib.model.attention import attend
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.storyworld import Storyworld
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.loop import train

__all__ = [
    "GPT",
    "GPTConfig",
    "Storyworld",
    "Tokenizer",
    "TrainConfig",
    "attend",
    "generate",
    "load",
    "save",
    "trace",
    "train",
]
