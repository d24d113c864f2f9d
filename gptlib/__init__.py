"""gptlib: the library behind the course, a module for each idea, in the order in which text flows.

Note that `gptlib.attention` is the function; its module is reached with `from gptlib.attention import …`.
"""

from gptlib.attention import attention
from gptlib.generation import generate
from gptlib.gpt import GPT, GPTConfig
from gptlib.pretrained import load_pretrained
from gptlib.storyworld import Storyworld
from gptlib.tokenizer import Tokenizer
from gptlib.tracing import trace
from gptlib.training import TrainConfig, train

__all__ = [
    "GPT",
    "GPTConfig",
    "Storyworld",
    "Tokenizer",
    "TrainConfig",
    "attention",
    "generate",
    "load_pretrained",
    "trace",
    "train",
]
