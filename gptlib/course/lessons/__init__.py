"""A lesson for each notebook, named as the notebook is: its exercises, predictions, quiz and objectives."""
