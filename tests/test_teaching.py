"""What docs/teaching says of the course is so: names, minutes, links, and the numbers of exam answers."""

import cmath
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gptlib import attend
from gptlib.course import check
from gptlib.course.desk import workbooks
from gptlib.course.exercises import lessons
from gptlib.course.lessons.learning import backward, gradient_of_logits
from gptlib.course.prose import notebook_paths, short_title, topic_of
from gptlib.generation.sampling import apply_temperature, keep_top_k, keep_top_p
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.masks import causal_mask
from gptlib.model.positions import alibi_bias, sinusoidal_positions
from gptlib.model.presets import PRESETS
from gptlib.scaling.counting import count_parameters
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.lora import LoRALinear
from gptlib.training.schedule import learning_rate_at
from gptlib.viz import explorers

ROOT = Path(__file__).resolve().parents[1]
TEACHING = ROOT / "docs" / "teaching"
PAGES = sorted(TEACHING.glob("*.md"))
PLANS = {topic: TEACHING / f"plan_{topic}.md" for topic in lessons()}
EXERCISES = {task.name: task for lesson in lessons().values() for task in lesson.exercises}
QUESTIONS = {
    task.name: lesson.topic
    for lesson in lessons().values()
    for task in (*lesson.predictions, *lesson.quiz, *lesson.exercises)
}
AREAS = {name.split(".")[0] for name in QUESTIONS}


def without_code(page):
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def names_in(page):
    """Every `area.name` in backticks whose area is one of the course's."""
    found = re.findall(r"`([a-z0-9_]+)\.(\w+)`", without_code(page))
    files = {"json", "py", "md", "csv", "html"}
    return {f"{area}.{name}" for area, name in found if area in AREAS and name not in files}


def source_of(topic):
    """The notebook's cells, and its lesson, which has the titles of the figures that predictions show."""
    cells = json.loads(lessons()[topic].notebook.read_text(encoding="utf-8"))["cells"]
    lesson = (ROOT / "gptlib" / "course" / "lessons" / f"{topic}.py").read_text(encoding="utf-8")
    return "\n".join(["".join(cell["source"]) for cell in cells] + [lesson])


# ------------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_exercise_and_question_that_is_named_exists(page):
    assert names_in(page) <= set(QUESTIONS)


def minutes_column(table):
    """The minutes of each row of a Markdown table that has such a column, and the stated sum."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    place = rows[0].index("minutes")
    *parts, total = [row[place] for row in rows[2:]]
    return list(map(int, parts)), int(total.strip("*"))


@pytest.mark.parametrize("page", [*PLANS.values(), TEACHING / "syllabi.md"], ids=lambda page: page.stem)
def test_minutes_add_up(page):
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), flags=re.M)
    timed = [table for table in tables if re.match(r"\|.*\bminutes\b", table)]
    assert len(timed) == (3 if page.stem == "syllabi" else 1)
    for table in timed:
        parts, total = minutes_column(table)
        assert sum(parts) == total


# ------------------------------------------------------------------------------------------------------ plans


@pytest.mark.parametrize("topic", PLANS)
def test_every_notebook_has_a_plan(topic):
    plan = PLANS[topic].read_text(encoding="utf-8")
    assert f"(../../notebooks/{lessons()[topic].notebook.name})" in plan
    assert f"make slides NB={topic}`" in plan
    for heading in ("Minutes", "Common wrong answers", "For the board", "Show live", "When time is short"):
        assert f"\n## {heading}\n" in plan
    stated = int(re.search(r"\*\*(\d+) minutes\*\*", plan)[1])
    assert f"| **{stated}** | in all" in plan
    assert f"(plan_{topic}.md)" in (TEACHING / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_a_plan_names_what_its_lesson_asks(lesson):
    named = names_in(PLANS[lesson.topic])
    assert {task.name for task in (*lesson.exercises, *lesson.predictions)} <= named
    assert {QUESTIONS[name] for name in named} <= {lesson.topic}


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_a_plan_explains_wrong_answers_to_each_exercise_by_name(lesson):
    plan = PLANS[lesson.topic].read_text(encoding="utf-8")
    headings = re.findall(
        r"^### `(.+?)` · (\d+) minutes · difficulty (\d)\n(.*?)(?=^##)", plan, flags=re.M | re.S
    )
    assert [(name, int(minutes), int(level)) for name, minutes, level, _ in headings] == [
        (task.name, task.minutes, task.difficulty) for task in lesson.exercises
    ]
    for name, _, _, told in headings:
        bullets = re.findall(r"^- ((?:`\w+`(?:, )?)+)", told, flags=re.M)
        wrong = [answer for bullet in bullets for answer in re.findall(r"`(\w+)`", bullet)]
        assert len(wrong) == len(set(wrong)) >= 3
        assert set(wrong) <= {misconception.name for misconception in EXERCISES[name].misconceptions}


@pytest.mark.parametrize("topic", PLANS)
def test_an_explorer_that_a_plan_shows_is_in_the_notebook(topic):
    section = PLANS[topic].read_text(encoding="utf-8").split("## Show live")[1].split("\n## ")[0]
    shown = set(re.findall(r"`(\w+)`", section)) & set(explorers.__all__)
    assert all(f"{name}(" in source_of(topic) or f"{name}." in source_of(topic) for name in shown)
    assert shown or "No explorer here" in section


# ------------------------------------------------------------------------------------------------------ exams


def exam_questions():
    """number -> (notebook's short title, kind, points, question, answer)"""
    text = (TEACHING / "exams.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^### (\d+)\. [^\n]+\n\n\*([^·\n]+) · ([a-z ]+) · (\d) points\*\n\n(.+?)"
        r"<details><summary>Answer</summary>\n\n(.+?)\n</details>",
        text,
        flags=re.M | re.S,
    )
    return {int(number): rest for number, *rest in found}


EXAM = exam_questions()
TITLED = {short_title(path): topic_of(path) for path in notebook_paths()}


def test_the_exam_has_questions_of_all_kinds_on_all_notebooks():
    assert list(EXAM) == list(range(1, 64))
    assert {title for title, *_ in EXAM.values()} == set(TITLED)
    kinds = {kind for _, kind, *_ in EXAM.values()}
    assert kinds == {"compute by hand", "find the error", "explain a figure", "design"}


def test_the_points_of_the_proposed_exams_add_up():
    text = (TEACHING / "exams.md").read_text(encoding="utf-8")
    proposed = re.findall(r"((?:\d+,\s+)+\d+)\s+\((\d+) points\)", text)
    assert len(proposed) == 2
    for numbers, points in proposed:
        assert sum(int(EXAM[int(number)][2]) for number in numbers.split(",")) == int(points)


@pytest.mark.parametrize(
    "number", [number for number, (_, kind, *_) in EXAM.items() if kind == "explain a figure"]
)
def test_a_figure_that_is_asked_about_is_in_its_notebook(number):
    title, _, _, question, _ = EXAM[number]
    for figure in re.findall(r"\*\*(.+?)\*\*", question):
        assert all(part.strip() in source_of(TITLED[title]) for part in figure.split("…"))


def written(value, digits):
    """A number as the answers write it."""
    return f"{value:,.{digits}f}".replace("-", "−")


def numbers_of(*values, digits=2):
    return [written(float(value), digits) for value in values]


def bits(*given):
    return -np.log2(given)


def block_parameters(d):
    counts = count_parameters(GPTConfig(1, 1, n_layers=1, n_heads=4, d_model=d))
    return counts["attention"], counts["mlp"], counts["norms"] - 2 * d  # without the final norm


def first_step(gradient, weight, decay):
    parameter = torch.nn.Parameter(torch.tensor([weight]))
    optimizer = torch.optim.AdamW([parameter], lr=0.001, weight_decay=decay)
    parameter.grad = torch.tensor([gradient])
    optimizer.step()
    return parameter.item() - weight


def attended():
    queries = torch.tensor([[2.0, 0, 0, 0]])
    keys = torch.tensor([[1.0, 0, 0, 3], [0, 4, 0, 0], [-1, 5, 0, 0]])
    output, weights = attend(queries[None, None], keys[None, None], torch.tensor([[[[10.0], [20], [40]]]]))
    return weights.flatten(), output.item()


def look():
    """The weights of "lost" and of "red" in question 15."""
    words = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2]])
    queries, keys = words @ torch.tensor([[0.0], [3], [0], [0]]), words @ torch.tensor([[0.0], [0], [0], [1]])
    _, weights = attend(queries[None, None], keys[None, None], words[None, None])
    return weights[0, 0, 1, 4], weights[0, 0, 3]


def hidden():
    scores, seen = torch.tensor([3.0, 1, 2, 4]).log(), torch.tensor([1.0, 1, 1, 0])
    filled = scores.masked_fill(seen == 0, -math.inf).softmax(0)
    return filled, (scores * seen).softmax(0), scores.softmax(0) * seen


def rotary_score(query_place, key_place):
    """Of two arrows (1, 0) that a clock of 30 degrees a place has turned."""
    query, key = (cmath.rect(1, math.radians(30 * place)) for place in (query_place, key_place))
    return query.real * key.real + query.imag * key.imag


def near_weight(slope):
    return torch.tensor([1 - 2 * slope, 4 - 10 * slope]).softmax(0)[0]


def normed(vector, weight=1.0, bias=0.0):
    return F.layer_norm(torch.tensor(vector), (4,)) * weight + bias


def rate(step):
    return learning_rate_at(step, TrainConfig(steps=1101, learning_rate=1e-3, warmup_steps=100))


def kept(logits):
    return int(logits.isfinite().sum()), logits.softmax(0)[0]


TAIL = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05]).log()
HOT = torch.tensor([8.0, 4, 2, 1]).log()
STORYTELLER = count_parameters(PRESETS["storyteller"])["total"]
MEDIUM = count_parameters(PRESETS["gpt2-medium"])["total"]
SMALL = count_parameters(GPTConfig(2048, 64, n_layers=2, n_heads=4, d_model=64))
GPT2 = count_parameters(PRESETS["gpt2"])["total"]
LORA = sum(
    parameter.numel()
    for name, parameter in LoRALinear(torch.nn.Linear(128, 384), 8, 2.0).named_parameters()
    if "lora" in name
)
LAYER = sum(parameter.numel() for parameter in torch.nn.Linear(128, 384).parameters())
ONE_STEP = torch.tensor([0.0, 0.0, math.log(2)])
LOW = Tokenizer.train(["low low lower"], vocab_size=259, special_tokens=())


def cache_bytes(kv_heads, n_tokens):
    """Of question 56's model, in 2 bytes a number: keys and values of one text."""
    config = GPTConfig(
        vocab_size=2, context_length=n_tokens, n_layers=12, n_heads=12, d_model=768, n_kv_heads=kv_heads
    )
    cache = KeyValueCache(config, dtype=torch.bfloat16)
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


# What code says for a question, as its answer writes it.

COMPUTED = {
    2: lambda: ["1/8", *numbers_of(-math.log(5 / 8 * 1 / 5))],
    3: lambda: [
        f"{bits(1 / 4, 1 / 16, 1 / 2, 1 / 2).sum():.0f} bits",
        f"{bits(1 / 4, 1 / 16, 1 / 2, 1 / 2).mean():.0f} bits per token",
        *numbers_of(8 / 12),
    ],
    4: lambda: numbers_of(2.1 / 4.2, 2.1 / 4.2 / math.log(2), 1.3 / math.log(2)),
    6: lambda: [*numbers_of((4 + 3 * 0.1) / 9, digits=3), *numbers_of(3 * 0.02 / 9, digits=4)],
    7: lambda: [
        ", ".join(LOW.token_bytes(token).decode() for token in LOW.encode("slower")),
        {5: "five tokens"}[len(LOW.encode("slower low"))],
    ],
    8: lambda: [f"{len('Zoë 🪁')} characters", f"{len('Zoë 🪁'.encode())} bytes"],
    10: lambda: [f"{2048 * 128:,}", f"{2048 * 128 / STORYTELLER:.0%}"],
    11: lambda: [*numbers_of(*attended()[0], digits=3), *numbers_of(attended()[1])],
    13: lambda: [f"√1024 = {math.sqrt(1024):.0f}", *numbers_of(0.999 * 0.001, 1 / 16 * 15 / 16, digits=3)],
    14: lambda: numbers_of(math.log(2) * 1.5, math.log(4), 1.5 * math.log(2) / math.log(4)),
    15: lambda: [*numbers_of(look()[0], digits=5), *numbers_of(look()[1][0], digits=1)],
    16: lambda: [
        *numbers_of(*hidden()[0][1:3]),
        ", ".join(numbers_of(*hidden()[1])),
        ", ".join(numbers_of(*hidden()[2][:3], digits=1)),
        f"sum to {hidden()[2].sum():.1f}",
    ],
    17: lambda: [f"{1 / 64:.1%}"],
    20: lambda: [
        f"{causal_mask(8).sum()}",
        f"{causal_mask(1024).sum():,}",
        f"{causal_mask(1024).float().mean():.2%}",
    ],
    21: lambda: [
        ", ".join(numbers_of(*sinusoidal_positions(3, 4)[2], digits=3)),
        *numbers_of(2 * math.pi),
        f"{200 * math.pi:.0f} positions",
    ],
    22: lambda: [
        f"score is {abs(round(rotary_score(2, 5), 4)):.0f}",
        f"score is {abs(round(rotary_score(102, 105), 4)):.0f}",
        f"it is {rotary_score(7, 7):.0f}",
    ],
    23: lambda: numbers_of(near_weight(1 / 2), near_weight(1 / 256), 1 - 2 / 256, 4 - 10 / 256),
    29: lambda: [f"{block_parameters(64)[0]:,}", f"{4 * 8 * 20 * 20:,}", f"{4 * 16 * 20 * 20:,}"],
    30: lambda: [
        ", ".join(numbers_of(*normed([0.0, 0, 0, 4]))),
        ", ".join(numbers_of(*normed([0.0, 0, 0, 4], 2, 1))),
    ],
    32: lambda: [
        *(f"{part:,}" for part in block_parameters(256)),
        f"{sum(block_parameters(256)):,}",
        f"{1 - 12 * 256**2 / sum(block_parameters(256)):.1%}",
    ],
    34: lambda: [*numbers_of(0.3**12 * 1e7, digits=1), *numbers_of(1.3**12, digits=1)],
    35: lambda: [
        f"{sum(block_parameters(64)):,}",
        f"{count_parameters(GPTConfig(1000, 128, n_layers=2, n_heads=4, d_model=64))['total']:,}",
    ],
    36: lambda: numbers_of(math.log(32000)),
    37: lambda: [
        *numbers_of(6 * MEDIUM * 2e10 / 1e19),
        f"{6 * MEDIUM * 2e10 / 5e13:,.0f} seconds",
        f"{6 * MEDIUM * 2e10 / 5e13 / 86400:.1f} days",
    ],
    38: lambda: [
        f"{SMALL['attention'] + SMALL['mlp'] + 4 * 128:,}",
        f"{SMALL['token_embedding']:,} + {SMALL['position']:,} + {2 * 64}",
    ],
    40: lambda: [
        f"+{first_step(-4000.0, 0.0, 0.0):.3f}",
        written(first_step(0.02, 0.0, 0.0), 3),
        f"{first_step(-0.02, 2.0, 0.0) - first_step(-0.02, 2.0, 0.1):.4f}",
    ],
    41: lambda: [f"{rate(0):.5f}", f"{rate(49):.4f}", f"{rate(600):.5f}", f"{rate(1100):.4f}"],
    43: lambda: [
        ", ".join(numbers_of(*(np.array([6, -2, 3]) * 1.4 / 7), digits=1)),
        f"norm {math.sqrt(0.49):.1f}",
    ],
    45: lambda: [f"{1300 * 4 * 208:,}", *numbers_of(1300 * 4 * 208 / 1124223)],
    46: lambda: [", ".join(numbers_of(*apply_temperature(HOT, heat).softmax(0))) for heat in (1, 0.5, 2)],
    47: lambda: numbers_of(kept(keep_top_p(TAIL, 0.6))[1], kept(keep_top_k(TAIL, 3))[1]),
    48: lambda: [f"{sum(range(10, 60)):,}", f"= {10 + 49}"],
    51: lambda: [f"{GPT2 * size / 1e6:,.0f} MB" for size in (4, 2, 16)],
    53: lambda: [
        f"= {LORA:,}",
        f"{LAYER:,}",
        f"{LORA / LAYER:.1%}",
        f"rank {128 * 384 // (128 + 384) + 1}",
    ],
    56: lambda: [
        f"{cache_bytes(12, 1024):,}",
        f"{cache_bytes(12, 1024) / 1e6:.1f} MB",
        f"{cache_bytes(3, 1024):,}",
        f"{cache_bytes(12, 255):,}",
    ],
    57: lambda: [
        f"{6 * 20e6 * 400e6:.1e}".replace("e+", "e"),
        f"{6 * 20e6 * 400e6 / 60e9:,.0f} seconds",
        f"{6 * 20e6 * 400e6 / 60e9 / 3600:.0f} hours",
        f"√4 = {math.sqrt(4):.0f} times",
    ],
    58: lambda: [f"{64 * 200:,}", f"{64 * 200 * 0.15:,.0f}", f"{1 / 0.15:.1f} times"],
    62: lambda: [
        ", ".join(numbers_of(*ONE_STEP.softmax(0))[:1]),
        *numbers_of(-ONE_STEP.log_softmax(0)[1]),
        ", ".join(numbers_of(*gradient_of_logits(ONE_STEP, 1))),
        ", ".join(numbers_of(*(ONE_STEP - 2 * gradient_of_logits(ONE_STEP, 1)))),
    ],
    63: lambda: [
        f"in place of {backward([[], [(0, 3.0), (0, 3.0)]])[0]:.0f}",
    ],
}


@pytest.mark.parametrize("number", COMPUTED)
def test_the_numbers_of_an_answer_are_right(number):
    answer = " ".join(EXAM[number][4].split())
    for said in COMPUTED[number]():
        assert said in answer


def test_an_answer_that_is_computed_by_hand_is_computed_here():
    by_hand = {number for number, (_, kind, *_) in EXAM.items() if kind == "compute by hand"}
    assert by_hand - set(COMPUTED) == {26}  # which has a test of its own


def test_numbers_that_questions_give_are_the_courses():
    assert f"{STORYTELLER:,}" in EXAM[10][3] and f"{MEDIUM:,}" in EXAM[37][3]
    assert f"{SMALL['total']:,}" in EXAM[38][3]
    assert [LOW.merges[n] for n in range(3)] == [(b"l", b"o"), (b"lo", b"w"), (b" ", b"low")]
    assert kept(keep_top_p(TAIL, 0.6))[0] == 2


def test_heads_split_by_one_reshape():
    words = torch.arange(12).view(2, 6)
    assert words.unflatten(-1, (3, 2)).transpose(0, 1)[1].tolist() == [[2, 3], [8, 9]]
    assert words.reshape(3, 2, 2)[1].tolist() == [[4, 5], [6, 7]]

    def heads_of(x):  # split wrongly, merged as it should be
        split = x.reshape(2, 3, 2)
        return attend(split, split, split, causal_mask(3))[0].transpose(0, 1).flatten(1)

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    changed = torch.cat([x[:1], x[1:] + 1])
    assert not torch.allclose(heads_of(x)[0], heads_of(changed)[0])  # question 27: word 0 sees later words


def test_alibi_has_the_slopes_of_the_question():
    slopes = -alibi_bias(8, 2, 2)[:, 1, 0]
    assert slopes[0] == 1 / 2 and slopes[-1] == 1 / 256


def test_two_neurons_give_the_distance():
    pairs = torch.tensor([[0.0, 0], [1, 0], [0, 1], [3, -2]])
    up, down = torch.tensor([[1.0, -1], [-1, 1]]), torch.ones(2, 1)
    assert torch.equal(((pairs @ up).relu() @ down)[:, 0], (pairs[:, 0] - pairs[:, 1]).abs())


# ---------------------------------------------------------------------------------------------------- running


def test_a_course_that_nobody_may_write_to_serves_a_student(tmp_path, monkeypatch):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setenv("GPTLIB_PROGRESS", str(tmp_path / "work" / "progress.json"))
    notebooks, work = tmp_path / "notebooks", tmp_path / "work"
    made = workbooks.start(notebooks, work, ["attention"])
    assert [each.action for each in made] == ["made"] and (work / "04_attention.ipynb").is_file()
    assert [each.action for each in workbooks.update(notebooks, work)] == ["current"]
    check("attention.weighted_average", lambda weights, values: weights @ values)
    assert "attention.weighted_average" in (work / "progress.json").read_text()


def test_what_the_pages_say_of_files_is_so():
    text = (TEACHING / "running.md").read_text(encoding="utf-8")
    environment = (ROOT / "environment.yml").read_text()
    assert (
        "python=3.12" in environment and "-e .[test]" in environment and "-c constraints.txt" in environment
    )
    assert "torch==2.13.0" in text and "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    for key in ("`slide`", "`subslide`", "`fragment`", "`notes`", "`skip`"):
        assert f"| {key} |" in text
