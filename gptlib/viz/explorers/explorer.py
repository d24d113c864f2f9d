"""What every explorer shares: state that asks, answers that reach the page whole, and files to send.

An explorer's state is its traits. A trait tagged `asks="answer"` changes what the page draws: the explorer
computes its answer anew. One tagged `asks="details"` changes what is said about a part of it, which is cheap.
The page sends one question at a time, numbered by `asked`; `answered` says which one the answer is for, and
comes with it in one message. All this is under one lock (gptlib.viz.explorers.reading says why).
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from pathlib import Path
from typing import Any, ClassVar

import anywidget
from traitlets import Bool, Dict, Enum, Float, Int, List, TraitError, TraitType, Tuple, Unicode

from gptlib.files import read_json, write_atomically, write_json
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers import living
from gptlib.viz.explorers.pages import FOLDER, bare, filled, packed, page_code, page_style
from gptlib.viz.explorers.reading import LOCK, alone
from gptlib.viz.explorers.saved import saved
from gptlib.viz.explorers.showing import in_one_output, show

GROUPS = ("answer", "details")
# What a file says of the model that it reads.
HOLDS_MODEL = (
    "This file holds the model, {:,} parameters, and everything in it works: nothing needs a network, and "
    "nothing that you type leaves this page."
)
NO_MODEL = "This file holds no model, and shows what was computed in Python. {}"
LARGEST_STATE = 10_000_000  # characters of JSON that are worth reading
# What gptlib raises says what to do; other errors are faults, and their kind is told too.
KNOWN = (ValueError, TypeError, IndexError, FloatingPointError, RuntimeError, TraitError)


class Explorer(anywidget.AnyWidget):
    """A live picture in a notebook, which asks Python for what it cannot work out itself.

    A subclass names its title and its page code (`script = "bpe.js"`), declares the traits that are its
    state, and says in `compute_answer` (and `compute_details`) what the page draws. Its `__init__` ends with
    `self.begin()`. What goes wrong after a change on the page becomes a sentence there, and the last good
    answer stays; after a change in Python it is raised, and the change is undone.
    """

    title: ClassVar[str]
    script: ClassVar[str]

    asked = Int(0, help="how many questions the page has asked").tag(sync=True)
    answered = Int(0, help="the question that the answer is for").tag(sync=True)
    answer = Dict(help="what the page draws").tag(sync=True)
    details = Dict(help="what the page says about the part that is chosen").tag(sync=True)
    problem = Unicode(help="a sentence for the page about what went wrong, or nothing").tag(sync=True)
    live = Bool(True, help="whether there is a kernel that answers").tag(sync=True)
    origin = Dict(help="what to_state gave at first, by which a page knows it again").tag(sync=True)

    # Synced traits that are no state to go on from: what stands above, and what a button asks for.
    passing: ClassVar[frozenset[str]] = frozenset(
        {"asked", "answered", "answer", "details", "problem", "live", "origin", "command", "wanted"}
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "script" in cls.__dict__:  # ipywidgets derives a class of its own from each explorer
            cls._esm = page_code(cls.script)
            cls._css = page_style(cls.script)

    def __setattr__(self, name: str, value: Any) -> None:
        with LOCK:  # nobody reads a state of which the answer is not known yet
            super().__setattr__(name, value)

    def begin(self) -> None:
        """Compute the first answer, and from now on a new one after each change of the state."""
        self._seen: dict[str, dict[str, Any]] = {}
        self._from_page = self._undoing = False
        self.update()
        self.origin = self.to_state()
        self.on_msg(self._serve_page)
        names = [name for group in GROUPS for name in self.trait_names(asks=group)]
        if names:  # to traitlets no names mean all
            self.observe(self._changed_in_python, names)

    def compute_answer(self) -> dict[str, Any]:
        """What the page draws, made of numbers, texts, lists, dicts and bytes."""
        raise NotImplementedError

    def compute_details(self) -> dict[str, Any]:
        """What the page says about the part that is chosen."""
        return {}

    def figure(self) -> Drawing:
        """A still picture of what the explorer shows."""
        raise NotImplementedError

    @alone
    def refresh(self) -> None:
        """Compute everything anew: for what traits do not show, such as a model that was trained on."""
        self._seen.clear()
        self.update()

    @alone
    def update(self) -> None:
        """Compute what the state asks for and does not have yet, and send it in one message."""
        news: dict[str, dict[str, Any]] = {}
        for group in GROUPS:
            state = {name: getattr(self, name) for name in self.trait_names(asks=group)}
            if news or self._seen.get(group) != state:
                news[group] = self.compute_answer() if group == "answer" else self.compute_details()
                # compute_answer may have moved what is chosen to where there is something to choose
                self._seen[group] = {name: getattr(self, name) for name in state}
        with self.hold_sync():
            for group, value in news.items():
                self.set_trait(group, value)
            self.problem = ""

    @alone
    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take a change from the page. This never raises: there would be nobody to catch it."""
        asked = max(sync_data.get("asked", 0), self.answered)  # of two pages one may lag behind
        self._from_page = True
        with self.hold_sync():
            try:
                super().set_state(sync_data)
                self.update()
            except Exception as error:  # whatever it is: the page must hear of it, and the kernel go on
                self.problem = sentence(error)
            finally:
                self._from_page = False
                self.asked = self.answered = asked

    def _changed_in_python(self, change: Any) -> None:
        if self._from_page or self._undoing:
            return
        try:
            self.update()
        except Exception:
            self._undoing = True
            try:
                self.set_trait(change.name, change.old)
            finally:
                self._undoing = False
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _ipython_display_(self) -> None:
        show(self)

    @alone
    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and a picture of it for where there is no kernel: a code host, a printed notebook.

        With the picture comes the state for the course's site, unless it is a large one, as long texts have
        (gptlib.viz.explorers.saved says how large), or all is in one output, where nobody would look for it.
        """
        bundle, metadata = self.figure()._repr_mimebundle_()
        metadata["image/png"]["alt"] = repr(self)
        widget = super()._repr_mimebundle_(**options)
        widget = widget[0] if isinstance(widget, tuple) else widget
        state = {} if in_one_output() else self._saved()
        return {**bundle, **state, **(widget or {}), "text/plain": repr(self)}, metadata

    def _saved(self) -> dict[str, Any]:
        needed = self.page_model()
        model = living.name_of(needed[0]) if needed else ""
        return saved(self.title, self.script, bare(self.script), packed(self.page_state()), model)

    def page_model(self) -> tuple[Any, Any] | None:
        """The model and the tokenizer with which a page can answer as Python does; None if it never asks, or
        asks for what no page can do.
        """
        return None

    @alone
    def to_png(self, path: str | Path | None = None) -> bytes:
        """What the explorer shows as the bytes of a PNG file, also written to `path` if one is given."""
        return _written(self.figure().png(), path)

    @alone
    def to_svg(self, path: str | Path | None = None) -> str:
        """What the explorer shows as an SVG picture, also written to `path` if one is given."""
        return _written(self.figure().svg().encode(), path).decode()

    @alone
    def to_html(self, path: str | Path) -> None:
        """Write one file that any browser opens without a network.

        It holds a small GPT that the explorer reads, and answers with it to all that the reader does: type,
        change, sample. Of a model that a page cannot run it holds what was computed here, and says so; that
        still answers to all that needs no model. Raises FileNotFoundError if the folder is missing.
        """
        _written(self._page_file(), path)

    def _page_file(self) -> bytes:
        model, runtime, about = self._in_file()
        parts = {
            "TITLE": html.escape(self.title),
            "ABOUT": html.escape(about),
            "STYLE": self._css,
            "SCRIPT": self._esm.replace("export default", "const explorer ="),
            "HOST": bare("live/host.js"),
            "KIND": Path(self.script).stem,
            "STATE": base64.b64encode(gzip.compress(packed(self.page_state()), mtime=0)).decode(),
            "MODEL": base64.b64encode(model).decode(),
            "RUNTIME": runtime,
            "ALSO": " 'wasm-unsafe-eval'; worker-src blob:" if model else "",
        }
        return filled(FOLDER / "standalone.html", parts)

    def _in_file(self) -> tuple[bytes, str, str]:
        """The model in a file, packed, the code that runs it there, and what the file says of it."""
        needed = self.page_model()
        why = living.why_not(*needed) if needed else self.why_no_model()
        if why:
            return b"", "", NO_MODEL.format(why)
        if not needed:
            return b"", "", ""
        return living.pack_model(*needed), living.runtime_code(), HOLDS_MODEL.format(needed[0].n_parameters)

    def why_no_model(self) -> str:
        """Where `page_model` gives none and yet a model is asked in Python, why no page can; else ""."""
        return ""

    def page_state(self) -> dict[str, Any]:
        """All that the page knows, as it is in a file: without a kernel."""
        state = {name: getattr(self, name) for name in self._own_traits() if name != "origin"}
        kinds = {name: kind_of(self.traits()[name]) for name in self._state_names()}
        return state | {"live": False, "kept": kinds}

    def _own_traits(self) -> list[str]:
        inherited = {*anywidget.AnyWidget.class_trait_names(sync=True), "_esm", "_css", "_anywidget_id"}
        return [name for name in self.keys if name not in inherited]

    def _state_names(self) -> list[str]:
        """The names of what the reader chose and typed."""
        return sorted(set(self._own_traits()) - self.passing)

    @alone
    def to_state(self, path: str | Path | None = None) -> dict[str, Any]:
        """What was chosen and typed, for `take_up` on another day; also written to `path` as JSON.

        {"explorer": its title, "state": {name: value}}, all of it plain: what the model computed is left out.
        """
        values = {name: getattr(self, name) for name in self._state_names()}
        state = json.loads(json.dumps({"explorer": self.title, "state": values}, allow_nan=False))
        if path is not None:
            write_json(path, state)
        return state

    @alone
    def take_up(self, state: dict[str, Any] | str | Path) -> None:
        """Go on from what `to_state` gave, or from the file that it wrote; what it does not name stays.

        Raises ValueError for a state of another explorer and for names that this one does not have, and for
        values that do not fit it what assigning them raises. Then the explorer is as it was.
        """
        new = self._values_in(read_json(state) if isinstance(state, str | Path) else state)
        old = {name: getattr(self, name) for name in self._state_names()}
        with self.hold_sync():
            try:
                self._put_state(new)
            except Exception:
                self._set_together(old)
                self._put_state(old)
                raise

    def _values_in(self, state: Any) -> dict[str, Any]:
        """The values that a state names."""
        try:
            size = len(json.dumps(state, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"state is not what to_state gives: {error}") from error
        if size > LARGEST_STATE:
            raise ValueError(f"state has {size:,} characters; one has at most {LARGEST_STATE:,}")
        if not (isinstance(state, dict) and set(state) == {"explorer", "state"}):
            raise ValueError('state needs to be what to_state gives: {"explorer": title, "state": {…}}')
        title, values = cut(repr(state["explorer"]), 80), state["state"]
        if title != repr(self.title):
            raise ValueError(f"state is of the explorer {title}; it needs one of {self.title!r}")
        if not isinstance(values, dict) or set(values) - {*self._state_names()}:
            names = ", ".join(self._state_names())
            raise ValueError(f"state holds {cut(repr(values), 80)}; it needs values by name, of {names}")
        for name, value in values.items():
            present = getattr(self, name)
            if isinstance(value, bool) != isinstance(present, bool):  # to Python True is 1
                raise ValueError(f"{name} is {cut(repr(value), 80)}; it needs to be as {present!r} is")
        return values

    def _put_state(self, values: dict[str, Any]) -> None:
        """Set these traits and compute what follows: first those that change the answer, because another text
        may reset what is said about a text; then all.
        """
        first = {name: values[name] for name in self.trait_names(asks="answer") if name in values}
        for group in (first, values):
            self._set_together(group)
            try:
                self.update()
            except Exception:
                self._seen.clear()  # what was computed so far is of no state
                raise

    def _set_together(self, values: dict[str, Any]) -> None:
        """Set these traits together, and leave what follows from them to the caller."""
        self._undoing = True
        try:
            with self.hold_trait_notifications():
                for name, value in values.items():
                    setattr(self, name, value)
        finally:
            self._undoing = False

    @alone
    def _serve_page(self, _: Any, content: Any, buffers: Any) -> None:
        """Give the page a file, or take up a state that it opened. Like set_state, this never raises."""
        reply, files = {"id": content.get("id")}, []
        try:
            match content:
                case {"save": "page"}:
                    files = [self._page_file()]
                case {"save": "state"}:
                    files = [json.dumps(self.to_state(), ensure_ascii=False, indent=1).encode()]
                case {"open": state}:
                    self.take_up(state)
                case _:
                    return  # anywidget's own
        except Exception as error:
            reply["problem"] = sentence(error)
        self.send(reply, files)


def kind_of(trait: TraitType) -> Any:
    """What a trait's values are, for a page that is to check them: live/host.js says how that is written."""
    match trait:
        case Enum():
            kind: Any = {"one": list(trait.values)}
        case Tuple():
            kind = {"tuple": [kind_of(each) for each in trait._traits]}
        case List():
            kind = {"list": kind_of(trait._trait) if trait._trait is not None else "any"}
        case _:
            plain = {Unicode: "text", Int: "whole", Float: "number", Bool: "boolean"}
            kind = next((kind for each, kind in plain.items() if isinstance(trait, each)), "any")
    return {"maybe": kind} if trait.allow_none else kind


def sentence(error: Exception) -> str:
    """What went wrong, for a reader of the page."""
    known = isinstance(error, KNOWN)
    text = str(error.args[0]) if known and error.args else f"{type(error).__name__}: {error}"
    return cut(text[:1].upper() + text[1:], 400)


def cut(text: str, most: int) -> str:
    """A text as far as a reader of a sentence wants it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _written(content: bytes, path: str | Path | None) -> bytes:
    if path is not None:
        write_atomically(path, lambda file: file.write(content))
    return content
