"""What pages of explorers are made of: code and style as they are sent, and a state as one block of bytes."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap

from gptlib.viz.drawing import ATTENTION, DIVERGING, SURPRISE

FOLDER = Path(__file__).parent
COLORS = {"attention": ATTENTION, "difference": DIVERGING, "surprise": SURPRISE}
SHARED = ("keeping.js", "shared.js")


def page_code(script: str) -> str:
    """An explorer's module: the colors and what all explorers share, then its own code."""
    return f"{shared_code()}\n{bare(script)}"


@functools.cache
def shared_code() -> str:
    """The colors, and what else the modules of all explorers begin with."""
    colors = json.dumps({name: color_table(color_map) for name, color_map in COLORS.items()})
    return "\n".join([f"const COLORS = {colors};", *map(bare, SHARED)])


def bare(script: str) -> str:
    """A file of page code as it is sent: without indentation, empty lines and whole-line comments."""
    lines = (FOLDER / script).read_text(encoding="utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and not line.strip().startswith("//"))


@functools.cache
def page_style(script: str) -> str:
    """What all explorers share, then the explorer's own style if it has one."""
    shared = (FOLDER / "shared.css").read_text(encoding="utf-8")
    return f"{shared}{own_style(script)}"


def own_style(script: str) -> str:
    """The explorer's own style, if it has one."""
    own = (FOLDER / script).with_suffix(".css")
    if not own.exists():
        return ""
    # With several explorers on one page, what they share comes again after one of them: its own style has to
    # count for more, and inside :root it does.
    return f":root {{\n{own.read_text(encoding='utf-8')}}}\n"


def filled(template: Path, parts: Mapping[str, str]) -> bytes:
    """A page of one file: the template with each %NAME% in it replaced by the part of that name.

    What a part says is left as it is, also where it has the look of a name. %ALLOWED% is what the page's
    policy allows: its one module, and no other script.
    """
    text = template.read_text(encoding="utf-8")
    module = text.partition('<script type="module">')[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(_filled(module, parts).encode()).digest()).decode()
    return _filled(text, {**parts, "ALLOWED": f"'sha256-{digest}'"}).encode()


def _filled(text: str, parts: Mapping[str, str]) -> str:
    return re.sub("%([A-Z]+)%", lambda name: parts[name[1]], text)


def color_table(color_map: Colormap) -> str:
    """256 colors as base64 of red, green, blue bytes."""
    rgb = (color_map(np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
    return base64.b64encode(rgb.tobytes()).decode()


def packed(state: dict[str, Any]) -> bytes:
    """The state as one block: the length of a JSON text in four bytes, the JSON, then all the bytes in it.

    In the JSON a bytes value stands as {"bytes": [start, stop]}, counted from the end of the JSON.
    """
    blocks: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, bytes):
            start = sum(map(len, blocks))
            blocks.append(value)
            return {"bytes": [start, start + len(value)]}
        return value

    text = json.dumps(plain(state), ensure_ascii=False, allow_nan=False).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, *blocks])
