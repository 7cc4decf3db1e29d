"""What a plan loses: the judge in numpy, the loss to train on, and other ways to count."""

import numpy as np
import pytest
import torch
from helpers import ALPHAS, SOLVER, WITHINS, random_case
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

import alphafair as af
from alphafair.reference import solve_cvxpy
from alphafair.regret import fair_regret, regret_loss

torch.set_num_threads(1)
SAME = 1e-11  # of two ways to compute a power mean in doubles
PAIR = ["Ana", "Ben"]


def two_problems(seed, noise=0.7, **options):
    """Predicted and true problems of the same people, all benefits > 0."""
    case = random_case(seed, treatments=2, groups=3)
    truth = abs(case.benefit)
    hat = truth * np.exp(noise * np.random.default_rng(seed).normal(size=truth.shape))
    build = lambda b: af.Problem(b, case.cost, case.group, case.budget, **options)  # noqa: E731
    return build(hat), build(truth)


def arguments(hat, truth, **options):
    """The same in tensors."""
    b_hat, b = (torch.tensor(p.benefit, dtype=torch.float64) for p in (hat, truth))
    fixed = torch.tensor(truth.cost), truth.groups, truth.budget
    return b_hat, b, *fixed


def plain_level(dose, problem, alpha):
    """ū as the formulas are printed, for plain α and ε."""
    u = (problem.benefit * dose).sum(1)
    u = u if problem.baseline is None else u + problem.baseline

    def mean(v, s, w):
        if s == -np.inf:
            return v.min()
        w = w / w.sum()
        with np.errstate(divide="ignore"):  # people may have nothing
            return np.exp((w * np.log(v)).sum()) if s == 0 else (w * v**s).sum() ** (1 / s)

    code, size = problem.groups.code, problem.groups.size
    levels = np.array(
        [mean(u[code == k], 1 - problem.within, np.ones(n)) for k, n in enumerate(size)]
    )
    return mean(levels, 1 - alpha, problem.weight)


# --- of a plan --------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 5, np.inf])
@pytest.mark.parametrize("within", [0, 0.3, 1, 2, np.inf])
def test_is_the_formula(alpha, within):
    bounds = {}, {"cap": 40.0}, {"baseline": 0.3, "weight": [1.0, 2.0, 5.0]}
    for seed, options in enumerate(bounds):
        hat, truth = two_problems(seed, within=within, **options)
        dose = hat.allocate(alpha).dose
        best = truth.allocate(alpha).dose
        mine, most = (plain_level(d, truth, alpha) for d in (dose, best))
        np.testing.assert_allclose(fair_regret(dose, truth, alpha), 1 - mine / most, atol=SAME)
        assert fair_regret(best, truth, alpha) == 0


@pytest.mark.parametrize(("alpha", "within"), [(0, 0), (0.5, 0.5), (1, 0), (2, 0.5), (np.inf, 0)])
def test_the_best_plan_is_that_of_a_solver(alpha, within):
    hat, truth = two_problems(5, within=within, cap=50.0)
    dose = hat.allocate(alpha).dose
    best = plain_level(np.maximum(solve_cvxpy(truth, alpha).dose, 0), truth, alpha)
    theirs = 1 - plain_level(dose, truth, alpha) / best
    assert theirs > 10 * SOLVER
    assert abs(fair_regret(dose, truth, alpha) - theirs) < SOLVER


@given(st.integers(0, 10**6), st.sampled_from(ALPHAS), st.sampled_from(WITHINS))
def test_lies_between_nothing_and_everything(seed, alpha, within):
    hat, truth = two_problems(seed, within=within, cap=100.0)
    lost = fair_regret(hat.allocate(alpha).dose, truth, alpha)
    assert -1e-12 <= lost <= 1
    assert fair_regret(np.zeros(truth.shape), truth, alpha) == 1


def test_every_plan_within_the_budget_is_judged():
    truth = af.Problem([4.0, 1.0], 1.0, PAIR, budget=180.0)
    best = truth.allocate(2).equivalent_utility
    for part in np.linspace(0.01, 0.99, 9):
        dose = 180 * np.array([part, 1 - part])
        expected = 1 - 2 / (1 / (4 * dose[0]) + 1 / dose[1]) / best
        assert abs(fair_regret(dose, truth, 2) - expected) < 1e-14


def test_utilities_beyond_the_doubles():
    hat, truth = (
        af.Problem(np.array(b) * 1e200, 1e-150, PAIR, budget=1.0) for b in ([9.0, 1], [4.0, 1])
    )
    assert abs(28 * fair_regret(hat.allocate(2).dose, truth, 2) - 1) < 1e-12


def test_where_nothing_can_be_done_nothing_is_lost():
    truth = af.Problem([4.0, 1.0], 1.0, PAIR, budget=0.0)
    assert fair_regret([0.0, 0.0], truth, 1) == 0


def test_harm_adds_up_at_alpha_zero():
    truth = af.Problem([[4.0, -2.0], [1.0, 1.0]], 1.0, PAIR, budget=1.0)
    assert fair_regret([[0.0, 1.0], [0.0, 0.0]], truth, 0) == 1.5


def test_harm_is_refused_elsewhere():
    truth = af.Problem([[4.0, -2.0], [1.0, 1.0]], 1.0, PAIR, budget=1.0)
    with pytest.raises(ValueError, match=r"utility\[0\] \(group Ana\) is -2.0: must be ≥ 0 at alp"):
        fair_regret([[0.0, 1.0], [0.0, 0.0]], truth, 0.5)
    truth = af.Problem([[4.0, -2.0], [9.0, 1.0]], 1.0, [0, 0], budget=2.0, within=0.5)
    with pytest.raises(ValueError, match=r"utility of person\[0\] is -2.0: must be ≥ 0 at within"):
        fair_regret([[0.0, 1.0], [1.0, 0.0]], truth, 0)


def test_plans_that_are_none():
    truth = af.Problem([4.0, 1.0], 1.0, PAIR, budget=2.0, cap=1.5)
    with pytest.raises(ValueError, match=r"breaks the budget or a bound, by 0.5 of the budget"):
        fair_regret([1.5, 1.5], truth, 1)
    with pytest.raises(ValueError, match="breaks the budget or a bound"):
        fair_regret([2.0, 0.0], truth, 1)
    with pytest.raises(ValueError, match=r"dose has shape \(1, 3\): must be \(2, 1\)"):
        fair_regret([[1.0, 1.0, 1.0]], truth, 1)
    with pytest.raises(ValueError, match=r"dose\[1, 0\] is nan: must be finite"):
        fair_regret([1.0, np.nan], truth, 1)
    with pytest.raises(TypeError, match=r"problem must be an alphafair.Problem"):
        fair_regret([1.0, 1.0], [4.0, 1.0], 1)


# --- of predictions ---------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_the_loss_is_the_regret_of_the_plan(alpha, within):
    for options in ({}, {"weight": [1.0, 2.0, 5.0]}, {"weight": "size"}):
        hat, truth = two_problems(1, within=within, **options)
        lost = regret_loss(*arguments(hat, truth), alpha, within=within, **options)
        assert abs(lost.item() - fair_regret(hat.allocate(alpha).dose, truth, alpha)) < 1e-10


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_the_loss_with_bounds(alpha, within):
    case = random_case(2, treatments=2, groups=3)
    ready = np.linspace(0.1, 1, 12)
    every = {"cap": 60.0, "baseline": ready, "floor": 0.01, "group_floor": [0.1, 0.2, 0.0]}
    for options in ({"cap": 60.0}, every, {"cap": 30.0, "exclusive": True}):
        hat, truth = two_problems(2, within=within, **options)
        lost = regret_loss(*arguments(hat, truth), alpha, within=within, **options)
        expected = fair_regret(hat.allocate(alpha).dose, truth, alpha)
        assert expected > 1e-6
        assert abs(lost.item() - expected) < 1e-11
    assert case.budget > 0.3  # more than what the bounds of the groups take


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("within", "smoothing", "cap"),
    [(0, None, None), (0.5, None, None), (3, None, None), (0, 0.3, None), (0, 0.3, 60.0)],
)
def test_the_derivative_is_that_of_differences(alpha, within, smoothing, cap):
    hat, truth = two_problems(5, within=within)
    b_hat, *others = arguments(hat, truth)
    b_hat.requires_grad_()

    def loss(b_hat):
        return regret_loss(b_hat, *others, alpha, within=within, smoothing=smoothing, cap=cap)

    assert gradcheck(loss, b_hat)
    loss(b_hat).backward()
    nothing_to_learn = alpha == 1 and within == 0 and smoothing is None
    assert (b_hat.grad.abs().max() > 1e-6) != nothing_to_learn


def test_near_the_truth_it_is_the_square_of_the_errors():
    """R ≈ (1−α)²/(2α) Var_between + (1−ε)²/(2ε) Var_within, weighted by money."""
    b = np.array([1.0, 2.0, 4.0, 3.0, 0.5])
    group, alpha, within = np.array([0, 0, 0, 1, 1]), 3.0, 0.4
    share = af.allocate(b, 1.0, group, 1.0, alpha, within=within).dose[:, 0]
    delta = np.array([0.3, -0.2, 0.1, 0.4, -0.5])
    money = np.bincount(group, share)
    mean = np.bincount(group, share * delta) / money
    between = money @ mean**2 - (money @ mean) ** 2
    inside = share @ (delta - mean[group]) ** 2
    expected = (1 - alpha) ** 2 / alpha * between + (1 - within) ** 2 / within * inside
    truth = torch.tensor(b)

    def loss(size):
        hat = truth * (size * torch.tensor(delta)).exp()
        return regret_loss(hat, truth, 1.0, group, 1.0, alpha, within=within)

    first, second = (
        f(loss)(torch.tensor(0.0).double()) for f in (torch.func.grad, torch.func.hessian)
    )
    assert abs(first.item()) < 1e-14
    assert abs(second.item() / expected - 1) < 1e-12


def test_at_within_zero_only_the_funded_are_heard():
    hat = torch.tensor([3.0, 2.0, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    truth = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    args = (truth, 1.0, [0, 0, 0, 1], 1.0, 2.0)
    regret_loss(hat, *args).backward()
    assert (hat.grad != 0).tolist() == [True, False, False, True]
    hat.grad = None
    regret_loss(hat, *args, smoothing=0.2).backward()
    assert (hat.grad != 0).all()
    assert hat.grad[2] < 0 < hat.grad[0]  # the third is better than predicted, the first worse


def test_smoothing_changes_the_plan_and_not_the_judge():
    hat, truth = two_problems(4)
    smooth = af.Problem(hat.benefit, hat.cost, hat.groups, hat.budget, within=0.4)
    lost = regret_loss(*arguments(hat, truth), 2, smoothing=0.4)
    assert abs(lost.item() - fair_regret(smooth.allocate(2).dose, truth, 2)) < 1e-12


def test_the_truth_is_a_constant():
    hat, truth = two_problems(4)
    b_hat, b, *others = arguments(hat, truth)
    b_hat.requires_grad_(), b.requires_grad_()
    regret_loss(b_hat, b, *others, 2, within=0.5).backward()
    assert b.grad is None
    assert (b_hat.grad != 0).any()


def test_batches_and_reductions():
    hat, truth = two_problems(6)
    b_hat, b, *others = arguments(hat, truth)
    many = b_hat * torch.linspace(0.5, 2, 6).double().reshape(3, 2, 1, 1) ** torch.arange(2)
    true = torch.stack([b, 2 * b.flip(0)])
    lost = regret_loss(many, true, *others, 2.0, reduction="none")
    assert lost.shape == (3, 2)
    for j in range(2):
        for i in range(3):
            alone = regret_loss(many[i, j], true[j], *others, 2.0)
            assert abs(lost[i, j] - alone) < 1e-13
    for name in ("mean", "sum"):
        assert regret_loss(many, true, *others, 2.0, reduction=name) == getattr(lost, name)()
    mapped = torch.func.vmap(lambda x: regret_loss(x, b, *others, 2.0, within=0.5))(many[:, 0])
    loop = [regret_loss(x, b, *others, 2.0, within=0.5) for x in many[:, 0]]
    torch.testing.assert_close(mapped, torch.stack(loop), rtol=1e-12, atol=1e-15)
    single = regret_loss(b_hat.float(), b.float(), others[0].float(), *others[1:], 2.0)
    assert single.dtype == torch.float32
    assert abs(single - regret_loss(b_hat, b, *others, 2.0)) < 1e-5


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 1, 2, np.inf])
def test_who_is_masked_is_not_there(alpha, within):
    hat, truth = two_problems(7, within=within)
    b_hat, b, cost, groups, budget = arguments(hat, truth)
    there = np.arange(12) % 4 > 0
    there &= groups.code != 1  # a group without anybody
    some = [
        af.Problem(
            p.benefit[there],
            p.cost[there],
            groups.label[groups.code[there]],
            budget,
            within=within,
            baseline=0.2,
        )
        for p in (hat, truth)
    ]
    expected = fair_regret(some[0].allocate(alpha).dose, some[1], alpha)
    mask = torch.tensor(there)
    b[~mask] = torch.nan
    ready = torch.tensor(np.where(there, 0.2, np.nan))
    for shape in (mask, mask[:, None].expand(12, 2)):
        x = b_hat.clone().requires_grad_()
        lost = regret_loss(
            x, b, cost, groups, budget, alpha, within=within, mask=shape, baseline=ready
        )
        assert abs(lost.item() - expected) < 1e-12
        lost.backward()
        assert x.grad.isfinite().all()
        assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5])
def test_benefits_of_zero_have_derivatives(alpha, within):
    hat = torch.tensor([3.0, 2.0, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    truth = torch.tensor([0.0, 2.0, 0.0, 4.0]).double()
    cap = 10.0 if alpha == within == 0 else None  # else nothing depends on the predictions
    lost = regret_loss(hat, truth, 1.0, [0, 0, 0, 1], 1.0, alpha, within=within, cap=cap)
    lost.backward()
    assert 0 <= lost <= 1
    assert hat.grad.isfinite().all()
    if within == 0 and alpha >= 1:  # the first group gets nothing, whatever is changed a little
        assert lost == 1
        assert (hat.grad == 0).all()


def test_no_budget_no_regret():
    hat = torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True)
    lost = regret_loss(hat, torch.tensor([1.0, 2.0]).double(), 1.0, PAIR, 0.0, 2.0)
    lost.backward()
    assert lost == 0
    assert (hat.grad == 0).all()


def test_groups_without_a_positive_prediction():
    hat, truth = torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="in the plan from predicted_benefit: group Ana has no it"):
        regret_loss(hat, truth, 1.0, PAIR, 1.0, 0.5)
    lost = regret_loss(hat, truth, 1.0, PAIR, 1.0, 0.5, skip=True)
    best = (1 + 2**0.5) ** 2 / 4  # half the sum of the roots, squared; x = (1/3, 2/3)
    best = ((1 / 3) ** 0.5 + (4 / 3) ** 0.5) ** 2 / 4
    assert abs(lost - (1 - 2 / 4 / best)) < 1e-6
    with pytest.raises(ValueError, match="in the plan from true_benefit: group Ana has no item"):
        regret_loss(truth, hat, 1.0, PAIR, 1.0, 0.5, skip=True)


def test_harm_is_refused_in_a_batch():
    hat = torch.tensor([[[1.0], [2.0]], [[3.0], [2.0]]])
    truth = torch.tensor([[[2.0], [3.0]], [[-1.0], [3.0]]])
    rules = (1.0, ["a", "a"], 1.0)
    with pytest.raises(
        ValueError, match=r"utility of group a in batch element \[1\] is -0.5: must"
    ):
        regret_loss(hat, truth, *rules, 0.5)
    assert regret_loss(hat, truth, *rules, 0.0, reduction="none").allclose(torch.tensor([0, 4 / 3]))
    with pytest.raises(ValueError, match=r"utility of person 0 in batch element \[1\] is -"):
        regret_loss(hat, truth, *rules, 0.0, within=0.5)
    mapped = torch.func.vmap(lambda x, b: regret_loss(x, b, *rules, 0.5))(hat, truth)
    assert mapped.isnan().tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reduction": "max"}, ValueError, "reduction is 'max': must be one of mean, sum, none"),
        ({"alpha": -1}, ValueError, "alpha is -1.0: must be between 0"),
        ({"alpha": torch.ones(2)}, TypeError, "alpha must be one number"),
        ({"within": -1}, ValueError, "within is -1.0: must be between 0 and infinity"),
        ({"smoothing": -1}, ValueError, "in the plan from predicted_benefit: within is -1.0"),
        ({"cost": 0.0}, ValueError, r"in the plan from predicted_benefit: cost\[?"),
        ({"true_benefit": torch.ones(3, 2, 1)}, ValueError, r"they must fit together"),
        ({"true_benefit": torch.tensor([1.0, torch.nan])}, ValueError, r"from true_benefit: ben"),
        ({"true_benefit": np.ones(2)}, TypeError, "from true_benefit: benefit must be a floating"),
        ({"weight": "sizes"}, ValueError, "weight is 'sizes'"),
    ],
)
def test_bad_input(change, error, message):
    good = {
        "predicted_benefit": torch.ones(2, 2, 1),
        "true_benefit": torch.ones(2, 2, 1),
        **{"cost": 1.0, "group": PAIR, "budget": 1.0, "alpha": 2.0},
    }
    with pytest.raises(error, match=message):
        regret_loss(**(good | change))


def test_smoothing_without_caps_rewards_exaggeration():
    """By hand: the plan splits 180 dollars as a : 1, where 4 : 1 is true, and the judge adds up."""
    truth = torch.tensor([4.0, 1.0], dtype=torch.float64)
    guesses = 2.0, 4.0, 16.0, 100.0

    def lost(guess, **rules):
        predicted = torch.tensor([guess, 1.0], dtype=torch.float64)
        return regret_loss(predicted, truth, 1.0, [0, 0], 180.0, 2.0, **rules).item()

    for guess in guesses:
        assert lost(guess, smoothing=0.5) == pytest.approx(0.75 / (1 + guess), rel=1e-12)
    both = [lost(guess, smoothing=0.5, within=0.5) for guess in guesses]
    assert min(both) == both[1] == pytest.approx(0, abs=1e-12)
