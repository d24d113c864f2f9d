"""Read what was handed in, and judge what answers gave back, in a process that neither can harm.

What is read here was made by others: notebooks, and bytes that a student's program wrote. Nothing of it is
run, but reading it may take long, or much memory, or meet a case that nobody thought of. So each is read in a
child of a keeper (see `keeper`), within limits. If that does not come back, one file could not be read or one
answer not be judged, and grading goes on.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import torch

from gptlib.course.exercises import exercise
from gptlib.course.grading import sandbox
from gptlib.course.grading.answers import ReadNotebook, read_notebook
from gptlib.course.grading.cells import NoNotebook, course_cells
from gptlib.course.grading.keeper import LARGEST_REPLY, Keeper, Reply, Write, serve
from gptlib.course.grading.runner import DONE, OUTCOME, PROBLEM, REFUSALS, Limits
from gptlib.course.grading.wire import decode, decode_outcome
from gptlib.course.judging import COULD_NOT, NOT_YET, Known, Outcome, judge, known, said

SECONDS = 20.0  # to read a notebook, or to judge an answer
MEGABYTES = 1024  # on top of what the process holds
LONGEST_MESSAGE = 5_000  # characters
MOST_REFUSED = 20


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is said of an answer.

    status: As a verdict's, or COULD_NOT.
    because: For the teacher, why it could not be judged.
    refused: What the answer wanted and did not get.
    """

    status: str
    message: str
    misconception: str | None = None
    share: float = 0.0
    because: str = ""
    refused: tuple[str, ...] = ()


class Examiner:
    """Reads notebooks and judges answers, one at a time. Use it as a context: its process ends with it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._keeper = Keeper(__name__)
        self._topics: set[str | None] = set()  # of what was read so far: more of these will come

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._keeper.close()

    def read(self, contents: bytes, name: str) -> ReadNotebook:
        """What is in the bytes of a file of this name. Raises NoNotebook, and nothing else."""
        found, why = self._ask({"do": "read", "name": name, "topics": sorted(self._topics)}, contents)
        if why:
            raise NoNotebook(f"reading it {why}")
        if "problem" in found:
            raise NoNotebook(str(found["problem"])[:LONGEST_MESSAGE])
        try:
            notebook = ReadNotebook.from_dict(found)
            self._topics |= {notebook.topic} - {None}
            return notebook
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise NoNotebook(f"reading it failed: {said(error)}") from error

    def judge(self, name: str, seed: int, ran: Reply) -> Judged:
        """What an answer to the exercise `name` is, by what came of running it. Raises nothing."""
        job = {"do": "judge", "exercise": name, "seed": seed, "ending": ran.ending}
        found, why = self._ask(job | {"limits": dataclasses.asdict(self.limits)}, ran.data)
        if why:
            return could_not(f"judging it {why}")
        try:
            return Judged(**{**found, "refused": tuple(map(str, found["refused"]))})
        except (TypeError, KeyError, ValueError) as error:
            return could_not(f"judging it failed: {said(error)}")

    def _ask(self, job: dict[str, Any], contents: bytes) -> tuple[dict[str, Any], str]:
        """What the child found, and why it found nothing."""
        reply = self._keeper.ask(job | {"together": SECONDS}, contents)
        if reply.ending in ("late", "SIGXCPU"):
            return {}, f"took longer than {SECONDS:g} seconds"
        try:
            found = json.loads(reply.data)
            return found, str(found.get("failed", ""))
        except (ValueError, RecursionError, AttributeError):
            return {}, f"did not come to an end ({reply.ending})"


def could_not(because: str) -> Judged:
    """What is said of an answer on which grading itself failed."""
    return Judged(COULD_NOT, "Your teacher will look at it.", because=because)


# ------------------------------------------------------------------------------------------------- the keeper


def keep() -> None:
    """Do jobs. In a process of its own."""
    torch.set_num_threads(1)
    prepared: dict[tuple[str, int], tuple[list[tuple[Any, ...]], Known]] = {}

    def prepare(job: dict[str, Any]) -> None:
        for topic in job.get("topics", ()):
            course_cells(topic)  # is kept, so that no child reads it again
        if job["do"] == "judge" and (key := (job["exercise"], job["seed"])) not in prepared:
            task = exercise(key[0])
            inputs = list(task.inputs(torch.Generator().manual_seed(key[1])))
            prepared[key] = inputs, known(task, inputs)

    def work(job: dict[str, Any], contents: bytes, _: str, send: Write) -> None:
        sandbox.limit(SECONDS, MEGABYTES)
        try:
            if job["do"] == "read":
                found = _read(contents, job["name"])
            else:
                found = _judged(job, contents, *prepared[job["exercise"], job["seed"]])
        except MemoryError:
            found = {"failed": f"needs more than {MEGABYTES:,} MB of memory"}
        except Exception as error:
            found = {"failed": f"failed: {said(error)}"}
        send(json.dumps(found).encode())

    serve(prepare, work)


def _read(contents: bytes, name: str) -> dict[str, Any]:
    try:
        return dataclasses.asdict(read_notebook(contents, name))
    except NoNotebook as error:
        return {"problem": str(error)}


def _judged(job: dict[str, Any], data: bytes, inputs: list[tuple[Any, ...]], by: Known) -> dict[str, Any]:
    limits = Limits(**job["limits"])
    outcomes, problem, refused = _what_came(job["ending"], data, limits)
    found: dict[str, Any] = {"refused": refused}
    if problem is not None:
        return found | {"status": NOT_YET, "message": sentence(problem)}
    verdict = judge(exercise(job["exercise"]), inputs, outcomes[: len(inputs)], by)
    return found | {
        "status": verdict.status,
        "message": verdict.message[:LONGEST_MESSAGE],
        "misconception": verdict.misconception,
        "share": verdict.share,
    }


def sentence(text: str) -> str:
    """The text as a sentence: with a capital, and an end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "…")) else text + "."


def _what_came(ending: str, data: bytes, limits: Limits) -> tuple[list[Outcome], str | None, list[str]]:
    """The outcomes in what an answer's process wrote, why it could not be run, and what it was refused.

    Nothing in the bytes is trusted. There are fewer outcomes than inputs if the answer did not end.
    """
    outcomes: list[Outcome] = []
    problem, refused, done, place = None, [], False, 0
    try:
        while place + 9 <= len(data):
            kind, length = data[place : place + 1], struct.unpack_from(">Q", data, place + 1)[0]
            content = data[place + 9 : place + 9 + length]
            place += 9 + length
            if len(content) < length:
                break
            if kind == OUTCOME and len(outcomes) < 1000:
                outcomes.append(_on_memory(decode_outcome(content), limits))
            elif kind == PROBLEM:
                problem = _text(content, 500)
            elif kind == REFUSALS:
                told = decode(content)
                if not isinstance(told, list):
                    raise ValueError("not a list of what was refused")
                refused = [str(what)[:200] for what in told[:MOST_REFUSED] if isinstance(what, str)]
            elif kind == DONE:
                done = True
    except ValueError:
        return [*outcomes, Outcome(problem="what it wrote for an outcome is none")], None, refused
    if problem is None and not done:
        outcomes.append(Outcome(problem=_ending(ending, limits), late=ending == "late"))
    return outcomes, problem, refused


def _text(content: bytes, longest: int) -> str:
    text = decode(content)
    if not isinstance(text, str):
        raise ValueError("not a text")
    return text[:longest]


def _ending(status: str, limits: Limits) -> str:
    if status in ("late", "SIGXCPU"):
        return f"it took longer than {limits.together:g} seconds in all; is there a loop that never ends?"
    if status == "large":
        return f"it gave back more than {LARGEST_REPLY // 2**20} MB"
    if status == "full":
        return f"it wrote more than {sandbox.MOST_WRITES} files"
    if status in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL"):
        return "it crashed Python; is there a recursion without an end?"
    if status.startswith("SIG"):
        return f"it was ended by a signal ({status}), its own or the system's"
    if status == "lost":
        return "it ended the program that runs it"
    return "it ended Python instead of returning (os._exit, perhaps)"


def _on_memory(outcome: Outcome, limits: Limits) -> Outcome:
    """torch says at length that memory is short."""
    signs = ("MemoryError", "DefaultCPUAllocator", "can't allocate memory")
    if outcome.problem is None or not any(sign in outcome.problem for sign in signs):
        return outcome
    return Outcome(problem=f"it needs more than the {limits.megabytes:,} MB of memory that an answer gets")
