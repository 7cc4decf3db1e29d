"""The reference: every public name stands on one page, and is found from the front page."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
FRONT = BOOK / "api.md"
PAGES = sorted((BOOK / "api").glob("*.md"))

# What users import from.  A room that is not here is the inside of one that is.
PUBLIC = (
    "alphafair",
    "alphafair.chunks",
    "alphafair.command",
    "alphafair.estimator",
    "alphafair.evaluation",
    "alphafair.frames",
    "alphafair.groundtruth",
    "alphafair.layer",
    "alphafair.models.attention",
    "alphafair.models.bandits",
    "alphafair.models.bandits.examples",
    "alphafair.models.bandits.learning",
    "alphafair.models.meanfield",
    "alphafair.models.meanfield.games",
    "alphafair.models.selection",
    "alphafair.models.strategic",
    "alphafair.plots",
    "alphafair.reference",
    "alphafair.regret",
)
# Without an underscore because another room uses them, not because users do.
INSIDE = {
    "alphafair.chunks.Chunk",
    "alphafair.chunks.Columns",
    "alphafair.chunks.Tally",
    "alphafair.chunks.from_chunks",  # the body of `Problem.from_chunks`
    "alphafair.layer.checked",
}
# Chapters look at some rooms from inside, to measure them.
LOOKED_INTO = {
    "alphafair.command.arguments",
    "alphafair.command.tables",
    "alphafair.kernels",
    "alphafair.scan",
    "alphafair.models.bandits.learning.kernels",
}
METHODS = (classmethod, staticmethod, property, cached_property)


class Entry(NamedTuple):
    """What a page says of one name."""

    page: Path
    kind: str
    members: set[str] | None  # None: all
    excluded: set[str]


@cache
def entries():
    """Name → entry, for all pages; a name on two pages is refused."""
    found: dict[str, Entry] = {}
    for page in PAGES:
        for kind, name, options in re.findall(
            r"^\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", page.read_text(), flags=re.MULTILINE
        ):
            assert name not in found or kind == "module", f"{name} is on two pages"
            told = dict(re.findall(r":([\w-]+):(.*)", options))
            lists = {
                key: set(re.findall(r"\w+", told.get(key, "")))
                for key in ("members", "exclude-members")
            }
            every = "members" in told and not lists["members"]
            if kind != "module":
                members = None if every else lists["members"]
                found[name] = Entry(page, kind, members, lists["exclude-members"])
    return found


def resolve(name):
    """The object that has this public name."""
    module, attribute = name.rsplit(".", 1)
    return getattr(importlib.import_module(module), attribute)


def public_names(module):
    """What `__all__` says, else what the module itself defines."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def classes():
    return {name: resolve(name) for name in entries() if inspect.isclass(resolve(name))}


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module):
    documented = [resolve(name) for name in entries()]
    names = public_names(importlib.import_module(module))
    assert names
    for name in names:
        value = getattr(importlib.import_module(module), name)
        if f"{module}.{name}" not in INSIDE:
            assert any(value is known for known in documented), f"{module}.{name} is on no page"
            assert value.__doc__, name


def test_the_names_that_are_left_out_are_there():
    for name in INSIDE:
        assert callable(resolve(name))
        assert name not in entries()


def test_chapters_import_what_is_public():
    sources = "\n".join(
        cell.source
        for path in sorted(BOOK.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    )
    modules = set(re.findall(r"^(?:from|import) (alphafair[\w.]*)", sources, flags=re.MULTILINE))
    assert len(modules) > 5
    assert modules <= {*PUBLIC, *LOOKED_INTO, "alphafair.models"}


def test_every_method_is_shown_told_or_left_out():
    """Left out by name: what a reader may miss is a decision that stands on the page."""
    for name, cls in classes().items():
        entry = entries()[name]
        for method, value in vars(cls).items():
            if method.startswith("_") or not (
                inspect.isfunction(value) or isinstance(value, METHODS)
            ):
                continue
            shown = entry.members is None or method in entry.members
            attribute = isinstance(value, (property, cached_property)) and re.search(
                rf"^ +{method}: ", cls.__doc__, flags=re.MULTILINE
            )
            assert shown or attribute or method in entry.excluded, f"{name}.{method}"


def test_what_a_page_asks_for_is_there():
    """Sphinx passes over members that it does not find."""
    for name, cls in classes().items():
        entry = entries()[name]
        fields = {field for base in cls.__mro__ for field in getattr(base, "__annotations__", ())}
        for member in (entry.members or set()) | entry.excluded:
            told = re.search(rf"^ +{member}: ", cls.__doc__, flags=re.MULTILINE)
            assert hasattr(cls, member) or member in fields or told, f"{name}.{member}"


def test_attributes_stand_one_a_line():
    """So that each can be found by its name, and none is the type of another."""
    sections = 0
    for name, cls in classes().items():
        section = re.search(r"\n *Attributes:\n(.*?)(\n\n|$)", cls.__doc__, flags=re.DOTALL)
        sections += section is not None
        several = section and re.search(r"^ +\w+(, \w+)+:", section[1], flags=re.MULTILINE)
        assert not several, f"{name}: {several[0].strip()}"
    assert sections > 30


def test_the_front_page_leads_to_every_name():
    shown = []
    for table in re.findall(r"```{eval-rst}\n(.*?)```", FRONT.read_text(), flags=re.DOTALL):
        module = re.search(r"^\.\. currentmodule:: (\S+)$", table, flags=re.MULTILINE)[1]
        names = re.findall(r"^   ([A-Za-z_][\w.]*)$", table, flags=re.MULTILINE)
        assert names
        shown += [f"{module}.{name}" for name in names]
    assert len(shown) == len(set(shown))
    documented = entries()
    assert set(documented) <= set(shown), set(documented) - set(shown)
    for name in set(shown) - set(documented):  # methods
        cls, method = name.rsplit(".", 1)
        entry = documented[cls]
        assert entry.members is None or method in entry.members, name
        assert method not in entry.excluded, name


def test_the_front_page_has_a_sentence_for_every_name():
    for name in entries():
        first = inspect.getdoc(resolve(name)).splitlines()[0]
        assert first.endswith((".", "?")), f"{name}: {first}"


def test_pages_stand_under_the_front_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    (front,) = (
        chapter
        for part in toc["parts"]
        for chapter in part["chapters"]
        if chapter["file"] == "book/api"
    )
    listed = [section["file"] for section in front["sections"]]
    assert sorted(listed) == [f"book/api/{page.stem}" for page in PAGES]


# --- the command --------------------------------------------------------------------------------
def test_the_page_of_the_command_is_what_its_parser_says(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import command_page

    cure = "run `python book/command_page.py` and look at what has changed"
    assert command_page.PAGE.read_text() == command_page.page(command_page.command_line()), cure


def test_the_page_of_the_command_says_what_help_says():
    """By what is printed, which does not know how the page is made."""
    said = subprocess.run(
        [sys.executable, "-m", "alphafair", "--help"],
        capture_output=True,
        check=True,
        env={**os.environ, "COLUMNS": "1000", "PYTHONIOENCODING": "utf-8"},
    ).stdout.decode()
    page = (BOOK / "api" / "command.md").read_text()
    plain = " ".join(page.replace("`", "").split())
    options = re.findall(
        r"^  (?:-\w.*?, )?(--[\w-]+)(?:,? \S+)*(?:  +|\n {10,})(\S.*)$", said, flags=re.MULTILINE
    )
    assert len(options) > 25
    for option, meaning in options:
        assert re.search(rf"`{option}[ `]", page), option
        assert " ".join(meaning.split()) in plain, option
    epilog = said[said.index("examples:") :]
    for line in epilog.splitlines():
        text = line.strip().removesuffix(":")
        assert text.lower() in page.lower(), line
