"""A GPT in one page: a file that any browser opens without a network, with the model alive in it."""

from gptlib.viz.gpt_page.page import answers_code, own_code, own_style, page_code, page_style, write_page

__all__ = ["answers_code", "own_code", "own_style", "page_code", "page_style", "write_page"]
