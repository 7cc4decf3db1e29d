"""Draw the rooms of the package and what they import, and write the page about them.

    python book/architecture.py

The drawing is read from the source: a room is a module or a package, and an arrow is an import.  A
room stands above all rooms that it imports.  (An import inside a function may point upwards; the
list then says so.)  The page tells the rooms by `STORY`, in sentences written here, and the first
line of its docstring stands in for a room that is not told yet.  The same source gives the same
bytes, and a test holds the two files to it.
"""

import ast
import re
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
<!-- Written by book/architecture.py: run `make architecture` after a change of the source. -->

# The rooms of the package

You want to change the package. Perhaps you need another kind of limit, or another rule for arms.
Where does it go, and what can it break? This page answers both questions. (To *use* the package
you need none of it: [](cheat_sheet.md) and [](api.md) are the pages for that.)

Think of the package as a house. A **room** is a module, or a small package whose modules belong
together, and there are {count} of them. One rule keeps the house in order: **a room imports only
rooms that stand below it**. Therefore a change is felt above, and never below.

## Where does a new kind of cap go?

Suppose that nobody may cost more than 50 dollars in all, whatever the treatments. The package has
caps on doses and on the budgets of groups, but no cap on the money of one person. Six rooms have to
learn about it, from below to above:

1. {value} knows what a group can make of its money, and the cap is a matter inside a group. A
   person is funded item by item, the best ratio first, and now this chain ends at 50 dollars.
2. {derivatives} says what one more dollar of the cap is worth.
3. {allocation} says who has reached the cap.
4. {problem} takes the new argument, checks it once, and refuses a cap below zero.
5. {certificate} bounds what the best plan could bring, so it must be told that plans beyond the
   cap do not count. Otherwise its bound stays true but becomes loose, and it calls good plans
   wasteful.
6. {reference} needs one line more, the constraint for CVXPY. Then the tests can compare {value}
   with a solver that knows nothing of it.

The other rooms do not notice. {closed_form} splits the budget across groups. It sees nothing of a
group but what its money is worth, so it works for the new cap as it stands, and so do {paths} and
{frontier}, which ask for one plan after the other. Only when the cap should also work for tables
and on the command line do {frames} and {command} have to pass it on. (`CONTRIBUTING.md` works out
another example in code, a tax on the money of a group.)

## How to read the picture

Each box is a room, and between two arrows lies one storey. (A storey with many rooms takes two
rows.) A room may import any room of a lower storey, and the rooms of one storey do not know each
other. A few imports lead upwards all the same. They stand inside a function and wait until it is
called, and the lists below name them after the words "When first needed". So if you change a room,
look *above* it. A change in `checks` is felt in {felt} of the {core} rooms of the core, and one in
`plots` in none.

A yellow room also uses the libraries that are named in it, some of them only for a part of what it
does. All others get by with NumPy. `import alphafair` is the door: it hands on what the rooms of
the core export, and loads none of these libraries before somebody asks for what needs them.

The picture has parts, one under the other, and the rule holds inside each of them. First comes the
core, with everything of Part I. The models of Part II are drawn under it, but they stand on it: the
core knows nothing of them, and they use its tools. (Only `attention` uses more.) Last come the
insides of the two large models.

```{{figure}} _static/architecture.svg
:name: fig-architecture
:alt: The rooms of the package in layers; the lists below say the same in words.
:width: 420px
:class: dark-light

The rooms, in the order of their imports. Arrows point from the storeys that import to those that
are imported.
```

## When you have changed a room

Most rooms have a file of tests with their name, such as `tests/test_value.py`. Run it first, and
then the tests of the rooms above. The rule of the house is tested as well:
`tests/test_architecture.py` lists who may import whom, so an import that is new has to be allowed
there. If you built a room, give it a sentence in `book/architecture.py`. Then `make architecture`
draws this page again.

The rest of the page goes through the house, room by room, by what they are for. A name that is a
link leads to the reference, and at the end of each line stand the rooms that this one imports.
"""

# The rooms by story: a title, what these rooms have in common, and a sentence or two on each.
STORY: dict[str, tuple[str, dict[str, str]]] = {
    "From inputs to doses": (
        "These rooms hold the theory, in the order of a call of `allocate`: first come the inputs, "
        "then the inside of each group, then the split across groups, and last the answer.",
        {
            "problem": "Here everything begins. The inputs are checked once and become arrays.",
            "curves": "A response curve says what a person would gain from each of several levels. "
            "This room turns it into items with caps, so that no other room need know of curves.",
            "exclusive": "Where a person may have one offer at most, her offers become the "
            "steps of a ladder, and then the rest of the theory applies.",
            "value": "What is money worth inside a group? All that the package knows about the "
            "inside of a group is this one function, $V_k(x)$.",
            "closed_form": "How is the budget split across groups? At one price, at which money is "
            "worth the same everywhere.",
            "allocation": "This is the answer: a plan, and everything that one can ask it. Each "
            "number is computed when it is asked for.",
            "derivatives": "How do welfare and doses change when an input does? The gradient and "
            "the Jacobian are here, exactly and without a solver.",
        },
    ),
    "Questions to a plan": (
        "A plan is there, and somebody has to decide whether to follow it.",
        {
            "paths": "Who gets what at every budget, or at every α? The plans of all of them lie "
            "on one path.",
            "frontier": "What does equality cost? Here are the price of fairness, the worst that "
            "it can be, and the whole frontier.",
            "inequality": "How unequal is a result? These measures take any vector of utilities.",
            "evaluation": "Was the plan any good? This room answers from an experiment, and sees "
            "nothing of the model that made the plan.",
            "whole": "Nobody can be given half a seat. This room makes whole doses of fractional "
            "ones, by a plan with a proven gap or by a fair lottery.",
            "report": "It writes a page for those who decide: who gets how much and why, how sure "
            "that is, and what is left to do.",
            "plots": "It draws results. Every function returns the axes and shows nothing by "
            "itself.",
        },
    ),
    "Judges": (
        "Judges see the inputs of a problem, and nothing of how it was solved. So they can be used "
        "against the rest of the package.",
        {
            "certificate": "How far from optimal is a plan, whoever made it? The bound needs no "
            "solver and trusts no formula.",
            "reference": "It puts the same problem to a convex solver, through CVXPY, and believes "
            "the answer only if the certificate does.",
        },
    ),
    "Tables, files and the command": (
        "Real data come in tables. These rooms bring them in and take the doses out.",
        {
            "frames": "It allocates inside a data frame, and the engine that holds the frame does "
            "the work. There is one module for each kind of engine.",
            "chunks": "For tables that do not fit in memory: the rows pass in chunks, and only "
            "one row stays for each group.",
            "command": "A table goes in and doses come out, without any Python.",
            "__main__": "With this room `python -m alphafair` runs the command.",
        },
    ),
    "Learning": (
        "Benefits are predicted by models, and these rooms let a model learn from what its "
        "predictions do to the plan.",
        {
            "layer": "The allocation as a layer of PyTorch, with exact doses and exact "
            "derivatives, for whole batches.",
            "layer_bounds": "The same for problems with bounds. The doses are those of the core, "
            "and its Jacobian is the backward pass.",
            "groundtruth": "Problems with known answers, by which one can judge this layer and "
            "others.",
            "regret": "What does a plan lose because it was made from predictions? The answer is "
            "also a loss that one can train on.",
            "estimator": "It leads from people's features to their doses, as an estimator of "
            "scikit-learn.",
        },
    ),
    "Tools": (
        "They know no allocation. Nearly everything stands on them, so a change here is felt "
        "nearly everywhere.",
        {
            "checks": "Bad input gets a clear error here: which argument and which entry, what "
            "came, what was expected, and what to do.",
            "kernels": "Loops over all items, each written twice: compiled by Numba for large "
            "inputs, and in NumPy for all others.",
            "scan": "One pass over benefits and costs finds the best ratio of each group or "
            "person. This pass takes most of the time.",
            "groups": "Labels of people become numbers, once, and what is given by group finds its "
            "place.",
            "utility": "The α-fair family: the function $\\varphi_\\alpha$, welfare, and the "
            "equivalent utility.",
            "bisection": "It finds where a condition begins to hold, to the last bit.",
            "progress": "Progress bars, for work that takes more than a few seconds.",
        },
    ),
    "Models of Part II": (
        "Each of them stands on the tools alone. Only `attention` looks at both parts, because it "
        "divides visits by Part I among the arms of Part II.",
        {
            "models/common": "What all models share: the form of a simulation's result, how a root "
            "is found, and what is imported late.",
            "models/selection": "Who is selected when the quality of some is measured with more "
            "noise than that of others?",
            "models/strategic": "How careful are people whose data everybody uses? A regression "
            "where each chooses an effort.",
            "models/attention": "How are a staff's visits shared among crowds of patients, day "
            "after day?",
        },
    ),
    "`models/bandits`": (
        "Who is activated next, when arms change state whether or not they are?",
        {
            "models/bandits/arms": "An arm is a process that changes its state in one way when it "
            "is activated, and in another when it is not.",
            "models/bandits/sparse": "Matrices of arms may be sparse, where SciPy is installed.",
            "models/bandits/chains": "The graph of a Markov chain: where it can go, and where it "
            "stays for ever.",
            "models/bandits/counts": "How many of the arms are in each state, checked.",
            "models/bandits/examples": "Textbook arms, small enough to print. Of each of them "
            "something is known that a test can use.",
            "models/bandits/indices": "Gittins' and Whittle's indices: one number for each state, "
            "and the arms with the largest are activated.",
            "models/bandits/policies": "A policy says who is activated, given how many arms are "
            "in each state.",
            "models/bandits/planning": "Linear programs that keep the budget on average only, and "
            "the policies made of them.",
            "models/bandits/virtual": "A policy for the average reward which follows the advice "
            "of imagined arms, and needs no attractor.",
            "models/bandits/exact": "What a policy earns, exactly, for tens of arms: a Markov "
            "chain on all their configurations.",
            "models/bandits/simulate": "The same by simulation, for more arms than can be listed.",
            "models/bandits/asynchronous": "Arms with clocks of their own, which move one at a "
            "time.",
            "models/bandits/learning": "Which arm is activated while rewards and transitions still "
            "have to be learned?",
        },
    ),
    "`models/meanfield`": (
        "What does a rule do to thousands at once? These rooms answer without simulating each of "
        "them.",
        {
            "models/meanfield/populations": "Objects that change state: their mean field, what it "
            "leaves out, and the truth.",
            "models/meanfield/games": "Games of very many players, each of whom meets the crowd.",
        },
    ),
}
REST = "Rooms without a story"


def plain(text: str) -> str:
    """A line of a docstring as Markdown that shows the same characters."""
    for mark in "*$<[":
        text = text.replace(mark, "\\" + mark)
    return text


def linked(name: str, inside: str = "") -> str:
    """A room's name, short where it stands among its own; a link where the reference has a page."""
    parts = name.split("/")
    shown = f"`{name.removeprefix(inside)}`"
    for page in reversed(parts):
        if (BOOK / "api" / f"{page}.md").exists():
            return f"[{shown}](api/{page}.md)"
    return shown


def listed(names: Iterable[str], inside: str = "") -> str:
    """Names in code, with commas."""
    return ", ".join(f"`{name.removeprefix(inside)}`" for name in sorted(names))


def entry(name: str, room: Room, told: str, inside: str = "") -> str:
    """What one room is for, and what it imports."""
    text = f"- **{linked(name, inside)}**. {told}"
    for verb, others in (("Imports", room.loads), ("When first needed, also", room.later)):
        if others:
            text += f" *{verb}* {listed(others, inside)}."
    return text


def section(title: str, common: str, told: dict[str, str], found: dict[str, Room]) -> list[str]:
    """A heading, what its rooms have in common, and each of them."""
    inside = title.strip("`") + "/" if title.startswith("`") else "models/"
    rows = [entry(name, found[name], text, inside) for name, text in told.items()]
    return [f"\n## {title}\n", common + "\n", *rows]


def page(found: dict[str, Room]) -> str:
    """The Markdown: an example, the drawing, and the rooms in words."""
    core = panels(found)[CORE]
    graph = {name: (room.loads | room.later) & set(core) for name, room in core.items()}
    head = HEAD.format(
        **{name: linked(name) for name in re.findall(r"{([a-z_]+)}", HEAD)}
        | {
            "count": sum(map(len, panels(found).values())),
            "core": len(core),
            "felt": sum("checks" in reached(graph, name) for name in core if name != "checks"),
        }
    )
    lines = [head.rstrip()]
    left = {name: room for inside in panels(found).values() for name, room in inside.items()}
    for title, (common, told) in STORY.items():
        here = {name: text for name, text in told.items() if left.pop(name, None)}
        if here:
            lines += section(title, common, here, found)
    if left:
        told = {name: plain(room.line) for name, room in left.items()}
        lines += section(
            REST, "The first lines of their docstrings say what they are for.", told, found
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Write both files."""
    found = rooms()
    DRAWING.parent.mkdir(exist_ok=True)
    DRAWING.write_text(drawing(found))
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
