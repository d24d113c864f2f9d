"""A real JupyterLab, driven in a real Chromium as by a person: open a notebook, run it from the menu."""

import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import nbformat
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from notebooks.execute import KERNELSPEC

ROOT = Path(__file__).resolve().parents[2]
HERE = {"127.0.0.1", "localhost", "::1"}
# Chromium's own errands (updates, field trials, sync) are no part of a page, and would be refused offline.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
]
SETTINGS = {
    # All cells are in the page, not only those in view, so that all can be asked about.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
# The status bar's words. The round indicator in the toolbar says "idle" before there is a kernel at all.
KERNEL_STATUS = ".jp-StatusBar-TextItem[title^='Change kernel for']"
CODE_PROMPT = ".jp-CodeCell .jp-InputPrompt"


def find_chromium() -> str | None:
    """The path of a Chromium, or None: Debian's, another that is installed, or Playwright's own."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def lab_flags() -> list[str]:
    """What `make lab` passes to JupyterLab after the notebook's name."""
    lines = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = next(line for line in lines.replace("\\\n", " ").splitlines() if "-m jupyterlab" in line)
    words = shlex.split(command)
    return words[words.index("jupyterlab") + 2 :]


@contextmanager
def jupyterlab(folder: Path, scratch: Path) -> Iterator[str]:
    """Serves `folder` with JupyterLab as `make lab` starts it; gives an address, {path} for the notebook's.

    Settings and logs are kept in `scratch`. Raises RuntimeError with the server's log if it does not come up.
    """
    for name, settings in SETTINGS.items():
        file = scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    flags = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}"]
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    folders |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    log = scratch / "jupyterlab.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *lab_flags(), *flags],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{name: str(scratch / path) for name, path in folders.items()}},
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=5).close()
                break
            except (urllib.error.URLError, OSError) as error:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}") from error
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/{{path}}?reset&token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def started(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@contextmanager
def browser_page(
    chromium: str | Browser, width: int = 1500, height: int = 1200
) -> Iterator[tuple[Page, list[str]]]:
    """A page of a Chromium that knows of no other, and a list that fills with what it asks for elsewhere."""
    beyond: list[str] = []

    def note(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in HERE:
            beyond.append(address)

    with ExitStack() as stack:
        browser = stack.enter_context(started(chromium)) if isinstance(chromium, str) else chromium
        context = browser.new_context(viewport={"width": width, "height": height})
        context.on("request", lambda request: note(request.url))
        page = context.new_page()
        page.on("websocket", lambda websocket: note(websocket.url))
        try:
            yield page, beyond
        finally:
            context.close()


def write_still(explorer: Any, path: Path) -> None:
    """Write an explorer's file without its model, as the file of a large one is."""
    with mock.patch.object(type(explorer), "page_model", lambda self: None):
        explorer.to_html(path)


def watched(page: Page) -> list[str]:
    """A list that fills with what goes wrong on the page."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    return problems


def assert_readable(page: Page) -> None:
    """In light on a phone and in dark on a screen: axe finds nothing, and nothing is cut off at the side."""
    for scheme, width in (("light", 360), ("dark", 1400)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        results = Axe().run(page, context=".gptlib")
        assert results.violations_count == 0, results.generate_report()


@contextmanager
def notebook_page(
    chromium: str | Browser, folder: Path, code: list[str], width: int = 1200, height: int = 900
) -> Iterator[tuple[Page, list[str]]]:
    """A JupyterLab with a notebook of these cells, run; and a list that fills with its calls elsewhere."""
    (folder / "notebooks").mkdir()
    cells = [nbformat.v4.new_code_cell(cell) for cell in code]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
    nbformat.write(notebook, folder / "notebooks" / "tried.ipynb")
    with (
        jupyterlab(folder, folder / "scratch") as address,
        browser_page(chromium, width, height) as (page, beyond),
    ):
        open_notebook(page, address.replace("/lab/tree", "/doc/tree"), "notebooks/tried.ipynb")
        run_all(page)
        yield page, beyond


def open_notebook(page: Page, address: str, path: str) -> None:
    """Opens the notebook and waits until its kernel is connected and idle; before that, Run asks for one."""
    page.goto(address.format(path=path))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.locator(KERNEL_STATUS, has_text="| Idle").wait_for(timeout=60_000)


def choose(page: Page, menu: str, command: str) -> None:
    """Opens a menu of the menu bar and clicks the entry that stands for `command`."""
    page.locator(".lm-MenuBar-item", has_text=menu).first.click()
    page.locator(f".lm-Menu-item[data-command='{command}']").click()


def run_all(page: Page, seconds: float = 120) -> None:
    """Clears all outputs, chooses Run All Cells, waits until all cells have numbers and the kernel is idle.

    Raises playwright's TimeoutError after `seconds`.
    """
    choose(page, "Edit", "editmenu:clear-all")  # saved numbers and outputs would look like this run's
    choose(page, "Run", "runmenu:run-all")
    page.wait_for_function(
        """([prompts, status]) => [...document.querySelectorAll(prompts)].every(
               prompt => /\\[\\d+\\]/.test(prompt.textContent))
           && document.querySelector(status)?.textContent.endsWith('| Idle')""",
        arg=[CODE_PROMPT, KERNEL_STATUS],
        timeout=seconds * 1000,
        polling=250,
    )
    page.wait_for_timeout(500)  # the last outputs are drawn


def errors(page: Page) -> list[str]:
    """The text of every error and warning that the notebook shows."""
    kinds = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")
    return page.locator(",".join(f"[data-mime-type='{kind}']" for kind in kinds)).all_inner_texts()


def image_widths(page: Page) -> list[int]:
    """The true width in pixels of each picture in the outputs; 0 for one that could not be shown."""
    return page.eval_on_selector_all(
        ".jp-OutputArea img", "images => images.map(image => image.naturalWidth)"
    )


def screenshots(page: Page, folder: Path, name: str) -> list[Path]:
    """Pictures of the notebook from top to bottom, each a window high, with a little overlap."""
    folder.mkdir(parents=True, exist_ok=True)
    outer = ".jp-NotebookPanel-notebook .jp-WindowedPanel-outer"
    height, window = page.eval_on_selector(
        outer,
        """panel => [panel.scrollTop - panel.getBoundingClientRect().top
                     + [...panel.querySelectorAll('.jp-Cell')].pop().getBoundingClientRect().bottom,
                     panel.clientHeight]""",
    )
    pages = []
    for top in range(0, max(1, round(height) - 60), window - 60):
        page.eval_on_selector(outer, "(panel, top) => panel.scrollTo({top, behavior: 'instant'})", top)
        page.wait_for_timeout(250)
        pages.append(folder / f"{name}_{len(pages) + 1:02}.png")
        page.locator(".jp-NotebookPanel").first.screenshot(path=pages[-1])
    return pages
