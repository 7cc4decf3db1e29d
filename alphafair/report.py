"""A page for those who decide: who gets how much, why, how sure that is, and what is left to do.

A report says in words and one table what an `Allocation` holds: the money and the utility of each
group, the price of one more unit, the proof that nothing better was overlooked
(`alphafair.certificate`), groups so small that they deserve a second look, what an error in the
benefits would be worth, and which doses are fractions.  It is plain text in two dresses, Markdown
and HTML, needs nothing from elsewhere, and reads well on a telephone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .allocation import Allocation
from .certificate import optimality_gap
from .checks import Floats, Integers, number

ROWS = 30  # of the table; the groups beyond are summed up in a line
NAMED = 5  # groups that a sentence names
ERROR = 0.1  # of the benefits, the error whose worth is told
PROVEN = 1e-9  # a waste below this is a rounding

STYLE = """
.alphafair{max-width:46rem;margin:0 auto;padding:0 .75rem;line-height:1.5;\
font-family:system-ui,sans-serif;color:inherit}
.alphafair :is(h2,h3,h4){font-size:1.15rem}
.alphafair .title{font-size:1.5rem;line-height:1.25}
.alphafair :is(h1,h2,h3,h4,h5,code){color:inherit}
.alphafair .wide{overflow-x:auto;margin-bottom:1rem}
.alphafair table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
.alphafair th,.alphafair td{padding:.25rem .4rem;text-align:right;\
border-bottom:1px solid rgba(128,128,128,.35)}
.alphafair th:first-child,.alphafair td:first-child{text-align:left}
"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in order; code in the text stands in backticks."""

    heading: str
    body: Sequence[str | Table]


@dataclass(frozen=True, repr=False)
class Report:
    """A report on one allocation.  ``str`` gives Markdown; a notebook shows the HTML.

    Attributes:
        title: its first line.
        sections: what it says.
    """

    title: str
    sections: tuple[Section, ...]

    @property
    def markdown(self) -> str:
        """The report as Markdown; whatever in a label could be taken for markup is escaped."""
        parts = [f"# {_markdown(self.title)}"]
        for section in self.sections:
            parts.append(f"## {_markdown(section.heading)}")
            for piece in section.body:
                parts.append(
                    _markdown_table(piece) if isinstance(piece, Table) else _markdown(piece)
                )
        return "\n\n".join(parts) + "\n"

    @property
    def html(self) -> str:
        """The report as a page of its own, which loads nothing from elsewhere."""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{html.escape(self.title)}</title>\n</head>\n<body>\n"
            f"{self._article(1)}\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> None:
        """Write the report to a file: HTML if its name ends in .html or .htm, else Markdown."""
        path = Path(path)
        page = path.suffix.lower() in (".html", ".htm")
        path.write_text(self.html if page else self.markdown, encoding="utf-8")

    def _repr_html_(self) -> str:
        return self._article(3)  # a notebook has headings of its own above

    def _article(self, level: int) -> str:
        """The report as HTML for the inside of a page, its title a heading of this level."""
        parts = [f'<h{level} class="title">{_html(self.title)}</h{level}>']
        for section in self.sections:
            parts.append(f"<h{level + 1}>{_html(section.heading)}</h{level + 1}>")
            for piece in section.body:
                inside = f"<p>{_html(piece)}</p>" if isinstance(piece, str) else _html_table(piece)
                parts.append(inside)
        body = "\n".join(parts)
        return f'<article class="alphafair">\n<style>{STYLE}</style>\n{body}\n</article>'

    def __str__(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return f"Report({self.title!r})"


def report(
    allocation: Allocation,
    *,
    title: str | None = None,
    money: str = "units of money",
    utility: str = "units of utility",
    small: int = 10,
) -> Report:
    """A one-page report on an allocation, for those who have to decide.

    Args:
        allocation: an `Allocation`.
        title: the first line; the default says what is shared among whom.
        money, utility: what the units are called, such as ``"dollars"`` and ``"healthy hours"``.
        small: groups of fewer people than this are named as small, ≥ 0.

    Returns:
        `Report`, with ``markdown``, ``html`` and ``save(path)``.

    Raises:
        ValueError, TypeError: ``small`` is negative or no number.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["Ana", "Ben"], budget=180.0, alpha=1, cap=100.0)
        >>> page = report(a, money="dollars", utility="hours")
        >>> print(page.markdown.splitlines()[0])
        # 180 dollars for 2 people in 2 groups
        >>> print(page.markdown.splitlines()[7])
        | Ben | 1 of 1 | 90 | 50.0 | 90 |
        >>> page.save("plan.html")      # doctest: +SKIP
    """
    if not isinstance(allocation, Allocation):
        raise TypeError(
            f"allocation must be what Problem.allocate returns, not {type(allocation).__name__}; a "
            f"whole plan has its own numbers, and the optimum that it comes from in .allocation"
        )
    for name, word in (("title", title), ("money", money), ("utility", utility)):
        if not isinstance(word, str | None):
            raise TypeError(f"{name} must be text, not {word!r}")
    number("small", small, "≥ 0", lambda v: v >= 0)
    words = _Words(allocation, money, utility)
    if title is None:
        title = f"{words.money(allocation.problem.budget)} for {words.people}"
    sections = (
        Section("Who gets what", words.who_gets_what()),
        Section("One more unit of money", words.price()),
        Section("Is there a better plan?", words.proof()),
        Section("What is uncertain", words.doubts(small)),
        Section("Whole doses", words.fractions()),
    )
    return Report(_plain(title), sections)


class _Words:
    """The sentences about one allocation."""

    def __init__(self, allocation: Allocation, money: str, utility: str) -> None:
        self.allocation, self.problem = allocation, allocation.problem
        self.unit_of_money, self.unit_of_utility = _plain(money), _plain(utility)
        self.labels = [_plain(str(label)) for label in allocation.group_labels]
        persons, groups = int(self.problem.groups.size.sum()), len(self.labels)
        several = "group" if groups == 1 else "groups"
        self.people = f"{persons} {'person' if persons == 1 else 'people'} in {groups} {several}"

    def money(self, amount: float) -> str:
        return f"{amount_text(amount)} {self.unit_of_money}"

    def utility(self, amount: float) -> str:
        return f"{amount_text(amount)} {self.unit_of_utility}"

    # --- sections -----------------------------------------------------------------------------
    def who_gets_what(self) -> list[str | Table]:
        a = self.allocation
        body: list[str | Table] = []
        order = np.arange(len(self.labels))
        if order.size > ROWS:  # the largest ones, in the order of their labels
            order = np.sort(np.argsort(-a.group_budget, kind="stable")[:ROWS])
        receive = self._receivers()
        rows = [self._row(k, receive) for k in order.tolist()]
        head = ("group", "people funded", "money", "%", "utility")
        body.append(Table(head, rows))
        if len(rows) < len(self.labels):
            rest = np.setdiff1d(np.arange(len(self.labels)), order)
            body.append(
                f"The {rest.size} other groups get {self.money(float(a.group_budget[rest].sum()))} "
                f"in all."
            )
        body.append(
            f"People are funded if they get a dose. Money is in {self.unit_of_money}. Utility is "
            f"that of the group, in {self.unit_of_utility}: {self._kind_of_mean()}."
        )
        body.append(self._rule())
        spent = self.problem.budget - a.money_left
        if a.money_left > 0:
            body.append(
                f"{self.money(spent)} are spent. {self.money(a.money_left)} are left, because the "
                f"upper bounds leave no use for more."
            )
        for kind, bound in (("least", a.at_group_floor), ("largest", a.at_group_cap)):
            if bound.any():
                body.append(f"At the {kind} budget that was set: {self._named(bound)}.")
        return body

    def _row(self, k: int, receive: Integers) -> list[str]:
        a = self.allocation
        part = 100 * a.group_budget[k] / self.problem.budget if self.problem.budget > 0 else 0.0
        return [
            self.labels[k],
            f"{receive[k]} of {a.group_size[k]}",
            amount_text(a.group_budget[k]),
            f"{part:.1f}",
            amount_text(a.group_utility[k]),
        ]

    def _kind_of_mean(self) -> str:
        within = self.problem.within
        if within == 0:
            return "the mean over its people"
        if within == np.inf:
            return "what its worst-off member has"
        return (
            f"the equal amount for all of its people that would be as good as what they have, with "
            f"an aversion to inequality inside the group of ε = {within:g}"
        )

    def _rule(self) -> str:
        a = self.allocation
        level = self.utility(a.equivalent_utility)
        if a.alpha == 0:
            return f"The rule is α = 0: the largest total, whoever has it. The mean is {level}."
        if a.alpha == np.inf:
            return f"The rule is α = ∞: the worst-off group comes first. It has {level}."
        meaning = "a gain of one percent counts the same for every group"
        if a.alpha < 1:
            meaning = "between the largest total (0) and equal percentages (1)"
        if a.alpha > 1:
            meaning = "one percent counts for more where people have less"
        return (
            f"The rule is α = {a.alpha:g}: {meaning}. By this rule the plan is as good as "
            f"{level} for each group."
        )

    def price(self) -> list[str | Table]:
        a = self.allocation
        if a.price == 0:
            return ["By this rule one more unit of money would change nothing."]
        if a.price == np.inf:
            return ["The first unit of money is worth more than any number says: some group has "
                    "nothing without it."]  # fmt: skip
        body: list[str | Table] = [
            f"One more unit of the budget would raise the level of the plan, "
            f"{self.utility(a.equivalent_utility)} for each group, by "
            f"{self.utility(self._level_for_money())}. (The price of money is λ = {a.price:.4g} in "
            f"units of welfare.)"
        ]
        bound = a.at_group_floor | a.at_group_cap
        if bound.any():
            gain = a.group_price - a.price
            k = int(np.argmax(np.abs(gain)))
            side = "more" if gain[k] > 0 else "less"
            times = a.group_price[k] / a.price
            if gain[k] != 0 and np.isfinite(times):
                body.append(
                    f"In the group {self.labels[k]}, whose budget is bounded, money is worth "
                    f"{side} than elsewhere: {times:.3g} times as much."
                )
        return body

    def _level_for_money(self) -> float:
        """dū/dQ from dW = (Σ w) ū^{−α} dū; at α = ∞ W is ū."""
        a = self.allocation
        if a.alpha == np.inf:
            return a.price
        with np.errstate(over="ignore"):
            weight = float(self.problem.weight.sum())
            return float(a.price * np.power(a.equivalent_utility, a.alpha) / weight)

    def proof(self) -> list[str | Table]:
        found = optimality_gap(self.allocation.dose, self.problem, self.allocation.alpha)
        if found.relative_gap >= 1 or self.problem.budget == 0:
            return ["With this budget some group has nothing, and plans cannot be told apart."]
        answer = "No. For the numbers that were put in, nothing but rounding is wasted"
        if found.relative_gap > PROVEN:
            part = f"{100 * found.relative_gap:.2g} percent"
            answer = f"Not by much. At most {part} of the budget is wasted"
        body: list[str | Table] = [
            f"{answer}: this is a bound that holds for every plan, computed by code that shares "
            f"nothing with the code that made this one."
        ]
        if found.infeasibility > PROVEN:
            body.append(
                f"The plan breaks a bound by {100 * found.infeasibility:.2g} percent of the budget."
            )
        return body

    def doubts(self, small: int) -> list[str | Table]:
        body: list[str | Table] = [
            "The proof takes the benefits and costs as true. They are estimates; the plan is as "
            "good as they are."
        ]
        worth = self._worth_of_error()
        if worth is not None and worth.max() > 0:
            part = np.round(worth / worth.max(), 9)  # no rounding decides between two that tie
            order = np.argsort(-part, kind="stable")[: worth.size if worth.size <= NAMED else 3]
            rest = len(self.labels) - order.size
            told = [f"{self.labels[k]} {amount_text(worth[k])}" for k in order.tolist()]
            body.append(
                f"If the benefits of one group are {100 * ERROR:.0f} percent lower than assumed, "
                f"that is about as bad as losing this much money ({self.unit_of_money}): "
                f"{', '.join(told)}{', and at most as much for any other' if rest else ''}."
            )
        few = self.allocation.group_size < small
        if few.any():
            count = int(few.sum())
            body.append(
                f"{'One group has' if count == 1 else f'{count} groups have'} fewer than {small} "
                f"people: {self._named(few)}. Their numbers rest on few people, and a table that "
                f"names them may tell who somebody is."
            )
        return body

    def _worth_of_error(self) -> Floats | None:
        """(K,) Σ b ∂W/∂b × `ERROR` / λ: what a small error in a group's benefits is worth."""
        a = self.allocation
        if not 0 < a.price < np.inf:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            slope = (a.problem.benefit * a.gradient().benefit).sum(axis=1)
            worth = np.bincount(a.problem.groups.code, slope, len(self.labels)) * ERROR / a.price
        return np.asarray(worth, float) if np.isfinite(worth).all() else None

    def fractions(self) -> list[str | Table]:
        problem, dose = self.problem, self.allocation.dose
        if problem.cap is None:
            return ["No dose has an upper bound, so a dose may be any amount."]
        floor = 0.0 if problem.floor is None else problem.floor
        begun = (dose > floor) & (dose < problem.cap) & ~self.allocation.at_cap
        persons = int(begun.any(axis=1).sum())
        if persons == 0:
            return ["Every dose is at one of its bounds: there are no fractions."]
        who = "One person has a dose" if persons == 1 else f"{persons} people have a dose"
        meaning = "between the bounds"
        if problem.exclusive:
            meaning = "that is a fraction, which stands for a lottery between treatments"
        return [
            f"{who} {meaning}. For whole doses, `allocation.whole()` gives a plan within the "
            f"budget and says what is lost at most; `allocation.lottery(seed)` draws one that is "
            f"fair on average."
        ]

    # --- parts --------------------------------------------------------------------------------
    def _receivers(self) -> Integers:
        """(K,) people with a dose."""
        some = (self.allocation.dose > 0).any(axis=1)
        return np.bincount(self.problem.groups.code[some], minlength=len(self.labels))

    def _named(self, which: NDArray[np.bool_]) -> str:
        names = [self.labels[k] for k in np.flatnonzero(which)]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more


def amount_text(amount: float) -> str:
    """A number as people write it, of about four digits.

    Example:
        >>> [amount_text(x) for x in (0.0123456, 12.3456, 1234567.8, 3e15)]
        ['0.01235', '12.35', '1,234,568', '3e+15']
    """
    size = abs(float(amount))
    if 1000 <= size < 1e12:
        return f"{amount:,.0f}"
    return f"{amount:.4g}"


# --- the two dresses --------------------------------------------------------------------------
def _plain(text: str) -> str:
    """One line; backticks are kept for code."""
    return " ".join(text.replace("`", "'").split())


def _markdown(text: str) -> str:
    """Text with everything escaped that Markdown, or HTML in it, could take for markup."""
    parts = text.split("`")  # code stands between backticks, of which labels have none
    for j in range(0, len(parts), 2):
        escaped = html.escape(parts[j], quote=False)
        parts[j] = re.sub(r"([\\*_{}\[\]#|~$])", r"\\\1", escaped)
    return "`".join(parts)


def _markdown_table(table: Table) -> str:
    lines = [table.head, ["---", *["---:"] * (len(table.head) - 1)]]
    lines += [[_markdown(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _html(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _html_table(table: Table) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return f"<tr>{''.join(f'<{kind}>{_html(cell)}</{kind}>' for cell in cells)}</tr>"

    rows = "\n".join([line(table.head, "th"), *(line(row, "td") for row in table.rows)])
    return f'<div class="wide"><table>\n{rows}\n</table></div>'
