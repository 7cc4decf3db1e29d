"""What an installer sees: types, and dependencies that exist where they are asked for."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import alphafair

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}


def test_type_checkers_may_believe_the_annotations():
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (Path(alphafair.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("platform", "machine", "expected"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "arm64", True),
        ("win32", "AMD64", True),
        ("emscripten", "wasm32", False),
        ("linux", "riscv64", False),
    ],
)
def test_numba_is_asked_for_where_it_exists(platform, machine, expected):
    here = {
        "sys_platform": platform,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
    }
    needed = {
        name for name, r in DEPENDENCIES.items() if r.marker is None or r.marker.evaluate(here)
    }
    assert needed == {"numpy", "scipy"} | ({"numba"} if expected else set())
