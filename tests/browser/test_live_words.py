"""What stands for a token on a page that runs a GPT itself: in JavaScript as in Python, for any text."""

import random
import unicodedata

import pytest
from driver import browser_page

from gptlib.interpret.head_roles import names_in
from gptlib.viz.explorers.pages import bare
from gptlib.viz.explorers.reading import CHARACTER, on_the_page
from gptlib.viz.explorers.words import shared

FAMILY, HEART = "👩‍👩‍👧", "❤️‍🔥"
WALES = "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"
# What joins others, is joined, or is not to be seen.
HARD = [
    "Nora ", "the", "猫", "你好", "é", "e\u0301\u0323", "\u0301", FAMILY, HEART, WALES,
    "👍🏽", "🏽", "🇩🇪", "🇫", "1️⃣", "\u200d", "\ufe0f", "ᄀ", "ᅡ", "ᆨ", "각", "가", "한국",
    "क्षि", "स्त्री", "বাংলা", "க்ஷ", "മലയാളം", "ကြောင်း", "ราคาน้ำ", "ལྷ", "مرحبا",
    "\u0600", "\u06dd1", "שָׁלוֹם", " ", "  ", "\n", "\r", "\r\n", "\t", "\x00",
    "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u2028", "\ufeff", "\ufffd",
    "\ue000", "\uffff", "\\", "'", '"', "©", "‼", "\U000f0000", "\U0001d400", "🦙",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(chromium):
    with browser_page(chromium) as (page, _):
        files = ("words.js", "changes.js", "roles.js")
        page.add_script_tag(content="\n".join(bare(f"live/{file}") for file in files))
        yield page


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(20)
    return HARD + ["".join(rng.choices(HARD, k=rng.randint(2, 8))) for _ in range(600)]


def test_what_is_one_character_and_how_a_page_shows_it(page, texts):
    assert page.evaluate("texts => texts.map(charactersOf)", texts) == [*map(CHARACTER.findall, texts)]
    assert page.evaluate("texts => texts.map(onThePage)", [*texts, ""]) == [*map(on_the_page, [*texts, ""])]
    assert page.evaluate("texts => texts.map(pythonOf)", texts) == [*map(repr, texts)]


def test_pieces_that_share_a_character(page, texts):
    """Every text cut into pieces of bytes anywhere, and bytes that are no text, with empty pieces between."""
    rng = random.Random(0)
    ends_of_ranges = [0x20, 0x41, 0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xE7, 0xED, 0xF0, 0xF4, 0xF8, 0xFF]
    garbage = [bytes(rng.choices(ends_of_ranges, k=9)) for _ in range(200)]
    spelled = [text.encode() for text in texts]
    mixed = [one + other[: rng.randint(0, 4)] + one for one, other in zip(spelled, garbage * 4, strict=False)]
    cut = []
    for whole in [*spelled, *garbage, *mixed]:
        ends = sorted(rng.choices(range(len(whole) + 1), k=rng.randint(0, 5)))
        cut.append([whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)], strict=True)])
    shown = page.evaluate(
        "pieces => pieces.map(some => sharedWords(some.map(bytes => Uint8Array.from(bytes))))",
        [[[*piece] for piece in pieces] for pieces in cut],
    )
    assert shown == [*map(shared, cut)]


def test_every_letter_that_both_know(page):
    """Of letters newer than this Python's Unicode, the browser knows more, and shows what Python escapes."""
    codes = (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    known = [letter for letter in map(chr, codes) if unicodedata.category(letter) != "Cn"]
    printed = page.evaluate(
        "text => Array.from(text, letter => +PRINTABLE.test(letter)).join('')", "".join(known)
    )
    assert printed == "".join(str(int(letter.isprintable())) for letter in known)


def test_names_are_found_as_in_python(page):
    lists = [
        ["Nora", " met", " Leo", ".", " Then", " Nora", "\x1fLeo\x85", "\ufeffMia", " IBM", " éva", " Éva"],
        [" a", " Ǆungla", "ǅungla", "猫Ab", "O'Neill", " Ab1", "said: ", "Tom", "x ", "Ⅷ", "\n", "Ann", " "],
        ["a", "Mc", "McAb", "AB", "ß", "ῼ", "ÀÉ", "Àé"],
    ]  # fmt: skip
    found = page.evaluate("lists => lists.map(words => [...namesIn(words)])", lists)
    assert [*map(set, found)] == [*map(names_in, lists)]


@pytest.mark.parametrize(
    "value", [2, 0.25, -1, -0.75, 1e-7, 0.00012, 123456, 1234567, 3.14159265, 2.5e-20, 0, 99999.95]
)
def test_numbers_as_python_writes_them(page, value):
    assert page.evaluate("value => [shortest(value), pythonOf(value)]", value) == [f"{value:g}", repr(value)]
