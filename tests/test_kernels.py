"""Every compiled loop and its plain twin agree, on integers with ties and on random numbers."""

import math
import os
import subprocess
import sys
import types

import numpy as np
import pytest

import alphafair as af
from alphafair import kernels
from alphafair.kernels import numba
from alphafair.value import Knapsack

compiled = pytest.mark.skipif(numba() is None, reason="numba is not installed, or unwanted")
SEEDS = range(5)


def tied(rng, shape, low=1):
    """Small integers times 0.1: many ties, some of them but for rounding."""
    return rng.integers(low, 6, shape) * 0.1


def pieces(rng, groups=7):
    """Items of groups, some of which have none; positions, starts, an increasing column."""
    count = rng.integers(0, 9, groups)
    start = np.concatenate([[0], np.cumsum(count + 1)])
    money = kernels.prefix_sums(tied(rng, start[-1], low=0), start)
    return start, money


def code_types(code):
    """The same codes in every type of integers that groups may come in."""
    return [code.astype(kind) for kind in (np.uint8, np.uint16, np.int32, np.intp)]


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 40, 5000])
def test_group_sum(seed, size, monkeypatch):
    """To the bit, in any order of the terms, and right to the last digit; group 4 is empty."""
    rng = np.random.default_rng(seed)
    value, order = (
        rng.uniform(0, 1, size) * 10.0 ** rng.integers(-3, 3, size),
        rng.permutation(size),
    )
    group = rng.integers(0, 4, size)
    sums = [kernels.group_sum(value, group, 5), kernels.group_sum(value[order], group[order], 5)]
    monkeypatch.setattr(kernels._add_kernel, "large", 0)
    monkeypatch.setattr(kernels._extremes_kernel, "large", 0)
    sums += [kernels.group_sum(value, code, 5) for code in code_types(group)]
    assert all(np.array_equal(one, sums[0]) for one in sums)
    exact = [math.fsum(value[group == k]) for k in range(5)]
    np.testing.assert_allclose(sums[0], exact, rtol=2.3e-16)


@compiled
@pytest.mark.parametrize("large", [0, 10**9])
def test_group_sum_of_extremes(large, monkeypatch):
    """Near the least and the largest double, of both signs, infinite, not a number."""
    for kernel in (kernels._add_kernel, kernels._extremes_kernel):
        monkeypatch.setattr(kernel, "large", large)
    code = np.array([0, 0, 0, 1])
    for terms in ([5e-324, 1e-320, 0], [1e308, -1e308, 5e307], [-0.0, 0, 0], [3, -1e-12, -3]):
        assert kernels.group_sum(np.array([*terms, 7.0]), code, 2).tolist() == [math.fsum(terms), 7]
    for odd in (np.inf, -np.inf, np.nan):
        total = kernels.group_sum(np.array([1.0, odd, 2.0, 7.0]), code, 2)
        np.testing.assert_array_equal(total, [odd, 7.0])


def test_group_sum_by_blocks():
    """Sums do not depend on how their terms are cut; scaled by powers of two, nothing rounds."""
    rng = np.random.default_rng(0)
    value, code = rng.uniform(-1, 1, 1000), rng.integers(0, 3, 1000)
    whole, blocks = (kernels.GroupSums(3, 1000, np.array([1.0, 2.0**-4, 0.5])) for _ in range(2))
    whole.add(value, code)
    for some in np.split(rng.permutation(1000), [1, 5, 300, 301]):
        blocks.add(value[some], code[some])
    assert np.array_equal(whole.total, blocks.total)
    exact = [math.fsum(value[code == k]) for k in range(3)]
    np.testing.assert_allclose(whole.total, exact, rtol=0, atol=4e-15)


@compiled
@pytest.mark.parametrize("seed", SEEDS)
def test_group_extremes(seed):
    """The first of those that tie; nobody in group 6."""
    rng = np.random.default_rng(seed)
    value, group = tied(rng, 100, low=-2), rng.integers(0, 6, 100)
    for code in code_types(group):
        one = kernels._extremes_kernel.compiled(value, code, 7)
        other = kernels._extremes_kernel.plain(value, code, 7)
        for x, y in zip(one, other, strict=True):
            assert np.array_equal(x, y)
    least, largest, first = one
    for k in range(6):
        own = value[group == k]
        assert (least[k], largest[k]) == (own.min(), own.max())
        assert first[k] == np.flatnonzero(group == k)[own.argmax()]
    assert (least[6], largest[6], first[6]) == (np.inf, -np.inf, -1)


@compiled
@pytest.mark.parametrize("seed", SEEDS)
def test_pay(seed):
    """To the bit; doses that underflow, overflow or vanish are not ordinary, the others are."""
    rng = np.random.default_rng(seed)
    person, treatment = rng.permutation(9)[:6], rng.integers(0, 4, 6)
    for cost in (tied(rng, (9, 4)), tied(rng, (1, 4)), tied(rng, (9, 1))):
        for odd in (1.0, 0.0, 1e-310, 1e308):
            money = np.append(rng.uniform(1, 2, 5), odd)
            one, other = np.zeros((2, 9, 4))
            flat = kernels.flat_steps(cost / 10, (9, 4))
            fast = kernels._pay_kernel.compiled(one, *flat, person, treatment, money)
            plain = kernels._pay_kernel.plain(other, *flat, person, treatment, money)
            assert fast == plain == (odd == 1)
            assert np.array_equal(one, other)
            paid = one * np.broadcast_to(cost / 10, (9, 4))
            assert np.count_nonzero(one) == 6 - (odd == 0)
            if odd == 1:
                np.testing.assert_allclose(paid[person, treatment], money, rtol=1e-15)


@compiled
@pytest.mark.parametrize("seed", SEEDS)
def test_fill(seed):
    rng = np.random.default_rng(seed)
    for cap in (tied(rng, (9, 4)), tied(rng, (1, 4)), tied(rng, (9, 1))):
        item = rng.permutation(36)[:20]
        one, other = np.zeros((2, 9, 4))
        kernels._fill_kernel.compiled(one, *kernels.flat_steps(cap, (9, 4)), item)
        kernels._fill_kernel.plain(other, *kernels.flat_steps(cap, (9, 4)), item)
        assert np.array_equal(one, other)


@compiled
@pytest.mark.parametrize("seed", SEEDS)
def test_locate_and_filled(seed):
    rng = np.random.default_rng(seed)
    start, money = pieces(rng)
    for target in (
        tied(rng, 7, low=0),
        rng.uniform(-1, 3, 7),
        money[start[:-1]],
        money[start[1:] - 1],
    ):
        one = kernels.LOCATE.compiled(money, start, target)
        assert np.array_equal(one, kernels.LOCATE.plain(money, start, target))
        item = rng.permutation(money.size)
        full = kernels.FILLED.compiled(item, start, one)
        assert np.array_equal(full, kernels.FILLED.plain(item, start, one))


def random_knapsack(rng, persons=300):
    """Items that tie, with floors, items that cannot move and costs that broadcast."""
    floor = np.where(rng.random((persons, 3)) < 0.2, 0.05, 0.0)
    room = tied(rng, (persons, 3), low=0)
    cap = np.where(rng.random((persons, 3)) < 0.1, np.inf, floor + room)
    benefit = tied(rng, (persons, 3), low=-1)
    benefit[:20], cap[:20] = 1.0, 1.0
    group = np.concatenate([np.arange(20), rng.integers(0, 20, persons - 20)])
    return af.Problem(
        benefit, tied(rng, (1, 3)), group, 50.0,
        cap=cap, floor=floor, baseline=rng.uniform(0, 2, persons),
    )  # fmt: skip


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("persons", [40, 300, 2000])
def test_knapsacks(seed, persons, monkeypatch):
    """The same items in the same order; money and utility up to a rounding of the sums."""
    problem = random_knapsack(np.random.default_rng(seed), persons)
    plain = problem._build_value(50.0)
    monkeypatch.setattr("alphafair.problem.compiles", lambda *_: True)
    fast = problem._build_value(50.0)
    assert isinstance(plain, Knapsack)
    assert np.array_equal(plain.start, fast.start)
    assert np.array_equal(plain.item, fast.item)
    for name in ("slope", "money", "value"):
        np.testing.assert_allclose(
            getattr(fast, name), getattr(plain, name), rtol=2e-15, err_msg=name
        )


@compiled
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("benefit", "cap", "what"),
    [
        ([1e200, 1e-200, 1e200], [1.0, 1.0, 1.0], "item .1, 0.: its benefit"),
        ([1.0, 1.0, 1.0], [1.0, 1e-310, 1e-305], "item .1, 0.: the money"),
        ([1e-160, 1.0, 1.0], [1.0, 1e-160, 1.0], None),
    ],
)
def test_knapsacks_of_extremes(benefit, cap, what, large, monkeypatch):
    """What is next to nothing is refused by both, with the same words; the rest is not."""
    monkeypatch.setattr("alphafair.problem.compiles", lambda *_: large)
    problem = af.Problem(benefit, 1.0, ["a", "b", "b"], 1.0, cap=cap)
    if what is None:
        assert problem.value.start.tolist() == [0, 2, 5]
    else:
        with pytest.raises(ValueError, match=what):
            problem.allocate(1)


@compiled
@pytest.mark.parametrize(("of_value", "of_slope"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5), (1.0, 0.0)])
def test_search_and_demand(of_value, of_slope):
    rng = np.random.default_rng(1)
    value = random_knapsack(rng)._build_value(50.0)
    log_weight = np.log(rng.integers(1, 4, 20) / 3)
    search = value.searcher(of_value, of_slope, log_weight)
    rest = (value.value, value.slope, True, value.start, log_weight)
    least, most = value.least, np.minimum(value.most, 0.2)
    for level in np.linspace(-8, 4, 60):
        piece = search(level)
        assert np.array_equal(piece, kernels.SEARCH.compiled(level, of_value, of_slope, *rest))
        money, stretch = value.money_at(level, piece, of_value, of_slope, log_weight)
        bounded = np.clip(money, least, most)
        stretch = np.where(bounded == money, stretch, 0.0)
        found = kernels.DEMAND.compiled(
            level, of_value, of_slope, value.value, value.slope, value.money, value.start,
            log_weight, least, most,
        )  # fmt: skip
        assert np.array_equal(found[0], piece)
        np.testing.assert_allclose(found[1], bounded, rtol=1e-14)
        assert found[2] == pytest.approx(bounded.sum(), rel=1e-14)
        same = (found[3] > 0) == (stretch > 0)
        assert (same | np.isclose(found[1], least) | np.isclose(found[1], most)).all()


@compiled
def test_running_totals_carry_what_they_round_off():
    """10⁵ lengths of 0.1 after 10⁹: a plain running sum would be off by 1e−3."""
    size = 10**5
    start, order = np.array([0, size + 1]), np.arange(size + 1, dtype=np.uint64)
    item, slope, money, value = (
        np.arange(size + 1),
        np.ones(size + 1),
        np.full(size + 1, 0.1),
        np.zeros(size + 1),
    )
    spent = np.array([1e9])
    kernels.TOTALS.compiled(
        item, slope, money, value, order, start, np.ones(1), spent, spent.copy(), 0
    )
    for total in (money, value):
        assert total[-1] - 1e9 == pytest.approx(1e4, abs=2.4e-7)  # two roundings of 1e9


@compiled
@pytest.mark.parametrize("group", [np.zeros(3000, int), np.arange(3000) % 3, np.arange(3000) % 200])
def test_values_that_only_the_last_bits_tell_apart_are_sorted(group, monkeypatch):
    """The key keeps the leading bits; a stable sort puts right what they cannot tell."""
    rng = np.random.default_rng(0)
    benefit = 1 + rng.integers(0, 50, 3000) * np.finfo(float).eps
    monkeypatch.setattr("alphafair.problem.compiles", lambda *_: True)
    value = af.Problem(benefit, 1.0, group, 50.0, cap=1.0)._build_value(50.0)
    for k in range(value.start.size - 1):
        own = np.flatnonzero(group == k)
        item = value.item[value.start[k] : value.start[k + 1] - 1]
        assert np.array_equal(item, own[np.argsort(-benefit[own], kind="stable")])


PROGRAM = """
import sys
import numpy as np, alphafair as af
rng = np.random.default_rng(0)
benefit, cost = rng.uniform(0.5, 5, (2, 10_000, 2))
group, cap = rng.integers(0, 50, 10_000), rng.uniform(0, 2, (10_000, 2))
found = []
for within in (0, 0.5, np.inf):
    for options in ({}, {"cap": cap}, {"baseline": 1.0}):
        problem = af.Problem(benefit, cost, group, 5000.0, within, **options)
        for alpha in (0, 0.5, 2, np.inf):
            a = problem.allocate(alpha)
            found += [a.dose.ravel(), a.group_budget, a.group_utility]
np.save(sys.argv[1], np.concatenate(found))
print("numba" in sys.modules)
"""


@compiled
def test_whole_allocations_of_20_000_items_do_not_depend_on_numba(tmp_path):
    found = {}
    for wanted in ("0", "1"):
        path = tmp_path / f"{wanted}.npy"
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, path], check=True, capture_output=True, text=True,
            env=os.environ | {"ALPHAFAIR_NUMBA": wanted},
        )  # fmt: skip
        assert run.stdout.split() == [str(wanted == "1")]
        found[wanted] = np.load(path)
    np.testing.assert_allclose(found["1"], found["0"], rtol=1e-14, atol=1e-15 * 5000)


@compiled
@pytest.mark.parametrize("within", [0, 0.3, 0.5, 0.95, 1, 1 + 1e-9, 2, np.inf])
def test_allocations_without_bounds_are_the_same_to_the_bit_without_numba(within, monkeypatch):
    """Also those whose ratios need other units, and those of people in another order."""
    rng = np.random.default_rng(7)
    persons = kernels.LARGE + 1000
    benefit, cost = rng.uniform(0.5, 5, (2, persons, 2))
    benefit[rng.random(persons) < 0.1] *= 1e-3 if within >= 1 else 0
    group, order = rng.integers(0, 50, persons), rng.permutation(persons)
    for far in (1.0, 1e160):
        found = []
        for some in (np.arange(persons), order):
            data = (benefit[some] * far, cost[some] / far, group[some], 1e5, 2.0)
            a = af.allocate(*data, within=within)
            found += [(a.group_budget, a.group_utility)]
        fast = (a.dose, a.best_item, *a.problem.funded)
        monkeypatch.setattr(kernels, "numba", lambda: None)
        plain = af.allocate(*data, within=within)
        found += [(plain.group_budget, plain.group_utility)]
        slow = (plain.dose, plain.best_item, *plain.problem.funded)
        monkeypatch.undo()
        for one in found:
            assert all(np.array_equal(x, y) for x, y in zip(one, found[0], strict=True))
        assert all(np.array_equal(x, y) for x, y in zip(fast, slow, strict=True))


CACHED = """
import numpy as np
from alphafair import kernels
least, *_ = kernels._extremes_kernel.compiled(np.ones(3), np.zeros(3, np.intp), 1)
print(least, kernels._extremes_kernel._cached)
"""


@compiled
def test_a_cache_that_a_full_disk_has_cut_short_is_done_without(tmp_path):
    for cached in (True, False):
        run = subprocess.run(
            [sys.executable, "-c", CACHED], check=True, capture_output=True, text=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        )  # fmt: skip
        assert run.stdout == f"[1.] {cached}\n"
        for path in tmp_path.rglob("*.nbi"):
            path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("error", [OSError, RuntimeError, EOFError])
def test_a_cache_that_cannot_be_used_is_done_without(error, monkeypatch):
    """It raises while it decorates, or at the first call."""

    def njit(signature, cache):
        if cache:
            raise error("no cache")
        return lambda function: function

    monkeypatch.setattr(kernels, "numba", lambda: types.SimpleNamespace(njit=njit))
    assert kernels.Kernel(lambda x: x + 1).compiled(1) == 2
    with pytest.raises(ZeroDivisionError):  # an error of the loop itself is not lost
        kernels.Kernel(lambda x: 1 / x).compiled(0)
