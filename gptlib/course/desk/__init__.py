"""What a reader works with: checks, hints, quizzes, predictions, progress and workbooks."""
