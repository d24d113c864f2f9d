"""Linear probes: can a property of the text be read off an activation by a matrix?

A probe that finds a property shows that it is there, not that the model uses it, and a probe can learn by
itself what it should only find: hence a baseline, a control, and test examples from other texts.
Alain and Bengio 2016, "Understanding Intermediate Layers Using Linear Classifier Probes", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gptlib.checks import check_kind, check_positive, check_share, check_tensor, check_whole


@dataclass(frozen=True)
class LinearProbe:
    """Scores each class by a linear function of an activation; the highest is its answer."""

    weight: Float[Tensor, "class width"]
    bias: Float[Tensor, " class"]

    def predict(self, features: Float[Tensor, "example width"]) -> Int[Tensor, " example"]:
        return (features.to(self.weight) @ self.weight.T + self.bias).argmax(dim=-1)

    def accuracy(self, features: Float[Tensor, "example width"], labels: Int[Tensor, " example"]) -> float:
        """The share of examples whose label it answers."""
        return (self.predict(features) == labels).double().mean().item()


def fit_probe(
    features: Float[Tensor, "example width"], labels: Int[Tensor, " example"], ridge: float = 0.01
) -> LinearProbe:
    """The linear map nearest, by least squares, from activations to the one-hot labels 0, 1, 2, …

    In closed form, so the same on every machine. ridge: how much large weights cost, as a share of the
    features' mean variance. Raises ValueError when there is not one label for each example, there is one
    class alone, all examples have the same features, or ridge is not above 0.
    Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems".
    """
    check_tensor("features", features)
    check_tensor("labels", labels)
    if len(features) != len(labels):
        raise ValueError(f"features has {len(features)} examples, labels {len(labels)}; each needs one")
    if len(labels.unique()) < 2:
        raise ValueError("labels holds fewer than two classes; there is nothing to tell apart")
    check_positive("ridge", ridge)
    x, targets = features.double(), F.one_hot(labels).double()  # (example, width), (example, class)
    x_mean, target_mean = x.mean(dim=0), targets.mean(dim=0)
    x, targets = x - x_mean, targets - target_mean
    covariance = x.T @ x  # (width, width)
    if not covariance.any():
        raise ValueError("features are the same in all examples; there is nothing to tell them apart by")
    penalty = float(ridge) * covariance.diagonal().mean() * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(covariance + penalty, x.T @ targets).T  # (class, width)
    return LinearProbe(weight, target_mean - weight @ x_mean)


def held_out(texts: Sequence[int], share: float, generator: Generator) -> Bool[Tensor, " example"]:
    """Which examples to test on: all those of a share of the texts, drawn at random.

    texts: for each example, the text that it is from. Examples of one text stay together, or else a probe
    could know a text from training. Raises ValueError when no text or every text would be held out.
    """
    check_kind("texts", texts, Sequence, "for each example the number of its text")
    check_share("share", share)
    for text in texts:
        check_whole("texts", text, at_least=None)
    of_example = torch.tensor(texts)
    distinct = of_example.unique()
    n_test = round(share * len(distinct))
    if not 0 < n_test < len(distinct):
        raise ValueError(f"share is {share}; of {len(distinct)} texts it holds out {n_test}")
    chosen = distinct[torch.randperm(len(distinct), generator=generator)[:n_test]]
    return torch.isin(of_example, chosen)


def control_labels(
    kinds: Int[Tensor, " example"], labels: Int[Tensor, " example"], generator: Generator
) -> Int[Tensor, " example"]:
    """A control task: each kind of example gets a label of its own, drawn from the labels that there are.

    Kinds are what a probe could learn by heart, such as the token at hand. What it scores here, it scores
    without any help of the model's. Hewitt and Liang 2019, "Designing and Interpreting Probes with Control
    Tasks", section 2.
    """
    distinct, which = kinds.unique(return_inverse=True)
    drawn = labels[torch.randint(len(labels), (len(distinct),), generator=generator)]
    return drawn[which]
