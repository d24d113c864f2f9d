"""What the parts of a model check of their arguments, so that the parts themselves stay plain to read."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.checks import check_tensor, check_whole
from gptlib.model.config import GPTConfig


def check_tokens(tokens: Tensor, config: GPTConfig, start: int = 0) -> None:
    """Raise unless a model of this config can read these tokens after `start` others.

    TypeError when tokens are not whole numbers, ValueError when they are not (batch, seq) or longer than the
    context, IndexError when a token is outside the vocabulary.
    """
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"tokens is a {type(tokens).__name__}; it needs a tensor, such as torch.tensor([[1, 2]])"
        )
    if tokens.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"tokens has dtype {tokens.dtype}; it needs int64: tokens.long() would do")
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}; it needs (batch, seq), each at least 1; "
            "for one list of tokens torch.tensor([tokens]) would do"
        )
    if start + tokens.shape[1] > config.context_length:
        after = f" after {start} in the cache" if start else ""
        raise ValueError(
            f"tokens has {tokens.shape[1]} tokens{after}; context_length is {config.context_length}, "
            f"so at most {config.context_length - start} fit (tokens[:, -n:] are the last n)"
        )
    if can_look_at(tokens):
        _check_ids(tokens, config)


def can_look_at(tensor: Tensor) -> bool:
    """Whether a tensor's values are at hand while a model runs.

    On an accelerator a look would make the processor wait for all that goes on there, and a graph that
    torch.compile or torch.export makes holds for any values.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def check_start(tokens: Tensor, model: nn.Module) -> None:
    """Raise unless a model can write on from these tokens, of which it reads as many as its context holds.

    It looks at the tokens on any device. Raises as `check_tokens` does, and TypeError for no GPT.
    """
    check_model(model)
    few = isinstance(tokens, Tensor) and tokens.dim() == 2
    check_tokens(tokens[:, -model.config.context_length :] if few else tokens, model.config)
    _check_ids(tokens, model.config)


def check_model(model: object) -> None:
    """Raise TypeError unless this is a GPT, or a module that has a GPT's config."""
    if not isinstance(getattr(model, "config", None), GPTConfig):
        raise TypeError(f"model is {_brief(model)}; it needs a GPT, as load gives it")


def check_vocabulary(tokenizer: object, config: GPTConfig, where: str = "") -> None:
    """Raise unless the model has a row of its embedding for each token; it may have more, as padding.

    ValueError when it has not, TypeError when this is no tokenizer.
    """
    if not isinstance(getattr(tokenizer, "vocab_size", None), int):
        raise TypeError(f"{where}tokenizer is {_brief(tokenizer)}; it needs the model's, as load gives it")
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{where}tokenizer has vocab_size {tokenizer.vocab_size}; it needs at most the model's, "
            f"{config.vocab_size}: a model reads and writes with the tokenizer that it was trained with"
        )


def _check_ids(tokens: Tensor, config: GPTConfig) -> None:
    lowest, highest = (value.item() for value in tokens.aminmax())
    if lowest < 0 or highest >= config.vocab_size:
        worst = lowest if lowest < 0 else highest
        raise IndexError(
            f"tokens holds {worst}; vocab_size is {config.vocab_size}, so tokens are 0 to "
            f"{config.vocab_size - 1} (was the text encoded with this model's tokenizer?)"
        )


def check_width(x: Float[Tensor, "*batch d_model"], d_model: int) -> None:
    """Raise unless x holds floating vectors of d_model numbers."""
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; it needs a floating one: x.float() would do")
    if x.dim() < 1 or x.shape[-1] != d_model:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last dimension needs to be {d_model}")


def check_features(name: str, tensor: Tensor, x: Tensor) -> None:
    """Raise unless the tensor has one number for each feature of x."""
    check_tensor("x", x)
    check_tensor(name, tensor)
    if tensor.shape != x.shape[-1:]:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; x has {tuple(x.shape)}")


def check_sequences(x: Float[Tensor, "batch seq d_model"], d_model: int) -> None:
    """Raise unless x is (batch, seq, d_model) and floating."""
    if x.dim() != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; it needs (batch, seq, {d_model})")
    check_width(x, d_model)


def check_counts(n_queries: int, n_keys: int) -> None:
    """Raise unless these are whole numbers of queries and of keys, of which the queries are the last."""
    check_whole("n_queries", n_queries)
    check_whole("n_keys", n_keys)
    if n_queries > n_keys:
        raise ValueError(f"n_queries is {n_queries} and n_keys {n_keys}; 1 <= n_queries <= n_keys is needed")


def check_scored(queries: Tensor, keys: Tensor, mask: Tensor | None, bias: Tensor | None) -> None:
    """Raise unless these queries can be scored against these keys under this mask and bias."""
    _check_floating("queries", queries)
    _check_floating("keys", keys)
    if bias is not None:
        _check_floating("bias", bias)
    *batch, n_queries, d_head = queries.shape
    n_keys = keys.shape[-2]
    if keys.shape[-1] != d_head or list(keys.shape[:-2]) != batch:
        raise ValueError(
            f"keys has shape {tuple(keys.shape)}; queries has {tuple(queries.shape)}, "
            f"so keys needs {_shape(*batch, 'key', d_head)}"
        )
    for name, tensor in (("mask", mask), ("bias", bias)):
        if tensor is not None and not _fits(tensor, (*batch, n_queries, n_keys)):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; the scores have {(*batch, n_queries, n_keys)}, "
                f"so {name} needs ({n_queries}, {n_keys}), or that with some of the dimensions before it"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it needs torch.bool, True where a query may attend")
    if mask is not None and can_look_at(mask) and not mask.any(dim=-1).all():
        row = (~mask.any(dim=-1)).nonzero()[0, -1].item()
        raise ValueError(f"mask lets query {row} attend to nothing; each query needs at least one True")


def check_values(values: Tensor, keys: Tensor) -> None:
    """Raise unless there is one floating value for each key."""
    _check_floating("values", values)
    if values.shape[:-1] != keys.shape[:-1]:
        raise ValueError(
            f"values has shape {tuple(values.shape)}; keys has {tuple(keys.shape)}, "
            f"so values needs {_shape(*keys.shape[:-1], 'd_value')}, one for each key"
        )


def _check_floating(name: str, tensor: Tensor) -> None:
    check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} has dtype {tensor.dtype}; {name}.float() would do")
    if tensor.dim() < 2:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it needs at least two dimensions")


def _brief(value: object) -> str:
    return repr(value) if value is None or isinstance(value, (str, int)) else f"a {type(value).__name__}"


def _shape(*dimensions: int | str) -> str:
    return f"({', '.join(map(str, dimensions))})"


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has all queries and keys of these scores, and broadcasts over what is before them."""
    ahead = zip(reversed(tensor.shape[:-2]), reversed(shape[:-2]), strict=False)
    return (
        tensor.dim() <= len(shape)
        and tensor.shape[-2:] == shape[-2:]
        and all(given in (1, wanted) for given, wanted in ahead)
    )
