"""What a page keeps of a widget whose kernel is lost, for the next one that its cell shows."""

import pytest
from driver import browser_page

from gptlib.viz.explorers.pages import bare

# A cell, and widgets in it: `widget(origin)` makes one whose `taken` are the states that it was to take up.
SETUP = """
  const cell = document.createElement("div");
  cell.className = "jp-Cell";
  document.body.replaceChildren(cell);
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const widget = (origin, attached = true) => {
    const root = document.createElement("p"), closing = new AbortController(), taken = [];
    if (attached) cell.append(root);
    const lose = keeping(root, closing.signal, origin, (state) => taken.push(state));
    return { root, taken, lose, close() { root.remove(); closing.abort(); } };
  };
  const [a, b] = [{ text: "Mia", layer: 0 }, { text: "Tom", layer: 0 }];
"""
CASES = {
    "the next of the same origin takes it up, once": (
        "const old = widget(a); old.lose('x'); old.close();return [widget({ ...a }).taken, widget(a).taken]",
        [["x"], []],
    ),
    "one of another origin does not": (
        "const old = widget(a); old.lose('x'); old.close(); return [widget(b).taken, widget(a).taken]",
        [[], ["x"]],
    ),
    "twins take theirs in order": (
        "const olds = [widget(a), widget(a)]; olds.forEach((old, at) => old.lose(at));"
        "olds.forEach((old) => old.close()); return [widget(a).taken, widget(a).taken]",
        [[0], [1]],
    ),
    "a second restart adds nothing": (
        "const old = widget(a); old.lose('x'); old.lose('y'); return [widget(a).taken, widget(a).taken]",
        [["x"], []],
    ),
    "what nobody took is forgotten when the cell runs again in a kernel that lives": (
        "const old = widget(a); old.lose('x'); old.close(); const edited = widget(b); edited.close();"
        "return widget(a).taken",
        [],
    ),
    "a widget that was not lost leaves nothing": ("widget(a).close(); return widget(a).taken", []),
    "a widget may come into its cell later": (
        "const old = widget(a); old.lose('x'); old.close(); const late = widget(a, false);"
        "await wait(120); cell.append(late.root); await wait(120); return late.taken",
        ["x"],
    ),
    "or be gone before it comes": (
        "const old = widget(a); old.lose('x'); old.close(); const late = widget(a, false);"
        "late.close(); cell.append(late.root); await wait(120); return late.taken",
        [],
    ),
    "outside of cells nothing is kept": (
        "const alone = widget(a, false); alone.lose('x'); alone.close(); return widget(a).taken",
        [],
    ),
}


@pytest.fixture(scope="module")
def page(chromium):
    with browser_page(chromium) as (page, _):
        yield page


@pytest.mark.parametrize("case", CASES)
def test_keeping(page, case):
    code, wanted = CASES[case]
    assert page.evaluate(f"async () => {{ {bare('keeping.js')}\n{SETUP}\n{code} }}") == wanted
