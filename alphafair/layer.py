"""The allocation as a PyTorch layer: exact doses, exact derivatives, batches, no solver.

**The closed form.**  Where nothing is bounded and nobody has anything yet, the two stages of the
core are written in differentiable operations, so that autograd, `torch.func`, `torch.compile` and
batching over leading dimensions work as for any function, with derivatives of any order.  Which
items are best is a discrete choice and carries no gradient; everything after it does (see
`alphafair.derivatives`).  Nothing is copied to the host, unless the tensors are there already.

**At one go.**  PyTorch needs some microseconds to start an operation, and the closed form is some
tens of them.  A plain problem (within = 0, no mask, α a number) on the CPU is therefore one node of
the graph, which computes in numpy and whose derivative is that of `alphafair.derivatives`.
Derivatives of a higher order, and all transforms, go through the operations.

**Bounds.**  With a baseline, floors, caps or bounds of the groups' budgets the core answers one
batch element after the other, on the host, and its Jacobian pulls the gradients back
(`alphafair.layer_bounds`): first derivatives, in every parameter that is a tensor.

**Who takes part.**  A mask takes items out.  Somebody who has no item left is not there: she does
not count in the size of her group, and a group without anybody has no part in the welfare.  The
doses are those of the people who are left, and 0, with derivatives of 0, for the others.  A group
with people whom no money can help is an error, as in the core, unless ``skip`` takes it out too.

Needs the extra ``alphafair[layer]``: torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.autograd import forward_ad

from .checks import FREE, Floats, Integers, entry, number
from .groups import Groups, by_group, group_weights
from .layer_bounds import BOUNDS, on_device, recall, solve
from .utility import check_alpha
from .value import ROUNDING, money_exponent

FILLED_UP = 2  # times as many items, in rows, are compared as fast as the items alone
LARGEST, SMALLEST = np.finfo(float).max, 5e-324  # x ≥ 0 is x > −5e−324
# The axes of each argument after those of the batch.
OWN_AXES = {
    **{"benefit": 2, "cost": 2, "budget": 0, "alpha": 0, "weight": 1},
    **{"baseline": 1, "floor": 2, "cap": 2, "group_floor": 1, "group_cap": 1},
}
# What masked items and people have instead of what they came with.
HARMLESS = {"benefit": 0.0, "cost": 1.0, "floor": 0.0, "cap": 1.0, "baseline": 0.0}
# low < value ≤ high, and how to say so.
_FINITE = (-SMALLEST, LARGEST, "finite and ≥ 0")
_CAP = (-SMALLEST, np.inf, "≥ 0; infinity is no bound")
RANGES = {
    "benefit": (-np.inf, LARGEST, "finite; drop that row or impute the value"),
    "cost": (0.0, LARGEST, f"finite and > 0; {FREE}"),
    "budget": _FINITE,
    "alpha": (0.0, np.inf, "> 0 as a tensor (pass 0 as a number)"),
    "weight": (0.0, LARGEST, "finite and > 0; leave a group out by masking its people"),
    "baseline": _FINITE,
    "floor": _FINITE,
    "cap": _CAP,
    "group_floor": _FINITE,
    "group_cap": _CAP,
    "best benefit": (0.0, LARGEST, "> 0 for all if within ≥ 1; use within < 1"),
    "best ratio": (0.0, np.inf, "> 0"),
}


def allocate(
    benefit: Tensor,
    cost: Tensor | float,
    group: ArrayLike | Groups,
    budget: Tensor | float,
    alpha: Tensor | float,
    *,
    within: float = 0.0,
    weight: Any = None,
    baseline: Any = None,
    floor: Any = None,
    cap: Any = None,
    exclusive: bool = False,
    group_floor: Any = None,
    group_cap: Any = None,
    mask: Any = None,
    skip: bool = False,
) -> Tensor:
    """α-fair doses, differentiable in everything that is a tensor.

    Args:
        benefit: b, (..., N, T), or (N,) for one treatment.  Items ≤ 0 are never chosen.
        cost: c > 0, broadcastable to (..., N, T); (N,) is a cost for each person.
        group: (N,) labels, or `Groups` (build it once: it then stays on the device); the same for
            the whole batch.  Inside `torch.compile` it has to be `Groups`, and what is given by
            group (``weight``, ``group_floor``, ``group_cap``) a tensor.
        budget: Q ≥ 0, a number or (...,).
        alpha: α in [0, ∞] as a number; as a tensor, a number or (...,), 0 < α ≤ ∞.
        within: ε in [0, ∞], a number.
        weight: as for `alphafair.allocate`, or a tensor (..., K) > 0.
        baseline: what people have already, a number or (..., N), ≥ 0.
        floor, cap: bounds of the doses, 0 ≤ floor ≤ cap, of the shapes that ``cost`` may have.
        exclusive: at most one treatment a person, Σ_t d/cap ≤ 1; needs finite caps.
        group_floor, group_cap: bounds of the groups' budgets, (..., K) or a mapping by label.
        mask: booleans, (..., N) for people (with one axis less than ``benefit``) or (..., N, T)
            for items; True takes part.  What is masked may hold anything, even NaN, and gets a
            dose of 0 and derivatives of 0.  Somebody whose items are all masked is not there: she
            does not count in the size of her group.  (Who is there and cannot benefit has
            benefits ≤ 0.)  A group without anybody gets no money and has no part in the welfare,
            and its bounds do not count.
        skip: leave out, as if they were masked, groups that no money can help, instead of an
            error: those without a baseline and without a positive benefit (with a cap above the
            floor, where there are bounds).  At within ≥ 1, where one such person would keep her
            group at a utility of 0, leave out such people.

    Returns:
        (..., N, T) doses, of the dtype and device of ``benefit``, computed in single precision at
        least.  With a baseline, bounds or ``exclusive`` they have first derivatives, in reverse
        mode; without, derivatives of any order in both modes.

    Raises:
        ValueError: values out of range, or a group that no money can help.  The index is that in
            the batch: "benefit[3, 5, 0]" is person 5 of element 3.  On another device than the
            CPU values are not looked at, because that would mean to stop and wait for it: there
            the doses of a batch element with such a group are NaN, as with a benefit of NaN.
            (With bounds the core looks at everything, wherever it comes from.)
        TypeError: a benefit that is no floating-point tensor, a mask that is not boolean.
        NotImplementedError: second derivatives, with bounds.

    Example:
        >>> b = torch.tensor([4.0, 1.0], dtype=torch.float64, requires_grad=True)
        >>> dose = allocate(b, 1.0, ["a", "b"], budget=30.0, alpha=2.0)
        >>> dose[:, 0].tolist()
        [10.0, 20.0]
        >>> torch.autograd.grad(dose[0, 0], b)[0].numpy().round(6)
        array([-0.833333,  3.333333])
        >>> cap = torch.tensor([5.0, torch.inf], dtype=torch.float64, requires_grad=True)
        >>> dose = allocate(b, 1.0, ["a", "b"], budget=30.0, alpha=2.0, cap=cap)
        >>> dose[:, 0].tolist()
        [5.0, 25.0]
        >>> torch.autograd.grad(dose[1, 0], cap)[0].tolist()      # what a may have more, b has less
        [-1.0, 0.0]
        >>> two = torch.tensor([[[4.0], [1.0]], [[4.0], [torch.nan]]])      # b is not in the second
        >>> there = torch.tensor([[True, True], [True, False]])
        >>> allocate(two, 1.0, ["a", "b"], budget=30.0, alpha=2.0, mask=there)[:, :, 0].tolist()
        [[10.0, 20.0], [30.0, 0.0]]
    """
    groups = group if isinstance(group, Groups) else Groups(group)
    within = number("within", within, "between 0 and infinity", lambda value: value >= 0)
    others = (baseline, floor, cap, group_floor, group_cap, mask)
    if within == 0 and not (exclusive or skip) and all(other is None for other in others):
        plain = _plain(benefit, cost, groups, budget, alpha, weight)
        if plain is not None:
            dose: Tensor = _AtOneGo.apply(benefit, cost, budget, plain)  # type: ignore[no-untyped-call]
            return dose
    given: dict[str, Any] = {"benefit": benefit, "cost": cost, "budget": budget}
    if isinstance(alpha, Tensor):
        given["alpha"] = alpha
    elif not (isinstance(alpha, int | float) and alpha >= 0):  # torch.compile follows this much
        alpha = check_alpha(alpha)
    for name, bound in (("baseline", baseline), ("floor", floor), ("cap", cap)):
        if bound is not None:
            given[name] = bound
    by_label = {"weight": weight, "group_floor": group_floor, "group_cap": group_cap}
    for name, value in by_label.items():
        if not (value is None or isinstance(value, str)):
            given[name] = value if isinstance(value, Tensor) else by_group(name, value, groups)
    x, there = _prepare(given, mask, groups)
    if skip:
        there = _who_can_be_helped(x, there, groups, within)
    size = _size(groups, there, x["benefit"])
    if isinstance(weight, str):
        group_weights(weight, groups)  # refuses every word but "size"
        x["weight"] = size.clamp(min=1)
    if exclusive or any(name in x for name in BOUNDS):
        dose = _with_bounds(x, alpha, there, groups, within, exclusive)
    else:
        dose = _closed_form(x, alpha, there, size, groups, within)
    return dose.to(benefit.dtype)


# --- the closed form --------------------------------------------------------------------------
def _closed_form(
    x: dict[str, Tensor],
    alpha: Tensor | float,
    there: Tensor | None,
    size: Tensor,
    groups: Groups,
    within: float,
) -> Tensor:
    """(..., N, T) doses Q π y / c on the funded items."""
    b, c, q = x["benefit"], x["cost"], x["budget"]
    shape = b.shape
    absent = None if there is None else size == 0
    item, code, able = _funded(b.detach(), c.detach(), there, absent, groups, within)
    b, c = (table.flatten(-2).gather(-1, item) for table in (b, c))
    size = size if absent is None else size.clamp(min=1)
    share: Tensor | float = 1.0
    if within == 0:
        ratio = b / c if able is None else torch.where(able, b / c, 1.0)
        log_p = ratio.log() - size.log()
    else:
        share, log_p = _inside(b, c, code, there, size, within)
    log_w = x["weight"].log() if "weight" in x else None
    split = _across(log_w, log_p, x.get("alpha", alpha), able, absent)
    amount = (q[..., None] * split).gather(-1, code) * share / c
    dose = torch.zeros(shape, dtype=b.dtype, device=b.device).flatten(-2)
    return dose.scatter_add(-1, item, amount).reshape(shape)


def _funded(
    b: Tensor,
    c: Tensor,
    there: Tensor | None,
    absent: Tensor | None,
    groups: Groups,
    within: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Funded items, i T + t, and their groups (..., M): one a group or, at within > 0, a person.

    And which groups (..., K) money can help, None if it is known that all.  The ratio b/c, not its
    logarithm, decides, and the first of ties wins, as in the core.
    """
    best, treatment = (b / c).max(-1)
    code = on_device(groups, b.device)[0].expand(best.shape)
    top = best.new_zeros((*best.shape[:-1], groups.size.size))
    top = top.scatter_reduce(-1, code, best, "amax")
    seen = checked("best ratio", top if absent is None else top.where(~absent, 1.0), groups)
    able = None
    if seen is not top or top.device.type != "cpu":
        able = seen > 0 if absent is None else (seen > 0) & ~absent
    row = torch.arange(best.shape[-1], device=b.device)
    item = row * b.shape[-1] + treatment
    if within > 0:
        if within >= 1:
            most = b.amax(-1) if there is None else b.amax(-1).where(there, 1.0)
            most = checked("best benefit", most, groups)
            if able is not None:
                able = able & (most > 0).all(-1, keepdim=True)
        return item, code, able
    winner = torch.where(best == top.gather(-1, code), row, row.numel())
    first = torch.full_like(top, row.numel() - 1, dtype=row.dtype)  # any, if nobody wins
    first = first.scatter_reduce(-1, code, winner, "amin")
    group = torch.arange(top.shape[-1], device=b.device).expand(top.shape)
    return item.gather(-1, first), group, able


def _inside(
    b: Tensor, c: Tensor, code: Tensor, there: Tensor | None, size: Tensor, within: float
) -> tuple[Tensor, Tensor]:
    """Shares y (..., N) of the group's money and log productivities (..., K), at within > 0."""
    s = money_exponent(within, _largest(b))
    shape, able = (*b.shape[:-1], size.shape[-1]), b > 0
    log_ratio = torch.where(able, b, 1).log() - c.log()
    # Relative to the largest ratio (s ≥ 0) or the least, so that s z ≤ 0.
    sign = -1.0 if s < 0 else 1.0
    masked = torch.where(able, sign * log_ratio.detach(), -torch.inf)
    top = torch.full(shape, -torch.inf, dtype=b.dtype, device=b.device)
    top = sign * top.scatter_reduce(-1, code, masked, "amax")
    z = torch.where(able, log_ratio - top.gather(-1, code), 0)
    power = torch.where(able, (s * z).exp(), 0)
    total = _add(power, code, shape)
    if there is not None:  # a group may have nobody
        some = total > 0
        top, total = top.where(some, 0.0), total.where(some, 1.0)
    if s == 0:
        log_mean = _add(z, code, shape) / size
    else:  # of the mean power; where that is near 1, through expm1 (as in the core)
        useless = -1.0 if there is None else -there.to(z.dtype)
        excess = _add(torch.where(able, (s * z).expm1(), useless), code, shape) / size
        near = excess > -0.5
        log_mean = torch.where(near, torch.where(near, excess, 0).log1p(), (total / size).log()) / s
    return power / total.gather(-1, code), top + log_mean - size.log()


def _add(value: Tensor, code: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=value.dtype, device=value.device).scatter_add(-1, code, value)


def _across(
    log_w: Tensor | None,
    log_p: Tensor,
    alpha: Tensor | float,
    able: Tensor | None = None,
    absent: Tensor | None = None,
) -> Tensor:
    """(..., K) budget shares: softmax( log(w)/α + (1/α − 1) log p ).

    0 for absent groups; NaN where no money can help another one.
    """
    beta: Tensor | float
    tilt: Tensor | float
    if isinstance(alpha, Tensor):
        least = torch.finfo(log_p.dtype).max ** (-1 / 3)  # so that 1/α³ is finite
        beta = 1 / alpha[..., None].clamp(min=least)
        tilt = beta - 1
    else:
        # At α = 0 the score is what the groups are compared by, and only compared.
        tilt = money_exponent(alpha, _largest(log_p)) if alpha > 0 else 1.0
        beta = tilt + 1 if alpha > 0 else 1.0
    score = tilt * log_p
    if log_w is not None:
        score = beta * log_w + score
    if able is not None:
        score = score.where(able, torch.nan)
    if absent is not None:
        nobody = absent.all(-1, keepdim=True)
        score = score.masked_fill(absent, -torch.inf).masked_fill(nobody, 0.0)
    if isinstance(alpha, Tensor) or alpha > 0:
        share = torch.softmax(score, -1)
    else:
        eps = ROUNDING * torch.finfo(score.dtype).eps / np.finfo(float).eps
        slack = eps * (1 + log_p.abs() + (0.0 if log_w is None else log_w.abs()))
        tied = (score >= score.amax(-1, keepdim=True) - slack).to(score.dtype)
        share = tied / tied.sum(-1, keepdim=True)
    return share if absent is None else share.masked_fill(absent, 0.0)


def _largest(value: Tensor) -> float:
    """An exponent that no logarithm of this precision takes out of its range."""
    return torch.finfo(value.dtype).max / 1e6


# --- the closed form at one go ----------------------------------------------------------------
# What costs time in a small problem is to start: right after autograd's own code, a method of an
# array (`take`, `argmax`, `dot`) takes about one microsecond; an operation of PyTorch, an
# `errstate` or broadcasting five; and a reduction by a ufunc, as in `sum` and `min`, ten.
class _Layout(NamedTuple):
    """The items of each group side by side, for a batch B.

    Attributes:
        item: their positions in the table of the batch: (B K, L), a row for each group, filled up
            with its last one; or (B N T,), one group after the other, where sizes differ much.
        start, length: (B K,) where each group begins there, and how many items it has.
        log_size: (K,) log G.
        ones: (K,), whose product with the numbers of the groups is their sum.
    """

    item: Integers
    start: Integers
    length: Integers
    log_size: Tensor
    ones: Floats

    def leads(self, ratio: Floats) -> Integers:
        """(B K,) positions of the first of the best of these ratios (B N T,) in each group."""
        ratio = ratio.take(self.item)
        if ratio.ndim == 2:
            lead: Integers = self.start + ratio.argmax(1)
        else:
            best = np.maximum.reduceat(ratio, self.start).repeat(self.length)
            lead = (ratio == best).nonzero()[0]
            lead = lead.take(lead.searchsorted(self.start))
        return np.asarray(self.item.take(lead))


class _Plain(NamedTuple):
    """A problem that can be solved at one go, and its best items, one a group.

    Attributes:
        groups, alpha, weight: the arguments; the weights as a tensor (K,), None if all are 1.
        own: the shape of the tables as they came, (..., N, T) or (N,).
        shape: (..., N, T).
        layout: of the items.
        position: the best items in the table of the batch, (B, K), or (K,) if B = 1.
        b, c, ratio: their benefits, costs and ratios.
    """

    groups: Groups
    alpha: float
    weight: Tensor | None
    own: tuple[int, ...]
    shape: tuple[int, ...]
    layout: _Layout
    position: Integers
    b: Floats
    c: Floats
    ratio: Floats


_LAYOUTS: WeakKeyDictionary[Groups, tuple[Any, _Layout]] = WeakKeyDictionary()


def _layout(groups: Groups, shape: tuple[int, ...], dtype: torch.dtype) -> _Layout:
    """The layout of the last call with these groups, if that was for a table of this shape."""
    last = _LAYOUTS.get(groups)
    if last is None or last[0] != (shape, dtype):
        batch, treatments = math.prod(shape[:-2]), shape[-1]
        table = np.arange(math.prod(shape)).reshape(batch, len(groups), treatments)
        code = groups.code.astype(np.min_scalar_type(groups.size.size))  # few bits sort by radix
        item = table[:, np.argsort(code, kind="stable")].reshape(-1)
        length = np.tile(groups.size * treatments, batch)
        start, longest = np.cumsum(length) - length, int(length.max())
        if length.size * longest <= FILLED_UP * item.size:
            item = item[start[:, None] + np.minimum(np.arange(longest), length[:, None] - 1)]
            start = np.arange(length.size) * longest
        log_size = torch.as_tensor(groups.size).to(dtype).log()
        ones = np.ones(groups.size.size, log_size.numpy().dtype)
        last = (shape, dtype), _Layout(item, start, length, log_size, ones)
        _LAYOUTS[groups] = last
    return last[1]


def _plain(
    benefit: Any, cost: Any, groups: Groups, budget: Any, alpha: Any, weight: Any
) -> _Plain | None:
    """What can be solved at one go; None for every other problem, and for bad input.

    Whatever this does not know it leaves to the operations, and to the messages, above.
    """
    if _is_watched() or isinstance(alpha, Tensor) or isinstance(weight, Tensor):
        return None
    if not (isinstance(benefit, Tensor) and benefit.dtype in (torch.float64, torch.float32)):
        return None
    own, dtype = benefit.shape, benefit.dtype
    shape = (*own, 1) if len(own) == 1 else tuple(own)
    if len(shape) < 2 or shape[-2] != len(groups) or benefit.numel() == 0:
        return None
    for value, axes in ((benefit, own), (cost, own), (budget, shape[:-2])):
        if isinstance(value, Tensor):
            if not (value.dtype == dtype and value.is_cpu and value.shape == axes):
                return None
        elif not _is_plain(value, benefit):
            return None
    largest = torch.finfo(dtype).max
    if isinstance(budget, Tensor) and not (budget.min() >= 0 and budget.max() <= largest):
        return None
    if weight is not None:
        sizes = isinstance(weight, str) and weight == "size"
        if isinstance(weight, str) and not sizes:
            return None
        numbers = groups.size if sizes else by_group("weight", weight, groups)
        weight = torch.as_tensor(numbers, dtype=dtype)
        if not (weight.min() > 0 and weight.max() <= largest):
            return None
    return _with_best(benefit, cost, shape, groups, check_alpha(alpha), weight)


@np.errstate(all="ignore")
def _with_best(
    benefit: Tensor,
    cost: Tensor | float,
    shape: tuple[int, ...],
    groups: Groups,
    alpha: float,
    weight: Tensor | None,
) -> _Plain | None:
    """The problem with the first of the best ratios of each group; None if one is not > 0."""
    layout = _layout(groups, shape, benefit.dtype)
    b = benefit.numpy(force=True).reshape(-1)
    if isinstance(cost, Tensor):
        c = cost.numpy(force=True).reshape(-1)
    else:
        c = np.empty_like(b)
        c.fill(cost)
    # Whatever is not finite leaves its mark on the sum; what overflows is left to others, too.
    if not (c.item(c.argmin()) > 0 and math.isfinite(b.dot(c))):
        return None
    ratio = b / c
    position, count = layout.leads(ratio), groups.size.size
    if position.size > count:
        position = position.reshape(-1, count)
    best = ratio.take(position)
    if not best.item(best.argmin()) > 0:
        return None
    b, c = b.take(position), c.take(position)
    return _Plain(groups, alpha, weight, benefit.shape, shape, layout, position, b, c, best)


def _is_watched() -> bool:
    """Whether something besides autograd looks at the operations: a transform or a trace.

    PyTorch has no public names for three of these questions; its own Function asks the first.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
        or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    )


class _AtOneGo(torch.autograd.Function):
    """The doses of a plain problem, with one item in each group.

    With the money m = v d that a cotangent v of the doses sees in each item, and the shares π of
    the groups, the logarithms of `alphafair.derivatives` give (β = 1/α; at α = 0 budgets do not
    move, and t does not count)::

        t = m − π Σ m                                   (K,) sums to 0
        dlog r = (β − 1) t
        db = dlog r / b,    dc = −(dlog r + m)/c,    dQ = Σ v π / c
    """

    @staticmethod
    @np.errstate(all="ignore")
    def forward(
        ctx: Any, benefit: Tensor, cost: Tensor | float, budget: Tensor | float, plain: _Plain
    ) -> Tensor:
        log_p = torch.from_numpy(plain.ratio).log() - plain.layout.log_size
        log_w = None if plain.weight is None else plain.weight.log()
        share = _across(log_w, log_p, plain.alpha).numpy()
        q = budget.numpy().reshape(-1) if isinstance(budget, Tensor) else budget
        dose = _scaled(share, q) / plain.c
        inputs = (benefit, cost, budget)
        ctx.save_for_backward(*(x if isinstance(x, Tensor) else None for x in inputs))
        ctx.numbers = [None if isinstance(x, Tensor) else x for x in inputs]
        ctx.plain, ctx.share, ctx.dose = plain, share, dose
        ctx.tilt = money_exponent(plain.alpha, _largest(log_p)) if plain.alpha > 0 else 0.0
        return _filled(dose, plain, plain.shape)

    @staticmethod
    @np.errstate(all="ignore")
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        try:
            seen = None if torch.is_grad_enabled() or _is_watched() else cotangent.numpy()
        except RuntimeError:  # a batch of cotangents of one graph
            seen = None
        if seen is None:
            return *_pull_through_operations(ctx, cotangent), None
        plain, (of_benefit, of_cost, of_budget, _) = ctx.plain, ctx.needs_input_grad
        value = seen.reshape(-1).take(plain.position)
        money = value * ctx.dose
        moved = money - _scaled(ctx.share, money.dot(plain.layout.ones))
        of_ratio = ctx.tilt * moved
        b = c = q = None
        if of_benefit:
            b = _filled(of_ratio / plain.b, plain, plain.own)
        if of_cost:
            c = _filled(-(of_ratio + money) / plain.c, plain, plain.own)
        if of_budget:  # not through money/Q, as Q may be 0
            total = (value * (ctx.share / plain.c)).dot(plain.layout.ones)
            q = torch.from_numpy(np.asarray(total).reshape(plain.shape[:-2]))
        return b, c, q, None


def _scaled(share: Floats, factor: Any) -> Any:
    """Shares, (B, K) or (K,), times a number for each element of the batch, or one for all."""
    return (share.T * factor).T


def _filled(value: Floats, plain: _Plain, shape: tuple[int, ...]) -> Tensor:
    """A table with these values (..., K) at the best items, and 0 elsewhere."""
    table = np.zeros(shape, value.dtype)
    table.put(plain.position, value)
    return torch.from_numpy(table)


def _pull_through_operations(ctx: Any, cotangent: Tensor) -> list[Tensor | None]:
    """The cotangents of benefit, cost and budget, which can be differentiated again."""
    plain, again = ctx.plain, torch.is_grad_enabled()
    needed = [i for i in range(3) if ctx.needs_input_grad[i]]
    with torch.enable_grad():
        inputs = [  # views, so that the same tensor given twice is two inputs
            number if x is None else x.view_as(x)
            for x, number in zip(ctx.saved_tensors, ctx.numbers, strict=True)
        ]
        given = dict(zip(("benefit", "cost", "budget"), inputs, strict=True))
        if plain.weight is not None:
            given["weight"] = plain.weight
        x, _ = _prepare(given, None, plain.groups)
        size = _size(plain.groups, None, inputs[0])
        dose = _closed_form(x, plain.alpha, None, size, plain.groups, 0.0)
        found: list[Tensor | None] = [None] * 3
        if not dose.requires_grad:  # α = 0, where benefits move nothing
            dose = dose + 0 * inputs[0].sum()
        slopes = torch.autograd.grad(
            dose,
            [inputs[i] for i in needed],
            cotangent,
            create_graph=again,
            materialize_grads=True,
        )
    for i, slope in zip(needed, slopes, strict=True):
        found[i] = slope
    return found


# --- with bounds: the core --------------------------------------------------------------------
def _with_bounds(
    x: dict[str, Tensor],
    alpha: Tensor | float,
    there: Tensor | None,
    groups: Groups,
    within: float,
    exclusive: bool,
) -> Tensor:
    """(..., N, T) doses of the core."""
    budget = x["budget"]
    weight = x.get("weight", budget.new_ones(())).expand(*budget.shape, groups.size.size)
    a = x["alpha"] if "alpha" in x else budget.new_tensor(alpha).expand(budget.shape)
    code = on_device(groups, budget.device)[0]
    tensors = (x["benefit"], x["cost"], budget, a, weight, *(x.get(name) for name in BOUNDS))
    return solve(*tensors, there, code, within, exclusive, id(groups))


# --- who takes part ---------------------------------------------------------------------------
def _who_can_be_helped(
    x: dict[str, Tensor], there: Tensor | None, groups: Groups, within: float
) -> Tensor:
    """(..., N) who is there, less those whom ``skip`` leaves out."""
    b, nothing = x["benefit"].detach(), x["budget"].new_zeros(())
    floor = x.get("floor", nothing).detach()
    can = ~(b <= 0)  # NaN is for others to complain of
    if "cap" in x:
        can = can & (x["cap"].detach() > floor)
    has = x.get("baseline", nothing).detach() + (b * floor).sum(-1)
    there = torch.ones_like(has, dtype=torch.bool) if there is None else there
    if within >= 1:
        return there & (can.any(-1) | (has > 0))
    code = on_device(groups, b.device)[0].expand(there.shape)
    shape = (*there.shape[:-1], groups.size.size)
    can_rise = _add((there & can.any(-1)).to(b.dtype), code, shape) > 0
    has_some = _add(has.where(there, 0.0), code, shape) > 0
    return there & (can_rise | has_some).gather(-1, code)


def _size(groups: Groups, there: Tensor | None, like: Tensor) -> Tensor:
    """(K,), or with a mask (..., K), how many people of each group are there."""
    code, size = on_device(groups, like.device)
    if there is None:
        return size.to(like.dtype)
    return _add(there.to(like.dtype), code.expand(there.shape), (*there.shape[:-1], size.numel()))


class AlphaFairLayer(torch.nn.Module):
    """`allocate` as a module, for fixed groups, α, `within` and weights.

    Args:
        group: (N,) labels or `Groups`.
        alpha: α in [0, ∞]; a `torch.nn.Parameter` > 0 is learned.
        within: ε in [0, ∞].
        weight: as for `alphafair.allocate`; a `torch.nn.Parameter` (K,) > 0 is learned.
        exclusive: at most one treatment a person.
        skip: leave out whom no money can help, as in `allocate`.

    Example:
        >>> layer = AlphaFairLayer(["a", "b"], alpha=1.0)
        >>> layer(torch.tensor([4.0, 1.0]), 1.0, 30.0)[:, 0].tolist()
        [15.0, 15.0]
        >>> layer(torch.tensor([4.0, 1.0]), 1.0, 30.0, cap=10.0)[:, 0].tolist()
        [10.0, 10.0]
    """

    def __init__(
        self,
        group: ArrayLike | Groups,
        alpha: Tensor | float,
        within: float = 0.0,
        weight: Any = None,
        *,
        exclusive: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.group = group if isinstance(group, Groups) else Groups(group)
        self.alpha = alpha if isinstance(alpha, Tensor) else check_alpha(alpha)
        fixed = weight is None or isinstance(weight, str | Tensor)
        self.weight = weight if fixed else torch.as_tensor(group_weights(weight, self.group))
        self.within, self.exclusive, self.skip = within, exclusive, skip

    def forward(
        self,
        benefit: Tensor,
        cost: Tensor | float,
        budget: Tensor | float,
        *,
        mask: Any = None,
        **bounds: Any,
    ) -> Tensor:
        """Doses (..., N, T); bounds and a baseline by the names that they have in `allocate`."""
        settings = (self.within, self.weight, self.exclusive, self.skip)
        names = ("within", "weight", "exclusive", "skip")
        bounds |= dict(zip(names, settings, strict=True))
        return allocate(benefit, cost, self.group, budget, self.alpha, mask=mask, **bounds)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        alpha = self.alpha.tolist() if isinstance(self.alpha, Tensor) else f"{self.alpha:g}"
        return f"{self.group}, alpha={alpha}, within={self.within:g}"


# --- the arguments ----------------------------------------------------------------------------
def _prepare(
    given: dict[str, Any], mask: Any, groups: Groups
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The arguments as tensors of one precision, device and batch, checked; and who is there."""
    benefit, persons = given["benefit"], len(groups)
    if not (isinstance(benefit, Tensor) and benefit.is_floating_point()):
        kind = getattr(benefit, "dtype", type(benefit).__name__)
        raise TypeError(f"benefit must be a floating-point tensor, not {kind}")
    dtype, device = torch.promote_types(benefit.dtype, torch.float32), benefit.device
    x = {name: torch.as_tensor(v, dtype=dtype, device=device) for name, v in given.items()}
    for name, value in x.items():
        if OWN_AXES[name] == 2 and value.ndim == 1:
            x[name] = value[:, None]
    if benefit.ndim == 0 or x["benefit"].shape[-2] != persons:
        raise ValueError(
            f"benefit has shape {tuple(benefit.shape)}: must be (..., {persons}, T), a row for "
            f"each of the {persons} group labels"
        )
    there = None
    if mask is not None:
        items = _mask(mask, benefit)
        there = items.any(-1)
        for name, harmless in HARMLESS.items():
            if name in x:
                x[name] = x[name].where(there if OWN_AXES[name] == 1 else items, harmless)
    for name, value in x.items():
        if not _is_plain(given[name], value):
            x[name] = checked(name, value, groups)
    return _of_one_shape(x, there, groups)


def _is_plain(given: Any, value: Tensor) -> bool:
    """Whether Python sees that this is in its range: a number well inside its precision, > 0."""
    if not isinstance(given, int | float):
        return False
    precision = torch.finfo(value.dtype)
    return precision.tiny <= given <= precision.max


def _mask(mask: Any, benefit: Tensor) -> Tensor:
    """(..., N, T) or (..., N, 1) which items take part."""
    items = torch.as_tensor(mask, device=benefit.device)
    if items.dtype != torch.bool:
        raise TypeError(f"mask must be boolean (True takes part), not {items.dtype}")
    if items.ndim == 1 or items.ndim == benefit.ndim - 1:
        items = items[..., None]
    persons = benefit.shape[0] if benefit.ndim == 1 else benefit.shape[-2]
    if items.ndim < 2 or items.shape[-2] != persons:
        raise ValueError(
            f"mask has shape {tuple(torch.as_tensor(mask).shape)}: must be (..., {persons}) with "
            f"one axis less than benefit, or (..., {persons}, T) with as many"
        )
    return items


def _of_one_shape(
    x: dict[str, Tensor], there: Tensor | None, groups: Groups
) -> tuple[dict[str, Tensor], Tensor | None]:
    """All with the same axes of the batch in front, and the tables with the same T."""
    try:
        batch = _common(v.shape[: max(0, v.ndim - OWN_AXES[name])] for name, v in x.items())
        treatments = _common(v.shape[-1:] for name, v in x.items() if OWN_AXES[name] == 2)
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in x.items())
        raise ValueError(
            f"shapes must fit together, the axes of the batch first: {shapes}"
        ) from None
    own = {
        **dict.fromkeys(("benefit", "cost", "floor", "cap"), (len(groups), *treatments)),
        **dict.fromkeys(("weight", "group_floor", "group_cap"), (groups.size.size,)),
        "baseline": (len(groups),),
    }
    for name, value in x.items():
        shape = (*batch, *own.get(name, ()))
        if value.shape == shape:
            continue
        try:
            x[name] = value.expand(shape)
        except RuntimeError:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}: must be broadcastable to {shape}"
            ) from None
    return x, None if there is None else there.expand(*batch, len(groups))


def _common(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that all can be broadcast to; fast where at most one is not ()."""
    distinct = {shape for shape in shapes if shape}
    if len(distinct) > 1:
        return tuple(torch.broadcast_shapes(*distinct))
    return tuple(*distinct)


# --- checks -----------------------------------------------------------------------------------
def checked(name: str, value: Tensor, groups: Groups) -> Tensor:
    """The value itself, where it is in its range; elsewhere ValueError about the first entry.

    Other devices are not waited for.  Inside `torch.vmap` and `torch.compile`, where Python cannot
    look at values, an operator does, and adds its 0, so that it is not left out.
    """
    if value.device.type != "cpu":
        return value
    if not torch.compiler.is_compiling():
        low, high, _ = RANGES[name]
        try:
            least, most = (extreme.item() for extreme in value.aminmax())
        except RuntimeError:  # inside torch.vmap
            pass
        else:
            if not (low < least and most <= high):
                _refuse(name, value, groups)
            return value
    zero: Tensor = check(value.detach(), name, id(groups))
    return value + zero


@torch.library.custom_op("alphafair::check", mutates_args=())
def check(value: Tensor, name: str, key: int) -> Tensor:
    """0, or ValueError about the first entry that is out of its range."""
    low, high, _ = RANGES[name]
    exact = value.double()
    if not ((exact > low) & (exact <= high)).all():
        _refuse(name, value, recall(key))
    return value.new_zeros(())


@check.register_fake
def _check_fake(value: Tensor, name: str, key: int) -> Tensor:
    return value.new_zeros(())


@check.register_vmap
def _check_vmap(info: Any, in_dims: Any, value: Tensor, name: str, key: int) -> tuple[Tensor, None]:
    return check(value.movedim(in_dims[0], 0), name, key), None


def _refuse(name: str, value: Tensor, groups: Groups | None) -> NoReturn:
    """The error about the first entry that is out of its range, in the order of the batch."""
    low, high, expected = RANGES[name]
    exact = value.detach().double()  # in which every bound is itself, and not infinity
    index = (~((exact > low) & (exact <= high))).nonzero()[0].tolist()
    came = exact[tuple(index)].item()
    if name == "best ratio":
        *element, k = index
        label = k if groups is None else groups.label[k]
        where = f" in batch element {entry(element)}" if element else ""
        raise ValueError(
            f"group {label!s} has no item with a positive benefit{where}: no budget can give it "
            f"utility; drop the group, mask its people, or leave such groups out with skip=True"
        )
    name = name.removeprefix("best ")
    raise ValueError(f"{name}{index} is {came}: must be {expected}")
