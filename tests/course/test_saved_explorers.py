"""Each explorer in the saved notebooks has its state beside its picture, that of the present page code."""

import nbformat
import pytest

from gptlib.course.prose import notebook_paths, topic_of
from gptlib.viz.explorers.pages import bare
from gptlib.viz.explorers.saved import EXPLORER, version
from notebooks import execute

MOST = 110_000  # characters of one state; those of the whole course have four times as many at most
# Cells whose explorer reads storyteller itself. The others read weights that were given, or no model.
LIVE = {
    "welcome": ["touch-it"],
    "many_heads": ["touch-it"],
    "generation": ["touch-it"],
    "published": ["11-058"],
    "looking_inside": ["13-038", "13-043", "13-079"],
}


def explorers(path):
    """For each explorer that a notebook shows, the cell's id and what is kept of it, or None."""
    for cell in nbformat.read(path, as_version=4).cells:
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        for before, data in zip(outputs, outputs[1:], strict=False):
            if "gptlib-still pictured" in before.get("text/html", ""):
                yield cell.id, data.get(EXPLORER)


@pytest.fixture(scope="module")
def saved():
    """By topic, what is kept of the explorers of that notebook."""
    return {topic_of(path): list(explorers(path)) for path in notebook_paths()}


def test_every_explorer_is_kept_as_it_is_now(saved):
    assert execute.EXPLORER == EXPLORER
    stale = [
        topic
        for topic, found in saved.items()
        if any(not kept or kept["version"] != version(bare(kept["script"])) for _, kept in found)
    ]
    assert not stale, f'kept of other explorers than these: make notebooks ONLY="{" ".join(stale)}"'
    assert sum(map(len, saved.values())) >= 15


def test_states_are_small(saved):
    sizes = [len(kept["state"]) for found in saved.values() for _, kept in found]
    assert max(sizes) <= MOST and sum(sizes) <= 4 * MOST


def test_those_that_read_the_shipped_model_say_so(saved):
    live = {
        topic: [id for id, kept in found if kept["model"] == "storyteller"] for topic, found in saved.items()
    }
    assert {topic: cells for topic, cells in live.items() if cells} == LIVE
