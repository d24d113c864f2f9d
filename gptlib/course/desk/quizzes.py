"""Questions to answer with a mouse or a keyboard: a quiz, and a guess that unlocks its result.

Where nothing runs, as in a notebook that is opened again, they are a list with each answer behind a fold.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
from traitlets import Dict, Unicode

from gptlib.course.desk.progress import questions_due, record_choice
from gptlib.course.exercises import Prediction, Question, lesson, question
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.pages import bare
from gptlib.viz.explorers.showing import show

FOLDER = Path(__file__).parent
# Of the questions that went wrong in earlier notebooks, as many come back in a quiz.
MOST_DUE = 3
LETTERS = "ABCDEF"


def markup(text: str) -> str:
    """Text with `code`, **bold** and $maths$ as HTML; everything else is shown as it is written."""
    parts = re.split(r"`([^`]+)`", html.escape(text, quote=False))
    for place, part in enumerate(parts):
        is_code = place % 2
        parts[place] = f"<code>{part}</code>" if is_code else re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", part)
    return "".join(parts)


class QuestionBox(widgets.VBox):
    """One question with a button for each choice, and what is to be said about the one that was chosen.

    `chosen` is the place of the last choice, or None.
    """

    def __init__(self, question: Question, heading: str = "") -> None:
        self.question = question
        self.chosen: int | None = None
        self.answer = widgets.HTMLMath()
        self.buttons = []
        rows = []
        for place, (text, _) in enumerate(question.choices):
            tooltip = f"{LETTERS[place]}: {text}"
            button = widgets.Button(description=LETTERS[place], tooltip=tooltip, layout={"width": "3em"})
            button.on_click(lambda _, place=place: self.choose(place))
            self.buttons.append(button)
            text = widgets.HTMLMath(markup(text), layout={"flex": "1 1 0", "width": "auto"})
            rows.append(widgets.HBox([button, text], layout={"align_items": "center"}))
        asks = widgets.HTMLMath(f"<b>{heading}{markup(question.asks)}</b>")
        super().__init__([asks, *rows, self.answer], layout={"margin": "0 0 16px 0", "max_width": "46em"})

    def choose(self, place: int) -> bool:
        """Answer with the choice at this place, counted from 0; returns whether it is right.

        Raises IndexError if there is no such choice.
        """
        last = len(self.question.choices) - 1
        if not 0 <= place <= last:
            raise IndexError(f"place is {place}; it needs to be from 0 to {last}")
        right = place == self.question.right_place
        self.tell(place, record_choice(self.question.name, right))
        return right

    def tell(self, place: int, problem: str | None = None) -> None:
        """Show what is to be said about a choice, which is recorded already, and a problem with that."""
        right = place == self.question.right_place
        self.chosen = place
        for button in self.buttons:
            button.button_style = ""
        self.buttons[place].button_style = "success" if right else "warning"
        word = "Right." if right else "Not quite."
        why = markup(self.question.choices[place][1]) + (f"<br>{html.escape(problem)}" if problem else "")
        self.answer.value = f'<div role="status"><b>{LETTERS[place]}. {word}</b> {why}</div>'


class Keeper(anywidget.AnyWidget):
    """The page's memory of what was chosen, for when the kernel is restarted; it says so then.

    What the page kept comes back as a message {"chosen": …} once the cell with the same `origin` runs again.
    """

    _esm = "\n".join([bare("keeping.js"), (FOLDER / "keeper.js").read_text(encoding="utf-8")])
    _css = (FOLDER / "keeper.css").read_text(encoding="utf-8")

    origin = Unicode(help="what is asked").tag(sync=True)
    chosen = Dict(help="the place of each choice, by the name of its question").tag(sync=True)


class Asked(widgets.VBox):
    """What is asked in a cell's output; after a restart of the kernel it goes on from what was chosen."""

    def __init__(self, boxes: Sequence[QuestionBox], children: Sequence[widgets.Widget]) -> None:
        self._asked = boxes
        self.keeper = Keeper(origin=repr(self))
        self.keeper.on_msg(self._take_up)
        super().__init__([self.keeper, *children])
        self.add_class("gptlib-asked")
        for box in boxes:
            box.answer.observe(self._keep, "value")

    def _keep(self, change: Any) -> None:
        chosen = {box.question.name: box.chosen for box in self._asked if box.chosen is not None}
        self.keeper.chosen = chosen

    def _take_up(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Show what was chosen before, as far as it is there to be chosen; it was recorded then."""
        chosen = content.get("chosen")
        for box in self._asked:
            place = chosen.get(box.question.name) if isinstance(chosen, dict) else None
            if isinstance(place, int) and 0 <= place < len(box.question.choices):
                box.tell(place)

    def _ipython_display_(self) -> None:
        show(self)


class Quiz(Asked):
    """The quiz on a topic, such as "attention"; questions of earlier notebooks that went wrong come back.

    Raises KeyError, naming topics that are near, if no notebook is about it.
    """

    def __init__(self, topic: str) -> None:
        self.lesson = lesson(topic)
        due = questions_due(before=topic)[:MOST_DUE]
        self.boxes = [QuestionBox(task) for task in (*self.lesson.quiz, *due)]
        n_own = len(self.boxes) - len(due)
        again = (
            [widgets.HTMLMath("<i>From earlier notebooks, where it went wrong before:</i>")] if due else []
        )
        self.score = widgets.HTMLMath()
        super().__init__(self.boxes, [*self.boxes[:n_own], *again, *self.boxes[n_own:], self.score])
        for box in self.boxes:
            box.answer.observe(self._count, "value")
        self._count()

    def choose(self, place: int, choice: int) -> bool:
        """Answer the question at this place with this choice, both counted from 0; whether it is right."""
        return self.boxes[place].choose(choice)

    def _count(self, change: Any = None) -> None:
        right = sum(box.chosen == box.question.right_place for box in self.boxes)
        self.score.value = f'<div role="status">{right} of {len(self.boxes)} right</div>'

    def __repr__(self) -> str:
        return f"Quiz {self.lesson.topic}: {len(self.lesson.quiz)} questions"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and the questions as text for where there is no kernel."""
        listed = "".join(f"<li>{_listed(task)}</li>" for task in self.lesson.quiz)
        return _bundle(super(), options, f"<ol>{listed}</ol>", repr(self))


class PredictionBox(Asked):
    """A question whose result and finding are shown once it is answered. Made by `predict`."""

    def __init__(self, prediction: Prediction, result: Drawing | str) -> None:
        self.prediction = prediction
        self.result = result
        self.box = QuestionBox(prediction, heading="Predict. ")
        super().__init__([self.box], [self.box])
        self.box.answer.observe(self._unlock, "value")

    def choose(self, place: int) -> bool:
        """Guess the choice at this place, counted from 0; returns whether it is right."""
        return self.box.choose(place)

    def _unlock(self, change: Any) -> None:
        if self.children[-1] is self.box:
            self.children = (*self.children, widgets.HTMLMath(self._revealed()))

    def _revealed(self) -> str:
        paragraphs = "".join(f"<p>{markup(text)}</p>" for text in self.prediction.finding.split("\n\n"))
        if isinstance(self.result, str):
            return f"<pre>{html.escape(self.result)}</pre>{paragraphs}"
        bundle, metadata = self.result._repr_mimebundle_()
        width = metadata["image/png"]["width"]
        alt = html.escape(f"The figure that answers: {self.prediction.asks}")
        source = f"data:image/png;base64,{bundle['image/png']}"
        image = f'<img src="{source}" alt="{alt}" style="width: {width}px; max-width: 100%">'
        return f"{image}{paragraphs}"

    def __repr__(self) -> str:
        return f"Prediction {self.prediction.name}"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget; and for where there is no kernel the question, with its answer behind a fold."""
        return _bundle(super(), options, _listed(self.prediction, self._revealed()), repr(self))


def predict(name: str, *results: Any) -> PredictionBox:
    """Ask the prediction of this name; what the lesson makes of the `results` appears with the answer.

    Raises KeyError, naming questions that are near, if there is no such prediction; TypeError if it is
    shown from other results than these.
    """
    prediction = question(name)
    if not isinstance(prediction, Prediction):
        raise KeyError(f"{name!r} is a question of a quiz; predict needs the name of a prediction")
    wanted = inspect.signature(prediction.shows)
    try:
        wanted.bind(*results)
    except TypeError:
        names = ", ".join(wanted.parameters)
        raise TypeError(
            f'predict("{name}", …) needs {names}; it got {len(results)} results. A notebook of yours that is '
            "older than the library is brought up to date by `gptlib update`"
        ) from None
    return PredictionBox(prediction, prediction.shows(*results))


def _bundle(parent: Any, options: dict[str, Any], page: str, plain: str) -> tuple[dict, dict]:
    bundle = parent._repr_mimebundle_(**options) or {}
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    return {**bundle, "text/html": page, "text/plain": plain}, {}


def _listed(task: Question, result: str = "") -> str:
    # The letters are written out: a style sheet around it may number lists as it likes.
    choices = zip(LETTERS, task.choices, strict=False)
    lines = "<br>".join(f"{letter}.&ensp;{markup(text)}" for letter, (text, _) in choices)
    answer, why = LETTERS[task.right_place], markup(task.right[1])
    fold = f"<details><summary>Answer</summary>{answer}. {why}{result}</details>"
    return f"<p><b>{markup(task.asks)}</b></p><p>{lines}</p>{fold}"
