"""What a model in a page learns from: Storyworld's openings as word ids, with all that is known about them.

A document is the first two sentences of a story, a token is a word or a mark with the space before it. Since
Storyworld knows the exact probability of what it tells, every held-out document comes with its true surprise:
their mean is a floor that no model can beat but by luck. Beside it stand rivals that only count.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from gptlib.text.ngram import NGram
from gptlib.text.storyworld import Story, Storyworld, surprises
from gptlib.text.storyworld.reading import ratio
from gptlib.text.storyworld.words import BOYS, GIRLS

N_TRAINING, N_HELD_OUT = 12_000, 128
END = 0  # the token that stands before and after every document
LONGEST_RIVAL = 6  # words of the longest n-gram that is counted
CERTAIN = 1e-6  # nats: what is less surprising could not have been anything else

_SENTENCE_END = re.compile(r'[.?!]"?(?=\s|$)')
_TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\s")


@dataclass(frozen=True)
class Name:
    """A place in a document where a name is certain to come again: all but the name has been said.

    row: of the token after which it comes; the token 0 before the document has row 0.
    first: row of the name where it was said first. name, other: ids of the name and of another one.
    """

    document: int
    row: int
    first: int
    name: int
    other: int


@dataclass(frozen=True)
class Documents:
    """What a page needs to train a model and to judge it; ids are indices of `vocabulary`.

    training, held_out: rows of ids, each without the end token around it.
    surprises: the exact −log p in nats of each held-out document, its end included.
    rivals: name -> mean loss on the held-out documents of a model that counted all of `training`.
    """

    vocabulary: list[str]
    training: list[list[int]]
    held_out: list[list[int]]
    surprises: np.ndarray
    rivals: dict[str, float]
    names: list[Name]

    @property
    def floor(self) -> tuple[float, float]:
        """The exact loss in nats per token on the held-out documents, and its standard error as an estimate
        of that on all documents.
        """
        return ratio(self.surprises, np.array([len(document) + 1 for document in self.held_out]))


def opening(text: str) -> str:
    """The first two sentences of a story. A sentence ends with . ? or ! and the quotation mark after it.

    Where the second one ends never depends on what follows (in Storyworld a mark before white space is told
    together with its white space), so the opening's own end surprises by 0, and the surprise of the whole is
    that of its characters.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[1]]


def tokens_of(text: str) -> list[str]:
    """Words and marks, each with the space before it. A first word gets one, too: it is the same word."""
    return _TOKEN.findall(" " + text)


@functools.cache
def page_documents() -> Documents:
    """The documents of the page: always the same ones. Takes some seconds the first time."""
    training = [tokens_of(opening(story.text)) for story in Storyworld(0).stories(N_TRAINING)]
    stories = Storyworld(0, "validation").stories(N_HELD_OUT)
    held_out = [tokens_of(opening(story.text)) for story in stories]
    # A word that is only held out is a token that nothing is learned about.
    counts = Counter(token for document in training + held_out for token in document)
    vocabulary = ["", *(token for token, _ in counts.most_common())]
    ids = {token: i for i, token in enumerate(vocabulary)}

    def rows(documents: list[list[str]]) -> list[list[int]]:
        return [[ids[token] for token in document] for document in documents]

    # The opening is a story's beginning; what the rest of the story would have surprised by is left out.
    by_character = [surprises(story.text)[: len(opening(story.text))] for story in stories]
    names = [
        name
        for i, (story, told) in enumerate(zip(stories, by_character, strict=True))
        for name in certain_names(i, story, told, held_out[i], ids)
    ]
    return Documents(
        vocabulary,
        rows(training),
        rows(held_out),
        np.array([told.sum() for told in by_character]),
        count_rivals(rows(training), rows(held_out), len(vocabulary)),
        names,
    )


def count_rivals(training: list[list[int]], held_out: list[list[int]], vocab_size: int) -> dict[str, float]:
    """The losses of counting: single words, pairs, and the longest n-grams that still make it better."""

    def loss(order: int) -> float:
        around = [[[END, *document, END] for document in part] for part in (training, held_out)]
        return NGram(order, vocab_size).fit(around[0]).loss(around[1])

    losses = {order: loss(order) for order in range(1, LONGEST_RIVAL + 1)}
    best = min(losses, key=losses.get)
    return {"single words": losses[1], "pairs of words": losses[2], f"{best} words in a row": losses[best]}


def certain_names(
    document: int, story: Story, told: np.ndarray, tokens: list[str], ids: dict[str, int]
) -> list[Name]:
    """Where the hero's name comes a second time in an opening, if only it could have come there."""
    starts = np.cumsum([0, *map(len, tokens)]) - 1  # of each token in the text, which has no space before it
    heroes = [mention for mention in story.mentions if mention.chain == "hero" and mention.form == ""]
    if len(heroes) < 2 or heroes[1].end > len(told):
        return []
    first, again = (int(np.searchsorted(starts, mention.start, "right")) for mention in heroes[:2])
    name = tokens[first - 1]
    if tokens[again - 1] != name or told[starts[again - 1] : starts[again]].sum() > CERTAIN:
        return []
    alike = GIRLS if story.telling.words["hero"] in GIRLS else BOYS
    others = [
        ids[other] for person in alike if (other := " " + person.forms[""]) in ids and other not in tokens
    ]
    return [Name(document, again - 1, first, ids[name], others[document % len(others)])]
