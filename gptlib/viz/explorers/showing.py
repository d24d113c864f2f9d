"""How a widget is shown so that something is left: in a notebook opened again, converted, printed or sent.

Of the forms that one output offers, JupyterLab shows the richest; if that is a widget whose kernel is gone,
it says "model not found" and never looks at the picture beside it. So the widget is an output of its own, and
what stands for it comes in the outputs after it. A style sheet there hides these while a widget is before
them, and the widget's output once it has none. Who drops style sheets (a code host, a notebook that is not
trusted) shows no widget either.
"""

from __future__ import annotations

import sys
from typing import Any

from IPython import get_ipython
from IPython.display import display

WIDGET = "application/vnd.jupyter.widget-view+json"

# Of the outputs of a cell, in JupyterLab, Jupyter Notebook and on nbconvert's pages. A widget is in its
# output as an element of its own; before it comes, and once it is lost, the output holds only words.
_OUTPUT = ".jp-OutputArea-child"
_LIVE = f"{_OUTPUT}:has(> .jp-OutputArea-output .lm-Widget)"
_LOST = f"{_OUTPUT}:has(> .lm-Panel.jupyter-widgets)"
_AWAITED = f"{_OUTPUT}:has(> .lm-Panel):not(:has(> .jupyter-widgets)):not(:has(> .lm-Panel > *))"
_STILL, _PICTURE = ":has(.gptlib-still)", ":has(.gptlib-still.pictured)"
# Where a widget is awaited for long, as in a notebook that has no kernel yet, the still is seen.
STYLE = f"""
{_LIVE} + {_STILL}, {_LIVE} + {_PICTURE} + * {{ display: none; }}
{_LOST}:has(+ {_OUTPUT} .gptlib-still), {_AWAITED}:has(+ {_OUTPUT} .gptlib-still) {{ display: none; }}
{_AWAITED} + {_STILL}, {_AWAITED} + {_PICTURE} + * {{ animation: gptlib-still 3s step-end; }}
@keyframes gptlib-still {{ from {{ display: none; }} }}
.gptlib-still details {{ margin-bottom: 1em; }}
"""
PICTURED = "This is a picture of the explorer as it was first shown. Run the cell to use it."


def show(widget: Any) -> None:
    """Show a widget, and for where nothing runs what else its `_repr_mimebundle_` offers: HTML or a picture.

    Raises NotImplementedError, as IPython asks for, where one output has to hold all of it.
    """
    if in_one_output():
        raise NotImplementedError
    bundle, metadata = widget._repr_mimebundle_()
    if WIDGET in bundle:
        # The empty page is for converters, which would warn of an output that they cannot show.
        display({WIDGET: bundle.pop(WIDGET), "text/html": ""}, raw=True)
    text = bundle.pop("text/html", None)
    if text is None:
        display({"text/html": _still(f"<p>{PICTURED}</p>", "pictured")}, raw=True)
    else:
        bundle["text/html"] = _still(text)
    display(bundle, metadata=metadata, raw=True)


def _still(text: str, kind: str = "") -> str:
    return f'<div class="{f"gptlib-still {kind}".strip()}"><style>{STYLE}</style>{text}</div>'


def in_one_output() -> bool:
    """Whether this is VS Code or Colab, which look for a widget's picture in its own output."""
    shell = get_ipython()
    return "google.colab" in sys.modules or (shell is not None and "__vsc_ipynb_file__" in shell.user_ns)
