"""Storyworld: a storyteller whose every story has a known probability, and the reader that finds it again in the text."""

from __future__ import annotations

import bisect
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from operator import index

from gptlib.checks import check_whole
from gptlib.text.storyworld.grammar import Break, Choice, Note, Options, Step, Telling, either, render
from gptlib.text.storyworld.plots_days import PLOTS_ABOUT_DAYS
from gptlib.text.storyworld.plots_people import PLOTS_ABOUT_PEOPLE
from gptlib.text.storyworld.plots_things import PLOTS_ABOUT_THINGS
from gptlib.text.storyworld.words import hero_weights

PLOTS: dict[str, tuple[Step, ...]] = PLOTS_ABOUT_THINGS | PLOTS_ABOUT_PEOPLE | PLOTS_ABOUT_DAYS

ANY_STORY: tuple[Step, ...] = (either(*((Note("plot", (name,)), *steps) for name, steps in PLOTS.items())),)

# Every possible story belongs to one split for ever, by a checksum of its text: no two splits can share a story.
_N_PARTS = 8
_SPLIT_OF_PART = {0: "validation", 1: "test"}  # all other parts are for training
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Mention:
    """Where the text names somebody or something: `text[start:end]`.

    All mentions of one chain are of the same thing. `chain` is its part in the story, such as "hero";
    `form` is how it is written: "" is its plain name, "she" its pronoun as a subject, "her", "hers", "it", …
    """

    start: int
    end: int
    chain: str
    form: str

    @property
    def is_pronoun(self) -> bool:
        """Whether the mention is a pronoun, such as "she" or "it", and not a name."""
        return self.form in ("she", "She", "her", "hers", "Hers", "herself", "it")


@dataclass(frozen=True)
class Sentence:
    """One thing that the story says, in a sentence or more: `text[start:end]`, and the same in Chinese.

    `wording` is the Chinese with its slots still open; it is the same whichever English wording was chosen.
    """

    start: int
    end: int
    english: str
    chinese: str
    wording: str


@dataclass(frozen=True)
class Story:
    """A story, its exact log-probability in nats, the choices that made it, and all that is known about it."""

    text: str
    log_p: float
    telling: Telling

    @property
    def choices(self) -> list[Choice]:
        """The choices in the order in which they were made; their log-probabilities sum to `log_p`."""
        return self.telling.choices

    @property
    def plot(self) -> str:
        """The plot's name, such as "lost toy"."""
        return self._notes("plot")[0][0]

    @property
    def summary(self) -> str:
        """The story in one sentence."""
        return self._write(self._notes("summary")[0][0])

    @property
    def sentiment(self) -> str:
        """How it ends: "happy" or "sad"."""
        return self._notes("sentiment")[0][0]

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Every question that the story can answer, with its answer."""
        return [(self._write(asked), self._write(answer)) for asked, answer in self._notes("question")]

    @property
    def question(self) -> str:
        """One of the questions; always the same one for the same text."""
        return self._question_and_answer[0]

    @property
    def answer(self) -> str:
        """The answer to `question`."""
        return self._question_and_answer[1]

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """What is true at the end, as (subject, relation, object)."""
        final = {}
        for fact in self.telling.facts:
            final[self._write(fact.subject), fact.relation] = self._write(fact.object)
        return [(subject, relation, object_) for (subject, relation), object_ in final.items()]

    @property
    def mentions(self) -> list[Mention]:
        """Every mention of a person, an object or a place, in the order of the text."""
        found = []
        for start, slot in self.telling.mentions:
            written = self.telling.words[slot.variable].forms[slot.form]
            article = written.index(" ") + 1 if slot.form in ("a", "at", "the") and " " in written else 0
            if slot.form == "at":
                article = len(written) - len(self.telling.words[slot.variable].forms[""])
            found.append(Mention(start + article, start + len(written), slot.variable, slot.form))
        return found

    @property
    def sentences(self) -> list[Sentence]:
        """What the story says, thing by thing, each in English and in Chinese."""
        starts = [*self.telling.said_at, len(self.text)]
        return [
            Sentence(
                start,
                start + len(english),
                english,
                render(said.chinese, self.telling.words, "chinese"),
                said.chinese,
            )
            for said, start, after in zip(self.telling.said, starts[:-1], starts[1:], strict=True)
            if not isinstance(said, Break) and (english := self.text[start:after].rstrip())
        ]

    @property
    def chinese(self) -> str:
        """The same story told in Chinese."""
        return "".join(
            "\n" if isinstance(said, Break) else render(said.chinese, self.telling.words, "chinese")
            for said in self.telling.said
        )

    @property
    def _question_and_answer(self) -> tuple[str, str]:
        questions = self.questions
        return questions[zlib.crc32(self.text.encode()) // _N_PARTS % len(questions)]

    def _notes(self, kind: str) -> list[tuple[str, ...]]:
        return [note.value for note in self.telling.notes if note.kind == kind]

    def _write(self, wording: str) -> str:
        return render(wording, self.telling.words)


class Storyworld:
    """An endless stream of stories, the same for the same seed on every platform.

    seed: which stream; any whole number.
    split: "train", "validation" or "test". A story of one split is never told in another, whatever the
        seeds.
    heroines: the probability that the hero is a girl, for studies of bias. At 0.5 girls and boys are
        alike.

    Raises ValueError when `split` is not one of the three, or `heroines` not above 0 and below 1;
    TypeError when `seed` is not a whole number, or `heroines` none at all.
    """

    def __init__(self, seed: int = 0, split: str = "train", heroines: float = 0.5):
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; it needs to be one of {', '.join(SPLITS)}")
        check_whole("seed", seed, at_least=None, any_size=True)
        self.split = split
        self._weights = hero_weights(heroines)
        self._random = random.Random(index(seed)).random  # `random()` alone is the same in every Python version

    def story(self) -> Story:
        """The next story of the split."""
        while True:
            telling = Telling(ANY_STORY, self._weights)
            while (options := telling.run()) is not None:
                telling.take(self._choose(options))
            if split_of(telling.text) == self.split:
                return Story(telling.text, telling.log_p, telling)

    def stories(self, n: int) -> list[Story]:
        """The next n stories of the split."""
        check_whole("n", n, at_least=0)
        return [self.story() for _ in range(n)]

    def __iter__(self) -> Iterator[Story]:
        while True:
            yield self.story()

    def _choose(self, options: Options) -> int:
        if options.cumulative is None:
            return int(self._random() * len(options.items))
        return min(bisect.bisect(options.cumulative, self._random()), len(options.items) - 1)


def split_of(text: str) -> str:
    """The split to which a story with this text belongs."""
    return _SPLIT_OF_PART.get(zlib.crc32(text.encode()) % _N_PARTS, "train")
