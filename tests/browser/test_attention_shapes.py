"""The attention explorer's page on what is not a short causal text: many heads, long texts, other masks."""

import base64

import numpy as np
import pytest
import torch

from gptlib.viz import AttentionExplorer
from gptlib.viz.explorers import attention
from gptlib.viz.explorers.coding import code
from gptlib.viz.explorers.pages import COLORS, color_table

TABLE = np.frombuffer(base64.b64decode(color_table(COLORS["attention"])), dtype=np.uint8).reshape(256, 3)
# What is painted below and left of the middle of each tile, and how large the tile is.
TILES = """() => {
    const canvas = document.querySelector('.montage canvas'), box = canvas.getBoundingClientRect();
    const context = canvas.getContext('2d');
    return [...document.querySelectorAll('.tile')].map((tile) => {
        const { left, top, width, height } = tile.getBoundingClientRect();
        const at = (share, edge, side) => Math.floor((share - box[edge]) * canvas[side] / box[side]);
        const x = at(left + 0.25 * width, 'left', 'width'), y = at(top + 0.75 * height, 'top', 'height');
        return [...context.getImageData(x, y, 1, 1).data.slice(0, 3), width, height];
    });
}"""


def random_weights(*shape, causal=True, seed=0):
    scores = 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    if causal:
        scores = scores.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(dim=-1)


def words(n, mark="w"):
    return [f" {mark}{at}" for at in range(n)]


def shaded(weights, largest=1.0):
    """The colors of these weights in a file, which holds 64 shades."""
    codes = code(torch.as_tensor(weights), largest).numpy().astype(int)
    return TABLE[np.minimum((codes + 2) // 4 * 4, 255)]


def drawn(page, side=".one"):
    return np.array(
        page.evaluate(
            """(side) => { const canvas = document.querySelector(`${side} .matrix canvas`);
                const { width, height } = canvas;
                return [...canvas.getContext('2d').getImageData(0, 0, width, height).data, width]; }""",
            side,
        ),
        dtype=np.int64,
    )


def picture(page):
    *pixels, width = drawn(page)
    return np.array(pixels, dtype=np.uint8).reshape(-1, width, 4)


def assert_between(page, above, below):
    """The arrows cross neither the words above nor those below."""
    arcs = page.locator(".arcs")
    start = arcs.bounding_box()["y"]
    ends = arcs.evaluate(
        "(arcs) => [...arcs.querySelectorAll('path')].map((path) => { const box = path.getBBox(); "
        "return [box.y, box.y + box.height]; })"
    )
    assert ends
    top = 0 if above is None else above.bounding_box()["y"] + above.bounding_box()["height"] - start
    bottom = below.bounding_box()["y"] - start
    assert all(top <= first <= last <= bottom for first, last in ends)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (12, 12), (36, 20), (48, 25), (16, 32), (80, 64)])
def test_the_head_that_one_sees_is_the_one_that_a_click_takes(show, shape):
    weights = torch.zeros(*shape, 2, 2)
    share = (torch.arange(shape[0] * shape[1]) * 0.618 % 1).view(shape)  # neighbors differ much
    weights[..., 0, 0], weights[..., 1, 0], weights[..., 1, 1] = 1, share, 1 - share
    page = show(AttentionExplorer.from_array(weights, ["a", "b"]))
    tiles = np.array(page.evaluate(TILES))
    np.testing.assert_array_equal(tiles[:, :3], shaded(share.flatten()))
    assert (tiles[:, 3:] >= 18).all() and (tiles[:, 3] == tiles[:, 4]).all()
    last = shape[0] - 1, shape[1] // 2
    page.locator(".tile").nth(last[0] * shape[1] + last[1]).click()
    assert page.locator(".one h2").inner_text().lower() == f"layer {last[0]}, head {last[1]}"
    np.testing.assert_array_equal(picture(page)[1, 0, :3], shaded(share[last]))


def test_the_matrix_names_its_tokens_and_its_colors(show):
    page = show(AttentionExplorer.from_array(random_weights(1, 2, 12, 12), words(12)))
    assert page.locator(".queries span:not(.here)").all_inner_texts() == [f"␣w{at}" for at in range(12)]
    assert page.locator(".keys span:not(.here)").all_inner_texts() == [f"␣w{at}" for at in range(12)]
    assert page.locator(".one .axis").all_inner_texts() == [
        "query: the token that looks",
        "key: the token looked at",
    ]
    assert page.locator(".one .masked").inner_text() == "masked: no looking ahead"
    assert page.locator(".legend").inner_text().split("\n")[0].startswith("0")
    box = page.locator(".one .matrix").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 3.5 / 12, box["y"] + box["height"] * 7.5 / 12)
    assert page.locator(".here").all_inner_texts() == ["␣w7", "␣w3"]
    assert page.locator(".readout").inner_text().startswith("“␣w7” → “␣w3”: ")


def test_arrows_stand_above_the_words_and_tell_their_weights(show):
    weights = random_weights(1, 1, 30, 30).sqrt()
    weights /= weights.sum(dim=-1, keepdim=True)
    page = show(AttentionExplorer.from_array(weights, words(30)))
    arrows = page.locator(".arcs g")
    assert arrows.count() >= 3
    assert_between(page, None, page.locator(".over .strip"))
    strongest = weights[0, 0, 29].argsort(descending=True).tolist()
    key = strongest[0] if strongest[0] != 29 else strongest[1]
    arrows.first.locator(".near").dispatch_event("pointerenter")
    arrows.first.dispatch_event("pointerenter")
    assert page.locator(".readout").inner_text() == f"“␣w29” → “␣w{key}”: {weights[0, 0, 29, key]:.4f}"
    assert arrows.first.locator("title").text_content() == f"“␣w29” → “␣w{key}”: {weights[0, 0, 29, key]:.4f}"


def test_attention_to_what_comes_after(show):
    weights = random_weights(2, 2, 7, 7, causal=False)
    explorer = AttentionExplorer.from_array(weights, words(7))
    explorer.layer, explorer.head, explorer.query = 1, 0, 2
    page = show(explorer)
    np.testing.assert_array_equal(picture(page)[..., :3], shaded(weights[1, 0], float(weights.max())))
    assert page.locator(".one .masked").is_hidden()
    cells = page.locator(".top td").all_inner_texts()
    best = weights[1, 0, 2].argsort(descending=True)[:5].tolist()
    assert [int(key) for key in cells[1::3]] == best


def test_cross_attention_has_a_line_for_each_text(show):
    weights = random_weights(2, 2, 4, 9, causal=False)
    explorer = AttentionExplorer.from_array(weights, words(4), keys=words(9, "k"))
    explorer.layer, explorer.head = 1, 1
    page = show(explorer)
    lines = page.locator(".over .strip")
    assert [line.locator(".token").count() for line in lines.all()] == [4, 9]
    assert picture(page).shape[:2] == (4, 9)
    np.testing.assert_array_equal(picture(page)[..., :3], shaded(weights[1, 1], float(weights.max())))
    lines.first.locator(".token").nth(2).click()
    best = int(weights[1, 1, 2].argmax())
    assert page.locator(".top td").first.inner_text() == f"␣k{best}"
    assert_between(page, *lines.all())
    assert page.locator(".keys span:not(.here)").first.inner_text() == "␣k0"


def test_padding_says_so(show):
    weights = torch.zeros(1, 1, 5, 5)
    weights[..., :3, :3] = random_weights(1, 1, 3, 3, causal=False)
    page = show(AttentionExplorer.from_array(weights, [*words(3), "[PAD]", "[PAD]"]))
    box = page.locator(".one .matrix").bounding_box()

    def point_at(query, key):
        page.mouse.move(
            box["x"] + box["width"] * (key + 0.5) / 5, box["y"] + box["height"] * (query + 0.5) / 5
        )
        return page.locator(".readout").inner_text()

    assert point_at(4, 0) == "“[PAD]” is padding, and looks at nothing"
    assert point_at(1, 3) == "“␣w1” → “[PAD]”: no token looks there"
    assert point_at(1, 2).startswith("“␣w1” → “␣w2”: ")
    assert not picture(page)[3:, :, 3].any() and not picture(page)[:, 3:, 3].any()
    assert picture(page)[:3, :3, 3].all()


def test_scores_have_signs(show):
    scores = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
    page = show(AttentionExplorer.from_array(scores, words(6), scores=True))
    assert "score before the softmax" in page.locator(".legend").inner_text()
    assert page.locator(".ticks span").first.inner_text().startswith("−")
    smallest = scores[0, 0, 5].abs().argsort(descending=True)[0]
    assert float(page.locator(".top td").nth(2).inner_text().replace("−", "-")) == pytest.approx(
        float(scores[0, 0, 5, smallest]), abs=1e-4
    )
    assert page.get_by_role("radio", name="scores").is_visible()


def test_every_head_answers_in_the_file_of_a_long_text(show, monkeypatch):
    monkeypatch.setattr(attention, "WHOLE", 100_000)
    monkeypatch.setattr(attention, "IN_FILE", 300 * 3 * 20)
    weights = random_weights(1, 3, 300, 300)
    page = show(AttentionExplorer.from_array(weights, words(300)))
    for head in range(3):
        page.locator(".tile").nth(head).click()
        assert page.locator(".one .matrix").is_visible()
        kept = weights[0, head, 200].topk(20)
        page.locator(".over .token").nth(200).click()
        best = int(page.locator(".top td").nth(1).inner_text())
        assert weights[0, head, 200, best] > kept.values[0] - 0.03  # a file holds 64 shades
        shown = picture(page)[200, : 200 + 1, :3]
        expected = torch.zeros(201).scatter(0, kept.indices, kept.values)
        if (shown != shaded(expected)).any():  # the head that is chosen is whole
            np.testing.assert_array_equal(shown, TABLE[code(weights[0, head, 200, :201], 1.0).numpy()])
            assert page.locator(".one .row .soft").inner_text() == ""
        else:
            assert "the 20 strongest keys of each row" in page.locator(".one .row .soft").inner_text()


def test_a_long_text_is_searched_and_zoomed(show):
    n = 2000
    weights = torch.full((1, 1, n, n), 0.0)
    weights[..., 0] = 1  # all look at the first token but one
    weights[0, 0, 1500, 0], weights[0, 0, 1500, 1490] = 0.25, 0.75
    texts = ["x"] * n
    texts[1500] = "needle"
    page = show(AttentionExplorer.from_array(weights, texts))
    page.locator("input[placeholder='find a token']").fill("need")
    assert page.locator(".over .token.focus").inner_text() == "needle"
    assert page.locator(".over .token.focus").bounding_box()["x"] < 1500  # scrolled to where it is seen
    assert page.locator(".readout").inner_text() == "“needle” → “x”: ≈ 0.7443"  # in one of 64 shades
    zoom = page.get_by_label("zoom")
    for _ in range(5):
        zoom.press("ArrowRight")
    shown = picture(page)
    assert shown.shape[0] == 63  # 2,000 tokens, 32 times larger
    assert (shown[..., :3] == shaded(torch.tensor(0.75))).all(-1).sum() == 1
    assert "needle" in page.locator(".one .queries").inner_text()


def test_heads_that_look_alike_are_found_and_sorted(show):
    weights = random_weights(2, 3, 8, 8)
    weights[1, 1] = 0.9 * weights[0, 2] + 0.1 * weights[1, 1]
    explorer = AttentionExplorer.from_array(weights, words(8))
    explorer.layer, explorer.head = 0, 2
    page = show(explorer)
    page.get_by_label("find heads by role").select_option("like this head")
    first = page.locator(".found .bar").first.inner_text().split("\n")
    overlap = (weights[0, 2].sqrt() * weights[1, 1].sqrt()).sum(-1).mean()
    assert first[0] == "layer 1, head 1"
    assert float(first[-1].rstrip("%")) == pytest.approx(100 * float(overlap), abs=1)
    page.get_by_role("button", name="sort by likeness").click()
    places = [tile.bounding_box() for tile in page.locator(".tile").all()]
    order = sorted(range(6), key=lambda at: (places[at]["y"], places[at]["x"]))
    assert order[:2] == [2, 4]
    page.locator(".tile").nth(2).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".one h2").inner_text().lower() == "layer 1, head 1"
