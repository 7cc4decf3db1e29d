"""Who may import whom, and what an import may cost: the drawing in the book, held to."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alphafair

PACKAGE = Path(alphafair.__file__).parent
# Each module may import those above it, and nothing else of the package.
CORE = (
    *("checks", "kernels", "scan", "groups", "utility"),  # tools
    *(
        "curves",
        "exclusive",
        "value",
        "closed_form",
        "derivatives",
        "allocation",
        "problem",
    ),  # from inputs to answers
    *("inequality", "frontier", "paths"),  # after
)
ALLOWED = {
    **{name: set(CORE[:place]) for place, name in enumerate(CORE)},
    "bisection": set(),
    "progress": set(),
    "curves": {"checks", "kernels"},
    "exclusive": {"checks", "curves"},
    "inequality": {"checks", "utility"},
    # Judges plans that anybody has made: it sees doses, and nothing of how they came about.
    "evaluation": {"checks", "groups", "curves", "progress"},
    "frontier": {*CORE[: CORE.index("frontier")], "bisection", "progress"},
    "paths": {*CORE[: CORE.index("paths")], "progress"},
    # Methods of `Allocation` that are long: they ask the certificate, and are asked for late.
    "allocation": {*CORE[: CORE.index("allocation")], "whole"},
    "whole": {"checks", "kernels", "utility", "certificate"},
    # Some methods of `Problem` are long, and ask for these rooms late.
    "chunks": {*CORE[: CORE.index("problem") + 1], "progress"},
    "problem": {*CORE[: CORE.index("problem")], "paths", "chunks"},
    # The judges see the inputs of a problem, and nothing of how it is solved.
    "certificate": {"checks", "kernels", "utility", "problem"},
    "reference": {"checks", "kernels", "utility", "problem", "certificate"},
    "layer": {*CORE, "layer_bounds"},
    "layer_bounds": set(CORE),
    "groundtruth": set(CORE),
    # Judges plans by the truth and, where there are tensors, trains on that.
    "regret": {"checks", "groups", "utility", "problem", "certificate", "layer", "layer_bounds"},
    "estimator": {"checks", "groups", "utility", "problem", "regret"},
    "plots": {*CORE, "evaluation"},
    "frames": {*CORE, "bisection", "progress"},
    "command": {*CORE, "frames", "progress", "__version__"},
    "__main__": {"command"},
    "report": {*CORE, "certificate"},
    "__init__": {*CORE, "certificate", "report", "whole"},
}
INPUTS = {
    *("benefit", "cost", "cap", "floor", "baseline", "groups", "budget", "within", "weight"),
    *("group_floor", "group_cap", "exclusive", "shape", "unit"),
}


def without_type_checking(source):
    """The source without what only a type checker reads."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                child
                for child in body
                if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING")
            ] or [ast.Pass()]
    return ast.unparse(tree)


def core_files():
    return sorted(
        [*PACKAGE.glob("*.py"), *PACKAGE.glob("frames/*.py"), *PACKAGE.glob("command/*.py")]
    )


@pytest.mark.parametrize(
    "path", core_files(), ids=lambda path: "/".join(path.relative_to(PACKAGE).with_suffix("").parts)
)
def test_imports(path):
    folder = path.relative_to(PACKAGE).parts[:-1]
    room = folder[0] if folder else path.stem
    own = {room} if folder else set()
    places = {p[0] for p in imported_from(without_type_checking(path.read_text()), folder) if p}
    assert places <= ALLOWED[room] | own


def test_the_table_names_what_is_there():
    rooms = {p.stem for p in PACKAGE.glob("*.py")} | {"frames", "command"}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("judge", ["certificate", "reference"])
def test_the_judges_look_at_inputs_only(judge):
    """An import table does not see ``problem.value``."""
    tree = ast.parse((PACKAGE / f"{judge}.py").read_text())
    looked_at = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "problem"
    }
    assert looked_at
    assert looked_at <= INPUTS


def test_the_core_does_not_know_the_models():
    for path in core_files():
        folder = path.relative_to(PACKAGE).parts[:-1]
        assert ("models",) not in {p[:1] for p in imported_from(path.read_text(), folder)}


TOOLS = {  # what a model may use of the core
    *(("checks",), ("kernels",), ("progress",), ("bisection",)),  # they know no allocation
    ("groups",),  # labels of people, the same in a table of candidates and in a problem
    ("utility",),  # φ_α and power means
}

# Shares of attention are a problem of Part I whose groups are restless arms of Part II.
MEETING = {("problem",), ("models", "bandits")}


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
        where_the_parts_meet = path.stem == "attention" and place[:2] in MEETING
        allowed = within or where_the_parts_meet or place == ("models", "common")
        assert allowed or place[:1] in TOOLS, place


def test_import_is_light():
    """Numpy alone and .3 s of work, numpy included: the best of five, if the machine is busy."""
    code = (
        "import sys, time; import alphafair; "
        "heavy = {'torch', 'cvxpy', 'matplotlib', 'narwhals', 'pandas', 'scipy', 'numba', 'tqdm', "
        "'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)), time.process_time() < 0.3)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(5)
    }
    assert "[] True\n" in outputs


def test_the_heavy_libraries_are_there_to_be_not_imported():
    """The test above could not fail if they were not installed."""
    code = "import torch, cvxpy, matplotlib, narwhals, pandas, scipy, numba, tqdm, sklearn"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_listed_and_sorted():
    """That each is documented is held by test_api.py."""
    assert alphafair.__all__ == sorted(alphafair.__all__)
    for name in alphafair.__all__:
        assert getattr(alphafair, name).__doc__, name


def test_versions_agree():
    root = PACKAGE.parent
    version = alphafair.__version__
    assert f'version = "{version}"' in (root / "pyproject.toml").read_text()
    assert f"version: {version}" in (root / "CITATION.cff").read_text()
    assert f"## {version}" in (root / "CHANGELOG.md").read_text()
