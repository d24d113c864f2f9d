"""Explorers, a prediction and a quiz in one notebook; its kernel is restarted in the middle of a training."""

from driver import choose, errors, notebook_page, run_all
from test_dashboard_page import SETUP
from test_pictures import PAIR

EXPLORERS = {
    "attention": "AttentionExplorer(*storyteller, 'Mia took a red kite')",
    "steps": "AttentionSteps.from_model(*storyteller, 'Mia took a kite', 1, 2)",
    "position": "PositionExplorer()",
    "generation": "GenerationExplorer(*storyteller, 'Once upon a time')",
    "bpe": "BPEExplorer(storyteller[1], 'low lower')",
    "patching": f"PatchingExplorer(*storyteller, *{PAIR!r})",
    "budget": "BudgetExplorer()",
    "dashboard": "dashboard",
}
BEFORE = """from gptlib import load
from gptlib.viz import AttentionExplorer, AttentionSteps, BPEExplorer, BudgetExplorer, GenerationExplorer
from gptlib.viz import PatchingExplorer, PositionExplorer
from ipywidgets import Label
storyteller, shown, told = load("storyteller"), [], Label("nobody")

def tell(change):
    told.value = " ".join(type(one).__name__ for one in shown if one.answered)"""
SHOW = "shown.append({})\nshown[-1].observe(tell, 'answered')\nshown[-1]"
# What an explorer shows, but for what it says of the kernel, and thumbnails: these are as large as has room.
PICTURE = """root => {
    const copy = root.cloneNode(true), drawn = [...root.querySelectorAll("canvas:not(.montage *)")];
    for (const part of copy.querySelectorAll(".problem, .unseen, .montage")) part.remove();
    return drawn.map(canvas => canvas.toDataURL()).join() + copy.textContent;
}"""
ASKED = """from gptlib.course import Quiz, predict
predict("attention.kite_looks_at", torch.eye(2), ["a", "b"])"""
QUIZ = 'Quiz("attention")'


def test_what_is_live_outlives_its_kernel(chromium, tmp_path):
    code = [f"{BEFORE}\n{SETUP.strip().removesuffix('dashboard')}", "told"]
    code[1:1] = [SHOW.format(made) for made in EXPLORERS.values()] + [ASKED, QUIZ]
    with notebook_page(chromium, tmp_path, code) as (page, beyond):
        failures = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        root = {name: page.locator(f".gptlib.{name}") for name in EXPLORERS}
        asked = page.locator(".gptlib-asked")
        act = {
            "attention": lambda: root["attention"].locator(".tile").nth(7).click(),
            "steps": lambda: page.get_by_role("switch", name="may look at Mia").click(),
            "position": lambda: page.get_by_label("position n").press("ArrowRight"),
            "generation": lambda: page.get_by_role("button", name="Sample a token").click(),
            "bpe": lambda: page.get_by_role("button", name="Previous").click(),
            "patching": lambda: page.get_by_role("radio", name="MLP").click(),
            "budget": lambda: page.get_by_role("radio", name="H100").click(),
            "dashboard": lambda: page.get_by_role("button", name="Start", exact=True).click(),
        }
        quiet = [name for name in EXPLORERS if name != "dashboard"]

        def pictures():
            page.mouse.move(0, 0)  # over nothing that answers to it
            return {name: root[name].evaluate(PICTURE) for name in quiet}

        def until(wanted):
            """Wait until the explorers show these pictures."""
            for _ in range(40):
                now = pictures()
                if all(now[name] == wanted[name] for name in quiet):
                    return
                page.wait_for_timeout(250)
            raise AssertionError([name for name in quiet if now[name] != wanted[name]])

        page.wait_for_timeout(1000)
        fresh = pictures()
        root["attention"].get_by_label("Text", exact=True).fill("Tom took a blue kite")
        for name in EXPLORERS:
            act[name]()
        asked.nth(0).get_by_role("button", name="B").click()
        asked.nth(0).locator("img").wait_for()
        asked.nth(1).get_by_role("button", name="A").first.click()
        page.locator(".key.validation b", has_text=".").wait_for()  # it has come to step 50
        page.wait_for_timeout(1000)
        before, said = pictures(), asked.all_inner_texts()
        assert all(before[name] != fresh[name] for name in quiet)

        choose(page, "Kernel", "kernelmenu:restart")
        page.locator(".jp-Dialog button.jp-mod-accept").click()
        for name in EXPLORERS:
            problem = root[name].locator("> .problem")
            problem.filter(has_text="The kernel was restarted").wait_for()
            if name != "dashboard":
                assert root[name].evaluate(PICTURE) == before[name]
                act[name]()
                assert "run the cell again" in problem.inner_text()
        for box in asked.all():
            assert box.get_by_role("alert").inner_text().startswith("The kernel was restarted. Run the cell")
            assert box.get_by_role("button", disabled=False).count() == 0
            mark = "all => all.map(one => getComputedStyle(one, '::before').display)"
            lost = box.locator(".jupyter-widgets-disconnected")
            assert lost.count() > 5 and set(lost.evaluate_all(mark)) == {"none"}  # no links that are broken
        run = root["dashboard"].locator(".run")
        assert run.inner_text().startswith("Stopped step")
        assert run.get_by_role("button", disabled=True).count() == 2
        knob = page.get_by_role("slider", name="snapshot")
        knob.press("Home")
        assert knob.get_attribute("aria-valuetext") == "step 0" and root["dashboard"].is_visible()

        run_all(page)  # and all takes up what was chosen
        until(before)
        assert asked.all_inner_texts() == said
        for name in EXPLORERS:
            act[name]()
        names = [made.split("(")[0].split(".")[0] for made in EXPLORERS.values()]
        names[-1] = "TrainingDashboard"
        page.locator(".widget-label", has_text=" ".join(names)).wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        run.filter(has_text="Stopped").wait_for()
        assert page.locator(".gptlib > .problem").filter(visible=True).count() == 0

        run_all(page)  # where the kernel lives, a cell that runs again starts anew
        page.wait_for_timeout(1000)
        until(fresh)
        assert asked.nth(0).locator("img").count() == 0 and "0 of 7 right" in asked.nth(1).inner_text()
        assert errors(page) == [] and failures == [] and beyond == []
