"""Files of a small GPT: they hold its weights, and a worker in the page answers, without any network."""

import base64
import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from driver import assert_readable, browser_page
from playwright.sync_api import expect
from test_saving import save

from gptlib import GPT, GPTConfig, load
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz import AttentionExplorer, GenerationExplorer, PatchingExplorer, PositionExplorer
from gptlib.viz.explorers.living import pack_model, runtime_code
from gptlib.viz.explorers.pages import bare, packed

TEXT = "Nora took a red kite and met Leo. Nora"
PAIR = "Jack lived on plums. On Friday", "Noah lived on plums. On Friday"
MADE = {
    "attention": lambda *given: AttentionExplorer(*given, TEXT, layer=1, head=2),
    "generation": lambda *given: GenerationExplorer(*given, "Nora took"),
    "patching": lambda *given: PatchingExplorer(*given, *PAIR),
}
# What is done on each page to another text, where it is told, and what is told of it in Python.
TYPED = {
    "attention": ("textarea", "Mia saw 猫 and", ".strip >> nth=0"),
    "generation": ("textarea", "Mia saw a kite and", ".read"),
    "patching": ("[aria-label='clean text']", PAIR[0].replace("Jack", "Leo"), "th.differs"),
}


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.fixture(scope="module")
def files(tmp_path_factory, storyteller):
    """The address of each explorer's file."""
    folder = tmp_path_factory.mktemp("files")
    for name, make in MADE.items():
        make(*storyteller).to_html(folder / f"{name}.html")
        assert (folder / f"{name}.html").stat().st_size < 2_950_000
    return {name: (folder / f"{name}.html").as_uri() for name in MADE}


def type_text(page, name):
    """Type another text, and wait until it was read."""
    box, text, where = TYPED[name]
    page.locator(f".gptlib {box}").first.fill(text)
    if name == "generation":
        page.get_by_role("button", name="Begin with this prompt").click()
    words = {"attention": "Mia", "generation": "Mia saw", "patching": "Leo/Noah"}
    expect(page.locator(where).first).to_contain_text(words[name])


def bars_of(page, where=".bars >> nth=0"):
    return [row.split("\n")[:2] for row in page.locator(where).locator("li").all_inner_texts()]


def percent(p):
    return "<0.1%" if 0 < p < 0.0005 else f"{100 * p:.{0 if p >= 0.0995 else 1}f}%"


def test_heads_of_a_typed_text_are_removed_and_scaled(show, files, storyteller):
    page, explorer = show(files["attention"]), MADE["attention"](*storyteller)
    type_text(page, "attention")
    page.locator(".tile").nth(9).click()
    page.get_by_role("button", name="remove (zero)").click()
    explorer.text = TYPED["attention"][1]
    explorer.changes = [{"do": "zero", "layer": 2, "head": 1}]
    expect(page.locator(".changes li")).to_have_count(1)
    assert bars_of(page, ".says .bars >> nth=0") == [
        [bar["token"], percent(bar["p"])] for bar in explorer.details["next"]
    ]
    page.get_by_label("output ×").fill("0.5")
    page.get_by_label("Text B").fill("Leo saw 猫 and")
    expect(page.locator(".strip").nth(1)).to_contain_text("Leo")
    explorer.changes = [{"do": "scale", "layer": 2, "head": 1, "by": 0.5}]
    explorer.text_b = "Leo saw 猫 and"
    assert bars_of(page, ".says .bars >> nth=1") == [
        [bar["token"], percent(bar["p"])] for bar in explorer.details["next_b"]
    ]
    assert_readable(page)


def test_a_story_is_sampled_as_generate_samples_it(show, files, storyteller):
    page, explorer = show(files["generation"]), MADE["generation"](*storyteller)
    type_text(page, "generation")
    page.get_by_label("temperature").fill("0.8")
    page.get_by_label("seed", exact=True).fill("7")
    page.get_by_label("seed", exact=True).press("Enter")
    page.get_by_role("button", name="Sample a sentence").click()
    explorer.prompt, explorer.temperature, explorer.seed = TYPED["generation"][1], 0.8, 7
    explorer.sample()
    text = explorer.text.replace("\n", "↵")
    expect(page.locator(".read")).to_have_text(text)
    page.locator("button.bar").nth(2).click()
    explorer.path = [*explorer.path, explorer.answer["nodes"][",".join(map(str, explorer.path))]["tokens"][2]]
    expect(page.locator(".read")).to_have_text(explorer.text.replace("\n", "↵"))
    page.get_by_role("radio", name="Attention").click()
    explorer.view = "attention"
    expect(page.locator(".tile[aria-pressed=true]")).to_have_attribute("title", re.compile(re.escape(
        f"(weight {explorer.looks_at(1)[0][1]:.3f})")))  # fmt: skip
    assert_readable(page)


def test_other_texts_are_patched(show, files, storyteller):
    page, explorer = show(files["patching"]), MADE["patching"](*storyteller)
    type_text(page, "patching")
    page.get_by_role("radio", name="attention").click()
    expect(page.locator(".stale")).to_have_count(0)
    explorer.clean = TYPED["patching"][1]
    explorer.part = "attention.output"
    labels = page.locator("td button").evaluate_all(
        "all => all.map((one) => one.ariaLabel.split(': ').pop())"
    )
    shown = [float(label.replace("−", "-")) for label in labels]
    assert shown == pytest.approx(explorer.cells.flatten().tolist(), abs=0.006)
    page.get_by_label("clean text").fill("Jack")
    page.locator(".problem").get_by_text("patching needs the same number").wait_for()


# Letters that are typed faster than anyone answers.
AT_ONCE = """(box, letters) => {
  for (const letter of letters) {
    box.value += letter;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""


def test_many_questions_are_answered_one_by_one_to_the_last(show, files):
    page = show(files["attention"])
    box = page.locator(".gptlib textarea").first
    box.evaluate(AT_ONCE, " and then they all went home")
    expect(page.locator(".strip").first).to_contain_text("home")
    assert box.input_value() == TEXT + " and then they all went home"
    box.fill("")
    page.locator(".problem").get_by_text("Text is empty; type a few words").wait_for()
    box.fill("Mia " * 300)
    page.locator(".problem").get_by_text("the model reads at most 256: shorten it by").wait_for()
    box.fill("a" * 400_000)
    page.locator(".problem").get_by_text("a shorter text would do").wait_for()
    box.fill("Mia")
    expect(page.locator(".problem")).to_be_hidden()


# -------------------------------------------------------------------------------------------- kept and opened


@pytest.mark.parametrize("name", MADE)
def test_a_saved_page_is_live_again(show, files, tmp_path, name):
    page = show(files[name])
    type_text(page, name)
    seen = page.locator(TYPED[name][2]).first.inner_text()
    _, content = save(page, "Page (HTML)")
    (tmp_path / "again.html").write_bytes(content)
    page = show((tmp_path / "again.html").as_uri())
    assert page.locator(TYPED[name][2]).first.inner_text() == seen
    assert page.locator("#about").inner_text().startswith("This file holds the model")
    assert save(page, "Page (HTML)")[1] == content
    if name == "attention":
        page.get_by_role("button", name="remove (zero)").click()
        expect(page.locator(".changes li")).to_have_count(1)
    elif name == "generation":
        page.get_by_role("button", name="Sample a token").click()
        expect(page.locator(".read .taken")).to_have_count(1)
    else:
        page.get_by_role("radio", name="heads").click()
        page.locator("thead", has_text="head 3").wait_for()


def open_state(page, path, state):
    path.write_text(json.dumps(state), encoding="utf-8")
    page.locator(".gptlib .toolbar > button", has_text="Save").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a state").click()
    chooser.value.set_files(path)


STATES = {
    "attention": {
        "text": "Mia took a kite. Mia",
        "text_b": "Leo took a kite. Leo",
        "view": "difference",
        "changes": [{"do": "patch", "layer": 3, "head": None, "source": 1, "target": 2}],
        "layer": 3,
        "head": 1,
        "query": 2,
    },
    "generation": {"prompt": "Mia took", "path": [5, 6], "temperature": 0.5, "top_k": 8, "seed": 3},
    "patching": {"clean": PAIR[1], "corrupted": PAIR[0], "part": "attention.heads"},
}
WRONG = [None, -7, 10**12, 1.5, "ab" * 20_000, [[10**9]], {"a": 1}, True]


@pytest.mark.parametrize("name", MADE)
def test_a_state_of_python_is_opened_and_given_back(show, files, storyteller, tmp_path, name):
    page, explorer = show(files[name]), MADE[name](*storyteller)
    explorer.take_up({"explorer": explorer.title, "state": STATES[name]})
    open_state(page, tmp_path / "state.json", explorer.to_state())
    page.locator(".unseen", has_text="was taken up").wait_for(state="attached")
    _, content = save(page, "State (JSON)")
    assert json.loads(content) == explorer.to_state()
    again = MADE[name](*storyteller)
    again.take_up(json.loads(content))
    assert again.to_state() == explorer.to_state()


# A model of the page, as the file makes it, without the file around it.
STAND_IN = """async ([code, model, state, options]) => {
  const answers = startRuntime(code, fromBase64(model));
  globalThis.model = standIn(await readState(state), { ...options, answers });
}"""
TAKE_UP = """async (states) => {
  const asked = new Map(), told = [];
  model.on("msg:custom", ({ id, problem = "" }, [file]) =>
    asked.get(id)(file ? new TextDecoder().decode(file) : problem));
  const reply = (content) => new Promise((done) => {
    const id = Math.random();
    asked.set(id, done);
    model.send({ ...content, id });
  });
  for (const state of states) {
    const open = JSON.parse(state);
    told.push([await reply({ open }), await reply({ save: "state" })]);
  }
  return told;
}"""


@pytest.mark.parametrize("name", MADE)
def test_what_is_no_state_of_it_changes_nothing(chromium, storyteller, name):
    explorer = MADE[name](*storyteller)
    title, shown = explorer.title, explorer.page_state()
    first = {"explorer": title, "state": {trait: shown[trait] for trait in explorer.to_state()["state"]}}
    explorer.take_up(first)
    states = [None, 3, [], {}, {"explorer": title}, {"explorer": "BPE", "state": {}}, first | {"more": 1}]
    states += [{"explorer": title, "state": each} for each in ([], {"live": True}, {"__proto__": 1})]
    states += [{"explorer": title, "state": {trait: value}} for trait in first["state"] for value in WRONG]
    if name == "attention":
        changes = [[{}], [7], [{"do": "zero"}], [{"do": "zero", "layer": 9, "head": 0}]]
        changes += [[{"do": "scale", "layer": 0, "head": 0, "by": "2"}]]
        states += [{"explorer": title, "state": {"changes": each}} for each in changes]
    asked = [json.dumps(one) for state in states for one in (state, first)]
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content=bare("live/host.js"))
        blocks = pack_model(*storyteller), gzip.compress(packed(shown))
        texts = [base64.b64encode(block).decode() for block in blocks]
        page.evaluate(STAND_IN, [runtime_code(), *texts, {"kind": name, "title": title}])
        told = page.evaluate(TAKE_UP, asked)[::2]
    for state, (problem, after) in zip(states, told, strict=True):
        try:
            explorer.take_up(state)
        except Exception:
            assert 20 < len(problem) < 500 and not re.search("undefined|Error:", problem), (state, problem)
            assert json.loads(after) == json.loads(json.dumps(first))
        else:
            assert problem == "" and json.loads(after) == explorer.to_state()
        explorer.take_up(first)


# --------------------------------------------------------------------------------------------- when it cannot


@pytest.mark.parametrize("name", MADE)
def test_when_the_worker_dies_the_page_says_so_and_shows_what_it_has(show, files, tmp_path, name):
    page = show(files[name])
    type_text(page, name)
    seen = page.locator(TYPED[name][2]).first.inner_text()
    page.workers[0].evaluate("self.close()")
    page.locator(".problem", has_text="The model in this page has stopped").wait_for()
    assert "does not run" in page.locator("#about").inner_text()
    assert page.locator(TYPED[name][2]).first.inner_text() == seen
    boxes = page.locator(".gptlib :is(textarea, input[type=text]):visible")
    assert all(not box.is_editable() or not box.is_enabled() for box in boxes.all())
    assert "which has stopped" in boxes.first.get_attribute("title")
    page.keyboard.press("Escape")
    if name == "attention":  # what needs no model goes on
        page.locator(".tile").nth(3).click()
        page.locator("h2", has_text="Layer 0, head 3").wait_for()
    elif name == "generation":
        page.get_by_label("top-k").fill("2")
        expect(page.locator(".next h2")).to_contain_text("sampling keeps 4 of 2,048")
    else:
        page.locator("td button").nth(5).hover()
    assert_readable(page)
    _, content = save(page, "Page (HTML)")
    (tmp_path / "again.html").write_bytes(content)
    page = show((tmp_path / "again.html").as_uri())
    assert page.locator(TYPED[name][2]).first.inner_text() == seen
    assert page.locator("#about").inner_text().startswith("This file holds the model")


def test_a_question_on_its_way_when_the_worker_dies_is_not_lost_in_silence(show, files):
    page = show(files["attention"])
    page.evaluate("() => { Worker.prototype.postMessage = function () { this.terminate(); }; }")
    page.locator(".gptlib textarea").first.fill("Mia")
    page.locator(".problem", has_text="The model in this page has stopped").wait_for()
    assert page.locator(".gptlib textarea").first.is_disabled()


def test_where_no_worker_can_start_the_file_is_a_still_one(chromium, files):
    with browser_page(chromium) as (page, _):
        page.add_init_script("Worker = class { constructor() { throw Error('not here'); } };")
        page.goto(files["attention"])
        page.locator(".problem", has_text="could not be started in this browser").wait_for()
        assert "does not run" in page.locator("#about").inner_text()
        assert page.locator(".gptlib textarea").first.is_disabled()
        page.locator(".tile").nth(5).click()
        page.locator("h2", has_text="Layer 1, head 1").wait_for()


@pytest.mark.parametrize("share", [0.5, 0.9999])
def test_a_file_that_is_not_whole_says_so(chromium, files, tmp_path, share):
    whole = Path(unquote(urlsplit(files["attention"]).path)).read_bytes()
    (tmp_path / "cut.html").write_bytes(whole[: int(share * len(whole))])
    with browser_page(chromium) as (page, _):
        page.goto((tmp_path / "cut.html").as_uri())
        page.get_by_text("this file is not whole").wait_for()
        page.goto(files["attention"])
        page.locator(".strip").first.wait_for()
        assert "not whole" not in page.locator("main").text_content()


INTRUDE = """() => {
  let refused = 0;
  const add = (tag, properties) =>
    document.body.append(Object.assign(document.createElement(tag), properties));
  document.onsecuritypolicyviolation = () => { refused++; };
  add("script", { textContent: "window.ran = true" });
  add("div", { innerHTML: "<img src='data:,' onerror='window.ran = true'>" });
  add("script", { src: "data:text/javascript,window.ran = true" });
  return new Promise((done) => setTimeout(() => done([window.ran, refused]), 300));
}"""


def test_no_other_script_runs_in_a_file(chromium, files):
    with browser_page(chromium) as (page, _):
        page.goto(files["patching"])
        policy = page.locator("meta[http-equiv]").get_attribute("content")
        ran, refused = page.evaluate(INTRUDE)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and ran is None and refused == 3


# ------------------------------------------------------------------------------------------ what a file holds


def small(tokenizer, **parts):
    torch.manual_seed(0)
    return GPT(
        GPTConfig(
            vocab_size=tokenizer.vocab_size, context_length=16, n_layers=1, n_heads=1, d_model=8, **parts
        )
    )


def about(show, explorer):
    return show(explorer).locator("#about").inner_text()


def test_a_file_says_what_it_holds(show, storyteller, monkeypatch):
    model, tokenizer = storyteller
    assert "holds the model, 1,088,256 parameters" in about(show, AttentionExplorer(model, tokenizer, TEXT))
    compared = about(show, AttentionExplorer(model, tokenizer, TEXT, model_b=model))
    assert compared.startswith("This file holds no model, and shows what was computed in Python.")
    assert "compares two" in compared
    weights = torch.ones(1, 1, 2, 2).tril()
    given = AttentionExplorer.from_array(weights / weights.sum(-1, keepdim=True), ["a", "b"])
    assert "without a model" in about(show, given)
    assert about(show, PositionExplorer()) == ""  # which needs none
    monkeypatch.setattr("gptlib.viz.explorers.living.LARGEST", 1_000_000)
    for name, make in MADE.items():
        told = about(show, make(*storyteller))
        assert "holds no model" in told and "1,088,256" in told and "1,000,000" in told, name


def test_a_model_of_characters_is_in_its_file(show):
    tokenizer = CharacterTokenizer("ab猫 ")
    page = show(GenerationExplorer(small(tokenizer), tokenizer, "a猫"))
    page.get_by_role("button", name="Sample a token").click()
    expect(page.locator(".read .taken")).to_have_count(1)


SPEED = """(box) => new Promise((done) => {
  const strip = document.querySelector(".strip"), before = strip.firstChild, start = performance.now();
  box.value += "!";
  box.dispatchEvent(new Event("input", { bubbles: true }));
  const look = () => (strip.firstChild === before ? setTimeout(look, 1)
    : requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))));
  look();
})"""


def test_it_is_soon_awake_and_quick(show, files):
    """On an idle core of a laptop it is awake in 0.4 s, and a keystroke on 100 tokens takes 0.1 s."""
    page = show(files["attention"])
    assert page.evaluate("performance.getEntriesByName('awake')[0].startTime") < 4000
    box = page.locator(".gptlib textarea").first
    box.fill("Nora took a red kite and met Leo. " * 11)
    expect(page.locator(".strip").first.locator("button")).to_have_count(101)
    assert sorted(box.evaluate(SPEED) for _ in range(7))[1] < 600
