"""Watch a model learn: its losses, its texts and its attention along one line of steps, live and afterwards.

`train` is a generator, so a pause is cheap: the thread that trains ends between two steps, nothing is left
running, and the next thread takes the generator over. The thread draws by setting traits, under the lock
that all changes of explorers take. That works while a cell is running, and in a script without an event loop.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from statistics import median
from threading import Condition, Thread, current_thread
from typing import Any, ClassVar

import torch
from torch import nn
from traitlets import Enum, Int, TraitError, observe, validate

from gptlib.checks import check_kind
from gptlib.model.checks import check_vocabulary
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.checkpoints import load_checkpoint
from gptlib.training.config import TrainConfig
from gptlib.training.loop import Step, train
from gptlib.viz import figures
from gptlib.viz.checking import Array
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.curves import Course, steps_of
from gptlib.viz.explorers.explorer import Explorer, sentence
from gptlib.viz.explorers.looks import LONGEST_TEXT, Looks
from gptlib.viz.explorers.reading import LOCK, document, on_the_page

REDRAW_EVERY = 0.2  # seconds
SNAPSHOTS = 12  # of a run, besides the latest; a short run has fewer
OVER = ("stopped", "done", "failed")
REFUSALS = {
    "running": "training is running already; pause() or stop() ends that",
    "snapshots": "these are snapshots of a run that is over; TrainingDashboard(model, …) trains one",
} | dict.fromkeys(OVER, "this run is over; another TrainingDashboard trains the model on")


class TrainingDashboard(Explorer):
    """Train a model from the page, and scrub back through how it came to be.

    Shown are the losses of all steps, and snapshots (attention on a text, a sample) of 12 steps, closer
    together at the start, and of the latest step. A redraw is one message, at most five a second. Drawing
    never changes the run: losses and weights are, bit for bit, those of `train` alone. `model` is at any time
    the model trained so far; pause before you use it.

    model, train_data, validation_data, config, resume: as `train` takes them; it trains in place.
    tokenizer: the model's; without it there are no samples, and tokens are shown by their numbers.
    text: what attention is shown on, up to 48 tokens (fewer for a model of many heads); without it, the
        beginning of the validation data, or else of the training data.
    prompt: what the samples begin with.
    floor: the entropy floor in nats per token, drawn under the losses.

    Raises TypeError for a model that is no GPT; ValueError for a tokenizer that is not the model's, and for
    what `train` refuses.
    """

    title: ClassVar[str] = "Training dashboard"
    script: ClassVar[str] = "dashboard.js"

    layer = Int(0, help="of the head whose attention is shown large").tag(sync=True)
    head = Int(0).tag(sync=True)
    at = Int(-1, help="which snapshot is shown; -1 is the latest").tag(sync=True)
    query = Int(-1, help="the token whose row is read out; -1 is the last").tag(sync=True)
    over = Enum(["steps", "seconds"], "steps", help="what the losses are drawn over").tag(sync=True)
    command = Enum(["", "start", "pause", "stop"], "", help="the button that was pressed").tag(
        sync=True, asks="details"
    )

    _thread: Thread | None = None

    def __init__(
        self,
        model: nn.Module,
        train_data: TokenFile,
        validation_data: TokenFile | None,
        config: TrainConfig,
        resume: str | PathLike[str] | None = None,
        tokenizer: Tokenizer | CharacterTokenizer | None = None,
        text: str | None = None,
        prompt: str = "",
        floor: float | int | None = None,
    ) -> None:
        _check(model, tokenizer)
        check_kind("config", config, TrainConfig, "a TrainConfig")
        if text is None:
            name, data = "validation_data", validation_data
            if data is None:
                name, data = "train_data", train_data
            check_kind(name, data, TokenFile, "a TokenFile, whose beginning is shown where text is None")
            opening = data.tokens[:LONGEST_TEXT]
            tokens = opening.astype(int).tolist()
        else:
            tokens = _tokens(text, tokenizer)
        # The bar of config.progress would be text on stderr; the page shows as much.
        self._run = train(model, train_data, validation_data, replace(config, progress=False), resume)
        self._in_training = _tensors_of(model)
        self.step = 0 if resume is None else load_checkpoint(resume).step
        # even on a logarithmic scale: early on, most changes a step
        planned = [0, *(round(config.steps ** (i / (SNAPSHOTS - 2))) for i in range(SNAPSHOTS - 1))]
        self._prepare(model, tokenizer, tokens, prompt, floor, config.steps, planned)
        self.state = "ready"
        self._looks.look(self.step, model)
        super().begin()

    @classmethod
    def from_snapshots(
        cls,
        snapshots: Iterable[tuple[int, GPT]],
        tokenizer: Tokenizer | CharacterTokenizer,
        text: str,
        log: Mapping[str, Array] | None = None,
        prompt: str = "",
        floor: float | int | None = None,
    ) -> TrainingDashboard:
        """A run that is over, as `load_snapshots` and `training_log` give it; `floor` and the rest as above.

        Raises ValueError when there are no snapshots, their steps do not rise, or the log lacks a column.
        """
        snapshots = list(snapshots)
        steps = [step for step, _ in snapshots]
        if not snapshots or any(later <= earlier for earlier, later in zip(steps, steps[1:], strict=False)):
            raise ValueError(
                f"snapshots has the steps {steps}; it needs (step, model) pairs, at least one, with steps "
                "that rise"
            )
        for step, model in snapshots:
            _check(model, tokenizer)
            if model.config != snapshots[0][1].config:
                raise ValueError(f"snapshots has another config at step {step}; it needs all of one model")
        history = [] if log is None else steps_of(log)
        dashboard = cls.__new__(cls)
        dashboard.step = max([steps[-1]] + [step.step for step in history])
        last = dashboard.step or 1
        dashboard._prepare(snapshots[-1][1], tokenizer, _tokens(text, tokenizer), prompt, floor, last, steps)
        dashboard.state = "snapshots"
        for step in history:
            dashboard._note(step, 0.0)
        for step, model in snapshots:
            dashboard._looks.look(step, model)
        dashboard.layer, dashboard.head = dashboard._looks.most_decided()
        super(cls, dashboard).begin()
        return dashboard

    def _prepare(
        self,
        model: GPT,
        tokenizer: Tokenizer | CharacterTokenizer | None,
        tokens: list[int],
        prompt: str,
        floor: float | int | None,
        last: int,
        planned: list[int],
    ) -> None:
        if floor is not None and not (math.isfinite(floor) and floor >= 0):
            raise ValueError(f"floor is {floor!r}; it needs nats per token, at least 0")
        self._rest, self._resting = Condition(LOCK), True
        self._wish = ""
        self._failure: Exception | None = None
        self._drawn = -math.inf
        self._trained = 0.0
        self._seconds: deque[float] = deque(maxlen=20)
        self.model = model
        self._tokenizer = tokenizer
        self._looks = Looks(model.config, tokenizer, tokens, prompt, planned)
        self.snapshots = self._looks.snapshots
        self._course = Course(last, math.log(model.config.vocab_size), floor)
        self.history = self._course.history
        self._was_training = model.training
        super().__init__()

    # ------------------------------------------------------------------------------------------ to be called

    def start(self) -> None:
        """Start training, or go on after a pause, and return at once.

        Raises RuntimeError while it is running, when the run is over, and when the model's parameters are not
        where they were.
        """
        with LOCK:
            if self.state in REFUSALS:
                raise RuntimeError(REFUSALS[self.state])
            if _tensors_of(self.model) != self._in_training:
                _, device, dtype = self._in_training[0]
                raise RuntimeError(
                    f"model's parameters are not those in training, which were {dtype} on {device}: they "
                    "were moved, converted or replaced; move them back, or train on with another "
                    "TrainingDashboard"
                )
            self._wish, self.state = "", "running"
            # A script that ends without waiting would tear torch down under the thread.
            atexit.register(self.stop)
            self._resting = False
            self._thread = Thread(target=self._work, name="gptlib training", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Pause after the step that is being made, and return then; start() goes on from there."""
        self._wish_for("pause")
        self._join()

    def stop(self) -> None:
        """End the run after the step that is being made, and return then; the model stays as it is."""
        self._wish_for("stop")
        self._join()

    def wait(self) -> None:
        """Return when training is over or paused. Raises what failed in it; an interrupt pauses it."""
        try:
            self._join()
        except KeyboardInterrupt:
            self.pause()
            raise
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop training and take the widget off the page."""
        if self._thread is not None:
            self.stop()
        super().close()

    # ------------------------------------------------------------------------------------------- the training

    def _wish_for(self, wish: str) -> None:
        with LOCK:
            if self.state == "running":
                self._wish = wish
            elif self.state == "paused" and wish == "stop":
                self._run.close()
                self.state = "stopped"
                self._draw()

    def _join(self) -> None:
        if self._thread is not None and self._thread is not current_thread():
            # This lets go of the lock, which the caller may hold and the thread needs to come to its end. A
            # join alone does not, and when interrupted takes the thread for ended (CPython 3.12 and before).
            with self._rest:
                self._rest.wait_for(lambda: self._resting)
            self._thread.join()

    def _work(self) -> None:
        """What the thread does: steps, looks and redraws, until no step is left or something is wished."""
        try:
            self._draw()
            state = self._train()
        except Exception as error:  # whatever it is, wait() raises it
            self._failure, state = error, "failed"
        self.model.train(self._was_training)  # in a pause the loop has not switched it back
        with LOCK:
            self.state = state
        try:
            self._draw()
        finally:
            atexit.unregister(self.stop)
            with self._rest:
                self._resting = True
                self._rest.notify_all()

    def _train(self) -> str:
        """Make steps, and return the state after the last: done, paused or stopped."""
        state = "done"
        while not self._wish:
            began = time.perf_counter()
            step = next(self._run, None)
            if step is None:
                break
            self._note(step, time.perf_counter() - began)
            if self._looks.due(step.step, self._trained):
                # Where numbers became too large, the loss of the next step says so, and what helps.
                with contextlib.suppress(FloatingPointError):
                    self._looks.look(step.step, self.model)
            if time.monotonic() - self._drawn >= REDRAW_EVERY:
                self._draw()
        else:
            state = "paused" if self._wish == "pause" else "stopped"
        if self.snapshots[-1].step < self.step:
            self._looks.look(self.step, self.model)
        if state == "stopped":
            self._run.close()
        return state

    def _note(self, step: Step, seconds: float) -> None:
        with LOCK:
            self.step = step.step
            self._course.add(step)
            self._trained += seconds
            self._seconds.append(seconds)

    # -------------------------------------------------------------------------------------------- the drawing

    def _draw(self) -> None:
        """Send what is new in one message, once it is time for it."""
        time.sleep(max(0.0, self._drawn + REDRAW_EVERY - time.monotonic()))
        with LOCK, self.hold_sync():
            self.set_trait("details", self.compute_details())
            if self.answer["steps"][-1] != self.snapshots[-1].step:
                self.set_trait("answer", self.compute_answer())
        self._drawn = time.monotonic()

    def compute_answer(self) -> dict[str, Any]:
        """The snapshots: their steps and places along each axis, what is to be read there, the samples, and
        attention as bytes, 255 √weight, of (snapshot, layer, head, triangle).
        """
        steps = [snapshot.step for snapshot in self.snapshots]
        return {
            "steps": steps,
            "places": {over: places(steps).tolist() for over, places in self._course.axes().items()},
            "ticks": self._course.ticks(),
            "readings": [self._course.readings(step) for step in steps],
            "samples": [snapshot.sample for snapshot in self.snapshots] if self._tokenizer else [],
            "attention": b"".join(snapshot.attention for snapshot in self.snapshots),
            "prompt": self._looks.about,
            "n_layers": self.model.config.n_layers,
            "n_heads": self.model.config.n_heads,
            "tokens": [on_the_page(piece) for piece in self._looks.pieces],
        }

    def compute_details(self) -> dict[str, Any]:
        """The run so far: its state, its pace, its curves, and what is read at its latest step."""
        return {
            "state": self.state,
            "failure": sentence(self._failure) if self._failure else "",
            "pace": self._pace(),
            "readings": self._course.readings(self.step),
            **self._course.curves(),
        }

    def _pace(self) -> str:
        """How far the run is and, while it is going, how fast."""
        words = [f"step {self.step:,} of {self._course.last:,}"]
        if self.state == "running" and self.history:
            tokens = self.history[-1].tokens / self.history[-1].step / median(self._seconds)
            left = (self._course.last - self.step) * self._trained / len(self.history)
            words.append(f"{tokens:,.0f} tokens per second")
            words.append(f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left")
        return " · ".join(words)

    def figure(self) -> Drawing:
        """The losses of a run; before its first step, and for snapshots, the chosen head's attention."""
        with LOCK:
            history, checked = list(self.history), list(self._course.checked)
            patterns = [(one.step, self._looks.weights(one)[self.layer, self.head]) for one in self.snapshots]
        if not history or self.state == "snapshots":
            return figures.attention_over_training(
                patterns,
                self._looks.pieces,
                title=f"How layer {self.layer}, head {self.head} comes to read this text",
                normalized=False,  # bytes add up to nearly 1
            )
        seconds = self.over == "seconds" and history[0].seconds is not None

        def across(steps: list[Step]) -> list[float | int]:
            return [step.seconds if seconds else step.step for step in steps]

        curves = {"training batch": (across(history), [step.loss for step in history])}
        if checked:
            curves["validation"] = (across(checked), [step.validation_loss for step in checked])
        return figures.loss_curves(
            curves,
            floor=self._course.floor,
            smooth=max(1, len(history) // 50),
            log_x=not seconds,
            x_label="seconds of training" if seconds else "training step",
            title=f"The loss after {self.step:,} of {self._course.last:,} steps",
        )

    # --------------------------------------------------------------------------------------------- the traits

    @observe("command")
    def _obey(self, change: Any) -> None:
        self.command = ""
        self._seen.pop("details", None)  # what the command changes is part of its answer
        if change.new == "start":
            self.start()
        elif change.new:
            self._wish_for(change.new)  # without waiting: the page is told when it is so

    @validate("layer", "head", "at", "query")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal.trait.name, proposal.value
        config = self.model.config
        stop = {
            "layer": config.n_layers,
            "head": config.n_heads,
            "at": len(self.snapshots),
            "query": len(self._looks.tokens),
        }[name]
        first = -1 if name in ("at", "query") else 0
        if not first <= value < stop:
            raise TraitError(f"{name} is {value}; it needs to be from {first} to {stop - 1}")
        return value

    def __repr__(self) -> str:
        if self.state == "snapshots":
            last = self.snapshots[-1].step
            return f"TrainingDashboard({len(self.snapshots)} snapshots up to step {last:,})"
        return f"TrainingDashboard(step {self.step:,} of {self._course.last:,}, {self.state})"


def _tensors_of(model: nn.Module) -> list[tuple[int, torch.device, torch.dtype]]:
    """Which tensors the parameters are, where, and of what kind: an optimizer holds on to all three."""
    return [(id(parameter), parameter.device, parameter.dtype) for parameter in model.parameters()]


def _check(model: Any, tokenizer: Tokenizer | CharacterTokenizer | None) -> None:
    if not isinstance(model, GPT):
        raise TypeError(f"model is a {type(model).__name__}; it needs to be a gptlib.GPT")
    if tokenizer is not None:
        check_vocabulary(tokenizer, model.config)


def _tokens(text: str, tokenizer: Tokenizer | CharacterTokenizer | None) -> list[int]:
    if tokenizer is None:
        raise ValueError("text needs a tokenizer to be read with; give tokenizer=…")
    if not text:
        raise ValueError("text is empty; it needs at least one token to attend to")
    return document(tokenizer, text)
