"""The script that runs the benchmarks: what it writes, and that it hides no failure."""

import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
GOOD = '''"""A good one.

How it is called.

Claims: two and two
are four.
"""
import os

print(2 + 2, os.environ["OMP_NUM_THREADS"], os.environ["ALPHAFAIR_THREADS"])
'''
BAD = '''"""A bad one."""
print("so far", flush=True)
raise SystemExit("first line\\nno money left")
'''


@pytest.fixture
def runner(monkeypatch):
    """The script as a module."""
    if not FOLDER.is_dir():  # the tests of the core alone stand beside an installed package
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return importlib.import_module("run")


def test_a_table_stands_under_its_claim(runner, tmp_path, capsys):
    (tmp_path / "good.py").write_text(GOOD)
    assert runner.main(tmp_path, []) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    place = [
        text.index(s) for s in ("## A good one\n", "Claims: two and two\nare four.", "    4 1 1")
    ]
    assert place == sorted(place)
    assert "How it is called" not in text
    assert "Failed" not in text
    assert re.search(r"good\.py +\d+ s  done", capsys.readouterr().out)


def test_a_failure_is_said_with_its_last_line_and_the_others_run(runner, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "good.py").write_text(GOOD)
    assert runner.main(tmp_path, []) == 1
    text = (tmp_path / "RESULTS.md").read_text()
    assert "**Failed:** no money left\n" in text
    assert "    so far\n" in text
    assert "    4 1 1\n" in text
    assert "no money left" in capsys.readouterr().out


def test_who_runs_into_the_limit_is_stopped(runner, tmp_path):
    script = tmp_path / "late.py"
    script.write_text('import time\nprint("begun", flush=True)\ntime.sleep(60)\n')
    late = runner.run(script, limit=1.0)
    assert late.failure == "not through after 1 seconds"
    assert late.output == "begun\n"
    assert late.seconds < 30


def test_quick_leaves_out_and_says_why(runner, tmp_path, monkeypatch):
    for name in ("good", "slow"):
        (tmp_path / f"{name}.py").write_text(GOOD)
    monkeypatch.setattr(runner, "SLOW", {"slow": "it sleeps", "elsewhere": "it is not there"})
    assert runner.main(tmp_path, ["--quick"]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("## A good one") == 1
    assert "- `slow.py`: it sleeps" in text
    assert "elsewhere" not in text
    assert runner.main(tmp_path, []) == 0
    assert (tmp_path / "RESULTS.md").read_text().count("## A good one") == 2


def test_what_quick_names_is_there(runner):
    for name in {*runner.OF_CHAPTERS, *runner.SLOW, *runner.SHORT}:
        assert (FOLDER / f"{name}.py").exists(), name


def test_what_writes_for_a_chapter_never_runs(runner, tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text(GOOD)
    monkeypatch.setattr(runner, "OF_CHAPTERS", {"good": "a chapter reads what it writes"})
    assert runner.main(tmp_path, []) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "- `good.py`: a chapter reads what it writes" in text
    assert "## A good one" not in text
