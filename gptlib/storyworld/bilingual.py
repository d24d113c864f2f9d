"""A story sentence by sentence in English and Chinese, with which words of the two mean the same (notebook 16)."""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.storyworld.grammar import SLOT, Break, Say, Slot, Word
from gptlib.storyworld.story import Story

Span = tuple[int, int]  # from, up to but not including, in characters


@dataclass(frozen=True)
class Link:
    """A slot of the Chinese sentence and every place where the English one writes the same variable."""

    variable: str
    form: str
    chinese: Span
    english: tuple[Span, ...]


@dataclass(frozen=True)
class Sentence:
    """One thing said (a sentence, seldom two), in both languages. Links are in the order of the Chinese."""

    english: str
    chinese: str
    links: tuple[Link, ...]


def sentences(story: Story) -> list[Sentence]:
    """All that a story says. The alignment is known, not guessed: both languages fill the same slots."""
    found = []
    start = 0
    telling = story.telling
    for said in telling.said:
        if isinstance(said, Break):
            continue
        start += start > 0  # the space or the line break between two sentences
        english, spans = _as_written(story.text, start, said, telling.words)
        found.append(_sentence(english, spans, said.chinese, telling.words))
        start += len(english)
    return found


def _as_written(
    text: str, start: int, said: Say, words: dict[str, Word]
) -> tuple[str, list[tuple[str, Span]]]:
    """The wording that stands in the text at `start`, and the span of each variable in it."""
    fitting = []
    for wording in said.wordings:
        if any(isinstance(part, Slot) and part.variable not in words for part in wording):
            continue  # it would have brought in somebody whom this story does not know
        written, spans = "", []
        for part in wording:
            if isinstance(part, Slot):
                form = words[part.variable].forms[part.form]
                article = form.index(" ") + 1 if part.form in ("a", "the") else 0
                spans.append((part.variable, (len(written) + article, len(written) + len(form))))
                written += form
            else:
                written += part
        if text.startswith(written, start):
            fitting.append((written, spans))
    # One wording can be the beginning of another; Storyworld is unambiguous, so the longer one was meant.
    return max(fitting, key=lambda fit: len(fit[0]))


def _sentence(english: str, spans: list[tuple[str, Span]], template: str, words: dict[str, Word]) -> Sentence:
    chinese, links, end = "", [], 0
    for slot in SLOT.finditer(template):
        chinese += template[end : slot.start()]
        end = slot.end()
        variable, form = slot[1], slot[2] or ""
        written = words[variable].chinese[form]
        places = tuple(span for name, span in spans if name == variable)
        if places:
            links.append(Link(variable, form, (len(chinese), len(chinese) + len(written)), places))
        chinese += written
    return Sentence(english, chinese + template[end:], tuple(links))
