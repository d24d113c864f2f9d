"""A storyteller that learned to look back with copy heads, which then became its last layer.

`python benchmarks/train_storyteller.py [FOLDER]` trains three layers and four copy heads for a short while,
folds the copy heads into a fourth layer, and trains the GPT-2 that this gives for long. From random weights
GPT-2's layout has not even learned after 1,000 steps that names come again: see `muon` in docs/record.md.
A run that was stopped goes on from its last checkpoint. At the end data/storyteller is made anew.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from gptlib import GPT, TrainConfig, load, trace, train  # noqa: E402
from gptlib.files import write_atomically  # noqa: E402
from gptlib.formats.folders import write_snapshot  # noqa: E402
from gptlib.model.presets import PRESETS  # noqa: E402
from gptlib.shipped import ship  # noqa: E402
from gptlib.text.corpora import TokenFile, storyworld_corpus, write_tokens  # noqa: E402
from gptlib.training.checkpoints import CHECKPOINT_NAME, load_checkpoint  # noqa: E402
from gptlib.training.evaluation import IGNORED, TrainingData  # noqa: E402
from gptlib.training.repeats import said_before  # noqa: E402
from gptlib.training.whole_documents import WholeDocuments  # noqa: E402

STORIES, VALIDATION_STORIES = 400_000, 2000
SHAPE = PRESETS["storyteller"]
COPYING_SHAPE = replace(SHAPE, n_layers=SHAPE.n_layers - 1, copy_heads=SHAPE.n_heads)
COPYING = TrainConfig(
    steps=3000,
    batch_size=8,
    at_document_starts=True,  # the validation too, where a story stands alone
    optimizer="muon",
    learning_rate=0.02,
    embedding_learning_rate=0.03,
    vector_learning_rate=0.01,
    schedule="trapezoid",
    cooldown=0.6,
    weight_decay=0.0,
    eval_every=250,
    eval_batches=10,
    precision="bfloat16",
)
FOLDED = replace(
    COPYING,
    steps=16_000,
    batch_size=16,
    learning_rate=0.008,
    embedding_learning_rate=0.008,
    vector_learning_rate=0.008,
    betas=(0.9, 0.99),
    warmup_steps=100,
    cooldown=0.95,
    seed=1,  # other batches
)
SLOWER = replace(
    FOLDED,
    learning_rate=0.004,
    embedding_learning_rate=0.004,
    vector_learning_rate=0.004,
    seed=2,
)
SNAPSHOTS = (0, 3, 18, 47, 120, 310, 1000, 3000, 3300, 4000, 7000, 35_000)  # steps of all phases
PHASES = ("copying", "folded", "slower")
COLUMNS = ("step", "loss", "validation_loss", "learning_rate", "gradient_norm", "tokens")
WINDOWS = 1 / 8  # of the batches
RECALLING = 2 / 3  # of the batches of the first phase
NEW = 0.1  # is kept of the targets that are new in such a batch
COUNTED = 2000  # stories, to learn from how often each token is said again
FITTED_ON, FITTED_LENGTH = 500, 120  # stories, and tokens of each


@torch.no_grad()
def folded(model: GPT, stories: Int[Tensor, "story seq"]) -> GPT:
    """The same model in GPT-2's layout: what its copy heads do, one more layer does, nearly.

    Where the heads of the new layer look is the same, since they read the stream through the same norm. What
    they write is not: a copy head adds the unembedding's rows of the tokens it looks at, and an ordinary head
    has only the stream there, through d_head numbers. So its values and outputs are fitted, by least squares
    of that rank, on what the copy heads write on these stories, each place counted by how much it is looked
    at. The layer's MLP begins with nothing to say.
    """
    config, copying = model.config, model.copying[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same MLP, however often a run was stopped
        grown = GPT(replace(config, n_layers=config.n_layers + 1, copy_heads=None))
    grown.load_state_dict(
        {name: value for name, value in model.state_dict().items() if not name.startswith("copying.")},
        strict=False,
    )
    layer, d_head = grown.blocks[-1], config.d_head
    for weight in (layer.attention.qkv.bias, layer.attention.output.bias, layer.mlp.down.weight):
        nn.init.zeros_(weight)
    layer.attention_norm.load_state_dict(model.final_norm.state_dict())
    w_q, w_k, w_v = layer.attention.qkv.weight.split(layer.attention.widths)
    w_q.copy_(copying.queries.weight)
    w_k.copy_(copying.keys.weight)

    with trace(model, only=["residual_final", "final_norm", "copying.weights"]) as run:
        model(stories)
    read, weights = run["final_norm"], run["copying.weights"]
    # The final norm divides by this what a layer writes, and multiplies it by its gains.
    size = run["residual_final"].std(dim=-1, correction=0)[:, None, :, None]
    looked_at = weights.sum(dim=2)  # (story, head, query, key) -> (story, head, key)
    size_there = (weights * size).sum(dim=2) / looked_at.clamp(min=1e-9)  # some nobody looks at
    rows = model.unembedding.weight[stories] / model.final_norm.weight
    for head, gains in enumerate(copying.gains.view(config.copy_heads, -1)):
        written = size_there[:, head, :, None] * gains * rows
        here = slice(head * d_head, (head + 1) * d_head)
        values, outputs = fitted(read, written, looked_at[:, head], d_head)
        w_v[here] = values.T
        layer.attention.output.weight[:, here] = outputs.T
    return grown


def fitted(
    read: Float[Tensor, "story seq d_in"],
    written: Float[Tensor, "story seq d_out"],
    counted: Float[Tensor, "story seq"],
    rank: int,
) -> tuple[Float[Tensor, "d_in rank"], Float[Tensor, "rank d_out"]]:
    """The two matrices of this rank whose product takes `read` nearest to `written`, by weighted squares."""
    root = counted.reshape(-1, 1).double().sqrt()
    read, written = read.flatten(0, 1).double() * root, written.flatten(0, 1).double() * root
    best = torch.linalg.lstsq(read, written, driver="gelsd").solution
    # Of all that could be written, the directions that hold most of the best fit.
    outputs = torch.linalg.svd(read @ best, full_matrices=False).Vh[:rank]
    values = best @ outputs.T
    balance = (values.norm() / outputs.norm()).sqrt().clamp(min=1e-6)  # neither is much larger than the other
    return (values / balance).float(), (outputs * balance).float()


def long_beginnings(tokens: TokenFile) -> Int[Tensor, "story seq"]:
    """The beginnings of the first stories that are long enough to fit on."""
    starts = tokens.document_starts()
    long_enough = starts[:-1][np.diff(starts) >= FITTED_LENGTH][:FITTED_ON]
    rows = [tokens.tokens[start : start + FITTED_LENGTH] for start in long_enough]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


class Stories:
    """Data to train on: a story alone in each row; in one batch of eight, rows that go on into the next one.

    No story is as long as the context, so stories alone would never teach the last positions, which longer
    texts need.
    """

    def __init__(self, tokens: TokenFile) -> None:
        self.windows, self.alone = tokens, WholeDocuments(tokens)

    def batch(
        self, batch_size: int, context_length: int, generator: torch.Generator, at_document_starts: bool
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        on = torch.rand(1, generator=generator) < WINDOWS
        drawn_from = self.windows if on else self.alone
        return drawn_from.batch(batch_size, context_length, generator, at_document_starts)


class Recalling(Stories):
    """The same stories, where in most batches little counts but what a story says again, each word alike.

    Names are said again several times in a story, a mood in one story of eight. Where every repeat counted,
    the heads learned names first and came to look so sharply that a mood had a weight of exactly 0, and so
    no gradient that would ever turn them to it. Here each token counts about equally from the start: of the
    repeats of those that are often said again, most are left out.
    """

    def __init__(self, tokens: TokenFile) -> None:
        super().__init__(tokens)
        starts = tokens.document_starts()[: COUNTED + 1]
        rows = [torch.from_numpy(tokens.tokens[a:b].astype(np.int64)) for a, b in pairwise(starts)]
        said_again = [row[1:][said_before(row[None, :-1], row[None, 1:])[0]] for row in rows]
        counts = torch.bincount(torch.cat(said_again), minlength=SHAPE.vocab_size)
        self.kept = counts[counts > 0].median() / counts.clamp(min=1)

    def batch(
        self, batch_size: int, context_length: int, generator: torch.Generator, at_document_starts: bool
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        inputs, targets = super().batch(batch_size, context_length, generator, at_document_starts)
        if torch.rand(1, generator=generator) < RECALLING:
            share = torch.where(said_before(inputs, targets), self.kept[targets.clamp(min=0)], NEW)
            left_out = torch.rand(targets.shape, generator=generator) >= share
            targets = targets.masked_fill(left_out, IGNORED)
        return inputs, targets


class Run:
    """A folder with the texts, a checkpoint and a log of each phase, and the snapshots."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, 0
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
        _, self.tokenizer = load("storyteller")
        self.learned, self.validation = (
            self.tokens("train", STORIES),
            self.tokens("validation", VALIDATION_STORIES),
        )
        self.fitted_on = long_beginnings(self.learned)

    def tokens(self, split: str, n_stories: int) -> TokenFile:
        path = self.folder / f"{split}.npy"
        if path.exists():
            return TokenFile(path)
        return write_tokens(storyworld_corpus(n_stories, 0, split).documents, self.tokenizer, path)

    def phase(self, name: str, model: GPT, data: TrainingData, config: TrainConfig) -> GPT:
        """Train the model after the phases before, from this phase's checkpoint where there is one."""
        folder, log = self.folder / name, self.folder / f"{name}.jsonl"
        resume = folder if (folder / CHECKPOINT_NAME).exists() else None
        done = load_checkpoint(folder).step if resume else 0
        # Stopped between a checkpoint and its snapshot, the run would otherwise lack it.
        self.keep(self.done + done, load(folder / CHECKPOINT_NAME)[0] if resume else model)
        lines = log.read_text().splitlines(keepends=True) if done else []
        rows = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= done]
        write_atomically(log, lambda file: file.write("".join(rows).encode()))
        if done < config.steps:
            with open(log, "a", encoding="utf-8") as file:
                for step in train(
                    model,
                    data,
                    self.validation,
                    replace(config, folder=folder, checkpoint_every=config.eval_every),
                    resume,
                ):
                    file.write(json.dumps(asdict(step)) + "\n")
                    file.flush()
                    if step.validation_loss is not None:
                        print(f"{name}: {step}", flush=True)
                    self.keep(self.done + step.step, model)
        self.done += config.steps
        return load(folder / CHECKPOINT_NAME)[0]

    def keep(self, step: int, model: GPT) -> None:
        """Write a snapshot, if there is to be one of this step: in GPT-2's layout, like all."""
        if step in SNAPSHOTS:
            shaped = folded(model, self.fitted_on) if model.config.copy_heads else model
            write_snapshot(self.folder / "snapshots" / f"step_{step:06d}.safetensors", shaped)

    def log(self) -> dict[str, list[float | None]]:
        """What the phases noted, one after the other, as data/storyteller has it."""
        columns: dict[str, list[float | None]] = {}
        steps = tokens = 0
        for name in PHASES:
            rows = [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]
            for row in rows:
                row |= {"step": steps + row["step"], "tokens": tokens + row["tokens"]}
                for key in COLUMNS:
                    columns.setdefault(key, []).append(row[key])
            steps, tokens = rows[-1]["step"], rows[-1]["tokens"]
        return columns


def main(folder: str = "runs/storyteller") -> None:
    """Make storyteller."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = Run(Path(folder))
    model = run.phase("copying", GPT(COPYING_SHAPE), Recalling(run.learned), COPYING)
    stories = Stories(run.learned)
    model = run.phase("folded", folded(model, run.fitted_on), stories, FOLDED)
    model = run.phase("slower", model, stories, SLOWER)
    snapshots = [
        (step, load(run.folder / "snapshots" / f"step_{step:06d}.safetensors")[0]) for step in SNAPSHOTS
    ]
    ship("storyteller", model, run.tokenizer, run.log(), snapshots)


if __name__ == "__main__":
    main(*sys.argv[1:])
