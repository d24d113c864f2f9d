"""The templates of the site's pages."""

from __future__ import annotations

from pathlib import Path

import jinja2

THEME = Path(__file__).parent / "theme"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(THEME),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
