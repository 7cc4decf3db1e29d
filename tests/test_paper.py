"""The book off the screen: pictures that stand still, and citations that tell works apart."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("sphinx")
from pybtex.database import parse_file, parse_string
from sphinx.errors import ExtensionError

BOOK = Path(__file__).parents[1] / "book"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import paper

    return paper


@pytest.fixture
def citations(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import citations

    return citations


def outputs():
    """Every picture to drag, with the page that it is on."""
    yield "front", (BOOK / "_static" / "front.html").read_text()
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                page = output.get("data", {}).get("text/html", "")
                if '<figure class="drag">' in page:
                    yield path.stem, page


def test_every_panel_of_every_picture_is_a_drawing_of_its_own(paper):
    found = 0
    for name, page in outputs():
        panels = list(paper.panels_of(page))
        assert len(panels) == page.count('role="img"'), name
        for panel in panels:
            root = ET.fromstring(panel)  # well formed, or an error
            assert root.tag == SVG + "svg"
            assert root.get("viewBox").split()[2:] == [root.get("width"), root.get("height")]
            assert sum(1 for _ in root.iter(SVG + "text")) > 2, "axes are named"
            found += 1
    assert found > 40


def entries(citations, database):
    style = citations.Style()
    return [(e.key, e.label) for e in style.format_bibliography(database)]


def test_text_and_list_name_a_work_alike(citations):
    """No two works have the same label, and the list is in the order of plain letters."""
    found = entries(citations, parse_file(str(BOOK / "references.bib")))
    labels = [label for _, label in found]
    assert ("gast2023", "Gast et al., 2023a") in found
    assert labels.index("Monderer and Shapley, 1996") < labels.index("Moulin, 2003")
    assert (
        labels.index("Rawls, 1971")
        < labels.index("Rényi, 1961")
        < labels.index("Robins et al., 1994")
    )
    assert len(set(labels)) == len(labels) > 100
    assert not [label for label in labels if re.search(r"[\\{}$]", label)]


def test_two_works_that_nobody_can_tell_apart_stop_the_build(citations):
    same = "@misc{%s, author = {Doe, Jane}, title = {T}, year = {2020}}"
    with pytest.raises(ExtensionError, match=r"one and two are both 'Doe, 2020'.*letters"):
        entries(citations, parse_string(same % "one" + same % "two", "bibtex"))


def test_titles_keep_their_capitals(citations):
    library = parse_file(str(BOOK / "references.bib"))
    [entry] = citations.Style().format_bibliography(library, ["osband2013"])
    assert "(More) Efficient Reinforcement Learning" in entry.text.render_as("text")


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"\softmax(z)", "softmax"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"\begin{gathered} a = b \\ c = d \end{gathered}", "<mtable"),
        (r"a &= b \\ c &= d", "<mtable"),
        (r"\bigl\{ a \bigr\}", ">{<"),
    ],
)
def test_mathematics_for_a_reader_is_whole(paper, tex, wanted):
    pytest.importorskip("latex2mathml")
    macros = {"softmax": r"\operatorname{softmax}"}

    class App:
        class config:  # noqa: N801
            mathjax3_config = {"tex": {"macros": macros}}  # noqa: RUF012

    page = paper.mathml(App, tex, "block")
    ET.fromstring(page)
    assert wanted in page
    assert "\\" not in page
    assert page.count("<mtr>") in (0, 2)
