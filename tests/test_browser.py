"""Every page of the book in a browser: on a phone, in the dark, by keyboard, without a network.

Each page is opened once, wide and light, then narrow and dark, and asked what it shows (`page.js`).
Then each test judges one thing on all pages.  `make test-browser` builds the book and prints a
table of what was looked at; `-k budget` opens that page alone.  Where there is no Chromium, or no
built book, the tests are skipped.
"""

import asyncio
import functools
import http.server
import re
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from browser import BROWSER, browser

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
MOST_BYTES = 1_500_000  # of a chapter, besides MathJax, which all pages share
DARK = 0.05  # luminance: a figure on more than this shines on a page at night

toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [
    Path(name).name
    for name in (
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    )
]
REFERENCE = {"api"}  # long lists, read by search: not a chapter

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
    """A page, typeset and with its folds open."""
    await tab.ask("Page.navigate", url="about:blank")
    await until(tab, "location.href === 'about:blank'")
    await tab.ask("Page.navigate", url=url)
    await until(tab, f"document.readyState === 'complete' && location.href === '{url}'")
    await tab.value(PAGE.read_text())
    await tab.value("page.ready()")


async def drag_everything(tab):
    """How many sentences and drawings each slider shows from end to end, and each handle."""
    found = []
    for k, picture in enumerate(await tab.value("page.drags()")):

        def note(what, shown, k=k):
            sentences, drawings = (len(set(column)) for column in zip(*shown, strict=True))
            found.append({"picture": k, "what": what, "sentences": sentences, "drawings": drawings})

        for j, stops in enumerate(picture["sliders"]):
            await tab.value(f"page.focusSlider({k}, {j})")
            await tab.press("Home")
            shown = [await tab.value(f"page.says({k})")]
            for _ in range(stops):
                await tab.press("ArrowRight")
                shown.append(await tab.value(f"page.says({k})"))
            note(f"slider {j}", shown)
        for j in range(picture["handles"]):
            (x, y), *ends = await tab.value(f"page.handlePlaces({k}, {j})")
            shown = [await tab.value(f"page.says({k})")]
            await tab.mouse("mousePressed", x, y)
            for x, y in ends:
                await tab.mouse("mouseMoved", x, y)
                shown.append(await tab.value(f"page.says({k})"))
            await tab.mouse("mouseReleased", x, y)
            note(f"handle {j}", shown)
    return found


async def look_at(tab, home, name, axe):
    """All that the tests below want to know of a page."""
    tab.events.clear()
    await turn(tab, *STATES[0])
    await load(tab, f"{home}/book/{name}.html")
    seen = {"width": {}, "faint": {}, "axe": {}, "figures": {}}
    for question in ("mathematics", "images", "links"):
        seen[question] = await tab.value(f"page.{question}()")
    seen["drags"] = await drag_everything(tab)
    for theme, width in STATES:
        await show(tab, theme, width)
        seen["width"][width] = await tab.value("page.width()")
        seen["faint"][theme] = await tab.value("page.faintWords()")
        seen["figures"][theme] = await tab.value("page.figures()")
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
    print_table({name: shown for name, shown in found.items() if isinstance(shown, dict)})
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
    return (SITE / "book" / f"{name}.html").read_text()


def weight(shown):
    """Bytes of the files that a page asked for, besides MathJax."""
    files = {file_of(url) for url in filter(is_here, shown["requests"])}
    return sum(path.stat().st_size for path in files if "mathjax" not in path.parts)


def print_table(seen):
    """What was looked at, for `make test-browser`."""
    head = ("page", "kB", "formulas", "images", "links", "dragged", "scroll at 390")
    print("\n" + "{:24}{:>7}{:>10}{:>8}{:>7}{:>9}{:>15}".format(*head))
    total = Counter()
    for name, shown in seen.items():
        row = {
            "kB": round(weight(shown) / 1000),
            "formulas": shown["mathematics"]["count"],
            "images": len(shown["images"]),
            "links": len(shown["links"]),
            "dragged": len(shown["drags"]),
            "scroll": len(shown["width"][PHONE]["scrollers"]),
        }
        total.update(row)
        print(
            "{:24}{kB:7}{formulas:10}{images:8}{links:7}{dragged:9}{scroll:15}".format(name, **row)
        )
    total["kB"] = 0
    print(
        "{:24}{:7}{formulas:10}{images:8}{links:7}{dragged:9}{scroll:15}".format(
            f"{len(seen)} pages", "", **total
        )
    )


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
def test_a_chapter_is_light(name, shown):
    if name not in REFERENCE:
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
def test_what_scrolls_shows_that_it_does(shown):
    for found in shown["width"].values():
        assert not [one["what"] for one in found["scrollers"] if not one["cue"]]


@each_page
def test_pictures_are_dragged_by_keyboard_and_mouse(name, shown):
    """Each slider by its keys, each handle by the mouse: the drawing follows, and so do sentences.

    A slider may leave the sentences as they are where the others stand.
    """
    pictures = {found["picture"] for found in shown["drags"]}
    assert len(pictures) == source(name).count('<figure class="drag">')
    assert not [found for found in shown["drags"] if found["drawings"] < 2]
    assert pictures == {f["picture"] for f in shown["drags"] if f["sentences"] > 1}


@each_page
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_can_be_read(shown, theme):
    """The words in what is dragged, which axe does not see, and the ink of figures."""
    assert not shown["faint"][theme]
    for figure in shown["figures"][theme]:
        assert figure["ink"] >= LEAST_CONTRAST, figure
        assert theme == "light" or figure["paper"] or figure["ground"] < DARK, figure


@each_page
def test_axe_finds_nothing_serious(shown):
    for (theme, width), findings in shown["axe"].items():
        told = [f"{f['rule']} × {f['count']}: {f['where']}" for f in findings]
        assert not told, f"{theme}, {width} px"
