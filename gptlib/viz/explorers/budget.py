"""BudgetExplorer: what a GPT of any size costs on hardware that you name."""

from __future__ import annotations

from typing import Any

from traitlets import Enum, Float, Int

from gptlib.model.config import GPTConfig
from gptlib.model.presets import PRESETS
from gptlib.scaling.costs import HARDWARE, cache_memory, training_flops, training_memory, training_seconds
from gptlib.scaling.counting import count_parameters
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer

D_HEAD = 64  # as in GPT-2, whatever its size
SHARE = 0.4  # of the peak, which a good training run reaches
VOCAB_SIZE = PRESETS["gpt2"].vocab_size
LARGEST = {"n_layers": 128, "d_model": 16384, "context_length": 32768, "batch_size": 4096, "n_cards": 65536}


class BudgetExplorer(Explorer):
    """Memory, operations and days of training a GPT in GPT-2's layout, under sliders for every number.

    Memory is counted in float32 for one card that holds the whole model and the whole batch, time for n_cards
    that reach 40% of their peak (`gptlib.scaling.costs`).

    n_layers, d_model, context_length: the model; d_model is a multiple of 64, the width of a head.
    batch_size: sequences of context_length in a batch, and texts that are written at once.
    tokens: how many tokens are read in training.
    card, n_cards: one of `gptlib.scaling.costs.HARDWARE`, and how many of it.

    Raises ValueError for a number below 1 or far beyond what was ever built, TraitError for an unknown card.
    """

    title = "What a GPT costs"
    script = "budget.js"

    n_layers = Int(12, help="blocks").tag(sync=True, asks="answer")
    d_model = Int(768, help="the width of the stream").tag(sync=True, asks="answer")
    context_length = Int(1024, help="tokens in a sequence").tag(sync=True, asks="answer")
    batch_size = Int(8, help="sequences in a batch").tag(sync=True, asks="answer")
    tokens = Float(1e10, help="tokens read in training").tag(sync=True, asks="answer")
    card = Enum(list(HARDWARE), "A100", help="the hardware").tag(sync=True, asks="answer")
    n_cards = Int(8, help="how many of it").tag(sync=True, asks="answer")

    def __init__(self, **numbers: Any) -> None:
        super().__init__(**numbers)
        self.begin()

    @property
    def config(self) -> GPTConfig:
        """The model that the sliders describe. Raises ValueError as the explorer does."""
        for name, largest in LARGEST.items():
            if not 1 <= getattr(self, name) <= largest:
                raise ValueError(f"{name} is {getattr(self, name)}; it needs to be from 1 to {largest:,}")
        if self.d_model % D_HEAD:
            raise ValueError(f"d_model is {self.d_model}; it needs to be a multiple of {D_HEAD}")
        n_heads = self.d_model // D_HEAD
        return GPTConfig(VOCAB_SIZE, self.context_length, self.n_layers, n_heads, self.d_model)

    def compute_answer(self) -> dict[str, Any]:
        """Bytes of each part in training and of the cache in writing, operations and days."""
        if not 1 <= self.tokens <= 1e15:
            raise ValueError(f"tokens is {self.tokens:g}; it needs to be from 1 to 1e15")
        config, hardware = self.config, HARDWARE[self.card]
        flops = training_flops(config, round(self.tokens))
        parts = training_memory(config, self.batch_size)
        del parts["peak"]
        return {
            "parameters": count_parameters(config)["total"],
            "parts": {name: float(size) for name, size in parts.items()},
            "cache": float(cache_memory(config, self.batch_size)),
            "flops": float(flops),
            "days": training_seconds(flops, hardware.peak, SHARE, self.n_cards) / 86_400,
            "card_memory": hardware.memory,
            "cards": list(HARDWARE),
        }

    def figure(self) -> Drawing:
        """Gigabytes of each part (array `values`), with the memory of one card as a mark."""
        gigabytes = {name: size / 1e9 for name, size in self.answer["parts"].items()}
        return figures.bar_chart(
            list(gigabytes),
            list(gigabytes.values()),
            title=f"{self.answer['parameters'] / 1e6:,.0f} million parameters: {self.answer['flops']:.1e} "
            f"operations, {self.answer['days']:,.1f} days on {self.n_cards:,} {self.card}",
            label=f"GB in training, at {self.batch_size:,} sequences of {self.context_length:,} tokens",
            marks={f"one {self.card}": self.answer["card_memory"] / 1e9},
            number="{:.1f}",
        )

    def __repr__(self) -> str:
        return (
            f"BudgetExplorer(n_layers={self.n_layers}, d_model={self.d_model}, "
            f"context_length={self.context_length}, batch_size={self.batch_size}, tokens={self.tokens:.0e}, "
            f"card={self.card!r}, n_cards={self.n_cards})"
        )
