"""A bandit of 100 arms whose payouts have two peaks, and a policy that starts at the lower one."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from pkpo_envs import ProblemEnv, ProblemVectorEnv

N_ARMS = 100
HIGH, LOW = 40, 75  # the arms at the peaks


def peak(arm: int) -> np.ndarray:
    """A bell of height 1 and width 5 around an arm. -> (N_ARMS,)"""
    return np.exp(-0.5 * ((np.arange(N_ARMS) - arm) / 5) ** 2)


class TwoPeaksEnv(ProblemEnv):
    """
    ## Description

    A one-step bandit of 100 arms. The payout is 1.0 at arm 40, 0.6 at arm 75 and falls to 0.1 away
    from both.

    ## Observation

    `Discrete(1)`: always 0.

    ## Action

    `Discrete(100)`: the arm.

    ## Reward

    0.1 + 0.9 exp(-(arm - 40)^2 / 50) + 0.5 exp(-(arm - 75)^2 / 50), for certain.

    ## Problems

    One.

    ## Exact solution

    `exact`: with the distribution function F of a policy's payout, max@k is the sum over the
    payouts v of v (F(v)^k - F(v-)^k). The best policy takes arm 40 for every k.

    ## Reference

    Risk-Sensitive RL for Alleviating Exploration Dilemmas in Large Language Models,
    arXiv 2509.24261: its bandit.
    """

    def __init__(self) -> None:
        self.payouts = 0.1 + 0.9 * peak(HIGH) + 0.5 * peak(LOW)
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(N_ARMS)

    def reward(self, problems: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return self.payouts[actions]

    def exact(self, k: int, probabilities: np.ndarray) -> dict[str, Any]:
        """Exact values of the policy with these probabilities (1, N_ARMS), and of the best one."""
        order = self.payouts.argsort()
        below = np.append(0.0, probabilities[0, order].cumsum()) ** k
        return {
            "probability": probabilities[0].tolist(),
            "max_at_k": float(self.payouts[order] @ np.diff(below)),
            "max_at_k_star": float(self.payouts.max()),
        }


class TwoPeaksVectorEnv(ProblemVectorEnv):
    """Many columns of `TwoPeaksEnv`, stepped together."""

    world_class = TwoPeaksEnv


class StartAtLowerPeak(BaseCallback):
    """Sets the policy, before training, to a bell around the lower peak plus a constant."""

    def _on_training_start(self) -> None:
        logits = torch.as_tensor(np.log(peak(LOW) + 0.1))
        action_net: Any = self.model.policy.action_net
        with torch.no_grad():
            action_net.weight.zero_()
            action_net.bias.copy_(logits)

    def _on_step(self) -> bool:
        return True


gymnasium.register(
    "TwoPeaks-v0",
    entry_point="two_peaks:TwoPeaksEnv",
    vector_entry_point="two_peaks:TwoPeaksVectorEnv",
)
