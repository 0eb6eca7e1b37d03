"""Lanes: the bytes of a run in any company, the same run as SB3's loop, failures, refusals."""

from itertools import product

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.algorithm.lanes import Lane, LaneBatch, LaneResult, Lanes
from pkpo_sandbox.algorithm.lanes.worlds import LaneRandom, UnevenEpisodesError
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.metrics.exact import distribution_parameters, problem_observations
from pkpo_sandbox.schedules import Linear, Objective, Step
from pkpo_sandbox.transforms import (
    dr_grpo,
    grpo,
    max_rl,
    passk_training,
    pkpo,
    reinforce,
    rloo,
    rs_grpo,
    tail_rl,
)
from tests.algorithm.enumeration import LOGITS, OUTCOMES, true_gradient
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


# Bytes


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_lane_has_the_same_bytes_alone_in_any_company_and_at_any_place(policy, terms):
    env, env_kwargs, policy_kwargs = POLICIES[policy]
    lanes, n_epochs = some_lanes(9, terms, env_kwargs), TERMS[terms][0]

    def trained(numbers, **kwargs) -> list[LaneResult]:
        engine = Lanes(
            env,
            [lanes[number] for number in numbers],
            group_size=5,  # 15 attempts: no whole number of vectors
            n_groups=3,
            n_epochs=n_epochs,
            policy_kwargs=dict(policy_kwargs),
            **kwargs,
        )
        return engine.learn(15 * (2 if "digits" in policy or "drift" in policy else 1) * 6, 4)

    together = trained(range(9))
    assert [result.error for result in together] == [None] * 9
    assert len({result.policy["action_net.weight"].numpy().tobytes() for result in together}) > 4
    for numbers in ([8], [7, 2, 3], range(4, -1, -1)):
        for number, result in zip(numbers, trained(numbers), strict=True):
            assert same(result, together[number]), number


@pytest.mark.parametrize("memory", [1, 300_000])
def test_how_much_memory_a_batch_may_take_changes_no_byte(memory):
    lanes = some_lanes(9)
    results = [Lanes(BANDIT, lanes, memory=m).learn(256 * 4, 2) for m in (memory, None)]
    assert all(same(*pair) for pair in zip(*results, strict=True))


def test_the_number_of_threads_changes_no_byte_and_is_left_as_it_was():
    lanes = some_lanes(3)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(Lanes(PROBLEM_SET, lanes).learn(5 * 256, 5))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    assert all(same(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize(("env", "steps"), [(BANDIT, 1), (DIGIT_SUM, 3)])
def test_a_batch_has_as_many_lanes_as_its_memory_holds(env, steps):
    # Weights, gradient and moments are 16 bytes a weight: a lane of the bandit has 9,000 or so.
    sizes = []
    engine = Lanes(env, some_lanes(4), memory=2**19 * steps**2)
    engine.learn(256 * steps, watch=lambda batch: sizes.append(batch.n_lanes))
    assert max(sizes) == (4 if env == BANDIT else 3)
    assert sum(sizes) == 4 * steps


def test_more_lanes_than_the_cores_of_a_large_machine_have_the_same_bytes():
    lanes = some_lanes(40)
    lanes[17] = Lane(17, Objective(passk_training, k=3))
    together = Lanes(PROBLEM_SET, lanes, memory=2**30).learn(4 * 256, 2)
    for number in (0, 17, 39):
        (alone,) = Lanes(PROBLEM_SET, [lanes[number]]).learn(4 * 256, 2)
        assert same(alone, together[number])


def test_a_world_that_can_be_stacked_gives_the_bytes_of_one_that_cannot():
    lanes = some_lanes(4)
    results = [
        Lanes(f"lanes/{name}-v0", lanes, group_size=4, n_groups=2).learn(16 * 8, 2)
        for name in ("Drift", "StackedDrift")
    ]
    assert all(same(*pair) for pair in zip(*results, strict=True))


def test_lanes_with_arguments_of_their_own_play_worlds_of_their_own():
    arguments = [{"payouts": [0.5, 0.8, p]} for p in (1.0, 2.0, 1.0)]
    lanes = [Lane(i, Objective(rloo), env_kwargs=kwargs) for i, kwargs in enumerate(arguments)]
    results = Lanes(BANDIT, lanes).learn(10 * 256, 1)
    best = [max(row["rollout/max_at_16"] for row in result.rows) for result in results]
    assert best[1] > 1.1
    assert max(best[0], best[2]) <= 1
    for lane, result in zip(lanes, results, strict=True):
        assert same(result, *Lanes(BANDIT, [lane]).learn(10 * 256, 1))


def test_lanes_whose_groups_begin_alike_and_others_are_computed_apart():
    # One world of one problem, one of three: a lane's observations are 1 and n_groups rows.
    lanes = [Lane(i, Objective(rloo), env_kwargs={"n_problems": n}) for i, n in enumerate((1, 3))]
    results = Lanes("lanes/Still-v0", lanes, group_size=4, n_groups=3).learn(12 * 6, 2)
    for lane, result in zip(lanes, results, strict=True):
        alone = Lanes("lanes/Still-v0", [lane], group_size=4, n_groups=3)
        assert same(result, *alone.learn(12 * 6, 2))


# The same run as SB3's loop


class Rows(KVWriter):
    """Keeps the rows that are logged."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_lane_is_the_run_of_the_same_seed(policy, terms, device):
    env, env_kwargs, policy_kwargs = POLICIES[policy]
    lanes, n_epochs = (
        some_lanes(9, terms, env_kwargs)[:: 2 if device == "cpu" else 4],
        TERMS[terms][0],
    )
    shared = {
        "group_size": 6,
        "n_groups": 4,
        "n_epochs": n_epochs,
        "policy_kwargs": policy_kwargs,
        "stats_window_size": 8,
    }
    an_iteration = 24 * (2 if "digits" in policy or "drift" in policy else 1)
    # After one update float32 rounding, after 12 what the optimizer makes of it: Adam divides
    # gradients of the size of the rounding by their own size.
    for n_updates, tolerance in ((1, 1e-6), (12, 1e-4)):
        n_steps = n_updates * an_iteration
        results = Lanes(env, lanes, **shared).learn(n_steps, 1)
        for lane, result in list(zip(lanes, results, strict=True))[: 5 if n_updates == 1 else 2]:
            model, rows = single(env, lane, n_steps, **shared)
            state = model.policy.state_dict()
            assert list(state) == list(result.policy)
            for name, value in state.items():
                assert torch.allclose(value, result.policy[name], rtol=0, atol=tolerance), name
            assert [row.keys() for row in rows] == [row.keys() for row in result.rows]
            for row, other in zip(rows, result.rows, strict=True):
                assert other == pytest.approx(row, rel=1e-3, abs=1e-4)
            assert result.num_timesteps == model.num_timesteps == n_steps
            assert result.n_updates == model._n_updates


def test_a_lane_s_state_goes_on_as_a_model(tmp_path):
    lane = Lane(3, Objective(pkpo, k=2))
    shared = {"group_size": 4, "n_groups": 2, "n_epochs": 1, "policy_kwargs": {"net_arch": [6]}}
    (result,) = Lanes(BANDIT, [lane], **shared).learn(10 * 8)
    model, _ = single(BANDIT, lane, 10 * 8, **shared)
    expected = model.policy.optimizer.state_dict()
    assert result.optimizer["param_groups"] == expected["param_groups"]
    for i, moments in expected["state"].items():
        assert all(
            torch.allclose(value, result.optimizer["state"][i][name], atol=1e-6)
            for name, value in moments.items()
        )
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    model.policy.load_state_dict(result.policy)
    model.policy.optimizer.load_state_dict(result.optimizer)
    model.save(tmp_path / "model.zip")
    loaded = GroupPolicyGradient.load(tmp_path / "model.zip", BANDIT, device="cpu")
    for name, value in loaded.policy.state_dict().items():
        assert value.equal(result.policy[name])
    loaded.learn(8)


@pytest.mark.parametrize("policy", ["bandit", "problems", "digits", "cliff, learned std"])
def test_who_watches_sees_each_step_before_the_update_and_what_the_policies_are(policy):
    env, env_kwargs, policy_kwargs = POLICIES[policy]
    n_steps = 2 if policy == "digits" else 1
    lanes = [Lane(i, Objective(pkpo, k=2), env_kwargs=env_kwargs) for i in range(3)]
    world = gymnasium.make(env, **env_kwargs)
    models = [
        PKPO(
            "MlpPolicy",
            make_group_env(env, 2, 4, **env_kwargs),
            k=2,
            policy_kwargs=dict(policy_kwargs),
        )
        for _ in lanes
    ]
    observations = problem_observations(models[0], world)
    calls = []

    def watch(batch: LaneBatch) -> None:
        calls.append(batch.n_calls)
        assert batch.problems.shape == (3, 2)
        for lane, model in enumerate(models):
            batch.log.record(lane, "rollout/best", batch.n_calls)
            model.policy.load_state_dict(batch.policy_state(lane))
            expected = distribution_parameters(model, observations)
            found = batch.distribution_parameters(observations)
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                assert found[name][lane] == pytest.approx(values, abs=1e-6)

    shared = {"group_size": 4, "n_groups": 2, "policy_kwargs": dict(policy_kwargs)}
    results = Lanes(env, lanes, **shared).learn(3 * 8 * n_steps, 2, watch)
    assert calls == list(range(1, 3 * n_steps + 1))
    best = [row["rollout/best"] for row in results[1].rows]
    assert best == [2 * n_steps, 3 * n_steps]


def test_settings_that_sb3_has_as_numbers_only_may_be_schedules_of_lanes():
    numbers = {"gamma": 0.5, "max_grad_norm": 0.01}
    lanes = [
        Lane(1, Objective(rloo), **numbers),
        Lane(1, Objective(rloo), **{name: lambda _, v=v: v for name, v in numbers.items()}),
        Lane(1, Objective(rloo), gamma=Linear(0.5, 1.0), max_grad_norm=0.01),
        Lane(1, Objective(rloo), gamma=0.5, max_grad_norm=Linear(0.01, 0.1)),
    ]
    plain, constant, *others = Lanes(DIGIT_SUM, lanes).learn(768 * 4, 1)
    assert same(plain, constant)
    assert not any(same(plain, other) for other in others)


@pytest.mark.slow
def test_lanes_and_runs_of_other_seeds_end_alike():
    # 24 seeds each side, none shared: the mean of the final reward agrees within 4 standard errors.
    shared = {"group_size": 8, "n_groups": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [16]}}
    kwargs = {"n_problems": 8, "n_answers": 8, "hard_fraction": 0.5}
    lanes = [Lane(i, Objective(pkpo, k=2), 0.01, env_kwargs=kwargs) for i in range(48)]
    results = Lanes(PROBLEM_SET, lanes[:24], **shared).learn(64 * 40, 40)
    ours = [result.rows[-1]["rollout/ep_rew_mean"] for result in results]
    others = [
        single(PROBLEM_SET, lane, 64 * 40, **shared)[1][-1]["rollout/ep_rew_mean"]
        for lane in lanes[24:]
    ]
    error = np.sqrt((np.var(ours, ddof=1) + np.var(others, ddof=1)) / 24)
    assert 0 < error < 0.05
    assert abs(np.mean(ours) - np.mean(others)) < 4 * error


# The gradient


class Script:
    """In place of random numbers: each attempt's point on the line of its distribution."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points = points

    def next(self) -> torch.Tensor:
        return self.points


@pytest.mark.parametrize(
    ("k", "baseline", "n_groups", "clip_range"),
    [
        (1, "none", 1, None),
        (1, "loo_minus_one", 1, None),
        (2, "loo", 1, None),
        (2, "loo_minus_one", 1, None),
        (2, "loo_minus_one", 1, 0.2),
        (4, "loo_minus_one", 1, None),
        (2, "loo_minus_one", 2, None),
    ],
)
def test_the_expected_update_over_all_outcomes_is_along_the_gradient(
    k, baseline, n_groups, clip_range
):
    # A lane for each of the 5^4 = 625 outcomes of four attempts; SGD with rate 1 moves by the
    # gradient.
    samples = list(product(OUTCOMES, repeat=4))
    lane = Lane(0, Objective(pkpo, k=k, baseline=baseline), 1.0, 1.0, clip_range, 0.0, 1e9)
    batch = LaneBatch(
        BANDIT,
        [lane] * len(samples),
        range(len(samples)),
        group_size=4 // n_groups,
        n_groups=n_groups,
        n_epochs=1,
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.SGD},
        stats_window_size=1,
        device=torch.device("cpu"),
    )
    weight, bias = batch.weights.views
    weight.zero_()
    bias[:, 0, :3] = LOGITS
    policy = torch.softmax(LOGITS, 0)
    arms = torch.tensor([[arm for arm, _, _ in sample] for sample in samples])
    batch._draws = Script((policy.cumsum(0) - policy / 2)[arms])
    rewards = np.array([[reward for _, reward, _ in sample] for sample in samples])
    batch.worlds.step = lambda actions: ((actions == arms.numpy()).all() * rewards, True)
    batch.iterate(1)
    chances = [np.prod([policy[arm] * chance for arm, _, chance in s]) for s in samples]
    assert sum(chances) == pytest.approx(1, abs=1e-12)
    moved = torch.tensor(chances) @ (bias[:, 0, :3].double() - LOGITS)
    assert torch.allclose(moved, true_gradient(k), rtol=0, atol=1e-6)


# Failures


def refuses_long_shots(returns):
    if returns.max() > 0.9:
        raise ValueError("a long shot")
    return rloo(returns)


def gives_infinity(returns):
    return torch.full_like(returns, torch.inf if returns.any() else 0.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("env", "broken", "message"),
    [
        ("lanes/Brittle-v0", {"env_kwargs": {"how": "nan"}}, "column 1 gave reward nan at step 1"),
        ("lanes/Brittle-v0", {"env_kwargs": {"how": "raise"}}, "the physics broke"),
        (BANDIT, {"objective": Objective(refuses_long_shots)}, "a long shot"),
        (BANDIT, {"objective": Objective(gives_infinity)}, "weights that are not finite"),
        (BANDIT, {"objective": Objective(max_rl)}, "rewards of 0 and 1 only"),
        (BANDIT, {"learning_rate": 3e38}, "the policy's logits are not finite"),
        (DIGIT_SUM, {"learning_rate": 3e38}, "the policy's logits are not finite"),
        (CLIFF, {"learning_rate": 3e38}, "the policy's logits are not finite"),
    ],
)
def test_a_lane_that_fails_fails_alone(env, broken, message, device):
    sound = [Lane(i, Objective(pkpo, k=2)) for i in range(3)]
    lanes = [sound[0], Lane(**{"seed": 7, "objective": Objective(rloo), **broken}), *sound[1:]]
    steps = 3 if env == DIGIT_SUM else 1
    shared = {"group_size": 4, "n_groups": 4, "policy_kwargs": {"net_arch": [5]}, "device": device}
    results = Lanes(env, lanes, **shared).learn(16 * 20 * steps, 1)
    assert message in str(results[1].error)
    assert results[1].num_timesteps < 16 * 20 * steps
    assert len(results[1].rows) == results[1].n_updates < 20
    assert (
        all(value.isfinite().all() for value in results[1].policy.values()) or "logits" in message
    )
    others = [result for result in results if result.error is None]
    alone = Lanes(env, sound, **shared).learn(16 * 20 * steps, 1)
    for one, other in zip(others, alone, strict=True):
        if device == "cpu":
            assert same(one, other)
        else:  # a GPU sums in any order
            assert one.rows[-1] == pytest.approx(other.rows[-1], rel=1e-3, abs=1e-4)


def test_a_lane_keeps_the_weights_from_before_what_failed():
    lane = Lane(0, Objective(rloo), env_kwargs={"how": "nan"})
    (failed,) = Lanes("lanes/Brittle-v0", [lane]).learn(256 * 10, 1)
    (sound,) = Lanes("lanes/Brittle-v0", [Lane(0, Objective(rloo))]).learn(256 * 2, 1)
    assert same(failed, sound)
    assert failed.error is not None


def test_when_all_lanes_fail_each_has_its_error():
    lanes = [Lane(i, Objective(refuses_long_shots)) for i in range(2)]
    results = Lanes(BANDIT, lanes).learn(256 * 10)
    assert all("long shot" in str(result.error) for result in results)


# Refusals


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("CartPole-v1", {}, "vectorization='native' cannot play CartPole-v1|ProblemVectorEnv"),
        ("lanes/OwnStep-v0", {}, "has a step of its own"),
        ("lanes/Odd-v0", {"env_kwargs": {"observation": "MultiBinary"}}, "MultiBinary"),
        ("lanes/Odd-v0", {"env_kwargs": {"observation": "image"}}, "are images"),
        ("lanes/Odd-v0", {"env_kwargs": {"action": "MultiDiscrete"}}, "MultiCategorical"),
        (BANDIT, {"policy_kwargs": {"activation_fn": nn.ELU}}, "activation_fn is ELU"),
        (BANDIT, {"policy_kwargs": {"optimizer_class": torch.optim.RMSprop}}, "Adam or SGD"),
        (BANDIT, {"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, "no amsgrad=True"),
        (BANDIT, {"policy_kwargs": {"use_sde": True}}, "use_sde"),
        (
            BANDIT,
            {"policy_kwargs": {"features_extractor_class": type("My", (FlattenExtractor,), {})}},
            "this one is My",
        ),
        (BANDIT, {"n_epochs": 2}, "lane 0: n_epochs=2 .* give clip_range"),
        (BANDIT, {"gamma": 0}, "lane 0: gamma must be above 0"),
        (BANDIT, {"gamma": Linear(1.0, 2.0)}, "lane 0: at 1 % of training: gamma"),
        (BANDIT, {"ent_coef": Linear(1.0, -1.0)}, "lane 0: at 51 % of training: ent_coef"),
        (BANDIT, {"objective": Objective(pkpo, k=17)}, "lane 0: .*k = 17 exceeds n = 16"),
        (BANDIT, {"group_size": 1}, "group_size must be an integer of at least 2"),
    ],
)
def test_what_lanes_do_not_fit_is_refused_with_the_reason(env, settings, message):
    own = {"seed": 0, "objective": Objective(rloo)}
    own |= {name: value for name, value in settings.items() if name in Lane.__annotations__}
    shared = {name: value for name, value in settings.items() if name not in own}
    with pytest.raises(ValueError, match=message):
        Lanes(env, [Lane(**own)], **shared).learn(256)


def test_no_lanes_and_lanes_of_other_spaces_are_refused():
    with pytest.raises(ValueError, match="at least one Lane"):
        Lanes(BANDIT, [])
    lanes = [
        Lane(0, Objective(rloo), env_kwargs={"payouts": [1.0] * n, "probabilities": [0.5] * n})
        for n in (2, 3)
    ]
    with pytest.raises(ValueError, match="env_kwargs give the action_space"):
        Lanes(BANDIT, lanes).learn(256)


def test_episodes_of_uneven_lengths_are_refused():
    with pytest.raises(UnevenEpisodesError, match="equal lengths"):
        Lanes("lanes/Uneven-v0", [Lane(0, Objective(rloo))]).learn(256)


def test_a_stacked_world_draws_one_number_an_episode():
    random = LaneRandom([np.random.default_rng(seed) for seed in (3, 4)])
    first = np.random.default_rng(3)
    assert (random.random(10)[:5] == first.random(5)).all()
    assert (random.normal(1.0, 2.0, size=(10, 2))[:5] == first.normal(1.0, 2.0, size=(5, 2))).all()
    assert (random.integers(7, size=10)[:5] == first.integers(7, size=5)).all()
    for size in (None, 9, (3, 10)):
        with pytest.raises(ValueError, match="one number an episode"):
            random.normal(size=size)
