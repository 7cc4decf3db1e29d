"""The book off the screen: pictures that stand still, and citations that tell works apart."""

import io
import pickle
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import nbformat
import pytest

pytest.importorskip("sphinx")
from docutils import nodes
from docutils.utils import new_document
from pybtex.database import parse_file, parse_string
from sphinx.errors import ExtensionError

import alphafair

BOOK = Path(__file__).parents[1] / "book"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import paper

    return paper


@pytest.fixture
def epub(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import epub

    return epub


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


WHERE = {  # what finds a work, by its kind; where journals count no volumes, a preprint
    "article": ("journal", "volume", "pages"),
    "book": ("publisher",),
    "incollection": ("booktitle", "publisher", "pages"),
    "inproceedings": ("booktitle", "pages"),
    "misc": ("howpublished",),
    "techreport": ("institution", "number"),
}


def test_every_work_can_be_found():
    for key, entry in parse_file(str(BOOK / "references.bib")).entries.items():
        has = entry.fields
        assert set(WHERE[entry.type]) <= set(has) or "eprint" in has, key
        assert ("eprint" in has) == ("archiveprefix" in has), key
        assert re.fullmatch(r"\d{4}[a-z]?", has["year"]), key
        assert re.fullmatch(r"10\.\d{4,}/\S+", has.get("doi", "10.1000/none")), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", has.get("eprint", "0000.0000")), key
        if "--" in has.get("pages", ""):
            first, last = has["pages"].split("--")
            assert int(first.rpartition(":")[2]) < int(last.rpartition(":")[2]), key


def test_every_work_is_cited_and_stands_there_once():
    library = parse_file(str(BOOK / "references.bib")).entries
    text = "".join(path.read_text() for path in [*BOOK.glob("*.ipynb"), *BOOK.rglob("*.md")])
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    cited = {key.strip() for role in roles for key in role.split(",")}
    assert cited == set(library)
    for name in ("doi", "eprint", "title"):
        values = [e.fields[name].casefold() for e in library.values() if name in e.fields]
        assert len(values) == len(set(values)), name


def test_titles_keep_their_capitals(citations):
    library = parse_file(str(BOOK / "references.bib"))
    [entry] = citations.Style().format_bibliography(library, ["osband2013"])
    assert "(More) Efficient Reinforcement Learning" in entry.text.render_as("text")


# ------------------------------------------------------------------------- mathematics


def formula(epub, tex):
    """As MathML, with one command of the book's own."""

    class App:
        class config:  # noqa: N801
            mathjax3_config = {"tex": {"macros": {"softmax": r"\operatorname{softmax}"}}}  # noqa: RUF012

    return epub.mathml(App, tex, "block")


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"\softmax(z)", "softmax"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"\begin{gathered} a = b \\ c = d \end{gathered}", "<mtable"),
        (r"a &= b \\ c &= d", "<mtable"),
        (r"\bigl\{ a \bigr\}", ">{<"),
        (r"\log w", '<mi>log</mi><mspace width="0.167em" /><mi>w</mi>'),
        (r"\log_2 n", "<msub><mi>log</mi><mn>2</mn></msub>"),
        (r"\log(w)", "<mi>log</mi><mo "),
        (r"a < \infty", "<mi>&#x0221E;</mi>"),
        (r"d \mathrel{+}= c", "<mi>d</mi><mo>&#x0002B;</mo><mo>&#x0003D;</mo>"),
    ],
)
def test_mathematics_for_a_reader_is_whole(epub, tex, wanted):
    pytest.importorskip("latex2mathml")
    page = formula(epub, tex)
    ET.fromstring(page)
    assert wanted in page
    assert "\\" not in page
    assert page.count("<mtr>") in (0, 2)


# ----------------------------------------------------------------- a book of two chapters


PAGES = {
    "index": """# Fair

Read [](one.md) first, and {ref}`the exercise <ex-two>` of the second chapter, {ref}`ex-two`.

::::{grid} 1
:::{grid-item-card} Learn
Slowly.
:::
::::

## Three doors

```{toctree}
:caption: Part I
:numbered:
one
```

```{toctree}
:caption: Appendix
two
```
""",
    "one": """# The frontier

$\\alpha < \\infty$

## The frontier

```{prf:theorem} Rises
:label: thm-rises
It rises.
```

:::{dropdown} Proof
Clear.
:::

```{exercise}
:label: ex-one
Why?
```

```{solution} ex-one
So.
```

```{raw} html
<script>1</script><style>th {}</style><table><tr><th valign="top">a</th></tr></table>
```

```{raw} html
<figure class="drag"><figcaption>Drag me.</figcaption><div class="drag-panels"><svg
viewBox="0 0 360 240"></svg></div><label><span>α = 1</span></label>
<p class="drag-say">Half.</p></figure>
```
""",
    "two": """# Second

By {prf:ref}`thm-rises` and {ref}`ex-one`.

```{exercise}
:label: ex-two
What?
```

```{exercise}
:label: ex-three
When?
```

```{eval-rst}
.. py:currentmodule:: alphafair.models.bandits

.. py:class:: Arm

.. tabularcolumns:: ll

===  =====
a    A few words.
===  =====
```

| page | link |
|---|---|
"""
    + "| a | [](one.md) |\n" * 40,
}


def built(tmp_path, builder):
    """The output folder of a book of two chapters, and what Sphinx warned of."""
    from sphinx.application import Sphinx

    for name, text in PAGES.items():
        (tmp_path / f"{name}.md").write_text(text)
    extensions = ["myst_parser", "sphinx_design", "sphinx_proof", "sphinx_exercise"]
    config = {
        "extensions": [*extensions, "pages", "paper", "epub"],
        "project": "Fair",
        "myst_enable_extensions": ["dollarmath", "colon_fence"],
        "mathjax3_config": {"tex": {"macros": {"softmax": r"\operatorname{softmax}"}}},
        "html_static_path": [str(BOOK / "_static")],
        "epub_exclude_files": ["_static/front.html"],
        "epub_use_index": False,
        "exercise_style": "solution_follow_exercise",
        "suppress_warnings": ["epub.unknown_project_files"],
    }
    out, warned = tmp_path / "out", io.StringIO()
    folders = (tmp_path, None, out, tmp_path / "trees", builder)
    Sphinx(*folders, config, status=None, warning=warned, freshenv=True).build()
    return out, warned.getvalue()


@pytest.fixture
def no_drawing(paper, monkeypatch):
    """LaTeX is given files that nobody draws."""
    monkeypatch.setattr(paper.SvgToPdf, "is_available", lambda self: True)
    monkeypatch.setattr(paper.SvgToPdf, "convert", lambda *_: True)


def test_links_on_paper_lead_somewhere(no_drawing, tmp_path):
    """Also to an exercise of another chapter, and where a section has its chapter's name."""
    out, _ = built(tmp_path, "latex")
    [page] = (
        path.read_text() for path in out.glob("*.tex") if "begin{document}" in path.read_text()
    )
    page = page.replace(r"\detokenize", "").replace("{{", "{").replace("}}", "}")
    labels = set(re.findall(r"\\label\{([^}]*)\}", page))
    asked = set(re.findall(r"\\(?:ref|hyperref|nameref)[\[{]\{?([^}\]]*)[}\]]", page))
    assert {"one:thm-rises", "one:ex-one", "two:ex-two"} <= asked
    assert asked <= labels
    assert "Theorem 1.1" in page
    assert r"\ref" not in page, "numbers are spelled out, because LaTeX counts sections"


def test_the_printed_book_has_parts_and_a_preface(no_drawing, tmp_path):
    out, _ = built(tmp_path, "latex")
    [page] = (
        path.read_text() for path in out.glob("*.tex") if "begin{document}" in path.read_text()
    )
    places = [
        page.index(words)
        for words in (r"\chapter*{Preface}", r"\part*{Part I}", r"\part*{Appendix}", r"\appendix")
    ]
    assert places == sorted(places)
    appendix = page[page.index(r"\appendix") :]
    for name in ("figure", "table", "equation"):  # 1, 2, … as on the page, whose chapters have none
        assert rf"\counterwithout{{{name}}}{{chapter}}\setcounter{{{name}}}{{0}}" in appendix
    assert r"\chapter{Three doors}" not in page
    assert f"Version {alphafair.__version__}" in page, "on the title page"
    assert "On the web page this picture can be dragged." in page
    assert r"\label{None" not in page
    assert r"\spxextra{class in bandits}" in page, "the index has narrow columns"
    assert r"\raggedright\arraybackslash}\X{2}{5}" in page, "tables of names"
    columns = re.search(r"longtable\}.*?\{(.*)\}", page)[1]
    widths = [int(a) for a in re.findall(r"\\X\{(\d+)\}", columns)]
    assert widths[1] > widths[0], "a column is as wide as the words of its links"


@pytest.mark.parametrize(("builder", "boxes"), [("html", 1), ("epub", 0)])
def test_a_figure_too_wide_for_a_phone_gets_a_box_to_scroll_in(
    builder, boxes, tmp_path, monkeypatch
):
    from PIL import Image
    from sphinx.application import Sphinx

    monkeypatch.syspath_prepend(str(BOOK))
    text = ["# Figures"]
    for name, pixels in {"one": 731, "two": 752}.items():
        Image.new("L", (pixels, 9)).save(tmp_path / f"{name}.png")
        text.append(f"```{{figure}} {name}.png\nCaption of {name}.\n```")
    (tmp_path / "index.md").write_text("\n\n".join(text))
    out = tmp_path / "out"
    folders = (tmp_path, None, out, tmp_path / "trees", builder)
    config = {"extensions": ["myst_parser", "pages"], "project": "Figures", "epub_use_index": False}
    Sphinx(*folders, config, status=None, warning=io.StringIO(), freshenv=True).build()
    [page] = (path.read_text() for path in out.glob("index.*html"))
    box = r'<div class="wide-figure[^>]*>\s*<img [^>]*src="([^"]*)"[^>]*>\s*</div>'
    boxed = re.findall(box, page)
    assert len(boxed) == boxes == page.count("wide-figure")
    assert all(source.endswith("two.png") for source in boxed)
    assert page.count("<img ") == 2


def test_no_page_is_saved_with_the_whole_book(no_drawing, tmp_path):
    built(tmp_path, "latex")
    page = pickle.loads((tmp_path / "trees" / "two.doctree").read_bytes())
    assert {id(node.document) for node in page.findall()} == {id(page)}


@pytest.mark.parametrize(
    ("mode", "left"),
    [("all", []), ("input", ["out"]), ("input+output", ["out"]), (None, ["code", "out"])],
)
def test_folded_code_is_left_out_and_outputs_stay(paper, mode, left):
    code = nodes.container("", nodes.Text("code"), nb_element="cell_code_source")
    output = nodes.container("", nodes.Text("out"), nb_element="cell_code_output")
    cell = nodes.container("", code, output, nb_element="cell_code", hide_mode=mode)
    page = new_document("page")
    page += cell
    for name in ("latex", "epub"):
        app = SimpleNamespace(builder=SimpleNamespace(name=name))
        page.settings.env = SimpleNamespace(app=app)
        paper.LeaveOutFoldedCode(page).run()
        assert [part.astext() for cell in page for part in cell] == left


def test_the_epub_holds_what_it_names_and_no_scripts(epub, tmp_path):
    """What epubcheck would say, as far as it goes without Java."""
    pytest.importorskip("latex2mathml")
    out, _ = built(tmp_path, "epub")
    [path] = out.glob("*.epub")
    with ZipFile(path) as file:
        inside = {name: file.read(name) for name in file.namelist()}
    opf = ET.fromstring(inside["content.opf"])
    items = {x.get("href"): x.get("properties", "") for x in opf.findall(".//{*}item")}
    assert set(items) <= set(inside)
    assert items["one.xhtml"] == "mathml"
    assert not items["two.xhtml"]
    pages = {name for name in items if name.endswith(".xhtml")}
    assert pages == {"nav.xhtml", "index.xhtml", "one.xhtml", "two.xhtml"}
    assert b"_static/reader.css" in inside["one.xhtml"]
    for name in pages:
        page = ET.fromstring(inside[name])
        tags = Counter(x.tag.rpartition("}")[2] for x in page.iter())
        assert not set(tags) & {"script", "details", "summary", "svg"}, name
        assert tags["style"] == 0
        ids = Counter(x.get("id") for x in page.iter() if x.get("id"))
        assert ids.total() == len(ids), f"{name} has an id twice"
        assert not any({"valign", "halign"} & set(x.attrib) for x in page.iter())
        for link in page.iter():
            target = link.get("href") or link.get("src") or ""
            if target and not target.startswith(("http", "mailto", "#")):
                assert target.partition("#")[0] in inside, f"{name} names {target}"
    assert "Clear." in inside["one.xhtml"].decode()
    lines = [x.text for x in ET.fromstring(inside["nav.xhtml"]).findall(".//{*}a")]
    assert lines == ["Fair", "Part I", "1. The frontier", "Appendix", "Second"]
    names = {x.get("id"): x.get("href") for x in opf.findall(".//{*}item")}
    read = [x for x in opf.findall(".//{*}itemref") if x.get("linear") != "no"]
    assert [names[x.get("idref")] for x in read] == ["index.xhtml", "one.xhtml", "two.xhtml"]
    sheets = {name for name in inside if name.endswith(".css")}
    assert sheets == {"_static/pygments.css", "_static/reader.css"}


def test_the_styles_of_the_reader_need_no_other_file():
    assert "url(" not in (BOOK / "_static" / "reader.css").read_text()
