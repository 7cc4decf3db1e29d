"""What the theme leaves undone on the pages: a Sphinx extension, named in `_config.yml`.

Eight things cannot be mended by a style sheet.

- The theme's icons, two thousand of them, come as a script of 1.5 MB, which each page loads before
  it shows anything, as a fifth of its style sheet, and as a font.  The pages use about thirty.
- Thebe runs cells on somebody else's server.  The book does not use it, and its settings are
  written twice, which browsers report as an error.
- A fold says "Show the code", but a screen reader would say "Toggle hidden content", because that
  label takes the place of the words.
- The tables of names in the reference are read by `{eval-rst}`, whose nodes stay part of a document
  of their own, which knows all pages.  Sphinx would save all that with each page, 17 MB a time.
- The bibliography is a list of things that are no items of a list for a screen reader.
- Browsers break a line between a formula and the comma behind it.
- They also break it within 20 000, α = 1 and 5 %, which are read as one word, and within Part I.
- On a phone a figure is as narrow as the text.  The letters of a wide one, most often of panels
  side by side, would be too small to read, so it gets a box to scroll in.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools import subset  # comes with Matplotlib
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.images import get_image_size

LABEL = ' aria-label="Toggle hidden content"'
ENTRY, ITEM = ' role="doc-biblioentry"', ' role="listitem"'
# A formula within a line, with the bracket before it and what follows without a space.
FORMULA = r'<span class="math notranslate nohighlight">\\\([^<]*</span>'
# Where a number goes on behind a space, and where one follows what it is the number of.
INSIDE = re.compile(
    r"(?<=\d) (?=%|\d{3}(?!\d))|(?<=\b[α-ω]) = (?=[\d−∞½])|(?<=\bPart) (?=[IVX]+\b)"
)
AS_WRITTEN = nodes.literal, nodes.math, nodes.FixedTextElement
BOUND = re.compile(rf"\({FORMULA}(?:[^\w\s<]+|-\w+)?|{FORMULA}(?:[^\w\s<]+|-\w+)")
# Pixels of a figure as drawn, with letters of 18.  On a phone, where figures are 378 pixels wide,
# it is seen whole up to here, with letters of 9.2; what is wider mostly has panels side by side.
WIDE = 740
# In the script an icon is  "name":[width,height,[other names],"code","path"],  and in the sheet
# .fa-name:before{content:"code"}  with several names where they share a code.
ICON = re.compile(r'"?([\w-]+)"?:(\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+","[^"]*"\]),?')
RULE = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"[^"]*"\}')
CODE = re.compile(r'"\\([0-9a-f]{4})"')
LETTER = re.compile("[\ue000-\uf8ff]")  # the same, as it is
WOFF2 = re.compile(r'url\([^)]*fa-solid-900\.woff2\) format\("woff2"\),')


def mend(app: Any, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take out what a page should not say or load."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes.get('body')}".lower()
    ]
    body = context.get("body", "").replace(LABEL, "").replace(ENTRY, ITEM)
    context["body"] = BOUND.sub(r'<span class="unbroken">\g<0></span>', body)


def keep_icons(app: Any, failed: Exception | None) -> None:
    """Of the theme's icons, keep those that a page, or a script of the theme, names."""
    static = Path(app.outdir) / "_static"
    script = static / "scripts" / "fontawesome.js"
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    if failed or app.builder.format != "html" or not script.exists():
        return
    readers = [*static.parent.rglob("*.html"), *script.parent.glob("*theme.js")]
    used = {name for path in readers for name in re.findall(r"fa-([a-z-]+)", path.read_text())}

    def icon(found: re.Match[str]) -> str:
        return f'"{found[1]}":{found[2]},' if found[1] in used else ""

    def rule(found: re.Match[str]) -> str:
        names = re.findall(r"\.fa-([\w-]+):", found[0])
        return found[0] if used & set(names) else ""

    script.write_text(ICON.sub(icon, script.read_text()))
    sheet.write_text(WOFF2.sub("", RULE.sub(rule, sheet.read_text())))  # what is left is the .ttf
    keep_letters(static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf", static)


def keep_letters(font: Path, static: Path) -> None:
    """Of the letters of a font, keep those that a style sheet writes."""
    styles = "".join(path.read_text() for path in static.rglob("*.css"))
    codes = [int(code, 16) for code in CODE.findall(styles)] + list(
        map(ord, LETTER.findall(styles))
    )
    options = subset.Options(drop_tables=["GSUB"], notdef_outline=True)
    whole = subset.load_font(str(font), options)
    kept = subset.Subsetter(options)
    kept.populate(unicodes=codes)
    kept.subset(whole)
    subset.save_font(whole, str(font), options)


class WideFigures(SphinxPostTransform):
    """Put figures that are too wide for a phone into boxes that scroll (custom.css)."""

    default_priority = 10  # when MyST-NB has chosen the form of an output
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Their captions stay outside."""
        if self.app.builder.name == "epub":
            return  # a reader turns pages
        for figure in self.document.findall(nodes.figure):
            for image in list(figure.findall(nodes.image)):
                size = get_image_size(str(self.app.srcdir / image["uri"]))
                if size and size[0] > WIDE:
                    box = nodes.container(classes=["wide-figure"])
                    image.replace_self(box)
                    box += image


def one_document(app: Any, doctree: Any) -> None:
    """Every node is part of the page that it stands on."""
    for node in doctree.findall():
        node.document = doctree


def keep_numbers(app: Any, doctree: Any) -> None:
    """No line ends within a number, but code stays as it is."""
    for text in list(doctree.findall(nodes.Text)):
        whole = INSIDE.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
        if whole != text and not isinstance(text.parent, AS_WRITTEN):
            text.parent.replace(text, nodes.Text(whole))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(WideFigures)
    app.connect("doctree-read", one_document)
    app.connect("doctree-read", keep_numbers)
    app.connect("html-page-context", mend, priority=900)  # after the theme
    app.connect("build-finished", keep_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
