"""What stands in for a kernel (live/host.js), with answers that come late, in another order, or never."""

import pytest
from driver import browser_page

from gptlib.viz.explorers.pages import bare

# A model whose questions wait in `asked` until `reply` answers one of them.
START = """(state) => {
  globalThis.asked = [];
  const answers = { ask: () => new Promise((done, failed) => asked.push({ done, failed })) };
  globalThis.model = standIn({ asked: 0, answered: 0, kept: {}, text: "", head: 0, ...state }, { answers });
  asked.shift().done({ answer: { n: 0 }, details: { of: 0 }, traits: {} });
}"""
ASK = """(text) => {
  model.set("text", text);
  model.set("asked", model.get("asked") + 1);
  model.save_changes();
}"""
REPLY = """async ([place, reply]) => {
  const { done, failed } = asked[place];
  if (reply.failed) failed(Error(reply.failed));
  else done(reply);
  await new Promise(setTimeout);
  const { answer, details, head, problem, answered } = model.state;
  return { answer, details, head, problem, answered };
}"""
# A worker that opens and then says nothing.
MUTE = "onmessage = ({ data }) => { if (data.open) postMessage({ opened: {} }); };"
DIES = """async (code) => {
  const runtime = startRuntime(code, new ArrayBuffer(1));
  await runtime.opened;
  const told = [runtime.ask("attention", "one", {}), runtime.ask("attention", "one", {})];
  runtime.close();
  told.push(runtime.ask("attention", "one", {}));
  return Promise.all(told.map((one) => one.then(() => "answered", ({ message }) => message)));
}"""


@pytest.fixture
def page(chromium):
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content=bare("live/host.js"))
        page.evaluate(START, {})
        yield page


def test_of_an_answer_that_comes_late_only_the_answer_is_taken(page):
    """Which the next leaves out where it is the same; what belongs to it is no longer asked for."""
    page.evaluate(ASK, "a")
    page.evaluate(ASK, "b")
    seen = page.evaluate(REPLY, [0, {"answer": {"n": 1}, "details": {"of": 1}, "traits": {"head": 5}}])
    assert seen == {"answer": {"n": 1}, "details": {"of": 0}, "head": 0, "problem": "", "answered": 0}
    seen = page.evaluate(REPLY, [1, {"details": {"of": 2}, "traits": {"head": 7}}])
    assert seen == {"answer": {"n": 1}, "details": {"of": 2}, "head": 7, "problem": "", "answered": 2}


def test_nobody_sees_half_of_an_answer(page):
    page.evaluate(
        """() => {
        globalThis.seen = [];
        for (const name of ["head", "answer", "details", "answered"]) model.on(`change:${name}`, () => {
          const [head, answer, details, answered] = ["head", "answer", "details", "answered"].map(model.get);
          seen.push([head, answer.n, details.of, answered]);
        });
      }"""
    )
    page.evaluate(ASK, "a")
    page.evaluate(REPLY, [0, {"answer": {"n": 1}, "details": {"of": 1}, "traits": {"head": 5}}])
    assert page.evaluate("seen") == [[5, 1, 1, 1]] * 4


def test_a_question_that_fails_is_answered_by_what_went_wrong(page):
    page.evaluate(ASK, "a")
    seen = page.evaluate(REPLY, [0, {"failed": "It stopped."}])
    assert seen["problem"] == "It stopped." and seen["answered"] == 1 and seen["answer"] == {"n": 0}


def test_questions_that_wait_when_a_worker_is_closed_fail_as_those_after_it_do(page):
    told = page.evaluate(DIES, MUTE)
    assert len(told) == 3 and all(one.startswith("The model in this page has stopped") for one in told)
