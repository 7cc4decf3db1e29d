"""Every accepted form of the inputs, and every refusal with its message."""

import numpy as np
import pytest

import alphafair as af

B = np.array([[3.0, 1.0], [2.0, 4.0], [1.0, 1.5], [5.0, 2.0]])
C = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
G = np.array([0, 0, 1, 1])


def doses(benefit=B, cost=C, group=G, alpha=2, **kwargs):
    return af.allocate(benefit, cost, group, 100.0, alpha, **kwargs).dose


# --- shapes and kinds ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "cost", [2, 2.0, np.float32(2), np.array(2), [2, 2, 2, 2], [[2], [2], [2], [2]], [[2, 2]]]
)
def test_cost_broadcasts(cost):
    assert np.array_equal(doses(cost=cost), doses(cost=np.full(B.shape, 2.0)))


def test_cost_by_person_is_a_column_even_when_n_equals_t():
    benefit, cost = np.ones((2, 2)), np.array([1.0, 2.0])
    problem = af.Problem(benefit, cost, [0, 1], 1.0)
    assert np.array_equal(problem.cost, [[1, 1], [2, 2]])


@pytest.mark.parametrize("benefit", [[1, 2, 3, 4], [[1], [2], [3], [4]]])
def test_one_benefit_broadcasts_against_costs_of_treatments(benefit):
    full = np.repeat(np.reshape(benefit, (4, 1)), 2, axis=1)
    assert np.array_equal(doses(benefit), doses(full.astype(float)))


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint16, np.float32, np.float64, bool, object])
def test_number_kinds_of_benefit(dtype):
    benefit = np.array([[1, 0], [0, 1], [1, 1], [1, 0]])
    assert np.array_equal(doses(benefit.astype(dtype)), doses(benefit.astype(float)))


@pytest.mark.parametrize(
    "view",
    [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], np.ndarray.tolist],
)
def test_memory_layouts_and_containers(view):
    assert np.array_equal(doses(view(B), view(C)), doses())


def test_inputs_are_left_alone_and_results_do_not_change_the_problem():
    benefit, cost = B.copy(), C.copy()
    problem = af.Problem(benefit, cost, G, 10.0)
    problem.allocate(2).dose[:] = -1
    assert np.array_equal(benefit, B)
    assert np.array_equal(cost, C)
    assert problem.allocate(2).dose.min() == 0
    with pytest.raises(AttributeError):
        problem.budget = 3


@pytest.mark.parametrize(
    "group",
    [
        [5, 5, -7, -7],
        ["b", "b", "a", "a"],
        np.array(["b", "b", "a", "a"], object),
        [2.5, 2.5, 0.5, 0.5],
        np.array([[1], [1], [0], [0]]),
        np.array([200, 200, 3, 3], np.uint8),
        np.array([2**64 - 1, 2**64 - 1, 0, 0], np.uint64),
        np.array([2**64 - 1, 2**64 - 1, 2**64 - 3, 2**64 - 3], np.uint64),
        np.array([2**62, 2**62, -(2**62), -(2**62)]),
        np.array([127, 127, -128, -128], np.int8),
        [True, True, False, False],
        np.array(["2021-02-01", "2021-02-01", "2021-01-01", "2021-01-01"], "datetime64[D]"),
    ],
)
def test_any_labels(group):
    a = af.allocate(B, C, group, 100.0, 2)
    plain = af.allocate(B, C, [1, 1, 0, 0], 100.0, 2)
    assert np.array_equal(a.dose, plain.dose)
    assert np.array_equal(a.group_labels, np.unique(np.asarray(group)))
    assert np.array_equal(a.group_size, [2, 2])


def test_groups_are_reused_across_problems():
    groups = af.Groups(["b", "b", "a", "a"])
    assert len(groups) == 4
    for benefit in (B, 2 * B[:, :1]):
        a = af.allocate(benefit, 1.0, groups, 10.0, 1)
        assert np.array_equal(a.dose, af.allocate(benefit, 1.0, ["b", "b", "a", "a"], 10.0, 1).dose)
        assert a.problem.groups is groups


@pytest.mark.parametrize("low", [-(10**6), 0, 10**12])
def test_labels_with_gaps(low):
    labels = low + np.array([0, 7, 7, 3])
    groups = af.Groups(labels)
    assert groups.label.tolist() == [low, low + 3, low + 7]
    assert groups.code.tolist() == [0, 2, 2, 1]
    assert groups.size.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    "weight",
    [[3.0, 1.0], {"a": 3, "b": 1}, {"b": 1, "a": 3, "unused": 0}],
)
def test_weights_by_position_and_by_label(weight):
    a = af.allocate(B, C, ["a", "a", "b", "b"], 100.0, 1, weight=weight)
    assert a.group_share == pytest.approx([0.75, 0.25], abs=1e-15)


def test_weight_size_maximises_the_sum_over_people():
    benefit, group = [1.0, 2.0, 3.0, 2.9], ["a", "a", "a", "b"]
    a = af.allocate(benefit, 1.0, group, 1.0, 0, weight="size")
    assert a.dose[:, 0].tolist() == [0, 0, 1, 0]  # the best person, though the group is large
    assert af.allocate(benefit, 1.0, group, 1.0, 0).dose[3, 0] == 1


def test_items_without_benefit_are_never_chosen():
    benefit = [[-1.0, 2.0], [0.0, -3.0], [0.0, 1.0]]
    for within in (0, 0.5):
        dose = af.allocate(benefit, 1.0, [0, 0, 1], 10.0, 2, within=within).dose
        assert (dose > 0).tolist() == [[False, True], [False, False], [False, True]]


def test_first_of_tied_items_wins():
    a = af.allocate([[1, 2], [4, 2], [2, 2]], [[1, 2], [2, 1], [1, 1]], [0, 0, 0], 1.0, 1)
    assert a.best_item.tolist() == [[1, 0]]


def test_the_scan_is_the_first_maximum_of_the_rounded_ratio():
    rng = np.random.default_rng(3)  # small integers: many exact ties, and ties but for rounding
    benefit = rng.integers(1, 30, (20_000, 3)) * 0.1
    cost = rng.integers(1, 30, (20_000, 3)) * 0.3
    group = rng.integers(0, 500, 20_000)
    a = af.allocate(benefit, cost, group, 1.0, 2)
    ratio = benefit / cost
    for k in range(500):
        rows = np.flatnonzero(group == k)
        i, t = np.unravel_index(ratio[rows].argmax(), (rows.size, 3))
        assert a.best_item[k].tolist() == [rows[i], t]


def test_group_sum_is_compensated():
    from alphafair.kernels import group_sum, numba

    value = np.full(10**6, 0.1)
    total = group_sum(value, np.zeros(10**6, np.intp), 1)[0]
    # A plain loop is off by 1.3e-6; without numba the sum goes by blocks, right to 1e-12.
    assert abs(total - 1e5) <= (2e-11 if numba() else 1e-12 * 1e5)
    assert abs(sum(value.tolist()) - 1e5) < 1e-5


# --- refusals: argument, expectation, first offender, cure --------------------------------------
NAN, INF = float("nan"), float("inf")


def changed(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"benefit": changed(B, (2, 1), NAN)}, ValueError, r"benefit\[2, 1\] is nan.*finite.*drop"),
        ({"benefit": changed(B, (0, 1), INF)}, ValueError, r"benefit\[0, 1\] is inf.*finite"),
        ({"benefit": changed(B, (0, 1), -INF)}, ValueError, r"benefit\[0, 1\] is -inf.*finite"),
        ({"benefit": [1, 2, None, 4]}, ValueError, r"benefit\[2\] is nan"),
        ({"cost": changed(C, (3, 0), NAN)}, ValueError, r"cost\[3, 0\] is nan.*finite"),
        ({"cost": changed(C, (3, 0), INF)}, ValueError, r"cost\[3, 0\] is inf.*finite"),
        ({"cost": changed(C, (1, 1), 0)}, ValueError, r"cost\[1, 1\] is 0\.0.*> 0.*realistic cost"),
        ({"cost": changed(C, (1, 1), -2)}, ValueError, r"cost\[1, 1\] is -2\.0.*> 0"),
        ({"cost": 0}, ValueError, r"cost is 0\.0: must be > 0"),
        ({"cost": [1, 1, -1, -1]}, ValueError, r"cost\[2\] is -1\.0"),
        ({"budget": -1}, ValueError, r"budget is -1\.0: must be finite and ≥ 0"),
        ({"budget": NAN}, ValueError, r"budget is nan"),
        ({"budget": INF}, ValueError, r"budget is inf"),
        ({"budget": "100"}, TypeError, r"budget must be a number, not str"),
        ({"budget": [1.0, 2.0]}, TypeError, r"budget must be a number, not list"),
        ({"budget": None}, TypeError, r"budget must be a number"),
        ({"alpha": -0.5}, ValueError, r"alpha is -0\.5: must be between 0.*infinity"),
        ({"alpha": NAN}, ValueError, r"alpha is nan"),
        ({"alpha": "2"}, TypeError, r"alpha must be one number, not str"),
        ({"alpha": [1, 2]}, TypeError, r"alpha must be one number.*allocate for each"),
        ({"alpha": None}, TypeError, r"alpha must be a number, not NoneType"),
        ({"within": -1}, ValueError, r"within is -1\.0: must be between 0 and infinity"),
        ({"within": NAN}, ValueError, r"within is nan"),
        ({"within": "no"}, TypeError, r"within must be a number"),
        ({"group": [0, 0, 1]}, ValueError, r"group has 3 labels but benefit has 4 rows"),
        ({"group": np.zeros((2, 2))}, ValueError, r"group has shape \(2, 2\).*\(N,\)"),
        ({"group": []}, ValueError, r"group is empty"),
        ({"group": [0, 0, NAN, 1]}, ValueError, r"group\[2\] is nan.*label"),
        ({"group": [0, INF, 1, 1]}, ValueError, r"group\[1\] is inf.*label"),
        ({"group": ["a", None, "b", "b"]}, ValueError, r"group\[1\] is None.*drop"),
        ({"group": np.array(["NaT", 1, 1, 2], "M8[D]")}, ValueError, r"group\[0\] is NaT"),
        ({"group": ["a", NAN, "b", "b"]}, ValueError, r"group\[1\] is nan"),
        ({"group": ["a", "a", 1, 1]}, TypeError, r"group mixes labels.*int, str.*convert"),
        ({"benefit": np.zeros((0, 2)), "group": [1]}, ValueError, r"benefit is empty"),
        ({"cost": []}, ValueError, r"cost is empty"),
        ({"benefit": np.ones((4, 2, 1))}, ValueError, r"benefit has shape \(4, 2, 1\).*two axes"),
        ({"benefit": 3.0}, ValueError, r"benefit is a scalar: must have shape"),
        ({"benefit": [["a", "b"]] * 4}, TypeError, r"benefit must hold real numbers, not <U1"),
        ({"benefit": B + 1j}, TypeError, r"benefit must hold real numbers, not complex128"),
        ({"benefit": np.array([1, "x", 2, 3], object)}, TypeError, r"benefit\[1\] is 'x'.*not str"),
        ({"benefit": np.ma.masked_less(B, 2)}, ValueError, r"benefit has masked entries"),
        ({"cost": np.ones((4, 3))}, ValueError, r"cost has shape \(4, 3\) and benefit \(4, 2\)"),
        ({"cost": np.ones(3)}, ValueError, r"cost has shape \(3,\)"),
        ({"cost": np.ones(2)}, ValueError, r"cost has shape \(2,\).*pass cost\[None, :\]"),
        ({"benefit": changed(B, slice(2, 4), -1)}, ValueError, r"group 1 has no item.*positive"),
        ({"benefit": changed(B, slice(0, 2), 0)}, ValueError, r"group 0 has no item.*drop"),
        (
            {"benefit": changed(B, 3, -1), "within": 1},
            ValueError,
            r"person 3 \(group 1\) has no positive benefit.*within = 1 \(1 or more\).*within < 1",
        ),
        ({"weight": [1.0, 0.0]}, ValueError, r"weight\[1\] \(group 1\) is 0\.0: must be.*> 0"),
        ({"weight": [NAN, 1.0]}, ValueError, r"weight\[0\] \(group 0\) is nan"),
        ({"weight": [1.0, INF]}, ValueError, r"weight\[1\] \(group 1\) is inf"),
        ({"weight": [1.0]}, ValueError, r"weight has shape \(1,\): must be \(2,\)"),
        ({"weight": {0: 1.0}}, ValueError, r"weight has no entry for group 1"),
        ({"weight": {0: 1.0, 1: -1}}, ValueError, r"weight\[1\] \(group 1\) is -1\.0"),
        ({"weight": "people"}, ValueError, r"weight is 'people': the only word.*\"size\""),
        ({"weight": ["a", "b"]}, TypeError, r"weight must hold real numbers"),
        ({"cap": -1.0}, ValueError, r"cap is -1.0: must be ≥ 0; infinity is no bound"),
        ({"cap": changed(B, (1, 0), NAN)}, ValueError, r"cap\[1, 0\] is nan: must be ≥ 0"),
        ({"cap": "all"}, TypeError, r"cap must hold real numbers"),
        ({"cap": np.ones((3, 5))}, ValueError, r"cap has shape \(3, 5\): must be a scalar"),
        ({"cap": 0.0}, ValueError, r"no item with a positive benefit and cap: no budget"),
        (
            {"benefit": changed(B * 1e-250, (0, 0), 1e250), "cost": 1e-100},
            ValueError,
            r"span too many orders of magnitude",
        ),
    ],
)
def test_refusal(arguments, error, message):
    good = {"benefit": B, "cost": C, "group": G, "budget": 10.0, "alpha": 2}
    with pytest.raises(error, match=message):
        af.allocate(**(good | arguments))


# --- bounds and what people have already ---------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": -1.0}, r"baseline is -1\.0: must be finite and ≥ 0; .*shift"),
        ({"baseline": [0, 1, -2, NAN]}, r"baseline\[2\] is -2\.0: must be finite and ≥ 0"),
        ({"baseline": [0, NAN, 0, 0]}, r"baseline\[1\] is nan"),
        ({"baseline": [0, INF, 0, 0]}, r"baseline\[1\] is inf"),
        ({"baseline": B}, r"baseline has shape \(4, 2\): must be a scalar or \(N,\) = \(4,\)"),
        ({"floor": changed(0 * B, (1, 1), NAN)}, r"floor\[1, 1\] is nan: must be finite and ≥ 0"),
        ({"floor": changed(0 * B, (1, 1), -1)}, r"floor\[1, 1\] is -1\.0.*0 is no bound"),
        ({"floor": [0, INF, 0, 0]}, r"floor\[1\] is inf: must be finite"),
        ({"floor": np.zeros((3, 5))}, r"floor has shape \(3, 5\): must be a scalar"),
        (
            {"floor": changed(0 * B, (2, 1), 3), "cap": 2.0},
            r"floor\[2, 1\] is 3\.0 and cap\[2, 1\] is 2\.0: .*floor ≤ cap; lower.*or raise",
        ),
        (
            {"floor": 1.0},
            r"floor costs 12 in all \(Σ cost·floor\), more than the budget of 10: raise",
        ),
        (
            {"benefit": changed(B, (1, 0), -2), "floor": changed(0 * B, (1, 0), 1), "within": 0.5},
            r"floor leaves person 1 with a utility of -2\.0: must be ≥ 0.*lower it, or give a base",
        ),
        ({"group_floor": [NAN, 0]}, r"group_floor\[0\] \(group 0\) is nan: must be finite and ≥ 0"),
        ({"group_floor": [0, -1]}, r"group_floor\[1\] \(group 1\) is -1\.0.*0 is no bound"),
        ({"group_floor": [0, INF]}, r"group_floor\[1\] \(group 1\) is inf: must be finite"),
        ({"group_floor": {0: 1}}, r"group_floor has no entry for group 1: every label needs one"),
        ({"group_floor": [1.0]}, r"group_floor has shape \(1,\): must be \(2,\), one for each"),
        ({"group_floor": [6, 5]}, r"group_floor adds up to 11 .*budget of 10: raise.*or lower"),
        (
            {"group_floor": [3, 0], "group_cap": [2, INF]},
            r"group_floor\[0\] \(group 0\) is 3\.0: must be at most its group_cap, 2\.0; lower",
        ),
        (
            {"group_floor": {0: 0, 1: 5}, "cap": 0.5},
            r"group_floor\[1\] \(group 1\) is 5\.0: must be at most what its caps can take, 3\.0",
        ),
        ({"group_cap": [1, NAN]}, r"group_cap\[1\] \(group 1\) is nan: must be ≥ 0; infinity"),
        ({"group_cap": [-1, 1]}, r"group_cap\[0\] \(group 0\) is -1\.0: must be ≥ 0"),
        ({"group_cap": {1: 1}}, r"group_cap has no entry for group 0"),
        ({"group_cap": 3.0}, r"group_cap has shape \(\): must be \(2,\)"),
        (
            {"group_cap": [1, INF], "floor": changed(0 * B, (0, 0), 2)},
            r"group_cap\[0\] \(group 0\) is 1\.0: must be at least what the floors of its members",
        ),
    ],
)
def test_refusal_of_bounds(arguments, message):
    good = {"benefit": B, "cost": C, "group": G, "budget": 10.0, "alpha": 2}
    with pytest.raises(ValueError, match=message):
        af.allocate(**(good | arguments))


@pytest.mark.parametrize("name", ["baseline", "floor", "cap", "group_floor", "group_cap"])
def test_bounds_must_be_numbers(name):
    value = ["a", "b"] if name.startswith("group") else "much"
    with pytest.raises(TypeError, match=rf"{name} must hold real numbers, not <U"):
        doses(**{name: value})


@pytest.mark.parametrize(
    ("money", "message"),
    [
        ([1.0, 2.0, 3.0], r"money has shape \(3,\): must be a number or \(2,\), one for each"),
        ([4.0, NAN], r"money\[1\] is nan: must be finite"),
        ([1.0, 2.0], r"money\[0\] \(group 0\) is 1\.0: must be at least what the group's floors"),
        (-1.0, r"money\[0\] \(group 0\) is -1\.0: must be at least"),
    ],
)
def test_refusal_of_money(money, message):
    problem = af.Problem(B, C, G, 10.0, floor=changed(0 * B, (0, 0), 2))
    for ask in (problem.group_utility, problem.marginal_utility):
        with pytest.raises(ValueError, match=message):
            ask(money)


# --- pandas ------------------------------------------------------------------------------------
def test_pandas_is_understood():
    pd = pytest.importorskip("pandas")
    assert np.array_equal(doses(pd.DataFrame(B), pd.DataFrame(C)), doses())
    plain = doses(group=[1, 1, 0, 0])
    for group in (pd.Series(list("bbaa"), index=[9, 3, 5, 1]), pd.Categorical(list("bbaa"))):
        a = af.allocate(B, C, group, 100.0, 2)
        assert np.array_equal(a.dose, plain)
        assert a.group_labels.tolist() == ["a", "b"]
    weight = pd.Series([1, 3], ["b", "a"])
    a = af.allocate(B, C, list("aabb"), 100.0, 1, weight=weight)
    assert a.group_share == pytest.approx([0.75, 0.25], abs=1e-15)


def test_missing_labels_of_pandas_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"group\[2\] is (nan|<NA>)"):
        doses(group=pd.array([1, 1, None, 2], "Int64"))
    with pytest.raises(ValueError, match=r"group\[1\] is <NA>"):
        doses(group=np.array(["a", pd.NA, "b", "b"], object))


def test_first_offender_is_named_when_there_are_several():
    benefit = B.copy()
    benefit[1:, 0] = NAN
    with pytest.raises(ValueError, match=r"benefit\[1, 0\]"):
        doses(benefit)


def test_overflowing_dose_is_refused():
    a = af.allocate([1.0, 1.0], 1e-300, [0, 1], 1e300, 1)
    with pytest.raises(ValueError, match=r"dose of item \(0, 0\) overflows.*larger unit"):
        _ = a.dose


def test_representation():
    assert repr(af.Problem(B, C, G, 10.0)) == "Problem(N=4, T=2, K=2, budget=10, within=0)"
    assert repr(af.Groups(G)) == "Groups(N=4, K=2)"
