"""The explorers on the course's site: from what notebooks keep of them (gptlib.viz.explorers.saved) to the
files of which their pages are made. Nothing is run for it.

An explorer is a figure with its picture, which theme/explorers.js makes alive. Files are classic scripts that
put a value into the global `gptlib` under the file's name: unlike modules and `fetch`, they work in a page
that was opened from a disk.

    assets/explorers.js, assets/explorers.css   what makes them alive; on each page that has an explorer
    assets/explorers/shared.js, shared.css      what their page code has in common
    assets/explorers/attention.js, .css         each one's own
    assets/states/07_many_heads.touch-it.js     what one shows
    assets/live/runtime.js, storyteller.js      the model that answers, fetched when a reader asks for it
"""

from __future__ import annotations

import base64
import functools
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptlib.loading import load
from gptlib.viz.explorers import living
from gptlib.viz.explorers.pages import FOLDER, SHARED, bare, own_style, shared_code
from gptlib.viz.explorers.saved import EXPLORER

# What needs Python where no model is in the page, and what a reader can do once one is.
NEEDS = {
    "attention.js": "Another text, or a change to the heads, needs Python",
    "bpe.js": "A text of your own needs Python",
    "dashboard.js": "A training run of your own needs Python",
    "generation.js": "Another prompt, or a token that was not tried here, needs Python",
    "patching.js": "Another pair of texts needs Python",
}
AWAKE = {
    "attention.js": "type a text of your own, remove a head, and see what the model says",
    "generation.js": "type a prompt of your own, and let the model write",
    "page.js": "type a text of your own, or press Run and follow a token through the whole model",
    "patching.js": "type two texts of your own, and see where in the model they differ",
}


def kept(output: Mapping[str, Any]) -> dict[str, str] | None:
    """What a cell's output keeps of an explorer (gptlib.viz.explorers.saved says what); None for others."""
    return output.get("data", {}).get(EXPLORER)


def figure(explorer: Mapping[str, str], name: str, picture: str, notebook: str, waken: bool = False) -> str:
    """The HTML of an explorer's figure.

    explorer: what `kept` gives. name: the state's, unique on the site. picture: the <img> that is seen until
    the explorer is there. notebook: the address of the notebook's file. waken: wake its model without being
    asked, once a reader comes near.
    """
    script, model = explorer["script"], explorer["model"]
    data = {"script": script, "state": name} | ({"model": model} if model else {})
    attributes = "".join(f' data-{key}="{html.escape(value)}"' for key, value in data.items())
    bar, told = "", "All of it works in this page."
    if model:
        label = f"Wake the model ({len(packed_model(model)) / 1e6:.1f} MB)"
        bar = f'<div class="waking" hidden><button type="button">{label}</button>'
        bar += f'<p role="status" data-awake="{AWAKE[script]}">Then {AWAKE[script]}.</p></div>'
        told = ""
    elif script in NEEDS:
        told = f'{NEEDS[script]}: <a href="{html.escape(notebook)}" download>open the notebook</a>.'
    caption = f"<figcaption><b>{html.escape(explorer['title'])}.</b> {told}</figcaption>"
    return f'<figure class="explorer"{attributes}{" data-waken" * waken}>{bar}{picture}{caption}</figure>'


@functools.cache
def packed_model(name: str) -> str:
    """A shipped model as its file on the site has it: packed, in base64."""
    return base64.b64encode(living.pack_model(*load(name))).decode()


def assets(explorers: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The texts of all files that explorers need, by their paths in assets/; explorers: each by its name."""
    files = {
        "explorers.js": f'"use strict";\n{{\n{bare("live/host.js")}\n{_theme("explorers.js")}}}\n',
        "explorers.css": _theme("explorers.css"),
        "explorers/shared.css": (FOLDER / "shared.css").read_text(encoding="utf-8"),
    }
    names = ", ".join(shared_names())
    scripts = {"explorers/shared.js": f"(() => {{\n{shared_code()}\nreturn {{ {names} }};\n}})()"}
    for script in sorted({one["script"] for one in explorers.values()}):
        code = bare(script).replace("export default", "const explorer =")
        scripts[f"explorers/{script}"] = f"(({{ {names} }}) => {{\n{code}\nreturn explorer;\n}})"
        files[f"explorers/{Path(script).stem}.css"] = own_style(script)
    for name, one in explorers.items():
        scripts[f"states/{name}.js"] = json.dumps(one["state"])
    models = sorted({one["model"] for one in explorers.values()} - {""})
    for name in models:
        scripts[f"live/{name}.js"] = json.dumps(packed_model(name))
    if models:
        scripts["live/runtime.js"] = json.dumps(living.runtime_code())
    return files | {path: script_file(path, value) for path, value in scripts.items()}


def script_file(path: str, value: str) -> str:
    """A classic script, strict as modules are, that leaves a value in the page under its path in assets/."""
    return f'"use strict";\n(globalThis.gptlib ??= {{}})[{json.dumps(path)}] = {value};\n'


def _theme(name: str) -> str:
    return (Path(__file__).parent / "theme" / name).read_text(encoding="utf-8")


def shared_names() -> list[str]:
    """What the scripts that explorers share declare: where lines begin, before they are made bare."""
    text = "\n".join((FOLDER / script).read_text(encoding="utf-8") for script in SHARED)
    return ["COLORS", *re.findall(r"^(?:async )?(?:function|const|let) (\w+)", text, re.MULTILINE)]
