"""How a class did at each exercise: who solved it, what was not right yet, and how it was the last time."""

from __future__ import annotations

import io
import json
import re
import statistics
import tokenize
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from gptlib.course.exercises import Exercise
from gptlib.course.grading.grades import Class, Row
from gptlib.course.judging import COULD_NOT, NOT_YET, RIGHT
from gptlib.files import write_atomically

OTHER = "something else"
MOST_EXAMPLES = 5
ENOUGH = 10  # students for a correlation that says something


@dataclass(frozen=True)
class Example:
    """An answer that stands for `count` like it.

    message: What was said of it.
    """

    message: str
    source: str
    count: int


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: what some answers show, why it is not right, and whose they are."""

    name: str
    because: str
    rows: list[Row]
    task: Exercise

    @property
    def count(self) -> int:
        return len(self.rows)

    def examples(self, nameless: bool) -> list[Example]:
        """The shortest answer, or, of answers that share no misconception, the shortest for each cause.

        `nameless` leaves out comments, and answers in which the name of their author stands.
        """
        causes: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            causes[_cause(row.answers[self.task.name].message) if self.name == OTHER else ""].append(row)
        found = []
        for rows in sorted(causes.values(), key=len, reverse=True):
            answers = [row.answers[self.task.name] for row in rows]
            told = [(answer.message, answer.source.strip()) for answer in answers]
            if nameless:
                bare = [(message, without_comments(source)) for message, source in told]
                told = [
                    both for both, row in zip(bare, rows, strict=True) if not _is_in(row.name, " ".join(both))
                ]
            if told:
                message, source = min(told, key=lambda both: len(both[1]))
                found.append(Example(message if self.name == OTHER else "", source, len(rows)))
        return found[:MOST_EXAMPLES]


@dataclass(frozen=True)
class Counts:
    """What is kept of a tally for the next time: numbers, and no names."""

    handed_in: int
    right: int
    misconceptions: dict[str, int]

    @property
    def share(self) -> float:
        return self.right / self.handed_in if self.handed_in else 0.0


@dataclass(frozen=True)
class Tally:
    """How a class did at an exercise.

    handed_in: How many handed its notebook in, and could be judged.
    could_not: How many answers could not be judged.
    discrimination: The correlation between solving it and the share of the others that a student solved.
    """

    task: Exercise
    handed_in: int
    attempted: int
    right: int
    could_not: int
    bars: list[Bar]
    discrimination: float | None

    @property
    def most_frequent(self) -> Bar | None:
        """The misconception that most answers show."""
        return self.bars[0] if self.bars and self.bars[0].name != OTHER else None

    @property
    def share(self) -> float:
        return self.counts.share

    @property
    def counts(self) -> Counts:
        return Counts(self.handed_in, self.right, {bar.name: bar.count for bar in self.bars})


def tally(graded: Class, task: Exercise) -> Tally:
    """How the class did at an exercise, and the misconceptions that it shows, the most frequent first."""
    because = {wrong.name: wrong.because for wrong in task.misconceptions}
    theirs = [(row, row.answers[task.name]) for row in graded.rows if task.name in row.answers]
    statuses = Counter(answer.status for _, answer in theirs)
    wrong: dict[str, list[Row]] = defaultdict(list)
    for row, answer in theirs:
        if answer.status == NOT_YET:
            wrong[answer.misconception if answer.misconception in because else OTHER].append(row)
    # What has no name comes last, however frequent it is.
    order = sorted(wrong, key=lambda name: (name == OTHER, -len(wrong[name])))
    return Tally(
        task,
        handed_in=len(theirs) - statuses[COULD_NOT],
        attempted=statuses[RIGHT] + statuses[NOT_YET],
        right=statuses[RIGHT],
        could_not=statuses[COULD_NOT],
        bars=[Bar(name, because.get(name, OTHER), wrong[name], task) for name in order],
        discrimination=_discrimination(graded.rows, task),
    )


def _discrimination(rows: Sequence[Row], task: Exercise) -> float | None:
    solved, others = [], []
    for row in rows:
        right = {name: float(answer.status == RIGHT) for name, answer in row.answers.items()}
        if len(right) > 1 and task.name in right and row.answers[task.name].status != COULD_NOT:
            solved.append(right.pop(task.name))
            others.append(statistics.fmean(right.values()))
    if len(solved) < ENOUGH or len(set(solved)) == 1 or len(set(others)) == 1:
        return None
    return statistics.correlation(solved, others)


def _cause(message: str) -> str:
    """What a message says, whatever the numbers in it are."""
    return re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "…", message.partition("\n")[0])


def _is_in(name: str, text: str) -> bool:
    """Whether a part of a person's name stands in the text."""
    parts = [part for part in re.findall(r"[^\W\d_]+", name.casefold()) if len(part) > 2]
    return any(part in text.casefold() for part in parts)


def without_comments(source: str) -> str:
    """The code without comments and docstrings, in which people write names."""
    lines = source.splitlines()
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):  # code that Python cannot read
        return "\n".join(line.partition("#")[0].rstrip() for line in lines).strip()
    kept = [(token.type, token.start, token.end) for token in tokens if token.type != tokenize.NL]
    starts = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    gone: set[int] = set()
    for place, (kind, (first, column), (last, _)) in enumerate(kept):
        if kind == tokenize.COMMENT:
            lines[first - 1] = lines[first - 1][:column].rstrip()
            gone |= {first} if not lines[first - 1] else set()
        elif kind == tokenize.STRING and kept[place + 1][0] in (tokenize.NEWLINE, tokenize.COMMENT):
            before = [of for of, *_ in kept[:place] if of != tokenize.COMMENT]
            if not before or before[-1] in starts:
                gone |= set(range(first, last + 1))
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in gone).strip()


# ------------------------------------------------------------------------------------------- the last time


@dataclass(frozen=True)
class Past:
    """How a class did another time, by the names of exercises."""

    when: date
    counts: dict[str, Counts]


def past(results: Path) -> list[Past]:
    """What was kept in a grading's folder `results`, the oldest first; what is damaged is nothing."""
    try:
        kept = json.loads((results / "history.json").read_bytes())
        return [
            Past(
                date.fromisoformat(each["when"]),
                {name: Counts(**counts) for name, counts in each["counts"].items()},
            )
            for each in kept
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def remember(results: Path, tallies: Sequence[Tally], today: date) -> Past | None:
    """Keep what the class did, unless it did the same the last time; what it did the last time but that."""
    known, counts = past(results), {each.task.name: each.counts for each in tallies}
    if known and known[-1].counts == counts:
        return known[-2] if len(known) > 1 else None
    kept = [*known, Past(today, counts)]
    text = json.dumps([asdict(each) for each in kept], indent=1, default=date.isoformat)
    write_atomically(results / "history.json", lambda file: file.write(text.encode()))
    return known[-1] if known else None
