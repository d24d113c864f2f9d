"""Figures of what a GPT does: `figures` for pictures that stand still."""

from gptlib.viz import figures

__all__ = ["figures"]
