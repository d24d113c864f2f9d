"""`import gptlib` brings the core and little more: what draws, teaches or downloads comes when asked for."""

import json
import subprocess
import sys
from pathlib import Path

# Used by viz, course, the hub or several processes alone.
LATER = {"gptlib.viz", "gptlib.course", "gptlib.hub", "gptlib.cli", "matplotlib", "ipywidgets", "anywidget"}
LATER |= {"IPython", "jupyterlab", "nbformat", "huggingface_hub", "transformers", "requests", "jinja2"}
LATER |= {"torch.distributed.fsdp", "torch.distributed.tensor"}

IMPORTING = """
import json, sys, time
import torch
alone = time.process_time()
import gptlib
print(json.dumps([alone, time.process_time(), sorted(sys.modules)]))
"""


def test_importing_gptlib_takes_little_longer_than_torch_and_loads_no_more_than_the_core():
    ratios = []
    for _ in range(3):
        command = [sys.executable, "-c", IMPORTING]
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
        torch_alone, both, modules = json.loads(done.stdout)
        ratios.append(both / torch_alone)
        assert not LATER & set(modules)
    # In seconds of the processor, which other programs do not lengthen much; the best of three.
    assert min(ratios) < 1.3, ratios
