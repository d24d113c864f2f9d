"""Training in a page: a GPT of 56,736 parameters learns to write Storyworld's openings in a browser."""

from gptlib.viz.training_page.documents import Documents, Name, page_documents
from gptlib.viz.training_page.page import TrainingParts, network_config, training_parts, write_training_page

__all__ = [
    "Documents",
    "Name",
    "TrainingParts",
    "page_documents",
    "network_config",
    "training_parts",
    "write_training_page",
]
