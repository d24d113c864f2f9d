"""How fast the attention explorer is, in a real Chromium, beside BertViz if that is installed: `make bench`.

Each line gives the median and the 95th percentile, and the mark that the explorer is held to.
"""

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from driver import browser_page, find_chromium, notebook_page  # noqa: E402

from gptlib import GPT, GPTConfig, Storyworld, Tokenizer, load_pretrained  # noqa: E402
from gptlib.viz import AttentionExplorer  # noqa: E402
from gptlib.viz.explorers.explorer import packed  # noqa: E402

LARGE = GPTConfig(vocab_size=2048, context_length=128, n_layers=12, n_heads=12, d_model=192)
# Milliseconds that an act takes: its own share, and until the next frame is out.
UNTIL_PAINTED = """async (act) => {
    const started = performance.now();
    act();
    const handled = performance.now() - started;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return [handled, performance.now() - started];
}"""


def line(what: str, milliseconds: list[float], mark: float | None = None) -> None:
    milliseconds = sorted(milliseconds)
    high = milliseconds[min(len(milliseconds) - 1, int(0.95 * len(milliseconds)))]
    held = "" if mark is None else f"   at most {mark:.0f}: {'yes' if high <= mark else 'NO'}"
    print(f"{what:64}{statistics.median(milliseconds):8.1f}{high:8.1f} ms{held}", flush=True)


def text_of(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A text that has this many tokens with the start of text before it."""
    stories = "".join(story.text + " " for story in Storyworld(seed=0, split="test").stories(4))
    text = tokenizer.decode(tokenizer.encode(stories)[: n_tokens - 1])
    assert len(tokenizer.encode(text)) == n_tokens - 1
    return text


def given_away(path: Path) -> str:
    """The address of an exported page that leaves its model, element and module where this can use them."""
    page = path.read_text(encoding="utf-8")
    last = "explorer.render({ model, el"
    assert page.count(last) == 1
    path.write_text(page.replace(last, "window.bench = { model, explorer };\n" + last), encoding="utf-8")
    return path.as_uri()


def large_model(chromium: str, folder: Path) -> None:
    torch.manual_seed(0)
    model = GPT(LARGE).eval()
    _, tokenizer = load_pretrained("storyteller")
    text = text_of(tokenizer, 128)
    started = time.perf_counter()
    explorer = AttentionExplorer(model, tokenizer, text)
    taken = 1000 * (time.perf_counter() - started)
    answer = packed({"answer": explorer.answer, "details": explorer.details})
    print(f"12 layers x 12 heads x {explorer.answer['size']} tokens, random weights")
    print(f"{'computed in Python':64}{taken:8.1f} ms")
    print(f"{'data':64}{len(answer) / 1e6:8.2f} MB   at most 2.4: {'yes' if len(answer) <= 2.4e6 else 'NO'}")
    explorer.to_html(folder / "large.html")
    size = (folder / "large.html").stat().st_size / 1e6
    print(f"{'exported file':64}{size:8.2f} MB   at most 1: {'yes' if size <= 1 else 'NO'}")
    with browser_page(chromium, 1200, 1000) as (page, _):
        page.goto(given_away(folder / "large.html"))
        page.locator(".tile").first.wait_for()
        paints = page.evaluate(
            f"""async () => {{
                const measure = {UNTIL_PAINTED}, times = [];
                for (let n = 0; n < 11; n++) {{
                    const el = document.createElement("div");
                    document.querySelector("main").prepend(el);
                    let close;
                    const paint = () => {{ close = bench.explorer.render({{ model: bench.model, el }}); }};
                    times.push((await measure(paint))[1]);
                    close();
                    el.remove();
                }}
                return times.slice(1);
            }}"""
        )
        line("first paint, data there", paints, 100)
        hovers, selects = page.evaluate(
            f"""async () => {{
                const measure = {UNTIL_PAINTED}, hovers = [], selects = [];
                const matrix = document.querySelector(".matrix"), box = matrix.getBoundingClientRect();
                for (let n = 0; n < 100; n++) {{
                    const clientX = box.left + 5, clientY = box.top + box.height * (0.1 + 0.008 * n);
                    const move = new PointerEvent("pointermove", {{ clientX, clientY, bubbles: true }});
                    hovers.push((await measure(() => matrix.dispatchEvent(move)))[0]);
                }}
                const tiles = [...document.querySelectorAll(".tile")];
                for (let n = 0; n < 100; n++)
                    selects.push((await measure(() => tiles[(7 * n) % tiles.length].click()))[0]);
                return [hovers, selects];
            }}"""
        )
        line("hover: script's share of a frame", hovers, 16)
        line("select a head: script's share of a frame", selects, 16)
        heap = """async (updates) => {
            const tiles = [...document.querySelectorAll(".tile")];
            for (let n = 0; n < updates; n++) {
                bench.model.set("answer", { ...bench.model.get("answer") });
                tiles[(7 * n) % tiles.length].click();
                await new Promise((done) => setTimeout(done));
            }
        }"""
        session = page.context.new_cdp_session(page)

        def held() -> float:
            session.send("HeapProfiler.collectGarbage")
            return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6

        page.evaluate(heap, 50)
        before = held()
        page.evaluate(heap, 1000)
        print(f"{'memory of the page, before and after 1,000 updates':64}{before:8.1f}{held():8.1f} MB")


def live(chromium: str, folder: Path) -> None:
    _, tokenizer = load_pretrained("storyteller")
    text = text_of(tokenizer, 128)
    code = f"""from gptlib import load_pretrained
from gptlib.viz import AttentionExplorer
AttentionExplorer(*load_pretrained("storyteller"), {text!r})"""
    print("storyteller in JupyterLab, 128 tokens")
    with notebook_page(chromium, folder, [code]) as (page, _):
        page.locator(".attention .tile").first.wait_for(timeout=30_000)
        times = page.evaluate(
            """async () => {
                const tiles = [...document.querySelectorAll(".tile")], times = [];
                const says = document.querySelector(".says");
                const remove = document.querySelector("button[value=zero]");
                const redrawn = () => new Promise((done) => {
                    const observer = new MutationObserver(() => {
                        observer.disconnect();
                        requestAnimationFrame(() => setTimeout(done));
                    });
                    observer.observe(says, { childList: true, subtree: true });
                });
                for (let n = 0; n < 60; n++) {
                    tiles[n % 16].click();
                    await new Promise((done) => setTimeout(done, 250));
                    const started = performance.now(), done = redrawn();
                    remove.click();
                    await done;
                    times.push(performance.now() - started);
                    await new Promise((done) => setTimeout(done, 100));
                }
                return times.slice(5);
            }"""
        )
        line("a head switched off, to redrawn bars", times, 150)


def bertviz(chromium: str, folder: Path) -> None:
    if importlib.util.find_spec("bertviz") is None:
        print("BertViz is not installed (pip install bertviz), so nothing stands beside these numbers")
        return
    from bertviz import head_view

    weights = torch.rand(12, 1, 12, 128, 128).tril()
    weights /= weights.sum(-1, keepdim=True)
    html = head_view(list(weights), [str(n) for n in range(128)], html_action="return").data
    print("BertViz, head view of the same size, offline")
    print(f"{'page':64}{len(html) / 1e6:8.2f} MB")
    path = folder / "bertviz.html"
    path.write_text(f"<!doctype html><meta charset='utf-8'>{html}", encoding="utf-8")
    with browser_page(chromium, 1200, 1000) as (page, beyond):
        page.goto(path.as_uri())
        page.wait_for_timeout(5000)
        drawn = page.evaluate("document.querySelectorAll('svg *, canvas').length")
        print(f"{'asked for beyond this machine':64}{len(beyond):8d}")
        print(f"{'elements of a picture after 5 s':64}{drawn:8d}")


def main() -> int:
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium is installed, and these are measured in one (Debian: apt-get install chromium)")
        return 1
    torch.set_num_threads(1)
    for measure in (large_model, live, bertviz):
        with tempfile.TemporaryDirectory() as folder:
            measure(chromium, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
