"""What a reader does to a model: heads removed and scaled, activations patched from one text into another.

A change is a dict, so that a page can make it:
{"do": "zero" | "mean", "layer": l, "head": h}           remove a head
{"do": "scale", "layer": l, "head": h, "by": x}          multiply its output
{"do": "patch", "layer": l, "head": h, "source": i, "target": j}
    its output at A's token i goes to B's token j; with head None, the residual stream that enters the layer
The copy heads of a `gptlib.GPT` are as one more layer, behind the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gptlib.interpret.tracing import remove_head, replace_at, scale_head

NEEDED = {"zero": (), "mean": (), "scale": ("by",), "patch": ("source", "target")}


def check_change(change: Any, shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless a model of this shape, (layers, heads, copy heads), can take the change."""
    if not isinstance(change, dict) or change.get("do") not in NEEDED:
        raise ValueError(f'changes holds {change!r}; "do" needs to be one of {", ".join(NEEDED)}')
    missing = [name for name in ("layer", "head", *NEEDED[change["do"]]) if name not in change]
    if missing:
        raise ValueError(f"changes holds {change!r}, which lacks {missing[0]!r}")
    layer, head = change["layer"], change["head"]
    residual = change["do"] == "patch" and head is None
    rows = heads_by_row(shape)
    if not _within(layer, len(rows)) or not (residual or _within(head, rows[layer])):
        n_layers, n_heads, copy_heads = shape
        copies = f", and {copy_heads} copy heads as layer {n_layers}" if copy_heads else ""
        raise ValueError(
            f"changes names layer {layer} head {head}; the model has {n_layers} layers of {n_heads} heads"
            f"{copies}"
        )
    if change["do"] == "scale" and (
        isinstance(change["by"], bool) or not isinstance(change["by"], int | float)
    ):
        raise ValueError(f'changes scales by {change["by"]!r}; "by" needs to be a number')


def heads_by_row(shape: tuple[int, int, int]) -> list[int]:
    """How many heads each layer has; the copy heads, where there are any, are as one more layer."""
    n_layers, n_heads, copy_heads = shape
    return [n_heads] * n_layers + ([copy_heads] if copy_heads else [])


def _within(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def edit_of(
    change: Mapping[str, Any], n_layers: int, activations: Mapping[str, Tensor] | None, n_tokens: int
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The name of the activation that a change touches, and what it does to it, in a text of n_tokens.

    activations: what A computed, (seq, …) each, for a patch. Raises ValueError when a patch names no token.
    """
    head, name = change["head"], place_of(change, n_layers)
    if change["do"] == "scale":
        return name, scale_head(head, change["by"])
    if change["do"] != "patch":
        return name, remove_head(head, change["do"])
    value = activations[name]
    for text, position, length in (("A", change["source"], len(value)), ("B", change["target"], n_tokens)):
        if not _within(position, length):
            raise ValueError(
                f"changes patches token {position} of text {text}, which has {length}; undo that change first"
            )
    value = value[change["source"]]
    return name, replace_at(change["target"], value if head is None else value[head], head)


def place_of(change: Mapping[str, Any], n_layers: int) -> str:
    """The name of the activation that a change touches."""
    if change["layer"] == n_layers:
        return "residual_final" if change["head"] is None else "copying.heads"
    part = "residual_pre" if change["head"] is None else "attention.heads"
    return f"blocks.{change['layer']}.{part}"


@dataclass(frozen=True)
class InCode:
    """How Python that repeats the changes reads a text: what is written around it."""

    before: tuple[str, ...] = ()
    where: str = "model"
    encode: str = "[tokenizer.end_of_text, *tokenizer.encode({})]"
    run: str = "model({})"
    result: str = "logits"


def in_code_of(adapter: Any, text: str) -> InCode:
    """That of the model that the adapter is for; text is what an encoder reads beside a decoder."""
    part = getattr(adapter, "part", None)
    if part is None:  # a gptlib.GPT
        return InCode()
    named = f", {part!r}" if part else ""
    places = ("from gptlib.viz.explorers.adapters import adapt", "", f"adapter = adapt(model{named})")
    tokens = 'tokenizer({})["input_ids"]'
    result = "logits" if adapter.predicts else "output"
    logits = ".logits" if adapter.predicts else ""
    if not adapter.needs_target:
        run = "model.get_encoder()({})" if part == "encoder" else "model({})" + logits
        return InCode(places, "adapter.places", tokens, run, result)
    source = f"source = torch.tensor([{tokens.format(repr(text))}])"
    return InCode(
        ("from gptlib.viz.explorers.words import read_target", *places, source),
        "adapter.places",
        "read_target(tokenizer, {}, adapter.start)[0]",
        "model(input_ids=source, decoder_input_ids={})" + logits,
        result,
    )


def code_of(changes: Sequence[dict[str, Any]], n_layers: int, text: str, text_b: str, how: InCode) -> str:
    """Python that repeats the changes, which reads texts as `how` says."""
    patches = [change for change in changes if change["do"] == "patch"]
    calls: dict[str, list[str]] = {}
    sources: list[str] = []
    for change in changes:
        head, name = change["head"], place_of(change, n_layers)
        if change["do"] == "scale":
            call = f"scale_head({head}, {change['by']:g})"
        elif change["do"] == "patch":
            sources.append(name)
            at = f"[0, {change['source']}]" if head is None else f"[0, {change['source']}, {head}]"
            whose = "" if head is None else f", head={head}"
            call = f"replace_at({change['target']}, run[{name!r}]{at}{whose})"
        else:
            call = f"remove_head({head}, {change['do']!r})"
        calls.setdefault(name, []).append(call)

    def entries(keep: Callable[[str], bool]) -> str:
        chosen = {name: [call for call in made if keep(call)] for name, made in calls.items()}
        lines = [
            f"    {name!r}: {made[0] if len(made) == 1 else 'in_turn(' + ', '.join(made) + ')'},\n"
            for name, made in chosen.items()
            if made
        ]
        return "{\n" + "".join(lines) + "}" if lines else "{}"

    used = {call.split("(")[0] for made in calls.values() for call in made}
    used |= {"in_turn"} if any(len(made) > 1 for made in calls.values()) else set()
    used |= {"edit", "trace"} if patches else {"edit"}
    lines = ["import torch", f"from gptlib.interpret.tracing import {', '.join(sorted(used))}"]
    lines += how.before or [""]
    encode, where = how.encode, how.where
    if patches:
        on_both = entries(lambda call: not call.startswith("replace_at"))
        lines += [
            f"tokens_a = torch.tensor([{encode.format(repr(text))}])",
            f"tokens = torch.tensor([{encode.format(repr(text_b or text))}])",
            f"on_both = {on_both}",
            f"with torch.no_grad(), edit({where}, on_both), trace({where}, {sorted(set(sources))!r}) as run:",
            f"    {how.run.format('tokens_a')}",
        ]
    else:
        lines.append(f"tokens = torch.tensor([{encode.format(repr(text))}])")
    lines += [f"changes = {entries(lambda call: True)}", f"with torch.no_grad(), edit({where}, changes):"]
    return "\n".join([*lines, f"    {how.result} = {how.run.format('tokens')}"])
