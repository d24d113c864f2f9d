"""All explorers in one notebook whose kernel is restarted, one of them in the middle of a training."""

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
# What an explorer shows, but for what it says of the kernel.
PICTURE = """root => [...root.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()).join()
    + [...root.children].filter(part => !part.role).map(part => part.innerText).join()"""


def test_explorers_outlive_their_kernel(chromium, tmp_path):
    code = [f"{BEFORE}\n{SETUP.strip().removesuffix('dashboard')}", "told"]
    code[1:1] = [SHOW.format(made) for made in EXPLORERS.values()]
    with notebook_page(chromium, tmp_path, code) as (page, beyond):
        failures = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        root = {name: page.locator(f".gptlib.{name}") for name in EXPLORERS}
        act = {
            "attention": lambda: root["attention"].locator(".tile").nth(7).click(),
            "steps": lambda: page.get_by_role("switch", name="may look at Mia").click(),
            "position": lambda: page.get_by_label("position n").press("ArrowRight"),
            "generation": lambda: page.get_by_role("button", name="Sample a token").click(),
            "bpe": lambda: page.get_by_role("button", name="First").click(),
            "patching": lambda: page.get_by_role("radio", name="MLP").click(),
            "budget": lambda: page.get_by_role("radio", name="H100").click(),
            "dashboard": lambda: page.get_by_role("button", name="Start", exact=True).click(),
        }
        act["dashboard"]()
        page.locator(".key.validation b", has_text=".").wait_for()  # it has come to step 50
        before = {name: root[name].evaluate(PICTURE) for name in EXPLORERS}

        choose(page, "Kernel", "kernelmenu:restart")
        page.locator(".jp-Dialog button.jp-mod-accept").click()
        for name in EXPLORERS:
            problem = root[name].locator("> .problem")
            problem.filter(has_text="The kernel was restarted").wait_for()
            if name != "dashboard":
                assert root[name].evaluate(PICTURE) == before[name]
                act[name]()
                assert "run the cell again" in problem.inner_text()
        run = root["dashboard"].locator(".run")
        assert run.inner_text().startswith("Stopped step")
        assert run.get_by_role("button", disabled=True).count() == 2
        knob = page.get_by_role("slider", name="snapshot")
        knob.press("Home")
        assert knob.get_attribute("aria-valuetext") == "step 0" and root["dashboard"].is_visible()

        run_all(page)
        for name in EXPLORERS:
            act[name]()
        names = [made.split("(")[0].split(".")[0] for made in EXPLORERS.values()]
        names[-1] = "TrainingDashboard"
        page.locator(".widget-label", has_text=" ".join(names)).wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        run.filter(has_text="Stopped").wait_for()
        assert page.locator(".gptlib > .problem").filter(visible=True).count() == 0
        assert errors(page) == [] and failures == [] and beyond == []
