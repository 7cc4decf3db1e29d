"""Problems from chunks: the whole table is the oracle, to the last bit where the module says so."""

import itertools
import re
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from helpers import ALPHAS, SOLVER, random_case
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af
from alphafair.chunks import ChunkedProblem

NAN, INF = float("nan"), float("inf")
RESULTS = (
    *("group_labels", "group_size", "group_share", "group_budget", "group_utility", "price"),
    *("welfare", "equivalent_utility", "best_item", "productivity", "group_price", "money_worth"),
)
# A dozen roundings of each of a few sums, whatever the cuts; the terms themselves are the same.
AGREES = 4e-15


def cut(benefit, cost, group, places):
    """The rows as chunks that end at these places."""
    ends = [0, *sorted(places), len(group)]
    slices = [slice(low, high) for low, high in itertools.pairwise(ends)]
    return [(benefit[own], cost[own], group[own]) for own in slices]


def assert_same(a, b):
    for name in RESULTS:
        one, other = (np.asarray(getattr(side, name)) for side in (a, b))
        assert one.dtype == other.dtype, name
        assert np.array_equal(one, other), name


def problem_or_refusal(*arguments, **options):
    """The whole table as a problem, or why it is none."""
    try:
        return af.Problem(*arguments, **options)
    except ValueError as error:
        return str(error)


@st.composite
def tables(draw):
    """Small integers, so that ratios tie; cuts anywhere, also twice at one place."""
    rows, treatments = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    number = st.integers(-1, 4)
    size = rows * treatments
    benefit = np.array(draw(st.lists(number, min_size=size, max_size=size)), float)
    cost = np.array(draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)), float)
    kind = draw(st.sampled_from(["int32", "uint64", "float32", "<U3", "object", "M8[D]"]))
    group = np.array(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    if kind == "object":
        label = np.array([f"group {k}" for k in group], object)
    else:
        label = group.astype(kind if kind != "M8[D]" else "i8").astype(kind)
    places = draw(st.lists(st.integers(0, rows), max_size=5))
    float_kind = draw(st.sampled_from([np.float64, np.float32]))
    shape = (rows, treatments)
    return benefit.reshape(shape).astype(float_kind), cost.reshape(shape), label, places


@given(tables(), st.sampled_from(ALPHAS))
def test_all_cuts_give_the_bits_of_the_whole_table(table, alpha):
    benefit, cost, group, places = table
    chunks = cut(benefit, cost, group, places)
    whole = problem_or_refusal(benefit, cost, group, 7.0, weight="size")
    if isinstance(whole, str):
        with pytest.raises(ValueError, match=re.escape(whole)):
            af.Problem.from_chunks(chunks, 7.0, weight="size")
        return
    problem = af.Problem.from_chunks(iter(chunks), 7.0, weight="size")
    assert problem.people, problem.treatments == benefit.shape
    a, b = problem.allocate(alpha), whole.allocate(alpha)
    assert_same(a, b)
    doses = list(a.dose_chunks(chunks))
    assert [dose.shape for dose in doses] == [chunk[0].shape for chunk in chunks]
    assert np.array_equal(np.concatenate(doses), b.dose)
    person, treatment, dose = a.funded_doses()
    table = np.zeros(benefit.shape)
    table[person, treatment] = dose
    assert np.array_equal(table, b.dose)
    assert (np.diff(person) > 0).all()


@given(tables(), st.sampled_from([1e-9, 0.05, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 2, 50, INF]))
def test_all_cuts_agree_within_groups(table, within):
    benefit, cost, group, places = table
    benefit = np.abs(benefit) + (within >= 0.9)  # next to 1 everybody has to benefit
    chunks = cut(benefit, cost, group, places)
    whole = problem_or_refusal(benefit, cost, group, 7.0, within)
    if isinstance(whole, str):
        with pytest.raises(ValueError, match=re.escape(whole)):
            af.Problem.from_chunks(chunks, 7.0, within=within)
        return
    problem = af.Problem.from_chunks(chunks, 7.0, within=within)
    a, b = problem.allocate(2), whole.allocate(2)
    for name in ("group_labels", "group_size", "best_item"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    for name in ("group_budget", "group_utility", "price", "welfare", "productivity"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=AGREES), name
    dose = np.concatenate(list(a.dose_chunks(lambda: iter(chunks))))
    assert dose == pytest.approx(b.dose, rel=4 * AGREES, abs=0)


@pytest.mark.parametrize("order", ["rising", "falling", "mixed"])
@pytest.mark.parametrize("within", [0.001, 0.3, 0.5, 1, 3])
def test_sums_keep_their_digits_whatever_the_order(order, within):
    """40 digits; the reference of the powers changes with each chunk, or never."""
    rng = np.random.default_rng(5)
    ratio = 10 ** rng.uniform(-3, 3, 600)
    ratio = {"rising": np.sort(ratio), "falling": -np.sort(-ratio), "mixed": ratio}[order]
    group = rng.integers(0, 2, 600)
    chunks = cut(ratio, np.ones(600), group, range(3, 600, 3))
    found = af.Problem.from_chunks(chunks, 1.0, within=within).productivity
    with mpmath.workdps(40):
        for k in range(2):
            own = [mpmath.mpf(r) for r in ratio[group == k]]
            if within == 1:
                mean = mpmath.exp(sum(map(mpmath.log, own)) / len(own))
            else:
                s = (1 - mpmath.mpf(within)) / mpmath.mpf(within)
                mean = (sum(r**s for r in own) / len(own)) ** (1 / s)
            assert abs(found[k] * len(own) / mean - 1) < 2e-15 * max(1, within)


def test_large_chunks_by_the_compiled_scan():
    case = random_case(3, persons=250_000, treatments=2, groups=30)
    group = np.array([f"g{k:02d}" for k in range(30)])[case.group]
    chunks = cut(case.benefit, case.cost, group, range(60_000, 250_000, 60_000))
    for within in (0, 0.5):
        problem = af.Problem.from_chunks(chunks, case.budget, within=within, weight=case.weight)
        whole = af.Problem(case.benefit, case.cost, group, case.budget, within, case.weight)
        a, b = problem.allocate(2), whole.allocate(2)
        if within == 0:
            assert_same(a, b)
        assert a.group_utility == pytest.approx(b.group_utility, rel=AGREES)
        dose = np.concatenate(list(a.dose_chunks(chunks)))
        np.testing.assert_allclose(dose, b.dose, rtol=4 * AGREES, atol=0)


def test_shapes_that_broadcast():
    rng = np.random.default_rng(1)
    benefit, group = rng.integers(1, 5, (9, 2)).astype(float), np.array([*"abcabcabc"])
    for cost in (2.0, np.array([[1.0, 3.0]])):
        chunks = [(benefit[i : i + 4], cost, group[i : i + 4]) for i in (0, 4, 8)]
        a = af.Problem.from_chunks(chunks, 9.0).allocate(2)
        assert_same(a, af.allocate(benefit, cost, group, 9.0, 2))
    cost = rng.uniform(1, 2, 9)
    for column in (cost, cost[:, None]):
        chunks = cut(benefit, column, group, [2, 2, 5])
        a = af.Problem.from_chunks(chunks, 9.0).allocate(2)
        assert_same(a, af.allocate(benefit, cost, group, 9.0, 2))


# --- a problem as any other ----------------------------------------------------------------------
BENEFIT = np.array([3.0, 1.0, 2.0, 4.0, 1.0, 5.0])
COST = np.array([1.0, 1.0, 2.0, 2.0, 0.5, 2.0])
GROUP = np.array([*"aabbcb"])
CHUNKS = cut(BENEFIT, COST, GROUP, [2, 3])


@pytest.mark.parametrize("within", [0, 0.5])
@pytest.mark.parametrize(
    "bounds", [{"group_cap": [1, 9, 9]}, {"group_floor": {"a": 0, "b": 5, "c": 0}}]
)
def test_bounds_of_groups(within, bounds):
    a = af.Problem.from_chunks(CHUNKS, 9.0, within=within, **bounds).allocate(2)
    b = af.Problem(BENEFIT, COST, GROUP, 9.0, within, **bounds).allocate(2)
    names = ("group_budget", "group_utility", "price", "group_price", "welfare")
    for name in names:
        same = pytest.approx(getattr(b, name), rel=1e-14)
        assert getattr(a, name) == same, name
        assert within or np.array_equal(getattr(a, name), getattr(b, name)), name
    dose = np.concatenate(list(a.dose_chunks(CHUNKS)))
    assert dose == pytest.approx(b.dose, rel=1e-13, abs=0)
    if within == 0:
        assert af.optimality_gap(a.dose, a.problem, 2).gap < 1e-13
        worse = a.dose * (0.5 + 0.5 * (a.group_labels == "b")[:, None])
        assert af.optimality_gap(worse, a.problem, 2).relative_gap > 0.05


def test_paths_frontiers_gradients_and_certificates_work_on_the_rows_of_groups():
    problem = af.Problem.from_chunks(CHUNKS, 9.0)
    whole = af.Problem(BENEFIT, COST, GROUP, 9.0)
    a, b = problem.allocate(2), whole.allocate(2)
    path, of_whole = (af.budget_path(p, 2, [1.0, 4.0]) for p in (problem, whole))
    assert np.array_equal(path.group_utility, of_whole.group_utility)
    assert np.array_equal(path[1].funded_doses().dose, path[1].dose[:, 0][[0, 2, 1]])
    front, front_of_whole = (af.frontier(p, [0, 1, INF]) for p in (problem, whole))
    assert front.to_dict().keys() == front_of_whole.to_dict().keys()
    assert np.array_equal(front.gini, front_of_whole.gini)
    best = tuple(problem.best_item.T)
    ours, theirs = a.gradient(), b.gradient()
    assert np.array_equal(ours.benefit[:, 0], theirs.benefit[best])
    assert np.array_equal(ours.weight, theirs.weight)
    rest = np.ones(whole.shape, bool)
    rest[best] = False
    assert (theirs.benefit[rest] == 0).all()
    step = a.jacobian().jvp(budget=1.0)[:, 0]
    assert np.array_equal(step, b.jacobian().jvp(budget=1.0)[best])
    assert af.optimality_gap(a.dose, problem, 2).gap == pytest.approx(0, abs=1e-14)
    worse = a.dose * [[0.5], [1.0], [2.0]]
    in_the_table = np.zeros(whole.shape)
    in_the_table[best] = worse[:, 0]
    gaps = [af.optimality_gap(d, p, 2) for d, p in ((worse, problem), (in_the_table, whole))]
    assert gaps[0].gap == pytest.approx(gaps[1].gap, rel=1e-12)
    assert gaps[0].gap > 0.01


@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_a_solver_finds_the_same_split(within):
    reference = pytest.importorskip("alphafair.reference")
    problem = af.Problem.from_chunks(CHUNKS, 9.0, within=within)
    theirs = reference.solve_cvxpy(problem, 2)
    a = problem.allocate(2)
    assert theirs.group_utility == pytest.approx(a.group_utility, rel=SOLVER)
    whole = reference.solve_cvxpy(af.Problem(BENEFIT, COST, GROUP, 9.0, within), 2)
    assert whole.group_utility == pytest.approx(a.group_utility, rel=SOLVER)


def test_weights_by_label_and_representation():
    weight = {"a": 1.0, "b": 2.0, "c": 3.0}
    problem = af.Problem.from_chunks(CHUNKS, 9.0, weight=weight)
    assert problem.allocate(1).group_share == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=1e-15)
    assert repr(problem) == "ChunkedProblem(N=6, T=1, K=3, budget=9, within=0)"
    assert isinstance(problem, ChunkedProblem)


# --- what a chunk may be ------------------------------------------------------------------------
class Rows(NamedTuple):
    group: np.ndarray
    cost: np.ndarray
    benefit: np.ndarray


def structured(b, c, g):
    rows = np.zeros(len(g), [("benefit", "f8"), ("cost", "f8"), ("group", "U1")])
    rows["benefit"], rows["cost"], rows["group"] = b, c, g
    return rows


@pytest.mark.parametrize(
    "kind",
    [
        lambda b, c, g: [b.tolist(), c.tolist(), g.tolist()],
        lambda b, c, g: {"benefit": b, "cost": c, "group": g},
        lambda b, c, g: Rows(g, c, b),
        lambda b, c, g: (b, c, af.Groups(g)),
        structured,
    ],
    ids=["lists", "mapping", "fields", "Groups", "structured"],
)
def test_kinds_of_chunks(kind):
    chunks = [kind(*chunk) for chunk in CHUNKS]
    assert_same(
        af.Problem.from_chunks(chunks, 9.0).allocate(2), af.allocate(BENEFIT, COST, GROUP, 9.0, 2)
    )


def test_columns_by_name():
    table = np.column_stack([BENEFIT, BENEFIT[::-1]])
    chunks = [
        {"pill": b[:, 0], "visit": b[:, 1], "price": c, "place": g}
        for b, c, g in cut(table, COST, GROUP, [1, 4])
    ]
    names = {"benefit": ["pill", "visit"], "group": "place"}
    a = af.Problem.from_chunks(chunks, 9.0, cost="price", **names).allocate(2)
    assert_same(a, af.allocate(table, COST, GROUP, 9.0, 2))
    b = af.Problem.from_chunks(chunks, 9.0, cost=["price", "pill"], **names).allocate(2)
    assert_same(b, af.allocate(table, np.column_stack([COST, BENEFIT]), GROUP, 9.0, 2))
    c = af.Problem.from_chunks(chunks, 9.0, cost=2, **names).allocate(2)
    assert_same(c, af.allocate(table, 2.0, GROUP, 9.0, 2))
    assert np.concatenate(list(c.dose_chunks(chunks))).shape == (6, 2)
    d = af.Problem.from_chunks(chunks, 9.0, cost=[1, 2.5], **names).allocate(2)
    assert_same(d, af.allocate(table, [[1.0, 2.5]], GROUP, 9.0, 2))
    e = af.Problem.from_chunks(chunks, 9.0, cost=["price", 2.5], **names).allocate(2)
    assert_same(e, af.allocate(table, np.stack([COST, 0 * COST + 2.5], 1), GROUP, 9.0, 2))


def test_memory_maps(tmp_path):
    rng = np.random.default_rng(0)
    for name, array in (("b", rng.random((1000, 2), np.float32)), ("g", rng.integers(0, 9, 1000))):
        np.save(tmp_path / f"{name}.npy", array)
    b, g = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "bg")
    chunks = [(b[i : i + 300], 1.0, g[i : i + 300]) for i in range(0, 1000, 300)]
    a = af.Problem.from_chunks(chunks, 9.0).allocate(2)
    assert_same(a, af.allocate(np.array(b), 1.0, np.array(g), 9.0, 2))


@pytest.mark.parametrize("dictionary", [False, True])
def test_row_groups_of_parquet(tmp_path, dictionary):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    benefit, cost = rng.integers(1, 9, 500).astype(np.float32), rng.integers(1, 4, 500) / 2
    group = rng.choice(["north", "süd", "west"], 500)
    group[:200] = "west"  # so that dictionaries differ from row group to row group
    table = pa.table({"uplift": benefit, "cost": cost, "place": group.tolist()})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=150)
    read = {"read_dictionary": ["place"] if dictionary else []}
    file = pq.ParquetFile(tmp_path / "rows.parquet", **read)
    names = {"benefit": "uplift", "group": "place"}
    problem = af.Problem.from_chunks(lambda: file.iter_batches(130), 9.0, **names)
    a, b = problem.allocate(2), af.allocate(benefit, cost, group, 9.0, 2)
    assert a.group_labels.tolist() == b.group_labels.tolist()
    assert np.array_equal(a.group_budget, b.group_budget)
    assert np.array_equal(a.best_item, b.best_item)
    assert np.array_equal(np.concatenate(list(a.dose_chunks(file.iter_batches(130)))), b.dose)


def test_slices_of_data_frames(tmp_path):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pl.DataFrame({"benefit": BENEFIT, "cost": COST, "group": GROUP.tolist()})
    frame.write_csv(tmp_path / "rows.csv")
    expected = af.allocate(BENEFIT, COST, GROUP, 9.0, 2)
    for chunks in (
        lambda: pd.read_csv(tmp_path / "rows.csv", chunksize=4),
        lambda: frame.iter_slices(4),
    ):
        a = af.Problem.from_chunks(chunks, 9.0).allocate(2)
        assert a.group_labels.tolist() == expected.group_labels.tolist()
        assert np.array_equal(a.group_budget, expected.group_budget)
        assert np.array_equal(np.concatenate(list(a.dose_chunks(chunks))), expected.dose)


def test_missing_values_of_arrow_are_refused_by_their_row():
    pa = pytest.importorskip("pyarrow")
    sound = pa.record_batch({"benefit": [1.0, 2.0], "group": ["a", "b"]})
    label = pa.array(["a", None]).dictionary_encode()
    for column, name in (([1.0, None], "benefit"), (label, "group"), (["a", None], "group")):
        other = sound.set_column(sound.schema.get_field_index(name), name, pa.array(column))
        with pytest.raises(ValueError, match=rf"{name}\[3\] is (nan|None)"):
            af.Problem.from_chunks([sound, other], 9.0, cost=1.0)


# --- labels -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["b", "b"], ["long one", "a"]),
        (np.array([3, 5], np.int8), np.array([10**12, 3])),
        (np.array([3, 5], np.uint8), np.array([-1, 3], np.int8)),
        (np.array(["b", "b"], object), ["a", "b"]),
        ([1, 1], [0.5, 2.0]),
        (np.array(["2021-02-01", "2021-01-01"], "M8[D]"), np.array(["2020-01-01"] * 2, "M8[s]")),
    ],
)
def test_labels_met_late(first, second):
    chunks = [([1.0, 2.0], 1.0, first), ([2.0, 8.0], 1.0, second)]
    a = af.Problem.from_chunks(chunks, 9.0).allocate(2)
    together = np.concatenate([np.asarray(first), np.asarray(second)])
    b = af.allocate([1.0, 2.0, 2.0, 8.0], 1.0, together, 9.0, 2)
    assert_same(a, b)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2], ["1", "2"]),
        (["1", "2"], [1, 2]),
        ([b"1", b"2"], ["1", "2"]),
        ([True, False], [1, 0]),
        (np.array([2**53, 2**53 + 1]), np.array([2**63, 2**63 + 1], np.uint64)),
        (np.array(["2021-02-01"] * 2, "M8[D]"), [1, 2]),
        (np.array([1, 2], object), np.array(["a", "b"], object)),
    ],
)
def test_labels_that_numpy_would_mix_up(first, second):
    chunks = [([1.0, 2.0], 1.0, first), ([2.0, 8.0], 1.0, second)]
    with pytest.raises(TypeError, match=r"group (has labels of type|mixes labels)"):
        af.Problem.from_chunks(chunks, 9.0)


# --- refusals ---------------------------------------------------------------------------------
SOUND = ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [2.0, 2.0]], ["a", "b"])


@pytest.mark.parametrize(
    ("chunk", "error", "message"),
    [
        (
            ([[1, 2], [NAN, 4]], 1.0, ["a", "b"]),
            ValueError,
            r"^benefit\[3, 0\] is nan: must be fin",
        ),
        (([[1, 2], [3, INF]], 1.0, ["a", "b"]), ValueError, r"^benefit\[3, 1\] is inf: .* drop"),
        (([[1, 2], [3, 4]], [1, 0], ["a", "b"]), ValueError, r"^cost\[3\] is 0\.0: must be > 0"),
        (([[1, 2], [3, 4]], [[1, -2]], ["a", "b"]), ValueError, r"chunk 1: cost\[0, 1\] is -2"),
        (([[1, 2], [3, 4]], 0.0, ["a", "b"]), ValueError, r"^chunk 1: cost is 0\.0: must be > 0"),
        (([[1, 2], [3, 4]], 1.0, ["a", None]), ValueError, r"^group\[3\] is None: every person"),
        (([[1, 2], [3, 4]], 1.0, ["a", NAN]), ValueError, r"^group\[3\] is nan: every person"),
        (([[1, 2], [3]], 1.0, ["a", "b"]), ValueError, r"^benefit\[3\] has 1 entry"),
        (([[1, 2], [3, 4]], [[1, 2], [3]], ["a", "b"]), ValueError, r"^cost\[3\] has 1 entry"),
        (([[1, 2], [3, "x"]], 1.0, ["a", "b"]), TypeError, r"chunk 1: benefit must hold real"),
        ((np.array([1, "x"], object), 1.0, ["a", "b"]), TypeError, r"^benefit\[3\] is 'x'"),
        (([1.0, 2.0], 1.0, ["a", "b"]), ValueError, r"chunk 1 has 1 treatments and chunk 0 has 2"),
        (([[1, 2], [3, 4]], 1.0, ["a"]), ValueError, r"chunk 1: group has 1 labels but benefit"),
        (([[1, 2]], [1, 1, 1], ["a"]), ValueError, r"chunk 1: cost has shape \(3,\)"),
        ((3.0, 1.0, ["a"]), ValueError, r"chunk 1: benefit is a scalar"),
        ((np.ones((2, 2)), 1.0, "ab"), ValueError, r"chunk 1: group has shape \(\)"),
        (([[1, 2]], 1.0), ValueError, r"chunk 1 has 2 parts: must be \(benefit, cost, group\)"),
        ({"benefit": [1]}, ValueError, r"chunk 1 is of type dict and has no column 'cost' for co"),
        (np.ones((2, 3)), ValueError, r"chunk 1 is of type ndarray and has no column 'benefit'"),
        (7, ValueError, r"chunk 1 is of type int and has no column 'benefit'"),
    ],
)
def test_refusals_count_rows_over_all_chunks(chunk, error, message):
    with pytest.raises(error, match=message):
        af.Problem.from_chunks([SOUND, chunk], 9.0)


@pytest.mark.parametrize("name", ["baseline", "floor", "cap"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bounds_of_doses_are_refused_with_a_cure(name, value):
    with pytest.raises(ValueError, match=rf"{name} is given: .*frames\.allocate.*duckdb"):
        af.Problem.from_chunks([SOUND], 9.0, **{name: value})


def test_exclusive_offers_are_refused():
    with pytest.raises(ValueError, match=r"exclusive is given: .*frames\.allocate"):
        af.Problem.from_chunks([SOUND], 9.0, exclusive=True)
    af.Problem.from_chunks([SOUND], 9.0, exclusive=False)


@pytest.mark.parametrize("chunks", [{"benefit": [1]}, "rows", 3, np.ones((2, 3)), lambda: 3])
def test_chunks_must_be_an_iterable_of_chunks(chunks):
    with pytest.raises(TypeError, match=r"chunks is of type .*: must be an iterable of chunks"):
        af.Problem.from_chunks(chunks, 9.0)


@pytest.mark.parametrize("chunks", [[], [(np.zeros((0, 2)), 1.0, [])], lambda: iter([])])
def test_no_rows_are_refused(chunks):
    with pytest.raises(ValueError, match=r"chunks are empty: at least one row.*begins anew"):
        af.Problem.from_chunks(chunks, 9.0)


@pytest.mark.parametrize("within", [0, 0.5])
@pytest.mark.parametrize("benefit", [1e305, 1e-305, 5e-324, 1e308])
def test_ratios_beyond_comparison_are_refused_by_their_row(within, benefit):
    cost = 1e-3 if benefit > 1 else 1e3
    chunk = ([[0.0, benefit], [0.0, benefit]], cost, ["c", "c"])
    with pytest.raises(ValueError, match=r"item \(2, 1\) have the ratio .* other units"):
        af.Problem.from_chunks([SOUND, chunk], 9.0, within=within)


def test_who_cannot_benefit_is_named_at_within_1():
    chunk = ([[1.0, 1.0], [0.0, -1.0]], 1.0, ["a", "b"])
    with pytest.raises(
        ValueError, match=r"person 3 \(group b\) has no positive benefit.*within = 1"
    ):
        af.Problem.from_chunks([SOUND, chunk], 9.0, within=1)
    af.Problem.from_chunks([SOUND, chunk], 9.0, within=0.9)


def test_a_mean_below_the_doubles_is_refused():
    chunks = [([1.0, 0.0], 1.0, ["a", "a"])]
    with pytest.raises(ValueError, match=r"group a has a mean ratio below the doubles.*smaller"):
        af.Problem.from_chunks(chunks, 1.0, within=1 - 1e-9)


def test_many_funded_doses_are_refused_with_a_cure():
    a = af.Problem.from_chunks(CHUNKS, 9.0, within=0.5).allocate(2)
    for ask in (a.funded_doses, lambda: a.dose, lambda: af.report(a), lambda: a.lottery(1, 1.0)):
        with pytest.raises(TypeError, match=r"within = 0\.5 nearly every.*dose_chunks\(chunks\)"):
            ask()


def test_a_report_counts_the_people_of_all_chunks():
    ours = af.report(af.Problem.from_chunks(CHUNKS, 9.0).allocate(2))
    assert ours.markdown == af.report(af.allocate(BENEFIT, COST, GROUP, 9.0, 2)).markdown


@pytest.mark.parametrize("within", [0, 0.5])
@pytest.mark.parametrize(("budget", "cost", "how"), [(1e300, 1e-9, "over"), (1e-300, 1e9, "under")])
def test_doses_beyond_the_doubles_are_refused_by_their_row(within, budget, cost, how):
    chunks = [([1.0], 1.0, ["a"]), ([cost * 2], cost, ["b"])]
    a = af.Problem.from_chunks(chunks, budget, within=within).allocate(1)
    with pytest.raises(ValueError, match=rf"dose of item \(1, 0\) {how}flows: the budget is too"):
        list(a.dose_chunks(chunks))


@pytest.mark.parametrize("within", [0, 0.5])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda: iter([]), r"6 rows and then 0; an iterator that has been used"),
        (CHUNKS[:2], r"6 rows and then 3"),
        (cut(BENEFIT + 1, COST, GROUP, [2, 3]), r"group a had other rows"),
        (cut(BENEFIT, COST * [1, 1, 1, 1, 1, 3], GROUP, [2, 3]), r"group b had other rows"),
        (cut(BENEFIT, COST, np.array([*"aabbbc"]), [2]), r"group b had other rows"),
        (cut(BENEFIT, COST, np.array([*"aabbcd"]), [2]), r"other groups or treatments came"),
        ([(np.ones((6, 2)), 1.0, GROUP)], r"other groups or treatments came"),
    ],
)
def test_a_second_pass_over_other_rows_is_refused(within, second, message):
    a = af.Problem.from_chunks(CHUNKS, 9.0, within=within).allocate(2)
    with pytest.raises(ValueError, match=f"not those of the first pass: {message}"):
        list(a.dose_chunks(second))


def test_a_bar_counts_chunks(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "alphafair.chunks.watched", lambda items, what, unit: seen.append((what, unit)) or items
    )
    a = af.Problem.from_chunks(CHUNKS, 9.0).allocate(2)
    list(a.dose_chunks(CHUNKS))
    assert seen == [("chunks", "chunk")] * 2


def test_sparse_doses_are_those_of_the_people():
    pytest.importorskip("scipy")
    rng = np.random.default_rng(0)
    tables = rng.uniform(1, 2, (2, 40, 3))
    group = rng.integers(0, 5, 40)
    rows = [(slice(0, 7)), slice(7, 7), slice(7, 40)]
    chunks = [(tables[0][some], tables[1][some], group[some]) for some in rows]
    whole = af.allocate(*tables, group, 9.0, 2)
    sparse = af.Problem.from_chunks(chunks, 9.0).allocate(2).dose_sparse()
    assert np.array_equal(sparse.toarray(), whole.dose)
    inside = af.Problem.from_chunks(chunks, 9.0, within=0.5).allocate(2)
    for ask in (inside.dose_sparse, lambda: inside.dose_into(np.empty((5, 1)))):
        with pytest.raises(TypeError, match="dose_chunks"):
            ask()
