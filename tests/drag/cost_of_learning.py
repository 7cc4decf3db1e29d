"""What the picture of *What learning costs* says, from the same draws."""

from functools import cache

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
