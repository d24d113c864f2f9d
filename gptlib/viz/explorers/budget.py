"""BudgetExplorer: what a GPT of any size costs, and whether it fits, on hardware that you name.

The page has the same arithmetic as `compute_answer`, so that it moves in a file without a kernel too; a test
in a browser holds the two equal.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from traitlets import Bool, Enum, Float, Int

from gptlib.model.config import GPTConfig
from gptlib.model.presets import PRESETS
from gptlib.scaling.cards import CARDS
from gptlib.scaling.costs import training_flops, training_seconds
from gptlib.scaling.counting import count_flops, count_parameters
from gptlib.scaling.sizing import NUMBER_FORMATS, memory_each
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer

D_HEAD = 64  # as in GPT-2, whatever its size
SHARE = 0.4  # of the peak, which a good training run reaches
VOCAB_SIZE = PRESETS["gpt2"].vocab_size
LARGEST = {"n_layers": 128, "d_model": 16384, "context_length": 32768, "batch_size": 4096, "n_cards": 65536}
# Layers, width and context of published sizes, in this layout: heads of GPT-3 and Llama 2 are twice as wide,
# and Llama 2 has other blocks, of nearly as many numbers (Touvron et al. 2023, "LLaMA", table 2; its context:
# Touvron et al. 2023, "Llama 2", table 1).
SIZES = {
    name: (size.n_layers, size.d_model, size.context_length)
    for name, size in (
        ("GPT-2", PRESETS["gpt2"]),
        ("GPT-2 XL", PRESETS["gpt2-xl"]),
        ("GPT-3", PRESETS["gpt3"]),
    )
} | {"Llama 2 7B": (32, 4096, 4096)}


class BudgetExplorer(Explorer):
    """Memory, operations and time of a GPT in GPT-2's layout, in training and in writing, under sliders.

    Memory is what each of n_cards holds (`gptlib.scaling.sizing`). The time of training is for cards that
    reach 40% of their peak in 16 bits; in writing, each card can do no better than to read all it holds once
    for each token.

    n_layers, d_model, context_length: the model; d_model is a multiple of 64, the width of a head.
    batch_size: sequences of context_length on each card, or texts that each card writes at once.
    tokens: how many tokens are read in training.
    training: whether the model is trained, or only writes.
    number_format: one of `gptlib.scaling.sizing.NUMBER_FORMATS`; "8-bit" and "4-bit" are for writing.
    card, n_cards: one of `gptlib.scaling.cards.CARDS`, and how many of it.
    stage: what is cut up among the cards: 0 nothing, 1 to 3 what ZeRO's stage says; 3 is FSDP.

    Raises ValueError for a number below 1 or far beyond what was ever built and for a format that cannot
    train, TraitError for an unknown card or format.
    """

    title = "What a GPT costs"
    script = "budget.js"

    n_layers = Int(12, help="blocks").tag(sync=True, asks="answer")
    d_model = Int(768, help="the width of the stream").tag(sync=True, asks="answer")
    context_length = Int(1024, help="tokens in a sequence").tag(sync=True, asks="answer")
    batch_size = Int(8, help="sequences on each card").tag(sync=True, asks="answer")
    tokens = Float(1e10, help="tokens read in training").tag(sync=True, asks="answer")
    training = Bool(True, help="whether it is trained, or only writes").tag(sync=True, asks="answer")
    number_format = Enum(list(NUMBER_FORMATS), "16-bit", help="of its numbers").tag(sync=True, asks="answer")
    card = Enum(list(CARDS), "A100", help="the hardware").tag(sync=True, asks="answer")
    n_cards = Int(8, help="how many of it").tag(sync=True, asks="answer")
    stage = Int(0, help="what is cut up among them").tag(sync=True, asks="answer")

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
        """Bytes of each part on each card, operations, days or tokens a second; and what the page needs to
        work them out itself: the formats, the cards (memory, bandwidth, peak) and published sizes.

        `days` of training and `pace`, the most tokens a second for each text that is written, are None where
        there is nothing to say.
        """
        if not 1 <= self.tokens <= 1e15:
            raise ValueError(f"tokens is {self.tokens:g}; it needs to be from 1 to 1e15")
        config, card = self.config, CARDS[self.card]
        held = memory_each(
            config, self.batch_size, self.number_format, self.training, self.n_cards, self.stage
        )
        peak, flops, days, pace = (
            held.pop("peak"),
            float(training_flops(config, round(self.tokens))),
            None,
            None,
        )
        if not self.training:
            computing = (
                self.batch_size * count_flops(config, self.context_length) / (card.peak or float("inf"))
            )
            pace = 1 / max(peak / card.bandwidth, computing)
        elif card.peak is not None:
            days = training_seconds(flops, card.peak, SHARE, self.n_cards) / 86_400
        return {
            "parameters": count_parameters(config)["total"],
            "parts": {name: float(size) for name, size in held.items()},
            "peak": float(peak),
            "flops": flops,
            "days": days,
            "pace": pace,
            "formats": {name: dataclasses.astuple(numbers) for name, numbers in NUMBER_FORMATS.items()},
            "cards": {name: [one.memory, one.bandwidth, one.peak, one.source] for name, one in CARDS.items()},
            "sizes": {name: list(size) for name, size in SIZES.items()},
        }

    def figure(self) -> Drawing:
        """Gigabytes of each part and of the most at once (array `values`), with a card's memory as a mark."""
        memory = CARDS[self.card].memory
        held = self.answer["parts"] | {"most at once": self.answer["peak"]}
        times = self.answer["peak"] / memory
        doing = "Training" if self.training else "Writing"
        fits = "fits" if times <= 1 else f"takes {times:,.1f} times the memory of"
        return figures.bar_chart(
            list(held),
            [size / 1e9 for size in held.values()],
            title=f"{doing} with {self.answer['parameters'] / 1e6:,.0f} million parameters {fits} "
            f"{'on ' if times <= 1 else ''}one {self.card}",
            label=f"GB on each of {self.n_cards:,} cards, at a batch of {self.batch_size:,} × "
            f"{self.context_length:,} tokens, {self.number_format}",
            marks={f"one {self.card}": memory / 1e9},
            number="{:.1f}",
        )

    def __repr__(self) -> str:
        return (
            f"BudgetExplorer(n_layers={self.n_layers}, d_model={self.d_model}, "
            f"context_length={self.context_length}, batch_size={self.batch_size}, tokens={self.tokens:g}, "
            f"training={self.training}, number_format={self.number_format!r}, card={self.card!r}, "
            f"n_cards={self.n_cards}, stage={self.stage})"
        )
