"""Caps, floors, baselines, group bounds and exclusive offers where the rows stay in the engine.

The oracle is the array problem on the same rows.  Where few items are collected at the margin
(`LIMIT`), passes over grids have to find it; both ways are tested.
"""

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from test_frames import collected, dask_cluster, engine, on, spark  # noqa: F401 (fixtures)

import alphafair as af
from alphafair import frames
from alphafair.frames import chains, heights, lazy, partitions, search
from alphafair.frames import engine as engine_room

pytestmark = pytest.mark.filterwarnings("ignore:Dask support is moving out:FutureWarning")

LAZY = ("polars lazy", "duckdb")
ALPHAS = (0, 0.5, 1, 2, np.inf)
WITHINS = (0, 0.5, 0.995, 1, 2, np.inf)
COLUMNS = {"benefit": "uplift", "cost": "price", "group": "district"}
NAMES = {"cap": "most", "floor": "least", "baseline": "have"}


def problem(seed, within, *, exclusive=False, person=True):
    """Arrays, and the same rows as a long table in a random order: anything may be given."""
    rng = np.random.default_rng(seed)
    persons, treatments = int(rng.integers(4, 20)), int(rng.integers(1, 4)) if person else 1
    groups = min(int(rng.integers(1, 5)), persons)
    shape = (persons, treatments)
    code = np.concatenate([np.arange(groups), rng.integers(0, groups, persons - groups)])
    benefit = np.exp(rng.normal(0, 1, shape)) * np.where(rng.random(shape) < 0.15, -1, 1)
    able = slice(None) if within >= 1 else slice(groups)
    benefit[able, 0] = np.abs(benefit[able, 0])
    cost = np.exp(rng.normal(0, 0.7, shape))
    arrays, cap = {}, rng.uniform(0.05, 1, shape)
    given = rng.random(4) < [0.7, 0.4, 0.5, 0.3]
    if given[0] or exclusive:
        if not exclusive and rng.random() < 0.5:
            cap[rng.random(shape) < 0.3] = np.inf
        cap[:, 1:][rng.random((persons, treatments - 1)) < 0.1] = 0
        arrays["cap"] = cap
    if given[1]:
        part = rng.uniform(0, 0.3, shape) * (rng.random(shape) < 0.5) * (benefit > 0)
        arrays["floor"] = part * np.where(np.isfinite(cap), cap, 1)
    if given[2] or not arrays:
        arrays["baseline"] = rng.uniform(0.01, 1, persons) * (rng.random(persons) < 0.7)
    spent = (cost * arrays.get("floor", 0 * cost)).sum(axis=1)
    room = np.where(np.isfinite(cap), cap, 1) * cost * (benefit > 0)
    budget = spent.sum() + room.sum() * rng.choice([0.01, 0.2, 0.5, 1.1])
    bounds = {}
    if given[3]:
        most = np.bincount(code, room.sum(axis=1), groups)
        here = np.bincount(code, spent, groups)
        share = (budget - spent.sum()) / groups
        most = most * (0 if exclusive else 1 / 9)  # one offer a person may cost less
        bounds["group_floor"] = here + np.minimum(share * rng.uniform(0, 0.6, groups), most)
        bounds["group_cap"] = bounds["group_floor"] + share * rng.uniform(0.3, 2, groups)
    if rng.random() < 0.5:
        bounds["weight"] = rng.choice(["size", None])
    i, t = np.divmod(rng.permutation(benefit.size), treatments)
    label = np.array([f"d{k}" for k in code])
    columns = {"uplift": benefit[i, t], "price": cost[i, t], "district": label[i]}
    columns |= {NAMES[name]: arrays[name][(i, t)[: arrays[name].ndim]] for name in arrays}
    table = pl.DataFrame({"person": i, "treatment": t, **columns})
    return (benefit, cost, label, budget), arrays, bounds, table


def check(frame, seed, alpha, within, *, exclusive=False, person=True):
    """Solve both ways; doses, money, utility and price are the same.  The `Solution`."""
    call, arrays, bounds, table = problem(seed, within, exclusive=exclusive, person=person)
    one = {"exclusive": True} if exclusive else {}
    expected = af.allocate(*call, alpha, within=within, **arrays, **bounds, **one)
    native = frame.make(table)
    got = frames.solve(
        native, **COLUMNS, person="person" if person else None, budget=call[3], alpha=alpha,
        within=within, **{name: NAMES[name] for name in arrays}, **bounds, **one,
    )  # fmt: skip
    assert type(got.frame) is type(native)
    rows = collected(got.frame)
    dose = np.full(call[0].shape, np.nan)
    dose[rows["person"].to_numpy(), rows["treatment"].to_numpy()] = rows["dose"].to_numpy()
    # Doses at the margin are differences of budgets.
    size = max(float(np.abs(expected.dose).max()), 1e-9)
    np.testing.assert_allclose(dose, expected.dose, rtol=1e-11, atol=1e-11 * size)
    spent = np.bincount(expected.problem.groups.code, (call[1] * dose).sum(axis=1))
    np.testing.assert_allclose(spent, expected.group_budget, rtol=1e-11, atol=1e-12 * call[3])
    np.testing.assert_allclose(got.groups.group_budget, spent, rtol=1e-11, atol=1e-12 * call[3])
    utility = expected.group_utility
    np.testing.assert_allclose(got.groups.group_utility, utility, rtol=1e-10, atol=1e-250)
    np.testing.assert_array_equal(got.size, expected.group_size)
    return got, expected


@pytest.fixture
def few(monkeypatch):
    """Collect next to nothing, so that passes must find the margin."""
    monkeypatch.setattr(search, "LIMIT", 3)


# --- the same doses as the arrays -----------------------------------------------------------------
@on("polars lazy")
@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_doses_are_those_of_the_arrays(engine, alpha, within):  # noqa: F811
    for seed in range(8):
        check(engine, seed, alpha, within, person=seed % 3 > 0)


@on("polars lazy")
@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", [0, 1, np.inf])
def test_passes_find_the_margin(engine, alpha, within, few):  # noqa: F811
    for seed in (20, 21, 24):
        check(engine, seed, alpha, within, person=seed % 3 > 0)


@on("polars lazy")
@pytest.mark.parametrize("within", [0, 0.5, 1, 2, np.inf])
def test_exclusive_offers_are_those_of_the_arrays(engine, within):  # noqa: F811
    for seed in range(40, 46):
        check(engine, seed, ALPHAS[seed % 5], within, exclusive=True)


@on("duckdb")
@pytest.mark.parametrize("within", [0, 0.5, 1, 3, np.inf])
def test_duckdb(engine, within):  # noqa: F811
    check(engine, 61, 2, within, person=False)
    check(engine, 62, 0, within)
    check(engine, 63, 1, within, exclusive=True)


@on("duckdb")
@pytest.mark.parametrize("within", [0, 2])
def test_passes_of_duckdb(engine, within, few):  # noqa: F811
    check(engine, 71, 2, within)


@on("dask", "pyspark")
@pytest.mark.parametrize("within", [0, 0.5])
def test_on_workers(engine, within):  # noqa: F811
    check(engine, 81, 2, within)


@on("dask", "pyspark")
def test_exclusive_offers_on_workers(engine):  # noqa: F811
    check(engine, 82, 2, 0.5, exclusive=True)


def test_columns_of_partitions_may_come_in_any_order():
    """Dask's optimiser moves columns when it merges assignments, whatever the plan says."""
    dask_frames = pytest.importorskip("dask.dataframe")
    native = dask_frames.from_pandas(pd.DataFrame({"g": [0, 1], "a": [1.0, 2.0]}), npartitions=2)
    native = native.map_partitions(
        lambda part: part[part.columns[::-1]], meta=native._meta, enforce_metadata=False
    )
    rows = nw.from_native(native)
    for added in (
        partitions.spread(rows, "g", [0, 1], {"x": np.array([5.0, 6.0])}),
        partitions.numbered(rows),
        nw.from_native(partitions.with_column(rows, rows, "a")),
    ):
        found = added.to_native().compute(scheduler="synchronous")
        assert list(found.columns) == added.columns
        assert found["a"].to_list() == [1.0, 2.0]


# --- ties, ends, bounds ---------------------------------------------------------------------------
TIES = pl.DataFrame(
    {
        "uplift": [2.0, 4.0, 1.0, 3.0, 3.0],
        "price": [1.0, 2.0, 1.0, 1.0, 1.0],
        "district": ["a", "a", "a", "b", "b"],
        "person": [1, 2, 3, 4, 4],
        "treatment": range(5),
        "most": [1.0, 1.0, 5.0, 1.0, 3.0],
    }
)


@on(*LAZY)
def test_rows_that_tie_share_in_parts_of_their_lengths(engine, few):  # noqa: F811
    call = {**COLUMNS, "budget": 4.5, "alpha": 0, "cap": "most", "person": "person"}
    got = collected(frames.allocate(engine.make(TIES), **call)).sort("treatment")
    spent = got["dose"].to_numpy() * TIES["price"].to_numpy()
    np.testing.assert_allclose(spent.sum(), 4.5, rtol=1e-13)
    a, b = spent[:2], spent[3:]
    np.testing.assert_allclose(a / a.sum(), [1 / 3, 2 / 3], rtol=1e-12)
    np.testing.assert_allclose(b / b.sum(), [1 / 4, 3 / 4], rtol=1e-12)


@on(*LAZY)
@pytest.mark.parametrize("within", [0, 1, np.inf])
def test_many_rows_of_two_ratios_end_the_search(engine, within, monkeypatch):  # noqa: F811
    """No grid tells equal ratios apart; they are collected as one."""
    monkeypatch.setattr(search, "LIMIT", 10)
    rng = np.random.default_rng(0)
    benefit = rng.integers(1, 3, 400).astype(float)
    table = pl.DataFrame({"uplift": benefit, "price": 1.0, "district": rng.integers(0, 2, 400)})
    expected = af.allocate(benefit, 1.0, table["district"], 150, 1, cap=1, within=within)
    got = frames.solve(
        engine.make(table), **COLUMNS, budget=150, alpha=1, cap=1.0, within=within
    ).groups
    np.testing.assert_allclose(got.group_budget, expected.group_budget, rtol=1e-12)
    np.testing.assert_allclose(got.group_utility, expected.group_utility, rtol=1e-12)


@on(*LAZY)
@pytest.mark.parametrize("within", [0, 0.5, np.inf])
def test_budgets_of_nothing_and_of_too_much(engine, within):  # noqa: F811
    call = {**COLUMNS, "alpha": 0.5, "cap": "most", "person": "person", "within": within}
    got = frames.solve(engine.make(TIES), **call, budget=0)
    assert collected(got.frame)["dose"].to_list() == [0.0] * 5
    got = frames.solve(engine.make(TIES), **call, budget=100)
    assert sorted(collected(got.frame)["dose"].to_list()) == sorted(TIES["most"].to_list())
    np.testing.assert_allclose(got.groups.money_left, 100 - 12, rtol=1e-13)
    assert got.groups.price == 0


@on(*LAZY)
def test_prices_are_those_of_the_arrays(engine):  # noqa: F811
    for within in (0, 0.5, 2):
        got, expected = check(engine, 4, 2, within)
        np.testing.assert_allclose(got.groups.price, expected.price, rtol=1e-10)


def test_what_needs_the_rows_is_refused():
    groups = frames.solve(TIES.lazy(), **COLUMNS, budget=1, alpha=1, cap=1.0).groups
    with pytest.raises(TypeError, match="rows of a lazy frame stay in its engine"):
        groups.dose  # noqa: B018
    with pytest.raises((TypeError, AttributeError), match="stay in its engine"):
        groups.gradient()
    np.testing.assert_allclose(groups.productivity, [2 / 3, 3 / 2])
    groups = frames.solve(TIES.lazy(), **COLUMNS, budget=1, alpha=1, cap=1.0, within=2).groups
    with pytest.raises(TypeError, match="productivity is not known at within > 0"):
        groups.productivity  # noqa: B018


@pytest.mark.parametrize("within", [0, 2])
def test_what_needs_the_rest_of_v_is_refused(within, few):
    """The pieces are those around the optimum: elsewhere they would answer wrongly."""
    call = {**COLUMNS, "budget": 3, "cap": 1.0, "within": within}
    problem = frames.solve(TIES.lazy(), **call, alpha=1).groups.problem
    for ask in (
        lambda: problem.allocate(0),
        lambda: problem.group_utility([0, 1]),
        lambda: problem.marginal_utility([0, 1]),
        lambda: af.frontier(problem),
    ):
        with pytest.raises(TypeError, match="only the pieces of V around the optimum are known"):
            ask()


# --- what comes to Python -------------------------------------------------------------------------
@pytest.mark.parametrize("within", [0, 2])
def test_few_items_come_to_python(within, monkeypatch):
    """Of 6000 rows, those near the margin; from each of the passes one row a group."""
    heights_, collect = [], engine_room.collect

    def spy(frame):
        found = collect(frame)
        heights_.append(len(next(iter(found.values()))))
        return found

    monkeypatch.setattr(engine_room, "collect", spy)
    monkeypatch.setattr(search, "LIMIT", 100)
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(0.5, 2, 6000) for name in ("uplift", "price", "most")}
    table = pl.DataFrame({**columns, "district": rng.integers(0, 3, 6000)})
    call = {"budget": 2000, "alpha": 2, "within": within}
    expected = af.allocate(
        table["uplift"], table["price"], table["district"], cap=table["most"], **call
    )
    got = frames.allocate(table.lazy(), **COLUMNS, **call, cap="most").collect()
    np.testing.assert_allclose(got["dose"], expected.dose[:, 0], rtol=1e-10, atol=1e-11)
    assert sum(height > 3 for height in heights_) == 1
    assert 3 < max(heights_) <= 100 + 3
    assert len(heights_) < 12


def test_anonymous_rows_are_not_gathered_by_person(monkeypatch):
    """At within = 0 caps alone ask nothing of people: no table of all of them is made."""
    gathered, take_start = [], lazy.take_start

    def spy(people, *others):
        gathered.append(len(people.collect()))
        return take_start(people, *others)

    monkeypatch.setattr(lazy, "take_start", spy)
    call = {**COLUMNS, "person": "person", "budget": 2.0, "alpha": 1, "cap": "most"}
    for more in ({}, {"within": 1}, {"floor": 0.1}, {"baseline": 1.0}, {"exclusive": True}):
        frames.allocate(TIES.lazy(), **call, **more)
    assert gathered == [5, 4, 4, 4, 4]


def many_rows():
    rng = np.random.default_rng(5)
    columns = {name: rng.lognormal(0, 0.7, 20_000) for name in ("uplift", "price", "most")}
    return pl.DataFrame({**columns, "district": rng.integers(0, 4, 20_000)})


def budgets_and_places(monkeypatch, within):
    """The groups' budgets, and how many places the passes took to find them."""
    places, measure = [], heights.Heights.measure
    with monkeypatch.context() as patch:
        patch.setattr(search, "LIMIT", 300)
        patch.setattr(
            heights.Heights,
            "measure",
            lambda self, grid: (places.append(grid.part.size), measure(self, grid))[1],
        )
        call = {**COLUMNS, "budget": 4000, "alpha": 2, "cap": "most", "within": within}
        solution = frames.solve(many_rows().lazy(), **call)
    return solution.groups.group_budget, sum(places)


@pytest.mark.parametrize("within", [0.5, 1, 2])
def test_aimed_places_are_fewer(within, monkeypatch):
    expected, few = budgets_and_places(monkeypatch, within)
    monkeypatch.setattr(heights.Heights, "aimed", lambda self, low, high: None)
    got, many = budgets_and_places(monkeypatch, within)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert few < 0.8 * many


def test_a_missed_target_costs_a_pass_and_no_more(monkeypatch):
    """Who aims at the wrong end looks at equally spaced places the next time."""
    expected, few = budgets_and_places(monkeypatch, 0.5)
    monkeypatch.setattr(heights, "bisect", lambda holds, low, high: (low, low))
    got, many = budgets_and_places(monkeypatch, 0.5)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert few < many


def test_passes_are_logged(caplog):
    with caplog.at_level("INFO", logger="alphafair.frames"):
        frames.allocate(TIES.lazy(), **COLUMNS, budget=1, alpha=1, cap=1.0)
    assert "passes over the items" in caplog.text


def test_a_source_that_changes_is_refused(monkeypatch):
    """Every pass compares what all rows can take."""
    monkeypatch.setattr(search, "LIMIT", 10)
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"uplift": rng.uniform(1, 2, 500), "price": 1.0, "district": "a"})
    source = duckdb.connect().from_arrow(table.to_arrow())
    other = source.select("*, 0.5 + random() as most")
    with pytest.raises(ValueError, match=r"other rows each time|not the same each time"):
        frames.allocate(other, **COLUMNS, budget=100, alpha=1, cap="most")


# --- errors ---------------------------------------------------------------------------------------
def with_column(name, values):
    return TIES.with_columns(pl.Series(name, values, dtype=pl.Float64))


@on(*LAZY)
@pytest.mark.parametrize(
    ("table", "bounds", "message"),
    [
        (
            with_column("have", [1, 1, 1, 1, 2]),
            {"baseline": "have"},
            r"'have' differs between the rows of person 4 \(group b\)",
        ),
        (
            with_column("uplift", [2, 4, -5, 3, 3]),
            {"floor": 0.1, "within": 0.5},
            r"the floors give person 3 \(group a\) the utility -0.5: must be ≥ 0",
        ),
        (
            with_column("uplift", [2, 4, -99, 3, 3]),
            {"floor": 0.1},
            r"the floors give person 3 \(group a\) the utility -9.9: must be ≥ 0",
        ),
        (
            with_column("most", [1, 1, 0, 1, 1]),
            {"cap": "most", "within": 2},
            r"person 3 \(group a\) has no positive benefit and cap, so with within = 2",
        ),
        (
            with_column("most", [1, 1, 1, 0, 0]),
            {"cap": "most"},
            r"group b has no row with a positive benefit and cap",
        ),
        (TIES, {"floor": 10.0}, "floor costs 60 in all"),
        (TIES, {"cap": 1.0, "group_floor": [9, 0]}, r"group_floor\[0\] .group a. is 9.0: must be"),
        (TIES, {"cap": 1.0, "group_cap": [-1, 1]}, r"group_cap\[0\] .group a. is -1.0: must be ≥"),
        (
            with_column("most", [1, 1, 1, np.inf, 1]),
            {"cap": "most", "exclusive": True},
            r"cap column 'most' has 1 infinite value \(one of them in group b\): exclusive = True",
        ),
        (
            with_column("least", [0, 0, 0, 0.8, 0.9]),
            {"cap": 1.0, "floor": "least", "exclusive": True},
            r"the floors of person 4 \(group b\) take 1.7 of her offers",
        ),
    ],
)
def test_bounds_that_are_refused(engine, table, bounds, message):  # noqa: F811
    call = {**COLUMNS, "person": "person", "budget": 5.0, "alpha": 1}
    with pytest.raises(ValueError, match=message):
        frames.allocate(engine.make(table), **(call | bounds))


@on("polars", *LAZY)
@pytest.mark.parametrize("bounds", [{"cap": 1.0}, {"floor": 0.1}, {"baseline": 1.0}])
def test_tiny_within_is_refused_with_bounds(engine, bounds):  # noqa: F811
    call = {**COLUMNS, "budget": 5.0, "alpha": 1}
    with pytest.raises(ValueError, match=r"within is 1e-07: with bounds or a baseline it must be"):
        frames.allocate(engine.make(TIES), **call, **bounds, within=1e-7)
    frames.allocate(engine.make(TIES), **call, **bounds, within=1e-6)
    frames.allocate(engine.make(TIES), **call, within=1e-7)


# --- the parts ------------------------------------------------------------------------------------
def test_ladders_are_upper_hulls():
    """Three offers of one person, of which the second lies below the line of the others."""
    rows = pl.DataFrame(
        {
            "uplift": [4.0, 4.5, 6.0], "price": [1.0, 2.0, 3.0], "district": "a",
            "person": 1, "treatment": range(3),
        }
    )  # fmt: skip
    call = {**COLUMNS, "person": "person", "alpha": 1, "cap": 1.0, "exclusive": True}
    got = frames.allocate(rows.lazy(), **call, budget=2.0).collect()
    np.testing.assert_allclose(got["dose"], [0.5, 0, 0.5], rtol=1e-14)
    got = frames.allocate(rows.lazy(), **call, budget=0.5).collect()
    np.testing.assert_allclose(got["dose"], [0.5, 0, 0], rtol=1e-14)


def test_constants_are_ordered():
    assert heights.FAR < -heights.NOTHING < heights.ENDLESS < heights.NEVER
    assert chains.SLACK > search.SLACK
