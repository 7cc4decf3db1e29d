"""The scan finds the first maximum of fl(b/c), whatever the table looks like and whoever looks."""

import numpy as np
import pytest

import alphafair as af
from alphafair import scan
from alphafair.kernels import numba

compiled = pytest.mark.skipif(numba() is None, reason="numba is not installed, or unwanted")
SEEDS = range(4)


def by_hand(benefit, cost, owner, owners):
    """One item after the other, as one would say it."""
    best, item = np.zeros(owners), np.full(owners, -1)
    for place, b, c in zip(range(benefit.size), benefit.flat, cost.flat, strict=True):
        k = owner[place // benefit.shape[1]]
        if b > 0 and (item[k] < 0 or float(b) / float(c) > best[k]):
            best[k], item[k] = float(b) / float(c), place
    return best, item


def both_twins(benefit, cost, shape, owner, owners):
    """The results of the two twins, with thresholds and without, which are the same to the bit."""
    (b, *b_step), (c, *c_step) = (scan.flat_steps(x, shape) for x in (benefit, cost))
    tables = b, tuple(b_step), c, tuple(c_step), shape, owner
    block = scan.block_of(benefit.dtype, shape[1])
    found = []
    for twin, thresholds in (
        (scan.SCAN.compiled, owners),
        (scan.SCAN.compiled, 0),
        (scan.SCAN.plain, 0),
    ):
        best, item = np.zeros(owners), np.full(owners, -1)
        valid = twin(*tables, best, item, np.zeros(thresholds, np.float32), block, 16)
        found.append((best, item, valid))
    best, item, valid = found[0]
    for other in found[1:]:
        assert other[2] == valid  # where not, the rest means nothing
        assert not valid or (np.array_equal(best, other[0]) and np.array_equal(item, other[1]))
    return found[0]


def tied(rng, shape, low=1):
    """Small integers times 0.1: many ties, some of them but for rounding."""
    return rng.integers(low, 6, shape) * 0.1


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 8, 9, 20])
@pytest.mark.parametrize("owners", [1, 7, 400])
def test_ties_benefits_below_zero_and_costs_that_broadcast(seed, columns, owners):
    rng = np.random.default_rng(seed)
    shape = (400, columns)
    benefit = tied(rng, shape, low=-1)
    owner = rng.integers(0, owners, shape[0]).astype(np.uint16)
    for cost in (tied(rng, shape), tied(rng, (1, columns)), tied(rng, (400, 1)), np.ones(1)):
        best, item, valid = both_twins(benefit, cost, shape, owner, owners + 1)
        whole = np.broadcast_to(cost.reshape(-1, 1) if cost.ndim < 2 else cost, shape)
        right = by_hand(benefit, whole, owner, owners + 1)
        assert valid
        assert np.array_equal(best, right[0])
        assert np.array_equal(item, right[1])


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_the_order_of_the_axes_and_tables_cut_out_of_larger_ones(seed, kind):
    rng = np.random.default_rng(seed)
    wide = np.abs(rng.standard_normal((2, 601, 9))).astype(kind)
    benefit, cost = wide[:, 1:, 2:6]
    owner = rng.integers(0, 20, 600)
    right = by_hand(benefit, cost, owner, 20)
    forms = (
        np.ascontiguousarray,
        np.asfortranarray,
        lambda x: x,
        lambda x: x[::-1].copy()[::-1],  # rows that run backwards
        lambda x: np.stack([x, x], axis=2)[:, :, 1],
    )
    for form in forms:
        for other in forms:
            best, item, valid = both_twins(form(benefit), other(cost), (600, 4), owner, 20)
            assert valid
            assert np.array_equal(best, right[0])
            assert np.array_equal(item, right[1])


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("columns", [1, 3, 4, 19])
def test_tables_of_two_precisions(seed, columns):
    """Each is read in its own, whichever is the wider one, and a number for all costs as well."""
    rng = np.random.default_rng(seed)
    shape = (3000, columns)
    owner = rng.integers(0, 5, shape[0])
    benefit = rng.uniform(1, 5, shape)
    for cost in (rng.uniform(0.2, 1, shape), np.full(1, 0.7)):
        for kinds in (("f4", "f8"), ("f8", "f4")):
            b, c = benefit.astype(kinds[0]), cost.astype(kinds[1])
            best, item, valid = both_twins(b, c, shape, owner, 5)
            right = by_hand(b, np.broadcast_to(c, shape), owner, 5)
            assert valid
            assert np.array_equal(best, right[0])
            assert np.array_equal(item, right[1])


def test_no_copy_of_a_table_with_steps_ahead():
    wide = np.ones((50, 6))
    for table in (wide, np.asfortranarray(wide), wide[:, 2:5], wide[::2], wide[:, :1]):
        flat = scan.flat_steps(table, table.shape)[0]
        assert np.shares_memory(flat, table)


@compiled
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 19])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_what_is_not_valid_is_found_wherever_it_stands(columns, kind):
    for bad in (np.nan, np.inf, -np.inf, 0.0, -1.0):
        for table in (0, 1):
            for i in (0, 15, 16, 36):
                tables = np.ones((2, 37, columns), kind)
                tables[table, i, columns - 1] = bad
                expected = table == 0 and np.isfinite(bad)
                owner = np.zeros(37, np.intp)
                assert both_twins_valid(*tables, owner) == expected


@compiled
@pytest.mark.parametrize("of_cost", [np.float64, np.float32])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 3, 4, 8])
def test_the_question_by_vectors_is_the_question_in_words(kind, of_cost, columns):
    """Each of its four comparisons decides somewhere, and everything near their ends is tried."""
    vectors = scan._asks_by_vectors()
    block = scan.block_of(np.dtype(kind), columns)
    ask = numba().njit(lambda *arguments: vectors(*arguments))
    narrow = np.finfo(kind if kind == of_cost else np.float32)
    ends = [0, 1, -1, np.inf, -np.inf, np.nan, narrow.max, narrow.tiny]
    rng = np.random.default_rng(0)
    high, answers = len(block.rows), []
    for _ in range(1000):
        b, c = (np.full((high + 1) * columns, *x) for x in ((1, kind), (2, of_cost)))
        place = rng.integers(b.size)
        for table in (b, c):
            if rng.random() < 0.6:
                table[place] = rng.choice(ends)
        threshold = rng.choice([0.0, 0.25, 0.5, 0.75], 3).astype(np.float32)
        threshold[:2] += rng.random() < 0.7  # so that many say no
        owner = rng.integers(0, 2, high + 1).astype(np.uint8)
        arguments = (b, c, columns, owner, 1, threshold, block.columns, block.rows)
        with np.errstate(over="ignore", invalid="ignore"):
            answers.append(scan._asks(*arguments))
        assert ask(*arguments) == answers[-1]
    assert 300 < sum(answers) < 700


def both_twins_valid(benefit, cost, owner):
    return both_twins(benefit, cost, benefit.shape, owner, 1)[2]


@compiled
def test_the_first_maximum_of_the_rounded_ratio():
    """b/c = 0.3/0.1 and 0.6/0.2 round to neighbours; the comparison lets the larger one through."""
    for ratios in ([(0.3, 0.1), (0.6, 0.2), (3.0, 1.0)], [(3.0, 1.0), (0.3, 0.1), (0.6, 0.2)]):
        b, c = np.array(ratios).T[:, :, None]
        item = both_twins(b, c, (3, 1), np.zeros(3, int), 1)[1]
        assert item[0] == np.argmax(b / c)
    rng = np.random.default_rng(0)
    b, c = (rng.integers(1, 40, (2, 4000)) * 0.1) * [[1.0], [0.3]]
    owner = np.repeat(np.arange(1000), 4)
    item = both_twins(b[:, None], c[:, None], (4000, 1), owner, 1000)[1]
    assert np.array_equal(item % 4, (b / c).reshape(1000, 4).argmax(axis=1))


@compiled
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_the_ends_of_the_number_range(kind):
    """Ratios beyond the range of their own precision, and products below it."""
    tiny, huge = np.finfo(kind).smallest_subnormal, np.finfo(kind).max
    rows = [(tiny, 1), (1, huge), (tiny, huge), (huge, 1), (huge, 2), (huge, tiny), (3 * tiny, 2)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        some = rng.permutation(len(rows) * 5) % len(rows)
        b, c = np.array(rows, kind)[some].T[:, :, None]
        owner = rng.integers(0, 5, b.size)
        if kind is np.float64 and (c == tiny).any():
            keep = (c != tiny)[:, 0]  # there huge/tiny is infinite: refused elsewhere
            b, c, owner = b[keep], c[keep], owner[keep]
        best, item, valid = both_twins(b, c, b.shape, owner, 5)
        right = by_hand(b, c, owner, 5)
        assert valid
        assert np.array_equal(best, right[0])
        assert np.array_equal(item, right[1])


@compiled
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("seed", SEEDS)
def test_ratios_of_few_digits(kind, seed):
    """Multiples of the least number, whose thresholds could be rounded up by half of themselves."""
    rng = np.random.default_rng(seed)
    benefit = (rng.integers(1, 60, (900, 2)) * np.finfo(kind).smallest_subnormal).astype(kind)
    cost = rng.integers(10, 20, (900, 2)).astype(kind)
    owner = rng.integers(0, 9, 900)
    best, item, _ = both_twins(benefit, cost, benefit.shape, owner, 9)
    right = by_hand(benefit, cost, owner, 9)
    assert np.array_equal(item, right[1])
    assert np.array_equal(best, right[0])


@compiled
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
def test_products_that_round_to_the_benefit(kind, columns):
    """.9999 times 3 least numbers is rounded to 3 of them: not less than the benefit."""
    least = np.finfo(kind).smallest_subnormal
    benefit, cost = np.ones((2, 40, columns), kind)
    cost[:] = 2
    benefit[0, 0], cost[0, 0] = 0.9999, 1
    benefit[5, -1] = cost[5, -1] = 3 * least
    item = both_twins(benefit, cost, benefit.shape, np.zeros(40, int), 1)[1]
    assert item[0] == 6 * columns - 1


@compiled
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_threads_do_not_change_a_bit(monkeypatch, kind, layout):
    monkeypatch.setattr(scan, "LARGE_PART", 1000)
    monkeypatch.setattr(scan, "ROWS_AN_OWNER", 1)
    rng = np.random.default_rng(0)
    benefit, cost = rng.integers(1, 50, (2, 30_000, 3)).astype(kind)  # many ties
    benefit, cost = layout(benefit), layout(cost)
    owner = rng.integers(0, 40, 30_000)
    one = scan.best_ratios(benefit, cost, benefit.shape, owner, 41, threads=1)
    for threads in (2, 3, 7):
        other = scan.best_ratios(benefit, cost, benefit.shape, owner, 41, threads=threads)
        for x, y in zip(one, other, strict=True):
            assert np.array_equal(x, y)
    benefit[29_999, 2] = np.nan  # the last part looks, too
    assert not scan.best_ratios(benefit, cost, benefit.shape, owner, 41, threads=2)[2]


def test_how_many_threads(monkeypatch):
    monkeypatch.delenv("ALPHAFAIR_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert scan.how_many_threads() == 3
    monkeypatch.setenv("ALPHAFAIR_THREADS", "2")
    assert scan.how_many_threads() == 2
    for silent in ("", "0", "many"):
        monkeypatch.setenv("ALPHAFAIR_THREADS", silent)
        monkeypatch.setenv("OMP_NUM_THREADS", silent)
        assert 1 <= scan.how_many_threads() <= scan.MANY_THREADS


@pytest.mark.parametrize("size", [300, 60_000])
def test_float32_tables_are_read_as_they_are(size):
    """The same answers to the bit as from the same numbers in double precision."""
    rng = np.random.default_rng(0)
    benefit, cost = (rng.uniform(0.2, 5, (2, size, 2))).astype(np.float32)
    group = rng.integers(0, 9, size)
    single = af.Problem(benefit, cost, group, 100.0)
    double = af.Problem(benefit.astype(float), cost.astype(float), group, 100.0)
    assert single.benefit.dtype == single.cost.dtype == float
    for alpha in (0, 0.7, 2, np.inf):
        one, other = single.allocate(alpha), double.allocate(alpha)
        assert np.array_equal(one.group_share, other.group_share)
        assert np.array_equal(one.dose, other.dose)
        assert np.array_equal(one.gradient().cost, other.gradient().cost)
    benefit[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"benefit\[7, 1\] is nan"):
        af.Problem(benefit, cost, group, 100.0)


# --- the best item of every person -----------------------------------------------------------
def best_of_persons(twin, benefit, cost, shape):
    (b, *b_step), (c, *c_step) = (scan.flat_steps(x, shape) for x in (benefit, cost))
    ratio, treatment = np.full(shape[0], np.nan), np.full(shape[0], 77, np.uint8)
    ordinary = twin(b, tuple(b_step), c, tuple(c_step), ratio, treatment, shape[1])
    return ratio, treatment, ordinary


@compiled
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(1, 1), (30, 3), (9000, 2), (5000, 4), (2000, 7)])
def test_best_of_persons(seed, shape):
    """To the bit, with ties, benefits ≤ 0 and tables that broadcast, over several blocks."""
    rng = np.random.default_rng(seed)
    benefit = tied(rng, shape, low=-1)
    costs = tied(rng, shape), tied(rng, (1, shape[1])), tied(rng, (shape[0], 1)), np.ones(1)
    for cost in costs:
        for b in (benefit, benefit[:, :1]):
            one = best_of_persons(scan._rows_kernel.compiled, b, cost, shape)
            other = best_of_persons(scan._rows_kernel.plain, b, cost, shape)
            ratio = np.maximum(np.broadcast_to(b / cost, shape), 0)
            for found in (one, other):
                assert np.array_equal(found[0], ratio.max(axis=1))
                assert np.array_equal(found[1], ratio.argmax(axis=1))
                assert found[2]


@compiled
@pytest.mark.parametrize("twin", ["compiled", "plain"])
def test_what_is_not_ordinary_is_seen_in_every_table(twin):
    best = getattr(scan._rows_kernel, twin)
    shape = (10_000, 3)
    for bad in (np.nan, np.inf, -np.inf, 0.0, -1.0, 5e-324, 1e305):
        for place in ((0, 0), (7777, 1), (9999, 2)):
            for which in (0, 1):
                tables = np.ones((2, *shape))
                tables[which][place] = bad
                expected = which == 0 and bad in (0.0, -1.0)
                assert bool(best_of_persons(best, *tables, shape)[2]) == expected
    assert not best_of_persons(best, np.full(shape, -1e305), np.ones((1, 3)), shape)[2]
    for bad in (np.inf, np.nan):  # costs of items that are never chosen
        assert not best_of_persons(best, np.full(shape, -1.0), np.array([[1, bad, 1]]), shape)[2]
    tiny = np.ones(shape), np.ones((1, 3))
    tiny[0][5, 1] = -1e-310  # never chosen
    assert best_of_persons(best, *tiny, shape)[2]
