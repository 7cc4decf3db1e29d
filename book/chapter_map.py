"""Draw the map of the chapters, and write the page about it.

    python book/chapter_map.py

The table `CHAPTERS` is the one place that says which chapter builds on which.  Titles are read
from the chapters, and their order and parts from `_toc.yml`.  Each numbered part is one map: a
chapter stands below all that it needs, and an arrow leads from what is needed to what needs it.
What only helps would make a tangle of the picture, so the list below it says that in words.  The
same input gives the same bytes, and a test holds the files to it.
"""

import json
import re
import textwrap
from collections.abc import Iterable
from html import escape
from itertools import accumulate, chain, combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

BOOK = Path(__file__).parent
PAGE, IMAGES = BOOK / "chapter_map.md", BOOK / "_static"


class Before(NamedTuple):
    """What to read before a chapter, besides what those chapters need themselves."""

    needs: str = ""  # without it a reader is lost
    helps: str = ""  # an example, a remark or a section is easier with it


CHAPTERS = {
    "budget": Before(),
    "family": Before(helps="budget"),
    "closed_form": Before(helps="budget family"),
    "two_levels": Before("closed_form", "family"),
    "bounds": Before("two_levels", "budget"),
    "have_already": Before("bounds"),
    "one_offer": Before("bounds", "certificate"),
    "tables": Before("one_offer", "budget have_already"),
    "engines": Before("two_levels", "bounds tables"),
    "solver": Before("closed_form", "two_levels"),
    "certificate": Before("two_levels", "solver"),
    "judge_bounds": Before("certificate", "bounds have_already"),
    "gradient": Before("two_levels", "bounds certificate"),
    "measuring": Before("gradient"),
    "jacobian": Before("gradient", "measuring"),
    "layer": Before("jacobian"),
    "when_to_train": Before("layer", "noise"),
    "ground_truth": Before("solver layer", "bounds have_already certificate"),
    "predict": Before("bounds layer", "budget when_to_train case_study noise"),
    "frontier": Before("family bounds", "have_already one_offer"),
    "price": Before("frontier", "have_already"),
    "all_budgets": Before("family bounds", "one_offer certificate"),
    "case_study": Before("budget one_offer price"),
    "noise": Before("case_study"),
    "selection": Before(helps="closed_form noise"),
    "second_looks": Before("selection", "closed_form noise"),
    "strategic": Before(helps="closed_form certificate second_looks"),
    "uncertain": Before("strategic"),
    "gittins": Before(helps="closed_form"),
    "whittle": Before("gittins", "certificate second_looks"),
    "whittle_fast": Before("whittle"),
    "ten_thousand_arms": Before("whittle", "certificate"),
    "when_the_index_fails": Before("ten_thousand_arms"),
    "horizon": Before("whittle", "certificate ten_thousand_arms"),
    "replanning": Before("when_the_index_fails horizon"),
    "learning": Before("gittins", "noise"),
    "cost_of_learning": Before("learning"),
    "attention": Before("bounds whittle", "frontier ten_thousand_arms when_the_index_fails"),
    "refined": Before(helps="ten_thousand_arms"),
    "different": Before("refined"),
    "cache": Before("refined", "frontier different"),
    "gossip": Before("refined", "different cache"),
    "games": Before("refined", "closed_form price"),
    "many_players": Before("games"),
    "numerics": Before("family closed_form", "two_levels gradient jacobian frontier"),
    "speed": Before("closed_form", "two_levels bounds numerics"),
    "from_notebook": Before("closed_form", "solver certificate gradient jacobian numerics"),
}

# What readers come for, and the chapter that has it.  The way there follows from the table.
GOALS = {
    "Doses for the people in your table": "tables",
    "A judge for a plan that somebody hands you": "certificate",
    "A choice of α that you can defend": "frontier",
    "A plan from an experiment, with real data": "case_study",
    "A differentiable layer in PyTorch": "layer",
    "A selection that is fair to people who are measured badly": "selection",
    "Whittle indices": "whittle",
    "A plan for the next few decisions": "horizon",
    "Fair shares of visits, day after day": "attention",
    "Mean field games": "games",
}


# ----------------------------------------------------------------------- reading the book


class Part(NamedTuple):
    """A part of the book: its name, its chapters in order, and whether they have numbers."""

    name: str
    chapters: list[str]
    numbered: bool


def parts() -> list[Part]:
    """The parts that hold chapters, which are the notebooks of `_toc.yml`."""
    contents = yaml.safe_load((BOOK.parent / "_toc.yml").read_text())
    found = []
    for part in contents["parts"]:
        slugs = [Path(top["file"]).name for top in part["chapters"]]
        chapters = [slug for slug in slugs if (BOOK / f"{slug}.ipynb").exists()]
        if chapters:
            found.append(Part(part["caption"], chapters, part.get("numbered", False)))
    return found


def title(slug: str) -> str:
    """The heading of a chapter."""
    first = json.loads((BOOK / f"{slug}.ipynb").read_text())["cells"][0]
    found = re.match(r"# (.+)", "".join(first["source"]))
    assert found, f"{slug}: a chapter begins with its title"
    return found[1]


def needs(slug: str) -> list[str]:
    """What a chapter needs itself, without what these need."""
    return CHAPTERS[slug].needs.split()


def way(slug: str) -> list[str]:
    """All that a chapter needs, with what these need and so on, and the chapter, in order."""
    found = {slug: None}
    for other in needs(slug):
        found |= dict.fromkeys(way(other))
    return [other for other in CHAPTERS if other in found]


# ------------------------------------------------------------------------------- drawing

WIDTH, BOX, LINE, LETTERS = 680.0, 116.0, 14.0, 16  # of a map, a box, a line; letters of a line
GAP, DOWN, MOST = 10.0, 34.0, 5  # between boxes, between rows; boxes of a row
BEND, POINT = 4.0, 4.0  # the room of an arrow that passes a row; the length of its head
ROUNDS = 20  # of moving boxes: after nine the drawings stand still

Item = str | tuple[str, int]  # a chapter, or a row that the arrows from a chapter pass


class Colours(NamedTuple):
    """Of the page, the boxes, their letters, and the arrows and outlines."""

    page: str
    box: str
    text: str
    arrow: str


LIGHT = Colours("#ffffff", "#d5e4f2", "#1b2733", "#5f6b76")
DARK = Colours("#121212", "#233b52", "#e9f0f7", "#a3adb7")


def style(colours: Colours, where: str) -> str:
    """The colours as a style sheet.  A guest has the colour of the page."""
    rules = {
        "rect": f"fill:{colours.box};stroke:{colours.arrow}",
        "rect.guest": "fill:none;stroke-dasharray:4 3",
        "text": f"fill:{colours.text};font:12px sans-serif;text-anchor:middle",
        "path": f"fill:none;stroke:{colours.arrow};stroke-width:1.5",
        "marker path": f"fill:{colours.arrow};stroke:none",
        "a:hover rect": f"stroke:{colours.text};stroke-width:2.5",
        "a:focus-visible rect": f"stroke:{colours.text};stroke-width:2.5",
    }
    return "".join(f"{where}.chapter-map {part}{{{rule}}}" for part, rule in rules.items())


def rows(chapters: list[str]) -> dict[str, int]:
    """The row of each chapter: the first below all that it needs in which there is room.

    What a chapter needs of another part is a guest, and stands in the top row.
    """
    found = {x: 0 for slug in chapters for x in needs(slug) if x not in chapters}
    for slug in chapters:
        row = 1 + max((found[other] for other in needs(slug)), default=-1)
        while list(found.values()).count(row) >= MOST:
            row += 1
        found[slug] = row
    return found


def chains(row: dict[str, int]) -> list[list[Item]]:
    """Each arrow: where it begins, the rows that it passes, and where it ends."""
    return [
        [start, *((start, k) for k in range(row[start] + 1, row[end])), end]
        for end in row
        if row[end]  # guests need nothing here
        for start in needs(end)
    ]


def placed(line: list[Item], wanted: dict[Item, float]) -> dict[Item, float]:
    """The middles of the items of a row, in this order, as near as can be to what they want.

    Take from each middle the room of the items before it: what is left must not decrease.  Least
    squares under this condition is isotonic regression, in which neighbours that would have to
    change places share their mean.
    """
    room = [BOX if isinstance(item, str) else BEND for item in line]
    before = [0.0, *accumulate((a + b) / 2 + GAP for a, b in pairwise(room))]
    shared: list[tuple[float, int]] = []  # a mean, and how many share it
    for item, taken in zip(line, before, strict=True):
        mean, count = wanted[item] - taken, 1
        while shared and shared[-1][0] >= mean:
            other, more = shared.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        shared.append((mean, count))
    first, last = room[0] / 2, WIDTH - room[-1] / 2 - before[-1]
    if last < first:
        raise ValueError(f"the row of {line} is wider than the map, {WIDTH:g}: lower MOST")
    middles = [min(max(mean, first), last) for mean, count in shared for _ in range(count)]
    return {item: x + taken for item, x, taken in zip(line, middles, before, strict=True)}


class Map:
    """A part of the book in rows, with the middle of every item."""

    def __init__(self, chapters: list[str]) -> None:
        """Put the chapters in their places."""
        self.row = rows(chapters)
        self.arrows = chains(self.row)
        self.steps = list(dict.fromkeys(step for way in self.arrows for step in pairwise(way)))
        self.x = self._arranged()

    def depth(self, item: Item) -> int:
        """The row of a chapter, or the row that arrows pass."""
        return self.row[item] if isinstance(item, str) else item[1]

    def _arranged(self) -> dict[Item, float]:
        """Each item wants to stand at the mean of those that it is joined to on one side.

        Downwards and upwards in turn, every row is sorted and placed by these wishes.  The best
        round counts: the fewest lines that cross, and then the least way aside.
        """
        lines: list[list[Item]] = [[] for _ in range(1 + max(self.row.values()))]
        for item in dict.fromkeys([*self.row, *chain.from_iterable(self.arrows)]):
            lines[self.depth(item)].append(item)
        x: dict[Item, float] = {}
        for line in lines:
            x |= placed(line, dict.fromkeys(line, WIDTH / 2))
        rounds = []
        for turn in range(ROUNDS):
            down = turn % 2 == 0
            steps = self.steps if down else [step[::-1] for step in self.steps]
            for line in lines if down else lines[::-1]:
                near = {item: [x[a] for a, b in steps if b == item] or [x[item]] for item in line}
                wanted = {item: sum(xs) / len(xs) for item, xs in near.items()}
                line.sort(key=wanted.__getitem__)
                x |= placed(line, wanted)
            aside = sum((x[a] - x[b]) ** 2 for a, b in self.steps)
            rounds.append((self.crossings(x), round(aside), turn, dict(x)))
        return min(rounds)[-1]

    def crossings(self, x: dict[Item, float]) -> int:
        """How many pairs of lines between the same two rows cross."""
        return sum(
            (x[a] - x[c]) * (x[b] - x[d]) < 0
            for (a, b), (c, d) in combinations(self.steps, 2)
            if self.depth(a) == self.depth(c)
        )


def wrapped(text: str) -> list[str]:
    """A title on the lines of a box."""
    return textwrap.wrap(text, LETTERS, break_long_words=False)


def box(slug: str, x: float, y: float, height: float, guest: bool) -> str:
    """A chapter as a link to its page; what it needs is told where the pointer rests."""
    lines = wrapped(title(slug))
    first = y + height / 2 - LINE * (len(lines) - 1) / 2 + 4
    text = "".join(
        f'<tspan x="{x:.1f}" y="{first + k * LINE:.1f}">{escape(line)} </tspan>'
        for k, line in enumerate(lines)
    )
    told = "; ".join(map(title, needs(slug))) or "no other chapter"
    kind = ' class="guest"' if guest else ""
    return (
        f'<a href="{slug}.html"><title>Needs: {escape(told)}</title>'
        f'<rect x="{x - BOX / 2:.1f}" y="{y:g}" width="{BOX:g}" height="{height:g}" rx="5"{kind}/>'
        f"<text>{text}</text></a>"
    )


def arrow(way: list[Item], x: dict[Item, float], top: dict[Item, float], height: float) -> str:
    """From the foot of a box, upright past the rows between, to the next box."""
    path = f"M{x[way[0]]:.1f} {top[way[0]] + height:g}"
    for before, item in pairwise(way):
        last = item == way[-1]
        middle = (top[before] + height + top[item]) / 2
        path += f"C{x[before]:.1f} {middle:g} {x[item]:.1f} {middle:g} {x[item]:.1f} "
        path += f"{top[item] - POINT:g}" if last else f"{top[item]:g}v{height:g}"
    return f'<path d="{path}"/>'


def drawing(part: Part, name: str) -> str:
    """The SVG of a part, with links to its chapters."""
    drawn = Map(part.chapters)
    height = LINE * max(len(wrapped(title(slug))) for slug in drawn.row) + 10
    top = {item: 2 + drawn.depth(item) * (height + DOWN) for item in drawn.x}
    high = max(top.values()) + height + 2
    guests = drawn.row.keys() - set(part.chapters)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 0 {WIDTH + 4:g} {high:g}"'
            f' class="chapter-map" role="group" aria-labelledby="{name}-title {name}-desc">',
            f'<title id="{name}-title">{escape(part.name)}</title>',
            f'<desc id="{name}-desc">The chapters in rows, with arrows from each chapter to those'
            " that need it. The page says the same in words, under the maps.</desc>",
            f"<style>{style(LIGHT, '')}{style(DARK, 'html[data-theme=dark] ')}</style>",
            f'<marker id="{name}-head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6"'
            ' markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>',
            f'<g marker-end="url(#{name}-head)">',
            *(arrow(way, drawn.x, top, height) for way in drawn.arrows),
            "</g>",
            *(box(x, drawn.x[x], top[x], height, x in guests) for x in drawn.row),
            "</svg>\n",
        ]
    )


def image(svg: str) -> str:
    """The same without links, which lead nowhere on paper and in a reader."""
    return re.sub(r"</?a\b[^>]*>", "", svg)


# ---------------------------------------------------------------------------------- page

HEAD = """\
<!-- Written by book/chapter_map.py: change its table, or the title of a chapter, instead. -->

# A map of the chapters

You need not read this book from the first page to the last. An arrow leads from a chapter to each
chapter that builds on it, so everything that you need for a chapter stands above it. What stands in
the top row needs no other chapter. On the screen each box is a link, and on a telephone the maps
scroll sideways. The last section says the same in words.
"""

PICTURE = """\
## {name}

`````{{only}} builder_html
````{{raw}} html
<div class="chapter-map-frame">
{svg}</div>
````
`````

````{{only}} latex or epub
```{{image}} _static/{file}
:alt: {name}. Arrows lead from each chapter to those that need it; the lists below say the same.
:width: 100%
```
````
"""

GUEST = "A dashed box is a chapter of another part.\n"

WAYS = """\
## The shortest way to what you want

Each way names all the chapters that its goal needs, in the order of the book.
"""

WORDS = """\
## The maps in words

For every chapter this list names the chapters that it needs, and those that help without being
necessary. What these need in turn is not repeated.
"""


def links(slugs: Iterable[str], between: str) -> str:
    """The titles, as links."""
    return between.join(f"[]({slug}.ipynb)" for slug in slugs)


def entry(slug: str) -> str:
    """A chapter, and under it what to read before."""
    lines = [
        f"- []({slug}.ipynb)",
        f"  - needs {links(needs(slug), ' · ') or 'no other chapter'}",
    ]
    if helps := CHAPTERS[slug].helps.split():
        lines.append(f"  - easier after {links(helps, ' · ')}")
    return "\n".join(lines)


def main() -> None:
    """Write the page, and the maps as images."""
    for path, text in written().items():
        path.write_text(text)


def written() -> dict[Path, str]:
    """Every file and what is in it."""
    files: dict[Path, str] = {}
    page = [HEAD]
    for number, part in enumerate((part for part in parts() if part.numbered), start=1):
        name = f"chapter_map_{number}"
        svg = drawing(part, name)
        files[IMAGES / f"{name}.svg"] = image(svg)
        page.append(PICTURE.format(name=part.name, svg=svg, file=f"{name}.svg"))
        if "guest" in svg.rpartition("</style>")[2]:
            page.append(GUEST)
    page.append(WAYS)
    page += [f"- **{goal}**: {links(way(slug), ' → ')}" for goal, slug in GOALS.items()]
    page += ["", WORDS]
    for part in parts():
        page += [f"### {part.name}\n", *map(entry, part.chapters), ""]
    return {PAGE: "\n".join(page), **files}


if __name__ == "__main__":
    main()
