"""What a page asks of its reader: predictions, quizzes and exercises."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from gptlib.course.exercises import Exercise, Prediction, Question, lessons
from gptlib.course.site.templates import TEMPLATES

Inline = Callable[[str], str]


def question(asked: Question, inline: Inline) -> str:
    """A question with a radio button for each choice, and the reason of each, which waits for its choice."""
    return _filled("question", asked=asked, inline=_marked(inline), spoken=_spoken)


def prediction(asked: Prediction, result: str, inline: Inline) -> str:
    """A question whose result, HTML, is shown once it is answered."""
    finding = [Markup(inline(text)) for text in asked.finding.split("\n\n")]
    box = Markup(question(asked, inline))
    return _filled("prediction", box=box, result=Markup(result), finding=finding)


def later(gave: str, names: list[str]) -> str:
    """What a cell gave, shut until these predictions, which it answers, are made."""
    return _filled("later", gave=Markup(gave), names=" ".join(names))


def quiz(topic: str, inline: Inline) -> str:
    """All questions of a topic, and how many of them were answered rightly."""
    return _filled("quiz", boxes=[Markup(question(asked, inline)) for asked in lessons()[topic].quiz])


def hints(task: Exercise, inline: Inline, download: str) -> str:
    """An exercise's hints, each behind the one before; the solution is not on the site."""
    return _filled("hints", hints=[Markup(inline(text)) for text in task.hints], download=download)


def _marked(inline: Inline) -> Callable[[str], Markup]:
    return lambda text: Markup(inline(text))


def _spoken(choice: Markup) -> str:
    """What a choice that is all formulas says to a screen reader; "" where its text does."""
    said = re.sub(r'<math alttext="([^"]*)".*?</math>', r"\1", choice)
    return re.sub(r"<[^>]*>", "", said) if "<math" in choice else ""


def _filled(template: str, **parts: Any) -> str:
    return TEMPLATES.get_template(f"{template}.html").render(**parts).strip()
