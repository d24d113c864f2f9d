"""Where in a model its attention happens, found by trying: there are more layouts than any table knows.

A model is watched while it reads a few tokens. Of the linear maps that it passes, one gives a layer's values
and another brings its heads together if, and only if, attention weights times those values are what the other
reads. What was found is thereby proven for the very model, whatever it calls its parts.
"""

from __future__ import annotations

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

NEAR = 8  # so many linear maps at most lie between that of the values and that which reads the heads

# Which part of what a linear map gives are the values: from (key, part, d_head) and the number of heads to
# (key, kv_head, d_head). With n_heads parts for the queries, half of the others are for the keys.
SPLITS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "values alone": lambda parts, n_heads: parts,
    "queries, keys, values": lambda parts, n_heads: parts[:, (parts.shape[1] + n_heads) // 2 :],
    "for each group its queries, key, value": lambda parts, n_heads: parts.unflatten(
        1, ((parts.shape[1] - n_heads) // 2, -1)
    )[:, :, -1],
}


@dataclass(frozen=True)
class Pass(Place):
    """What goes into a module, or comes out of it, in one of the `passes` that each run makes through it.

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
            changed = self.apply(function, _first(inputs, named)) if this_pass() else None
            if changed is None:
                return None
            return (
                ((changed, *inputs[1:]), named) if inputs else (inputs, named | {next(iter(named)): changed})
            )

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            return self.apply(function, output) if this_pass() else None

        with (
            self.module.register_forward_pre_hook(before, with_kwargs=True)
            if self.side == "input"
            else self.module.register_forward_hook(after)
        ):
            yield


@dataclass(frozen=True)
class Values(Pass):
    """The values in the output of a linear map, to be looked at: (batch, kv_head, key, d_head)."""

    split: str = ""
    d_head: int = 1

    def apply(self, function: Edit, x: Tensor) -> None:
        parts = x.reshape(-1, x.shape[-1] // self.d_head, self.d_head)  # (key, part, d_head) of one text
        function(SPLITS[self.split](parts, self.n_heads).transpose(0, 1)[None])


@dataclass(frozen=True)
class Layer:
    """Where in a model one layer's attention happens."""

    stream: Place  # as it enters the layer
    heads: Place  # what the heads give
    values: Place
    matrix: Callable[[], Tensor] | None  # what writes the heads into the stream, if that is one matrix


@dataclass
class Call:
    """One call of a module: the how-manieth it was, what went in, and of a linear map what came out."""

    module: nn.Module
    nth: int
    given: Tensor
    output: Tensor | None = None


@dataclass
class Calls:
    """What a model called while it was watched: linear maps in order, and what stands in lists of modules."""

    linear: list[Call] = field(default_factory=list)
    blocks: dict[nn.Module, list[Call]] = field(default_factory=dict)
    counts: Counter[nn.Module] = field(default_factory=Counter)


@contextmanager
def watched(model: nn.Module) -> Iterator[Calls]:
    """Note each call of a linear map and of a block in what the model runs inside the `with`."""
    calls = Calls()

    def enter(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        entered = calls.blocks.setdefault(module, [])
        entered.append(Call(module, len(entered), _first(inputs, named)))

    def leave(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if isinstance(output, Tensor):  # a router of experts has a matrix too, and gives several things
            calls.linear.append(Call(module, calls.counts[module], _first(inputs, named), output))
            calls.counts[module] += 1

    with ExitStack() as hooks:
        for module in model.modules():
            if getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not isinstance(
                module, nn.Embedding
            ):
                hooks.enter_context(module.register_forward_hook(leave, with_kwargs=True))
            for block in module if isinstance(module, nn.ModuleList) else ():
                hooks.enter_context(block.register_forward_pre_hook(enter, with_kwargs=True))
        yield calls


def _first(inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return inputs[0] if inputs else next(iter(named.values()), None)


def layout(model: nn.Module, calls: Calls, weights: list[Float[Tensor, "1 head query key"]]) -> list[Layer]:
    """Where the attention of each layer happened that gave these weights, in the order of the layers.

    An empty list unless it was found for all of them.
    """
    blocks = _blocks(model)
    layers: list[Layer] = []
    start = 0
    for of_layer in weights:
        for end in range(start, len(calls.linear)):
            layer = _layer(calls, blocks, start, end, of_layer[0])
            if layer is not None:
                break
        else:
            return []
        layers.append(layer)
        start = end + 1
    return layers


def _layer(
    calls: Calls,
    blocks: dict[nn.Module, nn.Module],
    start: int,
    end: int,
    weights: Float[Tensor, "head query key"],
) -> Layer | None:
    """The layer whose heads call number `end` reads, if it reads these weights times some call's values."""
    reader = calls.linear[end]
    heads, (n_heads, n_queries, _) = reader.given, weights.shape
    block, passes = blocks.get(reader.module), calls.counts[reader.module]
    entered = calls.blocks.get(block, ())
    if not _is_text(heads, n_queries) or heads.shape[2] % n_heads or len(entered) != passes:
        return None
    if not _is_text(entered[reader.nth].given, n_queries):
        return None
    heads = heads[0].unflatten(-1, (n_heads, -1)).transpose(0, 1)  # (head, query, d_head)
    for source in calls.linear[max(start, end - NEAR) : end]:
        split = _split(source.output, weights, heads)
        if split is not None:
            return Layer(
                Pass(block, "input", nth=reader.nth, passes=passes),
                Pass(reader.module, "input", n_heads, nth=reader.nth, passes=passes),
                Values(
                    source.module,
                    "output",
                    n_heads,
                    nth=source.nth,
                    passes=calls.counts[source.module],
                    split=split,
                    d_head=heads.shape[-1],
                ),
                _matrix(reader),
            )
    return None


def _is_text(x: Any, n_tokens: int) -> bool:
    return isinstance(x, Tensor) and x.dim() == 3 and x.shape[:2] == (1, n_tokens)


def _split(
    output: Tensor, weights: Float[Tensor, "head query key"], heads: Float[Tensor, "head query d_head"]
) -> str | None:
    """Which part of a linear map's output, times the weights, is what the heads gave; None if none is."""
    (n_heads, _, n_keys), d_head = weights.shape, heads.shape[-1]
    if output.shape[-1] % d_head or output.numel() != n_keys * output.shape[-1]:
        return None
    parts = output.reshape(n_keys, -1, d_head)
    for name, split in SPLITS.items():
        try:
            values = split(parts, n_heads)
        except RuntimeError:  # there are not as many parts as that needs
            continue
        n_values = values.shape[1]
        if n_values and n_heads % n_values == 0:
            values = values.repeat_interleave(n_heads // n_values, dim=1).transpose(
                0, 1
            )  # (head, key, d_head)
            if _alike(weights.float() @ values.float(), heads.float(), heads.dtype):
                return name
    return None


def _matrix(call: Call) -> Callable[[], Tensor] | None:
    """How to get a linear map's matrix, (width out, width in), as it is by then; None if it is not alone."""
    module, given, output = call.module, call.given.float(), call.output.float()
    bias = getattr(module, "bias", None)
    if bias is not None:
        output = output - bias.float()
    for turn in (lambda weight: weight, lambda weight: weight.T):  # GPT-2's multiplies from the other side
        matrix = turn(module.weight).float()
        fits = matrix.shape == (output.shape[-1], given.shape[-1])
        if fits and _alike(given @ matrix.T, output, call.output.dtype):
            return lambda: turn(module.weight)
    return None


def _alike(computed: Tensor, found: Tensor, dtype: torch.dtype) -> bool:
    """Whether a model that computes in dtype found this, but for rounding, and not merely 0 as it is."""
    allowed = 1e-3 if dtype in (torch.float32, torch.float64) else 0.03
    largest = found.abs().max()
    return bool(largest > 0) and bool((computed - found).abs().max() <= allowed * largest)


def _blocks(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """For each module in a list of modules, such as blocks, that of the list in which it is."""
    blocks: dict[nn.Module, nn.Module] = {}
    for module in model.modules():  # outer lists come before those inside them
        if isinstance(module, nn.ModuleList):
            blocks |= {inner: block for block in module for inner in block.modules()}
    return blocks
