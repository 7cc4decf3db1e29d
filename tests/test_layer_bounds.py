"""The torch layer with bounds: the doses and the Jacobian of the core, however it is called."""

import pickle

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import alphafair as af
from alphafair import layer

torch.set_num_threads(1)
PERSONS, TREATMENTS, GROUPS = 5, 2, 3
LABELS = ["east", "east", "north", "north", "west"]
TABLES = ("benefit", "cost", "floor", "cap")
BOUNDS = {
    "cap": {"cap"},
    "baseline": {"baseline"},
    "floor": {"floor"},
    "groups": {"group_floor", "group_cap"},
    "all": {"baseline", "floor", "cap", "group_floor", "group_cap"},
}


def instance(seed, names=BOUNDS["all"], exclusive=False):
    """Arguments as tensors: bounds some of which bind, at points where the doses are smooth."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    table = (PERSONS, TREATMENTS)
    values = {
        "benefit": uniform(1, 2, *table),
        "cost": uniform(0.5, 1.5, *table),
        "budget": uniform(2, 4),
        "alpha": uniform(0.5, 3),
        "weight": uniform(0.5, 2, GROUPS),
        "baseline": uniform(0.1, 1, PERSONS),
        "floor": uniform(0.01, 0.05, *table),
        "cap": uniform(0.4, 1.2, *table),
        "group_floor": uniform(0.1, 0.6, GROUPS),
        "group_cap": uniform(0.7, 1.4, GROUPS),
    }
    kept = {"benefit", "cost", "budget", "alpha", "weight", *names, *(["cap"] * exclusive)}
    return {name: values[name] for name in values if name in kept}


def doses(values, **options):
    return layer.allocate(group=LABELS, **values, **options)


def core(values, **options):
    plain = {name: x.detach().numpy() for name, x in values.items()}
    for name in ("budget", "alpha"):
        plain[name] = float(plain[name])
    return af.allocate(group=LABELS, **plain, **options)


@pytest.mark.parametrize("names", BOUNDS)
@pytest.mark.parametrize("within", [0.0, 0.5, 1.0, np.inf])
def test_doses_and_cotangents_are_those_of_the_core(names, within):
    for seed in range(3):
        values = instance(seed, BOUNDS[names])
        exact = core(values, within=within)
        v = np.random.default_rng(seed).normal(size=(PERSONS, TREATMENTS))
        inputs = {name: x.clone().requires_grad_() for name, x in values.items()}
        dose = doses(inputs, within=within)
        np.testing.assert_array_equal(dose.detach(), exact.dose)
        (torch.tensor(v) * dose).sum().backward()
        pulled = exact.jacobian().vjp(v)
        for name, x in inputs.items():
            np.testing.assert_array_equal(x.grad, getattr(pulled, name), err_msg=name)
            assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("names", BOUNDS)
@pytest.mark.parametrize("within", [0.0, 0.5, 1.0])
def test_finite_differences(names, within):
    values = instance(1, BOUNDS[names])

    def of(*inputs):
        return doses(dict(zip(values, inputs, strict=True)), within=within)

    assert gradcheck(of, [x.requires_grad_() for x in values.values()])


@pytest.mark.parametrize("within", [0.0, 0.5])
def test_exclusive_offers(within):
    values = instance(2, {"cap"})
    exact = core(values, within=within, exclusive=True)
    assert np.abs(exact.dose - core(values, within=within).dose).max() > 0.01  # it matters
    dose = doses(values, within=within, exclusive=True)
    np.testing.assert_array_equal(dose, exact.dose)

    def of(*inputs):
        return doses(dict(zip(values, inputs, strict=True)), within=within, exclusive=True)

    assert gradcheck(of, [x.requires_grad_() for x in values.values()])


@pytest.mark.parametrize("alpha", [0.0, np.inf])
def test_the_ends_of_alpha(alpha):
    values = instance(3, {"cap", "baseline"}) | {"alpha": torch.tensor(alpha)}
    exact = core(values)
    dose = doses(values | {"alpha": alpha})
    np.testing.assert_array_equal(dose, exact.dose)
    if alpha == np.inf:
        a = torch.tensor(alpha, requires_grad=True)
        doses(values | {"alpha": a}).square().sum().backward()
        assert a.grad == 0


def test_bounds_that_bind_nothing_are_the_closed_form():
    values = instance(4, set())
    free = doses(values)
    for bound in ({"cap": np.inf}, {"baseline": 0.0}, {"floor": 0.0}, {"group_cap": [np.inf] * 3}):
        inputs = {name: x.clone().requires_grad_() for name, x in values.items()}
        bounded = doses(inputs, **bound)
        torch.testing.assert_close(bounded.detach(), free, rtol=1e-13, atol=1e-15)
        bounded.square().sum().backward()
    cap = torch.full((PERSONS, TREATMENTS), torch.inf, dtype=torch.float64, requires_grad=True)
    doses(values, cap=cap).sum().backward()
    assert (cap.grad == 0).all()


# --- batches and transforms -----------------------------------------------------------------
def stack(names=BOUNDS["all"], count=3):
    items = [instance(seed, names) for seed in range(count)]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def gradient(function, values):
    inputs = {name: x.clone().requires_grad_() for name, x in values.items()}
    dose = function(inputs)
    weights = torch.arange(dose.numel(), dtype=dose.dtype).reshape(dose.shape).sin()
    (weights * dose).sum().backward()
    return {name: x.grad for name, x in inputs.items()}


@pytest.mark.parametrize("within", [0.0, 0.5])
def test_batch_is_a_loop(within):
    batch = stack()

    def loop(values):
        return torch.stack(
            [doses({name: x[i] for name, x in values.items()}, within=within) for i in range(3)]
        )

    def at_once(values):
        return doses(values, within=within)

    def mapped(values):
        return torch.vmap(at_once)(values)

    for other in (at_once, mapped):
        assert torch.equal(other(batch), loop(batch))
        for name, found in gradient(other, batch).items():
            assert torch.equal(found, gradient(loop, batch)[name]), name


def test_some_arguments_for_the_whole_batch():
    """Each gradient has the shape of its argument: sums over the batch."""
    batch, one = stack(), instance(7)
    for name in one:
        mixed = {k: one[k] if k != name else batch[k] for k in one}
        whole = {k: one[k].expand(3, *one[k].shape) if k != name else batch[k] for k in one}
        assert torch.equal(doses(mixed), doses(whole))
        found, expected = gradient(doses, mixed), gradient(doses, whole)
        for k in one:
            total = expected[k] if k == name else expected[k].sum(0)
            torch.testing.assert_close(found[k], total, rtol=1e-12, atol=1e-14)


def test_jacobians():
    values = instance(5)
    exact = core(values, within=0.5).jacobian()

    def of(name):
        return lambda x: doses(values | {name: x}, within=0.5)

    for name in ("benefit", "cost", "weight", "baseline", "floor", "cap", "group_floor"):
        found = torch.func.jacrev(of(name))(values[name])
        np.testing.assert_allclose(found, exact.dense(name), rtol=1e-12, atol=1e-13)
    caps = torch.stack([values["cap"], 1.1 * values["cap"]])
    inside = torch.vmap(torch.func.jacrev(of("cap")))(caps)
    outside = torch.func.jacrev(torch.vmap(of("cap")))(caps)
    for i in range(2):
        expected = torch.func.jacrev(of("cap"))(caps[i])
        assert torch.equal(inside[i], expected)
        assert torch.equal(outside[i, ..., i, :, :], expected)
        assert (outside[i, ..., 1 - i, :, :] == 0).all()


def test_a_jacobian_solves_once(monkeypatch):
    """One problem for N·T cotangents."""
    values, solved = instance(5), []
    allocate = af.Problem.allocate
    monkeypatch.setattr(
        af.Problem, "allocate", lambda self, a: solved.append(1) or allocate(self, a)
    )
    torch.func.jacrev(lambda cap: doses(values | {"cap": cap}))(values["cap"])
    assert len(solved) == 2  # forward and backward


def test_second_derivatives_are_refused():
    values = instance(6)
    b = values["benefit"].requires_grad_()
    (slope,) = torch.autograd.grad(doses(values).square().sum(), b, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"bounds .* have first derivatives only"):
        slope.sum().backward()
    with pytest.raises(NotImplementedError):
        torch.func.jacfwd(lambda x: doses(values | {"benefit": x}))(b.detach())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(backend):
    groups = af.Groups(LABELS)
    torch._dynamo.reset()

    def plain(values):
        return layer.allocate(group=groups, within=0.5, **values)

    compiled = torch.compile(plain, fullgraph=True, backend=backend)
    batch = stack()
    assert torch.equal(compiled(batch), plain(batch))
    for name, found in gradient(compiled, batch).items():
        assert torch.equal(found, gradient(plain, batch)[name]), name
    batch["cap"][1, 2, 0] = -1.0
    with pytest.raises(ValueError, match=r"cap\[1, 2, 0\] is -1\.0"):
        compiled(batch)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision(dtype):
    values = {name: x.to(dtype) for name, x in instance(8).items()}
    inputs = {name: x.clone().requires_grad_() for name, x in values.items()}
    dose = doses(inputs)
    exact = core({name: x.double() for name, x in values.items()})
    assert dose.dtype == dtype
    assert torch.equal(dose.detach(), torch.tensor(exact.dose).to(torch.float32).to(dtype))
    dose.sum().backward()
    assert {x.grad.dtype for x in inputs.values()} == {dtype}


def test_module_pickle_autocast():
    values = instance(9)
    del values["weight"]
    alpha = values.pop("alpha").item()
    module = layer.AlphaFairLayer(
        LABELS, alpha, within=0.5, weight={"east": 1, "north": 2, "west": 3}
    )
    expected = af.allocate(
        group=LABELS,
        alpha=alpha,
        within=0.5,
        weight=[1, 2, 3],
        **{name: x.numpy() if x.ndim else x.item() for name, x in values.items()},
    ).dose
    again = pickle.loads(pickle.dumps(module))
    for each in (module, again):
        np.testing.assert_array_equal(each(**values), expected)
        with torch.autocast("cpu"):
            np.testing.assert_array_equal(each(**values), expected)
    exclusive = layer.AlphaFairLayer(LABELS, 2.0, exclusive=True)
    b, c, cap = (values[name] for name in ("benefit", "cost", "cap"))
    dose = exclusive(b, c, 3.0, cap=cap)
    assert ((dose / cap).sum(1) <= 1 + 1e-12).all()
    assert not torch.equal(dose, layer.allocate(b, c, LABELS, 3.0, 2.0, cap=cap))


def test_alpha_and_weights_that_are_learned():
    alpha, weight = torch.nn.Parameter(torch.tensor(2.0)), torch.nn.Parameter(torch.ones(3))
    module = layer.AlphaFairLayer(LABELS, alpha, weight=weight)
    assert [name for name, _ in module.named_parameters()] == ["alpha", "weight"]
    b = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    module(b, 1.0, 3.0, cap=2.0)[0].sum().backward()
    exact = af.allocate(b.numpy(), 1.0, LABELS, 3.0, 2.0, cap=2.0).jacobian()
    pulled = exact.vjp(np.eye(5)[0][:, None])
    np.testing.assert_allclose(alpha.grad, pulled.alpha, rtol=1e-6)
    np.testing.assert_allclose(weight.grad, pulled.weight, rtol=1e-6)
    assert repr(module) == "AlphaFairLayer(Groups(N=5, K=3), alpha=2.0, within=0)"


# --- who takes part ---------------------------------------------------------------------------
@pytest.mark.parametrize("within", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("exclusive", [False, True])
def test_masked_people_are_not_there(within, exclusive):
    batch = stack({"baseline", "floor", "cap"} if exclusive else BOUNDS["all"], 4)
    there = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 1, 0, 0, 1], [0, 0, 0, 0, 0]]) > 0
    options = {"within": within, "exclusive": exclusive}
    for name in ("benefit", "cost", "floor", "cap", "baseline"):
        batch[name][~there] = torch.nan
    gradients = gradient(lambda x: doses(x, mask=there, **options), batch)
    found = doses(batch, mask=there, **options)
    v = torch.arange(found.numel(), dtype=found.dtype).reshape(found.shape).sin().numpy()
    codes = np.unique(LABELS, return_inverse=True)[1]
    for i in range(4):
        rows = np.flatnonzero(there[i])
        expected = np.zeros((PERSONS, TREATMENTS))
        if rows.size:
            present = np.unique(codes[rows])
            part = {
                name: x[i][rows if name in (*TABLES, "baseline") else present]
                if x.ndim > 1
                else x[i]
                for name, x in batch.items()
            }
            plain = {k: x.numpy() if x.ndim else float(x) for k, x in part.items()}
            exact = af.allocate(group=np.array(LABELS)[rows], **plain, **options)
            expected[rows] = exact.dose
            pulled = exact.jacobian().vjp(v[i][rows])
            np.testing.assert_array_equal(gradients["cap"][i][rows], pulled.cap)
            np.testing.assert_array_equal(gradients["weight"][i][present], pulled.weight)
        np.testing.assert_array_equal(found[i], expected)
        assert (gradients["benefit"][i][~there[i]] == 0).all()
        assert (gradients["baseline"][i][~there[i]] == 0).all()
    assert all(torch.isfinite(x).all() for x in gradients.values())


def test_masked_items_are_never_chosen():
    values = instance(3, {"cap"})
    items = torch.ones(PERSONS, TREATMENTS, dtype=torch.bool)
    items[0, 0] = items[2, 1] = items[4, 0] = False
    without = values | {"benefit": torch.where(items, values["benefit"], -1.0)}
    assert torch.equal(doses(values, mask=items), doses(without))
    assert (doses(values, mask=items)[~items] == 0).all()


@pytest.mark.parametrize("within", [0.0, 0.5, 1.0])
def test_skip_leaves_out_whom_no_money_can_help(within):
    values = instance(3, {"cap"})
    values["benefit"][4] = -1.0  # all of west
    values["cap"][2:4] = 0.0  # nobody of north can have anything
    for name in ("benefit", "cost", "cap"):
        values[name].requires_grad_()
    with pytest.raises(
        ValueError, match=r"group north has no item|person 2 \(group north\) has no"
    ):
        doses(values, within=within)
    dose = doses(values, within=within, skip=True)
    assert torch.equal(dose, doses(values, within=within, mask=torch.arange(5) < 2))
    dose.square().sum().backward()
    assert all((values[name].grad[2:] == 0).all() for name in ("benefit", "cost", "cap"))
    # Who has something already is not left out.
    have = torch.tensor([0.0, 0, 1, 0, 1], dtype=torch.float64)
    left = torch.tensor([True, True, True, within < 1, True])
    some = doses(values, within=within, baseline=have, skip=True)
    assert torch.equal(some, doses(values, within=within, baseline=have, mask=left))


# --- refusals ---------------------------------------------------------------------------------
def bad(name, index, value):
    def change(batch):
        batch[name][index] = value

    return change


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bad("benefit", (1, 4, 0), np.nan), r"^benefit\[1, 4, 0\] is nan: must be finite"),
        (bad("cap", (2, 3, 1), -1.0), r"^cap\[2, 3, 1\] is -1\.0: must be ≥ 0"),
        (bad("cap", (2, 3, 1), np.nan), r"^cap\[2, 3, 1\] is nan: must be ≥ 0"),
        (bad("floor", (0, 2, 1), np.inf), r"^floor\[0, 2, 1\] is inf: must be finite and ≥ 0"),
        (bad("baseline", (1, 2), -0.5), r"^baseline\[1, 2\] is -0\.5: must be finite and ≥ 0"),
        (bad("weight", (2, 1), 0.0), r"^weight\[2, 1\] is 0\.0: must be finite and > 0"),
        (bad("group_floor", (2, 1), np.nan), r"^group_floor\[2, 1\] is nan: must be finite"),
        (bad("group_cap", (2, 1), np.nan), r"^group_cap\[2, 1\] is nan: must be ≥ 0"),
        (bad("floor", (1, 2, 1), 2.0), r"^batch element \[1\]: floor\[2, 1\] is 2\.0 and cap"),
        (bad("floor", (2,), 0.39), r"^batch element \[2\]: floor costs .* more than the budget"),
        (bad("group_floor", (1, 0), 1.5), r"^batch element \[1\]: group_floor\[0\] \(group east\)"),
        (bad("group_cap", (0, 2), 0.0), r"^batch element \[0\]: group_cap\[2\] \(group west\)"),
    ],
)
def test_refusals_name_the_element(change, message, mapped):
    batch = stack()
    change(batch)
    with pytest.raises(ValueError, match=message):
        torch.vmap(doses)(batch) if mapped else doses(batch)


def test_positions_among_those_who_are_there():
    values = instance(0)
    values["floor"][3, 1] = 2.0
    with pytest.raises(ValueError, match=r"^floor\[2, 1\] is 2.*\(positions count only who is"):
        doses(values, mask=torch.tensor([False, True, True, True, True]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cap": torch.ones(4)}, r"cap has shape \(4, 1\): must be broadcastable to \(5, 2\)"),
        (
            {"baseline": torch.ones(2)},
            r"baseline has shape \(2,\): must be broadcastable to \(5,\)",
        ),
        ({"weight": torch.ones(2)}, r"weight has shape \(2,\): must be broadcastable to \(3,\)"),
        ({"group_cap": [1.0, 2.0]}, r"group_cap has shape \(2,\): must be \(3,\)"),
        ({"group_floor": {"east": 1.0}}, r"group_floor has no entry for group 'north'"),
        ({"weight": "people"}, r"weight is 'people': the only word it takes is \"size\""),
        (
            {"cap": torch.ones(2, 5, 2), "budget": torch.ones(3)},
            r"shapes must fit together.*budget",
        ),
        ({"exclusive": True, "cap": np.inf}, "exclusive"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        doses(instance(0, set()) | change)


def test_a_label_outlives_its_groups():
    """The codes decide; an `id` that another object has now leads to nobody else's labels."""
    from alphafair.layer_bounds import bounded

    values = instance(0, {"cap"})
    tensors = [values.get(name) for name in ("benefit", "cost", "budget", "alpha", "weight")]
    others = af.Groups(list("abcde"))
    layer.allocate(torch.ones(5), 1.0, others, 1.0, 1.0)
    code = torch.tensor([0, 0, 1, 1, 2])
    bounds = [None, None, values["cap"], None, None]
    dose = bounded(*tensors, *bounds, None, code, 0.0, False, id(others))
    assert torch.equal(dose, doses(values))


def test_the_operators_keep_to_the_rules_of_pytorch():
    from alphafair.layer_bounds import bounded, bounded_vjp

    values = instance(0)
    code = torch.tensor([0, 0, 1, 1, 2])
    inputs = (*(values[name].requires_grad_() for name in values), None, code, 0.5, False, 0)
    assert list(values) == [*af_parameters()]
    tests = (
        "test_schema",
        "test_autograd_registration",
        "test_faketensor",
        "test_aot_dispatch_dynamic",
    )
    torch.library.opcheck(bounded, inputs, test_utils=tests)
    v = torch.ones(PERSONS, TREATMENTS, dtype=torch.float64)
    torch.library.opcheck(bounded_vjp, (v, *inputs), test_utils=("test_schema", "test_faketensor"))


def af_parameters():
    from alphafair.derivatives import PARAMETERS

    return PARAMETERS
