"""What the picture of `book/games.ipynb` says."""

from alphafair.models.meanfield import games as mfg


def said(stop):
    """Everybody stops on a day from 0 to 24, in steps of half a day."""
    day = stop / 2
    epidemic = mfg.sir_vaccination(
        0.4, 0.4, infection=73, recovery=36.5, vaccination=10, vaccination_cost=0.5
    )
    all_stop = mfg.threshold_policy(epidemic, day / 365)
    answer = mfg.best_response(epidemic, all_stop)
    alike = mfg.social_cost(epidemic, all_stop)
    return [
        f"{day:g}",
        f"{alike:.4f}",
        f"{365 * answer.policy.starts[1]:.1f}",
        f"{answer.cost:.4f}",
        f"{max(alike - answer.cost, 0):.4f}",
    ]
