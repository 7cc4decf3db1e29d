"""The torch layer: the doses of the core, and derivatives of every order, however it is called."""

import warnings

import numpy as np
import pytest
import torch
from helpers import ALPHAS, WITHINS, random_case
from torch.autograd import gradcheck, gradgradcheck

import alphafair as af
from alphafair import layer

torch.set_num_threads(1)
SAME = 1e-12  # the promise: doses of the numpy core in float64
SINGLE = 1e-5  # float32 has 6e−8 a rounding, and logarithms of ratios up to 10 ulps of it


def tensors(case, **options):
    return [torch.tensor(x, dtype=torch.float64, **options) for x in (case.benefit, case.cost)]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_doses_are_those_of_the_core(alpha, within):
    for seed in (1, 2):
        case = random_case(seed)
        core = af.allocate(*case[:4], alpha, within=within, weight=case.weight).dose
        b, c = tensors(case)
        dose = layer.allocate(
            b, c, case.group, case.budget, alpha, within=within, weight=case.weight
        )
        assert np.abs(dose.numpy() - core).max() <= SAME * core.max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tiny", [1e-40, 1e-150, 5e-324])
def test_next_to_zero_is_the_limit(dtype, tiny):
    case = random_case(1)
    b, c = (t.to(dtype) for t in tensors(case))
    for alpha, within in ((tiny, 0), (tiny, tiny), (2, tiny)):
        near = layer.allocate(b, c, case.group, case.budget, alpha, within=within)
        limit = 0 if alpha == tiny else 2
        assert torch.allclose(near, layer.allocate(b, c, case.group, case.budget, limit))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("within", [0, 0.3, 1, 3, np.inf])
def test_first_and_second_derivatives(alpha, within):
    case = random_case(4, persons=5, treatments=2, groups=2)
    b, c = tensors(case, requires_grad=True)
    q, a = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (10.0, alpha))

    def doses(b, c, q, a):
        return layer.allocate(b, c, case.group, q, a, within=within, weight=case.weight)

    assert gradcheck(doses, (b, c, q, a))
    assert gradgradcheck(doses, (b, c, q, a))


@pytest.mark.parametrize("alpha", [0, np.inf])
@pytest.mark.parametrize("within", [0, 0.5])
def test_derivatives_at_the_ends(alpha, within):
    case = random_case(4, persons=5, treatments=2, groups=2)
    b, c = tensors(case, requires_grad=True)

    def doses(b, c):
        return layer.allocate(b, c, case.group, 10.0, alpha, within=within)

    assert gradcheck(doses, (b, c))
    assert gradgradcheck(doses, (b, c))


@pytest.mark.parametrize("alpha", [0, 0.01, 0.5, 1, 2, 50, np.inf])
@pytest.mark.parametrize("within", [0, 0.3, 1, 3, np.inf])
def test_jacobian_is_that_of_the_core(alpha, within):
    case = random_case(6, persons=6, treatments=2, groups=3)
    b, c = tensors(case)
    core = af.allocate(*case[:4], alpha, within=within).jacobian()

    def doses(b, c):
        return layer.allocate(b, c, case.group, case.budget, alpha, within=within)

    for number, name in enumerate(("benefit", "cost")):
        exact = core.dense(name)
        found = torch.func.jacrev(doses, argnums=number)(b, c).numpy()
        assert np.abs(found - exact).max() <= 1e-11 * np.abs(exact).max() + 1e-13


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 1])
def test_batch_is_a_loop(alpha, within):
    generator = torch.Generator().manual_seed(0)
    b = 1 + torch.rand(64, 5, 3, generator=generator, dtype=torch.float64)
    c = 0.2 + torch.rand(64, 5, 3, generator=generator, dtype=torch.float64)
    q = 1 + torch.rand(64, generator=generator, dtype=torch.float64)
    groups = af.Groups([0, 0, 1, 2, 1])

    def doses(b, c, q):
        return layer.allocate(b, c, groups, q, alpha, within=within)

    loop = torch.stack([doses(*item) for item in zip(b, c, q, strict=True)])
    assert torch.allclose(doses(b, c, q), loop, rtol=1e-14, atol=0)
    assert torch.allclose(torch.vmap(doses)(b, c, q), loop, rtol=1e-14, atol=0)
    assert torch.allclose(doses(b, c[0], 3.0)[5], doses(b[5], c[0], 3.0), rtol=1e-14, atol=0)


def test_transforms_compose():
    case = random_case(8, persons=5, treatments=2, groups=2)
    b, c = tensors(case)

    def doses(b):
        return layer.allocate(b, c, case.group, 10.0, 2.0, within=0.5)

    reverse, forward = torch.func.jacrev(doses)(b), torch.func.jacfwd(doses)(b)
    assert torch.allclose(reverse, forward, rtol=1e-12, atol=1e-13)
    stack = torch.stack([b, 2 * b])
    assert torch.allclose(torch.vmap(torch.func.jacrev(doses))(stack)[0], reverse)
    hessian = torch.func.hessian(lambda b: doses(b).square().sum())(b)
    assert torch.allclose(hessian, hessian.permute(2, 3, 0, 1), atol=1e-9)


def test_alpha_of_each_batch_entry():
    case = random_case(10)
    b, c = tensors(case)
    alphas = torch.tensor([0.5, 1.0, 2.0, torch.inf], dtype=torch.float64)
    batch = layer.allocate(b, c, case.group, 3.0, alphas)
    for alpha, dose in zip(alphas.tolist(), batch, strict=True):
        assert torch.allclose(dose, layer.allocate(b, c, case.group, 3.0, alpha), rtol=1e-13)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 5, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 2, np.inf])
def test_single_precision(alpha, within):
    case = random_case(12, persons=200)
    case = case._replace(benefit=case.benefit.astype(np.float32).astype(float))
    b, c = (t.float() for t in tensors(case))
    dose = layer.allocate(b, c, case.group, case.budget, alpha, within=within)
    exact = af.allocate(b.numpy(), c.numpy(), case.group, case.budget, alpha, within=within).dose
    assert dose.dtype == torch.float32
    assert np.abs(dose.numpy() - exact).max() <= SINGLE * exact.max()


def test_a_million_people_one_group_each_in_linear_memory():
    n = 10**6
    generator = torch.Generator().manual_seed(0)
    b = (1 + torch.rand(n, generator=generator)).requires_grad_()
    dose = layer.allocate(b, 1.0, np.arange(n), 1e6, 2.0)
    kept = []  # what the graph saves for the backward pass
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.append(t.untyped_storage().nbytes()), t)[1], lambda t: t
    ):
        dose = layer.allocate(b, 1.0, np.arange(n), 1e6, 2.0)
        dose.square().sum().backward()
    assert sum(kept) <= 40 * 8 * n  # some tens of vectors; a matrix would be a million
    assert torch.isfinite(b.grad).all()
    assert b.grad.abs().max() > 0


def test_first_of_ties_and_items_without_benefit():
    b = torch.tensor([[2.0, 2.0], [2.0, -1.0], [0.0, 1.0]], requires_grad=True)
    dose = layer.allocate(b, 1.0, [0, 0, 1], 6.0, 1.0)
    assert dose.tolist() == [[3, 0], [0, 0], [0, 3]]
    soft = layer.allocate(b, 1.0, [0, 0, 1], 6.0, 2.0, within=0.5)
    soft.square().sum().backward()
    assert torch.isfinite(b.grad).all()
    nobody = torch.tensor([[2.0], [-1.0], [1.0]], requires_grad=True)
    layer.allocate(nobody, 1.0, [0, 0, 1], 6.0, 2.0, within=0.5).sum().backward()
    assert nobody.grad[1, 0] == 0
    assert torch.isfinite(nobody.grad).all()


def test_module():
    case = random_case(14)
    b, c = tensors(case)
    module = layer.AlphaFairLayer(case.group, 2.0, within=0.5, weight="size")
    plain = layer.allocate(b, c, case.group, 3.0, 2.0, within=0.5, weight="size")
    assert torch.equal(module(b, c, 3.0), plain)
    assert repr(module) == "AlphaFairLayer(Groups(N=12, K=4), alpha=2, within=0.5)"


def test_the_forward_pass_never_waits_for_another_device(monkeypatch):
    """On the meta device there are no values: whoever looks at one gets an error."""
    b = torch.ones(4, 2, device="meta")
    dose = layer.allocate(b, 1.0, [0, 0, 1, 1], 3.0, 2.0, within=0.5)
    assert dose.shape == (4, 2)
    assert dose.device.type == "meta"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"benefit": torch.tensor([[1.0], [torch.nan]])}, ValueError, r"benefit\[1, 0\] is nan"),
        ({"cost": torch.tensor([1.0, -1.0])}, ValueError, r"cost\[1, 0\] is -1\.0: must be.*> 0"),
        ({"budget": -1.0}, ValueError, r"budget\[\] is -1\.0"),
        ({"alpha": -1.0}, ValueError, r"alpha is -1\.0"),
        ({"alpha": torch.tensor(0.0)}, ValueError, r"alpha\[\] is 0\.0.*pass 0 as a number"),
        ({"within": -1.0}, ValueError, r"within is -1\.0"),
        ({"benefit": [1.0, 2.0]}, TypeError, r"benefit must be a floating-point tensor, not list"),
        ({"benefit": torch.ones(2, dtype=int)}, TypeError, r"not torch.int64"),
        ({"benefit": torch.ones(3, 1)}, ValueError, r"benefit has shape \(3, 1\).*2 group labels"),
        ({"benefit": torch.tensor([1.0, -1.0])}, ValueError, r"group b has no item"),
        (
            {"benefit": torch.tensor([[[1.0], [1.0]], [[1.0], [-1.0]]])},
            ValueError,
            r"group b has no item with a positive benefit in batch element \[1\]: .*skip=True",
        ),
        ({"mask": [1, 0]}, TypeError, r"mask must be boolean .*not torch.int64"),
        ({"mask": [True]}, ValueError, r"mask has shape \(1,\): must be \(\.\.\., 2\) with"),
        ({"budget": torch.ones(2), "alpha": torch.ones(3)}, ValueError, "shapes must fit together"),
        ({"weight": torch.ones(3)}, ValueError, r"weight has shape \(3,\): must be broadcastable"),
        ({"weight": torch.tensor([1.0, 0.0])}, ValueError, r"weight\[1\] is 0\.0: must be.*> 0"),
        (
            {"benefit": torch.tensor([1.0, -1.0]), "group": ["a", "a"], "within": 1.0},
            ValueError,
            r"benefit\[1\] is -1\.0: must be > 0 for all if within ≥ 1",
        ),
        ({"weight": [1.0, 0.0]}, ValueError, r"weight\[1\]"),
    ],
)
def test_refusal(change, error, message):
    good = {
        "benefit": torch.tensor([1.0, 2.0]),
        "cost": 1.0,
        "group": ["a", "b"],
        "budget": 1.0,
        "alpha": 2.0,
    }
    with pytest.raises(error, match=message):
        layer.allocate(**(good | change))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("benefit", r"benefit\[1, 0\] is inf: must be finite; drop"),
        ("cost", r"cost\[1, 0\] is inf: must be finite and > 0"),
        ("budget", r"budget\[\] is inf: must be finite and ≥ 0"),
    ],
)
def test_infinity_is_refused_in_every_precision(dtype, name, message):
    arguments = {"benefit": [1.0, 2.0], "cost": [1.0, 2.0], "budget": [3.0]}
    arguments[name][-1] = np.inf
    b, c, q = (torch.tensor(x, dtype=dtype) for x in arguments.values())
    with pytest.raises(ValueError, match=message):
        layer.allocate(b, c, ["a", "b"], q[0], 2.0)


# --- where Python cannot look at values -----------------------------------------------------
BAD = {
    "nan": (((3, 2, 1), np.nan), r"^benefit\[3, 2, 1\] is nan: must be finite"),
    "infinite": (((3, 2, 1), np.inf), r"^benefit\[3, 2, 1\] is inf: must be finite"),
    "worthless": (((3, slice(2, 4)), -1.0), r"^group 1 has no item .* in batch element \[3\]"),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("within", [0, 0.5, 1])
@pytest.mark.parametrize("kind", BAD)
def test_vmap_names_the_element(kind, within, dtype):
    (index, value), message = BAD[kind]
    b, groups = torch.ones(5, 4, 2, dtype=dtype), af.Groups([0, 0, 1, 1])
    b[index] = value

    def doses(b):
        return layer.allocate(b, 1.0, groups, 3.0, 2.0, within=within)

    calls = (doses, torch.vmap(doses), torch.vmap(torch.func.jacrev(doses)))
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(b)
    with pytest.raises(ValueError, match=message):
        torch.vmap(doses, in_dims=1)(b.movedim(0, 1))


def test_vmap_names_the_person_without_benefit():
    b = torch.ones(5, 4, 2)
    b[2, 1] = -1.0
    groups = af.Groups([0, 0, 1, 1])
    doses = torch.vmap(lambda b: layer.allocate(b, 1.0, groups, 3.0, 2.0, within=1.0))
    torch._dynamo.reset()
    for call in (doses, torch.compile(doses, fullgraph=True, backend="aot_eager")):
        with pytest.raises(ValueError, match=r"^benefit\[2, 1\] is -1\.0: must be > 0 for all"):
            call(b)


@pytest.mark.parametrize(
    ("alpha", "within"), [(2, 0), (0, 0.5), (torch.tensor(2.0, dtype=torch.float64), 1)]
)
def test_compiled_without_a_graph_break(alpha, within):
    generator = torch.Generator().manual_seed(0)
    b = 1 + torch.rand(5, 4, 2, generator=generator, dtype=torch.float64)
    there = torch.ones(5, 4, dtype=torch.bool)
    there[1, 0] = False
    groups = af.Groups(["a", "a", "b", "b"])

    def doses(b, mask=None, weight=None):
        skip = mask is None and weight is None
        fixed = {"within": within, "mask": mask, "weight": weight, "skip": skip}
        return layer.allocate(b, 1.0, groups, 3.0, alpha, **fixed)

    torch._dynamo.reset()
    compiled = torch.compile(doses, fullgraph=True, backend="aot_eager")
    for options in ({}, {"mask": there}, {"weight": "size"}, {"weight": torch.tensor([1.0, 2.0])}):
        found = []
        for call in (doses, compiled):
            x = b.clone().requires_grad_()
            dose = call(x, **options)
            dose.square().sum().backward()
            found.append((dose.detach(), x.grad))
        torch.testing.assert_close(*found, rtol=1e-14, atol=1e-15)


def test_compiled_code_follows_its_groups():
    """The codes are those of the groups of the call, also after others have come and gone."""
    b = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch._dynamo.reset()
    compiled = torch.compile(layer.allocate, fullgraph=True, backend="aot_eager")
    for labels in ([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]):
        groups = af.Groups(labels)
        expected = layer.allocate(b, 1.0, groups, 3.0, 2.0)
        assert torch.equal(compiled(b, 1.0, groups, 3.0, 2.0), expected)


@pytest.mark.parametrize("within", [0, 1])
@pytest.mark.parametrize("kind", BAD)
def test_compiled_code_checks(kind, within):
    (index, value), message = BAD[kind]
    b = torch.ones(5, 4, 2, dtype=torch.float64)
    torch._dynamo.reset()
    module = layer.AlphaFairLayer(list("0011"), 2.0, within, weight=[1.0, 2.0])
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(b, 1.0, 3.0), module(b, 1.0, 3.0))
    b[index] = value
    with pytest.raises(ValueError, match=message):
        compiled(b, 1.0, 3.0)


def test_what_nobody_looks_at_is_nan(monkeypatch):
    """On other devices a group that no money can help must not pass for one that gets 0."""
    monkeypatch.setattr(layer, "checked", lambda name, value, groups: value.clone())
    b = torch.ones(3, 4, 2)
    b[1, :2], b[2, 3, 1] = -1.0, torch.nan
    for within in (0.0, 0.5, 1.0):
        dose = layer.allocate(b, 1.0, [0, 0, 1, 1], 3.0, 2.0, within=within)
        assert torch.isfinite(dose[0]).all()
        assert dose[1].isnan().any()
        assert dose[2].isnan().any()
        dose = layer.allocate(b, 1.0, [0, 0, 1, 1], 3.0, 2.0, within=within, skip=True)
        assert torch.isfinite(dose[:2]).all()
        assert dose[2].isnan().any()


# --- who takes part -------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("weight", [None, "size", "numbers"])
def test_masked_people_are_not_there(alpha, within, weight):
    """The doses and gradients of the problem without them, whatever stands in their rows."""
    rng = np.random.default_rng(3)
    b, c = torch.tensor(rng.lognormal(size=(2, 4, 7, 2)))
    codes = np.array([0, 0, 0, 1, 1, 2, 2])
    there = torch.ones(4, 7, dtype=torch.bool)
    there[1, [0, 4]] = there[2, [1, 5, 6]] = there[3] = False  # the third has no group 2
    b[~there], c[~there] = torch.nan, 0.0
    numbers = np.array([1.0, 2.0, 3.0])
    v = torch.tensor(rng.normal(size=b.shape))

    def doses(b, c, there, w):
        return layer.allocate(b, c, codes, 5.0, alpha, within=within, weight=w, mask=there)

    w = numbers if weight == "numbers" else weight
    b, c = b.requires_grad_(), c.requires_grad_()
    dose = doses(b, c, there, w)
    slope_b, slope_c = torch.autograd.grad((v * dose).sum(), (b, c), materialize_grads=True)
    mapped = torch.vmap(lambda b, c, m: doses(b, c, m, w))(b.detach(), c.detach(), there)
    assert torch.equal(mapped, dose.detach())
    for i in range(4):
        rows = np.flatnonzero(there[i])
        assert (dose[i][~there[i]] == 0).all()
        assert (slope_b[i][~there[i]] == 0).all()
        assert (slope_c[i][~there[i]] == 0).all()
        if rows.size == 0:
            continue
        part = numbers[np.unique(codes[rows])] if weight == "numbers" else weight
        tables = (x.detach()[i][rows].numpy() for x in (b, c))
        exact = af.allocate(*tables, codes[rows], 5.0, alpha, within=within, weight=part)
        np.testing.assert_allclose(dose.detach()[i][rows], exact.dose, rtol=1e-12, atol=0)
        pulled = exact.jacobian().vjp(v[i][rows].numpy())
        np.testing.assert_allclose(slope_b[i][rows], pulled.benefit, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(slope_c[i][rows], pulled.cost, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("within", [0, 0.5, 1, 3])
def test_second_derivatives_beside_a_mask(within):
    case = random_case(4, persons=5, treatments=2, groups=2)
    b, c = (x.abs().requires_grad_() for x in tensors(case))
    there = torch.tensor([True, True, False, True, True])

    def doses(b, c):
        return layer.allocate(b, c, case.group, 10.0, 2.0, within=within, mask=there)

    assert gradcheck(doses, (b, c))
    assert gradgradcheck(doses, (b, c))


def test_shapes_of_a_mask():
    b = 1 + torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0))

    def doses(mask, b=b):
        return layer.allocate(b, 1.0, [0, 0, 1, 1], 3.0, 2.0, mask=mask)

    people = torch.tensor([True, False, True, True])
    expected = doses(people.expand(3, 4))
    assert torch.equal(doses(people), expected)
    assert torch.equal(doses(people.tolist()), expected)
    assert torch.equal(doses(people[None, :, None]), expected)
    assert torch.equal(doses(people[:, None].expand(3, 4, 2)), expected)
    assert torch.equal(doses(people, b[0]), expected[0])
    assert torch.equal(doses(people, b[0, :, 0])[:, 0], doses(people, b[0, :, :1])[:, 0])
    items = b < b.amax(-1, keepdim=True)  # all but the best
    assert torch.equal(doses(items), doses(None, b.where(items, -1.0)))
    assert not torch.equal(doses(items), doses(None))


@pytest.mark.parametrize("alpha", [0, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 1, 2])
def test_skip_leaves_out_whom_no_money_can_help(alpha, within):
    b = torch.tensor([[2.0, 1.0], [-1.0, 0.0], [1.0, 3.0], [-1.0, -2.0], [0.0, -1.0]])
    b = torch.stack([b, -b.abs()]).requires_grad_()  # the second has nobody
    groups = [0, 0, 0, 1, 1]
    dose = layer.allocate(b, 1.0, groups, 3.0, alpha, within=within, skip=True)
    left = torch.tensor([True, within < 1, True, False, False])
    assert torch.equal(
        dose[0], layer.allocate(b[0], 1.0, groups, 3.0, alpha, within=within, mask=left)
    )
    assert dose[0].sum().item() == pytest.approx(3)
    assert (dose[1] == 0).all()
    if alpha > 0 or within > 0:  # else budgets do not move
        dose.square().sum().backward()
        assert torch.isfinite(b.grad).all()
        assert (b.grad[0, 3:] == 0).all()
        assert (b.grad[1] == 0).all()


def test_a_few_of_many_are_masked():
    """The log-mean through expm1, where that is near 1, counts who is there."""
    b = torch.linspace(1.0, 1.2, 40, dtype=torch.float64)
    there, groups = torch.arange(40) % 10 > 0, np.arange(40) % 3
    dose = layer.allocate(b, 1.0, groups, 5.0, 3.0, within=0.5, mask=there)
    exact = af.allocate(b[there].numpy(), 1.0, groups[there.numpy()], 5.0, 3.0, within=0.5)
    np.testing.assert_allclose(dose[there], exact.dose, rtol=1e-13)


def test_skipped_groups_touch_nobody():
    """A group without a winner points at the last person, who may be somebody's winner."""
    b = torch.tensor([-1.0, -2.0, 2.0])
    dose = layer.allocate(b, 1.0, ["x", "x", "a"], 3.0, 2.0, skip=True)
    assert dose[:, 0].tolist() == [0, 0, 3]


def test_nobody_at_all():
    assert layer.allocate(torch.ones(0, 2, 1), 1.0, [0, 1], 3.0, 2.0).shape == (0, 2, 1)
    b = torch.ones(2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that detection is slow
        anomalies = torch.autograd.detect_anomaly(check_nan=True)
    with anomalies:
        dose = layer.allocate(b, 1.0, [0, 1], 3.0, 2.0, mask=[False, False])
        dose.sum().backward()
    assert (dose == 0).all()
    assert (b.grad == 0).all()


# --- precision ------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [0, 0.01, 0.1, 0.5, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.1, 0.5, 2])
def test_half_precision_rounds_once(dtype, alpha, within):
    case = random_case(12, persons=50)
    b, c = (t.to(dtype) for t in tensors(case))
    dose = layer.allocate(b, c, case.group, 30.0, alpha, within=within)
    tables = (b.double().numpy(), c.double().numpy())
    exact = af.allocate(*tables, case.group, 30.0, alpha, within=within).dose
    assert dose.dtype == dtype
    assert np.abs(dose.double().numpy() - exact).max() <= torch.finfo(dtype).eps * exact.max()


@pytest.mark.parametrize(
    ("dtype", "tiny"),
    [
        (torch.float16, 1e-5),
        (torch.float32, 1e-39),
        (torch.float32, 1e-30),
        (torch.float64, 1e-310),
    ],
)
def test_a_tensor_alpha_next_to_zero(dtype, tiny):
    alpha = torch.tensor(tiny, dtype=dtype, requires_grad=True)
    b = torch.tensor([1.0, 2.0, 1.5], dtype=dtype, requires_grad=True)
    dose = layer.allocate(b, 1.0, [0, 1, 2], 3.0, alpha)
    assert dose[:, 0].tolist() == [0, 3, 0]
    slopes = torch.autograd.grad(dose[1, 0], (b, alpha), create_graph=True)
    assert all((slope == 0).all() for slope in slopes)
    curvatures = torch.autograd.grad(sum(s.sum() for s in slopes), (b, alpha))
    assert all((curvature == 0).all() for curvature in curvatures)


@pytest.mark.parametrize("within", [0, 0.5])
@pytest.mark.parametrize("alpha", [0.5, 2, np.inf])
def test_weights_as_a_tensor(alpha, within):
    case = random_case(5, persons=6, treatments=2, groups=3)
    b, c = tensors(case)
    w = torch.tensor(case.weight, requires_grad=True)

    def doses(w):
        return layer.allocate(b, c, case.group, 10.0, alpha, within=within, weight=w)

    core = af.allocate(*case[:3], 10.0, alpha, within=within, weight=case.weight)
    np.testing.assert_allclose(doses(w).detach(), core.dose, rtol=1e-12)
    assert gradcheck(doses, w)
    assert gradgradcheck(doses, w)
    found = torch.func.jacrev(doses)(w.detach())
    np.testing.assert_allclose(found, core.jacobian().dense("weight"), rtol=1e-10, atol=1e-12)
    both = torch.stack([w.detach(), 2 * w.detach().flip(0)])
    assert torch.equal(doses(both)[1], doses(both[1]))


# --- the plain problem at one go --------------------------------------------------------------
def through_operations(monkeypatch, doses, *inputs):
    """The same doses as a graph of operations, as if something watched."""
    with monkeypatch.context() as patch:
        patch.setattr(layer, "_plain", lambda *_: None)
        return doses(*inputs)


def nodes(dose):
    """The names of the nodes of a graph."""
    seen, names, rest = set(), [], [dose.grad_fn]
    while rest:
        node = rest.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(type(node).__name__)
            rest += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0, 1e-300, 0.5, 1, 2, 50, np.inf])
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3), (4, 9, 2), (2, 3, 9, 2)])
@pytest.mark.parametrize("weight", [None, "size", [3.0, 1.0, 2.0]])
def test_at_one_go_and_through_operations(monkeypatch, dtype, alpha, shape, weight):
    """The doses to the last bit; the derivatives to rounding."""
    generator = torch.Generator().manual_seed(0)
    tables = shape if len(shape) > 1 else (*shape, 1)
    b, c, v = (torch.rand(tables, generator=generator, dtype=dtype) for _ in range(3))
    b -= 0.3  # some cannot benefit,
    b[..., :3, :] += 1  # but one of each group
    b, c = b.reshape(shape).requires_grad_(), (0.2 + c).reshape(shape).requires_grad_()
    q = (1 + torch.rand(tables[:-2], generator=generator, dtype=dtype)).requires_grad_()
    groups = af.Groups([2, 0, 1, 2, 2, 0, 2, 1, 2])

    def doses(b, c, q):
        return layer.allocate(b, c, groups, q, alpha, weight=weight)

    dose, slow = doses(b, c, q), through_operations(monkeypatch, doses, b, c, q)
    assert nodes(dose)[0] == "_AtOneGoBackward"
    assert torch.equal(dose, slow)
    found = torch.autograd.grad((v * dose).sum(), (b, c, q))
    exact = torch.autograd.grad((v * slow).sum(), (b, c, q), materialize_grads=True)
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == dtype
        scale = other.abs().max() + (v * dose).abs().max().detach()
        assert (one - other).abs().max() <= 64 * torch.finfo(dtype).eps * scale


@pytest.mark.parametrize("alpha", [0, 0.5, 2, np.inf])
def test_at_one_go_with_numbers_for_cost_and_budget(monkeypatch, alpha):
    b = torch.tensor([[4.0, 1.0], [2.0, 3.0], [1.0, 5.0]], dtype=torch.float64, requires_grad=True)

    def doses(b):
        return layer.allocate(b, 0.7, [0, 1, 1], 3, alpha)

    dose, slow = doses(b), through_operations(monkeypatch, doses, b)
    assert nodes(dose) == ["_AtOneGoBackward", "AccumulateGrad"]
    assert torch.equal(dose, slow)
    assert gradcheck(doses, b)
    assert gradgradcheck(doses, b)


def test_at_one_go_has_derivatives_of_any_order(monkeypatch):
    case = random_case(4, persons=5, treatments=2, groups=2)
    inputs = (*tensors(case, requires_grad=True), torch.tensor(3.0, dtype=torch.float64))

    def third(doses):
        b, c, q = (x.detach().requires_grad_() for x in inputs)
        value = doses(b, c, q).square().sum()
        for _ in range(2):
            slopes = torch.autograd.grad(value, (b, c, q), create_graph=True)
            value = sum((slope.square()).sum() for slope in slopes)
        return torch.autograd.grad(value, (b, c, q))

    def doses(b, c, q):
        return layer.allocate(b, c, case.group, q, 2.0)

    found, exact = third(doses), through_operations(monkeypatch, third, doses)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=0)


def test_a_batch_of_cotangents_of_one_graph():
    """`is_grads_batched` differentiates under `torch.vmap`: numpy cannot look at the cotangents."""
    case = random_case(6, persons=6, treatments=2, groups=3)
    b, c = tensors(case, requires_grad=True)
    dose = layer.allocate(b, c, case.group, 3.0, 2.0)
    units = torch.eye(dose.numel(), dtype=torch.float64).reshape(-1, *dose.shape)

    def pull(unit, **options):
        return torch.autograd.grad(dose, (b, c), unit, retain_graph=True, **options)

    jacobian = af.allocate(*case[:3], 3.0, 2.0).jacobian()
    for found in (pull(units, is_grads_batched=True), torch.vmap(pull)(units)):
        for slope, name in zip(found, ("benefit", "cost"), strict=True):
            exact = jacobian.dense(name).reshape(dose.numel(), *dose.shape)
            np.testing.assert_allclose(slope, exact, rtol=1e-11, atol=1e-13)


def test_at_one_go_knows_a_tensor_that_is_given_twice():
    b = torch.tensor([[4.0], [1.0], [2.0]], dtype=torch.float64, requires_grad=True)

    def doses(b):
        return layer.allocate(b, b, [0, 1, 1], 3.0, 2.0)

    assert gradcheck(doses, b)
    assert gradgradcheck(doses, b)


def test_at_one_go_at_a_budget_of_zero():
    b = torch.tensor([[4.0], [1.0]], dtype=torch.float64)
    q = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    dose = layer.allocate(b, b, [0, 1], q, 2.0)
    assert nodes(dose)[0] == "_AtOneGoBackward"
    assert (dose == 0).all()
    (slope,) = torch.autograd.grad(dose[0, 0], q)
    one = layer.allocate(b, b, [0, 1], 1.0, 2.0)[0, 0]
    assert slope.item() == pytest.approx(one.item(), rel=1e-14)


def test_forward_mode_goes_through_operations():
    case = random_case(8, persons=5, treatments=2, groups=2)
    b, c = tensors(case)
    change = torch.ones_like(b)
    exact = af.allocate(*case[:3], 3.0, 2.0).jacobian().jvp(benefit=change.numpy())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(b, change)
        dose = layer.allocate(dual, c, case.group, 3.0, 2.0)
        found = torch.autograd.forward_ad.unpack_dual(dose).tangent
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-13)


def test_a_transform_of_something_else_does_not_disturb():
    case = random_case(8, persons=5, treatments=2, groups=2)
    b, c = tensors(case)
    alone = layer.allocate(b, c, case.group, 3.0, 2.0)
    factors = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = torch.vmap(lambda z: z * layer.allocate(b, c, case.group, 3.0, 2.0))(factors)
    assert torch.equal(found, torch.stack([alone, 2 * alone]))


@pytest.mark.parametrize("trace", ["make_fx", "jit"])
@pytest.mark.filterwarnings("ignore")  # of deprecation, and that values might be fixed
def test_a_trace_holds_for_other_winners(trace):
    groups = af.Groups([0, 0, 1, 1])
    first = torch.tensor([[1.0], [2.0], [3.0], [1.0]], dtype=torch.float64)

    def doses(b):
        return layer.allocate(b, 1.0, groups, 3.0, 2.0)

    if trace == "jit":
        traced = torch.jit.trace(doses, first, check_trace=False)
    else:
        traced = torch.fx.experimental.proxy_tensor.make_fx(doses)(first)
    assert torch.equal(traced(first.flip(0)), doses(first.flip(0)))


def test_the_layout_is_that_of_the_call():
    """The layout of a shape is kept: calls with another shape, or other groups, make their own."""
    generator = torch.Generator().manual_seed(0)
    for labels in ([0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]):
        groups = af.Groups(labels)
        for shape in ((4, 1), (4, 3), (5, 4, 3), (4, 3), (2, 4, 3)):
            b = 1 + torch.rand(shape, generator=generator, dtype=torch.float64)
            for dtype in (torch.float32, torch.float64):
                dose = layer.allocate(b.to(dtype), 1.0, groups, 3.0, 2.0).reshape(-1, *shape[-2:])
                for one, table in zip(dose, b.to(dtype).reshape(-1, *shape[-2:]), strict=True):
                    exact = af.allocate(table.double().numpy(), 1.0, labels, 3.0, 2.0).dose
                    np.testing.assert_allclose(one, exact, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(40, 1, 2, 1, 3, 1), (5, 6, 4)])
def test_the_first_of_ties_wins_in_groups_of_any_sizes(monkeypatch, sizes):
    """Groups of much different sizes are laid out one after the other, others in rows."""
    rng = np.random.default_rng(0)
    groups = af.Groups(rng.permutation(np.repeat(np.arange(len(sizes)), sizes)))
    for batch in ((), (3,)):
        shape = (*batch, len(groups), 2)
        b, c = (torch.tensor(rng.integers(1, 4, shape), dtype=torch.float64) for _ in range(2))

        def doses(b, c):
            return layer.allocate(b, c, groups, 3.0, 2.0)

        dose = doses(b, c)
        assert layer._LAYOUTS[groups][1].item.ndim == (1 if max(sizes) == 40 else 2)
        assert torch.equal(dose, through_operations(monkeypatch, doses, b, c))
        for one, *table in zip(dose, b, c, strict=True) if batch else [(dose, b, c)]:
            exact = af.allocate(*(x.numpy() for x in table), groups, 3.0, 2.0).dose
            np.testing.assert_allclose(one, exact, rtol=SAME)


def test_a_benefit_changed_in_place_is_noticed_where_it_is_read_again():
    b = torch.tensor([[4.0], [1.0]], dtype=torch.float64, requires_grad=True)
    table = 1 * b
    dose = layer.allocate(table, 1.0, [0, 1], 3.0, 2.0)
    table.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(dose[0, 0], b, create_graph=True)


def test_at_one_go_warns_of_nothing():
    """Doses and slopes beyond the largest double are infinite, as PyTorch has them."""
    b = torch.tensor([[1e-300], [1.0]], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([[1e-300], [1.0]], dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dose = layer.allocate(b, c, [0, 1], 1e10, 2.0)
        slope = torch.autograd.grad(dose[0, 0], c)[0]
    assert nodes(dose)[0] == "_AtOneGoBackward"
    assert dose[0, 0] == torch.inf
    assert not torch.isfinite(slope[0, 0])
