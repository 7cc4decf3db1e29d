"""What the picture of the appendix on numerics must say."""

import mpmath as mp

import alphafair as af

HOURS = [360.0, 90.0]


def said(zeros):
    step = 10.0**-zeros
    alpha, power = 1 - step, "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(d)] for d in str(zeros))
    name = f"1 − 10⁻{power}" if zeros else "0"
    s = 1 - alpha
    written = ((360.0**s + 90.0**s) / 2) ** (1 / s)
    careful = af.equivalent_utility(HOURS, alpha)
    with mp.workdps(50):
        power = 1 - mp.mpf(alpha)
        exact = ((mp.mpf(360) ** power + mp.mpf(90) ** power) / 2) ** (1 / power)
        errors = [float(abs(value / exact - 1)) for value in (written, careful)]
        digits = [sum(e < 10.0**-k for k in range(1, 16)) for e in errors]
    return [
        name,
        f"{float(exact):.6f}",
        f"{written:.6f}",
        str(digits[0]),
        f"{careful:.6f}",
        str(digits[1]),
    ]


def said_2(stop):
    alpha = [2, 5, 10, 20, 50, 100, 130, 145, 150, 200, 300, 400][stop]
    plan = af.allocate([8.0, 4.0, 2.0, 1.0], 1.0, list("abcd"), 300.0, alpha)
    with mp.workdps(50):
        spread = sum(mp.mpf(p) ** (mp.mpf(1) / alpha - 1) for p in (8, 4, 2, 1))
        welfare = mp.mpf(300) ** (1 - alpha) * spread**alpha / (alpha - 1)
        power = float(mp.log10(welfare))
    return [
        str(alpha),
        f"−{-power:.0f}",
        f"{plan.welfare:.2g}".replace("-", "−"),
        f"{plan.equivalent_utility:.1f}",
        f"{plan.group_budget[-1]:.1f}",
    ]
