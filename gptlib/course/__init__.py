"""Exercises that answer back, quizzes, progress; for a class, workbooks and grading."""

from gptlib.extras import need

need("course")
from gptlib.course.desk.checking import check, hint  # noqa: E402
from gptlib.course.desk.progress import progress  # noqa: E402
from gptlib.course.desk.quizzes import Quiz, predict  # noqa: E402

__all__ = ["Quiz", "check", "hint", "predict", "progress"]
