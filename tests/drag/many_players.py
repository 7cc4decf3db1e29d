"""What the picture of `book/many_players.ipynb` says."""

from alphafair.models.meanfield import games as mfg

SIZES = (3, 4, 5, 7, 10, 15, 20, 30, 50)


def said(size, rate):
    """N nurses and a discount rate in quarters. One stops, the others play grim; halves up."""
    n, beta = SIZES[size], (1 + rate) / 4
    ward = mfg.prisoners_dilemma(beta)
    kept = mfg.n_player_gap(ward, mfg.grim, n) <= 1e-9
    leaving = (1 + 2 / beta - (1 - 1 / n) * 2 / (1 + beta)) / (1 + beta)
    nobody = mfg.repeated_best_response(ward).cost
    return [
        str(n),
        f"{beta:g}",
        "is an equilibrium" if kept else "is no equilibrium",
        f"{beta * leaving + 1e-9:.3f}",
        f"{beta * nobody + 1e-9:.3f}",
    ]
