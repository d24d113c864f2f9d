"""The library as its reference sees it: its modules, its names, and the address of each.

The source is read, not imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from gptlib.extras import need
from gptlib.places import PACKAGE

# A module, class, function or attribute as griffe has read it. The extra that brings griffe may be missing:
# its own classes are not named here.
Thing = Any

FOLDER = "reference"  # in the site

# The parts of the library as a reader meets them: the model and its text first, what surrounds them later.
READING_ORDER = (
    "model",
    "text",
    "generation",
    "training",
    "interpret",
    "scaling",
    "loading",
    "shipped",
    "formats",
    "viz",
    "course",
    "files",
    "places",
    "checks",
    "extras",
)
# What has no pages, because nobody calls it from a notebook or from code of their own.
LEFT_OUT = {
    "the commands, which `gptlib --help` explains": ("cli", "__main__"),
    "the lessons, which hold the answers to the exercises": ("course.lessons",),
    "grading, which the teaching pages explain": ("course.grading",),
    "what `check` judges an answer with": ("course.comparing", "course.judging", "course.limits"),
    "what makes the glossary, the slides, the reader's notebooks and this site": (
        "course.glossary",
        "course.markup",
        "course.prose",
        "course.slides",
        "course.site",
        "course.desk.renaming",
        "course.desk.workbooks",
    ),
}


class Library:
    """The modules that have pages, in reading order, and the address of every name.

    A name may be made in one module and offered by another, whose `__all__` has it; there it is an alias.
    """

    def __init__(self) -> None:
        need("site")
        import griffe

        root = griffe.load("gptlib", search_paths=[PACKAGE.parent], allow_inspection=False)
        self.modules = {module.path: module for module in _in_order(root)}
        self.aliases = {
            alias.path: alias.target_path
            for module in self.modules.values()
            for alias in module.members.values()
            if alias.is_alias
        }
        self.exports = {path: self._exports(module) for path, module in self.modules.items()}
        self.names: dict[str, str] = {}
        for module in self.modules.values():
            self._name(module)
        for path, home in self._inherited():
            self.aliases[path] = home
            self.names[path] = self.names[home]
        for module in self.modules.values():
            for name in self.offered(module):
                self._name_again(f"{module.path}.{name}", self.home(f"{module.path}.{name}"))

    def members(self, owner: Thing) -> list[Thing]:
        """What a module or class makes itself and offers, in the order of its source."""
        found = [
            member
            for member in owner.members.values()
            if not member.is_alias and not member.is_module and self._is_public(member)
        ]
        return sorted(found, key=lambda member: member.lineno or 0)

    def offered(self, module: Thing) -> list[str]:
        """The names that a module offers and another makes."""
        own = {member.name for member in self.members(module)}
        return [name for name in self.exports[module.path] or () if name not in own]

    def home(self, path: str) -> str:
        """The path at which something is made, from a path at which it is offered or imported."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            head = ".".join(parts[:length])
            if head in self.aliases:
                return self.home(".".join([self.aliases[head], *parts[length:]]))
        return path

    def look_up(self, name: str, scope: Thing) -> str:
        """The address of what a name means in the docstring of `scope`; "" for what has no page."""
        place: Thing = scope
        while place is not None:
            if address := self.names.get(self.home(f"{place.path}.{name}")):
                return address
            if name.partition(".")[0] in place.members:
                return ""
            place = place.parent
        return self.names.get(self.home(name), "")

    def _is_public(self, member: Thing) -> bool:
        if member.name.startswith("_"):
            special = member.name.startswith("__") and member.is_function and member.name != "__init__"
            return special and member.docstring is not None
        if member.parent.is_module:
            exports = self.exports.get(member.parent.path)
            return exports is None or member.name in exports
        # What a method gives `self` is no field.
        is_field = member.is_attribute and member.annotation is not None and "property" not in member.labels
        is_field = is_field and (member.value is None or "class-attribute" in member.labels)
        return not member.is_attribute or bool(is_field or member.docstring or "property" in member.labels)

    def _exports(self, module: Thing) -> list[str] | None:
        """The names in a module's `__all__`, without running it; None for a module without one."""
        if "__all__" not in module.members:
            return None
        value = ast.parse(str(module["__all__"].value), mode="eval").body
        if isinstance(value, ast.Call):  # list(HOMES), of a table of what is imported when it is asked for
            homes = ast.literal_eval(str(module[ast.unparse(value.args[0])].value))
            for name, home in homes.items():
                path = home if home.startswith("gptlib.") else f"{module.path}.{home}"
                self.aliases[f"{module.path}.{name}"] = f"{path}.{name}"
            return list(homes)
        names = []
        for each in value.elts:
            if isinstance(each, ast.Starred):  # *explorers.__all__
                other = f"{module.path}.{ast.unparse(each.value).removesuffix('.__all__')}"
                for name in self._exports(self.modules[other]) or ():
                    self.aliases[f"{module.path}.{name}"] = f"{other}.{name}"
                    names.append(name)
            else:
                names.append(ast.literal_eval(each))
        return names

    def _name(self, owner: Thing) -> None:
        """Give each public thing its address."""
        module = owner.module
        page = f"{FOLDER}/{module.path}.html"
        self.names[owner.path] = page + (f"#{anchor_of(owner)}" if owner.is_class else "")
        for member in self.members(owner):
            if member.is_class:
                self._name(member)
            else:
                self.names[member.path] = f"{page}#{anchor_of(member)}"

    def _inherited(self) -> list[tuple[str, str]]:
        """The members that classes have from others: the path at each, and the path at which it is made."""
        return [
            (f"{owner.path}.{name}", member.target_path)
            for module in self.modules.values()
            for owner in self.members(module)
            if owner.is_class
            for name, member in owner.inherited_members.items()
            if member.target_path in self.names and f"{owner.path}.{name}" not in self.names
        ]

    def _name_again(self, path: str, home: str) -> None:
        ends = [name for name in self.names if name == home or name.startswith(f"{home}.")]
        for end in ends:
            self.names[path + end[len(home) :]] = self.names[end]


def _in_order(root: Thing) -> Iterator[Thing]:
    """The modules that have pages: in each package those first that its docstring names first."""
    left_out = {f"gptlib.{name}" for names in LEFT_OUT.values() for name in names}
    named = re.findall(r"`(\w+)`", root.docstring.value) if root.docstring else []
    first = READING_ORDER if root.name == "gptlib" else named
    inside = [module for module in root.members.values() if not module.is_alias and module.is_module]
    yield root
    for module in sorted(inside, key=lambda each: (_rank(each.name, first), each.name)):
        if module.path not in left_out and not module.name.startswith("_"):
            yield from _in_order(module)


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def anchor_of(thing: Thing) -> str:
    """Its id on its module's page: "GPT.forward"."""
    return thing.path.removeprefix(f"{thing.module.path}.")


def from_page(address: str, path: str) -> str:
    """An address from the site's root as a page of the reference links to it."""
    page, mark, anchor = address.partition("#")
    if page == path and mark:
        return mark + quote(anchor)
    return page.removeprefix(f"{FOLDER}/") + mark + quote(anchor)
