"""Exact values: tens of arms as a Markov chain on their configurations.

`configurations` lists how many arms can be in each state and where they go; `evaluate` computes
what a policy earns, and the most that any policy can.
"""

from .evaluate import discounted_reward, optimal_value, policy_value, stationary_reward

__all__ = ["discounted_reward", "optimal_value", "policy_value", "stationary_reward"]
