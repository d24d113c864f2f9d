"""The reference of the library, from its signatures and docstrings; its source is read, not imported."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from gptlib.course.prose import sentences
from gptlib.course.site import docstrings
from gptlib.course.site.library import FOLDER, LEFT_OUT, Library, Thing, anchor_of, from_page
from gptlib.course.site.signatures import attribute, expression, linked_code, signature, source
from gptlib.places import PACKAGE


@dataclass(frozen=True)
class Page:
    """A page of the reference, without the frame that the site puts around it."""

    path: str
    """Where it stands in the site, such as "reference/gptlib.model.gpt.html"."""

    title: str
    """What it explains: "gptlib.model.gpt", or "The library" for the index."""

    body: str
    """The page, as HTML whose links are relative to where it stands."""

    contents: list[tuple[int, str, str]]
    """Of each heading below the title its level, 2 or 3, its id, and its HTML."""


@dataclass(frozen=True)
class Reference:
    """The pages in reading order, the index first, and where in them everything is."""

    pages: list[Page]

    names: dict[str, str]
    """By full name ("gptlib.model.gpt.GPT", and "gptlib.GPT", too) its address from the site's root."""

    files: dict[str, str]
    """By path ("gptlib/model/gpt.py", and folders, too) the address of the page on it."""

    def address(self, name: str) -> str:
        """Where a name in prose leads, from the site's root; "" where it is not clear what is meant.

        Clear are full names, the functions and classes that gptlib, gptlib.viz and gptlib.course offer to an
        import, and classes whose name no other class has; each with the names of its members.
        """
        if name.startswith("gptlib"):
            return self.names.get(name, "")
        offered = (self.names.get(f"gptlib.{package}{name}", "") for package in ("", "viz.", "course."))
        # `model` means a model, hardly the package.
        return next((address for address in offered if "#" in address), self._classes.get(name, ""))

    @cached_property
    def _classes(self) -> dict[str, str]:
        found = defaultdict(set)
        for name, address in self.names.items():
            if end := re.search(r"\.([A-Z]\w*[a-z]\w*(?:\.\w+)?)$", name):
                found[end[1]].add(address)
        return {name: addresses.pop() for name, addresses in found.items() if len(addresses) == 1}


def make_reference() -> Reference:
    """Read the source of the library, and write the pages.

    Raises MissingExtra where griffe, which reads the source, is not installed.
    """
    library = Library()
    pages = [_index(library), *(_page(module, library) for module in library.modules.values())]
    files = {}
    for module in library.modules.values():
        path = module.filepath.relative_to(PACKAGE.parent)
        files[path.as_posix()] = library.names[module.path]
        if path.name == "__init__.py":
            files[path.parent.as_posix()] = library.names[module.path]
    return Reference(pages, library.names, files)


# ---------------------------------------------------------------------------------------------- the pages


def _index(library: Library) -> Page:
    root = library.modules["gptlib"]
    path = f"{FOLDER}/index.html"
    body = ["<h1>The library</h1>", _docstring(root, library, path)]
    body.append('<h2 id="imports">What you need first</h2>')
    body.append("<p>All of it comes with <code>from gptlib import …</code>.</p>")
    body.append(_list_of_offered(root, library, path))
    contents = [(2, "imports", "What you need first")]
    singles = []
    for module in library.modules.values():
        if module.path.count(".") != 1:
            continue
        if not module.is_init_module:
            singles.append(module)
            continue
        contents.append((2, module.name, f"<code>{module.path}</code>"))
        body.append(f'<h2 id="{module.name}">{linked_code(module.path, module.path, library, path)}</h2>')
        body.append(f"<p>{_summary(module, library, path)}</p>")
        body.append(_list_of_modules(module, library, path))
    contents.append((2, "modules", "Single modules"))
    body.append('<h2 id="modules">Single modules</h2>')
    body.append(_summaries([(module.path, module) for module in singles], library, path))
    contents.append((2, "left-out", "What is not here"))
    reasons = "".join(f"<li>{docstrings.inline(why, _nowhere)}</li>" for why in LEFT_OUT)
    body.append(
        '<h2 id="left-out">What is not here</h2><p>These parts have no pages, because you do not call them '
        f"from a notebook or from code of your own:</p><ul>{reasons}</ul>"
    )
    return Page(path, "The library", "\n".join(body), contents)


def _page(module: Thing, library: Library) -> Page:
    path = library.names[module.path]
    contents: list[tuple[int, str, str]] = []
    body = [_way_here(module, library, path), f"<h1><code>{module.path}</code></h1>"]
    body.append(_docstring(module, library, path))
    if module.is_init_module and module.path != "gptlib":
        body.append(_list_of_modules(module, library, path))
    if library.offered(module):
        contents.append((2, "offered", "What it offers"))
        body.append('<h2 id="offered">What it offers</h2>')
        body.append(_list_of_offered(module, library, path))
    members = library.members(module)
    for member in members:
        if not member.is_attribute:
            body += _definition(member, library, path, contents)
    if constants := [member for member in members if member.is_attribute]:
        contents.append((2, "constants", "Constants and types"))
        body.append('<h2 id="constants">Constants and types</h2>')
        body.append(_list_of_attributes(constants, library, path))
    return Page(path, module.path, "\n".join(part for part in body if part), contents)


def _way_here(module: Thing, library: Library, path: str) -> str:
    """The packages around a module, each a link."""
    parts = ['<a href="index.html">The library</a>']
    above = module.path.split(".")[:-1]
    for length in range(2, len(above) + 1):
        name = ".".join(above[:length])
        parts.append(linked_code(name, name, library, path))
    return f'<nav class="way" aria-label="Where this page stands">{" › ".join(parts)}</nav>'


def _definition(thing: Thing, library: Library, path: str, contents: list[tuple[int, str, str]]) -> list[str]:
    """A function or a class, with all that is in it."""
    anchor = anchor_of(thing)
    level = 2 + anchor.count(".")
    contents.append((level, anchor, f"<code>{thing.name}</code>"))
    body = [
        f'<section class="definition"><h{level} id="{anchor}">'
        f'<a class="self" href="#{anchor}"><code>{anchor}</code></a></h{level}>',
        signature(thing, library, path),
        docstring := _docstring(thing, library, path),
    ]
    if thing.is_class:
        body.append(_bases(thing, library, path))
        members = library.members(thing)
        fields = [
            each for each in members if each.is_attribute and f'id="{anchor_of(each)}"' not in docstring
        ]
        body.append(_list_of_attributes(fields, library, path))
        for member in members:
            if not member.is_attribute:
                body += _definition(member, library, path, contents)
        body.append(_inherited(thing, library, path))
    if thing.parent.is_module:
        body.append(source(thing))
    return [*(part for part in body if part), "</section>"]


def _bases(thing: Thing, library: Library, path: str) -> str:
    if not thing.bases:
        return ""
    bases = " and ".join(f"<code>{expression(base, library, path)}</code>" for base in thing.bases)
    return f'<p class="bases">A subclass of {bases}.</p>'


def _inherited(thing: Thing, library: Library, path: str) -> str:
    """What a class has from others of the library, each a link to where it is explained."""
    found = defaultdict(list)
    for name in sorted(thing.inherited_members):
        home = library.aliases.get(f"{thing.path}.{name}", "")
        if home in library.names:
            found[home.rpartition(".")[0]].append(linked_code(name, home, library, path))
    return "".join(
        f'<p class="inherited">From {linked_code(parent.rpartition(".")[2], parent, library, path)} it has '
        f"{', '.join(names)}.</p>"
        for parent, names in found.items()
    )


def _list_of_attributes(attributes: list[Thing], library: Library, path: str) -> str:
    if not attributes:
        return ""
    rows = (
        f"{attribute(each, library, path)}<dd>{_docstring(each, library, path)}</dd>" for each in attributes
    )
    return f'<dl class="attributes">{"".join(rows)}</dl>'


def _list_of_modules(package: Thing, library: Library, path: str) -> str:
    inside = [module for module in library.modules.values() if module.parent is package]
    return _summaries([(module.path, module) for module in inside], library, path)


def _list_of_offered(module: Thing, library: Library, path: str) -> str:
    found = []
    for name in library.offered(module):
        home = library.home(f"{module.path}.{name}")
        found.append((name, library.modules["gptlib"][home.removeprefix("gptlib.")]))
    return _summaries(found, library, path)


def _summaries(things: list[tuple[str, Thing]], library: Library, path: str) -> str:
    """Names with the first sentence on each."""
    rows = (
        f"<dt>{linked_code(name, thing.path, library, path)}</dt><dd>{_summary(thing, library, path)}</dd>"
        for name, thing in things
    )
    return f'<dl class="summaries">{"".join(rows)}</dl>'


# ------------------------------------------------------------------------------------- what pages are made of


def _summary(thing: Thing, library: Library, path: str) -> str:
    """The first sentence of a docstring."""
    if not thing.docstring:
        return ""
    paragraph = re.split(r"\n\s*\n", thing.docstring.value)[0]
    return docstrings.inline(sentences(paragraph)[0], _linker(thing, library, path))


def _docstring(thing: Thing, library: Library, path: str) -> str:
    """A docstring as HTML; a class's may explain fields, which then have their places in it."""
    texts = [thing.docstring.value] if thing.docstring else []
    terms = {name: f"<dt><code>{name}</code></dt>" for name in _parameter_names(thing)}
    if thing.is_class:
        fields = [member for member in library.members(thing) if member.is_attribute]
        terms |= {field.name: attribute(field, library, path) for field in fields}
        made = thing.members.get("__init__")
        if made is not None and made.docstring:
            texts.append(made.docstring.value)
    return "".join(docstrings.to_html(text, _linker(thing, library, path), terms) for text in texts)


def _linker(thing: Thing, library: Library, path: str) -> Callable[[str], str]:
    """Where a name in the docstring of a thing leads; the thing itself and its parameters lead nowhere."""
    own = (_parameter_names(thing) - set(thing.members)) | {thing.name}

    def link(name: str) -> str:
        return "" if name.partition(".")[0] in own else from_page(library.look_up(name, thing), path)

    return link


def _nowhere(name: str) -> str:
    return ""


def _parameter_names(thing: Thing) -> set[str]:
    return {each.name for each in thing.parameters} if thing.is_class or thing.is_function else set()
