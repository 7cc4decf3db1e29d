"""The report: every number in it is one of the allocation, and a label is never markup."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import alphafair as af

GROUP = np.repeat(["east", "north", "south", "west"], [2, 2, 3, 2])
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]
CLINIC = (1.0 * np.column_stack([PILL, VISIT]), [[1.0, 5.0]], GROUP)
CAP = [[30.0, 4.0]]


def text_of(allocation, **kwargs):
    return af.report(allocation, **kwargs).markdown


def cells(markdown):
    """Rows of the table, without its head."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_table_is_the_allocation():
    a = af.allocate(*CLINIC, 300.0, 1, cap=CAP)
    text = text_of(a, money="dollars", utility="healthy hours")
    assert text.startswith("# 300 dollars for 9 people in 4 groups\n")
    rows = cells(text)
    assert [row[0] for row in rows] == ["east", "north", "south", "west"]
    funded = [(a.dose[label == GROUP] > 0).any(axis=1).sum() for label in a.group_labels]
    of = a.group_size
    assert [row[1] for row in rows] == [f"{f} of {g}" for f, g in zip(funded, of, strict=True)]
    numbers = np.array([[float(cell) for cell in row[2:]] for row in rows])
    assert numbers[:, 0] == pytest.approx(a.group_budget, rel=1e-3)
    assert numbers[:, 1] == pytest.approx(100 * a.group_share, abs=0.06)
    assert numbers[:, 2] == pytest.approx(a.group_utility, rel=1e-3)
    assert "in healthy hours: the mean over its people" in text


def test_the_worth_of_money_is_the_slope_of_the_level():
    for alpha in (0, 0.5, 1, 2, np.inf):
        for weight in (None, [1.0, 2, 3, 4]):
            less, more = (
                af.allocate(*CLINIC, q, alpha, cap=CAP, within=1, weight=weight)
                for q in (60.0, 60.001)
            )
            slope = (more.equivalent_utility - less.equivalent_utility) / 0.001
            told = re.search(r"by ([\d.e-]+) units of utility\. \(", text_of(less))[1]
            assert float(told) == pytest.approx(slope, rel=1e-3)


def test_worth_of_an_error():
    """10 percent less for one group costs as much as that much less money, to first order."""
    a = af.allocate(*CLINIC, 300.0, 2, within=1)
    told = re.search(
        r"losing this much money \(dollars\): (.*?)\.\s", text_of(a, money="dollars") + " "
    )
    names = [part.rsplit(" ", 1) for part in told[1].split(", ")]
    assert [name for name, _ in names] == ["west", "south", "north", "east"]
    for name, worth in names:
        change = np.where((name == GROUP)[:, None], 1 - 1e-6, 1.0)
        worse = af.allocate(CLINIC[0] * change, *CLINIC[1:], 300.0, 2, within=1).welfare
        assert float(worth) == pytest.approx((a.welfare - worse) / 1e-6 * 0.1 / a.price, rel=1e-3)


def test_groups_that_tie_stand_in_the_order_of_their_labels():
    """At α = 1 the benefits of all groups with room matter alike, up to rounding."""
    a = af.allocate(*CLINIC, 300.0, 1, cap=CAP)
    told = "money (units of money): east 10.15, north 10.15, south 10.15, west 10.15."
    assert told in text_of(a)


def test_of_many_groups_three_are_named():
    a = af.allocate(np.arange(1, 9.0), 1.0, list("abcdefgh"), 8.0, 2)
    said = re.search(r"losing this much money .*?: (.*), and at most as much for any", text_of(a))
    assert said[1].count(",") == 2


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"alpha": 0}, "the largest total, whoever has it"),
        ({"alpha": 0.5}, "between the largest total (0) and equal percentages (1)"),
        ({"alpha": 1}, "a gain of one percent counts the same for every group"),
        ({"alpha": 2}, "one percent counts for more where people have less"),
        ({"alpha": np.inf}, "the worst-off group comes first. It has 160 units of utility."),
        ({"alpha": 1, "within": np.inf, "baseline": 1.0}, "what its worst-off member has"),
        ({"alpha": 1, "within": 0.5}, "inside the group of ε = 0.5"),
        ({"alpha": 1}, "so a dose may be any amount"),
        ({"alpha": 1, "cap": CAP}, "2 people have a dose between the bounds."),
        ({"alpha": 1, "cap": CAP}, r"`allocation.whole()` gives a plan"),
        ({"alpha": 1, "cap": [[60.0, 10.0]], "exclusive": True}, "a lottery between treatments"),
        ({"alpha": 1, "cap": [[3.0, 1.0]]}, "Every dose is at one of its bounds"),
        ({"alpha": 1, "cap": [[3.0, 1.0]]}, "one more unit of money would change nothing"),
        (
            {"alpha": 1, "cap": [[3.0, 1.0]]},
            "69 units of money are spent. 231 units of money are l",
        ),
        ({"alpha": 1, "group_cap": {"east": 20}}, "At the largest budget that was set: east."),
        ({"alpha": 1, "group_cap": {"east": 20}}, "money is worth more than elsewhere: 4.67 times"),
        ({"alpha": 1, "group_floor": {"west": 150}}, "At the least budget that was set: west."),
        ({"alpha": 1, "group_floor": {"west": 150}}, "worth less than elsewhere: 0.333 times"),
        ({"alpha": 1}, "No. For the numbers that were put in, nothing but rounding is wasted"),
        ({"alpha": 1}, "4 groups have fewer than 10 people: east, north, south, west."),
    ],
)
def test_sentences(kwargs, words):
    if isinstance(kwargs.get("group_cap", kwargs.get("group_floor")), dict):
        kwargs = dict(kwargs)
        name, rest = ("group_cap", np.inf) if "group_cap" in kwargs else ("group_floor", 0.0)
        kwargs[name] = dict.fromkeys(np.unique(GROUP).tolist(), rest) | kwargs[name]
    assert words in text_of(af.allocate(*CLINIC, 300.0, **kwargs))


def test_no_money():
    text = text_of(af.allocate(*CLINIC, 0.0, 2))
    assert "The first unit of money is worth more than any number says" in text
    assert "plans cannot be told apart" in text
    assert cells(text)[0] == ["east", "0 of 2", "0", "0.0", "0"]
    assert "nan" not in text


def test_a_plan_that_is_not_optimal(monkeypatch):
    a = af.allocate(*CLINIC, 300.0, 1, cap=CAP)
    a.dose[:] *= 0.9  # the judge looks at the doses
    assert "Not by much. At most" in text_of(a)
    a.dose[:] *= 2
    assert "breaks a bound by" in text_of(a)


def test_small_groups_are_named():
    a = af.allocate(*CLINIC, 300.0, 1)
    assert "One group has fewer than 3" not in text_of(a, small=2)
    assert "fewer" not in text_of(a, small=2)
    assert "3 groups have fewer than 3 people: east, north, west." in text_of(a, small=3)
    with pytest.raises(ValueError, match="small is -1"):
        af.report(a, small=-1)


def test_many_groups_are_summed_up():
    rng = np.random.default_rng(0)
    a = af.allocate(rng.random(400) + 0.5, 1.0, np.arange(400) // 2, 1000.0, 2)
    text = text_of(a)
    rows = cells(text)
    assert len(rows) == 30
    kept = np.argsort(-a.group_budget)[:30]
    assert {int(row[0]) for row in rows} == set(kept.tolist())
    rest = a.group_budget.sum() - a.group_budget[kept].sum()
    assert f"The 170 other groups get {rest:.4g} units of money in all." in text
    assert "200 groups have fewer than 10 people: 0, 1, 2, 3, 4 and 195 more." in text


# --- dresses ----------------------------------------------------------------------------------
EVIL = ["<script>alert(1)</script>", "a|b *c* [d](e) `f` $g$\n# h", "north & south"]


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.cells = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def test_labels_are_no_markup():
    a = af.allocate([3.0, 2.0, 1.0], 1.0, EVIL, 6.0, 1)
    page = af.report(a, title=EVIL[0], money="<b>", utility="*h*")
    seen = Tags(page.html)
    names = [tag for tag, _ in seen.tags]
    assert not {"script", "b", "em", "a", "img", "link"} & set(names)
    text = "".join(seen.text)
    assert EVIL[0] in text
    assert "a|b *c* [d](e) 'f' $g$ # h" in text
    markdown = page.markdown
    assert "<" not in markdown
    assert r"a\|b \*c\* \[d\](e) 'f' \$g\$ \# h" in markdown
    assert len({line.count(" | ") for line in markdown.splitlines() if line.startswith("| ")}) == 1


def test_html_is_one_page_without_downloads():
    page = af.report(af.allocate(*CLINIC, 300.0, 1, cap=CAP)).html
    seen = Tags(page)
    assert page.startswith("<!doctype html>")
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width,initial-scale=1"},
    ) in seen.tags
    assert not re.search(r"(src|href|url|@import|http)\b", page)
    assert [tag for tag, _ in seen.tags].count("tr") == 5
    assert "overflow-x:auto" in page
    assert "<code>allocation.whole()</code>" in page


def test_shown_printed_and_saved(tmp_path):
    page = af.report(af.allocate(*CLINIC, 300.0, 1))
    assert str(page) == page.markdown
    inside = page._repr_html_()  # the page that shows it has its own heading of level 1
    assert "<h1" not in inside
    assert page.html.count("<h1") == 1
    assert "".join(Tags(inside).text).strip() in "".join(Tags(page.html).text)
    assert repr(page) == "Report('300 units of money for 9 people in 4 groups')"
    page.save(tmp_path / "plan.html")
    page.save(str(tmp_path / "plan.md"))
    assert (tmp_path / "plan.html").read_text(encoding="utf-8") == page.html
    assert (tmp_path / "plan.md").read_text(encoding="utf-8") == page.markdown


def test_one_of_a_kind():
    text = text_of(af.allocate([2.0], 1.0, ["a"], 3.0, 1, cap=5.0))
    assert text.startswith("# 3 units of money for 1 person in 1 group\n")
    assert "One group has fewer than 10 people: a." in text
    assert "One person has a dose between the bounds." in text


def test_a_report_on_something_else_is_refused():
    a = af.allocate([1.0], 1.0, ["a"], 1.0, 1, cap=1.0)
    for wrong in (a.problem, a.whole()):
        with pytest.raises(TypeError, match=r"allocation must be what Problem\.allocate"):
            af.report(wrong)
    with pytest.raises(TypeError, match="money must be text, not 5"):
        af.report(a, money=5)
