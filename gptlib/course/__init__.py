"""Exercises that answer back, quizzes, progress; for a class, workbooks and grading."""

from gptlib.course.checking import check, hint
from gptlib.course.progress import progress
from gptlib.course.quizzes import Quiz, predict

__all__ = ["Quiz", "check", "hint", "predict", "progress"]
