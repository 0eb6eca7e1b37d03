"""Worlds of problems for Pass@K Policy Optimization, registered with Gymnasium on import."""

import gymnasium

from pkpo_envs.problem_env import ProblemEnv, ProblemVectorEnv
from pkpo_envs.seeded_problems import SeededProblems

__all__ = ["ProblemEnv", "ProblemVectorEnv", "SeededProblems"]

gymnasium.register(
    id="pkpo/Bandit-v0",
    entry_point="pkpo_envs.bandit:BanditEnv",
    vector_entry_point="pkpo_envs.bandit:BanditVectorEnv",
)
gymnasium.register(
    id="pkpo/Cliff1D-v0",
    entry_point="pkpo_envs.cliff_1d:Cliff1DEnv",
    vector_entry_point="pkpo_envs.cliff_1d:Cliff1DVectorEnv",
)
gymnasium.register(
    id="pkpo/ProblemSet-v0",
    entry_point="pkpo_envs.problem_set:ProblemSetEnv",
    vector_entry_point="pkpo_envs.problem_set:ProblemSetVectorEnv",
    reward_threshold=1.0,
)
gymnasium.register(
    id="pkpo/DigitSum-v0",
    entry_point="pkpo_envs.digit_sum:DigitSumEnv",
    vector_entry_point="pkpo_envs.digit_sum:DigitSumVectorEnv",
    reward_threshold=1.0,
)
