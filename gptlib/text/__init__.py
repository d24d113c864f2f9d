"""Text: where it comes from, how it becomes tokens, and how likely it is without a model."""
