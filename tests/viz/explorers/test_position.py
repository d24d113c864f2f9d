"""The position explorer's numbers, against gptlib.positions and the formula."""

import math

import numpy as np
import pytest
import torch

from gptlib.model.positions import rotate, sinusoidal_positions
from gptlib.viz.explorers.position import PositionExplorer


def test_the_tables_are_gptlibs():
    assert torch.allclose(PositionExplorer(d_model=32, length=50).table(), sinusoidal_positions(50, 32))
    pair = torch.tensor([1.0, 0.0] * 16).expand(50, 32)
    for base in (3.0, 10000.0):
        rotary = PositionExplorer(32, 50, base, kind="rotary").table()
        assert torch.allclose(rotary, rotate(pair, torch.arange(50), base))
        waves = PositionExplorer(32, 50, base).table()
        assert waves[7, 4].item() == pytest.approx(math.sin(7 * base ** (-4 / 32)), abs=1e-5)
        assert torch.allclose(waves @ waves.T, rotary @ rotary.T, atol=1e-3)  # both depend on the distance


def test_pictures_and_files(tmp_path):
    sinusoidal, rotary = PositionExplorer(), PositionExplorer(kind="rotary", length=2, d_model=2, base=1)
    assert np.allclose(sinusoidal.figure().arrays["table"], sinusoidal.table())
    assert np.allclose(rotary.figure().arrays["similarity"], [[1, math.cos(1)], [math.cos(1), 1]])
    assert sinusoidal.to_png() == PositionExplorer().to_png() != rotary.to_png()
    sinusoidal.to_html(tmp_path / "position.html")
    assert (tmp_path / "position.html").stat().st_size < 60_000
    words = "PositionExplorer(sinusoidal, d_model=64, length=64, base=10000, m=40, n=24)"
    assert repr(sinusoidal) == words
    assert repr(rotary) == "PositionExplorer(rotary, d_model=2, length=2, base=1, m=1, n=0)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"d_model": 7}, "d_model is 7; pairs need an even number, here from 2 to 256"),
        ({"d_model": 258}, "d_model is 258; pairs need an even number"),
        ({"length": 1}, "length is 1; it goes from 2 to 256 here"),
        ({"base": 0}, "base is 0.0; it goes from 1 to 10,000,000 here"),
        ({"base": float("nan")}, "base is nan; it goes from 1"),
        ({"kind": "learned"}, "kind is 'learned'; it needs to be one of 'sinusoidal', 'rotary'"),
        ({"m": 64}, "m is 64; with length 64, positions go from 0 to 63"),
        ({"n": -1}, "n is -1; with length 64, positions go from 0 to 63"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PositionExplorer(**given)
    explorer = PositionExplorer()
    ((name, value),) = given.items()
    before = getattr(explorer, name)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == before


def test_the_page_changes_the_state():
    explorer = PositionExplorer()
    explorer.set_state({"kind": "rotary", "length": 10, "m": 9, "n": 2, "asked": 1})
    assert explorer.problem == "" and explorer.answered == 1
    assert repr(explorer) == "PositionExplorer(rotary, d_model=64, length=10, base=10000, m=9, n=2)"
    explorer.set_state({"d_model": 5, "asked": 2})
    assert explorer.problem.startswith("D_model is 5; pairs need an even number") and explorer.answered == 2
    explorer.set_state({"d_model": 4, "asked": 3})
    assert explorer.problem == "" and explorer.table().shape == (10, 4)


def test_a_shorter_text_keeps_both_positions_in_it():
    explorer = PositionExplorer()
    explorer.length = 30
    assert (explorer.m, explorer.n) == (29, 24)
    explorer.length = 300 - 100
    assert (explorer.m, explorer.n) == (29, 24)
