"""The book on paper and in a reader: what `make pdf` and `make epub` do where the page has scripts.

A Sphinx extension.  The page itself, `make book`, is left as it is.  Elsewhere,

- a picture to drag stands still: its panels at their first stops, the sliders' settings, its words;
- the front page is a preface, and the parts of the contents are parts of the printed book;
- code that the page folds away (checks, the making of pictures) is left out, and outputs stay;
- proofs, hints and solutions are unfolded, each under its title;
- drawings in SVG become PDF for LaTeX (`rsvg-convert`), because LaTeX knows no SVG;
- mathematics in the EPUB is MathML, because a reader runs no MathJax, and pictures of
  formulas neither grow with the letters nor can be read aloud.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, ClassVar

import yaml
from citations import CITATION
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx_exercise.nodes import exercise_enumerable_node

DRAG = '<figure class="drag">'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="{}" '
FONT = 'font-family="FreeSans, DejaVu Sans, sans-serif" font-size="14" fill="black" color="black" '
PANEL_WIDTH = "48%"  # of a line of paper: two panels stand side by side, their letters 8 pt high
LONG = 30  # rows from which Sphinx lets a table break over pages
NARROWEST, WIDEST = 8, 60  # letters of a column: "Symbol" on one line; more than that wraps
KEEP = "\\nopagebreak"  # what comes next stays on the same page
FIGURE_SCALE = 75  # per cent: letters in a figure, 11 pt, come down to those of the text
MORE = "On the web page this picture can be dragged."


def is_output(node: nodes.Element) -> bool:
    """Whether a node holds the forms of one output, HTML, text and so on."""
    return node.get("nb_element") == "mime_bundle"


def on_paper(app: Sphinx) -> bool:
    """Whether what is built runs no scripts."""
    return app.builder.name in {"latex", "epub"}


class StandStill(SphinxPostTransform):
    """Put the panels and the words of each picture to drag where its HTML was."""

    default_priority = 3  # before MyST-NB chooses among the forms of an output, at 4

    def run(self, **kwargs: Any) -> None:
        """Replace the picture, or the output of the cell that holds it."""
        if not on_paper(self.app):
            return
        for number, raw in enumerate(self._pictures()):
            bundle = raw
            while bundle.parent.get("mime_type") or is_output(bundle.parent):
                bundle = bundle.parent
            bundle.replace_self(self._still(raw.astext(), number))

    def _pictures(self) -> list[nodes.raw]:
        return [raw for raw in self.document.findall(nodes.raw) if DRAG in raw.astext()]

    def _still(self, page: str, number: int) -> list[nodes.Node]:
        """Title, panels, settings and readout as paragraphs."""
        title = text_of(re.search(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL))
        panels = nodes.paragraph(classes=["drag-panels"])
        for k, svg in enumerate(panels_of(page)):
            panels += [self._image(svg, f"{number}-{k}", title), nodes.Text(" ")]
        settings = [text_of(m) for m in re.finditer(r"<label><span>(.*?)</span>", page)]
        said = [text_of(m) for m in re.finditer(r'<p class="drag-say">(.*?)</p>', page)]
        here = f"Here {' and '.join(settings)}. {MORE}" if settings else MORE
        parts = [
            nodes.paragraph("", "", nodes.strong(text=title)),
            panels,
            *(nodes.paragraph(text=line) for line in said),
            nodes.paragraph("", "", nodes.emphasis(text=here)),
        ]
        for k in range(len(parts) - 1, 0, -1):
            parts.insert(k, nodes.raw("", KEEP, format="latex"))
        return parts

    def _image(self, svg: str, name: str, title: str) -> nodes.image:
        """A panel as a file, known to Sphinx."""
        folder = Path(self.env.doctreedir) / "images"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.env.docname.replace('/', '-')}-{name}.svg"
        path.write_text(svg, encoding="utf-8")
        self.env.images.add_file(self.env.docname, str(path))
        width = PANEL_WIDTH if self.app.builder.name == "latex" else "360px"
        return nodes.image(
            uri=str(path), candidates={"image/svg+xml": str(path)}, alt=title, width=width
        )


def panels_of(page: str) -> Iterator[str]:
    """Each panel of a picture as an SVG file that stands alone.

    Example:
        >>> page = '<figure class="drag"><div class="drag-panels">'
        >>> page += '<svg viewBox="0 0 360 240"><svg x="1"></svg></svg></div></figure>'
        >>> [len(re.findall("<svg", panel)) for panel in panels_of(page)]
        [2]
    """
    inside = re.search(r'<div class="drag-panels">(.*?)</div>', page, re.DOTALL)
    assert inside, "a picture of drag.py has panels"
    for panel in re.split(r"(?=<svg viewBox=\"0 0 360 )", inside[1])[1:]:
        height = re.match(r"<svg viewBox=\"0 0 360 (\d+)", panel)
        assert height, "a panel of drag.py is 360 units wide"
        yield panel.replace("<svg ", SVG.format(height[1]) + FONT, 1)


def text_of(found: re.Match[str] | None) -> str:
    """What a piece of HTML says, without its tags."""
    return unescape(re.sub(r"<[^>]*>", "", found[1])) if found else ""


class LeaveOutFoldedCode(SphinxPostTransform):
    """Drop the code that the page folds away; of cells that only check, the outputs, too."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Walk over the cells."""
        if not on_paper(self.app):
            return
        for cell in list(self.document.findall(nodes.container)):
            mode = cell.get("hide_mode") if cell.get("nb_element") == "cell_code" else None
            if mode == "all":
                cell.parent.remove(cell)
            elif mode in ("input", "input+output"):
                for code in [c for c in cell if c.get("nb_element") == "cell_code_source"]:
                    cell.remove(code)
                cell["hide_mode"] = None


class PartsAndPreface(SphinxPostTransform):
    """Chapters of the printed book have the numbers of the page, and stand in the same parts.

    LaTeX would make a chapter of each section of the front page, and knows no parts.
    """

    default_priority = 760  # after LaTeX has taken the bibliography out of its chapter, at 750
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """The whole book is one document here."""
        root = self.app.config.root_doc
        begins = {
            toctree["entries"][0][1]: toctree
            for toctree in self.env.get_doctree(root).findall(addnodes.toctree)
            if toctree["entries"] and toctree.get("caption")
        }
        front, lettered = next(self.document.findall(nodes.section)), False
        for section in [child for child in front if isinstance(child, nodes.section)]:
            title = nodes.rubric("", section[0].astext())
            section.replace_self([title, *section[1:]])
        front.insert(1, nodes.raw("", PREFACE, format="latex"))
        for chapter in list(self.document.findall(addnodes.start_of_file)):
            title = next(chapter.findall(nodes.title))
            if chapter.astext().strip() == title.astext():  # nothing else is left
                chapter.parent.remove(chapter)
                continue
            toctree = begins.get(chapter["docname"])
            if toctree is None:
                continue
            name = toctree["caption"]
            part = f"\\part*{{{name}}}\\addcontentsline{{toc}}{{part}}{{{name}}}\n"
            if not toctree.get("numbered"):
                part, lettered = part + (SECTIONS if lettered else APPENDIX), True
            chapter.insert(0, nodes.raw("", part, format="latex"))


class FoundByNumber(SphinxPostTransform):
    """Theorems and exercises keep their numbers on paper, and links from other chapters find them.

    Both extensions label what a chapter calls by a number, but differently from how Sphinx asks
    for it elsewhere: sphinx-exercise by a name without the chapter, sphinx-proof by the chapter
    that it finds through the name of a section, which a second section of that name takes away.
    """

    default_priority = 770  # when all chapters stand in one document
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Name chapters by their titles, label exercises a second time, and spell out numbers."""
        for chapter in self.document.findall(addnodes.start_of_file):
            docname = chapter["docname"]
            for section in list(chapter.findall(nodes.section))[:1]:
                section["names"].append(self.env.titles[docname].astext().lower())
            for node in list(chapter.findall(exercise_enumerable_node)):
                label = f"\\phantomsection\\label{{\\detokenize{{{docname}:{node['label']}}}}}"
                node.parent.insert(node.parent.index(node), nodes.raw("", label, format="latex"))
        exercises = getattr(self.env, "sphinx_exercise_registry", {})
        for link in list(self.document.findall(addnodes.number_reference)):
            if link.get("refuri", "").partition("#")[2] in exercises:
                link.replace_self(nodes.reference("", "", *link.children, **link.attributes))


class ShortIndex(SphinxPostTransform):
    """Entries of the index fit their columns without the names of modules."""

    default_priority = 5
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Of (alphafair.models.bandits.RollingHorizonPolicy attribute) the last name stays."""
        for index in self.document.findall(addnodes.index):
            index["entries"] = [
                (kind, re.sub(r"\((class in |in module )?(\w+\.)+(?=\w)", r"(\1", entry), *rest)
                for kind, entry, *rest in index["entries"]
            ]


class SmallFigures(SphinxPostTransform):
    """Figures of matplotlib at a size at which their letters are those of the text.

    The drawing of the rooms is as high as a page: a third of the width leaves room for its caption.
    """

    default_priority = 10  # when MyST-NB has chosen the form of an output
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Pictures to drag have a width already."""
        for image in self.document.findall(nodes.image):
            if "width" not in image and image["uri"].endswith(".png"):
                image["scale"] = FIGURE_SCALE
            elif image["uri"].endswith("architecture.svg"):
                image["width"] = "33%"


class LongTablesWrap(SphinxPostTransform):
    """Columns as wide as their words, because LaTeX breaks no lines in tables of many rows.

    The reference's tables of names give a name less room than the sentence beside it.
    """

    default_priority = 12  # when links have their words, at 10
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Give those tables widths."""
        for spec in self.document.findall(addnodes.tabular_col_spec):
            spec["spec"] = NAMES_AND_SENTENCES
        for table in self.document.findall(nodes.table):
            rows = [[len(cell.astext()) for cell in row] for row in table.findall(nodes.row)]
            if len(rows) <= LONG or len({len(row) for row in rows}) > 1:
                continue
            for column, wide in zip(
                table.findall(nodes.colspec), zip(*rows, strict=True), strict=True
            ):
                column["colwidth"] = min(max(*wide, NARROWEST), WIDEST)
            kept = set(table["classes"]) - {"colwidths-auto"}
            table["classes"] = sorted(kept | {"colwidths-given"})


class SvgToPdf(ImageConverter):
    """Drawings for LaTeX, by librsvg."""

    conversion_rules: ClassVar = [("image/svg+xml", "application/pdf")]
    available = None

    def is_available(self) -> bool:
        """Say what to install, once, before LaTeX stumbles."""
        if not shutil.which("rsvg-convert"):
            raise ExtensionError(
                "`make pdf` draws the book's SVG pictures with rsvg-convert, which is not there: "
                "install the Debian package librsvg2-bin (or librsvg elsewhere)"
            )
        return True

    def convert(self, _from: str, _to: str) -> bool:
        """One drawing."""
        subprocess.run(["rsvg-convert", "-f", "pdf", "-o", str(_to), str(_from)], check=True)
        return True


# ---------------------------------------------------------------------------------- LaTeX


PREFACE = "\\chapter*{Preface}\\addcontentsline{toc}{chapter}{Preface}\\markboth{Preface}{}"
# The page gives the chapters of the appendix no numbers, so it counts their figures from 1 to the
# last.  LaTeX would count in each chapter, and put its number before them: 1.1, as in chapter 1.
APPENDIX = "\\appendix\n" + "".join(
    f"\\counterwithout{{{name}}}{{chapter}}\\setcounter{{{name}}}{{0}}\n"
    for name in ("figure", "table", "equation")
)
# The contents list chapters alone, because each has its "Summary" and its "Exercises".  The last
# part is the reference: there sections have names that a reader looks for.
SECTIONS = "\\addtocontents{toc}{\\protect\\setcounter{tocdepth}{1}}\n"
NAMES_AND_SENTENCES = "".join(rf">{{\raggedright\arraybackslash}}\X{{{k}}}{{5}}" for k in (2, 3))
PREAMBLE = r"""
\usepackage{newunicodechar}
\newunicodechar{ᵀ}{\textsuperscript{T}}  % not in FreeMono
\setcounter{tocdepth}{0}
\newcolumntype{T}{L}  % the words of a table are not stretched to its columns
\setlength{\tymin}{4em}  % nor does a short column break its words
% A table that goes on says so, without the number that it does not have.
\renewcommand{\sphinxtablecontinued}[1]{{\let\tablename\empty\let\thetable\empty
  \let\textendash\empty\textsf{#1}}}
\newenvironment{sphinxclasssd-card-title}{\par\medskip\bfseries}{\par}
% A theorem or an exercise begins where its title and some lines of it have room.
\usepackage{etoolbox}
\BeforeBeginEnvironment{sphinxadmonition}{\par\penalty0\relax\ifinner\else
  \ifdim\dimexpr\pagegoal-\pagetotal<8\baselineskip\newpage\fi\fi}
\makeatletter
% A chapter's title as it is written: capitals would make an A of an α.
\titleformat{\chapter}[display]{\py@HeaderFamily}
  {\Large\color{TitleColor}\@chapapp\ \thechapter}{1ex}{\huge\color{TitleColor}}
\titlespacing*{\chapter}{0pt}{0pt}{4ex}
\renewcommand{\chaptermark}[1]{\markboth{\thechapter\quad #1}{}}
\fancypagestyle{normal}{
  \fancyhf{}
  \fancyhead[L]{\py@HeaderFamily\nouppercase{\leftmark}}
  \fancyfoot[L]{\py@HeaderFamily\nouppercase{\rightmark}}
  \fancyfoot[R]{\py@HeaderFamily\thepage}
  \renewcommand{\headrulewidth}{0.4pt}
  \renewcommand{\footrulewidth}{0.4pt}
}
\makeatother
"""
TITLE_PAGE = r"""
\hypersetup{pdftitle={%(title)s}, pdfauthor={%(people)s}, pageanchor=false}
\begin{titlepage}
\sffamily\raggedright
\vspace*{.25\textheight}
{\Huge\bfseries %(title)s\par}
\bigskip
{\Large %(subtitle)s\par}
\vfill
{\large %(people)s\par\medskip Version %(version)s, %(day)s\par}
\end{titlepage}
\hypersetup{pageanchor=true}
"""


def macros(app: Sphinx) -> dict[str, str]:
    """The book's own commands, which _config.yml gives to MathJax."""
    return app.config.mathjax3_config["tex"]["macros"]


def title_page(book: dict[str, Any]) -> str:
    """Title and subtitle, people, version and day, as CITATION.cff has them.

    Example:
        >>> book = {"title": "Fair: a book", "authors": [{"name": "We"}], "version": "1.0"}
        >>> "Fair" in title_page(book | {"date-released": "2026-11-21"})
        True
    """
    title, _, subtitle = book["title"].partition(": ")
    return TITLE_PAGE % {
        "title": title,
        "subtitle": subtitle[:1].upper() + subtitle[1:],
        "people": ", ".join(author["name"] for author in book["authors"]),
        "version": book["version"],
        "day": book["date-released"],
    }


def complete(app: Sphinx, config: Any) -> None:
    """Give LaTeX a title page, headings, and the commands that MathJax has."""
    known = "".join(f"\\newcommand{{\\{k}}}{{{v}}}\n" for k, v in macros(app).items())
    book = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    elements = config.latex_elements
    elements["fncychap"] = ""  # its titles are in capitals
    elements["maketitle"] = title_page(book)
    elements["preamble"] = elements.get("preamble", "") + PREAMBLE + known


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(StandStill)
    app.add_post_transform(LeaveOutFoldedCode)
    app.add_post_transform(PartsAndPreface)
    app.add_post_transform(FoundByNumber)
    app.add_post_transform(ShortIndex)
    app.add_post_transform(SmallFigures)
    app.add_post_transform(LongTablesWrap)
    app.add_post_transform(SvgToPdf)
    app.connect("config-inited", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
