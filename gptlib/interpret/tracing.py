"""Look inside a run of a model, and change it.

    with trace(model) as run:
        model(tokens)
    run.attention  # (layer, batch, head, query, key)

    with trace(model, only="*.residual_mid") as run:
        model(tokens)
    run["blocks.2.residual_mid"]  # (batch, seq, d_model)

    with edit(model, {"blocks.2.attention.heads": remove_head(1)}):
        model(tokens)

Every activation has a name; `activation_names(model)` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.attention import MultiHeadAttention
from gptlib.model.blocks import Block
from gptlib.model.gpt import GPT

Edit = Callable[[Tensor], Tensor | None]  # gets an activation, returns what replaces it; None leaves it
Removal = Literal["zero", "mean", "resampled"] | Tensor
ATTENTION = "*attention.weights"


@dataclass(frozen=True)
class Place:
    """Where in a model an activation is: what goes into a module, or what comes out of it.

    `n_heads` splits its last dimension into (head, d_head). `awake` is a module that somebody has to look at
    as well, or else the model takes a path on which this place does not lie.
    """

    module: nn.Module
    side: Literal["input", "output"]
    n_heads: int | None = None
    awake: nn.Module | None = None

    def apply(self, function: Edit, x: Tensor) -> Tensor | None:
        """What `function` makes of the activation, in the shape the model needs; None to leave it."""
        if self.n_heads is None:
            return function(x)
        changed = function(x.unflatten(-1, (self.n_heads, -1)))  # (…, width) -> (…, head, d_head)
        return None if changed is None else changed.flatten(-2)

    @contextmanager
    def hook(self, function: Edit) -> Iterator[None]:
        """Call `function` with the activation in each run inside the `with`."""

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            changed = self.apply(function, inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):  # some blocks of transformers return more than the residual stream
                changed = self.apply(function, output[0])
                return None if changed is None else (changed, *output[1:])
            return self.apply(function, output)

        with ExitStack() as hooks:
            if self.side == "input":
                hooks.enter_context(self.module.register_forward_pre_hook(before))
            else:
                hooks.enter_context(self.module.register_forward_hook(after))
            if self.awake is not None:
                hooks.enter_context(self.awake.register_forward_hook(lambda *_: None))
            yield


def activation_names(model: nn.Module) -> list[str]:
    """The names of all activations of a model, in the order in which they are computed.

    token_embedding     the tokens' rows of the table, (batch, seq, d_model), as all without another shape
    embedding           with the positions added, where the model adds them
    then for each block, as blocks.0.residual_pre:
    residual_pre        the residual stream as it enters the block
    attention_norm      what attention reads
    attention.queries   with positions applied, (batch, head, query, d_head)
    attention.keys      likewise, with those in the cache, shared among the heads, (batch, head, key, d_head)
    attention.values    likewise, (batch, head, key, d_head)
    attention.scores    before the softmax, -inf where masked, (batch, head, query, key)
    attention.weights   after the softmax and before dropout, (batch, head, query, key)
    attention.heads     each head's output before the projection, (batch, seq, head, d_head)
    attention.output    what attention adds to the stream
    residual_mid        the stream between attention and MLP
    mlp_norm            what the MLP reads
    mlp.hidden          the neurons, after the nonlinearity, (batch, seq, d_mlp); not in a mixture of experts
    mlp.output          what the MLP adds to the stream
    residual_post       the stream as it leaves the block
    and at the end:
    residual_final      the stream after all blocks
    final_norm          what the unembedding reads, or before it the copy heads
    copying.weights     where the copy heads look, (batch, head, query, key); where there are any
    copying.heads       what each of them adds, (batch, seq, head, d_model)
    copying.output      what they read with all that added, which the unembedding then reads
    logits              (batch, seq, vocab)

    A part of a model, or a model of another kind with `MultiHeadAttention` in it, has the names of its parts.
    Raises TypeError when model is not a torch module, ValueError when it holds no part of a GPT.
    """
    return list(activation_places(model))


def activation_places(model: nn.Module) -> dict[str, Place]:
    """The activations of a model by name, as `activation_names` lists them, each with its place."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}; it needs to be a torch module, such as gptlib.GPT"
        )
    places = _places(model, "")
    if not places:
        raise ValueError(
            f"model is a {type(model).__name__} without any gptlib.model.attention.MultiHeadAttention in it; "
            "none of its activations has a name"
        )
    return places


def _places(part: nn.Module, name: str) -> dict[str, Place]:
    if isinstance(part, MultiHeadAttention):
        return _places_of_attention(part, name or "attention")
    within = f"{name}." if name else ""
    if isinstance(part, Block):
        return _places_of_block(part, within)
    places: dict[str, Place] = {}
    if isinstance(part, GPT):
        places[f"{within}token_embedding"] = Place(part.token_embedding, "output")
        places[f"{within}embedding"] = Place(part.position, "output")
    for child_name, child in part.named_children():
        places |= _places(child, within + child_name)
    if isinstance(part, GPT):
        places[f"{within}residual_final"] = Place(part.final_norm, "input")
        places[f"{within}final_norm"] = Place(part.final_norm, "output")
        for heads in part.copying:
            places[f"{within}copying.weights"] = Place(heads.weights, "output")
            places[f"{within}copying.heads"] = Place(heads.heads, "output")
            places[f"{within}copying.output"] = Place(heads, "output")
        places[f"{within}logits"] = Place(part, "output")
    return places


def _places_of_block(block: Block, within: str) -> dict[str, Place]:
    places = {
        f"{within}residual_pre": Place(block, "input"),
        f"{within}attention_norm": Place(block.attention_norm, "output"),
        **_places_of_attention(block.attention, f"{within}attention"),
        f"{within}residual_mid": Place(block.residual_mid, "output"),
        f"{within}mlp_norm": Place(block.mlp_norm, "output"),
    }
    if hasattr(block.mlp, "down"):
        places[f"{within}mlp.hidden"] = Place(block.mlp.down, "input")
    places[f"{within}mlp.output"] = Place(block.mlp, "output")
    places[f"{within}residual_post"] = Place(block, "output")
    return places


def _places_of_attention(attention: MultiHeadAttention, name: str) -> dict[str, Place]:
    places = {  # on the path that attention takes when somebody looks at its weights
        part: Place(getattr(attention, part), "output", awake=attention.weights)
        for part in ("queries", "keys", "values", "scores")
    }
    places["weights"] = Place(attention.weights, "output")
    places["heads"] = Place(attention.output, "input", attention.config.n_heads)
    places["output"] = Place(attention, "output")
    return {f"{name}.{part}": place for part, place in places.items()}


def matching_names(names: Iterable[str], patterns: str | Iterable[str]) -> list[str]:
    """Those of the names that fit one of the patterns, in the names' order; "*" stands for any text.

    Raises ValueError for a pattern that fits none.
    """
    names, patterns = list(names), [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, n=3, cutoff=0) or names
            raise ValueError(
                f"{pattern!r} fits no activation of this model; near it are {', '.join(near)}, "
                "and activation_names(model) lists all"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


class Run(Mapping[str, Tensor]):
    """What was recorded of the latest pass through a traced model: `run[name]`, without gradients."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._kept: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The activation called name. Raises KeyError unless it was recorded, RuntimeError before any run."""
        if name not in self._names:
            raise KeyError(f"{name!r} was not recorded; trace(model, only={name!r}) would record it")
        if name not in self._kept:
            raise RuntimeError(
                f"{name}: nothing was recorded; call model(tokens) inside `with trace(model) as run:`"
            )
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def stack(self, pattern: str) -> Float[Tensor, "layer *activation"]:
        """The recorded activations whose names fit, one for each layer: run.stack("*.residual_post").

        Raises as `run[name]` does, and ValueError when none was recorded whose name fits.
        """
        return torch.stack([self[name] for name in matching_names(self, pattern)])

    @property
    def attention(self) -> Float[Tensor, "layer batch head query key"]:
        """The attention weights of all layers, from before dropout: each row sums to 1, in training too.

        Raises RuntimeError when the model was not run inside the `with`.
        """
        return self.stack(ATTENTION)


@contextmanager
def trace(model: nn.Module | Mapping[str, Place], only: str | Iterable[str] = ATTENTION) -> Iterator[Run]:
    """Record activations of the latest run inside the `with`: those whose names fit `only`.

    That is a name or several; "*" stands for any text, so "*" alone records everything. Unless told otherwise
    it is the attention weights, which keeps a trace nearly as fast as a plain run. To record what happens
    inside attention, attention takes the explicit path: the same numbers to float precision.
    model: a GPT, a model or part with `MultiHeadAttention` in it, or the places of any other model by name.

    Traces and edits may stand inside each other. At one activation they act in the order in which they were
    entered: a trace sees the edits around it, not those inside it. All later activations feel every edit.
    With a cache, a run sees the new tokens alone. When the `with` ends, also by an error, the hooks are gone.
    Raises ValueError for a name that the model does not have, and as `activation_names` does.
    """
    places = model if isinstance(model, Mapping) else activation_places(model)
    run = Run(matching_names(places, only))

    def keeper(name: str) -> Edit:
        def keep(x: Tensor) -> None:
            run._kept[name] = x.detach()

        return keep

    with ExitStack() as hooks:
        for name in run:
            hooks.enter_context(places[name].hook(keeper(name)))
        yield run


@contextmanager
def edit(model: nn.Module | Mapping[str, Place], edits: Mapping[str, Edit]) -> Iterator[None]:
    """Change activations of every run inside the `with`: a function gets one and returns what replaces it.

    The function leaves what it gets as it is: it returns a new tensor, or None to look only. A name may hold
    a "*", as in `trace`, which says also what model can be and how edits stand inside each other; of several
    edits of one activation, the first is the first to act. Under `generate`, a function sees the prompt first
    and then each new token by itself, (batch, 1, …); with cached=False all tokens each time.
    When the `with` ends, also by an error, the model is as before. Raises as `trace` does.
    """
    places = model if isinstance(model, Mapping) else activation_places(model)
    with ExitStack() as hooks:
        for pattern, function in edits.items():
            for name in matching_names(places, pattern):
                hooks.enter_context(places[name].hook(function))
        yield


def remove_head(head: int | list[int], how: Removal = "zero") -> Edit:
    """An edit of attention.heads or copying.heads: a head, or each of several, says nothing of the text.

    how: "zero"; "mean", its mean over the positions of each text; "resampled", what it says at the same
    position of the text before it in the batch; or a tensor, such as its mean over a data set, or its output
    in another run. Of these only zero and a tensor mean the same with a cache as without.
    Raises ValueError for another `how`, and for "resampled" when the batch holds one text.
    Wang et al. 2022, "Interpretability in the Wild", section 2.1, on why the mean is the milder one.
    """
    return _removed(head, how)


def remove_neuron(neuron: int | list[int], how: Removal = "zero") -> Edit:
    """An edit of mlp.hidden: a neuron, or each of several, says nothing of the text. As `remove_head`."""
    return _removed(neuron, how)


def _removed(units: int | list[int], how: Removal) -> Edit:
    if not isinstance(how, Tensor) and how not in ("zero", "mean", "resampled"):
        raise ValueError(f'how is {how!r}; it needs to be "zero", "mean", "resampled" or a tensor')

    def change(x: Float[Tensor, "batch seq unit *width"]) -> Float[Tensor, "batch seq unit *width"]:
        if isinstance(how, Tensor):
            instead = how
        elif how == "zero":
            instead = 0.0
        elif how == "mean":
            instead = x[:, :, units].mean(dim=1, keepdim=True)
        elif len(x) < 2:
            raise ValueError('how is "resampled", which takes from another text; the batch holds one')
        else:
            instead = x[:, :, units].roll(1, dims=0)
        x = x.clone()
        x[:, :, units] = instead
        return x

    return change


def scale_head(head: int, by: float | int) -> Edit:
    """An edit of attention.heads or copying.heads: one head's output is multiplied by `by`."""

    def change(heads: Float[Tensor, "batch seq head d_head"]) -> Float[Tensor, "batch seq head d_head"]:
        heads = heads.clone()
        heads[:, :, head] *= by
        return heads

    return change


def replace_at(position: int, value: Float[Tensor, "*width"], head: int | None = None) -> Edit:
    """An edit that patches: at one position, `value` replaces the residual stream, or a head's output.

    For attention.heads and copying.heads `head` says which head's; value is what another run gave there
    (`trace` keeps it).
    """

    def change(x: Float[Tensor, "batch seq *width"]) -> Float[Tensor, "batch seq *width"]:
        x = x.clone()
        if head is None:
            x[:, position] = value
        else:
            x[:, position, head] = value
        return x

    return change


def in_turn(*functions: Edit) -> Edit:
    """One edit made of several of the same activation, from the first to the last."""

    def change(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return change
