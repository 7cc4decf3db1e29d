"""Who may import whom, and what an import may cost: the drawing in the book, held to."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import alphafair

PACKAGE = Path(alphafair.__file__).parent
CORE = (
    *("problem", "utility", "certificate", "closed_form"),
    *("capped", "derivatives", "capped_derivatives", "fairness"),
)
ALLOWED = {
    "problem": set(),
    "utility": set(),
    "curves": set(),
    "progress": set(),
    "certificate": {"problem", "utility"},
    "reference": {"problem", "utility", "certificate"},
    "groundtruth": set(CORE),
    "layer": set(CORE),
    "frames": set(CORE),
    "plots": set(CORE),
    "__main__": {*CORE, "frames"},
    "__init__": {*CORE, "curves", "groundtruth"},
} | {name: set(CORE[: CORE.index(name)]) for name in CORE[3:]}


def internal_imports(path):
    """The modules of the package that a file imports, by name, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 1 or module.split(".")[0] == "alphafair":
                module = module.removeprefix("alphafair").strip(".")
                found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("alphafair.")
            }
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports(path):
    assert internal_imports(path) <= ALLOWED[path.stem]


def test_the_core_does_not_know_the_models():
    for path in PACKAGE.glob("*.py"):
        assert "models" not in internal_imports(path), path.name


TOOLS = {  # what a model may use of the core
    *(("checks",), ("kernels",), ("progress",), ("bisection",)),  # they know no allocation
    ("groups",),  # labels of people, the same in a table of candidates and in a problem
    ("utility",),  # φ_α and power means
}


def imported_from(source, own):
    """The places inside the package that the imports of a file name, as tuples of names.

    Args:
        source: the text of the file.
        own: the place of its folder.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, *place = alias.name.split(".")
                if top == "alphafair":
                    yield tuple(place)
        elif isinstance(node, ast.ImportFrom):
            place = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                place = own[: len(own) - node.level + 1] + place
            elif place[0] == "alphafair":
                place = place[1:]
            else:
                continue
            if PACKAGE.joinpath(*place).is_dir():  # the names may be those of files
                yield from ((*place, alias.name) for alias in node.names)
            else:
                yield place


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("from ....problem import Floats", ("problem",)),
        ("from .... import problem", ("problem",)),
        ("from ...common import whole", ("models", "common")),
        ("from ... import common", ("models", "common")),
        ("from .game import Policy", ("models", "meanfield", "games", "game")),
        ("from alphafair.problem import Floats", ("problem",)),
        ("from alphafair import problem", ("problem",)),
        ("from alphafair import problem as p", ("problem",)),
        ("import alphafair.problem", ("problem",)),
        ("import alphafair.models.bandits as b", ("models", "bandits")),
        ("import alphafair", ()),
        ("def f():\n    from alphafair.models import bandits", ("models", "bandits")),
    ],
)
def test_every_way_to_import_is_seen(line, place):
    assert list(imported_from(line, ("models", "meanfield", "games"))) == [place]


def test_other_packages_are_not_ours():
    source = "import numpy\nfrom scipy import sparse\nimport alphafairness\nfrom os import path"
    assert list(imported_from(source, ("models", "meanfield"))) == []


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "models").rglob("*.py")),
    ids=lambda path: "/".join(path.relative_to(PACKAGE / "models").with_suffix("").parts),
)
def test_models_know_the_tools_of_the_core_and_themselves_only(path):
    folder = path.relative_to(PACKAGE).parts[:-1]
    for place in imported_from(path.read_text(), folder):
        within = len(folder) > 1 and place[:2] == folder[:2]
        assert within or place == ("models", "common") or place[:1] in TOOLS, place


def test_import_is_light():
    code = (
        "import sys, time; start = time.perf_counter(); import alphafair; "
        "heavy = {'torch', 'cvxpy', 'matplotlib', 'narwhals', 'pandas'} & set(sys.modules); "
        "print(sorted(heavy), time.perf_counter() - start < 1)"
    )
    outputs = {  # the best of three: the machine may be busy
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert "[] True\n" in outputs


def test_the_heavy_libraries_are_there_to_be_not_imported():
    """The test above could not fail if they were not installed."""
    code = "import torch, cvxpy, matplotlib, narwhals, pandas"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_listed_sorted_and_documented():
    assert alphafair.__all__ == sorted(alphafair.__all__)
    api = (PACKAGE.parent / "book" / "api.md").read_text()
    for name in alphafair.__all__:
        assert getattr(alphafair, name).__doc__, name
        assert re.search(rf"alphafair\.{name}\b", api), f"{name} is missing in book/api.md"


def test_versions_agree():
    root = PACKAGE.parent
    version = alphafair.__version__
    assert f'version = "{version}"' in (root / "pyproject.toml").read_text()
    assert f"version: {version}" in (root / "CITATION.cff").read_text()
    assert f"## {version}" in (root / "CHANGELOG.md").read_text()
