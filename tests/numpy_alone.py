"""Does the package work with numpy alone?  Asked in an environment that has nothing else.

    python tests/numpy_alone.py                   what `make core` runs; pip needs an index
    python tests/numpy_alone.py --dependencies    the same with all that `pip install .` installs

It makes a virtual environment in a temporary folder, installs numpy, what the tests themselves use,
and the package without its other dependencies, and there

1. imports every module that claims to be light, that is, all but those named in `HEAVY`;
2. runs the doctests of the core;
3. runs the tests of the core, those that need nothing that is missing; of a test with many
   parameters the first and every seventh.
"""

import argparse
import ast
import collections
import doctest
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ("pytest", "hypothesis", "mpmath")  # of the tests, not of the package
HEAVY = {  # a view, and the library that it shows the core to or through
    "alphafair.__main__": "polars",
    "alphafair.command": "polars",
    "alphafair.estimator": "sklearn",
    "alphafair.evaluation": "scipy",
    "alphafair.frames": "narwhals",
    "alphafair.groundtruth": "torch",
    "alphafair.layer": "torch",
    "alphafair.layer_bounds": "torch",
    "alphafair.plots": "matplotlib",
    "alphafair.reference": "cvxpy",
    "alphafair.regret": "torch",
}
EXAMPLES = {  # and what they need
    "alphafair.allocation.Allocation.dose_sparse": "scipy",
    "alphafair.chunks.ChunkedAllocation.dose_sparse": "scipy",
}
# If one of these does not run, something is wrong with the choice of the tests.
AT_LEAST = (
    "certificate",
    "closed_form",
    "derivatives",
    "problem",
    "capped",
    "utility",
    "value",
    "value_derivatives",
)
EVERY = 7  # the whole is run where everything is installed
OF_THE_REPOSITORY = (
    "test_architecture.py",
    "test_book.py",
    "test_chapter_map.py",
    "test_packaging.py",
)


# --------------------------------------------------------------- outside: build a bare place


def pinned(names: tuple[str, ...]) -> list[str]:
    """Requirements with the versions of requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line)
    return [f"{name}=={versions[name]}" if name in versions else name for name in names]


def main() -> None:
    """Build the environment and run this file in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dependencies", action="store_true", help="install them as well")
    alone = [] if parser.parse_args().dependencies else ["--no-deps"]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *pinned(("numpy", *TOOLS))], check=True)
        subprocess.run([*pip, *alone, ROOT], check=True)
        for path in (
            "conftest.py",
            "pyproject.toml",
            "tests",
        ):  # not the package: the installed one
            copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
            copy(ROOT / path, place / path)
        inside = [python, place / "tests" / Path(__file__).name, "--inside"]
        raise SystemExit(subprocess.run(inside, cwd=place, check=False).returncode)


# ------------------------------------------------------------------------ inside: look around


def is_there(module: str) -> bool:
    """Whether a library can be imported here."""
    return importlib.util.find_spec(module.split(".")[0]) is not None


def light_modules() -> list[str]:
    """Every module of the package but the heavy ones, with all that is inside of these."""
    import alphafair

    names = ["alphafair"]
    for path in sorted(Path(alphafair.__path__[0]).rglob("*.py")):
        parts = path.relative_to(Path(alphafair.__path__[0]).parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [x for x in dict.fromkeys(names) if ".".join(x.split(".")[:2]) not in HEAVY]


def imported_at_the_head(path: Path) -> set[str]:
    """The modules that a file imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def missing(path: Path) -> list[str]:
    """What a file of tests needs and does not find here."""
    needed = imported_at_the_head(path)
    for helper in [path.with_name(f"{name}.py") for name in needed]:
        if helper.exists():  # what the tests share
            needed |= imported_at_the_head(helper)
    needed |= {HEAVY[name] for name in needed & set(HEAVY)}
    return sorted({name.split(".")[0] for name in needed if not is_there(name)})


class _SomeOfMany:
    """A plugin of pytest: of a test with many parameters the first and then every `EVERY`-th."""

    def pytest_collection_modifyitems(self, items: list) -> None:
        seen = collections.Counter()
        kept = []
        for item in items:
            name = item.nodeid.split("[")[0]
            if seen[name] % EVERY == 0:
                kept.append(item)
            seen[name] += 1
        items[:] = kept


def inside() -> int:
    """The three steps; 0 if all is well."""
    sys.path.insert(0, str(Path(__file__).parent))  # for `helpers`
    absent = [name for name in ("numba", "scipy") if not is_there(name)]
    print("without", ", ".join(absent) or "nothing", flush=True)
    modules, wrong = [], 0
    for name in light_modules():
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            print(f"{name} cannot be imported: {error}")
            wrong += 1
    print(f"{len(modules)} light modules are imported, {wrong} are not", flush=True)

    core = [module for module in modules if not module.__name__.startswith("alphafair.models")]
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    for module in core:
        for example in finder.find(module):
            if is_there(EXAMPLES.get(example.name, "numpy")):
                runner.run(example)
    failed, examples = runner.failures, runner.tries
    print(f"{examples} examples in docstrings of the core, {failed} of them fail", flush=True)

    tests = []
    for path in sorted(Path("tests").glob("test_*.py")):
        about_models = any(x.startswith("alphafair.models") for x in imported_at_the_head(path))
        if about_models or path.name in OF_THE_REPOSITORY:
            continue
        if missing(path):
            print(f"left out: {path.name} needs {', '.join(missing(path))}")
        else:
            tests.append(path)
    lost = [name for name in AT_LEAST if Path("tests", f"test_{name}.py") not in tests]
    if lost:
        print("tests of the core that do not run here:", *lost, flush=True)
    import pytest

    options = ["-q", "--tb=short", "--maxfail=20", "-p", "no:cacheprovider"]
    tested = pytest.main([*options, *map(str, tests)], plugins=[_SomeOfMany()])
    return int(wrong > 0 or failed > 0 or bool(lost) or tested > 0)


if __name__ == "__main__":
    sys.exit(inside() if "--inside" in sys.argv else main())
