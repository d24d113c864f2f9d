"""The copies of the notebooks for Colab: what their first cell says and does, and where their links lead."""

import json
import re
from importlib import metadata

import pytest

from gptlib import extras
from gptlib.course.desk.workbooks import readers_copy
from gptlib.course.prose import find_notebook, notebook_paths
from gptlib.course.site.colab import Repository, colab_copy, colab_files
from gptlib.course.site.pages import Page
from gptlib.course.site.templates import TEMPLATES

REPOSITORY = Repository("ada/gpt", "v1.0")


def test_a_copy_is_the_readers_with_one_cell_more():
    files = colab_files(REPOSITORY)
    assert list(files) == [f"colab/{path.name}" for path in notebook_paths()]
    for path in notebook_paths():
        copy, readers = json.loads(files[f"colab/{path.name}"]), readers_copy(path)
        first, *others = copy["cells"]
        assert first["cell_type"] == "code" and "/ada/gpt/archive/v1.0.tar.gz" in "".join(first["source"])
        assert [cell["id"] for cell in others] == [cell["id"] for cell in readers["cells"]]
        assert not any(cell.get("outputs") for cell in copy["cells"])
        assert len({cell["id"] for cell in copy["cells"]}) == len(copy["cells"])


def test_links_lead_to_colab_and_to_the_repository():
    targets = []
    for path in notebook_paths():
        for cell in colab_copy(path, REPOSITORY)["cells"]:
            if cell["cell_type"] == "markdown":
                targets += re.findall(r"\]\(([^()\s]+)\)", cell["source"])
    here = (
        "https://colab.research.google.com/github/ada/gpt/blob/colab/",
        "https://github.com/ada/gpt/blob/v1.0/",
    )
    assert f"{here[0]}04_attention.ipynb" in targets and f"{here[1]}gptlib/model/gpt.py" in targets
    assert [target for target in targets if "://" not in target and target[0] != "#"] == []
    for target in targets:
        if target.startswith(here[0]):
            assert find_notebook(target.removeprefix(here[0]).partition("#")[0])


@pytest.mark.parametrize("repository", [REPOSITORY, None])
def test_a_page_links_to_colab_and_binder_where_there_is_a_repository(repository):
    page = Page("04_attention.html", "Attention", "", [], "notebook", "notebooks/04_attention.ipynb")
    shown = TEMPLATES.get_template("page.html").render(
        page=page,
        body="",
        title="",
        root="",
        groups=[],
        previous=None,
        next=None,
        explorers=False,
        repository=repository,
    )
    for address in (
        "https://colab.research.google.com/github/ada/gpt/blob/colab/04_attention.ipynb",
        "https://mybinder.org/v2/gh/ada/gpt/v1.0?urlpath=lab/tree/work/04_attention.ipynb",
    ):
        assert (f'href="{address}"' in shown) == (repository is not None)
    assert ("Nobody has tried either yet." in shown) == (repository is not None)


@pytest.mark.parametrize("name", ["gpt", "ada/gpt/x", "https://github.com/ada/gpt", '"/x', "", "-a/b"])
def test_a_repository_that_is_none(name):
    with pytest.raises(ValueError, match="^repository is .*; it needs to be OWNER/NAME"):
        Repository(name)


@pytest.mark.parametrize("ref", ["", "-x", 'a"b', "a b", "{x}"])
def test_a_ref_that_is_none(ref):
    with pytest.raises(ValueError, match="^ref is .*; it needs to be"):
        Repository("ada/gpt", ref)


def test_absent_is_what_no_version_is_there_of(monkeypatch):
    assert extras.absent("course") == []
    version = metadata.version

    def without(name):
        if name in ("anywidget", "tiktoken", "jupyterlab", "tokenizers", "griffelib"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    names = [re.match(r"[\w-]+>=", line)[0] for line in extras.absent("course")]
    # Of the extras in the extra too; JupyterLab is the program's that asks, and the site is not the course's.
    assert names == ["anywidget>=", "tiktoken>=", "tokenizers>="]
