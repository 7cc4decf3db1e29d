"""What the picture of `whittle_fast` says: numbers moved when S states are eliminated."""

STATES = [300, 1000, 3000, 10000]
SIZES = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256]


def moved(S, k):
    """Numbers read or written, pivot by pivot, in a whole block; S/k such blocks."""
    pivots = sum(2 * S + 2 * j * S for j in range(k))  # a column and a row of X, of W and Y
    return S / k * (pivots + 2 * S * S + 2 * S * k)


def said(states, size):
    S, k = STATES[states], SIZES[size]
    return [f"{S}", f"{moved(S, 1) / moved(S, k):.1f}", f"{k}"]
