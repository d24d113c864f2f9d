"""How fast the explorers are, in a real Chromium, beside BertViz if that is installed: `make bench`.

Each line gives the median and the 95th percentile, and the mark that the explorers are held to. It takes five
minutes, two of which are a reader's two minutes of use.
"""

import base64
import gc
import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from driver import browser_page, find_chromium, notebook_page  # noqa: E402
from live_page import live_page  # noqa: E402
from timing import medians  # noqa: E402

from gptlib import GPT, GPTConfig, Storyworld, Tokenizer, generate, load, trace  # noqa: E402
from gptlib.viz import AttentionExplorer, GenerationExplorer  # noqa: E402
from gptlib.viz.explorers.living import pack_model  # noqa: E402
from gptlib.viz.explorers.pages import packed  # noqa: E402

LARGEST = GPTConfig(vocab_size=2048, context_length=256, n_layers=11, n_heads=8, d_model=256)  # in a page
LARGE = GPTConfig(vocab_size=2048, context_length=128, n_layers=12, n_heads=12, d_model=192)
WRITTEN = 200  # tokens
ALIVE = """
async function timed(act) {
  const from = performance.now();
  await act();
  return performance.now() - from;
}
const awake = ([name, text]) => timed(async () => {
  await openZipped(name, text);
  models[name].gpt.run([0]);
});
const answered = ([name, tokens]) => timed(() => models[name].gpt.run(tokens, { record: ["*.weights"] }));
const written = ([name, n]) => timed(() => {
  const { gpt, tokenizer } = models[name];
  const tokens = newTokens(gpt, tokenizer, [tokenizer.endOfText], { min_new_tokens: n });
  for (let i = 0; i < n; i++) tokens.next();
});
"""
IN_PAGE = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
USE = 120  # seconds
COMPARED = 20  # of the first and of the last things that were done in them
# A widget that sends a number and gets it back: what every question to the kernel takes, however small.
ECHO = '''import anywidget, traitlets

class Echo(anywidget.AnyWidget):
    _esm = """export default { render({ model }) {
        window.roundTrip = () => new Promise((done) => {
            const heard = () => { model.off("change:back", heard); done(); };
            model.on("change:back", heard);
            model.set("there", model.get("there") + 1);
            model.save_changes();
        });
    } };"""
    there = traitlets.Int(0).tag(sync=True)
    back = traitlets.Int(0).tag(sync=True)

    @traitlets.observe("there")
    def send_back(self, change):
        self.back = change.new

Echo()'''


def line(what: str, milliseconds: list[float], mark: float | None = None) -> None:
    milliseconds = sorted(milliseconds)
    high = milliseconds[min(len(milliseconds) - 1, int(0.95 * len(milliseconds)))]
    print(f"{what:64}{statistics.median(milliseconds):8.1f}{high:8.1f} ms{held(high, mark)}", flush=True)


def held(value: float, mark: float | None) -> str:
    """Whether the value is within its mark, in words."""
    return "" if mark is None else f"   at most {mark:g}: {'yes' if value <= mark else 'NO'}"


def text_of(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A text that has this many tokens with the start of text before it."""
    stories = "".join(story.text + " " for story in Storyworld(seed=0, split="test").stories(40))
    text = tokenizer.decode(tokenizer.encode(stories)[: n_tokens - 1])
    assert len(tokenizer.encode(text)) == n_tokens - 1
    return text


def given_away(path: Path) -> str:
    """The address of an exported page that leaves its model and its module where page.js can use them."""
    page = path.read_text(encoding="utf-8")
    last = "explorer.render({ model, el"
    assert page.count(last) == 1
    path.write_text(page.replace(last, "window.bench = { model, explorer };\n" + last), encoding="utf-8")
    return path.as_uri()


def large_model(chromium: str, folder: Path) -> None:
    torch.manual_seed(0)
    model = GPT(LARGE).eval()
    _, tokenizer = load("storyteller")
    text = text_of(tokenizer, 128)
    started = time.perf_counter()
    explorer = AttentionExplorer(model, tokenizer, text)
    taken = 1000 * (time.perf_counter() - started)
    answer = len(packed({"answer": explorer.answer, "details": explorer.details})) / 1e6
    print(f"12 layers x 12 heads x {explorer.answer['rows']} tokens, random weights")
    print(f"{'computed in Python':64}{taken:8.1f} ms")
    print(f"{'data':64}{answer:8.2f} MB{held(answer, 2.4)}")
    explorer.to_html(folder / "large.html")
    size = (folder / "large.html").stat().st_size / 1e6
    print(f"{'exported file':64}{size:8.2f} MB{held(size, 1)}")
    with browser_page(chromium, 1200, 1000) as (page, _):
        page.goto(given_away(folder / "large.html"))
        page.locator(".tile").first.wait_for()
        page.evaluate(IN_PAGE)
        line("an empty frame", page.evaluate("timed.emptyFrames()"))
        line("first paint, data there", page.evaluate("timed.firstPaints()"), 100)
        line("hover: script's share of a frame", page.evaluate("timed.hovers()"), 16)
        line("select a head: script's share of a frame", page.evaluate("timed.selects()"), 16)
        session = page.context.new_cdp_session(page)

        def memory() -> float:
            session.send("HeapProfiler.collectGarbage")
            return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6

        page.evaluate("timed.updates(50)")
        before = memory()
        page.evaluate("timed.updates(1000)")
        print(f"{'memory of the page, before and after 1,000 updates':64}{before:8.1f}{memory():8.1f} MB")


def long_texts(chromium: str, folder: Path) -> None:
    """GPT-2's shape on 256 and 1,024 tokens, beside a forward pass that gives its attention away."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(50_257, context_length=2000, n_layers=12, n_heads=12, d_model=768)).eval()
    _, tokenizer = load("storyteller")
    for n_tokens in (256, 1024):
        text = text_of(tokenizer, n_tokens)
        tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]])

        def bare(tokens: torch.Tensor = tokens) -> None:
            with torch.no_grad(), trace(model):
                model(tokens)

        def explored(text: str = text) -> None:
            AttentionExplorer(model, tokenizer, text).close()
            gc.collect()

        bare()
        peak = memory_peak()
        theirs, ours = medians(3, bare, explored)
        print(f"12 layers x 12 heads x {n_tokens} tokens, 768 wide, random weights")
        times = ours / theirs
        print(f"{'explorer, times a forward pass with attention':64}{times:8.2f}{held(times, 1.5)}")
        grown = memory_peak() - peak
        print(f"{'memory beyond that of the pass':64}{grown:8.2f} GB{held(grown, 1.5)}")
    explorer = AttentionExplorer(model, tokenizer, text_of(tokenizer, 2000))
    explorer.to_html(folder / "long.html")
    size = (folder / "long.html").stat().st_size / 1e6
    print(f"{'exported file of 2,000 tokens':64}{size:8.2f} MB")
    with browser_page(chromium, 1200, 1000) as (page, _):
        page.goto(given_away(folder / "long.html"))
        page.locator(".tile").first.wait_for(timeout=60_000)
        page.evaluate(IN_PAGE)
        line("hover: script's share of a frame", page.evaluate("timed.hovers()"))
        line("select a head: script's share of a frame", page.evaluate("timed.selects()"))


def memory_peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def live_attention(chromium: str, folder: Path) -> None:
    _, tokenizer = load("storyteller")
    text = text_of(tokenizer, 120)
    code = f"""from gptlib import load
from gptlib.viz import AttentionExplorer
start = "function render({{ model, el }}) {{"
assert AttentionExplorer._esm.count(start) == 1
AttentionExplorer._esm = AttentionExplorer._esm.replace(start, start + " window.bench = {{ model }};")
AttentionExplorer(*load("storyteller"), {text!r})"""
    print("storyteller in JupyterLab, 120 tokens")
    with notebook_page(chromium, folder, [ECHO, code]) as (page, _):
        page.locator(".attention .tile").first.wait_for(timeout=30_000)
        page.evaluate(IN_PAGE)
        line("an empty frame", page.evaluate("timed.emptyFrames()"))
        line("an empty question to the kernel, and its answer", page.evaluate("timed.roundTrips()"))
        line("a head switched off, to redrawn bars", page.evaluate("timed.switchedOff()"), 150)
        taken, unanswered, problem = page.evaluate("seconds => timed.use(seconds)", USE)
    print(f"{USE} seconds of use; each line from the act until all is answered and painted")
    for name, times in taken.items():
        line(f"  {name}, {len(times)} times", times)
    in_order = [took for acts in zip(*taken.values(), strict=True) for took in acts]
    first, last = statistics.mean(in_order[:COMPARED]), statistics.mean(in_order[-COMPARED:])
    print(f"{f'  mean of the first {COMPARED} acts and of the last {COMPARED}':64}{first:8.1f}{last:8.1f} ms")
    print(f"{'  the last by the first':64}{last / first:8.2f}{held(last / first, 1.25)}")
    print(f"{'  questions without an answer at the end':64}{unanswered:8d}{held(unanswered, 0)} {problem}")


def temperature(chromium: str, folder: Path) -> None:
    model, tokenizer = load("storyteller")
    prompt = text_of(tokenizer, 60)
    code = f"""from gptlib import load
from gptlib.viz import GenerationExplorer
GenerationExplorer(*load("storyteller"), {prompt!r})"""
    print(f"temperature on the logits of storyteller's {tokenizer.vocab_size:,} tokens")
    GenerationExplorer(model, tokenizer, prompt).to_html(folder / "generation.html")
    with browser_page(chromium, 1200, 1000) as (page, _):
        page.goto((folder / "generation.html").as_uri())
        page.locator(".generation .bars").wait_for()
        page.evaluate(IN_PAGE)
        line("exported file: an empty frame", page.evaluate("timed.emptyFrames()"))
        line("exported file: the slider moved, to redrawn bars", page.evaluate("timed.temperature()"), 100)
    with notebook_page(chromium, folder, [ECHO, code]) as (page, _):
        page.locator(".generation .bars").wait_for(timeout=30_000)
        page.locator(".generation .bars").scroll_into_view_if_needed()
        page.evaluate(IN_PAGE)
        line("JupyterLab: an empty frame", page.evaluate("timed.emptyFrames()"))
        line("JupyterLab: an empty question, and its answer", page.evaluate("timed.roundTrips()"))
        line("JupyterLab: the slider moved, to redrawn bars", page.evaluate("timed.temperature()"), 100)


def in_a_page(chromium: str, folder: Path) -> None:
    """GPTs that a page runs itself. Page and Python take turns, each timed by the clock on the wall."""
    torch.manual_seed(0)
    largest = GPT(LARGEST).eval()
    model, tokenizer = load("storyteller")
    with live_page(chromium) as page:
        page.add_script_tag(content=ALIVE)
        for name, gpt in (("storyteller", model), (f"{largest.n_parameters:,} random parameters", largest)):
            print(f"{name}, in a page without a kernel")
            block = pack_model(gpt, tokenizer)
            given = [name, base64.b64encode(block).decode()]
            print(f"{'zipped':64}{len(block) / 1e6:8.2f} MB")
            line("awake: unzipped, opened, run once", [page.evaluate("awake", given) for _ in range(7)], 1000)
            tokens = [tokenizer.end_of_text, *tokenizer.encode(text_of(tokenizer, 100))]
            answers = [page.evaluate("answered", [name, tokens]) for _ in range(20)]
            line("100 tokens read, all attention recorded", answers, 150)
            shares, speeds = [], []
            for _ in range(9):
                started = time.perf_counter()
                generate(gpt, tokenizer, min_new_tokens=WRITTEN, max_new_tokens=WRITTEN, seed=0)
                python = time.perf_counter() - started
                seconds = page.evaluate("written", [name, WRITTEN]) / 1000
                shares.append(python / seconds)
                speeds.append(WRITTEN / seconds)
            share, speed = statistics.median(shares[1:]), statistics.median(speeds[1:])
            print(f"{'tokens written a second':64}{speed:8.0f}")
            held_to = f"   at least 0.5: {'yes' if share >= 0.5 else 'NO'}"
            print(f"{'as a share of what generate writes on one thread':64}{share:8.2f}{held_to}", flush=True)


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
    for measure in (in_a_page, long_texts, large_model, live_attention, temperature, bertviz):
        with tempfile.TemporaryDirectory() as folder:
            measure(chromium, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
