"""Write the page about the command from what ``alphafair --help`` says.

    python book/command_page.py

The same parser gives the same bytes, and a test holds the page to it.  Options stand in code, so
that their dashes stay dashes.
"""

import argparse
import re
import textwrap
from pathlib import Path

from alphafair.command.arguments import command_line

PAGE = Path(__file__).parent / "api" / "command.md"
HEAD = """\
# The command

A table in, doses out, without a line of Python: [](../tables.ipynb). This page is what
`alphafair --help` says, and how the command is called from Python.
"""
FOOT = """\
## From Python

```{eval-rst}
.. automodule:: alphafair.command
   :no-members:

.. autofunction:: alphafair.command.main
```
"""
# What is typed and has to be copied as it stands: options, a dash alone, and words in quotes.
TYPED = re.compile(r"""(?<!\S)(?:--[a-z-]*[a-z]|-[a-z]?(?![\w-])|"[^"]*"|'[^']*')""")


def page(parser: argparse.ArgumentParser) -> str:
    """The page: how the command is called, its options by group, and its notes."""
    usage = parser.format_usage().removeprefix("usage: ").strip()
    call = textwrap.fill(usage, 72, subsequent_indent="    ", break_on_hyphens=False)
    parts = [HEAD, literal(call, "text")]
    for group in parser._action_groups:  # argparse has no other name for them
        if group._group_actions:
            entries = [option(action) for action in group._group_actions]
            parts += [f"## {group.title.capitalize()}\n", "\n".join(entries)]
    for title, lines in notes(parser.epilog or ""):
        parts += [f"## {title.capitalize()}\n", literal(lines, "text")]
    return "\n".join([*parts, FOOT])


def option(action: argparse.Action) -> str:
    """An entry of a definition list: what is typed, and what it does."""
    value = "" if action.nargs == 0 else f" {action.metavar}"
    names = [f"`{name}{value}`" for name in action.option_strings] or [f"`{action.metavar}`"]
    said = TYPED.sub(lambda found: f"`{found[0]}`", action.help or "")
    return f"{', '.join(names)}\n: {said}\n"


def notes(epilog: str) -> list[tuple[str, str]]:
    """The paragraphs after the options: title, and lines without their indentation."""
    found = re.findall(r"^(\S.*):\n((?:(?: .*)?\n)+)", epilog, flags=re.MULTILINE)
    return [(title, textwrap.dedent(lines).strip()) for title, lines in found]


def literal(text: str, language: str) -> str:
    """Text whose lines and dashes stay as they are."""
    return f"```{{code-block}} {language}\n:class: told\n\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(command_line()))
