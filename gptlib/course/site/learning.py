"""A page of the site in which a small GPT learns Storyworld's openings while one looks on."""

from __future__ import annotations

import html
import json

from gptlib.course.site.explorers import script_file, shared_names
from gptlib.course.site.pages import Page
from gptlib.course.site.templates import THEME
from gptlib.viz.explorers.pages import bare
from gptlib.viz.training_page import training_parts

PATH, TITLE = "learning.html", "Watch a GPT learn"
ABOUT = (
    "Here a small GPT begins with random weights and learns from the openings of stories, in this page, on "
    "your own processor. The stories come from the course’s generator, which knows how likely each of them "
    "is. So the lowest loss that anything can reach is known, and drawn as a line."
)
MORE = (
    'How a loss falls is the subject of <a href="03_learning.html">Learning</a> and '
    '<a href="10_training.html">Training</a>; how heads come to copy a name, of '
    '<a href="15_looking_inside.html">Looking inside</a>.'
)


def learning_page() -> Page:
    """The page; what it shows comes with `learning_assets`."""
    styles = "".join(
        f'<link rel="stylesheet" href="assets/{name}.css">' for name in ("explorers/shared", "training")
    )
    scripts = "".join(
        f'<script defer src="assets/{name}.js"></script>' for name in ("explorers/shared", "training")
    )
    body = (
        f"{styles}<h1>{html.escape(TITLE)}</h1>\n<p>{ABOUT}</p>\n"
        '<div class="explorer"><div class="stage"><div id="training"></div></div>'
        "<noscript><p>This needs JavaScript: the network is trained by a script.</p></noscript></div>\n"
        f"<p>{MORE}</p>\n{scripts}"
    )
    return Page(PATH, TITLE, body, [])


def learning_assets() -> dict[str, str]:
    """The texts of its files, by their paths in assets/. The documents come when a reader asks for them."""
    parts = training_parts()
    names = ", ".join(shared_names())
    script = (
        f'"use strict";\n{{\nconst {{ {names} }} = gptlib["explorers/shared.js"];\n{parts.script}\n'
        f"const WORKER = {json.dumps(parts.worker)};\n{bare(str(THEME / 'learning.js'))}\n}}\n"
    )
    documents = script_file("documents.js", json.dumps(parts.data))
    return {"training.js": script, "training.css": parts.style, "documents.js": documents}
