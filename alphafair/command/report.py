"""What each group gets, told on the screen and in files."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..allocation import Allocation
from ..frontier import frontier
from .arguments import STANDARD, in_memory
from .solve import Doses
from .tables import Table, described

if TYPE_CHECKING:
    from ..whole import WholePlan

SHOWN = 40  # groups


def report(doses: Doses, table: Table, request: argparse.Namespace) -> str:
    """The report in words."""
    lines: list[str] = []
    for j, groups in enumerate(doses.groups):
        lines += [""] if lines else []
        lines += [*_table_of_groups(j, doses, request), ""]
        lines.append(
            f"α = {groups.alpha:g}; one more unit of budget adds {groups.price:.6g} welfare"
        )
        lines += _of_a_whole_plan(doses.plans[j]) if doses.plans else _left_over(groups, request)
    if request.frontier:
        lines += ["", "what equality costs:", repr(frontier(doses.groups[0].problem))]
    lines += [f"{kind}: {text}" for kind, text in remarks(doses, request)]
    lines += [text for text in [described(table)] if text]
    where = "standard output" if request.output == STANDARD else request.output
    return "\n".join([*lines, f"doses: {where}"])


def _table_of_groups(j: int, doses: Doses, request: argparse.Namespace) -> list[str]:
    groups, size = doses.groups[j], doses.size
    money, utility = doses.money(j), doses.utility(j)
    budget, spent = request.budget, float(money.sum())
    rows = [("group", "people", "budget", "share", "utility")]
    for k in _printing_order(groups.group_labels.tolist())[:SHOWN]:
        label, share = str(groups.group_labels[k]), money[k] / budget if budget else 0.0
        rows.append((label, str(size[k]), f"{money[k]:.6g}", f"{share:.1%}", f"{utility[k]:.6g}"))
    share = spent / budget if budget else 0.0
    rows.append(("all", str(size.sum()), f"{spent:.6g}", f"{share:.1%}", ""))
    width = [max(len(row[j]) for row in rows) for j in range(5)]
    lines = [
        "  ".join([row[0].ljust(width[0]), *(row[j].rjust(width[j]) for j in range(1, 5))]).rstrip()
        for row in rows
    ]
    if len(size) > SHOWN:
        lines.insert(-1, f"… and {len(size) - SHOWN} more")
    return lines


def _left_over(groups: Allocation, request: argparse.Namespace) -> list[str]:
    left = request.budget - float(groups.group_budget.sum())
    if left <= 1e-9 * request.budget:
        return []
    what = "dose or group" if request.group_cap else "dose"
    return [f"left over: {left:.6g}, because every {what} that helps is at its cap"]


def _of_a_whole_plan(plan: WholePlan) -> list[str]:
    # "At least" is rounded down, but not by a rounding of the gap itself.
    part = math.floor(1000 * (1 - plan.relative_gap) + 1e-6) / 1000
    needed = f"any plan needs at least {part:.1%} of the budget to be as good"
    return [f"left over: {max(plan.money_left, 0.0):.6g}, with whole doses; {needed}"]


def remarks(doses: Doses, request: argparse.Namespace) -> list[tuple[str, str]]:
    """What a reader of the doses should know: (kind, text)."""
    found = []
    if request.within == 0 and request.cap is None and not request.whole:
        who = "its single best offer" if request.wide else "its single best row"
        count = f": {max(doses.funded)} of {doses.rows} rows get something" if doses.funded else ""
        found.append(
            (
                "warning",
                f"without --cap and --within each group gives all its money to {who}{count}; "
                f"--cap 1 allows at most one unit each, --within 1 shares the money among all",
            )
        )
    if doses.parts and not request.whole:
        how = "--whole" if request.cap is not None else "--cap and --whole, or --whole --unit 1,"
        what = "parts of offers are lotteries" if request.exclusive else "doses are fractions"
        found.append(("note", f"{what}; use {how} for whole ones"))
    return found


def _printing_order(labels: list[Any]) -> list[int]:
    """Numbers that have been read as text in the order of numbers."""
    with contextlib.suppress(TypeError, ValueError):
        labels = [float(label) for label in labels]
    return sorted(range(len(labels)), key=labels.__getitem__)


# --- in files -----------------------------------------------------------------------------------
def write_report(
    path: Path, doses: Doses, table: Table, request: argparse.Namespace, version: str
) -> None:
    """The report as JSON (everything) or CSV (one row a group and α)."""
    if path.suffix.lower() == ".json":
        text = json.dumps(_content(doses, table, request, version), ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("alpha", *GROUP))
        for j, alpha in enumerate(doses.alphas):
            for row in _rows(j, doses, request):
                writer.writerow((repr(alpha), *row.values()))


GROUP = ("group", "people", "budget", "share", "utility")  # what is told of each group


def _rows(j: int, doses: Doses, request: argparse.Namespace) -> list[dict[str, Any]]:
    budget, money, utility = request.budget, doses.money(j), doses.utility(j)
    return [
        {
            "group": label if isinstance(label, str | int) else str(label),
            "people": int(doses.size[k]),
            "budget": _plain(money[k]),
            "share": _plain(money[k] / budget if budget else 0.0),
            "utility": _plain(utility[k]),
        }
        for k, label in enumerate(doses.groups[j].group_labels.tolist())
    ]


def _plain(value: float) -> float | str:
    """A number that JSON has; ∞ as a word."""
    return float(value) if math.isfinite(value) else str(float(value))


def _content(
    doses: Doses, table: Table, request: argparse.Namespace, version: str
) -> dict[str, Any]:
    dialect = table.dialect
    content: dict[str, Any] = {
        "alphafair": version,
        "table": [part.name for part in table.parts],
        "doses": str(request.output),
        "columns": doses.names,
        "read": None if dialect is None else {
            "separator": dialect.separator,
            "decimal": dialect.decimal,
            "encoding": dialect.encoding,
        },
        "budget": request.budget,
        "within": _plain(request.within),
        "in_memory": doses.rows is not None,
        "needs_memory": in_memory(request),
        "results": [
            {
                "alpha": _plain(groups.alpha),
                "price": _plain(groups.price),
                "welfare": _plain(groups.welfare),
                "equivalent_utility": _plain(groups.equivalent_utility),
                "spent": _plain(doses.money(j).sum()),
                "groups": _rows(j, doses, request),
            }
            for j, groups in enumerate(doses.groups)
        ],
        "remarks": [text for _, text in remarks(doses, request)],
    }  # fmt: skip
    if doses.plans:
        content["whole"] = [
            {
                "alpha": _plain(alpha),
                "welfare": _plain(plan.welfare),
                "gap": _plain(plan.gap),
                "relative_gap": _plain(plan.relative_gap),
                "left": _plain(plan.money_left),
            }
            for alpha, plan in zip(doses.alphas, doses.plans, strict=True)
        ]
    if request.frontier:
        curve = frontier(doses.groups[0].problem)
        columns = ("alpha", "mean_utility", "equivalent_utility", "min_utility", "gini")
        content["frontier"] = {
            name: [_plain(value) for value in getattr(curve, name)]
            for name in (*columns, "price_of_fairness")
        }
    return content
