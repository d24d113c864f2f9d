"""Reading the models of transformers, of which no table knows all: a layout is found by trying it.

What can be shown of a model is learned from one run over a few tokens. Its attention weights say how many
layers and heads there are and who looks at whom. Of the linear maps that it passes on the way, one gives the
values and one reads the heads if, and only if, weights times values are what the second reads. A model in
which that holds for every layer can be edited, whatever it calls its parts; of any other the weights are
shown, and a sentence says what cannot be done.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.interpret.tracing import Edit, Place
from gptlib.viz.explorers.models import ModelAdapter, Ran, Tokens
from gptlib.viz.explorers.reading import in_use

PARTS = ("encoder", "decoder", "cross")  # whose attention is read where there are an encoder and a decoder
OUTPUTS = {"decoder": "decoder_attentions", "cross": "cross_attentions"}
N_PROBE = 5
NEAR = 8  # so many linear maps at most between that of the values and that which reads the heads
ENDLESS = 2048  # tokens at most for a model without positions of its own: it reads as far as memory goes

# Where in what a linear map gives are the values? From (key, part, d_head) and the number of heads to
# (key, kv_head, d_head).
SPLITS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "values alone": lambda parts, n_heads: parts,
    "queries, keys, values": lambda parts, n_heads: parts[:, (parts.shape[1] + n_heads) // 2 :],
    "a group's queries, its key, its value": lambda parts, n_heads: parts.unflatten(
        1, ((parts.shape[1] - n_heads) // 2, -1)
    )[:, :, -1],
}


class TransformersAdapter(ModelAdapter):
    """A model of transformers that reads tokens and returns its attention.

    part: whose attention is read, one of PARTS, in a model that has an encoder and a decoder.
    Raises TypeError for a model that does not return attention of as many heads in each layer.
    """

    def __init__(self, model: Any, part: str = "") -> None:
        both = bool(getattr(model.config, "is_encoder_decoder", False))
        if part and not both:
            name = type(model).__name__
            raise ValueError(f"part is {part!r}; a {name} has no encoder beside a decoder, so leave it out")
        self.model, self.part = model, part or ("encoder" if both else "")
        if both and self.part not in PARTS:
            raise ValueError(f"part is {part!r}; it needs to be one of {', '.join(PARTS)}")
        self.needs_target = self.part in ("decoder", "cross")
        with in_use(model) as device:
            tokens, source = self._probe_tokens(device)
            with _watched(model) as calls:
                layers, logits = self._tried(tokens, source)
            found = _layout(model, calls, layers)
        self.causal = self.part != "cross" and not any(layer.triu(1).any() for layer in layers)
        self.predicts = "" if logits is None else "next" if self.needs_target or self.causal else "here"
        self.context_length = _context_length(model, self.part)
        places, values = {}, {}
        for n, layer in enumerate(found):
            places[f"blocks.{n}.residual_pre"] = layer.stream
            places[f"blocks.{n}.attention.heads"] = layer.heads
            values[f"blocks.{n}.attention.values"] = layer.values
        if not all(layer.matrix for layer in found):
            values = {}
        name = type(model).__name__
        if not places:
            self.no_edits = (
                f"Where a {name} brings its heads together was not found; so they can be looked at, but not "
                "removed, scaled or patched."
            )
        if not values:
            self.no_values = (
                f"The matrices that write the values of a {name}'s heads into the stream were not found; so "
                "how long they are is not known."
            )
        self._matrices = {name: layer.matrix for name, layer in zip(values, found, strict=False)}
        super().__init__(model, places, values, len(layers), layers[0].shape[1])

    @property
    def start(self) -> int | None:
        """The token that stands before all that a decoder reads; None for other models."""
        if not self.needs_target:
            return None
        names = ("generation_config.decoder_start_token_id", "config.decoder_start_token_id")
        return first_of(self.model, (*names, "config.bos_token_id"))

    def run(self, tokens: Tokens, source: Tokens | None) -> Ran:
        model = self.model.get_encoder() if self.part == "encoder" else self.model
        given = {"input_ids": tokens}
        if source is not None:
            given = {"input_ids": source, "decoder_input_ids": tokens}
        if "use_cache" in inspect.signature(model.forward).parameters:
            given["use_cache"] = False
        with _explicit_attention(model):
            output = model(**given, output_attentions=True, return_dict=True)
        attentions = getattr(output, OUTPUTS.get(self.part, "attentions"), None) or ()
        logits = first_of(output, ("logits", "prediction_logits"))
        # What a classifier gives are no tokens.
        if logits is not None and (self.part == "encoder" or model.get_output_embeddings() is None):
            logits = None
        if logits is not None and logits.shape[:-1] != tokens.shape:
            logits = None
        return [layer for layer in attentions if layer is not None], logits

    def projection(self, name: str) -> Float[Tensor, "d_model width"]:
        return self._matrices[name]()

    def _probe_tokens(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """A few tokens that differ and mean nothing special, and more of them for an encoder beside."""
        config = self.model.config
        special = {value for name, value in vars(config).items() if name.endswith("_token_id")}
        plain = [token for token in range(_vocab_size(self.model)) if token not in special] or [0]
        ids = torch.tensor([plain[n % len(plain)] for n in range(N_PROBE + 2)], device=device)[None]
        return ids[:, :N_PROBE], ids if self.needs_target else None

    def _tried(self, tokens: Tensor, source: Tensor | None) -> Ran:
        name = type(self.model).__name__
        try:
            layers, logits = self.run(tokens, source)
        except Exception as error:
            if next(self.model.parameters()).is_meta:
                raise
            raise TypeError(
                f"model is a {name}, which does not read tokens alone and give its attention "
                f"({type(error).__name__}: {error}). AttentionExplorer.from_array shows weights from anywhere"
            ) from error
        if not layers:
            raise TypeError(
                f"model is a {name}, which returns no attention weights; a model that mixes its tokens in "
                "another way has no attention to explore"
            )
        n_keys = len((source if self.part == "cross" else tokens)[0])
        wrong = [layer for layer in layers if (*layer.shape[:1], *layer.shape[2:]) != (1, N_PROBE, n_keys)]
        if wrong:
            raise TypeError(
                f"model is a {name}, which returns attention of shape {tuple(wrong[0].shape)} for {N_PROBE} "
                f"tokens; an explorer needs (1, head, {N_PROBE}, {n_keys})"
            )
        heads = [layer.shape[1] for layer in layers]
        if len(set(heads)) > 1:
            raise TypeError(
                f"model is a {name} with {', '.join(map(str, heads))} heads in its layers; an explorer needs "
                "as many in each. AttentionExplorer.from_array shows one layer's weights"
            )
        return layers, logits


def first_of(owner: Any, names: tuple[str, ...]) -> Any:
    """The first of these attributes that is there, each perhaps of an attribute; None if none is."""
    for name in names:
        found = owner
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


def _vocab_size(model: Any) -> int:
    return model.get_input_embeddings().weight.shape[0]


def _context_length(model: Any, part: str) -> int:
    side = "encoder" if part == "encoder" else "decoder"
    config = model.config.get_text_config()
    length = first_of(config, (f"max_{side}_position_embeddings", "max_position_embeddings", "max_seq_len"))
    if not isinstance(length, int) or length <= 0:
        return ENDLESS
    for name, module in model.named_modules():  # as RoBERTa counts: on from the number of the padding
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            length = min(length, module.num_embeddings - module.padding_idx - 1)
    return length


@contextmanager
def _explicit_attention(model: Any) -> Iterator[None]:
    """Only the explicit implementation gives its weights away. Parts of a model may have own configs."""
    configs = [module.config for module in model.modules() if hasattr(module, "config")]
    chosen = [getattr(config, "_attn_implementation", None) for config in configs]
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in zip(configs, chosen, strict=True):
            config._attn_implementation = implementation


# --- how a model is laid out ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass(Place):
    """What goes into a module, or comes out of it, in one of the `passes` that a run makes through it.

    There are several where layers share their weights, as in ALBERT.
    """

    nth: int = 0
    passes: int = 1

    @contextmanager
    def hook(self, function: Edit) -> Iterator[None]:
        calls = count()

        def this_pass() -> bool:
            return next(calls) % self.passes == self.nth

        def before(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if not this_pass():
                return None
            changed = self.apply(function, _first_tensor(inputs, named))
            if changed is None:
                return None
            if inputs:
                return (changed, *inputs[1:]), named
            return inputs, named | {_first_name(named): changed}

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            return self.apply(function, output) if this_pass() else None

        if self.side == "input":
            handle = self.module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = self.module.register_forward_hook(after)
        with handle:
            yield


@dataclass(frozen=True)
class Values(Pass):
    """The output of a linear map of which a part, or all, are the values: (batch, kv_head, key, d_head)."""

    split: str = "values alone"
    heads: int = 1
    d_head: int = 1

    def apply(self, function: Edit, x: Tensor) -> None:
        parts = x.reshape(-1, x.shape[-1]).unflatten(-1, (-1, self.d_head))  # one text: (key, part, d_head)
        function(SPLITS[self.split](parts, self.heads).transpose(0, 1)[None])


@dataclass(frozen=True)
class Layer:
    """Where in a model one layer's attention happens."""

    stream: Place  # as it enters the layer
    heads: Place  # what the heads give, before it is written into the stream
    values: Place
    matrix: Callable[[], Tensor] | None  # what writes it there, if that is one matrix


@dataclass
class Call:
    """One call of a module in the run over a few tokens."""

    module: nn.Module
    nth: int
    given: Tensor
    output: Tensor | None = None


@dataclass
class Calls:
    """The calls of linear maps, in their order, and those of what stands in a list, such as blocks."""

    linear: list[Call] = field(default_factory=list)
    blocks: dict[nn.Module, list[Call]] = field(default_factory=dict)
    counts: Counter[nn.Module] = field(default_factory=Counter)


@contextmanager
def _watched(model: nn.Module) -> Iterator[Calls]:
    """Note each call of a linear map and of a block while the model runs."""
    calls, hooks = Calls(), ExitStack()

    def enter(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = _first_tensor(inputs, named)
        call = Call(module, calls.counts[module], given)
        calls.counts[module] += 1
        calls.blocks.setdefault(module, []).append(call)

    def leave(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if not isinstance(output, Tensor):  # a router of experts, which has a weight and is no linear map
            return
        call = Call(module, calls.counts[module], _first_tensor(inputs, named), output)
        calls.counts[module] += 1
        calls.linear.append(call)

    with hooks:
        for module in model.modules():
            if _is_linear(module):
                hooks.enter_context(module.register_forward_hook(leave, with_kwargs=True))
            if isinstance(module, nn.ModuleList):
                for block in module:
                    hooks.enter_context(block.register_forward_pre_hook(enter, with_kwargs=True))
        yield calls


def _is_linear(module: nn.Module) -> bool:
    return not isinstance(module, nn.Embedding) and getattr(getattr(module, "weight", None), "ndim", 0) == 2


def _first_name(named: dict[str, Any]) -> str | None:
    return next((name for name, value in named.items() if isinstance(value, Tensor)), None)


def _first_tensor(inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return inputs[0] if inputs else named.get(_first_name(named))


def _layout(model: nn.Module, calls: Calls, layers: list[Float[Tensor, "1 head query key"]]) -> list[Layer]:
    """Where each layer's attention happens; an empty list unless that was found for all of them."""
    blocks = _blocks(model)
    found: list[Layer] = []
    start = 0
    for weights in layers:
        for end in range(start, len(calls.linear)):
            layer = _layer(calls, blocks, start, end, weights[0])
            if layer is not None:
                break
        else:
            return []
        found.append(layer)
        start = end + 1
    return found


def _layer(
    calls: Calls,
    blocks: dict[nn.Module, nn.Module],
    start: int,
    end: int,
    weights: Float[Tensor, "head query key"],
) -> Layer | None:
    """The layer in which the linear map of call number `end` reads weights times values, if it does."""
    output = calls.linear[end]
    x, (n_heads, n_queries, _) = output.given, weights.shape
    block = blocks.get(output.module)
    entered = calls.blocks.get(block, [])
    if (
        x.dim() != 3
        or x.shape[:2] != (1, n_queries)
        or x.shape[2] % n_heads
        or len(entered) != calls.counts[output.module]
        or entered[output.nth].given.shape[:2] != (1, n_queries)
    ):
        return None
    heads = x[0].unflatten(-1, (n_heads, -1)).transpose(0, 1)  # (head, query, d_head)
    for source in reversed(calls.linear[max(start, end - NEAR) : end]):
        split = _split(source.output, weights, heads)
        if split is not None:
            passes = {"nth": output.nth, "passes": calls.counts[output.module]}
            return Layer(
                Pass(block, "input", **passes),
                Pass(output.module, "input", n_heads, **passes),
                Values(
                    source.module,
                    "output",
                    nth=source.nth,
                    passes=calls.counts[source.module],
                    split=split,
                    heads=n_heads,
                    d_head=heads.shape[-1],
                ),
                _matrix(output),
            )
    return None


def _split(
    output: Tensor, weights: Float[Tensor, "head query key"], heads: Float[Tensor, "head query d_head"]
) -> str | None:
    """Which part of a linear map's output, times the weights, gives what the heads give; None if none."""
    (n_heads, _, n_keys), d_head = weights.shape, heads.shape[-1]
    if output.shape[-1] % d_head or output.numel() != n_keys * output.shape[-1]:
        return None
    parts = output.reshape(n_keys, -1, d_head)
    for name, split in SPLITS.items():
        try:
            values = split(parts, n_heads)
        except RuntimeError:  # so many parts cannot be split like this
            continue
        n_values = values.shape[1]
        if n_values and n_heads % n_values == 0:
            values = values.repeat_interleave(n_heads // n_values, dim=1)  # (key, head, d_head)
            values = values.transpose(0, 1)
            if _alike(weights.float() @ values.float(), heads):
                return name
    return None


def _alike(x: Tensor, given: Tensor) -> bool:
    """Whether x is what a model computed, but for rounding, and not merely 0 as it is."""
    allowed = 1e-3 if given.dtype in (torch.float32, torch.float64) else 0.03
    largest = given.float().abs().max()
    return bool(largest > 0) and bool((x - given.float()).abs().max() <= allowed * largest)


def _matrix(call: Call) -> Callable[[], Tensor] | None:
    """How to get the matrix of the linear map that was called, (width out, width in), as it is by then."""
    module = call.module
    x, bias = call.given.float(), getattr(module, "bias", None)
    wanted = call.output if bias is None else call.output - bias
    for turn in (lambda weight: weight, lambda weight: weight.T):  # GPT-2's multiplies from the other side
        matrix = turn(module.weight)
        if matrix.shape == (wanted.shape[-1], x.shape[-1]) and _alike(x @ matrix.float().T, wanted):
            return lambda: turn(module.weight)
    return None


def _blocks(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """For each module inside a list of modules the innermost of that list's that it is in."""
    blocks: dict[nn.Module, nn.Module] = {}
    for module in model.modules():  # outer lists come before inner ones
        if isinstance(module, nn.ModuleList):
            blocks |= {inner: block for block in module for inner in block.modules()}
    return blocks
