"""What the pictures of *Learning who deserves the next pull* say, from the same draws."""

from functools import cache
from itertools import product

import numpy as np

from alphafair.models.bandits import gittins_index
from alphafair.models.bandits.learning import MBPSRL, random_walk, run
from alphafair.models.bandits.learning.kernels import gittins_indices

PROJECTS = [0, 1, 3, 10, 30, 100, 300, 1000, 3000]


class Noting(MBPSRL):
    """Posterior sampling that keeps its counts, paid and moves, before every project."""

    def plan(self, seen, rng, last=None):
        if last is None:
            self.noted.append([])
        if len(self.noted[-1]) in PROJECTS:
            self.noted[-1].append((seen.paid.copy(), seen.moves.copy()))
        else:
            self.noted[-1].append(None)
        return super().plan(seen, rng, last)


@cache
def first_words():
    """A list of words for each number of projects, of the median and of the worst run."""
    arms = [random_walk([0.2, 0, 0, 0.9], *p) for p in ((0.1, 0.2), (0.2, 0.2), (0.2, 0.1))]
    Noting.noted = []
    played = run(Noting(0.99), arms, 3000, seed=2, runs=40)
    noted = Noting.noted[1:]  # the first plan of all only warms up
    for counts, seen in zip(noted, played.seen, strict=True):
        counts.append((seen.paid, seen.moves))
    total = played.regret.cumsum(axis=1)
    order = total[:, -1].argsort()
    rng, words = np.random.default_rng(3), {}
    for i, k in enumerate(PROJECTS):
        for j, r in enumerate((order[20], order[-1])):
            paid, moves = noted[r][k]
            visits = moves.sum(axis=2)
            R = rng.beta(1.0 + paid, 1.0 + visits - paid, (4000, 3, 4))
            P = rng.standard_gamma(moves + 1.0, (4000, 3, 4, 4))
            P /= P.sum(axis=3, keepdims=True)
            flat = P.reshape(-1, 4, 4), R.reshape(-1, 4)
            index = gittins_indices(*flat, np.full(12_000, 4), 0.99)[:, 0]
            for a in range(6):
                alone = gittins_index(flat[0][a], flat[1][a], discount=0.99)[0]
                np.testing.assert_allclose(alone, index[a], rtol=1e-9)
            shares = np.bincount(index.reshape(-1, 3).argmax(axis=1), minlength=3) / 4000
            lost = total[r, k - 1] if k else 0.0
            parts = [f"{100 * share:.0f}" for share in shares]
            words[i, j] = [str(k), ("median", "worst")[j], *parts, f"{lost:.0f}"]
    return words


def said(projects, which):
    """0 to 3000 projects of the median or the worst run."""
    return first_words()[projects, which]


TIMES = [1, 2, 4, 10, 40]
RIVALS = [0.45, 0.5, 0.55, 0.6, 0.65]


def index_of(poor, rich, rise, stay):
    """At low."""
    once = 1 - 0.9 * stay
    return np.maximum(poor, (poor * once + 0.9 * rise * rich) / (once + 0.9 * rise))


@cache
def indices():
    """Draws of the index for each number of hours; the first of them by the package too."""
    rng, found = np.random.default_rng(37), []
    for k in TIMES:
        low, high = (1 + k, 1 + 3 * k), (1 + 2 * k, 1)
        rise, stay, poor, rich = (rng.beta(*ab, 40_000) for ab in (low, high, low, high))
        index = index_of(poor, rich, rise, stay)
        for i in range(5):
            moves = [[1 - rise[i], rise[i]], [1 - stay[i], stay[i]]]
            arm = gittins_index(moves, [poor[i], rich[i]], discount=0.9)
            np.testing.assert_allclose(arm[0], index[i], rtol=1e-9)
        found.append(index)
    return found


def said_2(hours, rival):
    """6, 12, 24, 60 or 240 hours."""
    share = (indices()[hours] > RIVALS[rival]).mean()
    return [str(6 * TIMES[hours]), f"{RIVALS[rival]:g}", f"{100 * share:.0f}"]


RATES = np.linspace(0.45, 0.65, 9)
HOURS = 30


@cache
def tree():
    """The beliefs of each hour in a list, as counts; and where each of the four outcomes leads."""
    layers, steps = [[(0, 2, 6, 2, 3, 4, 3)]], []  # level; pleased, hours, moves or stays at each
    for _ in range(HOURS):
        found, leads = {}, []
        for level, a, n, up, b, m, stay in layers[-1]:
            for pleased, other in product((1, 0), (1, 0)):
                after = (
                    (1 - other, a, n, up, b + pleased, m + 1, stay + 1 - other)
                    if level
                    else (other, a + pleased, n + 1, up + other, b, m, stay)
                )
                leads.append(found.setdefault(after, len(found)))
        layers.append(list(found))
        steps.append(np.reshape(leads, (-1, 4)))
    return [np.array(layer).T for layer in layers], steps


def worth(rival, rule):
    """Of a rule, over the rival: backwards over the beliefs that can be reached."""
    layers, steps = tree()
    V = np.zeros(layers[-1].shape[1])
    for layer, step in zip(layers[-2::-1], steps[::-1], strict=True):
        level, a, n, up, b, m, stay = layer
        four = a / n, b / m, up / n, stay / m
        here = np.where(level, four[1], four[0])
        leave = np.where(level, 1 - four[3], four[2])
        chance = here * leave, here * (1 - leave), (1 - here) * leave, (1 - here) * (1 - leave)
        tried = here - rival + 0.9 * sum(p * V[to] for p, to in zip(chance, step.T, strict=True))
        V = np.where(rule(tried, level, four, n, m), tried, 0)
    return V.item()


def five(rate):
    """The surplus of the best learner, the means, the optimist and the sample."""

    def index(level, poor, rich, rise, stay):
        from_low = index_of(poor, rich, rise, stay)
        return np.where(level, index_of(rich, poor, 1 - stay, 1 - rise), from_low)

    def hopeful(tried, level, four, n, m):
        more = [
            np.minimum(1, p + np.sqrt(p * (1 - p) / (weight + 1)))
            for p, weight in zip(four, (n, m, n, m), strict=True)
        ]
        return index(level, *more) > rate

    rng = np.random.default_rng(8)
    drawn = [(*rng.beta(2, 4, (2, 200_000)), *rng.beta(3, 1, (2, 200_000))) for _ in range(2)]
    poor, rise, rich, stay = drawn[1]
    starts = index_of(poor, rich, rise, stay) > rate
    goes_on = index_of(rich, poor, 1 - stay, 1 - rise) > rate
    poor, rise, rich, stay = drawn[0]
    sample = 0.0
    for keeps in (True, False):
        low = high = 0.0
        for _ in range(HOURS):
            both = rise * high + (1 - rise) * low, stay * high + (1 - stay) * low
            low = poor - rate + 0.9 * both[0]
            high = (rich - rate + 0.9 * both[1]) * keeps
        sample += (starts & (goes_on == keeps)).mean() * low.mean()
    return [
        worth(rate, lambda tried, *_: tried > 1e-12),
        worth(rate, lambda tried, level, four, n, m: index(level, *four) > rate),
        worth(rate, hopeful),
        sample,
    ]


def said_3(rival):
    """A rival who pleases 45 to 65 %."""
    words = [f"{round(x, 2) + 0.0:.2f}".replace("-", "−") for x in five(RATES[rival])]
    return [f"{RATES[rival]:.4g}", *words]
