"""Exercises that answer back, quizzes, progress; for a class, workbooks and grading."""

from gptlib.course.desk.checking import check, hint
from gptlib.course.desk.progress import progress
from gptlib.course.desk.quizzes import Quiz, predict

__all__ = ["Quiz", "check", "hint", "predict", "progress"]
