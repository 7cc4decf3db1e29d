"""One table, every engine: the same doses, in the place and the order in which the rows came."""

import datetime
import uuid
from decimal import Decimal

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from test_frames import collected, spark  # noqa: F401 (a fixture)

import alphafair as af
from alphafair import frames
from alphafair.frames import partitions, repeats

pytestmark = pytest.mark.filterwarnings("ignore:Dask support is moving out:FutureWarning")

PANDAS = ("pandas", "pandas nullable", "pandas arrow")
EAGER = (*PANDAS, "polars", "pyarrow")
DASK = ("dask", "dask nullable", "dask arrow")
LAZY = ("polars lazy", "duckdb", *DASK, "pyspark")
WITH_BOUNDS = (*EAGER, "polars lazy", "duckdb")  # bounds of the others: test_frames_lazy

CALL = {"benefit": "uplift", "cost": "price", "group": "district", "person": "person"}


def made(kind, frame, request):
    """A pandas frame as one of another engine."""
    backend = {"nullable": "numpy_nullable", "arrow": "pyarrow"}.get(kind.split()[-1])
    if backend:
        frame = frame.convert_dtypes(dtype_backend=backend)
    if kind in PANDAS:
        return frame
    if kind in DASK:
        dask = pytest.importorskip("dask")
        request.getfixturevalue("monkeypatch").setitem(dask.config.config, "scheduler", "sync")
        return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=3, sort=False)
    if kind == "pyspark":
        session = request.getfixturevalue("spark")
        return session.createDataFrame(frame.to_numpy().tolist(), list(frame))
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    return {
        "pyarrow": lambda: arrow,
        "polars": lambda: pl.from_arrow(arrow),
        "polars lazy": lambda: pl.from_arrow(arrow).lazy(),
        "duckdb": lambda: duckdb.connect().from_arrow(arrow),
    }[kind]()


@pytest.fixture
def engine(request):
    """How to make a frame of one kind of a pandas frame."""

    def make(frame):
        return made(request.param, frame, request)

    make.kind = request.param
    return make


def on(*kinds):
    return pytest.mark.parametrize("engine", kinds, indirect=True)


def table(seed=0, persons=12, treatments=2):
    """Rows in no order, of people in three districts of integer labels; index not unique."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(persons * treatments)
    person, treatment = np.divmod(order, treatments)
    district = np.array([7, -2, 2**40])[np.arange(persons) % 3]
    index = pd.Index(order[::-1] // 2 * 10, name="code")
    return pd.DataFrame(
        {
            "person": person,
            "treatment": treatment,
            "uplift": rng.integers(1, 90, order.size) / 7,
            "price": rng.integers(1, 9, order.size),
            "district": district[person],
            "most": rng.integers(1, 9, order.size) / 90,
            "have": rng.integers(0, 9, persons)[person],
        },
        index=index,
    )


def expected_doses(rows, budget, alpha, within, *, bounds=()):
    """(R,) the doses of the rows, by the array problem."""
    shape = (rows["person"].max() + 1, rows["treatment"].max() + 1)
    at = (rows["person"].to_numpy(), rows["treatment"].to_numpy())

    def matrix(name):
        filled = np.zeros(shape)
        filled[at] = rows[name].to_numpy(float)
        return filled

    label = rows.groupby("person")["district"].first().to_numpy()
    arrays = {"exclusive": True} if "exclusive" in bounds else {}
    if {"cap", "exclusive"} & set(bounds):
        arrays["cap"] = matrix("most")
    if "baseline" in bounds:
        arrays["baseline"] = matrix("have").max(axis=1)
    return af.allocate(
        matrix("uplift"), matrix("price"), label, budget, alpha, within=within, **arrays
    ).dose[at]


def column_arguments(bounds):
    given = {"exclusive": True} if "exclusive" in bounds else {}
    if {"cap", "exclusive"} & set(bounds):
        given["cap"] = "most"
    if "baseline" in bounds:
        given["baseline"] = "have"
    return given


def doses(got):
    """(R,) in the order of person and treatment, since not every engine has an order."""
    by_offer = collected(got).sort("person", "treatment")
    return np.array([float(dose) for dose in by_offer["dose"].to_list()])


BOUNDS = ((), ("cap",), ("exclusive",), ("baseline",), ("cap", "baseline"))
BOUNDS = (*BOUNDS, ("exclusive", "baseline"))
MATRIX = [
    pytest.param(engine, within, bounds, id=f"{engine}-{within}-{'+'.join(bounds) or 'plain'}")
    for engine in (*EAGER, *LAZY)
    for within in (0, 0.5, 1)
    for bounds in (BOUNDS if engine in WITH_BOUNDS else BOUNDS[:1])
    if engine != "pyspark" or (within, bounds) in ((0, ()), (0.5, ()), (0, ("cap",)))  # minutes
]


@pytest.mark.parametrize(("engine", "within", "bounds"), MATRIX, indirect=["engine"])
def test_every_engine_gives_the_doses_of_the_arrays(engine, within, bounds):
    """To 1e−12; with caps the doses at the margin are differences of budgets, to 1e−12 of those."""
    rows = table()
    got = frames.allocate(
        engine(rows), **CALL, budget=10 / 3, alpha=2, within=within, **column_arguments(bounds)
    )
    expected = expected_doses(rows, 10 / 3, 2, within, bounds=bounds)
    order = np.lexsort((rows["treatment"], rows["person"]))
    np.testing.assert_allclose(doses(got), expected[order], rtol=1e-12, atol=1e-12 if bounds else 0)


@on(*EAGER, "polars lazy", *DASK)
@pytest.mark.parametrize(("within", "person"), [(0, None), (0.5, None), (0.5, "person")])
def test_rows_stay_where_they_were(engine, within, person):
    """Order, index, types and all: the frame is the one that came, and a column more."""
    frame = engine(table())
    got = frames.allocate(
        frame, **(CALL | {"person": person}), budget=10 / 3, alpha=2, within=within
    )
    before, after = collected(frame).to_native(), collected(got).drop("dose").to_native()
    if isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(after, before)
    else:
        assert after.equals(before)
    if engine.kind in DASK:
        assert got.npartitions == frame.npartitions
        assert got.divisions == frame.divisions


@on("dask", "polars lazy")
def test_doses_stand_beside_their_rows(engine):
    rows = table(persons=200)
    rows["uplift"] += np.random.default_rng(1).random(len(rows))  # no ties
    got = frames.allocate(engine(rows), **CALL, budget=10 / 3, alpha=2, within=0.5)
    dose = collected(got)["dose"].to_numpy()
    np.testing.assert_allclose(dose, expected_doses(rows, 10 / 3, 2, 0.5), rtol=1e-12)


@on("dask")
def test_rows_find_home_from_wherever_they_have_been(engine):
    """Small tables are joined in their places; here all partitions are upset and exchanged."""
    frame = nw.from_native(engine(table()))
    rows = partitions.numbered(frame).with_columns(dose=nw.col("uplift") * 2).to_native()
    upset = nw.from_native(rows.map_partitions(lambda part: part[::-1]).shuffle("treatment"))
    got = partitions.with_column(frame, upset, "dose").compute()
    assert got["dose"].tolist() == (2 * table()["uplift"]).tolist()


@on("dask")
def test_known_divisions_of_dask_are_kept(engine):
    dask = pytest.importorskip("dask.dataframe")
    frame = dask.from_pandas(table().reset_index(drop=True), npartitions=3)
    assert frame.known_divisions
    got = frames.allocate(frame, **CALL, budget=10 / 3, alpha=2, within=0.5)
    assert got.divisions == frame.divisions
    del engine


# --- labels ---------------------------------------------------------------------------------------
LABELS = {
    "whole": [3, 1, 2],
    "beyond int64": np.array([2**63 + 1, 5, 2**63 + 3], np.uint64),
    "beyond 2**53": [2**60 + 1, 2**60 + 2, 2**60 + 3],
    "real": [0.1, 0.1 + 2**-56, 1e-300],
    "boolean": [True, False, True],
    "text": ["a", "ä", ""],
    "decimal": [Decimal("1.10"), Decimal("2.20"), Decimal("0.30")],
    "moment": [datetime.datetime(2020, 1, day, 3 * (day - 1)) for day in (1, 2, 3)],
    "date": [datetime.date(2020, 1, day) for day in (3, 1, 2)],
    "category": pd.Categorical(["x", "y", "z"]),
}


@on(*EAGER, "polars lazy", "duckdb", *DASK)
@pytest.mark.parametrize("kind", LABELS)
def test_money_is_not_cut_to_the_type_of_the_label(engine, kind):
    label = pd.Series(LABELS[kind])
    rows = pd.DataFrame({"u": [1.0, 4.0, 9.0] * 2, "g": pd.concat([label] * 2), "row": range(6)})
    code = np.unique([repr(x) for x in LABELS[kind]], return_inverse=True)[1]
    call = {"benefit": "u", "cost": 1, "group": "g", "budget": 10 / 3, "alpha": 0.5}
    for within in (0.5,) if engine.kind in DASK else (0, 0.5):  # seconds each
        expected = af.allocate(rows["u"], 1.0, np.tile(code, 2), 10 / 3, 0.5, within=within)
        got = collected(frames.allocate(engine(rows), **call, within=within)).sort("row")
        dose = np.array(got["dose"].to_list(), float)
        if within == 0 and engine.kind not in EAGER:  # the two rows of a label tie
            dose = dose.reshape(2, 3).sum(axis=0) * [[1], [0]]
        np.testing.assert_allclose(np.ravel(dose), expected.dose[:, 0], rtol=1e-12)


@pytest.mark.parametrize(
    "label",
    [
        "uuid",
        "make_time(i % 2, 3, 0)",
        "timestamptz '2020-01-01 00:00:00+00' + to_days(i % 2)",
        "(i % 2)::decimal(10, 3)",
        "170141183460469231731687303715884105720::hugeint + i % 2",
        "(case i % 2 when 0 then 'x' else 'y' end)::enum('x', 'y')",
        "('x' || i % 2)::blob",
    ],
)
def test_labels_of_duckdb(label):
    ids = [uuid.UUID(int=k) for k in (5, 9)]
    label = (
        label
        if label != "uuid"
        else f"(case i % 2 when 0 then '{ids[0]}' else '{ids[1]}' end)::uuid"
    )
    query = f"select (i + 1) * 1.0 as u, {label} as g, i as row from unnest(range(4)) t(i)"
    frame = duckdb.connect().sql(query)
    got = frames.allocate(frame, benefit="u", cost=1, group="g", budget=5, alpha=2, within=0.5)
    expected = af.allocate([1.0, 2, 3, 4], 1, [0, 1, 0, 1], 5, 2, within=0.5).dose[:, 0]
    np.testing.assert_allclose(collected(got).sort("row")["dose"].to_numpy(), expected, rtol=1e-12)


def test_chunks_with_a_dictionary_each():
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()]
    frame = pa.table({"u": [1.0, 2.0, 3.0, 4.0], "g": pa.chunked_array(chunks)})
    for cap in (None, 3.0):
        got = frames.allocate(frame, benefit="u", cost=1, group="g", budget=5, alpha=2, cap=cap)
        expected = af.allocate([1.0, 2, 3, 4], 1, ["a", "b", "b", "c"], 5, 2, cap=cap).dose[:, 0]
        np.testing.assert_allclose(got["dose"].to_numpy(), expected, rtol=1e-12)


@on(*EAGER, *DASK)
def test_missing_labels_are_refused(engine):
    rows = table().astype({"district": "Int64"})
    rows.iloc[[2, 5], rows.columns.get_loc("district")] = pd.NA
    if not engine.kind.endswith(("nullable", "arrow")):
        rows = rows.astype({"district": object})
    with pytest.raises(ValueError, match="group column 'district' has 2 missing values"):
        frames.allocate(engine(rows), **CALL, budget=1, alpha=1)


# --- columns --------------------------------------------------------------------------------------
@on(*EAGER, "polars lazy", "duckdb", *DASK)
def test_truth_values_and_whole_numbers_are_numbers(engine):
    rows = table().assign(uplift=lambda t: t["uplift"] > 4, price=lambda t: t["price"] > 0)
    rows["price"] = rows["price"].astype(int) + rows["treatment"] + rows["person"] % 5
    got = frames.allocate(engine(rows), **CALL, budget=10 / 3, alpha=2, within=0.5)
    expected = expected_doses(rows, 10 / 3, 2, 0.5)
    order = np.lexsort((rows["treatment"], rows["person"]))
    np.testing.assert_allclose(doses(got), expected[order], rtol=1e-12)


@on(*EAGER)
def test_truth_values_are_caps(engine):
    rows = table().assign(open=lambda t: t["person"] % 4 > 0, most=lambda t: t["person"] % 4 > 0)
    got = frames.allocate(engine(rows), **CALL, budget=10 / 3, alpha=2, cap="open", within=0.5)
    expected = expected_doses(rows, 10 / 3, 2, 0.5, bounds=("cap",))
    order = np.lexsort((rows["treatment"], rows["person"]))
    np.testing.assert_allclose(doses(got), expected[order], rtol=1e-12, atol=1e-12)


HIDDEN = ("_af_best", "_af_ties", "_af_amount", "_af_cost", "_af_ratio", "_AF_Power", "_af_user_0")


@on(*EAGER, "polars lazy", "duckdb", *DASK)
@pytest.mark.parametrize("within", [0.5])
def test_no_name_of_the_users_is_taken(engine, within):
    rows = table()
    names = dict(zip(rows.columns, HIDDEN, strict=True))
    call = {argument: names[column] for argument, column in CALL.items()}
    got = frames.allocate(
        engine(rows.rename(columns=names)), **call, budget=10 / 3, alpha=2, within=within
    )
    assert list(nw.from_native(got).columns) == [*HIDDEN, "dose"]
    back = {alias: name for name, alias in names.items()}
    got = collected(got).rename(back).to_native()
    order = np.lexsort((rows["treatment"], rows["person"]))
    expected = expected_doses(rows, 10 / 3, 2, within)[order]
    np.testing.assert_allclose(doses(got), expected, rtol=1e-12)


@on("pyspark")
def test_names_with_dots(engine):
    """Spark reads a dot as a step into a struct."""
    rows = table(persons=6)
    names = {name: f"my.{name}`s" for name in rows.columns}
    call = {argument: names[column] for argument, column in CALL.items()}
    got = frames.allocate(engine(rows.rename(columns=names)), **call, budget=10 / 3, alpha=2)
    assert got.columns == [*names.values(), "dose"]
    got = pd.DataFrame(got.collect(), columns=[*names, "dose"])
    order = np.lexsort((rows["treatment"], rows["person"]))
    np.testing.assert_allclose(doses(got), expected_doses(rows, 10 / 3, 2, 0)[order], rtol=1e-12)


@on(*PANDAS, "polars", "polars lazy", "pyarrow", *DASK)
def test_a_column_may_have_an_empty_name(engine):
    rows = table()
    frame = nw.from_native(engine(rows)).rename({"district": ""}).to_native()
    got = frames.allocate(frame, **(CALL | {"group": ""}), budget=10 / 3, alpha=2, within=0.5)
    order = np.lexsort((rows["treatment"], rows["person"]))
    expected = expected_doses(table(), 10 / 3, 2, 0.5)[order]
    np.testing.assert_allclose(doses(got), expected, rtol=1e-12)


@on("pandas", "dask")
def test_names_that_are_numbers(engine):
    rows = table().rename(columns={"treatment": 0, "uplift": 1})
    with pytest.raises(ValueError, match=r"'1' is not in the frame.*; names must be text: rename"):
        frames.allocate(engine(rows), **(CALL | {"benefit": "1"}), budget=1, alpha=1)
    with pytest.raises(TypeError, match="benefit must be a column name, not int; names are text"):
        frames.allocate(engine(rows), **(CALL | {"benefit": 1}), budget=1, alpha=1)
    got = frames.allocate(
        engine(rows.rename(columns={1: "uplift"})), **CALL, budget=1, alpha=1, within=0.5
    )
    assert 0 in got.columns


# --- sources that differ from read to read --------------------------------------------------------
def of_duckdb(rows, how):
    connection = duckdb.connect()
    connection.register("rows", pa.Table.from_pandas(rows))
    text = {
        "sample": "select * from rows using sample reservoir(40 rows)",
        "random": "select * replace (uplift * random() as uplift) from rows",
    }
    return connection.sql(text[how])


def of_polars(rows, how):
    rng = np.random.default_rng()

    def drawn(part):
        if how == "sample":
            return part.filter(pl.Series(rng.random(part.height) < 0.5))
        return part.with_columns(uplift=part["uplift"] * pl.Series(rng.random(part.height)))

    return pl.from_pandas(rows).lazy().map_batches(drawn, schema=None)


def of_dask(rows, how):
    dask = pytest.importorskip("dask.dataframe")
    rng = np.random.default_rng()

    def drawn(part):
        if how == "sample":
            return part[rng.random(len(part)) < 0.5]
        return part.assign(uplift=part["uplift"] * rng.random(len(part)))

    return dask.from_pandas(rows, npartitions=2).map_partitions(drawn, meta=rows.head(0))


@pytest.mark.parametrize("source", [of_duckdb, of_polars, of_dask])
@pytest.mark.parametrize("how", ["sample", "random"])
@pytest.mark.parametrize("within", [0, 0.5])
def test_a_source_that_differs_from_read_to_read_is_refused(source, how, within, monkeypatch):
    """Its doses would be of one sample, the rows of another, and the budget of neither."""
    if source is of_dask:
        dask = pytest.importorskip("dask")
        monkeypatch.setitem(dask.config.config, "scheduler", "sync")
    frame = source(table(persons=60).reset_index(drop=True), how)
    with pytest.raises(ValueError, match="the frame is not the same each time it is read: group"):
        frames.allocate(frame, **(CALL | {"person": None}), budget=90, alpha=2, within=within)


def test_a_sample_that_is_drawn_once_is_served():
    connection = duckdb.connect()
    connection.register("rows", pa.Table.from_pandas(table(persons=60)))
    connection.sql("create table once as select * from rows using sample reservoir(40 rows)")
    got = frames.allocate(
        connection.table("once"), **(CALL | {"person": None}), budget=90, alpha=2, within=0.5
    )
    assert got.aggregate("sum(dose * price)").fetchall()[0][0] == pytest.approx(90, rel=1e-12)


def test_a_group_that_comes_later_is_told_by_dask(monkeypatch):
    """When the result is computed, not before: the frame has changed since."""
    dask = pytest.importorskip("dask")
    monkeypatch.setitem(dask.config.config, "scheduler", "sync")
    later = []

    def read(part):
        return part.assign(district=part["district"] + len(later))

    rows = table()
    frame = pytest.importorskip("dask.dataframe").from_pandas(rows, npartitions=2)
    frame = frame.map_partitions(read, meta=rows.head(0))
    got = frames.allocate(frame, **CALL, budget=1, alpha=1)
    later.append(1)
    with pytest.raises(ValueError, match=r"group -?\d+ was not in the frame when it was read"):
        got.compute()


# --- the same offer twice -------------------------------------------------------------------------
def twice(row=3):
    rows = table().reset_index(drop=True)
    return pd.concat([rows, rows.iloc[[row]]], ignore_index=True)


@on(*EAGER)
@pytest.mark.parametrize("bound", [{"cap": "most"}, {"cap": 0.1}, {"floor": 0.01}])
def test_rows_that_are_the_same_are_not_capped_apart(engine, bound):
    person = twice()["person"][3]
    message = rf"person {person} has 2 rows that are the same in every column \(rows 3 and 24\)"
    with pytest.raises(ValueError, match=message + ".* pass its name as treatment"):
        frames.allocate(engine(twice()), **CALL, budget=3, alpha=1, **bound)
    told_apart = twice().assign(note=range(25))
    frames.allocate(engine(told_apart), **CALL, budget=3, alpha=1, **bound)


@on("polars lazy", "duckdb")
def test_rows_that_are_the_same_are_refused_in_engines(engine, monkeypatch):
    """All columns are compared only where a person has rows of one benefit and cost."""
    person, keys, repeat = twice()["person"][3], [], repeats._repeat

    def spy(rows, key):
        keys.append(key)
        return repeat(rows, key)

    monkeypatch.setattr(repeats, "_repeat", spy)
    call = CALL | {"budget": 3, "alpha": 1, "cap": "most"}
    with pytest.raises(ValueError, match=rf"person {person} has 2 rows that are the same in every"):
        frames.allocate(engine(twice()), **call)
    assert [len(key) for key in keys] == [3, len(twice().columns)]
    frames.allocate(engine(twice().assign(note=range(25))), **call)
    keys.clear()
    frames.allocate(engine(table()), **call)
    assert [len(key) for key in keys] == [3]


@on(*EAGER)
def test_rows_that_repeat_matter_only_with_bounds_of_their_own(engine):
    """Without caps one of them gets all, and with exclusive offers both get what one would."""
    without = frames.allocate(engine(twice()), **CALL, budget=3, alpha=1, within=0.5)
    assert sum(collected(without)["dose"].to_list()[:24]) > 0
    once = engine(table().reset_index(drop=True))
    call = CALL | {"budget": 3, "alpha": 1, "within": 0.5, "cap": "most", "exclusive": True}
    got, expected = (
        frames.solve(frame, **call).groups.welfare for frame in (engine(twice()), once)
    )
    assert got == pytest.approx(expected, rel=1e-12)


@on(*EAGER, "polars lazy", "duckdb", *DASK)
def test_an_offer_is_made_once(engine):
    person, treatment = twice().loc[3, ["person", "treatment"]].astype(int)
    rows = twice()
    rows.loc[24, "uplift"] += 1
    where = r" \(rows 3 and 24\)" if engine.kind in EAGER else ""
    message = rf"person {person} has 2 rows of treatment {treatment}{where}: must be one"
    call = CALL | {"treatment": "treatment", "budget": 3, "alpha": 1}
    with pytest.raises(ValueError, match=message):
        frames.allocate(engine(rows), **call)
    named = frames.allocate(engine(table()), **call)
    np.testing.assert_array_equal(
        doses(named), doses(frames.allocate(engine(table()), **CALL, budget=3, alpha=1))
    )


def test_rows_that_cannot_be_compared_are_taken_as_they_are():
    lists = [[k] for k in range(25)]
    call = CALL | {"budget": 3, "alpha": 1, "cap": 0.1}
    frames.allocate(pl.from_pandas(twice()).with_columns(what=pl.Series(lists)), **call)
    frames.allocate(twice().assign(what=lists), **call)
    with_lists = pa.Table.from_pandas(twice()).append_column("what", pa.array(lists))
    frames.allocate(with_lists, **call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"person": None}, "treatment is given and person is not: name the column that says whose"),
        ({"treatment": "person"}, "treatment is the column 'person', as person or group is"),
        ({"treatment": "treat"}, "treatment column 'treat' is not in the frame.*mean 'treatment'"),
    ],
)
def test_treatments_that_are_none(arguments, message):
    call = CALL | {"treatment": "treatment", "budget": 1, "alpha": 1} | arguments
    with pytest.raises(ValueError, match=message):
        frames.allocate(table(), **call)


# --- at most one offer a person -------------------------------------------------------------------
@on("pandas", "polars")
def test_rows_that_are_persons_exclude_nothing(engine):
    call = {"benefit": "uplift", "cost": "price", "group": "district", "cap": "most"}
    got, capped = (
        doses(frames.allocate(engine(table()), **call, budget=3, alpha=2, exclusive=one))
        for one in (True, False)
    )
    np.testing.assert_allclose(got, capped, rtol=1e-12, atol=1e-12)


def test_people_with_fewer_rows_have_one_place_too():
    """A row that is not there takes no part of the place."""
    rows = table().query("person % 3 > 0 or treatment == 0").reset_index(drop=True)
    call = CALL | {"budget": 2.0, "alpha": 2, "within": 0.5, "cap": "most", "exclusive": True}
    dose = frames.allocate(rows, **call)["dose"]
    part = (dose / rows["most"]).groupby(rows["person"]).sum()
    assert part.max() < 1 + 1e-12
    assert (dose * rows["price"]).sum() == pytest.approx(2.0, rel=1e-12)
    both = table().assign(
        most=lambda t: t["most"].where(~((t["person"] % 3 == 0) & (t["treatment"] > 0)), 0)
    )
    expected = expected_doses(both, 2.0, 2, 0.5, bounds=("exclusive",))
    expected = pd.Series(expected, pd.MultiIndex.from_frame(both[["person", "treatment"]]))
    at = pd.MultiIndex.from_frame(rows[["person", "treatment"]])
    np.testing.assert_allclose(dose, expected.loc[at], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"cap": None}, "cap is not given: exclusive = True needs finite caps"),
        ({}, {"cap": np.inf}, "cap is inf: exclusive = True needs finite caps"),
        (
            {"most": np.inf},
            {},
            r"cap column 'most' has 24 infinite values \(first: row 0, inf\): exclusive = True nee",
        ),
        (
            {"most": 1.0},
            {"floor": 0.6},
            r"the floors of person \d+ \(group -?\d+\) take 1.2 whole offers",
        ),
    ],
)
def test_exclusive_offers_that_are_refused(change, arguments, message):
    call = CALL | {"budget": 300, "alpha": 1, "cap": "most", "exclusive": True} | arguments
    with pytest.raises(ValueError, match=message):
        frames.allocate(table().assign(**change), **call)
    with pytest.raises(TypeError, match="exclusive must be True or False, not str"):
        frames.allocate(table(), **(call | {"exclusive": "yes"}))


def test_what_is_free_gets_no_tiny_cost():
    """A cost of 1e−6 would make its dose millions."""
    with pytest.raises(ValueError, match=r"values ≤ 0 .*: give what is free a realistic cost, or"):
        frames.allocate(table().assign(price=0), **CALL, budget=1, alpha=1)


# --- workers --------------------------------------------------------------------------------------
def test_who_has_other_workers_in_spark_is_told_of_the_variable(monkeypatch):
    def collect(self):
        raise RuntimeError("[PYTHON_VERSION_MISMATCH] Python in worker has different version")

    monkeypatch.setattr(nw.LazyFrame, "collect", collect)
    with pytest.raises(RuntimeError) as caught:
        frames.allocate(pl.from_pandas(table()).lazy(), **CALL, budget=1, alpha=1)
    assert "PYSPARK_PYTHON" in caught.value.__notes__[0]
