"""Labels become codes: against numpy.unique, whatever they are."""

import copy
import datetime
import decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alphafair as af
from alphafair import groups as rooms
from alphafair import kernels


@pytest.mark.parametrize(
    ("count", "bytes_each"), [(1, 1), (255, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)]
)
def test_codes_take_the_fewest_bytes(count, bytes_each):
    labels = np.arange(count)[::-1]
    code = af.Groups(labels).code
    assert code.dtype == np.dtype(f"u{bytes_each}")
    assert np.array_equal(code, labels)


def with_wide_codes(groups):
    """The same groups with codes of eight bytes, in which nothing overflows."""
    wide = copy.copy(groups)
    wide.code = groups.code.astype(np.int64)
    return wide


PEOPLE = np.append(np.arange(256)[::-1].repeat(2), 7)  # 256 groups: in a byte 255 + 1 is 0
TABLE = np.random.default_rng(0).uniform(1, 2, (PEOPLE.size, 3))
COST = np.random.default_rng(1).uniform(1, 2, (PEOPLE.size, 3))


def present(derivatives):
    return [derivative for derivative in derivatives if derivative is not None]


def everything(groups, alpha, within, bounds):
    """All that is computed from the codes of the groups."""
    problem = af.Problem(TABLE, COST, groups, 300.0, within, **bounds)
    a = problem.allocate(alpha)
    yield from (a.dose, a.group_utility, a.at_cap, *present(a.gradient()))
    jacobian = a.jacobian()
    yield from (jacobian.jvp(budget=1.0, benefit=TABLE), *present(jacobian.vjp(COST)))
    yield from af.optimality_gap(a.dose, problem, alpha)
    unit = None if problem.exclusive else 0.5
    yield from (a.whole(unit).dose, a.lottery(0, unit).dose)
    yield af.budget_path(problem, alpha, [200.0, 300.0]).group_budget


@pytest.mark.parametrize("within", [0, 0.5, 2, np.inf])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"cap": 1.0, "floor": 0.5 * (TABLE > 1.9)},
        {"baseline": 0.2},
        {"cap": 1.0, "exclusive": True},
        {"group_floor": 0.5, "group_cap": 2.0},
    ],
    ids=lambda bounds: " ".join(bounds),
)
def test_codes_of_one_byte_count_no_less(within, bounds):
    groups = af.Groups(PEOPLE)
    assert groups.code.dtype == np.uint8
    bounds = {k: np.full(256, v) if k.startswith("group") else v for k, v in bounds.items()}
    for alpha in (0, 2, np.inf):
        sides = (everything(x, alpha, within, bounds) for x in (groups, with_wide_codes(groups)))
        for narrow, wide in zip(*sides, strict=True):
            assert np.array_equal(narrow, wide, equal_nan=True)


# --- against numpy.unique ------------------------------------------------------------------------
@pytest.fixture(params=["plain", "compiled"])
def twin(request, monkeypatch):
    """Every kernel of the labels by one of its twins, however small the input."""
    if request.param == "compiled" and kernels.numba() is None:
        pytest.skip("numba is not installed")
    large = 0 if request.param == "compiled" else np.inf
    for kernel in (kernels.LOOK_UP, kernels._count_kernel, kernels._renumber_kernel):
        monkeypatch.setattr(kernel, "large", large)
        monkeypatch.setattr(kernel, "_if_loaded", None)
    return request.param


def check(labels, column=None):
    """Labels, codes and sizes are those of a sort of all labels, and of their types."""
    groups, column = af.Groups(labels), np.asarray(labels) if column is None else column
    label, code, size = np.unique(column, return_inverse=True, return_counts=True)
    assert groups.label.dtype == label.dtype
    assert np.array_equal(groups.label, label)
    assert np.array_equal(groups.code, code)
    assert np.array_equal(groups.size, size)
    assert groups.code.dtype == rooms.code_type(label.size)
    assert np.issubdtype(groups.size.dtype, np.signedinteger)


RNG = np.random.default_rng(0)
PICK = {groups: RNG.integers(0, groups, 3 * groups + 5) for groups in (1, 3, 300, 70_000)}
WORDS = np.array([f"{'é' * (k % 3)}name {k}" for k in RNG.permutation(70_000)])
FAR = RNG.integers(-(2**62), 2**62, 70_000)
KINDS = {
    "counted": lambda k: k - 10**12,
    "with gaps": lambda k: 3 * k + 2**62,
    "short integers": lambda k: (k % 200 - 100).astype(np.int8),
    "bool": lambda k: k % 2 == 1,
    "unsigned": lambda k: k.astype(np.uint16),
    "far apart": lambda k: FAR[k],
    "beyond 2**63": lambda k: FAR[k].astype(np.uint64) * np.uint64(2) + np.uint64(1),
    "halves": lambda k: (FAR[k] >> 32).astype(np.int32),
    "doubles": lambda k: FAR[k] / 7,
    "singles": lambda k: (FAR[k] / 7).astype(np.float32),
    "long doubles": lambda k: (FAR[k] / 7).astype(np.longdouble),
    "complex": lambda k: FAR[k] / 7 + 1j * k,
    "text": lambda k: WORDS[k],
    "text of others": lambda k: WORDS[k].astype(">U14"),
    "bytes": lambda k: np.char.encode(WORDS[k], "utf8"),
    "objects": lambda k: WORDS.astype(object)[k],
    "no text": lambda k: np.zeros(k.size, "U0"),
    "days": lambda k: k.astype("M8[D]"),
    "nanoseconds": lambda k: FAR[k].astype("M8[ns]"),
    "durations": lambda k: FAR[k].astype("m8[s]"),
    "a column of a table": lambda k: np.stack([k, k[::-1]], axis=1)[:, 0],
    "a column of far ones": lambda k: np.stack([FAR[k], k], axis=1)[:, 0],
    "backwards": lambda k: WORDS[k][::-1],
}


@pytest.mark.parametrize("count", PICK)
@pytest.mark.parametrize("kind", KINDS)
def test_any_labels(kind, count, twin):
    check(KINDS[kind](PICK[count]))


def test_zeros_of_both_signs_are_one_label(twin):
    assert af.Groups([0.0, -0.0, 0.5]).size.tolist() == [2, 1]
    assert af.Groups(np.array([1e300, -0.0, 0.0])).size.tolist() == [2, 1]


def test_rows_whose_hashes_agree_are_told_apart(monkeypatch):
    """Rows of two words with one hash: words chosen so that the mixture of the first cancels."""
    odd, full = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(x):
        return ((x ^ (x >> 32)) * odd) & full

    if kernels.numba() is None:
        pytest.skip("numba is not installed, or unwanted")
    rows = np.array([[x, mixed(x) ^ 12345] for x in (1, 2**40 + 7, 99, 1)], np.uint64)
    first, code = kernels.LOOK_UP.compiled(rows, 9)
    assert (first.tolist(), code.tolist()) == ([0, 1, 2], [0, 1, 2, 0])


def test_more_numbers_than_the_cache_holds_are_sorted(twin, monkeypatch):
    monkeypatch.setattr(rooms, "IN_CACHE", 50)
    check(FAR[PICK[300]])
    check(WORDS[PICK[300]])


TEXT = st.text(st.characters(codec="utf-32", exclude_characters="\0"), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.integers(-3, 2000), min_size=1),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
        st.lists(TEXT, min_size=1),
        st.lists(st.binary(max_size=3).map(lambda x: x.rstrip(b"\0")), min_size=1),
        st.lists(st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1)), min_size=1),
        st.lists(st.decimals(allow_nan=False, allow_infinity=False), min_size=1),
    )
)
def test_lists_of_one_kind(labels):
    check(labels)
    check(tuple(labels), np.asarray(labels))


@pytest.mark.parametrize("text", ["a", "b\0", "\0", "a\0b"])
def test_zeros_in_text_count(text):
    labels = [text, "a", text, "b"]
    assert af.Groups(labels).label[af.Groups(labels).code].tolist() == labels
    encoded = [label.encode() for label in labels]
    assert af.Groups(encoded).label[af.Groups(encoded).code].tolist() == encoded


class Unhashable:
    """A label that can be sorted and has no hash."""

    def __repr__(self):  # tests are called by it, in all processes alike
        return "Unhashable()"

    __hash__ = None

    def __init__(self, rank):
        self.rank = rank

    def __eq__(self, other):
        return self.rank == other.rank

    def __lt__(self, other):
        return self.rank < other.rank


def test_labels_without_a_hash_are_sorted():
    groups = af.Groups([Unhashable(k) for k in (5, 2, 5)])
    assert groups.code.tolist() == [1, 0, 1]
    assert [label.rank for label in groups.label] == [2, 5]


# --- tables of others -----------------------------------------------------------------------------
def of_pandas(labels, pd):
    yield pd.Series(labels)
    yield pd.Index(labels)
    yield pd.Series(labels).array
    yield pd.Series(pd.Categorical(labels))
    yield pd.Series(labels, dtype=object)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "c", "a"],
        [3, 1, 1, 2**40],
        [1.5, 0.5, 1.5],
        [datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), datetime.datetime(1999, 1, 1)][:1] * 2,
        [datetime.datetime(2020, 1, 2), datetime.datetime(1999, 1, 1)],
        [("a", 1), ("a", 0), ("a", 1)],
    ],
    ids=str,
)
def test_columns_of_pandas(labels):
    pd = pytest.importorskip("pandas")
    for column in of_pandas(labels, pd):
        check(column)


def test_categories_that_nobody_has_are_no_groups():
    pd = pytest.importorskip("pandas")
    check(pd.Series(pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"], ordered=True)))
    pa = pytest.importorskip("pyarrow")
    words = pa.array(["z", "b", "a", "b", None])  # one word twice, some never
    groups = af.Groups(pa.DictionaryArray.from_arrays(pa.array([2, 1, 3, 1]), words))
    assert groups.label.tolist() == ["a", "b"]
    assert groups.code.tolist() == [0, 1, 1, 1]
    assert groups.size.tolist() == [1, 3]


@pytest.mark.parametrize(
    "labels", [["b", "a", "c", "a"], [b"b", b"a", b"b"], [3, 1, 1], [True, False]]
)
def test_columns_of_arrow(labels):
    pa = pytest.importorskip("pyarrow")
    column = pa.array(labels)
    for one in (column, column[1:], pa.chunked_array([column[:1], column, column[:0]])):
        check(one)
        expected = np.asarray(one)
        check(one.dictionary_encode(), expected)


def test_arrow_has_text_that_compares_by_its_letters():
    pa = pytest.importorskip("pyarrow")
    check(pa.array(["é", "z", "Z", "e", "𝒳", "\uffff", "z"]))
    check(pa.array(["é", "z"], pa.large_string()))


# --- labels that are missing, or do not go together -----------------------------------------------
def missing(where, label):
    return rf"^group\[{where}\] is {label}: every person needs a label"


@pytest.mark.parametrize(
    ("labels", "where", "told"),
    [
        (["a", "b", None, "a", None], 2, "None"),
        (["a", float("nan"), "b"], 1, "nan"),
        (np.array(["a", "b", None], object), 2, "None"),
        (np.array([1, decimal.Decimal("nan")], object), 1, "NaN"),
        (np.array([1, decimal.Decimal("snan")], object), 1, "sNaN"),
        (np.array([Unhashable(1), None], object), 1, "None"),
        ([1.0, np.inf, np.nan], 1, "inf"),
        (np.array([1, np.nan], np.longdouble), 1, "nan"),
        (np.array([1, np.nan], complex), 1, r"\(nan\+0j\)"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), 1, "NaT"),
        (np.array([1, 2, "NaT"], "m8[s]"), 2, "NaT"),
    ],
    ids=str,
)
def test_the_first_missing_label_is_named(labels, where, told, twin):
    with pytest.raises(ValueError, match=missing(where, told)):
        af.Groups(labels)


@pytest.mark.parametrize("dtype", [None, "category", object, "str", "string"])
def test_missing_in_pandas(dtype):
    pd = pytest.importorskip("pandas")
    column = pd.Series(["a", "b", None, "a"], dtype=dtype)
    with pytest.raises(ValueError, match=missing(2, "(nan|None|<NA>)")):
        af.Groups(column)
    with pytest.raises(ValueError, match=missing(1, "(nan|<NA>)")):
        af.Groups(pd.Series([1, None, 2], dtype="Int64"))
    with pytest.raises(ValueError, match=missing(1, "NaT")):
        af.Groups(pd.Series(pd.to_datetime(["2020-01-01", None])))


def test_missing_in_arrow():
    pa = pytest.importorskip("pyarrow")
    column = pa.array(["a", "b", None, "a"])
    chunks = pa.chunked_array([column[:2], column[2:]])
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", None]))
    for one in (column, chunks, column.dictionary_encode(), chunks.dictionary_encode()):
        with pytest.raises(ValueError, match=missing(2, "None")):
            af.Groups(one)
    with pytest.raises(ValueError, match=missing(1, "None")):
        af.Groups(unused)
    with pytest.raises(ValueError, match="group is empty"):
        af.Groups(column[:0])


@pytest.mark.parametrize("labels", [[1, "a"], np.array([1, "a", 2.5], object)], ids=str)
def test_labels_that_cannot_be_compared(labels):
    with pytest.raises(TypeError, match=r"group mixes labels .* \((float, )?int, str\); convert"):
        af.Groups(labels)
