"""Every kind of frame gives the doses of the array API; and only K numbers leave the engine."""

import datetime
import os
import shutil
import sys
from decimal import Decimal
from types import SimpleNamespace

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import BALANCE, alphas, cases, exact_allocation, random_case, relative_error
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af
from alphafair import frames
from alphafair.frames import engine as engine_room

# narwhals announces that its Dask part will be a package of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Dask support is moving out:FutureWarning")

EAGER = ("pandas", "polars", "pyarrow")
LAZY = ("polars lazy", "duckdb")  # DuckDB of a connection of its own, like most of them
SLOW = ("dask", "pyspark")  # a call takes seconds, whatever the rows: planning, and small tasks
COLUMNS = {"benefit": "uplift", "cost": "price", "group": "district"}
PERSONS = COLUMNS | {"person": "person"}
UNIT = {"benefit": "u", "cost": 1, "group": "g"}


@pytest.fixture(scope="module")
def dask_cluster():
    """Two worker processes: what happens in them has been pickled and sent."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("PySpark needs Java, and there is none")
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else its workers run the python3 of the PATH
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.log.level", "OFF")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture
def engine(request):
    """The kind of frame, and how to make one of a Polars frame."""
    kind = request.param
    if kind == "dask":
        request.getfixturevalue("dask_cluster")
        dask = pytest.importorskip("dask.dataframe")
        return SimpleNamespace(
            kind=kind, make=lambda t: dask.from_pandas(t.to_pandas(), npartitions=3)
        )
    if kind == "pyspark":
        session = request.getfixturevalue("spark")
        return SimpleNamespace(
            kind=kind, make=lambda t: session.createDataFrame(t.rows(), t.columns)
        )
    make = {
        "pandas": lambda t: t.to_pandas(),
        "polars": lambda t: t,
        "pyarrow": lambda t: t.to_arrow(),
        "polars lazy": lambda t: t.lazy(),
        "duckdb": lambda t: duckdb.connect().from_arrow(t.to_arrow()),
        "duckdb default": lambda t: duckdb.from_arrow(t.to_arrow()),
    }[kind]
    return SimpleNamespace(kind=kind, make=make)


@pytest.fixture
def collected_heights(monkeypatch):
    """The number of rows of everything that `frames` has brought to Python."""
    heights, collect = [], engine_room.collect

    def spy(frame):
        found = collect(frame)
        heights.append(len(next(iter(found.values()))))
        return found

    monkeypatch.setattr(engine_room, "collect", spy)
    return heights


def on(*kinds):
    return pytest.mark.parametrize("engine", kinds, indirect=True)


def collected(frame):
    table = nw.from_native(frame)
    return table.collect() if isinstance(table, nw.LazyFrame) else table


def long_table(case, seed=0):
    """A case of `helpers`, one row a (person, treatment), shuffled."""
    treatments = case.benefit.shape[1]
    order = np.random.default_rng(seed).permutation(case.benefit.size)
    person, treatment = np.divmod(order, treatments)
    return pl.DataFrame(
        {
            "person": person,
            "treatment": treatment,
            "uplift": case.benefit.ravel()[order],
            "price": case.cost.ravel()[order],
            "district": [f"d{k}" for k in case.group[person]],
        }
    )


def dose_matrix(frame, shape):
    table = collected(frame)
    dose = np.full(shape, np.nan)
    dose[table["person"].to_numpy(), table["treatment"].to_numpy()] = table["dose"].to_numpy()
    return dose


def weights(case):
    return {f"d{k}": w for k, w in enumerate(case.weight)}


def assert_same_doses(got, expected):
    """To 1e−12 of each dose: engines have other logarithms and add in another order."""
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


def check(engine, case, alpha, within, weight):
    labels = [f"d{k}" for k in case.group]
    expected = af.allocate(
        case.benefit, case.cost, labels, case.budget, alpha, within=within, weight=weight
    )
    frame = engine.make(long_table(case))
    got = frames.allocate(
        frame, **PERSONS, budget=case.budget, alpha=alpha, within=within, weight=weight
    )
    assert type(got) is type(frame)
    assert_same_doses(dose_matrix(got, case.benefit.shape), expected.dose)


# --- the same doses as the arrays -----------------------------------------------------------------
@on(*EAGER, *LAZY)
@pytest.mark.parametrize("within", [0, 0.3, 1, 2, np.inf])
def test_doses_are_those_of_the_arrays(engine, within):
    case = random_case(3, persons=20, spread=2.0)
    every = (None, "size", weights(case), None, "size")
    for alpha, weight in zip((0, 0.5, 1, 2, np.inf), every, strict=True):
        check(engine, case, alpha, within, weight)


@on("pandas", "polars", "duckdb")
@pytest.mark.parametrize("within", [0.05, 0.5, 1 - 1e-9, 1 + 1e-9, 50])
def test_doses_are_those_of_the_arrays_near_the_limits(engine, within):
    check(engine, random_case(3, persons=20, spread=2.0), 2, within, None)


@on(*SLOW)
def test_doses_are_those_of_the_arrays_on_workers(engine, collected_heights):
    case = random_case(3, persons=20, groups=3, spread=2.0)
    check(engine, case, 2, 0.3, weights(case))
    assert max(collected_heights) == 3


@on("duckdb default", *EAGER, *LAZY)
@pytest.mark.parametrize("within", [0, 0.5])
def test_rows_are_persons_and_cost_is_a_number(engine, within):
    case = random_case(5, persons=20, treatments=1)
    expected = af.allocate(
        case.benefit, 2.0, case.group, case.budget, 2, within=within, weight="size"
    )
    call = {"benefit": "uplift", "cost": 2, "group": "district", "weight": "size"}
    frame = engine.make(long_table(case))
    got = frames.allocate(frame, **call, budget=case.budget, alpha=2, within=within)
    assert_same_doses(dose_matrix(got, case.benefit.shape), expected.dose)


@on("polars", "duckdb")
@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_one_group_and_one_person(engine, within):
    check(engine, random_case(1, persons=6, groups=1), 2, within, None)
    check(engine, random_case(1, persons=1, groups=1), 2, within, None)


@on(*EAGER, *LAZY)
def test_people_without_benefit_count_but_get_nothing(engine):
    """With ε < 1 they have the share 0 and make their group less productive."""
    table = pl.DataFrame({"u": [3.0, -1.0, 0.0, 2.0], "g": ["a", "a", "a", "b"], "p": [1, 2, 3, 4]})
    for within in (0, 0.5):
        expected = af.allocate(table["u"], 1.0, table["g"], 5.0, 2, within=within)
        solution = frames.solve(
            engine.make(table), **UNIT, budget=5, alpha=2, person="p", within=within
        )
        got = collected(solution.frame).sort("p")["dose"].to_numpy()
        assert_same_doses(got, expected.dose[:, 0])
        np.testing.assert_array_equal(solution.size, [3, 1])
        np.testing.assert_allclose(
            solution.groups.group_utility, expected.group_utility, rtol=BALANCE
        )


@on("pandas", "polars lazy", "duckdb")
@pytest.mark.parametrize("within", [0.3, 0.5, 1, 3, np.inf])
def test_scales_stay_inside_the_doubles(engine, within):
    """Powers are relative to one ratio of the group: 1e±140 to the power 2.3 is 1e±322."""
    case = random_case(7, persons=8, treatments=2, groups=2, spread=280.0)
    check(engine, case, 2, within, None)


@on("pandas", "polars", "duckdb")
def test_smallest_aversion_inside_groups_is_the_maximum(engine):
    case = random_case(7)
    expected = af.allocate(case.benefit, case.cost, case.group, case.budget, 2)
    frame = engine.make(long_table(case))
    got = frames.allocate(
        frame, **COLUMNS, budget=case.budget, alpha=2, person="person", within=1e-300
    )
    assert_same_doses(dose_matrix(got, case.benefit.shape), expected.dose)


@pytest.mark.parametrize("within", [0.3, 1 - 1e-9, 1, 1 + 1e-9, 50])
def test_doses_against_50_digits(within):
    """The array API apart: near s = 0 a mean of powers less 1 would keep no digit."""
    case = random_case(11)
    w = weights(case)
    got = frames.allocate(
        long_table(case), **PERSONS, budget=case.budget, alpha=1.5, within=within, weight=w
    )
    exact = exact_allocation(case, 1.5, within)
    assert relative_error(dose_matrix(got, case.benefit.shape), exact.dose) < 1e-12


@given(cases(), alphas, st.sampled_from([0, 0.3, 1, 2]), st.integers(0, 9))
def test_budget_is_met_whatever_the_order_of_rows(case, alpha, within, seed):
    frame = long_table(case, seed)
    got = frames.allocate(
        frame.lazy(), **COLUMNS, budget=case.budget, alpha=alpha, person="person", within=within
    ).collect()
    spent = (got["dose"] * got["price"]).sum()
    assert abs(spent / case.budget - 1) < BALANCE
    assert got["dose"].min() >= 0


# --- what a frame is, and stays -------------------------------------------------------------------
@on(*EAGER, *LAZY)
def test_only_one_row_a_group_comes_to_python(engine, collected_heights):
    case = random_case(3, persons=20, groups=3)
    frame = engine.make(long_table(case))
    got = frames.allocate(frame, **COLUMNS, budget=1.0, alpha=2, person="person", within=0.5)
    assert max(collected_heights) == 3
    assert isinstance(nw.from_native(got), nw.LazyFrame) == (engine.kind not in EAGER)


@on(*EAGER)
@pytest.mark.parametrize("within", [0, 0.5])
def test_eager_frames_keep_order_and_columns_and_stay_as_they_were(engine, within):
    table = long_table(random_case(3, persons=30)).with_columns(note=pl.lit("kept"))
    frame, twin = engine.make(table), engine.make(table)
    got = frames.allocate(frame, **COLUMNS, budget=1.0, alpha=2, person="person", within=within)
    assert nw.from_native(frame).to_dict(as_series=False) == nw.from_native(twin).to_dict(
        as_series=False
    )
    columns = nw.from_native(got).to_dict(as_series=False)
    assert list(columns) == [*table.columns, "dose"]
    assert columns["treatment"] == table["treatment"].to_list()
    assert columns["person"] == table["person"].to_list()


@on(*EAGER)
def test_joins_may_reorder_rows(engine, monkeypatch):
    """No engine promises the order of a join; these happen to keep it, so it is upset here."""
    join = nw.DataFrame.join

    def upset(left, *args, **how):
        return join(left, *args, **how).sort(engine_room.RATIO)

    monkeypatch.setattr(nw.DataFrame, "join", upset)
    case = random_case(3)
    check(engine, case, 2, 0, None)
    check(engine, case, 2, 0.5, None)


@pytest.mark.parametrize("cap", [None, np.inf])
def test_pandas_index_is_kept_even_where_it_repeats(cap):
    frame = pd.DataFrame({"u": [1.0, 3.0, 2.0], "g": ["a", "b", "a"]}, index=[7, 7, 0])
    got = frames.allocate(frame, **UNIT, budget=2, alpha=1, cap=cap)
    assert got.index.tolist() == [7, 7, 0]
    assert got["dose"].tolist() == [0.0, 1.0, 1.0]


@on(*EAGER, *LAZY)
def test_ties_go_to_the_first_row_or_are_shared(engine):
    """At within = 0 in the group; at within > 0 in the person, where a tie is of treatments."""
    table = pl.DataFrame(
        {
            "u": [1.0, 2.0, 2.0, 4.0, 3.0, 3.0],
            "c": [1.0, 1.0, 1.0, 2.0, 1.0, 1.0],
            "g": ["a", "a", "a", "a", "b", "b"],
            "p": [1, 1, 1, 2, 3, 3],
            "row": range(6),
        }
    )
    shared = {0: [0, 1, 1, 0.5, 1.5, 1.5], 1: [0, 0.75, 0.75, 0.75, 1.5, 1.5]}
    first = {0: [0, 3, 0, 0, 3, 0], 1: [0, 1.5, 0, 0.75, 3, 0]}
    for within in (0, 1):
        got = frames.allocate(
            engine.make(table),
            **(UNIT | {"cost": "c"}),
            person="p",
            budget=6,
            alpha=1,
            within=within,
        )
        expected = (first if engine.kind in EAGER else shared)[within]
        assert_same_doses(collected(got).sort("row")["dose"].to_numpy(), expected)


LABELS = {
    "text": ["a", "b", "ä"],
    "integer": [-5, 2**40, 3],
    "real": [0.1, -2.5, 1e-300],
    "boolean": [True, False, True],
    "date": [datetime.date(2020, 1, day) for day in (3, 1, 2)],
    "time": [datetime.datetime(2020, 1, day, 12, 30, 1, 250) for day in (3, 1, 2)],
    "category": ["a", "b", "c"],
}


def label_table(kind):
    label = pl.Series("g", LABELS[kind], dtype=pl.Categorical if kind == "category" else None)
    return pl.DataFrame({"u": [1.0, 4.0, 9.0] * 2, "row": range(6)}).with_columns(
        g=pl.concat([label, label])
    )


def check_labels(engine, kind):
    table = label_table(kind)
    code = np.unique(np.array(LABELS[kind], dtype=object), return_inverse=True)[1]
    expected = af.allocate(table["u"], 1.0, np.tile(code, 2), 6.0, 0.5, within=0.5)
    got = frames.allocate(engine.make(table), **UNIT, budget=6, alpha=0.5, within=0.5)
    assert_same_doses(collected(got).sort("row")["dose"].to_numpy(), expected.dose[:, 0])


@on(*EAGER, *LAZY)
@pytest.mark.parametrize("kind", LABELS)
def test_any_labels(engine, kind):
    check_labels(engine, kind)


@on("dask")
def test_categories_of_dask(engine):
    """Its `replace` works inside the categories."""
    check_labels(engine, "category")


def test_categories_that_do_not_occur():
    frame = label_table("category").to_pandas()
    frame["g"] = frame["g"].cat.add_categories(["never"])
    got = frames.solve(frame, **UNIT, budget=6, alpha=1)
    assert got.groups.group_labels.tolist() == ["a", "b", "c"]


@on(*EAGER, *LAZY, *SLOW)
def test_two_thousand_groups(engine):
    """Of dates: what engines write differently, and Dask looks up as text."""
    groups = 2000
    rng = np.random.default_rng(0)
    code = np.concatenate([np.arange(groups), rng.integers(0, groups, groups)])
    benefit = rng.uniform(1, 2, code.size)
    start = datetime.datetime(1970, 1, 1, 12, 30)
    label = [start + datetime.timedelta(days=int(k)) for k in code]
    table = pl.DataFrame({"u": benefit, "g": label, "row": range(code.size)})
    expected = af.allocate(benefit, 1.0, code, 10.0, 3)
    got = frames.allocate(engine.make(table), **UNIT, budget=10, alpha=3)
    assert_same_doses(collected(got).sort("row")["dose"].to_numpy(), expected.dose[:, 0])


# --- conversions ----------------------------------------------------------------------------------
@on(*EAGER, *LAZY)
def test_integers_decimals_and_booleans_are_numbers(engine):
    table = pl.DataFrame(
        {
            "i": pl.Series([1, 2, 0], dtype=pl.Int8),
            "d": pl.Series([Decimal("0.10"), Decimal("0.30"), Decimal("0.20")]),
            "b": [True, True, False],
            "g": [0, 0, 0],
            "row": [0, 1, 2],
        }
    )
    for benefit in ("i", "b"):
        expected = af.allocate(table[benefit].cast(float), [0.1, 0.3, 0.2], [0, 0, 0], 1.0, 1)
        got = frames.allocate(
            engine.make(table), benefit=benefit, cost="d", group="g", budget=1, alpha=1
        )
        dose = collected(got).sort("row")["dose"].to_numpy()
        assert_same_doses(dose, expected.dose[:, 0])


def test_nullable_columns_of_pandas():
    frame = pd.DataFrame({"u": [1, 2, 5], "g": ["a", "a", "b"]}).convert_dtypes()
    got = frames.allocate(frame, **UNIT, budget=4, alpha=1, within=0.5)
    expected = af.allocate([1.0, 2, 5], 1.0, ["a", "a", "b"], 4, 1, within=0.5)
    assert_same_doses(got["dose"].to_numpy(float), expected.dose[:, 0])


# --- caps -----------------------------------------------------------------------------------------
@on(*EAGER)
@pytest.mark.parametrize("weight", [None, "size", dict])
def test_caps_are_those_of_the_arrays(engine, weight):
    """The rows are items of their own there: persons must count once all the same."""
    case = random_case(9, persons=15)
    cap = np.random.default_rng(1).uniform(0, 0.3, case.benefit.shape)
    table = long_table(case)
    at = (table["person"].to_numpy(), table["treatment"].to_numpy())
    frame = engine.make(table.with_columns(most=cap[at]))
    weight = weights(case) if weight is dict else weight
    labels = [f"d{k}" for k in case.group]
    for alpha in (0, 0.5, 1, 2, np.inf):
        problem = af.Problem(case.benefit, case.cost, labels, 1.5, weight=weight, cap=cap)
        got = frames.solve(
            frame, **COLUMNS, budget=1.5, alpha=alpha, person="person", weight=weight, cap="most"
        )
        expected = problem.allocate(alpha)
        # The doses at the margin are differences of budgets: to 1e−12 of the caps.
        np.testing.assert_allclose(
            dose_matrix(got.frame, case.benefit.shape), expected.dose, rtol=1e-11, atol=1e-12
        )
        np.testing.assert_allclose(
            got.groups.group_utility, expected.group_utility, rtol=1e-11, atol=0
        )


def bounded_call(case, engine, seed):
    """A case with everything that needs memory, as arrays and as a long table."""
    rng = np.random.default_rng(seed)
    cap = rng.uniform(0.05, 0.3, case.benefit.shape)
    floor = cap * rng.uniform(0, 0.2, cap.shape) * (case.benefit > 0)
    baseline = rng.uniform(0.01, 0.5, len(case.benefit))
    table = long_table(case)
    at = (table["person"].to_numpy(), table["treatment"].to_numpy())
    frame = table.with_columns(most=cap[at], least=floor[at], have=baseline[at[0]])
    return {"cap": cap, "floor": floor, "baseline": baseline}, engine.make(frame)


@on(*EAGER)
@pytest.mark.parametrize("within", [0, 0.5, 1, 3, np.inf])
@pytest.mark.parametrize("given", ["baseline", "floor", "cap", "baseline floor cap"])
def test_baselines_floors_and_caps_are_those_of_the_arrays(engine, within, given):
    case = random_case(9, persons=15)
    arrays, frame = bounded_call(case, engine, 1)
    arrays = {name: arrays[name] for name in given.split()}
    columns = {name: {"cap": "most", "floor": "least", "baseline": "have"}[name] for name in arrays}
    labels = [f"d{k}" for k in case.group]
    bounds = {"group_floor": {f"d{k}": 0.3 for k in range(4)}, "weight": "size"}
    problem = af.Problem(case.benefit, case.cost, labels, 3.0, within=within, **bounds, **arrays)
    for alpha in (0.5, 2, np.inf):
        got = frames.solve(
            frame, **PERSONS, budget=3.0, alpha=alpha, within=within, **bounds, **columns
        )
        expected = problem.allocate(alpha)
        # The doses at the margin are differences of budgets: to 1e−12 of the caps.
        np.testing.assert_allclose(
            dose_matrix(got.frame, case.benefit.shape), expected.dose, rtol=1e-10, atol=1e-11
        )
        np.testing.assert_allclose(
            got.groups.group_utility, expected.group_utility, rtol=1e-11, atol=0
        )


@on(*EAGER)
def test_people_may_have_few_rows_or_many(engine):
    """One row, three, two: nobody gets a dose of a row that is not there."""
    table = pl.DataFrame(
        {
            "u": [1.0, 4.0, 2.0, 3.0, 5.0, 2.0],
            "g": ["a", "b", "b", "b", "a", "a"],
            "p": ["x", "y", "y", "y", "z", "z"],
        }
    )
    rows = [4, 0, 3, 1, 5, 2]
    got = frames.solve(
        engine.make(table[rows]), **UNIT, person="p", budget=1.5, alpha=2, within=0.5, cap=0.5
    )
    benefit = [[1.0, 0, 0], [4.0, 2, 3], [5.0, 2, 0]]
    cap = [[0.5, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    expected = af.allocate(benefit, 1.0, ["a", "b", "a"], 1.5, 2, within=0.5, cap=cap).dose
    dose = np.empty(6)
    dose[rows] = collected(got.frame)["dose"].to_numpy()
    assert_same_doses(dose, expected[[0, 1, 1, 1, 2, 2], [0, 0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(got.size, [2, 1])
    np.testing.assert_array_equal(got.groups.group_size, [2, 1])


def test_numbers_in_the_place_of_columns():
    frame = pl.DataFrame({"u": [3.0, 1.0, 2.0], "g": ["a", "a", "b"]})
    bounds = {"baseline": 1.0, "floor": 0.25, "cap": 2}
    got = frames.allocate(frame, **UNIT, budget=4, alpha=2, **bounds)["dose"].to_numpy()
    expected = af.allocate(frame["u"], 1.0, frame["g"], 4, 2, **bounds).dose[:, 0]
    np.testing.assert_array_equal(got, expected)


@on(*EAGER, *LAZY)
@pytest.mark.parametrize("within", [0, 0.5])
def test_bounds_of_groups(engine, within, collected_heights):
    """They concern the split between the groups, so that lazy frames take them as well."""
    case = random_case(3, persons=20, groups=3)
    labels = [f"d{k}" for k in case.group]
    share = case.budget * np.array([0.5, 0.1, 1.0])
    bounds = {"group_floor": {"d1": 0, "d0": share[0], "d2": 0}, "group_cap": [np.inf, *share[1:]]}
    for alpha in (0, 2, np.inf):
        expected = af.allocate(
            case.benefit, case.cost, labels, case.budget, alpha, within=within, **bounds
        )
        assert (expected.group_budget[:2] >= share[:2] * [1 - 1e-12, 0]).all()
        got = frames.solve(
            engine.make(long_table(case)),
            **PERSONS,
            budget=case.budget,
            alpha=alpha,
            within=within,
            **bounds,
        )
        np.testing.assert_allclose(
            dose_matrix(got.frame, case.benefit.shape), expected.dose, rtol=1e-11, atol=0
        )
        np.testing.assert_allclose(got.groups.price, expected.price, rtol=1e-11)
    assert max(collected_heights) == 3


# --- errors ---------------------------------------------------------------------------------------
SOUND = pl.DataFrame(
    {
        "uplift": [1.0, 2.0, 3.0, 4.0],
        "price": [1.0, 1.0, 2.0, 2.0],
        "district": ["a", "a", "b", "b"],
        "id": [1, 2, 3, 4],
    }
)
CALL = {**COLUMNS, "person": "id", "budget": 1.0, "alpha": 1.0}


def entry(column, row, value):
    """SOUND with one other value."""
    index = pl.int_range(pl.len())
    dtype = SOUND.schema[column]
    other = pl.when(index == row).then(pl.lit(value, dtype=dtype)).otherwise(pl.col(column))
    return SOUND.with_columns(other.alias(column))


BAD_ROWS = {
    "benefit null": (entry("uplift", 2, None), "benefit column 'uplift' has 1 missing value", "2"),
    "benefit nan": (entry("uplift", 2, np.nan), "benefit column 'uplift' has 1 missing", "2"),
    "benefit inf": (entry("uplift", 3, np.inf), "benefit column 'uplift' has 1 infinite", "3, inf"),
    "benefit -inf": (entry("uplift", 3, -np.inf), "benefit column 'uplift' has 1 inf", "3, -inf"),
    "cost null": (entry("price", 2, None), "cost column 'price' has 1 missing value", "2"),
    "cost inf": (entry("price", 2, np.inf), "cost column 'price' has 1 infinite value", "2, inf"),
    "cost 0": (entry("price", 3, 0.0), "cost column 'price' has 1 value ≤ 0", "3, 0.0"),
    "cost < 0": (entry("price", 3, -1.0), "cost column 'price' has 1 value ≤ 0", "3, -1.0"),
    "group": (entry("district", 2, None), "group column 'district' has 1 missing value", "2"),
    "person": (entry("id", 3, None), "person column 'id' has 1 missing value", "3"),
    "ratio": (entry("uplift", 3, 1e301), "'uplift' has 1 value whose ratio to the cost", "3, 1e"),
}


@on(*EAGER, *LAZY)
@pytest.mark.parametrize("bad", BAD_ROWS)
def test_bad_rows(engine, bad):
    table, message, place = BAD_ROWS[bad]
    with pytest.raises(ValueError, match=message) as caught:
        frames.allocate(engine.make(table), **CALL)
    if engine.kind in EAGER:
        assert f"(first: row {place}" in str(caught.value)
    elif bad != "group":
        assert "(one of them in group b)" in str(caught.value)


@on(*SLOW)
def test_bad_rows_on_workers(engine):
    """Missing groups: an engine that leaves them out of its aggregates would not see the rows."""
    table, message, _ = BAD_ROWS["group"]
    with pytest.raises(ValueError, match=message):
        frames.allocate(engine.make(table), **CALL)


def test_bad_rows_are_counted():
    table = SOUND.with_columns(uplift=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(ValueError, match=r"has 4 missing values \(first: row 0\): drop those rows"):
        frames.allocate(table, **CALL)


@on(*EAGER, *LAZY)
def test_frames_that_cannot_be_served(engine):
    worthless = SOUND.with_columns(uplift=pl.Series([-1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="group a has no row with a positive benefit"):
        frames.allocate(engine.make(worthless), **CALL)
    one = engine.make(entry("uplift", 2, -1.0))
    frames.allocate(one, **CALL, within=0.9)
    with pytest.raises(ValueError, match=r"person 3 \(group b\) has no positive benefit.* 1 \(1 "):
        frames.allocate(one, **CALL, within=1)
    with pytest.raises(ValueError, match="the frame is empty"):
        frames.allocate(engine.make(SOUND.head(0)), **CALL)
    with pytest.raises(ValueError, match="person 1 has rows in 2 groups: must be one; if ids"):
        frames.allocate(engine.make(SOUND.with_columns(id=pl.Series([1, 2, 1, 4]))), **CALL)
    with pytest.raises(ValueError, match="doses of group a can overflow"):
        frames.allocate(engine.make(SOUND), **(CALL | {"budget": 1e308, "cost": 1e-9}))


@on("polars", "polars lazy")
def test_person_without_benefit_is_a_row(engine):
    call = {key: value for key, value in CALL.items() if key != "person"}
    who = "row 2" if engine.kind == "polars" else "somebody"
    with pytest.raises(ValueError, match=rf"{who} \(group b\) has no positive benefit"):
        frames.allocate(engine.make(entry("uplift", 2, -1.0)), **call, within=2)


BAD_CALLS = {
    "benefit missing": (
        {"benefit": "uplif"},
        "benefit column 'uplif' is not .*; did you mean 'upl",
    ),
    "lists columns": (
        {"cost": "zzz"},
        r"whose columns are \['uplift', 'price', 'district', 'id'\]",
    ),
    "person missing": ({"person": "ident"}, "person column 'ident' is not in the frame"),
    "cost": ({"cost": 0}, r"cost is 0.0: must be a column or a finite number > 0"),
    "budget": ({"budget": -1}, "budget is -1.0: must be finite and ≥ 0"),
    "alpha": ({"alpha": -1}, "alpha is -1.0"),
    "within": ({"within": -1}, "within is -1.0"),
    "weight": ({"weight": {"a": 1.0}}, "weight has no entry for group 'b'"),
    "weights": ({"weight": [1.0]}, r"weight has shape \(1,\): must be \(2,\)"),
    "word": ({"weight": "big"}, 'the only word it takes is "size"'),
}


@on("pandas", "polars", "polars lazy", "duckdb")
@pytest.mark.parametrize("bad", BAD_CALLS)
def test_bad_calls(engine, bad):
    arguments, message = BAD_CALLS[bad]
    with pytest.raises(ValueError, match=message):
        frames.allocate(engine.make(SOUND), **(CALL | arguments))


def test_wrong_kinds():
    with pytest.raises(TypeError, match=r"frame is of type ndarray.*alphafair\.allocate"):
        frames.allocate(np.ones(3), **CALL)
    with pytest.raises(TypeError, match="benefit column 'district' is of type String"):
        frames.allocate(SOUND, **(CALL | {"benefit": "district"}))
    with pytest.raises(TypeError, match="group must be a column name, not int"):
        frames.allocate(SOUND, **(CALL | {"group": 1}))
    with pytest.raises(TypeError, match="benefit must be a column name, not float"):
        frames.allocate(SOUND, **(CALL | {"benefit": 1.0}))
    with pytest.raises(TypeError, match="cost must be a number, not list"):
        frames.allocate(SOUND, **(CALL | {"cost": [1.0]}))


def test_dose_is_not_overwritten():
    """DuckDB does not tell dose from Dose."""
    with pytest.raises(ValueError, match="the frame has a column 'dose' already: rename or drop"):
        frames.allocate(SOUND.with_columns(dose=1.0), **CALL)
    table = SOUND.with_columns(Dose=1.0)
    with pytest.raises(ValueError, match="column 'Dose' already"):
        frames.allocate(duckdb.from_arrow(table.to_arrow()), **CALL)
    assert frames.allocate(table, **CALL).columns[-2:] == ["Dose", "dose"]


def test_caps_that_are_no_bounds():
    with pytest.raises(ValueError, match=r"cap is -1\.0"):
        frames.allocate(SOUND, **CALL, cap=-1.0)
    for value, message in (
        (None, "1 missing value"),
        (np.nan, "1 missing value"),
        (-1.0, "1 value < 0"),
    ):
        table = SOUND.with_columns(most=pl.Series([1.0, value, 1.0, 1.0], dtype=pl.Float64))
        with pytest.raises(ValueError, match=rf"cap column 'most' has {message} \(first: row 1"):
            frames.allocate(table, **CALL, cap="most")


def with_column(name, values):
    return SOUND.with_columns(pl.Series(name, values, dtype=pl.Float64))


@pytest.mark.parametrize(
    ("table", "bounds", "message"),
    [
        (SOUND, {"floor": -1.0}, r"floor is -1\.0: must be a column or a finite number ≥ 0"),
        (SOUND, {"baseline": np.inf}, "baseline is inf: must be a column or a finite number ≥ 0"),
        (SOUND, {"floor": 2, "cap": 1}, r"floor is 2\.0: must be at most the cap, 1\.0"),
        (
            with_column("least", [0, None, 0, 0]),
            {"floor": "least"},
            r"floor column 'least' has 1 missing value \(first: row 1\): .* write 0 where there is",
        ),
        (
            with_column("least", [0, 0, np.inf, 0]),
            {"floor": "least"},
            r"floor column 'least' has 1 infinite value \(first: row 2, inf\)",
        ),
        (
            with_column("least", [0, 0, -1, 0]),
            {"floor": "least"},
            r"floor column 'least' has 1 value < 0 \(first: row 2, -1.0\): 0 is no bound",
        ),
        (
            with_column("least", [0, 0, 3, 4]),
            {"floor": "least", "cap": 2},
            r"floor column 'least' has 2 values above the cap \(first: row 2, 3.0\): lower the",
        ),
        (
            with_column("most", [0.1, 0.3, 0.1, 1]),
            {"floor": 0.2, "cap": "most"},
            r"cap column 'most' has 2 values below the floor \(first: row 0, 0.1\): lower the",
        ),
        (
            with_column("have", [0, np.nan, 0, 0]),
            {"baseline": "have"},
            r"baseline column 'have' has 1 missing value \(first: row 1\): .* who has nothing",
        ),
        (
            with_column("have", [0, -2, 0, 0]),
            {"baseline": "have"},
            r"baseline column 'have' has 1 value < 0 \(first: row 1, -2.0\): what a person owes",
        ),
        (
            with_column("have", [1, 1, 1, 2]).with_columns(id=pl.Series(["x", "x", "y", "y"])),
            {"baseline": "have"},
            r"'have' differs between the rows of person y \(group b\): 1.0 in row 2 and 2.0 in r",
        ),
        (
            entry("uplift", 2, -5.0),
            {"floor": 0.1, "within": 0.5},
            r"the floors give person 3 \(group b\) the utility -0.5: must be ≥ 0",
        ),
        (
            entry("uplift", 2, -5.0),
            {"floor": 0.1},
            r"the floors give person 3 \(group b\) the utility -0.5: must be ≥ 0",
        ),
        (
            entry("uplift", 2, -5.0),
            {"cap": 1, "within": 2},
            r"person 3 \(group b\) has no positive benefit and cap, so with within = 2",
        ),
        (
            with_column("most", [1, 1, 0, 1]),
            {"cap": "most", "within": 2},
            r"person 3 \(group b\) has no positive benefit and cap, so with within = 2",
        ),
        (SOUND, {"floor": 10}, "floor costs 60 in all"),
        (SOUND, {"group_floor": {"a": 1}}, "group_floor has no entry for group 'b'"),
        (SOUND, {"group_floor": [1.0, 1.0]}, "group_floor adds up to 2 .* more than the budget"),
        (SOUND, {"group_cap": [-1, 1]}, r"group_cap\[0\] \(group a\) is -1.0: must be ≥ 0"),
    ],
)
def test_bounds_that_are_refused(table, bounds, message):
    with pytest.raises(ValueError, match=message):
        frames.allocate(table, **(CALL | bounds))


def test_who_has_a_baseline_needs_no_benefit():
    table = entry("uplift", 2, -5.0).with_columns(have=pl.Series([0.0, 0, 1, 0]))
    frames.allocate(table, **CALL, baseline="have", within=2)
    # and at within = 0 only the mean of the group must not be negative
    frames.allocate(entry("uplift", 2, -3.0), **(CALL | {"budget": 9}), floor=0.5)
    rows = table.drop("id").with_columns(have=0.0)
    call = {key: value for key, value in CALL.items() if key != "person"}
    with pytest.raises(ValueError, match=r"row 2 \(group b\) has no positive benefit, so"):
        frames.allocate(rows, **call, baseline="have", within=2)


@pytest.mark.parametrize("name", ["floor", "baseline", "cap"])
def test_bounds_must_hold_numbers(name):
    text = SOUND.with_columns(words=pl.lit("many"))
    with pytest.raises(TypeError, match=f"{name} column 'words' is of type String: must hold"):
        frames.allocate(text, **CALL, **{name: "words"})


def test_a_table_that_would_be_mostly_empty_is_refused(monkeypatch):
    """One person with most of the rows, and everybody else with one."""
    monkeypatch.setattr(frames.memory, "LARGE_TABLE", 100)
    monkeypatch.setattr(frames.memory, "LARGEST_PADDING", 8)
    who = [0] * 30 + list(range(1, 31))
    frame = pl.DataFrame({"u": 1.0, "g": "a", "p": who, "t": range(60)})
    with pytest.raises(ValueError, match=r"person 0 has 30 rows, far more.*31 people × 30 treat"):
        frames.allocate(frame, **UNIT, person="p", budget=1, alpha=1, cap=1)
    assert frames.allocate(frame[:36], **UNIT, person="p", budget=1, alpha=1, cap=1)["dose"][0] == 1


@pytest.mark.parametrize("make", [pl.DataFrame.lazy, pl.DataFrame.to_pandas])
def test_names_that_are_needed_on_the_way(make):
    table = SOUND.rename({"uplift": "_af_ratio"})
    expected = collected(frames.allocate(make(SOUND), **CALL))
    got = collected(frames.allocate(make(table), **(CALL | {"benefit": "_af_ratio"})))
    assert got.columns == [*table.columns, "dose"]
    assert got["dose"].to_list() == expected["dose"].to_list()
    bad = make(entry("uplift", 2, np.nan).rename({"uplift": "_af_ratio"}))
    with pytest.raises(ValueError, match="benefit column '_af_ratio' has 1 missing value"):
        frames.allocate(bad, **(CALL | {"benefit": "_af_ratio"}))


def test_person_is_not_the_group():
    with pytest.raises(ValueError, match="person and group are both the column 'district'"):
        frames.allocate(SOUND, **(CALL | {"person": "district"}))


def test_of_several_faults_the_labels_come_first_and_all_rows_count():
    frame = pd.DataFrame({"u": [1.0, np.nan, np.nan, 2.0], "g": ["a", None, "a", None]})
    with pytest.raises(ValueError, match=r"group column 'g' has 2 missing values \(first: row 1\)"):
        frames.allocate(frame, benefit="u", cost=1.0, group="g", budget=1.0, alpha=1)
