"""Worlds, policies, settings and lanes of many kinds that the tests of lanes share."""

from itertools import product

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.algorithm.lanes import Lane, LaneResult, Lanes
from pkpo_sandbox.schedules import Linear, Objective, Step
from pkpo_sandbox.transforms import dr_grpo, grpo, pkpo, reinforce, rloo, rs_grpo, tail_rl
from tests.algorithm.short_runs import Rows
from tests.small import BANDIT, CLIFF, PROBLEM_SET

DIGIT_SUM = "pkpo_envs:pkpo/DigitSum-v0"
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Drift(ProblemEnv):
    """Two steps in a plane from a random start, with noise: attempts of a group differ at once."""

    def __init__(self, n_problems: int = 3, discrete: bool = False, noise: float = 0.3) -> None:
        super().__init__()
        self.n_problems, self.noise = n_problems, noise
        self.observation_space = spaces.Box(-10, 10, (3,), np.float32)
        self.action_space = spaces.Discrete(5) if discrete else spaces.Box(-1, 1, (2,), np.float32)

    def start(self, problems):
        place = self.np_random.normal(size=(len(problems), 2))
        return np.column_stack([np.zeros(len(problems)), place + problems[:, None]])

    def advance(self, state, actions):
        if actions.ndim == 1:
            actions = np.stack([actions - 2, actions % 2], axis=1) / 2
        place = state[:, 1:] + actions + self.noise * self.np_random.random((len(state), 2))
        state = np.column_stack([state[:, 0] + 1, place])
        return state, -np.abs(place).max(1), state[:, 0] == 2


class StackedDrift(Drift):
    stackable = True


class Still(ProblemEnv):
    """One step, without chance; pays an action that is the problem."""

    def __init__(self, n_problems: int = 1) -> None:
        super().__init__()
        self.n_problems = n_problems
        self.observation_space, self.action_space = spaces.Discrete(4), spaces.Discrete(4)

    def reward(self, problems, actions):
        return (actions == problems).astype(float)


class Brittle(ProblemEnv):
    """Pays the action; from the third call on does what ``how`` says."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how, self.calls = how, 0
        self.observation_space, self.action_space = spaces.Discrete(1), spaces.Discrete(3)

    def reward(self, problems, actions):
        self.calls += 1
        rewards = actions.astype(float)
        if self.calls >= 3 and self.how == "nan":
            rewards[1] = np.nan
        if self.calls >= 3 and self.how == "raise":
            raise RuntimeError("the physics broke")
        return rewards


class Uneven(ProblemEnv):
    """Problem p takes p + 1 steps."""

    n_problems = 2

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 9, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        return np.stack([problems, np.zeros_like(problems)], axis=1)

    def advance(self, state, actions):
        state = state + np.array([0, 1])
        return state, actions.astype(float), state[:, 1] > state[:, 0]


class Odd(Brittle):
    """One-step worlds in spaces that lanes lack."""

    def __init__(self, observation: str = "Discrete", action: str = "Discrete") -> None:
        super().__init__()
        kinds = {
            "Discrete": spaces.Discrete(3),
            "MultiDiscrete": spaces.MultiDiscrete([2, 2]),
            "MultiBinary": spaces.MultiBinary(2),
            "image": spaces.Box(0, 255, (40, 40, 3), np.uint8),
        }
        self.observation_space, self.action_space = kinds[observation], kinds[action]


def vectorised(world: type[ProblemEnv], **own) -> type[ProblemVectorEnv]:
    return type(f"{world.__name__}Vector", (ProblemVectorEnv,), {"world_class": world, **own})


WORLDS = [Drift, StackedDrift, Still, Brittle, Uneven, Odd]


for world in WORLDS:
    gymnasium.register(f"lanes/{world.__name__}-v0", world, vector_entry_point=vectorised(world))


gymnasium.register(
    "lanes/OwnStep-v0",
    Brittle,
    vector_entry_point=vectorised(Brittle, step=lambda self, actions: None),
)


TRANSFORMS = [
    Objective(pkpo, k=4),
    Objective(pkpo, k=Step(3, 1)),
    Objective(pkpo, k=2, baseline="loo"),
    Objective(rloo),
    Objective(grpo),
    Objective(rs_grpo, beta=2.0),
    Objective(tail_rl),
    Objective(dr_grpo),
    Objective(reinforce),
]
#: env, its arguments, policy_kwargs
POLICIES = {
    "bandit": (BANDIT, {}, {}),
    "bandit, linear": (BANDIT, {}, {"net_arch": []}),
    "bandit, odd widths": (BANDIT, {}, {"net_arch": [13, 7], "activation_fn": nn.ReLU}),
    "problems": (PROBLEM_SET, {"n_problems": 9, "n_answers": 40}, {"net_arch": [33]}),
    "digits": (DIGIT_SUM, {"n_digits": 2}, {"net_arch": [20]}),
    "cliff": (CLIFF, {}, {"fixed_std": 0.1}),
    "cliff, linear": (CLIFF, {}, {"fixed_std": 0.1, "net_arch": []}),
    "cliff, learned std": (CLIFF, {}, {"log_std_init": -2.0, "net_arch": [5]}),
    "drift": ("lanes/Drift-v0", {}, {"net_arch": [8]}),
    "drift, discrete": ("lanes/Drift-v0", {"discrete": True}, {"net_arch": []}),
    "sgd": (BANDIT, {}, {"net_arch": [], "optimizer_class": torch.optim.SGD}),
}
#: settings of a whole batch: n_epochs, and a function from a lane's number to its own
TERMS = {
    "plain": (1, lambda i: {"gamma": 0.9 if i % 2 else 1.0}),
    "clipped": (2, lambda i: {"clip_range": 0.1 + 0.01 * i, "max_grad_norm": 0.05 * (1 + i)}),
    "entropy": (1, lambda i: {"ent_coef": Linear(0.02 * (1 + i), 0.0)}),
}


def some_lanes(n: int, terms: str = "plain", env_kwargs: dict | None = None) -> list[Lane]:
    """Lanes of which no two are alike."""
    rates = [0.01, LinearSchedule(0.02, 0.0, 1.0), 0.003]
    return [
        Lane(
            seed=i // 2,
            objective=TRANSFORMS[i % len(TRANSFORMS)],
            learning_rate=rates[i % 3],
            env_kwargs=env_kwargs or {},
            **TERMS[terms][1](i),
        )
        for i in range(n)
    ]


def same(one: LaneResult, other: LaneResult) -> bool:
    """Bit for bit, in weights, optimizer and log."""
    states = one.optimizer["state"], other.optimizer["state"]
    moments = [
        states[0][i][name].equal(states[1][i][name])
        for i, name in product(states[0], ("exp_avg", "exp_avg_sq"))
    ]
    return (
        one.rows == other.rows
        and len(one.rows) > 0
        and states[0].keys() == states[1].keys()
        and all(moments)
        and all(value.equal(other.policy[name]) for name, value in one.policy.items())
    )


def single(env: str, lane: Lane, n_steps: int, **shared) -> tuple[GroupPolicyGradient, list[dict]]:
    """The lane's run by SB3's loop, and its log without the clock."""
    n_groups, group_size = shared["n_groups"], shared["group_size"]
    model = GroupPolicyGradient(
        "MlpPolicy",
        make_group_env(env, n_groups, group_size, **lane.env_kwargs),
        lane.objective.transform,
        lane.objective.coefficients,
        learning_rate=lane.learning_rate,
        gamma=lane.gamma,
        clip_range=lane.clip_range,
        ent_coef=lane.ent_coef,
        max_grad_norm=lane.max_grad_norm,
        seed=lane.seed,
        device="cpu",
        **{**shared, "policy_kwargs": dict(shared["policy_kwargs"])},
    )
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(n_steps, log_interval=1)
    clocks = ("time/fps", "time/time_elapsed")
    return model, [{k: v for k, v in row.items() if k not in clocks} for row in rows.rows]


DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def learn_one(env: str, settings: dict) -> list[LaneResult]:
    """Train a lane; ``settings`` are its own and those of all lanes."""
    own = {"seed": 0, "objective": Objective(rloo)}
    own |= {name: value for name, value in settings.items() if name in Lane.__annotations__}
    shared = {name: value for name, value in settings.items() if name not in own}
    return Lanes(env, [Lane(**own)], **shared).learn(256)
