"""The GPT of the first page, which wakes by itself: the one-file GPT as one more explorer of the site."""

from __future__ import annotations

import base64
import functools
import gzip
import json

from gptlib.course.site import explorers
from gptlib.course.site.pictures import Pictures, element
from gptlib.loading import load
from gptlib.places import course_root
from gptlib.viz.explorers import living
from gptlib.viz.explorers.pages import packed
from gptlib.viz.gpt_page.page import OPENING, answers_code, own_code, own_style, page_text

ABOUT = {"title": "storyteller, the course’s own GPT", "script": "page.js", "model": "storyteller"}


DOWNLOAD = "downloads/storyteller.html"
PICTURE = "docs/explorers/gpt_page.png"


def figure(pictures: Pictures) -> str:
    """The HTML of the first page's GPT; its picture stands there until it is awake."""
    png = (course_root() / PICTURE).read_bytes()
    alt = "A text, what may follow it, and the way of its last token through the four layers of the model"
    picture = element(pictures.add(png), png, alt)
    return explorers.figure(ABOUT, "page", picture, "notebooks/00_welcome.ipynb", waken=True)


@functools.cache
def download() -> bytes:
    """The same GPT as one file to keep."""
    return page_text(*load("storyteller")).encode()


def assets() -> dict[str, str]:
    """The texts of the files that it needs beside those of explorers, by their paths in assets/."""
    names = ", ".join(explorers.shared_names())
    code = own_code().replace("export default", "const explorer =")
    state = base64.b64encode(gzip.compress(packed({"prompt": OPENING["storyteller"]}), mtime=0)).decode()
    scripts = {
        "explorers/page.js": f"(({{ {names} }}) => {{\n{code}\nreturn explorer;\n}})",
        "states/page.js": json.dumps(state),
        "live/runtime.js": json.dumps(f"{living.runtime_code()}\n{answers_code()}"),
    }
    files = {path: explorers.script_file(path, value) for path, value in scripts.items()}
    return files | {"explorers/page.css": own_style()}
