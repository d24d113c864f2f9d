"""How a page asks: on a bare page, with what every explorer's page stands on and a kernel of our own."""

import pytest
from driver import browser_page, watched

from gptlib.viz.explorers.pages import page_code

# `kernel` sends one message, as Explorer.set_state does; `sent` is what reached it, `drawn` what was drawn.
STAGE = """(code) => {
  const open = new Function(`${code}; return open;`)(), listeners = {};
  const state = { live: true, asked: 0, answered: 0, problem: "", answer: "first", text: "" };
  const model = {
    get: (name) => state[name],
    set(name, value) {
      const changed = state[name] !== value;
      state[name] = value;
      if (changed) for (const call of listeners[`change:${name}`] ?? []) call();
    },
    on: (event, call) => (listeners[event] ??= []).push(call),
    off: (event, call) => { listeners[event] = listeners[event].filter((one) => one !== call); },
    save_changes: () => sent.push([state.asked, state.text]),
  };
  window.sent = [];
  window.drawn = [];
  window.kernel = (message) => { for (const name in message) model.set(name, message[name]); };
  window.restart = () => { for (const call of listeners.comm_live_update) call(); };
  window.left = () => Object.values(listeners).flat().length;
  window.stage = open(model, document.body, "bare");
  stage.on("answer", () => drawn.push(state.answer));
}"""


@pytest.fixture
def page(chromium):
    with browser_page(chromium) as (page, _):
        problems = watched(page)
        page.clock.install(time=0)
        page.clock.pause_at(1)
        page.evaluate(STAGE, page_code("bpe.js").replace("export default", "const explorer ="))
        yield page
        assert problems == []


def ask(page, *texts):
    page.evaluate("texts => texts.forEach(text => stage.ask({ text }))", list(texts))


def answer(page, answered, answer, problem=""):
    page.evaluate("kernel", {"answered": answered, "answer": answer, "problem": problem})


def test_one_question_is_on_its_way_and_the_latest_wins(page):
    ask(page, "a", "ab", "abc")
    assert page.evaluate("sent") == [[1, "a"]]
    answer(page, 1, "A")
    assert page.evaluate("sent") == [[1, "a"], [2, "abc"]]
    ask(page, "abcd")
    answer(page, 2, "ABC")
    answer(page, 3, "ABCD")
    assert page.evaluate("[sent.length, drawn]") == [3, ["first", "A", "ABC", "ABCD"]]
    ask(page, "x")
    assert page.evaluate("sent.at(-1)") == [4, "x"]


def test_a_stale_answer_is_not_drawn(page):
    ask(page, "a")
    answer(page, 1, "A")
    ask(page, "ab")
    answer(page, 2, "AB")
    answer(page, 1, "late")
    assert page.evaluate("drawn") == ["first", "A", "AB"]
    ask(page, "abc")
    answer(page, 3, "ABC")
    page.evaluate("kernel({ answer: 'trained on' })")  # what Python changes belongs to no question
    assert page.evaluate("drawn.slice(3)") == ["ABC", "trained on"]


def test_who_listens_is_called_in_order_and_before_the_next_question(page):
    page.evaluate(
        """() => {
          window.order = [];
          stage.on("answer", () => order.push("answer"));
          stage.on("text answer", () => order.push("text or answer " + sent.length));
        }"""
    )
    ask(page, "a", "ab")
    page.evaluate("order.length = 0")
    page.evaluate("kernel", {"text": "A", "answer": "A", "answered": 1})  # in the order that chance gives
    assert page.evaluate("order.slice(0, 2)") == ["answer", "text or answer 1"]
    assert page.evaluate("sent.at(-1)") == [2, "ab"]


def test_an_answer_to_an_earlier_question_lets_no_other_go(page):
    ask(page, "a")
    page.evaluate("kernel({ asked: 5 })")  # a second page of the same explorer, which asked meanwhile
    ask(page, "ab")
    answer(page, 4, "other")
    assert page.evaluate("sent.length") == 1
    answer(page, 5, "A")
    assert page.evaluate("sent") == [[1, "a"], [6, "ab"]]


def test_what_goes_wrong_is_said_until_it_is_mended(page):
    problem = page.locator(".problem")
    ask(page, "a!")
    answer(page, 1, "first", "Text holds '!'")
    assert problem.inner_text() == "Text holds '!'" and page.evaluate("drawn") == ["first"]
    ask(page, "a")
    answer(page, 2, "A")
    assert problem.is_hidden()


def test_a_kernel_that_does_not_answer_is_told_of(page):
    problem = page.locator(".problem")
    ask(page, "a")
    page.clock.run_for(7_900)
    assert problem.is_hidden()
    page.clock.run_for(200)
    assert "The kernel has not answered yet" in problem.inner_text()
    answer(page, 1, "A")
    assert problem.is_hidden() and page.evaluate("drawn") == ["first", "A"]


def test_after_a_restart_nothing_is_asked(page):
    ask(page, "a")
    page.evaluate("restart()")
    ask(page, "ab")
    page.clock.run_for(20_000)
    assert "The kernel was restarted" in page.locator(".problem").inner_text()
    assert page.evaluate("[sent.length, stage.live]") == [1, False]


def test_a_closed_view_leaves_nothing_behind(page):
    ask(page, "a")
    page.evaluate("stage.close()")
    answer(page, 1, "A")
    page.clock.run_for(20_000)
    assert page.evaluate("[left(), drawn]") == [0, ["first"]] and page.locator(".gptlib").count() == 0
