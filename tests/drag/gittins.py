"""What the picture of `gittins` says: three stacks of cards, taken by three rules."""

JOBS = [[3, 9, 2, 1], [6, 5, 1], [4, 4, 8, 2]]
RULES = ["in turn", "largest card", "largest index"]


def index(pay):
    """The best mean of the next cards, discounted by 0.9 a day."""

    def mean(n):
        weight = [0.9**t for t in range(n)]
        return sum(w * p for w, p in zip(weight, pay, strict=False)) / sum(weight)

    return max(mean(n) for n in range(1, len(pay) + 1))


def said(rule, hours):
    left = [list(pay) for pay in JOBS]
    charge = [float("inf")] * 3
    earned = charged = 0.0
    for t in range(hours):
        there = [k for k in range(3) if left[k]]
        score = [
            [len(left[k]) - len(JOBS[k]) for k in range(3)],
            [left[k][0] if left[k] else 0 for k in range(3)],
            [index(left[k]) if left[k] else 0 for k in range(3)],
        ]
        k = max(there, key=score[rule].__getitem__)
        charge[k] = min(charge[k], index(left[k]))
        earned += 0.9**t * left[k].pop(0)
        charged += 0.9**t * charge[k]
    return [RULES[rule], f"{hours}", f"{earned:.2f}", f"{charged:.2f}"]
