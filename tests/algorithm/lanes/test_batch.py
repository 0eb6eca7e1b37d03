"""A batch of lanes: its update by exact enumeration, its watcher, and lanes that fail."""

from itertools import product

import gymnasium
import numpy as np
import pytest
import torch

from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.algorithm.lanes import Lane, LaneBatch, Lanes
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.metrics.exact import distribution_parameters, problem_observations
from pkpo_sandbox.schedules import Objective
from pkpo_sandbox.transforms import max_rl, pkpo, rloo
from tests.algorithm.enumeration import LOGITS, OUTCOMES, true_gradient
from tests.algorithm.lanes.kinds import DEVICES, DIGIT_SUM, POLICIES, same
from tests.small import BANDIT, CLIFF


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
