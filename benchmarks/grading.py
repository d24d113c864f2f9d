"""How long a class takes to grade, how much memory, and whether its grades are right.

`python benchmarks/grading.py [N]`: each of N students hands in the attention notebook with answers that are right, wrong, a
misconception, hostile, or missing, drawn from a seed; what each should get is known.

`python benchmarks/grading.py listed`: a student for each odd or hostile answer that the tests know.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/course")]

from gptlib.course.prose import find_notebook  # noqa: E402

# ruff: noqa: E501
# For each exercise: (answer, points, misconception)
POOL: dict[str, list[tuple[str, int, str | None]]] = {
    "weighted_average": [
        ("def weighted_average(weights, values):\n    return weights @ values", 1, None),
        ("def weighted_average(weights, values):\n    return torch.matmul(weights, values)", 1, None),
        (
            "def weighted_average(w, v):\n    return torch.stack([(row[:, None] * v).sum(0) for row in w])",
            1,
            None,
        ),
        (
            "def weighted_average(weights, values):\n    return weights @ values / len(values)",
            0,
            "divided_once_more",
        ),
        (
            "def weighted_average(weights, values):\n    return values[weights.argmax(dim=1)]",
            0,
            "only_the_largest",
        ),
        ("def weighted_average(weights, values):\n    return weights.T @ values", 0, "weights_turned"),
        ("def weighted_average(weights, values):\n    while True: pass", 0, None),
    ],
    "look_up": [
        ("def look_up(query, keys, values):\n    return F.softmax(keys @ query, dim=0) @ values", 1, None),
        (
            "def look_up(query, keys, values):\n    scores = keys @ query\n    return softmax(scores) @ values",
            1,
            None,
        ),
        ("def look_up(query, keys, values):\n    return (keys @ query) @ values", 0, "no_softmax"),
        ("def look_up(query, keys, values):\n    return values[(keys @ query).argmax()]", 0, "exact_match"),
        (
            "def look_up(query, keys, values):\n    return torch.softmax(keys @ query, 0) @ keys",
            0,
            "keys_returned",
        ),
        ("def look_up(query, keys, values):\n    import os; os._exit(0)", 0, None),
    ],
    "scaled_scores": [
        ("def scaled_scores(q, k):\n    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])", 2, None),
        ("scaled_scores = lambda queries, keys: queries @ keys.mT * keys.shape[-1] ** -0.5", 2, None),
        ("def scaled_scores(q, k):\n    return q @ k.transpose(-2, -1)", 0, "unscaled"),
        ("def scaled_scores(q, k):\n    return q @ k.mT / q.shape[-1]", 0, "scaled_by_d_k"),
        ("def scaled_scores(q, k):\n    return q @ k.T / math.sqrt(q.shape[-1])", 0, "all_turned"),
    ],
    "entropy": [
        ("def entropy(weights):\n    return -torch.xlogy(weights, weights).sum(dim=-1)", 2, None),
        ("def entropy(weights):\n    return -(weights * weights.log()).nansum(dim=-1)", 2, None),
        ("def entropy(weights):\n    return -(weights * weights.log()).sum(dim=-1)", 0, "nan_at_zero"),
        ("def entropy(weights):\n    return torch.xlogy(weights, weights).sum(dim=-1)", 0, "sign"),
        ("def entropy(weights):\n    return weights.sum(", 0, None),
    ],
}


def make_class(folder: Path, students: int, seed: int = 0) -> dict[str, dict[str, tuple[int, str | None]]]:
    """Write a notebook for each student; what each should get: {student: {function: (points, why)}}."""
    draw = random.Random(seed)
    course = json.loads(find_notebook("attention").read_bytes())
    expected = {}
    for number in range(students):
        name = f"Student {number:03} Ünïcode"
        chosen = {function: draw.choice(pool) for function, pool in POOL.items() if draw.random() < 0.85}
        cells = [dict(cell) for cell in course["cells"]]
        for cell in cells:
            function = cell["id"].removeprefix("answer-attention-")
            if function in chosen:
                cell["source"] = chosen[function][0]
        (folder / name).mkdir()
        (folder / name / find_notebook("attention").name).write_text(
            json.dumps({**course, "cells": cells}), "utf-8"
        )
        expected[name] = {
            function: chosen[function][1:] if function in chosen else (0, None) for function in POOL
        }
    return expected


def make_listed(folder: Path) -> dict[str, dict[str, tuple[int, str | None]]]:
    """The same for a class in which every odd and hostile answer of the tests is somebody's."""
    from odd_answers import CASES
    from test_grading import CHANGED, HOSTILE, POINTS, notebook

    expected, files = {}, {}

    def found(**answers: tuple[int, str | None]) -> dict[str, tuple[int, str | None]]:
        return {function: answers.get(function, (0, None)) for function in POINTS}

    for name, (source, points, _) in HOSTILE.items():
        files[f"hostile {name}"] = notebook({"weighted_average": source})
        expected[f"hostile {name}"] = found(weighted_average=(points, None))
    for name, (answers, change, right) in CHANGED.items():
        files[f"changed {name}"] = notebook(answers, change)
        expected[f"changed {name}"] = found(**{function: (POINTS[function], None) for function in right})
    for name, (function, said, text) in CASES.items():
        above, _, answer = text.rpartition("=====\n")
        cells = []
        for cell in json.loads(find_notebook("attention").read_bytes())["cells"]:
            if cell["id"] == f"answer-attention-{function}":
                cells += [{**cell, "id": "added", "source": above}] if above else []
                cell = {**cell, "source": answer}
            cells.append(cell)
        files[f"odd {name}"] = notebook(change=lambda _, cells=cells: cells)
        named = said not in (None, "right", "not yet", "not attempted")
        points = POINTS[function] if said == "right" else 0
        expected[f"odd {name}"] = {function: (points, said if named else None)}
    for name, contents in files.items():
        (folder / f"{name}.ipynb").write_bytes(contents)
    return expected


@contextmanager
def memory() -> Iterator[list[int]]:
    """The most bytes that this process and all below it held at a time, shared ones counted once."""
    most, over = [0], threading.Event()

    def watch() -> None:
        own = psutil.Process()
        while not over.wait(0.5):
            held = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:  # it has ended
                    continue
            most[0] = max(most[0], held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def main(which: str) -> None:
    """Make a class, grade it, and say how long that took."""
    from gptlib.course.grading.marking import grade

    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "handed in", Path(place) / "out"
        folder.mkdir()
        expected = make_listed(folder) if which == "listed" else make_class(folder, int(which))
        for run in ("from nothing", "again"):
            start = time.monotonic()
            with memory() as most:
                graded = grade(folder, out)
            taken = time.monotonic() - start
            print(
                f"{len(expected)} submissions, {run}: {taken:.0f} s, at most {most[0] / 2**30:.1f} GB of memory"
            )
        wrong = []
        for row in graded.rows:
            for name, answer in row.answers.items():
                got = (graded.points(row, name), answer.misconception)
                if got != expected[row.name].get(name.split(".")[1], got):
                    wrong.append(f"{row.name}, {name}: {got}")
        print(f"{len(wrong)} of {sum(len(row.answers) for row in graded.rows)} grades other than expected")
        print(*wrong, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "100")
