"""What a notebook keeps of an explorer beside its picture: its state, for the course's site to show it alive.

It is an output of a private type, which JupyterLab saves and shows nothing of, and nbconvert leaves out. So
the notebooks are the one source of the site, which is made without running anything.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from typing import Any

EXPLORER = "application/vnd.gptlib.explorer+json"
LARGEST = 300_000  # characters of a state: three times the largest in the course


def saved(title: str, script: str, code: str, state: bytes, model: str) -> dict[str, Any]:
    """What goes into the output: {EXPLORER: {…}}, or nothing for a state of more than LARGEST characters.

    title, script: the explorer's, such as "attention.js"; code: that script's text, of which the output holds
    a version, so that a notebook older than the page code is found.
    state: what `packed` gives. It is compressed in the same way each time.
    model: the name of a shipped model that can answer on a page what the explorer asks; "" for none.
    """
    text = base64.b64encode(gzip.compress(state, mtime=0)).decode()
    if len(text) > LARGEST:
        return {}
    about = {"title": title, "script": script, "version": version(code), "model": model}
    return {EXPLORER: {**about, "state": text}}


@functools.cache
def version(code: str) -> str:
    """A few letters that are others for another code."""
    return hashlib.sha256(code.encode()).hexdigest()[:12]
