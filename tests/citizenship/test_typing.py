"""A type checker accepts uses of the public API from another project (``py.typed``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RIGHT = """
from typing import assert_type

import gymnasium
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule

from pkpo_sandbox import (
    PKPO,
    GroupPolicyGradient,
    GroupVecEnv,
    make_group_env,
    max_at_k,
    pass_at_k,
    pkpo,
    rloo,
)
from pkpo_sandbox.metrics.callbacks import (
    EntropyCallback,
    ExactCallback,
    GroupEvalCallback,
    SolveRateCallback,
)
from pkpo_sandbox.algorithm.policies import ActorPolicy
from pkpo_sandbox.schedules import Step


def mine(returns: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    return scale * rloo(returns)


def from_vectors(env: VectorEnv) -> PKPO:
    return PKPO("MlpPolicy", env)


bandit = "pkpo_envs:pkpo/Bandit-v0"
env = make_group_env(bandit, n_groups=4, group_size=4)
assert_type(env, GroupVecEnv)
model = PKPO("MlpPolicy", env, k=Step(4, 1, at=0.5), policy_kwargs={"net_arch": [8]}, seed=0)
assert_type(model, PKPO)
assert_type(model.policy, ActorCriticPolicy)
assert_type(model.learn(64), PKPO)
assert_type(model.learn(64, callback=[EntropyCallback(), ExactCallback(bandit, ks=[1, 2])]), PKPO)
model.learn(64, callback=EveryNTimesteps(32, GroupEvalCallback(bandit, ks=(1, 4))))
model.learn(64, callback=SolveRateCallback(threshold=1.0), log_interval=None)
assert_type(PKPO.load("model.zip", env=env, device="cpu"), PKPO)
PKPO(ActorPolicy, make_vec_env("CartPole-v1"), k=1, learning_rate=LinearSchedule(1e-3, 0, 1))
PKPO("MlpPolicy", gymnasium.make("CartPole-v1"), k=lambda remaining: 1 if remaining < 0.5 else 4)
PKPO("MlpPolicy", "CartPole-v1", clip_range=0.2, n_epochs=4, ent_coef=lambda remaining: 0.01)
general = GroupPolicyGradient("MlpPolicy", bandit, mine, {"scale": 2.0})
assert_type(general.learn(64, progress_bar=True), GroupPolicyGradient)
rewards = torch.zeros(2, 4)
assert_type(pkpo(rewards, k=2), torch.Tensor)
assert_type(max_at_k(rewards, 2), torch.Tensor)
assert_type(pass_at_k(4, torch.tensor([1, 0]), 2), torch.Tensor)
"""

#: each line alone is a mistake
WRONG = """
import torch
from pkpo_sandbox import PKPO, make_group_env, pkpo
PKPO("MlpPolicy", "CartPole-v1", k="four")
PKPO("MlpPolicy", "CartPole-v1", groupsize=4)
PKPO("MlpPolicy", 3)
PKPO("MlpPolicy", "CartPole-v1").learn("long")
make_group_env("CartPole-v1", n_groups="many")
pkpo(torch.zeros(2, 4), k="two")
"""


@pytest.mark.slow
def test_a_script_that_uses_the_public_names_passes_the_type_checker(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    settings = {"typeCheckingMode": "standard", "reportMissingTypeStubs": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    # On the interpreter's path the packages count as installed ones, not as part of the project.
    found = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])},
        capture_output=True,
        text=True,
    )
    problems: dict[str, list[int]] = {"right.py": [], "wrong.py": []}
    for each in json.loads(found.stdout)["generalDiagnostics"]:
        problems[Path(each["file"]).name].append(each["range"]["start"]["line"] + 1)
    assert problems["right.py"] == [], found.stdout
    mistakes = range(4, len(WRONG.splitlines()) + 1)
    assert sorted(set(problems["wrong.py"])) == list(mistakes), found.stdout
