"""The small language in which Storyworld's plots are written, and the one machine that runs it.

A plot is a tuple of steps. Running it makes *choices*: which of several wordings, which branch, which name.
One machine, `Telling`, runs a plot up to its next choice and waits. Whoever holds it decides: a random number (to tell a
story), the text of a story (to read its derivation back), or every option in turn (to sum over all stories).

This is a probabilistic grammar with variables, derived leftmost first; see Manning & Schütze, *Foundations of Statistical
Natural Language Processing* (1999), section 11.1, for grammars whose rules carry probabilities.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


class Word:
    """One thing that a variable can stand for, with its written forms in English and in Chinese.

    `forms[""]` is the plain form; others are named, such as "a" (with its article) or "she" (its pronoun).
    `is_entity` is true for what can be mentioned again: people, objects, places.
    """

    __slots__ = ("forms", "chinese", "is_entity")

    def __init__(self, forms: dict[str, str], chinese: dict[str, str], is_entity: bool = False):
        self.forms = forms
        self.chinese = chinese
        self.is_entity = is_entity

    def __repr__(self) -> str:
        return f"Word({self.forms['']!r})"


@dataclass(frozen=True, eq=False)
class Slot:
    """A place in a wording where a variable is written in one of its forms."""

    variable: str
    form: str
    pool: tuple[Word, ...]


@dataclass(frozen=True, eq=False)
class Say:
    """One sentence or more: any of the English wordings, all equally likely; one Chinese wording for all of them."""

    wordings: tuple[tuple[str | Slot, ...], ...]
    chinese: str


@dataclass(frozen=True, eq=False)
class Either:
    """One of several branches, each a tuple of steps, with its probability."""

    branches: tuple[tuple, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Let:
    """Gives a variable the value that follows from the others; no choice is made."""

    variable: str
    value: Callable[[dict[str, Word]], Word]


@dataclass(frozen=True, eq=False)
class Break:
    """Starts a new paragraph."""


@dataclass(frozen=True, eq=False)
class Fact:
    """Something that is true from here on: (subject, relation, object), each a wording with slots."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True, eq=False)
class Note:
    """What the story comes to: its summary, a question with its answer, or its sentiment."""

    kind: str
    value: tuple[str, ...]


Step = Say | Either | Let | Break | Fact | Note


@dataclass(frozen=True)
class Choice:
    """One choice that was made: where in the text, among how many options, and the log-probability of the one taken."""

    position: int
    n_options: int
    log_p: float


@dataclass(frozen=True)
class Options:
    """The options of the choice that a telling waits for. `items` are branches or words."""

    items: tuple | list
    cumulative: tuple[float, ...] | None  # None: all equally likely
    log_p: tuple[float, ...] | None

    def log_probability(self, index: int) -> float:
        """Log-probability (nats) of the option at `index`."""
        return self.log_p[index] if self.log_p else -math.log(len(self.items))


# Variable -> word -> how much it weighs among the words that are left.
Weights = Mapping[str, Mapping[Word, float]]


class Telling:
    """A story being told: what is written so far, what is still to do, and what was chosen on the way.

    `run()` goes on to the next choice and returns its `Options`, or None at the end; `take(index)` makes the choice.
    Copies are cheap, so that a search can try every option. `weights` says for a variable how much each word that it
    can stand for weighs; the words of every other variable are equally likely.
    """

    __slots__ = (
        "text",
        "log_p",
        "weights",
        "words",
        "frame",
        "pending",
        "choices",
        "mentions",
        "said",
        "said_at",
        "facts",
        "notes",
    )

    def __init__(self, steps: tuple[Step, ...], weights: Weights | None = None):
        self.text = ""
        self.log_p = 0.0
        self.weights = weights or {}
        self.words: dict[str, Word] = {}
        self.frame = (steps, 0, None)
        self.pending: tuple[Options, Slot | None] | None = None
        self.choices: list[Choice] = []
        self.mentions: list[tuple[int, Slot]] = []
        self.said: list[Say | Break] = []
        self.said_at: list[int] = []  # where in the text each of them begins
        self.facts: list[Fact] = []
        self.notes: list[Note] = []

    def copy(self) -> Telling:
        """An independent copy that waits at the same choice."""
        other = object.__new__(Telling)
        other.text, other.log_p, other.frame, other.pending = self.text, self.log_p, self.frame, self.pending
        other.weights = self.weights
        other.words = dict(self.words)
        for name in ("choices", "mentions", "said", "said_at", "facts", "notes"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def run(self) -> Options | None:
        """Goes on until a choice is due and returns it; None when the story is at its end."""
        frame, text, words = self.frame, self.text, self.words
        while frame is not None:
            steps, index, parent = frame
            if index == len(steps):
                frame = parent
                continue
            step = steps[index]
            frame = (steps, index + 1, parent)
            kind = type(step)
            if kind is str:
                text += step
            elif kind is Slot:
                word = words.get(step.variable)
                if word is None:
                    self.frame, self.text = frame, text
                    options = _word_options(self.free(step), self.weights.get(step.variable))
                    self.pending = (options, step)
                    return options
                if word.is_entity:
                    self.mentions.append((len(text), step))
                text += word.forms[step.form]
            elif kind is Say:
                if text and text[-1] != "\n":
                    text += " "
                self.said.append(step)
                self.said_at.append(len(text))
                if len(step.wordings) == 1:
                    frame = (step.wordings[0], 0, frame)
                else:
                    self.frame, self.text = frame, text
                    options = Options(step.wordings, None, None)
                    self.pending = (options, None)
                    return options
            elif kind is Either:
                self.frame, self.text = frame, text
                options = _either_options(step)
                self.pending = (options, None)
                return options
            elif kind is Let:
                words[step.variable] = step.value(words)
            elif kind is Break:
                self.said.append(step)
                self.said_at.append(len(text))
                text += "\n"
            elif kind is Fact:
                self.facts.append(step)
            else:
                self.notes.append(step)
        self.frame, self.text = None, text
        return None

    def free(self, slot: Slot) -> list[Word]:
        """What the slot's variable can still be: no two variables of a story have the same word."""
        taken = self.words.values()
        return [word for word in slot.pool if word not in taken]

    def take(self, index: int) -> None:
        """Makes the pending choice. Every choice of every story goes through here and adds its log p to the total."""
        options, slot = self.pending
        log_p = options.log_probability(index)
        self.log_p += log_p
        self.choices.append(Choice(len(self.text), len(options.items), log_p))
        item = options.items[index]
        if slot is None:
            self.frame = (item, 0, self.frame)
        else:
            self.words[slot.variable] = item
            self.frame = ((slot,), 0, self.frame)


def _word_options(words: list[Word], weights: Mapping[Word, float] | None) -> Options:
    if weights is None:
        return Options(words, None, None)
    total = math.fsum(weights[word] for word in words)
    chances = [weights[word] / total for word in words]
    return Options(words, tuple(itertools.accumulate(chances)), tuple(map(math.log, chances)))


_EITHER_OPTIONS: dict[Either, Options] = {}


def _either_options(step: Either) -> Options:
    options = _EITHER_OPTIONS.get(step)
    if options is None:
        cumulative = tuple(itertools.accumulate(step.probabilities))
        options = Options(step.branches, cumulative, tuple(math.log(p) for p in step.probabilities))
        _EITHER_OPTIONS[step] = options
    return options


def render(wording: str, words: dict[str, Word], language: str = "forms") -> str:
    """Writes a wording with its slots filled; `language` is "forms" (English) or "chinese"."""
    return SLOT.sub(lambda slot: getattr(words[slot[1]], language)[slot[2] or ""], wording)


class Language:
    """Builds steps from wordings, looking up each slot's variable among `variables` (name -> the words it can be)."""

    def __init__(self, variables: dict[str, tuple[Word, ...]]):
        self.variables = variables

    def parse(self, wording: str) -> tuple[str | Slot, ...]:
        """ "{hero} ran." -> (Slot hero, " ran.")"""
        parts: list[str | Slot] = []
        end = 0
        for match in SLOT.finditer(wording):
            if match.start() > end:
                parts.append(wording[end : match.start()])
            variable = match[1]
            if variable not in self.variables:
                raise ValueError(f"wording {wording!r} has the slot {variable!r}, which is not a variable")
            parts.append(Slot(variable, match[2] or "", self.variables[variable]))
            end = match.end()
        if end < len(wording):
            parts.append(wording[end:])
        return tuple(parts)

    def say(self, chinese: str, *english: str) -> Say:
        """One of several English wordings of the same thing, with its Chinese."""
        return Say(tuple(self.parse(wording) for wording in english), chinese)


def either(*branches: tuple[Step, ...] | Step, probabilities: tuple[float, ...] | None = None) -> Either:
    """One of the branches; equally likely unless `probabilities` are given."""
    steps = tuple(branch if isinstance(branch, tuple) else (branch,) for branch in branches)
    chances = probabilities or (1 / len(steps),) * len(steps)
    if len(chances) != len(steps) or abs(sum(chances) - 1) > 1e-12 or min(chances) <= 0:
        raise ValueError(f"probabilities is {chances}; it needs {len(steps)} positive numbers that sum to 1")
    return Either(steps, chances)


def maybe(*steps: Step, probability: float = 0.5) -> Either:
    """The steps, or nothing."""
    return either(steps, (), probabilities=(probability, 1 - probability))


def in_any_order(
    *scenes: tuple[Step, ...] | Step,
    sometimes: tuple[tuple[Step, ...] | Step, ...] = (),
    probability: float = 0.5,
) -> Either:
    """All the scenes in any order, and among them each of `sometimes` with its own throw of the dice.

    Which scenes take part is chosen first and then their order, so that no text can come about in two ways.
    """
    branches, chances = [], []
    for throws in itertools.product((True, False), repeat=len(sometimes)):
        taken = scenes + tuple(scene for scene, throw in zip(sometimes, throws, strict=True) if throw)
        orders = list(
            itertools.permutations(scene if isinstance(scene, tuple) else (scene,) for scene in taken)
        )
        for order in orders:
            branches.append(tuple(itertools.chain(*order)))
            chances.append(
                math.prod(probability if throw else 1 - probability for throw in throws) / len(orders)
            )
    return either(*branches, probabilities=tuple(chances))
