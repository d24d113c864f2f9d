"""The published weights in, and one's own out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.formats.layouts import is_transposed, published_name
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.viz import figures


def bytes_needed(n_parameters: int, dtype: torch.dtype, training: bool) -> int:
    return n_parameters * dtype.itemsize * (4 if training else 1)


def split_c_attn(
    weight: Float[Tensor, "d_model width"], n_heads: int
) -> Float[Tensor, "3 head d_head d_model"]:
    return weight.T.unflatten(0, (3, n_heads, -1))  # (d_model, 3 * d_model) -> (3, head, d_head, d_model)


def fill(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            published = published_name(name)
            tensor = tensors[published]
            parameter.copy_(tensor.T if is_transposed(published) else tensor)
    return model


def memory_questions(generator: Generator) -> Iterator[tuple[int, torch.dtype, bool]]:
    yield 10, torch.float32, True
    yield 10, torch.float32, False
    for dtype in (torch.bfloat16, torch.int8, torch.float64):
        n_parameters = int(torch.randint(100, 10_000, (), generator=generator))
        yield n_parameters, dtype, False
        yield n_parameters, dtype, True


def our_names(generator: Generator) -> Iterator[tuple[str]]:
    layer = int(torch.randint(2, 48, (), generator=generator))
    yield (f"blocks.{layer}.mlp.up.weight",)
    for part in ("attention_norm", "attention.qkv", "attention.output", "mlp_norm", "mlp.up", "mlp.down"):
        yield (f"blocks.{layer}.{part}.bias",)
        yield (f"blocks.{layer % 7}.{part}.weight",)
    for name in (
        "token_embedding.weight",
        "position.embedding.weight",
        "final_norm.weight",
        "final_norm.bias",
    ):
        yield (name,)


def fused_weights(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    yield torch.arange(48.0).reshape(4, 12), 2
    for d_model, n_heads in ((6, 3), (12, 2), (12, 4)):
        yield torch.randn(d_model, 3 * d_model, generator=generator), n_heads


def files(generator: Generator) -> Iterator[tuple[GPTConfig, dict[str, Tensor], Tensor]]:
    """A shape, a file with published names for it, and tokens to try the filled model on."""
    for n_layers, n_heads, d_model in ((1, 1, 4), (2, 2, 6)):
        config = GPTConfig(
            vocab_size=9, context_length=5, n_layers=n_layers, n_heads=n_heads, d_model=d_model
        )
        with torch.device("meta"):
            shapes = {published_name(name): weight.shape for name, weight in GPT(config).named_parameters()}
        tensors = {f"h.{n}.attn.bias": torch.ones(1, 1, 5, 5).tril() for n in range(n_layers)}
        for name, shape in shapes.items():
            shape = shape[::-1] if is_transposed(name) else shape
            tensors[name] = torch.randn(shape, generator=generator)
        yield config, tensors, torch.randint(9, (2, 5), generator=generator)


def with_fresh_weights(
    answer: Callable[..., Any], config: GPTConfig, tensors: dict[str, Tensor], tokens: Tensor
) -> Any:
    """The logits of a model that starts with weights of its own, once the answer has filled it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = GPT(config).eval()
    filled = answer(model, tensors)
    return filled(tokens) if isinstance(filled, nn.Module) else filled


def filled_if(
    choose: Callable[[str, Tensor], bool], turn: Callable[[str, Tensor, Tensor], Tensor]
) -> Callable[[nn.Module, dict[str, Tensor]], nn.Module]:
    """A loader that writes only the chosen parameters, each turned in its own way."""

    def answer(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                published = published_name(name)
                if choose(published, parameter):
                    parameter.copy_(turn(published, tensors[published], parameter))
        return model

    return answer


def turned_rightly(name: str, tensor: Tensor, parameter: Tensor) -> Tensor:
    return tensor.T if is_transposed(name) else tensor


PUBLISHED_NAME_SOURCE = """\
def published_name(name):
    names = {
        "token_embedding": "wte", "position.embedding": "wpe", "final_norm": "ln_f",
        "attention_norm": "ln_1", "attention.qkv": "attn.c_attn", "attention.output": "attn.c_proj",
        "mlp_norm": "ln_2", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj",
    }
    part, kind = name.rsplit(".", 1)  # kind is weight or bias
    if not part.startswith("blocks."):
        return f"{names[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"h.{layer}.{names[part]}.{kind}"
"""

BYTES_NEEDED = Exercise(
    name="gpt2.bytes_needed",
    reference=bytes_needed,
    inputs=memory_questions,
    buys="You know whether a model fits before you fetch it.",
    hints=(
        "How many numbers are kept for each parameter: to run, and to train? And how large is a number?",
        "Training keeps the weight, its gradient, and AdamW's two means: four numbers for each parameter.",
        "Multiply n_parameters by dtype.itemsize, and by 4 if training.",
    ),
    misconceptions=(
        Misconception(
            "bits",
            "this counts bits. `dtype.itemsize` is in bytes already; there is nothing left to multiply by 8.",
            lambda n_parameters, dtype, training: 8 * bytes_needed(n_parameters, dtype, training),
        ),
        Misconception(
            "weights_alone",
            "training is counted like running. It also keeps a gradient and two means for each parameter.",
            lambda n_parameters, dtype, training: bytes_needed(n_parameters, dtype, False),
        ),
        Misconception(
            "no_means",
            "weights and gradients are counted, and AdamW's two running means are not.",
            lambda n_parameters, dtype, training: n_parameters * dtype.itemsize * (2 if training else 1),
        ),
        Misconception(
            "weights_forgotten",
            "training is counted as three numbers for each parameter. Weight, gradient and two means are four.",
            lambda n_parameters, dtype, training: n_parameters * dtype.itemsize * (3 if training else 1),
        ),
        Misconception(
            "always_float32",
            "every number is counted as 4 bytes. That is float32; `dtype.itemsize` knows the others.",
            lambda n_parameters, dtype, training: bytes_needed(n_parameters, torch.float32, training),
        ),
    ),
    minutes=4,
    difficulty=1,
)

PUBLISHED_NAME = Exercise(
    name="gpt2.published_name",
    reference=published_name,
    source=PUBLISHED_NAME_SOURCE,
    inputs=our_names,
    buys="A mapping of names is the larger half of every conversion between two programs.",
    hints=(
        "A name has up to four pieces: `blocks`, the layer, the part, and weight or bias. Two of them stay as they are.",
        "Nine parts have partners: three outside the blocks, six inside. A dictionary holds them.",
        "Cut the last word off. Outside the blocks look the part up; inside, put `h.`, the layer and the partner together.",
    ),
    misconceptions=(
        Misconception(
            "kind_dropped",
            "the last word is gone. `weight` and `bias` are two tensors, and the name has to say which.",
            lambda name: published_name(name).rpartition(".")[0],
        ),
        Misconception(
            "layer_dropped",
            "the number of the layer is gone, so all layers would get the same tensor.",
            lambda name: re.sub(r"^h\.\d+\.", "h.", published_name(name)),
        ),
        Misconception(
            "blocks_kept",
            "`blocks` is still in it. GPT-2 calls the list of its layers `h`.",
            lambda name: re.sub(r"^h\.", "blocks.", published_name(name)),
        ),
        Misconception(
            "projections_alike",
            "attention's projection and the MLP's have the same name. Both are called `c_proj`; `attn` and `mlp` tell them apart.",
            lambda name: re.sub(r"(attn|mlp)\.c_proj", "c_proj", published_name(name)),
        ),
        Misconception(
            "norms_swapped",
            "the two norms have changed places. `ln_1` comes before attention, `ln_2` before the MLP.",
            lambda name: re.sub("ln_[12]", lambda norm: f"ln_{3 - int(norm[0][-1])}", published_name(name)),
        ),
    ),
    minutes=10,
    difficulty=2,
)

SPLIT_C_ATTN = Exercise(
    name="gpt2.split_c_attn",
    reference=split_c_attn,
    inputs=fused_weights,
    buys="Whatever is done to a single head of GPT-2, this is how its matrices are found.",
    hints=(
        "Turn it first: (out, in) has the outputs in rows, and the rows are what has to be shared out.",
        "(d_model, 3 · d_model) -> (3 · d_model, d_model) -> (3, head, d_head, d_model).",
        "Transpose, then unflatten the first dimension into (3, n_heads, -1).",
    ),
    misconceptions=(
        Misconception(
            "read_across",
            "the numbers were put into a new shape without being turned. They are the same numbers in another order.",
            lambda weight, n_heads: weight.reshape(3, n_heads, -1, weight.shape[0]),
        ),
        Misconception(
            "heads_first",
            "each head's queries, keys and values were taken from neighboring columns. In GPT-2 all queries come first.",
            lambda weight, n_heads: weight.T.unflatten(0, (n_heads, 3, -1)).transpose(0, 1),
        ),
        Misconception(
            "each_on_its_side",
            "the matrices are the right ones, as (in, out). Linear holds them as (out, in).",
            lambda weight, n_heads: split_c_attn(weight, n_heads).transpose(-1, -2),
        ),
        Misconception(
            "heads_interleaved",
            "a head got every n-th column. Its columns lie side by side.",
            lambda weight, n_heads: weight.T.unflatten(0, (3, -1, n_heads)).transpose(1, 2),
        ),
    ),
    minutes=8,
    difficulty=2,
)

FILL = Exercise(
    name="gpt2.fill",
    reference=fill,
    inputs=files,
    use=with_fresh_weights,
    buys="Your own GPT is now GPT-2, or whatever else is in such a file.",
    hints=(
        "Go through the model's parameters, not through the file: what is left over there are masks.",
        "A parameter (out, in) whose tensor is stored as (in, out) gets tensor.T; embeddings, norms and biases go as they are.",
        "Under torch.no_grad(), for each name and parameter: look the tensor up by published_name(name), turn it if "
        "is_transposed says so, and parameter.copy_ it. Return the model.",
    ),
    misconceptions=(
        Misconception(
            "square_not_turned",
            "only tensors whose shape did not fit were turned. attn.c_proj is square: it fits, and lies on its side all the same.",
            filled_if(
                lambda name, parameter: True,
                lambda name, tensor, parameter: tensor if tensor.shape == parameter.shape else tensor.T,
            ),
        ),
        Misconception(
            "reshaped",
            "the matrices were given the right shape without being turned, so their numbers are in the wrong order.",
            filled_if(
                lambda name, parameter: True,
                lambda name, tensor, parameter: tensor.reshape(parameter.shape),
            ),
        ),
        Misconception(
            "biases_forgotten",
            "the biases are as they were. `named_parameters` has them too, under names that end in `bias`.",
            filled_if(lambda name, parameter: name.endswith("weight"), turned_rightly),
        ),
        Misconception(
            "matrices_alone",
            "only matrices were filled. Norms and biases are vectors, and the file has them too.",
            filled_if(lambda name, parameter: parameter.dim() == 2, turned_rightly),
        ),
        Misconception(
            "nothing_written",
            "the model is as it was. Giving the name `parameter` to a tensor changes the name, not the model: copy_ into it.",
            lambda model, tensors: model,
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="published",
    exercises=(BYTES_NEEDED, PUBLISHED_NAME, SPLIT_C_ATTN, FILL),
    predictions=(
        Prediction(
            "gpt2.not_turned",
            "Storyteller's square matrix is read the wrong way around in all four layers. How well does the model "
            "predict new stories then?",
            (
                "worse than a blind guess",
                "The model is sure of itself and wrong. Whoever spreads the bets evenly is surprised less.",
            ),
            (
                (
                    "as before: no error was raised",
                    "Torch compares shapes. What a number means it does not know.",
                ),
                (
                    "a little worse: three matrices in four are right",
                    "What the wrong one writes goes into the stream, and everything after it reads that.",
                ),
            ),
            shows=lambda losses, blind: figures.bar_chart(
                list(losses),
                list(losses.values()),
                label="surprise (nats per token)",
                highlight=["all four wrong"],
                marks={"a blind guess": blind},
                title="A matrix on its side raises no error, and can ruin the model",
            ),
            finding="A matrix on its side raises no error, and it can ruin the model. Turned in layer 0 or layer 3 "
            "alone it does; in layer 1 or layer 2 alone it hardly shows. So neither matching shapes nor a low loss "
            "proves that every matrix is the right way around.",
        ),
        Prediction(
            "gpt2.sinks",
            "Late in a story, after at least 16 tokens, how much of their weight do the heads of the last layer "
            "give the first token, compared with an even share?",
            (
                "several even shares",
                "It says the same in every text, so weight that has nowhere to go does little harm there.",
            ),
            (
                (
                    "about an even share",
                    "That would be so if heads looked everywhere alike. They are choosy, here too.",
                ),
                (
                    "nearly nothing: it is far away",
                    "Distance costs nothing in attention. And it says nothing new; that makes it useful.",
                ),
            ),
            shows=lambda shares, layers, even: figures.grid_heatmap(
                shares,
                layers,
                [f"head {n}" for n in range(shares.shape[1])],
                number="{:.2f}",
                title=f"Some heads leave far more on the first token than an even share of {even:.2f}",
                row_name="layer",
                column_name="head",
                label="share on the first token",
            ),
            finding="Some heads leave far more on the first token than an even share. The weights of a query sum to "
            "1: the softmax sees to that. So a head that finds nothing to fetch still has to put its weight "
            "somewhere.",
        ),
    ),
    quiz=(
        Question(
            "gpt2.half_of_xl",
            "A model has 1.5 billion parameters. How much memory do its weights need in bfloat16?",
            ("3 GB", "Two bytes a parameter."),
            (
                ("1.5 GB", "That is one byte a parameter: int8."),
                ("6 GB", "That is float32, four bytes a parameter."),
                ("24 GB", "That is what training it in float32 with AdamW takes."),
            ),
        ),
        Question(
            "gpt2.no_head",
            "The published file of GPT-2 has no tensor for the unembedding. Why?",
            (
                "it is the token embedding, stored once",
                "`wte` reads tokens at the bottom and scores them at the top: the two are tied.",
            ),
            (
                (
                    "it is computed from the last layer",
                    "The logits are; the matrix that makes them is learned.",
                ),
                ("a user trains their own", "Then nobody could write with the model as it is published."),
                ("it is hidden in `ln_f`", "That is a norm: a vector of gains and one of shifts."),
            ),
        ),
        Question(
            "gpt2.silent",
            "A loader turns a tensor only when its shape does not fit. Which of these does it load wrongly?",
            (
                "`attn.c_proj.weight`",
                "It is (d_model, d_model): it fits either way, and only its name says that it lies on its side.",
            ),
            (
                ("`attn.c_attn.weight`", "It is (d_model, 3 · d_model), does not fit, and is turned."),
                ("`mlp.c_fc.weight`", "It is (d_model, 4 · d_model), does not fit, and is turned."),
                ("`wte.weight`", "It fits, and stands upright: nothing to turn."),
            ),
        ),
        Question(
            "gpt2.pickle",
            "Why does the course refuse a file of weights that is a pickle?",
            (
                "opening it runs what its author put in",
                "A pickle holds calls, to be made on opening. Numbers need none.",
            ),
            (
                ("pickles lose precision", "They keep every bit. The trouble is what else they keep."),
                ("pickles have no names", "They often hold a dictionary with the same names."),
                ("pickles are too large", "They are about as large as any file of the same numbers."),
            ),
        ),
        Question(
            "gpt2.why_first",
            "A head finds nothing to fetch for a token. Why can it not give all tokens a weight of 0?",
            (
                "the softmax makes them sum to 1",
                "So the weight needs a place where it does little harm. The first token is one.",
            ),
            (
                (
                    "the mask forbids it",
                    "The mask hides later tokens. It says nothing about how much the others get.",
                ),
                (
                    "the values would be lost",
                    "Values stay where they are; weights only say how much of each is taken.",
                ),
                (
                    "scores cannot be negative",
                    "They can, as low as you like. It is their softmax that is shared out.",
                ),
            ),
        ),
        Question(
            "gpt2.alike",
            "The rows of a query matrix and of its key matrix are put into another order, the same for both. The scores?",
            (
                "are as before",
                "A dot product is a sum, and a sum does not care about the order of its terms.",
            ),
            (
                (
                    "change their order too",
                    "A score belongs to a query and a key, and those stay where they are.",
                ),
                ("are turned", "Only the numbers inside each vector have moved."),
                ("are as before, if d_head is even", "Rotary positions need pairs. A dot product does not."),
            ),
        ),
    ),
    objectives=(
        ("gpt2.bytes_needed", "gpt2.half_of_xl"),
        ("gpt2.pickle", "gpt2.no_head"),
        (
            "gpt2.published_name",
            "gpt2.split_c_attn",
            "gpt2.fill",
            "gpt2.silent",
            "gpt2.not_turned",
            "gpt2.alike",
        ),
        ("gpt2.sinks", "gpt2.why_first"),
    ),
)
