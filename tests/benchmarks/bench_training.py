"""Env steps a second in training: PKPO, SB3's A2C, and a bare PyTorch loop, all in one run.

One thread; the default bandit; 256 one-step episodes an update; SB3's default MLP (64, 64). The
bare loop has the same network, optimiser, clipping and transform, makes one forward pass per
problem and draws that problem's 16 attempts from it.
The sides take turns, so a drift of the machine's speed touches all of them.

Run as ``python tests/benchmarks/bench_training.py [--rounds 5]``.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.transforms import pkpo

BANDIT = "pkpo_envs:pkpo/Bandit-v0"
N_GROUPS = GROUP_SIZE = 16
BATCH = N_GROUPS * GROUP_SIZE


def bare_loop(n_updates: int) -> None:
    """The same update with nothing around it."""
    rng = np.random.default_rng(0)
    payouts, probabilities = np.array([0.5, 0.8, 1.0]), np.array([1.0, 0.4, 0.1])
    network = nn.Sequential(
        nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, eps=1e-5, fused=True)
    problems = torch.ones(N_GROUPS, 1)
    for _ in range(n_updates):
        policy = torch.distributions.Categorical(logits=network(problems))
        actions = policy.sample((GROUP_SIZE,))  # (group_size, n_groups)
        arms = actions.T.flatten().numpy()
        rewards = payouts[arms] * (rng.random(BATCH) < probabilities[arms])
        weights = pkpo(torch.from_numpy(rewards).view(N_GROUPS, GROUP_SIZE), 4).float()
        loss = -(weights.T * policy.log_prob(actions)).sum() / N_GROUPS
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()


def train_pkpo(n_updates: int) -> None:
    PKPO("MlpPolicy", BANDIT, k=4, seed=0, device="cpu").learn(n_updates * BATCH)


def train_a2c(n_updates: int) -> None:
    env = make_vec_env(BANDIT, n_envs=BATCH)
    A2C("MlpPolicy", env, n_steps=1, seed=0, device="cpu").learn(n_updates * BATCH)


def steps_per_second(train: Callable[[int], None], n_updates: int) -> float:
    """Speed without set-up: the difference between a long and a short training."""
    seconds = []
    for updates in (n_updates, n_updates // 10):
        start = time.perf_counter()
        train(updates)
        seconds.append(time.perf_counter() - start)
    return (n_updates - n_updates // 10) * BATCH / (seconds[0] - seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    sides: dict[str, tuple[Callable[[int], None], int]] = {
        "PKPO": (train_pkpo, 600),
        "A2C": (train_a2c, 100),
        "bare loop": (bare_loop, 600),
    }
    for train, updates in sides.values():
        train(updates // 10)
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (train, updates) in sides.items():
            speeds[name].append(steps_per_second(train, updates))
    print(f"env steps a second, median [min, max] of {rounds} rounds, one thread")
    for name, values in speeds.items():
        median = statistics.median(values)
        print(f"{name:10s} {median:10,.0f}  [{min(values):,.0f}, {max(values):,.0f}]")
    for other in ("A2C", "bare loop"):
        ratios = np.divide(speeds["PKPO"], speeds[other])
        print(f"PKPO / {other}: {np.median(ratios):.2f}")


if __name__ == "__main__":
    main()
