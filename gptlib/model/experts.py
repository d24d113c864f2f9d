"""Mixture of experts: many MLPs in a block, of which each token uses a few.

A router scores the experts for each token, the best few are computed, and their outputs are mixed. So a model
can have many more parameters than a token pays for. Left alone, a router comes to send everything to the same
few; `balance_loss` is what that costs in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.checks import check_tensor, check_whole
from gptlib.model.config import GPTConfig

Expert = Callable[[Float[Tensor, "*batch d_model"]], Float[Tensor, "*batch d_model"]]


def route(probabilities: Float[Tensor, "*batch expert"], n_active: int) -> Float[Tensor, "*batch expert"]:
    """How much each expert counts for each token: the likeliest n_active share 1, the others get exactly 0.

    Raises ValueError when n_active is not from 1 to the number of experts.
    Jiang et al. 2024, "Mixtral of Experts", section 2.1; the idea is that of Shazeer et al. 2017,
    "Outrageously Large Neural Networks", section 2.1, equations 3 to 5, without its noise.
    """
    check_tensor("probabilities", probabilities)
    check_whole("n_active", n_active, at_least=None)
    n_experts = probabilities.shape[-1]
    if not 1 <= n_active <= n_experts:
        raise ValueError(f"n_active is {n_active}; it needs to be from 1 to {n_experts}, all there are")
    kept, chosen = probabilities.topk(n_active, dim=-1)  # (…, expert) -> (…, n_active)
    shares = kept / kept.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter(-1, chosen, shares)


def mix(
    x: Float[Tensor, "*batch d_model"], gates: Float[Tensor, "*batch expert"], experts: Iterable[Expert]
) -> Float[Tensor, "*batch d_model"]:
    """The sum of what all experts make of x, each times its gate; `fast_mix` computes no product with 0.

    Shazeer et al. 2017, section 2, equation 1.
    """
    return sum(gates[..., [number]] * expert(x) for number, expert in enumerate(experts))


def fast_mix(
    x: Float[Tensor, "*batch d_model"], gates: Float[Tensor, "*batch expert"], experts: Iterable[Expert]
) -> Float[Tensor, "*batch d_model"]:
    """What `mix` computes, with each expert given only the tokens that chose it."""
    tokens, shares = x.flatten(0, -2), gates.flatten(0, -2)  # (…, d_model) -> (token, d_model)
    mixed = torch.zeros_like(tokens)
    for number, expert in enumerate(experts):
        # An expert that nobody chose is called with no tokens, so that its gradient is 0 instead of missing.
        rows = shares[:, number].nonzero().squeeze(1)
        answer = shares[rows, number, None] * expert(tokens[rows])
        mixed = mixed.index_add(0, rows, answer.to(mixed.dtype))
    return mixed.view_as(x)


def balance_loss(probabilities: Float[Tensor, "*batch expert"], n_active: int) -> Float[Tensor, ""]:
    """How unevenly tokens are spread: 1 when every expert gets as many, up to n_experts when one gets all.

    The product of each expert's share of the tokens with its mean probability, summed, times n_experts. Only
    the probabilities have a gradient: it lowers those of experts that many tokens chose.
    Fedus et al. 2022, "Switch Transformers", section 2.2, equations 4 to 6, for any number of choices.
    """
    n_experts = probabilities.shape[-1]
    probabilities = probabilities.flatten(0, -2).float()  # (…, expert) -> (token, expert)
    chosen = probabilities.topk(n_active, dim=-1).indices
    numbers = torch.arange(n_experts, device=chosen.device)
    shares = (chosen.flatten()[:, None] == numbers).float().mean(dim=0)  # (choice, expert) -> (expert,)
    return n_experts * (shares * probabilities.mean(dim=0)).sum()


class Router(nn.Module):
    """The chance that each expert is given for each token: a softmax over one score each.

    Computed in 32 bits, since it decides which weights are used at all (Fedus et al. 2022, section 2.4).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.scores = nn.Linear(config.d_model, config.n_experts, bias=False)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch expert"]:
        return self.scores(x).softmax(dim=-1, dtype=torch.float32)  # (…, d_model) -> (…, expert)


class Experts(nn.Module):
    """Stands where a block has its MLP: n_experts of them, n_active for each token.

    Jiang et al. 2024, "Mixtral of Experts", section 2.1.
    """

    def __init__(self, config: GPTConfig, expert_class: Callable[[GPTConfig], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.router = Router(config)
        self.experts = nn.ModuleList(expert_class(config) for _ in range(config.n_experts))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        gates = route(self.router(x), self.config.n_active)  # (…, d_model) -> (…, expert)
        # A compiled graph has one shape, whichever experts the tokens choose.
        return (mix if torch.compiler.is_compiling() else fast_mix)(x, gates, self.experts)


@contextmanager
def watch_balance(model: nn.Module) -> Iterator[list[Float[Tensor, ""]]]:
    """What uneven use of the experts adds to the loss: a number for each layer that runs inside the `with`.

    Empty where there are no experts, and outside training, where a loss says how well a model predicts.
    """
    losses: list[Tensor] = []

    def recorder(config: GPTConfig) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], probabilities: Tensor) -> None:
            losses.append(config.balance * balance_loss(probabilities, config.n_active))

        return record

    with ExitStack() as hooks:
        for layer in model.modules():
            if isinstance(layer, Experts) and layer.training:
                hooks.enter_context(layer.router.register_forward_hook(recorder(layer.config)))
        yield losses
