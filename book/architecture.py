"""Draw the rooms of the package and what they import, and write the page about them.

    python book/architecture.py

Everything is read from the source: a room is a module or a package, its line is the first of its
docstring, and an arrow is an import.  A room stands above all rooms that it imports.  (An import
inside a function may point upwards; the list then says so.)  The same source gives the same bytes,
and a test holds the two files to it.
"""

import ast
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

BOOK = Path(__file__).parent
PACKAGE = BOOK.parent / "alphafair"
DRAWING, PAGE = BOOK / "_static" / "architecture.svg", BOOK / "architecture.md"

# What a room may import from outside, as a reader knows it; numpy and the standard library go
# without saying.
LIBRARIES = {
    "cvxpy": "CVXPY",
    "matplotlib": "Matplotlib",
    "narwhals": "Narwhals",
    "numba": "Numba",
    "polars": "Polars",
    "scipy": "SciPy",
    "sklearn": "scikit-learn",
    "torch": "PyTorch",
    "tqdm": "tqdm",
}

Place = tuple[str, ...]  # ("models", "bandits", "arms"): where a module stands in the package


class Room(NamedTuple):
    """A module, or a package whose modules belong together."""

    line: str  # the first of its docstring
    loads: set[str]  # the rooms that it imports when it is loaded
    later: set[str]  # those that only its functions import
    libraries: set[str]


# ---------------------------------------------------------------------- reading the source


def modules() -> dict[Place, Path]:
    """Every module of the package by its place; a package by its own, without __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[parts[:-1] if parts[-1] == "__init__" else parts] = path
    return found


def room_of(place: Place, there: dict[Place, Path]) -> str:
    """A module or package of the core; a model; each module or wing of a model with wings."""
    if place[:1] != ("models",):
        return place[0] if place else "alphafair"
    model = place[:2]
    wings = [p for p, path in there.items() if p[:2] == model and path.name == "__init__.py"]
    return "/".join(place[:3] if len(wings) > 1 else model)


def imports(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Each import, and whether it runs when the module is loaded; not those for type checkers."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, at_once = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_once
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_once = False
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += [(child, at_once) for child in ast.iter_child_nodes(node)]


def targets(
    node: ast.Import | ast.ImportFrom, package: Place, there: dict[Place, Path]
) -> Iterator[tuple[Place | None, str]]:
    """What a statement imports: a place in the package, or None; and the library, or ""."""
    if isinstance(node, ast.ImportFrom) and node.level:
        base = package[: len(package) - node.level + 1]
        names = [base + tuple(filter(None, (node.module or "").split(".")))]
    elif isinstance(node, ast.ImportFrom):
        names = [tuple((node.module or "").split("."))]
    else:
        names = [tuple(alias.name.split(".")) for alias in node.names]
    for name in names:
        if not (isinstance(node, ast.ImportFrom) and node.level):
            if name[0] != "alphafair":
                yield None, name[0]
                continue
            name = name[1:]
        inner = [(*name, alias.name) for alias in node.names]
        modules_inside = [place for place in inner if place in there]
        yield from ((place, "") for place in modules_inside or [name])


def rooms() -> dict[str, Room]:
    """All rooms by name.  An __init__ only hands names on, so its imports do not count."""
    there = modules()
    found: dict[str, Room] = {}
    for place, path in there.items():
        name, tree = room_of(place, there), ast.parse(path.read_text())
        room = found.setdefault(name, Room("", set(), set(), set()))
        is_door = path.name == "__init__.py"
        if is_door or place == tuple(name.split("/")):
            line = (ast.get_docstring(tree) or name).splitlines()[0]
            room = found[name] = room._replace(line=line)
        package = place if is_door else place[:-1]
        for node, at_once in imports(tree):
            for target, library in targets(node, package, there):
                if target is None:
                    room.libraries.update({LIBRARIES[library]} if library in LIBRARIES else ())
                elif not is_door and (other := room_of(target, there)) != name:
                    (room.loads if at_once else room.later).add(other)
    for door in ("alphafair", "models"):
        del found[door]
    for room in found.values():
        room.later.difference_update(room.loads)
    return dict(sorted(found.items()))


def layers(found: dict[str, Room]) -> list[list[str]]:
    """The rooms in rows, from below: each stands above what it imports.

    A circle of imports on loading is an error; what a function imports counts unless it closes one.
    """
    graph = {name: set(room.loads & set(found)) for name, room in found.items()}
    for name, room in found.items():
        graph[name] |= {x for x in room.later & set(found) if name not in reached(graph, x)}
    depth: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        depth[name] = 1 + max((depth[other] for other in graph[name]), default=-1)
    ordered = sorted(found, key=lambda name: (depth[name], name))
    return [list(row) for _, row in groupby(ordered, key=depth.__getitem__)]


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """All rooms that one imports, with those that these import, and so on."""
    found, waiting = {start}, [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


# ------------------------------------------------------------------------------- drawing

WIDTH, MARGIN, GAP = 360.0, 8.0, 6.0  # of the drawing, in px: a phone shows it without scaling
LETTER, BOX, BETWEEN = 7.0, 38.0, 26.0  # width of a letter, height of a box, room for an arrow
CORE, MODELS = "the core and its views", "models"
PLAIN, EXTRA, GREY = "#d5e4f2", "#f6dfb3", "#7d7d7d"  # grey is legible on white and on black


def wrapped(names: Iterable[str], widths: dict[str, float]) -> list[list[str]]:
    """A row of boxes, on as many lines as it needs."""
    lines: list[list[str]] = [[]]
    for name in names:
        taken = sum(widths[other] + GAP for other in lines[-1])
        if lines[-1] and taken + widths[name] > WIDTH - 2 * MARGIN:
            lines.append([])
        lines[-1].append(name)
    return lines


def box(x: float, y: float, width: float, name: str, room: Room) -> str:
    """One room: its name, and under it the libraries that it needs."""
    middle, extra = x + width / 2, ", ".join(sorted(room.libraries))
    text = f'<text x="{middle:g}" y="{y + (16 if extra else 23):g}">{name}</text>'
    if extra:
        text += f'<text x="{middle:g}" y="{y + 31:g}" class="library">{extra}</text>'
    fill = EXTRA if extra else PLAIN
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX:g}" rx="5" fill="{fill}"/>'
    return frame + text


def panel(title: str, found: dict[str, Room], top: float) -> tuple[list[str], float]:
    """The rows of some rooms, the lowest at the bottom; and where they end."""
    short = {name: name.rpartition("/")[2] for name in found}
    widths = {
        name: LETTER * max(len(short[name]), 0.85 * len(", ".join(room.libraries))) + 16
        for name, room in found.items()
    }
    parts, y = [f'<text x="{WIDTH / 2:g}" y="{top + 14:g}" class="label">{title}</text>'], top + 26
    rows = layers(found)[::-1]
    for k, row in enumerate(rows):
        for line in wrapped(row, widths):
            x = (WIDTH - sum(widths[name] + GAP for name in line) + GAP) / 2
            for name in line:
                parts.append(box(x, y, widths[name], short[name], found[name]))
                x += widths[name] + GAP
            y += BOX + GAP
        if k < len(rows) - 1:
            head = y + BETWEEN - GAP - 4
            parts.append(f'<path d="M{WIDTH / 2:g} {y - 2:g}V{head:g}" marker-end="url(#head)"/>')
            y += BETWEEN
    return parts, y + 14


def panels(found: dict[str, Room]) -> dict[str, dict[str, Room]]:
    """The core and its views; the models; and the inside of each model with wings, by title."""
    parts: dict[str, dict[str, Room]] = {CORE: {}, MODELS: {}}
    for name, room in found.items():
        where, _, _ = name.rpartition("/")
        title = {"": CORE, "models": MODELS}.get(where, where)
        parts.setdefault(title, {})[name] = room
    for title in parts.keys() & found.keys():  # a package that is drawn has no box of its own
        del parts[MODELS][title]
    return parts


def drawing(found: dict[str, Room]) -> str:
    """The SVG: one panel under the other."""
    parts: list[str] = []
    y = MARGIN
    for title, inside in panels(found).items():
        drawn, y = panel(title, inside, y)
        parts += drawn
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {y:g}">',
            "<style>text{font:12px sans-serif;text-anchor:middle;fill:#1b2733}"
            f"text.library{{font-size:10px}}text.label{{font-style:italic;fill:{GREY}}}"
            f"path{{stroke:{GREY};stroke-width:1.5}}</style>",
            '<marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6"'
            f' orient="auto"><path d="M0 0L8 4L0 8z" fill="{GREY}"/></marker>',
            *parts,
            "</svg>\n",
        ]
    )


# ---------------------------------------------------------------------------------- page

HEAD = """\
<!-- Written by book/architecture.py from the source: change a docstring or an import instead. -->

# The rooms of the package

This page is for readers who want to change the package: it shows where things are, and what a
change can break. Each box is a room, that is, a module. A room imports only rooms that stand below
it, so a change is felt above and not below. A yellow room uses, besides NumPy, the libraries that
are named in it, some of them only for a part of what it does. `import alphafair` is the door: it
hands on what the rooms of the core export.

```{figure} _static/architecture.svg
:name: fig-architecture
:alt: The rooms of the package in layers; the lists below say the same in words.
:width: 420px
:class: dark-light

The rooms, in the order of their imports. Arrows point from those that import to those that are
imported.
```

The core does not know the models: none of its rooms imports one of theirs. From the core, the
models import only the rooms that their lists name. For each room the lists give the first line of
its docstring, and then the rooms that it imports.
"""


def plain(text: str) -> str:
    """A line of a docstring as Markdown that shows the same characters."""
    for mark in "*$<[":
        text = text.replace(mark, "\\" + mark)
    return text


def listed(names: Iterable[str]) -> str:
    """Names in code, with commas."""
    return ", ".join(f"`{name}`" for name in sorted(names))


def entry(name: str, room: Room, inside: str = "") -> str:
    """What one room is, and what it imports; names of its own package are short."""
    near = inside + "/" if inside else "models/"
    text = f"- **`{name.removeprefix(near)}`**: {plain(room.line)}"
    for verb, others in (("Imports", room.loads), ("When first needed, also", room.later)):
        if others:
            text += f" {verb} {listed(x.removeprefix(near) for x in others)}."
    return text


def section(title: str, found: dict[str, Room], inside: str = "") -> list[str]:
    """A heading and every room in words, the lowest first."""
    rows = layers(found)
    return [f"\n## {title}\n", *(entry(x, found[x], inside) for row in rows for x in row)]


def page(found: dict[str, Room]) -> str:
    """The Markdown: the drawing, and the rooms in words."""
    lines = [HEAD.rstrip()]
    for title, inside in panels(found).items():
        if title in found:
            lines += [*section(f"`{title}`", inside, title)]
            lines[-len(inside) : -len(inside)] = [plain(found[title].line) + "\n"]
        else:
            lines += section(title[0].upper() + title[1:], inside)
    return "\n".join([*lines, ""])


def main() -> None:
    """Write both files."""
    found = rooms()
    DRAWING.parent.mkdir(exist_ok=True)
    DRAWING.write_text(drawing(found))
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
