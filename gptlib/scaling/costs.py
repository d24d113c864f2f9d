"""What training a GPT and writing with it cost, before either is done.

Formulas alone: operations, bytes in memory, bytes moved, and what they mean on hardware. `scaling.meters`
measures the same on a running model. Parameters, and the operations of a forward pass, are counted in
`scaling.counting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gptlib.checks import check_choice, check_from_zero, check_kind, check_positive, whole_numbers
from gptlib.model.config import GPTConfig
from gptlib.scaling.counting import (
    check_config_kind,
    count_active_parameters,
    count_flops,
    count_parameters,
)
from gptlib.training.optimizers import OPTIMIZERS

FLOAT32 = 4  # bytes of a number


# ------------------------------------------------------------------------------------------- operations


def training_flops(config: GPTConfig, n_tokens: int, seq: int | None = None) -> int:
    """Operations of training on n_tokens tokens in sequences of seq (None: context_length).

    Three times a forward pass: for each product on the way forward there are two on the way back, one for the
    gradient of each factor. Raises ValueError when a count is below 1 or seq beyond the context.
    Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
    """
    check_config_kind(config)
    (n_tokens,) = whole_numbers(n_tokens=n_tokens)
    return 3 * n_tokens * count_flops(config, config.context_length if seq is None else seq)


def generation_flops(config: GPTConfig, n_prompt: int, n_new: int) -> dict[str, int]:
    """Operations of writing n_new tokens after n_prompt, with a cache: "prefill" and "decode".

    Prefill reads the prompt in one pass, which gives the first new token. Each later token is read alone, and
    looks at all before it. Raises ValueError when a count is below 1 or they do not fit into the context.
    """
    n_prompt, n_new = whole_numbers(n_prompt=n_prompt, n_new=n_new)
    lengths = range(n_prompt + 1, n_prompt + n_new)
    return {
        "prefill": n_prompt * count_flops(config, n_prompt),
        "decode": sum(count_flops(config, length) for length in lengths),
    }


# ----------------------------------------------------------------------------------------------- memory


def training_memory(
    config: GPTConfig, batch_size: int, seq: int | None = None, optimizer: str = "adamw"
) -> dict[str, int]:
    """Bytes that training in float32 holds, on sequences of seq tokens (None: context_length).

    weights      the parameters
    gradients    one number for each of them
    optimizer    AdamW remembers two numbers for each parameter; Muon one for each it updates (the matrices
                 inside the blocks), and AdamW two for the rest
    activations  what the forward pass keeps for the way back: see `activation_memory`
    peak         the most that is held at once. Not the sum: gradients come while activations go, so the peak
                 is where the way back begins, with the logits' gradients, or where it ends

    Raises ValueError for a count below 1, a seq beyond the context, an unknown optimizer, and a config whose
    activations are not counted here.
    """
    check_choice("optimizer", optimizer, OPTIMIZERS)
    n_parameters = count_parameters(config)["total"]
    by_muon = _in_matrices(config) if optimizer == "muon" else 0
    batch_size, seq = whole_numbers(batch_size=batch_size, seq=config.context_length if seq is None else seq)
    parts = {
        "weights": FLOAT32 * n_parameters,
        "gradients": FLOAT32 * n_parameters,
        "optimizer": FLOAT32 * (2 * n_parameters - by_muon),
        "activations": activation_memory(config, batch_size, seq),
    }
    logits = FLOAT32 * batch_size * seq * config.vocab_size
    # The loss keeps one table of log-probabilities; its gradient and that of the logits come on top.
    begins = parts["activations"] + 2 * logits
    # A tied table has a gradient from the logits already when that from the embeddings is added to it.
    ends = parts["gradients"] + FLOAT32 * config.tie_embeddings * config.vocab_size * config.d_model
    return parts | {"peak": parts["weights"] + parts["optimizer"] + max(begins, ends)}


def activation_memory(config: GPTConfig, batch_size: int, seq: int) -> int:
    """Bytes that a forward pass and its loss keep for the way back, in float32, by the fused kernels.

    Raises ValueError for a count below 1, a seq beyond the context, and a config with parts that are not
    counted here; `gptlib.scaling.meters.kept_for_backward` measures those too.
    Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4, count
    the same for half precision and without fused attention. The masks of dropout are not counted.
    """
    batch_size, seq = whole_numbers(batch_size=batch_size, seq=seq)
    _check_fits(config, seq)
    _check_counted(config)
    d_model = config.d_model
    # Its input and output; an RMS norm also what it has before the gain.
    norm = 2 * d_model + 2 if config.norm == "layernorm" else 3 * d_model + 1
    # Input and output of what bends; a gate adds its own, and the product.
    mlp = config.mlp_width * (4 if config.mlp == "swiglu" else 2)
    per_layer = 2 * norm + _attention_numbers(config, seq) + mlp
    per_token = config.n_layers * per_layer + norm + config.vocab_size
    return FLOAT32 * batch_size * seq * per_token


def _attention_numbers(config: GPTConfig, seq: int) -> int:
    """Numbers that attention keeps for a token: queries, keys, values, output and what softmax needs."""
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    rotary, grouped = config.position == "rotary", config.kv_heads < config.n_heads
    numbers = d_queries  # the output
    if not (rotary and grouped):  # the kernel then looks at, and so keeps, some part of qkv's output itself
        numbers += d_queries + 2 * d_keys
    if rotary:  # queries, turned; the kernel's output in their order of heads, then as (batch, seq, …)
        numbers += 2 * d_queries
    if rotary or grouped:  # keys, turned or repeated
        numbers += d_queries
    if grouped:  # values, repeated
        numbers += d_queries
    # A bias on the scores rules out the fused kernel: then all weights are kept, else their sums alone.
    return numbers + config.n_heads * (seq if config.position == "alibi" else 1)


def cache_memory(
    config: GPTConfig, batch_size: int, n_tokens: int | None = None, bytes_per_number: int = FLOAT32
) -> int:
    """Bytes of the keys and values of n_tokens tokens (None: context_length) in every layer.

    Of a sliding window, those that the next token can still see.
    Raises ValueError for a count below 1 or more tokens than the context.
    """
    check_config_kind(config)
    n_tokens = config.context_length if n_tokens is None else n_tokens
    batch_size, n_tokens, bytes_per_number = whole_numbers(
        batch_size=batch_size, n_tokens=n_tokens, bytes_per_number=bytes_per_number
    )
    _check_fits(config, n_tokens)
    if config.window is not None:
        n_tokens = min(n_tokens, config.window - 1)
    d_keys = config.kv_heads * config.d_head
    return bytes_per_number * 2 * config.n_layers * batch_size * n_tokens * d_keys


def generation_memory(config: GPTConfig, batch_size: int, bytes_per_number: int = FLOAT32) -> dict[str, int]:
    """Bytes that writing holds: "weights", and a "cache" for the whole context. Raises as `cache_memory`."""
    (bytes_per_number,) = whole_numbers(bytes_per_number=bytes_per_number)
    return {
        "weights": bytes_per_number * count_parameters(config)["total"],
        "cache": cache_memory(config, batch_size, bytes_per_number=bytes_per_number),
    }


# ---------------------------------------------------------------------------------------------- traffic


def decode_bytes(config: GPTConfig, batch_size: int, n_tokens: int, bytes_per_number: int = FLOAT32) -> int:
    """Bytes that writing one token for each text moves, when n_tokens, this one included, have been read.

    Every weight is read once, whatever the batch size (of experts, those that one text goes to), and every
    key and value once. Each text adds what its one row brings in and out of every layer. Of a table that is
    looked up, the rows are too few to count.
    Raises as `cache_memory` does. Pope et al. 2022, "Efficiently Scaling Transformer Inference", section 2.
    """
    batch_size, n_tokens, bytes_per_number = whole_numbers(
        batch_size=batch_size, n_tokens=n_tokens, bytes_per_number=bytes_per_number
    )
    counts = count_parameters(config)
    looked_up = counts["position"] + (0 if config.tie_embeddings else counts["token_embedding"])
    bends = 2 * config.d_model + 2 * config.mlp_width  # norms and additions; what bends
    in_a_layer = sum(wide + out for wide, out in _linears(config)) + 4 * config.d_model + bends
    row = config.n_layers * in_a_layer + config.d_model + config.vocab_size
    weights = bytes_per_number * (count_active_parameters(config) - looked_up + batch_size * row)
    return weights + cache_memory(config, batch_size, n_tokens, bytes_per_number)


def training_bytes(config: GPTConfig, batch_size: int, seq: int) -> int:
    """Bytes that the forward and the backward pass move in float32, if every operation reads its inputs from
    memory and writes its outputs there: no cache of the processor helps.

    For the parts of GPT-2, each of which torch computes by one kernel forward and one backward, so that what
    it reads and writes can be counted on paper. RMS norms, rotary positions and gates take a number of
    smaller operations that depends on torch's version: `gptlib.scaling.meters.Traffic` measures those.
    Raises ValueError for a config with such parts, and as `activation_memory` does.
    """
    batch_size, seq = whole_numbers(batch_size=batch_size, seq=seq)
    _check_fits(config, seq)
    _check_counted(config, norm="layernorm", mlp="gelu")
    if config.position in ("alibi", "rotary"):
        raise ValueError(
            f"position is {config.position!r}; what it moves is not counted here, and gptlib.scaling.meters "
            "can measure it"
        )
    d_model, d_mlp, vocab_size = config.d_model, config.mlp_width, config.vocab_size
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    # A product forward, and backward one for the input's gradient and one for the weight's: each reads or
    # writes a row in and a row out. A bias's gradient reads the output's once more.
    products = sum(3 * (wide + out) + config.bias * out for wide, out in _linears(config))
    # Forward reads x and writes the result; backward reads x and a gradient, and writes one.
    norm, gelu = 5 * d_model, 5 * d_mlp
    # Forward reads queries, keys and values and writes the output; backward reads those four and a gradient,
    # and writes three gradients, which are then put side by side: each read and written once more.
    kernel = 12 * d_queries + 2 * (d_queries + 2 * d_keys)
    if d_keys < d_queries:  # keys and values are repeated, and their gradients summed
        kernel += 2 * 2 * (2 * d_queries) + 2 * d_keys
    # Two additions forward, which read two and write one, and two of gradients on the way back.
    stream = 4 * 3 * d_model
    per_layer = products + 2 * norm + kernel + gelu + stream
    # The log-softmax, the loss and their gradients go over the logits eight times; the embedding's lookup and
    # its gradient take five rows.
    ends = 3 * (d_model + vocab_size) + norm + 8 * vocab_size + 5 * d_model
    per_token = config.n_layers * per_layer + ends
    weights = _in_matrices(config) + vocab_size * d_model
    return FLOAT32 * (batch_size * seq * per_token + 3 * weights)


def all_reduce_bytes(n_bytes: int, n_workers: int) -> float:
    """Bytes that each worker sends so that all end up with the sum of n_bytes that each of them has.

    In a ring every worker passes on n_workers - 1 parts of the sum, then n_workers - 1 parts of the result.
    Raises ValueError when a count is below 1.
    Patarasuk and Yuan 2009, "Bandwidth Optimal All-reduce Algorithms", section 3.
    """
    n_bytes, n_workers = whole_numbers(n_bytes=n_bytes, n_workers=n_workers)
    return 2 * n_bytes * (n_workers - 1) / n_workers


# What each stage of sharding cuts up, instead of holding it whole on every worker.
SHARDED = (
    (),
    ("optimizer",),
    ("optimizer", "gradients"),
    ("optimizer", "gradients", "weights"),
)


def sharded_memory(parts: Mapping[str, int], n_workers: int, stage: int) -> dict[str, float]:
    """Bytes on each worker, of the parts that `training_memory` names, without its peak.

    Stage 0 is plain data parallelism; 1 cuts up the optimizer's state, 2 the gradients too, 3 the weights
    too, as FSDP does. Activations belong to a worker's own share of the batch, for which `parts` is made.
    Raises ValueError for fewer than 1 worker or another stage.
    Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", section
    5.
    """
    (n_workers,) = whole_numbers(n_workers=n_workers)
    if isinstance(stage, bool) or stage not in range(len(SHARDED)):
        raise ValueError(f"stage is {stage!r}; it needs to be 0, 1, 2 or 3")
    names = ("weights", "gradients", "optimizer", "activations")
    check_kind("parts", parts, Mapping, "what training_memory gives")
    for name in names:
        check_from_zero(f"parts[{name!r}]", parts.get(name))
    return {name: parts[name] / (n_workers if name in SHARDED[stage] else 1) for name in names}


# --------------------------------------------------------------------------------------------- hardware


@dataclass(frozen=True)
class Hardware:
    """What one device can do at most, as its maker states it.

    peak        operations per second of products of dense 16-bit matrices
    bandwidth   bytes per second between memory and processor
    memory      bytes
    source      where the numbers stand
    """

    peak: float
    bandwidth: float
    memory: float
    source: str

    @property
    def ridge(self) -> float:
        """The arithmetic intensity, in operations per byte, below which memory is what limits."""
        return self.peak / self.bandwidth


HARDWARE = {
    "V100": Hardware(125e12, 900e9, 32e9, "NVIDIA V100 datasheet, 2020: SXM2, tensor cores"),
    "A100": Hardware(312e12, 2039e9, 80e9, "NVIDIA A100 datasheet, 2021: 80 GB SXM, bfloat16"),
    # The datasheet's 1,979 teraFLOPS count on matrices that are half zeros.
    "H100": Hardware(989.5e12, 3.35e12, 80e9, "NVIDIA H100 datasheet, 2023: SXM, bfloat16, halved"),
}


def attainable(intensity: float | int, peak: float | int, bandwidth: float | int) -> float:
    """Operations per second that memory and processor allow: the roofline.

    intensity: operations for each byte moved. peak: operations per second. bandwidth: bytes per second.
    Raises ValueError unless all are above 0.
    Williams et al. 2009, "Roofline: An Insightful Visual Performance Model", section 3.
    """
    for name, value in {"intensity": intensity, "peak": peak, "bandwidth": bandwidth}.items():
        check_positive(name, value)
    return min(peak, intensity * bandwidth)


def training_seconds(flops: float | int, peak: float | int, share: float | int, n_devices: int = 1) -> float:
    """How long n_devices take for so many operations, if they reach this share of their peak each.

    The share is what Chowdhery et al. 2022, "PaLM", section 4.1, call model FLOPs utilization; its table 3
    has 21% for GPT-3 and 46% for PaLM. Raises ValueError unless flops and peak are above 0, share in (0, 1].
    """
    for name, value in {"flops": flops, "peak": peak, "share": share}.items():
        check_positive(name, value)
    (n_devices,) = whole_numbers(n_devices=n_devices)
    if share > 1:
        raise ValueError(f"share is {share}; it needs to be above 0 and at most 1: nothing exceeds its peak")
    return flops / (peak * share * n_devices)


def _linears(config: GPTConfig) -> list[tuple[int, int]]:
    """(features in, features out) of each linear layer of a block."""
    d_model, d_mlp = config.d_model, config.mlp_width
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    widenings = 2 if config.mlp == "swiglu" else 1
    return [
        (d_model, d_queries + 2 * d_keys),
        (d_queries, d_model),
        *[(d_model, d_mlp)] * widenings,
        (d_mlp, d_model),
    ]


def _in_matrices(config: GPTConfig) -> int:
    """How many parameters are in the matrices inside the blocks."""
    counts = count_parameters(replace(config, bias=False, qk_norm=False))
    return counts["attention"] + counts["mlp"]


def _check_counted(config: GPTConfig, **parts: str) -> None:
    plain = {"qk_norm": False, "window": None, "score_cap": None, "logit_cap": None, "n_experts": None}
    plain["copy_heads"] = None
    for name, value in (plain | parts).items():
        if getattr(config, name) != value:
            raise ValueError(
                f"{name} is {getattr(config, name)!r}; what it keeps and moves is counted for {value!r} "
                "alone, and gptlib.scaling.meters can measure it"
            )


def _check_fits(config: GPTConfig, n_tokens: int) -> None:
    check_config_kind(config)
    if n_tokens > config.context_length:
        raise ValueError(f"{n_tokens} tokens do not fit; context_length is {config.context_length}")
