"""How widgets are shown: the widget in an output of its own, before what stands for it where nothing runs."""

import sys

import pytest

from gptlib.course import Quiz
from gptlib.viz import BudgetExplorer
from gptlib.viz.explorers import showing
from gptlib.viz.explorers.saved import EXPLORER
from gptlib.viz.explorers.showing import WIDGET


@pytest.fixture
def shown(monkeypatch):
    """Show a widget, and get the data of its outputs."""

    def show(widget):
        outputs = []
        monkeypatch.setattr(showing, "display", lambda data, **options: outputs.append(data))
        widget._ipython_display_()
        return outputs

    return show


def test_an_explorer_its_picture_and_what_to_do(shown):
    widget, sentence, picture = shown(BudgetExplorer())
    assert set(widget) == {WIDGET, "text/html"} and not widget["text/html"]
    # Without a plain text: strict nbval compares it, and a saved notebook without it stays as it is.
    assert set(sentence) == {"text/html"} and "Run the cell to use it." in sentence["text/html"]
    assert set(picture) == {"image/png", "text/plain", EXPLORER}
    assert picture["text/plain"].startswith("BudgetExplorer(")
    assert shown(BudgetExplorer())[1] == sentence  # and no identity of a widget in it


def test_questions_are_a_list(shown):
    widget, page = shown(Quiz("attention"))
    assert WIDGET in widget and set(page) == {"text/html", "text/plain"}
    assert page["text/html"].count("<details>") == len(Quiz("attention").boxes)


@pytest.mark.parametrize("where", ["VS Code", "Colab"])
def test_in_one_output_where_others_would_be_seen_too(shown, monkeypatch, where):
    if where == "Colab":
        monkeypatch.setitem(sys.modules, "google.colab", sys)
    else:
        shell = type("Shell", (), {"user_ns": {"__vsc_ipynb_file__": "a.ipynb"}})
        monkeypatch.setattr(showing, "get_ipython", shell)
    explorer = BudgetExplorer()
    with pytest.raises(NotImplementedError):  # IPython then shows the whole bundle
        shown(explorer)
    assert set(explorer._repr_mimebundle_()[0]) == {WIDGET, "image/png", "text/plain"}
