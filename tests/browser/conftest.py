"""The browser that the tests here drive, and what all of them ask of a page."""

import os
from contextlib import ExitStack

import pytest
from driver import browser_page, errors, find_chromium, notebook_page, started, watched, write_still


@pytest.fixture(scope="module")
def chromium():
    """A browser for the tests of one file; each page that it opens knows of no other."""
    path = find_chromium()
    if path is None and os.environ.get("CI"):
        pytest.fail("no Chromium is installed, and in CI its absence is a failure: apt-get install chromium")
    if path is None:
        pytest.skip(
            "no Chromium is installed, so nothing was tried in a browser (Debian: apt-get install chromium)"
        )
    with started(path) as browser:
        yield browser


AWAKE = """() => !document.getElementById("runtime")?.textContent
  || performance.getEntriesByName("awake").length"""


@pytest.fixture
def show(chromium, tmp_path):
    """Give it an explorer, or the address of one's file, and it gives a page that shows it without a kernel.

    The model in the page is awake by then; `still` leaves it out of the file, as it is of a large one. On the
    page nothing may go wrong, and nothing be asked for elsewhere.
    """
    with browser_page(chromium, 1200, 1000) as (page, beyond):
        problems = watched(page)

        def shown(explorer, still=False):
            if not isinstance(explorer, str):
                write = write_still if still else type(explorer).to_html
                write(explorer, tmp_path / "explorer.html")
                explorer = (tmp_path / "explorer.html").as_uri()
            page.goto(explorer)
            page.locator(".gptlib h2:visible").first.wait_for()
            page.wait_for_function(AWAKE)
            return page

        yield shown
        assert problems == [] and beyond == []


@pytest.fixture
def run(chromium, tmp_path):
    """Give it the code of cells, and it gives the page of a JupyterLab that has run them.

    There nothing may go wrong, and nothing be asked for elsewhere.
    """
    with ExitStack() as stack:
        seen = []

        def ran(*code):
            page, beyond = stack.enter_context(notebook_page(chromium, tmp_path, list(code)))
            seen.append((page, beyond, watched(page)))
            page.locator(".gptlib h2").first.wait_for(timeout=30_000)
            return page

        yield ran
        for page, beyond, problems in seen:
            assert errors(page) == [] and problems == [] and beyond == []
