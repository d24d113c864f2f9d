"""Grade what a class handed in: `gptlib grade SUBMISSIONS --out DIR`.

DIR/results/ keeps a file for each notebook of each student, written whole as soon as it is graded, so that a
run that was stopped goes on where it was. Points are not in it: another rubric needs no new run.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gptlib.checks import check_whole
from gptlib.course.exercises import Lesson, lessons
from gptlib.course.grading.answers import Answer, ReadNotebook
from gptlib.course.grading.by_hand import find_student, read_by_hand, start_by_hand
from gptlib.course.grading.examiner import Examiner, could_not, sentence
from gptlib.course.grading.grades import Class, Graded, Row, safe_name
from gptlib.course.grading.rubrics import plain_rubric, read_rubric
from gptlib.course.grading.runner import Limits, Runner
from gptlib.course.grading.students import File, Student
from gptlib.course.grading.submissions import find_submissions
from gptlib.course.grading.tallies import past, remember, tally
from gptlib.course.judging import COULD_NOT, NOT_ATTEMPTED, NOT_YET, said
from gptlib.files import write_atomically
from gptlib.places import PACKAGE

# The modules that a verdict comes from.
JUDGES = ("comparing.py", "exercises.py", "judging.py", "limits.py", "grading/*.py")

# An answer of fewer characters is the same in many heads.
TELLING = 60


def grade(
    submissions: Path,
    out: Path,
    rubric: Path | None = None,
    jobs: int = 2,
    limits: Limits | None = None,
    progress: bool = True,
    again: Sequence[str] = (),
    since: Path | None = None,
) -> Class:
    """Grade all notebooks in a folder or zip, and write the table and the pages of the reports to `out`.

    `jobs` answers run at a time. Called again, it grades only what is new or was changed, in the submissions
    or in the course, and the students named in `again`. What a teacher wrote in `out`/by_hand.csv counts.
    `since` is the `out` of an earlier grading that the class is compared with; without it, the last one in
    this `out` that differs.

    Raises FileNotFoundError or ValueError, in one sentence, if there is nothing to grade, `rubric` or
    by_hand.csv is none, a name is nobody's, nothing was graded in `since`, or `jobs` is below 1.
    """
    from gptlib.course.grading.reports import write_reports

    check_whole("jobs", jobs)
    scale = read_rubric(rubric) if rubric else plain_rubric()
    limits = limits or Limits()
    results = out / "results"
    earlier = past(since / "results") if since else []
    if since and not earlier:
        raise ValueError(
            f"since is {str(since)!r}, where nothing was graded; give the --out of an earlier run"
        )
    with Examiner(limits) as examiner:
        students = find_submissions(submissions, _Reader(examiner, results).read, leave_out=out)
        chosen = {student.name: _chosen(student) for student in students}
        topics = {topic for files, _ in chosen.values() for topic in files}
        marked = [lesson for lesson in lessons().values() if lesson.topic in topics]
        exercises = [task for lesson in marked for task in lesson.exercises]
        by_hand = read_by_hand(out / "by_hand.csv", students, exercises, scale)
        for path in _kept_of([find_student(name, students) for name in again], results):
            path.unlink()
        results.mkdir(parents=True, exist_ok=True)
        grader = _Grader(marked, _secret(results), limits, results, examiner)
        try:
            rows = list(_rows(grader, students, chosen, jobs, progress))
        finally:
            grader.close()
    _mark_identical(rows, chosen)
    graded = Class(marked, rows, scale, by_hand)
    tallies = [tally(graded, task) for task in graded.exercises]
    before = remember(results, tallies, date.today())
    write_reports(graded, tallies, earlier[-1] if earlier else before, out)
    start_by_hand(out / "by_hand.csv")
    return graded


def _kept_of(students: Sequence[Student], results: Path) -> list[Path]:
    return [path for student in students for path in results.glob(f"{safe_name(student.name)}.*.json")]


def _rows(
    grader: _Grader,
    students: Sequence[Student],
    chosen: dict[str, tuple[dict[str, File], list[str]]],
    jobs: int,
    progress: bool,
) -> Iterator[Row]:
    from tqdm import tqdm

    with ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(grader.row, student, *chosen[student.name]) for student in students]
        bar = tqdm(total=len(pending), unit="student", disable=not progress, file=sys.stderr)
        try:
            for each in pending:
                yield each.result()
                bar.update()
        except BaseException:
            for each in pending:
                each.cancel()
            grader.close()
            raise
        finally:
            bar.close()


def _chosen(student: Student) -> tuple[dict[str, File], list[str]]:
    """The file to grade for each notebook, and remarks on the others."""
    candidates: dict[str, list[File]] = defaultdict(list)
    remarks = ["it was handed in late"] if student.late else []
    for file in student.files:
        if file.topic and not file.problem:
            candidates[file.topic].append(file)
    for file in student.files:
        if file.problem and (not candidates or file.path[-1].lower().endswith(".ipynb")):
            remarks.append(f"{file.label}: {file.problem}")
    files = {}
    for topic, found in sorted(candidates.items()):
        files[topic] = found[-1]
        if len({file.digest for file in found}) > 1:
            done = [sum(answer.attempted for answer in file.answers) for file in found]
            place = max(range(len(found)), key=lambda k: (done[k], k))
            files[topic] = found[place]
            name = lessons()[topic].notebook.stem
            remarks.append(f"{len(found)} files hold {name}; {found[place].label} was graded")
    return files, remarks


class _Reader:
    """Reads what `examiner` reads, but each file once: what was in it is kept in `results`/read."""

    def __init__(self, examiner: Examiner, results: Path) -> None:
        self.examiner, self.folder = examiner, results / "read"
        files = [lesson.notebook for lesson in lessons().values()]
        files += (PACKAGE / "course").glob("grading/*.py")
        self.version = _digest(files, f"{sys.version} {version('ipython')}")

    def read(self, contents: bytes, name: str) -> ReadNotebook:
        """What is in the bytes of a file of this name. Raises NoNotebook, and nothing else."""
        key = sha256(f"{self.version} {name} {sha256(contents).hexdigest()}".encode()).hexdigest()
        path = self.folder / f"{key}.json"
        try:
            return ReadNotebook.from_dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found = self.examiner.read(contents, name)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(json.dumps(asdict(found)).encode()))
        return found


class _Grader:
    """What all students are graded with: the same inputs, and a runner for each thread."""

    def __init__(
        self, marked: Sequence[Lesson], secret: str, limits: Limits, results: Path, examiner: Examiner
    ) -> None:
        self.secret, self.limits, self.results, self.examiner = secret, limits, results, examiner
        self.versions = {lesson.topic: course_version(lesson) for lesson in marked}
        self.lock = threading.Lock()
        self.local = threading.local()
        self.runners: list[Runner] = []

    def row(self, student: Student, files: dict[str, File], remarks: Sequence[str]) -> Row:
        """A student's row, from the kept results where they still hold."""
        labels = {topic: file.label for topic, file in files.items()}
        row = Row(student.name, student.id, labels, remarks=list(remarks))
        for topic, file in files.items():
            for graded in self._notebook(student.name, topic, file):
                row.answers[graded.exercise] = graded
        return row

    def _notebook(self, name: str, topic: str, file: File) -> list[Graded]:
        said = [self.versions[topic], self.secret, topic, file.digest, asdict(self.limits)]
        key = sha256(json.dumps(said).encode()).hexdigest()
        path = self.results / f"{safe_name(name)}.{topic}.json"
        kept = _kept(path, key)
        if kept is not None:
            return kept
        graded = self._graded(file.answers)
        if all(each.status != COULD_NOT for each in graded):  # else it is tried again
            text = json.dumps(
                {"key": key, "student": name, "answers": [asdict(each) for each in graded]}, indent=1
            )
            write_atomically(path, lambda binary: binary.write(text.encode()))
        return graded

    def _graded(self, answers: Sequence[Answer]) -> list[Graded]:
        graded: list[Graded] = []
        for answer in answers:
            right = [each.exercise for each in graded if each.status == "right"]
            graded.append(self._answer(answer, right))
        return graded

    def _answer(self, answer: Answer, right: Sequence[str]) -> Graded:
        remarks, telling = list(answer.remarks), answer.added >= TELLING
        base = Graded(answer.exercise, NOT_YET, "", source=answer.source, remarks=remarks, telling=telling)
        if not answer.attempted:
            return replace(base, status=NOT_ATTEMPTED, message="Nothing was written.")
        if answer.problem or answer.cell is None:
            return replace(base, message=sentence(answer.problem or "there is nothing to run"))
        try:
            seed = self._seed(answer.exercise)
            ran = self._runner().run(answer, seed, right)
            with self.lock:
                judged = self.examiner.judge(answer.exercise, seed, ran)
        except Exception as error:  # of one answer: the others are graded all the same
            judged = could_not(said(error))
        if judged.refused:
            others = len(judged.refused) - 1
            remarks.append(f"it was refused {judged.refused[0]}" + (f", and {others} more" if others else ""))
        given_back = judged.status == NOT_ATTEMPTED
        return replace(
            base,
            status=judged.status,
            message="It still gives back `...`." if given_back else judged.message,
            misconception=judged.misconception,
            share=judged.share,
            trouble=judged.because,
        )

    def _seed(self, exercise: str) -> int:
        return int(sha256(f"{self.secret} {exercise}".encode()).hexdigest()[:15], 16)

    def _runner(self) -> Runner:
        if not hasattr(self.local, "runner"):
            self.local.runner = Runner(self.limits)
            with self.lock:
                self.runners.append(self.local.runner)
        return self.local.runner

    def close(self) -> None:
        while self.runners:
            self.runners.pop().close()


def course_version(lesson: Lesson) -> str:
    """What verdicts depend on beside the submission: the library, the lesson, and what they run on."""
    course = PACKAGE / "course"
    files = [path for path in PACKAGE.rglob("*.py") if course not in path.parents]
    files += [path for pattern in JUDGES for path in course.glob(pattern)]
    files += [course / "lessons" / f"{lesson.topic}.py", lesson.notebook]
    return _digest(files, f"{sys.version} {torch.__version__}")


def _digest(files: Sequence[Path], more: str) -> str:
    """Of the names and contents of files, and of a text."""
    found = sha256(more.encode())
    for path in sorted(files):
        found.update(path.name.encode() + sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _secret(results: Path) -> str:
    """What the hidden seeds come from: drawn once for a class, so that a run that goes on is the same run."""
    path = results / "secret.json"
    try:
        secret = json.loads(path.read_bytes())["secret"]
        if isinstance(secret, str):
            return secret
    except (OSError, ValueError, KeyError, TypeError):
        pass
    secret = secrets.token_hex(16)
    write_atomically(path, lambda file: file.write(json.dumps({"secret": secret}).encode()))
    return secret


def _kept(path: Path, key: str) -> list[Graded] | None:
    try:
        found = json.loads(path.read_bytes())
        return [Graded(**each) for each in found["answers"]] if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mark_identical(rows: Sequence[Row], chosen: dict[str, tuple[dict[str, File], list[str]]]) -> None:
    """Remark on rows with the same file, or with the same answers, of which two are long enough to tell."""
    same: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        for topic, file in chosen[row.name][0].items():
            theirs = [row.answers[task.name] for task in lessons()[topic].exercises]
            written = [(each.exercise, each.source) for each in theirs if each.status != NOT_ATTEMPTED]
            if written:
                same[topic, "file", file.digest].append(row)
            if sum(each.telling for each in theirs) >= 2:
                same[(topic, "answers", *written)].append(row)
    for (topic, what, *_), group in same.items():
        for row in group:
            others = ", ".join(other.name for other in group if other is not row)
            remark = f"{topic}: the same {what} as {others}"
            said = f"{topic}: the same file as {others}"
            if others and said not in row.alike:
                row.alike.append(remark)
