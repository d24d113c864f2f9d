"""A story sentence by sentence in English and Chinese, with which words of the two mean the same."""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.text.storyworld.grammar import SLOT, Break, Say, Slot, Word
from gptlib.text.storyworld.story import Story

Span = tuple[int, int]  # from, up to but not including, in characters


@dataclass(frozen=True)
class Link:
    """A slot of the Chinese sentence and every place where the English one writes the same variable."""

    variable: str
    form: str
    chinese: Span
    english: tuple[Span, ...]


@dataclass(frozen=True)
class AlignedSentence:
    """A `Sentence` of a story in both languages, with its links in the order of the Chinese."""

    english: str
    chinese: str
    links: tuple[Link, ...]


def sentences(story: Story) -> list[AlignedSentence]:
    """All that a story says. The alignment is known, not guessed: both languages fill the same slots."""
    words = story.telling.words
    steps = [step for step in story.telling.said if not isinstance(step, Break)]
    return [
        _aligned(sentence.english, _spans(sentence.english, step, words), step.chinese, words)
        for step, sentence in zip(steps, story.sentences, strict=True)
    ]


def _spans(english: str, said: Say, words: dict[str, Word]) -> list[tuple[str, Span]]:
    """Where each variable stands in a sentence, by the wording that was chosen for it."""
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
        if written == english:
            return spans
    raise ValueError(f"english is {english!r}, which no wording of this sentence writes")


def _aligned(
    english: str, spans: list[tuple[str, Span]], template: str, words: dict[str, Word]
) -> AlignedSentence:
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
    return AlignedSentence(english, chinese + template[end:], tuple(links))
