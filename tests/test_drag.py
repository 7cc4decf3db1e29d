"""Pictures that a reader can drag say what the package says, in a browser, and by its keys.

`tests/drag/<notebook>.py` computes with the package, from numbers typed there, what the sentences
of a picture must say at given stops: `said(*stops)`, and `said_2` for the second picture of a page.
Where no Chromium is found, the tables of the notebook are compared instead.
"""

import asyncio
import itertools
import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, browser, needs_browser
from pictures import PICTURES, said_by_package

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
MOST = 1000  # settings of a picture that are all looked at ...
SOME = 20  # ... and how many of them if there are more


@pytest.fixture
def drag(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import drag

    return drag


each_picture = pytest.mark.parametrize(
    ("name", "number"), PICTURES, ids=[f"{name}-{number}" for name, number in PICTURES]
)


def settings_of(page):
    """All stops of the sliders; of very many some, the ends among them."""
    counts = [len(text) for text in spec_of(page)["text"]]
    if math.prod(counts) <= MOST:
        return [list(stops) for stops in itertools.product(*map(range, counts))]
    some = np.random.default_rng(0).integers(0, counts, size=(SOME - 2, len(counts))).tolist()
    return [[0] * len(counts), [n - 1 for n in counts], *some]


def spec_of(page):
    packed = re.search(r'<script type="application/json">(.*)</script>', page, flags=re.DOTALL)
    return json.loads(packed[1].replace("<\\/", "</"))


def said_in_tables(page, stops):
    """The words of the sentences at these stops, by the tables alone."""
    spec, words = spec_of(page), []
    sentences = page[page.index('<div aria-live="polite">') :]
    for moves, start in re.findall(r'<b(?: data-m="([\d ]+)")?>(.*?)</b>', sentences):
        word = start
        for table in map(int, moves.split()):
            _, shape, values = spec["moves"][table]
            at = 0
            for n, stop in zip(shape, stops, strict=True):
                at = at * n + (stop if n > 1 else 0)
            word = values[at]
        words.append(word)
    return words


@each_picture
def test_says_what_the_package_says(name, number):
    page, said = PICTURES[name, number], said_by_package(name, number)
    settings = settings_of(page)
    wanted = [list(said(*stops)) for stops in settings]
    assert all(wanted), "a picture says something"
    if BROWSER is None:
        if "function" not in spec_of(page):
            assert [said_in_tables(page, stops) for stops in settings] == wanted
        return
    assert in_browser(page, lambda tab: sentences_at(tab, settings)) == wanted


def test_the_picture_of_the_front_page_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import cover

    assert cover.front()._repr_html_() == PICTURES["front", 1], "run python book/cover.py"


@each_picture
def test_stays_small(name, number):
    """A page with a picture must open on a slow phone."""
    assert len(PICTURES[name, number].encode()) < 400_000


# ---------------------------------------------------------------------------------- the browser


SENTENCES = "[...document.querySelectorAll('.drag-say b')].map(b => b.textContent)"


async def sentences(tab):
    return await tab.value(SENTENCES)


async def sentences_at(tab, settings):
    return await tab.value(
        f"{json.dumps(settings)}.map(stops => {{"
        "document.querySelectorAll('input').forEach((input, j) => {"
        "input.value = stops[j]; input.dispatchEvent(new Event('input'))});"
        f"return {SENTENCES}}})"
    )


def in_browser(page, visit, wide=1280):
    """Open a page with the script of the book and do something with it."""
    script = (BOOK / "_static" / "drag.js").read_text()
    style = (BOOK / "_static" / "custom.css").read_text()
    document = (
        "<!doctype html><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<style>{style}</style><body>{page}<script>{script}</script>"
    )

    async def run():
        async with browser(wide) as tabs:
            tab = await tabs.new()
            frame = (await tab.ask("Page.getFrameTree"))["frameTree"]["frame"]["id"]
            await tab.ask("Page.setDocumentContent", frameId=frame, html=document)
            while not await tab.value(
                "[...document.querySelectorAll('.drag-sliders')].every(d => !d.hidden)"
            ):
                await asyncio.sleep(0.05)
            return await visit(tab)

    return asyncio.run(run())


def two_sliders(drag):
    """A point in the plane of two sliders, and a bar that only the first one moves."""
    x = drag.Slider("x", [0, 1, 2, 3], start=1)
    y = drag.Slider("y", [0, 10], start=-1)
    picture = drag.Picture("A point.", x, y)
    plane = picture.panel(x=("x", 0, 3), y=("y", 0, 10))
    plane.handle(np.array([x.values]).T, np.array([y.values]))
    picture.panel(x=("x", 0, 3)).bars(["bar"], np.reshape(x.values, (4, 1, 1)))
    words = [[f"{a} and {b}" for b in y.values] for a in x.values]
    picture.say("The point is at {}; x is {}.", words, [[t] for t in x.text])
    return picture._repr_html_()


@needs_browser
def test_works_from_the_keyboard(drag):
    async def visit(tab):
        found = [await sentences(tab)]
        for key in ("Tab", "ArrowRight", "ArrowRight", "Tab", "Home"):
            await tab.press(key)
            found.append(await sentences(tab))
        return found, await tab.value("document.activeElement.getAttribute('aria-valuetext')")

    found, spoken = in_browser(two_sliders(drag), visit)
    assert [words[0] for words in found] == [
        *("1 and 10", "1 and 10", "2 and 10", "3 and 10", "3 and 10", "3 and 0"),
    ]
    assert found[-1][1] == "3"
    assert spoken == "0"


@needs_browser
@pytest.mark.parametrize("wide", [1280, 390])
def test_a_handle_follows_the_mouse(drag, wide):
    async def visit(tab):
        await tab.value("document.querySelector('.drag-handle').scrollIntoView()")
        at = "(() => {const r = document.querySelector('.drag-handle').getBoundingClientRect();"
        at += "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        x, y = await tab.value(at)
        await tab.mouse("mousePressed", x, y)
        await tab.mouse("mouseMoved", x + 400, y + 500)  # far to the right and down: the last stops
        await tab.mouse("mouseReleased", x + 400, y + 500)
        sideways = await tab.value("document.documentElement.scrollWidth > innerWidth")
        return await sentences(tab), sideways

    said, sideways = in_browser(two_sliders(drag), visit, wide)
    assert said == ["3 and 0", "3"]
    assert not sideways


# ---------------------------------------------------------------------------------- its makings


def test_what_moves_is_listed_and_what_stands_still_is_not(drag):
    page = two_sliders(drag)
    tables = spec_of(page)["moves"]
    assert [(name, shape) for name, shape, _ in tables] == [
        *(("transform", [4, 2]), ("d", [4, 1]), ("text", [4, 2]), ("text", [4, 1])),
    ]
    assert said_in_tables(page, [2, 1]) == ["2 and 10", "2"]


def test_a_place_that_is_nan_is_left_out(drag):
    slider = drag.Slider("x", [0, 1])
    picture = drag.Picture("Gaps.", slider)
    panel = picture.panel(x=("x", 0, 2), y=("y", 0, 1))
    panel.line([0, 1, 2], [0, np.nan, 1])
    panel.dots([0, 1], [[0, 0], [np.nan, 1]])
    page = picture._repr_html_()
    assert "nan" not in page
    assert spec_of(page)["moves"][0][2][1] == drag.OFF


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d.Slider("α", []), "slider 'α' has no stops"),
        (lambda d: d.Slider("α", [1, 2], start=2), "starts at 2 and has 2 stops"),
        (lambda d: d.Slider("α", [1, 2], text=["one"]), "has 2 stops and 1 texts"),
        (lambda d: d.Picture("P"), "must be a sentence"),
        (lambda d: d.Picture("P.").panel(x=("x", 1, 1)), "an axis needs low < high, and 'x'"),
        (lambda d: d.Picture("P.").say("{} {}", "a"), "has the fields"),
        (lambda d: d.Picture("P.").panel(x=("x", 0, 1)).rule(), "exactly one of them"),
        (
            lambda d: d.Picture("P.", d.Slider("α", [1, 2])).say("{}", ["a", "b", "c"]),
            r"text 0 of '{}' has stops \(3,\), and the sliders have \(2,\)",
        ),
    ],
)
def test_refuses_what_it_cannot_draw(drag, make, message):
    with pytest.raises(ValueError, match=message):
        make(drag)


def test_words_are_escaped(drag):
    picture = drag.Picture("a < b & c.", drag.Slider("x", [0, 1], text=["<", "</script>"]))
    picture.say("{}", ["<i>", "</script>"])
    page = picture._repr_html_()
    assert page.count("</script>") == 1
    assert "a &lt; b &amp; c." in page
    assert spec_of(page)["moves"][0][2] == ["<i>", "</script>"]


AXES = re.compile(r'<svg x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"')
POINT = re.compile(r'<(?:g class="drag-handle"|circle)[^>]* data-m="(\d+)"')
PLACE = re.compile(r"translate\((-?[\d.]+) (-?[\d.]+)\)")
HIDDEN = -9999  # where a point is moved that is not there
HALF_A_POINT = 2


@each_picture
def test_points_and_handles_stay_within_their_axes(name, number):
    """Lines are cut off by the axes; a point that leaves them would stand somewhere on the page."""
    page = PICTURES[name, number]
    moves = spec_of(page)["moves"]
    for panel in page.split('<svg viewBox="0 0 360')[1:]:
        axes = AXES.search(panel)
        if axes is None:
            continue
        left, top, width, height = map(float, axes.groups())
        for move in POINT.findall(panel):
            places = PLACE.findall(" ".join(moves[int(move)][2]))
            x, y = np.array(places, dtype=float).T
            there = x != HIDDEN
            assert (np.abs(x - left - width / 2)[there] <= width / 2 + HALF_A_POINT).all()
            assert (np.abs(y - top - height / 2)[there] <= height / 2 + HALF_A_POINT).all()


ARROW = r'd="M([\d.]+) ([\d.]+)v-{}m-3.5 6l3.5 -6 3.5 6"/><text x="([\d.]+)" y="([\d.]+)">([^<]*)<'


def arrows(page, drag):
    """Where arrows begin, and the words beside them with their place."""
    found = re.findall(ARROW.format(drag.ARROW), page)
    return [(*map(float, places), unescape(word)) for *places, word in found]


def test_an_upright_axis_ends_in_an_arrow_beside_its_title(drag):
    """So the title is not taken for a line of the legend, which it stands below."""
    picture = drag.Picture("Axes.", drag.Slider("x", [0, 1]))
    panel = picture.panel(x=("x", 0, 1), y=("hours < 9", 0, 200), title="Hours")
    panel.line([0, 1], [0, 100], label="a legend")
    picture.panel(x=("x", 0, 1), y=("", 0, 1, {0: "low", 1: "high"}))
    page = picture._repr_html_()
    [(left, top, x, y, word)] = arrows(page, drag)
    box = AXES.search(page)
    legend = float(re.search(r'y="([\d.]+)">a legend', page)[1])
    assert (left, top) == (float(box[1]), float(box[2])), "the axis goes on"
    assert word == "hours < 9"
    assert x > left
    assert y < top, "above the plot"
    assert y - legend > drag.ROW, "further from the legend than its rows are from each other"


@each_picture
def test_titles_of_upright_axes_fit_their_panels(name, number, drag):
    page = PICTURES[name, number]
    for _, _, x, _, word in arrows(page, drag):
        assert x + drag.LETTER * len(word) <= drag.WIDTH
