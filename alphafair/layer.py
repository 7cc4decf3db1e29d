"""The allocation as a PyTorch layer: exact doses, exact derivatives, batches, no solver.

**The closed form.**  Where nothing is bounded and nobody has anything yet, the two stages of the
core are written in differentiable operations, so that autograd, `torch.func`, `torch.compile` and
batching over leading dimensions work as for any function, with derivatives of any order.  Which
items are best is a discrete choice and carries no gradient; everything after it does (see
`alphafair.derivatives`).  Nothing is copied to the host, unless the tensors are there already.

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

from .checks import FREE, Integers, entry, number
from .groups import Groups, by_group, group_weights
from .layer_bounds import BOUNDS, on_device, recall, solve
from .utility import check_alpha
from .value import ROUNDING, money_exponent

LARGEST, SMALLEST = np.finfo(float).max, 5e-324  # x ≥ 0 is x > −5e−324
_LAST: WeakKeyDictionary[Groups, tuple[tuple[int, int], _Neighbours]] = WeakKeyDictionary()
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
    x, there, seen = _prepare(given, mask, groups)
    if skip:
        there = _who_can_be_helped(x, there, groups, within)
    size = _size(groups, there, x["benefit"])
    if isinstance(weight, str):
        group_weights(weight, groups)  # refuses every word but "size"
        x["weight"] = size.clamp(min=1)
    if exclusive or any(name in x for name in BOUNDS):
        dose = _with_bounds(x, alpha, there, groups, within, exclusive)
    else:
        dose = _closed_form(x, alpha, there, size, groups, within, seen)
    return dose.to(benefit.dtype)


# --- the closed form --------------------------------------------------------------------------
class _Fixed(NamedTuple):
    """What has no derivatives: α as a number (NaN for a tensor), ε, and the groups.

    ``size`` (..., K) is how many are there; ``code`` (..., M) the groups of the funded items, None
    at within = 0, where each group has one.
    """

    alpha: float
    within: float
    size: Tensor
    code: Tensor | None
    there: Tensor | None = None
    absent: Tensor | None = None
    able: Tensor | None = None


class _Split(NamedTuple):
    """How the budget is split.

    Of the groups (..., K) it has the shares π and log p; of the items (..., M) the shares y inside
    their groups, None at within = 0 (all to one item), and the doses.
    """

    group_share: Tensor
    log_p: Tensor
    share: Tensor | None
    dose: Tensor


def _closed_form(
    x: dict[str, Tensor],
    alpha: Tensor | float,
    there: Tensor | None,
    size: Tensor,
    groups: Groups,
    within: float,
    seen: bool,
) -> Tensor:
    """(..., N, T) doses Q π y / c on the funded items."""
    b, c, q = x["benefit"], x["cost"], x["budget"]
    log_w = x["weight"].log() if "weight" in x else None
    beta = None
    if "alpha" in x:
        least = torch.finfo(b.dtype).max ** (-1 / 3)  # so that 1/α³ is finite
        alpha, beta = math.nan, 1 / x["alpha"][..., None].clamp(min=least)
    assert not isinstance(alpha, Tensor)
    if seen and there is None and _is_eager(x.values()):
        if within == 0:
            item, code = _best_of_groups(b, c, groups), None
        else:
            item, code = _best_of_persons(b, c, groups, within)
        if item is not None:
            fixed = _Fixed(alpha, within, size, code)
            fused: Tensor = _Fused.apply(b, c, q, log_w, beta, item, fixed)  # type: ignore[no-untyped-call]
            return fused
    absent = None if there is None else size == 0
    item, code, able = _funded(b.detach(), c.detach(), there, absent, groups, within)
    size = size if absent is None else size.clamp(min=1)
    fixed = _Fixed(alpha, within, size, code, there, absent, able)
    return _table(_split(_at(b, item), _at(c, item), q, log_w, beta, fixed).dose, item, b.shape)


def _split(
    b: Tensor, c: Tensor, q: Tensor, log_w: Tensor | None, beta: Tensor | None, fixed: _Fixed
) -> _Split:
    """The closed form, from the benefits and costs (..., M) of the funded items."""
    share = None
    if fixed.code is None:
        ratio = b / c if fixed.able is None else torch.where(fixed.able, b / c, 1.0)
        log_p = ratio.log() - fixed.size.log()
    else:
        share, log_p = _inside(b, c, fixed.code, fixed)
    group_share = _across(log_w, log_p, beta, fixed)
    money = q[..., None] * group_share
    if fixed.code is not None and share is not None:
        money = money.gather(-1, fixed.code) * share
    return _Split(group_share, log_p, share, money / c)


def _at(table: Tensor, item: Tensor) -> Tensor:
    """(..., M) entries of a table (..., N, T) at the items i T + t."""
    return table.flatten(-2).gather(-1, item)


def _table(value: Tensor, item: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(..., N, T) with these values (..., M) at the items i T + t, and 0 elsewhere."""
    flat = value.new_zeros((*shape[:-2], shape[-2] * shape[-1]))
    return flat.scatter_add_(-1, item, value).view(shape)


def _funded(
    b: Tensor,
    c: Tensor,
    there: Tensor | None,
    absent: Tensor | None,
    groups: Groups,
    within: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Funded items, i T + t, and their groups (..., M): one a group or, at within > 0, a person.

    (Where there is one a group, None stands for the groups.)  And which groups (..., K) money can
    help, None if it is known that all.  The ratio b/c, not its logarithm, decides, and the first of
    ties wins, as in the core.
    """
    best, treatment = (b / c).max(-1)
    code = on_device(groups, b.device)[0].expand(best.shape)
    top = _largest_of_groups(best, groups)
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
    return item.gather(-1, first), None, able


def _largest_of_groups(ratio: Tensor, groups: Groups) -> Tensor:
    """(..., K) the largest ratio (..., N) of each group, 0 if none is positive."""
    code = on_device(groups, ratio.device)[0].expand(ratio.shape)
    top = ratio.new_zeros((*ratio.shape[:-1], groups.size.size))
    return top.scatter_reduce(-1, code, ratio, "amax")


def _inside(b: Tensor, c: Tensor, code: Tensor, fixed: _Fixed) -> tuple[Tensor, Tensor]:
    """Shares y (..., N) of the group's money and log productivities (..., K), at within > 0."""
    size, there = fixed.size, fixed.there
    s = money_exponent(fixed.within, _largest(b))
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


def _across(log_w: Tensor | None, log_p: Tensor, beta: Tensor | None, fixed: _Fixed) -> Tensor:
    """(..., K) budget shares: softmax( log(w)/α + (1/α − 1) log p ).

    0 for absent groups; NaN where no money can help another one.
    """
    absent = fixed.absent
    # At α = 0 the score is what the groups are compared by, and only compared.
    of_weight, tilt = (1.0, 1.0) if fixed.alpha == 0 else _exponents(beta, fixed.alpha, log_p)
    score = tilt * log_p
    if log_w is not None:
        score = of_weight * log_w + score
    if fixed.able is not None:
        score = score.where(fixed.able, torch.nan)
    if absent is not None:
        nobody = absent.all(-1, keepdim=True)
        score = score.masked_fill(absent, -torch.inf).masked_fill(nobody, 0.0)
    if fixed.alpha == 0:
        eps = ROUNDING * torch.finfo(score.dtype).eps / np.finfo(float).eps
        slack = eps * (1 + log_p.abs() + (0.0 if log_w is None else log_w.abs()))
        tied = (score >= score.amax(-1, keepdim=True) - slack).to(score.dtype)
        share = tied / tied.sum(-1, keepdim=True)
    else:
        share = torch.softmax(score, -1)
    return share if absent is None else share.masked_fill(absent, 0.0)


def _exponents(
    beta: Tensor | None, alpha: float, like: Tensor
) -> tuple[Tensor | float, Tensor | float]:
    """β = 1/α and β − 1, with which budgets follow log w and log p; 0 at α = 0: they stay."""
    if beta is not None:
        return beta, beta - 1
    tilt = money_exponent(alpha, _largest(like)) if alpha > 0 else -1.0
    return tilt + 1, tilt if alpha > 0 else 0.0


def _largest(value: Tensor) -> float:
    """An exponent that no logarithm of this precision takes out of its range."""
    return torch.finfo(value.dtype).max / 1e6


# --- the closed form where Python can look at values: one node of the graph -------------------
class _Fused(torch.autograd.Function):
    """`_split` with its derivative in closed form.

    With the money m = v d that a cotangent v of the doses sees in each item, and its sums M_k by
    group, the logarithms of `alphafair.derivatives` give, for π, y, β and s as there::

        t = M − π Σ M                                           (K,) sums to 0
        dlog r = y (β − 1) t + s (m − y M)                      (M,) at ε = 0: (β − 1) t
        db = dlog r / b,     dc = −(dlog r + m)/c,     dQ = Σ m / Q
        dlog w = β t,     dβ = Σ t (log p + log w)

    Whoever differentiates this once more gets the same formula from differentiable parts, which
    are then computed again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        benefit: Tensor,
        cost: Tensor,
        budget: Tensor,
        log_w: Tensor | None,
        beta: Tensor | None,
        item: Tensor,
        fixed: _Fixed,
    ) -> Tensor:
        parts = _split(_at(benefit, item), _at(cost, item), budget, log_w, beta, fixed)
        ctx.save_for_backward(benefit, cost, budget, log_w, beta, item, *parts)
        ctx.fixed = fixed
        return _table(parts.dose, item, benefit.shape)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        benefit, cost, budget, log_w, beta, item, *saved = ctx.saved_tensors
        fixed, needed = ctx.fixed, ctx.needs_input_grad
        b, c = _at(benefit, item), _at(cost, item)
        parts = _Split(*saved)
        if torch.is_grad_enabled():
            parts = _split(b, c, budget, log_w, beta, fixed)
        code, share, value, spent = fixed.code, parts.share, _at(v, item), parts.group_share
        of_beta, tilt = _exponents(beta, fixed.alpha, b)
        money = value * parts.dose
        of_group = money if code is None else _add(money, code, parts.log_p.shape)
        moved = of_group - parts.group_share * of_group.sum(-1, keepdim=True)
        if code is None or share is None:
            of_ratio = tilt * moved
        else:
            spent = spent.gather(-1, code) * share
            s = money_exponent(fixed.within, _largest(b))
            of_ratio = share * (tilt * moved).gather(-1, code)
            of_ratio = of_ratio + s * (money - share * of_group.gather(-1, code))
            b = b.where(b > 0, 1.0)  # else the share is 0
        found: list[Tensor | None] = [None] * len(needed)
        if needed[0]:
            found[0] = _table(of_ratio / b, item, v.shape)
        if needed[1]:
            found[1] = _table(-(of_ratio + money) / c, item, v.shape)
        if needed[2]:  # not money/Q, as Q may be 0
            found[2] = (value * (spent / c)).sum(-1)
        if needed[3]:
            found[3] = of_beta * moved
        if needed[4]:
            total = parts.log_p if log_w is None else parts.log_p + log_w
            found[4] = (moved * total).sum(-1, keepdim=True)
        return tuple(found)


def _is_eager(tensors: Iterable[Tensor]) -> bool:
    """Whether nothing but autograd watches: no transform, no trace, no forward mode.

    (`torch.compile` does not get here, as inside it nobody has seen the values.)
    """
    if torch._C._are_functorch_transforms_active() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in tensors)


class _Neighbours(NamedTuple):
    """The people of each group side by side, for a batch: ``row`` (N,) who stands where.

    And where in the table of the batch, read item by item, each group (B K,) begins and how many
    items it has.
    """

    row: Integers
    start: Integers
    length: Integers


def _neighbours(groups: Groups, batch: int, treatments: int) -> _Neighbours:
    """From the last call, if that was for the same shape."""
    shape = batch, treatments
    last = _LAST.get(groups)
    if last is None or last[0] != shape:
        row = np.argsort(groups.code, kind="stable")
        size = np.tile(groups.size * treatments, batch)
        last = _LAST[groups] = shape, _Neighbours(row, np.cumsum(size) - size, size)
    return last[1]


def _best_of_groups(b: Tensor, c: Tensor, groups: Groups) -> Tensor | None:
    """`_funded` at within = 0 in numpy: (..., K) items; None if some group has no ratio > 0."""
    (*batch, persons, treatments), count = b.shape, groups.size.size
    if b.numel() == 0:
        return None
    row, start, length = _neighbours(groups, math.prod(batch), treatments)
    ratio = (b.detach() / c.detach()).reshape(-1, persons, treatments).numpy()
    ratio = ratio.take(row, axis=1).reshape(-1)
    best = np.maximum.reduceat(ratio, start)
    if not best.min() > 0:  # or NaN
        return None
    leads = np.flatnonzero(ratio == best.repeat(length))
    place, treatment = np.divmod(leads[leads.searchsorted(start)], treatments)
    item = row[place % persons] * treatments + treatment
    return torch.from_numpy(item.reshape(*batch, count))


def _best_of_persons(
    b: Tensor, c: Tensor, groups: Groups, within: float
) -> tuple[Tensor | None, Tensor | None]:
    """`_funded` at within > 0: (..., N) items and groups; None if some group has no utility."""
    best, treatment = (b.detach() / c.detach()).max(-1)
    if best.numel() == 0:
        return None, None
    everybody = best.amin().item() > 0
    if not everybody and (within >= 1 or not (_largest_of_groups(best, groups) > 0).all()):
        return None, None
    item = treatment + torch.arange(0, b.shape[-2] * b.shape[-1], b.shape[-1])
    return item, on_device(groups, b.device)[0].expand(item.shape)


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
) -> tuple[dict[str, Tensor], Tensor | None, bool]:
    """The arguments as tensors of one precision, device and batch, checked; and who is there.

    And whether Python has seen that all are in their ranges.
    """
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
    seen = device.type == "cpu"
    for name, value in x.items():
        if not _is_plain(given[name], value):
            x[name] = checked(name, value, groups)
            seen = seen and x[name] is value
    return *_of_one_shape(x, there, groups), seen


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
