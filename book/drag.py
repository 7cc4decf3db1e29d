"""Pictures that a reader can drag: a static SVG, and tables of what changes at each stop.

A `Picture` has one or two sliders with a few stops each.  Whatever moves is given for every stop,
computed by the package in the cell that makes the picture; the page looks it up and computes
nothing (`_static/drag.js`).  So what a reader sees is what the package says, nbval compares it, and
where scripts are off the picture stands still at its first stop.

    alpha = Slider("α", [0.5, 1, 2], start=1)
    plans = [pair.allocate(a) for a in alpha.values]
    picture = Picture("Who gets how much.", alpha)
    panel = picture.panel(x=("dollars", 0, 180))
    panel.bars(["Ana", "Ben"], [plan.group_budget for plan in plans])
    picture.say("With α = {}, Ana gets {} dollars.", alpha.text, [f"{...:.0f}" for plan in plans])
    picture

An array is fixed, of shape (m,), or moving, of shape (*stops, m): one axis a slider, of length 1
where that slider changes nothing.  Texts have the shape (*stops,).  NaN is left out.

A picture with more settings than can be listed is `computed`: a function of drag.js by that name
gets the values of the sliders and returns what the marks with a `key` show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
WIDTH = 360  # of a panel, in its own units; a letter is 7 wide and 14 high
LETTER, ROW = 7.2, 17
# An upright axis ends in an arrow, so high above the plot, with its title beside the tip.  Without
# the arrow the title looks like a line of the legend; along the axis most titles would be too long.
ARROW = 20
SHADES = 10
OFF = "translate(-9999 0)"  # where a mark without a place goes
Axis = tuple[str, float, float] | tuple[str, float, float, Mapping[float, str]]


@dataclass(frozen=True)
class Slider:
    """A row of stops: a label, the value and the text of each, and where it stands at first."""

    label: str
    values: Sequence[float]
    start: int = 0
    text: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Texts by default; a start that counts from the end."""
        if not len(self.values):
            raise ValueError(f"slider {self.label!r} has no stops: give it at least one value")
        if not -len(self.values) <= self.start < len(self.values):
            raise ValueError(
                f"slider {self.label!r} starts at {self.start} and has {len(self.values)} stops"
            )
        if self.text and len(self.text) != len(self.values):
            raise ValueError(
                f"slider {self.label!r} has {len(self.values)} stops and {len(self.text)} texts"
            )
        object.__setattr__(self, "start", self.start % len(self.values))
        object.__setattr__(self, "text", list(self.text) or [number(v) for v in self.values])


def number(value: float) -> str:
    """As it is said: ∞ for infinity, at most four digits.

    Example:
        >>> number(0.5), number(np.inf), number(1 / 3)
        ('0.5', '∞', '0.3333')
    """
    return "∞" if value == np.inf else f"{value:.4g}".replace("-", "−")


def _place(value: float) -> str:
    """A coordinate, to a tenth."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


@dataclass
class _Element:
    """One piece of SVG or text: its markup with `{}` where moving attributes go, and its tables."""

    markup: str
    moves: list[tuple[str, tuple[int, ...], list[str]]] = field(default_factory=list)
    key: str = ""


class Panel:
    """An SVG of 360 units by `height`, with axes; without `y` its rows are the names of bars."""

    def __init__(self, picture: Picture, x: Axis, y: Axis | None, title: str, height: int):
        self.picture, self.x, self.y, self.title, self.height = picture, x, y, title, height
        self.names: list[str] = []
        self.legend: list[tuple[str, str]] = []
        self._series = 0  # bars beside each other
        self._marks: list[tuple[bool, Callable[[], list[_Element]]]] = []  # (clipped, made later)

    # ------------------------------------------------------------------------------ marks

    def line(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        colour: int = 0,
        label: str = "",
        dash: bool = False,
        wide: float = 2,
    ) -> None:
        """A line through points; gaps where a coordinate is NaN."""
        style = f'fill="none" stroke="{COLOURS[colour]}" stroke-width="{wide}"'
        style += ' stroke-dasharray="5 4"' if dash else ""
        self._note(label, COLOURS[colour])

        def made() -> list[_Element]:
            return [self._moving(f"<path {style} {{}}/>", "d", self._path, x, y)]

        self._marks.append((True, made))

    def area(
        self, x: ArrayLike, low: ArrayLike, high: ArrayLike, *, colour: int = 0, label: str = ""
    ) -> None:
        """What lies between two lines."""
        self._note(label, COLOURS[colour])

        def path(x: Any, low: Any, high: Any) -> str:
            there = np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])
            return self._path(*there) + "z"

        def made() -> list[_Element]:
            style = f'fill="{COLOURS[colour]}" fill-opacity="0.25"'
            return [self._moving(f"<path {style} {{}}/>", "d", path, x, low, high)]

        self._marks.append((True, made))

    def bars(
        self,
        names: Sequence[object],
        values: ArrayLike,
        *,
        label: str = "",
        colour: int | Sequence[int] | None = None,
        text: ArrayLike | None = None,
        key: str = "",
    ) -> None:
        """A horizontal bar for each name, from 0; call it again for a second bar beside each.

        `text`, of shape (*stops, m) or (m,), is written at the end of each bar; `colour` is one for
        all bars, or one for each.
        """
        names = [str(name) for name in names]
        if self.names and names != self.names:
            raise ValueError(f"bars are named {names}, and those before them {self.names}")
        first = not self.names
        self.names = names
        which = self._series
        self._series += 1
        own = which if colour is None else colour
        each = [own] if isinstance(own, int) else list(own)
        shades = [COLOURS[each[k % len(each)]] for k in range(len(names))]
        self._note(label, shades[0])
        if first and self.y is not None:
            raise ValueError("a panel with bars has no y axis: its rows are the names")

        def made() -> list[_Element]:
            low, tall = self._row(which)
            found = []
            for k in range(len(names)):
                top = low(k)

                def path(value: Any, top: float = top) -> str:
                    left, right = _place(self._px(0.0)), _place(self._px(float(value[0])))
                    return f"M{left} {_place(top)}H{right}v{_place(tall)}H{left}z"

                value = np.asarray(values, dtype=float)[..., k : k + 1]
                extra = f' data-bar="{_place(top)} {_place(tall)}"' if key else ""
                element = self._moving(f'<path fill="{shades[k]}"{extra} {{}}/>', "d", path, value)
                element.key = f"{key}-{k}" if key else ""
                found.append(element)
                if text is not None:
                    said = np.asarray(text, dtype=object)[..., k : k + 1]
                    where = np.clip(value, self.x[1], self.x[2])
                    found += self._texts(
                        where, np.nan, said, "start", shift=(5, 0), top=top + tall / 2 + 4
                    )
            return found

        self._marks.append((False, made))

    def dots(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        colour: int = 0,
        size: float = 4,
        label: str = "",
        shade: ArrayLike | None = None,
    ) -> None:
        """Points.  With `shade`, moving and in [0, 1], they stand still and get fainter or fuller.

        Ten shades, one character a point and stop.
        """
        self._note(label, COLOURS[colour])

        def made() -> list[_Element]:
            style = f'<circle r="{_place(size)}" fill="{COLOURS[colour]}" {{}}/>'
            if shade is None:
                return self._each(style, x, y)
            places = zip(np.ravel(x), np.ravel(y), strict=True)
            r = _place(size)
            circles = "".join(
                f'<circle r="{r}" cx="{_place(self._px(a))}" cy="{_place(self._py(b))}"/>'
                for a, b in places
            )
            level = np.clip(np.ceil(np.asarray(shade, float) * (SHADES - 1)), 0, SHADES - 1)
            group = f'<g fill="{COLOURS[colour]}" {{}}>{circles}</g>'
            table = [
                "".join(str(int(v)) for v in row) for row in level.reshape(-1, level.shape[-1])
            ]
            stops = level.shape[:-1] or (1,) * len(self.picture.sliders)
            return [_Element(group, [("shade", stops, table)])]

        self._marks.append((False, made))

    def rule(
        self,
        *,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        colour: int = 6,
        label: str = "",
        dash: bool = True,
        key: str = "",
    ) -> None:
        """A line from edge to edge, at one x or one y, fixed or moving: shape () or (*stops,)."""
        if (x is None) == (y is None):
            raise ValueError("a rule stands at one x or lies at one y: give exactly one of them")
        self._note(label, COLOURS[colour])

        def made() -> list[_Element]:
            style = f'stroke="{COLOURS[colour]}" stroke-width="1.5"'
            style += ' stroke-dasharray="5 4"' if dash else ""
            left, right, top, bottom = self._box()
            if x is not None:
                body = f'<line {style} y1="{_place(top)}" y2="{_place(bottom)}" {{}}/>'
                at, move = x, lambda v: f"translate({_place(self._px(v[0]))} 0)"
            else:
                body = f'<line {style} x1="{_place(left)}" x2="{_place(right)}" {{}}/>'
                at, move = y, lambda v: f"translate(0 {_place(self._py(v[0]))})"
            at = np.asarray(at, dtype=float)[..., None]
            element = self._moving(body, "transform", lambda v: self._if(v, move), at)
            element.key = key
            return [element]

        self._marks.append((False, made))

    def text(
        self, x: ArrayLike, y: ArrayLike, strings: ArrayLike, *, anchor: str = "middle"
    ) -> None:
        """Words at places: strings of the shape (m,) or (*stops, m)."""
        self._marks.append(
            (False, lambda: self._texts(x, y, np.asarray(strings, dtype=object), anchor))
        )

    def handle(self, x: ArrayLike, y: ArrayLike, *sliders: Slider, colour: int = 3) -> None:
        """A point to drag: it goes to the nearest stop of the sliders named (all by default).

        Its places have the shape (*stops,).
        """
        which = [self.picture.sliders.index(s) for s in sliders or self.picture.sliders]
        drags = escape(json.dumps(which))

        def made() -> list[_Element]:
            body = (
                f'<g class="drag-handle" data-drags="{drags}" {{}}><circle r="22" opacity="0"/>'
                f'<circle r="8" fill="{COLOURS[colour]}" stroke="currentColor"/></g>'
            )
            at = (np.asarray(v, dtype=float)[..., None] for v in (x, y))
            return self._each(body, *at)

        self._marks.append((False, made))

    # -------------------------------------------------------------------------- elements

    def _note(self, label: str, colour: str) -> None:
        if label:
            self.legend.append((label, colour))

    def _moving(
        self, markup: str, attribute: str, write: Callable[..., str], *arrays: ArrayLike
    ) -> _Element:
        """One element: an attribute written from the rows of arrays, at each stop."""
        arrays = tuple(np.asarray(a, dtype=float) for a in arrays)
        stops = self.picture.stops_of(*arrays)
        rows = [np.broadcast_to(a, (*stops, a.shape[-1])).reshape(-1, a.shape[-1]) for a in arrays]
        length = max(row.shape[1] for row in rows)
        rows = [np.broadcast_to(row, (len(row), length)) for row in rows]
        table = [write(*values) for values in zip(*rows, strict=True)]
        return _Element(markup, [(attribute, stops, table)])

    def _each(self, markup: str, x: ArrayLike, y: ArrayLike) -> list[_Element]:
        """An element for each point."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        m = max(x.shape[-1], y.shape[-1])
        x, y = (np.broadcast_to(v, (*v.shape[:-1], m)) for v in (x, y))

        def move(a: Any, b: Any) -> str:
            if not np.isfinite([a[0], b[0]]).all():
                return OFF
            return f"translate({_place(self._px(a[0]))} {_place(self._py(b[0]))})"

        points = ((x[..., j : j + 1], y[..., j : j + 1]) for j in range(m))
        return [self._moving(markup, "transform", move, a, b) for a, b in points]

    def _texts(
        self,
        x: ArrayLike,
        y: ArrayLike,
        strings: Any,
        anchor: str,
        shift: tuple[float, float] = (0, 0),
        top: float | None = None,
    ) -> list[_Element]:
        """Words, moved and changed."""
        strings = np.atleast_1d(strings)
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        found = []
        for j in range(strings.shape[-1]):

            def move(a: Any, b: Any) -> str:
                tall = top if top is not None else self._py(b[0])
                if not np.isfinite([a[0], tall]).all():
                    return OFF
                return f"translate({_place(self._px(a[0]) + shift[0])} {_place(tall + shift[1])})"

            at = [v[..., min(j, v.shape[-1] - 1)][..., None] for v in (x, y)]
            element = self._moving(f'<text text-anchor="{anchor}" {{}}>', "transform", move, *at)
            said = strings[..., j]
            stops = said.shape or (1,) * len(self.picture.sliders)
            element.moves.append(("text", stops, [str(s) for s in said.reshape(-1)]))
            found.append(element)
        return found

    @staticmethod
    def _if(value: Any, write: Callable[[Any], str]) -> str:
        return write(value) if np.isfinite(value[0]) else OFF

    # ------------------------------------------------------------------------- coordinates

    def _path(self, x: Any, y: Any) -> str:
        """M and L through the points; M again after a gap."""
        path, pen = "", False
        for a, b in zip(x, y, strict=True):
            if np.isfinite([a, b]).all():
                path += f"{'L' if pen else 'M'}{_place(self._px(a))} {_place(self._py(b))}"
            pen = bool(np.isfinite([a, b]).all())
        return path

    def _box(self) -> tuple[float, float, float, float]:
        """Left, right, top and bottom of what lies inside the axes."""
        rows = len(self._legend_rows())
        above = 4 if self.y is None else ARROW + 6
        top = 8 + (18 if self.title else 0) + ROW * rows + above
        longest = max(map(len, self.names), default=0)
        ticks = [] if self.y is None else [text for _, text in self._ticks(self.y, 5)]
        left = max(14.0, LETTER * max([longest, *map(len, ticks)]) + 10)
        right = WIDTH - (56 if self.y is None else 14)
        return left, right, top, self.height - 42

    def _px(self, value: float) -> float:
        left, right, *_ = self._box()
        _, low, high = self.x[:3]
        return left + (right - left) * (value - low) / (high - low)

    def _py(self, value: float) -> float:
        _, _, top, bottom = self._box()
        assert self.y is not None
        _, low, high = self.y[:3]
        return bottom - (bottom - top) * (value - low) / (high - low)

    def _row(self, which: int) -> tuple[Callable[[int], float], float]:
        """Where the bars of a series begin, and how high they are."""
        _, _, top, bottom = self._box()
        each = (bottom - top) / len(self.names)
        tall = 0.7 * each / self._series
        return lambda k: top + each * (k + 0.15) + tall * which, tall

    @staticmethod
    def _ticks(axis: Axis, count: int) -> list[tuple[float, str]]:
        """The places and words along an axis; by default multiples of 1, 2 or 5."""
        if len(axis) == 4:
            return sorted(axis[3].items())
        _, low, high = axis
        rough = (high - low) / count
        unit = 10 ** np.floor(np.log10(rough))
        step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
        at = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
        return [(float(v), number(float(v) if abs(v) > 1e-9 * step else 0.0)) for v in at]

    def _legend_rows(self) -> list[list[tuple[float, str, str]]]:
        """Coloured squares with words, as many a row as fit."""
        rows: list[list[tuple[float, str, str]]] = []
        place = np.inf
        for label, colour in self.legend:
            wide = 18 + LETTER * len(label) + 10
            if place + wide > WIDTH:
                rows.append([])
                place = 8.0
            rows[-1].append((place, label, colour))
            place += wide
        return rows

    # --------------------------------------------------------------------------- the frame

    def _frame(self) -> str:
        """Axes, ticks, title and legend: what never moves."""
        left, right, top, bottom = self._box()
        out = []
        if self.title:
            out.append(f'<text x="8" y="18" font-weight="600">{escape(self.title)}</text>')
        for j, row in enumerate(self._legend_rows()):
            y = 8 + (18 if self.title else 0) + ROW * j + 5
            for x, label, colour in row:
                out.append(
                    f'<rect x="{_place(x)}" y="{_place(y - 4)}" width="10" height="10" '
                    f'fill="{colour}"/><text x="{_place(x + 14)}" y="{_place(y + 5)}">'
                    f"{escape(label)}</text>"
                )
        edge = 'stroke="currentColor" stroke-opacity="0.6"'
        out.append(
            f'<path fill="none" {edge} d="M{_place(left)} {_place(bottom)}H{_place(right)}"/>'
        )
        for value, word in self._ticks(self.x, 5):
            at = _place(self._px(value))
            out.append(
                f'<path {edge} d="M{at} {_place(bottom)}v4"/><text text-anchor="middle" '
                f'x="{at}" y="{_place(bottom + 18)}">{escape(word)}</text>'
            )
        middle = _place((left + right) / 2)
        out.append(
            f'<text text-anchor="middle" x="{middle}" y="{self.height - 6}">'
            f"{escape(self.x[0])}</text>"
        )
        if self.y is None:
            low, tall = self._row(0)
            half = tall * self._series / 2
            out += [
                f'<text text-anchor="end" x="{_place(left - 5)}" y="{_place(low(k) + half + 4)}">'
                f"{escape(name)}</text>"
                for k, name in enumerate(self.names)
            ]
            zero = _place(self._px(0.0))
            out.append(f'<path fill="none" {edge} d="M{zero} {_place(top)}V{_place(bottom)}"/>')
            return "".join(out)
        out.append(f'<path fill="none" {edge} d="M{_place(left)} {_place(top)}V{_place(bottom)}"/>')
        if self.y[0]:
            arrow = f"v-{ARROW}m-3.5 6l3.5 -6 3.5 6"
            out.append(
                f'<path fill="none" {edge} d="M{_place(left)} {_place(top)}{arrow}"/>'
                f'<text x="{_place(left + 8)}" y="{_place(top - 10)}">{escape(self.y[0])}</text>'
            )
        for value, word in self._ticks(self.y, 5):
            at = self._py(value)
            out.append(
                f'<path {edge} d="M{_place(left - 4)} {_place(at)}h4"/><text text-anchor="end" '
                f'x="{_place(left - 6)}" y="{_place(at + 4)}">{escape(word)}</text>'
            )
        return "".join(out)

    def _svg(self, write: Callable[[_Element], str]) -> str:
        """The panel: its frame, what is clipped by the axes, and the rest on top."""
        left, right, top, bottom = self._box()
        marks = {True: "", False: ""}
        for clipped, made in self._marks:
            marks[clipped] += "".join(write(element) for element in made())
        box = [_place(v) for v in (left, top, right - left, bottom - top)]
        x, y, wide, tall = box
        inner = (
            f'<svg x="{x}" y="{y}" width="{wide}" height="{tall}" viewBox="{" ".join(box)}">'
            f"{marks[True]}</svg>"
        )
        name = escape(" ".join(filter(None, [self.picture.title, self.title])))
        turned = f' data-axis="{_place(self._px(0.0))} {self._slope():.6g}"'
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{name}"{turned}>'
            f"{self._frame()}{inner}{marks[False]}</svg>"
        )

    def _slope(self) -> float:
        """Units of the picture for one unit of x."""
        left, right, *_ = self._box()
        return (right - left) / (self.x[2] - self.x[1])


class Picture:
    """Panels, sliders and sentences; the last line of a cell shows it."""

    def __init__(self, title: str, *sliders: Slider):
        if title[-1:] not in {".", "?", "!"}:
            raise ValueError(f"title must be a sentence and end like one, got {title!r}")
        self.title, self.sliders = title, list(sliders)
        self.panels: list[Panel] = []
        self._said: list[tuple[str, dict[str, tuple[tuple[int, ...], list[str]]]]] = []
        self._function: tuple[str, Any] | None = None

    def panel(
        self,
        x: Axis,
        y: Axis | None = None,
        *,
        title: str = "",
        height: int = 240,
    ) -> Panel:
        """A new panel.  An axis is (label, low, high), or with a fourth part {value: tick text}."""
        for axis in (x, y):
            if axis is not None and not axis[1] < axis[2]:
                raise ValueError(f"an axis needs low < high, and {axis[0]!r} has {axis[1:3]}")
        self.panels.append(Panel(self, x, y, title, height))
        return self.panels[-1]

    def say(self, template: str, *texts: ArrayLike, **keyed: str) -> None:
        """A sentence under the panels; each {} is a text of the shape (*stops,) or one string."""
        fields = re.findall(r"\{(\w*)\}", template)
        if fields.count("") != len(texts) or set(filter(None, fields)) != set(keyed):
            raise ValueError(f"{template!r} has the fields {fields}, given {len(texts)} texts")
        tables: dict[str, tuple[tuple[int, ...], list[str]]] = {}
        for j, text in enumerate(texts):
            said = np.asarray(text, dtype=object)
            stops = said.shape or (1,) * len(self.sliders)
            self._check(stops, f"text {j} of {template!r}")
            tables[str(j)] = stops, [str(s) for s in said.reshape(-1)]
        for key, word in keyed.items():
            tables[key] = (1,) * len(self.sliders), [word]
        self._said.append((template, tables))

    def computed(self, function: str, data: Mapping[str, Any]) -> None:
        """Let a function of drag.js find what the marks and fields with a key show."""
        self._function = function, data

    # ------------------------------------------------------------------------------ stops

    def stops_of(self, *arrays: Any) -> tuple[int, ...]:
        """The stops that arrays of the shape (*stops, m) move along; 1 each if all are fixed."""
        shapes = [a.shape[:-1] or (1,) * len(self.sliders) for a in arrays]
        for shape in shapes:
            self._check(shape, "an array")
        return np.broadcast_shapes(*shapes)

    def _check(self, stops: tuple[int, ...], what: str) -> None:
        wanted = tuple(len(s.values) for s in self.sliders)
        fits = len(stops) == len(wanted) and all(
            n in (1, m) for n, m in zip(stops, wanted, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{what} has stops {stops}, and the sliders have {wanted}: give it one axis for "
                "each slider, of that length or 1, before the axis of its points"
            )

    def _now(self, stops: tuple[int, ...]) -> int:
        """Where a table of these stops is read at the start."""
        at = 0
        for n, slider in zip(stops, self.sliders, strict=True):
            at = at * n + (slider.start if n > 1 else 0)
        return at

    # ------------------------------------------------------------------------------- page

    def _repr_html_(self) -> str:
        """The figure: panels at their first stop, sliders that a script uncovers, its tables."""
        tables: list[list[Any]] = []

        def attributes(element: _Element) -> tuple[str, str]:
            out, inside, moving = "", "", []
            for name, stops, table in element.moves:
                value = table[self._now(stops)]
                if name == "text":
                    inside = escape(value)
                elif name == "shade":
                    pass
                else:
                    out += f' {name}="{value}"'
                if any(entry != table[0] for entry in table) or name == "shade":
                    moving.append(len(tables))
                    tables.append([name, list(stops), table])
            if moving:
                out += f' data-m="{" ".join(map(str, moving))}"'
            if element.key:
                out += f' data-key="{element.key}"'
            return out.strip(), inside

        def write(element: _Element) -> str:
            out, inside = attributes(element)
            found = element.markup.replace("{}", out, 1)
            for name, stops, table in element.moves:
                if name == "shade":
                    shades = iter(table[self._now(stops)])
                    found = re.sub(
                        r"<circle",
                        lambda _, s=shades: f'<circle fill-opacity="{_opacity(next(s))}"',
                        found,
                    )
            return found + (f"{inside}</text>" if found.startswith("<text") else "")

        panels = "".join(panel._svg(write) for panel in self.panels)
        said = ""
        for template, fields in self._said:
            names, count = [], 0
            for name in re.findall(r"\{(\w*)\}", template):
                names.append(name or str(count))
                count += not name
            parts = re.split(r"\{\w*\}", escape(template, quote=False))
            line = parts[0]
            for name, after in zip(names, parts[1:], strict=True):
                stops, table = fields[name]
                key = "" if name.isdigit() else name
                out, inside = attributes(_Element("", [("text", stops, table)], key))
                line += f"<b{' ' + out if out else ''}>{inside}</b>{after}"
            said += f'<p class="drag-say">{line}</p>'
        controls = "".join(
            f"<label><span>{escape(s.label)} = <output>{escape(s.text[s.start])}</output></span>"
            f'<input type="range" min="0" max="{len(s.values) - 1}" value="{s.start}" '
            f'autocomplete="off"></label>'
            for s in self.sliders
        )
        spec: dict[str, Any] = {"text": [list(s.text) for s in self.sliders], "moves": tables}
        if self._function:
            name, data = self._function
            values = [list(map(float, s.values)) for s in self.sliders]
            spec |= {"function": name, "data": data, "values": values}
        packed = json.dumps(spec, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        return (
            f'<figure class="drag"><figcaption>{escape(self.title)}</figcaption>\n'
            f'<div class="drag-panels">{panels}</div>\n'
            f'<div class="drag-sliders" hidden>{controls}</div>\n'
            f'<div aria-live="polite">{said}</div>\n'
            f'<script type="application/json">{packed}</script></figure>'
        )

    def __repr__(self) -> str:
        """What a terminal shows."""
        return f"Picture: {self.title}"


def _opacity(shade: str) -> str:
    """Of ten shades, the first nearly invisible."""
    return f"{0.06 + 0.94 * int(shade) / (SHADES - 1):.2f}"
