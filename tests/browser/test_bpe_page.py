"""The byte-pair explorer in a browser: as a file without a kernel, and in JupyterLab."""

from gptlib import load
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.explorers.bpe import BPEExplorer

TOKENIZER = load("storyteller")[1]
TEXT = "<img src=x onerror=\"document.title='ran'\">\n\tMia's café 🪁, old older oldest <|endoftext|>"


def rows(page) -> list[list[str]]:
    """The pieces as the page lists them: text, id, bytes."""
    page.wait_for_timeout(50)
    cells = page.locator(".bpe li > *").all_inner_texts()
    return [cells[at : at + 3] for at in range(0, len(cells), 3)]


def expected(explorer: BPEExplorer) -> list[list[str]]:
    pieces = explorer.pieces()
    ids = [TOKENIZER.ranks[piece] for piece in pieces]
    signs = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥"})
    texts = [text.translate(signs) for text in TOKENIZER.pieces(ids)]
    return [[text, str(i), piece.hex(" ")] for text, i, piece in zip(texts, ids, pieces, strict=True)]


def test_a_file_steps_through_without_a_kernel(show):
    explorer = BPEExplorer(TOKENIZER, TEXT)
    page, last = show(explorer), explorer.step
    track = page.get_by_label("Merges done")
    assert rows(page) == expected(explorer)
    assert page.get_by_text(f"{len(TOKENIZER.encode(TEXT))} tokens at the end").is_visible()

    page.get_by_role("button", name="First").click()
    assert page.locator(".merge").inner_text() == "Before the first merge: each byte is a piece."
    track.focus()
    for step in range(last + 1):  # forwards with the keyboard
        explorer.step = step
        assert rows(page) == expected(explorer)
        highlighted = page.locator(".piece.made").all_inner_texts()
        assert len(set(highlighted)) == (step > 0)
        if step:
            assert f"merge {step} of {last}" in page.locator(".merge").inner_text()
            assert page.locator(".merge .made").inner_text() == highlighted[0]
        page.keyboard.press("ArrowRight")
    for step in reversed(range(last)):  # backwards with the mouse
        page.get_by_role("button", name="Previous").click()
        explorer.step = step
        assert rows(page) == expected(explorer)
    page.get_by_role("button", name="Previous").press("Enter")  # there is nothing before the bytes
    assert track.input_value() == "0"
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert track.input_value() == str(last)

    box = page.get_by_label("Your text")
    assert box.input_value() == TEXT and not box.is_editable()
    assert page.get_by_text("Changing the text needs a kernel").is_visible()
    assert page.title() == BPEExplorer.title and page.locator("img").count() == 0  # text is no markup


def test_every_script_is_itself_and_half_a_character_says_of_which(show):
    tokenizer = Tokenizer.train("你好 مرحبا 🪁 " * 9, vocab_size=277)
    page = show(BPEExplorer(tokenizer, "你好 مرحبا 🪁 א"))
    pieces = page.locator(".piece")
    assert [text for text, *_ in rows(page)] == ["你好", "␣مرحبا", "␣🪁", "␣", "\\xd7", "\\x90"]
    assert pieces.first.get_attribute("title").endswith(", 6 bytes; click: the merge that made it")
    assert pieces.last.get_attribute("title") == f"token {tokenizer.ranks[bytes([0x90])]}, 1 byte; part of א"
    assert [pieces.nth(at).get_attribute("data-of") for at in (0, 4, 5)] == [None, "א", ""]
    pieces.first.click()
    assert page.locator(".merge .made").inner_text() == "你好"
    page.get_by_role("button", name="Last").click()
    on, back = (page.get_by_role("button", name=name) for name in ("Next", "Previous"))
    assert on.get_attribute("title") == "do the next merge: no merge is left"
    back.click()
    assert on.get_attribute("title") == "do the next merge"


def test_jupyterlab(run):
    page = run(
        "from gptlib import load\nfrom gptlib.viz import BPEExplorer\n"
        "explorer = BPEExplorer(load('storyteller')[1], 'low lower')\nexplorer"
    )
    box = page.get_by_label("Your text")
    box.fill("a café")
    count = page.locator(".bpe .counts")
    count.get_by_text("7 bytes").wait_for()
    assert [row[2] for row in rows(page)] == [
        TOKENIZER.token_bytes(token).hex(" ") for token in TOKENIZER.encode("a café")
    ]
    box.press_sequentially("s")  # by keyboard, where the reader left off
    count.get_by_text("8 bytes").wait_for()
    page.get_by_role("button", name="First").click()
    page.locator(".merge", has_text="Before the first merge").wait_for()
    page.get_by_label("Merges done").press("ArrowRight")  # JupyterLab's own arrow keys stay out of it
    page.locator(".merge", has_text="merge 1 of").wait_for()
    box.fill("")
    page.locator(".bpe.stale").wait_for()  # the last good answer stays, faded
    assert "8 bytes" in count.inner_text() and page.locator(".bpe .problem").is_hidden()
    box.fill("the old kite")
    count.get_by_text("12 bytes").wait_for()
    assert page.locator(".bpe.stale").count() == 0
    page.locator(".merge", has_text="merge 3 of 8").wait_for()  # the reader was in the middle of the merges
    assert page.locator(".bpe .problem").is_hidden()
