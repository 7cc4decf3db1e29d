"""The notebooks are tests only if they are executed, in order, readable, and in the book."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))


def table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def code_cells(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 6


def test_table_of_contents_is_complete():
    listed = {Path(name).name for name in table_of_contents()}
    there = {p.stem for p in BOOK.iterdir() if p.suffix in {".ipynb", ".md"}}
    assert listed == there


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_is_executed_from_top_to_bottom(path):
    """A notebook whose outputs were stripped passes nbval: it compares nothing."""
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_has_outputs_that_nbval_compares(path):
    compared = [
        output
        for cell in code_cells(path)
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        for output in cell.outputs
    ]
    assert len(compared) >= 8
    assert any(output.output_type in {"stream", "execute_result"} for output in compared)
    assert not any(output.get("name") == "stderr" for output in compared)


@each_notebook
def test_asserts_something(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 5
    assert not any(isinstance(node.test, ast.Constant) for node in asserts)


@each_notebook
def test_cells_are_short(path):
    lengths = [len(lines(cell)) for cell in code_cells(path)]
    assert 15 <= len(lengths) <= 30
    assert statistics.median(lengths) <= 5
    assert max(lengths) <= 20


@each_notebook
def test_chapter_is_1500_to_3000_words(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    prose = re.sub(r"```\{math\}.*?```|\$\$.*?\$\$|(?<!\\)\$[^$]*\$", " ", prose, flags=re.DOTALL)
    assert 1500 <= len(re.findall(r"\w[\w'’-]*", prose)) <= 3000


@each_notebook
def test_follows_the_template(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in (
        "By hand",
        "prf:",
        "can go wrong",
        "Summary",
        "{exercise}",
        "{solution}",
        "Further reading",
    ):
        assert part.lower() in prose.lower(), part
    assert any("raises-exception" in cell.metadata.get("tags", []) for cell in code_cells(path))
    assert sum("plt.show()" in cell.source for cell in code_cells(path)) >= 1


@each_notebook
def test_every_figure_has_a_caption(path):
    for cell in code_cells(path):
        if "plt.show()" in cell.source:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            assert figure.get("caption")
            assert figure.get("name")


@each_notebook
def test_stands_on_its_own(path):
    """No downloads, no installs, no absolute paths: it must run on any machine."""
    text = []
    for cell in nbformat.read(path, as_version=4).cells:
        text.append(cell.source)
        for output in cell.get("outputs", []):
            text += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    text = "\n".join(text)
    for word in ("pip install", "sys.path", "%matplotlib", "localhost", "urlopen", "requests.get"):
        assert word not in text, word
    assert not re.findall(r"(?<![\w.<:/])/[a-z]+/[\w.]+", text)
    assert path.stat().st_size < 1_500_000


def test_the_readme_is_true():
    """Its example runs, and the numbers in its comments are the numbers."""
    text = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    space = {}
    exec(code, space)
    a = space["a"]
    budget, utility = re.findall(r"array\((\[.*?\])\)", code)
    assert a.group_budget.round(1).tolist() == ast.literal_eval(budget)
    assert a.group_utility.round(1).tolist() == ast.literal_eval(utility)
    assert f"{a.price:.2g}" == re.search(r"gradient\(\)\.budget  # ([\d.]+)", code).group(1)
    for target in re.findall(r"^make (\w+)", text, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for path in re.findall(r"`((?:alphafair|benchmarks|book|tests)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


def test_labels_are_unique():
    """Sphinx warns about a repeated label only in some builds."""
    found = {}
    for path in [*NOTEBOOKS, *BOOK.glob("*.md")]:
        if path.suffix == ".ipynb":
            cells = nbformat.read(path, as_version=4).cells
            text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        else:
            text = path.read_text()
        for label in re.findall(r"^:(?:label|name):\s*(\S+)\s*$", text, flags=re.MULTILINE):
            assert label not in found, f"{label} in {path.name} and {found[label]}"
            found[label] = path.name
    assert {"phi", "welfare", "equivalent-utility", "problem", "split", "price"} <= set(found)
