"""Generation and patching by a GPT that the page runs itself: its answers are Python's, key by key."""

import base64
import json
import random
from itertools import product

import numpy as np
import pytest
import torch
from driver import browser_page

from gptlib import GPT, GPTConfig, load
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz import GenerationExplorer, PatchingExplorer
from gptlib.viz.explorers.living import pack_model, runtime_code
from gptlib.viz.explorers.pages import bare
from gptlib.viz.explorers.patching import PARTS

START = """async ([code, model]) => {
  globalThis.runtime?.close();
  globalThis.runtime = startRuntime(code, fromBase64(model));
  await Promise.race([runtime.opened, runtime.closed.then((why) => { throw Error(why); })]);
}"""
ASK = """async (question) => {
  const base64 = ({ buffer }) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return JSON.stringify(await runtime.ask(...question), (key, value) =>
    value instanceof DataView ? { base64: base64(value) } : value);
}"""
FAR = {"context_length": 12, "n_layers": 2, "n_heads": 4, "d_model": 16}
# Models of other shapes than storyteller's.
SHAPES = {
    "rotary, window, copies": {"position": "rotary", "window": 4, "copy_heads": 1, "score_cap": 9.0},
    "alibi, shared keys": {"position": "alibi", "n_kv_heads": 2, "logit_cap": 5.0, "norm": "rmsnorm"},
    "experts, copies": {"position": "none", "n_experts": 3, "qk_norm": True, "copy_heads": 5},
}


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.fixture(scope="module")
def page(chromium):
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content=bare("live/host.js"))
        yield page


class Both:
    """An explorer in Python and one in the page, which are told the same."""

    def __init__(self, page, explorer):
        self.page, self.explorer, self.kind = page, explorer, explorer.script.removesuffix(".js")
        block = base64.b64encode(pack_model(explorer.model, explorer.tokenizer)).decode()
        page.evaluate(START, [runtime_code(), block])
        self.state, self.answer = self.asked(), None
        self.tell()

    def asked(self):
        names = [*self.explorer._state_names(), *(["wanted"] if self.kind == "generation" else [])]
        return json.loads(json.dumps({name: getattr(self.explorer, name) for name in names}))

    def tell(self, **changes):
        """Change both, compare all that they answer, and give the problem that both have."""
        self.explorer.set_state({**changes, "asked": self.explorer.asked + 1})
        self.state |= changes
        reply = json.loads(self.page.evaluate(ASK, [self.kind, "one", self.state]), object_hook=with_bytes)
        self.state |= reply.get("traits") or {}
        self.answer = reply.get("answer", self.answer)
        assert reply["problem"] == self.explorer.problem
        if not reply["problem"]:
            assert self.state == self.asked()
            assert_alike(self.explorer.answer, self.answer, "answer")
            assert_alike(self.explorer.details, reply["details"], "details")
        return reply["problem"]


def with_bytes(value):
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value


def assert_alike(python, page, where):
    if isinstance(python, dict):
        assert set(python) == set(page), where
        for name in python:
            assert_alike(python[name], page[name], f"{where}.{name}")
    elif isinstance(python, list | tuple):
        assert len(python) == len(page), where
        for at, pair in enumerate(zip(python, page, strict=True)):
            assert_alike(*pair, f"{where}.{at}")
    elif isinstance(python, bytes):
        kind, near = ("<f4", 2e-4) if where.endswith("logits") else ("<u2", 8)  # of 65535
        ours, theirs = (np.frombuffer(data, kind).astype(float) for data in (python, page))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=near, err_msg=where)
    elif isinstance(python, float):
        assert page == pytest.approx(python, rel=1e-4, abs=1e-4), where
    else:
        assert python == page, where


def strange_model(parts):
    """A small model of these parts, far from equal weights, that half precision holds as it is."""
    tokenizer = CharacterTokenizer("abcd. ")
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size + 2, **FAR | parts)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return model.half().float(), tokenizer


# ------------------------------------------------------------------------------------------------- generation


def test_a_story_is_walked(page, storyteller):
    both = Both(page, GenerationExplorer(*storyteller, "Nora 猫 took 👩‍👧 and"))
    both.tell(wanted=1)
    both.tell(wanted=20)
    for settings in ({"temperature": 0.7, "top_k": 40}, {"seed": 5, "top_p": 0.9}, {"temperature": 0.0}):
        both.tell(path=both.state["path"][:3], step=-1)
        both.tell(wanted=20, **settings)
    assert len(both.state["tree"]) > 2
    both.tell(path=both.state["tree"][0])  # the road that was left first
    both.tell(view="attention")
    both.tell(step=2)
    both.tell(head=[1, 2], seed=2**31 + 7, temperature=1.3, top_p=None, top_k=None)
    both.tell(wanted=20, step=-1)
    both.tell(path=both.state["path"][:1], step=0)
    both.tell(view="surprise")


def test_a_text_ends_or_fills_the_context(page, storyteller):
    both = Both(page, GenerationExplorer(*storyteller, ""))
    both.tell(view="attention", seed=1)
    both.tell(wanted=20)
    both.tell(path=[*both.state["path"], storyteller[1].end_of_text])
    assert "has ended its text here" in both.tell(wanted=1)
    both.tell(prompt="Mia took a kite. " * 50, path=[], tree=[])
    assert "context is full" in [both.tell(wanted=20) for _ in range(5)][-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_writing_of_models_of_other_shapes(page, shape):
    both = Both(page, GenerationExplorer(*strange_model(SHAPES[shape]), "ab"))
    both.tell(view="attention")
    both.tell(path=[0, 2, 1])
    both.tell(path=[0, 2], step=1)
    both.tell(path=[0, 2, 3, 1, 0, 5, 5], head=[1, 3])
    while not (problem := both.tell(wanted=2)):
        pass
    assert "context is full" in problem or "has ended" in problem
    assert "holds 'x' at position 2" in both.tell(prompt="abx", path=[], tree=[])
    both.tell(prompt="", path=[], tree=[])


def test_an_answer_that_the_page_has_is_not_sent_again(page, storyteller):
    both = Both(page, GenerationExplorer(*storyteller, "Nora took"))
    both.tell(wanted=3)
    reply = json.loads(page.evaluate(ASK, ["generation", "one", both.state | {"step": 1, "top_k": 3}]))
    assert reply["problem"] == "" and "answer" not in reply


def test_of_equals_the_last_is_first(page):
    model, tokenizer = strange_model({})
    with torch.no_grad():
        model.token_embedding.weight[:3] = 0.25  # which is the unembedding, too
    Both(page, GenerationExplorer(model, tokenizer, "ab"))


def test_what_cannot_be_written(page, storyteller):
    both = Both(page, GenerationExplorer(*storyteller, "Nora took"))
    both.tell(wanted=3)
    before, end = both.state, storyteller[1].end_of_text
    for changes, words in [
        ({"prompt": "Mia 猫 " * 100, "path": [], "tree": []}, "a shorter prompt, or a step back, would do"),
        ({"path": [5000]}, "tokens are 0 to 2047"),
        ({"path": [end, 3]}, "where its text has ended"),
        ({"tree": [[end, 3]]}, "where its text has ended"),
        ({"temperature": -0.5}, "at least 0"),
        ({"top_k": 0}, "at least 1"),
        ({"top_p": 1.5}, "at most 1"),
        ({"head": [1, 9]}, "(layer, head)"),
    ]:
        assert words in both.tell(**changes)
        assert both.state == before
    # A number of the page's own is exact up to here.
    reply = json.loads(page.evaluate(ASK, ["generation", "one", {**before, "seed": 2**60}]))
    assert "from 0 to 2^53 - 1" in reply["problem"]


# --------------------------------------------------------------------------------------------------- patching

PAIRS = [
    ("Jack lived on plums. On Friday", "Noah lived on plums. On Friday"),
    ("Jack said 猫 to Noah. Then 猫 said hello to", "Noah said 猫 to Jack. Then 猫 said hello to"),
    ("Jack 👍🏽 lived on plums. On Friday", "Noah 👍🏽 lived on plums. On Friday"),
]
REFUSED = [
    ("", "Jack", "is empty"),
    ("Jack " * 50, "Jack", "at most 39"),
    ("Jack lived on", "Noah lived on plums. On", "take 3 from corrupted"),
    ("a b c d e f", "x b c y z e q f g", "Where clean has"),
    ("the 猫 sat there", "the cat sat", "Where clean has"),
    (" Jack said", " said Jack took", "Where clean has nothing (0)"),  # of runs as long the first counts
    ("Jack", "Jack", "both followed by"),
    (" Jack" * 39, " Jack" * 39, "both followed by"),
    (" Jack" * 40, " Jack" * 40, "at most 39"),
]
COUNT = """() => {
  const { run } = GPT.prototype;
  self.runs = 0;
  GPT.prototype.run = function (...given) { self.runs++; return run.apply(this, given); };
}"""


def test_maps_of_all_parts(page, storyteller):
    both = Both(page, PatchingExplorer(*storyteller, *PAIRS[0]))
    for part in PARTS:
        assert both.tell(part=part) == ""
    for clean, corrupted in PAIRS[1:]:
        assert both.tell(clean=clean, corrupted=corrupted) == ""
    for clean, corrupted, words in REFUSED:
        assert words in both.tell(clean=clean, corrupted=corrupted)
    assert both.tell(clean=PAIRS[0][0], corrupted=PAIRS[0][1]) == ""


def test_texts_are_read_once_for_all_parts(page, storyteller):
    both = Both(page, PatchingExplorer(*storyteller, *PAIRS[0]))
    page.workers[-1].evaluate(COUNT)
    both.tell(part="mlp.output")
    assert page.workers[-1].evaluate("self.runs") == 0
    both.tell(clean=PAIRS[0][1], corrupted=PAIRS[0][0])
    assert page.workers[-1].evaluate("self.runs") == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_maps_of_models_of_other_shapes(page, shape):
    model, tokenizer = strange_model(SHAPES[shape])
    both = Both(page, PatchingExplorer(model, tokenizer, *texts_that_part(model, tokenizer)))
    for part in PARTS:
        assert both.tell(part=part) == ""


def texts_that_part(model, tokenizer):
    """Two texts of seven tokens after which the model says different things."""
    texts = random.Random(0).sample(["".join(letters) for letters in product("abcd. ", repeat=7)], 200)
    with torch.no_grad():
        tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)] for text in texts])
        after = model(tokens)[:, -1].argmax(dim=-1)
    return texts[0], texts[int((after != after[0]).nonzero()[0])]
