"""What takes a model works where the model is: on an accelerator, here on the stand-in of accelerator.py."""

import pytest
import torch
from accelerator import DEVICE, There, accelerator

from gptlib.generation.beams import beam_search
from gptlib.generation.writing import generate, generate_many, generate_tokens, stream
from gptlib.interpret.inspecting import (
    direct_logit_attribution,
    logit_difference,
    logit_lens,
    mean_activation,
    patching_map,
    remove_each_head,
)
from gptlib.interpret.tracing import trace
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.conversations import Conversations, Message, answer, with_roles
from gptlib.training.evaluation import evaluate, loss_of
from gptlib.training.finetuning import fine_tune
from gptlib.training.loop import train
from gptlib.training.lora import add_lora, learn_rows, without_lora

TOKENIZER = with_roles(Tokenizer.train(["the cat sat on the mat. the dog sat on the cat."] * 3, 270))
TOKENS = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
DATA = TokenFile.from_tokens(([0] + [5, 9, 3, 7, 2, 8] * 3) * 20)
TALKS = [(Message("user", "the cat"), Message("assistant", "the mat"))] * 4
SHAPES = {
    "GPT-2": {},
    "modern": {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "n_kv_heads": 1, "qk_norm": True},
    "window": {"position": "alibi", "window": 3, "score_cap": 5.0, "logit_cap": 9.0},
    "experts": {"position": "sinusoidal", "n_experts": 3},
}


def a_model(**changes):
    torch.manual_seed(0)
    config = GPTConfig(TOKENIZER.vocab_size, 16, 2, 2, 16, **changes)
    return GPT(config).eval()


def trained(model, **given):
    steps = train(
        model, DATA, DATA, TrainConfig(steps=3, batch_size=2, eval_every=2, eval_batches=2, **given)
    )
    return torch.tensor([[step.loss, step.gradient_norm, step.validation_loss or 0] for step in steps])


def tuned(model):
    for layer in add_lora(model, 2):  # whose first numbers differ here, since the stand-in draws "meta" ones
        layer.lora_a.data.copy_(torch.linspace(-1, 1, layer.lora_a.numel()).view_as(layer.lora_a))
    learn_rows(model, [TOKENIZER.vocab_size - 1])
    talks = Conversations(TALKS, TOKENIZER, 16)
    config = TrainConfig(steps=2, batch_size=2, eval_every=1)
    losses = [step.loss for step in fine_tune(model, talks, talks, config)]
    return torch.tensor([*losses, evaluate(without_lora(model), talks, 16)])


def traced(model, tokens):
    with trace(model, only=["*attention.weights", "*residual_mid"]) as run, torch.no_grad():
        model(tokens)
    return torch.cat([value.flatten() for value in run.values()])


def last_position(logits):
    return logits[:, -1, 7]


# Each is given the model, and the tokens where the model is.
CALLS = {
    "forward": lambda model, tokens: model(tokens),
    "generate": lambda model, tokens: generate(model, TOKENIZER, "the", seed=1, max_new_tokens=25),
    "filters": lambda model, tokens: generate(
        model,
        TOKENIZER,
        seed=1,
        top_k=9,
        top_p=0.9,
        repetition_penalty=1.2,
        no_repeat_ngram=2,
        min_new_tokens=5,
    ),
    "stream": lambda model, tokens: list(stream(model, TOKENIZER, "the", temperature=0, max_new_tokens=9)),
    "generate_many": lambda model, tokens: generate_many(model, TOKENIZER, ["", "the cat"], 2, seed=1),
    "generate_tokens": lambda model, tokens: generate_tokens(model, tokens.cpu(), seed=1, max_new_tokens=20),
    "tokens there": lambda model, tokens: generate_tokens(model, tokens, seed=1, max_new_tokens=20),
    "beam_search": lambda model, tokens: beam_search(model, tokens[:1], max_new_tokens=20),
    "evaluate": lambda model, tokens: evaluate(model, DATA),
    "documents": lambda model, tokens: evaluate(model, DATA, at_document_starts=True),
    "loss_of": lambda model, tokens: loss_of(model, tokens[:, :-1], tokens[:, 1:]),
    "train": lambda model, tokens: trained(model),
    "train in pieces": lambda model, tokens: trained(model, accumulate=2, clip=0.1),
    "muon": lambda model, tokens: trained(model, optimizer="muon"),
    "fine_tune": lambda model, tokens: tuned(model),
    "answer": lambda model, tokens: answer(model, TOKENIZER, TALKS[0][:1], 3),
    "trace": traced,
    "logit_lens": logit_lens,
    "attribution": lambda model, tokens: direct_logit_attribution(model, tokens, 7, minus=3).total,
    "mean_activation": lambda model, tokens: mean_activation(model, "blocks.0.residual_mid", [tokens]),
    "remove_each_head": lambda model, tokens: remove_each_head(model, tokens, last_position),
    "patching_map": lambda model, tokens: patching_map(
        model, tokens[:1], tokens[1:], logit_difference(7, 3), "residual_pre"
    ),
}


def outcome(call, model, tokens):
    result = call(model, tokens)
    if isinstance(result, There):
        result = result.cpu()
    return result.detach() if isinstance(result, torch.Tensor) else result


@pytest.mark.parametrize("name", CALLS)
def test_it_works_where_the_model_is(name):
    expected = outcome(CALLS[name], a_model(), TOKENS)
    model = a_model()
    with accelerator(model):
        found = outcome(CALLS[name], model, TOKENS.to(DEVICE))
    if isinstance(expected, (str, list)):
        assert found == expected
    else:
        # Muon's products are in bfloat16 on an accelerator, and in float32 on a processor.
        apart = {"rtol": 1e-4, "atol": 1e-4} if name == "muon" else {}
        torch.testing.assert_close(found, expected, **apart)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pass_through_a_model_waits_for_a_value(shape):
    """Each wait makes the processor idle until the accelerator has done all it was given."""
    expected = a_model(**SHAPES[shape])(TOKENS)
    with accelerator(model := a_model(**SHAPES[shape])) as device:
        logits = model(TOKENS.to(DEVICE))
        assert device.waits == 0
        torch.testing.assert_close(logits.cpu(), expected)


def test_the_stand_in_refuses_what_an_accelerator_refuses():
    with accelerator(model := a_model()) as device:
        with pytest.raises(RuntimeError, match="tensors of the processor"):
            model(TOKENS)
        assert TOKENS.to(DEVICE).sum().item() == TOKENS.sum() and device.waits == 1
