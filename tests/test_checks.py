"""Input that would be misread in silence, or refused without a name."""

import datetime

import numpy as np
import pytest

import alphafair as af
from alphafair.checks import number, real_table, reals
from alphafair.inequality import gini

PROBLEM = af.Problem([1.0, 2.0], 1.0, [0, 1], 1.0, cap=5.0, group_cap=[3.0, 3.0])


# --- numbers and tables -------------------------------------------------------------------------
def masked(*values):
    return np.ma.array(values, mask=[False] * (len(values) - 1) + [True])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: af.allocate(masked(1.0, 2.0), 1.0, [0, 1], 1.0, 1), "benefit"),
        (lambda: af.allocate([1.0, 2.0], masked(1.0, 2.0), [0, 1], 1.0, 1), "cost"),
        (lambda: af.allocate([1.0, 2.0], 1.0, masked(0, 1), 1.0, 1), "group"),
        (lambda: af.allocate([1.0, 2.0], 1.0, masked("a", "b"), 1.0, 1), "group"),
        (lambda: af.Problem([1.0, 2.0], 1.0, [0, 1], 1.0, weight=masked(1.0, 2.0)), "weight"),
        (lambda: af.Problem([1.0, 2.0], 1.0, [0, 1], 1.0, cap=masked(1.0, 2.0)), "cap"),
        (lambda: af.Problem([1.0, 2.0], 1.0, [0, 1], 1.0, group_cap=masked(1, 2)), "group_cap"),
        (lambda: PROBLEM.group_utility(masked(1.0, 2.0)), "money"),
        (lambda: af.optimality_gap(masked(1.0, 0.0), PROBLEM, 1), "dose"),
        (lambda: PROBLEM.allocate(1).jacobian().jvp(cost=masked(1.0, 2.0)), "cost"),
        (lambda: PROBLEM.allocate(1).jacobian().vjp(masked(1.0, 2.0)), "dose_cotangent"),
        (lambda: af.welfare(masked(1.0, 2.0), 1), "utility"),
        (lambda: af.welfare([1.0, 2.0], 1, masked(1.0, 2.0)), "weight"),
        (lambda: af.phi(masked(1.0, 2.0), 2), "utility"),
        (lambda: af.phi_inverse(masked(1.0, 2.0), 0.5), "value"),
        (lambda: gini(masked(1.0, 2.0)), "utility"),
        (lambda: af.concave_segments([1.0, 2.0], [[1.0, 2.0]]), None),
        (lambda: af.concave_segments(masked(1.0, 2.0), [[1.0, 2.0]]), "money"),
        (lambda: af.concave_segments([1.0, 2.0], np.ma.array([[1.0, 2.0]], mask=True)), "benefit"),
    ],
)
def test_masked_entries_are_refused_not_read(call, name):
    if name is None:
        call()
        return
    with pytest.raises(ValueError, match=rf"^{name} has masked entries: fill them or drop"):
        call()


def test_a_masked_number_is_refused():
    for scalar in (np.ma.masked, np.ma.array(1.0, mask=True)):
        with pytest.raises(ValueError, match=r"budget is masked: must be finite and ≥ 0"):
            af.Problem([1.0], 1.0, [0], scalar)
        with pytest.raises(ValueError, match=r"alpha is masked"):
            PROBLEM.allocate(scalar)
        with pytest.raises(ValueError, match=r"budget is masked"):
            PROBLEM.allocate(1).jacobian().jvp(budget=scalar)


def test_rows_of_different_lengths_are_named():
    message = r"benefit\[2\] has 1 entry and benefit\[0\] has 2: all rows must be of one length"
    with pytest.raises(ValueError, match=message):
        af.allocate([[1, 2], [3, 4], [5]], 1, [0, 0, 1], 1, 1)
    with pytest.raises(ValueError, match=r"cost\[1\] is one number and cost\[0\] has 2"):
        af.allocate([[1, 2], [3, 4]], [[1, 2], 3], [0, 1], 1, 1)
    with pytest.raises(ValueError, match=r"group\[1\] has 2 entries and group\[0\] has 1: all"):
        af.allocate([1, 1], 1, [[0], [1, 2]], 1, 1)


def test_numbers_beyond_the_doubles_are_named():
    with pytest.raises(ValueError, match=r"budget is beyond the largest double: must be finite"):
        af.allocate([1], 1, [0], 10**400, 1)
    with pytest.raises(ValueError, match=r"alpha is beyond the largest double"):
        af.allocate([1], 1, [0], 1, 10**400)
    with pytest.raises(ValueError, match=r"benefit\[1\] is beyond the largest double, 1.8e308: .*"):
        af.allocate([1, -(10**400)], 1, [0, 1], 1, 1)
    with pytest.raises(ValueError, match=r"weight\[0\] is beyond the largest double"):
        af.Problem([1, 1], 1, [0, 1], 1, weight={0: 10**309, 1: 1})
    assert real_table("benefit", [10**30, 1]).tolist() == [1e30, 1.0]


def test_numbers_that_numpy_would_turn_into_others_are_refused():
    for other in (np.complex128(1j), np.str_("3"), np.array("3"), np.datetime64("2020")):
        with pytest.raises(TypeError, match=r"budget must be a real number, not"):
            number("budget", other, "≥ 0", lambda v: v >= 0)
    with pytest.raises(TypeError, match=r"^benefit is \{'a': 1\}: must be a real number, not dict"):
        reals("benefit", {"a": 1})


def test_tensors_that_require_grad_are_sent_to_the_layer():
    torch = pytest.importorskip("torch")
    t = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"benefit is a tensor that requires grad.*benefit\.detach"):
        af.allocate(t, 1, [0, 1], 1, 1)
    with pytest.raises(TypeError, match=r"budget is a tensor that requires grad.*layer"):
        af.allocate([1, 2], 1, [0, 1], t.sum(), 1)
    with pytest.raises(TypeError, match=r"alpha is a tensor that requires grad"):
        af.allocate([1, 2], 1, [0, 1], 1, t.sum())
    with pytest.raises(TypeError, match=r"group is a tensor that requires grad"):
        af.allocate([1, 2], 1, t, 1, 1)
    with pytest.raises(TypeError, match=r"benefit cannot be made an array: .*requires grad"):
        af.allocate([t[0], t[1]], 1, [0, 1], 1, 1)
    assert af.allocate(t.detach(), 1, [0, 1], t.detach().sum(), 1).dose.shape == (2, 1)


# --- labels --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "labels",
    [
        [2**63, 2**63 + 1, 1],
        [2**63, -1, 2**63 + 1],
        [2**53, 2**53 + 1, 1.5],
        [2**64, 2**64 + 1, 0],
        [[2**63], [2**63 + 1], [1]],
        (-(2**70), 2**53 + 1, float(2**53)),
        ["a", "a\0", "a\0\0"],
        [b"a", b"a\0", b"b"],
    ],
)
def test_labels_that_differ_make_different_groups(labels):
    """The common type of numpy would be doubles, or a text without the zeros at its end."""
    groups = af.Groups(labels)
    assert groups.size.tolist() == [1, 1, 1]
    flat = [label[0] if isinstance(label, list) else label for label in labels]
    assert groups.label.tolist() == sorted(flat)
    assert groups.label[groups.code].tolist() == flat


def test_labels_that_are_equal_make_one_group():
    assert af.Groups([2**53, float(2**53), 1]).size.tolist() == [1, 2]
    assert af.Groups([2**63 + 1, 2**63 + 1, 0]).label.dtype == np.uint64
    assert af.Groups([1, 2, 1.0]).label.dtype == float


DAYS = ["2020-01-01", "2021-06-05"]


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
@pytest.mark.parametrize(
    "key",
    [
        datetime.date.fromisoformat,
        datetime.datetime.fromisoformat,
        np.datetime64,
        lambda day: np.datetime64(day, "ns"),
        lambda day: pytest.importorskip("pandas").Timestamp(day),
        str,
    ],
)
def test_weights_of_days_in_any_notation(unit, key):
    labels = np.array([DAYS[1], DAYS[0]], f"M8[{unit}]")
    weight = {key(DAYS[1]): 3.0, key(DAYS[0]): 1.0}
    problem = af.Problem([1, 1], 1, labels, 1, weight=weight)
    assert problem.weight.tolist() == [1.0, 3.0]


def test_weights_of_durations_and_of_other_moments():
    pd = pytest.importorskip("pandas")
    days = np.array([1, 2], "m8[D]")
    for key in (pd.Timedelta, lambda n, _: datetime.timedelta(n), np.timedelta64):
        weight = {key(1, "D"): 1.0, key(2, "D"): 3.0}
        assert af.Problem([1, 1], 1, days, 1, weight=weight).weight.tolist() == [1.0, 3.0]
    labels = np.array(DAYS, "M8[D]")
    noon = {pd.Timestamp(DAYS[0]) + pd.Timedelta("12h"): 1, pd.Timestamp(DAYS[1]): 1}
    with pytest.raises(ValueError, match=r"weight has no entry for group '2020-01-01': .*2021-06"):
        af.Problem([1, 1], 1, labels, 1, weight=noon)
    with pytest.raises(ValueError, match=r"weight has no entry for group '2020-01-01"):
        af.Problem([1, 1], 1, labels.astype("M8[ns]"), 1, weight={})
