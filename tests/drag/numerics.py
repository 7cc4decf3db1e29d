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
