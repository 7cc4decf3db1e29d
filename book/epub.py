"""The book as one file for readers: what `make epub` needs beyond `paper.py`.

A Sphinx extension.  A reader runs no scripts, and an EPUB is XML with a list of all that is in it,
so

- mathematics is MathML, because a reader runs no MathJax, and pictures of formulas neither grow
  with the letters nor can be read aloud;
- what folds on the page stands open, each part under its title;
- scripts, style sheets of the theme and icons stay out, and what Sphinx, pandas and MyST write
  as HTML becomes what an EPUB allows (`epubcheck` finds no error).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from paper import macros
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

import alphafair

STYLES = ("pygments.css", "reader.css")  # of code, and of the book
# What a page says in HTML, and what it says in an EPUB.
ALLOWED = (
    (r"<script\b.*?</script>", ""),
    (r"<style\b.*?</style>\s*", ""),  # the tables of pandas: their style is the reader's
    (r'<span class="sd-summary-(?:icon|state-marker).*?</svg></span>', ""),
    (r"<details\b([^>]*)>", r"<div\1>"),
    (r"</details>", "</div>"),
    (r"<summary\b([^>]*)>", r"<div\1>"),
    (r"</summary>", "</div>"),
    (r' (?:valign|halign)="\w+"', ""),  # pandas
    (r' id="(?:exercise|solution|proof)-content"', ""),  # the same in each exercise of a page
    (r' role="doc-biblioentry"', ""),  # deprecated
)


class Epub(Epub3Builder):
    """Sphinx's builder, with the contents of this book, and a list of what is in the file."""

    def get_toc(self) -> None:
        """Parts, chapters, and the pages of the reference, in the order of reading.

        Sphinx knows no parts, and would list the summary and the exercises of each chapter.
        """
        root = self.config.root_doc
        parts = self.env.get_doctree(root).findall(addnodes.toctree)
        self.refnodes = [entry for part in parts for entry in self._part(part)]
        self.toc_add_files(self.refnodes)

    def _part(self, toctree: addnodes.toctree) -> Iterator[dict[str, Any]]:
        """A part has no page of its own: its name leads to its first chapter."""
        chapters = [docname for _, docname in toctree["entries"]]
        level, name = 1, toctree.get("caption")
        if name:
            yield entry(1, f"{chapters[0]}.xhtml#", name)  # no second place in the order of reading
            level = 2
        for docname in chapters:
            yield from self._pages(docname, level)

    def _pages(self, docname: str, level: int) -> Iterator[dict[str, Any]]:
        """A page with its number, and the pages below it."""
        number = self.env.toc_secnumbers.get(docname, {}).get("", ())
        title = self.env.titles[docname].astext()
        text = ". ".join([".".join(map(str, number)), title]) if number else title
        yield entry(level, f"{docname}.xhtml", text)
        for below in self.env.toctree_includes.get(docname, ()):
            yield from self._pages(below, level + 1)

    def build_content(self) -> None:
        """Leave out files that no page names, and say which pages have formulas."""
        out = Path(self.outdir)
        for path in (out / "_static").rglob("*"):
            if path.is_file() and path.name not in STYLES:
                path.unlink()
        super().build_content()
        content = out / "content.opf"
        content.write_text(
            re.sub(
                r'(<item [^>]*href="([^"]+)"[^>]*\+xml")( />)',
                lambda m: m[1] + ' properties="mathml"' * has_formulas(out / m[2]) + m[3],
                content.read_text(encoding="utf-8"),
            ),
            encoding="utf-8",
        )


def entry(level: int, uri: str, text: str) -> dict[str, Any]:
    """A line of the contents, as Sphinx takes it: XML already."""
    return {"level": level, "refuri": escape(uri), "text": escape(text)}


def has_formulas(page: Path) -> bool:
    """Whether there is MathML on a page."""
    return page.suffix == ".xhtml" and "<math" in page.read_text(encoding="utf-8")


def allowed(page: str) -> str:
    """The body of a page as XHTML that an EPUB may hold.

    Example:
        >>> allowed('<details class="x"><summary>Proof</summary>Clear.</details>')
        '<div class="x"><div>Proof</div>Clear.</div>'
    """
    for found, wanted in ALLOWED:
        page = re.sub(found, wanted, page, flags=re.DOTALL)
    return page


def mend(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A page without scripts, with the style sheets that are in the file."""
    if app.builder.name == "epub":
        context["css_files"] = [
            sheet for sheet in context["css_files"] if Path(sheet.filename).name in STYLES
        ]
        context["body"] = allowed(context.get("body", ""))


# ------------------------------------------------------------------------------- mathematics


ENVIRONMENTS = {"aligned": "split", "gathered": "matrix"}  # as latex2mathml knows them

THIN = r'\1<mspace width="0.167em" />'
MENDED = (  # what latex2mathml writes, and what a reader shows well
    (r">\\([{}])<", r">\1<"),
    (r"<mo><mrow>(<mo>.*?</mo>)</mrow></mo>", r"\1"),  # \mathrel{+}, which no standard allows
    (r"<mo>(&#x0221E;)</mo>", r"<mi>\1</mi>"),  # ∞ is a number: no room beside it
    # log w, not logw; but log of base 2 has its base beside it.
    (r"(?<!<msub>)(?<!<msup>)(?<!<msubsup>)(<mi>[a-zA-Z]{2,}</mi>)(?=<m(?!o))", THIN),
)


def mathml(app: Sphinx, tex: str, display: str) -> str:
    """A formula as MathML."""
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise ExtensionError(
            "`make epub` writes its mathematics with latex2mathml, which is not there: "
            "`.venv/bin/pip install latex2mathml`"
        ) from error
    for name, meaning in macros(app).items():
        tex = re.sub(rf"\\{name}(?![A-Za-z])", lambda _, meaning=meaning: meaning, tex)
    outside = re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", tex, flags=re.DOTALL)
    if "&" in outside or r"\\" in outside:  # as Sphinx does for MathJax
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    for name, known in ENVIRONMENTS.items():
        tex = tex.replace(rf"\begin{{{name}}}", rf"\begin{{{known}}}")
        tex = tex.replace(rf"\end{{{name}}}", rf"\end{{{known}}}")
    page = convert(tex, display=display)
    for found, wanted in MENDED:
        page = re.sub(found, wanted, page)
    return page


def visit_inline(translator: Any, node: nodes.math) -> None:
    """A formula in a line."""
    translator.body.append(mathml(translator.builder.app, node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """A formula on its own line, with its number."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})</span>')
    translator.body.append(mathml(translator.builder.app, node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def choose(app: Sphinx) -> None:
    """For the EPUB alone; the page keeps MathJax."""
    if app.builder.name == "epub":
        app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
        app.config.html_math_renderer = "mathml"
        app.config.html_domain_indices = False  # of theorems: it lists their labels
        app.config.epub_tocscope = "includehidden"  # all contents, or a reader sees the first page
        app.add_css_file("reader.css")


def complete(app: Sphinx, config: Any) -> None:
    """The version of the book is that of the package."""
    config.version = alphafair.__version__


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_builder(Epub, override=True)
    app.connect("config-inited", complete)
    app.connect("builder-inited", choose)
    app.connect("html-page-context", mend, priority=950)  # after all others
    return {"parallel_read_safe": True, "parallel_write_safe": True}
