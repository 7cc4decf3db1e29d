"""Every page of the book in a browser: on a phone, in the dark, by keyboard, without a network.

Each page is opened once, wide and light, then narrow and dark, and asked what it shows (`page.js`).
Then each test judges one thing on all pages, and a table at the end tells how much was looked at.
`make test-browser` builds the book first; `-k budget` opens that page alone.  Where there is no
Chromium, or no built book, the tests are skipped.
"""

import asyncio
import contextlib
import functools
import http.server
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from browser import BROWSER, browser
from pictures import PICTURES, pictures_in, said_by_package

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
PAGE = Path(__file__).with_name("page.js")
TABS = 2  # pages that are open at a time
WIDE, PHONE = 1280, 390
# Places do not depend on the theme, nor colours on the width: two states show both of each.
STATES = (("light", WIDE), ("dark", PHONE))
PATIENCE = 60  # seconds for a page to load: it takes one or two
LONGEST = 300  # seconds for all that is looked at on a page: it takes about ten
LEAST_CONTRAST = 4.5  # WCAG 2, level AA, for text of the usual size
MOST_BYTES = 1_500_000  # of a page, besides MathJax, which all pages share
NOTEBOOK = {"book/intro": "front"}  # of a page, where its picture has another name
LETTER = 11 / 72 * 120  # pixels of a letter in a figure as it is drawn: book.mplstyle
LEAST_LETTER = 8.5  # pixels of the same as it is shown
DARK = 0.05  # luminance: a figure on more than this shines on a page at night


def pages(chapters):
    """Those of a table of contents, in its order."""
    for chapter in chapters:
        yield chapter["file"]
        yield from pages(chapter.get("sections", ()))


TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
# Of the listings of source, which are all made from one template, a long one.
UNLISTED = ["search", "genindex", "_modules/index", "_modules/alphafair/certificate"]
PAGES = [
    TOC["root"],
    *(name for part in TOC["parts"] for name in pages(part["chapters"])),
    *UNLISTED,
]

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(not (SITE / "book").exists(), reason="the book is not built: `make book`"),
]


# ----------------------------------------------------------------------------------- looking


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the book and keeps no log."""

    def log_message(self, *_):
        pass


async def until(tab, condition):
    for _ in range(int(PATIENCE / 0.05)):
        if await tab.value(condition):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(condition)


async def turn(tab, theme, width):
    """To a theme and a width, as a reader's system would ask for them."""
    await tab.ask(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
    )
    await tab.ask(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=1000,
        deviceScaleFactor=1,
        mobile=width == PHONE,
    )


async def show(tab, theme, width):
    """Turn a page that is there, and wait until it has followed."""
    await turn(tab, theme, width)
    await until(tab, f"document.documentElement.dataset.theme === '{theme}'")
    await tab.value("page.settle()")


async def load(tab, url):
    """A page, typeset and with its folds open, in the first state."""
    await tab.ask("Page.navigate", url="about:blank")  # nothing is there that would be turned, too
    await until(tab, "location.href === 'about:blank'")
    tab.events.clear()
    await turn(tab, *STATES[0])
    await tab.ask("Page.navigate", url=url)
    await until(tab, f"document.readyState === 'complete' && location.href === '{url}'")
    await tab.value(PAGE.read_text())
    await tab.value("page.ready()")
    await until(tab, "page.firstPaint()")


async def drag_everything(tab):
    """What each slider shows from end to end by its keys, and each handle by the mouse."""
    found = []
    for k, picture in enumerate(await tab.value("page.drags()")):
        for j, last in enumerate(picture["sliders"]):
            await tab.value(f"page.focusSlider({k}, {j})")
            await tab.press("Home")
            shown = [await tab.value(f"page.says({k})")]
            for _ in range(last):
                await tab.press("ArrowRight")
                shown.append(await tab.value(f"page.says({k})"))
            found.append(Dragged(k, f"slider {j}", last + 1, shown))
        for j in range(picture["handles"]):
            (x, y), *ends = await tab.value(f"page.handlePlaces({k}, {j})")
            shown = [await tab.value(f"page.says({k})")]
            await tab.mouse("mousePressed", x, y)
            for x, y in ends:
                await tab.mouse("mouseMoved", x, y)
                shown.append(await tab.value(f"page.says({k})"))
            await tab.mouse("mouseReleased", x, y)
            found.append(Dragged(k, f"handle {j}", 2, shown))
    return found


class Dragged(NamedTuple):
    """One thing that was dragged: at least so many stops differ; what the picture then said."""

    picture: int
    what: str
    stops: int
    shown: list[dict]

    def different(self, key):
        return len({str(shown[key]) for shown in self.shown})


async def look_at(tab, home, name, axe):
    """All that the tests below want to know of a page."""
    seen = {"width": {}, "words": {}, "axe": {}, "figures": {}, "seconds": {}}

    @contextlib.contextmanager
    def timed(what):
        start = time.perf_counter()
        yield
        seen["seconds"][what] = time.perf_counter() - start

    with timed("loading"):
        await load(tab, f"{home}/{name}.html")
    for question in ("firstPaint", "mathematics", "images", "links"):
        seen[question] = await tab.value(f"page.{question}()")
    with timed("dragging"):
        seen["drags"] = await drag_everything(tab)
    with timed("looking"):
        for theme, width in STATES:
            await show(tab, theme, width)
            seen["width"][width] = await tab.value("page.width()")
            seen["words"][theme] = await tab.value("page.words()")
            seen["figures"][theme] = await tab.value("page.figures()")
    with timed("axe"):
        await tab.value(axe)
        await tab.value("page.thinOut()")
        for theme, width in reversed(STATES):
            await show(tab, theme, width)
            seen["axe"][theme, width] = await tab.value("page.axeFindings()")
    seen["requests"] = {
        event["params"]["request"]["url"]
        for event in tab.events
        if event["method"] == "Network.requestWillBeSent"
    }
    seen["errors"] = [error for event in tab.events if (error := error_in(event))]
    return seen


def error_in(event):
    """The words of an error that the browser tells, or None."""
    params = event.get("params", {})
    match event["method"]:
        case "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            return details.get("exception", {}).get("description", details["text"])
        case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
            return " ".join(str(argument.get("value")) for argument in params["args"])
        case "Log.entryAdded" if params["entry"]["level"] == "error":
            return f"{params['entry']['text']} {params['entry'].get('url', '')}"
    return None


async def look(names, home):
    """Several pages at a time, each in a window of its own."""
    import axe_core_python

    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text() + "; 0"
    waiting, seen = list(reversed(names)), {}

    async def one_by_one(tab):
        for domain in ("Page", "Network", "Runtime", "Log"):
            await tab.ask(f"{domain}.enable")
        await tab.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        while waiting:
            name = waiting.pop()
            try:
                seen[name] = await asyncio.wait_for(look_at(tab, home, name, axe), LONGEST)
            except Exception as failed:
                seen[name] = failed

    async with browser() as tabs:
        await asyncio.gather(*[one_by_one(await tabs.new()) for _ in range(TABS)])
    return seen


@pytest.fixture(scope="module")
def seen(request):
    """What each page that is asked for shows."""
    tests = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params["name"] for item in tests if hasattr(item, "callspec")}
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}"
        found = asyncio.run(look([name for name in PAGES if name in names], home))
        server.shutdown()
    request.config.pluginmanager.register(Summary(found))
    return found


@pytest.fixture
def shown(seen, name):
    if isinstance(seen[name], Exception):
        raise seen[name]
    return seen[name]


each_page = pytest.mark.parametrize("name", PAGES)


def is_here(url):
    return urlsplit(url).hostname == "127.0.0.1"


def file_of(url):
    return SITE / unquote(urlsplit(url).path).lstrip("/")


def source(name):
    """The page as it was built."""
    return (SITE / f"{name}.html").read_text()


def weight(shown):
    """Bytes of the files that a page asked for, besides MathJax."""
    files = {file_of(url) for url in filter(is_here, shown["requests"])}
    weighed = (path for path in files if path.is_file() and "mathjax" not in path.parts)
    return sum(path.stat().st_size for path in weighed)


class Summary:
    """A table of what was looked at, for the end of pytest's report."""

    COLUMNS = "     kB  paint  formulas  images  links  stops  words  scroll  rules  seconds"
    LEGEND = (
        "kB: besides MathJax; paint: milliseconds until the first, from this machine;\n"
        "stops: of sliders and handles; words: in pictures to drag; scroll: what is wider than a "
        "phone; rules: of axe"
    )

    def __init__(self, seen):
        self.seen = {name: shown for name, shown in seen.items() if isinstance(shown, dict)}

    def row(self, shown):
        return (
            round(weight(shown) / 1000),
            round(shown["firstPaint"]),
            shown["mathematics"]["count"],
            len(shown["images"]),
            len(shown["links"]),
            sum(len(dragged.shown) for dragged in shown["drags"]),
            len(shown["words"]["dark"]),
            len(shown["width"][PHONE]["scrollers"]),
            sum(found["rules"] for found in shown["axe"].values()),
            round(sum(shown["seconds"].values())),
        )

    def pytest_terminal_summary(self, terminalreporter):
        if not self.seen:
            return
        widths = [len(head) for head in re.findall(" +[^ ]+", self.COLUMNS)]
        rows = {name: self.row(shown) for name, shown in self.seen.items()}
        columns = list(zip(*rows.values(), strict=True))
        rows["most"] = map(max, columns)
        rows[f"all {len(self.seen)} pages"] = ("", "", *map(sum, columns[2:]))
        seconds = Counter()
        for shown in self.seen.values():
            seconds.update(shown["seconds"])
        terminalreporter.section("what was looked at")
        terminalreporter.write_line(f"{'':30}{self.COLUMNS}")
        for name, row in rows.items():
            cells = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            terminalreporter.write_line(f"{name:30}{''.join(cells)}")
        terminalreporter.write_line(self.LEGEND)
        spent = ", ".join(f"{spent:.0f} {what}" for what, spent in seconds.items())
        terminalreporter.write_line(f"seconds, with {TABS} pages at a time: {spent}")


# ----------------------------------------------------------------------------------- judging


@each_page
def test_nothing_is_asked_of_another_machine(shown):
    """No fonts, no scripts, no counters from elsewhere: the book works on a plane."""
    assert shown["requests"]
    away = [
        url
        for url in shown["requests"]
        if urlsplit(url).hostname != "127.0.0.1"
        and not url.startswith(("data:", "blob:", "about:"))
    ]
    assert not away


@each_page
def test_no_error_in_the_console(shown):
    assert not shown["errors"]


@each_page
def test_a_page_is_light(shown):
    assert weight(shown) < MOST_BYTES


@each_page
def test_mathematics_is_typeset(name, shown):
    found = shown["mathematics"]
    assert found["count"] == len(re.findall(r'class="math ', source(name)))
    assert not found["plain"], "formulas that MathJax has not seen"
    assert not found["wrong"], "formulas with an error"
    assert not found["raw"], "TeX in the text"


@each_page
def test_links_lead_somewhere(name, shown):
    broken = []
    for link in shown["links"]:
        path, place = file_of(link), unquote(urlsplit(link).fragment)
        if is_here(link) and not (path.is_file() and (not place or place in anchors(path))):
            broken.append(link)
    assert not broken


@functools.cache
def anchors(path):
    """Where a link into a page can lead."""
    return set(re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text()))


@each_page
def test_images_say_what_they_show(name, shown):
    """In words, for those who do not see them: not by the name of a file, and not by a hash."""
    assert len(shown["images"]) == source(name).count("<img ")
    for image in shown["images"]:
        assert image["there"], image["source"]
        alt = image["alt"] or ""
        assert len(alt.split()) >= 5, f"{image['source']} has the text {alt!r}"
        assert not re.search(r"[0-9a-f]{16}|\.(png|svg|jpe?g)\b|/", alt), alt


@each_page
def test_no_page_scrolls_sideways(shown):
    """What is too wide for a phone scrolls by itself."""
    for found in shown["width"].values():
        assert found["sideways"] <= 0
        assert not found["out"], "cut off at the right"


@each_page
def test_no_line_begins_with_a_comma(shown):
    """It stays with the formula before it, and a number with its sign."""
    for found in shown["width"].values():
        assert not found["torn"]


@each_page
def test_what_scrolls_shows_that_it_does(shown):
    for found in shown["width"].values():
        assert not [one["what"] for one in found["scrollers"] if not one["cue"]]


@each_page
def test_pictures_are_dragged_by_keyboard_and_mouse(name, shown):
    """Each slider by its keys, each handle by the mouse: the drawing follows, and so do sentences.

    A slider may leave the sentences as they are where the others stand.
    """
    pictures = {dragged.picture for dragged in shown["drags"]}
    assert len(pictures) == source(name).count('<figure class="drag">')
    for dragged in shown["drags"]:
        assert dragged.different("stops") >= dragged.stops, dragged.what
        assert dragged.different("drawing") > 1, dragged.what
    assert pictures == {d.picture for d in shown["drags"] if d.different("words") > 1}


@each_page
def test_pictures_say_what_the_package_says(name, shown):
    """Wherever they were dragged; `test_drag.py` looks at the other stops, in the notebooks."""
    notebook = NOTEBOOK.get(name, name.removeprefix("book/"))
    pictures = [picture for (whose, _), picture in PICTURES.items() if whose == notebook]
    assert pictures_in(source(name)) == pictures, "built from another notebook: `make book`"
    for dragged in shown["drags"]:
        said = said_by_package(notebook, dragged.picture + 1)
        for now in dragged.shown:
            assert now["words"] == list(said(*now["stops"])), (dragged.what, now["stops"])


@each_page
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_can_be_read(shown, theme):
    """The words in what is dragged, which axe does not see, and the ink of figures."""
    assert not [word for word in shown["words"][theme] if word["contrast"] < LEAST_CONTRAST]
    for figure in shown["figures"][theme]:
        assert figure["ink"] >= LEAST_CONTRAST, figure
        assert theme == "light" or figure["paper"] or figure["ground"] < DARK, figure


@each_page
def test_letters_of_figures_can_be_read_on_a_phone(shown):
    """Those of a wide one, too, which scrolls."""
    for figure in shown["figures"]["dark"]:  # the theme that is seen on a phone
        assert not figure["scale"] or LETTER * figure["scale"] >= LEAST_LETTER, figure


@each_page
def test_axe_finds_nothing_serious(shown):
    for (theme, width), found in shown["axe"].items():
        assert found["rules"], "axe applied no rule"
        told = [f"{f['rule']} × {f['count']}: {f['where']}" for f in found["serious"]]
        assert not told, f"{theme}, {width} px"
