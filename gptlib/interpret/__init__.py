"""What a model does inside: recorded, changed, read off."""
