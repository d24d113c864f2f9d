"""The shell's verbs for fine-tuning: `python -m gptlib finetune …` and `evaluate …`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from gptlib.files import write_json

VALIDATION_EXAMPLES = 400


def add_verbs(verbs: Any) -> None:
    """Add both verbs to the command line's grammar."""
    _add_finetune(verbs.add_parser("finetune", help="teach a trained GPT a task, as a small adapter"))
    _add_evaluate(verbs.add_parser("evaluate", help="measure adapters on held-out examples"))


# --------------------------------------------------------------------------------------------------- finetune


def _add_finetune(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Teach the model a task with LoRA, and keep what it learned in one small file. The file is written "
        "whenever the validation loss is lower than ever, so a run that is stopped leaves its best."
    )
    parser.set_defaults(run=run_finetune)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--application", help="one of those of notebook 12, such as questions")
    task.add_argument(
        "--data",
        type=Path,
        metavar="FILE.jsonl",
        help='your own: {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]} a line',
    )
    parser.add_argument("--out", required=True, type=Path, help="the file to write, such as mine.safetensors")
    parser.add_argument("--model", default="storyteller", help="what to start from (default: storyteller)")
    parser.add_argument("--rank", type=int, default=16, help="of the updates (default: 16)")
    parser.add_argument("--alpha", type=float, help="their scale is alpha / rank (default: twice the rank)")
    parser.add_argument("--new-tokens", type=int, default=0, help="to learn from --data (default: 0)")
    parser.add_argument("--examples", type=int, default=20_000, help="to draw (default: 20000)")
    parser.add_argument("--steps", type=int, default=1000, help="updates to make (default: 1000)")
    parser.add_argument("--batch-size", type=int, default=16, help="conversations in each (default: 16)")
    parser.add_argument("--learning-rate", type=float, default=0.003, help="the highest (default: 0.003)")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--eval-every", type=int, default=100, help="steps between validation losses")
    parser.add_argument("--patience", type=int, default=5, help="how many may fail to fall (default: 5)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, help="processor threads to use")
    parser.add_argument("--seed", type=int, default=0)


def run_finetune(options: argparse.Namespace) -> int:
    """Train, and leave an adapter."""
    import torch

    from gptlib.training import conversations as chat
    from gptlib.training import finetuning
    from gptlib.training.config import TrainConfig
    from gptlib.training.lora import add_lora, learn_rows

    if options.out.exists():
        raise FileExistsError(f"--out: {str(options.out)!r} is there already; name another file")
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"--out: there is no folder {str(options.out.parent)!r}")
    if options.rank < 1:
        raise ValueError(f"--rank must be at least 1, got {options.rank}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    config = TrainConfig(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        optimizer=options.optimizer,
        weight_decay=0.0,  # it would pull at rows of the embedding that are to stay as they are
        eval_every=options.eval_every,
        eval_batches=None,
        precision=options.precision,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    base, own_tokenizer = _load_base(options.model)
    conversations, n_new_tokens = _conversations(options, own_tokenizer, base.config.context_length)
    texts = (turn.content for turns in conversations[0] for turn in turns)
    tokenizer = chat.with_roles(own_tokenizer, texts, n_new_tokens)
    train_data, validation_data = (
        chat.Conversations(part, tokenizer, base.config.context_length) for part in conversations
    )
    model = chat.grow(base, own_tokenizer, tokenizer)
    alpha = 2 * options.rank if options.alpha is None else options.alpha
    add_lora(model, options.rank, alpha, options.seed)
    learn_rows(model, range(own_tokenizer.vocab_size, tokenizer.vocab_size))
    print(f"{len(train_data):,} conversations to learn from, {len(validation_data):,} held back", flush=True)
    about = {"application": options.application, "rank": options.rank, "examples": len(train_data)}
    best = float("inf")
    for step in finetuning.fine_tune(model, train_data, validation_data, config, options.patience):
        if step.validation_loss is None:
            continue
        lower = step.validation_loss < best
        if lower:
            best = step.validation_loss
            kept = about | {"step": step.step, "validation_loss": round(best, 4)}
            finetuning.save_adapter(options.out, model, tokenizer, base, options.model, kept)
        losses = f"loss {step.loss:.4f}  validation {step.validation_loss:.4f}"
        print(f"step {step.step:,}/{config.steps:,}  {losses}" + ("  kept" if lower else ""), flush=True)
    print(f"done: {options.out}")
    return 0


def _load_base(name: str) -> tuple[Any, Any]:
    from gptlib.loading import load
    from gptlib.text.tokenizer import Tokenizer

    model, tokenizer = load(name)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"--model: {name!r} reads characters; roles need a model with a byte-pair tokenizer")
    return model, tokenizer


def _conversations(options: argparse.Namespace, tokenizer: Any, context_length: int) -> tuple[Any, int]:
    """Those to train on and those to validate on; and how many new tokens they ask for."""
    from gptlib.training.conversations import check_lengths, read_conversations, split, with_roles

    if options.data is not None:
        conversations = read_conversations(options.data)
        try:
            check_lengths(conversations, with_roles(tokenizer), context_length)
        except ValueError as error:
            raise ValueError(f"{str(options.data)!r}, a conversation a line: {error}") from None
        return split(conversations, 0.1, options.seed), options.new_tokens
    from gptlib.course.studies.applications import examples, named

    application = named(options.application)
    parts = tuple(
        examples(application, n, part, options.seed, with_roles(tokenizer), context_length)
        for n, part in ((options.examples, "train"), (VALIDATION_EXAMPLES, "validation"))
    )
    return parts, application.n_new_tokens


# --------------------------------------------------------------------------------------------------- evaluate


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure applications on held-out examples: the adapter beside a baseline and beside the model "
        "without it. Or measure your own adapter on your own examples, which it should not have seen."
    )
    parser.set_defaults(run=run_evaluate)
    parser.add_argument("applications", nargs="*", metavar="NAME", help="such as questions (default: all)")
    parser.add_argument("--model", default="storyteller", help="what they were learned on")
    parser.add_argument("--adapter", type=Path, help="a file of your own (default: those in data/)")
    parser.add_argument("--data", type=Path, metavar="FILE.jsonl", help="examples of your own")
    parser.add_argument("--n", type=int, default=200, help="held-out examples for each (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--threads", type=int, help="processor threads to use")


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the table."""
    import torch

    from gptlib.course.studies.applications import APPLICATIONS, adapter_path, measure, named, results_table

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.n < 2:
        raise ValueError(f"--n must be at least 2, for a standard error, got {options.n}")
    base = _load_base(options.model)
    if options.data is not None:
        return _evaluate_data(options, *base)
    names = options.applications or list(APPLICATIONS)
    if options.adapter is not None and len(names) > 1:
        raise ValueError("--adapter: name the application that it is for, or give --data")
    for name in names:
        named(name)
    results = []
    for name in names:
        before, after, tokenizer = _before_and_after(options.adapter or adapter_path(name), *base)
        results += measure(name, before, after, tokenizer, options.n, seed=options.seed)
        lines = results_table(results).split("\n")
        new = sum(result.application == name for result in results)
        print("\n".join(lines[-new:] if len(lines) > new + 1 else lines), flush=True)
    if options.json is not None:
        write_json(options.json, [dataclasses.asdict(result) for result in results])
    return 0


def _evaluate_data(options: argparse.Namespace, base: Any, own_tokenizer: Any) -> int:
    from gptlib.course.studies.applications import Application, exact, longest_answer, model_writer, score
    from gptlib.training.conversations import Conversations, read_conversations
    from gptlib.training.evaluation import evaluate

    if options.adapter is None:
        raise ValueError("--data needs --adapter, the file that finetune wrote")
    conversations = read_conversations(options.data)[: options.n]
    before, after, tokenizer = _before_and_after(options.adapter, base, own_tokenizer)
    data = Conversations(conversations, tokenizer, after.config.context_length)
    limit = longest_answer(conversations, tokenizer) + 1
    own = Application("your own", {"exact": exact}, lambda split, seed: iter(conversations))
    for name, model in (("before", before), ("after", after)):
        right = score(own, conversations, model_writer(model, tokenizer, limit))["exact"].mean()
        print(
            f"{name:7} loss {evaluate(model, data):.4f} nats per token of the answers, "
            f"{right:.0%} of {len(conversations)} answered word for word"
        )
    return 0


def _before_and_after(path: Path, base: Any, own_tokenizer: Any) -> tuple[Any, Any, Any]:
    from gptlib.training.conversations import grow
    from gptlib.training.finetuning import load_adapter

    after, tokenizer, _ = load_adapter(path, base, own_tokenizer)
    return grow(base, own_tokenizer, tokenizer), after, tokenizer
