"""What test_distributed.py has torchrun run in two processes, and runs itself in one, to compare."""

import json
import os
import signal
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from gptlib.cli.main import main
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.training import distributed
from gptlib.training.config import TrainConfig
from gptlib.training.evaluation import IGNORED
from gptlib.training.loop import train

STEPS = 50
CHECKPOINT_AT = 30
CONFIG = GPTConfig(vocab_size=32, context_length=16, n_layers=2, n_heads=2, d_model=16)
# What differs from AdamW on batches of 8, in copies of the model and in parts of one, and for how many steps.
CASES = {
    "plain": ({}, (False, True), STEPS),
    "gaps": ({"accumulate": 2}, (False, True), STEPS),  # see `Gaps`
    "resumed": ({}, (False, True), STEPS - CHECKPOINT_AT),
    "modern": (
        {"norm": "rmsnorm", "mlp": "swiglu", "position": "rotary", "bias": False, "tie_embeddings": False},
        (False, True),
        10,
    ),
    # Not long: where two experts are about as likely, rounding decides which is asked. Balance is that of
    # each piece alone.
    "experts": ({"n_experts": 3, "n_active": 1, "balance": 0.0}, (False, True), 4),
    "muon": ({"optimizer": "muon"}, (False, True), 10),
    "dropout": ({"dropout": 0.2}, (False,), 10),
    "bfloat16": ({"precision": "bfloat16"}, (False,), 10),
}


class Gaps(TokenFile):
    """Rows of which some have no target that counts, and others all."""

    def batch(self, batch_size, *settings):
        inputs, targets = super().batch(batch_size, *settings)
        keep = torch.arange(batch_size) % 4 * 5
        return inputs, targets.where(torch.arange(targets.shape[1]) < keep[:, None], IGNORED)


def run(name, team=distributed.ALONE, folder=None, resume=None, until=None, **changes):
    """Train as the case says; of each step its loss, the gradient's norm and the validation loss."""
    settings = {"learning_rate": 0.01, "eval_every": 20, "eval_batches": 2}
    case, _, steps = CASES[name]
    settings |= case | changes
    shape = {name: settings.pop(name) for name in list(settings) if hasattr(CONFIG, name)}
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(vars(CONFIG) | shape)))
    tokens = np.random.default_rng(0).integers(0, 31, 500)
    tokens[::23] = 31
    data = (Gaps if name == "gaps" else TokenFile).from_tokens(tokens)
    # 13 documents in batches of 8: the second has five for two processes.
    validation = TokenFile.from_tokens(tokens[: 13 * 23 + 1])
    if folder is not None:
        settings |= {"folder": folder, "checkpoint_every": CHECKPOINT_AT}
    # The last step is not made, since it would leave a checkpoint too.
    config = TrainConfig(STEPS + 1, batch_size=8, at_document_starts=name != "gaps", **settings)
    reports = islice(train(model, data, validation, config, resume, team), until or steps)
    return [(report.loss, report.gradient_norm, report.validation_loss) for report in reports]


def count_sums(team, accumulate):
    """How often two steps sum something over the processes: gradients, the loss, and the norm of parts."""
    with torch.profiler.profile() as profile:
        run("plain", team, until=2, accumulate=accumulate, eval_every=None)
    return sum(event.count for event in profile.key_averages() if event.key == "gloo:all_reduce")


def compare(folder):
    """Every case, in both manners."""
    results = {}
    with distributed.join(torch.device("cpu")) as team:
        for shard in (False, True):
            team.shard = shard  # to join twice would be to start twice
            for name in (name for name, case in CASES.items() if shard in case[1]):
                kept = folder / f"of_two_{shard}" if name == "plain" else None
                resume = folder / "of_one" if name == "resumed" else None
                results[f"{name} {shard}"] = run(name, team, kept, resume)
            results[f"sums {shard}"] = [count_sums(team, n) for n in (1, 4)]
    (folder / f"results_{os.environ['RANK']}.json").write_text(json.dumps(results))


def die_at(step, rank, arguments):
    """The command line, but the process of this rank is killed while it draws a batch."""
    draw = TokenFile.batch
    drawn = 0

    def batch(*settings):
        nonlocal drawn
        drawn += 1
        if drawn == step and os.environ["RANK"] == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(*settings)

    TokenFile.batch = batch
    return main(arguments)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "compare":
        compare(Path(rest[0]))
    else:
        sys.exit(die_at(int(rest[0]), rest[1], rest[2:]))
