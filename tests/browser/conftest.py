"""The browser that the tests here drive."""

import os

import pytest
from driver import find_chromium


@pytest.fixture(scope="session")
def chromium() -> str:
    path = find_chromium()
    if path is None and os.environ.get("CI"):
        pytest.fail("no Chromium is installed, and in CI its absence is a failure: apt-get install chromium")
    if path is None:
        pytest.skip(
            "no Chromium is installed, so nothing was tried in a browser (Debian: apt-get install chromium)"
        )
    return path
