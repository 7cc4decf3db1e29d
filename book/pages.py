"""What the theme leaves undone on the pages: a Sphinx extension, named in `_config.yml`.

Seven things cannot be mended by a style sheet.

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
- They also break it before the sign of "34 %", and on either side of that of "α = 0".
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools import subset  # comes with Matplotlib

LABEL = ' aria-label="Toggle hidden content"'
ENTRY, ITEM = ' role="doc-biblioentry"', ' role="listitem"'
# A formula within a line, with the bracket before it and what follows without a space.
FORMULA = r'<span class="math notranslate nohighlight">\\\([^<]*</span>'
BOUND = re.compile(rf"\({FORMULA}(?:[^\w\s<]+|-\w+)?|{FORMULA}(?:[^\w\s<]+|-\w+)")
# Spaces that do not break: in "34 %", "11 300" and "α = 0".
TIGHT = re.compile(r"(?<=\d)\s(?=%|\d{3}\b)")
TIGHT_EQUAL = re.compile(r"(?<=[α-ω])\s=\s(?=[\d½∞−])")
QUOTED = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.math_block, nodes.raw)
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


def hold_together(app: Any, doctree: Any, name: str) -> None:
    """Numbers stay on the line of their sign."""
    for text in list(doctree.findall(nodes.Text)):
        if app.builder.format == "html" and not isinstance(text.parent, QUOTED):
            held = TIGHT_EQUAL.sub("\u00a0=\u00a0", TIGHT.sub("\u00a0", str(text)))
            if held != str(text):
                text.parent.replace(text, nodes.Text(held))


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


def one_document(app: Any, doctree: Any) -> None:
    """Every node is part of the page that it stands on."""
    for node in doctree.findall():
        node.document = doctree


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", one_document)
    app.connect("doctree-resolved", hold_together)
    app.connect("html-page-context", mend, priority=900)  # after the theme
    app.connect("build-finished", keep_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
