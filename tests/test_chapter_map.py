"""The map of the chapters: its table is complete and true, and the drawings are what it says."""

import re
import xml.etree.ElementTree as ET
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def book(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import chapter_map

    return chapter_map


def contents():
    """The chapters in the order of the book, and those that have a number by part."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    slugs = [[Path(top["file"]).name for top in part["chapters"]] for part in parts]
    chapters = [[s for s in part if (BOOK / f"{s}.ipynb").exists()] for part in slugs]
    numbered = [c for c, part in zip(chapters, parts, strict=True) if part.get("numbered")]
    return [slug for part in chapters for slug in part], numbered


def before(book, slug):
    return book.CHAPTERS[slug].needs.split(), book.CHAPTERS[slug].helps.split()


def closure(book):
    """What each chapter needs, directly or through others, by powers of the matrix of needs."""
    slugs, _ = contents()
    direct = np.array([[s in before(book, t)[0] for s in slugs] for t in slugs], dtype=int)
    reached = np.linalg.matrix_power(direct + np.eye(len(slugs), dtype=int), len(slugs)) > 0
    return {
        t: {s for s, yes in zip(slugs, reached[k], strict=True) if yes and s != t}
        for k, t in enumerate(slugs)
    }


# --------------------------------------------------------------------------------- table


def test_every_chapter_is_in_the_table_in_the_order_of_the_book(book):
    slugs, numbered = contents()
    assert list(book.CHAPTERS) == slugs
    assert [part.chapters for part in book.parts() if part.numbered] == numbered
    assert len(slugs) > 40


def test_what_a_chapter_needs_comes_before_it_and_nothing_is_said_twice(book):
    slugs, _ = contents()
    reached = closure(book)
    for slug in slugs:
        needs, helps = before(book, slug)
        assert all(slugs.index(other) < slugs.index(slug) for other in needs), slug
        through = set().union(*(reached[other] for other in needs))
        assert not set(needs) & through, f"{slug} needs them through another chapter"
        assert not set(helps) & {slug, *reached[slug]}, f"{slug} needs what is said to help"
        assert set(helps) <= set(slugs), slug
        for names in (needs, helps):
            assert names == sorted(set(names), key=slugs.index), slug


def test_nobody_reads_in_a_circle(book):
    graph = {slug: before(book, slug)[0] for slug in book.CHAPTERS}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_the_table_knows_what_the_chapters_say_that_they_need(book):
    """Each link in a sentence "You need ..." is there: as a need, through one, or as a help."""
    reached, found = closure(book), 0
    for slug in book.CHAPTERS:
        cells = nbformat.read(BOOK / f"{slug}.ipynb", as_version=4).cells
        text = " ".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for sentence in re.findall(r"[Yy]ou need.*?\.(?=\s|$)", text, flags=re.DOTALL):
            for other in re.findall(r"\]\((\w+)\.ipynb", sentence):
                assert other in {*reached[slug], *before(book, slug)[1]}, (slug, other)
                found += 1
    assert found > 40


def test_a_way_has_all_that_its_goal_needs_and_nothing_else(book):
    reached = closure(book)
    assert book.way("tables") == ["closed_form", "two_levels", "bounds", "one_offer", "tables"]
    for slug in book.GOALS.values():
        *needed, last = book.way(slug)
        assert last == slug
        assert needed == sorted(reached[slug], key=list(book.CHAPTERS).index)


# ------------------------------------------------------------------------------- drawing


def test_the_page_and_the_maps_are_what_the_table_says(book):
    cure = "run `make architecture` and look at what has changed"
    written = book.written()
    assert len(written) == 3
    for path, text in written.items():
        assert path.read_text() == text, cure


def maps():
    """The drawings of the page."""
    page = (BOOK / "chapter_map.md").read_text()
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def boxes(svg):
    """Left, top, right and foot of each chapter's box."""
    found = {}
    for link in svg.iter(f"{SVG}a"):
        x, y, width, height = (
            float(link.find(f"{SVG}rect").get(key)) for key in ("x", "y", "width", "height")
        )
        found[link.get("href").removesuffix(".html")] = (x, y, x + width, y + height)
    return found


def test_every_box_is_a_link_to_its_chapter_with_its_title(book):
    _, numbered = contents()
    for svg, chapters in zip(maps(), numbered, strict=True):
        links = {a.get("href"): a for a in svg.iter(f"{SVG}a")}
        guests = {x for slug in chapters for x in before(book, slug)[0]} - set(chapters)
        assert set(links) == {f"{slug}.html" for slug in {*chapters, *guests}}
        assert len(links) == len(list(svg.iter(f"{SVG}a")))
        for slug in {*chapters, *guests}:
            heading = nbformat.read(BOOK / f"{slug}.ipynb", as_version=4).cells[0].source
            shown = "".join(links[f"{slug}.html"].find(f"{SVG}text").itertext())
            assert f"# {shown.strip()}" == heading.splitlines()[0]
            dashed = links[f"{slug}.html"].find(f"{SVG}rect").get("class") == "guest"
            assert dashed == (slug in guests)


def test_boxes_are_apart_and_inside_and_hold_their_titles(book):
    for svg in maps():
        left, top, width, height = map(float, svg.get("viewBox").split())
        found = sorted(boxes(svg).values(), key=lambda box: (box[1], box[0]))
        for box in found:
            assert left < box[0] < box[2] < left + width
            assert top < box[1] < box[3] < top + height
        for one, other in pairwise(found):
            assert other[0] > one[2] or other[1] > one[3]
        lines = [line.text.strip() for line in svg.iter(f"{SVG}tspan")]
        assert max(map(len, lines)) <= book.LETTERS


def ends(path):
    """Where an arrow begins and ends."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
    return (*numbers[:2], *numbers[-2:])


def test_each_arrow_leads_from_what_is_needed_down_to_what_needs_it(book):
    _, numbered = contents()
    for svg, chapters in zip(maps(), numbered, strict=True):
        arrows, found = svg.find(f"{SVG}g"), boxes(svg)
        drawn = {ends(path) for path in arrows}
        assert len(drawn) == len(arrows)
        expected = set()
        for slug in chapters:
            for other in before(book, slug)[0]:
                a, b = found[other], found[slug]
                assert a[3] < b[1], "what is needed stands above"
                expected.add(((a[0] + a[2]) / 2, a[3], (b[0] + b[2]) / 2, b[1] - book.POINT))
        assert np.allclose(sorted(drawn), sorted(expected), atol=0.11)  # of rounding


def test_a_row_is_as_near_as_can_be_to_what_it_wants(book):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    line = ["a", ("b", 1), "c", "d"]
    room = [book.BOX, book.BEND, book.BOX, book.BOX]
    apart = [(a + b) / 2 + book.GAP for a, b in pairwise(room)]
    for _ in range(40):
        wanted = rng.uniform(0, book.WIDTH, 4)
        x = cp.Variable(4)
        inside = [x[0] >= room[0] / 2, x[3] <= book.WIDTH - room[3] / 2, cp.diff(x) >= apart]
        cp.Problem(cp.Minimize(cp.sum_squares(x - wanted)), inside).solve(solver="CLARABEL")
        placed = book.placed(line, dict(zip(line, wanted, strict=True)))
        assert np.allclose([placed[item] for item in line], x.value, atol=1e-3)
    with pytest.raises(ValueError, match="is wider than the map, 680: lower MOST"):
        book.placed(list("abcdef"), dict.fromkeys("abcdef", 0.0))


def test_no_two_neighbours_would_cross_fewer_lines_in_each_others_places(book):
    for part in (part for part in book.parts() if part.numbered):
        drawn = book.Map(part.chapters)
        fewest = drawn.crossings(drawn.x)
        for row in range(max(drawn.row.values()) + 1):
            items = sorted((i for i in drawn.x if drawn.depth(i) == row), key=drawn.x.__getitem__)
            for a, b in pairwise(items):
                changed = drawn.x | {a: drawn.x[b], b: drawn.x[a]}
                assert drawn.crossings(changed) >= fewest


def luminance(colour):
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_the_colours_can_be_told_apart_by_day_and_by_night(book):
    """Contrast of 4.5 by WCAG 2: letters on boxes and on the page, arrows and outlines on it."""
    for colours in (book.LIGHT, book.DARK):
        pairs = [(colours.text, colours.box), (colours.text, colours.page)]
        for pair in [*pairs, (colours.arrow, colours.page)]:
            dark, light = sorted(map(luminance, pair))
            assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert np.isclose(luminance("#ffffff"), 1)
