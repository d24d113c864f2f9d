"""`import gptlib` brings the core: what draws, teaches or downloads comes when asked for."""

import json
import subprocess
import sys
from pathlib import Path

# Used by viz, course, downloads or several processes alone.
LATER = {"gptlib.viz", "gptlib.course", "gptlib.cli", "matplotlib", "ipywidgets", "anywidget"}
LATER |= {"IPython", "jupyterlab", "nbformat", "huggingface_hub", "transformers", "requests", "jinja2"}
LATER |= {"torch.distributed.fsdp", "torch.distributed.tensor"}


def test_importing_gptlib_loads_no_more_than_the_core():
    code = "import gptlib, json, sys; print(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    modules = set(json.loads(done.stdout))
    assert "gptlib.model.gpt" in modules
    assert not LATER & modules
