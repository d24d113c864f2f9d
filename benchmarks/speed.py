"""How fast the library is beside what a user would pick instead: `make bench`, or some of it by name.

python benchmarks/speed.py [training memory recipe generation tokenizer recording explorer imports]

Every ratio is one of medians from interleaved runs on one thread of this machine. It takes a quarter of an
hour, most of it the recipe. BertViz is asked only where it is installed, and the explorer needs a Chromium.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

import tokenizers  # noqa: E402
import torch  # noqa: E402
from timing import HEADER, Row, medians  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, logging  # noqa: E402

from gptlib import GPT, GPTConfig, Storyworld, Tokenizer, TrainConfig, load, trace, train  # noqa: E402
from gptlib.generation.decoding import FastDecoder  # noqa: E402
from gptlib.generation.writing import generate_tokens  # noqa: E402
from gptlib.model.cache import KeyValueCache  # noqa: E402
from gptlib.scaling.counting import count_flops  # noqa: E402
from gptlib.scaling.meters import matmul_peak, memory_bandwidth, peak_memory  # noqa: E402
from gptlib.text.corpora import TokenFile, storyworld_corpus, write_tokens  # noqa: E402
from gptlib.training.evaluation import loss_of  # noqa: E402
from gptlib.training.optimizers import make_optimizer  # noqa: E402

VOCAB_SIZE = 2048
# (n_layers, n_heads, d_model, context_length), and sequences in a batch
SMALL, LARGE = ((4, 4, 128, 128), 16), ((6, 6, 384, 256), 8)


def ours(shape: tuple[int, int, int, int]) -> GPT:
    n_layers, n_heads, d_model, context_length = shape
    torch.manual_seed(0)
    return GPT(GPTConfig(VOCAB_SIZE, context_length, n_layers, n_heads, d_model))


def theirs(shape: tuple[int, int, int, int], **settings: object) -> GPT2LMHeadModel:
    n_layers, n_heads, d_model, context_length = shape
    torch.manual_seed(0)
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=context_length,
            n_embd=d_model,
            n_layer=n_layers,
            n_head=n_heads,
            **no_dropout,
            **special,
            **settings,
        )
    )


def name_of(shape: tuple[int, int, int, int]) -> str:
    return "{} layers, {} heads, d_model {}, context {}".format(*shape)


# -------------------------------------------------------------------------------------------- a training step


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor], Tensor],
    inputs: Tensor,
    half: bool,
) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            value = loss(inputs)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        value.item()
        optimizer.step()

    return step


def our_step(shape: tuple[int, int, int, int], batch: int, half: bool) -> Callable[[], None]:
    model = ours(shape)
    optimizer = make_optimizer(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
    tokens = torch.randint(VOCAB_SIZE, (batch, shape[3] + 1))
    return training_step(
        model, optimizer, lambda tokens: loss_of(model, tokens[:, :-1], tokens[:, 1:]), tokens, half
    )


def their_step(shape: tuple[int, int, int, int], batch: int, half: bool) -> Callable[[], None]:
    model = theirs(shape).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.95), weight_decay=0.1)
    tokens = torch.randint(VOCAB_SIZE, (batch, shape[3]))
    return training_step(
        model, optimizer, lambda tokens: model(input_ids=tokens, labels=tokens).loss, tokens, half
    )


def training() -> Iterator[Row]:
    for (shape, batch), repeats in ((SMALL, 15), (LARGE, 5)):
        steps = {
            (whose, half): make(shape, batch, half)
            for half in (False, True)
            for whose, make in (("ours", our_step), ("theirs", their_step))
        }
        seconds = dict(zip(steps, medians(repeats, *steps.values()), strict=True))
        tokens = batch * shape[3]
        what = f"training step, {name_of(shape)}"

        def speed(key: tuple[str, bool], seconds: dict = seconds, tokens: int = tokens) -> str:
            return f"{tokens / seconds[key]:,.0f} tokens/s"

        for label, half in (("float32", False), ("bfloat16", True)):
            mine, other = ("ours", half), ("theirs", half)
            yield Row(f"{what}: {label}", speed(mine), speed(other), seconds[other] / seconds[mine], 1.5)
        mine, other = ("ours", True), ("theirs", False)
        yield Row(f"{what}: bfloat16 by float32", speed(mine), speed(other), seconds[other] / seconds[mine])
        # Three times the forward pass, every query against every key.
        rate = 3 * count_flops(ours(shape).config, shape[3]) * tokens / seconds["ours", False]
        peak = matmul_peak()
        yield Row(
            f"{what}: share of matmul peak",
            f"{rate / 1e9:.0f} GFLOP/s",
            f"{peak / 1e9:.0f} GFLOP/s",
            rate / peak,
            0.7,
        )


def memory() -> Iterator[Row]:
    """What a step holds at most, beyond the weights and what the optimizer remembers."""
    for shape, batch in (SMALL, LARGE):
        for label, half in (("float32", False), ("bfloat16", True)):
            peaks = []
            for make in (our_step, their_step):
                step = make(shape, batch, half)
                step()
                peaks.append(peak_memory(step) / 1e6)
            mine, other = peaks
            what = f"memory of training, {name_of(shape)}: {label}"
            yield Row(what, f"{mine:,.0f} MB", f"{other:,.0f} MB", mine / other, 1.0, at_most=True)


def run_python(code: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'benchmarks'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


# ------------------------------------------------------------------------------------------- tokens to a mark

MARK = 1.0  # nats per token on held-out stories; their floor is about 0.42
RECIPES = {
    "plain": {"optimizer": "adamw", "learning_rate": 4e-3},
    "ours": {"optimizer": "muon", "learning_rate": 2e-2, "weight_decay": 0.0, "betas": (0.9, 0.99)},
}
LAYOUTS = {"plain": {}, "ours": {"position": "rotary", "norm": "rmsnorm", "bias": False}}


def recipe() -> Iterator[Row]:
    _, tokenizer = load("storyteller")
    with tempfile.TemporaryDirectory() as folder:
        text, held_out = (
            write_tokens(storyworld_corpus(n, 6, split).documents, tokenizer, Path(folder) / f"{split}.npy")
            for split, n in (("train", 20_000), ("validation", 100))
        )
        needed = {name: tokens_to_mark(name, text, held_out) for name in RECIPES}
    yield Row(
        f"tokens until the validation loss is {MARK:g}: Muon and rotary by AdamW",
        f"{needed['ours'] / 1e3:,.0f} thousand",
        f"{needed['plain'] / 1e3:,.0f} thousand",
        needed["ours"] / needed["plain"],
        0.5,
        at_most=True,
    )


def tokens_to_mark(name: str, text: TokenFile, held_out: TokenFile) -> int:
    """Tokens read until the loss on held-out stories is MARK or less; the learning rate does not fall."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(VOCAB_SIZE, 128, 4, 4, 128, **LAYOUTS[name]))
    rate = RECIPES[name]["learning_rate"]
    config = TrainConfig(
        steps=2000,
        batch_size=16,
        min_learning_rate=rate,
        warmup_steps=50,
        eval_every=25,
        eval_batches=4,
        at_document_starts=True,
        precision="bfloat16",
        **RECIPES[name],
    )
    for step in train(model, text, held_out, config):
        if step.validation_loss is not None and step.validation_loss <= MARK:
            return step.tokens
    raise RuntimeError(f"the recipe {name!r} did not come to {MARK} nats in {config.steps} steps")


# ------------------------------------------------------------------------------------------------- generation


def generation() -> Iterator[Row]:
    new = 64
    for shape in (SMALL[0], LARGE[0]):
        model, other = ours(shape).eval(), theirs(shape).eval()
        for batch in (1, 8):
            prompt = torch.randint(VOCAB_SIZE, (batch, 16))

            def write(model: GPT = model, prompt: Tensor = prompt) -> None:
                generate_tokens(model, prompt, max_new_tokens=new, temperature=0.8, top_k=50, seed=0)

            def write_theirs(other: GPT2LMHeadModel = other, prompt: Tensor = prompt) -> None:
                chosen = {"do_sample": True, "temperature": 0.8, "top_k": 50}
                limits = {"max_new_tokens": new, "min_new_tokens": new, "use_cache": True}
                other.generate(prompt, attention_mask=torch.ones_like(prompt), **chosen, **limits)

            def products(model: GPT = model, batch: int = batch) -> None:
                matrices_times_vectors(model, batch, new)

            mine, beside, bound = medians(7, write, write_theirs, products)
            what = f"generation, {name_of(shape)}, batch {batch}"
            yield Row(
                what,
                f"{mine / new * 1e3:.2f} ms/token",
                f"{beside / new * 1e3:.2f} ms/token",
                beside / mine,
                3,
            )
            yield Row(
                "  the most that is possible: its matrix products alone",
                f"{bound / new * 1e3:.2f} ms/token",
                f"{beside / new * 1e3:.2f} ms/token",
                beside / bound,
            )
    yield from at_full_context()


@torch.no_grad()
def matrices_times_vectors(model: GPT, batch: int, times: int) -> None:
    """Every matrix of the model once for each token, and nothing else."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    inputs = {linear.in_features: torch.zeros(batch, linear.in_features) for linear in linears}
    for _ in range(times):
        for linear in linears:
            nn.functional.linear(inputs[linear.in_features], linear.weight)


@torch.no_grad()
def at_full_context() -> Iterator[Row]:
    """A token after a thousand others, beside reading weights and cache once, at this machine's speed."""
    for n_layers, n_heads, d_model, _ in (LARGE[0], (12, 12, 768, 1024)):
        shape = (n_layers, n_heads, d_model, 1024)
        model = ours(shape).eval()
        cache = KeyValueCache(model.config)
        model(torch.zeros(1, 960, dtype=torch.long), cache)
        decode, token = FastDecoder(model, cache), torch.zeros(1, dtype=torch.long)
        taken = medians(40, lambda decode=decode, token=token: decode(token))[0]
        # Of the table of positions one row is read; the embedding is read whole, as the unembedding.
        weights = 4 * (model.n_parameters - model.position.embedding.weight.numel())
        read = weights + 2 * 4 * n_layers * 980 * d_model
        limit = read / memory_bandwidth()
        yield Row(
            f"generation, {name_of(shape)}: by memory bandwidth",
            f"{taken * 1e3:.2f} ms/token",
            f"{limit * 1e3:.2f} ms/token",
            taken / limit,
            2,
            at_most=True,
        )


# -------------------------------------------------------------------------------------------------- tokenizer


def tokenizer() -> Iterator[Row]:
    texts = texts_of(10_000_000)
    naive_texts = texts[: len(texts) // 50]

    def train_theirs() -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator(texts, trainer)
        return made

    mine, other = medians(1, lambda: Tokenizer.train(texts, VOCAB_SIZE), train_theirs)
    yield Row("tokenizer: training on 10 MB, by tokenizers", f"{mine:.1f} s", f"{other:.1f} s", other / mine)
    mine, other = medians(
        1, lambda: Tokenizer.train(naive_texts, 300), lambda: train_naively(naive_texts, 300)
    )
    yield Row(
        "tokenizer: 44 merges on 0.2 MB, by a naive trainer", f"{mine:.2f} s", f"{other:.2f} s", other / mine
    )
    made, beside = Tokenizer.train(texts[:2000], VOCAB_SIZE), train_theirs()
    some = texts[:4000]
    size = sum(map(len, some)) / 1e6
    mine, other = medians(
        3, lambda: [made.encode(text) for text in some], lambda: [beside.encode(text).ids for text in some]
    )
    yield Row(
        "tokenizer: encoding, by tokenizers",
        f"{size / mine:.1f} MB/s",
        f"{size / other:.1f} MB/s",
        other / mine,
    )


def texts_of(n_characters: int) -> list[str]:
    texts, total = [], 0
    for story in Storyworld(0).stories(100_000):
        texts.append(story.text)
        total += len(story.text)
        if total >= n_characters:
            break
    return texts


def train_naively(texts: list[str], vocab_size: int) -> None:
    """Count all pairs of the whole text anew for every merge, as a first lesson does."""
    rows = [list(text.encode()) for text in texts]
    for new in range(256, vocab_size):
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        best = max(pairs, key=pairs.get)
        rows = [merged(row, best, new) for row in rows]


def merged(row: list[int], pair: tuple[int, int], new: int) -> list[int]:
    out, place = [], 0
    while place < len(row):
        if tuple(row[place : place + 2]) == pair:
            out.append(new)
            place += 2
        else:
            out.append(row[place])
            place += 1
    return out


# -------------------------------------------------------------------------------- recording, and the explorer


@torch.no_grad()
def recording() -> Iterator[Row]:
    shape, batch = SMALL
    model, other = ours(shape).eval(), theirs(shape, attn_implementation="eager").eval()
    plain = theirs(shape).eval()
    tokens = torch.randint(VOCAB_SIZE, (batch, shape[3]))

    def recorded() -> None:
        with trace(model, only="*.attention.weights") as run:
            model(tokens)
        run.attention  # noqa: B018

    def recorded_theirs() -> None:
        torch.stack(other(input_ids=tokens, output_attentions=True).attentions)

    mine, without, other_recorded, other_without = medians(
        15, recorded, lambda: model(tokens), recorded_theirs, lambda: plain(input_ids=tokens)
    )
    what = f"recording all attention, {name_of(shape)}"
    milliseconds = [f"{1e3 * seconds:.1f} ms" for seconds in (mine, without, other_recorded)]
    yield Row(
        f"{what}: by a plain forward", milliseconds[0], milliseconds[1], mine / without, 1.3, at_most=True
    )
    yield Row(f"{what}: by transformers", milliseconds[0], milliseconds[2], other_recorded / mine)
    yield Row("  its recording by its own plain forward", "", "", other_recorded / other_without)


def explorer() -> Iterator[Row]:
    """144 heads of 128 tokens: what is sent to the page, and how soon it shows."""
    from driver import browser_page, find_chromium
    from explorers import IN_PAGE, LARGE, given_away, text_of

    from gptlib.viz import AttentionExplorer
    from gptlib.viz.explorers.pages import packed

    torch.manual_seed(0)
    _, words = load("storyteller")
    live = AttentionExplorer(GPT(LARGE).eval(), words, text_of(words, 128))
    payload = len(packed({"answer": live.answer, "details": live.details}))
    if importlib.util.find_spec("bertviz") is None:
        print("BertViz is not installed (pip install bertviz): nothing stands beside the explorer")
        return
    from bertviz import head_view

    weights = torch.rand(12, 1, 12, 128, 128).tril()
    weights /= weights.sum(-1, keepdim=True)
    page_of_bertviz = head_view(list(weights), [str(n) for n in range(128)], html_action="return").data
    other = len(page_of_bertviz.encode())
    yield Row(
        "explorer: data for 144 heads of 128 tokens, by BertViz",
        f"{payload / 1e6:.1f} MB",
        f"{other / 1e6:.1f} MB",
        other / payload,
    )
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium is installed (Debian: apt-get install chromium): first paint is not measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        live.to_html(Path(folder) / "ours.html")
        with browser_page(chromium, 1200, 1000) as (page, _):
            page.goto(given_away(Path(folder) / "ours.html"))
            page.locator(".tile").first.wait_for()
            page.evaluate(IN_PAGE)
            paints = sorted(page.evaluate("timed.firstPaints()"))
        first = paints[len(paints) // 2]
        path = Path(folder) / "bertviz.html"
        path.write_text(f"<!doctype html><meta charset='utf-8'>{page_of_bertviz}", encoding="utf-8")
        with browser_page(chromium, 1200, 1000) as (page, beyond):
            page.goto(path.as_uri())
            page.wait_for_timeout(5000)
            drawn = page.evaluate("document.querySelectorAll('svg *, canvas').length")
    # It asks for its libraries beyond this machine, and shows nothing without them.
    what = "explorer: first paint, by the 5 s that were waited for BertViz, offline"
    yield Row(what, f"{first:.0f} ms", f"{drawn} elements drawn", 5000 / first)


# ---------------------------------------------------------------------------------------------------- imports


def imports() -> Iterator[Row]:
    def load(what: str) -> Callable[[], float]:
        # gptlib by itself imports nothing.
        code = f"import time; from {what} import *; print(time.process_time())"
        return lambda: float(run_python(code))

    times: dict[str, list[float]] = {"gptlib": [], "torch": []}
    for _ in range(7):
        for what, seconds in times.items():
            seconds.append(load(what)())
    mine, other = (sorted(seconds)[3] for seconds in times.values())
    yield Row(
        "importing gptlib, by torch", f"{mine:.2f} s", f"{other:.2f} s", mine / other, 1.3, at_most=True
    )


PARTS = (training, memory, recipe, generation, tokenizer, recording, explorer, imports)


def main(names: list[str]) -> int:
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    chosen = [part for part in PARTS if part.__name__ in names or not names]
    print(HEADER)
    for part in chosen:
        for row in part():
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
