"""A lesson for each notebook, named by its topic: its exercises, predictions, quiz and objectives."""
