"""How long a class takes to grade, and whether its grades are right: `python benchmarks/grading.py [N]`.

The class is made up: each student hands in the attention notebook with answers that are right, wrong, a misconception,
hostile, or missing, drawn from a seed; what each should get is known.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

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
        ("def weighted_average(weights, values):\n    return weights.T @ values", 0, None),
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


def main(students: int) -> None:
    """Make a class, grade it, and say how long that took."""
    from gptlib.course.grading.marking import grade

    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "handed in", Path(place) / "out"
        folder.mkdir()
        expected = make_class(folder, students)
        for run in ("from nothing", "again"):
            start = time.monotonic()
            graded = grade(folder, out)
            print(f"{students} submissions, {run}: {time.monotonic() - start:.0f} s")
        wrong = 0
        for row in graded.rows:
            for name, answer in row.answers.items():
                got = (graded.points(row, name), answer.misconception)
                wrong += got != expected[row.name][name.split(".")[1]]
        print(f"{wrong} of {sum(len(row.answers) for row in graded.rows)} grades other than expected")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
