"""What the picture of the appendix on numerics must say."""

import mpmath as mp

import alphafair as af

HOURS = [360.0, 90.0]


def said(zeros, size):
    places = (4, 8, 16, 32)[size]
    bits = [14, 27, 53, 107][size]
    power = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(d)] for d in str(zeros))
    alpha = 1 - 10.0**-zeros
    with mp.workdps(60):
        s = 1 - mp.mpf(alpha) if places == 16 else mp.mpf(10) ** -zeros
        exact = ((mp.mpf(360) ** s + mp.mpf(90) ** s) / 2) ** (1 / s)
        if places == 16:
            step = 1 - alpha
            written = ((360.0**step + 90.0**step) / 2) ** (1 / step)
            careful = af.equivalent_utility(HOURS, alpha)
        else:
            written, careful = in_bits(s, bits)
        errors = [abs(value / exact - 1) for value in (written, careful)]
        digits = [sum(e < mp.mpf(10) ** -k for k in range(1, places)) for e in errors]
    show = [f"{float(value):.{min(places, 9)}g}" for value in (exact, written, careful)]
    name = f"1 − 10⁻{power}" if zeros else "0"
    return [name, show[0], str(places), show[1], str(digits[0]), show[2], str(digits[1])]


def in_bits(s, bits):
    """As written and carefully: every step in 60 digits, its result rounded to some bits."""

    def rounded(value):
        with mp.workprec(bits):
            return +value

    s = rounded(s)
    powers = [rounded(mp.mpf(u) ** s) for u in HOURS]
    written = rounded(rounded(rounded(sum(powers)) / 2) ** rounded(1 / s))
    excess = rounded(mp.expm1(rounded(s * rounded(mp.log(mp.mpf(1) / 4)))) / 2)
    factor = rounded(mp.exp(rounded(rounded(mp.log1p(excess)) / s)))
    return written, rounded(360 * factor)


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
