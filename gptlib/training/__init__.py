"""From initial weights to trained ones, and from trained ones to a task of your own."""
