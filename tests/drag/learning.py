"""What the pictures of *Learning who deserves the next hour* say, from the same draws."""

from functools import cache
from itertools import product

import numpy as np

from alphafair.models.bandits import gittins_index

TIMES = [1, 2, 4, 10, 40]
OLD_HAND = [0.45, 0.5, 0.55, 0.6, 0.65]


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


def said_2(hours, rate):
    """6, 12, 24, 60 or 240 hours."""
    share = (indices()[hours] > OLD_HAND[rate]).mean()
    return [str(6 * TIMES[hours]), f"{OLD_HAND[rate]:g}", f"{100 * share:.0f}"]


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


def worth(rate, rule):
    """Of a rule, over the old hand: backwards over the beliefs that can be reached."""
    layers, steps = tree()
    V = np.zeros(layers[-1].shape[1])
    for layer, step in zip(layers[-2::-1], steps[::-1], strict=True):
        level, a, n, up, b, m, stay = layer
        four = a / n, b / m, up / n, stay / m
        here = np.where(level, four[1], four[0])
        leave = np.where(level, 1 - four[3], four[2])
        chance = here * leave, here * (1 - leave), (1 - here) * leave, (1 - here) * (1 - leave)
        tried = here - rate + 0.9 * sum(p * V[to] for p, to in zip(chance, step.T, strict=True))
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


def said(rate):
    """An old hand who pleases 45 to 65 %."""
    words = [f"{round(x, 2) + 0.0:.2f}".replace("-", "−") for x in five(RATES[rate])]
    return [f"{RATES[rate]:.4g}", *words]
