"""What the theme leaves undone on the pages: a Sphinx extension, named in `_config.yml`.

Three things cannot be mended by a style sheet.

- The theme's icons come as a script of 1.5 MB, two thousand of them, which each page loads before
  it shows anything.  The pages use about fifteen, so only those are kept.
- Thebe runs cells on somebody else's server.  The book does not use it, and its settings are
  written twice, which browsers report as an error.
- A fold says "Show the code", but a screen reader would say "Toggle hidden content", because that
  label takes the place of the words.
"""

import re
from pathlib import Path
from typing import Any

LABEL = ' aria-label="Toggle hidden content"'
ICON = re.compile(r'"?([\w-]+)"?:(\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+","[^"]*"\]),?')


def mend(app: Any, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take out what a page should not say or load."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes.get('body')}".lower()
    ]
    context["body"] = context.get("body", "").replace(LABEL, "")


def keep_icons(app: Any, failed: Exception | None) -> None:
    """Of the theme's icons, keep those that a page or a script of the theme names."""
    site = Path(app.outdir)
    icons = site / "_static" / "scripts" / "fontawesome.js"
    if failed or app.builder.format != "html" or not icons.exists():
        return
    readers = [*site.rglob("*.html"), *icons.parent.glob("*theme.js")]
    used = {name for path in readers for name in re.findall(r"fa-([a-z-]+)", path.read_text())}
    icons.write_text(
        ICON.sub(
            lambda icon: f'"{icon[1]}":{icon[2]},' if icon[1] in used else "", icons.read_text()
        )
    )


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", mend, priority=900)  # after the theme
    app.connect("build-finished", keep_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
