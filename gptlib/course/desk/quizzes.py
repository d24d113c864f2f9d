"""Questions to answer with a mouse or a keyboard: a quiz, and a guess that unlocks a figure."""

from __future__ import annotations

import html
import re
from typing import Any

import ipywidgets as widgets

from gptlib.course.desk.progress import questions_due, record_choice
from gptlib.course.exercises import Question, lesson, question
from gptlib.viz.drawing import Drawing

# Of the questions that went wrong in earlier notebooks, as many come back in a quiz.
MOST_DUE = 3
LETTERS = "ABCDEF"


def markup(text: str) -> str:
    """Text with `code` in backticks and $maths$ as HTML; everything else is shown as it is written."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


class QuestionBox(widgets.VBox):
    """One question with a button for each choice, and what is to be said about the one that was chosen.

    `chosen` is the place of the last choice, or None.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.chosen: int | None = None
        self.answer = widgets.HTMLMath()
        self.buttons = []
        rows = []
        for place, (text, _) in enumerate(question.choices):
            label = f"{LETTERS[place]}: {text}"
            button = widgets.Button(description=LETTERS[place], tooltip=label, layout={"width": "3em"})
            button.on_click(lambda _, place=place: self.choose(place))
            self.buttons.append(button)
            text = widgets.HTMLMath(markup(text), layout={"flex": "1 1 0", "width": "auto"})
            rows.append(widgets.HBox([button, text], layout={"align_items": "center"}))
        asks = widgets.HTMLMath(f"<b>{markup(question.asks)}</b>")
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


class Prediction(widgets.VBox):
    """A question whose figure is shown once it is answered. Made by `predict`."""

    def __init__(self, question: Question, drawing: Drawing) -> None:
        self.drawing = drawing
        self.box = QuestionBox(question)
        super().__init__([self.box])
        self.box.answer.observe(self._unlock, "value")

    def choose(self, place: int) -> bool:
        """Guess the choice at this place, counted from 0; returns whether it is right."""
        return self.box.choose(place)

    def _unlock(self, change: Any) -> None:
        if len(self.children) == 1:
            bundle, metadata = self.drawing._repr_mimebundle_()
            width = metadata["image/png"]["width"]
            alt = html.escape(f"The figure that answers: {self.box.question.asks}")
            source = f"data:image/png;base64,{bundle['image/png']}"
            image = f'<img src="{source}" alt="{alt}" style="width: {width}px; max-width: 100%">'
            self.children = (*self.children, widgets.HTML(image))

    def __repr__(self) -> str:
        return f"Prediction {self.box.question.name}: {self.drawing!r}"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and the figure for where there is no kernel."""
        bundle, metadata = self.drawing._repr_mimebundle_()
        return {**bundle, **_widget(super(), options), "text/plain": repr(self)}, metadata


def predict(name: str, drawing: Drawing) -> Prediction:
    """Ask the prediction of this name; the figure appears with the answer.

    Raises KeyError, naming questions that are near, if there is no such prediction.
    """
    return Prediction(question(name), drawing)


def _widget(parent: Any, options: dict[str, Any]) -> dict[str, Any]:
    bundle = parent._repr_mimebundle_(**options) or {}
    return bundle[0] if isinstance(bundle, tuple) else bundle


def _listed(task: Question) -> str:
    choices = "".join(f"<li>{markup(text)}</li>" for text, _ in task.choices)
    letter, why = LETTERS[task.right_place], markup(task.right[1])
    answer = f"<details><summary>Answer</summary>{letter}. {why}</details>"
    return f'<li><b>{markup(task.asks)}</b><ol type="A">{choices}</ol>{answer}</li>'
