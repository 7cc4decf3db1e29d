"""The notebooks are tests only if they are executed, in order, readable, and in the book."""

import ast
import re
import symtable
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))

# A chapter compares with CVXPY.  Where there is no convex program, or none yet, it names here the
# oracle that it compares with instead: something that does not use the code that it checks.
OTHER_ORACLES: dict[str, str] = {}


# Chapters with an output that differs between machines: the text says so, and a check stands in.
DIFFERS = {"solver"}  # where solvers fail


def table_of_contents():
    """The names of the pages, in the order of the book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    pages = [page["file"] for top in chapters for page in (top, *top.get("sections", ()))]
    return [Path(name).relative_to("book").as_posix() for name in (toc["root"], *pages)]


def chapters():
    """The chapters of Parts I and II."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    first, second, *_ = toc["parts"]
    assert first["caption"].startswith("Part I ")
    assert second["caption"].startswith("Part II ")
    return [ROOT / f"{page['file']}.ipynb" for page in first["chapters"] + second["chapters"]]


def cells(path):
    return nbformat.read(path, as_version=4).cells


def code_cells(path):
    return [cell for cell in cells(path) if cell.cell_type == "code"]


def prose(path):
    """The text that an author typed: markdown and captions."""
    if path.suffix == ".md":
        return path.read_text()
    text = [cell.source for cell in cells(path) if cell.cell_type == "markdown"]
    return "\n\n".join([*text, *(figure(cell).get("caption", "") for cell in code_cells(path))])


def paragraphs(path):
    """Every block of the text, in order; a blank line ends a block."""
    return [block for block in re.split(r"\n\n+", prose(path)) if block.strip()]


def tags(cell):
    return cell.metadata.get("tags", [])


def figure(cell):
    return cell.metadata.get("mystnb", {}).get("figure", {})


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
each_page = pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *sorted(BOOK.rglob("*.md"))], ids=lambda path: path.stem
)


def test_table_of_contents_is_complete():
    pages = (path for path in BOOK.rglob("*") if path.suffix in {".ipynb", ".md"})
    there = {path.relative_to(BOOK).with_suffix("").as_posix() for path in pages}
    listed = table_of_contents()
    assert len(there) > 20
    assert set(listed) == there
    assert len(listed) == len(there)


def test_the_front_page_leads_to_every_chapter():
    """In the order of the book, which is known to _toc.yml alone."""
    front = (BOOK / "intro.md").read_text()
    rows = re.findall(r"^\|.*\[\]\((\w+)\.ipynb\) \|$", front, flags=re.MULTILINE)
    chapters = {path.stem for path in NOTEBOOKS}
    assert rows == [name for name in table_of_contents() if name in chapters]


@each_page
def test_no_chapter_is_called_by_a_number(path):
    """Chapters move.  Only the chapters of other people's books keep their numbers."""
    assert not re.search(r"\d", path.stem)
    text = prose(path)
    for found in re.finditer(r"\b[Cc]hapters?\s+\d+", text):
        before = text.rfind("\n\n", 0, found.start())
        after = text.find("\n\n", found.end())
        paragraph = text[before + 1 : after if after >= 0 else None]
        assert "{cite" in paragraph, f"{found[0]!r} in {paragraph!r}: link to it by name"


# ----------------------------------------------------------------------------- outputs


@each_notebook
def test_is_executed_from_top_to_bottom(path):
    """A notebook whose outputs were stripped passes nbval: it compares nothing."""
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


SILENT = {"use", "filterwarnings", "simplefilter", "append", "update"}  # they return nothing


def shows_something(source, helpers):
    """Whether a cell prints, draws, or ends with an expression of which Jupyter shows the value."""
    *_, last = body = ast.parse(source).body
    open_code = [x for x in body if not isinstance(x, ast.FunctionDef | ast.ClassDef)]
    calls = {called(node) for x in open_code for node in ast.walk(x) if is_call(node)}
    if calls & {"print", "plt.show"}:
        return True
    if not isinstance(last, ast.Expr) or is_check(last):
        return False
    return not is_call(last.value) or called(last.value).split(".")[-1] not in SILENT | helpers


def called(node):
    return ast.unparse(node.func)


def is_call(node):
    return isinstance(node, ast.Call)


@each_notebook
def test_every_output_is_there_and_compared(path):
    """Not only in some cells: one stripped cell is one comparison less."""
    source = "\n".join(cell.source for cell in code_cells(path))
    helpers = set(re.findall(r"^def (\w+)", source, flags=re.MULTILINE))
    texts = 0
    for cell in code_cells(path):
        if shows_something(cell.source, helpers):
            assert cell.outputs, cell.source
        for output in cell.outputs:
            assert output.get("name") != "stderr", "a warning is not an output: mend its cause"
            texts += output.output_type in {"stream", "execute_result", "error"}
        assert "nbval-skip" not in tags(cell)
        assert "nbval-ignore-output" not in tags(cell) or path.stem in DIFFERS
    assert texts


# ----------------------------------------------------------------------------- figures


@each_notebook
def test_every_figure_has_a_caption_and_a_name(path):
    for cell in code_cells(path):
        images = [
            kind
            for output in cell.outputs
            for kind in output.get("data", {})
            if kind.startswith("image/")
        ]
        assert len(images) == ("plt.show()" in cell.source), "a figure for each plt.show()"
        if images:
            assert figure(cell).get("name", "").startswith("fig-")
            assert figure(cell).get("caption", "").rstrip().endswith(".")
            rich = [output for output in cell.outputs if "data" in output]
            assert len(rich) == 1, "a second output would get the caption, too"


@each_notebook
def test_every_figure_says_in_words_what_it_shows(path):
    """For those who do not see it; without them the page would give the name of a file."""
    for cell in code_cells(path):
        if figure(cell):
            alt = cell.metadata.mystnb.get("image", {}).get("alt", "")
            assert len(alt.split()) >= 10, alt
            assert alt.rstrip().endswith("."), alt
            assert not re.search(r"[0-9a-f]{16}|\.(png|svg)\b", alt), alt


# ------------------------------------------------------------------------------ checks


def is_check(statement):
    """An assertion, one of numpy.testing or torch.testing, or a loop over nothing else."""
    if isinstance(statement, ast.Expr) and is_call(statement.value):
        return called(statement.value).split(".")[-1].startswith("assert_")
    if isinstance(statement, ast.For | ast.With):
        return all(map(is_check, statement.body))
    return isinstance(statement, ast.Assert)


def checks_in(statement):
    return [node for node in ast.walk(statement) if isinstance(node, ast.stmt) and is_check(node)]


def names_bound_and_read(source):
    """(bound, read from above) by a cell or a statement; what it binds itself it does not need."""
    table = symtable.symtable(source, "cell", "exec")
    own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    read = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    scopes = list(table.get_children())
    while scopes:
        scope = scopes.pop()
        read |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
        scopes += scope.get_children()
    own |= {child.get_name() for child in table.get_children() if child.get_type() == "class"}
    return own, read - own


def what_checks_depend_on(path):
    """Every name, with its attributes, on the way from the top of a notebook to an assertion."""
    body = [x for cell in code_cells(path) for x in ast.parse(cell.source).body]
    needed, found = set(), set()
    for statement in reversed(body):
        own, read = names_bound_and_read(ast.unparse(statement))
        if checks_in(statement) or own & needed:
            needed = (needed - own) | read
            found |= needed | {x.attr for x in ast.walk(statement) if isinstance(x, ast.Attribute)}
    return found


@each_notebook
def test_asserts_something(path):
    body = [x for cell in code_cells(path) for x in ast.parse(cell.source).body]
    found = [check for x in body for check in checks_in(x)]
    assert found
    asserts = [check for check in found if isinstance(check, ast.Assert)]
    assert not any(isinstance(check.test, ast.Constant) for check in asserts)


@each_notebook
def test_is_checked_by_somebody_else(path):
    """An assertion depends on CVXPY, or on the oracle that `OTHER_ORACLES` names."""
    oracles = {OTHER_ORACLES.get(path.stem, "solve_cvxpy")}
    if path.stem not in OTHER_ORACLES:
        source = "\n".join(cell.source for cell in code_cells(path))
        oracles |= set(re.findall(r"^import cvxpy as (\w+)$", source, flags=re.MULTILINE))
    assert oracles & what_checks_depend_on(path)


def test_no_other_oracle_is_left_over():
    assert set(OTHER_ORACLES) <= {path.stem for path in NOTEBOOKS}


@each_notebook
def test_cells_that_only_check_are_folded(path):
    """The reader follows the story; the tag hide-cell keeps the check one click away."""
    for cell in code_cells(path):
        if all(map(is_check, ast.parse(cell.source).body)):
            assert "hide-cell" in tags(cell), cell.source


@each_notebook
def test_imports_are_folded(path):
    """The first cell has them, and the reader's first sight of a page is its story."""
    first = code_cells(path)[0]
    assert re.match("from|import", first.source)
    assert "hide-input" in tags(first)


@each_notebook
def test_what_is_folded_is_not_needed(path):
    """An open cell reads no name that only a folded cell has defined."""
    folded = set()
    for cell in code_cells(path):
        own, read = names_bound_and_read(cell.source)
        if "hide-cell" in tags(cell):
            folded |= own
        else:
            assert not folded & read, f"{folded & read} in\n{cell.source}"
            folded -= own


COLUMNS = 79  # of code that fit beside the contents at 1280 px; longer lines scroll sideways


@each_notebook
def test_no_code_scrolls_sideways(path):
    for cell in code_cells(path):
        wide = [line for line in cell.source.splitlines() if len(line) > COLUMNS]
        assert not wide, wide[0]


# ------------------------------------------------------------------------------- pages


@each_chapter
def test_a_chapter_opens_with_what_it_is_for(path):
    """Its question, then the aims as a list, then what the reader should know."""
    *question, aims, steps, need = cells(path)[0].source.split("\n\n")
    assert len(question) >= 2
    assert aims == "**After this chapter you can**"
    assert all(re.match("- ", line) for line in re.split(r";\n", steps)), steps
    assert need.startswith("You need ")


@each_notebook
def test_a_question_to_the_reader_has_a_folded_answer(path):
    """In italics, a paragraph of its own, and right below it the dropdown."""
    blocks = paragraphs(path)
    for block, below in zip(blocks, [*blocks[1:], ""], strict=True):
        if "efore you read on" in block:
            assert block.startswith("*Before you read on:* "), block
            assert re.match(r":::+\{dropdown\} Answer\n", below), block


@each_chapter
def test_a_chapter_asks_its_reader(path):
    assert "*Before you read on:* " in prose(path)


def exercises(path):
    """The text inside each box, below its title."""
    boxes = re.findall(r"^(:{3,})\{exercise\}.*\n((?:.*\n)*?)\1$", prose(path), flags=re.MULTILINE)
    assert len(boxes) == prose(path).count("{exercise}")
    return [re.sub(r"\A(:.*\n)*\n*", "", text) for _, text in boxes]


@each_notebook
def test_every_exercise_has_a_level(path):
    """The three levels and four kinds of the front page."""
    kinds = "by hand|with the package|a proof|with an open end"
    for text in exercises(path):
        assert re.match(rf"\*Level [123], ({kinds})\.\* ", text), text


@each_notebook
def test_every_exercise_ends_with_a_hint(path):
    """Folded, and in the same box, so that the reader knows whose hint it is."""
    for text in exercises(path):
        assert text.count("{dropdown} Hint") == 1, text
        assert re.search(r"\n\n:::\{dropdown\} Hint\n(?:.*\n)+:::\n\Z", text), text


@each_page
def test_an_assumption_cited_by_number_has_one(path):
    """And a list of assumptions has numbers only where they are cited."""
    text = prose(path)
    lists = re.findall(r"(?:ssum|doubt)[^\n]*\n\n((?:\d\. .*\n(?: +.*\n)*)+)", text)
    numbers = {n for found in lists for n in re.findall(r"^\d", found, flags=re.MULTILINE)}
    cited = set(re.findall(r"\bassumptions? (\d)", text))
    assert cited <= numbers
    assert bool(cited) == bool(numbers)


@each_page
def test_words_are_spelt_in_one_way(path):
    """In prose; `numpy` in code is the name of a module."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\(\S*\)", "", prose(path), flags=re.DOTALL)
    for word in (r"[Pp]er[ -]cents?\b", r"\bnum[Pp]y\b", r"\b(are|is) an? \w+ each\b"):
        assert not re.search(word, text), re.search(word, text)[0]


@each_page
def test_no_line_is_swallowed(path):
    """A line that begins with a per cent sign is a comment in MyST."""
    assert not [line for line in prose(path).splitlines() if line.startswith("% ")]


@each_notebook
def test_stands_on_its_own(path):
    """No downloads, no installs, no absolute paths: it must run on any machine."""
    text = []
    for cell in cells(path):
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
    titles = [cells(path)[0].source.splitlines()[0].removeprefix("# ") for path in NOTEBOOKS]
    for page in BOOK.glob("*.md"):
        titles += re.findall("^# (.+)", page.read_text(), flags=re.MULTILINE)[:1]
    reading = text[text.index("## How to read the book") : text.index("## What is where")]
    named = re.findall(r"\*([^*]+)\*", " ".join(reading.split()))
    assert named
    assert set(named) <= set(titles), set(named) - set(titles)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_what_a_document_names_is_there(name):
    text = (ROOT / name).read_text()
    paths = re.findall(r"`((?:alphafair|benchmarks|book|tests)/[\w./]*)`", text)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
    targets = re.findall(r"(?:^|`)make (\w+)", text, flags=re.MULTILINE)
    assert {"book", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_the_drawing_of_the_package_is_what_its_imports_say(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import architecture

    found = architecture.rooms()
    cure = "run `make architecture` and look at what has changed"
    assert architecture.PAGE.read_text() == architecture.page(found), cure
    assert architecture.DRAWING.read_text() == architecture.drawing(found), cure
    assert {"problem", "utility", "reference"} <= set(found)
    assert "utility" in found["certificate"].loads
    assert architecture.REST not in architecture.page(found), (
        "give the new room a sentence in STORY"
    )
    assert not any("plots" in room.loads | room.later for room in found.values()), (
        "the page says so"
    )
    told = [name for _, rooms in architecture.STORY.values() for name in rooms]
    assert len(told) == len(set(told))
    assert set(told) <= set(found), set(told) - set(found)


def test_the_drawing_finds_imports_wherever_they_stand(tmp_path, monkeypatch):
    """Three rooms and a model with wings; an import in a function, and one for type checkers."""
    monkeypatch.syspath_prepend(str(BOOK))
    import architecture

    files = {
        "__init__": "from .low import f",
        "low": '"""Low.  More.\n\nText."""\ndef f():\n    from .high import g\n    import scipy',
        "high": '"""High."""\nif TYPE_CHECKING:\n    import alphafair.far\nfrom .low import f',
        "far": '"""Far."""\nimport alphafair.high, torch\nfrom . import low',
        "models/__init__": "",
        "models/plain/__init__": '"""Plain."""\nfrom ...low import f',
        "models/plain/part": "from .. import winged",
        "models/winged/__init__": '"""Winged."""\nfrom .wing import f',
        "models/winged/base": '"""Base."""',
        "models/winged/wing/__init__": '"""Wing."""',
        "models/winged/wing/inner": "from ..base import f\nfrom . import other",
        "models/winged/wing/other": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(architecture, "PACKAGE", tmp_path)
    found = architecture.rooms()
    base, wing, winged = "models/winged/base", "models/winged/wing", "models/winged"
    assert {name: (room.loads, room.later, room.libraries) for name, room in found.items()} == {
        "far": ({"high", "low"}, set(), {"PyTorch"}),
        "high": ({"low"}, set(), set()),
        "low": (set(), {"high"}, {"SciPy"}),
        "models/plain": ({winged}, set(), set()),
        winged: (set(), set(), set()),
        base: (set(), set(), set()),
        wing: ({base}, set(), set()),
    }
    assert [found[name].line for name in ("low", "models/plain", wing)] == [
        *("Low.  More.", "Plain.", "Wing."),
    ]
    core = {name: found[name] for name in ("far", "high", "low")}
    assert architecture.layers(core) == [["low"], ["high"], ["far"]]
    page = architecture.page(found)
    assert architecture.REST in page
    assert "- **`far`**. Far. *Imports* `high`, `low`." in page
    assert "- **`low`**. Low.  More. *When first needed, also* `high`." in page
    assert "- **`winged/wing`**. Wing. *Imports* `winged/base`." in page
    monkeypatch.setattr(
        architecture, "STORY", {"Ours": ("All of them.", {"low": "A cellar.", "gone": "Nothing."})}
    )
    told = architecture.page(found)
    assert "## Ours\n\nAll of them.\n\n- **`low`**. A cellar. *When first needed" in told
    assert "gone" not in told
    low = found["low"]._replace(loads={"high"})
    with pytest.raises(ValueError, match="cycle"):
        architecture.layers(core | {"low": low})


def test_labels_are_unique():
    """Sphinx warns about a repeated label only in some builds."""
    found = {}
    for path in [*NOTEBOOKS, *BOOK.glob("*.md")]:
        labels = re.findall(r"^:(?:label|name):\s*(\S+)\s*$", prose(path), flags=re.MULTILINE)
        if path.suffix == ".ipynb":
            labels += [figure(cell)["name"] for cell in code_cells(path) if figure(cell)]
        for label in labels:
            assert label not in found, f"{label} in {path.name} and {found[label]}"
            found[label] = path.name
    assert {"phi", "welfare", "equivalent-utility", "problem", "split", "price"} <= set(found)
