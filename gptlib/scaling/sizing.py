"""Does it fit? What each of n cards holds, in the number formats and with the sharding that people use.

`gptlib.scaling.costs` counts for one machine in float32, and a test holds the two equal there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gptlib.checks import check_choice, check_flag, whole_numbers
from gptlib.model.config import GPTConfig
from gptlib.scaling.costs import FLOAT32, activation_memory, cache_memory, sharded_memory
from gptlib.scaling.counting import count_parameters


@dataclass(frozen=True)
class NumberFormat:
    """Bytes of a number, by what it is.

    matrices      a weight in the matrices inside the blocks
    others        any other parameter: of embeddings, biases and norms
    gradients     for each parameter; None where the format is for writing alone
    optimizer     what AdamW remembers for each parameter; None likewise
    activations   what is kept for the way back, and a key's or a value's number in the cache
    """

    matrices: float
    others: float
    gradients: int | None
    optimizer: int | None
    activations: int


NUMBER_FORMATS = {
    "float32": NumberFormat(4, 4, 4, 8, 4),
    # AdamW's two numbers stay in float32, and so does a copy of the weights (Rajbhandari et al. 2020, "ZeRO:
    # Memory Optimizations Toward Training Trillion Parameter Models", section 3.1).
    "16-bit": NumberFormat(2, 2, 2, 12, 2),
    # Only matrices inside the blocks; the scale of each row is too little to count (Dettmers et al. 2022,
    # "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", section 3).
    "8-bit": NumberFormat(1, 2, None, None, 2),
    # 64 weights share a scale in float32 (Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized
    # LLMs", section 3; before its double quantization).
    "4-bit": NumberFormat(0.5 + 4 / 64, 2, None, None, 2),
}


def memory_each(
    config: GPTConfig,
    batch_size: int,
    number_format: str = "16-bit",
    training: bool = True,
    n_cards: int = 1,
    stage: int = 0,
) -> dict[str, float]:
    """Bytes that each of n_cards holds: its "weights", and the most at once, "peak".

    In training also "gradients", "optimizer" and "activations" (`training_memory` says what they are, and why
    the peak is not their sum); in writing a "cache" for the whole context.

    batch_size: sequences of context_length, or texts that are written at once, on each card.
    number_format: one of NUMBER_FORMATS. "16-bit" is a model whose weights are in 16 bits; autocast, which
        keeps them in float32, keeps up to twice the activations. Log-probabilities are in float32 always.
    stage: what is cut up among the cards: see `sharded_memory`. In writing that is the weights, by stage 3.
        The one layer that is fetched whole for the moment is not counted.

    Raises ValueError for a format that cannot train, and as `training_memory` and `sharded_memory` do.
    """
    check_choice("number_format", number_format, NUMBER_FORMATS)
    check_flag("training", training)
    batch_size, n_cards = whole_numbers(batch_size=batch_size, n_cards=n_cards)
    n_bytes = NUMBER_FORMATS[number_format]
    n_parameters = count_parameters(config)["total"]
    if not training:
        counts = count_parameters(replace(config, bias=False, qk_norm=False))
        in_matrices = counts["attention"] + counts["mlp"]
        weights = n_bytes.matrices * in_matrices + n_bytes.others * (n_parameters - in_matrices)
        cache = cache_memory(config, batch_size, bytes_per_number=n_bytes.activations)
        whole = {"weights": weights, "gradients": 0, "optimizer": 0, "activations": cache}
        each = sharded_memory(whole, n_cards, stage)
        held = {"weights": each["weights"], "cache": each["activations"]}
        return held | {"peak": sum(held.values())}
    if n_bytes.gradients is None or n_bytes.optimizer is None:
        raise ValueError(f"number_format is {number_format!r}; training needs 'float32' or '16-bit'")
    n_logits = batch_size * config.context_length * config.vocab_size
    n_kept = activation_memory(config, batch_size, config.context_length) // FLOAT32 - n_logits
    whole = {
        "weights": n_bytes.matrices * n_parameters,
        "gradients": n_bytes.gradients * n_parameters,
        "optimizer": n_bytes.optimizer * n_parameters,
        "activations": n_bytes.activations * n_kept + FLOAT32 * n_logits,
    }
    each = sharded_memory(whole, n_cards, stage)
    begins = each["activations"] + 2 * FLOAT32 * n_logits
    tied = n_bytes.gradients * config.tie_embeddings * config.vocab_size * config.d_model
    ends = each["gradients"] + tied
    return each | {"peak": each["weights"] + each["optimizer"] + max(begins, ends)}
