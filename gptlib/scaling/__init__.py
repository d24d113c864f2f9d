"""What a model costs, counted and measured, and what more of it would gain."""
