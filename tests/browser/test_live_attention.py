"""The attention explorer of a GPT that the page runs itself: its answers are Python's, key by key."""

import base64
import gzip
import random

import numpy as np
import pytest
import torch
from driver import browser_page

from gptlib import GPT, GPTConfig, Tokenizer, load
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.attention import AttentionExplorer
from gptlib.viz.explorers.coding import thumbnails
from gptlib.viz.explorers.living import pack_model, runtime_code

TRAITS = ("text", "text_b", "view", "changes", "layer", "head", "query")
# A page opens models by a name, and has an explorer of each; what it answers is told with bytes as base64.
IN_PAGE = """
const opened = {}, explorers = {};
async function openHere(name, text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  opened[name] = await openModel(bytes.buffer);
}
function told(value) {
  if (value instanceof DataView) {
    let text = "";
    for (let at = 0; at < value.byteLength; at++) text += String.fromCharCode(value.getUint8(at));
    return { bytes: btoa(text) };
  }
  if (Array.isArray(value)) return value.map(told);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, told(one)]));
}
function askHere(name, who, traits) {
  const one = explorers[who] ??= new AttentionAnswers(opened[name]), { gpt } = opened[name];
  if (!gpt.counted) {
    const run = gpt.run;
    gpt.counted = true;
    gpt.runs = 0;
    gpt.run = (...given) => { gpt.runs++; return run.apply(gpt, given); };
  }
  const before = gpt.runs;
  let news;
  try { news = one.answer(traits); } catch (error) { news = { problem: error.message }; }
  return { ...told(news), runs: gpt.runs - before };
}
"""


@pytest.fixture(scope="module")
def page(chromium):
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content=runtime_code() + IN_PAGE)
        page.models = []
        yield page


class Both:
    """An explorer in Python and one in the page, which are asked the same."""

    def __init__(self, page, name, model, tokenizer, text, **more):
        if name not in page.models:
            page.models.append(name)
            block = base64.b64encode(gzip.decompress(pack_model(model, tokenizer))).decode()
            page.evaluate("given => openHere(...given)", [name, block])
        self.explorer = AttentionExplorer(model, tokenizer, text, **more)
        self.page, self.name, self.who = page, name, f"{name} {random.random()}"
        self.state = {trait: getattr(self.explorer, trait) for trait in TRAITS}
        self.answer = self.details = None
        self.cells = self.differ = self.runs = 0
        self.p = self.row = 0.0
        self.ask()

    def ask(self, **changes):
        """Ask both, compare what they say, and give the problem that both have."""
        explorer, wanted = self.explorer, self.state | changes
        explorer.set_state({**changes, "asked": explorer.asked + 1})
        asked = self.page.evaluate("given => askHere(...given)", [self.name, self.who, wanted])
        self.runs = asked["runs"]
        problem = asked.get("problem", "")
        assert problem[:1].upper() + problem[1:] == explorer.problem
        self.state = wanted | asked.get("traits", {})
        if problem:
            return explorer.problem
        assert self.state == {trait: getattr(explorer, trait) for trait in TRAITS}
        self.answer = asked.get("answer") or self.answer
        self.details = asked["details"]
        self.compare()
        return ""

    def compare(self):
        python, here = self.explorer.answer, self.answer
        assert here.keys() == python.keys()
        near = {"cells", "largest", "roles"}
        assert {key: here[key] for key in here if key not in near} == {
            key: python[key] for key in python if key not in near
        }
        assert here["largest"] == pytest.approx(python["largest"], rel=3e-5)
        self.same_cells(here["cells"], python["cells"])
        assert here["roles"].keys() == python["roles"].keys()
        for role, ranked in python["roles"].items():
            scores = np.array([one["score"] for one in ranked])
            assert [one["score"] for one in here["roles"][role]] == pytest.approx(scores, abs=0.0011)
            for at, (one, other) in enumerate(zip(here["roles"][role], ranked, strict=True)):
                alike = (abs(scores - scores[at]) < 0.0011).sum() > 1  # or with one that is not listed
                assert alike or at == 4 or (one["layer"], one["head"]) == (other["layer"], other["head"])
        python, here = self.explorer.details, self.details
        assert here.keys() == python.keys()
        assert here["place"] == python["place"]
        row, mine = (np.frombuffer(data, dtype=np.float32) for data in (python["row"], bytes_of(here["row"])))
        assert row.shape == mine.shape
        self.row = max(self.row, float(np.abs(row - mine).max()) / self.explorer.answer["largest"])
        for name in ("next", "next_b"):
            for one, other in zip(here.get(name, []), python.get(name, []), strict=True):
                assert one.keys() == other.keys() and one["token"] == other["token"]
                self.p = max(self.p, *(abs(one[key] - other[key]) for key in one.keys() & {"p", "was"}))
        for name in ("cells", "cells_b"):
            if name in python:
                self.same_cells(here[name], python[name])

    def same_cells(self, here, python):
        one, other = (np.frombuffer(data, dtype=np.uint8).astype(int) for data in (bytes_of(here), python))
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1  # a number that lies just between two codes
        self.cells += one.size
        self.differ += int((one != other).sum())


def bytes_of(told):
    return base64.b64decode(told["bytes"])


def zero(layer, head, do="zero", **more):
    return {"do": do, "layer": layer, "head": head, **more}


TEXTS = [
    "Nora has a kite. Then Nora gives the kite to Leo",
    "Once",
    "你好,世界。猫 sat",
    "The family 👩‍👩‍👧 met 👍🏽 and 🇩🇪 waved ❤️‍🔥!",
    bytes(range(128, 256)).decode("latin-1")[:60],
    "\x00\x1b[31m\ufffd\u200b\ue000 garbage \x7f",
    "  two  spaces\n\nand lines\r\n\tend ",
    "مرحبا क्षि café e\u0301 한국어 ᄀ",
    " Then Leo saw Mia. Then Mia saw Leo." * 3,
    "<|endoftext|> isn't “special” here\\xe4",
]


def every_question(both, b, copies=()):
    """Each view, each kind of change, a second text, heads and queries."""
    n, layers = both.answer["rows"], both.answer["layers"]
    last = {"layer": layers - 1, "head": both.answer["heads"] - 1}
    both.ask(view="values")
    both.ask(query=0, layer=0, head=1)
    both.ask(view="weights", changes=[zero(0, 1), zero(1, 0, "scale", by=-0.75)])
    both.ask(changes=[zero(0, 1), zero(**last, do="mean"), zero(0, 0, "scale", by=2), *copies])
    both.ask(query=n // 2, **last)
    both.ask(view="values")
    both.ask(text_b=b)
    both.ask(view="difference")
    patch = {"do": "patch", "layer": 0, "source": n - 1, "target": 1}
    both.ask(changes=[zero(0, 1), {**patch, "layer": layers - 1, "head": None}, {**patch, "head": 0}])
    both.ask(view="weights", query=-1)
    both.ask(changes=[{**patch, "head": None}], layer=0, head=0)
    both.ask(text_b="", view="difference")
    both.ask(changes=[])


def near(boths):
    """Whether all that these compared differs by roundings: of few cells they change the shade, by one."""
    cells, differ = (sum(getattr(both, name) for both in boths) for name in ("cells", "differ"))
    p, row = (max(getattr(both, name) for both in boths) for name in ("p", "row"))
    print(f"{differ} of {cells} cells differ by 1; p by {p:.1e}, rows by {row:.1e}")
    return differ <= cells * 1e-4 and p < 3e-5 and row < 1e-5


def test_storyteller_on_ten_texts(page):
    model, tokenizer = load("storyteller")
    boths = []
    for text, b in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True):
        boths.append(Both(page, "storyteller", model, tokenizer, text))
        every_question(boths[-1], b)
    assert near(boths)


SMALL = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": 64}
KINDS = {
    "copy heads": {"copy_heads": 3, "qk_norm": True},
    "many copy heads": {"copy_heads": 6, "position": "none", "tie_embeddings": False},
    "grouped": {"n_kv_heads": 2, "position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False},
    "window": {"window": 5, "position": "sinusoidal", "score_cap": 3.0, "logit_cap": 4.0},
    "alibi": {"position": "alibi", "n_heads": 3, "head_width": 6, "n_kv_heads": 1, "qk_norm": True},
    "experts": {"n_experts": 3},
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["Nora met Leo. Then Nora saw Leo and Mia saw them both."], vocab_size=280)


def sharp(tokenizer, spare=0, **config):
    """A GPT whose heads differ, with weights that half the bits hold."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SMALL | {"vocab_size": tokenizer.vocab_size + spare} | config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gains" in name:
                parameter.normal_()
            elif parameter.dim() == 2:
                parameter.mul_(30 if "embedding" in name else 6)
            parameter.copy_(parameter.half())
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_gpts_of_other_layouts(page, tokenizer, kind):
    both = Both(page, kind, sharp(tokenizer, **KINDS[kind]), tokenizer, "Nora met Leo 猫. Then Nora saw Leo")
    copies = range(KINDS[kind].get("copy_heads", 0))
    every_question(both, "Mia saw them 👍🏽", [zero(2, head, "mean" if head else "zero") for head in copies])
    if copies:
        n, patch = both.answer["rows"], {"do": "patch", "layer": 2, "source": 3, "target": 1}
        both.ask(text_b="Leo saw", changes=[{**patch, "head": copies[-1]}, zero(2, 0, "scale", by=0.5)])
        both.ask(layer=2, head=copies[-1], query=n - 2)
        both.ask(layer=1)  # which may have fewer heads
        both.ask(changes=[{**patch, "head": None, "source": n - 1}], view="difference")
    assert near([both])


def test_each_run_is_kept(page, tokenizer):
    """A text is read when it is typed, and with changes when they are made; looking elsewhere reads none."""
    both = Both(page, "grouped", sharp(tokenizer, **KINDS["grouped"]), tokenizer, "Nora met Leo")
    runs = [both.runs]
    patch = {"do": "patch", "layer": 0, "head": 1, "source": 1, "target": 1}
    for asked in (
        {"text": "Nora met Leo."}, {"view": "values"}, {"layer": 1, "head": 2}, {"query": 1},
        {"changes": [zero(0, 0)]}, {"changes": []}, {"changes": [zero(0, 0)]}, {"text_b": "Mia"},
        {"view": "difference"}, {"changes": [zero(0, 0), patch]}, {"text": "Leo met Nora."}, {"text_b": ""},
    ):  # fmt: skip
        both.ask(**asked)
        runs.append(both.runs)
    # With changes a text is read without them, too; a patch changes B alone, and B anew when A is another.
    assert runs == [1, 1, 0, 0, 0, 1, 0, 0, 2, 0, 1, 3, 0]


def test_what_cannot_be_is_said_as_python_says_it(page, tokenizer):
    both = Both(page, "copy heads", sharp(tokenizer, **KINDS["copy heads"]), tokenizer, "Nora met Leo")
    assert both.ask(text="") == "Text is empty; type a few words"
    assert both.ask(text="猫" * 40) == "Text has 121 tokens; the model reads at most 64: shorten it by 57"
    assert both.ask(text="Nora met Leo", text_b="x" * 70).startswith("Text_b has 71 tokens")
    both.ask(text_b="")
    for wrong in (
        {"do": "nothing"}, "zero", None, {"do": "zero", "layer": 0}, {"do": "scale", "layer": 0, "head": 1},
        zero(3, 0), zero(2, 3), zero(0, 4), zero(-1, 0), zero("a", None), zero(0, None), zero(True, 0.5),
        zero(0, 1, "scale", by="it's"), zero(0, 1, "scale", by=True),
            {"do": "patch", "layer": 1, "head": None},
    ):  # fmt: skip
        assert both.ask(changes=[wrong]).startswith("Changes ")
        both.ask(changes=[])
    patch = {"do": "patch", "layer": 1, "head": None, "source": 9, "target": 40}
    assert "text A, which has 5" in both.ask(text_b="Leo", changes=[patch])
    assert "token 40 of text B, which has 3; undo" in both.ask(changes=[{**patch, "source": 1}])
    both.ask(changes=[])
    assert both.ask(layer=0, head=5) == "Head is 5; layer 0 has 4, so 0 to 3 would do"
    assert both.ask(layer=3, head=0) == "Layer is 3; the model has 3, so 0 to 2 would do"
    assert both.ask(layer=2, head=2, query=-3) == "" and both.details["place"] == [2, 2, 2]
    assert both.ask(query=99) == "" and both.details["place"] == [2, 2, 4]
    model = sharp(tokenizer, **KINDS["window"])
    both = Both(page, "infinite", model, tokenizer, "Nora")
    page.evaluate("opened.infinite.gpt.weights['blocks.1.attention.qkv.weight'].fill(NaN)")
    with torch.no_grad():
        model.blocks[1].attention.qkv.weight.fill_(torch.nan)
    assert both.ask(text="Leo").startswith("Model gives numbers that are not finite")


def test_a_long_text_is_shrunk(page, tokenizer):
    model = sharp(tokenizer, n_layers=4, n_heads=16, context_length=400)
    both = Both(page, "long", model, tokenizer, "x-y-z-" * 53, text_b="x+y-z+" * 53)
    assert not both.answer["whole"] and both.answer["small"] == [64, 64] and "cells" in both.details
    both.ask(layer=1, head=7, query=200)
    both.ask(view="difference")
    assert not both.answer["whole"] and near([both])
    x = torch.randint(-2, 3, (1, 90, 90)).float()  # with many that are equally far from 0
    for signed, matrix in ((False, x.abs()), (True, x)):
        shrunk = page.evaluate(
            "([x, n, signed]) => [...thumbnails(Float32Array.from(x), n, signed)[0]]",
            [matrix.flatten().tolist(), 90, signed],
        )
        assert shrunk == thumbnails(matrix, signed).flatten().tolist()


def test_texts_that_begin_alike_do_not_differ_there(page, tokenizer):
    """What comes after a token changes nothing at it; in Python roundings do, and they fill the picture."""
    both = Both(page, "copy heads", sharp(tokenizer, **KINDS["copy heads"]), tokenizer, "Nora met Leo")
    traits = {**both.state, "text_b": "Nora met Leo. Then", "view": "difference"}
    answer = page.evaluate("given => askHere(...given)", ["copy heads", both.who, traits])["answer"]
    assert answer["largest"] == 1 and set(bytes_of(answer["cells"])) == {128}


def test_other_tokenizers_and_tables_that_are_wider(page, tokenizer):
    characters = CharacterTokenizer.train(["Mia ran to the 猫"])
    both = Both(page, "characters", sharp(characters), characters, "the 猫 ran")
    assert both.ask(text="the dog").startswith("Text holds 'd' at position 4")
    wide = Both(page, "wide", sharp(tokenizer, spare=40), tokenizer, "Nora")
    shown = set()
    for text in ("Leo", "Mia saw", "both. Then", "a", "aa"):
        wide.ask(text=text)
        shown |= {one["token"] for one in wide.details["next"]}
    assert any(token.startswith("(token␣") for token in shown)
    assert near([both, wide])


def test_it_opens_where_there_is_most_to_show(page, tokenizer):
    texts = ("Nora met Leo. Then Nora saw Leo", "Mia", "Leo and Mia saw Leo and Mia saw")
    for seed, text in enumerate(texts):
        both = Both(page, "copy heads", sharp(tokenizer, **KINDS["copy heads"]), tokenizer, text)
        traits = {**both.state, "layer": None, "head": None}
        opened = page.evaluate("given => askHere(...given)", ["copy heads", f"new {seed}", traits])["traits"]
        fresh = AttentionExplorer(both.explorer.model, tokenizer, text)
        assert (opened["layer"], opened["head"]) == (fresh.layer, fresh.head)
