"""Questions to answer with a mouse or a keyboard: a quiz, and a guess that unlocks its result."""

from __future__ import annotations

import html
import inspect
import re
from typing import Any

import ipywidgets as widgets

from gptlib.course.desk.progress import questions_due, record_choice
from gptlib.course.exercises import Prediction, Question, lesson, question
from gptlib.viz.drawing import Drawing

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
        choices = self.question.choices
        if not 0 <= place < len(choices):
            raise IndexError(f"place is {place}; it needs to be from 0 to {len(choices) - 1}")
        right = place == self.question.right_place
        self.chosen = place
        for button in self.buttons:
            button.button_style = ""
        self.buttons[place].button_style = "success" if right else "warning"
        word = "Right." if right else "Not quite."
        problem = record_choice(self.question.name, right)
        why = markup(choices[place][1]) + (f"<br>{html.escape(problem)}" if problem else "")
        self.answer.value = f'<div role="status"><b>{LETTERS[place]}. {word}</b> {why}</div>'
        return right


class Quiz(widgets.VBox):
    """The quiz on a topic, such as "attention"; questions of earlier notebooks that went wrong come back.

    Raises KeyError, naming topics that are near, if no notebook is about it.
    """

    def __init__(self, topic: str) -> None:
        self.lesson = lesson(topic)
        due = questions_due(before=topic)[:MOST_DUE]
        self.boxes = [QuestionBox(task) for task in (*self.lesson.quiz, *due)]
        for box in self.boxes:
            box.answer.observe(self._count, "value")
        n_own = len(self.boxes) - len(due)
        again = (
            [widgets.HTMLMath("<i>From earlier notebooks, where it went wrong before:</i>")] if due else []
        )
        self.score = widgets.HTMLMath()
        super().__init__([*self.boxes[:n_own], *again, *self.boxes[n_own:], self.score])
        self._count()

    def choose(self, place: int, choice: int) -> bool:
        """Answer the question at this place with this choice, both counted from 0; whether it is right."""
        return self.boxes[place].choose(choice)

    def _count(self, change: Any = None) -> None:
        right = sum(box.chosen == box.question.right_place for box in self.boxes)
        self.score.value = f'<div role="status">{right} of {len(self.boxes)} right</div>'

    def __repr__(self) -> str:
        return f"Quiz {self.lesson.topic}: {len(self.lesson.quiz)} questions"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget, and the questions as text for where there is no kernel."""
        listed = "".join(_listed(task) for task in self.lesson.quiz)
        return {**_widget(super(), options), "text/html": f"<ol>{listed}</ol>", "text/plain": repr(self)}


class PredictionBox(widgets.VBox):
    """A question whose result and finding are shown once it is answered. Made by `predict`."""

    def __init__(self, prediction: Prediction, result: Drawing | str) -> None:
        self.prediction = prediction
        self.result = result
        self.box = QuestionBox(prediction, heading="Predict. ")
        super().__init__([self.box])
        self.box.answer.observe(self._unlock, "value")

    def choose(self, place: int) -> bool:
        """Guess the choice at this place, counted from 0; returns whether it is right."""
        return self.box.choose(place)

    def _unlock(self, change: Any) -> None:
        if len(self.children) == 1:
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

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget; and for where there is no kernel the question, with its answer behind a fold."""
        page = _listed(self.prediction, self._revealed())
        return {**_widget(super(), options), "text/html": f"<ul>{page}</ul>", "text/plain": repr(self)}


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


def _widget(parent: Any, options: dict[str, Any]) -> dict[str, Any]:
    bundle = parent._repr_mimebundle_(**options) or {}
    return bundle[0] if isinstance(bundle, tuple) else bundle


def _listed(task: Question, result: str = "") -> str:
    choices = "".join(f"<li>{markup(text)}</li>" for text, _ in task.choices)
    letter, why = LETTERS[task.right_place], markup(task.right[1])
    answer = f"<details><summary>Answer</summary>{letter}. {why}{result}</details>"
    return f'<li><b>{markup(task.asks)}</b><ol type="A">{choices}</ol>{answer}</li>'
