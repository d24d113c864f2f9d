"""Execute notebooks and save them with what their cells gave: `make notebooks`, ONLY="gpt" for one.

A notebook is saved only if all of its cells ran. What is saved depends on nothing but the notebook and the
library: one thread, no accelerator, no network, no timings, no widget state, no version of Python.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

NOTEBOOKS = Path(__file__).resolve().parent
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
EXPLORER = "application/vnd.gptlib.explorer+json"  # what the site shows of an explorer
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def kernel_environment() -> dict[str, str]:
    """The variables under which a notebook gives the same outputs on every machine."""
    guard = str(NOTEBOOKS.parent / "tests" / "offline")
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != guard]
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {
        **dict.fromkeys(threads, "1"),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "GPTLIB_PROGRESS": "",
        "PYTHONPATH": os.pathsep.join([guard, *others]),
    }


def peak_memory(process_id: int | None) -> float | None:
    """The most memory that a process has held so far, in MB; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), None)


def without_widgets(cell: nbformat.NotebookNode) -> None:
    """Leave of a widget what stands for it: without a kernel a page could only say that it is missing."""
    if cell.cell_type == "code":
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)
        cell.outputs = [
            output for output in cell.outputs if "data" not in output or any(output.data.values())
        ]


def execute(path: Path, timeout: float = 300) -> float | None:
    """Runs the notebook at `path` from the top and saves it; returns its kernel's peak memory in MB.

    Raises RuntimeError, naming the notebook and the cell, and leaves the file as it was, if a cell fails,
    reaches for the network, or takes longer than `timeout` seconds.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        client.setup_kernel(
            env={**os.environ, **kernel_environment(), "GPTLIB_NETWORK_LOG": f"{folder}/log"}
        ),
    ):
        for index, cell in enumerate(notebook.cells):
            cell.metadata.pop("execution", None)
            try:
                client.execute_cell(cell, index)
            except (CellExecutionError, DeadKernelError, TimeoutError) as error:
                raise RuntimeError(
                    f"{path.name}, cell {index} (id {cell.id}):\n{cell.source}\n\n{error}"
                ) from None
            without_widgets(cell)
        memory = peak_memory(getattr(client.km.provisioner, "pid", None))
        if os.path.exists(f"{folder}/log"):
            raise RuntimeError(f"{path.name} reached for the network:\n{Path(folder, 'log').read_text()}")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    nbformat.validate(notebook)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(nbformat.writes(notebook, version=4) + "\n", encoding="utf-8")
    os.replace(unfinished, path)
    return memory


def main(arguments: list[str] | None = None) -> int:
    """Executes the notebooks that `arguments` name, or all; the exit status is 1 if one failed."""
    # Not above: what tests run under has to be set before anything imports gptlib.
    from gptlib.course.prose import find_notebook, notebook_paths

    parser = argparse.ArgumentParser(description="Execute notebooks and save them with their outputs.")
    parser.add_argument("names", nargs="*", help="topics, names, numbers or paths; without any, all")
    try:
        paths = [
            Path(name) if Path(name).is_file() else find_notebook(name, NOTEBOOKS)
            for name in parser.parse_args(arguments).names
        ]
    except ValueError as error:
        parser.error(str(error))
    paths = paths or notebook_paths(NOTEBOOKS)
    failed = 0
    for path in paths:
        print(f"{path.stem:24}", end="", flush=True)
        started = time.monotonic()
        try:
            memory = execute(path.resolve())
        except RuntimeError as error:
            failed += 1
            print(f"FAILED, and left as it was\n\n{error}\n", flush=True)
        else:
            held = "" if memory is None else f"{memory:6.0f} MB"
            print(f"{time.monotonic() - started:6.1f} s {held}", flush=True)
    if failed:
        print(f"{failed} of {len(paths)} notebooks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a cell that failed may hold any character
    sys.exit(main())
