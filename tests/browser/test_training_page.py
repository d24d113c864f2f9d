"""A network that learns in a page: its gradients and steps are torch's, and the page shows what it learns."""

import dataclasses
import re

import pytest
import torch
from driver import assert_readable, browser_page, watched
from playwright.sync_api import expect

from gptlib import GPT
from gptlib.training.optimizers import make_optimizer
from gptlib.viz.explorers.pages import bare
from gptlib.viz.training_page import network_config, page_documents, training_parts, write_training_page
from gptlib.viz.training_page.page import BATCH, BETAS, FOLDER, LEARNING_RATE, WEIGHT_DECAY, WORKER


@pytest.fixture(scope="module")
def javascript(chromium):
    """An empty page that knows the network and the optimizer."""
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content="\n".join(bare(str(FOLDER / name)) for name in WORKER[:-1]))
        page.evaluate("""() => {
            window.fill = (network, weights) => {
                for (const [name, numbers] of Object.entries(weights)) network.weights[name].set(numbers);
                return network;
            };
            window.begin = (config, training, settings) =>
                new Training({ config, training, held_out: [0], names: [] }, { seed: 0, ...settings });
            window.targetsOf = (rows) => rows.flatMap((row) => row.slice(1));
            window.pairs = (rows) => rows.map((row) => ({ inputs: row.slice(0, -1), targets: row.slice(1) }));
        }""")
        yield page


def make(seed, spread=0.3, **changes):
    """A model of the page's parts, its weights spread so or as at first, and what the page needs of it."""
    config = dataclasses.replace(network_config(23), **changes)
    torch.manual_seed(seed)
    model = GPT(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((spread * torch.randn_like(parameter) if spread else parameter).float())
    settings = dataclasses.asdict(config) | {"betas": BETAS, "weight_decay": WEIGHT_DECAY}
    return model, settings, {name: plain(parameter) for name, parameter in model.named_parameters()}


def plain(tensor):
    return tensor.detach().flatten().tolist()


def random_documents(vocab_size, lengths):
    return [[0, *torch.randint(1, vocab_size, (length,)).tolist(), 0] for length in lengths]


def surprises_of(model, documents):
    """−log p of each token after the first of each document, as torch computes it."""
    rows = [torch.tensor(row) for row in documents]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    there = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(row[1:]).bool() for row in rows], batch_first=True
    )
    return torch.nn.functional.cross_entropy(
        model(tokens[:, :-1])[there], tokens[:, 1:][there], reduction="none"
    )


SHAPES = [{}, {"n_layers": 1, "n_heads": 1, "d_model": 6}, {"n_layers": 3, "n_heads": 2, "d_model": 20}]


@pytest.mark.parametrize("changes", SHAPES)
def test_losses_attention_and_every_gradient_are_those_of_torch(javascript, changes):
    model, settings, weights = make(0, **changes)
    documents = random_documents(23, [9, 0, 17, 1, 4])
    surprises = surprises_of(model, documents)
    surprises.mean().backward()
    told = javascript.evaluate(
        """([config, weights, documents]) => {
            const network = fill(new Network(config), weights), targets = targetsOf(documents);
            let surprises;
            for (let time = 0; time < 2; time++) { // what was read before leaves nothing behind
                network.forward(documents.map((row) => row.slice(0, -1)));
                surprises = [...network.surprises(targets)];
                network.backward(targets);
            }
            return [surprises, Object.entries(network.slopes).map(([name, slopes]) => [name, [...slopes]])];
        }""",
        [settings, weights, documents],
    )
    assert told[0] == pytest.approx(plain(surprises), rel=1e-5, abs=1e-5)
    assert [name for name, _ in told[1]] == [name for name, _ in model.named_parameters()]
    for (name, slopes), parameter in zip(told[1], model.parameters(), strict=True):
        largest = parameter.grad.abs().max().item()
        assert slopes == pytest.approx(plain(parameter.grad), rel=1e-4, abs=1e-5 * largest), name


def test_steps_of_adamw_are_those_of_the_library(javascript):
    model, settings, weights = make(1)
    optimizer = make_optimizer(model, "adamw", LEARNING_RATE, WEIGHT_DECAY, BETAS)
    gradients = [[torch.randn_like(p) * 10.0**-k for p in model.parameters()] for k in (0, 3, 6)]
    for step in gradients:
        for parameter, gradient in zip(model.parameters(), step, strict=True):
            parameter.grad = gradient
        optimizer.step()
    told = javascript.evaluate(
        """([config, weights, steps, rate]) => {
            const network = fill(new Network(config), weights), optimizer = new AdamW(network, config);
            for (const gradients of steps) { network.gradients.set(gradients); optimizer.step(rate); }
            return [...network.parameters];
        }""",
        [settings, weights, [[x for g in step for x in plain(g)] for step in gradients], LEARNING_RATE],
    )
    expected = [x for parameter in model.parameters() for x in plain(parameter)]
    assert told == pytest.approx(expected, abs=1e-6)


def test_a_run_from_the_same_start_over_the_same_batches_has_the_losses_of_torch(javascript):
    found = page_documents()
    model, settings, weights = make(2, spread=0, vocab_size=len(found.vocabulary))
    batches = [[[0, *row, 0] for row in found.training[i : i + 4]] for i in range(0, 160, 4)]
    optimizer = make_optimizer(model, "adamw", LEARNING_RATE, WEIGHT_DECAY, BETAS)
    losses = []
    for step, batch in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, step / 10)
        loss = surprises_of(model, batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    told = javascript.evaluate(
        """([config, weights, batches, learning_rate]) => {
            const training = begin(config, [0], { learning_rate });
            fill(training.network, weights);
            return batches.map((rows) => training.learn(pairs(rows)));
        }""",
        [settings, weights, batches, LEARNING_RATE],
    )
    assert losses[-1] < losses[0] - 2
    assert told == pytest.approx(losses, rel=1e-3)


def test_the_dice_are_fair_and_the_same_for_the_same_seed(javascript):
    told = javascript.evaluate("""() => {
        const dice = new Dice(3), again = new Dice(3), count = 40_000, drawn = [0, 0, 0];
        const normal = Array.from({ length: count }, () => dice.normal()), all = [...dice.shuffled(50)];
        const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / count;
        for (let i = 0; i < count; i++) drawn[dice.draw([0.5, 0, 0.5])] += 1;
        return { same: again.normal() === normal[0], mean: mean(normal), drawn,
            square: mean(normal.map((x) => x * x)), all: all.sort((a, b) => a - b) };
    }""")
    assert told["same"] and told["drawn"][1] == 0 and told["all"] == list(range(50))
    assert abs(told["mean"]) < 0.02 and abs(told["square"] - 1) < 0.04
    assert abs(told["drawn"][0] - 20_000) < 500


def test_all_documents_are_read_once_before_any_is_read_again(javascript):
    _, settings, _ = make(0)
    read = javascript.evaluate(
        """(config) => {
            const stream = Uint16Array.of(0, 1, 0, 2, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0);
            const training = begin(config, stream, { batch: 3 });
            return Array.from({ length: 4 }, () =>
                training.nextBatch().map(({ inputs, targets }) => [[...inputs], [...targets]]));
        }""",
        settings,
    )
    first = sorted(targets for batch in read[:2] for _, targets in batch)
    assert first == [[1, 0], [2, 2, 0], [3, 0], [4, 0], [5, 0], [6, 0]]
    assert sorted(targets for batch in read[2:] for _, targets in batch) == first
    assert all(inputs == [0, *targets[:-1]] for batch in read for inputs, targets in batch)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "page.html"
    write_training_page(path)
    assert path.stat().st_size < 400_000 and len(training_parts().data) < 250_000
    return path.as_uri()


@pytest.fixture
def page(chromium, address):
    with browser_page(chromium, 1200, 900) as (page, beyond):
        problems = watched(page)
        page.goto(address)
        page.get_by_text("Nothing is learned yet").wait_for()
        yield page
        assert problems == [] and beyond == []


def reading(page, name):
    return float(page.locator(f".key.{name} b").inner_text())


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_it_learns_pauses_goes_on_and_begins_anew(page):
    rivals = page_documents().rivals
    before = reading(page, "held-out")
    assert before == pytest.approx(6.2, abs=0.2)
    assert page.locator(".texts li").count() == 1  # what it writes at step 0
    press(page, "Start")
    page.locator(".passed", has_text="✓ step").first.wait_for(timeout=60_000)
    press(page, "Pause")
    page.get_by_role("button", name="Go on").wait_for()
    pace = page.locator(".pace").inner_text()
    assert reading(page, "held-out") < rivals["single words"]
    page.wait_for_timeout(400)
    assert page.locator(".pace").inner_text() == pace
    press(page, "Go on")
    expect(page.locator(".pace")).not_to_have_text(pace)
    press(page, "Another seed")
    page.get_by_text("Seed 1 · step").wait_for()
    assert "✓" not in page.locator(".plot").first.inner_text()
    assert page.locator(".texts li").count() == 1
    press(page, "Pause")


HOLD = "() => { window.held = []; window.requestAnimationFrame = (draw) => window.held.push(draw); }"
BEGIN_ANEW = """() => {
  [...document.querySelectorAll("button")].find((one) => one.textContent === "Another seed").click();
  for (const draw of window.held) draw(performance.now());
}"""


def test_it_begins_anew_while_a_picture_is_due(page):
    page.evaluate(HOLD)
    press(page, "Start")
    page.wait_for_function("() => window.held.length", polling=50)
    page.evaluate(BEGIN_ANEW)


def test_what_is_chosen_holds_from_the_next_step_on(page):
    page.get_by_label("Documents a step").select_option("4")
    press(page, "Start")
    page.get_by_text("· step").wait_for()
    press(page, "Pause")
    page.get_by_role("button", name="Go on").wait_for()
    step, read = map(int, re.search(r"step (\d+) · (\d+)", page.locator(".pace").inner_text()).groups())
    assert read == 4 * step and BATCH != 4


def test_the_right_name_is_always_among_the_bars_and_its_cell_is_outlined(page):
    name = next(n for n in page_documents().names if n.document == 7)
    for told, right in zip(page.locator(".list").all(), (name.name, name.other), strict=True):
        assert page_documents().vocabulary[right].strip() + " ✓" in told.inner_text()
    canvas, cell = (page.locator(f".square {part}").first.bounding_box() for part in ("canvas", ".cell"))
    size = canvas["width"] / (len(page_documents().held_out[7]) + 1)
    assert (cell["x"] - canvas["x"]) / size == pytest.approx(name.first, abs=0.05)
    assert (cell["y"] - canvas["y"]) / size == pytest.approx(name.row, abs=0.05)


def test_it_can_be_read_on_a_phone_in_the_dark_and_with_a_screen_reader(page):
    assert_readable(page)
