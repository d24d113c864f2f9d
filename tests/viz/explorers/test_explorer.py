"""What all explorers share: asking and answering, what goes wrong, and the files."""

import base64
import gzip
import json
import re
import threading
import time

import pytest
from traitlets import Int, Unicode

from gptlib.viz import figures
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.pages import COLORS, FOLDER, bare, color_table, packed


class Shouter(Explorer):
    """The smallest explorer: it shouts."""

    title = "Shouter"
    script = "attention.js"

    text = Unicode("hi").tag(sync=True, asks="answer")
    size = Int(1).tag(sync=True, asks="details")

    def __init__(self, **state):
        super().__init__(**state)
        self.computed = []
        self.begin()

    def compute_answer(self):
        if "!" in self.text:
            raise ValueError("text holds '!'; leave it out")
        if "?" in self.text:
            raise ZeroDivisionError("a fault of ours")
        if "#" in self.text:
            raise KeyError("#")
        self.computed.append("answer")
        return {"loud": self.text.upper(), "data": bytes(range(len(self.text)))}

    def compute_details(self):
        if self.size < 0:
            raise ValueError("size is below 0")
        self.computed.append("details")
        return {"long": self.text * self.size}

    def figure(self):
        return figures.bar_chart(["a", "b"], [1, 2], title=self.text)


def ask(explorer, **changes):
    """What the page does."""
    explorer.set_state({**changes, "asked": explorer.asked + 1})


def test_a_change_on_the_page_is_answered_once():
    explorer = Shouter()
    explorer.computed.clear()
    ask(explorer, text="low", size=2)
    assert explorer.computed == ["answer", "details"]
    assert explorer.answer["loud"] == "LOW" and explorer.details["long"] == "lowlow"
    assert explorer.answered == explorer.asked == 1 and explorer.problem == ""


def test_details_alone_leave_the_answer():
    explorer = Shouter()
    explorer.computed.clear()
    ask(explorer, size=3)
    assert explorer.computed == ["details"] and explorer.details["long"] == "hihihi"
    ask(explorer, size=3)
    assert explorer.computed == ["details"] and explorer.answered == 2  # nothing new, and yet an answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("low!", "Text holds '!'; leave it out"),
        ("low?", "ZeroDivisionError: a fault of ours"),
        ("low#", "KeyError: '#'"),
    ],
)
def test_what_goes_wrong_on_the_page_becomes_a_sentence_and_the_last_answer_stays(text, problem):
    explorer = Shouter()
    ask(explorer, text=text)
    assert explorer.problem == problem
    assert explorer.answer["loud"] == "HI" and explorer.answered == 1
    ask(explorer, text="low")
    assert explorer.problem == "" and explorer.answer["loud"] == "LOW"


def test_what_comes_at_the_same_time_is_done_one_after_the_other():
    inside, most = [], []

    class Slow(Shouter):
        def compute_answer(self):
            inside.append(self)
            most.append(len(inside))
            time.sleep(0.02)
            inside.remove(self)
            return super().compute_answer()

    explorer, other = Slow(), Slow()  # two views of one model, say

    def assign():
        explorer.text = "cell"

    calls = [lambda: ask(explorer, text="page"), assign, other.refresh, lambda: ask(explorer, text="tab")]
    threads = [threading.Thread(target=call) for call in 3 * calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert explorer.answer["loud"] == explorer.text.upper() and explorer.problem == ""


def test_an_answer_reaches_the_page_whole(monkeypatch):
    explorer, sent = Shouter(), []
    monkeypatch.setattr(Shouter, "send_state", lambda self, key: sent.append(set(key)))
    ask(explorer, text="low")
    assert sent == [{"answer", "details", "answered"}]
    explorer.set_state({"size": 2, "asked": 0})  # from a page that has not heard of the last answer
    assert sent[1] == {"details", "asked"} and explorer.answered == 1


def test_a_value_of_the_wrong_kind_from_the_page_is_refused():
    explorer = Shouter()
    ask(explorer, size="many")
    assert "size" in explorer.problem and explorer.size == 1 and explorer.answered == 1


def test_what_goes_wrong_in_python_is_raised_and_undone():
    explorer = Shouter()
    with pytest.raises(ValueError, match="leave it out"):
        explorer.text = "low!"
    assert explorer.text == "hi" and explorer.answer["loud"] == "HI"
    explorer.text = "low"
    assert explorer.answer["loud"] == "LOW"


def test_refresh_computes_anew():
    explorer = Shouter()
    explorer.computed.clear()
    explorer.refresh()
    assert explorer.computed == ["answer", "details"]


def test_the_page_knows_how_it_began():
    explorer = Shouter(text="low")
    assert explorer.origin == {"explorer": "Shouter", "state": {"size": 1, "text": "low"}}
    ask(explorer, text="lower")
    assert explorer.origin["state"]["text"] == "low" and "origin" not in explorer.page_state()


def test_output_holds_the_widget_and_its_picture():
    bundle, metadata = Shouter()._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "Shouter()"
    assert metadata["image/png"]["width"] > 100


def test_pictures_are_written_and_the_same_each_time(tmp_path):
    explorer = Shouter()
    assert explorer.to_png(tmp_path / "a.png") == (tmp_path / "a.png").read_bytes() == Shouter().to_png()
    assert explorer.to_svg(tmp_path / "a.svg") == (tmp_path / "a.svg").read_text() == Shouter().to_svg()
    assert explorer.to_svg().lstrip().startswith("<?xml")


# -------------------------------------------------------------------------------------------------- the state


class Ordered(Shouter):
    """Another text resets what is chosen in it, as merges and roads do."""

    chosen = Int(0).tag(sync=True)

    def compute_answer(self):
        self.chosen = 0
        return super().compute_answer()


def test_a_state_is_plain_and_is_taken_up_whole(tmp_path):
    explorer, again, third = Ordered(text="low", size=2), Ordered(), Ordered()
    explorer.chosen = 1
    state = explorer.to_state(tmp_path / "state.json")
    assert state == {"explorer": "Shouter", "state": {"chosen": 1, "size": 2, "text": "low"}}
    again.take_up(state)
    third.take_up(tmp_path / "state.json")
    for one in (again, third):
        assert one.to_state() == state and (one.answer, one.details) == (explorer.answer, explorer.details)
    again.computed.clear()
    again.take_up({"explorer": "Shouter", "state": {"size": 3}})
    assert again.computed == ["details"] and again.details["long"] == "lowlowlow"


DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("nothing.json", "nothing.json"),
        ([], "what to_state gives"),
        ({"explorer": "Shouter"}, "what to_state gives"),
        ({"explorer": "BPE", "state": {}}, "needs one of 'Shouter'"),
        ({"explorer": "Shouter", "state": {"answer": {}}}, "of size, text"),
        ({"explorer": "Shouter", "state": ["text"]}, "of size, text"),
        ({"explorer": "Shouter", "state": {"size": "many"}}, "size"),
        ({"explorer": "Shouter", "state": {"size": True}}, "size is True"),
        ({"explorer": "Shouter", "state": {"size": float("nan")}}, "JSON"),
        ({"explorer": "Shouter", "state": {"text": "x" * 10_000_000}}, "characters"),
        ({"explorer": "Shouter", "state": {"text": DEEP}}, "what to_state gives"),
        ({"explorer": "Shouter", "state": {"size": 3, "text": "low!"}}, "leave it out"),
        ({"explorer": "Shouter", "state": {"size": 3, "text": "low?"}}, "fault"),
        ({"explorer": "Shouter", "state": {"size": -1, "text": "hello"}}, "below 0"),
    ],
)
def test_a_state_that_does_not_fit_leaves_the_explorer_as_it_was(state, problem, monkeypatch):
    explorer, sent = Shouter(text="low", size=2), []
    monkeypatch.setattr(explorer, "send", lambda *message: sent.append(message))
    before = explorer.to_state(), explorer.answer, explorer.details
    with pytest.raises(Exception, match=problem):
        explorer.take_up(state)
    assert (explorer.to_state(), explorer.answer, explorer.details) == before
    explorer._handle_custom_msg(
        {"open": state, "id": "7"}, []
    )  # the same from the page, which must hear of it
    ((reply, files),) = sent
    assert reply["id"] == "7" and problem.lower() in reply["problem"].lower() and files == []
    assert len(reply["problem"]) <= 400
    assert (explorer.to_state(), explorer.answer, explorer.details) == before


def test_a_page_gets_the_files_that_it_asks_for(monkeypatch, tmp_path):
    explorer, sent = Shouter(text="low"), []
    monkeypatch.setattr(explorer, "send", lambda *message: sent.append(message))
    explorer._handle_custom_msg({"save": "page", "id": "1"}, [])
    explorer._handle_custom_msg({"save": "state", "id": "2"}, [])
    explorer._handle_custom_msg({"kind": "anywidget-command"}, [])  # not for us
    explorer.to_html(tmp_path / "page.html")
    (page, [html]), (state, [text]) = sent
    assert page == {"id": "1"} and html == (tmp_path / "page.html").read_bytes()
    assert state == {"id": "2"} and json.loads(text) == explorer.to_state()


def unpacked(block: bytes) -> dict:
    length = int.from_bytes(block[:4], "little")

    def plain(value):
        start_stop = value.get("bytes") if len(value) == 1 else None
        return block[4 + length + start_stop[0] : 4 + length + start_stop[1]] if start_stop else value

    return json.loads(block[4 : 4 + length], object_hook=plain)


def test_packed_gives_back_what_it_took():
    state = {"a": [1, {"b": b"\x00\xff"}], "c": b"", "d": "ü</script>"}
    assert unpacked(packed(state)) == state
    with pytest.raises(ValueError, match="JSON"):
        packed({"a": float("nan")})


def test_html_holds_the_state_and_asks_for_nothing(tmp_path):
    explorer = Shouter(text="</script><b>")
    explorer.to_html(tmp_path / "shouter.html")
    page = (tmp_path / "shouter.html").read_text(encoding="utf-8")
    state = re.search(r'id="state">([^<]*)<', page)[1]
    assert unpacked(gzip.decompress(base64.b64decode(state)))["answer"]["loud"] == "</SCRIPT><B>"
    assert "<b>" not in page and "%SCRIPT%" not in page
    assert not re.search(r"(src|href)=|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    with pytest.raises(FileNotFoundError):
        explorer.to_html(tmp_path / "no" / "shouter.html")


def test_colors_are_those_of_the_figures():
    table = base64.b64decode(color_table(COLORS["attention"]))
    assert len(table) == 768 and tuple(table[:3]) == (0, 34, 78)  # cividis begins in dark blue


def test_page_code_is_small_and_plain():
    scripts = sorted(FOLDER.glob("*.js"))
    size = {script.stem: len(bare(script.name).encode()) for script in scripts}
    # A cell brings its explorer's at once, and what all share: together at most 50 kB.
    assert max(size.values()) < 31_000 and size["shared"] < 19_000 and sum(size.values()) < 130_000
    for script in scripts:
        code = script.read_text(encoding="utf-8")
        # A string over several lines would lose its indentation on the way.
        assert all(line.count("`") % 2 == 0 for line in code.splitlines())
        assert "innerHTML" not in code and "</script" not in code and "import " not in code.split("\n", 1)[1]
        assert code.count("export default") == (script.name not in ("shared.js", "keeping.js"))
