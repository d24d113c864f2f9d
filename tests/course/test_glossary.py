import re
from pathlib import Path

import pytest

from gptlib.cli.main import main
from gptlib.course import glossary as module
from gptlib.course.glossary import GLOSSARY, TERMS, Passage, Term, as_markdown, glossary
from gptlib.course.prose import NOTEBOOKS, short_title, words

NOTEBOOK = Path("04_attention.ipynb")


@pytest.fixture(scope="module")
def entries():
    return glossary()


def entry(term, *texts, section="1. One"):
    """The entry that a notebook of these sentences gives."""
    return module._entry(term, [Passage(text, NOTEBOOK, "Title", section) for text in texts])


def test_the_committed_page_is_what_the_notebooks_give(entries):
    assert GLOSSARY.read_text(encoding="utf-8") == as_markdown(entries), "run: gptlib glossary"


def test_it_is_a_glossary_of_the_field(entries):
    names = [each.term for each in entries]
    assert len(set(names)) == len(names) == len(TERMS) >= 80
    assert names == sorted(names, key=str.lower)
    assert {"attention", "query", "key", "value", "score", "weights", "token", "loss", "logits"} <= set(names)


def test_every_entry_is_one_short_sentence_with_its_place(entries):
    for each in entries:
        assert not each.sentence[0].islower() or each.term in ("n-gram", "perplexity", "tensor"), each
        assert each.sentence.endswith(".") and words(each.sentence) <= 32, each
        assert "**" not in each.sentence and "](" not in each.sentence, each
        assert each.notebook.is_file() and each.title == short_title(each.notebook), each


def test_links_lead_to_notebooks():
    links = re.findall(r"\]\(([^)#]*)[^)]*\)", GLOSSARY.read_text(encoding="utf-8"))
    assert len(links) == len(TERMS)
    assert {(GLOSSARY.parent / link).resolve().parent for link in links} == {NOTEBOOKS.resolve()}
    assert all((GLOSSARY.parent / link).is_file() for link in links)


def test_the_place_is_where_the_term_is_brought_in():
    told = ("A score is named.", "So a *score* is how well a query fits a key.", "A **score** again.")
    assert entry(Term("score"), *told).sentence == "A score is how well a query fits a key."
    assert entry(Term("score", "Our own."), *told).sentence == "Our own."
    assert entry(Term("scores", "x"), "Underscores.", "No *scoring*.", "Then scores.").section == "1. One"
    assert entry(Term("batch"), "Many **batches** of [rows](x.ipynb).").sentence == "Many batches of rows."


def test_it_says_what_a_term_is_called_elsewhere():
    told = entry(Term("MLP", "A part.", elsewhere="feed-forward network"), "An *MLP*.")
    assert "- **MLP** (elsewhere feed-forward network): A part. <br>" in as_markdown([told])


def test_outlines_introduce_nothing():
    passages = [
        Passage("Write a **head**.", NOTEBOOK, "Title", "What you will be able to do"),
        Passage("This is a **head**.", NOTEBOOK, "Title", "2. Two"),
    ]
    assert module._entry(Term("head"), passages).section == "2. Two"
    assert module._entry(Term("head", "x"), passages[:1]).section == "What you will be able to do"


def test_what_no_notebook_says_is_an_error_that_says_what_to_do():
    with pytest.raises(LookupError, match="no notebook mentions 'quark'; take it out of TERMS"):
        entry(Term("quark", "A particle."), "A lark.")
    with pytest.raises(LookupError, match="sets 'quark' in bold or italics .* or give the term a meaning"):
        entry(Term("quark"), "A quark, not marked, and `quark` in code.")


def test_the_verb_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "GLOSSARY", tmp_path / "glossary.md")
    assert main(["glossary"]) == 0
    assert "glossary.md" in capsys.readouterr().out
    assert (tmp_path / "glossary.md").read_text(encoding="utf-8").startswith("# Glossary")
